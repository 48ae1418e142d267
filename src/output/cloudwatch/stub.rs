//! A service on loopback that answers as it is told, for tests.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::large_stack_arrays,
    reason = "edge: a server of tests, on loopback"
)]

use std::{
    collections::VecDeque,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// An answer.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// Status, error code, and a `Date` so many seconds away from now.
    Error(u16, &'static str, i64),
    /// The connection is closed without a word.
    Cut,
}

/// A request: head in lower case, and body.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    /// The body, unpacked.
    pub(super) fn plain(&self) -> Vec<u8> {
        if self.header("content-encoding") != Some("gzip") {
            return self.body.clone();
        }
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(self.body.as_slice()).read_to_end(&mut plain).unwrap();
        plain
    }
}

/// The service. When it has no answers left, it says yes.
#[derive(Clone, Debug)]
pub(super) struct Stub {
    pub(super) address: SocketAddr,
    pub(super) answers: Arc<Mutex<VecDeque<Answer>>>,
    pub(super) got: Arc<Mutex<Vec<Got>>>,
}

impl Stub {
    pub(super) fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stub = Self {
            address: listener.local_addr().unwrap(),
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            got: Arc::default(),
        };
        let mine = stub.clone();
        #[allow(clippy::disallowed_methods, reason = "edge: a test's server")]
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                mine.serve(stream.unwrap());
            }
        });
        stub
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        let mut part = [0; 65_536];
        let request = loop {
            let count = stream.read(&mut part).unwrap_or(0);
            if count == 0 {
                return;
            }
            bytes.extend_from_slice(&part[..count]);
            let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let got = Got { head, body: bytes[end + 4..].to_vec() };
            let length: usize = got.header("content-length").map_or(0, |l| l.parse().unwrap());
            if got.body.len() >= length {
                break got;
            }
        };
        self.got.lock().unwrap().push(request);
        let answer = self.answers.lock().unwrap().pop_front();
        let (status, body, date) = match answer {
            Some(Answer::Cut) => return,
            Some(Answer::Error(status, code, away_s)) => (status, error_body(code), away_s),
            None => (200, vec![0xa0], 0),
        };
        let date = date_header(date);
        let head = format!(
            "HTTP/1.1 {status} X\r\nsmithy-protocol: rpc-v2-cbor\r\ncontent-type: application/cbor\r\n\
             date: {date}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        // The client may be gone.
        let _sent = stream.write_all(&[head.as_bytes(), &body].concat());
    }
}

/// `{"__type": code}` in CBOR (RFC 8949): a map of one, two text strings shorter than 256 bytes.
fn error_body(code: &str) -> Vec<u8> {
    let length = u8::try_from(code.len()).unwrap();
    [&[0xa1, 0x66], b"__type".as_slice(), &[0x78, length], code.as_bytes()].concat()
}

fn date_header(away_s: i64) -> String {
    use aws_sdk_cloudwatch::primitives::{DateTime, DateTimeFormat};
    #[allow(clippy::disallowed_methods, reason = "edge: a test's server")]
    let now = DateTime::from(std::time::SystemTime::now());
    DateTime::from_secs(now.secs() + away_s).fmt(DateTimeFormat::HttpDate).unwrap()
}
