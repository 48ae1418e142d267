//! The whole process on four kinds of mirrored traffic: packets per second of CPU time, bits per second, peak memory;
//! as a ratio to `tcpdump -w /dev/null` on the same file in the same run, where tcpdump is installed.
//!
//! `cargo bench --bench whole [-- --scale 1 --runs 5 --keep --binary FILE]`. Captures are made in `target/bench/`; CPU time is
//! user and system of the process (`getrusage(2)`), memory its highest `VmHWM`. Medians. `--binary` measures a sensor that is
//! built already (`make build`: by a profile); with `--train` it is not measured, but fed, for that profile.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "makes captures, runs programs and prints a table"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark that fails has failed as it should"
)]

mod traffic;
mod train;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};

use traffic::{Made, VARIANTS, make};

struct Options {
    scale: f64,
    runs: usize,
    keep: bool,
    binary: String,
    train: bool,
}

fn main() {
    let options = options();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench");
    std::fs::create_dir_all(&folder).unwrap();
    if options.train {
        let captures = VARIANTS.map(|variant| {
            let capture = folder.join(format!("train-{}.pcap", variant.name));
            make(variant, options.scale, &capture).unwrap();
            capture
        });
        train::train(&options.binary, &captures);
        return captures.iter().for_each(|capture| std::fs::remove_file(capture).unwrap());
    }
    println!("{}", machine());
    println!(
        "| capture | packets | flows | command | Mpps per CPU second | Gbit/s | peak MiB | x tcpdump |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for variant in VARIANTS {
        let capture = folder.join(format!("{}.pcap", variant.name));
        let made = make(variant, options.scale, &capture).unwrap();
        measure(&options, variant.name, made, &capture);
        if !options.keep {
            std::fs::remove_file(&capture).unwrap();
        }
    }
}

fn options() -> Options {
    let binary = env!("CARGO_BIN_EXE_cleartap").to_owned();
    let mut options = Options { scale: 1.0, runs: 5, keep: false, binary, train: false };
    let mut list = std::env::args().skip(1);
    while let Some(argument) = list.next() {
        let mut value = |name: &str| list.next().unwrap_or_else(|| panic!("{name} needs a value"));
        match argument.as_str() {
            "--scale" => options.scale = value("--scale").parse().expect("--scale is a number"),
            "--runs" => options.runs = value("--runs").parse().expect("--runs is a number"),
            "--keep" => options.keep = true,
            "--binary" => options.binary = value("--binary"),
            "--train" => options.train = true,
            // What cargo bench says by itself, and once for all to show that it runs.
            "--bench" => {}
            "--test" => (options.scale, options.runs) = (0.002, 1),
            other => {
                panic!("{other}: expected --scale N, --runs N, --keep, --binary FILE or --train")
            }
        }
    }
    options
}

fn measure(options: &Options, name: &str, made: Made, capture: &Path) {
    let cleartap = options.binary.as_str();
    let records = capture.with_extension("jsonl");
    let (file, out) = (capture.to_str().unwrap(), records.to_str().unwrap());
    let mut commands: Vec<(&str, Vec<&str>)> = vec![
        ("analyze", vec![cleartap, "analyze", file]),
        ("analyze --flows", vec![cleartap, "analyze", file, "--flows", out]),
    ];
    let has_tcpdump = Command::new("tcpdump").arg("--version").output().is_ok();
    if has_tcpdump {
        commands.push(("tcpdump -w /dev/null", vec!["tcpdump", "-r", file, "-w", "/dev/null"]));
    }
    let mut cpu = vec![Vec::new(); commands.len()];
    let mut memory = vec![0; commands.len()];
    // One after the other in each round: what disturbs the machine disturbs all.
    for _ in 0..options.runs {
        for (at, (_, command)) in commands.iter().enumerate() {
            let (seconds, kib) = run(command);
            cpu[at].push(seconds);
            memory[at] = memory[at].max(kib);
        }
    }
    let medians: Vec<f64> = cpu.into_iter().map(median).collect();
    let peer = has_tcpdump.then(|| medians[medians.len() - 1]);
    for (at, (label, _)) in commands.iter().enumerate() {
        let seconds = medians[at];
        let ratio = peer.map_or_else(|| "-".to_owned(), |peer| format!("{:.2}", peer / seconds));
        println!(
            "| {name} | {} | {} | {label} | {:.2} | {:.1} | {} | {ratio} |",
            made.packets,
            made.flows,
            made.packets as f64 / seconds / 1e6,
            made.bytes as f64 * 8.0 / seconds / 1e9,
            memory[at] / 1024,
        );
    }
    let _gone = std::fs::remove_file(records);
}

/// CPU seconds of a program, and its peak memory in KiB.
fn run(command: &[&str]) -> (f64, u64) {
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
        (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6
    };
    let before = used();
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}", command[0]));
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let ended = loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let high = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let high = high.and_then(|high| high.trim().split(' ').next()?.parse::<u64>().ok());
        peak = peak.max(high.unwrap_or(0));
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(ended.success(), "{command:?}: {ended}");
    (used() - before, peak)
}

fn median(mut list: Vec<f64>) -> f64 {
    list.sort_by(f64::total_cmp);
    list[list.len() / 2]
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("?");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("cleartap {} on {model}, {cores} cores\n", env!("CARGO_PKG_VERSION"))
}
