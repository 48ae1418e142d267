//! Texts with a form of their own, by the `format` their schema gives them.

use std::net::SocketAddr;

use crate::{
    model::{Date, Network},
    policy::PortRange,
};

/// What is wrong with `text` as a `format`; formats we do not know are not looked at.
pub(super) fn wrong(format: &str, text: &str) -> Option<String> {
    match format {
        "network" => text.parse::<Network>().err().map(|error| error.to_string()),
        "date" => text.parse::<Date>().err().map(|error| error.to_string()),
        "port-range" => text.parse::<PortRange>().err(),
        "socket-address" => text.parse::<SocketAddr>().err().map(|_| {
            format!("`{text}`: expected ADDRESS:PORT, like \"127.0.0.1:4789\" or \"[::1]:4789\"")
        }),
        "hexadecimal" => {
            let digits = text.trim_start_matches("0x");
            let number = u64::from_str_radix(digits, 16);
            number.err().map(|_| format!("`{text}` is no hexadecimal number of up to 64 bits"))
        }
        _ => None,
    }
}
