//! What CloudWatch will charge, before anything is sent.

use super::{
    catalogue::{Dimension, METRICS},
    series::series_with,
};

/// Hours of a month, as AWS bills metrics.
pub const MONTH_HOURS: u32 = 730;

/// Prices of one Region.
#[derive(Clone, Copy, Debug)]
pub struct Prices {
    /// Region code.
    pub region: &'static str,
    /// Where the prices stand.
    pub source: &'static str,
    /// When they were last checked, or taken over, as `YYYY-MM-DD`.
    pub as_of: &'static str,
    /// US dollars per metric and month: up to so many metrics, then the next line. The last has no end.
    pub metric_month: &'static [(u64, f64)],
    /// US dollars per thousand `PutMetricData` requests.
    pub thousand_requests: f64,
}

/// List prices. Others than us-east-1 are close; your contract may differ.
pub const PRICES: Prices = Prices {
    region: "us-east-1",
    source: "https://aws.amazon.com/cloudwatch/pricing/",
    as_of: "2026-11-23",
    metric_month: &[(10_000, 0.30), (250_000, 0.10), (1_000_000, 0.05), (u64::MAX, 0.02)],
    thousand_requests: 0.01,
};

/// What a configuration would publish and cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Series at once, after the cap.
    pub series: u64,
    /// Series that the cap folds into `other`.
    pub folded: u64,
    /// Requests in a month, one sensor, without retries.
    pub requests_month: u64,
    /// US dollars a month for the series.
    pub metrics_usd: f64,
    /// US dollars a month for the requests.
    pub requests_usd: f64,
}

/// What would be seen: how many values each dimension takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Scopes.
    pub scopes: u64,
    /// Plaintext protocols, summed over the scopes.
    pub protocols: u64,
    /// Services with plaintext, summed over the scopes.
    pub services: u64,
    /// TLS versions.
    pub tls_versions: u64,
    /// Sensors that publish.
    pub sensors: u64,
}

/// The estimate for `expected`, a period of `period_s` and a cap of `series_max`.
pub fn estimate(expected: &Expected, period_s: u32, series_max: u64, prices: &Prices) -> Estimate {
    use Dimension::{Class, Protocol, Scope, Service, Severity, TlsVersion};
    let with = |dimensions: &[Dimension]| series_with(dimensions) as u64;
    let wanted = METRICS.len() as u64
        + expected.scopes * with(&[Scope])
        + expected.protocols * with(&[Scope, Protocol])
        + expected.services * with(&[Scope, Service])
        // A class for each protocol of a scope is the most there can be.
        + (expected.protocols.div_ceil(expected.scopes.max(1)) + 1) * with(&[Class])
        + expected.tls_versions * with(&[TlsVersion])
        + super::publish::SEVERITIES.len() as u64 * with(&[Severity]);
    let series = wanted.min(series_max);
    let per_month = u64::from(MONTH_HOURS) * 3600 / u64::from(period_s.max(1));
    let requests_month = per_month * series.div_ceil(1000).max(1) * expected.sensors;
    let mut metrics_usd = 0.0;
    let mut below = 0;
    for (up_to, price) in prices.metric_month {
        metrics_usd += number(series.min(*up_to).saturating_sub(below)) * price;
        below = *up_to;
    }
    let requests_usd = number(requests_month) / 1000.0 * prices.thousand_requests;
    Estimate { series, folded: wanted - series, requests_month, metrics_usd, requests_usd }
}

#[allow(clippy::cast_precision_loss, reason = "an estimate")]
const fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: Expected =
        Expected { scopes: 2, protocols: 6, services: 6, tls_versions: 2, sensors: 1 };

    #[test]
    fn series_are_counted_before_they_are_sent() {
        let got = estimate(&FEW, 60, 500, &PRICES);
        // 23 totals, 12 per scope, 4 per protocol, 1 per service, 2 per class, 1 per version, 5 severities.
        assert_eq!(got.series, 23 + 2 * 12 + 6 * 4 + 6 + 4 * 2 + 2 + 5);
        assert_eq!(got.requests_month, 43_800);
        assert!((got.metrics_usd - 92.0 * 0.30).abs() < 1e-9);
        assert!((got.requests_usd - 0.438).abs() < 1e-9);
    }

    #[test]
    fn the_cap_bounds_the_bill() {
        let many = Expected { scopes: 1000, protocols: 30_000, ..FEW };
        let got = estimate(&many, 60, 500, &PRICES);
        assert_eq!(got.series, 500);
        assert!((got.metrics_usd - 150.0).abs() < 1e-9 && got.folded > 100_000);
    }

    #[test]
    fn later_metrics_are_cheaper() {
        let many =
            Expected { scopes: 1000, protocols: 0, services: 0, tls_versions: 0, sensors: 3 };
        let got = estimate(&many, 60, 1_000_000, &PRICES);
        assert!((got.metrics_usd - (3000.0 + number(got.series - 10_000) * 0.10)).abs() < 1e-6);
        assert_eq!(got.requests_month, 43_800 * 3 * got.series.div_ceil(1000));
    }
}
