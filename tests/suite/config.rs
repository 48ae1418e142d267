//! The configuration file: every error at its place, precedence, what is published, and that nothing drifts apart.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::{Command, Output},
};

use cleartap::{
    config::{Place, Reload, Settings, Sources, json_schema, load},
    detect::DETECTORS,
    policy::{NAMES, in_clear},
};
use serde_json::Value;

use super::{
    capture::root,
    cli::{cleartap, stderr, stdout},
    process,
};

struct File {
    folder: tempfile::TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("c.toml"), text).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("c.toml")
    }
}

fn read(text: &str, environment: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let file = File::new(text);
    let environment = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let sources = Sources { file: Some(file.path()), environment, flags: Vec::new() };
    let folder = file.folder.path().display().to_string();
    load(&sources)
        .map_err(|errors| errors.iter().map(|e| e.to_string().replace(&folder, "")).collect())
}

fn check(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    process::output(
        Command::new(env!("CARGO_BIN_EXE_cleartap"))
            .arg("check")
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(root()),
    )
}

#[test]
fn every_error_of_a_file_is_told_at_once_with_line_column_key_and_what_was_expected() {
    let errors = read(
        "[limits]\nflow_max = 5\ntcp_idle_s = 0\nmemory_mib = \"much\"\n[log]\nform = \"jsn\"\n[mirror]\nallow_sources = [\"10.0.0.0/8\", \"10.0.0.0/99\"]\nallow_vnis = [16777216]\n[[policy.rules]]\nid = \"x\"\nseverity = \"high\"\nwhen = { app = [\"postgres\"], port = [\"80-70\"] }\n[record]\n",
        &[],
    )
    .unwrap_err();
    let expected = [
        "/c.toml:2:1: limits.flow_max: unknown key; did you mean `flows_max`? expected one of ",
        "/c.toml:3:14: limits.tcp_idle_s: 0: expected 1 to 604800",
        "/c.toml:4:14: limits.memory_mib: expected a whole number, found the text \"much\"",
        "/c.toml:6:8: log.form: `jsn`; did you mean `json`? expected one of text, json",
        "/c.toml:8:32: mirror.allow_sources[1]: `10.0.0.0/99` is no network",
        "/c.toml:9:15: mirror.allow_vnis[0]: 16777216: expected 0 to 16777215",
        "/c.toml:10:1: policy.rules[0]: `action` is missing",
        "/c.toml:13:17: policy.rules[0].when.app[0]: `postgres`; did you mean `postgresql`? expected",
        "/c.toml:13:38: policy.rules[0].when.port[0]: `80-70` is no port",
        "/c.toml:14:2: record: unknown key; did you mean `records`? expected one of ",
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.starts_with(expected), "{error}\n  expected\n{expected}");
    }
}

#[test]
fn broken_syntax_and_missing_files_have_a_place_too() {
    let errors = read("[limits\nflows_max = = 3\n", &[]).unwrap_err();
    assert!(errors[0].starts_with("/c.toml:1:"), "{errors:?}");
    let missing = Sources { file: Some("/nonexistent/c.toml".into()), ..Sources::default() };
    let errors = load(&missing).unwrap_err();
    assert!(errors[0].to_string().contains("/nonexistent/c.toml: cannot be read"), "{errors:?}");
}

#[test]
fn what_the_schema_cannot_say_is_told_with_its_place() {
    let errors = read(
        "[policy]\ndisabled = [\"nope\"]\n[[policy.exceptions]]\nid = \"e\"\nwhen = { client = [\"web\"] }\nowner = \"o\"\nreason = \"r\"\nticket = \"\"\nexpires = \"2027-01-01\"\n[[scopes]]\nname = \"empty\"\n",
        &[],
    )
    .unwrap_err()
    .join("\n");
    for part in [
        "/c.toml:2:13: policy.disabled[0]: `nope` is no built-in rule",
        "/c.toml:5:8: policy.exceptions[0].when: client: `web`: expected a network",
        "/c.toml:8:10: policy.exceptions[0].ticket: is empty",
        "/c.toml:10:1: scopes[0]: has no condition",
    ] {
        assert!(errors.contains(part), "{part} is missing in\n{errors}");
    }
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file = File::new("[limits]\nflows_max = 10\ntcp_idle_s = 20\nudp_idle_s = 30\n");
    let path = file.path();
    let arguments = ["--config", path.to_str().unwrap(), "--format", "json", "--flows-max", "1000"];
    let environment =
        [("CLEARTAP_LIMITS__FLOWS_MAX", "100"), ("CLEARTAP_LIMITS__TCP_IDLE_S", "200")];
    let output = check(&arguments, &environment);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let value: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let setting = |key: &str| {
        let list = value["settings"].as_array().unwrap();
        let setting = list.iter().find(|s| s["key"] == key).unwrap();
        (setting["value"].clone(), setting["origin"].to_string(), setting["reload"].clone())
    };
    let (value, origin, reload) = setting("limits.flows_max");
    assert_eq!((value, reload), (1000.into(), "restart".into()));
    assert!(origin.contains("--flows-max"), "{origin}");
    let (value, origin, _) = setting("limits.tcp_idle_s");
    assert_eq!(value, 200);
    assert!(origin.contains("CLEARTAP_LIMITS__TCP_IDLE_S"), "{origin}");
    let (value, origin, reload) = setting("limits.udp_idle_s");
    assert_eq!((value, reload), (30.into(), "new-flows".into()));
    assert!(origin.contains("\"line\":4"), "{origin}");
    let (value, origin, _) = setting("limits.half_open_idle_s");
    assert_eq!((value, origin.as_str()), (20.into(), "\"default\""));
}

#[test]
fn the_environment_takes_lists_and_words_and_explains_what_it_cannot_take() {
    let settings = read(
        "",
        &[
            ("CLEARTAP_MIRROR__ALLOW_SOURCES", "10.0.0.0/8, 10.9.0.0/16"),
            ("CLEARTAP_MIRROR__ALLOW_VNIS", "7,8"),
            ("CLEARTAP_LOG__FORM", "json"),
            ("CLEARTAP_LOG", "debug"),
        ],
    )
    .unwrap();
    assert_eq!(settings.config.mirror.allow_vnis, [7, 8]);
    assert_eq!(settings.config.mirror.allow_sources.len(), 2);
    let errors =
        read("", &[("CLEARTAP_LIMITS__FLOWS", "1"), ("CLEARTAP_LOG__FORM", "xml")]).unwrap_err();
    let text = errors.join("\n");
    assert!(
        text.contains("environment CLEARTAP_LIMITS__FLOWS: limits.flows: unknown key"),
        "{text}"
    );
    assert!(text.contains("expected one of text, json"), "{text}");
}

#[test]
fn check_explains_and_its_exit_code_says_so() {
    let file = File::new("[limits]\nflow_max = 1\n");
    let path = file.path();
    let output = check(&["--config", path.to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean `flows_max`?"), "{}", stderr(&output));
    let json = check(&["--config", path.to_str().unwrap(), "--format", "json"], &[]);
    let value: Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!(value["errors"][0]["place"]["file"]["line"], 2, "{value}");
    let text = stdout(&check(&[], &[]));
    assert!(text.contains("limits.flows_max") && text.contains("default"), "{text}");
    let analyze = ["analyze", "captures/demo.pcap", "--config", path.to_str().unwrap()];
    assert_eq!(cleartap(&analyze).status.code(), Some(2), "other commands refuse it too");
}

#[test]
fn the_published_schema_is_the_one_in_use_and_the_example_satisfies_it() {
    let published = std::fs::read_to_string(root().join("deploy/config.schema.json")).unwrap();
    assert_eq!(
        published,
        cleartap::cli::config_schema().unwrap(),
        "cleartap schema config > deploy/config.schema.json"
    );
    let text = std::fs::read_to_string(root().join("deploy/cleartap.toml")).unwrap();
    for text in [text.clone(), uncommented(&text)] {
        let value: Value = toml::from_str(&text).unwrap();
        let validator = jsonschema::validator_for(json_schema()).unwrap();
        let errors: Vec<String> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

#[test]
fn the_example_names_every_key_with_its_default_and_how_it_reloads() {
    let text = std::fs::read_to_string(root().join("deploy/cleartap.toml")).unwrap();
    let defaults = load(&Sources::default()).unwrap();
    let example = read(&text, &[]).unwrap();
    assert_eq!(example.config, defaults.config, "the example changes a default");
    for setting in &defaults.list {
        let key = setting.key.rsplit('.').next().unwrap();
        let is = |line: &str| {
            let line = line.trim_start_matches("# ");
            [format!("{key} ="), format!("[{}]", setting.key), format!("[[{}]]", setting.key)]
                .iter()
                .any(|start| line.starts_with(start))
        };
        let reload = format!("[{}]", setting.reload.name());
        let said = text.lines().any(|line| is(line) && line.contains(&reload));
        assert!(said, "deploy/cleartap.toml has no line for {} with {reload}", setting.key);
    }
    read(&uncommented(&text).replace("interface =", "# ").replace("bpf =", "# "), &[]).unwrap();
}

/// The example with everything in it that is commented out.
fn uncommented(text: &str) -> String {
    let is_example =
        |line: &str| line.starts_with("# [[") || line.starts_with("# ") && line.contains(" = ");
    let (head, body) = text.split_once("\n[capture]").unwrap();
    let lines = body
        .lines()
        .map(|line| if is_example(line) { line.trim_start_matches("# ") } else { line });
    format!("{head}\n[capture]{}\n", lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn a_change_says_how_it_takes_effect() {
    let old = read("", &[]).unwrap();
    let new = read("[limits]\nflows_max = 5\nmemory_mib = 5\nudp_idle_s = 5\n", &[]).unwrap();
    let changes = old.changes(&new);
    assert_eq!(
        changes,
        [
            ("limits.flows_max".to_owned(), Reload::Restart),
            ("limits.memory_mib".to_owned(), Reload::Live),
            ("limits.udp_idle_s".to_owned(), Reload::NewFlows)
        ]
    );
    assert!(matches!(
        &new.list.iter().find(|s| s.key == "limits.udp_idle_s").unwrap().origin,
        cleartap::config::Origin::Written(Place::File { line: 4, .. })
    ));
}

#[test]
fn every_protocol_has_one_class_and_a_remedy() {
    let registry: BTreeSet<&str> = DETECTORS.iter().map(|d| d.info().name).collect();
    let classes: BTreeSet<&str> =
        NAMES.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let missing: Vec<_> = registry.difference(&classes).collect();
    let unknown: Vec<_> = classes.difference(&registry).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "no class: {missing:?}; no protocol: {unknown:?}"
    );
    assert!(in_clear().count() > 100);
}
