//! Edge: a small HTTP/1.1 server for machines: `/metrics`, and whatever other pages it is given.
//!
//! Pages are functions from nothing to text. Only GET and HEAD are answered; connections, their time and the size of a
//! request's head are bounded.
#![allow(clippy::disallowed_methods, reason = "edge: serves HTTP")]

use std::{
    collections::BTreeMap, convert::Infallible, fmt, io, net::SocketAddr, sync::Arc, time::Duration,
};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore};

/// Connections served at once; more wait.
pub const CONNECTIONS_MAX: usize = 64;

/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Longest time for a head to arrive, and for a connection.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
const CONNECTION_TIME_MAX: Duration = Duration::from_mins(1);

/// Content type of the Prometheus text format.
pub const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a page shows.
#[derive(Clone, Debug)]
pub struct Page {
    /// 200, or 503 for a check that fails.
    pub ok: bool,
    /// Content type.
    pub content_type: &'static str,
    /// Body.
    pub text: String,
}

type Render = Arc<dyn Fn() -> Page + Send + Sync>;

/// Pages by path.
#[derive(Clone, Default)]
pub struct Pages(BTreeMap<&'static str, Render>);

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Pages {
    /// Adds a page.
    #[must_use]
    pub fn with(
        mut self,
        path: &'static str,
        render: impl Fn() -> Page + Send + Sync + 'static,
    ) -> Self {
        self.0.insert(path, Arc::new(render));
        self
    }

    fn answer(&self, method: &Method, path: &str) -> Response<String> {
        if method != Method::GET && method != Method::HEAD {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let Some(render) = self.0.get(path) else {
            let known: Vec<&str> = self.0.keys().copied().collect();
            return plain(StatusCode::NOT_FOUND, &format!("pages: {}\n", known.join(" ")));
        };
        let Page { ok, content_type, text } = render();
        let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut response = plain(status, &text);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }
}

fn plain(status: StatusCode, text: &str) -> Response<String> {
    let mut response = Response::new(text.to_owned());
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Listens on `address`.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves `pages` until the runtime ends.
pub async fn serve(listener: TcpListener, pages: Pages) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, mostly: others must close first.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let pages = pages.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                let response = pages.answer(request.method(), request.uri().path());
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME_MAX)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), answer);
            // What a client does wrong is its own affair.
            let _done = tokio::time::timeout(CONNECTION_TIME_MAX, connection).await;
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpStream,
    };

    use super::*;

    /// What the server answers to `request`.
    fn answers(requests: &[&str]) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(listen(([127, 0, 0, 1], 0).into())).unwrap();
        let address = listener.local_addr().unwrap();
        let pages = Pages::default()
            .with("/metrics", || Page {
                ok: true,
                content_type: PROMETHEUS_TEXT,
                text: "up 1\n".into(),
            })
            .with("/readyz", || Page {
                ok: false,
                content_type: "text/plain",
                text: "starting\n".into(),
            });
        std::thread::spawn(move || runtime.block_on(serve(listener, pages)));
        requests
            .iter()
            .map(|request| {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            })
            .collect()
    }

    #[test]
    fn pages_are_served_and_nothing_else() {
        let get =
            |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let post =
            "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let (metrics, ready, none) = (get("/metrics"), get("/readyz"), get("/etc/passwd"));
        let got = answers(&[&metrics, &ready, &none, post, "nonsense\r\n\r\n"]);
        assert!(got[0].starts_with("HTTP/1.1 200") && got[0].ends_with("\r\n\r\nup 1\n"));
        assert!(got[0].to_lowercase().contains("content-type: text/plain; version=0.0.4"));
        assert!(got[1].starts_with("HTTP/1.1 503") && got[1].ends_with("starting\n"));
        assert!(
            got[2].starts_with("HTTP/1.1 404") && got[2].ends_with("pages: /metrics /readyz\n")
        );
        assert!(got[3].starts_with("HTTP/1.1 405"));
        assert!(got[4].starts_with("HTTP/1.1 400"));
    }
}
