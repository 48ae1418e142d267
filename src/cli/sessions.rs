//! `cleartap sessions`: the thin edge of the session keeper. What is to be done is decided in [`crate::sessions`].
#![allow(clippy::disallowed_methods, reason = "edge: asks EC2")]

use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_ec2::types::{
    ResourceType, Tag, TagSpecification, TrafficMirrorSessionField, TrafficMirrorTargetType,
};
use clap::{Args, Subcommand, ValueEnum};

use super::{
    EXIT_FOUND, EXIT_INPUT, EXIT_OK,
    args::{BadConfig, EngineArgs},
    complain, print, whole_file,
};
use crate::{
    clock::now,
    config::load,
    ec2::{Ec2, fault},
    ingest::error::shown,
    output::Fault,
    sessions::{
        Action, KEEPER_TAG, NewSession, Plan, Report, SessionsConfig, TargetKind, Terms, plan,
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum SessionsCommand {
    /// Show what is mirrored, what is not and why, and what would be changed; change nothing
    Plan(SessionsArgs),
    /// Make, correct and remove sessions until what is wanted is so
    Apply(ApplyArgs),
    /// Like `plan`, with exit code 3 if anything differs from what is wanted
    Drift(SessionsArgs),
}

/// Arguments of all of them.
#[derive(Debug, Args)]
pub(super) struct SessionsArgs {
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Arguments of `sessions apply`.
#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// Remove sessions even if that is more than ten and more than half of them
    #[arg(long)]
    remove_many: bool,
    #[command(flatten)]
    all: SessionsArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Counts, reasons and changes, for people
    Text,
    /// The whole coverage report
    Json,
}

/// Removals that need no word of the operator.
const REMOVALS_MAX: usize = 10;
/// Tries of one change that is throttled.
const TRIES: u32 = 6;

pub(super) fn sessions(command: &SessionsCommand) -> anyhow::Result<u8> {
    let args = match command {
        SessionsCommand::Plan(args) | SessionsCommand::Drift(args) => args,
        SessionsCommand::Apply(args) => &args.all,
    };
    let config = load(&args.engine.sources(Vec::new())).map_err(BadConfig)?.config.sessions;
    if let Some((key, what)) = config.missing().into_iter().next() {
        anyhow::bail!("{key}: {what}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ec2 = Ec2::connect(&config.access).await.context("sessions.access")?;
        let keeper = Keeper { config: &config, ec2: &ec2 };
        let mut made = keeper.plan().await?;
        let mut code = EXIT_OK;
        if let SessionsCommand::Apply(args) = command {
            code = keeper.apply(&mut made, args.remove_many).await?;
        }
        if matches!(command, SessionsCommand::Drift(_)) && !made.actions.is_empty() {
            code = EXIT_FOUND;
        }
        let report = Report::new(&made, now().to_string(), &config.name, ec2.region());
        if let Some(path) = &config.report {
            let text = serde_json::to_string_pretty(&report)? + "\n";
            whole_file::replace(path, 0o666, text.as_bytes())
                .with_context(|| format!("sessions.report: {}", shown(path)))?;
        }
        print(&match args.format {
            Format::Text => report.text(),
            Format::Json => serde_json::to_string_pretty(&report)? + "\n",
        })?;
        Ok(code)
    })
}

struct Keeper<'a> {
    config: &'a SessionsConfig,
    ec2: &'a Ec2,
}

impl Keeper<'_> {
    async fn plan(&self) -> anyhow::Result<Plan> {
        let target = self.target().await?;
        let listing =
            self.ec2.listing().await.map_err(|fault| told("EC2 cannot be asked", &fault))?;
        Ok(plan(&listing, &Terms { config: self.config, target }))
    }

    /// What the target is: an interface takes few sources, a load balancer any number.
    async fn target(&self) -> anyhow::Result<TargetKind> {
        let id = self.config.target.clone().unwrap_or_default();
        let asked = self.ec2.client().describe_traffic_mirror_targets();
        let answer = asked.traffic_mirror_target_ids(&id).send().await;
        let answer =
            answer.map_err(|error| told("sessions.target cannot be looked up", &fault(&error)))?;
        let found = answer.traffic_mirror_targets.unwrap_or_default().into_iter().next();
        let found = found.with_context(|| format!("sessions.target: there is no {id} here"))?;
        Ok(match (found.r#type, found.network_interface_id) {
            (Some(TrafficMirrorTargetType::NetworkInterface) | None, Some(interface)) => {
                TargetKind::Interface(interface)
            }
            _ => TargetKind::Balancer,
        })
    }

    /// Makes the plan's changes; what is left over is what AWS refused, told in its line.
    async fn apply(&self, plan: &mut Plan, remove_many: bool) -> anyhow::Result<u8> {
        let removals = plan.removals();
        anyhow::ensure!(
            remove_many || removals <= REMOVALS_MAX || removals * 2 <= plan.own,
            "{removals} of {} sessions would be removed; if that is meant, say --remove-many",
            plan.own
        );
        let mut left = Vec::new();
        for action in std::mem::take(&mut plan.actions) {
            let Err(fault) = self.patiently(&action).await else { continue };
            let (what, interface) = name(&action);
            let told = told(&what, &fault).to_string();
            complain(&told);
            if let Some(line) = plan.lines.iter_mut().find(|line| line.interface == *interface)
                && matches!(action, Action::Create { .. })
            {
                line.refused(told);
            }
            left.push(action);
        }
        let code = if left.is_empty() { EXIT_OK } else { EXIT_INPUT };
        plan.actions = left;
        Ok(code)
    }

    /// Throttled changes are tried again, later and later.
    async fn patiently(&self, action: &Action) -> Result<(), Fault> {
        let mut wait = Duration::from_millis(500);
        for _ in 1..TRIES {
            match self.change(action).await {
                Err(Fault::Later(_)) => {
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                result => return result,
            }
        }
        self.change(action).await
    }

    async fn change(&self, action: &Action) -> Result<(), Fault> {
        match action {
            Action::Remove { session, .. } => {
                let removal = self.ec2.client().delete_traffic_mirror_session();
                let answer = removal.traffic_mirror_session_id(session).send().await;
                answer.map(drop).map_err(|error| fault(&error))
            }
            Action::Correct { session, wanted, .. } => self.correct(session, wanted).await,
            Action::Create { wanted } => self.create(wanted).await,
        }
    }

    async fn correct(&self, session: &str, wanted: &NewSession) -> Result<(), Fault> {
        let mut change = self
            .ec2
            .client()
            .modify_traffic_mirror_session()
            .traffic_mirror_session_id(session)
            .set_traffic_mirror_target_id(self.config.target.clone())
            .set_traffic_mirror_filter_id(self.config.filter.clone())
            .session_number(signed(wanted.number))
            .virtual_network_id(signed(wanted.vni))
            .set_packet_length(wanted.packet_bytes.map(signed));
        if wanted.packet_bytes.is_none() {
            change = change.remove_fields(TrafficMirrorSessionField::PacketLength);
        }
        change.send().await.map(drop).map_err(|error| fault(&error))
    }

    async fn create(&self, wanted: &NewSession) -> Result<(), Fault> {
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let tags = TagSpecification::builder()
            .resource_type(ResourceType::TrafficMirrorSession)
            .tags(tag(KEEPER_TAG, &self.config.name))
            .tags(tag("Name", &format!("{} {}", self.config.name, wanted.interface)))
            .build();
        let creation = self
            .ec2
            .client()
            .create_traffic_mirror_session()
            .network_interface_id(&wanted.interface)
            .set_traffic_mirror_target_id(self.config.target.clone())
            .set_traffic_mirror_filter_id(self.config.filter.clone())
            .session_number(signed(wanted.number))
            .virtual_network_id(signed(wanted.vni))
            .set_packet_length(wanted.packet_bytes.map(signed))
            .description("kept by cleartap sessions")
            .tag_specifications(tags);
        creation.send().await.map(drop).map_err(|error| fault(&error))
    }
}

/// The API's numbers are signed; ours are within its bounds.
fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn name(action: &Action) -> (String, &String) {
    match action {
        Action::Remove { session, interface, .. } => {
            (format!("{session} is not removed"), interface)
        }
        Action::Correct { session, wanted, .. } => {
            (format!("{session} is not corrected"), &wanted.interface)
        }
        Action::Create { wanted } => {
            (format!("{} gets no session", wanted.interface), &wanted.interface)
        }
    }
}

fn told(what: &str, fault: &Fault) -> anyhow::Error {
    anyhow::anyhow!("{what}: {fault}")
}
