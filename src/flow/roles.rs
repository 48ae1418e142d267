//! Who is the client when no handshake was seen: a guess from ports and order, corrected by the payload's grammar.

use crate::model::{Endpoint, Roles};

/// The first guess for a packet from `src` to `dst`: is `src` the client, and how sure.
///
/// `is_service` tells a registered service port. Ports decide only who is drawn as the client, never a verdict.
pub fn first_guess(
    src: Endpoint,
    dst: Endpoint,
    is_service: impl Fn(u16) -> bool,
) -> (bool, Roles) {
    match (is_service(src.port()), is_service(dst.port())) {
        (true, false) => (false, Roles::Port),
        (false, true) => (true, Roles::Port),
        _ if src.port() != dst.port() && src.port().min(dst.port()) < 1024 => {
            (src.port() > dst.port(), Roles::Port)
        }
        // A port that operating systems hand out to clients, and one that they do not.
        _ if is_ephemeral(src.port()) != is_ephemeral(dst.port()) => {
            (is_ephemeral(src.port()), Roles::Port)
        }
        _ => (true, Roles::Guess),
    }
}

/// Default range of Linux (`net.ipv4.ip_local_port_range`) and of IANA above it.
const fn is_ephemeral(port: u16) -> bool {
    port >= 32_768
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_port_serves_and_else_the_first_speaker_asks() {
        let at = |port| Endpoint::from(([10, 0, 0, 1], port));
        let known = |port| port == 5432;
        assert_eq!(first_guess(at(5432), at(40000), known), (false, Roles::Port));
        assert_eq!(first_guess(at(40000), at(5432), known), (true, Roles::Port));
        assert_eq!(first_guess(at(40000), at(443), known), (true, Roles::Port));
        assert_eq!(first_guess(at(8443), at(40000), known), (false, Roles::Port));
        assert_eq!(first_guess(at(40000), at(50000), known), (true, Roles::Guess));
    }
}
