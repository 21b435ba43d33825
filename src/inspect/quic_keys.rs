//! Keys of QUIC Initial packets: they follow from the version and a connection id, so anybody may read them (RFC 9001 §5.2, RFC 9369 §3.3).

use aes::Aes128;
use aes::cipher::BlockCipherEncrypt;
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, KeyInit};
use hkdf::Hkdf;
use sha2::Sha256;

/// Longest packet number, in bytes.
const NUMBER_MAX: usize = 4;
/// Length of the sample for header protection and of the authentication tag.
const BLOCK: usize = 16;

/// How a version derives its Initial keys.
pub(super) struct Recipe {
    salt: [u8; 20],
    /// Prefix of the key labels.
    prefix: &'static str,
}

/// QUIC v2 (RFC 9369): other labels, other packet type numbers.
pub(super) const V2: u32 = 0x6b33_43cf;

/// The recipe of a version, if it has one.
pub(super) fn recipe(version: u32) -> Option<Recipe> {
    let (salt, prefix) = match version {
        0x0000_0001 | 0xff00_0021 | 0xff00_0022 => (
            [0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a],
            "quic ",
        ),
        V2 => (
            [0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9],
            "quicv2 ",
        ),
        0xff00_001d..=0xff00_0020 => (
            [0xaf, 0xbf, 0xec, 0x28, 0x99, 0x93, 0xd2, 0x4c, 0x9e, 0x97, 0x86, 0xf1, 0x9c, 0x61, 0x11, 0xe0, 0x43, 0x90, 0xa8, 0x99],
            "quic ",
        ),
        0xff00_0017..=0xff00_001c | 0xface_b002 | 0xface_b00e => (
            [0xc3, 0xee, 0xf7, 0x12, 0xc7, 0x2e, 0xbb, 0x5a, 0x11, 0xa7, 0xd2, 0x43, 0x2b, 0xb4, 0x63, 0x65, 0xbe, 0xf9, 0xf5, 0x02],
            "quic ",
        ),
        0xff00_0015 | 0xff00_0016 | 0xface_b001 => (
            [0x7f, 0xbc, 0xdb, 0x0e, 0x7c, 0x66, 0xbb, 0xe9, 0x19, 0x3a, 0x96, 0xcd, 0x21, 0x51, 0x9e, 0xbd, 0x7a, 0x02, 0x64, 0x4a],
            "quic ",
        ),
        // Q050, T050, T051
        0x5130_3530 => (
            [0x50, 0x45, 0x74, 0xef, 0xd0, 0x66, 0xfe, 0x2f, 0x9d, 0x94, 0x5c, 0xfc, 0xdb, 0xd3, 0xa7, 0xf0, 0xd3, 0xb5, 0x6b, 0x45],
            "quic ",
        ),
        0x5430_3530 => (
            [0x7f, 0xf5, 0x79, 0xe5, 0xac, 0xd0, 0x72, 0x91, 0x55, 0x80, 0x30, 0x4c, 0x43, 0xa2, 0x36, 0x7c, 0x60, 0x48, 0x83, 0x10],
            "quic ",
        ),
        0x5430_3531 => (
            [0x7a, 0x4e, 0xde, 0xf4, 0xe7, 0xcc, 0xee, 0x5f, 0xa4, 0x50, 0x6c, 0x19, 0x12, 0x4f, 0xc8, 0xcc, 0xda, 0x6e, 0x03, 0x3d],
            "quic ",
        ),
        _ => return None,
    };
    Some(Recipe { salt, prefix })
}

/// What opens the Initial packets of one side.
pub(super) struct Keys {
    header: Aes128,
    payload: Aes128Gcm,
    iv: [u8; 12],
}

impl Keys {
    /// Keys for packets that the client (or the server) sends on a connection the client opened towards `dcid`.
    pub(super) fn derive(recipe: &Recipe, dcid: &[u8], client: bool) -> Option<Self> {
        let initial = Hkdf::<Sha256>::new(Some(&recipe.salt), dcid);
        let mut secret = [0u8; 32];
        expand(&initial, "", if client { "client in" } else { "server in" }, &mut secret)?;
        let side = Hkdf::<Sha256>::from_prk(&secret).ok()?;
        let (mut key, mut iv, mut hp) = ([0u8; 16], [0u8; 12], [0u8; 16]);
        expand(&side, recipe.prefix, "key", &mut key)?;
        expand(&side, recipe.prefix, "iv", &mut iv)?;
        expand(&side, recipe.prefix, "hp", &mut hp)?;
        Some(Self { header: Aes128::new(&hp.into()), payload: Aes128Gcm::new(&key.into()), iv })
    }

    /// Opens a long-header packet that ends with `packet` and whose packet number stands at `number_at`. `None` if it was not made with these keys.
    pub(super) fn open(&self, packet: &[u8], number_at: usize) -> Option<Vec<u8>> {
        let sample_at = number_at.checked_add(NUMBER_MAX)?;
        let sample: [u8; BLOCK] = packet.get(sample_at..sample_at.checked_add(BLOCK)?)?.try_into().ok()?;
        let mut mask = sample.into();
        self.header.encrypt_block(&mut mask);
        let (&first_mask, number_mask) = mask.as_slice().split_first()?;
        let first = packet.first()? ^ (first_mask & 0x0f);
        let number_len = usize::from(first & 3).checked_add(1)?;
        let body_at = number_at.checked_add(number_len)?;
        let mut head = packet.get(..body_at)?.to_vec();
        *head.first_mut()? = first;
        let mut nonce = self.iv;
        let start = nonce.len().checked_sub(number_len)?;
        for ((byte, mask), slot) in head.get_mut(number_at..)?.iter_mut().zip(number_mask).zip(nonce.get_mut(start..)?) {
            *byte ^= mask;
            *slot ^= *byte;
        }
        let mut body = packet.get(body_at..)?.to_vec();
        self.payload.decrypt_in_place(&nonce.into(), &head, &mut body).ok()?;
        Some(body)
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446 §7.1).
fn expand(from: &Hkdf<Sha256>, prefix: &str, label: &str, out: &mut [u8]) -> Option<()> {
    let mut info = Vec::with_capacity(32);
    info.extend_from_slice(&u16::try_from(out.len()).ok()?.to_be_bytes());
    let len = [6, prefix.len(), label.len()].iter().try_fold(0usize, |sum, n| sum.checked_add(*n))?;
    info.push(u8::try_from(len).ok()?);
    info.extend_from_slice(b"tls13 ");
    info.extend_from_slice(prefix.as_bytes());
    info.extend_from_slice(label.as_bytes());
    info.push(0);
    from.expand(&info, out).ok()
}

#[cfg(test)]
impl Keys {
    /// Seals a packet: the opposite of [`Keys::open`], for tests. `head` ends with a packet number of `number_len` bytes.
    #[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
    pub(super) fn seal(&self, head: &[u8], number_len: usize, body: &[u8]) -> Vec<u8> {
        let number_at = head.len() - number_len;
        let mut nonce = self.iv;
        for (slot, byte) in nonce[12 - number_len..].iter_mut().zip(&head[number_at..]) {
            *slot ^= byte;
        }
        let mut sealed = body.to_vec();
        self.payload.encrypt_in_place(&nonce.into(), head, &mut sealed).unwrap();
        let mut packet = head.to_vec();
        packet.extend(sealed);
        let sample: [u8; BLOCK] = packet[number_at + 4..number_at + 20].try_into().unwrap();
        let mut mask = sample.into();
        self.header.encrypt_block(&mut mask);
        packet[0] ^= mask[0] & 0x0f;
        for (byte, mask) in packet[number_at..number_at + number_len].iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
        }
        packet
    }
}
