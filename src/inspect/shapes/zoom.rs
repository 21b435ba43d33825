//! Zoom: what a client and a media server say before the media (nDPI 3b1286a: zoom.pcap).

use super::{Talk, Verdict, part};
use crate::model::note::Shape;

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
