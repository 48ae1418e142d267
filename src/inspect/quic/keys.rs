//! Keys of Initial packets, which anyone can derive. RFC 9001 section 5, RFC 9369 section 3.3, and the drafts' salts.

use std::fmt;

use aes::{
    Aes128,
    cipher::{Block, BlockCipherEncrypt},
};
use aes_gcm::{AeadInOut, Aes128Gcm, KeyInit};
use hkdf::Hkdf;
use sha2::Sha256;

use crate::model::{Side, quic::QuicVersion};

/// Both sides' keys of one connection attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct InitialKeys {
    pub(super) version: QuicVersion,
    client: PacketKeys,
    server: PacketKeys,
}

/// Keys that protect one direction.
#[derive(Clone, Copy)]
struct PacketKeys {
    key: [u8; 16],
    iv: [u8; IV_BYTES],
    header: [u8; 16],
}

impl fmt::Debug for PacketKeys {
    /// No key bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketKeys").finish_non_exhaustive()
    }
}

impl InitialKeys {
    /// Derives them from the destination connection ID of the client's first packet.
    pub(super) fn derive(version: QuicVersion, destination: &[u8]) -> Option<Self> {
        let salt = salt(version)?;
        let initial = Hkdf::<Sha256>::new(Some(&salt), destination);
        let of = |label| {
            let secret: [u8; 32] = expand_label(&initial, label)?;
            let secret = Hkdf::<Sha256>::from_prk(&secret).ok()?;
            let [key, iv, header] = labels(version);
            Some(PacketKeys {
                key: expand_label(&secret, key)?,
                iv: expand_label(&secret, iv)?,
                header: expand_label(&secret, header)?,
            })
        };
        Some(Self { version, client: of("client in")?, server: of("server in")? })
    }

    /// Opens `packet` (its header to its end), whose packet number begins at `number_at`. `None`: not under these keys.
    pub(super) fn open(&self, side: Side, packet: &[u8], number_at: usize) -> Option<Vec<u8>> {
        match side {
            Side::Client => self.client.open(packet, number_at),
            Side::Server => self.server.open(packet, number_at),
        }
    }
}

impl PacketKeys {
    /// Removes header protection (RFC 9001 section 5.4), then the packet's (section 5.3).
    fn open(&self, packet: &[u8], number_at: usize) -> Option<Vec<u8>> {
        let sample = packet.get(number_at.checked_add(4)?..)?.first_chunk::<16>()?;
        let mut mask = Block::<Aes128>::from(*sample);
        Aes128::new(&self.header.into()).encrypt_block(&mut mask);
        let [first_mask, number_mask @ ..] = <[u8; 16]>::from(mask);
        let mut header = packet.get(..number_at)?.to_vec();
        let first = header.first_mut()?;
        *first ^= first_mask & 0x0f;
        let number_bytes = usize::from(*first & 3).checked_add(1)?;
        let mut nonce = self.iv;
        let number = packet.get(number_at..)?.iter().zip(number_mask).take(number_bytes);
        let number = number.map(|(byte, mask)| byte ^ mask);
        header.extend(number.clone());
        // Initial packets are few: what is sent of the number is all of it.
        for (slot, byte) in nonce.iter_mut().skip(IV_BYTES.checked_sub(number_bytes)?).zip(number) {
            *slot ^= byte;
        }
        let (sealed, tag) = packet.get(header.len()..)?.split_last_chunk::<16>()?;
        let mut plain = sealed.to_vec();
        let aead = Aes128Gcm::new(&self.key.into());
        aead.decrypt_inout_detached(
            &nonce.into(),
            &header,
            plain.as_mut_slice().into(),
            &(*tag).into(),
        )
        .ok()?;
        Some(plain)
    }
}

/// HKDF-Expand-Label of TLS 1.3 with an empty context (RFC 8446 section 7.1).
fn expand_label<const N: usize>(secret: &Hkdf<Sha256>, label: &str) -> Option<[u8; N]> {
    let mut info = Vec::with_capacity(32);
    info.extend(u16::try_from(N).ok()?.to_be_bytes());
    info.push(u8::try_from(TLS_PREFIX.len().checked_add(label.len())?).ok()?);
    info.extend(TLS_PREFIX.bytes().chain(label.bytes()));
    info.push(0);
    let mut out = [0; N];
    secret.expand(&info, &mut out).ok()?;
    Some(out)
}

const fn labels(version: QuicVersion) -> [&'static str; 3] {
    match version.0 {
        0x6b33_43cf | 0x709a_50c4 | 0xff02_0000 => ["quicv2 key", "quicv2 iv", "quicv2 hp"],
        _ => ["quic key", "quic iv", "quic hp"],
    }
}

fn salt(version: QuicVersion) -> Option<[u8; 20]> {
    let hex: u128;
    let last: u32;
    (hex, last) = match version.0 {
        0x0000_0001 | 0xff00_0021..=0xff00_0022 => V1,
        0x6b33_43cf => V2,
        0x709a_50c4 | 0xff02_0000 => V2_DRAFT,
        0xff00_001d..=0xff00_0020 => DRAFT_29,
        0xff00_0017..=0xff00_001c | 0xface_b002 | 0xface_b00e => DRAFT_23,
        0xff00_0016 | 0xface_b001 => DRAFT_22,
        0x5130_3530 => Q050,
        0x5430_3530 => T050,
        0x5430_3531 => T051,
        _ => return None,
    };
    let mut salt = [0; 20];
    let bytes = hex.to_be_bytes().into_iter().chain(last.to_be_bytes());
    salt.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = byte);
    Some(salt)
}

const TLS_PREFIX: &str = "tls13 ";
const IV_BYTES: usize = 12;

const V1: (u128, u32) = (0x3876_2cf7_f559_34b3_4d17_9ae6_a4c8_0cad, 0xccbb_7f0a);
const V2: (u128, u32) = (0x0ded_e3de_f700_a6db_8193_81be_6e26_9dcb, 0xf9bd_2ed9);
const V2_DRAFT: (u128, u32) = (0xa707_c203_a59b_4718_4a1d_62ca_5704_06ea, 0x7ae3_e5d3);
const DRAFT_29: (u128, u32) = (0xafbf_ec28_9993_d24c_9e97_86f1_9c61_11e0, 0x4390_a899);
const DRAFT_23: (u128, u32) = (0xc3ee_f712_c72e_bb5a_11a7_d243_2bb4_6365, 0xbef9_f502);
const DRAFT_22: (u128, u32) = (0x7fbc_db0e_7c66_bbe9_193a_96cd_2151_9ebd, 0x7a02_644a);
const Q050: (u128, u32) = (0x5045_74ef_d066_fe2f_9d94_5cfc_dbd3_a7f0, 0xd3b5_6b45);
const T050: (u128, u32) = (0x7ff5_79e5_acd0_7291_5580_304c_43a2_367c, 0x6048_8310);
const T051: (u128, u32) = (0x7a4e_def4_e7cc_ee5f_a450_6c19_124f_c8cc, 0xda6e_033d);

#[cfg(test)]
mod tests {
    use super::*;

    const DESTINATION: [u8; 8] = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];

    fn hex(bytes: &[u8]) -> String {
        use std::fmt::Write as _;
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    }

    fn keys(version: u32) -> [[String; 3]; 2] {
        let keys = InitialKeys::derive(QuicVersion(version), &DESTINATION).unwrap();
        [keys.client, keys.server].map(|k| [hex(&k.key), hex(&k.iv), hex(&k.header)])
    }

    #[test]
    fn keys_are_those_of_rfc_9001_appendix_a_1_and_rfc_9369_appendix_a_1() {
        let v1 = [
            "1f369613dd76d5467730efcbe3b1a22d fa044b2f42a3fd3b46fb255c 9f50449e04a0e810283a1e9933adedd2",
            "cf3a5331653c364c88f0f379b6067e37 0ac1493ca1905853b0bba03e c206b8d9b9f0f37644430b490eeaa314",
        ];
        assert_eq!(keys(1).map(|side| side.join(" ")), v1);
        let v2 = [
            "8b1a0bc121284290a29e0971b5cd045d 91f73e2351d8fa91660e909f 45b95e15235d6f45a6b19cbcb0294ba9",
            "82db637861d55e1d011f19ea71d5d2a7 dd13c276499c0249d3310652 edf6d05c83121201b436e16877593c3a",
        ];
        assert_eq!(keys(0x6b33_43cf).map(|side| side.join(" ")), v2);
    }

    #[test]
    fn a_servers_initial_of_rfc_9001_appendix_a_3_opens() {
        let packet = "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee";
        let packet: Vec<u8> = (0..packet.len() / 2)
            .map(|at| u8::from_str_radix(&packet[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let keys = InitialKeys::derive(QuicVersion(1), &DESTINATION).unwrap();
        let plain = keys.open(Side::Server, &packet, 18).unwrap();
        assert!(hex(&plain).starts_with("02000000000600405a020000560303eefce7f7b37ba1d163"));
        assert!(keys.open(Side::Client, &packet, 18).is_none(), "the other side's keys");
        let mut broken = packet;
        broken[40] ^= 1;
        assert!(keys.open(Side::Server, &broken, 18).is_none());
    }

    #[test]
    fn every_version_with_a_name_has_a_salt() {
        for version in
            [1, 0x6b33_43cf, 0xff02_0000, 0xff00_0016, 0xff00_0022, 0xface_b00e, 0x5430_3531]
        {
            assert!(QuicVersion(version).name().is_some() && salt(QuicVersion(version)).is_some());
        }
        assert!(salt(QuicVersion(0x1a2a_3a4a)).is_none());
    }
}
