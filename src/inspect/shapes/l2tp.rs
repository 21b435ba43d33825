//! L2TP (RFC 2661 §3.1, §4.1): a control message whose attribute-value pairs fill it exactly.

use super::{Talk, Verdict, be16, byte};
use crate::model::note::Shape;

pub(super) fn judge(t: &Talk<'_>) -> Verdict {
    if !t.port(1701) || !t.whole() {
        return Verdict::No;
    }
    // Control, length, sequence; version 2.
    let header = t.bytes.starts_with(&[0xc8, 2]) && be16(t.bytes, 2) == Some(t.len);
    if !header {
        return if t.before.is_empty() { Verdict::No } else { Verdict::Wait };
    }
    let mut at = 12usize;
    let mut first = true;
    while at < t.len {
        let (Some(bits), Some(vendor), Some(kind)) =
            (be16(t.bytes, at), be16(t.bytes, at.saturating_add(2)), be16(t.bytes, at.saturating_add(4)))
        else {
            return Verdict::No;
        };
        let size = bits & 0x3ff;
        // The message type comes first, as the only two bytes of its pair.
        if size < 6 || bits & 0x3c00 != 0 || first && (vendor, kind, size) != (0, 0, 8) {
            return Verdict::No;
        }
        if first && !matches!((byte(t.bytes, at.saturating_add(6)), byte(t.bytes, at.saturating_add(7))), (Some(0), Some(1..=16))) {
            return Verdict::No;
        }
        first = false;
        at = at.saturating_add(size);
    }
    if at != t.len || first { Verdict::Wait } else { Verdict::Yes(Shape::L2tp) }
}
