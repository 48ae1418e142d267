//! From spooled points to requests that keep CloudWatch's limits.

use std::io;

use crate::{
    metrics::{Datum, Points},
    model::Timestamp,
};

/// Most data in a request.
pub const REQUEST_DATA_MAX: usize = 1000;

/// Most bytes of a request before compression; CloudWatch takes 1 MB, and this is an estimate from above.
pub const REQUEST_BYTES_MAX: usize = 900_000;

/// Longest namespace, metric name or dimension name, and longest dimension value, in bytes.
const NAME_BYTES_MAX: usize = 255;
const VALUE_BYTES_MAX: usize = 1024;
const DIMENSIONS_MAX: usize = 30;

/// Values CloudWatch takes: plus or minus 2^360.
const VALUE_MAX: f64 = 2.348_542_582_773_833_3e108;

/// A datum with its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Start of the period.
    pub time_s: u64,
    /// What.
    pub datum: Datum,
}

impl Sample {
    /// Whether CloudWatch takes it, as far as we can tell.
    pub fn is_valid(&self) -> bool {
        let name = |text: &str| {
            is_printable(text) && text.len() <= NAME_BYTES_MAX && !text.starts_with(':')
        };
        let Datum { name: metric, dimensions, value, .. } = &self.datum;
        value.is_finite()
            && value.abs() <= VALUE_MAX
            && name(metric)
            && dimensions.len() <= DIMENSIONS_MAX
            && dimensions
                .iter()
                .all(|(n, v)| name(n) && is_printable(v) && v.len() <= VALUE_BYTES_MAX)
    }

    /// Bytes it takes in a request, from above.
    pub fn bytes(&self) -> usize {
        let Datum { name, dimensions, unit, .. } = &self.datum;
        let dimensions: usize = dimensions.iter().map(|(n, v)| n.len() + v.len() + 24).sum();
        name.len() + unit.len() + dimensions + 96
    }
}

fn is_printable(text: &str) -> bool {
    !text.trim().is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// Points as they are spooled: JSON under zstd.
pub fn encode(points: &Points) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(points)?;
    zstd::bulk::compress(&json, ZSTD_LEVEL)
}

/// Points as they were spooled.
pub(super) fn decode(payload: &[u8]) -> io::Result<Points> {
    let json = zstd::bulk::decompress(payload, POINTS_BYTES_MAX)?;
    Ok(serde_json::from_slice(&json)?)
}

/// The first of `samples` that fit into one request; at least one if there is any.
pub(super) fn first_request(samples: &[Sample]) -> usize {
    let mut bytes = 0;
    for (count, sample) in samples.iter().take(REQUEST_DATA_MAX).enumerate() {
        bytes += sample.bytes();
        if bytes > REQUEST_BYTES_MAX && count > 0 {
            return count;
        }
    }
    samples.len().min(REQUEST_DATA_MAX)
}

/// Whether CloudWatch takes data of that time: two weeks back, two hours ahead.
pub(super) const fn is_timely(time: Timestamp, now: Timestamp) -> bool {
    let (back, ahead) = (now.since(time), time.since(now));
    back / 1_000_000_000 <= AGE_S_MAX && ahead / 1_000_000_000 <= AHEAD_S_MAX
}

/// An hour less than two weeks, so that a retry still finds it in time.
const AGE_S_MAX: u64 = 14 * 86_400 - 3600;
const AHEAD_S_MAX: u64 = 2 * 3600;

const ZSTD_LEVEL: i32 = 3;

/// Longest JSON of one period.
const POINTS_BYTES_MAX: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::{Dimension, Metric};

    fn sample(scope: &str, value: f64) -> Sample {
        let dimensions = [(Dimension::Scope, scope.to_owned())];
        Sample {
            time_s: 60,
            datum: Datum { value, ..Datum::new(Metric::PlaintextFlows, &dimensions, 0.0).unwrap() },
        }
    }

    proptest! {
        #[test]
        fn whatever_a_scope_is_called_its_datum_is_valid(scope in any::<String>(), value in -1e12..1e12) {
            prop_assert!(sample(&scope, value).is_valid());
        }

        #[test]
        fn requests_keep_the_limits_and_leave_nothing_out(lengths in proptest::collection::vec(0_usize..256, 0..5000)) {
            let samples: Vec<Sample> = lengths.iter().map(|n| sample(&"x".repeat(*n), 1.0)).collect();
            let mut rest = samples.as_slice();
            while !rest.is_empty() {
                let count = first_request(rest);
                prop_assert!(count > 0 && count <= REQUEST_DATA_MAX);
                let bytes: usize = rest[..count].iter().map(Sample::bytes).sum();
                prop_assert!(bytes <= REQUEST_BYTES_MAX || count == 1);
                rest = &rest[count..];
            }
        }
    }

    #[test]
    fn what_cloudwatch_refuses_is_not_sent() {
        for value in [f64::NAN, f64::INFINITY, 1e109, -1e109] {
            assert!(!sample("a", value).is_valid(), "{value}");
        }
        let mut odd = sample("a", 1.0);
        odd.datum.dimensions[0].1 = "\n".to_owned();
        assert!(!odd.is_valid());
    }

    #[test]
    fn points_survive_the_spool() {
        let points = Points { time_s: 60, data: vec![sample("a", 1.5).datum] };
        assert_eq!(decode(&encode(&points).unwrap()).unwrap(), points);
        assert!(decode(b"nonsense").is_err());
    }

    #[test]
    fn data_is_timely_two_weeks_back_and_two_hours_ahead() {
        let at = |s: u64| Timestamp::new(s, 0);
        let now = at(100 * 86_400);
        for (time, timely) in [(86, false), (87, true), (100, true), (101, false)] {
            assert_eq!(is_timely(at(time * 86_400), now), timely, "day {time}");
        }
    }
}
