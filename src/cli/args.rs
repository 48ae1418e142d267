//! Arguments that several subcommands share, and what they become: configuration, then settings of an engine.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::{
    config::{self, Config, ConfigError, Flag, ScopeSection, Settings, Sources},
    engine::{self, RecordContext, ScopeRule, Scopes, vni},
    flow::Limits,
    model::{Network, time::NS_PER_S},
    strength::{PROFILES, Profile},
};

/// A socket address.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected ADDRESS:PORT, like 127.0.0.1:4789 or [::1]:4789".to_owned())
}

/// Limits and source domains of an engine.
#[derive(Clone, Debug, Args)]
pub(super) struct EngineArgs {
    /// Configuration file (TOML); flags and `CLEARTAP_SECTION__KEY` variables override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Most flows held at once; the one due next is reported as evicted when the table is full (default: 1048576)
    #[arg(long, value_name = "N", help_heading = "Limits",
          value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    flows_max: Option<u64>,
    /// Memory for flows still being decided, in MiB; the oldest are settled as they stand when it is used up (default: 256)
    #[arg(long, value_name = "MIB", help_heading = "Limits",
          value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    memory_max: Option<u64>,
    /// Idle time after which a TCP flow ends, in seconds of packet time (default: 300)
    #[arg(long, value_name = "S", help_heading = "Limits", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    tcp_idle: Option<u64>,
    /// Idle time after which a UDP flow ends, in seconds of packet time (default: 60; at most 10 for a question and its answer)
    #[arg(long, value_name = "S", help_heading = "Limits", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    udp_idle: Option<u64>,
    /// Source domain of mirrored copies: NAME=vni:N,source:NETWORK,endpoint:HEX (repeat; first match wins)
    #[arg(long, value_name = "RULE", help_heading = "Mirror sources")]
    scope: Vec<ScopeRule>,
    /// Accept mirrored copies only from this outer source network (repeat); the rest is counted and dropped
    #[arg(long, value_name = "NETWORK", help_heading = "Mirror sources")]
    allow_source: Vec<Network>,
    /// Accept mirrored copies only with this VNI (repeat)
    #[arg(long, value_name = "VNI", help_heading = "Mirror sources", value_parser = vni)]
    allow_vni: Vec<u32>,
    /// Policy by which the strength of TLS is judged; `cleartap profiles` lists them (default: nist-800-52r2)
    #[arg(long, value_name = "PROFILE", value_parser = profile)]
    tls_profile: Option<&'static Profile>,
    /// Networks that count as inside (repeat); default: private, unique local and shared address space
    #[arg(long, value_name = "NETWORK", help_heading = "Mirror sources")]
    internal: Vec<Network>,
}

/// A configuration that is not in order: every error, one a line.
#[derive(Debug)]
pub(super) struct BadConfig(pub(super) Vec<ConfigError>);

impl std::fmt::Display for BadConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\ncleartap: "))
    }
}

impl std::error::Error for BadConfig {}

impl EngineArgs {
    /// Where settings come from; `more` are flags of the subcommand.
    pub(super) fn sources(&self, more: Vec<Flag>) -> Sources {
        let mut flags = self.flags();
        flags.extend(more);
        Sources { file: self.config.clone(), environment: environment(), flags }
    }

    /// The settings, or everything that is wrong with them.
    pub(super) fn load(&self, more: Vec<Flag>) -> Result<Settings, BadConfig> {
        config::load(&self.sources(more)).map_err(BadConfig)
    }

    fn flags(&self) -> Vec<Flag> {
        let scopes: Vec<ScopeSection> = self.scope.iter().map(section).collect();
        let list = |name, key, value: Value| {
            let empty = value.as_array().is_some_and(Vec::is_empty);
            (!empty).then_some(Flag { name, key, value })
        };
        [
            flag("--flows-max", "limits.flows_max", self.flows_max),
            flag("--memory-max", "limits.memory_mib", self.memory_max),
            flag("--tcp-idle", "limits.tcp_idle_s", self.tcp_idle),
            flag("--udp-idle", "limits.udp_idle_s", self.udp_idle),
            flag("--tls-profile", "tls.profile", self.tls_profile.map(|profile| profile.name)),
            list("--scope", "scopes", json!(scopes)),
            list("--allow-source", "mirror.allow_sources", json!(self.allow_source)),
            list("--allow-vni", "mirror.allow_vnis", json!(self.allow_vni)),
            list("--internal", "networks.internal", json!(self.internal)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// A flag that may have been given.
pub(super) fn flag(
    name: &'static str,
    key: &'static str,
    value: Option<impl serde::Serialize>,
) -> Option<Flag> {
    value.map(|value| Flag { name, key, value: json!(value) })
}

/// The environment, as far as it is readable text.
pub(super) fn environment() -> Vec<(String, String)> {
    let readable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let mut list: Vec<(String, String)> = std::env::vars_os().filter_map(readable).collect();
    list.sort();
    list
}

/// Settings of an engine for `capture`.
pub(super) fn engine(config: &Config, capture: Option<String>) -> engine::Settings {
    let limits = &config.limits;
    let seconds = |s: u64| s.saturating_mul(NS_PER_S);
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    engine::Settings {
        limits: Limits {
            flows_max: size(limits.flows_max),
            tcp_idle_ns: seconds(limits.tcp_idle_s),
            half_open_idle_ns: seconds(limits.half_open_idle_s),
            udp_idle_ns: seconds(limits.udp_idle_s),
            ..Limits::default()
        },
        session_bytes_max: size(limits.memory_mib).saturating_mul(1 << 20),
        scopes: Scopes {
            rules: config.scopes.iter().map(rule).collect(),
            allowed_sources: config.mirror.allow_sources.clone(),
            allowed_vnis: config.mirror.allow_vnis.clone(),
            ..Scopes::default()
        },
        context: RecordContext {
            brief: false,
            capture: capture.map(Into::into),
            internal: config.networks.internal.clone(),
            aws_endpoint: config.networks.aws_endpoint.clone(),
            scopes: config
                .networks
                .scopes
                .iter()
                .map(|of| (of.scope.clone(), of.networks.clone()))
                .collect(),
            profile: Profile::by_name(&config.tls.profile).unwrap_or(Profile::DEFAULT),
        },
        ..engine::Settings::default()
    }
}

fn rule(section: &ScopeSection) -> ScopeRule {
    let hex = |text: &String| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    ScopeRule {
        name: section.name.as_str().into(),
        sources: section.sources.clone(),
        vnis: section.vnis.clone(),
        endpoint_ids: section.endpoints.iter().filter_map(hex).collect(),
    }
}

fn section(rule: &ScopeRule) -> ScopeSection {
    ScopeSection {
        name: rule.name.to_string(),
        sources: rule.sources.clone(),
        vnis: rule.vnis.clone(),
        endpoints: rule.endpoint_ids.iter().map(|id| format!("{id:x}")).collect(),
    }
}

/// The profile a user names.
fn profile(name: &str) -> Result<&'static Profile, String> {
    Profile::by_name(name).ok_or_else(|| {
        let names: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
        format!("no such profile; there are: {}", names.join(", "))
    })
}
