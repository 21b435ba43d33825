//! Telegram's call reflectors (DrKLO/Telegram 068cd49: tgcalls/v2/ReflectorPort.cpp; nDPI 3b1286a: telegram.pcap).

use super::{Talk, Verdict, part, varied};
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

/// The port of newer calls: tag 12, receiver 4, sender 4, length 4, payload, zeros to a multiple of four; or, with the whole tag of 16, control.
/// Three such packets of one tag and both sides, of which none breaks the length.
pub(super) fn port(t: &Talk<'_>) -> Verdict {
    let fits = |bytes: &[u8], len: usize| {
        let size = super::be32(bytes, 20).and_then(|n| usize::try_from(n).ok())?;
        let padding = len.checked_sub(24)?.checked_sub(size)?;
        // Sender and receiver differ, and a length of nothing proves nothing.
        (size > 0 && padding < 4 && part(bytes, 12, 4) != part(bytes, 16, 4)).then_some(())
    };
    let Some(tag) = part(t.bytes, 0, 12).filter(|tag| distinct(tag) > 5) else { return Verdict::No };
    if t.before.iter().any(|g| part(&g.bytes, 0, 12) != Some(tag)) {
        return Verdict::No;
    }
    let control = |bytes: &[u8], len: usize| len == 40 && part(bytes, 16, 12) == Some(&[0xff; 12]);
    let ok = |bytes: &[u8], len: usize| control(bytes, len) || fits(bytes, len).is_some();
    if !ok(t.bytes, t.len) || t.before.iter().any(|g| !ok(&g.bytes, g.len)) {
        return Verdict::No;
    }
    let data = |side| t.before.iter().filter(|g| g.side == side && fits(&g.bytes, g.len).is_some()).count();
    let own = usize::from(fits(t.bytes, t.len).is_some());
    let both = data(Side::Client) > 0 || t.side == Side::Client && own > 0;
    let both = both && (data(Side::Server) > 0 || t.side == Side::Server && own > 0);
    let enough = data(Side::Client).saturating_add(data(Side::Server)).saturating_add(own) >= 3;
    if both && enough { Verdict::Yes(Shape::TgReflectorPort) } else { Verdict::Wait }
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
