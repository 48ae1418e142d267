//! The MAPI of `MonetDB`. <https://www.monetdb.org/documentation/user-guide/client-interfaces/>
//!
//! Blocks behind a two-byte length; the server's first one is the challenge, in which it names itself, and its second one
//! tells what it thinks of the login.
use super::fit::mark;
use super::grammar::{Grammar, Learnt, Message, Place, Read, TCP, demand, info};
use super::lines::contains;
use super::{Directions, Facts};
use crate::{
    bytes::{Cursor, Short, holds, is_text},
    detect::Info,
    model::{Credentials, Side},
};

pub(super) struct Monetdb;

impl Grammar for Monetdb {
    const INFO: &'static Info = &INFO;
    const LEARN_BYTES: usize = 512;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        demand!(!place.late);
        if !place.opening {
            return match place.side {
                Side::Client => Ok(Some(Message::rest("monetdb.query"))),
                Side::Server => Ok(Some(Message::new(block(&mut c)?, 0, "monetdb.answer", ""))),
            };
        }
        let mut before = 0_usize;
        // Clients since 2023 send empty blocks before they answer, so that a server of TLS gives up at once.
        if place.side == Side::Client && c.peek()? == 0 {
            demand!(c.rest().iter().take(EMPTY_BYTES).all(|byte| *byte == 0));
            c.skip(EMPTY_BYTES)?;
            before = EMPTY_BYTES;
        }
        let header = c.u16_le()?;
        let length = usize::from(header >> 1);
        // The low bit: last block of its message.
        demand!(header & 1 == 1 && (16..=BLOCK_BYTES_MAX).contains(&length));
        demand!(is_text(c.rest().get(..length).unwrap_or_else(|| c.rest())));
        let text = c.take(length)?;
        let mut words = text.split(|b| *b == b':');
        let mut next = || words.next().unwrap_or_default();
        let (first, second, third) = (next(), next(), next());
        let whole = length.saturating_add(2).saturating_add(before);
        if place.side == Side::Server {
            demand!(matches!(second, b"mserver" | b"merovingian") && matches!(third, b"8" | b"9"));
            return Ok(Some(Message::new(whole, 90, "monetdb.challenge", "mserver:9")));
        }
        // Byte order, user, hash by its name in braces, language, database.
        demand!(matches!(first, b"LIT" | b"BIG") && third.first() == Some(&b'{'));
        demand!(third.contains(&b'}') && matches!(next(), b"sql" | b"mal" | b"control" | b"msql"));
        Ok(Some(Message::new(whole, 80, "monetdb.response", "LIT or BIG, hash")))
    }

    fn learn(&self, _: &mut [u32; 6], side: Side, bytes: &[u8]) -> Learnt {
        if side == Side::Server {
            return answer(bytes);
        }
        let plain = contains(bytes, b"{plain}");
        let credentials = if bytes.is_empty() {
            Credentials::NONE
        } else if plain {
            Credentials::PASSWORD_CLEARTEXT
        } else {
            Credentials::PASSWORD_HASH_CHALLENGE
        };
        Learnt::more(Facts { credentials, ..Facts::NONE })
    }
}

/// Length of a block, its header included.
fn block(c: &mut Cursor<'_>) -> Result<usize, Short> {
    let header = c.u16_le()?;
    Ok(usize::from(header >> 1).saturating_add(2))
}

/// What a block of the server says of the session: a challenge and a redirection leave it open, an error ends it.
fn answer(bytes: &[u8]) -> Learnt {
    let text = bytes.get(2..).unwrap_or_default();
    let challenge = [&b":mserver:"[..], b":merovingian:"];
    match text.first() {
        Some(b'!') => {
            let found = mark("monetdb.refused", Side::Server, 0, bytes.len(), "error");
            Learnt::facts(Facts { refused: true, mark: Some(found), ..Facts::NONE })
        }
        Some(b'^' | b'#') => Learnt::undecided(Facts::NONE),
        _ if challenge.iter().any(|name| holds(text, name)) => Learnt::undecided(Facts::NONE),
        _ => Learnt::NOTHING,
    }
}

/// Four empty blocks.
const EMPTY_BYTES: usize = 8;
const BLOCK_BYTES_MAX: usize = 1024;

static INFO: Info = Info {
    credentials: Credentials::PASSWORD_CLEARTEXT.with(Credentials::PASSWORD_HASH_CHALLENGE),
    ..info(
        "monetdb",
        "MonetDB MAPI",
        "https://www.monetdb.org/documentation/user-guide/client-interfaces/",
        &[50000],
        TCP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::check::hear;
    use super::super::grammar::bench::{C, S, converses, denies, proves_tcp};
    use super::*;
    use crate::model::Transport;

    fn block(text: &str) -> Vec<u8> {
        let header = u16::try_from(text.len() << 1 | 1).unwrap().to_le_bytes();
        [&header[..], text.as_bytes()].concat()
    }

    #[test]
    fn challenge_and_response() {
        let challenge = block("Kz8xtZ:mserver:9:RIPEMD160,SHA512,SHA256,SHA1:LIT:SHA512:");
        let response = block("BIG:monetdb:{SHA1}0123456789abcdef:sql:demo:");
        proves_tcp(&Monetdb, &[("challenge", S, &challenge), ("response", C, &response)]);
        converses(&Monetdb, &[(S, &challenge), (C, &response)]);
        let heard = hear(&Monetdb, &[(S, &challenge), (C, &response)]);
        assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE);
        let after = [&[0; 8][..], &response].concat();
        let heard = hear(&Monetdb, &[(S, &challenge), (C, &after)]);
        assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE, "empty blocks first");
        assert_eq!(heard.fits, [true, true]);
        for (words, refused) in [
            (vec![block("")], false),
            (
                vec![block("!InvalidCredentialsException:checkCredentials:invalid credentials\n")],
                true,
            ),
            // The proxy in front of several databases sends the client to one, which asks again.
            (
                vec![
                    block("^mapi:merovingian://proxy?database=demo\n"),
                    challenge.clone(),
                    block("!no\n"),
                ],
                true,
            ),
            (
                vec![
                    block("^mapi:merovingian://proxy?database=demo\n"),
                    challenge.clone(),
                    block(""),
                ],
                false,
            ),
        ] {
            let heard = hear(&Monetdb, &[(S, &challenge), (C, &response), (S, &words.concat())]);
            assert_eq!((heard.refused, heard.fits), (refused, [true, true]), "{words:02x?}");
        }
        denies(
            &Monetdb,
            Transport::Tcp,
            &[
                ("another server", &block("Kz8xtZ:xserver:9:RIPEMD160,SHA512:LIT:SHA512:")),
                ("another language", &block("BIG:monetdb:{SHA1}0123456789abcdef:xsl:demo:")),
            ],
        );
    }
}
