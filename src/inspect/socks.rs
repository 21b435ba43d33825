//! SOCKS4 and SOCKS5 (RFC 1928, RFC 1929): read only far enough to know where the tunnelled conversation begins.

use super::Step;
use super::cursor::Cursor;
use crate::model::side::Side;

/// Longest negotiation of one side, in bytes: names and passwords are at most 255 each.
const NEGOTIATION_MAX: usize = 1024;

/// A whole SOCKS4 request or SOCKS5 greeting, as the first thing a client sends.
pub(super) fn begins(bytes: &[u8]) -> bool {
    match bytes {
        [5, n, methods @ ..] => {
            usize::from(*n) == methods.len() && !methods.is_empty() && methods.iter().all(|m| matches!(m, 0..=9 | 0x80..=0xfe))
        }
        [4, 1 | 2, _, _, _, _, _, _, rest @ ..] => rest.len() < 300 && rest.last() == Some(&0),
        _ => false,
    }
}

/// A server's answer: a method that exists, or the SOCKS4 reply codes.
pub(super) fn agrees(bytes: &[u8]) -> bool {
    matches!(bytes, [5, 0..=9 | 0x80..=0xff, ..] | [0, 0x5a..=0x5d, _, _, _, _, _, _, ..])
}

/// One direction of the negotiation.
#[derive(Default)]
pub(super) struct Direction {
    held: Vec<u8>,
}

impl Direction {
    pub(super) fn feed(&mut self, side: Side, bytes: &[u8]) -> Step {
        let before = self.held.len();
        let room = NEGOTIATION_MAX.saturating_sub(before);
        self.held.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        let length = match side {
            Side::Client => client_length(&self.held),
            Side::Server => server_length(&self.held),
        };
        match length {
            Some(Some(end)) => Step::Reprobe(end.saturating_sub(before)),
            Some(None) => Step::Done,
            None if self.held.len() >= NEGOTIATION_MAX => Step::Done,
            None => Step::More,
        }
    }
}

/// Length of the client's part. `None`: incomplete; `Some(None)`: not SOCKS after all.
fn client_length(bytes: &[u8]) -> Option<Option<usize>> {
    let mut c = Cursor::new(bytes);
    if c.u8()? == 4 {
        c.take(3)?;
        let ip = c.u32()?;
        until_zero(&mut c)?;
        if ip != 0 && ip < 256 {
            // SOCKS4a: a name follows.
            until_zero(&mut c)?;
        }
        return Some(Some(c.at()));
    }
    c.block8()?;
    let mut next = c.u8()?;
    if next == 1 {
        c.block8()?;
        c.block8()?;
        next = c.u8()?;
    }
    if next != 5 {
        return Some(None);
    }
    c.u16()?;
    address(&mut c)
}

/// Length of the server's part, as [`client_length`].
fn server_length(bytes: &[u8]) -> Option<Option<usize>> {
    let mut c = Cursor::new(bytes);
    let version = c.u8()?;
    let method = c.u8()?;
    match (version, method) {
        (0, _) => {
            c.take(6)?;
            return Some(Some(c.at()));
        }
        (5, 0) => {}
        (5, 2) => {
            c.u16()?;
        }
        _ => return Some(None),
    }
    if c.u8()? != 5 {
        return Some(None);
    }
    c.u16()?;
    address(&mut c)
}

fn address(c: &mut Cursor<'_>) -> Option<Option<usize>> {
    match c.u8()? {
        1 => c.take(6)?,
        3 => {
            c.block8()?;
            c.take(2)?
        }
        4 => c.take(18)?,
        _ => return Some(None),
    };
    Some(Some(c.at()))
}

fn until_zero(c: &mut Cursor<'_>) -> Option<()> {
    while c.u8()? != 0 {}
    Some(())
}
