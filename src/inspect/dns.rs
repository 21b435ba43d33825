//! DNS messages (RFC 1035, 3596, 6891, 9460), by a bounded walk: names jump only backwards, every list has an end.

use super::cursor::Cursor;
use super::{Pen, Step};
use crate::model::note::{DnsMessage, Fact};
use crate::model::seq::Pos;
use std::fmt::Write;
use std::net::IpAddr;

/// Messages noted of one flow.
pub(super) const MESSAGES_MAX: u8 = 32;
/// Records walked of one message.
const RECORDS_MAX: u16 = 512;
const ADDRESSES_MAX: usize = 32;
const ALIASES_MAX: usize = 16;
/// Longest message over TCP that is waited for.
const TCP_MAX: usize = 16 * 1024;
/// AA, TC, RD, RA and AD.
const FLAGS: u16 = 0x07a0;

/// A message and how much of it made sense.
pub(super) struct Read {
    pub(super) message: DnsMessage,
    /// Every section was read, nothing was left over, and all values are ordinary: it is DNS even on a strange port.
    pub(super) strict: bool,
}

/// Reads a message; `None` if not even header and question are sound.
pub(super) fn read(bytes: &[u8], tcp: bool) -> Option<Read> {
    let mut c = Cursor::new(bytes);
    let id = c.u16()?;
    let flags = c.u16()?;
    let (questions, answers, authority, additional) = (c.u16()?, c.u16()?, c.u16()?, c.u16()?);
    let response = flags & 0x8000 != 0;
    let opcode = flags >> 11 & 0x0f;
    if opcode > 6 || questions > 64 {
        return None;
    }
    let mut message = DnsMessage { id, response, rcode: flags & 0x0f, flags: flags & FLAGS, answers, tcp, ..DnsMessage::default() };
    let mut strict = opcode == 0 && questions == 1 && flags & 0x0040 == 0 && (response || answers == 0);
    for i in 0..questions {
        let (name, plain) = name(&mut c)?;
        let (kind, class) = (c.u16()?, c.u16()?);
        if i == 0 {
            message.qname = name;
            message.qtype = kind;
            strict &=
                plain && class == 1 && matches!(kind, 1 | 2 | 5 | 6 | 12 | 15 | 16 | 28 | 33 | 35 | 43 | 48 | 64 | 65 | 99 | 255 | 257);
        }
    }
    if questions == 0 && !response {
        return None;
    }
    let total = answers.saturating_add(authority).saturating_add(additional);
    let mut whole = true;
    for i in 0..total.min(RECORDS_MAX) {
        if record(&mut c, i < answers, &mut message).is_none() {
            whole = false;
            break;
        }
    }
    strict &= whole && c.is_empty() && total <= RECORDS_MAX;
    Some(Read { message, strict })
}

/// One resource record; facts are taken from the answer section, the extended code from anywhere.
fn record(c: &mut Cursor<'_>, answer: bool, message: &mut DnsMessage) -> Option<()> {
    let (owner, _) = name(c)?;
    let (kind, _class, ttl, len) = (c.u16()?, c.u16()?, c.u32()?, c.u16()?);
    let start = *c;
    let data = c.take(usize::from(len))?;
    if kind == 41 {
        let high = u16::try_from(ttl >> 24).unwrap_or(0);
        message.rcode = message.rcode & 0x0f | high << 4;
    }
    if !answer {
        return Some(());
    }
    if message.qname.is_empty() {
        message.qname = owner;
        message.qtype = kind;
    }
    // Names inside a record may point anywhere before it, so they are read from the whole message.
    let mut inside = start;
    match kind {
        1 | 28 => address(data, ttl, message),
        2 | 5 | 12 | 39 => alias(&mut inside, message),
        15 => {
            inside.u16()?;
            alias(&mut inside, message);
        }
        33 => {
            inside.take(6)?;
            alias(&mut inside, message);
        }
        64 | 65 => {
            inside.u16()?;
            alias(&mut inside, message);
            let used = inside.at().saturating_sub(start.at());
            service_parameters(data.get(used..).unwrap_or(&[]), ttl, message);
        }
        _ => {}
    }
    Some(())
}

fn address(data: &[u8], ttl: u32, message: &mut DnsMessage) {
    let ip = if let Ok(v4) = <[u8; 4]>::try_from(data) {
        IpAddr::from(v4)
    } else if let Ok(v6) = <[u8; 16]>::try_from(data) {
        IpAddr::from(v6)
    } else {
        return;
    };
    if message.addresses.len() < ADDRESSES_MAX {
        message.addresses.push((ip, ttl));
    }
}

fn alias(c: &mut Cursor<'_>, message: &mut DnsMessage) {
    if let Some((name, _)) = name(c)
        && !name.is_empty()
        && message.aliases.len() < ALIASES_MAX
        && !message.aliases.contains(&name)
    {
        message.aliases.push(name);
    }
}

/// SvcParams (RFC 9460 §14.3.2): 1 alpn, 4 ipv4hint, 5 ech, 6 ipv6hint.
fn service_parameters(bytes: &[u8], ttl: u32, message: &mut DnsMessage) {
    let mut c = Cursor::new(bytes);
    while let (Some(key), Some(value)) = (c.u16(), c.block16()) {
        match key {
            1 => message.h3 |= offers_h3(value),
            4 => value.chunks_exact(4).for_each(|ip| address(ip, ttl, message)),
            5 => message.ech = true,
            6 => value.chunks_exact(16).for_each(|ip| address(ip, ttl, message)),
            _ => {}
        }
    }
}

/// Whether a list of ALPN ids (RFC 9460 §7.1.1) has HTTP/3 (RFC 9114 §3.1) or one of its drafts.
fn offers_h3(list: &[u8]) -> bool {
    let mut c = Cursor::new(list);
    std::iter::from_fn(|| c.block8()).any(|id| id == b"h3" || id.starts_with(b"h3-"))
}

/// A name in lower case without its trailing dot, odd bytes as `\xNN`; and whether it had no odd bytes.
/// Pointers must go backwards, so the walk ends.
fn name(c: &mut Cursor<'_>) -> Option<(Box<str>, bool)> {
    let mut out = String::new();
    let mut plain = true;
    let mut wire = 0usize;
    let mut here = *c;
    let mut limit = c.at();
    let mut jumped = false;
    loop {
        let first = here.u8()?;
        match first {
            0 => break,
            1..=63 => {
                wire = wire.saturating_add(usize::from(first)).saturating_add(1);
                if wire > 255 {
                    return None;
                }
                if !out.is_empty() {
                    out.push('.');
                }
                for &b in here.take(usize::from(first))? {
                    if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_') {
                        out.push(char::from(b.to_ascii_lowercase()));
                    } else {
                        plain = false;
                        if b.is_ascii_graphic() && b != b'.' && b != b'\\' || b == b' ' {
                            out.push(char::from(b));
                        } else {
                            let _ = write!(out, "\\x{b:02x}");
                        }
                    }
                }
            }
            0xc0..=0xff => {
                let low = here.u8()?;
                if !jumped {
                    *c = here;
                    jumped = true;
                }
                let target = usize::from(u16::from_be_bytes([first & 0x3f, low]));
                if target >= limit {
                    return None;
                }
                limit = target;
                here = here.moved(target)?;
            }
            _ => return None,
        }
    }
    if !jumped {
        *c = here;
    }
    Some((out.into_boxed_str(), plain))
}

/// One direction of DNS over TCP: messages with their length before them (RFC 7766 §8).
#[derive(Default)]
pub(super) struct Framed {
    held: Vec<u8>,
    at: Pos,
    count: u8,
}

impl Framed {
    pub(super) fn feed(&mut self, at: Pos, bytes: &[u8], pen: &mut Pen<'_>) -> Step {
        let mut rest = bytes;
        let mut at = at;
        while !rest.is_empty() {
            if self.held.is_empty() {
                self.at = at;
            }
            let goal = match *self.held.as_slice() {
                [high, low, ..] => usize::from(u16::from_be_bytes([high, low])).saturating_add(2),
                _ => 2,
            };
            if goal > TCP_MAX {
                return Step::Done;
            }
            let n = goal.saturating_sub(self.held.len()).min(rest.len());
            let (taken, after) = rest.split_at_checked(n).unwrap_or((rest, &[]));
            self.held.extend_from_slice(taken);
            rest = after;
            at = at.plus(i64::try_from(n).unwrap_or(i64::MAX));
            if self.held.len() < goal || goal == 2 && self.held.as_slice() != [0, 0] {
                continue;
            }
            let Some(found) = self.held.get(2..).and_then(|m| read(m, true)) else { return Step::Done };
            pen.write(self.at, at, Fact::Dns(Box::new(found.message)));
            self.held.clear();
            self.count = self.count.saturating_add(1);
            if self.count >= MESSAGES_MAX {
                return Step::Done;
            }
        }
        Step::More
    }
}

/// Could `bytes` be the beginning of DNS over TCP? `None`: too few to say.
pub(super) fn begins(bytes: &[u8]) -> Option<bool> {
    let mut c = Cursor::new(bytes);
    let (len, _id, flags, questions) = (c.u16()?, c.u16()?, c.u16()?, c.u16()?);
    Some((12..=16_382).contains(&len) && flags >> 11 & 0x0f <= 6 && questions <= 1 && (questions == 1 || flags & 0x8000 != 0))
}
