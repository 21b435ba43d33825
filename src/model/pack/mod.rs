//! Values as few bytes, for what is kept of a million flows and read again once or twice.
//!
//! Numbers are written in as many bytes as they need (LEB128), moments as their distance from the last one written, packets as what
//! differs from the last packet of the same side (`packets`). Once the packets of a flow are written, a moment or a packet that is one of them is its
//! place among them. The bytes never leave the process; what reads beyond their end reads zeros.

mod packets;

use super::flow::Brief;
use super::frame::FrameNo;
use super::seq::{Pos, Seq};
use super::side::{PerSide, Side};
use super::time::{Span, Time};
use packets::Last;
use std::net::IpAddr;

/// What both ends know of what was written before.
#[derive(Clone, Copy)]
struct Context {
    frame: u64,
    ts: i64,
    last: [Last; 2],
}

impl Context {
    const NEW: Self = Self { frame: 0, ts: 0, last: [Last::NONE; 2] };
}

/// Takes values.
pub struct Writer {
    out: Vec<u8>,
    context: Context,
    /// Packets that what follows may refer to.
    known: Vec<Brief>,
}

impl Default for Writer {
    fn default() -> Self {
        Self { out: Vec::new(), context: Context::NEW, known: Vec::new() }
    }
}

impl Writer {
    /// Begins anew, with the room it has.
    pub fn clear(&mut self) {
        self.out.clear();
        self.known.clear();
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
    /// Packets that what follows may refer to, in the two parts they lie in.
    known: [Vec<Brief>; 2],
}

impl<'a> Reader<'a> {
    /// Reads what a [`Writer`] wrote.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { from: bytes, context: Context::NEW, known: [Vec::new(), Vec::new()] }
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
    /// Writes one that may not be there.
    #[inline]
    fn pack_option(this: Option<&Self>, w: &mut Writer) {
        w.out.push(u8::from(this.is_some()));
        if let Some(t) = this {
            t.pack(w);
        }
    }
    /// Reads it.
    #[inline]
    fn unpack_option(r: &mut Reader<'_>) -> Option<Self> {
        (r.byte() != 0).then(|| Self::unpack(r))
    }
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
        T::pack_option(self.as_ref(), w);
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        T::unpack_option(r)
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

/// Writes what holds one value as that value.
macro_rules! pack_inner {
    ($($t:ident($inner:ty)),*) => { $(
        impl Pack for $t {
            #[inline]
            fn pack(&self, w: &mut Writer) {
                self.0.pack(w);
            }
            #[inline]
            fn unpack(r: &mut Reader<'_>) -> Self {
                Self(<$inner>::unpack(r))
            }
        }
    )* };
}
pack_inner!(Seq(u32), Pos(i64));

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is read of what was written, and how many bytes that took.
    pub(super) fn there_and_back<T: Pack>(t: &T) -> (T, usize) {
        let mut w = Writer::default();
        t.pack(&mut w);
        let mut r = Reader::new(w.bytes());
        let back = T::unpack(&mut r);
        assert!(r.from.is_empty(), "{} bytes were not read", r.from.len());
        (back, w.bytes().len())
    }

    proptest! {
        #[test]
        fn numbers_come_back_as_they_were(a: u64, b: i64, c: Option<u16>, d: String) {
            prop_assert_eq!(there_and_back(&a).0, a);
            prop_assert_eq!(there_and_back(&b).0, b);
            prop_assert_eq!(there_and_back(&c).0, c);
            prop_assert_eq!(&there_and_back(&d).0, &d);
        }
    }
}
