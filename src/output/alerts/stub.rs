//! A receiver on loopback that answers as it is told, for tests.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::large_stack_arrays,
    reason = "edge: a server of tests, on loopback"
)]

use std::{
    collections::VecDeque,
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// An answer: status and body; none: the connection is closed without a word.
pub(super) type Answer = Option<(u16, String)>;

/// A request: head in lower case, and body.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) head: String,
    pub(super) body: String,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }
}

/// The receiver. When it has no answers left, it says 200 and `otherwise`.
#[derive(Clone, Debug)]
pub(super) struct Stub {
    pub(super) address: SocketAddr,
    pub(super) answers: Arc<Mutex<VecDeque<Answer>>>,
    pub(super) got: Arc<Mutex<Vec<Got>>>,
    otherwise: String,
}

impl Stub {
    pub(super) fn start(answers: impl IntoIterator<Item = Answer>, otherwise: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stub = Self {
            address: listener.local_addr().unwrap(),
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            got: Arc::default(),
            otherwise: otherwise.to_owned(),
        };
        let mine = stub.clone();
        #[allow(clippy::disallowed_methods, reason = "edge: a test's server")]
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                mine.serve(&mut stream.unwrap());
            }
        });
        stub
    }

    pub(super) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn serve(&self, stream: &mut TcpStream) {
        let Some(request) = request(stream) else { return };
        self.got.lock().unwrap().push(request);
        let answer = self.answers.lock().unwrap().pop_front();
        let Some((status, body)) = answer.unwrap_or_else(|| Some((200, self.otherwise.clone())))
        else {
            return;
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.1\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        // The client may be gone.
        let _sent = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat());
    }
}

/// Reads one request of HTTP/1.1 with a length.
pub(super) fn request(stream: &mut impl std::io::Read) -> Option<Got> {
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
        let got = Got { head, body: String::from_utf8_lossy(&bytes[end + 4..]).into_owned() };
        let length: usize = got.header("content-length").map_or(0, |l| l.parse().unwrap());
        if bytes.len() - end - 4 >= length {
            return Some(got);
        }
    }
}
