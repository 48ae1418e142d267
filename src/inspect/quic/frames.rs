//! What stands in an opened Initial packet: frames of RFC 9000 section 19, or the client hello of Google QUIC.

use crate::{
    bytes::{Cursor, Short, find},
    model::{Name, quic::varint},
};

/// A frame that tells something.
#[derive(Clone, Copy)]
pub(super) enum Frame<'a> {
    /// Handshake bytes at an offset.
    Crypto { offset: usize, bytes: &'a [u8] },
    /// The connection is over: an alert of TLS, if it was one.
    Close { alert: Option<u8> },
}

/// Reads frame by frame; what cannot stand in an Initial packet ends it.
pub(super) fn each(plain: &[u8], mut sink: impl FnMut(Frame<'_>)) {
    let mut cursor = Cursor::new(plain);
    while let Ok(kind) = cursor.u8() {
        let read = match kind {
            PADDING | PING => Ok(None),
            ACK | ACK_ECN => ack(&mut cursor, kind == ACK_ECN).map(|()| None),
            CRYPTO => crypto(&mut cursor).map(Some),
            CLOSE => varint(&mut cursor).map(|code| {
                let alert =
                    code.checked_sub(CRYPTO_ERROR).and_then(|alert| u8::try_from(alert).ok());
                Some(Frame::Close { alert })
            }),
            _ => return,
        };
        match read {
            Ok(Some(frame)) => {
                sink(frame);
                if matches!(frame, Frame::Close { .. }) {
                    return;
                }
            }
            Ok(None) => {}
            Err(Short) => return,
        }
    }
}

fn crypto<'a>(cursor: &mut Cursor<'a>) -> Result<Frame<'a>, Short> {
    let offset = varint(cursor)?;
    let length = varint(cursor)?;
    Ok(Frame::Crypto { offset, bytes: cursor.take(length)? })
}

fn ack(cursor: &mut Cursor<'_>, ecn: bool) -> Result<(), Short> {
    varint(cursor)?;
    varint(cursor)?;
    let ranges = varint(cursor)?;
    varint(cursor)?;
    for _ in 0..ranges {
        varint(cursor)?;
        varint(cursor)?;
    }
    for _ in 0..if ecn { 3 } else { 0 } {
        varint(cursor)?;
    }
    Ok(())
}

/// What a client hello of Google QUIC says.
#[derive(Debug)]
pub(super) struct GoogleHello {
    pub(super) sni: Option<Name>,
}

/// The server name in a `CHLO` message somewhere in `bytes`: tags and end offsets, then their values.
pub(super) fn google_hello(bytes: &[u8]) -> Option<GoogleHello> {
    let at = find(bytes, b"CHLO")?;
    let mut cursor = Cursor::new(bytes.get(at..)?.get(4..)?);
    Some(GoogleHello { sni: google_name(&mut cursor).ok().flatten() })
}

fn google_name(cursor: &mut Cursor<'_>) -> Result<Option<Name>, Short> {
    let count = usize::from(cursor.u16_le()?);
    cursor.skip(2)?;
    let (mut begin, mut found) = (0_u32, None);
    for _ in 0..count.min(GOOGLE_TAGS_MAX) {
        let (tag, end) = (cursor.array::<4>()?, cursor.u32_le()?);
        if tag == *b"SNI\0" {
            found = Some((begin, end));
        }
        begin = end;
    }
    let Some((begin, end)) = found else { return Ok(None) };
    cursor.skip(usize::try_from(begin).unwrap_or(usize::MAX))?;
    let name = cursor.take(usize::try_from(end.saturating_sub(begin)).unwrap_or(usize::MAX))?;
    Ok((!name.is_empty()).then(|| Name::from_wire(name)))
}

const PADDING: u8 = 0;
const PING: u8 = 1;
const ACK: u8 = 2;
const ACK_ECN: u8 = 3;
const CRYPTO: u8 = 6;
const CLOSE: u8 = 0x1c;
/// Error codes of TLS alerts begin here (RFC 9001 section 4.8).
const CRYPTO_ERROR: usize = 0x100;
const GOOGLE_TAGS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_up_to_what_does_not_belong() {
        let read = |plain: &[u8]| {
            let mut read = Vec::new();
            each(plain, |frame| match frame {
                Frame::Crypto { offset, bytes } => read.push((offset, bytes.to_vec())),
                Frame::Close { alert } => read.push((999, vec![alert.unwrap_or_default()])),
            });
            read
        };
        let acked = b"\x02\x05\x00\x01\x01\x00\x00\x06\x00\x03abc\x00\x00\x01\x06\x43\xe8\x02de";
        assert_eq!(read(acked), [(0, b"abc".to_vec()), (1000, b"de".to_vec())]);
        assert_eq!(
            read(b"\x03\x05\x00\x00\x01\x01\x02\x03\x1c\x41\x28\x06\x00"),
            [(999, vec![40])]
        );
        assert_eq!(read(b"\x06\x00\x04abc"), []);
        assert_eq!(read(b"\x08\x00\x06\x00\x01a"), []);
    }

    #[test]
    fn a_google_hello_names_the_server() {
        let hello = b"..CHLO\x02\0\0\0PAD\0\x02\0\0\0SNI\0\x05\0\0\0--abcVER";
        assert_eq!(
            google_hello(hello).and_then(|hello| hello.sni).as_ref().map(Name::as_str),
            Some("abc")
        );
        let unnamed = google_hello(b"CHLO\x01\0\0\0PAD\0\x02\0\0\0--");
        assert!(unnamed.is_some_and(|hello| hello.sni.is_none()));
        assert!(google_hello(b"CHLX").is_none());
    }
}
