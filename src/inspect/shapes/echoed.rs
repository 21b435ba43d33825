//! Small datagrams that the other side sends back: keepalives and probes of calls. A magic word alone is nobody's; that both sides know it is.

use super::{Talk, Verdict, byte, le64, part};
use crate::model::note::Shape;

/// Discord voice: `13 37 ca fe` and a counter of four bytes (little-endian), sent back as it is (nDPI 3b1286a: discord.pcap, discord_mid_flow.pcap).
pub(super) fn discord(t: &Talk<'_>) -> Verdict {
    const LEN: usize = 8;
    let word = |bytes: &[u8], len: usize| len == LEN && bytes.len() == LEN && bytes.starts_with(&[0x13, 0x37, 0xca, 0xfe]);
    if word(t.bytes, t.len) && t.others().any(|g| word(&g.bytes, g.len) && *g.bytes == *t.bytes) {
        return Verdict::Yes(Shape::DiscordKeepalive);
    }
    Verdict::Wait
}

/// A relay of WhatsApp: the word `health`, answered `OK` (nDPI 3b1286a: wa_voice.pcap).
pub(super) fn whatsapp(t: &Talk<'_>) -> Verdict {
    let asked = || t.others().next().is_some_and(|g| g.len == 6 && *g.bytes == *b"health");
    if t.len == 2 && t.bytes == b"OK" && asked() {
        return Verdict::Yes(Shape::WaHealth);
    }
    Verdict::Wait
}

/// Viber's relays: session of two bytes, type of two, and eight that come back in the answer, the time in milliseconds or the id of the call
/// (nDPI 3b1286a: viber.pcap). `09` of 20 bytes is answered by `0b` of 34, `19` of 34 by `1a` of 20.
pub(super) fn viber(t: &Talk<'_>) -> Verdict {
    let kind = match (t.len, part(t.bytes, 2, 2)) {
        (34, Some(&[0x0b, 0])) => (20, 0x09),
        (20, Some(&[0x1a, 0])) => (34, 0x19),
        _ => return Verdict::Wait,
    };
    let (session, back) = (part(t.bytes, 0, 2), part(t.bytes, 4, 8));
    let timed = kind.1 != 0x09 || le64(t.bytes, 4).is_some_and(|ms| u32::try_from(ms / 1000).is_ok_and(super::clock));
    let asked = t.others().any(|g| {
        g.len == kind.0 && part(&g.bytes, 2, 2) == Some(&[kind.1, 0]) && part(&g.bytes, 0, 2) == session && part(&g.bytes, 4, 8) == back
    });
    if asked && timed && back.is_some_and(super::varied) { Verdict::Yes(Shape::ViberPing) } else { Verdict::Wait }
}

/// Zoom's media servers and clients ask each other: `03`, number, time in milliseconds, id; the answer is `04` and the same, whatever follows
/// (nDPI 3b1286a: zoom.pcap, 13 and 81 bytes). Two questions of one id settle it.
pub(super) fn zoom(t: &Talk<'_>) -> Verdict {
    const SAME: usize = 12;
    let said = |bytes: &[u8]| part(bytes, 1, SAME).map(<[u8]>::to_vec);
    // Numbers are small: they count from one.
    if byte(t.bytes, 0) != Some(4) || byte(t.bytes, 1) != Some(0) || !(13..=128).contains(&t.len) {
        return Verdict::Wait;
    }
    let asked = t.others().any(|g| g.len == t.len && byte(&g.bytes, 0) == Some(3) && said(&g.bytes) == said(t.bytes));
    let id = part(t.bytes, 9, 4);
    let another = t.before.iter().any(|g| {
        matches!(byte(&g.bytes, 0), Some(3 | 4))
            && g.len == t.len
            && part(&g.bytes, 9, 4) == id
            && part(&g.bytes, 1, 4) != part(t.bytes, 1, 4)
    });
    let counted = part(t.bytes, 5, 4).is_some_and(super::varied);
    if asked && another && counted { Verdict::Yes(Shape::ZoomPing) } else { Verdict::Wait }
}
