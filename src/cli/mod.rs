//! The command line.

mod analyze;
mod args;
mod explain;
mod filter;
mod metrics;
mod protocols;
#[cfg(feature = "live")]
mod publish;
#[cfg(feature = "live")]
mod run;
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
enum Command {
    /// Read captures and report who talks in cleartext
    Analyze(analyze::AnalyzeArgs),
    /// Show how the verdict on a flow was reached, packet by packet
    Explain(explain::ExplainArgs),
    /// What metrics there are, and what they would cost
    #[command(subcommand)]
    Metrics(metrics::MetricsCommand),
    /// List the protocols that are recognised
    Protocols(protocols::ProtocolsArgs),
    /// Listen on the mirror port or an interface and write records until stopped
    #[cfg(feature = "live")]
    Run(run::RunArgs),
    /// Print the JSON Schema of the records
    Schema,
}

/// Runs the command line; what it returns is the process's exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Analyze(args) => analyze::analyze(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Metrics(command) => metrics::metrics(&command),
        Command::Protocols(args) => protocols::protocols(&args),
        #[cfg(feature = "live")]
        Command::Run(args) => run::run(&args),
        Command::Schema => print(crate::model::record::SCHEMA).map(|()| EXIT_OK),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        // `cleartap analyze ... | head` is no failure.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::from(EXIT_INPUT)
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
