//! `[cloudwatch]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{model::is_safe_endpoint, output::spool::SPOOL_BYTES_MAX};

/// Where metrics go in AWS. Credentials come from the standard chain: environment, profile, web identity, container,
/// instance role; never from here. Every key: reload `restart`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CloudWatchConfig {
    /// Send metrics to CloudWatch.
    pub enabled: bool,
    /// Namespace; not one that begins with `AWS/`.
    pub namespace: String,
    /// Region; else that of the standard chain.
    pub region: Option<String>,
    /// Endpoint, `https://...`; `http://` only on loopback, for emulators.
    pub endpoint: Option<String>,
    /// Use the FIPS 140 endpoint of the Region.
    pub fips: bool,
    /// Role to assume, as an ARN.
    pub role_arn: Option<String>,
    /// External id that the role asks for.
    pub external_id: Option<String>,
    /// Folder of the spool.
    #[schemars(with = "String")]
    pub spool: PathBuf,
    /// Most bytes of the spool; above, the oldest points are dropped and counted.
    pub spool_bytes_max: u64,
    /// Seconds until a request that is not answered is given up.
    pub timeout_s: u32,
}

impl Default for CloudWatchConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            namespace: "cleartap".to_owned(),
            region: None,
            endpoint: None,
            fips: false,
            role_arn: None,
            external_id: None,
            spool: PathBuf::from("/var/lib/cleartap/spool/cloudwatch"),
            spool_bytes_max: SPOOL_BYTES_MAX,
            timeout_s: 30,
        }
    }
}

impl CloudWatchConfig {
    /// What is wrong, in words for the user: key and what was expected.
    pub fn problem(&self) -> Option<String> {
        let namespace = &self.namespace;
        let named = |c: char| c.is_ascii_alphanumeric() || ".-_/#:".contains(c);
        if namespace.is_empty() || namespace.len() > 255 || !namespace.chars().all(named) {
            return Some(format!(
                "cloudwatch.namespace = \"{}\": expected 1 to 255 of A-Z a-z 0-9 . - _ / # :",
                namespace.escape_default()
            ));
        }
        if namespace.starts_with("AWS/") || namespace.starts_with(':') {
            return Some(format!(
                "cloudwatch.namespace = \"{namespace}\": expected a name of your own, not AWS/... nor :..."
            ));
        }
        if let Some(endpoint) =
            self.endpoint.as_deref().filter(|endpoint| !is_safe_endpoint(endpoint))
        {
            return Some(format!(
                "cloudwatch.endpoint = \"{}\": expected https://HOST (http:// only on loopback)",
                endpoint.escape_default()
            ));
        }
        if self.spool_bytes_max < 1 << 20 {
            return Some(format!(
                "cloudwatch.spool_bytes_max = {}: expected at least 1048576",
                self.spool_bytes_max
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
        assert_eq!(CloudWatchConfig::default().problem(), None);
        let problem = |change: fn(&mut CloudWatchConfig)| {
            let mut config = CloudWatchConfig::default();
            change(&mut config);
            config.problem().unwrap()
        };
        assert!(problem(|c| c.namespace = "AWS/EC2".into()).contains("cloudwatch.namespace"));
        assert!(problem(|c| c.namespace = "ü".into()).contains("cloudwatch.namespace"));
        assert!(problem(|c| c.endpoint = Some("http://10.0.0.1".into())).contains("https://HOST"));
        assert!(problem(|c| c.spool_bytes_max = 5).contains("cloudwatch.spool_bytes_max = 5"));
        let error = toml::from_str::<CloudWatchConfig>("access_key = 'x'").unwrap_err().to_string();
        assert!(error.contains("unknown field"), "{error}");
    }
}
