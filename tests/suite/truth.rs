//! Each capture's verdicts are what the script that made it knows to be true.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use super::capture::{all, frames, records, short_name, text};

/// The `.toml` beside a capture.
pub fn truth(path: &Path) -> toml::Table {
    let toml = path.with_extension("toml");
    let text = fs::read_to_string(&toml).unwrap_or_else(|e| panic!("{}: {e}", toml.display()));
    text.parse().unwrap_or_else(|e| panic!("{}: {e}", toml.display()))
}

#[test]
fn every_flow_is_judged_as_the_lab_knows_it() {
    let mut wrong = Vec::new();
    let mut flows = 0;
    for path in all() {
        let truth = truth(&path);
        let Some(expected) = truth.get("flow").and_then(toml::Value::as_array) else { continue };
        let records = records(&frames(&path));
        for flow in expected {
            flows += 1;
            for error in errors(flow, &records) {
                wrong.push(format!("{}: {error}", short_name(&path)));
            }
        }
    }
    println!("{flows} flows of known truth, {} differences", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How the records differ from one flow's truth.
fn errors(flow: &toml::Value, records: &[Value]) -> Vec<String> {
    let want = |key: &str| flow.get(key).and_then(toml::Value::as_str);
    let end = |ip: &str, port: &str| {
        let port = flow.get(port).and_then(toml::Value::as_integer).unwrap_or(0);
        format!("{}:{port}", want(ip).unwrap_or(""))
    };
    let (client, server) = (end("client", "client_port"), end("server", "server_port"));
    let vni = flow.get("vni").and_then(toml::Value::as_integer);
    let found: Vec<&Value> = records.iter().filter(|r| is(r, &client, &server, vni)).collect();
    let [record] = found.as_slice() else {
        return vec![format!("{client} -> {server}: {} records, expected one", found.len())];
    };
    let name = format!("{client} -> {server}");
    let mut errors = Vec::new();
    let mut differ = |key: &str, got: &str, want: &str| {
        errors.push(format!("{name}: {key} is `{got}`, not `{want}`"));
    };
    let accepted: Vec<&str> = flow
        .get("accept")
        .and_then(toml::Value::as_array)
        .map(|list| list.iter().filter_map(toml::Value::as_str).collect())
        .unwrap_or_default();
    let got = text(record, "encryption");
    if Some(got) != want("encryption") {
        if !accepted.contains(&got) {
            differ("encryption", got, want("encryption").unwrap_or("?"));
        }
        return errors;
    }
    let optional = flow.get("app_optional").and_then(toml::Value::as_bool) == Some(true);
    let app = text(record, "app");
    if let Some(want) = want("app")
        && app != want
        && !(optional && app.is_empty())
    {
        differ("app", app, want);
    }
    let poor = matches!(want("confidence"), Some("one_side" | "midstream"))
        || text(record, "counts") == "partial"
        || record["truncated"] != 0;
    for key in ["outcome", "plaintext_reason", "confidence", "origin"] {
        let Some(want) = want(key) else { continue };
        let got = text(record, key);
        // A poor view may say less: how it ended, why in clear.
        let less = poor && matches!((key, got), ("outcome", "unknown") | ("plaintext_reason", ""));
        // How sure: nothing is claimed of what is unknown or refused, and what was joined late says so.
        let moot = key == "confidence"
            && (got.is_empty() || got == "midstream" || text(record, "outcome") == "refused");
        if got != want && !less && !moot {
            differ(key, got, want);
        }
    }
    if got == "tls" && text(record, "upgrade") != want("upgrade").unwrap_or("") {
        differ("upgrade", text(record, "upgrade"), want("upgrade").unwrap_or(""));
    }
    for (key, field) in
        [("tls_version", "version"), ("tls_cipher", "cipher"), ("sni", "sni"), ("alpn", "alpn")]
    {
        if let Some(want) = want(key)
            && text(&record["tls"], field) != want
        {
            differ(key, text(&record["tls"], field), want);
        }
    }
    if let Some((got, want)) = credentials(flow, record) {
        differ("credentials", &got, &want);
    }
    for (key, got, want) in
        tls_facts(flow, record, poor).into_iter().chain(miscounted(flow, record))
    {
        differ(&key, &got, &want);
    }
    errors
}

/// Facts of the `tls` table that the record says otherwise. A poor view may say less.
fn tls_facts(flow: &toml::Value, record: &Value, poor: bool) -> Vec<(String, String, String)> {
    let Some(facts) = flow.get("tls").and_then(toml::Value::as_table) else { return Vec::new() };
    let facts = facts.iter().filter_map(|(key, want)| {
        let want = serde_json::to_value(want).unwrap();
        let got = fact(&record["tls"], key);
        let less = poor && got.is_null() || is_beginning(&got, &want);
        (got != want && !less).then(|| (format!("tls.{key}"), got.to_string(), want.to_string()))
    });
    facts.collect()
}

/// A fact of a record under the lab's name for it.
fn fact(tls: &Value, key: &str) -> Value {
    let certificate = &tls["certificate"];
    let day = |at: &str| certificate[at].as_str().and_then(|at| at.get(..DAY_BYTES)).into();
    match key {
        "certificates" => certificate["chain_length"].clone(),
        "cert_not_before" => day("not_before"),
        "cert_not_after" => {
            assert!(certificate["not_after"].is_null() || tls[key] == day("not_after"));
            tls[key].clone()
        }
        "cert_subject" => certificate["subject"].clone(),
        "cert_issuer" => certificate["issuer"].clone(),
        "cert_self_signed" => certificate["self_signed"].clone(),
        // The lab has OpenSSL's names.
        "cert_signature" => match text(certificate, "signature_algorithm") {
            "rsassa-pss" => "rsassaPss".into(),
            "ed25519" => "ED25519".into(),
            "ed448" => "ED448".into(),
            _ => certificate["signature_algorithm"].clone(),
        },
        "cert_key" => {
            let bits = &certificate["key_bits"];
            match text(certificate, "key_type") {
                "ec" => format!("id-ecPublicKey {bits}").into(),
                "rsa" => format!("rsaEncryption {bits}").into(),
                "rsa-pss" => format!("rsassaPss {bits}").into(),
                kind => kind.to_uppercase().into(),
            }
        }
        _ => tls.get(key).unwrap_or_else(|| panic!("records have no field tls.{key}")).clone(),
    }
}

/// `2026-11-23`.
const DAY_BYTES: usize = 10;

/// Whether a list is the beginning of what a client offered: records keep the first 8.
fn is_beginning(got: &Value, all: &Value) -> bool {
    let (Some(got), Some(all)) = (got.as_array(), all.as_array()) else { return false };
    got.len() >= all.len().min(8) && all.starts_with(got)
}

/// Packet counts that are known and are not what was counted.
fn miscounted(flow: &toml::Value, record: &Value) -> Vec<(String, String, String)> {
    let counts = ["packets_c2s", "packets_s2c"].into_iter().filter_map(|key| {
        let want = flow.get(key).and_then(toml::Value::as_integer)?;
        let got = record[key].as_i64();
        (got != Some(want)).then(|| (key.to_owned(), record[key].to_string(), want.to_string()))
    });
    counts.collect()
}

/// Credential kinds as found and as they are, if they differ.
fn credentials(flow: &toml::Value, record: &Value) -> Option<(String, String)> {
    let list = flow.get("credentials").and_then(toml::Value::as_array)?;
    let want: BTreeSet<&str> = list.iter().filter_map(toml::Value::as_str).collect();
    let got: BTreeSet<&str> = record["credentials"]
        .as_array()
        .map(|a| a.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    (got != want).then(|| (format!("{got:?}"), format!("{want:?}")))
}

/// Whether the record is of this flow, in either orientation.
fn is(record: &Value, client: &str, server: &str, vni: Option<i64>) -> bool {
    let (_, a, b) = super::capture::ends(record);
    let ends = (a == client && b == server) || (a == server && b == client);
    let seen = vni.is_none_or(|vni| {
        record["vantages"].as_array().is_some_and(|v| v.iter().any(|v| v["vni"] == vni))
    });
    ends && seen
}
