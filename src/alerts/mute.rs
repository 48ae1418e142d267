//! Edges that are not told for a time.

use std::net::IpAddr;

use super::MuteConfig;
use crate::{
    findings::Finding,
    model::{Date, FindingId, Network, Timestamp},
};

/// A mute, ready to match.
#[derive(Clone, Debug)]
pub struct Mute {
    config: MuteConfig,
    finding: Option<FindingId>,
    client: Option<End>,
    server: Option<End>,
    until: Date,
}

/// One way to name an end of an edge.
#[derive(Clone, Debug)]
enum End {
    In(Network),
    Named(String),
}

impl Mute {
    /// Checks what is written.
    ///
    /// # Errors
    /// What is wrong, in words for the user.
    pub fn new(config: &MuteConfig) -> Result<Self, String> {
        let finding = config.finding.as_deref().map(str::parse).transpose();
        let finding = finding.map_err(|error| format!("finding: {error}"))?;
        let until = config.until.parse().map_err(|error| format!("until: {error}"))?;
        let end = |text: &Option<String>| text.as_deref().map(End::new);
        let mute = Self {
            finding,
            client: end(&config.client),
            server: end(&config.server),
            until,
            config: config.clone(),
        };
        if mute.is_for_everything() {
            return Err("fits everything: give `finding`, `scope`, `client`, `server`, `port`, `protocol` or `rule`".to_owned());
        }
        Ok(mute)
    }

    /// Whether it holds this finding back.
    pub fn holds(&self, finding: &Finding, now: Timestamp) -> bool {
        let edge = &finding.edge;
        let name = |pattern: &Option<String>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| fits(pattern, text))
        };
        // What the wire calls a server mutes nothing: anybody may say it.
        let names = &finding.names;
        let known = names.server_name_source.as_deref() == Some("inventory");
        let client = names.client_name.as_deref();
        let server = names.server_name.as_deref().filter(|_| known);
        Date::of(now) <= self.until
            && self.finding.is_none_or(|id| id == finding.id || finding.aliases.contains(&id))
            && name(&self.config.scope, &edge.scope)
            && name(&self.config.protocol, &edge.protocol)
            && name(&self.config.rule, &edge.rule)
            && self.config.port.is_none_or(|port| port == edge.port)
            && self
                .client
                .as_ref()
                .is_none_or(|end| end.holds(&edge.client, &finding.client_address, client))
            && self
                .server
                .as_ref()
                .is_none_or(|end| end.holds(&edge.server, &finding.server_address, server))
    }

    const fn is_for_everything(&self) -> bool {
        let c = &self.config;
        self.finding.is_none()
            && c.scope.is_none()
            && c.client.is_none()
            && c.server.is_none()
            && c.port.is_none()
            && c.protocol.is_none()
            && c.rule.is_none()
    }
}

impl End {
    fn new(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Named(text.to_owned()), Self::In)
    }

    fn holds(&self, name: &str, address: &str, known: Option<&str>) -> bool {
        match self {
            Self::Named(pattern) => {
                let names = [Some(name), Some(address), known];
                names.into_iter().flatten().any(|name| fits(pattern, name))
            }
            Self::In(network) => [name, address]
                .iter()
                .any(|text| text.parse::<IpAddr>().is_ok_and(|ip| network.contains(ip))),
        }
    }
}

/// Every mute.
#[derive(Clone, Debug, Default)]
pub struct Mutes(Vec<Mute>);

impl Mutes {
    /// Checks what is written.
    ///
    /// # Errors
    /// What is wrong, in words for the user.
    pub fn new(list: &[MuteConfig]) -> Result<Self, String> {
        list.iter().map(Mute::new).collect::<Result<_, _>>().map(Self)
    }

    /// Whether one of them holds this finding back.
    pub fn hold(&self, finding: &Finding, now: Timestamp) -> bool {
        self.0.iter().any(|mute| mute.holds(finding, now))
    }
}

/// Whether `text` fits a pattern in which `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            starts.filter_map(|at| rest.get(at..)).any(|rest| fits(after, rest))
        }),
    }
}
