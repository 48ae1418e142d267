//! Whether a flow matters, why, which requirements it bears on, and what turns it off.
//!
//! Pure: rules, exceptions, controls and remedies are data ([`DEFAULTS`], `remedies/`), time is passed in, and the only thing
//! looked at is a [`Subject`], the part of a record that rules can speak of.
//!
//! **Which rule speaks.** Every rule belongs to a [`Topic`]: what can be read (`cleartext`), how strong TLS is (`tls`), the
//! certificate, or whether the service is the expected one. Within a topic the first rule that matches decides; the user's
//! rules come before the built-in ones, and a user's rule with the id of a built-in one takes its place there. So one flow
//! raises at most one thing per topic. A rule without a topic speaks for all of them: an `ignore` there silences the flow.
//!
//! **How far it may go.** [`reach`] holds the table of confidence and outcome: whatever a rule asks for, an inference never
//! alerts and a refused attempt never pages.
//!
//! Reading order: [`Subject`], [`When`], [`RuleSpec`], [`Policy::judge`], [`reach`], [`Exception`], [`Remedies`].
#![forbid(unsafe_code)]

mod classes;
mod compile;
mod controls;
mod decide;
mod diff;
mod exceptions;
mod health;
mod remedies;
mod rules;
mod services;
mod spec;
mod subject;
mod when;
mod words;

pub use classes::{Class, NAMES, class, class_name, in_clear};
pub use compile::{DEFAULTS, Policy, PolicyError, defaults};
pub use controls::{Control, ControlSet, Controls, Relation};
pub use decide::{Decision, EXCEPTION_EXPIRED, Raise, RaiseKind, Reach, reach};
pub use diff::{Change, Changes, Said, diff};
pub use exceptions::{Applied, Exception};
pub use health::{HEALTH_CHECKS, is_canary, is_health_check, is_idle_talk};
pub use remedies::{GENERIC, Remedies, Remedy};
pub use rules::Rule;
pub use spec::{
    Action, ExceptionSpec, Per, PolicySpec, PortRange, RuleSpec, Severity, Topic, WhenSpec,
};
pub use subject::Subject;
pub use when::When;

#[cfg(test)]
mod tests;
