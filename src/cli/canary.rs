//! `cleartap canary`: a harmless exchange in clear between two mirrored hosts, on a schedule. The sensor knows it by its
//! user agent and says how old the last one is: proof that the chain from the interface to the alarm works.
#![allow(clippy::disallowed_methods, reason = "edge: talks over TCP, on a schedule")]

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::{EXIT_INPUT, EXIT_OK, complain, print};

#[derive(Debug, Subcommand)]
pub(super) enum CanaryCommand {
    /// Answer canaries: on one mirrored host
    Answer(AnswerArgs),
    /// Send a canary to the answering host, on a schedule: on another mirrored host
    Ask(AskArgs),
}

/// Arguments of `canary answer`.
#[derive(Debug, Args)]
pub(super) struct AnswerArgs {
    /// TCP address to answer on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:7780", value_parser = super::args::address)]
    listen: SocketAddr,
}

/// Arguments of `canary ask`.
#[derive(Debug, Args)]
pub(super) struct AskArgs {
    /// Host and port where `cleartap canary answer` runs
    #[arg(long, value_name = "HOST:PORT")]
    server: String,
    /// Seconds between two canaries
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    every: u64,
    /// Send one canary, and end: exit code 1 if it was not answered
    #[arg(long)]
    once: bool,
}

/// Longest time for one exchange.
const EXCHANGE_TIME_MAX: Duration = Duration::from_secs(5);
/// Most bytes read of a request or an answer.
const MESSAGE_BYTES_MAX: usize = 1024;

pub(super) fn canary(command: &CanaryCommand) -> anyhow::Result<u8> {
    match command {
        CanaryCommand::Answer(args) => answer(args),
        CanaryCommand::Ask(args) => ask(args),
    }
}

/// Answers one after the other: canaries are few, and nobody else has business here.
fn answer(args: &AnswerArgs) -> anyhow::Result<u8> {
    let listener = TcpListener::bind(args.listen)
        .with_context(|| format!("--listen: {} cannot be listened on", args.listen))?;
    print(&format!("Answering canaries on {}.\n", listener.local_addr()?))?;
    for stream in listener.incoming() {
        // What a client does wrong is its own affair; out of descriptors, others must close first.
        if stream.and_then(answer_one).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(EXIT_OK)
}

fn answer_one(mut stream: TcpStream) -> io::Result<()> {
    if read_head(&mut stream)?.starts_with(b"GET /cleartap-canary ") {
        stream.write_all(ANSWER.as_bytes())?;
    } else {
        stream.write_all(NOT_A_CANARY.as_bytes())?;
    }
    stream.flush()
}

fn ask(args: &AskArgs) -> anyhow::Result<u8> {
    loop {
        let begun = Instant::now();
        match ask_one(&args.server) {
            Ok(()) if args.once => {
                print("The canary was answered.\n")?;
                return Ok(EXIT_OK);
            }
            Ok(()) => {}
            Err(error) => {
                complain(&format!("canary to {}: {error}", args.server));
                if args.once {
                    return Ok(EXIT_INPUT);
                }
            }
        }
        std::thread::sleep(Duration::from_secs(args.every).saturating_sub(begun.elapsed()));
    }
}

fn ask_one(server: &str) -> io::Result<()> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in server.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, EXCHANGE_TIME_MAX) {
            Ok(stream) => return exchange(stream, server),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange(mut stream: TcpStream, server: &str) -> io::Result<()> {
    let request = format!(
        "GET /cleartap-canary HTTP/1.1\r\nHost: {server}\r\nUser-Agent: cleartap-canary/1\r\nConnection: close\r\n\r\n"
    );
    stream.set_write_timeout(Some(EXCHANGE_TIME_MAX))?;
    stream.write_all(request.as_bytes())?;
    if read_head(&mut stream)?.starts_with(b"HTTP/1.1 200 ") {
        return Ok(());
    }
    Err(io::Error::other("the answer is not a canary's; does `cleartap canary answer` run there?"))
}

/// The first bytes up to an empty line, bounded in time and length.
fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let end = Instant::now() + EXCHANGE_TIME_MAX;
    let mut head = Vec::new();
    let mut part = [0; MESSAGE_BYTES_MAX];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(&mut part)?;
        head.extend(part.iter().take(count));
        if count == 0
            || head.len() >= MESSAGE_BYTES_MAX
            || head.windows(4).any(|w| w == b"\r\n\r\n")
        {
            return Ok(head);
        }
    }
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\nServer: cleartap-canary/1\r\nContent-Type: text/plain\r\nContent-Length: 16\r\n\
                      Connection: close\r\n\r\ncleartap canary\n";
const NOT_A_CANARY: &str =
    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers so many connections, on a port of its own.
    fn answering(connections: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for _ in 0..connections {
                let _ended = answer_one(listener.accept().unwrap().0);
            }
        });
        address
    }

    #[test]
    fn a_canary_is_answered_and_anything_else_is_not() {
        let address = answering(2);
        ask_one(&address.to_string()).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /etc/passwd HTTP/1.1\r\n\r\n").unwrap();
        assert!(read_head(&mut stream).unwrap().starts_with(b"HTTP/1.1 404 "));
    }

    #[test]
    fn what_is_no_canary_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            listener.accept().unwrap().0.write_all(b"SSH-2.0-OpenSSH\r\n").unwrap();
        });
        let told = ask_one(&address).unwrap_err().to_string();
        assert!(told.contains("canary") || told.contains("reset"), "{told}");
    }
}
