//! MTProto transports (core.telegram.org/mtproto/mtproto-transports; tdlib 022d602: td/mtproto/TcpTransport.cpp).
//!
//! A client without a secret puts the key of its obfuscation into the first 64 bytes, so everybody can undo it; what is inside stays encrypted.
//! The key identifiers in the frames are compared here and kept nowhere.

use super::{HEAD_MAX, Heads, Verdict, byte, le32, part};
use crate::model::note::Shape;
use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};

const INIT: usize = 64;
/// Longest frame of a client at the beginning of a connection.
const FRAME_MAX: usize = 1 << 20;
/// Frames looked at.
const FRAMES: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Abridged,
    Intermediate,
    Padded,
}

/// Undoes the obfuscation: AES-256-CTR with key 8..40 and counter 40..56, from the first byte on.
fn opened(head: &[u8]) -> Option<Vec<u8>> {
    let key: [u8; 32] = part(head, 8, 32)?.try_into().ok()?;
    let mut counter = u128::from_be_bytes(part(head, 40, 16)?.try_into().ok()?);
    let cipher = Aes256::new(&key.into());
    let mut out = Vec::with_capacity(head.len());
    for chunk in head.chunks(16) {
        let mut block = counter.to_be_bytes().into();
        cipher.encrypt_block(&mut block);
        out.extend(chunk.iter().zip(block.iter()).map(|(a, b)| a ^ b));
        counter = counter.wrapping_add(1);
    }
    Some(out)
}

/// The tag alone is chance once in 1.4 billion flows; a frame that does not follow takes it back.
pub(super) fn obfuscated(h: &Heads) -> Verdict {
    if h.client.len() < INIT {
        return if h.server.is_empty() { Verdict::Wait } else { Verdict::No };
    }
    // Never sent by clients: beginnings that would look like another transport (tdlib 022d602: generate_init).
    if h.client.first() == Some(&0xef) || super::zeros(&h.client, 4, 4) {
        return Verdict::No;
    }
    // One block tells.
    let Some(tag) = h.client.get(..INIT).and_then(opened).and_then(|open| part(&open, 56, 4).map(<[u8]>::to_vec)) else {
        return Verdict::No;
    };
    let transport = match tag.as_slice() {
        [0xef, 0xef, 0xef, 0xef] => Transport::Abridged,
        [0xee, 0xee, 0xee, 0xee] => Transport::Intermediate,
        [0xdd, 0xdd, 0xdd, 0xdd] => Transport::Padded,
        _ => return Verdict::No,
    };
    let Some(open) = opened(&h.client) else { return Verdict::No };
    match frames(&open, INIT, transport) {
        Some(0) => Verdict::Sofar(Shape::TgObfs2),
        Some(_) => Verdict::Yes(Shape::TgObfs2Frames),
        None => Verdict::Broken,
    }
}

/// The full transport: length of all, number from 0 on, message, CRC-32 of what stands before it (core.telegram.org/mtproto/mtproto-transports). The
/// sum over the first frame of the client settles it.
pub(super) fn full(h: &Heads) -> Verdict {
    let Some(len) = le32(&h.client, 0) else { return if h.client.is_empty() || h.server.is_empty() { Verdict::Wait } else { Verdict::No } };
    let Ok(len) = usize::try_from(len) else { return Verdict::No };
    let first = le32(&h.client, 4).is_none_or(|number| number == 0);
    if !(32..=HEAD_MAX).contains(&len) || len % 4 != 0 || !first {
        return Verdict::No;
    }
    let body = len.saturating_sub(4);
    match (part(&h.client, 0, body), le32(&h.client, body)) {
        (Some(summed), Some(sum)) => {
            if crc32(summed) == sum {
                Verdict::Yes(Shape::TgPlain)
            } else {
                Verdict::No
            }
        }
        _ => Verdict::Wait,
    }
}

/// CRC-32 of ISO 3309.
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for b in bytes {
        sum ^= u32::from(*b);
        for _ in 0..8 {
            sum = (sum >> 1) ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    !sum
}

/// Without obfuscation, as old clients and many libraries send.
pub(super) fn plain(h: &Heads) -> Verdict {
    let (at, transport) = match h.client.as_slice() {
        [0xef, ..] => (1, Transport::Abridged),
        [0xee, 0xee, 0xee, 0xee, ..] => (4, Transport::Intermediate),
        [0xdd, 0xdd, 0xdd, 0xdd, ..] => (4, Transport::Padded),
        [0xee] | [0xee, 0xee] | [0xee, 0xee, 0xee] | [0xdd] | [0xdd, 0xdd] | [0xdd, 0xdd, 0xdd] | [] => return Verdict::Wait,
        _ => return Verdict::No,
    };
    // A call's reflector begins its connections in the same way; see `reflector`.
    if transport == Transport::Intermediate && part(&h.client, 24, 12) == Some(&[0xff; 12]) {
        return Verdict::No;
    }
    match frames(&h.client, at, transport) {
        None => Verdict::No,
        // A message of the key exchange says more about itself than an encrypted one does.
        Some(n) if n >= 3 || n >= 1 && exchange(&h.client, at, transport) => Verdict::Yes(Shape::TgPlain),
        Some(_) => Verdict::Wait,
    }
}

/// Length of a frame and of the header before it.
fn frame(open: &[u8], at: usize, transport: Transport) -> Option<(usize, usize)> {
    if transport != Transport::Abridged {
        let len = le32(open, at)? & 0x7fff_ffff;
        return Some((4, usize::try_from(len).ok()?));
    }
    match byte(open, at)? & 0x7f {
        0x7f => {
            let words = le32(open, at)? >> 8;
            Some((4, usize::try_from(words).ok()?.checked_mul(4)?))
        }
        words => Some((1, usize::from(words).saturating_mul(4))),
    }
}

/// How many frames begin as they must; `None` if one does not.
fn frames(open: &[u8], mut at: usize, transport: Transport) -> Option<usize> {
    let mut key: Option<&[u8]> = None;
    let mut n = 0usize;
    while n < FRAMES {
        let Some((header, len)) = frame(open, at, transport) else { return Some(n) };
        let body = at.saturating_add(header);
        if !(40..FRAME_MAX).contains(&len) {
            return None;
        }
        let Some(id) = part(open, body, 8) else { return Some(n) };
        if id == [0; 8] {
            // In clear: message number 8, length 4, and that much follows.
            let Some(inner) = le32(open, body.saturating_add(16)).and_then(|x| usize::try_from(x).ok()) else { return Some(n) };
            let left = len.saturating_sub(20).checked_sub(inner)?;
            if left > if transport == Transport::Padded { 15 } else { 0 } || inner < 4 || inner % 4 != 0 {
                return None;
            }
        } else {
            // Key 8, message key 16, then blocks of 16.
            if transport != Transport::Padded && len.saturating_sub(24) % 16 != 0 || key.is_some_and(|k| k != id) {
                return None;
            }
            key = Some(id);
        }
        n = n.saturating_add(1);
        at = body.saturating_add(len);
        if at >= open.len() {
            return Some(n);
        }
    }
    Some(n)
}

/// The first frame is req_pq, req_pq_multi or another message in clear.
fn exchange(open: &[u8], at: usize, transport: Transport) -> bool {
    frame(open, at, transport).is_some_and(|(header, _)| super::zeros(open, at.saturating_add(header), 8))
}
