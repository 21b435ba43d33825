//! imo: keepalives of ten bytes between two phones, eleven with a relay (nDPI 3b1286a: imo.pcap).

use super::{Talk, Verdict, part, zeros};
use crate::model::note::Shape;

/// `09 02 <counter of 4, little-endian> <4 zeros>` comes back as `09 03` with the same eight bytes; twice, with different counters.
pub(super) fn judge(t: &Talk<'_>) -> Verdict {
    let pairs = t.before.iter().filter(|a| a.len == 10 && a.bytes.starts_with(&[9, 3])).filter(|a| {
        let counter = part(&a.bytes, 2, 8);
        zeros(&a.bytes, 6, 4)
            && !zeros(&a.bytes, 2, 4)
            && t.before.iter().any(|q| q.side != a.side && q.len == 10 && q.bytes.starts_with(&[9, 2]) && part(&q.bytes, 2, 8) == counter)
    });
    let mut counters: Vec<&[u8]> = pairs.filter_map(|a| part(&a.bytes, 2, 4)).collect();
    counters.sort_unstable();
    counters.dedup();
    if counters.len() >= 2 { Verdict::Yes(Shape::ImoCall) } else { Verdict::Wait }
}
