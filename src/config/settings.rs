//! What has been validated: the only thing the rest of the program takes.

use std::sync::Arc;

use super::{Config, ConfigError, Place, Reload, Setting, effective::differences};
use crate::policy::Policy;

/// A configuration that is in order. Immutable: a reload makes a new one.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is written, defaults filled in.
    pub config: Config,
    /// The policy, compiled.
    pub policy: Arc<Policy>,
    /// Every setting, with its origin.
    pub list: Vec<Setting>,
}

impl Settings {
    /// Validates what the schema cannot say. Errors carry the key; the caller knows where it is written.
    pub(super) fn new(config: Config, list: Vec<Setting>) -> Result<Self, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut say = |key: &str, message: String| {
            errors.push(ConfigError { place: Place::Together, key: key.to_owned(), message });
        };
        let capture = &config.capture;
        if capture.interface.is_some() && !capture.listen.is_empty() {
            say("capture.interface", "not together with `capture.listen`".to_owned());
        }
        if capture.bpf.is_some() && capture.interface.is_none() {
            say(
                "capture.bpf",
                "needs `capture.interface`: only an interface is filtered".to_owned(),
            );
        }
        for (at, scope) in config.scopes.iter().enumerate() {
            if scope.sources.is_empty() && scope.vnis.is_empty() && scope.endpoints.is_empty() {
                let what = "has no condition: give `sources`, `vnis` or `endpoints`";
                say(&format!("scopes[{at}]"), what.to_owned());
            }
        }
        let others = config.inventory.problems().into_iter().chain(config.sessions.problems());
        for (key, message) in config.alerts.problems().into_iter().chain(others) {
            say(&key, message);
        }
        for problem in [config.metrics.problem(), config.cloudwatch.problem()].into_iter().flatten()
        {
            // `metrics.period_s = 90: expected ...`
            let (key, what) = problem.split_once(" = ").unwrap_or(("", &problem));
            say(key, what.to_owned());
        }
        let findings = &config.findings;
        if findings.resolve_s <= findings.quiet_s {
            let what = format!("{}: expected more than `findings.quiet_s`", findings.resolve_s);
            say("findings.resolve_s", what);
        }
        match Policy::new(&config.policy) {
            Ok(policy) if errors.is_empty() => Ok(Self { config, policy: Arc::new(policy), list }),
            Ok(_) => Err(errors),
            Err(wrong) => {
                errors.extend(wrong.into_iter().map(|wrong| ConfigError {
                    place: Place::Together,
                    key: format!("policy.{}", wrong.key),
                    message: wrong.message,
                }));
                Err(errors)
            }
        }
    }

    /// Keys that a newer configuration changes, and how each takes effect.
    pub fn changes(&self, newer: &Self) -> Vec<(String, Reload)> {
        differences(&self.list, &newer.list)
    }
}
