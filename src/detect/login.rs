//! What remote terminals share: a prompt for a password, and what is typed then.

/// Looks for the end of a password prompt in text that comes in pieces; `at` is kept between the pieces.
pub(super) fn asks_password(at: &mut u32, bytes: &[u8]) -> bool {
    let mut found = false;
    for byte in bytes {
        let wanted = usize::try_from(*at).ok().and_then(|at| PROMPT.get(at));
        *at = match (wanted, byte.to_ascii_lowercase()) {
            (Some(want), byte) if *want == byte => at.saturating_add(1),
            (_, b'a') => 1,
            _ => 0,
        };
        if usize::try_from(*at).is_ok_and(|at| at == PROMPT.len()) {
            found = true;
            *at = 0;
        }
    }
    found
}

/// Whether something was typed that is not a control character.
pub(super) fn is_typed(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| matches!(byte, b' '..=b'~' | 0x80..=0xef))
}

const PROMPT: &[u8] = b"assword:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_found_in_pieces() {
        let (mut at, text) = (0, b"Debian\r\nPassword: ");
        assert!(asks_password(&mut at, text));
        let mut at = 0;
        let found = text.iter().filter(|byte| asks_password(&mut at, &[**byte])).count();
        assert_eq!(found, 1);
        assert!(!asks_password(&mut 0, b"your password has expired:"));
    }
}
