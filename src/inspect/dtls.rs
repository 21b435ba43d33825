//! DTLS ClientHellos (RFC 6347, RFC 9147): records in datagrams, messages in fragments.

use super::cursor::Cursor;
use super::hello::{self, CLIENT_HELLO, HELLO_MAX};
use super::ja4::Carrier;
use crate::model::note::ClientHello;

const HANDSHAKE: u8 = 22;

/// Is this a DTLS record? Type, version, and a length that stays within the datagram.
pub(super) fn begins(bytes: &[u8]) -> bool {
    let mut c = Cursor::new(bytes);
    let (Some(kind), Some(version)) = (c.u8(), c.u16()) else { return false };
    // Epoch and sequence number; real ones begin near zero.
    let Some([_, _, high, _, ..]) = c.take(8) else { return false };
    let Some(len) = c.u16() else { return false };
    (20..=25).contains(&kind)
        && matches!(version, 0xfeff | 0xfefd | 0xfefc | 0x0100)
        && *high == 0
        && len > 0
        && usize::from(len) <= c.left()
}

/// A ClientHello being put together from fragments.
#[derive(Default)]
pub(super) struct Dtls {
    sequence: u16,
    message: Vec<u8>,
    told: bool,
}

impl Dtls {
    /// The ClientHello that this datagram completes, once.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<ClientHello> {
        if self.told {
            return None;
        }
        let mut records = Cursor::new(bytes);
        loop {
            let kind = records.u8()?;
            records.u16()?;
            let epoch = records.u16()?;
            records.take(6)?;
            let body = records.block16()?;
            if kind == HANDSHAKE && epoch == 0 {
                let mut messages = Cursor::new(body);
                while let Some(done) = self.fragment(&mut messages) {
                    if done && let Some(hello) = self.hello() {
                        self.told = true;
                        return Some(hello);
                    }
                }
            }
        }
    }

    /// Takes one fragment; true when the hello is whole.
    fn fragment(&mut self, c: &mut Cursor<'_>) -> Option<bool> {
        let kind = c.u8()?;
        let len = c.u24()? as usize;
        let sequence = c.u16()?;
        let at = c.u24()? as usize;
        let size = c.u24()? as usize;
        let part = c.take(size)?;
        if kind != CLIENT_HELLO || len > HELLO_MAX {
            return Some(false);
        }
        if at == 0 {
            self.message.clear();
            self.sequence = sequence;
        }
        // Fragments come in order nearly always; others are left for the retransmission.
        if sequence == self.sequence && at == self.message.len() {
            self.message.extend_from_slice(part);
        }
        Some(self.message.len() == len && len > 0)
    }

    /// Reads the body after cutting out the cookie, which TLS does not have (RFC 6347 §4.2.1).
    fn hello(&self) -> Option<ClientHello> {
        let mut c = Cursor::new(&self.message);
        c.take(34)?;
        c.block8()?;
        let before = c.at();
        let cookie = c.block8()?.len().checked_add(1)?;
        let len = u32::try_from(self.message.len().checked_sub(cookie)?).ok()?;
        let [_, a, b, d] = len.to_be_bytes();
        let mut message = vec![CLIENT_HELLO, a, b, d];
        message.extend_from_slice(self.message.get(..before)?);
        message.extend_from_slice(c.rest());
        let mut hello = hello::client_hello(&message, Carrier::Dtls)?;
        hello.len = u32::try_from(self.message.len()).ok()?.saturating_add(12);
        if hello.sni_at > 0 {
            hello.sni_at = hello.sni_at.saturating_add(u32::try_from(cookie).ok()?).saturating_add(8);
        }
        Some(hello)
    }
}
