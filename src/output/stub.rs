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
    io::Read,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
};

/// An answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Status and body.
    Say(u16, Vec<u8>),
    /// Status, error code in CBOR, and a `Date` so many seconds away from now.
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "what AWS answers"))]
    Error(u16, &'static str, i64),
    /// The connection is closed without a word.
    Cut,
}

/// An answer in text.
pub(crate) fn say(status: u16, body: impl Into<String>) -> Answer {
    Answer::Say(status, body.into().into_bytes())
}

/// A request: head in lower case, and body.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, unpacked.
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "what AWS is sent"))]
    pub(crate) fn plain(&self) -> Vec<u8> {
        if self.header("content-encoding") != Some("gzip") {
            return self.body.clone();
        }
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(self.body.as_slice()).read_to_end(&mut plain).unwrap();
        plain
    }
}

/// The service. When it has no answers left, it says 200 and `otherwise`.
#[derive(Clone, Debug)]
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    got: Arc<Mutex<Vec<Got>>>,
    otherwise: Vec<u8>,
}

impl Stub {
    pub(crate) fn start(
        answers: impl IntoIterator<Item = Answer>,
        otherwise: impl AsRef<[u8]>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stub = Self {
            address: listener.local_addr().unwrap(),
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            got: Arc::default(),
            otherwise: otherwise.as_ref().to_vec(),
        };
        let mine = stub.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                mine.serve(&mut stream.unwrap());
            }
        });
        stub
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn serve(&self, stream: &mut (impl Read + std::io::Write)) {
        let Some(request) = request(stream) else { return };
        self.got.lock().unwrap().push(request);
        let answer = self.answers.lock().unwrap().pop_front();
        let (status, body, away_s) = match answer {
            Some(Answer::Cut) => return,
            Some(Answer::Say(status, body)) => (status, body, 0),
            Some(Answer::Error(status, code, away_s)) => (status, error_body(code), away_s),
            None => (200, self.otherwise.clone(), 0),
        };
        // A map of CBOR (RFC 8949 section 3.1), else text.
        let kind = match body.first() {
            Some(0xa0..=0xbf) => "application/cbor",
            _ => "application/x-amz-json-1.1",
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\nsmithy-protocol: rpc-v2-cbor\r\ncontent-type: {kind}\r\n\
             date: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            date(away_s),
            body.len()
        );
        // The client may be gone.
        let _sent = stream.write_all(&[head.as_bytes(), &body].concat());
    }
}

/// Reads one request of HTTP/1.1 with a length.
pub(crate) fn request(stream: &mut impl Read) -> Option<Got> {
    let mut bytes = Vec::new();
    let mut part = [0; 65_536];
    loop {
        let count = stream.read(&mut part).unwrap_or(0);
        if count == 0 {
            return None;
        }
        bytes.extend_from_slice(&part[..count]);
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let got = Got { head, body: bytes[end + 4..].to_vec() };
        let length: usize = got.header("content-length").map_or(0, |l| l.parse().unwrap());
        if got.body.len() >= length {
            return Some(got);
        }
    }
}

/// `{"__type": code}` in CBOR (RFC 8949): a map of one, two text strings shorter than 256 bytes.
fn error_body(code: &str) -> Vec<u8> {
    let length = u8::try_from(code.len()).unwrap();
    [&[0xa1, 0x66], b"__type".as_slice(), &[0x78, length], code.as_bytes()].concat()
}

/// A time of HTTP (RFC 9110 section 5.6.7).
#[cfg(feature = "aws")]
fn date(away_s: i64) -> String {
    use aws_sdk_cloudwatch::primitives::{DateTime, DateTimeFormat};
    let now = DateTime::from(std::time::SystemTime::now());
    DateTime::from_secs(now.secs() + away_s).fmt(DateTimeFormat::HttpDate).unwrap()
}

#[cfg(not(feature = "aws"))]
fn date(_away_s: i64) -> String {
    "Thu, 26 Nov 2026 00:00:00 GMT".to_owned()
}
