//! Viber: frames over TCP and the probe before a call (nDPI 3b1286a: viber.pcap).

use super::{Heads, Talk, Verdict, byte, le16, part};
use crate::model::note::Shape;
use crate::model::side::Side;

/// A first frame: total length in two bytes (little-endian), sequence in two, and the marks of a registration.
pub(super) fn frames(h: &Heads) -> Verdict {
    let Some(len) = le16(&h.client, 0) else { return if h.server.is_empty() { Verdict::Wait } else { Verdict::No } };
    if !(16..2048).contains(&len) {
        return Verdict::No;
    }
    if h.client.len() < 12 {
        return Verdict::Wait;
    }
    let marks = part(&h.client, 6, 2) == Some(&[0xfc, 0xff])
        && matches!(byte(&h.client, 8), Some(3 | 5))
        && byte(&h.client, 9) == Some(0x80)
        && byte(&h.client, 11) == Some(0);
    if !marks || !h.ends(Side::Client, len) {
        return Verdict::No;
    }
    let Some(answer) = le16(&h.server, 0).filter(|_| h.server.len() >= 12) else { return Verdict::Sofar(Shape::ViberHello) };
    let fits = part(&h.server, 4, 2) == Some(&[3, 0x80]) && byte(&h.server, 10) == Some(0x0a) && answer >= 12;
    if fits { Verdict::Yes(Shape::ViberFrames) } else { Verdict::No }
}

/// Probe of 257 bytes, type 1; answer of 76 bytes, type 12, with the session and the call id of the probe.
pub(super) fn call(t: &Talk<'_>) -> Verdict {
    let probe = |bytes: &[u8], len: usize| len == 257 && part(bytes, 2, 4) == Some(&[1, 0, 5, 0]);
    if t.len == 76 && part(t.bytes, 2, 2) == Some(&[0x0c, 0]) {
        let (session, id) = (part(t.bytes, 0, 2), part(t.bytes, 6, 8));
        let asked = t.others().any(|g| probe(&g.bytes, g.len) && part(&g.bytes, 0, 2) == session && part(&g.bytes, 6, 8) == id);
        if asked && id.is_some_and(super::varied) {
            return Verdict::Yes(Shape::ViberCall);
        }
    }
    if t.before.iter().any(|g| probe(&g.bytes, g.len)) || probe(t.bytes, t.len) || t.before.len() < 3 { Verdict::Wait } else { Verdict::No }
}
