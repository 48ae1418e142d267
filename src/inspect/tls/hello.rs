//! What the hellos say. RFC 8446 section 4.1, RFC 5246 section 7.4.1, RFC 6066 (SNI), RFC 7301 (ALPN).
//!
//! tls-parser reads the message; what it refuses (odd versions, wrong lengths, a message cut short) our own reader takes
//! as far as it goes, because an odd hello is still a fact. Extensions are read one by one: a bad one hides no other.

use tls_parser::{
    TlsMessageHandshake, parse_tls_handshake_client_hello, parse_tls_handshake_msg_server_hello,
};

use crate::{
    bytes::{Cursor, Short},
    model::{Name, tls::TlsVersion},
};

/// What a `ClientHello` offers.
#[derive(Clone, Debug, Default)]
pub(in crate::inspect) struct ClientHello {
    /// Highest version offered.
    pub(in crate::inspect) version: Option<TlsVersion>,
    pub(in crate::inspect) sni: Option<Name>,
    pub(in crate::inspect) alpn: Vec<Name>,
    /// More protocols were offered than are kept.
    pub(in crate::inspect) alpn_cut: bool,
    /// `None`: not seen in a hello that was cut short.
    pub(in crate::inspect) early_data: Option<bool>,
    /// `encrypted_client_hello`, genuine or GREASE.
    pub(in crate::inspect) ech: Option<bool>,
}

/// What a `ServerHello` chose.
#[derive(Clone, Debug)]
pub(in crate::inspect) struct ServerHello {
    pub(in crate::inspect) version: TlsVersion,
    pub(in crate::inspect) cipher: u16,
    pub(in crate::inspect) group: Option<u16>,
    pub(in crate::inspect) alpn: Option<Name>,
    /// `pre_shared_key` accepted.
    pub(in crate::inspect) psk: bool,
    /// `HelloRetryRequest`.
    pub(in crate::inspect) retry: bool,
}

impl ClientHello {
    /// Reads the body of a message; `complete` unless its end is missing.
    pub(in crate::inspect) fn read(body: &[u8], complete: bool) -> Option<Self> {
        let (legacy, list) = client_fields(body, complete)?;
        let absent = complete.then_some(false);
        let mut hello = Self { early_data: absent, ech: absent, ..Self::default() };
        let mut offered = None;
        for (kind, value) in Extensions(Cursor::new(list)) {
            match kind {
                SERVER_NAME if hello.sni.is_none() => hello.sni = server_name(value),
                ALPN if hello.alpn.is_empty() => {
                    (hello.alpn, hello.alpn_cut) = kept(protocols(value));
                }
                SUPPORTED_VERSIONS if offered.is_none() => offered = highest(value),
                EARLY_DATA => hello.early_data = Some(true),
                ENCRYPTED_CLIENT_HELLO => hello.ech = Some(true),
                _ => {}
            }
        }
        hello.version = offered.or_else(|| complete.then_some(TlsVersion(legacy)));
        Some(hello)
    }
}

impl ServerHello {
    /// Reads the body of a message.
    pub(in crate::inspect) fn read(body: &[u8]) -> Option<Self> {
        let ServerFields { version, random, cipher, extensions } = server_fields(body)?;
        let mut hello = Self {
            version: TlsVersion(version),
            cipher,
            group: None,
            alpn: None,
            psk: false,
            retry: random == RETRY_RANDOM,
        };
        for (kind, value) in Extensions(Cursor::new(extensions)) {
            let word = Cursor::new(value).u16_be().ok();
            match (kind, word) {
                (SUPPORTED_VERSIONS, Some(version)) => hello.version = TlsVersion(version),
                (KEY_SHARE | KEY_SHARE_OLD, Some(_)) => hello.group = word,
                (ALPN, _) => hello.alpn = protocols(value).into_iter().next(),
                (PRE_SHARED_KEY, _) => hello.psk = true,
                _ => {}
            }
        }
        Some(hello)
    }
}

/// The first of the protocols offered, as many as a flow may hold, and whether any were left out.
fn kept(offered: Vec<Name>) -> (Vec<Name>, bool) {
    let count = offered.len();
    let mut room = ALPN_BYTES_MAX;
    let mut fits = |name: &Name| {
        let left = room.checked_sub(name.as_str().len());
        room = left.unwrap_or(room);
        left.is_some()
    };
    let kept: Vec<Name> =
        offered.into_iter().take(ALPN_KEPT_MAX).take_while(|name| fits(name)).collect();
    let cut = kept.len() < count;
    (kept, cut)
}

/// Legacy version and extensions.
fn client_fields(body: &[u8], complete: bool) -> Option<(u16, &[u8])> {
    if complete && let Ok((rest, hello)) = parse_tls_handshake_client_hello(body) {
        // Leftover bytes with no extensions read: a list whose length is wrong.
        if rest.is_empty() || hello.ext.is_some() {
            return Some((hello.version.0, hello.ext.unwrap_or_default()));
        }
    }
    let mut cursor = Cursor::new(body);
    let version = cursor.u16_be().ok()?;
    Some((version, client_extensions(cursor).unwrap_or_default()))
}

fn client_extensions(mut cursor: Cursor<'_>) -> Result<&[u8], Short> {
    cursor.skip(RANDOM_BYTES)?;
    let session = cursor.u8()?;
    cursor.skip(usize::from(session))?;
    let ciphers = cursor.u16_be()?;
    cursor.skip(usize::from(ciphers))?;
    let compressions = cursor.u8()?;
    cursor.skip(usize::from(compressions))?;
    cursor.u16_be()?;
    Ok(cursor.rest())
}

struct ServerFields<'a> {
    version: u16,
    random: &'a [u8],
    cipher: u16,
    extensions: &'a [u8],
}

fn server_fields(body: &[u8]) -> Option<ServerFields<'_>> {
    let (version, random, cipher, extensions) = match parse_tls_handshake_msg_server_hello(body) {
        Ok((_, TlsMessageHandshake::ServerHello(h))) => (h.version, h.random, h.cipher, h.ext),
        Ok((_, TlsMessageHandshake::ServerHelloV13Draft18(h))) => {
            (h.version, h.random, h.cipher, h.ext)
        }
        _ => return odd_server_fields(Cursor::new(body)).ok(),
    };
    let extensions = extensions.unwrap_or_default();
    Some(ServerFields { version: version.0, random, cipher: cipher.0, extensions })
}

fn odd_server_fields(mut cursor: Cursor<'_>) -> Result<ServerFields<'_>, Short> {
    let version = cursor.u16_be()?;
    let random = cursor.take(RANDOM_BYTES)?;
    // Drafts up to 21 of TLS 1.3 announced themselves here and had neither session id nor compression.
    let bare = matches!(version, 0x7f00..=0x7f15);
    if !bare {
        let session = cursor.u8()?;
        cursor.skip(usize::from(session))?;
    }
    let cipher = cursor.u16_be()?;
    if !bare {
        cursor.skip(1)?;
    }
    let extensions = cursor.u16_be().map_or(&[][..], |_| cursor.rest());
    Ok(ServerFields { version, random, cipher, extensions })
}

/// Extensions of a list, up to the first that is cut short.
struct Extensions<'a>(Cursor<'a>);

impl<'a> Iterator for Extensions<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let kind = self.0.u16_be().ok()?;
        let length = self.0.u16_be().ok()?;
        Some((kind, self.0.take(usize::from(length)).ok()?))
    }
}

/// The first `host_name` of the list.
fn server_name(value: &[u8]) -> Option<Name> {
    let mut cursor = Cursor::new(value);
    cursor.u16_be().ok()?;
    loop {
        let kind = cursor.u8().ok()?;
        let length = cursor.u16_be().ok()?;
        let name = cursor.take(usize::from(length)).ok()?;
        if kind == HOST_NAME {
            return (!name.is_empty()).then(|| Name::from_wire(name));
        }
    }
}

fn protocols(value: &[u8]) -> Vec<Name> {
    let mut names = Vec::new();
    let mut cursor = Cursor::new(value);
    if cursor.u16_be().is_err() {
        return names;
    }
    while names.len() < ALPN_NAMES_MAX
        && let Ok(length) = cursor.u8()
        && let Ok(name) = cursor.take(usize::from(length))
    {
        names.push(Name::from_wire(name));
    }
    names
}

/// The highest version we have a name for (GREASE values have none), every draft of TLS 1.3 counting as 1.3.
fn highest(value: &[u8]) -> Option<TlsVersion> {
    let mut cursor = Cursor::new(value);
    cursor.u8().ok()?;
    let mut best = None;
    while let Ok(version) = cursor.u16_be().map(TlsVersion) {
        let rank = version.rank();
        if version.name().is_some() && best.is_none_or(|(top, _)| rank > top) {
            best = Some((rank, version));
        }
    }
    best.map(|(_, version)| version)
}

const RANDOM_BYTES: usize = 32;
const HOST_NAME: u8 = 0;
/// Protocols read of an offer; more than are kept, so that it is known when some are left out.
const ALPN_NAMES_MAX: usize = 16;
/// Protocols kept of a client's offer, and the bytes of all their names.
const ALPN_KEPT_MAX: usize = 8;
const ALPN_BYTES_MAX: usize = 128;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
/// Until draft 22.
const KEY_SHARE_OLD: u16 = 40;
const PRE_SHARED_KEY: u16 = 41;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// The random of a `HelloRetryRequest`: SHA-256 of that word (RFC 8446 section 4.1.3).
const RETRY_RANDOM: [u8; RANDOM_BYTES] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
