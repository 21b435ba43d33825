//! SIP (RFC 3261 §7): a start line to the letter, and the Via header that every message has.

use super::{Heads, Talk, Verdict};
use crate::model::note::Shape;

#[rustfmt::skip]
const METHODS: &[&[u8]] = &[
    b"REGISTER ", b"INVITE ", b"OPTIONS ", b"ACK ", b"BYE ", b"CANCEL ", b"SUBSCRIBE ", b"NOTIFY ", b"MESSAGE ", b"INFO ", b"PRACK ", b"UPDATE ",
    b"REFER ", b"PUBLISH ",
];

/// `None`: more bytes are needed.
fn begins(bytes: &[u8]) -> Option<bool> {
    let possible = METHODS.iter().chain(&[&b"SIP/2.0 "[..]]).any(|m| bytes.starts_with(m) || m.starts_with(bytes));
    if !possible {
        return Some(false);
    }
    let end = bytes.windows(2).position(|w| w == b"\r\n")?;
    let (line, headers) = bytes.split_at_checked(end)?;
    let request = METHODS.iter().find_map(|m| line.strip_prefix(*m)).is_some_and(|rest| {
        let uri = rest.strip_suffix(b" SIP/2.0").unwrap_or(&[]);
        [&b"sip:"[..], b"sips:", b"tel:", b"urn:"].iter().any(|scheme| uri.starts_with(scheme))
    });
    let response = line.strip_prefix(b"SIP/2.0 ").is_some_and(|rest| matches!(rest, [b'1'..=b'6', b'0'..=b'9', b'0'..=b'9', b' ', ..]));
    if !request && !response {
        return Some(false);
    }
    let via = [&b"\r\nVia:"[..], b"\r\nVIA:", b"\r\nvia:", b"\r\nv:", b"\r\nVia ", b"\r\nv "];
    if via.iter().any(|name| headers.windows(name.len()).any(|w| w.eq_ignore_ascii_case(name))) { Some(true) } else { None }
}

pub(super) fn datagrams(t: &Talk<'_>) -> Verdict {
    match begins(t.bytes) {
        Some(true) => Verdict::Yes(Shape::Sip),
        // Keepalives of two or four bytes come between messages (RFC 5626 §4.4.1).
        _ if t.len <= 4 && t.before.len() < 4 => Verdict::Wait,
        _ => Verdict::No,
    }
}

pub(super) fn stream(h: &Heads) -> Verdict {
    let mut wait = false;
    for head in [&h.client, &h.server] {
        match begins(head) {
            Some(true) => return Verdict::Yes(Shape::Sip),
            None => wait = true,
            Some(false) => {}
        }
    }
    if wait { Verdict::Wait } else { Verdict::No }
}
