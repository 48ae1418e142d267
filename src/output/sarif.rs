//! Findings as SARIF 2.1.0 (OASIS, *Static Analysis Results Interchange Format*), for code-scanning pages and the like.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    findings::{Finding, FindingState},
    policy::Severity,
};

/// A log with one run: one result per finding.
pub fn log(findings: &[Finding]) -> Value {
    let mut rules: BTreeMap<&str, &Finding> = BTreeMap::new();
    for finding in findings {
        let worst = rules.entry(&finding.edge.rule).or_insert(finding);
        if finding.severity > worst.severity {
            *worst = finding;
        }
    }
    let rules: Vec<Value> = rules.values().map(|finding| rule(finding)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "cleartap",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": findings.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn rule(finding: &Finding) -> Value {
    json!({
        "id": finding.edge.rule,
        "shortDescription": { "text": finding.why },
        "help": { "text": format!("What to change: cleartap remedies {}", finding.remedy) },
        "defaultConfiguration": { "level": level(finding.severity) },
        "properties": {
            "tags": ["security", "network"],
            "security-severity": score(finding.severity),
        },
    })
}

fn result(finding: &Finding) -> Value {
    let edge = &finding.edge;
    let place = format!("{}:{}", edge.server, edge.port);
    let mut result = json!({
        "ruleId": edge.rule,
        "level": level(finding.severity),
        "message": { "text": format!(
            "{} speaks {} with {place} ({}). {}", edge.client, edge.protocol, edge.scope, finding.why
        )},
        "locations": [{ "logicalLocations": [{
            "name": place,
            "fullyQualifiedName": format!("{}/{place}", edge.scope),
            "kind": "resource",
        }]}],
        "partialFingerprints": { "cleartapFinding/v1": finding.id },
        "baselineState": baseline(finding.state),
        "occurrenceCount": finding.flows.clamp(1, i32::MAX.unsigned_abs().into()),
        "properties": finding,
    });
    if finding.state == FindingState::Excepted
        && let Some(object) = result.as_object_mut()
    {
        let until = finding.exception_expires.as_deref().unwrap_or("its day");
        let id = finding.exception.as_deref().unwrap_or_default();
        let held = json!([{
            "kind": "external",
            "status": "accepted",
            "justification": format!("exception {id}, until {until}"),
        }]);
        object.insert("suppressions".to_owned(), held);
    }
    result
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}

/// A score in the ranges of CVSS, by which code-scanning pages sort.
const fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "9.5",
        Severity::High => "8.0",
        Severity::Medium => "5.5",
        Severity::Low => "3.0",
        Severity::Info => "0.5",
    }
}

const fn baseline(state: FindingState) -> &'static str {
    match state {
        FindingState::New => "new",
        FindingState::Regressed => "updated",
        FindingState::Resolved => "absent",
        FindingState::Open | FindingState::Quiet | FindingState::Excepted => "unchanged",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        findings::{
            Terms,
            tests::{Desk, record},
        },
        model::record::Record,
    };

    #[test]
    fn the_log_satisfies_the_published_schema() {
        // As published two patterns have a bracket too many, which strict readers refuse.
        let published = include_str!("../../tests/data/sarif/sarif-2.1.0-rtm.5.json");
        let schema: Value = serde_json::from_str(&published.replace("{2}]?$", "{2}$")).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let exception = "[[exceptions]]\nid = 'legacy'\nwhen = { client = ['10.0.0.3'] }\nowner = 'ann'\nreason = 'old'\n\
                         ticket = 'T-1'\nexpires = '2027-01-01'\n";
        let mut desk = Desk::new(exception, Terms::default());
        for client in 1..4 {
            desk.see(&record(client, 0, 1));
        }
        desk.see(&Record { credentials: vec!["password_cleartext"], ..record(9, 0, 1) });
        let findings: Vec<Finding> =
            desk.findings.snapshot().kept.into_iter().map(|kept| kept.finding).collect();
        for findings in [&findings[..], &[]] {
            let log = log(findings);
            let errors: Vec<String> = validator.iter_errors(&log).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{errors:?}");
        }
        let log = log(&findings);
        let results = log["runs"][0]["results"].as_array().unwrap();
        let suppressed = results.iter().filter(|r| r.get("suppressions").is_some()).count();
        assert_eq!((results.len(), suppressed), (4, 1));
        assert_eq!(log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap().len(), 2);
    }
}
