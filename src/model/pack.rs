//! Values as few bytes, for what is kept of a million flows and read again once or twice.
//!
//! Numbers are written in as many bytes as they need (LEB128), moments as their distance from the last one written, packets as what
//! differs from the last packet of the same side. The bytes never leave the process; what reads beyond their end reads zeros.

use super::event::Seen;
use super::flow::{
    AfterReset, Brief, Conflict, IcmpSeen, Ladder, Moment, ResetFit, ResetSeen, Rtt, TcpRecord, TcpSide, Totals, Troubles, Unanswered, Vain,
};
use super::frame::FrameNo;
use super::packet::TcpFlags;
use super::seq::{Pos, Seq};
use super::side::{PerSide, Side};
use super::time::{Span, Time};
use std::net::IpAddr;

/// What both ends know of what was written before.
#[derive(Clone, Copy)]
struct Context {
    frame: u64,
    ts: i64,
    last: [Last; 2],
}

/// The last packet of a side.
#[derive(Clone, Copy)]
struct Last {
    seq: i64,
    ack: i64,
    seq_raw: u32,
    ack_raw: u32,
    rare: Rarely,
}

/// What rarely changes from one packet of a side to the next.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Rarely {
    ttl: u8,
    tos: u8,
    df: bool,
    options: u8,
    window: u16,
    marks: u16,
    flow_label: u32,
    /// Bytes of the IP packet beyond the payload.
    headers: u32,
    has_id: bool,
}

impl Context {
    const NEW: Self = {
        let rare = Rarely { ttl: 0, tos: 0, df: false, options: 0, window: 0, marks: 0, flow_label: 0, headers: 0, has_id: false };
        let last = Last { seq: 0, ack: 0, seq_raw: 0, ack_raw: 0, rare };
        Self { frame: 0, ts: 0, last: [last; 2] }
    };
}

/// Takes values.
pub struct Writer {
    out: Vec<u8>,
    context: Context,
}

impl Default for Writer {
    fn default() -> Self {
        Self { out: Vec::new(), context: Context::NEW }
    }
}

impl Writer {
    /// Begins anew, with the room it has.
    pub fn clear(&mut self) {
        self.out.clear();
        self.context = Context::NEW;
    }
    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }
    #[inline]
    fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.out.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.out.push(n as u8);
    }
    #[inline]
    fn signed(&mut self, n: i64) {
        self.number((n.wrapping_shl(1) ^ (n >> 63)).cast_unsigned());
    }
}

/// Gives them back.
pub struct Reader<'a> {
    from: &'a [u8],
    context: Context,
}

impl<'a> Reader<'a> {
    /// Reads what a [`Writer`] wrote.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { from: bytes, context: Context::NEW }
    }
    #[inline]
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.from.split_first() else { return 0 };
        self.from = rest;
        *first
    }
    #[inline]
    fn number(&mut self) -> u64 {
        let first = self.byte();
        if first < 0x80 {
            return u64::from(first);
        }
        let (mut n, mut shift) = (u64::from(first & 0x7f), 7u32);
        loop {
            let b = self.byte();
            n |= u64::from(b & 0x7f).wrapping_shl(shift);
            shift = shift.wrapping_add(7);
            if b < 0x80 || shift > 63 {
                return n;
            }
        }
    }
    #[inline]
    fn signed(&mut self) -> i64 {
        let n = self.number();
        (n >> 1).cast_signed() ^ (n & 1).cast_signed().wrapping_neg()
    }
}

impl Writer {
    /// Bytes as they are, their number before them.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }
}

impl<'a> Reader<'a> {
    /// What [`Writer::raw`] wrote.
    #[inline]
    pub fn raw(&mut self) -> &'a [u8] {
        let n = (self.number() as usize).min(self.from.len());
        let (bytes, rest) = self.from.split_at(n);
        self.from = rest;
        bytes
    }
}

/// What can be written as few bytes.
pub trait Pack: Sized {
    /// Writes it.
    fn pack(&self, w: &mut Writer);
    /// Reads it.
    fn unpack(r: &mut Reader<'_>) -> Self;
}

macro_rules! numbers {
    ($($t:ty),*) => { $(
        impl Pack for $t {
            #[inline]
            fn pack(&self, w: &mut Writer) {
                w.number(*self as u64);
            }
            #[inline]
            fn unpack(r: &mut Reader<'_>) -> Self {
                r.number() as Self
            }
        }
    )* };
}
numbers!(u8, u16, u32, u64, usize);

/// Writes a struct field by field.
macro_rules! pack_fields {
    ($($t:ty { $($f:ident),* $(,)? })*) => { $(
        impl $crate::model::pack::Pack for $t {
            #[inline]
            fn pack(&self, w: &mut $crate::model::pack::Writer) {
                $( self.$f.pack(w); )*
            }
            #[inline]
            fn unpack(r: &mut $crate::model::pack::Reader<'_>) -> Self {
                Self { $( $f: $crate::model::pack::Pack::unpack(r) ),* }
            }
        }
    )* };
}
pub(crate) use pack_fields;

impl Pack for bool {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        w.out.push(u8::from(*self));
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        r.byte() != 0
    }
}

impl Pack for i64 {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        w.signed(*self);
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        r.signed()
    }
}

impl<T: Pack> Pack for Option<T> {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        w.out.push(u8::from(self.is_some()));
        if let Some(t) = self {
            t.pack(w);
        }
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        (r.byte() != 0).then(|| T::unpack(r))
    }
}

impl<T: Pack> Pack for Box<T> {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        (**self).pack(w);
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        Self::new(T::unpack(r))
    }
}

impl<T: Pack> Pack for Vec<T> {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        w.number(self.len() as u64);
        self.iter().for_each(|t| t.pack(w));
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        let n = r.number();
        // Each takes a byte at least: what is left says how much room can be needed.
        let room = (n as usize).min(r.from.len().saturating_add(1));
        let mut all = Self::with_capacity(room);
        all.extend((0..n.min(room as u64)).map(|_| T::unpack(r)));
        all
    }
}

impl<A: smallvec::Array> Pack for smallvec::SmallVec<A>
where
    A::Item: Pack,
{
    #[inline]
    fn pack(&self, w: &mut Writer) {
        w.number(self.len() as u64);
        self.iter().for_each(|t| t.pack(w));
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        Vec::unpack(r).into_iter().collect()
    }
}

impl<A: Pack, B: Pack> Pack for (A, B) {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        self.0.pack(w);
        self.1.pack(w);
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        (A::unpack(r), B::unpack(r))
    }
}

impl<A: Pack, B: Pack, C: Pack> Pack for (A, B, C) {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        self.0.pack(w);
        self.1.pack(w);
        self.2.pack(w);
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        (A::unpack(r), B::unpack(r), C::unpack(r))
    }
}

impl<T: Pack, const N: usize> Pack for [T; N] {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        self.iter().for_each(|t| t.pack(w));
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        std::array::from_fn(|_| T::unpack(r))
    }
}

impl<T: Pack> Pack for PerSide<T> {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        self.client.pack(w);
        self.server.pack(w);
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        Self { client: T::unpack(r), server: T::unpack(r) }
    }
}

impl Pack for String {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        w.raw(self.as_bytes());
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        Self::from_utf8_lossy(r.raw()).into_owned()
    }
}

impl Pack for IpAddr {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        match self {
            Self::V4(ip) => {
                w.out.push(4);
                w.out.extend_from_slice(&ip.octets());
            }
            Self::V6(ip) => {
                w.out.push(6);
                w.out.extend_from_slice(&ip.octets());
            }
        }
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        if r.byte() == 4 {
            let octets: [u8; 4] = std::array::from_fn(|_| r.byte());
            return Self::from(octets);
        }
        let octets: [u8; 16] = std::array::from_fn(|_| r.byte());
        Self::from(octets)
    }
}

impl Pack for Time {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        let ns = self.nanos();
        w.signed(ns.wrapping_sub(w.context.ts));
        w.context.ts = ns;
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        r.context.ts = r.context.ts.wrapping_add(r.signed());
        Self::from_nanos(r.context.ts)
    }
}

impl Pack for FrameNo {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        w.signed(self.0.wrapping_sub(w.context.frame).cast_signed());
        w.context.frame = self.0;
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        r.context.frame = r.context.frame.wrapping_add(r.signed().cast_unsigned());
        Self(r.context.frame)
    }
}

impl Pack for Span {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        w.signed(self.nanos());
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        Self::from_nanos(r.signed())
    }
}

impl Pack for Seq {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        self.0.pack(w);
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        Self(u32::unpack(r))
    }
}

impl Pack for Pos {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        self.0.pack(w);
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        Self(i64::unpack(r))
    }
}

impl Pack for Side {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        (*self == Self::Server).pack(w);
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        if bool::unpack(r) { Self::Server } else { Self::Client }
    }
}

const FITS: [ResetFit; 6] = [ResetFit::Exact, ResetFit::InWindow, ResetFit::Stale, ResetFit::Ahead, ResetFit::OnSyn, ResetFit::Unknown];

impl Pack for ResetFit {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        FITS.iter().position(|f| f == self).unwrap_or(FITS.len()).pack(w);
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        FITS.get(usize::unpack(r)).copied().unwrap_or(Self::Unknown)
    }
}

/// Bits of the first byte of a packet.
mod head {
    pub const SERVER: u8 = 1;
    pub const RARE: u8 = 1 << 1;
    pub const SEQ_ODD: u8 = 1 << 2;
    pub const ACK_ODD: u8 = 1 << 3;
    pub const DF: u8 = 1 << 4;
    pub const ID: u8 = 1 << 5;
}

impl Pack for Brief {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        let side = usize::from(self.side == Side::Server);
        let before = w.context.last[side];
        let rare = Rarely {
            ttl: self.ttl,
            tos: self.tos,
            df: self.df,
            options: self.options,
            window: self.window,
            marks: self.marks,
            flow_label: self.flow_label,
            headers: u32::from(self.ip_len).wrapping_sub(self.len),
            has_id: self.ip_id.is_some(),
        };
        let (seq, ack) = (self.seq.0.wrapping_sub(before.seq), self.ack.0.wrapping_sub(before.ack));
        // Positions and numbers on the wire nearly always move by the same amount.
        let seq_odd = self.seq_raw.0.wrapping_sub(before.seq_raw.wrapping_add(seq as u32));
        let ack_odd = self.ack_raw.0.wrapping_sub(before.ack_raw.wrapping_add(ack as u32));
        let bit = |on: bool, bit: u8| if on { bit } else { 0 };
        w.out.push(
            bit(side == 1, head::SERVER)
                | bit(rare != before.rare, head::RARE)
                | bit(seq_odd != 0, head::SEQ_ODD)
                | bit(ack_odd != 0, head::ACK_ODD)
                | bit(self.df, head::DF)
                | bit(rare.has_id, head::ID),
        );
        self.frame.pack(w);
        self.ts.pack(w);
        self.flags.0.pack(w);
        self.len.pack(w);
        w.signed(seq);
        w.signed(ack);
        if seq_odd != 0 {
            seq_odd.pack(w);
        }
        if ack_odd != 0 {
            ack_odd.pack(w);
        }
        if let Some(id) = self.ip_id {
            id.pack(w);
        }
        if rare != before.rare {
            w.out.extend_from_slice(&[rare.ttl, rare.tos, rare.options]);
            rare.window.pack(w);
            rare.marks.pack(w);
            rare.flow_label.pack(w);
            rare.headers.pack(w);
        }
        w.context.last[side] = Last { seq: self.seq.0, ack: self.ack.0, seq_raw: self.seq_raw.0, ack_raw: self.ack_raw.0, rare };
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        let bits = r.byte();
        let has = |bit: u8| bits & bit != 0;
        let side = if has(head::SERVER) { Side::Server } else { Side::Client };
        let at = usize::from(has(head::SERVER));
        let before = r.context.last[at];
        let frame = FrameNo::unpack(r);
        let ts = Time::unpack(r);
        let flags = TcpFlags(u16::unpack(r));
        let len = u32::unpack(r);
        let (seq, ack) = (r.signed(), r.signed());
        let seq_odd = if has(head::SEQ_ODD) { u32::unpack(r) } else { 0 };
        let ack_odd = if has(head::ACK_ODD) { u32::unpack(r) } else { 0 };
        let ip_id = has(head::ID).then(|| u16::unpack(r));
        let mut rare = before.rare;
        if has(head::RARE) {
            (rare.ttl, rare.tos, rare.options) = (r.byte(), r.byte(), r.byte());
            rare.window = u16::unpack(r);
            rare.marks = u16::unpack(r);
            rare.flow_label = u32::unpack(r);
            rare.headers = u32::unpack(r);
        }
        (rare.df, rare.has_id) = (has(head::DF), has(head::ID));
        let last = Last {
            seq: before.seq.wrapping_add(seq),
            ack: before.ack.wrapping_add(ack),
            seq_raw: before.seq_raw.wrapping_add(seq as u32).wrapping_add(seq_odd),
            ack_raw: before.ack_raw.wrapping_add(ack as u32).wrapping_add(ack_odd),
            rare,
        };
        r.context.last[at] = last;
        Self {
            frame,
            ts,
            side,
            flags,
            seq: Pos(last.seq),
            ack: Pos(last.ack),
            seq_raw: Seq(last.seq_raw),
            ack_raw: Seq(last.ack_raw),
            len,
            window: rare.window,
            ttl: rare.ttl,
            tos: rare.tos,
            ip_id,
            df: rare.df,
            options: rare.options,
            ip_len: len.wrapping_add(rare.headers) as u16,
            flow_label: rare.flow_label,
            marks: rare.marks,
        }
    }
}

impl Pack for TcpSide {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        // Of a side that said nothing all is zero: one byte says so.
        let from = w.out.len();
        w.out.push(1);
        self.pack_all(w);
        if w.out[from + 1..].iter().all(|b| *b == 0) {
            w.out.truncate(from);
            w.out.push(0);
        }
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        if r.byte() == 0 { Self::default() } else { Self::unpack_all(r) }
    }
}

macro_rules! side_fields {
    ($($f:ident),*) => {
        impl TcpSide {
            #[inline]
            fn pack_all(&self, w: &mut Writer) {
                $( self.$f.pack(w); )*
            }
            #[inline]
            fn unpack_all(r: &mut Reader<'_>) -> Self {
                Self { $( $f: Pack::unpack(r) ),* }
            }
        }
    };
}
side_fields!(
    zero,
    sent,
    acked,
    unique,
    data_segments,
    fin,
    resets,
    mss,
    wscale,
    sack,
    timestamps,
    syns,
    syn,
    syn_last,
    ttl,
    rtt,
    checksums,
    unanswered,
    vain,
    last_packet,
    last_asking,
    troubles
);

pack_fields! {
    Moment { frame, ts }
    Seen { frame, ts, ttl }
    Totals { packets, bytes, payload, first, last, first_payload, last_payload, cut }
    Rtt { n, min, max, sum }
    Unanswered { packets, retransmissions, first, last }
    Vain { at, repeats, first, last }
    Troubles {
        retransmitted, retransmitted_bytes, filled, copies, capture_lost, missing, zero_windows, giant, probes, bad_checksums, aside, acks_unseen,
    }
    ResetSeen {
        packet, fit, sent, acked, peer_sent, peer_last, peer_last_payload, own_last, fin_before, peer_fin_before, peer_rst_before, payload, payload_len,
    }
    AfterReset { packets, new_data, first, first_new }
    Conflict { at, side, held, held_ttl, seen }
    TcpRecord { history, side, established, resets, after_reset, conflicts, rtt_server, rtt_client }
    IcmpSeen { at, from, about, version, kind, code, ttl }
    Ladder { head, tail, between }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn there_and_back<T: Pack>(t: &T) -> (T, usize) {
        let mut w = Writer::default();
        t.pack(&mut w);
        let mut r = Reader::new(w.bytes());
        let back = T::unpack(&mut r);
        assert!(r.from.is_empty(), "{} bytes were not read", r.from.len());
        (back, w.bytes().len())
    }

    /// Any packet at all, made from noise.
    fn packet(noise: &[u64; 4]) -> Brief {
        let [a, b, c, d] = *noise;
        Brief {
            frame: FrameNo(a),
            ts: Time::from_nanos(b as i64 | 1),
            side: if a & 1 == 0 { Side::Client } else { Side::Server },
            flags: TcpFlags(c as u16),
            seq: Pos(d as i64),
            ack: Pos(c as i64),
            seq_raw: Seq(b as u32),
            ack_raw: Seq((d >> 32) as u32),
            len: (a >> 32) as u32,
            window: (b >> 40) as u16,
            ttl: (c >> 8) as u8,
            tos: (c >> 16) as u8,
            ip_id: (d & 2 == 0).then_some((d >> 8) as u16),
            df: c & 4 == 0,
            options: (a >> 8) as u8,
            ip_len: (b >> 8) as u16,
            flow_label: (c >> 24) as u32,
            marks: (d >> 16) as u16,
        }
    }

    proptest! {
        #[test]
        fn packets_come_back_as_they_were(noise: Vec<[u64; 4]>) {
            let ladder: Vec<Brief> = noise.iter().map(packet).collect();
            prop_assert_eq!(there_and_back(&ladder).0, ladder);
        }

        #[test]
        fn numbers_come_back_as_they_were(a: u64, b: i64, c: Option<u16>, d: String) {
            prop_assert_eq!(there_and_back(&a).0, a);
            prop_assert_eq!(there_and_back(&b).0, b);
            prop_assert_eq!(there_and_back(&c).0, c);
            prop_assert_eq!(&there_and_back(&d).0, &d);
        }

        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let mut r = Reader::new(&bytes);
            let _ = TcpRecord::unpack(&mut r);
            let _ = Ladder::unpack(&mut r);
        }
    }

    #[test]
    fn the_packets_of_a_conversation_take_a_fifth_of_their_room() {
        let of = |i: u64, seq: i64| Brief {
            frame: FrameNo(1_000_000 + i * 7),
            ts: Time::from_nanos(1_700_000_000_000_000_000 + i as i64 * 11_000_000),
            side: Side::Server,
            flags: TcpFlags(0x18),
            seq: Pos(seq),
            ack: Pos(518),
            seq_raw: Seq(4_000_000_000u32.wrapping_add(seq as u32)),
            ack_raw: Seq(3_000_000_518),
            len: 1_400,
            window: 501,
            ip_id: Some(i as u16 + 3_000),
            ip_len: 1_452,
            ..packet(&[0, 0, 4, 0])
        };
        let ladder: Vec<Brief> = (0..32).map(|i| of(i, 1 + i as i64 * 1_400)).collect();
        let (back, bytes) = there_and_back(&ladder);
        assert_eq!(back, ladder);
        assert!(bytes * 4 < ladder.len() * size_of::<Brief>(), "{bytes}");
    }

    #[test]
    fn a_side_that_said_nothing_is_one_byte() {
        assert_eq!(there_and_back(&TcpSide::default()).1, 1);
        let silent = TcpSide { syns: 1, syn: Some(packet(&[1, 2, 3, 4])), ..TcpSide::default() };
        let (back, _) = there_and_back(&silent);
        assert_eq!((back.syns, back.syn), (silent.syns, silent.syn));
    }
}
