use super::*;
use crate::detect::check::{Heard, hear, hear_from, probe_side};
use crate::model::{Encryption, PlaintextReason};

const C: Side = Side::Client;
const S: Side = Side::Server;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get(fields: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

#[track_caller]
fn matches(side: Side, bytes: &[u8]) -> Mark {
    match probe_side(&Http, side, bytes) {
        // A tunnel may follow a CONNECT, or an answer that grants one: open yet.
        Probe::Match(Match { encryption: None | Some(Encryption::Plaintext), mark }) => mark,
        other => panic!("{other:?} for {:?}", String::from_utf8_lossy(bytes)),
    }
}

/// Credentials a client's bytes reveal.
#[track_caller]
fn client_reveals(bytes: &[u8]) -> Vec<&'static str> {
    hear(&Http, &[(C, bytes)]).credentials.names().collect()
}

#[test]
fn request_lines() {
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(3000));
    let at_the_edge = format!("GET /{} HTTP/1.1\r\n", "a".repeat(1024 - 5 - 4));
    let proxied = format!("POST https://a/{} HTTP/1.1\r\n", "%20".repeat(600));
    let table = [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "GET /a b HTTP/1.1\n",
        "\r\n\r\nPOST /x HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "CONNECT db.example:443 HTTP/1.1\r\n",
        "GET http://a.example/ HTTP/1.1\r\n",
        "PROPFIND /dav HTTP/1.1\r\n",
        "VERSION-CONTROL /dav HTTP/1.1\r\n",
        "M-SEARCH * HTTP/1.1\r\n",
        "PURGE /cached HTTP/1.1\r\n",
        "RPC_IN_DATA /rpc/rpcproxy.dll HTTP/1.1\r\n",
        &long,
        &at_the_edge,
        &proxied,
    ];
    for line in table {
        assert_eq!(matches(C, line.as_bytes()).rule, "http.request-line");
    }
    let mark = matches(C, b"\r\nGET / HTTP/1.1\r\n\r\n");
    assert_eq!((mark.offset, mark.length, mark.constant), (2, 16, "HTTP/1"));
}

#[test]
fn status_lines() {
    for line in ["HTTP/1.1 200 OK\r\n", "HTTP/1.0 404\r\n", "HTTP/1.1 999 Denied\n"] {
        assert_eq!(matches(S, line.as_bytes()).rule, "http.status-line");
    }
    assert_eq!(probe_side(&Http, S, b"HTTP/1.1 200"), Probe::More);
    // The client may still speak HTTP to a server that does not.
    for other in ["RTSP/1.0 200 OK\r\n", "HTTP/2 200\r\n", "HTTP/1.1 20 OK\r\n", "SSH-2.0-x\r\n"] {
        assert_eq!(probe_side(&Http, S, other.as_bytes()), Probe::More);
    }
}

#[test]
fn look_alikes_are_refused() {
    let table: [&[u8]; 30] = [
        b"OPTIONS rtsp://a/b RTSP/1.0\r\n",
        b"DESCRIBE rtsp://a/b RTSP/1.0\r\n",
        b"REGISTER sip:a.example SIP/2.0\r\n",
        b"OPTIONS sip:a.example SIP/2.0\r\n",
        b"REQMOD icap://a/b ICAP/1.0\r\n",
        b"CONNECT\naccept-version:1.2\n\n\0",
        b"STOMP\naccept-version:1.2\n\n\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/2.0\r\n",
        b"GET / HTTP/1.2\r\n",
        b"GET /\r\n",
        b"GET key\r\n",
        b"SET key value\r\n",
        b"SET key HTTP/1.1\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"get key\r\n",
        b"EHLO mail HTTP/1.1\r\n",
        b"NICK a\r\nUSER a 0 * :a\r\n",
        b"PRIVMSG #a :GET / HTTP/1.1\r\n",
        b"JOIN /a /b HTTP/1.1\r\n",
        b"RETR /file\r\n",
        b"CONNECT {\"verbose\":false}\r\n",
        b"PUB a.b 5\r\nhello\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET /\0 HTTP/1.1\r\n",
        b"GET /a\tb HTTP/1.1\r\n",
        b"GET  HTTP/1.1\r\n",
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZ / HTTP/1.1\r\n",
    ];
    for bytes in table {
        assert_eq!(probe_side(&Http, C, bytes), Probe::No, "{}", String::from_utf8_lossy(bytes));
    }
    // Beyond the longest line: not a path, not registered, or not the version's place.
    for (method, target) in [("GET", "key:"), ("SADD", "/"), ("GET", "/a b ")] {
        let line = format!("{method} {target}{}", "a".repeat(2000));
        assert_eq!(probe_side(&Http, C, line.as_bytes()), Probe::No);
    }
}

#[test]
fn random_bytes_are_not_http() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..100_000 {
        let mut bytes = [0; 48];
        for byte in &mut bytes {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            *byte = seed.to_be_bytes()[0];
        }
        for start in [Start::Known, Start::Unknown] {
            let said = Said { bytes: &bytes, start };
            let view = View::new(Transport::Tcp, said, said);
            assert_eq!(Http.probe(&view), Probe::No);
        }
    }
}

#[test]
fn both_sides_decide_together() {
    let said = |bytes, start| Said { bytes, start };
    let ask = |client, server| Http.probe(&View::new(Transport::Tcp, client, server));
    let line = said(b"GET / HTTP/1.1\r\n", Start::Known);
    let status = said(OK, Start::Known);
    let binary = said(b"\x16\x03\x01", Start::Known);
    let middle = said(b"{\"a\":1}", Start::Unknown);
    assert!(matches!(ask(line, binary), Probe::Match(_)));
    assert!(matches!(ask(Said::NOTHING, status), Probe::Match(_)));
    assert!(matches!(ask(middle, status), Probe::Match(_)));
    assert!(matches!(ask(line, middle), Probe::Match(_)));
    assert_eq!(ask(binary, status), Probe::No);
    assert_eq!(ask(middle, middle), Probe::No);
    assert_eq!(ask(middle, Said::NOTHING), Probe::More);
    assert_eq!(ask(Said::NOTHING, binary), Probe::More);
    let udp = View::new(Transport::Udp, line, status);
    assert_eq!(Http.probe(&udp), Probe::No);
}

#[test]
fn a_plain_exchange() {
    let heard = hear(&Http, &[(C, &get("")), (S, OK), (C, &get("Cookie: a=b\r\n")), (S, OK)]);
    assert_eq!(heard.fits, [true, true]);
    assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
    assert_eq!(heard.credentials, Credentials::SESSION_SECRET);
    assert_eq!(heard.rules, ["http.request-line", "http.status-line", "http.credentials"]);
    assert_eq!((heard.layer, heard.refused, heard.mismatch), (None, false, [false, false]));
}

#[test]
fn credentials_in_fields() {
    let table: [(&str, &[&str]); 20] = [
        ("Authorization: Basic QTpC\r\n", &["basic_auth"]),
        ("AUTHORIZATION:  bearer abc\r\n", &["bearer_token"]),
        ("Authorization: Token abc\r\n", &["bearer_token"]),
        ("Authorization: ApiKey abc\r\n", &["bearer_token"]),
        ("Authorization: eyJhbGciOi\r\n", &["bearer_token"]),
        ("Authorization: Digest username=\"a\"\r\n", &["password_hash_challenge"]),
        ("Authorization: NTLM TlRMTVNT\r\n", &["password_hash_challenge"]),
        ("Authorization: Negotiate YII\r\n", &["password_hash_challenge"]),
        ("Authorization: AWS4-HMAC-SHA256 Credential=A\r\n", &[]),
        ("X-Amz-Security-Token: abc\r\n", &["session_secret"]),
        ("Proxy-Authorization: Basic QTpC\r\n", &["basic_auth"]),
        ("X-Api-Key: abc\r\n", &["bearer_token"]),
        ("Private-Token: abc\r\n", &["bearer_token"]),
        ("X-Vault-Token: abc\r\n", &["bearer_token"]),
        ("X-Auth-Token: abc\r\n", &["bearer_token"]),
        ("Cookie: a=b\r\nAuthorization: Basic QQ\r\n", &["basic_auth", "session_secret"]),
        ("Cookie:\r\nX-Api-Key: \r\n", &[]),
        ("X-Cookie: a\r\nAuthorizations: Basic QQ\r\n", &[]),
        ("X-A: 1\r\n Cookie: folded\r\n", &[]),
        ("Authorization Basic QQ\r\n", &[]),
    ];
    for (fields, kinds) in table {
        assert_eq!(client_reveals(&get(fields)), kinds, "{fields}");
    }
    let server = b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(hear(&Http, &[(S, server)]).credentials, Credentials::SESSION_SECRET);
}

#[test]
fn a_long_field_line_is_known_by_its_name_and_passed_over() {
    for length in [1000, 1022, 1023, 1024, 1025, 2047, 2048, 5000] {
        let filler = "x".repeat(length);
        let fields = format!("X-A: {filler}\r\nCookie: {filler}\r\nX-Api-Key: a\r\n");
        assert_eq!(client_reveals(&get(&fields)), ["bearer_token", "session_secret"], "{length}");
    }
}

#[test]
fn credentials_in_queries_and_forms() {
    let table: [(&str, &[&str]); 9] = [
        ("/login?user=a&password=b", &["password_cleartext"]),
        ("/login?password=", &[]),
        ("/login?password", &[]),
        ("/a?access_token=b", &["bearer_token"]),
        ("/a?X-Amz-Security-Token=b&X-Amz-Signature=c", &["session_secret"]),
        ("/query?u=a&p=b&q=SELECT", &["password_cleartext"]),
        ("/list?p=2", &[]),
        ("/password=a", &[]),
        ("/a?mypassword=b", &[]),
    ];
    for (target, kinds) in table {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client_reveals(request.as_bytes()), kinds, "{target}");
    }
    let post = |framing: &str, body: &str| {
        let kind = "Content-Type: application/x-www-form-urlencoded; charset=utf-8";
        let request = format!("POST / HTTP/1.1\r\n{kind}\r\n{framing}\r\n\r\n{body}");
        client_reveals(request.as_bytes())
    };
    assert_eq!(post("Content-Length: 12", "a=b&passwd=c"), ["password_cleartext"]);
    assert_eq!(
        post("Transfer-Encoding: chunked", "c\r\na=b&passwd=c\r\n0\r\n\r\n"),
        ["password_cleartext"]
    );
    assert_eq!(post("Content-Length: 3", "a=b"), [""; 0]);
    let late = format!("a={}&password=b", "x".repeat(600));
    assert_eq!(post(&format!("Content-Length: {}", late.len()), &late), [""; 0]);
}

/// Bodies are passed over: what stands in them is not read, what stands behind them is.
#[test]
fn message_framing() {
    let marked = get("Cookie: a=b\r\n");
    let inner = get("X-Api-Key: a\r\n");
    let length = inner.len();
    let sized = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    let chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n".to_vec();
    let chunk = [format!("{length:x};a=b\r\n").as_bytes(), &inner, b"\r\n"].concat();
    let bodies = [
        [&sized[..], &inner].concat(),
        [&chunked[..], &chunk, &chunk, b"0\r\nX-Api-Key: trailer\r\n\r\n"].concat(),
    ];
    for body in bodies {
        assert_eq!(client_reveals(&[&body[..], &marked].concat()), ["session_secret"]);
    }
    let cookie = b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nContent-Length: 0\r\n\r\n";
    let get = get("");
    let bodiless = b"HEAD / HTTP/1.1\r\n\r\n";
    let table: [(&[u8], &[u8]); 7] = [
        (&get, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/"),
        (&get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        (&get, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (&get, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
        (&get, b"HTTP/1.1 100 Continue\r\n\r\n"),
        (&get, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
        (bodiless, b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
    ];
    for (request, response) in table {
        let pipelined = [request, &get].concat();
        let answers = [response, cookie].concat();
        for lines in [
            vec![(C, request), (S, response), (C, &get[..]), (S, &cookie[..])],
            vec![(C, &pipelined[..]), (S, &answers[..])],
        ] {
            let heard = hear(&Http, &lines);
            assert_eq!(heard.credentials, Credentials::SESSION_SECRET, "{lines:?}");
            assert_eq!((heard.mismatch, heard.layer), ([false, false], None));
        }
    }
}

#[test]
fn a_body_up_to_the_end_is_not_read() {
    let body = [b"HTTP/1.0 200 OK\r\n\r\n", OK, b"Set-Cookie: a\r\n"].concat();
    let heard = hear(&Http, &[(C, &get("")), (S, &body), (S, OK)]);
    assert_eq!((heard.fits, heard.credentials), ([true, true], Credentials::NONE));
}

#[test]
fn framing_that_makes_no_sense_loses_one_side_until_the_next_turn() {
    let bad = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nthree";
    let cookie = b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nContent-Length: 0\r\n\r\n";
    let heard = hear(&Http, &[(C, &get("")), (S, bad), (C, &get("")), (S, cookie)]);
    assert_eq!((heard.mismatch, heard.credentials), ([false, false], Credentials::SESSION_SECRET));
    for framing in [
        "Content-Length: -1",
        "Content-Length: 99999999999999999999",
        "Content-Length: 1\r\nContent-Length: 2",
    ] {
        let request = format!("POST / HTTP/1.1\r\n{framing}\r\n\r\nX");
        let heard = hear(&Http, &[(C, request.as_bytes()), (S, OK), (C, &get("Cookie: a\r\n"))]);
        assert_eq!(heard.credentials, Credentials::SESSION_SECRET, "{framing}");
    }
}

#[test]
fn many_requests_without_an_answer_keep_revealing_credentials() {
    let many = get("").repeat(40);
    let heard = hear(&Http, &[(C, &many), (C, &get("Cookie: a\r\n"))]);
    assert_eq!(heard.credentials, Credentials::SESSION_SECRET);
}

const CONNECT: &[u8] = b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n";
const CONNECTED: &[u8] = b"HTTP/1.1 200 Connection established\r\nContent-Length: 9\r\n\r\n";
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

#[track_caller]
fn tunnel(lines: &[(Side, &[u8])]) -> Heard {
    let heard = hear(&Http, lines);
    assert_eq!(heard.layer.map(|(name, ..)| name), Some(Some("http-connect")));
    heard
}

#[test]
fn connect_opens_a_tunnel() {
    let at = (Some(CONNECT.len()), Some(CONNECTED.len()));
    for lines in [
        vec![(C, CONNECT), (S, CONNECTED), (C, HELLO)],
        vec![(C, CONNECT), (S, &CONNECTED[..20]), (C, HELLO), (S, &CONNECTED[20..])],
    ] {
        let heard = tunnel(&lines);
        assert_eq!(heard.layer.map(|(_, client, server)| (client, server)), Some(at));
    }
    // Refused once, then with credentials.
    let denied = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno";
    let again = b"CONNECT a:443 HTTP/1.1\r\nProxy-Authorization: Basic QTpC\r\n\r\n";
    let heard = tunnel(&[(C, CONNECT), (S, denied), (C, again), (S, CONNECTED), (C, HELLO)]);
    assert_eq!(heard.credentials, Credentials::BASIC_AUTH);
    let at = (Some(CONNECT.len() + again.len()), Some(denied.len() + CONNECTED.len()));
    assert_eq!(heard.layer.map(|(_, client, server)| (client, server)), Some(at));
}

#[test]
fn connect_seen_from_one_side() {
    let again = b"CONNECT a:443 HTTP/1.1\r\nProxy-Authorization: Basic QTpC\r\n\r\n";
    let heard = tunnel(&[(C, CONNECT), (C, again), (C, HELLO)]);
    assert_eq!(heard.credentials, Credentials::BASIC_AUTH);
    let at = Some((Some("http-connect"), Some(CONNECT.len() + again.len()), None));
    assert_eq!(heard.layer, at);
    let answer = b"HTTP/1.1 200 OK\r\n\r\n";
    let heard = tunnel(&[(S, answer), (S, HELLO)]);
    assert_eq!(heard.layer, Some((Some("http-connect"), None, Some(answer.len()))));
    // Not a tunnel, or not yet.
    let ended = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n";
    for lines in [[(C, CONNECT), (C, &b"GET / HTTP/1.1\r\n"[..])], [(S, ended), (S, b"<html>")]] {
        assert_eq!(hear(&Http, &lines).layer, None);
    }
}

#[test]
fn upgrades() {
    let ask = |to: &str| get(&format!("Connection: Upgrade\r\nUpgrade: {to}\r\n"));
    let answer = |to: &str| format!("HTTP/1.1 101 Switching\r\nUpgrade: {to}\r\n\r\n").into_bytes();
    let table: [(&str, &str, &[u8]); 3] = [
        ("websocket", "http.websocket", b"\x81\x82abcdef"),
        ("h2c", "http.h2c-upgrade", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("tcp", "http.upgrade", b"\x01\x02"),
    ];
    for (to, rule, bytes) in table {
        let heard = hear(&Http, &[(C, &ask(to)), (C, bytes), (S, &answer(to)), (C, bytes)]);
        assert!(heard.rules.contains(&rule), "{:?}", heard.rules);
        assert_eq!((heard.layer, heard.mismatch), (None, [false, false]));
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
    }
    let heard = hear(&Http, &[(C, &ask("TLS/1.0")), (S, &answer("TLS/1.0, HTTP/1.1")), (C, HELLO)]);
    let at = (Some(ask("TLS/1.0").len()), Some(answer("TLS/1.0, HTTP/1.1").len()));
    assert_eq!(heard.layer, Some((Some("http-tls"), at.0, at.1)));
    // An offer not taken: the conversation goes on.
    let heard = hear(&Http, &[(C, &ask("h2c")), (S, OK), (C, &get("Cookie: a\r\n")), (S, OK)]);
    assert_eq!(heard.credentials, Credentials::SESSION_SECRET);
}

#[test]
fn plain_http_to_a_tls_port_is_refused() {
    let nginx = "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title>";
    let go = "Client sent an HTTP request to an HTTPS server.\n";
    let apache = "<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />";
    for body in [nginx, go, apache] {
        let length = body.len();
        for answer in [
            format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {length}\r\n\r\n{body}"),
            format!("HTTP/1.0 400 Bad Request\r\n\r\n{body}"),
            format!(
                "HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n"
            ),
        ] {
            let heard = hear(&Http, &[(C, &get("")), (S, answer.as_bytes())]);
            assert!(heard.refused, "{answer}");
            assert_eq!((heard.fits, heard.mismatch), ([true, true], [false, false]));
        }
        let other = format!("HTTP/1.1 404 Not Found\r\nContent-Length: {length}\r\n\r\n{body}");
        assert!(!hear(&Http, &[(C, &get("")), (S, other.as_bytes())]).refused);
        let late = format!("HTTP/1.1 400 Bad\r\n\r\n{}{body}", "x".repeat(512));
        assert!(!hear(&Http, &[(C, &get("")), (S, late.as_bytes())]).refused);
    }
    let own = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\nbad field";
    assert!(!hear(&Http, &[(C, &get("")), (S, own)]).refused);
    assert!(hear(&Http, &[(C, &get("")), (S, b"HTTP/1.1 497 \r\n\r\n")]).refused);
}

#[test]
fn a_server_that_speaks_something_else_is_a_mismatch() {
    for answer in [&b"\x15\x03\x01\x00\x02\x02\x46"[..], b"SSH-2.0-OpenSSH_9.2\r\n", b"-ERR\r\n"] {
        let request = get("Authorization: Basic QTpC\r\n");
        for lines in [[(C, &request[..]), (S, answer)], [(S, answer), (C, &request)]] {
            let heard = hear(&Http, &lines);
            assert_eq!((heard.fits, heard.mismatch), ([true, false], [false, true]));
            assert_eq!(heard.credentials, Credentials::BASIC_AUTH);
        }
    }
}

#[test]
fn joined_late() {
    let lines =
        [(S, &b"rest of a body"[..]), (C, &get("Cookie: a\r\n")), (S, OK), (C, &get("")), (S, OK)];
    let heard = hear_from(&Http, &lines, Start::Unknown);
    assert_eq!((heard.fits, heard.mismatch), ([true, true], [false, false]));
    assert_eq!(heard.credentials, Credentials::SESSION_SECRET);
    let lines = [(C, &b"rest of an upload"[..]), (S, OK), (C, &get("Cookie: a\r\n")), (S, OK)];
    let heard = hear_from(&Http, &lines, Start::Unknown);
    assert_eq!((heard.fits, heard.credentials), ([true, true], Credentials::SESSION_SECRET));
}

#[test]
fn health_checks_are_known_by_their_user_agent_and_told_once() {
    for (agent, is) in [
        ("ELB-HealthChecker/2.0", true),
        ("kube-probe/1.29", true),
        ("googlehc/1.0", true),
        ("Mozilla/5.0 (kube-probe/1.29)", false),
        ("cleartap-canary/1", false),
        ("curl/8.0", false),
        ("", false),
    ] {
        let request = get(&format!("User-Agent: {agent}\r\n"));
        let lines = [(C, &request[..]), (S, OK), (C, &request), (S, OK)];
        let rules = hear(&Http, &lines).rules;
        let told = rules.iter().filter(|rule| **rule == "http.health-check").count();
        assert_eq!(told, usize::from(is), "{agent}");
        let canary = rules.contains(&crate::model::CANARY_RULE);
        assert_eq!(canary, agent.starts_with("cleartap-canary"), "{agent}");
    }
}
