//! WhatsApp's chat stream (tulir/whatsmeow 33cfac5: socket/framesocket.go; nDPI 3b1286a: wa_voice.pcap, whatsapp_login_chat.pcap).

use super::{Heads, Verdict, byte, part};
use crate::model::note::Shape;
use crate::model::side::Side;

/// Longest routing block.
const ROUTING_MAX: usize = 512;
/// Longest first frame.
const HELLO_MAX: usize = 4096;
/// Frames after the header that settle it.
const FRAMES: usize = 3;

/// A three-byte length; the version before Noise has flags in the top four bits.
fn length(bytes: &[u8], at: usize, old: bool) -> Option<usize> {
    let &[high, mid, low] = part(bytes, at, 3)? else { return None };
    let high = if old { high & 0x0f } else { high };
    usize::try_from(u32::from_be_bytes([0, high, mid, low])).ok()
}

/// Where frames begin, and whether they are of the old kind. `Err`: not this, or more bytes are needed.
fn header(head: &[u8]) -> Result<(usize, bool), Verdict> {
    let mut at = 0usize;
    let prefix = |want: &[u8], at: usize| {
        let rest = head.get(at..).unwrap_or(&[]);
        if want.iter().zip(rest).any(|(a, b)| a != b) {
            Err(Verdict::No)
        } else if rest.len() < want.len() {
            Err(Verdict::Wait)
        } else {
            Ok(())
        }
    };
    if head.first() == Some(&b'E') {
        prefix(b"ED\x00\x01", 0)?;
        let routing = length(head, 4, false).ok_or(Verdict::Wait)?;
        if routing > ROUTING_MAX {
            return Err(Verdict::No);
        }
        at = routing.saturating_add(7);
    }
    prefix(b"WA", at)?;
    let (Some(major), Some(dictionary)) = (byte(head, at.saturating_add(2)), byte(head, at.saturating_add(3))) else {
        return Err(Verdict::Wait);
    };
    if !(1..=9).contains(&major) || dictionary > 20 {
        return Err(Verdict::No);
    }
    Ok((at.saturating_add(4), major == 1))
}

/// Complete frames from `at` on, and where the chain stands after them.
fn chain(head: &[u8], mut at: usize, old: bool) -> Option<(usize, usize)> {
    let mut n = 0usize;
    while let Some(len) = length(head, at, old) {
        if len == 0 {
            return None;
        }
        let end = at.saturating_add(len).saturating_add(3);
        if end > head.len() {
            break;
        }
        (n, at) = (n.saturating_add(1), end);
    }
    Some((n, at))
}

pub(super) fn judge(h: &Heads) -> Verdict {
    if h.client.is_empty() {
        return Verdict::Wait;
    }
    let (at, old) = match header(&h.client) {
        Ok(found) => found,
        Err(verdict) => return verdict,
    };
    let Some(first) = length(&h.client, at, old) else { return Verdict::Wait };
    // Noise hello: HandshakeMessage field 2 (12), server's field 3 (1a). Before Noise: a list of the stream's opening.
    let opens = |frame: Option<u8>, noise: u8| frame.is_none_or(|b| if old { matches!(b, 0xf8 | 0xf9 | 0x00) } else { b == noise });
    let body = at.saturating_add(3);
    if !(2..HELLO_MAX).contains(&first) || !opens(byte(&h.client, body), 0x12) {
        return Verdict::No;
    }
    if !old
        && let Some(&[tag, size]) = part(&h.client, body.saturating_add(2), 2)
        && byte(&h.client, body.saturating_add(1)).is_some_and(|n| n < 0x80)
        && (tag, size) != (0x0a, 0x20)
    {
        return Verdict::No;
    }
    let Some((sent, stands)) = chain(&h.client, at, old) else { return Verdict::Broken };
    if sent == 0 {
        return Verdict::Wait;
    }
    if h.server.len() < 4 {
        return if h.ends(Side::Client, stands) { Verdict::Sofar(Shape::WaHello) } else { Verdict::Wait };
    }
    // Whoever answers otherwise may not be the server: what the client began stands.
    if !opens(byte(&h.server, 3), 0x1a) {
        return Verdict::No;
    }
    let Some((received, answer)) = chain(&h.server, 0, old) else { return Verdict::Broken };
    let ends = h.ends(Side::Client, stands) && h.ends(Side::Server, answer);
    if received > 0 && ends && sent.saturating_add(received) >= FRAMES {
        return Verdict::Yes(Shape::WaStream);
    }
    Verdict::Sofar(Shape::WaHello)
}
