//! Puts IP fragments together (RFC 791 §3.2, RFC 8200 §4.5) within fixed bounds.

use super::bytes::{len32, on, size};
use super::net::{self, Fragment, Net};
use crate::model::oddity::Oddity;
use crate::model::time::{Span, Time};
use hashbrown::HashMap;
use std::net::IpAddr;

/// Packets under construction.
const PACKETS: usize = 256;
/// Bytes held for them.
const BYTES: usize = 4 << 20;
/// Fragments of one packet.
const FRAGMENTS: usize = 64;
/// Time after which a packet is given up (packet time).
const PATIENCE: Span = Span::from_secs(30);
/// Largest IP packet.
const LARGEST: u32 = 65_535;

/// Collects the fragments of IPv4 and IPv6 packets until they are whole.
///
/// Holds at most 256 packets, 4 MiB and 64 fragments a packet, each for at most 30 s of packet time; the oldest packet
/// makes room. Fragments that repeat bytes are welcome; fragments that contradict each other end their packet.
#[derive(Debug, Default)]
pub struct Defragmenter {
    packets: HashMap<FragmentName, Assembly>,
    bytes: usize,
    serial: u64,
    given_up: u64,
}

/// What fragments of one packet share, for a while.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FragmentName {
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    /// IPv4 only; in IPv6 the first fragment alone decides.
    proto: u8,
}

impl FragmentName {
    /// The name of the fragment whose IP header begins `bytes`; `None` if it is none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let net = net::read(bytes, 0, bytes.len()).ok()?;
        Some(Self::of(&net, &net.fragment?))
    }

    fn of(net: &Net, fragment: &Fragment) -> Self {
        let proto = if fragment.header.is_none() { net.head.proto } else { 0 };
        Self { src: net.src, dst: net.dst, id: fragment.id, proto }
    }
}

#[derive(Debug)]
struct Assembly {
    began: Time,
    /// Order of beginning.
    serial: u64,
    /// Header to be of the whole packet, from the fragment at offset 0.
    head: Option<Vec<u8>>,
    /// By offset.
    pieces: Vec<Piece>,
    /// Length of the whole, from the last fragment.
    total: Option<u32>,
    /// Something was wrong with it: further fragments are refused.
    refused: Option<Oddity>,
    bytes: usize,
}

#[derive(Debug)]
struct Piece {
    offset: u32,
    /// Length on the wire.
    len: u32,
    /// Captured bytes, fewer than `len` if the capture cut them.
    bytes: Vec<u8>,
}

impl Piece {
    fn end(&self) -> u32 {
        self.offset.saturating_add(self.len)
    }
    /// Whether two pieces hold different bytes at the same place.
    fn contradicts(&self, other: &Self) -> bool {
        let from = self.offset.max(other.offset);
        let mine = self.bytes.get(size(from.saturating_sub(self.offset))..).unwrap_or_default();
        let theirs = other.bytes.get(size(from.saturating_sub(other.offset))..).unwrap_or_default();
        mine.iter().zip(theirs).any(|(a, b)| a != b)
    }
}

impl Defragmenter {
    /// Bytes that wait for others.
    pub fn buffered(&self) -> u64 {
        self.bytes as u64
    }

    /// Takes the fragment whose IP header begins `bytes` (what follows the packet is ignored) and gives the whole packet
    /// once it is complete: header without fragment fields, lengths and IPv4 checksum as of the whole. If the capture cut
    /// a fragment short, the bytes end there while the length says what was on the wire.
    ///
    /// `Ok(None)`: it waits for others. Memory: see [`Defragmenter`].
    ///
    /// # Errors
    /// [`Oddity::FragmentConflict`] for this and all further fragments of a packet that contradicts itself,
    /// [`Oddity::FragmentBound`] likewise for one of too many fragments, [`Oddity::BadIpHeader`] for an impossible one.
    pub fn offer(&mut self, ts: Time, bytes: &[u8]) -> Result<Option<Vec<u8>>, Oddity> {
        let net = net::read(bytes, 0, bytes.len())?;
        // A whole packet is its own reassembly.
        let Some(fragment) = net.fragment else { return Ok(bytes.get(..net.end).map(<[u8]>::to_vec)) };
        let piece = Piece { offset: fragment.offset, len: net.wire(), bytes: net.body(bytes).to_vec() };
        let odd_length = fragment.more && piece.len & 7 != 0;
        if piece.len == 0 || odd_length || piece.end() > LARGEST {
            return Err(Oddity::BadIpHeader);
        }
        self.expire(ts);
        let name = FragmentName::of(&net, &fragment);
        if !self.packets.contains_key(&name) && self.packets.len() >= PACKETS {
            self.drop_oldest(None);
        }
        self.serial = self.serial.saturating_add(1);
        let serial = self.serial;
        let packet = self.packets.entry(name).or_insert_with(|| Assembly::begun(ts, serial));
        let held = packet.bytes;
        let added = packet.add(piece, fragment.more, || whole_head(bytes, &net));
        self.bytes = self.bytes.saturating_sub(held).saturating_add(packet.bytes);
        if let Err(why) = added {
            if packet.refused.is_none() {
                self.given_up = self.given_up.saturating_add(packet.pieces.len() as u64);
                self.bytes = self.bytes.saturating_sub(packet.bytes);
                packet.refuse(why);
            }
            return Err(why);
        }
        if !packet.whole() {
            while self.bytes > BYTES && self.drop_oldest(Some(&name)) {}
            return Ok(None);
        }
        let Some(packet) = self.packets.remove(&name) else { return Ok(None) };
        self.bytes = self.bytes.saturating_sub(packet.bytes);
        packet.build().map(Some)
    }

    /// Fragments (frames) that did not become part of a packet: given up so far, or still waiting.
    pub fn unfinished(&self) -> u64 {
        let waiting = self.packets.values().map(|p| p.pieces.len() as u64).fold(0, u64::saturating_add);
        self.given_up.saturating_add(waiting)
    }

    fn expire(&mut self, now: Time) {
        let (mut gone, mut freed) = (0_u64, 0_usize);
        self.packets.retain(|_, p| {
            // A capture may step back in time; a step that large ends the wait as well.
            let keep = now.since(p.began).abs() <= PATIENCE;
            if !keep {
                gone = gone.saturating_add(p.pieces.len() as u64);
                freed = freed.saturating_add(p.bytes);
            }
            keep
        });
        self.given_up = self.given_up.saturating_add(gone);
        self.bytes = self.bytes.saturating_sub(freed);
    }

    /// Gives up the packet that began first, except `spare`. False if there is none.
    fn drop_oldest(&mut self, spare: Option<&FragmentName>) -> bool {
        let oldest = self.packets.iter().filter(|(n, _)| Some(*n) != spare).min_by_key(|(_, p)| p.serial).map(|(n, _)| *n);
        let Some(p) = oldest.and_then(|n| self.packets.remove(&n)) else { return false };
        self.given_up = self.given_up.saturating_add(p.pieces.len() as u64);
        self.bytes = self.bytes.saturating_sub(p.bytes);
        true
    }
}

impl Assembly {
    const fn begun(began: Time, serial: u64) -> Self {
        Self { began, serial, head: None, pieces: Vec::new(), total: None, refused: None, bytes: 0 }
    }

    /// Adds a piece unless it contradicts what is there.
    fn add(&mut self, piece: Piece, more: bool, head: impl FnOnce() -> Vec<u8>) -> Result<(), Oddity> {
        if let Some(why) = self.refused {
            return Err(why);
        }
        if self.pieces.iter().any(|p| p.contradicts(&piece)) {
            return Err(Oddity::FragmentConflict);
        }
        // The end of the whole is where the last fragment says, and nothing lies beyond it.
        let end = piece.end();
        let furthest = self.pieces.iter().map(Piece::end).max().unwrap_or(0);
        match self.total {
            Some(total) if end > total || (!more && end != total) => return Err(Oddity::FragmentConflict),
            None if !more && furthest > end => return Err(Oddity::FragmentConflict),
            None if !more => self.total = Some(end),
            _ => {}
        }
        let known = |p: &Piece| p.offset <= piece.offset && p.end() >= end && p.bytes.len() >= size(p.len);
        if self.pieces.iter().any(known) {
            return Ok(());
        }
        if self.pieces.len() >= FRAGMENTS {
            return Err(Oddity::FragmentBound);
        }
        if piece.offset == 0 && self.head.is_none() {
            let head = head();
            self.bytes = self.bytes.saturating_add(head.len());
            self.head = Some(head);
        }
        self.bytes = self.bytes.saturating_add(piece.bytes.len());
        let place = self.pieces.partition_point(|p| p.offset <= piece.offset);
        self.pieces.insert(place, piece);
        Ok(())
    }

    fn refuse(&mut self, why: Oddity) {
        self.refused = Some(why);
        self.pieces = Vec::new();
        self.head = None;
        self.bytes = 0;
    }

    /// Whether no byte is missing.
    fn whole(&self) -> bool {
        let mut covered = 0_u32;
        for p in &self.pieces {
            if p.offset > covered {
                return false;
            }
            covered = covered.max(p.end());
        }
        self.head.is_some() && self.total.is_some_and(|t| covered >= t)
    }

    /// The packet, if it can be one.
    fn build(self) -> Result<Vec<u8>, Oddity> {
        let mut out = self.head.unwrap_or_default();
        let total = self.total.unwrap_or(0);
        let head = len32(out.len());
        let v4 = out.first().is_some_and(|b| b >> 4 == 4);
        // IPv4 counts the header, IPv6 counts what follows the first 40 bytes.
        let (field, len) = if v4 { (2, head.saturating_add(total)) } else { (4, head.saturating_sub(40).saturating_add(total)) };
        let len = u16::try_from(len).map_err(|_| Oddity::BadIpHeader)?;
        put(&mut out, field, len);
        if v4 {
            put(&mut out, 10, 0);
            let sum = checksum(&out);
            put(&mut out, 10, sum);
        }
        let start = out.len();
        for p in &self.pieces {
            let have = len32(out.len().saturating_sub(start));
            if p.offset > have {
                // The piece before was cut by the capture: what follows would stand at the wrong place.
                break;
            }
            out.extend_from_slice(p.bytes.get(size(have.saturating_sub(p.offset))..).unwrap_or_default());
        }
        Ok(out)
    }
}

/// The header of the whole packet, from that of its first fragment: without fragment fields; lengths come later.
fn whole_head(bytes: &[u8], net: &Net) -> Vec<u8> {
    let header = net.fragment.and_then(|f| f.header);
    // IPv6: everything before the fragment header, with its next header in its place.
    let Some((fragment_at, named_at)) = header else {
        let mut head = bytes.get(..net.at).unwrap_or_default().to_vec();
        if let Some(b) = head.get_mut(6) {
            *b &= 0x40;
        }
        if let Some(b) = head.get_mut(7) {
            *b = 0;
        }
        return head;
    };
    let mut head = bytes.get(..fragment_at).unwrap_or_default().to_vec();
    if let (Some(b), Some(next)) = (head.get_mut(named_at), bytes.get(fragment_at)) {
        *b = *next;
    }
    head
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(field) = bytes.get_mut(at..on(at, 2)) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

/// Header checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks_exact(2) {
        if let [a, b] = pair {
            sum = sum.saturating_add(u32::from(u16::from_be_bytes([*a, *b])));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff).saturating_add(sum >> 16);
    }
    !(sum as u16)
}
