//! Conditions, compiled: names are resolved and networks parsed once.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    Subject,
    classes::{self, Class},
    spec::{PortRange, WhenSpec},
    words::{self, ANY, NONE},
};
use crate::model::{Network, Timestamp};

/// Compiled conditions; see [`WhenSpec`] for what each key means.
#[derive(Clone, Debug, Default)]
pub struct When {
    client: Option<Vec<End>>,
    server: Option<Vec<End>>,
    port: Vec<PortRange>,
    class: Vec<Class>,
    unexpected: Option<bool>,
    certificate_days_below: Option<u32>,
    words: Vec<(Key, Vec<String>)>,
}

/// One way to name an end of a flow.
#[derive(Clone, Debug)]
enum End {
    In(Network),
    /// What an inventory calls it, with `*`.
    Named(String),
}

/// Keys whose values are words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Scope,
    Transport,
    App,
    Encryption,
    Outcome,
    Confidence,
    Boundary,
    PlaintextReason,
    Credentials,
    ExpectedService,
    Upgrade,
    TlsVersion,
    TlsCipher,
    TlsStrength,
    TlsReason,
    Evidence,
}

impl When {
    /// Compiles; what is wrong comes as sentences with the key in front.
    pub fn new(
        spec: &WhenSpec,
        groups: &BTreeMap<String, Vec<Network>>,
    ) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        let client = ends("client", &spec.client, groups, &mut wrong);
        let server = ends("server", &spec.server, groups, &mut wrong);
        let mut list = Vec::new();
        for (key, name, values, allowed) in lists(spec) {
            if let Some(allowed) = allowed {
                for value in values.iter().filter(|value| !allowed.contains(&value.as_str())) {
                    wrong
                        .push(format!("{name}: `{value}`: expected one of {}", allowed.join(", ")));
                }
            }
            if !values.is_empty() {
                list.push((key, values.clone()));
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Self {
            client,
            server,
            port: spec.port.clone(),
            class: spec.class.clone(),
            unexpected: spec.unexpected,
            certificate_days_below: spec.certificate_days_below,
            words: list,
        })
    }

    /// Whether every condition holds.
    pub fn holds(&self, subject: &Subject<'_>, now: Timestamp) -> bool {
        self.words.iter().all(|(key, values)| key.holds(values, subject))
            && holds_end(self.client.as_deref(), subject.client, &subject.client_names)
            && holds_end(self.server.as_deref(), subject.server, &subject.server_names)
            && (self.port.is_empty() || self.port.iter().any(|range| range.contains(subject.port)))
            && (self.class.is_empty()
                || subject.app.and_then(classes::class).is_some_and(|c| self.class.contains(&c)))
            && self.unexpected.is_none_or(|wanted| wanted == is_unexpected(subject))
            && self.certificate_days_below.is_none_or(|below| {
                subject.cert_days_left(now).is_some_and(|left| left < i64::from(below))
            })
    }
}

impl Key {
    fn holds(self, values: &[String], subject: &Subject<'_>) -> bool {
        let one = |word: Option<&str>| {
            values.iter().any(|value| word.map_or(value == NONE, |word| word == value))
        };
        let given = |word: Option<&str>| word.is_some_and(|word| values.iter().any(|v| v == word));
        let pattern =
            |words: &[&str]| values.iter().any(|value| words.iter().any(|word| fits(value, word)));
        match self {
            Self::Scope => given(Some(subject.scope)),
            Self::Transport => given(Some(subject.transport)),
            Self::App => one(subject.app),
            Self::Encryption => given(Some(subject.encryption)),
            Self::Outcome => given(Some(subject.outcome)),
            Self::Confidence => one(subject.confidence),
            Self::Boundary => given(Some(subject.boundary)),
            Self::PlaintextReason => one(subject.plaintext_reason),
            Self::ExpectedService => one(subject.expected_service),
            Self::Upgrade => given(subject.upgrade),
            Self::TlsVersion => given(subject.tls_version),
            Self::TlsStrength => given(subject.tls_strength),
            Self::TlsCipher => pattern(subject.tls_cipher.as_slice()),
            Self::TlsReason => pattern(&subject.tls_reasons),
            Self::Evidence => pattern(&subject.evidence),
            Self::Credentials => values.iter().any(|value| match value.as_str() {
                NONE => subject.credentials.is_empty(),
                ANY => !subject.credentials.is_empty(),
                kind => subject.credentials.contains(&kind),
            }),
        }
    }
}

type List<'a> = (Key, &'static str, &'a Vec<String>, Option<Vec<&'static str>>);

/// The keys whose values are words, with the words allowed where they are ours.
fn lists(spec: &WhenSpec) -> [List<'_>; 16] {
    let some = |words: &[&'static str]| Some(words.to_vec());
    [
        (Key::Scope, "scope", &spec.scope, None),
        (Key::Transport, "transport", &spec.transport, some(words::TRANSPORTS)),
        (Key::App, "app", &spec.app, Some(words::apps())),
        (Key::Encryption, "encryption", &spec.encryption, Some(words::encryptions())),
        (Key::Outcome, "outcome", &spec.outcome, Some(words::outcomes())),
        (Key::Confidence, "confidence", &spec.confidence, Some(words::confidences())),
        (Key::Boundary, "boundary", &spec.boundary, some(words::BOUNDARIES)),
        (Key::PlaintextReason, "plaintext_reason", &spec.plaintext_reason, Some(words::reasons())),
        (Key::Credentials, "credentials", &spec.credentials, Some(words::credentials())),
        (Key::ExpectedService, "expected_service", &spec.expected_service, Some(words::apps())),
        (Key::Upgrade, "upgrade", &spec.upgrade, None),
        (Key::TlsVersion, "tls_version", &spec.tls_version, some(words::TLS_VERSIONS)),
        (Key::TlsCipher, "tls_cipher", &spec.tls_cipher, None),
        (Key::TlsStrength, "tls_strength", &spec.tls_strength, some(words::STRENGTHS)),
        (Key::TlsReason, "tls_reason", &spec.tls_reason, None),
        (Key::Evidence, "evidence", &spec.evidence, None),
    ]
}

fn ends(
    key: &str,
    values: &[String],
    groups: &BTreeMap<String, Vec<Network>>,
    wrong: &mut Vec<String>,
) -> Option<Vec<End>> {
    let mut ends = Vec::new();
    for value in values {
        if let Some(pattern) = value.strip_prefix("name:") {
            ends.push(End::Named(pattern.to_owned()));
        } else if let Some(networks) = groups.get(value) {
            ends.extend(networks.iter().copied().map(End::In));
        } else if let Ok(network) = value.parse() {
            ends.push(End::In(network));
        } else {
            let names: Vec<&str> = groups.keys().map(String::as_str).collect();
            let names = if names.is_empty() { "none yet".to_owned() } else { names.join(", ") };
            wrong.push(format!(
                "{key}: `{value}`: expected a network like 10.0.0.0/8, a name of policy.groups ({names}) or name:PATTERN"
            ));
        }
    }
    (!values.is_empty()).then_some(ends)
}

/// An empty group holds nobody, and no condition holds everybody.
fn holds_end(ends: Option<&[End]>, address: IpAddr, names: &[&str]) -> bool {
    let holds = |end: &End| match end {
        End::In(network) => network.contains(address.to_canonical()),
        End::Named(pattern) => names.iter().any(|name| fits(pattern, name)),
    };
    ends.is_none_or(|ends| ends.iter().any(holds))
}

/// The versions of HTTP share their ports.
fn is_unexpected(subject: &Subject<'_>) -> bool {
    let (Some(expected), Some(app)) = (subject.expected_service, subject.app) else { return false };
    let is_http = |name| classes::class(name) == Some(Class::Http);
    expected != app && !(is_http(expected) && is_http(app))
}

/// Whether `text` fits a pattern in which `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut open = false;
    let mut last = "";
    for part in parts {
        open = true;
        last = part;
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    // The last part stands at the end, wherever it was found first.
    rest.is_empty() || open && (last.is_empty() || text.ends_with(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, expected) in [
            ("payments-*", "payments-7", true),
            ("payments-*", "payment-7", false),
            ("*-db", "users-db", true),
            ("*-db", "users-db-1", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("*", "", true),
            ("exact", "exact", true),
            ("exact", "exactly", false),
            ("*ab", "abab", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn an_unknown_name_is_explained_with_the_names_there_are() {
        let spec = WhenSpec { client: vec!["wep".to_owned()], ..WhenSpec::default() };
        let groups = BTreeMap::from([("web".to_owned(), vec![])]);
        let wrong = When::new(&spec, &groups).unwrap_err();
        assert!(wrong[0].contains("`wep`") && wrong[0].contains("web"), "{wrong:?}");
    }
}
