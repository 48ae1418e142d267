//! `--filter`: which records count.

use std::{net::IpAddr, str::FromStr};

use crate::{
    detect::DETECTORS,
    model::{BadNetwork, Confidence, Credentials, Encryption, Network, Outcome, record::Record},
};

/// One condition, `KEY=VALUE[,VALUE...]` or `KEY!=...`.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    test: Test,
    negated: bool,
}

#[derive(Clone, Debug)]
enum Test {
    Word(Key, Vec<String>),
    Address(Which, Vec<Network>),
    Port(Vec<u16>),
}

#[derive(Clone, Copy, Debug)]
enum Key {
    Encryption,
    App,
    Outcome,
    Confidence,
    Transport,
    Scope,
    Credentials,
}

#[derive(Clone, Copy, Debug)]
enum Which {
    Client,
    Server,
    Either,
}

const KEYS: &str =
    "encryption, app, outcome, confidence, transport, scope, credentials, src, dst, ip, port";

impl FromStr for Filter {
    type Err = String;

    fn from_str(condition: &str) -> Result<Self, String> {
        let (key, values) = condition
            .split_once('=')
            .ok_or_else(|| format!("`{condition}`: expected KEY=VALUE with KEY one of {KEYS}"))?;
        let (key, negated) = match key.strip_suffix('!') {
            Some(key) => (key, true),
            None => (key, false),
        };
        let values: Vec<String> = values.split(',').map(str::to_owned).collect();
        let test = test(key, values)?;
        Ok(Self { test, negated })
    }
}

/// The test that a key and its values mean.
fn test(key: &str, values: Vec<String>) -> Result<Test, String> {
    Ok(match key {
        "encryption" => {
            known(&values, Encryption::ALL.iter().map(|e| e.name()))?;
            Test::Word(Key::Encryption, values)
        }
        "outcome" => {
            known(&values, Outcome::ALL.iter().map(|e| e.name()))?;
            Test::Word(Key::Outcome, values)
        }
        "confidence" => {
            known(&values, Confidence::ALL.iter().map(|e| e.name()))?;
            Test::Word(Key::Confidence, values)
        }
        "transport" => {
            known(&values, ["tcp", "udp", "esp"].into_iter())?;
            Test::Word(Key::Transport, values)
        }
        "app" => {
            known(&values, DETECTORS.iter().map(|d| d.info().name).chain(["none"]))?;
            Test::Word(Key::App, values)
        }
        // Names are the user's own.
        "scope" => Test::Word(Key::Scope, values),
        "credentials" => {
            known(&values, Credentials::ALL.names().chain(["none"]))?;
            Test::Word(Key::Credentials, values)
        }
        "src" => Test::Address(Which::Client, networks(&values)?),
        "dst" => Test::Address(Which::Server, networks(&values)?),
        "ip" => Test::Address(Which::Either, networks(&values)?),
        "port" => Test::Port(
            values
                .iter()
                .map(|v| v.parse().map_err(|_| format!("`{v}` is no port: expected 0 to 65535")))
                .collect::<Result<_, _>>()?,
        ),
        _ => return Err(format!("`{key}`: expected one of {KEYS}")),
    })
}

impl Filter {
    /// Whether `record` passes.
    pub(super) fn passes(&self, record: &Record) -> bool {
        let holds = match &self.test {
            Test::Word(key, values) => {
                words(*key, record).iter().any(|word| values.iter().any(|value| value == word))
            }
            Test::Address(which, networks) => {
                let inside = |ip: IpAddr| networks.iter().any(|n| n.contains(ip));
                match which {
                    Which::Client => inside(record.src_ip),
                    Which::Server => inside(record.dst_ip),
                    Which::Either => inside(record.src_ip) || inside(record.dst_ip),
                }
            }
            Test::Port(ports) => {
                ports.contains(&record.src_port) || ports.contains(&record.dst_port)
            }
        };
        holds != self.negated
    }
}

/// The record's words under a key; an absent one is `none`.
fn words(key: Key, record: &Record) -> Vec<&str> {
    match key {
        Key::Encryption => vec![record.encryption],
        Key::App => vec![record.app.unwrap_or("none")],
        Key::Outcome => vec![record.outcome],
        Key::Confidence => vec![record.confidence.unwrap_or("none")],
        Key::Transport => vec![record.transport],
        Key::Scope => vec![&*record.scope],
        Key::Credentials if record.credentials.is_empty() => vec!["none"],
        Key::Credentials => record.credentials.clone(),
    }
}

fn known(values: &[String], allowed: impl Iterator<Item = &'static str>) -> Result<(), String> {
    let allowed: Vec<&str> = allowed.collect();
    match values.iter().find(|v| !allowed.contains(&v.as_str())) {
        Some(value) => Err(format!("`{value}`: expected one of {}", allowed.join(", "))),
        None => Ok(()),
    }
}

fn networks(values: &[String]) -> Result<Vec<Network>, String> {
    values.iter().map(|v| v.parse().map_err(|e: BadNetwork| e.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_keys_and_values_are_explained() {
        let error = |text: &str| text.parse::<Filter>().unwrap_err();
        assert!(error("encryption=clear").contains("plaintext"));
        assert!(error("app=postgres").contains("postgresql"));
        assert!(error("app=").contains("expected one of"));
        assert!(error("credentials=passwd").contains("password_cleartext"));
        assert!(error("colour=red").contains("encryption, app"));
        assert!(error("port=http").contains("no port"));
        assert!(error("ip=10.0.0.0/99").contains("no network"));
        assert!("encryption!=tls,ssh".parse::<Filter>().is_ok_and(|f| f.negated));
    }
}
