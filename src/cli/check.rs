//! `cleartap check`: is the configuration in order, what is in effect, and where does it come from?

mod probes;

use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use self::probes::{PROBES, Tried};
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
