//! XMPP (RFC 6120 §4.2): a stream header with the namespace of streams, or stanzas of a session that is already open.

use super::{Heads, Verdict};
use crate::model::note::Shape;

const STREAMS: &[u8] = b"http://etherx.jabber.org/streams";

pub(super) fn judge(h: &Heads) -> Verdict {
    let mut wait = false;
    for head in [&h.client, &h.server] {
        let has = |what: &[u8]| head.windows(what.len()).any(|w| w == what);
        // In the middle of a session: its end, or a stanza of a namespace that is XMPP's alone.
        let stanza = [&b"<iq "[..], b"<message ", b"<presence"].iter().any(|s| head.starts_with(s));
        if head.as_slice() == b"</stream:stream>"
            || stanza && (has(b"http://jabber.org/protocol/") || has(b"\"jabber:iq:") || has(b"'jabber:iq:"))
        {
            return Verdict::Yes(Shape::Xmpp);
        }
        wait |= stanza;
        let open = [&b"<?xml "[..], b"<stream:stream"].iter().any(|s| head.starts_with(s) || s.starts_with(head));
        if !open {
            continue;
        }
        if has(b"<stream:stream") && has(STREAMS) {
            return Verdict::Yes(Shape::Xmpp);
        }
        wait = true;
    }
    if wait { Verdict::Wait } else { Verdict::No }
}
