//! The tree keeps its own rules: layers, registry, captures with truth, file sizes, confessed edges.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use cleartap::detect::DETECTORS;

use super::capture::{all, root};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut list = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // What the fuzz targets were built into is not ours.
        if path.ends_with("target") {
            continue;
        }
        if path.is_dir() {
            list.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            list.push(path);
        }
    }
    list.sort();
    list
}

/// First path component below `src`: the module.
fn module(path: &Path) -> String {
    let relative = path.strip_prefix(root().join("src")).unwrap();
    relative.components().next().unwrap().as_os_str().to_string_lossy().replace(".rs", "")
}

/// Modules each module may use, as the table in lib.rs says.
fn may_use(module: &str) -> Option<&'static [&'static str]> {
    Some(match module {
        "bytes" | "slab" => &[],
        "model" => &["bytes"],
        "wire" | "detect" | "inspect" => &["bytes", "model", "detect"],
        "flow" => &["bytes", "model", "slab"],
        "alerts" => &["model", "policy", "findings"],
        "config" => {
            &["model", "inventory", "policy", "strength", "alerts", "metrics", "output", "sessions"]
        }
        "clock" | "inventory" | "policy" | "strength" => &["model"],
        "enrich" => &["model", "inventory"],
        "sessions" => &["model", "inventory", "alerts"],
        "ec2" => &["model", "alerts", "inventory", "output"],
        "findings" => &["model", "policy"],
        "counters" => &["flow", "ingest", "wire", "model"],
        "metrics" => &["model", "counters"],
        "engine" => &[
            "bytes", "model", "wire", "detect", "inspect", "flow", "strength", "metrics",
            "counters", "ingest",
        ],
        "ingest" => &["model", "clock", "wire", "counters"],
        "output" => &[
            "model", "slab", "clock", "counters", "engine", "metrics", "policy", "findings",
            "alerts",
        ],
        _ => return None,
    })
}

#[test]
fn imports_run_one_way() {
    let mut wrong = Vec::new();
    for path in sources(&root().join("src")) {
        let here = module(&path);
        let Some(allowed) = may_use(&here) else { continue };
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for used in used_modules(code) {
            if used != here && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{} uses {used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Module names after `crate::`, also in grouped imports.
fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let word = |text: &str| -> String {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    for part in code.split("crate::").skip(1) {
        match part.strip_prefix('{') {
            None => {
                used.insert(word(part));
            }
            Some(group) => {
                let mut depth = 0_i32;
                let mut start = true;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && c.is_alphabetic() => {
                            used.insert(word(&group[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    used
}

#[test]
fn every_detector_file_is_registered_and_every_name_is_its_file() {
    let files: BTreeSet<String> = fs::read_dir(root().join("src/detect"))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .filter_map(|n| n.strip_suffix(".rs").map(str::to_owned))
        .filter(|n| !["mod", "check"].contains(&n.as_str()))
        .collect();
    let registry = fs::read_to_string(root().join("src/detect/mod.rs")).unwrap();
    let names: BTreeSet<String> =
        DETECTORS.iter().map(|d| d.info().name.replace('-', "_")).collect();
    for name in &names {
        assert!(files.contains(name), "{name} has no file of its name");
    }
    for file in &files {
        let shared = registry.contains(&format!("mod {file};"));
        assert!(names.contains(file) || shared, "src/detect/{file}.rs is not registered");
    }
    assert_eq!(names.len(), DETECTORS.len(), "two detectors share a name");
}

#[test]
fn every_detector_tells_its_facts() {
    for info in DETECTORS.iter().map(|d| d.info()) {
        assert!(info.spec.starts_with("https://"), "{}: spec", info.name);
        assert!(!info.title.is_empty() && !info.transports.is_empty(), "{}", info.name);
    }
}

#[test]
fn every_capture_says_what_it_proves() {
    for path in all() {
        let truth = super::truth::truth(&path);
        for key in ["proves", "made_by", "licence", "made", "versions", "canaries"] {
            assert!(truth.contains_key(key), "{} has no `{key}`", path.display());
        }
    }
}

#[test]
fn files_stay_readable() {
    for path in sources(&root().join("src")).into_iter().chain(sources(&root().join("tests"))) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 600, "{} has {lines} lines", path.display());
    }
}

/// The files that touch the world, each with its reason.
#[test]
fn edges_confess() {
    let mut edges = Vec::new();
    for path in sources(&root().join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        if text.contains("clippy::disallowed_methods") {
            assert!(text.contains("reason = \"edge: "), "{} gives no reason", path.display());
            let pure = [
                "bytes",
                "model",
                "wire",
                "flow",
                "detect",
                "inspect",
                "strength",
                "engine",
                "policy",
                "metrics",
                "alerts",
                "inventory",
            ];
            assert!(!pure.contains(&module(&path).as_str()), "{} is pure", path.display());
            edges.push(path.clone());
        }
        assert!(!text.contains("allow(unsafe_code"), "{}", path.display());
    }
    assert!(!edges.is_empty());
}

#[test]
fn the_readme_lists_the_registry() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let names = cleartap::cli::protocol_names();
    assert!(readme.contains(&names), "README.md must hold this line:\n{names}");
}

#[test]
fn the_protocol_table_is_the_registry() {
    let page = fs::read_to_string(root().join("deploy/protocols.md")).unwrap();
    let table = cleartap::cli::protocols_markdown(&root().join("captures")).unwrap();
    assert!(page.ends_with(&table), "deploy/protocols.md must end with this table:\n{table}");
}

#[test]
fn the_metric_table_is_the_catalogue() {
    let page = fs::read_to_string(root().join("deploy/metrics.md")).unwrap();
    let table = cleartap::cli::metrics_markdown();
    assert!(page.ends_with(&table), "deploy/metrics.md must end with this table:\n{table}");
}
