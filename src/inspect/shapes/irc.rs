//! IRC (RFC 1459 §4.1, IRCv3 capability negotiation): how a client registers, how a server greets.

use super::{Heads, Verdict};
use crate::model::note::Shape;

pub(super) fn judge(h: &Heads) -> Verdict {
    let first = |head: &[u8], starts: &[&[u8]]| starts.iter().any(|s| head.starts_with(s) || s.starts_with(head));
    if !first(&h.client, &[b"NICK ", b"USER ", b"PASS ", b"CAP LS", b"CAP REQ"]) {
        return Verdict::No;
    }
    let has = |what: &[u8]| {
        h.client.starts_with(what) || h.client.windows(what.len().saturating_add(1)).any(|w| w.strip_prefix(b"\n") == Some(what))
    };
    let nick = has(b"NICK ");
    // USER <name> <mode> <host> :<real name>
    let user = lines(&h.client).any(|l| l.strip_prefix(b"USER ").is_some_and(|rest| rest.iter().filter(|b| **b == b' ').count() >= 3));
    if nick && (user || has(b"CAP LS") || has(b"CAP REQ") || lines(&h.server).any(greets)) {
        Verdict::Yes(Shape::Irc)
    } else {
        Verdict::Wait
    }
}

fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|b| *b == b'\n')
}

/// `:server 001 nick …`, `:server NOTICE …` or `NOTICE AUTH`.
fn greets(line: &[u8]) -> bool {
    let mut words = line.split(|b| *b == b' ');
    match words.next() {
        Some([b':', _, ..]) => words.next().is_some_and(|w| w == b"001" || w == b"NOTICE" || w == b"433" || w == b"CAP"),
        Some(b"NOTICE") => words.next() == Some(b"AUTH"),
        _ => false,
    }
}
