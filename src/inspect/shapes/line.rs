//! LINE calls: the first datagram of each side (nDPI 3b1286a: line.pcap).

use super::{Talk, Verdict, be16, part};
use crate::model::note::Shape;

/// `d8`–`db`, one byte, a counter, `06 02`; the caller's first is at least 738 bytes.
pub(super) fn judge(t: &Talk<'_>) -> Verdict {
    let setup = |bytes: &[u8]| matches!(*bytes, [0xd8..=0xdb, _, _, _, 6, 2, ..]);
    if t.before.is_empty() {
        return if setup(t.bytes) && t.len >= 738 { Verdict::Wait } else { Verdict::No };
    }
    let Some(first) = t.before.first() else { return Verdict::No };
    if setup(t.bytes) && t.side != first.side {
        return Verdict::Yes(Shape::LineCall);
    }
    // The caller repeats itself with the next number.
    let again = t.side == first.side && part(t.bytes, 4, 16) == part(&first.bytes, 4, 16) && be16(t.bytes, 2) > be16(&first.bytes, 2);
    if again { Verdict::Wait } else { Verdict::No }
}
