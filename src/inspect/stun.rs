//! STUN and TURN messages (RFC 8489, RFC 8656). Messages without the magic cookie (RFC 3489) are held to every byte.

use super::cursor::Cursor;
use super::{Pen, Step};
use crate::model::key::Endpoint;
use crate::model::note::{Fact, Stun, UserName, wire_text};
use crate::model::seq::Pos;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Messages noted of one flow.
pub(super) const NOTES_MAX: u8 = 16;
const COOKIE: u32 = 0x2112_a442;
const HEADER: usize = 20;
/// Longest message over TCP that is waited for.
const TCP_MAX: usize = 4096;

/// Reads one whole message; `None` unless header, length and cookie fit exactly.
pub(super) fn read(bytes: &[u8]) -> Option<Stun> {
    carrying(bytes).map(|(message, _)| message)
}

/// The payload of a ChannelData message (RFC 8656 §12.4) that fills the datagram, padding of up to three bytes allowed.
pub(super) fn channel_data(bytes: &[u8]) -> Option<&[u8]> {
    let mut c = Cursor::new(bytes);
    let channel = c.u16()?;
    let payload = c.block16()?;
    ((0x4000..=0x4fff).contains(&channel) && !payload.is_empty() && c.left() < 4).then_some(payload)
}

/// What is behind the header of a multiplexed channel of Microsoft's relays ([MS-TURN]; nDPI 3b1286a: teams.pcap): `ff 10`, the length of all that
/// follows, eight bytes that name the channel.
pub(super) fn ms_channel(bytes: &[u8]) -> Option<&[u8]> {
    let mut c = Cursor::new(bytes);
    if c.u16()? != 0xff10 {
        return None;
    }
    let payload = c.block16()?.get(8..)?;
    (!payload.is_empty() && c.is_empty()).then_some(payload)
}

/// A message of RFC 3489, which has no cookie: a Binding or shared-secret message whose attributes are all known there and fill it exactly.
/// A bare request is nothing but a type, a zero and sixteen random bytes, and counts only to a port of STUN.
pub(super) fn read_old(bytes: &[u8], stun_port: bool) -> Option<Stun> {
    let mut c = Cursor::new(bytes);
    let kind = c.u16()?;
    let len = c.u16()?;
    let transaction = c.take(16)?;
    if !matches!(kind, 0x0001 | 0x0101 | 0x0111 | 0x0002 | 0x0102 | 0x0112)
        || c.left() != usize::from(len)
        || transaction.starts_with(&COOKIE.to_be_bytes())
    {
        return None;
    }
    if len == 0 && (kind != 0x0001 || !stun_port) || transaction.iter().all(|b| transaction.first() == Some(b)) {
        return None;
    }
    let transaction: [u8; 12] = transaction.get(4..)?.try_into().ok()?;
    let mut stun = Stun { kind, transaction, len: u32::from(len).saturating_add(20), ..Stun::default() };
    while !c.is_empty() {
        let (attribute, value) = (c.u16()?, c.block16()?);
        let fits = match attribute {
            // Addresses of IPv4: a zero, the family, port, address.
            0x0001 | 0x0002 | 0x0004 | 0x0005 | 0x000b | 0x8020 | 0x8050 => value.len() == 8 && value.get(1) == Some(&1),
            0x0003 => value.len() == 4,
            0x0006 | 0x0007 | 0x0009 | 0x000a | 0x8022 => value.len().is_multiple_of(4),
            0x0008 => value.len() == 20,
            _ => false,
        };
        if !fits {
            return None;
        }
        if stun.attributes.len() < 16 {
            stun.attributes.push(attribute);
        }
        match attribute {
            0x0006 => stun.username_len = u16::try_from(value.len()).unwrap_or(u16::MAX),
            0x8022 => stun.software = Some(wire_text(value, 128)),
            _ => {}
        }
    }
    // An answer says where the question came from.
    (kind != 0x0101 || stun.attributes.contains(&0x0001)).then_some(stun)
}

/// As [`read`], with the value of the DATA attribute: what a relay passes on.
pub(super) fn carrying(bytes: &[u8]) -> Option<(Stun, Option<&[u8]>)> {
    let mut c = Cursor::new(bytes);
    let kind = c.u16()?;
    let len = c.u16()?;
    if kind & 0xc000 != 0 || len % 4 != 0 || c.u32()? != COOKIE {
        return None;
    }
    let transaction: [u8; 12] = c.take(12)?.try_into().ok()?;
    if c.left() != usize::from(len) {
        return None;
    }
    let mut stun = Stun { kind, transaction, len: u32::from(len).saturating_add(20), ..Stun::default() };
    let mut data = None;
    while let (Some(attribute), Some(value)) = (c.u16(), c.block16()) {
        if stun.attributes.len() < 16 {
            stun.attributes.push(attribute);
        }
        // Values are padded to four bytes; the padding is not in their length.
        c.take(value.len().wrapping_neg() & 3);
        match attribute {
            0x0006 => {
                stun.username_len = u16::try_from(value.len()).unwrap_or(u16::MAX);
                stun.username = user_name(value);
            }
            0x0009 => {
                stun.error = match *value {
                    [_, _, class, number, ..] => Some(u16::from(class & 7).saturating_mul(100).saturating_add(u16::from(number))),
                    _ => None,
                };
            }
            0x0013 => data = Some(value),
            0x0012 if stun.peer.is_none() => stun.peer = xor_address(value, &transaction),
            0x0014 => stun.realm = Some(wire_text(value, 128)),
            0x8022 => stun.software = Some(wire_text(value, 128)),
            _ => {}
        }
    }
    Some((stun, data))
}

/// The pattern of a user name made by the TURN REST scheme (draft-uberti-behave-turn-rest-00: expiry time, colon, user).
fn user_name(name: &[u8]) -> UserName {
    let Some((time, [b':', user @ ..])) = name.split_at_checked(10) else { return UserName::Other };
    if !time.starts_with(b"1") && !time.starts_with(b"2") || !time.iter().all(u8::is_ascii_digit) {
        return UserName::Other;
    }
    let digits = user.iter().all(u8::is_ascii_digit);
    match user.len() {
        10 if digits => UserName::TimedDigits10,
        12..=16 if digits => UserName::TimedDigits12To16,
        18 if user.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => UserName::TimedHex18,
        19 if digits => UserName::TimedDigits19,
        _ => UserName::Other,
    }
}

fn xor_address(value: &[u8], transaction: &[u8; 12]) -> Option<Endpoint> {
    let mut c = Cursor::new(value);
    c.u8()?;
    let family = c.u8()?;
    let port = c.u16()? ^ 0x2112;
    let ip = match family {
        1 => IpAddr::V4(Ipv4Addr::from(c.u32()? ^ COOKIE)),
        2 => {
            let mut address: [u8; 16] = c.take(16)?.try_into().ok()?;
            let key = COOKIE.to_be_bytes();
            for (byte, mask) in address.iter_mut().zip(key.iter().chain(transaction)) {
                *byte ^= mask;
            }
            IpAddr::V6(Ipv6Addr::from(address))
        }
        _ => return None,
    };
    Some(Endpoint::new(ip, port))
}

/// Could `bytes` be the beginning of STUN over TCP, bare or with a 2-byte length before it (RFC 4571)? `None`: too few to say.
pub(super) fn begins(bytes: &[u8]) -> Option<bool> {
    if bytes.first().is_some_and(|b| b & 0xc0 != 0) {
        return Some(false);
    }
    match (cookie_at(bytes, 4), cookie_at(bytes, 6)) {
        (Some(true), _) => Some(true),
        (_, Some(framed)) => Some(framed),
        _ => None,
    }
}

fn cookie_at(bytes: &[u8], at: usize) -> Option<bool> {
    Cursor::starting(bytes, at)?.u32().map(|c| c == COOKIE)
}

/// One direction of STUN over TCP.
#[derive(Default)]
pub(super) struct Direction {
    held: Vec<u8>,
    at: Pos,
    count: u8,
}

impl Direction {
    pub(super) fn feed(&mut self, at: Pos, bytes: &[u8], pen: &mut Pen<'_>) -> Step {
        let mut rest = bytes;
        let mut at = at;
        while !rest.is_empty() {
            if self.held.is_empty() {
                self.at = at;
            }
            // Ten bytes tell bare from framed, and both lengths.
            let (skip, goal) = match cookie_at(&self.held, 4) {
                Some(true) => (0, length_at(&self.held, 2).saturating_add(HEADER)),
                _ => match cookie_at(&self.held, 6) {
                    Some(true) => (2, length_at(&self.held, 0).saturating_add(2)),
                    // ChannelData and anything else: the media of a call, which nobody reads here.
                    Some(false) => return Step::Done,
                    None => (0, 10),
                },
            };
            if goal > TCP_MAX {
                return Step::Done;
            }
            // Byte counts up to ten may turn out to be too many for a bare message only if it were shorter than its header.
            let n = goal.saturating_sub(self.held.len()).min(rest.len());
            let (taken, after) = rest.split_at_checked(n).unwrap_or((rest, &[]));
            self.held.extend_from_slice(taken);
            rest = after;
            at = at.plus(i64::try_from(n).unwrap_or(i64::MAX));
            if goal == 10 || self.held.len() < goal {
                if n == 0 {
                    return Step::Done;
                }
                continue;
            }
            let Some(stun) = self.held.get(skip..).and_then(read) else { return Step::Done };
            pen.write(self.at, at, Fact::Stun(Box::new(stun)));
            self.held.clear();
            self.count = self.count.saturating_add(1);
            if self.count >= NOTES_MAX {
                return Step::Done;
            }
        }
        Step::More
    }
}

fn length_at(bytes: &[u8], at: usize) -> usize {
    Cursor::starting(bytes, at).and_then(|mut c| c.u16()).map_or(0, usize::from)
}
