//! mmtls, the transport of WeChat's native clients: records like those of TLS under another version (public analyses of mmtls, 2016 on).

use super::{Heads, Verdict, be16, byte};
use crate::model::note::Shape;

pub(super) fn judge(h: &Heads) -> Verdict {
    let (mut records, mut wait) = (0usize, false);
    for (head, leads) in [(&h.client, true), (&h.server, false)] {
        let mut at = 0usize;
        while at < head.len() {
            match (byte(head, at), byte(head, at.saturating_add(1)), byte(head, at.saturating_add(2)), be16(head, at.saturating_add(3))) {
                (Some(0x15..=0x17 | 0x19), Some(0xf1), Some(3 | 4), Some(len)) if len > 0 => {
                    at = at.saturating_add(len).saturating_add(5);
                    records = records.saturating_add(1);
                }
                (_, _, _, None)
                    if head.get(at..).is_some_and(|rest| rest.len() < 5)
                        && (at > 0 || byte(head, 0).is_some_and(|b| matches!(b, 0x15..=0x17 | 0x19))) =>
                {
                    wait = true;
                    break;
                }
                _ => return Verdict::No,
            }
        }
        if head.is_empty() {
            wait |= leads || records > 0;
        }
    }
    if records >= 2 {
        Verdict::Yes(Shape::Mmtls)
    } else if records > 0 || wait {
        Verdict::Wait
    } else {
        Verdict::No
    }
}
