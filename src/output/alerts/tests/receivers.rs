//! What receivers get: webhooks, syslog, JSON lines; and that no secret is shown.
#![allow(clippy::disallowed_methods, reason = "edge: files and receivers of tests")]

use std::{
    io::Read as _,
    net::{TcpListener, UdpSocket},
};

use super::{
    super::{json_lines::JsonLines, syslog::Syslog, webhook::Webhook},
    *,
};
use crate::{
    alerts::{
        JsonLinesTarget, Secret, SyslogForm, SyslogTarget, SyslogTransport, WebhookForm,
        WebhookTarget,
    },
    output::stub::{Answer, Stub, say},
};

const CANARY: &str = "canary-signing-key";

fn signed(url: String, folder: &tempfile::TempDir) -> WebhookTarget {
    let file = folder.path().join("key");
    std::fs::write(&file, format!("{CANARY}\n")).unwrap();
    let key = Secret { file: Some(file), env: None };
    WebhookTarget { url: Some(url), signing_key_from: Some(key), ..WebhookTarget::default() }
}

#[test]
fn a_webhook_can_check_who_sent_it_and_know_a_second_copy() {
    let folder = tempfile::tempdir().unwrap();
    let stub = Stub::start([], "ok");
    let message = &messages(1)[0];
    run(async {
        let mut webhook = Webhook::connect(&signed(stub.url() + "/hook", &folder)).unwrap();
        assert_eq!(kind(&webhook.send(std::slice::from_ref(message)).await), "taken");
        assert!(!format!("{webhook:?}").contains(CANARY));
    });
    let got = &stub.got()[0];
    assert!(got.head.starts_with("post /hook http/1.1"));
    assert_eq!(got.header("idempotency-key"), Some(message.key.as_str()));
    let time = got.header(TIMESTAMP_HEADER).unwrap().parse().unwrap();
    let expected = format!("v1={}", signature(CANARY.as_bytes(), time, &got.body));
    assert_eq!(got.header(SIGNATURE_HEADER), Some(expected.as_str()));
    assert_eq!(serde_json::from_slice::<Message>(&got.body).unwrap(), *message);
    assert!(!got.text().contains(CANARY) && !got.head.contains(CANARY));
}

/// RFC 4231 has no case with a full stop in it; this one was computed with OpenSSL.
#[test]
fn the_signature_is_hmac_sha256_over_time_full_stop_and_body() {
    assert_eq!(
        signature(b"key", 1, b"{}"),
        "1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224"
    );
}

#[test]
fn each_answer_of_a_webhook_is_met_as_it_deserves() {
    let folder = tempfile::tempdir().unwrap();
    let answer = |status| say(status, format!("your key {CANARY} is wrong"));
    for (answer, expected) in [
        (answer(204), "taken"),
        (answer(302), "later"),
        (answer(400), "invalid"),
        (answer(401), "credentials"),
        (answer(403), "credentials"),
        (answer(404), "later"),
        (answer(413), "invalid"),
        (answer(429), "later"),
        (answer(500), "later"),
        (answer(503), "later"),
        (Answer::Cut, "later"),
    ] {
        let stub = Stub::start([answer.clone()], "ok");
        let result = run(async {
            let mut webhook = Webhook::connect(&signed(stub.url(), &folder)).unwrap();
            webhook.send(&messages(1)).await
        });
        assert_eq!(kind(&result), expected, "{answer:?}");
        assert!(!format!("{result:?}").contains(CANARY));
    }
}

#[test]
fn slack_gets_text_in_its_markup_and_its_url_is_told_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let stub = Stub::start([], "ok");
    let file = folder.path().join("url");
    std::fs::write(&file, format!("{}/services/{CANARY}", stub.url())).unwrap();
    let from = Secret { file: Some(file.clone()), env: None };
    let target = WebhookTarget {
        url_from: Some(from),
        form: WebhookForm::Slack,
        ..WebhookTarget::default()
    };
    run(async {
        let mut webhook = Webhook::connect(&target).unwrap();
        assert_eq!(kind(&webhook.send(&messages(1)).await), "taken");
        assert!(!format!("{webhook:?}").contains(CANARY));
    });
    let body: serde_json::Value = serde_json::from_slice(&stub.got()[0].body).unwrap();
    assert!(body["text"].as_str().unwrap().starts_with("*[HIGH] postgresql in clear"), "{body}");
    std::fs::write(&file, format!("http://example.com/{CANARY}")).unwrap();
    let problem = Webhook::connect(&target).unwrap_err();
    assert!(problem.contains("https://HOST") && !problem.contains(CANARY), "{problem}");
}

fn syslog(address: std::net::SocketAddr, transport: SyslogTransport) -> Syslog {
    let target =
        SyslogTarget { address: address.to_string(), transport, ..SyslogTarget::default() };
    Syslog::new(&target).unwrap()
}

#[test]
fn syslog_over_udp_is_a_message_of_rfc_5424() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut sink = syslog(socket.local_addr().unwrap(), SyslogTransport::Udp);
    run(async { assert_eq!(kind(&sink.send(&messages(1)).await), "taken") });
    let mut bytes = [0; 4096];
    let count = socket.recv(&mut bytes).unwrap();
    let text = std::str::from_utf8(&bytes[..count]).unwrap();
    // Facility 16, severity error.
    assert!(text.starts_with("<131>1 2026-11-23T13:30:01.000000Z "), "{text}");
    assert!(text.contains(" cleartap - opened [cleartap@32473 key=\""), "{text}");
    assert!(text.contains(
        "protocol=\"postgresql\" rule=\"plaintext-database\"] \u{feff}[HIGH] postgresql"
    ));
}

#[test]
fn syslog_over_tcp_counts_octets_and_finds_a_closed_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut sink = syslog(address, SyslogTransport::Tcp);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let read = |stream: &mut std::net::TcpStream, frames: usize| {
        let mut texts = Vec::new();
        for _ in 0..frames {
            let mut length = String::new();
            let mut byte = [0; 1];
            while stream.read(&mut byte).unwrap() == 1 && byte != *b" " {
                length.push(char::from(byte[0]));
            }
            let mut text = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut text).unwrap();
            texts.push(String::from_utf8(text).unwrap());
        }
        texts
    };
    runtime.block_on(async { assert_eq!(kind(&sink.send(&messages(2)).await), "taken") });
    let (mut first, _) = listener.accept().unwrap();
    assert!(read(&mut first, 2).iter().all(|text| text.starts_with("<131>1 ")));
    drop(first);
    runtime.block_on(async { assert_eq!(kind(&sink.send(&messages(1)).await), "taken") });
    let (mut second, _) = listener.accept().unwrap();
    assert_eq!(read(&mut second, 1).len(), 1, "on a new connection");
}

#[test]
fn nobody_listening_is_a_reason_to_wait() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut sink = syslog(port, SyslogTransport::Tcp);
    assert_eq!(run(async { kind(&sink.send(&messages(1)).await) }), "later");
    let target = WebhookTarget { url: Some(format!("http://{port}")), ..WebhookTarget::default() };
    let result = run(async { Webhook::connect(&target).unwrap().send(&messages(1)).await });
    assert_eq!(kind(&result), "later");
}

#[test]
fn syslog_can_carry_the_json_form() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (transport, form) = (SyslogTransport::Tcp, SyslogForm::Json);
    let target = SyslogTarget { address, transport, form, ..SyslogTarget::default() };
    let mut sink = Syslog::new(&target).unwrap();
    run(async { assert_eq!(kind(&sink.send(&messages(1)).await), "taken") });
    drop(sink);
    let mut text = String::new();
    listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
    let json = text.split('\u{feff}').nth(1).unwrap();
    assert_eq!(serde_json::from_str::<Message>(json).unwrap(), messages(1)[0]);
}

#[test]
fn json_lines_go_on_in_a_new_file_when_theirs_is_moved_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alerts.jsonl");
    let mut sink = JsonLines::new(&JsonLinesTarget { path: path.clone() });
    assert_eq!(kind(&ready(sink.send(&messages(2)))), "taken");
    std::fs::rename(&path, folder.path().join("alerts.1")).unwrap();
    assert_eq!(kind(&ready(sink.send(&messages(1)))), "taken");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 1);
    let message: Message = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(message.schema, crate::alerts::SCHEMA);
    let mut nowhere = JsonLines::new(&JsonLinesTarget { path: folder.path().join("no/such") });
    assert_eq!(kind(&ready(nowhere.send(&messages(1)))), "later");
}

/// A certificate for `localhost`, and one for somebody else.
const LOCALHOST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls/localhost.pem");
const ELSEWHERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls/elsewhere.pem");
const LOCALHOST_KEY: &[u8] = include_bytes!("../../../../tests/data/tls/localhost.key");

/// A receiver on loopback behind TLS, as `localhost`. What it is sent comes over the channel, decrypted; it answers `answer` and
/// closes.
fn behind_tls(answer: &'static [u8]) -> (u16, std::sync::mpsc::Receiver<Vec<u8>>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::{
        TlsAcceptor,
        rustls::{
            ServerConfig,
            crypto::aws_lc_rs,
            pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        },
    };
    let provider = std::sync::Arc::new(aws_lc_rs::default_provider());
    let certificate = CertificateDer::from_pem_file(LOCALHOST).unwrap();
    let key = PrivateKeyDer::from_pem_slice(LOCALHOST_KEY).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, received) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        run(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
            while let Ok((stream, _)) = listener.accept().await {
                // A client that does not trust us goes away.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut bytes = vec![0; 65_536];
                let count = stream.read(&mut bytes).await.unwrap();
                bytes.truncate(count);
                // One that wants no answer may have gone by now.
                let _gone = stream.write_all(answer).await;
                let _gone = stream.shutdown().await;
                if heard.send(bytes).is_err() {
                    return;
                }
            }
        });
    });
    (port, received)
}

const WAIT: std::time::Duration = std::time::Duration::from_secs(20);

#[test]
fn a_webhook_behind_tls_is_told_if_its_certificate_is_trusted_and_has_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let taken = b"HTTP/1.1 204 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (port, received) = behind_tls(taken);
    let webhook = |host: &str, ca: &str| WebhookTarget {
        ca_file: Some(ca.into()),
        ..signed(format!("https://{host}:{port}/hook"), &folder)
    };
    let send = |target: WebhookTarget| {
        kind(&run(async { Webhook::connect(&target).unwrap().send(&messages(1)).await }))
    };
    assert_eq!(send(webhook("localhost", LOCALHOST)), "taken");
    let heard = String::from_utf8(received.recv_timeout(WAIT).unwrap()).unwrap();
    assert!(heard.starts_with("POST /hook HTTP/1.1"), "{heard}");
    assert!(!heard.contains(CANARY), "the key signs, it is not sent");
    assert_eq!(send(webhook("localhost", ELSEWHERE)), "later", "an authority that is not trusted");
    assert_eq!(send(webhook("127.0.0.1", LOCALHOST)), "later", "another name");
    assert!(received.try_recv().is_err(), "nothing is said to whom is not trusted");
}

#[test]
fn syslog_over_tls_is_told_if_its_certificate_is_trusted() {
    let (port, received) = behind_tls(b"");
    let send = |ca: &str| {
        let target = SyslogTarget {
            address: format!("localhost:{port}"),
            transport: SyslogTransport::Tls,
            ca_file: Some(ca.into()),
            ..SyslogTarget::default()
        };
        kind(&run(async { Syslog::new(&target).unwrap().send(&messages(2)).await }))
    };
    assert_eq!(send(LOCALHOST), "taken");
    let heard = String::from_utf8(received.recv_timeout(WAIT).unwrap()).unwrap();
    // Octet counting (RFC 5425 section 4.3): a length, then the message.
    let (length, rest) = heard.split_once(' ').unwrap();
    assert!(rest.len() >= length.parse().unwrap() && rest.starts_with("<131>1 "), "{heard}");
    assert_eq!(send(ELSEWHERE), "later");
}
