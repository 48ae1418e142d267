//! Health checks and the canary: flows that say nothing of who uses a service, and are kept out of ratios.

use crate::model::{CANARY_RULE, record::Record};

/// Ids of the evidence that a flow is a health check.
pub const HEALTH_CHECKS: &[&str] = &["http.health-check"];

/// Whether a load balancer, a kubelet or a monitor asks there whether the service is alive.
pub fn is_health_check(record: &Record) -> bool {
    record.evidence.iter().any(|evidence| HEALTH_CHECKS.contains(&evidence.rule))
}

/// Whether this is `cleartap canary`, talking to itself, with an answer.
pub fn is_canary(record: &Record) -> bool {
    record.confidence == Some("both_sides")
        && record.credentials.is_empty()
        && record.evidence.iter().any(|evidence| evidence.rule == CANARY_RULE)
}

/// Either of them: nobody's use of a service.
pub fn is_idle_talk(record: &Record) -> bool {
    is_health_check(record) || is_canary(record)
}
