//! IRC (RFC 1459 §4.1, IRCv3 capability negotiation): how a client registers, how a server greets.

use super::{Heads, Verdict};
use crate::model::note::Shape;

pub(super) fn judge(h: &Heads) -> Verdict {
    let first = |head: &[u8], starts: &[&[u8]]| starts.iter().any(|s| head.starts_with(s) || s.starts_with(head));
    if h.client.is_empty() {
        return if session(h) == Verdict::No { Verdict::Wait } else { session(h) };
    }
    if !first(&h.client, &[b"NICK ", b"USER ", b"PASS ", b"CAP LS", b"CAP REQ"]) {
        return session(h);
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

/// Lines of a server that settle it.
const SESSION_LINES: usize = 3;

/// In the middle: what servers pass on has a prefix and a command, line by line. Which side is the server a capture may not know then.
fn session(h: &Heads) -> Verdict {
    let mut wait = false;
    for head in [&h.client, &h.server] {
        if head.first() != Some(&b':') {
            continue;
        }
        wait = true;
        // The last line may be cut.
        let whole = head.iter().rposition(|b| *b == b'\n').and_then(|end| head.get(..end)).unwrap_or(&[]);
        let (mut passed, mut other) = (0usize, 0usize);
        for line in lines(whole) {
            let fits = passes(line);
            (passed, other) = (passed.saturating_add(usize::from(fits)), other.saturating_add(usize::from(!fits)));
        }
        if passed >= SESSION_LINES && other == 0 {
            return Verdict::Yes(Shape::Irc);
        }
        if other > 0 {
            return Verdict::No;
        }
    }
    if wait { Verdict::Wait } else { Verdict::No }
}

/// `:server 372 nick :text`, `:nick!user@host PRIVMSG #channel :text`, `PING :server`.
fn passes(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if [&b"PING "[..], b"ERROR ", b"NOTICE "].iter().any(|c| line.starts_with(c)) {
        return true;
    }
    let mut words = line.split(|b| *b == b' ');
    let (Some([b':', _, ..]), Some(command), Some([_, ..])) = (words.next(), words.next(), words.next()) else { return false };
    let said = [
        &b"PRIVMSG"[..],
        b"NOTICE",
        b"JOIN",
        b"PART",
        b"QUIT",
        b"MODE",
        b"NICK",
        b"TOPIC",
        b"KICK",
        b"PONG",
        b"INVITE",
        b"ACCOUNT",
        b"AWAY",
    ];
    command.len() == 3 && command.iter().all(u8::is_ascii_digit) || said.contains(&command)
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
