//! XMPP (RFC 6120 §4.2): a stream header with the namespace of streams.

use super::{Heads, Verdict};
use crate::model::note::Shape;

const STREAMS: &[u8] = b"http://etherx.jabber.org/streams";

pub(super) fn judge(h: &Heads) -> Verdict {
    let mut wait = false;
    for head in [&h.client, &h.server] {
        let open = [&b"<?xml "[..], b"<stream:stream"].iter().any(|s| head.starts_with(s) || s.starts_with(head));
        if !open {
            continue;
        }
        let has = |what: &[u8]| head.windows(what.len()).any(|w| w == what);
        if has(b"<stream:stream") && has(STREAMS) {
            return Verdict::Yes(Shape::Xmpp);
        }
        wait = true;
    }
    if wait { Verdict::Wait } else { Verdict::No }
}
