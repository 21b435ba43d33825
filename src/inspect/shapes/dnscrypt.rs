//! DNSCrypt (draft-denis-dprive-dnscrypt-06 §4): the resolver's magic, then the client's nonce come back.

use super::{Talk, Verdict, part};
use crate::model::note::Shape;

const MAGIC: &[u8] = b"r6fnvWj8";

pub(super) fn judge(t: &Talk<'_>) -> Verdict {
    if t.bytes.starts_with(MAGIC) {
        // Query: client magic 8, public key 32, nonce 12.
        let nonce = part(t.bytes, 8, 12);
        let asked = t.others().any(|g| g.len >= 68 && nonce.is_some() && part(&g.bytes, 40, 12) == nonce);
        return if asked { Verdict::Yes(Shape::Dnscrypt) } else { Verdict::No };
    }
    if t.len >= 68 { Verdict::Wait } else { Verdict::No }
}
