//! Every metric: its name, unit, meaning and the dimension sets it is published with.

/// Declares the metrics and their facts in one table.
macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident: $unit:ident, $statistic:ident, $rollups:expr, $means:literal;)+) => {
        /// A metric. Its name in every output is the variant's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric { $(#[doc = $means] $name,)+ }

        /// Every metric, in fixed order.
        pub const METRICS: &[MetricInfo] = &[$(*Metric::$name.info(),)+];

        impl Metric {
            /// Its facts.
            pub const fn info(self) -> &'static MetricInfo {
                match self {
                    $(Self::$name => &MetricInfo {
                        metric: Self::$name,
                        name: stringify!($name),
                        unit: Unit::$unit,
                        statistic: Statistic::$statistic,
                        rollups: $rollups,
                        means: $means,
                    },)+
                }
            }
        }
    };
}

/// What is fixed about a metric.
#[derive(Clone, Copy, Debug)]
pub struct MetricInfo {
    /// Which.
    pub metric: Metric,
    /// Name in CloudWatch and EMF.
    pub name: &'static str,
    /// Unit.
    pub unit: Unit,
    /// The statistic that joins several sensors and periods.
    pub statistic: Statistic,
    /// Dimension sets it is published with: CloudWatch adds nothing up over the dimensions of custom metrics.
    pub rollups: &'static [&'static [Dimension]],
    /// What it counts.
    pub means: &'static str,
}

impl Metric {
    /// Name in CloudWatch and EMF.
    pub fn name(self) -> &'static str {
        self.info().name
    }
}

/// Unit of a metric (CloudWatch `StandardUnit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Anything else, days for instance.
    None,
}

impl Unit {
    /// Name in CloudWatch.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Bytes => "Bytes",
            Self::Seconds => "Seconds",
            Self::None => "None",
        }
    }
}

/// The statistic to read a metric by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// Values of sensors add up.
    Sum,
    /// The largest counts.
    Maximum,
    /// The smallest counts.
    Minimum,
}

impl Statistic {
    /// Name in CloudWatch.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "Sum",
            Self::Maximum => "Maximum",
            Self::Minimum => "Minimum",
        }
    }
}

/// A dimension. There are no others: an address, a port or a flow is never one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Source domain (VPC, account).
    Scope,
    /// Application protocol, as `cleartap protocols` names it.
    Protocol,
    /// Kind of service that the protocol is (database, cache, broker ...), as policy rules name it.
    Class,
    /// Protocol usual on the server's port (`expected_service` of the record).
    Service,
    /// Negotiated version.
    TlsVersion,
    /// Severity of a finding.
    Severity,
}

impl Dimension {
    /// Name in CloudWatch and EMF.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scope => "Scope",
            Self::Protocol => "Protocol",
            Self::Class => "Class",
            Self::Service => "Service",
            Self::TlsVersion => "TlsVersion",
            Self::Severity => "Severity",
        }
    }
}

use Dimension::{Class, Protocol, Scope, Service, Severity, TlsVersion};

const ALL: &[&[Dimension]] = &[&[]];
const SCOPE: &[&[Dimension]] = &[&[], &[Scope]];
const PROTOCOL: &[&[Dimension]] = &[&[], &[Scope], &[Scope, Protocol]];
const CLASS: &[&[Dimension]] = &[&[], &[Scope], &[Scope, Protocol], &[Class]];
const SERVICE: &[&[Dimension]] = &[&[], &[Scope], &[Scope, Protocol], &[Scope, Service], &[Class]];
const VERSION: &[&[Dimension]] = &[&[], &[Scope], &[TlsVersion]];
const SEVERITY: &[&[Dimension]] = &[&[], &[Severity]];

metrics! {
    PlaintextFlows: Count, Sum, SERVICE,
        "Distinct plaintext or partly sealed flows in use that moved data in the period";
    PlaintextNewFlows: Count, Sum, PROTOCOL, "Those of them that were counted for the first time";
    PlaintextBytes: Bytes, Sum, PROTOCOL, "IP bytes of plaintext flows in the period";
    PlaintextRefusedFlows: Count, Sum, SCOPE,
        "Plaintext sessions that the server turned away: clients that would break, or do";
    CredentialsExposedFlows: Count, Sum, CLASS, "Plaintext flows in which credentials were readable";
    TlsFlows: Count, Sum, VERSION, "TLS, DTLS and QUIC flows that moved data in the period";
    WeakTlsFlows: Count, Sum, SCOPE, "Those of them whose TLS is weak, or protects nothing";
    EncryptedNonTlsFlows: Count, Sum, SCOPE, "Flows encrypted by SSH, WireGuard, IPsec or other means";
    UnknownFlows: Count, Sum, SCOPE, "Flows with payload of which nothing can be said";
    DecidedFlows: Count, Sum, SCOPE, "Flows with a verdict, without those that policy excludes: the denominator";
    PlaintextDecidedFlows: Count, Sum, SCOPE, "Plaintext ones of them: the numerator";
    CertificateDaysLeft: None, Minimum, SCOPE, "Days until the first of the certificates seen expires";
    OpenFindings: Count, Maximum, SEVERITY, "Findings that are open";
    MirrorPackets: Count, Sum, ALL, "Packets read";
    MirrorTruncatedPackets: Count, Sum, ALL, "Packets whose copy was cut";
    MirrorDuplicatePackets: Count, Sum, ALL, "Packets that a second vantage mirrored again";
    MirrorSkippedPackets: Count, Sum, ALL, "Packets that could not be decoded, or come from a source that is not allowed";
    KernelDrops: Count, Sum, ALL, "Packets that the kernel or the interface dropped before they were read";
    FlowTableEvictions: Count, Sum, ALL, "Flows ended early because the flow table or the memory was full";
    RecordsDropped: Count, Sum, ALL, "Records that an output could not take; metrics do not depend on them";
    SeriesDropped: Count, Sum, ALL, "Series folded into `other` by the cap";
    CanaryAgeSeconds: Seconds, Minimum, ALL, "Time since the canary was seen last, or since the start where it never was";
    SensorHeartbeat: Count, Sum, ALL, "One for every sensor whose data plane was alive";
}

impl Metric {
    /// Published every period, be it zero, so that an alarm sees 0 and not a gap.
    pub const fn is_core(self) -> bool {
        !matches!(self, Self::CertificateDaysLeft | Self::OpenFindings | Self::CanaryAgeSeconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_metrics() {
        for info in METRICS {
            assert_eq!(info.metric.name(), info.name);
            assert_eq!(
                info.rollups.first(),
                Some(&&[][..]),
                "{}: the total comes first",
                info.name
            );
        }
    }
}
