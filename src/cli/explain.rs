//! `cleartap explain`: how a verdict was reached.

use std::{cell::Cell, net::IpAddr, path::PathBuf, str::FromStr};

use clap::Args;

use super::{EXIT_INPUT, EXIT_OK, analyze::read, args::EngineArgs, complain, print};
use crate::{
    engine::{Emitted, Engine, TraceFilter},
    ingest::discover,
    output::explain::render,
};

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Capture file, or - for standard input
    #[arg(value_name = "FILE")]
    input: PathBuf,
    /// The flow: an address, a port, ADDRESS:PORT, or both ends separated by a comma (10.0.0.5:41234,10.0.0.9:5432).
    /// Without it every flow is explained
    #[arg(long, value_name = "END[,END]")]
    flow: Option<Ends>,
    #[command(flatten)]
    engine: EngineArgs,
}

/// The ends of the flows wanted.
#[derive(Clone, Debug)]
struct Ends(Vec<(Option<IpAddr>, Option<u16>)>);

impl FromStr for Ends {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ends: Vec<_> = text.split(',').map(end).collect::<Result<_, _>>()?;
        if ends.len() > 2 {
            return Err(format!("`{text}`: a flow has two ends"));
        }
        Ok(Self(ends))
    }
}

/// `10.0.0.1`, `[fd00::1]:443`, `10.0.0.1:443`, `:443` or `443`.
fn end(text: &str) -> Result<(Option<IpAddr>, Option<u16>), String> {
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        return Ok((Some(socket.ip()), Some(socket.port())));
    }
    if let Ok(ip) = text.parse() {
        return Ok((Some(ip), None));
    }
    let port = text.strip_prefix(':').unwrap_or(text);
    port.parse()
        .map(|port| (None, Some(port)))
        .map_err(|_| format!("`{text}`: expected ADDRESS, PORT or ADDRESS:PORT"))
}

pub(super) fn explain(args: &ExplainArgs) -> anyhow::Result<u8> {
    let config = args.engine.load(Vec::new())?.config;
    let found = discover(std::slice::from_ref(&args.input));
    let mut code = if found.errors.is_empty() { EXIT_OK } else { EXIT_INPUT };
    found.errors.iter().for_each(|error| complain(&error.to_string()));
    let mut flows = 0_u64;
    for input in found.captures {
        let mut settings = super::args::engine(&config, Some(input.capture.clone()));
        let ends = args.flow.as_ref().map_or_else(Vec::new, |ends| ends.0.clone());
        let filter = TraceFilter { ends };
        settings.traced = Some(filter.clone());
        let mut engine = Engine::new(settings);
        let mut texts = Vec::new();
        let mut take = |emitted: Emitted| {
            let record = &emitted.record;
            let src = (record.src_ip, record.src_port).into();
            let dst = (record.dst_ip, record.dst_port).into();
            if filter.matches(src, dst) {
                texts.push((record.ts_first, render(&emitted)));
            }
        };
        for error in read(&input, &mut engine, None, &Cell::new(false), &mut take) {
            complain(&error.to_string());
            code = EXIT_INPUT;
        }
        engine.finish(&mut take);
        texts.sort_by_key(|(first, _)| *first);
        flows += texts.len() as u64;
        for (_, text) in texts {
            print(&format!("{text}\n"))?;
        }
    }
    if flows == 0 && args.flow.is_some() && code == EXIT_OK {
        complain("no flow has these ends; `cleartap analyze FILE --format jsonl` lists them all");
        code = EXIT_INPUT;
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_read_in_every_form() {
        let ends = |text: &str| text.parse::<Ends>().map(|e| e.0);
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(ends("10.0.0.1:443").unwrap(), [(Some(ip), Some(443))]);
        assert_eq!(ends("10.0.0.1,:5432").unwrap(), [(Some(ip), None), (None, Some(5432))]);
        assert_eq!(ends("5432").unwrap(), [(None, Some(5432))]);
        assert_eq!(ends("[fd00::1]:6379").unwrap().len(), 1);
        assert!(ends("db.example").unwrap_err().contains("ADDRESS:PORT"));
    }
}
