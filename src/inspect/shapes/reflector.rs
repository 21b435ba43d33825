//! Telegram's call reflectors (DrKLO/Telegram 068cd49: tgcalls/v2/ReflectorPort.cpp; nDPI 3b1286a: telegram.pcap).

use super::{Heads, Talk, Verdict, part, varied};
use crate::model::note::Shape;
use crate::model::side::Side;

/// Tag 16, twelve ff, fe ff ff ff, id 8.
pub(super) fn ping(t: &Talk<'_>) -> Verdict {
    let fits = t.len == 40
        && part(t.bytes, 16, 12) == Some(&[0xff; 12])
        && part(t.bytes, 28, 4) == Some(&[0xfe, 0xff, 0xff, 0xff])
        && part(t.bytes, 0, 12).is_some_and(varied);
    if fits {
        return Verdict::Sofar(Shape::TgPing);
    }
    if t.before.len() > 4 { Verdict::No } else { Verdict::Wait }
}

/// What a data packet carries: tag 12, receiver 4, sender 4, length 4, payload, zeros to a multiple of four. `len` is that of the packet on the wire.
pub(super) fn carried(bytes: &[u8], len: usize) -> Option<&[u8]> {
    let size = super::be32(bytes, 20).and_then(|n| usize::try_from(n).ok())?;
    let padding = len.checked_sub(24)?.checked_sub(size)?;
    // Sender and receiver differ, and a length of nothing proves nothing.
    let fits = size > 0 && padding < 4 && part(bytes, 12, 4) != part(bytes, 16, 4);
    let kept = bytes.get(24..)?;
    fits.then(|| kept.get(..size).unwrap_or(kept))
}

/// Between the phone and the reflector: the whole tag of 16, twelve ff, and what is said.
fn control(bytes: &[u8], len: usize) -> bool {
    (32..=80).contains(&len) && part(bytes, 16, 12) == Some(&[0xff; 12])
}

/// The port of newer calls: data packets, and control. Three data packets of one tag and both sides, and none that is neither.
pub(super) fn port(t: &Talk<'_>) -> Verdict {
    let fits = |bytes: &[u8], len: usize| carried(bytes, len).is_some();
    let Some(tag) = part(t.bytes, 0, 12).filter(|tag| distinct(tag) > 5) else { return Verdict::No };
    if t.before.iter().any(|g| part(&g.bytes, 0, 12) != Some(tag)) {
        return Verdict::No;
    }
    let ok = |bytes: &[u8], len: usize| control(bytes, len) || fits(bytes, len);
    if !ok(t.bytes, t.len) || t.before.iter().any(|g| !ok(&g.bytes, g.len)) {
        return Verdict::No;
    }
    let data = |side| t.before.iter().filter(|g| g.side == side && !control(&g.bytes, g.len)).count();
    let own = usize::from(!control(t.bytes, t.len));
    let both = data(Side::Client) > 0 || t.side == Side::Client && own > 0;
    let both = both && (data(Side::Server) > 0 || t.side == Side::Server && own > 0);
    let enough = data(Side::Client).saturating_add(data(Side::Server)).saturating_add(own) >= 3;
    if both && enough { Verdict::Yes(Shape::TgReflectorPort) } else { Verdict::Wait }
}

/// The same packets over TCP (tgcalls/v2/RawTcpSocket.cpp): `ee ee ee ee` once, then each behind its length in four bytes, little-endian; the reflector
/// answers without the beginning.
pub(super) fn stream(h: &Heads) -> Verdict {
    const BEGINNING: &[u8] = &[0xee; 4];
    let Some(client) = h.client.strip_prefix(BEGINNING) else {
        return if BEGINNING.starts_with(&h.client) { Verdict::Wait } else { Verdict::No };
    };
    let (Some(sent), Some(received)) = (packets(client), packets(&h.server)) else { return Verdict::No };
    let Some(tag) = sent.first().and_then(|p| part(p, 0, 12)).filter(|tag| distinct(tag) > 5) else {
        return if sent.is_empty() { Verdict::Wait } else { Verdict::No };
    };
    let fits = |p: &&[u8]| part(p, 0, 12) == Some(tag) && (control(p, p.len()) || carried(p, p.len()).is_some());
    if !sent.iter().chain(&received).all(fits) {
        return Verdict::No;
    }
    let asked = sent.first().is_some_and(|p| control(p, p.len()));
    match (sent.len(), received.len()) {
        (2.., 1..) => Verdict::Yes(Shape::TgReflectorPort),
        _ if asked => Verdict::Sofar(Shape::TgPing),
        _ => Verdict::Wait,
    }
}

/// The whole packets at the beginning of one direction; `None` if a length is none of a packet's.
fn packets(mut head: &[u8]) -> Option<Vec<&[u8]>> {
    let mut out = Vec::new();
    while let Some(len) = super::le32(head, 0).and_then(|n| usize::try_from(n).ok()) {
        if !(25..=2048).contains(&len) {
            return None;
        }
        let Some(packet) = part(head, 4, len) else { break };
        out.push(packet);
        head = head.get(len.saturating_add(4)..).unwrap_or(&[]);
    }
    Some(out)
}

/// The same random tag before everything both sides send, once as ping or more than five times as media.
pub(super) fn media(t: &Talk<'_>) -> Verdict {
    let tag = |bytes: &[u8]| part(bytes, 0, 12).map(<[u8]>::to_vec);
    let Some(own) = part(t.bytes, 0, 12) else { return Verdict::No };
    if t.len < 24 || distinct(own) <= 5 || t.before.iter().any(|g| g.len < 24 || tag(&g.bytes).as_deref() != Some(own)) {
        return Verdict::No;
    }
    let both = t.others().count() >= 2 && t.before.iter().filter(|g| g.side == t.side).count() >= 2;
    // Media vary behind the tag, and come in blocks of the cipher.
    let rest = |bytes: &[u8]| part(bytes, 16, 8).map(<[u8]>::to_vec);
    let vary = t.before.iter().all(|g| rest(&g.bytes) != rest(t.bytes));
    let blocks = t.len.is_multiple_of(4) && t.before.iter().all(|g| g.len.is_multiple_of(4));
    if !blocks {
        return Verdict::No;
    }
    if t.before.len() >= 6 && both && vary { Verdict::Yes(Shape::TgReflector) } else { Verdict::Wait }
}

fn distinct(bytes: &[u8]) -> usize {
    let mut sorted = bytes.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.len()
}
