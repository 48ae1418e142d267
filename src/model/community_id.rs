//! Community ID v1 (<https://github.com/corelight/community-id-spec>) with seed 0: a flow's name in other tools.

use std::{fmt, net::IpAddr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Serialize, Serializer};
use sha1::{Digest, Sha1};

use super::flow::FlowKey;

/// The identifier of a flow's inner 5-tuple; hashed when it is written, not before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommunityId(FlowKey);

impl CommunityId {
    /// Of the flow with this key; its scope is no part of it.
    pub const fn new(key: FlowKey) -> Self {
        Self(key)
    }

    /// Calls `take` with the text.
    fn with_text<R>(&self, take: impl FnOnce(&str) -> R) -> R {
        let Self(key) = self;
        let mut hash = Sha1::new();
        hash.update(0_u16.to_be_bytes());
        for endpoint in [key.a, key.b] {
            match endpoint.ip() {
                IpAddr::V4(ip) => hash.update(ip.octets()),
                IpAddr::V6(ip) => hash.update(ip.octets()),
            }
        }
        hash.update([key.transport.number(), 0]);
        hash.update(key.a.port().to_be_bytes());
        hash.update(key.b.port().to_be_bytes());
        let mut text = [0; TEXT_BYTES];
        if let Some((version, encoded)) = text.split_first_chunk_mut() {
            *version = *VERSION;
            // Twenty bytes are 28 characters: they always fit.
            let _written = BASE64_STANDARD.encode_slice(hash.finalize(), encoded);
        }
        take(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Display for CommunityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

impl Serialize for CommunityId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

const VERSION: &[u8; 2] = b"1:";
/// Version, and a SHA-1 in base64.
const TEXT_BYTES: usize = 2 + 28;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Endpoint, ScopeId, Transport};

    #[test]
    fn it_equals_the_published_vector_in_both_orders() {
        let a = Endpoint::from(([128, 232, 110, 120], 34855));
        let b = Endpoint::from(([66, 35, 250, 204], 80));
        for (src, dst) in [(a, b), (b, a)] {
            let (key, _) = FlowKey::new(ScopeId(0), Transport::Tcp, src, dst);
            assert_eq!(CommunityId::new(key).to_string(), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        }
    }
}
