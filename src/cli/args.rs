//! Arguments that several subcommands share.

use clap::Args;

use crate::{
    engine::{Network, RecordContext, ScopeRule, Scopes, Settings, vni},
    flow::Limits,
    model::time::NS_PER_S,
    strength::{PROFILES, Profile},
};

/// Limits and source domains of an engine.
#[derive(Clone, Debug, Args)]
pub(super) struct EngineArgs {
    /// Most flows held at once; the one due next is reported as evicted when the table is full
    #[arg(long, default_value_t = 1 << 20, value_name = "N", help_heading = "Limits",
          value_parser = clap::value_parser!(u64).range(1..))]
    flows_max: u64,
    /// Memory for flows still being decided, in MiB; the oldest are settled as they stand when it is used up
    #[arg(long, default_value_t = 256, value_name = "MIB", help_heading = "Limits")]
    memory_max: usize,
    /// Idle time after which a TCP flow ends, in seconds of packet time
    #[arg(long, default_value_t = 300, value_name = "S", help_heading = "Limits")]
    tcp_idle: u64,
    /// Idle time after which a UDP flow ends, in seconds of packet time
    #[arg(long, default_value_t = 60, value_name = "S", help_heading = "Limits")]
    udp_idle: u64,
    /// Source domain of mirrored copies: NAME=vni:N,source:NETWORK,endpoint:HEX (repeat; first match wins)
    #[arg(long, value_name = "RULE", help_heading = "Mirror sources")]
    scope: Vec<ScopeRule>,
    /// Accept mirrored copies only from this outer source network (repeat); the rest is counted and dropped
    #[arg(long, value_name = "NETWORK", help_heading = "Mirror sources")]
    allow_source: Vec<Network>,
    /// Accept mirrored copies only with this VNI (repeat)
    #[arg(long, value_name = "VNI", help_heading = "Mirror sources", value_parser = vni)]
    allow_vni: Vec<u32>,
    /// Policy by which the strength of TLS is judged; `cleartap profiles` lists them
    #[arg(long, value_name = "PROFILE", default_value = Profile::DEFAULT.name, value_parser = profile)]
    tls_profile: &'static Profile,
    /// Networks that count as inside (repeat); default: private, unique local and shared address space
    #[arg(long, value_name = "NETWORK", help_heading = "Mirror sources")]
    internal: Vec<Network>,
}

impl EngineArgs {
    /// Settings of an engine for `capture`.
    pub(super) fn settings(&self, capture: Option<String>) -> Settings {
        Settings {
            limits: Limits {
                flows_max: usize::try_from(self.flows_max).unwrap_or(usize::MAX),
                tcp_idle_ns: self.tcp_idle.saturating_mul(NS_PER_S),
                udp_idle_ns: self.udp_idle.saturating_mul(NS_PER_S),
                ..Limits::default()
            },
            session_bytes_max: self.memory_max.saturating_mul(1 << 20),
            scopes: Scopes {
                rules: self.scope.clone(),
                allowed_sources: self.allow_source.clone(),
                allowed_vnis: self.allow_vni.clone(),
            },
            context: RecordContext {
                capture,
                internal: self.internal.clone(),
                profile: self.tls_profile,
            },
            ..Settings::default()
        }
    }
}

/// The profile a user names.
fn profile(name: &str) -> Result<&'static Profile, String> {
    Profile::by_name(name).ok_or_else(|| {
        let names: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
        format!("no such profile; there are: {}", names.join(", "))
    })
}
