//! What tests say to emulators on loopback.
#![allow(dead_code, reason = "each feature needs a part")]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

/// Type of the bodies of AWS's query APIs.
pub const FORM: &str = "application/x-www-form-urlencoded";

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until an emulator listens.
pub fn await_start(port: u16) {
    let deadline = Instant::now() + Duration::from_mins(2);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "the emulator did not start");
        std::thread::sleep(Duration::from_millis(200));
    }
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
