//! What the hellos say. RFC 8446 section 4.1, RFC 5246 section 7.4.1, RFC 6066 (SNI), RFC 7301 (ALPN).
//!
//! tls-parser reads the message; what it refuses (odd versions, wrong lengths, a message cut short) our own reader takes
//! as far as it goes, because an odd hello is still a fact. Extensions are read one by one: a bad one hides no other.

use sha2::{Digest, Sha256};
use tls_parser::{
    TlsMessageHandshake, parse_tls_handshake_client_hello, parse_tls_handshake_msg_server_hello,
};

use super::fingerprint::{self, Offer, codes};
use crate::{
    bytes::{Cursor, Short},
    model::{
        Name,
        fingerprint::{Ja3, Ja4},
        tls::{TlsVersion, is_post_quantum},
    },
};

/// What a `ClientHello` offers. `None`: not seen in a hello that was cut short.
#[allow(clippy::struct_excessive_bools, reason = "independent observations, each true or not")]
#[derive(Clone, Debug, Default)]
pub(in crate::inspect) struct ClientHello {
    /// Highest version offered.
    pub(in crate::inspect) version: Option<TlsVersion>,
    /// The first of those offered, GREASE left out.
    pub(in crate::inspect) versions: Vec<TlsVersion>,
    /// Number of cipher suites, GREASE left out.
    pub(in crate::inspect) ciphers: Option<u16>,
    /// The first of the groups, GREASE left out.
    pub(in crate::inspect) groups: Vec<u16>,
    /// Whether any group is post-quantum.
    pub(in crate::inspect) pq: Option<bool>,
    pub(in crate::inspect) sni: Option<Name>,
    pub(in crate::inspect) alpn: Vec<Name>,
    /// More protocols were offered than are kept.
    pub(in crate::inspect) alpn_cut: bool,
    pub(in crate::inspect) early_data: Option<bool>,
    /// `encrypted_client_hello`, genuine or GREASE.
    pub(in crate::inspect) ech: Option<bool>,
    /// Hash of that extension.
    ech_digest: Option<Digest8>,
    /// Hash of the session id, if there is one.
    pub(in crate::inspect) session: Option<Digest8>,
    /// A session ticket (RFC 5077).
    pub(in crate::inspect) ticket: Option<bool>,
    /// Pre-shared keys of TLS 1.3.
    pub(in crate::inspect) psk: Option<Psk>,
    /// The answer to a `HelloRetryRequest`: this is not the first hello.
    pub(in crate::inspect) cookie: bool,
    /// No hello that answers a `HelloRetryRequest` without a cookie is like this: that has one key share, and no early
    /// data (RFC 8446 section 4.1.2).
    pub(in crate::inspect) unlike_second: bool,
    /// It belongs to a second handshake within a session (RFC 5746 section 3.5).
    pub(in crate::inspect) renegotiation: bool,
    pub(in crate::inspect) ja3: Option<Ja3>,
    pub(in crate::inspect) ja4: Option<Ja4>,
}

/// The beginning of a SHA-256.
pub(in crate::inspect) type Digest8 = [u8; 8];

/// What the identities of a `pre_shared_key` are: one that was agreed upon outside has an age of zero (RFC 8446 section
/// 4.2.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::inspect) enum Psk {
    Resumption,
    External,
    Mixed,
}

/// What a `ServerHello` chose.
#[derive(Clone, Debug)]
pub(in crate::inspect) struct ServerHello {
    pub(in crate::inspect) version: TlsVersion,
    /// Hash of the session id, if there is one.
    pub(in crate::inspect) session: Option<Digest8>,
    pub(in crate::inspect) cipher: u16,
    pub(in crate::inspect) compression: Option<u8>,
    pub(in crate::inspect) group: Option<u16>,
    pub(in crate::inspect) alpn: Option<Name>,
    /// `pre_shared_key` accepted.
    pub(in crate::inspect) psk: bool,
    /// `HelloRetryRequest`.
    pub(in crate::inspect) retry: bool,
    /// The random says that the server could have chosen a newer version (RFC 8446 section 4.1.3).
    pub(in crate::inspect) downgrade: bool,
    /// `None`: the extensions are not well formed.
    pub(in crate::inspect) renegotiation_info: Option<bool>,
    pub(in crate::inspect) extended_master_secret: Option<bool>,
}

impl ClientHello {
    /// Reads the body of a message; `complete` unless its end is missing.
    pub(in crate::inspect) fn read(body: &[u8], complete: bool) -> Option<Self> {
        let ClientFields { version: legacy, session, ciphers, extensions, whole } =
            client_fields(body, complete)?;
        let absent = complete.then_some(false);
        let count = u16::try_from(ciphers.len()).ok();
        let mut hello = Self {
            early_data: absent,
            ech: absent,
            ticket: absent,
            pq: absent,
            ciphers: count.filter(|_| whole),
            session: digest8(session),
            ..Self::default()
        };
        let kinds = Vec::with_capacity(EXTENSIONS);
        let mut offer = Offer { legacy, ciphers, extensions: kinds, ..Offer::default() };
        let mut list = Extensions(Cursor::new(extensions));
        for (kind, value) in list.by_ref() {
            hello.extension(kind, value);
            offer.extension(kind, value);
        }
        hello.version = highest(&offer.versions).or_else(|| complete.then_some(TlsVersion(legacy)));
        hello.versions = match offer.versions.as_slice() {
            [] => hello.version.into_iter().collect(),
            offered => offered.iter().copied().map(TlsVersion).take(LIST_KEPT_MAX).collect(),
        };
        if complete && whole && list.0.is_empty() {
            let (ja3, ja4) = fingerprint::both(&offer);
            (hello.ja3, hello.ja4) = (Some(ja3), ja4);
        }
        Some(hello)
    }

    fn extension(&mut self, kind: u16, value: &[u8]) {
        match kind {
            SERVER_NAME if self.sni.is_none() => self.sni = server_name(value),
            ALPN if self.alpn.is_empty() => {
                (self.alpn, self.alpn_cut) = kept(protocols(value));
            }
            SUPPORTED_GROUPS if self.groups.is_empty() => {
                let mut groups = counted(value);
                self.pq = Some(groups.iter().copied().any(is_post_quantum));
                groups.truncate(LIST_KEPT_MAX);
                groups.shrink_to_fit();
                self.groups = groups;
            }
            SESSION_TICKET => self.ticket = Some(!value.is_empty()),
            PRE_SHARED_KEY => self.psk = identities(value),
            EARLY_DATA => (self.early_data, self.unlike_second) = (Some(true), true),
            KEY_SHARE => self.unlike_second |= !is_one_share(value),
            COOKIE => self.cookie = true,
            RENEGOTIATION_INFO => self.renegotiation = value.len() > 1,
            ENCRYPTED_CLIENT_HELLO => {
                self.ech = Some(true);
                self.ech_digest = digest8(value);
            }
            _ => {}
        }
    }

    /// Whether `second`, after a `HelloRetryRequest`, shows that this hello's `encrypted_client_hello` was GREASE: that is
    /// copied, a genuine one is made anew without a key (RFC 9849 sections 6.1.5 and 6.2).
    pub(in crate::inspect) fn ech_is_grease(&self, second: &[u8]) -> Option<bool> {
        let first = self.ech_digest?;
        let fields = client_fields(second, true)?;
        let mut list = Extensions(Cursor::new(fields.extensions));
        let (_, value) = list.find(|(kind, _)| *kind == ENCRYPTED_CLIENT_HELLO)?;
        if digest8(value) == Some(first) {
            return Some(true);
        }
        // Type outer, cipher suite, configuration id; then the length of the key.
        matches!(value, [0, _, _, _, _, _, 0, 0, ..]).then_some(false)
    }
}

/// Whether a client's `key_share` holds one share, or is odd.
fn is_one_share(value: &[u8]) -> bool {
    let mut list = Cursor::new(value);
    let (length, mut shares) = (list.u16_be().map_or(0, usize::from), 0_u32);
    if length != list.left() {
        return true;
    }
    while !list.is_empty() {
        let key = list.skip(GROUP_BYTES).and_then(|()| list.u16_be());
        if key.and_then(|length| list.skip(usize::from(length))).is_err() {
            return true;
        }
        shares = shares.saturating_add(1);
    }
    shares == 1
}

impl<'a> Offer<'a> {
    fn extension(&mut self, kind: u16, value: &'a [u8]) {
        if !fingerprint::is_grease(kind) {
            self.extensions.push(kind);
        }
        match kind {
            SUPPORTED_GROUPS => self.groups = counted(value),
            POINT_FORMATS => self.point_formats = value.get(1..).unwrap_or_default(),
            SIGNATURE_ALGORITHMS => self.signatures = counted(value),
            SUPPORTED_VERSIONS => self.versions = codes(value.get(1..).unwrap_or_default()),
            ALPN => {
                let mut cursor = Cursor::new(value.get(2..).unwrap_or_default());
                let length = cursor.u8().map_or(0, usize::from);
                self.alpn = cursor.take(length).ok();
            }
            _ => {}
        }
    }
}

impl ServerHello {
    /// Reads the body of a message.
    pub(in crate::inspect) fn read(body: &[u8]) -> Option<Self> {
        let ServerFields { version, random, session, cipher, compression, extensions } =
            server_fields(body)?;
        let mut hello = Self {
            version: TlsVersion(version),
            session: digest8(session),
            cipher,
            compression,
            group: None,
            alpn: None,
            psk: false,
            retry: random == RETRY_RANDOM,
            downgrade: random.ends_with(&DOWNGRADE_TO_1_2) || random.ends_with(&DOWNGRADE_TO_1_1),
            renegotiation_info: None,
            extended_master_secret: None,
        };
        let (mut renegotiation, mut secret) = (false, false);
        let mut list = Extensions(Cursor::new(extensions));
        for (kind, value) in list.by_ref() {
            let word = Cursor::new(value).u16_be().ok();
            match (kind, word) {
                (SUPPORTED_VERSIONS, Some(version)) => hello.version = TlsVersion(version),
                (KEY_SHARE | KEY_SHARE_OLD, Some(_)) => hello.group = word,
                (ALPN, _) => hello.alpn = protocols(value).into_iter().next(),
                (PRE_SHARED_KEY, _) => hello.psk = true,
                (RENEGOTIATION_INFO, _) => renegotiation = true,
                (EXTENDED_MASTER_SECRET, _) => secret = true,
                _ => {}
            }
        }
        if list.0.is_empty() {
            hello.renegotiation_info = Some(renegotiation);
            hello.extended_master_secret = Some(secret);
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

struct ClientFields<'a> {
    version: u16,
    session: &'a [u8],
    /// GREASE left out.
    ciphers: Vec<u16>,
    extensions: &'a [u8],
    /// All fields before the extensions were read.
    whole: bool,
}

fn client_fields(body: &[u8], complete: bool) -> Option<ClientFields<'_>> {
    if complete && let Ok((rest, hello)) = parse_tls_handshake_client_hello(body) {
        // Leftover bytes with no extensions read: a list whose length is wrong.
        if rest.is_empty() || hello.ext.is_some() {
            let ciphers = hello.ciphers.iter().map(|cipher| cipher.0);
            let mut kept = Vec::with_capacity(hello.ciphers.len());
            kept.extend(ciphers.filter(|code| !fingerprint::is_grease(*code)));
            return Some(ClientFields {
                version: hello.version.0,
                session: hello.session_id.unwrap_or_default(),
                ciphers: kept,
                extensions: hello.ext.unwrap_or_default(),
                whole: true,
            });
        }
    }
    let mut cursor = Cursor::new(body);
    let version = cursor.u16_be().ok()?;
    let odd =
        ClientFields { version, session: &[], ciphers: Vec::new(), extensions: &[], whole: false };
    Some(odd_client_fields(version, cursor).unwrap_or(odd))
}

fn odd_client_fields(version: u16, mut cursor: Cursor<'_>) -> Result<ClientFields<'_>, Short> {
    cursor.skip(RANDOM_BYTES)?;
    let session = cursor.u8()?;
    let session = cursor.take(usize::from(session))?;
    let ciphers = cursor.u16_be()?;
    let ciphers = codes(cursor.take(usize::from(ciphers))?);
    let compressions = cursor.u8()?;
    cursor.skip(usize::from(compressions))?;
    cursor.u16_be()?;
    // The length of the list of extensions is wrong, or the hello was cut.
    Ok(ClientFields { version, session, ciphers, extensions: cursor.rest(), whole: true })
}

struct ServerFields<'a> {
    version: u16,
    random: &'a [u8],
    session: &'a [u8],
    cipher: u16,
    /// Drafts of TLS 1.3 had none.
    compression: Option<u8>,
    extensions: &'a [u8],
}

fn server_fields(body: &[u8]) -> Option<ServerFields<'_>> {
    match parse_tls_handshake_msg_server_hello(body) {
        Ok((_, TlsMessageHandshake::ServerHello(hello))) => Some(ServerFields {
            version: hello.version.0,
            random: hello.random,
            session: hello.session_id.unwrap_or_default(),
            cipher: hello.cipher.0,
            compression: Some(hello.compression.0),
            extensions: hello.ext.unwrap_or_default(),
        }),
        Ok((_, TlsMessageHandshake::ServerHelloV13Draft18(hello))) => Some(ServerFields {
            version: hello.version.0,
            random: hello.random,
            session: &[],
            cipher: hello.cipher.0,
            compression: None,
            extensions: hello.ext.unwrap_or_default(),
        }),
        _ => odd_server_fields(Cursor::new(body)).ok(),
    }
}

fn odd_server_fields(mut cursor: Cursor<'_>) -> Result<ServerFields<'_>, Short> {
    let version = cursor.u16_be()?;
    let random = cursor.take(RANDOM_BYTES)?;
    // Drafts up to 21 of TLS 1.3 announced themselves here and had neither session id nor compression.
    let bare = matches!(version, 0x7f00..=0x7f15);
    let session = if bare { 0 } else { cursor.u8()? };
    let session = cursor.take(usize::from(session))?;
    let cipher = cursor.u16_be()?;
    let compression = if bare { None } else { Some(cursor.u8()?) };
    let extensions = cursor.u16_be().map_or(&[][..], |_| cursor.rest());
    Ok(ServerFields { version, random, session, cipher, compression, extensions })
}

/// The beginning of a hash of what there is.
fn digest8(value: &[u8]) -> Option<Digest8> {
    if value.is_empty() {
        return None;
    }
    Sha256::digest(value).first_chunk().copied()
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

/// The codes of a list behind its length, GREASE left out.
fn counted(value: &[u8]) -> Vec<u16> {
    codes(value.get(2..).unwrap_or_default())
}

/// What the identities of a `pre_shared_key` are.
fn identities(value: &[u8]) -> Option<Psk> {
    let mut cursor = Cursor::new(value);
    let length = cursor.u16_be().ok()?;
    let mut list = Cursor::new(cursor.take(usize::from(length)).ok()?);
    let mut found = None;
    while let Ok(length) = list.u16_be() {
        list.skip(usize::from(length)).ok()?;
        let one = if list.u32_be().ok()? == 0 { Psk::External } else { Psk::Resumption };
        found = Some(found.map_or(one, |known| if known == one { one } else { Psk::Mixed }));
    }
    found
}

/// The highest version we have a name for, every draft of TLS 1.3 counting as 1.3.
fn highest(offered: &[u16]) -> Option<TlsVersion> {
    let mut best = None;
    for version in offered.iter().copied().map(TlsVersion) {
        let rank = version.rank();
        if version.name().is_some() && best.is_none_or(|(top, _)| rank > top) {
            best = Some((rank, version));
        }
    }
    best.map(|(_, version)| version)
}

const RANDOM_BYTES: usize = 32;
/// Most hellos have fewer.
const EXTENSIONS: usize = 24;
const GROUP_BYTES: usize = 2;
const HOST_NAME: u8 = 0;
/// Protocols read of an offer; more than are kept, so that it is known when some are left out.
const ALPN_NAMES_MAX: usize = 16;
/// Protocols kept of a client's offer, and the bytes of all their names.
const ALPN_KEPT_MAX: usize = 8;
const ALPN_BYTES_MAX: usize = 128;

/// Versions and groups kept of a client's offer.
const LIST_KEPT_MAX: usize = 8;

const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const POINT_FORMATS: u16 = 11;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const EXTENDED_MASTER_SECRET: u16 = 23;
const SESSION_TICKET: u16 = 35;
/// Until draft 22.
const KEY_SHARE_OLD: u16 = 40;
const PRE_SHARED_KEY: u16 = 41;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;
const COOKIE: u16 = 44;
const KEY_SHARE: u16 = 51;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
const RENEGOTIATION_INFO: u16 = 0xff01;

/// Last bytes of the random of a server that could have chosen TLS 1.3, or 1.2.
const DOWNGRADE_TO_1_2: [u8; 8] = *b"DOWNGRD\x01";
const DOWNGRADE_TO_1_1: [u8; 8] = *b"DOWNGRD\x00";

/// The random of a `HelloRetryRequest`: SHA-256 of that word (RFC 8446 section 4.1.3).
const RETRY_RANDOM: [u8; RANDOM_BYTES] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
