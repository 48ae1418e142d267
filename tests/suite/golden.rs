//! What is said of every capture, as one table: a change to a detector shows its effect on all of them.

use std::fmt::Write as _;

use super::capture::{all, frames, records, short_name, text};

#[test]
fn the_verdict_on_every_capture() {
    let mut families = std::collections::BTreeMap::<String, String>::new();
    for path in all() {
        let name = short_name(&path);
        let family = name.split('/').next().unwrap_or("").to_owned();
        let mut records = records(&frames(&path));
        records.sort_by_key(|r| (r["ts_first"].to_string(), r["src_port"].to_string()));
        let table = families.entry(family).or_default();
        for record in records {
            let tls = &record["tls"];
            let mut words = vec![
                text(&record, "encryption"),
                text(&record, "outcome"),
                text(&record, "app"),
                text(&record, "upgrade"),
                text(&record, "plaintext_reason"),
                text(&record, "confidence"),
                text(&record, "unknown_reason"),
                text(tls, "version"),
                text(&record, "counts"),
            ];
            let credentials: Vec<&str> = record["credentials"]
                .as_array()
                .map(|a| a.iter().filter_map(|v| v.as_str()).collect())
                .unwrap_or_default();
            words.extend(credentials);
            let rules: Vec<&str> = record["evidence"]
                .as_array()
                .map(|a| a.iter().map(|e| text(e, "rule")).collect())
                .unwrap_or_default();
            words.retain(|w| !w.is_empty());
            let port = &record["dst_port"];
            writeln!(table, "{name} :{port}  {}  [{}]", words.join(" "), rules.join(" ")).unwrap();
        }
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| {
        for (family, table) in &families {
            insta::assert_snapshot!(format!("verdicts-{}", family.replace('.', "_")), table);
        }
    });
}
