//! Syslog (RFC 5424) over TLS (RFC 5425), TCP with octet counting (RFC 6587) or UDP (RFC 5426).
//!
//! Syslog has no acknowledgement: delivered means handed to a connection that was open then.
#![allow(clippy::disallowed_methods, reason = "edge: talks to a receiver")]

use std::{fs, io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use super::{delivery::Sink, https};
use crate::{
    alerts::{Message, SyslogForm, SyslogTarget, SyslogTransport},
    output::Fault,
    policy::Severity,
};

/// A syslog receiver.
pub(super) struct Syslog {
    target: SyslogTarget,
    host: String,
    tls: Option<TlsConnector>,
    stream: Option<Box<dyn Stream>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

impl std::fmt::Debug for Syslog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Syslog").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Syslog {
    pub(super) fn new(target: &SyslogTarget) -> Result<Self, String> {
        let tls = match target.transport {
            SyslogTransport::Tls => {
                let config = https::client_config(target.ca_file.as_deref())
                    .map_err(|problem| format!("syslog.{problem}"))?;
                Some(TlsConnector::from(Arc::new(config)))
            }
            SyslogTransport::Tcp | SyslogTransport::Udp => None,
        };
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Ok(Self { target: target.clone(), host: word(host.trim(), 255), tls, stream: None })
    }

    async fn write(&mut self, messages: &[Message]) -> io::Result<()> {
        if self.target.transport == SyslogTransport::Udp {
            let socket = UdpSocket::bind(local(&self.target.address)).await?;
            socket.connect(&self.target.address).await?;
            for message in messages {
                let text = frame(&self.target, &self.host, message);
                socket.send(cut(&text, UDP_BYTES_MAX).as_bytes()).await?;
            }
            return Ok(());
        }
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        if is_closed(&mut stream).await {
            stream = self.connect().await?;
        }
        let mut bytes = Vec::new();
        for message in messages {
            let text = frame(&self.target, &self.host, message);
            bytes.extend_from_slice(format!("{} {text}", text.len()).as_bytes());
        }
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        self.stream = Some(stream);
        Ok(())
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(&self.target.address).await?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let host = self.target.address.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name =
            ServerName::try_from(host).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(Box::new(tls.connect(name, stream).await?))
    }
}

impl Sink for Syslog {
    fn messages_max(&self) -> usize {
        50
    }

    async fn send(&mut self, messages: &[Message]) -> Result<Vec<Result<(), Fault>>, Fault> {
        match tokio::time::timeout(TIMEOUT, self.write(messages)).await {
            Ok(Ok(())) => Ok(messages.iter().map(|_| Ok(())).collect()),
            Ok(Err(error)) => Err(Fault::Later(format!("the connection: {}", error.kind()))),
            Err(_) => Err(Fault::Later("no connection in time".to_owned())),
        }
    }

    async fn reload(&mut self) {
        self.stream = None;
    }
}

/// Whether the receiver has closed. It has nothing to say, so that there is never anything to read.
async fn is_closed(stream: &mut Box<dyn Stream>) -> bool {
    let mut byte = [0; 1];
    tokio::time::timeout(Duration::ZERO, stream.read(&mut byte)).await.is_ok()
}

const fn local(address: &str) -> &'static str {
    // `[::1]:514` is the only form that begins so.
    match address.as_bytes().first() {
        Some(b'[') => "[::]:0",
        _ => "0.0.0.0:0",
    }
}

/// A message of RFC 5424 section 6.
fn frame(target: &SyslogTarget, host: &str, message: &Message) -> String {
    let priority = u32::from(target.facility) * 8 + level(message.severity);
    let msg_id =
        message.event().map_or_else(|| message.kind.name(), crate::findings::EventKind::name);
    let mut data = vec![
        ("key", message.key.clone()),
        ("kind", message.kind.name().to_owned()),
        ("severity", message.severity.name().to_owned()),
    ];
    if let Some(alert) = &message.alert {
        data.extend([
            ("finding", alert.id.to_string()),
            ("scope", alert.scope.clone()),
            ("client", alert.client.clone()),
            ("server", alert.server.clone()),
            ("port", alert.port.to_string()),
            ("protocol", alert.protocol.clone()),
            ("rule", alert.rule.clone()),
        ]);
    }
    let data: Vec<String> =
        data.iter().map(|(name, value)| format!("{name}=\"{}\"", parameter(value))).collect();
    let data = data.join(" ");
    let text = match target.form {
        SyslogForm::Text => message.subject.clone(),
        SyslogForm::Json => serde_json::to_string(message).unwrap_or_default(),
    };
    // Six digits of a second at most (section 6.2.3).
    let time = message.at.get(..26).map_or_else(|| "-".to_owned(), |time| format!("{time}Z"));
    // The mark says that the text is UTF-8 (section 6.4).
    format!(
        "<{priority}>1 {time} {} cleartap - {msg_id} [cleartap@{} {data}] \u{feff}{text}",
        if host.is_empty() { "-" } else { host },
        target.enterprise_id
    )
}

/// Severity of RFC 5424 section 6.2.1.
const fn level(severity: Severity) -> u32 {
    match severity {
        Severity::Critical => 2,
        Severity::High => 3,
        Severity::Medium => 4,
        Severity::Low => 5,
        Severity::Info => 6,
    }
}

/// A value of structured data: three characters are escaped (section 6.3.3).
fn parameter(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().filter(|c| !c.is_control()).take(256) {
        if ['"', '\\', ']'].contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Printable ASCII without spaces.
fn word(text: &str, bytes_max: usize) -> String {
    text.chars().filter(char::is_ascii_graphic).take(bytes_max).collect()
}

fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}

/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Longest datagram: above, it may not fit into one packet of IP (RFC 5426 section 3.2 asks receivers for 2048).
const UDP_BYTES_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_structured_data() {
        assert_eq!(parameter("a\"b\\c]d\ne"), "a\\\"b\\\\c\\]de");
    }
}
