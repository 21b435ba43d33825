//! TLS over TCP: records (RFC 8446 §5.1) become a handshake byte stream, that becomes messages, those become notes.
//!
//! Desync tools cut hellos into any number of segments and records, down to one byte each, and put empty records between;
//! nothing here assumes that a record, a message and a segment have anything to do with each other.

use super::hello::{self, CLIENT_HELLO, HELLO_MAX, SERVER_HELLO};
use super::ja4::Carrier;
use super::{Pen, Step, cert};
use crate::model::note::Fact;
use crate::model::seq::Pos;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const HEARTBEAT: u8 = 24;
const CERTIFICATE: u8 = 11;

/// Longest record: 2^14 of content and, up to TLS 1.2, 2,048 of expansion.
const RECORD_MAX: u16 = 16 * 1024 + 2048;
/// Longest Certificate message whose leaf is read. Whole chains are mostly below 8 KiB.
const CERTIFICATE_MAX: usize = 32 * 1024;
/// Alerts noted of one direction.
const ALERTS_MAX: u8 = 4;
/// Bytes of one direction after which nothing more is expected of it.
const EATEN_MAX: u64 = 64 * 1024;

/// What the two directions of a TLS connection must know of each other.
#[derive(Default)]
pub(super) struct Shared {
    /// A ClientHello of this flow has been noted.
    hello: bool,
    /// The server asked for a second hello.
    retry: bool,
}

/// Could `bytes` be the beginning of a TLS direction? `None`: too few to say.
pub(super) fn begins(bytes: &[u8]) -> Option<bool> {
    let mut known = true;
    for (i, &b) in bytes.iter().take(6).enumerate() {
        known &= match i {
            0 => (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&b),
            1 => b == 3,
            2 => b <= 4,
            _ => true,
        };
    }
    if !known {
        return Some(false);
    }
    let [kind, _, _, high, low, ..] = *bytes else { return None };
    let len = u16::from_be_bytes([high, low]);
    Some(match kind {
        CHANGE_CIPHER_SPEC => len == 1,
        ALERT => (2..=256).contains(&len),
        HANDSHAKE => len <= RECORD_MAX,
        _ => len > 0 && len <= RECORD_MAX,
    })
}

/// The name in a segment that was made not to be accepted. `None`: there is no ClientHello in it.
pub(super) fn decoy(segment: &[u8]) -> Option<Option<Box<str>>> {
    let [HANDSHAKE, 3, _, high, low, rest @ ..] = segment else { return None };
    let mut len = usize::from(u16::from_be_bytes([*high, *low]));
    if len >= rest.len() {
        return hello::name_in_part(rest);
    }
    // A fake may be cut into records as well.
    let mut message = Vec::with_capacity(segment.len());
    let mut rest = rest;
    loop {
        let (body, after) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        message.extend_from_slice(body);
        let [HANDSHAKE, 3, _, high, low, next @ ..] = after else { break };
        len = usize::from(u16::from_be_bytes([*high, *low]));
        rest = next;
    }
    hello::name_in_part(&message)
}

/// One direction of a TLS connection.
#[derive(Default)]
pub(super) struct Direction {
    header: [u8; 5],
    header_len: u8,
    /// Body bytes of the current record still to come.
    left: u16,
    /// First byte of the current record.
    record_at: Pos,
    /// A handshake message that is not complete yet.
    message: Vec<u8>,
    /// First byte of the record in which it began.
    message_at: Pos,
    /// Records it is spread over so far.
    message_records: u16,
    /// Bytes of an uninteresting handshake message still to come.
    skip: u32,
    /// Level of the alert whose description has not come yet.
    alert: Option<u8>,
    alerts: u8,
    /// After ChangeCipherSpec handshake records are ciphertext, except around a HelloRetryRequest.
    ciphered: bool,
    /// A ServerHello or second ClientHello after a retry has passed.
    settled: bool,
    /// Handshake records cannot be followed any more (a gap, or nonsense).
    blind: bool,
    /// The next bytes follow a gap: they must begin a record.
    resync: bool,
    eaten: u64,
}

impl Direction {
    pub(super) fn feed(&mut self, shared: &mut Shared, at: Pos, bytes: &[u8], pen: &mut Pen<'_>) -> Step {
        if self.resync {
            self.resync = false;
            if begins(bytes) != Some(true) {
                return Step::Done;
            }
        }
        self.eaten = self.eaten.saturating_add(bytes.len() as u64);
        let mut rest = bytes;
        let mut at = at;
        while !rest.is_empty() {
            if self.header_len < 5 {
                let Some((&byte, after)) = rest.split_first() else { break };
                if self.header_len == 0 {
                    self.record_at = at;
                }
                if let Some(slot) = self.header.get_mut(usize::from(self.header_len)) {
                    *slot = byte;
                }
                self.header_len = self.header_len.saturating_add(1);
                rest = after;
                at = at.plus(1);
                if self.header_len == 5 && self.record_begins(pen) == Step::Done {
                    return Step::Done;
                }
            } else {
                let n = usize::from(self.left).min(rest.len());
                let Some((body, after)) = rest.split_at_checked(n) else { break };
                self.left = self.left.saturating_sub(u16::try_from(n).unwrap_or(u16::MAX));
                self.body(shared, body, pen);
                rest = after;
                at = at.plus(i64::try_from(n).unwrap_or(i64::MAX));
            }
            if self.header_len == 5 && self.left == 0 {
                self.header_len = 0;
            }
        }
        if self.eaten > EATEN_MAX { Step::Done } else { Step::More }
    }

    /// `missing` bytes are lost. Harmless inside a record or message that nobody reads; otherwise the next bytes must begin a record.
    pub(super) fn gap(&mut self, missing: i64) {
        let [kind, ..] = self.header;
        let inside = self.header_len == 5 && missing <= i64::from(self.left);
        let unread = kind != HANDSHAKE || self.blind || (self.message.is_empty() && missing <= i64::from(self.skip));
        if inside
            && unread
            && let Ok(n) = u16::try_from(missing)
        {
            self.left = self.left.saturating_sub(n);
            self.skip = self.skip.saturating_sub(u32::from(n));
            if self.left == 0 {
                self.header_len = 0;
            }
            return;
        }
        self.message = Vec::new();
        self.skip = 0;
        self.blind = true;
        self.header_len = 0;
        self.left = 0;
        self.resync = true;
    }

    /// A ClientHello that began and is not complete: where, the length it announces and the bytes of it that are here.
    pub(super) fn partial(&self, shared: &Shared) -> Option<(Pos, u32, u32)> {
        if shared.hello || self.blind {
            return None;
        }
        let have = u32::try_from(self.message.len()).unwrap_or(u32::MAX);
        match *self.message.as_slice() {
            [CLIENT_HELLO, a, b, c, ..] => Some((self.message_at, u32::from_be_bytes([0, a, b, c]).saturating_add(4), have)),
            [CLIENT_HELLO, ..] => Some((self.message_at, 0, have)),
            [] if self.header_len > 0 && self.header.first() == Some(&HANDSHAKE) && self.eaten <= 5 => Some((self.record_at, 0, 0)),
            _ => None,
        }
    }

    fn record_begins(&mut self, pen: &mut Pen<'_>) -> Step {
        let [kind, major, minor, high, low] = self.header;
        let len = u16::from_be_bytes([high, low]);
        if !(CHANGE_CIPHER_SPEC..=HEARTBEAT).contains(&kind) || major != 3 || minor > 4 || len > RECORD_MAX {
            return Step::Done;
        }
        self.left = len;
        match kind {
            CHANGE_CIPHER_SPEC => self.ciphered = true,
            HANDSHAKE if len > 0 && !self.message.is_empty() => self.message_records = self.message_records.saturating_add(1),
            ALERT if len == 2 => self.alert = None,
            ALERT if self.alerts < ALERTS_MAX => {
                self.alerts = self.alerts.saturating_add(1);
                pen.write(self.record_at, self.record_end(), Fact::TlsEncryptedAlert);
            }
            APPLICATION_DATA => {
                pen.write(self.record_at, self.record_end(), Fact::TlsApplicationData { record_len: len });
                return Step::Done;
            }
            _ => {}
        }
        Step::More
    }

    fn record_end(&self) -> Pos {
        let [.., high, low] = self.header;
        self.record_at.plus(5).plus(i64::from(u16::from_be_bytes([high, low])))
    }

    fn body(&mut self, shared: &mut Shared, body: &[u8], pen: &mut Pen<'_>) {
        let [kind, _, _, high, low] = self.header;
        match kind {
            HANDSHAKE if !self.blind && (!self.ciphered || (shared.retry && !self.settled)) => self.handshake(shared, body, pen),
            ALERT if [high, low] == [0, 2] => {
                for &byte in body {
                    match self.alert {
                        None => self.alert = Some(byte),
                        Some(level) if self.alerts < ALERTS_MAX => {
                            self.alerts = self.alerts.saturating_add(1);
                            pen.write(self.record_at, self.record_end(), Fact::TlsAlert { level, description: byte });
                        }
                        Some(_) => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// Cuts handshake bytes into messages. A message that lies whole in `bytes` is read in place.
    fn handshake(&mut self, shared: &mut Shared, bytes: &[u8], pen: &mut Pen<'_>) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.blind {
            if self.skip > 0 {
                let n = rest.len().min(self.skip as usize);
                self.skip = self.skip.saturating_sub(u32::try_from(n).unwrap_or(u32::MAX));
                rest = rest.get(n..).unwrap_or(&[]);
                continue;
            }
            if self.message.is_empty() {
                self.message_at = self.record_at;
                self.message_records = 1;
                match plan(rest) {
                    Plan::Read(len) => {
                        if let Some((message, after)) = rest.split_at_checked(len) {
                            self.message(shared, message, pen);
                            rest = after;
                        } else {
                            self.message.extend_from_slice(rest);
                            return;
                        }
                    }
                    Plan::Skip(len) => self.skip = len,
                    Plan::More => {
                        self.message.extend_from_slice(rest);
                        return;
                    }
                    Plan::Nonsense => self.blind = true,
                }
                continue;
            }
            let have = self.message.len();
            let goal = match plan(&self.message) {
                Plan::More => 4,
                Plan::Read(len) => len,
                Plan::Skip(len) => {
                    self.skip = len.saturating_sub(u32::try_from(have).unwrap_or(u32::MAX));
                    self.message = Vec::new();
                    continue;
                }
                Plan::Nonsense => {
                    self.blind = true;
                    self.message = Vec::new();
                    return;
                }
            };
            let n = goal.saturating_sub(have).min(rest.len());
            let (taken, after) = rest.split_at_checked(n).unwrap_or((rest, &[]));
            self.message.extend_from_slice(taken);
            rest = after;
            if let Plan::Read(len) = plan(&self.message)
                && self.message.len() >= len
            {
                let message = std::mem::take(&mut self.message);
                self.message(shared, &message, pen);
            }
        }
    }

    fn message(&mut self, shared: &mut Shared, message: &[u8], pen: &mut Pen<'_>) {
        let (from, to) = (self.message_at, self.record_end());
        match message.first().copied() {
            Some(CLIENT_HELLO) => {
                let Some(mut hello) = hello::client_hello(message, Carrier::Tcp) else { return };
                hello.records = self.message_records;
                // A second hello is the answer to a HelloRetryRequest; without one it is something else than this flow's own.
                if shared.hello && !shared.retry {
                    pen.write(from, to, Fact::DecoyHello { sni: hello.sni });
                } else {
                    self.settled |= shared.retry;
                    shared.hello = true;
                    pen.write(from, to, Fact::ClientHello(Box::new(hello)));
                }
            }
            Some(SERVER_HELLO) => {
                let Some(hello) = hello::server_hello(message) else { return };
                self.settled |= !hello.retry;
                shared.retry |= hello.retry;
                pen.write(from, to, Fact::ServerHello(Box::new(hello)));
            }
            Some(CERTIFICATE) => {
                if let Some(leaf) = cert::leaf(message) {
                    pen.write(from, to, Fact::Certificate(Box::new(leaf)));
                }
            }
            _ => {}
        }
    }
}

/// What to do with the handshake message that begins here.
enum Plan {
    /// Its header is not complete.
    More,
    /// Read it: this long, header included.
    Read(usize),
    /// Pass over it: this long, header included.
    Skip(u32),
    /// No handshake message begins so.
    Nonsense,
}

fn plan(bytes: &[u8]) -> Plan {
    let Some(&kind) = bytes.first() else { return Plan::More };
    // HelloRequest … KeyUpdate, next_protocol (67), message_hash (254); compressed certificates are 25.
    if !matches!(kind, 0..=25 | 67 | 254) {
        return Plan::Nonsense;
    }
    let [_, a, b, c, ..] = *bytes else { return Plan::More };
    let len = u32::from_be_bytes([0, a, b, c]).saturating_add(4);
    let limit = match kind {
        CLIENT_HELLO | SERVER_HELLO => HELLO_MAX,
        CERTIFICATE => CERTIFICATE_MAX,
        _ => return Plan::Skip(len),
    };
    if len as usize <= limit { Plan::Read(len as usize) } else { Plan::Skip(len) }
}
