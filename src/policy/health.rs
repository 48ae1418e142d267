//! Health checks: flows that say nothing of who uses a service, and are kept out of ratios.

use crate::model::record::Record;

/// Ids of the evidence that a flow is a health check.
pub const HEALTH_CHECKS: &[&str] = &["http.health-check"];

/// Whether a load balancer, a kubelet or a monitor asks there whether the service is alive.
pub fn is_health_check(record: &Record) -> bool {
    record.evidence.iter().any(|evidence| HEALTH_CHECKS.contains(&evidence.rule))
}
