//! IKE (RFC 7296, RFC 2408) on its ports, and ESP in UDP (RFC 3948).

use super::{Talk, Verdict, be16, be32, byte, part, zeros};
use crate::model::note::Shape;

const HEADER: usize = 28;
/// Payloads walked in one message.
const PAYLOADS_MAX: usize = 32;

pub(super) fn messages(t: &Talk<'_>) -> Verdict {
    if !t.port(500) && !t.port(4500) {
        return Verdict::No;
    }
    let message = match t.bytes {
        // The mark that tells IKE from ESP on the NAT traversal port.
        [0, 0, 0, 0, message @ ..] if !t.port(500) || t.port(4500) => message,
        message => message,
    };
    let marked = t.bytes.len().saturating_sub(message.len());
    if !fits(message, t.len.saturating_sub(marked), t.whole()) {
        return Verdict::Wait;
    }
    let spi = part(message, 0, 8);
    // The same exchange seen from the other side, with or without the mark.
    if t.others().any(|g| spi.is_some() && (part(&g.bytes, 0, 8) == spi || part(&g.bytes, 4, 8) == spi)) {
        return Verdict::Yes(Shape::Ike);
    }
    Verdict::Sofar(Shape::IkeMessage)
}

/// Header fields are of those assigned, the length is exact, and so are the payloads up to the encrypted one.
fn fits(m: &[u8], len: usize, whole: bool) -> bool {
    let header = || {
        let (next, version, exchange, flags) = (byte(m, 16)?, byte(m, 17)?, byte(m, 18)?, byte(m, 19)?);
        let exact = be32(m, 24).and_then(|n| usize::try_from(n).ok()) == Some(len);
        (exact && !zeros(m, 0, 8) && len > HEADER).then_some((next, version, exchange, flags))
    };
    let Some((mut next, version, exchange, flags)) = header() else { return false };
    let second = match version {
        0x20 => {
            // The first message has no responder yet; its number is 0.
            let first = exchange != 34 || be32(m, 20) == Some(0);
            if !matches!(exchange, 34..=37 | 43..=44) || flags & !0x38 != 0 || !matches!(next, 0 | 33..=53) || !first {
                return false;
            }
            true
        }
        0x10 => {
            if !matches!(exchange, 1..=6 | 32..=33) || flags & !7 != 0 || !matches!(next, 1..=15 | 20 | 21 | 130 | 131) {
                return false;
            }
            // Everything after the header is encrypted.
            if flags & 1 != 0 {
                return !zeros(m, 8, 8) && len.saturating_sub(HEADER).is_multiple_of(4);
            }
            false
        }
        _ => return false,
    };
    if !whole {
        return false;
    }
    let mut at = HEADER;
    for _ in 0..PAYLOADS_MAX {
        let (Some(after), Some(critical), Some(size)) = (byte(m, at), byte(m, at.saturating_add(1)), be16(m, at.saturating_add(2))) else {
            return false;
        };
        let encrypted = second && matches!(next, 46 | 53);
        at = at.saturating_add(size);
        if size < 4 || critical & 0x7f != 0 || at > len {
            return false;
        }
        if at == len {
            return after == 0 || encrypted;
        }
        if after == 0 || encrypted {
            return false;
        }
        next = after;
    }
    false
}

/// One SPI, the sequence counted up by ones, three times in a row from one side.
pub(super) fn esp(t: &Talk<'_>) -> Verdict {
    if !t.port(4500) {
        return Verdict::No;
    }
    let packet = |bytes: &[u8], len: usize| {
        let (spi, sequence) = (be32(bytes, 0)?, be32(bytes, 4)?);
        (spi > 255 && len >= 24 && len.is_multiple_of(4)).then_some((spi, sequence))
    };
    let Some((spi, mut sequence)) = packet(t.bytes, t.len) else { return Verdict::Wait };
    let mut counted = 1u8;
    for g in t.before.iter().rev().filter(|g| g.side == t.side) {
        match packet(&g.bytes, g.len) {
            Some((s, n)) if s == spi && n.checked_add(1) == Some(sequence) => (counted, sequence) = (counted.saturating_add(1), n),
            _ => break,
        }
    }
    if counted >= 4 { Verdict::Yes(Shape::EspUdp) } else { Verdict::Wait }
}
