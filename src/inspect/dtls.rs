//! DTLS hellos and certificates (RFC 6347, RFC 9147): records in datagrams, messages in fragments.

use super::cert;
use super::cursor::Cursor;
use super::hello::{self, CLIENT_HELLO, HELLO_MAX, SERVER_HELLO};
use super::ja4::Carrier;
use crate::model::note::{ClientHello, Fact};
use crate::model::side::Side;

const HANDSHAKE: u8 = 22;
const CERTIFICATE: u8 = 11;
/// Longest Certificate message that is put together. Certificates of calls are self-signed and below 1 KiB; chains of servers below 8.
const CERTIFICATE_MAX: usize = 12 * 1024;

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

/// Both directions of a DTLS handshake.
#[derive(Default)]
pub(super) struct Dtls {
    client: Direction,
    server: Direction,
}

/// A message being put together from fragments, and what was told already.
#[derive(Default)]
struct Direction {
    kind: u8,
    sequence: u16,
    len: usize,
    message: Vec<u8>,
    hello: bool,
    certificate: bool,
}

impl Dtls {
    /// Tells `found` each hello and certificate that this datagram completes, once per side.
    pub(super) fn feed(&mut self, side: Side, bytes: &[u8], mut found: impl FnMut(Fact)) {
        let direction = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        let mut records = Cursor::new(bytes);
        while let Some((kind, epoch, body)) = record(&mut records) {
            if kind != HANDSHAKE || epoch != 0 {
                continue;
            }
            let mut messages = Cursor::new(body);
            while direction.fragment(&mut messages).is_some() {
                if let Some(fact) = direction.complete() {
                    found(fact);
                }
            }
        }
    }
}

fn record<'a>(c: &mut Cursor<'a>) -> Option<(u8, u16, &'a [u8])> {
    let kind = c.u8()?;
    c.u16()?;
    let epoch = c.u16()?;
    c.take(6)?;
    Some((kind, epoch, c.block16()?))
}

impl Direction {
    /// Takes one fragment; `None` once there is no more.
    fn fragment(&mut self, c: &mut Cursor<'_>) -> Option<()> {
        let kind = c.u8()?;
        let len = c.u24()? as usize;
        let sequence = c.u16()?;
        let at = c.u24()? as usize;
        let size = c.u24()? as usize;
        let part = c.take(size)?;
        let wanted = match kind {
            CLIENT_HELLO | SERVER_HELLO => !self.hello && len <= HELLO_MAX,
            CERTIFICATE => !self.certificate && len <= CERTIFICATE_MAX,
            _ => false,
        };
        if !wanted {
            return Some(());
        }
        if at == 0 {
            self.message.clear();
            (self.kind, self.sequence, self.len) = (kind, sequence, len);
        }
        // Fragments come in order nearly always; others are left for the retransmission.
        if (kind, sequence, len) == (self.kind, self.sequence, self.len) && at == self.message.len() {
            self.message.extend_from_slice(part);
        }
        Some(())
    }

    /// The message at hand, if it is whole and can be read.
    fn complete(&mut self) -> Option<Fact> {
        if self.len == 0 || self.message.len() != self.len {
            return None;
        }
        let fact = match self.kind {
            CLIENT_HELLO => Some(Fact::ClientHello(Box::new(self.client_hello()?))),
            SERVER_HELLO => Some(Fact::ServerHello(Box::new(hello::server_hello(&self.with_header(&self.message)?)?))),
            _ => cert::leaf(&self.with_header(&self.message)?).map(|leaf| Fact::Certificate(Box::new(leaf))),
        };
        self.hello |= self.kind != CERTIFICATE;
        self.certificate |= self.kind == CERTIFICATE;
        self.message = Vec::new();
        self.len = 0;
        fact
    }

    /// A body behind the four bytes of TLS's handshake header.
    fn with_header(&self, body: &[u8]) -> Option<Vec<u8>> {
        let [_, a, b, c] = u32::try_from(body.len()).ok()?.to_be_bytes();
        let mut message = vec![self.kind, a, b, c];
        message.extend_from_slice(body);
        Some(message)
    }

    /// Reads the body after cutting out the cookie, which TLS does not have (RFC 6347 §4.2.1).
    fn client_hello(&self) -> Option<ClientHello> {
        let mut c = Cursor::new(&self.message);
        c.take(34)?;
        c.block8()?;
        let before = c.at();
        let cookie = c.block8()?.len().checked_add(1)?;
        let mut body = self.message.get(..before)?.to_vec();
        body.extend_from_slice(c.rest());
        let mut hello = hello::client_hello(&self.with_header(&body)?, Carrier::Dtls)?;
        hello.len = u32::try_from(self.message.len()).ok()?.saturating_add(12);
        if hello.sni_at > 0 {
            hello.sni_at = hello.sni_at.saturating_add(u32::try_from(cookie).ok()?).saturating_add(8);
        }
        Some(hello)
    }
}
