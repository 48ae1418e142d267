//! `cleartap profiles`: the policies by which the strength of TLS is judged.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};

use super::{EXIT_OK, print};
use crate::{
    inspect::tls::{cipher_name, group_name},
    strength::{Fault, PROFILES, Profile, Strength},
};

/// Arguments of `profiles`.
#[derive(Debug, Args)]
pub(super) struct ProfilesArgs {
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One paragraph per profile
    Text,
    /// JSON array
    Json,
}

pub(super) fn profiles(args: &ProfilesArgs) -> anyhow::Result<u8> {
    let text = match args.format {
        Format::Text => {
            PROFILES.iter().map(|profile| paragraph(profile)).collect::<Vec<_>>().join("\n")
        }
        Format::Json => {
            let list: Vec<_> = PROFILES.iter().map(|profile| json(profile)).collect();
            serde_json::to_string_pretty(&list)? + "\n"
        }
    };
    print(&text)?;
    Ok(EXIT_OK)
}

fn paragraph(profile: &Profile) -> String {
    let default = if profile.name == Profile::DEFAULT.name { " (default)" } else { "" };
    let Profile {
        name, title, source, dated, note, dh_bits_min, rsa_bits_min, ec_bits_min, ..
    } = profile;
    let rows = [
        ("source", (*source).to_owned()),
        ("dated", (*dated).to_owned()),
        ("ciphers", profile.ciphers.join(", ")),
        ("suites", suites(profile).map_or_else(|| "all of them".to_owned(), |s| s.join(", "))),
        (
            "groups",
            groups(profile).map_or_else(|| "not judged".to_owned(), |names| names.join(", ")),
        ),
        ("bits", format!("DH {dh_bits_min}, RSA {rsa_bits_min}, EC {ec_bits_min} and more")),
        ("none", graded(profile, Strength::None).join(", ")),
        ("weak", graded(profile, Strength::Weak).join(", ")),
        ("legacy", graded(profile, Strength::Legacy).join(", ")),
        ("note", (*note).to_owned()),
    ];
    let mut text = format!("{name}{default}: {title}\n");
    for (key, value) in &rows {
        // Writing to a String cannot fail.
        let _ok = writeln!(text, "  {key:<8} {value}");
    }
    text
}

fn json(profile: &Profile) -> serde_json::Value {
    serde_json::json!({
        "name": profile.name,
        "default": profile.name == Profile::DEFAULT.name,
        "title": profile.title,
        "source": profile.source,
        "dated": profile.dated,
        "note": profile.note,
        "ciphers": profile.ciphers,
        "suites": suites(profile),
        "groups": groups(profile),
        "dh_bits_min": profile.dh_bits_min,
        "rsa_bits_min": profile.rsa_bits_min,
        "ec_bits_min": profile.ec_bits_min,
        "none": graded(profile, Strength::None),
        "weak": graded(profile, Strength::Weak),
        "legacy": graded(profile, Strength::Legacy),
    })
}

/// The suites it lists, if it lists every one.
fn suites(profile: &Profile) -> Option<Vec<String>> {
    let name = |id: &u16| cipher_name(*id).map_or_else(|| format!("0x{id:04x}"), str::to_owned);
    profile.suites.map(|suites| suites.iter().map(name).collect())
}

fn groups(profile: &Profile) -> Option<Vec<String>> {
    let name = |id: &u16| group_name(*id).map_or_else(|| format!("0x{id:04x}"), str::to_owned);
    profile.groups.map(|groups| groups.iter().map(name).collect())
}

/// Identifiers of the faults that the profile grades so.
fn graded(profile: &Profile, strength: Strength) -> Vec<&'static str> {
    let of = |fault: &&Fault| profile.grade(**fault) == strength;
    Fault::ALL.iter().filter(of).map(|fault| fault.name()).collect()
}
