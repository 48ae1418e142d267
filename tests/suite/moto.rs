//! The emulator that knows Security Hub, network interfaces and mirror sessions, on loopback, from `PyPI`.
#![cfg_attr(
    not(all(feature = "inventory", feature = "securityhub")),
    allow(dead_code, reason = "each feature needs a part")
)]

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{capture::root, cloudwatch::free_port, process};

/// An emulated account, gone with the test.
pub struct Moto {
    child: Child,
    pub port: u16,
}

impl Moto {
    pub fn is_installed() -> bool {
        program().exists()
    }

    pub fn start() -> Option<Self> {
        let program = program();
        if !program.exists() {
            return None;
        }
        let port = free_port();
        let child = process::spawn(
            Command::new(program)
                .args(["-H", "127.0.0.1", "-p", &port.to_string()])
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let moto = Self { child, port };
        let deadline = Instant::now() + Duration::from_mins(2);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the emulator did not start");
            std::thread::sleep(Duration::from_millis(200));
        }
        Some(moto)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Calls an action of EC2.
    pub fn ec2(&self, form: &str) -> String {
        let form = format!("{form}&Version=2016-11-15");
        post(self.port, "/", "ec2", &[], "application/x-www-form-urlencoded", &form)
    }
}

fn program() -> std::path::PathBuf {
    root().join("target/aws-emulators/bin/moto_server")
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The text of the first element of this name.
pub fn between(text: &str, tag: &str) -> String {
    let (_, rest) = text.split_once(&format!("<{tag}>")).unwrap_or_else(|| panic!("{tag}: {text}"));
    rest.split(&format!("</{tag}>")).next().unwrap().to_owned()
}

/// One request; the body of its answer.
pub fn post(
    port: u16,
    path: &str,
    service: &str,
    headers: &[(&str, &str)],
    content_type: &str,
    body: &str,
) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let headers: Vec<String> = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    let headers = headers.concat();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n{headers}\
         Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, \
         SignedHeaders=host, Signature=0\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{path} {body}: {answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}
