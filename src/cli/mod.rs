//! The command line.

mod addresses;
mod analyze;
mod args;
#[cfg(feature = "live")]
mod board;
mod canary;
mod check;
#[cfg(feature = "live")]
mod data_plane;
mod explain;
mod filter;
#[cfg(feature = "book")]
mod findings;
#[cfg(feature = "live")]
mod health;
#[cfg(feature = "live")]
mod inventory_file;
#[cfg(feature = "live")]
mod keep;
mod metrics;
mod naming;
mod policy;
mod profiles;
mod protocols;
#[cfg(feature = "live")]
mod publish;
#[cfg(feature = "live")]
mod reload;
mod remedies;
#[cfg(feature = "live")]
mod run;
#[cfg(feature = "inventory")]
mod sessions;
mod sharded;
#[cfg(feature = "live")]
mod sources;
#[cfg(feature = "live")]
mod stage;
#[cfg(feature = "live")]
mod status;
#[cfg(feature = "live")]
mod stopping;
#[cfg(feature = "live")]
mod whole_file;
#[cfg(feature = "live")]
mod writer;

use std::{io::IsTerminal, process::ExitCode};

pub use metrics::markdown as metrics_markdown;
pub use protocols::{markdown as protocols_markdown, names as protocol_names};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Everything went well.
pub const EXIT_OK: u8 = 0;
/// Some input could not be read, or an output not written; what could be read was.
pub const EXIT_INPUT: u8 = 1;
/// The command line was wrong.
pub const EXIT_USAGE: u8 = 2;
/// `--fail-on` found what it looks for.
pub const EXIT_FOUND: u8 = 3;

#[derive(Debug, Parser)]
#[command(
    name = "cleartap",
    version,
    about = "What inside the VPC still talks in cleartext, who does it, and why",
    long_about = "cleartap reads mirrored packets (VXLAN, GENEVE, plain captures), rebuilds each flow and says, with \
                  evidence, whether it is TLS, otherwise encrypted, or plaintext PostgreSQL, MySQL, Redis, HTTP ...\n\n\
                  It is passive: it never decrypts, answers or keeps payload.",
    after_help = "Exit codes: 0 all read; 1 some input could not be read (what could be read was); 2 wrong usage; \
                  3 --fail-on found something.\n\nTry: cleartap analyze capture.pcap"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one, and it lives as long as the program")]
enum Command {
    /// Read captures and report who talks in cleartext
    Analyze(analyze::AnalyzeArgs),
    /// Show how the verdict on a flow was reached, packet by packet
    Explain(explain::ExplainArgs),
    /// List the policies by which the strength of TLS is judged
    Profiles(profiles::ProfilesArgs),
    /// What metrics there are, and what they would cost
    #[command(subcommand)]
    Metrics(metrics::MetricsCommand),
    /// List the protocols that are recognised
    Protocols(protocols::ProtocolsArgs),
    /// Listen on the mirror port or an interface and write records until stopped
    #[cfg(feature = "live")]
    Run(run::RunArgs),
    /// Keep the traffic mirror sessions: what is mirrored, what is not and why, and make it so
    #[cfg(feature = "inventory")]
    #[command(subcommand)]
    Sessions(sessions::SessionsCommand),
    /// How a running sensor stands: rates, losses, findings, coverage, outputs
    #[cfg(feature = "live")]
    Status(status::StatusArgs),
    /// Prove that the whole chain works: a harmless exchange in clear that the sensor knows
    #[command(subcommand)]
    Canary(canary::CanaryCommand),
    /// Explain every error of a configuration, or show what is in effect and where it comes from
    Check(check::CheckArgs),
    /// Show what a policy would raise, and what a change of it adds and removes
    Policy(policy::PolicyArgs),
    /// What matters and since when: list and show findings, accept some for a time, export them
    #[cfg(feature = "book")]
    Findings(findings::FindingsArgs),
    /// Show who has which address, as the inventory tells it
    Addresses(addresses::AddressesArgs),
    /// Show what turns a finding off: server, client, what breaks
    Remedies(remedies::RemediesArgs),
    /// Print the JSON Schema of the records, or of the configuration
    Schema {
        /// Which schema
        #[arg(value_enum, default_value_t = SchemaOf::Record)]
        of: SchemaOf,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SchemaOf {
    /// A record of a flow
    Record,
    /// The configuration file
    Config,
}

/// The JSON Schema of the configuration, as published in deploy/config.schema.json.
pub fn config_schema() -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(crate::config::json_schema())? + "\n")
}

/// Runs the command line; what it returns is the process's exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Analyze(args) => analyze::analyze(&args),
        Command::Addresses(args) => addresses::addresses(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Profiles(args) => profiles::profiles(&args),
        Command::Metrics(command) => metrics::metrics(&command),
        Command::Protocols(args) => protocols::protocols(&args),
        #[cfg(feature = "live")]
        Command::Run(args) => run::run(&args),
        #[cfg(feature = "inventory")]
        Command::Sessions(command) => sessions::sessions(&command),
        #[cfg(feature = "live")]
        Command::Status(args) => status::status(&args),
        Command::Canary(command) => canary::canary(&command),
        Command::Check(args) => check::check(&args),
        Command::Policy(args) => policy::policy(&args),
        #[cfg(feature = "book")]
        Command::Findings(args) => findings::findings(&args),
        Command::Remedies(args) => remedies::remedies(&args),
        Command::Schema { of: SchemaOf::Record } => {
            print(crate::model::record::SCHEMA).map(|()| EXIT_OK)
        }
        Command::Schema { of: SchemaOf::Config } => {
            config_schema().and_then(|text| print(&text)).map(|()| EXIT_OK)
        }
    };
    match result {
        Ok(code) => ExitCode::from(code),
        // `cleartap analyze ... | head` is no failure.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            let usage = error.is::<args::BadConfig>();
            ExitCode::from(if usage { EXIT_USAGE } else { EXIT_INPUT })
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Writes text to standard output.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("standard output cannot be written")
}

/// Whether to write in colour there (<https://no-color.org>).
#[allow(clippy::disallowed_methods, reason = "edge: reads what the user prefers")]
fn colors(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// One line to standard error.
fn complain(message: &str) {
    use std::io::Write;
    // There is nobody left to tell if standard error is gone.
    let _ok = writeln!(std::io::stderr().lock(), "cleartap: {message}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
