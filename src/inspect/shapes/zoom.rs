//! Zoom: what a client and a media server say before the media, and the headers before the media themselves (nDPI 3b1286a: zoom.pcap, zoom.c).

use super::{Gram, Talk, Verdict, be16, be32, byte, part};
use crate::model::note::Shape;
use crate::model::side::Side;

/// `01 00 02 <16 random bytes> …` of 107 bytes, answered by 35 bytes `02 00 01 …` with the same 16.
pub(super) fn judge(t: &Talk<'_>) -> Verdict {
    if matches!(t.bytes, [2, 0, 1..=3, ..]) && t.len == 35 {
        let token = part(t.bytes, 3, 16);
        let asked =
            t.others().any(|g| matches!(*g.bytes, [1, 0, 2 | 3, ..]) && (100..=116).contains(&g.len) && part(&g.bytes, 3, 16) == token);
        if asked && token.is_some_and(super::varied) {
            return Verdict::Yes(Shape::ZoomSfu);
        }
    }
    match t.bytes {
        [1, 0, 2 | 3, ..] => Verdict::Wait,
        _ if t.before.is_empty() => Verdict::No,
        _ => Verdict::Wait,
    }
}

/// Datagrams of media that settle it.
const MEDIA_ENOUGH: usize = 3;

/// Media in the middle of a meeting: eight bytes for the server (`05`, sequence, four, direction), then a kind of media, and at the distance of
/// that kind RTP of one source whose sequence goes up.
pub(super) fn media(t: &Talk<'_>) -> Verdict {
    let Some((source, sequence)) = inside(t.bytes, t.side) else {
        return if t.before.len() > 8 { Verdict::No } else { Verdict::Wait };
    };
    let mut next = sequence;
    let mut run = 1usize;
    for g in t.before.iter().rev().filter(|g| g.side == t.side) {
        match of(g) {
            Some((s, n)) if s == source => {
                let step = next.wrapping_sub(n) & 0xffff;
                if !(1..=3).contains(&step) {
                    return Verdict::Wait;
                }
                (next, run) = (n, run.saturating_add(1));
            }
            _ => {}
        }
    }
    if run >= MEDIA_ENOUGH { Verdict::Yes(Shape::ZoomMedia) } else { Verdict::Wait }
}

fn of(g: &Gram) -> Option<(u32, usize)> {
    inside(&g.bytes, g.side)
}

/// Source and sequence of the RTP inside.
fn inside(bytes: &[u8], side: Side) -> Option<(u32, usize)> {
    let direction = match byte(bytes, 7)? {
        0 => Side::Client,
        4 => Side::Server,
        _ => return None,
    };
    if byte(bytes, 0)? != 5 || direction != side {
        return None;
    }
    let at = match byte(bytes, 8)? {
        15 => 27usize,
        16 => 32,
        13 => 35,
        30 => 28,
        _ => return None,
    };
    let (first, kind) = (byte(bytes, at)?, byte(bytes, at.checked_add(1)?)?);
    let source = be32(bytes, at.checked_add(8)?)?;
    let media = first & 0xc0 == 0x80 && matches!(kind & 0x7f, 96..=127) && source != 0;
    media.then_some((source, be16(bytes, at.checked_add(2)?)?))
}
