//! `[sessions]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SESSION_NUMBERS;
use crate::alerts::AwsAccess;

/// The traffic mirror sessions that `cleartap sessions` keeps. Every key is read when the command runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SessionsConfig {
    /// Name of this keeper: the tag `cleartap:keeper` of its sessions. It never touches sessions without it.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Traffic mirror target, `tmt-...`.
    pub target: Option<String>,
    /// Traffic mirror filter, `tmf-...`.
    pub filter: Option<String>,
    /// VPCs whose interfaces are looked at, and the VXLAN network identifier of each.
    pub vpcs: Vec<VpcConfig>,
    /// Only interfaces in these subnets; empty: in all.
    pub subnets: Vec<String>,
    /// Only interfaces with one of these tags (`KEY=VALUE`), their own or their instance's; empty: all.
    pub tags: Vec<String>,
    /// Session number of its sessions: the lowest of an interface that accepts a packet takes it.
    #[schemars(range(min = 1, max = 32_766))]
    pub session_number: u32,
    /// Bytes kept of each packet; none: all.
    #[schemars(range(min = 35, max = 8500))]
    pub packet_bytes: Option<u32>,
    /// Most sources of the target; none: 10 for an interface, without bound for a load balancer.
    #[schemars(range(min = 1, max = 10_000))]
    pub sources_max: Option<u32>,
    /// File the coverage report is written to, as JSON; `cleartap status` shows its summary.
    #[schemars(with = "Option<String>")]
    pub report: Option<PathBuf>,
    /// How EC2 is reached, in the account of the sources.
    pub access: AwsAccess,
}

/// One VPC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VpcConfig {
    /// `vpc-...`.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// VXLAN network identifier of its sessions.
    #[schemars(range(min = 1, max = 16_777_215))]
    pub vni: u32,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        Self {
            name: "cleartap".to_owned(),
            target: None,
            filter: None,
            vpcs: Vec::new(),
            subnets: Vec::new(),
            tags: Vec::new(),
            session_number: *SESSION_NUMBERS.start(),
            packet_bytes: None,
            sources_max: None,
            report: None,
            access: AwsAccess::default(),
        }
    }
}

impl SessionsConfig {
    /// What is wrong beyond the schema: keys and words.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut list = Vec::new();
        for (at, tag) in self.tags.iter().enumerate() {
            if tag.split_once('=').is_none_or(|(key, _)| key.is_empty()) {
                list.push((format!("sessions.tags[{at}]"), format!("`{tag}`: expected KEY=VALUE")));
            }
        }
        for (at, vpc) in self.vpcs.iter().enumerate() {
            let before = self.vpcs.iter().take(at);
            if before.clone().any(|other| other.id == vpc.id) {
                list.push((
                    format!("sessions.vpcs[{at}].id"),
                    format!("`{}` is there twice", vpc.id),
                ));
            }
            if before.clone().any(|other| other.vni == vpc.vni) {
                let told = format!("{}: another VPC has it; each VPC needs its own", vpc.vni);
                list.push((format!("sessions.vpcs[{at}].vni"), told));
            }
        }
        list
    }

    /// What is missing to make a plan: keys and words.
    pub fn missing(&self) -> Vec<(&'static str, &'static str)> {
        [
            (self.target.is_none(), "sessions.target", "name the traffic mirror target, `tmt-...`"),
            (self.filter.is_none(), "sessions.filter", "name the traffic mirror filter, `tmf-...`"),
            (
                self.vpcs.is_empty(),
                "sessions.vpcs",
                "name at least one VPC, as [{ id = \"vpc-...\", vni = 7001 }]",
            ),
        ]
        .into_iter()
        .filter(|(is, ..)| *is)
        .map(|(_, key, what)| (key, what))
        .collect()
    }
}
