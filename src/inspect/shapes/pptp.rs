//! PPTP control connections (RFC 2637 §2.1): magic cookie, message type 1, exact length.

use super::{Heads, Verdict, be16, be32};
use crate::model::note::Shape;

pub(super) fn judge(h: &Heads) -> Verdict {
    let head = &h.client;
    match (be16(head, 0), be16(head, 2), be32(head, 4), be16(head, 8)) {
        (Some(156), Some(1), Some(0x1a2b_3c4d), Some(1)) => Verdict::Yes(Shape::Pptp),
        (_, _, _, None) if head.is_empty() && h.server.is_empty() || head.starts_with(&[0]) && head.len() < 10 => Verdict::Wait,
        _ => Verdict::No,
    }
}
