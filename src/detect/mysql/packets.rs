//! Packets of the MySQL connection phase, and those that tell in the middle of a stream.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>
//!
//! Every packet begins with its length (three bytes, little endian) and a sequence number.
use super::super::sql;
use crate::{
    bytes::{Cursor, Short},
    model::Credentials,
};

/// A packet header: payload length and sequence number.
pub(super) fn header(c: &mut Cursor<'_>) -> Result<(usize, u8), Short> {
    let length = c.u24_le()?;
    Ok((usize::try_from(length).unwrap_or(usize::MAX), c.u8()?))
}

/// The server's greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// Length of the packet with its header.
    pub(super) length: usize,
    /// Whether it offers `CLIENT_SSL`.
    pub(super) offers_tls: bool,
}

/// `Protocol::HandshakeV10` up to its capabilities, so that a copy cut short will do; or V9 of the oldest servers.
pub(super) fn greeting(bytes: &[u8]) -> Result<Option<Greeting>, Short> {
    let mut c = Cursor::new(bytes);
    let Some(length) = first_header(&mut c)? else { return Ok(None) };
    let protocol = c.u8()?;
    if !matches!(protocol, 9 | 10) {
        return Ok(None);
    }
    let version = c.rest();
    let end = version.iter().take(VERSION_BYTES_MAX).position(|b| !matches!(b, 0x20..=0x7e));
    let version = match end {
        None if version.len() < VERSION_BYTES_MAX => return Err(Short),
        Some(at) if version.get(at) == Some(&0) => c.take(at)?,
        _ => return Ok(None),
    };
    if !version.first().is_some_and(u8::is_ascii_digit) {
        return Ok(None);
    }
    // The terminator, and the thread id.
    c.skip(5)?;
    if protocol == 9 {
        let scramble = c.take(length.saturating_sub(c.at()))?;
        let fits = matches!(scramble, [text @ .., 0] if text.len() >= 8 && sql::is_text(text));
        return Ok(fits.then_some(Greeting { length, offers_tls: false }));
    }
    let scramble = c.array::<8>()?;
    let filler = c.u8()?;
    let capabilities = u32::from(c.u16_le()?);
    let fits = version.contains(&b'.') && !scramble.contains(&0) && filler == 0;
    if capabilities & CLIENT_PROTOCOL_41 == 0 {
        // MySQL 3.23 and 4.0: character set, status, then nothing but zeros.
        c.skip(3)?;
        let zeros = c.take(length.saturating_sub(c.at()))?;
        let fits = fits && zeros.len() >= 13 && zeros.iter().all(|byte| *byte == 0);
        return Ok(fits.then_some(Greeting { length, offers_tls: false }));
    }
    let fits = fits && length >= c.at();
    let offers_tls = capabilities & CLIENT_SSL != 0;
    Ok(fits.then_some(Greeting { length, offers_tls }))
}

/// An error in place of the greeting (too many connections, host blocked): packet length and error code.
pub(super) fn error_first(bytes: &[u8]) -> Result<Option<(usize, u16)>, Short> {
    let mut c = Cursor::new(bytes);
    let Some(length) = first_header(&mut c)? else { return Ok(None) };
    if c.u8()? != ERR {
        return Ok(None);
    }
    let code = c.u16_le()?;
    // Server errors; ProxySQL has its own above 9000.
    if !matches!(code, 1000..=1999 | 3000..=4999 | 9000..=9999) {
        return Ok(None);
    }
    let text = c.take(length.saturating_sub(c.at()))?;
    // In whatever language: most of it is ASCII, or all of it UTF-8.
    let foreign = text.iter().filter(|b| !b.is_ascii()).count();
    let readable = foreign <= text.len() / 4 || std::str::from_utf8(text).is_ok();
    Ok((text.len() >= 8 && readable && sql::is_text(text)).then_some((length, code)))
}

/// What the client answers to the greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// `SSLRequest`: TLS begins right after.
    Tls,
    /// `Protocol::HandshakeResponse41`, in clear.
    Plain {
        /// Length of the packet with its header.
        length: usize,
        /// Whether it claims `CLIENT_SSL` all the same.
        claims_tls: bool,
        /// Whether what follows the authentication is compressed.
        compressed: bool,
        /// Offset of the length of its authentication response.
        secret_at: usize,
    },
    /// `Protocol::HandshakeResponse320`, too weak to prove anything alone; length of the packet.
    Old(usize),
}

/// Recognises the client's answer, as early as its user name and the length of its secret are there.
pub(super) fn login(bytes: &[u8]) -> Result<Option<Login>, Short> {
    let mut c = Cursor::new(bytes);
    let (payload, sequence) = header(&mut c)?;
    if !(LOGIN_BYTES_MIN..=LOGIN_BYTES_MAX).contains(&payload) || sequence != 1 {
        return Ok(None);
    }
    let length = payload.saturating_add(4);
    let low = c.u16_le()?;
    if u32::from(low) & CLIENT_PROTOCOL_41 == 0 {
        c.skip(3)?;
        return Ok(user(&mut c, length)?.then_some(Login::Old(length)));
    }
    if payload < TLS_REQUEST_BYTES {
        return Ok(None);
    }
    let capabilities = u32::from(c.u16_le()?) << 16 | u32::from(low);
    // Largest packet and character set.
    c.skip(5)?;
    let filler = c.array::<19>()?;
    let extended = c.array::<4>()?;
    if filler != [0; 19] || (capabilities & CLIENT_MYSQL != 0 && extended != [0; 4]) {
        return Ok(None);
    }
    let claims_tls = capabilities & CLIENT_SSL != 0;
    if payload == TLS_REQUEST_BYTES {
        return Ok(claims_tls.then_some(Login::Tls));
    }
    let nameless = c.peek()? == 0;
    if !user(&mut c, length)? {
        return Ok(None);
    }
    let secret_at = c.at();
    let secret = secret_length(&mut c, capabilities, length)?;
    let counted = capabilities & (CLIENT_PLUGIN_AUTH_LENENC | CLIENT_SECURE_CONNECTION) != 0;
    if nameless && (secret == 0 || !counted) {
        // Zeros, and a few small numbers among them, look like this too.
        return Ok(Some(Login::Old(length)));
    }
    let end = c.at().saturating_add(secret);
    let compressed = capabilities & (CLIENT_COMPRESS | CLIENT_ZSTD) != 0;
    let login = Login::Plain { length, claims_tls, compressed, secret_at };
    Ok((end <= length).then_some(login))
}

/// Kind of secret in a complete `HandshakeResponse41`, and the plugin it is for.
pub(super) fn login_secret(packet: &[u8], secret_at: usize) -> (Credentials, Plugin) {
    read_secret(packet, secret_at).unwrap_or((Credentials::NONE, Plugin::Unknown))
}

fn read_secret(packet: &[u8], secret_at: usize) -> Result<(Credentials, Plugin), Short> {
    let mut c = Cursor::new(packet);
    c.skip(4)?;
    let capabilities = c.u32_le()?;
    c.skip(secret_at.saturating_sub(8))?;
    let length = secret_length(&mut c, capabilities, packet.len())?;
    c.skip(length)?;
    if capabilities & (CLIENT_PLUGIN_AUTH_LENENC | CLIENT_SECURE_CONNECTION) == 0 {
        c.skip(1)?;
    }
    if capabilities & CLIENT_CONNECT_WITH_DB != 0 && c.until(0).is_err() {
        return Ok((Plugin::Unknown.secret(length), Plugin::Unknown));
    }
    let plugin = if capabilities & CLIENT_PLUGIN_AUTH == 0 {
        Plugin::Unknown
    } else {
        // Some clients leave out the terminator of the last field.
        let rest = c.rest();
        Plugin::named(c.until(0).unwrap_or(rest))
    };
    Ok((plugin.secret(length), plugin))
}

/// Kind of secret in the body of a `COM_CHANGE_USER`, and the plugin it is for.
pub(super) fn change_user(body: &[u8]) -> Option<(Credentials, Plugin)> {
    let mut c = Cursor::new(body);
    if !sql::is_text(c.until(0).ok()?) {
        return None;
    }
    let length = usize::from(c.u8().ok()?);
    c.skip(length).ok()?;
    c.until(0).ok()?;
    // The character set, then the plugin; old clients end here.
    let plugin = c.skip(2).and_then(|()| c.until(0)).map_or(Plugin::Unknown, Plugin::named);
    Some((plugin.secret(length), plugin))
}

/// How an authentication plugin sends its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plugin {
    /// Not named: told by length alone.
    Unknown,
    /// As it is.
    Clear,
    /// Scrambled or hashed with the server's challenge, or under its RSA key.
    Hash,
    /// No password at all: Kerberos, `WebAuthn`, a socket.
    Other,
}

impl Plugin {
    /// The plugin of this name.
    pub(super) fn named(name: &[u8]) -> Self {
        match name {
            b"" => Self::Unknown,
            b"mysql_clear_password" | b"dialog" => Self::Clear,
            b"mysql_native_password"
            | b"mysql_old_password"
            | b"caching_sha2_password"
            | b"sha256_password"
            | b"client_ed25519"
            | b"parsec"
            | b"authentication_ldap_sasl_client" => Self::Hash,
            _ => Self::Other,
        }
    }

    /// What a response of `length` bytes gives away. One byte asks for the server's RSA key, or is an empty password.
    pub(super) fn secret(self, length: usize) -> Credentials {
        match self {
            Self::Clear if length > 1 => Credentials::PASSWORD_CLEARTEXT,
            Self::Hash if length >= 8 => Credentials::PASSWORD_HASH_CHALLENGE,
            Self::Unknown if matches!(length, 8 | 20 | 32) => Credentials::PASSWORD_HASH_CHALLENGE,
            _ => Credentials::NONE,
        }
    }
}

/// A statement in a late view: `COM_QUERY` or `COM_STMT_PREPARE` whose text fills it; length of the packet.
pub(super) fn statement(bytes: &[u8]) -> Result<Option<usize>, Short> {
    let mut c = Cursor::new(bytes);
    let (payload, sequence) = header(&mut c)?;
    if !(2..=LATE_BYTES_MAX).contains(&payload) || sequence != 0 {
        return Ok(None);
    }
    if c.peek()? != 0 {
        return command(&mut c, payload);
    }
    // The compressed protocol leaves short packets as they are, behind a header that says 0 bytes before compression.
    if c.u24_le()? != 0 {
        return Ok(None);
    }
    let (inner, sequence) = header(&mut c)?;
    if inner.saturating_add(4) != payload || sequence != 0 {
        return Ok(None);
    }
    command(&mut c, inner)
}

fn command(c: &mut Cursor<'_>, payload: usize) -> Result<Option<usize>, Short> {
    if !matches!(c.u8()?, COM_QUERY | COM_STMT_PREPARE) {
        return Ok(None);
    }
    let text = c.take(payload.saturating_sub(1))?;
    // With CLIENT_QUERY_ATTRIBUTES: no parameters, in one set.
    let text = text.strip_prefix(&[0, 1]).unwrap_or(text);
    Ok(sql::is_statement(text).then(|| c.at()))
}

/// An error with its SQLSTATE in a late view; length of the packet.
pub(super) fn late_error(bytes: &[u8]) -> Result<Option<usize>, Short> {
    let mut c = Cursor::new(bytes);
    let (payload, sequence) = header(&mut c)?;
    if !(9..=ERROR_BYTES_MAX).contains(&payload) || sequence == 0 {
        return Ok(None);
    }
    if c.u8()? != ERR {
        return Ok(None);
    }
    c.skip(2)?;
    if c.u8()? != b'#' {
        return Ok(None);
    }
    let text = c.take(payload.saturating_sub(4))?;
    let Some((state, text)) = text.split_at_checked(5) else { return Ok(None) };
    let fits = state.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
    Ok((fits && sql::is_text(text)).then(|| c.at()))
}

/// Offset and length of the first column definition: it names the catalogue `def` and fills its packet.
pub(super) fn column_anywhere(bytes: &[u8]) -> Option<(usize, usize)> {
    let named = memchr::memmem::find_iter(bytes, b"\x03def");
    for at in named.filter_map(|named| named.checked_sub(HEADER_BYTES)) {
        let from = bytes.get(at..).unwrap_or_default();
        if let Ok(Some(length)) = column(from) {
            return Some((at, length));
        }
    }
    None
}

/// `Protocol::ColumnDefinition41`.
fn column(bytes: &[u8]) -> Result<Option<usize>, Short> {
    let mut c = Cursor::new(bytes);
    let (payload, sequence) = header(&mut c)?;
    if !(22..=COLUMN_BYTES_MAX).contains(&payload) || sequence == 0 {
        return Ok(None);
    }
    let body = c.take(payload)?;
    Ok(is_column(body).unwrap_or(false).then(|| c.at()))
}

fn is_column(body: &[u8]) -> Result<bool, Short> {
    let mut c = Cursor::new(body);
    // Catalogue, schema, table and column under their names and aliases.
    for _ in 0..6 {
        let length = lenenc(&mut c)?;
        if !sql::is_text(c.take(length)?) {
            return Ok(false);
        }
    }
    let mut fixed = c.u8()?;
    if fixed != COLUMN_FIXED_BYTES {
        // MariaDB's extended metadata comes before.
        c.skip(usize::from(fixed))?;
        fixed = c.u8()?;
    }
    // Character set, length, type, flags, decimals; then two zero bytes.
    c.skip(10)?;
    let filler = c.u16_le()?;
    // The default value follows in answers to COM_FIELD_LIST.
    let tail = c.is_empty() || lenenc(&mut c).is_ok_and(|n| n == c.left() || n == NULL);
    Ok(fixed == COLUMN_FIXED_BYTES && filler == 0 && tail)
}

/// Header of the server's first packet; `None` if it cannot be one. The length counts the header.
fn first_header(c: &mut Cursor<'_>) -> Result<Option<usize>, Short> {
    let (payload, sequence) = header(c)?;
    let fits = (12..=FIRST_BYTES_MAX).contains(&payload) && sequence == 0;
    Ok(fits.then(|| payload.saturating_add(4)))
}

/// Whether a readable, NUL-terminated user name comes next, within the packet.
fn user(c: &mut Cursor<'_>, length: usize) -> Result<bool, Short> {
    let room = length.saturating_sub(c.at()).min(USER_BYTES_MAX);
    let end = c.rest().iter().take(room).position(|b| matches!(b, 0..=0x1f | 0x7f));
    match end {
        Some(at) if c.rest().get(at) == Some(&0) => {
            c.skip(at.saturating_add(1))?;
            Ok(true)
        }
        None if c.left() < room => Err(Short),
        _ => Ok(false),
    }
}

/// Length of the authentication response that follows, in a packet that ends at `end`.
fn secret_length(c: &mut Cursor<'_>, capabilities: u32, end: usize) -> Result<usize, Short> {
    if capabilities & CLIENT_PLUGIN_AUTH_LENENC != 0 {
        return lenenc(c);
    }
    if capabilities & CLIENT_SECURE_CONNECTION != 0 {
        return c.u8().map(usize::from);
    }
    let room = end.saturating_sub(c.at());
    match c.rest().iter().take(room).position(|b| *b == 0) {
        Some(length) => Ok(length),
        None if c.left() < room => Err(Short),
        None => Ok(room),
    }
}

/// A length-encoded integer as far as lengths here can go: one byte, or two behind `fc`; `fb` is NULL.
fn lenenc(c: &mut Cursor<'_>) -> Result<usize, Short> {
    match c.u8()? {
        0xfc => c.u16_le().map(usize::from),
        0xfb.. => Ok(NULL),
        length => Ok(usize::from(length)),
    }
}

/// A length no packet can hold.
const NULL: usize = usize::MAX;

const CLIENT_MYSQL: u32 = 1;
const CLIENT_CONNECT_WITH_DB: u32 = 1 << 3;
const CLIENT_COMPRESS: u32 = 1 << 5;
const CLIENT_PROTOCOL_41: u32 = 1 << 9;
const CLIENT_SSL: u32 = 1 << 11;
const CLIENT_SECURE_CONNECTION: u32 = 1 << 15;
const CLIENT_PLUGIN_AUTH: u32 = 1 << 19;
const CLIENT_PLUGIN_AUTH_LENENC: u32 = 1 << 21;
const CLIENT_ZSTD: u32 = 1 << 26;

const ERR: u8 = 0xff;
const COM_QUERY: u8 = 0x03;
const COM_STMT_PREPARE: u8 = 0x16;
const COLUMN_FIXED_BYTES: u8 = 0x0c;

/// Payload of an `SSLRequest`.
pub(super) const TLS_REQUEST_BYTES: usize = 32;
const LOGIN_BYTES_MIN: usize = 6;
const LOGIN_BYTES_MAX: usize = 0xffff;
const FIRST_BYTES_MAX: usize = 1024;
const VERSION_BYTES_MAX: usize = 128;
const USER_BYTES_MAX: usize = 384;
const LATE_BYTES_MAX: usize = 0xffff;
const ERROR_BYTES_MAX: usize = 1024;
const COLUMN_BYTES_MAX: usize = 2048;

/// Length and sequence number of a packet.
const HEADER_BYTES: usize = 4;
