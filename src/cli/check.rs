//! `cleartap check`: is the configuration in order, what is in effect, and where does it come from?

use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::{EXIT_INPUT, EXIT_OK, EXIT_USAGE, args::EngineArgs, complain, print};
use crate::config::{ConfigError, Settings, load};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Show only settings that are not defaults
    #[arg(long)]
    changed: bool,
    /// Also try every output that uses AWS: identity, permissions, reachability
    #[arg(long)]
    aws: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// Something outside that a configuration needs, tried without harm. An output with an API adds its own to [`PROBES`].
pub(super) trait Probe: Sync {
    /// Which output: its section in the file.
    fn section(&self) -> &'static str;
    /// Tries it; nothing where the section is not in use.
    fn try_it(&self, settings: &Settings) -> Vec<Tried>;
}

/// One thing that was tried.
#[derive(Debug, serde::Serialize)]
pub(super) struct Tried {
    /// What: `identity`, `cloudwatch:PutMetricData`, `endpoint reachable`.
    pub(super) what: String,
    /// Whether it went well.
    pub(super) ok: bool,
    /// What was found, or what is wrong and what to do.
    pub(super) found: String,
}

/// Every probe. Those of the alert outputs join here.
const PROBES: &[&dyn Probe] = &[
    #[cfg(feature = "aws")]
    &cloudwatch::CloudWatchProbe,
];

/// CloudWatch.
#[cfg(feature = "aws")]
mod cloudwatch {
    use super::{Probe, Settings, Tried};
    use crate::output::{Fault, cloudwatch::CloudWatch};

    pub(super) struct CloudWatchProbe;

    impl Probe for CloudWatchProbe {
        fn section(&self) -> &'static str {
            "cloudwatch"
        }

        fn try_it(&self, settings: &Settings) -> Vec<Tried> {
            let config = &settings.config.cloudwatch;
            if !config.enabled {
                return Vec::new();
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let tried = |what: &str, result: Result<String, String>| {
                let ok = result.is_ok();
                let found = result.unwrap_or_else(|wrong| wrong);
                Tried { what: what.to_owned(), ok, found }
            };
            match runtime {
                Err(error) => vec![tried("start", Err(error.to_string()))],
                Ok(runtime) => runtime.block_on(async {
                    let identity = CloudWatch::identity(config).await;
                    let reached = match CloudWatch::connect(config).await {
                        Ok(client) => client.probe().await.map_err(|fault| match fault {
                            Fault::Credentials(told) => format!("not allowed: {told}"),
                            Fault::Invalid(told) | Fault::Later(told) => told,
                        }),
                        Err(error) => Err(error.to_string()),
                    };
                    vec![tried("identity", identity), tried("cloudwatch:PutMetricData", reached)]
                }),
            }
        }
    }
}

pub(super) fn check(args: &CheckArgs) -> anyhow::Result<u8> {
    match load(&args.engine.sources(Vec::new())) {
        Ok(settings) => in_order(args, &settings),
        Err(errors) => out_of_order(args, &errors),
    }
}

fn in_order(args: &CheckArgs, settings: &Settings) -> anyhow::Result<u8> {
    let tried: Vec<(&str, Vec<Tried>)> = if args.aws {
        PROBES.iter().map(|probe| (probe.section(), probe.try_it(settings))).collect()
    } else {
        Vec::new()
    };
    let failed = tried.iter().flat_map(|(_, tried)| tried).any(|tried| !tried.ok);
    let shown = settings
        .list
        .iter()
        .filter(|s| !args.changed || s.origin != crate::config::Origin::Default);
    let text = match args.format {
        Format::Json => {
            let settings: Vec<_> = shown.collect();
            let value =
                json!({ "ok": !failed, "errors": [], "settings": settings, "tried": tried });
            serde_json::to_string_pretty(&value)? + "\n"
        }
        Format::Text => {
            let mut table = Table::new();
            table.load_style(presets::NOTHING);
            table.set_content_arrangement(ContentArrangement::Disabled);
            table.set_header(["SETTING", "VALUE", "FROM", "A CHANGE TAKES EFFECT"]);
            for s in shown {
                let row = [
                    s.key.clone(),
                    value(&s.value),
                    s.origin.to_string(),
                    s.reload.name().to_owned(),
                ];
                table.add_row(row);
            }
            let mut text = format!("The configuration is in order.\n\n{}\n", table.trim_fmt());
            if args.aws {
                text.push_str(&tried_text(&tried));
            }
            text
        }
    };
    print(&text)?;
    Ok(if failed { EXIT_INPUT } else { EXIT_OK })
}

fn out_of_order(args: &CheckArgs, errors: &[ConfigError]) -> anyhow::Result<u8> {
    match args.format {
        Format::Json => {
            print(
                &(serde_json::to_string_pretty(&json!({ "ok": false, "errors": errors }))? + "\n"),
            )?;
        }
        Format::Text => errors.iter().for_each(|error| complain(&error.to_string())),
    }
    Ok(EXIT_USAGE)
}

fn tried_text(tried: &[(&str, Vec<Tried>)]) -> String {
    let lines: Vec<String> = tried
        .iter()
        .flat_map(|(section, tried)| tried.iter().map(move |t| (section, t)))
        .map(|(section, t)| {
            format!(
                "{} {section}: {}: {}\n",
                if t.ok { "ok    " } else { "FAILED" },
                t.what,
                t.found
            )
        })
        .collect();
    if lines.is_empty() {
        return "\nNo output that uses AWS is configured: nothing to try.\n".to_owned();
    }
    format!("\n{}", lines.concat())
}

/// A value in one short line; long lists by their length.
fn value(value: &Value) -> String {
    match value {
        Value::Null => "not set".to_owned(),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            format!("{} entries", items.len())
        }
        other => other.to_string(),
    }
}
