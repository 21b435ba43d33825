//! OpenVPN (openvpn 2.6 ssl_pkt.h, tls_crypt.c; protocol chapter of its doxygen): hard resets, and the server's repeat of the client's session id.

use super::{Heads, Talk, Verdict, be16, be32, byte, clock, part, zeros};
use crate::model::note::Shape;
use crate::model::side::Side;

const CLIENT_V2: u8 = 7 << 3;
const SERVER_V2: u8 = 8 << 3;
const CLIENT_V3: u8 = 10 << 3;
/// Lengths of HMACs in use: none, MD5, SHA-1, SHA-256, SHA-512.
const HMACS: [usize; 5] = [0, 16, 20, 32, 64];

/// A client's reset.
fn reset(packet: &[u8], len: usize) -> bool {
    let Some(op) = byte(packet, 0) else { return false };
    if op != CLIENT_V2 && op != CLIENT_V3 || part(packet, 1, 8).is_none_or(|sid| !super::varied(sid)) {
        return false;
    }
    // Without authentication: no acknowledgements, message 0.
    if op == CLIENT_V2 && len == 14 {
        return zeros(packet, 9, 5);
    }
    // tls-auth: HMAC, packet number and time, no acknowledgements, message 0. Resets are repeated with a new packet number.
    let authenticated = HMACS.iter().skip(1).any(|hmac| {
        let at = hmac.saturating_add(9);
        len == at.saturating_add(13) && numbered(packet, at) && zeros(packet, at.saturating_add(8), 5)
    });
    // tls-crypt: packet number and time in clear, then HMAC-SHA256 and five bytes encrypted. tls-crypt-v2 adds the wrapped client key.
    let encrypted = numbered(packet, 9) && (len == 54 && op == CLIENT_V2 || (200..1400).contains(&len) && op == CLIENT_V3);
    authenticated || encrypted
}

fn numbered(packet: &[u8], at: usize) -> bool {
    let number = be32(packet, at).is_some_and(|n| (1..64).contains(&n));
    number && be32(packet, at.saturating_add(4)).is_some_and(clock)
}

/// A server's reset that repeats the client's session id, or, encrypted, has just the length of one.
fn answers(packet: &[u8], len: usize, asked: &[u8], asked_len: usize) -> bool {
    if byte(packet, 0) != Some(SERVER_V2) {
        return false;
    }
    let Some(sid) = part(asked, 1, 8) else { return false };
    // One acknowledgement (count, number, session) more than the client's; control packets with more HMAC alike.
    if HMACS.iter().any(|hmac| {
        let at = if *hmac == 0 { 9 } else { hmac.saturating_add(17) };
        byte(packet, at) == Some(1) && zeros(packet, at.saturating_add(1), 4) && part(packet, at.saturating_add(5), 8) == Some(sid)
    }) {
        return true;
    }
    let twelve_more = asked_len.checked_add(12) == Some(len);
    numbered(packet, 9)
        && numbered(asked, 9)
        && (twelve_more && asked_len == 54 || byte(asked, 0) == Some(CLIENT_V3) && (66..=80).contains(&len))
}

/// A server's reset of which the client's part is not in the capture: every byte but session ids, HMAC and time is fixed.
fn reset_of_server(packet: &[u8], len: usize) -> bool {
    byte(packet, 0) == Some(SERVER_V2)
        && HMACS.iter().any(|hmac| {
            let at = if *hmac == 0 { 9 } else { hmac.saturating_add(17) };
            len == at.saturating_add(17)
                && byte(packet, at) == Some(1)
                && zeros(packet, at.saturating_add(1), 4)
                && part(packet, at.saturating_add(5), 8).is_some_and(super::varied)
                && zeros(packet, at.saturating_add(13), 4)
                && (*hmac == 0 || numbered(packet, hmac.saturating_add(9)))
        })
}

pub(super) fn datagrams(t: &Talk<'_>) -> Verdict {
    if reset(t.bytes, t.len) {
        return Verdict::Sofar(Shape::OpenVpnReset);
    }
    if t.others().any(|g| reset(&g.bytes, g.len) && answers(t.bytes, t.len, &g.bytes, g.len)) {
        return Verdict::Yes(Shape::OpenVpn);
    }
    if t.before.is_empty() {
        return if reset_of_server(t.bytes, t.len) { Verdict::Sofar(Shape::OpenVpnReset) } else { Verdict::No };
    }
    Verdict::Wait
}

/// The same behind a two-byte length.
pub(super) fn stream(h: &Heads) -> Verdict {
    let packet = |side| {
        let head = h.of(side);
        let len = be16(head, 0)?;
        Some((head.get(2..)?, len))
    };
    let Some((asked, asked_len)) = packet(Side::Client) else { return if h.server.is_empty() { Verdict::Wait } else { Verdict::No } };
    if !(14..1400).contains(&asked_len) {
        return Verdict::No;
    }
    if asked.len() < asked_len.min(112) {
        return Verdict::Wait;
    }
    let end = asked_len.saturating_add(2);
    if !reset(asked, asked_len) || !h.ends(Side::Client, end) {
        return Verdict::No;
    }
    match packet(Side::Server) {
        Some((answer, len)) if answer.len() >= len.min(112) => {
            if answers(answer, len, asked, asked_len) {
                Verdict::Yes(Shape::OpenVpn)
            } else {
                Verdict::No
            }
        }
        _ => Verdict::Sofar(Shape::OpenVpnReset),
    }
}

/// Reset, answer and acknowledgement with tls-auth, behind the XOR patch: lengths, and what any mask leaves: the first byte of each packet
/// meets the same byte of the mask, so the differences of the three opcodes stay. (Patch of Tunnelblick; nDPI 3b1286a: openvpn_obfuscated.pcapng.)
fn masked(reset: (u8, usize), answer: (u8, usize), ack: (u8, usize), same_session: bool) -> bool {
    // Without authentication the lengths say less; there the client's session must stay what it was, whatever the mask.
    let bare = same_session && (reset.1, answer.1, ack.1) == (14, 26, 22);
    // opcode, session, HMAC, packet number and time, count of acknowledgements; then number of the message, or the peer's session too.
    let lengths = bare
        || HMACS.iter().skip(1).any(|hmac| {
            let plain = hmac.saturating_add(22);
            reset.1 == plain && answer.1 == plain.saturating_add(12) && ack.1 == plain.saturating_add(8)
        });
    const P_ACK: u8 = 5 << 3;
    lengths && reset.0 ^ answer.0 == CLIENT_V2 ^ SERVER_V2 && reset.0 ^ ack.0 == CLIENT_V2 ^ P_ACK && reset.0 != CLIENT_V2
}

/// Length of a reset under a mask.
fn masked_reset(len: usize) -> bool {
    len == 14 || HMACS.iter().skip(1).any(|hmac| hmac.saturating_add(22) == len)
}

pub(super) fn masked_datagrams(t: &Talk<'_>) -> Verdict {
    let first = |g: &super::Gram| Some((*g.bytes.first()?, g.len));
    let Some(asked) = t.before.iter().find(|g| g.side == Side::Client) else {
        let possible = t.before.is_empty() && t.side == Side::Client && masked_reset(t.len);
        return if possible { Verdict::Wait } else { Verdict::No };
    };
    let Some(reset) = first(asked) else { return Verdict::No };
    let Some(answer) = t.before.iter().find(|g| g.side == Side::Server).and_then(first) else { return Verdict::Wait };
    let Some(own) = t.bytes.first() else { return Verdict::No };
    let session = part(t.bytes, 1, 8);
    let same = session.is_some_and(super::varied) && session == part(&asked.bytes, 1, 8);
    // Resets may be repeated before the answer comes.
    match t.side {
        Side::Client if masked(reset, answer, (*own, t.len), same) => Verdict::Yes(Shape::OpenVpnXor),
        _ if t.before.len() > 8 => Verdict::No,
        _ => Verdict::Wait,
    }
}

/// The same behind a two-byte length, which the patch leaves in clear.
pub(super) fn masked_stream(h: &Heads) -> Verdict {
    let packet = |side, at: usize| {
        let head = h.of(side);
        let len = be16(head, at)?;
        Some((byte(head, at.saturating_add(2))?, len))
    };
    let Some(reset) = packet(Side::Client, 0) else { return Verdict::Wait };
    if !masked_reset(reset.1) || !h.ends(Side::Client, reset.1.saturating_add(2)) {
        return Verdict::No;
    }
    let next = reset.1.saturating_add(2);
    let (Some(answer), Some(ack)) = (packet(Side::Server, 0), packet(Side::Client, next)) else {
        return Verdict::Wait;
    };
    let session = part(&h.client, 3, 8);
    let same = session.is_some_and(super::varied) && session == part(&h.client, next.saturating_add(3), 8);
    if masked(reset, answer, ack, same) { Verdict::Yes(Shape::OpenVpnXor) } else { Verdict::No }
}
