//! What both sides' hellos say together.

use super::{
    hello::{ClientHello, Psk, ServerHello},
    message::Heard,
    names::{key_exchange, key_exchange_1_3},
};
use crate::model::{
    fingerprint::Carrier,
    tls::{Resumption, TlsFacts, is_post_quantum},
};

/// The two sides of a handshake, and how well they were seen.
#[derive(Debug)]
pub(in crate::inspect) struct Sides<'a> {
    pub(in crate::inspect) client: &'a Heard,
    pub(in crate::inspect) server: &'a Heard,
    /// A client hello that was not completed.
    pub(in crate::inspect) partial: Option<ClientHello>,
    /// The client's hello that was read is its first.
    pub(in crate::inspect) client_first: bool,
    /// Nothing of the server was missing before its hello.
    pub(in crate::inspect) server_whole: bool,
    pub(in crate::inspect) carrier: Carrier,
}

/// The facts of a handshake.
pub(in crate::inspect) fn facts(sides: Sides<'_>) -> TlsFacts {
    let Sides { client, server, partial, client_first, server_whole, carrier } = sides;
    let client_hello = client.client_hello.clone().or(partial);
    let server_hello = server.server_hello.as_ref();
    let chosen = server_hello.or(server.retry.as_ref());
    let mut facts = TlsFacts {
        version: chosen.map(|hello| hello.version),
        cipher: chosen.map(|hello| hello.cipher),
        group: server.group.or_else(|| chosen.and_then(|hello| hello.group)),
        dh_bits: server.dh_bits,
        signature_algorithm: server.signature,
        client_hello: client_hello.is_some(),
        server_hello: server_hello.is_some(),
        hello_retry_request: server.retry.as_ref().map(|_| true),
        certificates: server.chain.clone(),
        client_certificates: client.chain.clone(),
        certificate_cut: server.certificate_cut,
        client_certificate_cut: client.certificate_cut,
        ..TlsFacts::default()
    };
    facts.pq = facts.group.map(is_post_quantum);
    if let Some(hello) = server_hello {
        answered(&mut facts, hello, client_hello.as_ref(), server_whole);
    }
    if let Some(hello) = client_hello {
        // After a HelloRetryRequest the hello is changed: of the second it is not known what the first was. There is no
        // third. The server's answer shows whether it asked for another.
        let unasked = server_whole && server_hello.is_some() && server.retry.is_none();
        let alone = (unasked || hello.unlike_second) && !hello.cookie;
        let first = client_first || client.client_hellos > 1 || alone;
        let second = !first;
        if !hello.renegotiation {
            offered(&mut facts, hello, second, carrier);
        }
        let asked = server.retry.is_some() && !second;
        facts.ech_grease = client.ech_grease.filter(|_| asked);
    }
    if facts.early_data_offered == Some(true) {
        let refused = server.retry.is_some() || server_hello.is_some_and(|hello| !hello.psk);
        facts.early_data_accepted = refused.then_some(false);
    }
    facts
}

/// What the server chose.
fn answered(
    facts: &mut TlsFacts,
    hello: &ServerHello,
    client_hello: Option<&ClientHello>,
    whole: bool,
) {
    facts.compression = hello.compression;
    facts.alpn.clone_from(&hello.alpn);
    facts.downgrade_sentinel = Some(hello.downgrade);
    if hello.version.is_1_3() {
        facts.key_exchange = key_exchange_1_3(hello.group, hello.psk);
        if whole {
            facts.hello_retry_request.get_or_insert(false);
        }
        let offered = client_hello.and_then(|hello| hello.psk);
        // A key agreed upon outside resumes nothing; the server's side alone does not show which it was.
        facts.resumed = match (hello.psk, offered) {
            (false, _) | (true, Some(Psk::External)) => Some(false),
            (true, Some(Psk::Resumption)) => Some(true),
            (true, _) => None,
        };
        let way = if hello.group.is_some() { Resumption::PskDhe } else { Resumption::Psk };
        facts.resumption = facts.resumed.filter(|resumed| *resumed).map(|_| way);
        return;
    }
    facts.key_exchange = key_exchange(hello.cipher);
    facts.hello_retry_request = Some(false);
    facts.pq = Some(facts.pq.unwrap_or(false));
    facts.secure_renegotiation = hello.renegotiation_info;
    facts.extended_master_secret = hello.extended_master_secret;
}

/// What the client offered.
fn offered(facts: &mut TlsFacts, hello: ClientHello, second: bool, carrier: Carrier) {
    facts.version_offered = hello.version;
    facts.versions_offered = hello.versions;
    facts.ciphers_offered = hello.ciphers;
    facts.groups_offered = hello.groups;
    facts.pq_offered = hello.pq;
    facts.sni = hello.sni;
    facts.alpn_offered = hello.alpn;
    facts.alpn_cut = hello.alpn_cut;
    facts.ech_offered = hello.ech;
    if !second {
        facts.early_data_offered = hello.early_data;
        facts.ja3 = hello.ja3;
        facts.ja4 = hello.ja4.map(|ja4| ja4.over(carrier));
    }
}

/// How a session of TLS 1.2 or before was resumed: a client that shows a ticket makes up a session id to learn that it was
/// taken (RFC 5077 section 3.4).
pub(in crate::inspect) fn resumption(client: &Heard) -> Option<Resumption> {
    let ticket = client.client_hello.as_ref()?.ticket?;
    Some(if ticket { Resumption::SessionTicket } else { Resumption::SessionId })
}
