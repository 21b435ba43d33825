//! UltraSurf's own transport (nDPI 3b1286a: ultrasurf.pcap).

use super::{Heads, Verdict};
use crate::model::note::Shape;

const START: [u8; 8] = [0xcc, 0x1c, 0x30, 0x41, 0x5b, 0xa4, 0x38, 0x66];

pub(super) fn judge(h: &Heads) -> Verdict {
    let mut wait = false;
    for head in [&h.client, &h.server] {
        if head.starts_with(&START) {
            return Verdict::Yes(Shape::Ultrasurf);
        }
        wait |= START.starts_with(head);
    }
    if wait { Verdict::Wait } else { Verdict::No }
}
