//! One value of one series.

use serde::{Deserialize, Serialize};

use super::catalogue::{Dimension, Metric};
use crate::model::Timestamp;

/// Longest dimension value, in bytes (CloudWatch takes 1024; names here are cut as in records).
const DIMENSION_VALUE_BYTES_MAX: usize = 256;

/// One value of one series. Names are text so that what an older version spooled can still be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Datum {
    /// Metric name.
    pub name: String,
    /// Dimension names and values, in fixed order.
    pub dimensions: Vec<(String, String)>,
    /// CloudWatch unit.
    pub unit: String,
    /// Finite.
    pub value: f64,
}

impl Datum {
    /// A value of `metric`; anything but a finite number is none.
    pub fn new(metric: Metric, dimensions: &[(Dimension, String)], value: f64) -> Option<Self> {
        let info = metric.info();
        value.is_finite().then(|| Self {
            name: info.name.to_owned(),
            dimensions: dimensions
                .iter()
                .map(|(dimension, value)| (dimension.name().to_owned(), dimension_value(value)))
                .collect(),
            unit: info.unit.name().to_owned(),
            value,
        })
    }
}

/// The values of one period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Points {
    /// Start of the period, in seconds since the epoch.
    pub time_s: u64,
    /// Values.
    pub data: Vec<Datum>,
}

impl Points {
    /// Start of the period.
    pub const fn time(&self) -> Timestamp {
        Timestamp::new(self.time_s, 0)
    }
}

/// `text` as CloudWatch takes it: printable ASCII, not blank, not too long.
pub fn dimension_value(text: &str) -> String {
    let printable = |c: char| if matches!(c, ' '..='~') { c } else { '_' };
    let value: String = text.chars().take(DIMENSION_VALUE_BYTES_MAX).map(printable).collect();
    if value.trim().is_empty() { "unnamed".to_owned() } else { value }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_becomes_a_value_that_cloudwatch_takes(text in any::<String>()) {
            let value = dimension_value(&text);
            prop_assert!(value.bytes().all(|b| (b' '..=b'~').contains(&b)));
            prop_assert!(!value.trim().is_empty() && value.len() <= DIMENSION_VALUE_BYTES_MAX);
        }
    }

    #[test]
    fn what_is_no_number_is_no_value() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Datum::new(Metric::PlaintextFlows, &[], value), None);
        }
    }
}
