//! `[metrics]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::time::NS_PER_S;

/// How metrics are formed, whatever output they go to. Every key: reload `restart`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Length of a period in seconds; a multiple of 60, as CloudWatch keeps minutes.
    pub period_s: u32,
    /// Most series published at once; the busiest stay, the rest is folded into `other`.
    pub series_max: u32,
    /// Seconds for which a series goes on with zeros after its last value, so that alarms do not flap.
    pub series_keep_s: u32,
    /// Scopes published from the start, before they are seen.
    pub scopes: Vec<String>,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { period_s: 60, series_max: 500, series_keep_s: 24 * 3600, scopes: Vec::new() }
    }
}

impl MetricsConfig {
    /// Length of a period in nanoseconds.
    pub fn period_ns(&self) -> u64 {
        u64::from(self.period_s.max(1)) * NS_PER_S
    }

    /// What is wrong, in words for the user: key and what was expected.
    pub fn problem(&self) -> Option<String> {
        if self.period_s == 0 || !self.period_s.is_multiple_of(60) || self.period_s > 86_400 {
            return Some(format!(
                "metrics.period_s = {}: expected a multiple of 60, at most 86400",
                self.period_s
            ));
        }
        let least = super::series::fixed_series();
        if usize::try_from(self.series_max).is_ok_and(|max| max < least) {
            return Some(format!(
                "metrics.series_max = {}: expected at least {least}, the series that are always published",
                self.series_max
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_explained_by_its_key() {
        let with =
            |period_s, series_max| MetricsConfig { period_s, series_max, ..Default::default() };
        assert_eq!(MetricsConfig::default().problem(), None);
        assert!(with(90, 500).problem().unwrap().starts_with("metrics.period_s = 90"));
        assert!(with(60, 5).problem().unwrap().starts_with("metrics.series_max = 5"));
        let error = toml::from_str::<MetricsConfig>("periods = 60").unwrap_err().to_string();
        assert!(error.contains("periods") && error.contains("period_s"), "{error}");
    }
}
