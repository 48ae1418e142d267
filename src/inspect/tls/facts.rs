//! What both sides' hellos say together.

use super::{hello::ClientHello, message::Heard};
use crate::model::tls::TlsFacts;

/// The facts of a handshake; `partial`: a client hello that was not completed.
pub(in crate::inspect) fn facts(
    client: &Heard,
    server: &Heard,
    partial: Option<&ClientHello>,
) -> TlsFacts {
    let client_hello = client.client_hello.as_ref().or(partial);
    let server_hello = server.server_hello.as_ref();
    let chosen = server_hello.or(server.retry.as_ref());
    let mut facts = TlsFacts {
        version: chosen.map(|hello| hello.version),
        cipher: chosen.map(|hello| hello.cipher),
        group: server.group.or_else(|| chosen.and_then(|hello| hello.group)),
        dh_bits: server.dh_bits,
        alpn: server_hello.and_then(|hello| hello.alpn.clone()),
        client_hello: client_hello.is_some(),
        server_hello: server_hello.is_some(),
        hello_retry_request: server.retry.is_some(),
        resumed: server_hello.filter(|hello| hello.version.is_1_3()).map(|hello| hello.psk),
        certificates: server.chain.clone(),
        client_certificates: client.chain.clone(),
        certificate_cut: server.certificate_cut,
        client_certificate_cut: client.certificate_cut,
        ..TlsFacts::default()
    };
    if let Some(hello) = client_hello {
        let ClientHello { version, sni, alpn, alpn_cut, early_data, ech } = hello.clone();
        facts.version_offered = version;
        facts.sni = sni;
        facts.alpn_offered = alpn;
        facts.alpn_cut = alpn_cut;
        facts.early_data_offered = early_data;
        facts.ech_offered = ech;
    }
    facts
}
