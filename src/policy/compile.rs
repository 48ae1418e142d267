//! From what is written to what is matched.

use std::{collections::BTreeSet, sync::Arc};

use serde::Deserialize;

use super::{
    Controls, Exception, Remedies, Rule, When,
    spec::{ExceptionSpec, PolicySpec, RuleSpec},
};
use crate::model::Date;

/// The built-in rules, in the grammar of the user's.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// A policy, ready to judge. Immutable: a new configuration makes a new one.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    exceptions: Vec<Exception>,
    controls: Controls,
    remedies: Remedies,
}

/// What is wrong with a policy, by the key it is wrong at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct PolicyError {
    /// Where, from the policy's own table on: `rules[2].when`.
    pub key: String,
    /// What is wrong and what was expected.
    pub message: String,
}

/// The built-in rules.
///
/// # Errors
/// The sentence of the parser; a test holds that there is none.
pub fn defaults() -> Result<Vec<RuleSpec>, PolicyError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        rules: Vec<RuleSpec>,
    }
    let file: Result<File, _> = toml::from_str(DEFAULTS);
    file.map(|file| file.rules).map_err(|error| wrong("defaults", error.to_string()))
}

impl Policy {
    /// Compiles a policy; everything that is wrong comes at once.
    pub fn new(spec: &PolicySpec) -> Result<Self, Vec<PolicyError>> {
        let mut errors = Vec::new();
        let built_in = defaults().map_err(|error| vec![error])?;
        let controls = Controls::built_in().map_err(|e| vec![wrong("controls", e)])?;
        let remedies = Remedies::built_in().map_err(|e| vec![wrong("remedies", e)])?;
        let mut compiler =
            Compiler { spec, controls: &controls, remedies: &remedies, errors: &mut errors };
        let rules = compiler.rules(&built_in);
        let exceptions = compiler.exceptions(&rules);
        if errors.is_empty() {
            Ok(Self { rules, exceptions, controls, remedies })
        } else {
            Err(errors)
        }
    }

    /// The rules, in the order they are asked.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The exceptions.
    pub fn exceptions(&self) -> &[Exception] {
        &self.exceptions
    }

    /// The sets of controls.
    pub const fn controls(&self) -> &Controls {
        &self.controls
    }

    /// The remedies.
    pub const fn remedies(&self) -> &Remedies {
        &self.remedies
    }
}

struct Compiler<'a> {
    spec: &'a PolicySpec,
    controls: &'a Controls,
    remedies: &'a Remedies,
    errors: &'a mut Vec<PolicyError>,
}

impl Compiler<'_> {
    /// The user's rules, then the built-in ones; one with the id of a built-in rule stands in its place.
    fn rules(&mut self, built_in: &[RuleSpec]) -> Vec<Rule> {
        let spec = self.spec;
        let known: BTreeSet<&str> = built_in.iter().map(|rule| rule.id.as_str()).collect();
        let mut ids = BTreeSet::new();
        let mut first = Vec::new();
        let mut replacing: Vec<Rule> = Vec::new();
        for (at, rule) in spec.rules.iter().enumerate() {
            let key = format!("rules[{at}]");
            if !ids.insert(rule.id.as_str()) {
                self.wrong(format!("{key}.id"), format!("`{}`: another rule has this id", rule.id));
            }
            let Some(compiled) = self.rule(&key, rule, false) else { continue };
            let replaces = spec.defaults && known.contains(rule.id.as_str());
            if replaces { replacing.push(compiled) } else { first.push(compiled) }
        }
        for (at, id) in
            spec.disabled.iter().enumerate().filter(|(_, id)| !known.contains(id.as_str()))
        {
            let ids: Vec<&str> = known.iter().copied().collect();
            self.wrong(
                format!("disabled[{at}]"),
                format!("`{id}` is no built-in rule: expected one of {}", ids.join(", ")),
            );
        }
        let wanted =
            built_in.iter().filter(|rule| spec.defaults && !spec.disabled.contains(&rule.id));
        for rule in wanted {
            let replaced = replacing.iter().position(|own| *own.id == rule.id);
            match replaced {
                Some(at) => first.push(replacing.swap_remove(at)),
                None => first.extend(self.rule("defaults", rule, true)),
            }
        }
        first
    }

    fn rule(&mut self, key: &str, rule: &RuleSpec, built_in: bool) -> Option<Rule> {
        if !is_id(&rule.id) {
            self.wrong(format!("{key}.id"), bad_id(&rule.id));
        }
        let mut controls = Vec::new();
        for id in &rule.controls {
            if let Some(set) = self.controls.get(id) {
                controls.extend_from_slice(&set.controls);
                continue;
            }
            let known: Vec<&str> = self.controls.iter().map(|(id, _)| id).collect();
            let message = format!("`{id}`: expected one of {}", known.join(", "));
            self.wrong(format!("{key}.controls"), message);
        }
        if let Some(remedy) = rule.remedy.as_deref().filter(|id| self.remedies.get(id).is_none()) {
            let known: Vec<&str> = self.remedies.iter().map(|r| r.id.as_str()).collect();
            self.wrong(
                format!("{key}.remedy"),
                format!("`{remedy}`: expected one of {}", known.join(", ")),
            );
        }
        let when = self.when(&format!("{key}.when"), &rule.when);
        let unless = rule.unless.as_ref().map(|unless| self.when(&format!("{key}.unless"), unless));
        Some(Rule {
            id: rule.id.as_str().into(),
            topic: rule.topic,
            severity: rule.severity,
            action: rule.action,
            why: rule.why.as_str().into(),
            remedy: rule.remedy.as_deref().map(Arc::from),
            controls: controls.into(),
            per: rule.per,
            built_in,
            when: when?,
            unless: match unless {
                Some(unless) => Some(unless?),
                None => None,
            },
        })
    }

    fn exceptions(&mut self, rules: &[Rule]) -> Vec<Exception> {
        let spec = self.spec;
        let mut ids = BTreeSet::new();
        let mut list = Vec::new();
        for (at, exception) in spec.exceptions.iter().enumerate() {
            let key = format!("exceptions[{at}]");
            if !ids.insert(exception.id.as_str()) {
                let id = &exception.id;
                self.wrong(format!("{key}.id"), format!("`{id}`: another exception has this id"));
            }
            list.extend(self.exception(&key, exception, rules));
        }
        list
    }

    fn exception(&mut self, key: &str, spec: &ExceptionSpec, rules: &[Rule]) -> Option<Exception> {
        if !is_id(&spec.id) {
            self.wrong(format!("{key}.id"), bad_id(&spec.id));
        }
        for (name, text) in
            [("owner", &spec.owner), ("reason", &spec.reason), ("ticket", &spec.ticket)]
        {
            if text.trim().is_empty() {
                let what = "is empty: an exception needs an owner, a reason and a ticket";
                self.wrong(format!("{key}.{name}"), what.to_owned());
            }
        }
        for id in spec.rules.iter().filter(|id| !rules.iter().any(|rule| *rule.id == ***id)) {
            let known: Vec<&str> = rules.iter().map(|rule| &*rule.id).collect();
            self.wrong(
                format!("{key}.rules"),
                format!("`{id}` is no rule: expected one of {}", known.join(", ")),
            );
        }
        let when = self.when(&format!("{key}.when"), &spec.when);
        let expires: Option<Date> = match spec.expires.parse() {
            Ok(date) => Some(date),
            Err(error) => {
                self.wrong(format!("{key}.expires"), format!("{error}"));
                None
            }
        };
        Some(Exception {
            id: spec.id.as_str().into(),
            rules: spec.rules.iter().map(|id| Arc::from(id.as_str())).collect(),
            owner: spec.owner.as_str().into(),
            reason: spec.reason.as_str().into(),
            ticket: spec.ticket.as_str().into(),
            expires: expires?,
            when: when?,
        })
    }

    fn when(&mut self, key: &str, spec: &super::spec::WhenSpec) -> Option<When> {
        match When::new(spec, &self.spec.groups) {
            Ok(when) => Some(when),
            Err(sentences) => {
                for sentence in sentences {
                    self.wrong(key.to_owned(), sentence);
                }
                None
            }
        }
    }

    fn wrong(&mut self, key: String, message: String) {
        self.errors.push(PolicyError { key, message });
    }
}

fn wrong(key: &str, message: String) -> PolicyError {
    PolicyError { key: key.to_owned(), message }
}

/// Ids stand in metrics, file names and other systems' keys.
fn is_id(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(word)
}

fn bad_id(text: &str) -> String {
    format!("`{text}` is no id: expected 1 to {ID_BYTES_MAX} of a-z, 0-9, -, _ and .")
}

/// Longest id of a rule or exception, in bytes.
const ID_BYTES_MAX: usize = 64;
