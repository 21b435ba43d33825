//! QUIC as seen from outside: long headers of every version (RFC 8999), Initial packets opened, the ClientHello put together.
//!
//! A client sends its first packets to a connection id it made up; the keys of all Initials follow from that id until a Retry.
//! Desync tools send Initials of their own before the real ones, with ids of their own; which one the server answers tells them apart.

use super::cursor::Cursor;
use super::hello::{self, CLIENT_HELLO, HELLO_MAX};
use super::ja4::Carrier;
use super::quic_keys::{self, Keys, Recipe};
use super::{Pen, Step};
use crate::model::note::{ClientHello, Fact, QuicInitial, wire_text};
use crate::model::seq::Pos;
use crate::model::side::Side;
use std::fmt::Write;

const INITIAL: u8 = 0;
const RETRY: u8 = 3;
const NEGOTIATION: u8 = 4;

/// Client Initials noted.
const INITIALS_MAX: u8 = 8;
/// Datagrams read before giving up.
const DATAGRAMS_MAX: u8 = 32;
/// Connections (original connection ids) followed at once in one flow.
const ATTEMPTS_MAX: usize = 4;
/// Separate pieces of CRYPTO data kept.
const PIECES_MAX: usize = 64;

/// The fields of a long header that all versions share, and the packet's extent.
struct Long<'a> {
    version: u32,
    kind: u8,
    dcid: &'a [u8],
    scid: &'a [u8],
    /// Where the packet number stands, for packets with a length field.
    number_at: usize,
    /// Where the packet ends within the bytes given; past their end if it was cut.
    end: usize,
}

/// Versions that are worth believing from a single packet: QUIC's own, its drafts, Google's, Facebook's, and those reserved to force negotiation.
const fn is_known(version: u32) -> bool {
    version & 0x0f0f_0f0f == 0x0a0a_0a0a
        || matches!(version, 0 | 1 | quic_keys::V2 | 0x709a_50c4 | 0xff00_0001..=0xff00_00ff | 0xface_b000..=0xface_b0ff)
        || is_google(version)
        || version >> 16 == 0x5430
}

/// Q0nn: Google's own handshake, without TLS.
const fn is_google(version: u32) -> bool {
    let [q, zero, a, b] = version.to_be_bytes();
    q == b'Q' && zero == b'0' && a.is_ascii_digit() && b.is_ascii_digit()
}

fn long(bytes: &[u8]) -> Option<Long<'_>> {
    let mut c = Cursor::new(bytes);
    let first = c.u8()?;
    let version = c.u32()?;
    if first & 0x80 == 0 || !is_known(version) || (version != 0 && first & 0x40 == 0) {
        return None;
    }
    let (dcid, scid);
    if is_google(version) && version < 0x5130_3439 {
        // Up to Q048 both lengths share one byte.
        let lengths = c.u8()?;
        let len = |nibble: u8| if nibble == 0 { 0 } else { usize::from(nibble).saturating_add(3) };
        dcid = c.take(len(lengths >> 4))?;
        scid = c.take(len(lengths & 0x0f))?;
        return Some(Long { version, kind: INITIAL, dcid, scid, number_at: c.at(), end: bytes.len() });
    }
    dcid = c.block8()?;
    scid = c.block8()?;
    if dcid.len() > 20 || scid.len() > 20 {
        return None;
    }
    let whole = |kind| Some(Long { version, kind, dcid, scid, number_at: 0, end: bytes.len() });
    if version == 0 {
        let list = c.rest();
        return if list.is_empty() || !list.len().is_multiple_of(4) { None } else { whole(NEGOTIATION) };
    }
    let bits = first >> 4 & 3;
    let kind = if version == quic_keys::V2 { bits.wrapping_add(3) & 3 } else { bits };
    if kind == RETRY {
        return whole(RETRY);
    }
    if kind == INITIAL {
        let token = usize::try_from(c.varint()?).ok()?;
        c.take(token)?;
    }
    let len = usize::try_from(c.varint()?).ok()?;
    if len < 20 {
        return None;
    }
    Some(Long { version, kind, dcid, scid, number_at: c.at(), end: c.at().checked_add(len)? })
}

/// Google QUIC before long headers: flags, 8-byte connection id, version `Q0nn`.
fn google(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut c = Cursor::new(bytes);
    let flags = c.u8()?;
    if flags & 0x89 != 0x09 {
        return None;
    }
    let id = c.take(8)?;
    let version = c.u32()?;
    is_google(version).then_some((version, id))
}

/// Does this datagram begin a QUIC conversation? A version negotiation alone is too short a proof: much else holds four zeros.
pub(super) fn begins(bytes: &[u8]) -> bool {
    long(bytes).is_some_and(|head| head.version != 0) || google(bytes).is_some()
}

/// One connection id the client chose, and the hello sent under it.
struct Attempt {
    version: u32,
    dcid: Vec<u8>,
    client: Keys,
    server: Option<Box<Keys>>,
    crypto: Crypto,
    told: bool,
    /// Where its hello stands in the notes.
    note: Option<usize>,
}

/// A flow of QUIC datagrams.
#[derive(Default)]
pub(super) struct Quic {
    attempts: Vec<Attempt>,
    /// (from client, kind, version) of the packets noted once.
    noted: Vec<(bool, u8, u32)>,
    datagrams: u8,
    initials: u8,
    /// The server sent something other than Retry or version negotiation.
    answered: bool,
    /// The client, after that, wrote to another id than the one it had made up: it has read the answer.
    onward: bool,
    retried: bool,
    named: bool,
    original: Option<Box<str>>,
}

impl Quic {
    pub(super) fn feed(&mut self, bytes: &[u8], len: u32, pen: &mut Pen<'_>) -> Step {
        self.datagrams = self.datagrams.saturating_add(1);
        let mut rest = bytes;
        let mut initial_noted = false;
        if let Some((version, id)) = google(bytes) {
            let name = tagged_name(bytes);
            self.named |= name.is_some();
            self.note(&Long { version, kind: INITIAL, dcid: id, scid: &[], number_at: 0, end: 0 }, len, false, name, pen);
        } else if bytes.first().is_some_and(|b| b & 0x80 == 0) {
            self.answered |= pen.side == Side::Server;
            self.onward |= pen.side == Side::Client && self.answered;
        }
        // A client packs few packets into one datagram; the bound only keeps hostile ones short.
        for _ in 0..8 {
            let Some(head) = long(rest) else { break };
            let packet = rest.get(..head.end);
            let (opened, attempt) = match packet {
                Some(packet) if head.kind == INITIAL && !is_google_clear(head.version) => self.open(&head, packet, pen.side),
                _ => (None, None),
            };
            let google_name = if is_google(head.version) { tagged_name(opened.as_deref().unwrap_or(rest)) } else { None };
            self.named |= google_name.is_some();
            if !initial_noted || head.kind != INITIAL {
                self.note(&head, len, opened.is_some(), google_name, pen);
            }
            initial_noted |= head.kind == INITIAL;
            if pen.side == Side::Client {
                let begins_again = head.kind == INITIAL && self.original.as_deref() == Some(&*hex(head.dcid));
                self.onward |= self.answered && !begins_again;
            } else {
                match head.kind {
                    RETRY => self.retried = true,
                    NEGOTIATION => {}
                    _ => self.answered = true,
                }
            }
            if let (Some(plain), Some(attempt)) = (opened, attempt) {
                self.opened(&plain, attempt, pen);
            }
            rest = rest.get(head.end..).unwrap_or(&[]);
        }
        let told = self.named || self.attempts.iter().any(|a| a.told);
        // Until then a client that begins again and again is of interest: it shows that it has read nothing (RFC 9000 §7.2).
        if (told && self.answered && self.onward) || self.datagrams >= DATAGRAMS_MAX { Step::Done } else { Step::More }
    }

    /// A hello that began and never became whole: the length it announces and the bytes of it that are here.
    pub(super) fn partial(&self) -> Option<(u32, u32)> {
        if self.named || self.attempts.iter().any(|a| a.told) {
            return None;
        }
        self.attempts.iter().find_map(|a| a.crypto.partial())
    }

    fn note(&mut self, head: &Long<'_>, len: u32, decrypted: bool, gquic_sni: Option<Box<str>>, pen: &mut Pen<'_>) {
        let from_client = pen.side == Side::Client;
        let seen = (from_client, head.kind, head.version);
        if self.original.is_none() && from_client {
            self.original = Some(hex(head.dcid));
        }
        let each = from_client && head.kind == INITIAL && self.initials < INITIALS_MAX;
        if !each && (self.noted.contains(&seen) || self.noted.len() >= 12) {
            return;
        }
        if each {
            self.initials = self.initials.saturating_add(1);
        }
        if !self.noted.contains(&seen) {
            self.noted.push(seen);
        }
        // Each client Initial shows the id it was sent to, so decoys can be told apart; the server's packets show the original.
        let dcid = if from_client { hex(head.dcid) } else { self.original.clone().unwrap_or_else(|| hex(head.scid)) };
        let fact = QuicInitial { version: head.version, dcid, kind: head.kind, datagram_len: len, decrypted, gquic_sni };
        pen.write(Pos::FIRST, Pos::FIRST, Fact::Quic(Box::new(fact)));
    }

    /// Opens an Initial: its plain payload, and (for packets of a client) the attempt it belongs to.
    fn open(&mut self, head: &Long<'_>, packet: &[u8], side: Side) -> (Option<Vec<u8>>, Option<usize>) {
        let Some(recipe) = quic_keys::recipe(head.version) else { return (None, None) };
        if side == Side::Server {
            for i in 0..self.attempts.len() {
                let Some(attempt) = self.attempts.get_mut(i) else { break };
                if attempt.version != head.version {
                    continue;
                }
                if attempt.server.is_none() {
                    attempt.server = Keys::derive(&recipe, &attempt.dcid, false).map(Box::new);
                }
                if let Some(plain) = attempt.server.as_ref().and_then(|keys| keys.open(packet, head.number_at)) {
                    return (Some(plain), Some(i));
                }
            }
            if !self.attempts.is_empty() {
                return (None, None);
            }
            // No client packet yet: the roles may be the other way round. Only a client's Initial opens with its own id.
        }
        let known = self.attempts.iter().position(|a| a.version == head.version && a.dcid == head.dcid);
        if let Some(i) = known
            && let Some(plain) = self.attempts.get(i).and_then(|a| a.client.open(packet, head.number_at))
        {
            return (Some(plain), Some(i));
        }
        // After the server's first answer the client writes to the id the server chose, still with the first keys.
        for (i, attempt) in self.attempts.iter().enumerate() {
            if Some(i) != known
                && attempt.version == head.version
                && let Some(plain) = attempt.client.open(packet, head.number_at)
            {
                return (Some(plain), Some(i));
            }
        }
        if known.is_some() || self.attempts.len() >= ATTEMPTS_MAX {
            return (None, None);
        }
        self.begin(&recipe, head, packet)
    }

    fn begin(&mut self, recipe: &Recipe, head: &Long<'_>, packet: &[u8]) -> (Option<Vec<u8>>, Option<usize>) {
        let Some(client) = Keys::derive(recipe, head.dcid, true) else { return (None, None) };
        let Some(plain) = client.open(packet, head.number_at) else { return (None, None) };
        let index = self.attempts.len();
        // There is hardly ever a second one.
        self.attempts.reserve_exact(1);
        self.attempts.push(Attempt {
            version: head.version,
            dcid: head.dcid.to_vec(),
            client,
            server: None,
            crypto: Crypto::default(),
            told: false,
            note: None,
        });
        (Some(plain), Some(index))
    }

    fn opened(&mut self, plain: &[u8], index: usize, pen: &mut Pen<'_>) {
        if pen.side == Side::Server && self.attempts.get(index).is_some_and(|a| a.server.is_some()) {
            self.settle(index, pen);
            return;
        }
        let Some(attempt) = self.attempts.get_mut(index) else { return };
        if attempt.told {
            return;
        }
        frames(plain, attempt.version, &mut attempt.crypto);
        let Some(hello) = attempt.crypto.hello() else { return };
        attempt.told = true;
        attempt.crypto.forget();
        let at = pen.write(Pos::FIRST, Pos::FIRST, Fact::ClientHello(Box::new(hello)));
        attempt.note = at;
        // A second connection before any answer: tools send their decoys first, so the last one stands until the server shows its choice.
        // After a Retry or a version negotiation it is the same hello again, which is no decoy.
        if !self.answered && !self.retried && self.attempts.iter().filter(|a| a.told).count() > 1 {
            self.settle(index, pen);
        }
    }

    /// The hello of attempt `own` is the flow's own; the others were decoys, unless they say the same.
    fn settle(&mut self, own: usize, pen: &mut Pen<'_>) {
        let own_note = self.attempts.get(own).and_then(|a| a.note);
        let Some(own_note) = own_note else { return };
        // A decoy taken for the flow's own until now: its hello was demoted earlier and has to come back.
        if let Some(kept) = self.attempts.get_mut(own).and_then(|a| a.crypto.demoted.take())
            && let Some(note) = pen.notes.list.get_mut(own_note)
        {
            note.fact = Fact::ClientHello(kept);
        }
        let own_name = match pen.notes.list.get(own_note).map(|n| &n.fact) {
            Some(Fact::ClientHello(h)) => h.sni.clone(),
            _ => return,
        };
        for (i, other) in self.attempts.iter_mut().enumerate() {
            if i == own {
                continue;
            }
            let Some(note) = other.note.and_then(|at| pen.notes.list.get_mut(at)) else { continue };
            if let Fact::ClientHello(hello) = &note.fact
                && hello.sni != own_name
            {
                let decoy = Fact::DecoyHello { sni: hello.sni.clone() };
                if let Fact::ClientHello(hello) = std::mem::replace(&mut note.fact, decoy) {
                    other.crypto.demoted = Some(hello);
                }
            }
        }
    }
}

/// Q043–Q048 are readable without keys.
const fn is_google_clear(version: u32) -> bool {
    is_google(version) && version < 0x5130_3530
}

fn hex(bytes: &[u8]) -> Box<str> {
    let mut out = String::with_capacity(bytes.len().saturating_mul(2));
    for b in bytes {
        let _ = write!(out, "{b:02x}");
    }
    out.into_boxed_str()
}

/// Collects CRYPTO frames of a plain Initial payload (RFC 9000 §12.4); stops at what an Initial may not carry.
fn frames(plain: &[u8], version: u32, crypto: &mut Crypto) {
    let mut c = Cursor::new(plain);
    // T050 and T051 carry TLS in Google's frames: CRYPTO is 8 there, and acknowledgements look different.
    let google = version >> 16 == 0x5430;
    let mut step = || -> Option<()> {
        match c.u8()? {
            0 | 1 => {}
            kind @ (2 | 3) => {
                c.varint()?;
                c.varint()?;
                let ranges = c.varint()?;
                c.varint()?;
                for _ in 0..ranges.min(256) {
                    c.varint()?;
                    c.varint()?;
                }
                if kind == 3 {
                    for _ in 0..3 {
                        c.varint()?;
                    }
                }
            }
            kind if kind == 6 || google && kind == 8 => {
                let at = usize::try_from(c.varint()?).ok()?;
                let len = usize::try_from(c.varint()?).ok()?;
                // A cut capture leaves a cut frame; its beginning is still good.
                let data = c.take(len.min(c.left()))?;
                crypto.put(at, data)?;
            }
            _ => return None,
        }
        Some(())
    };
    while step().is_some() {}
}

/// CRYPTO data by offset, first writer wins.
#[derive(Default)]
struct Crypto {
    bytes: Vec<u8>,
    /// Filled ranges, sorted and apart.
    filled: Vec<(usize, usize)>,
    demoted: Option<Box<ClientHello>>,
}

impl Crypto {
    fn put(&mut self, at: usize, data: &[u8]) -> Option<()> {
        let end = at.checked_add(data.len())?;
        if end > HELLO_MAX || data.is_empty() {
            return (end <= HELLO_MAX).then_some(());
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        // Write only where nothing stands yet.
        let mut from = at;
        for &(low, high) in &self.filled {
            if low >= end {
                break;
            }
            if high <= from {
                continue;
            }
            if low > from {
                copy(&mut self.bytes, data, at, from, low);
            }
            from = from.max(high);
        }
        if from < end {
            copy(&mut self.bytes, data, at, from, end);
        }
        let (mut low, mut high) = (at, end);
        self.filled.retain(|&(l, h)| {
            let apart = h < low || l > high;
            if !apart {
                low = low.min(l);
                high = high.max(h);
            }
            apart
        });
        if self.filled.len() >= PIECES_MAX {
            return None;
        }
        let place = self.filled.partition_point(|&(l, _)| l < low);
        self.filled.insert(place, (low, high));
        Some(())
    }

    /// The hello was read: its bytes can go.
    fn forget(&mut self) {
        (self.bytes, self.filled) = (Vec::new(), Vec::new());
    }

    /// Bytes from offset 0 without a hole.
    fn contiguous(&self) -> &[u8] {
        match self.filled.first() {
            Some(&(0, end)) => self.bytes.get(..end).unwrap_or(&[]),
            _ => &[],
        }
    }

    fn partial(&self) -> Option<(u32, u32)> {
        let have = self.filled.iter().fold(0usize, |sum, (l, h)| sum.saturating_add(h.saturating_sub(*l)));
        let have = u32::try_from(have).unwrap_or(u32::MAX);
        match *self.contiguous() {
            [CLIENT_HELLO, a, b, c, ..] => Some((u32::from_be_bytes([0, a, b, c]).saturating_add(4), have)),
            _ if have > 0 => Some((0, have)),
            _ => None,
        }
    }

    fn hello(&self) -> Option<ClientHello> {
        hello::client_hello(self.contiguous(), Carrier::Quic)
    }
}

/// Copies `data[from-at..to-at]`, where `data` stands at `at`, to `bytes[from..to]`.
fn copy(bytes: &mut [u8], data: &[u8], at: usize, from: usize, to: usize) {
    let source = data.get(from.saturating_sub(at)..to.saturating_sub(at));
    if let (Some(target), Some(source)) = (bytes.get_mut(from..to), source)
        && target.len() == source.len()
    {
        target.copy_from_slice(source);
    }
}

/// The server name in Google QUIC's own client hello: `CHLO`, a count, then tags with the end offset of their value, then the values.
fn tagged_name(bytes: &[u8]) -> Option<Box<str>> {
    let start = bytes.windows(4).position(|w| w == b"CHLO")?;
    let mut c = Cursor::starting(bytes, start.checked_add(4)?)?;
    let count = usize::from(c.u16()?.swap_bytes()).min(128);
    c.u16()?;
    let values = Cursor::starting(bytes, c.at().checked_add(count.checked_mul(8)?)?)?.rest();
    let mut begin = 0usize;
    for _ in 0..count {
        let tag = c.take(4)?;
        let end = c.u32()?.swap_bytes() as usize;
        if tag == b"SNI\0" {
            let name = values.get(begin..end)?.to_ascii_lowercase();
            return (!name.is_empty()).then(|| wire_text(&name, 255));
        }
        begin = end;
    }
    None
}
