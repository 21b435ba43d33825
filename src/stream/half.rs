//! One direction of a TCP connection: what has been seen, what is missing, what contradicts.

use crate::model::event::Seen;
use crate::model::flow::Moment;
use crate::model::pack::{Pack, Reader, Writer, pack_fields};
use crate::model::packet::Segment;
use crate::model::seq::Pos;
use crate::model::time::{Span, Time};
use smallvec::SmallVec;

/// Most separate ranges beyond a hole that are remembered.
pub(super) const RANGES_MAX: usize = 64;
/// Most bytes kept waiting for a hole to be filled.
pub(super) const WAITING_MAX: usize = 64 * 1024;
/// First bytes of the stream kept to notice that another packet brings other ones.
pub(super) const HELD_MAX: usize = 1_024;
/// Segments set aside that are kept in case they prove to be the real ones.
const ASIDE_MAX: usize = 4;

/// A stretch of stream positions, `from..to`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    pub from: Pos,
    pub to: Pos,
}

/// Bytes that wait for a hole before them to be filled.
#[derive(Clone)]
pub(super) struct Piece {
    pub at: Pos,
    pub seen: Seen,
    pub bytes: Vec<u8>,
}

/// What identifies an exact copy of a packet. In 32 bytes: every connection keeps eight of them.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Print {
    ts: Time,
    seq: u32,
    ack: u32,
    len: u32,
    tsval: u32,
    flags: u16,
    window: u16,
    ip_id: u16,
    /// Whether there is an IP identification (1) and a timestamp (2).
    has: u8,
}

impl Print {
    /// The fingerprint of a packet with this IP identification and TSval.
    pub fn of(seg: &Segment<'_>, ts: Time, ip_id: Option<u16>, tsval: Option<u32>) -> Self {
        Self {
            ts,
            seq: seg.seq.0,
            ack: seg.ack.0,
            len: seg.len,
            tsval: tsval.unwrap_or(0),
            flags: seg.flags.0,
            window: seg.window,
            ip_id: ip_id.unwrap_or(0),
            has: u8::from(ip_id.is_some()) | u8::from(tsval.is_some()) << 1,
        }
    }

    /// Both packets are alike in all but time, and came this close to each other.
    pub fn is_again(&self, other: &Self, within: Span) -> bool {
        Self { ts: self.ts, ..*other } == *self && self.ts.since(other.ts).abs() <= within
    }
}

impl Print {
    /// Writes it as its distance from the one before it.
    fn pack_after(&self, before: &Self, w: &mut Writer) {
        let new = self != before;
        new.pack(w);
        if !new {
            return;
        }
        let apart = |a: u32, b: u32| i64::from(a.wrapping_sub(b).cast_signed());
        self.ts.pack(w);
        apart(self.seq, before.seq).pack(w);
        apart(self.ack, before.ack).pack(w);
        self.len.pack(w);
        apart(self.tsval, before.tsval).pack(w);
        self.flags.pack(w);
        (i64::from(self.window).wrapping_sub(i64::from(before.window))).pack(w);
        (i64::from(self.ip_id).wrapping_sub(i64::from(before.ip_id))).pack(w);
        self.has.pack(w);
    }

    fn unpack_after(before: &Self, r: &mut Reader<'_>) -> Self {
        if !bool::unpack(r) {
            return *before;
        }
        let further = |n: u32, r: &mut Reader<'_>| n.wrapping_add(i64::unpack(r) as u32);
        Self {
            ts: Time::unpack(r),
            seq: further(before.seq, r),
            ack: further(before.ack, r),
            len: u32::unpack(r),
            tsval: further(before.tsval, r),
            flags: u16::unpack(r),
            window: further(u32::from(before.window), r) as u16,
            ip_id: further(u32::from(before.ip_id), r) as u16,
            has: u8::unpack(r),
        }
    }
}

impl Pack for Half {
    fn pack(&self, w: &mut Writer) {
        self.next.pack(w);
        self.ranges.pack(w);
        self.kept.pack(w);
        let mut before = Print::default();
        for print in &self.prints {
            print.pack_after(&before, w);
            before = *print;
        }
        self.print_at.pack(w);
        self.tsval.pack(w);
        self.timing.pack(w);
        self.window.pack(w);
        self.hole_acks.pack(w);
        self.verified.pack(w);
        self.unsure.pack(w);
    }
    fn unpack(r: &mut Reader<'_>) -> Self {
        let (next, ranges, kept) = (Pack::unpack(r), Pack::unpack(r), Pack::unpack(r));
        let mut before = Print::default();
        let prints = std::array::from_fn(|_| {
            before = Print::unpack_after(&before, r);
            before
        });
        Self {
            next,
            ranges,
            kept,
            prints,
            print_at: Pack::unpack(r),
            tsval: Pack::unpack(r),
            timing: Pack::unpack(r),
            window: Pack::unpack(r),
            hole_acks: Pack::unpack(r),
            verified: Pack::unpack(r),
            unsure: Pack::unpack(r),
        }
    }
}

pack_fields! {
    Range { from, to }
}

impl Pack for Piece {
    fn pack(&self, w: &mut Writer) {
        self.at.pack(w);
        self.seen.pack(w);
        w.raw(&self.bytes);
    }
    fn unpack(r: &mut Reader<'_>) -> Self {
        Self { at: Pack::unpack(r), seen: Pack::unpack(r), bytes: r.raw().to_vec() }
    }
}

impl Pack for Kept {
    fn pack(&self, w: &mut Writer) {
        self.waiting.pack(w);
        self.waiting_bytes.pack(w);
        w.raw(&self.held);
        self.held_by.pack(w);
        self.aside.pack(w);
    }
    fn unpack(r: &mut Reader<'_>) -> Self {
        Self {
            waiting: Pack::unpack(r),
            waiting_bytes: Pack::unpack(r),
            held: r.raw().to_vec(),
            held_by: Pack::unpack(r),
            aside: Pack::unpack(r),
        }
    }
}

/// How a segment relates to what was seen before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fit {
    /// All of its bytes are new and follow on.
    Next,
    /// Some of its bytes are new and begin at or before the next position.
    Extends,
    /// New, but after a hole.
    AfterHole,
    /// New bytes inside a hole.
    FillsHole,
    /// Nothing new.
    Old,
}

/// Bytes of one direction.
#[derive(Clone, Default)]
struct Kept {
    /// Bytes of (some of) the ranges beyond a hole.
    waiting: Vec<Piece>,
    waiting_bytes: usize,
    /// First bytes of the stream as delivered, from [`Pos::FIRST`].
    held: Vec<u8>,
    /// Which packets brought the held bytes: (first position, who).
    held_by: SmallVec<[(Pos, Moment, u8); 1]>,
    /// Segments set aside.
    aside: Vec<Piece>,
}

/// One direction.
#[derive(Clone, Default)]
pub(super) struct Half {
    /// All positions before this were seen or given up.
    pub next: Pos,
    /// Seen ranges beyond `next`, ascending, disjoint, not touching.
    pub ranges: SmallVec<[Range; 1]>,
    /// Bytes kept, if any were: many connections never carry one.
    kept: Option<Box<Kept>>,
    /// Fingerprints of the last packets.
    pub prints: [Print; 4],
    pub print_at: u8,
    /// Last TSval.
    pub tsval: Option<u32>,
    /// A data segment whose acknowledgement will be a round-trip sample.
    pub timing: Option<(Pos, Time)>,
    /// Last announced window in bytes, scaled.
    pub window: u64,
    /// Up to here there may be ranges that were seen but not remembered, for they were too many, or that were sent before the capture began.
    pub unsure: Pos,
    /// Packets of the peer that acknowledged across the first hole since it was noticed.
    pub hole_acks: u8,
    /// Payload packets so far whose checksum was verified.
    pub verified: u8,
}

impl Half {
    /// A stream of which nothing was seen: the next position is that of the first payload byte.
    pub fn new() -> Self {
        Self { next: Pos::FIRST, ..Self::default() }
    }

    /// Sorts `from..to` into what was seen. Returns how it fits; `next` moves past everything contiguous.
    pub fn take(&mut self, from: Pos, to: Pos) -> Fit {
        if to <= self.next {
            return Fit::Old;
        }
        if from <= self.next {
            let fit = if from == self.next { Fit::Next } else { Fit::Extends };
            let filled = !self.ranges.is_empty();
            self.next = to;
            self.absorb();
            return if filled { Fit::FillsHole } else { fit };
        }
        if self.ranges.iter().any(|r| r.from <= from && to <= r.to) {
            return Fit::Old;
        }
        let last_end = self.ranges.last().map(|r| r.to);
        let fit = if last_end.is_some_and(|end| from < end) { Fit::FillsHole } else { Fit::AfterHole };
        self.insert(Range { from, to });
        fit
    }

    /// Gives up everything missing before `to`.
    pub fn skip_to(&mut self, to: Pos) {
        self.next = self.next.max(to);
        self.absorb();
        self.hole_acks = 0;
    }

    /// First hole: from `next` to the first range, if there is one.
    pub fn hole(&self) -> Option<Range> {
        self.ranges.first().map(|r| Range { from: self.next, to: r.from })
    }

    fn absorb(&mut self) {
        while let Some(r) = self.ranges.first() {
            if r.from > self.next {
                break;
            }
            self.next = self.next.max(r.to);
            self.ranges.remove(0);
        }
        if self.ranges.is_empty() {
            self.hole_acks = 0;
        }
    }

    fn insert(&mut self, new: Range) {
        // Nearly always the new range continues or follows the last one.
        if let Some(last) = self.ranges.last_mut()
            && new.from >= last.from
        {
            if new.from <= last.to {
                last.to = last.to.max(new.to);
                return;
            }
            if self.ranges.len() < RANGES_MAX {
                self.ranges.push(new);
            } else {
                self.unsure = self.unsure.max(new.to);
            }
            return;
        }
        let mut merged = new;
        self.ranges.retain(|r| {
            let apart = r.to < merged.from || r.from > merged.to;
            if !apart {
                merged = Range { from: merged.from.min(r.from), to: merged.to.max(r.to) };
            }
            apart
        });
        if self.ranges.len() < RANGES_MAX {
            let at = self.ranges.iter().position(|r| r.from > merged.from).unwrap_or(self.ranges.len());
            self.ranges.insert(at, merged);
        } else {
            self.unsure = self.unsure.max(merged.to);
        }
    }

    /// Keeps bytes that stand after a hole, if the bound allows.
    pub fn keep(&mut self, at: Pos, seen: Seen, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let kept = self.kept.get_or_insert_default();
        if kept.waiting_bytes.saturating_add(bytes.len()) > WAITING_MAX || kept.waiting.len() >= RANGES_MAX {
            return;
        }
        kept.waiting_bytes = kept.waiting_bytes.saturating_add(bytes.len());
        let i = kept.waiting.iter().position(|p| p.at > at).unwrap_or(kept.waiting.len());
        kept.waiting.insert(i, Piece { at, seen, bytes: bytes.to_vec() });
    }

    /// The waiting piece that can be delivered now that everything before `upto` was, with useless ones dropped.
    pub fn ready(&mut self, upto: Pos) -> Option<Piece> {
        let kept = self.kept.as_mut()?;
        while let Some(p) = kept.waiting.first() {
            if p.at > upto {
                return None;
            }
            let p = kept.waiting.remove(0);
            kept.waiting_bytes = kept.waiting_bytes.saturating_sub(p.bytes.len());
            if p.at.plus(p.bytes.len() as i64) > upto {
                return Some(p);
            }
        }
        None
    }

    /// Position where the first waiting piece begins.
    pub fn waits_at(&self) -> Option<Pos> {
        self.kept.as_ref()?.waiting.first().map(|p| p.at)
    }

    /// Bytes kept until others come: behind a hole, or set aside.
    pub fn buffered(&self) -> usize {
        let aside = |k: &Kept| k.aside.iter().map(|p| p.bytes.len()).sum::<usize>();
        self.kept.as_ref().map_or(0, |k| k.waiting_bytes.saturating_add(aside(k)))
    }

    /// Nothing more will be delivered: the bytes kept for it can go.
    pub fn forget_bytes(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.waiting = Vec::new();
            kept.waiting_bytes = 0;
            kept.aside = Vec::new();
        }
    }

    /// Nothing is expected any more: what only the next packets could be compared with goes.
    pub fn rest(&mut self) {
        self.kept = None;
        self.prints = Default::default();
        self.timing = None;
    }

    /// Remembers delivered bytes at the beginning of the stream.
    pub fn hold(&mut self, at: Pos, bytes: &[u8], by: Seen) {
        let Ok(offset) = usize::try_from(at.since(Pos::FIRST)) else { return };
        if offset >= HELD_MAX || offset != self.kept.as_ref().map_or(0, |k| k.held.len()) || bytes.is_empty() {
            return;
        }
        let kept = self.kept.get_or_insert_default();
        let room = HELD_MAX.saturating_sub(offset);
        kept.held.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        kept.held_by.push((at, Moment { frame: by.frame, ts: by.ts }, by.ttl));
    }

    /// Whether any byte at the beginning of the stream is held.
    pub fn holds(&self) -> bool {
        self.kept.as_ref().is_some_and(|k| !k.held.is_empty())
    }

    /// First position where `bytes` at `at` differ from the held ones, with the packet that brought those.
    pub fn contradiction(&self, at: Pos, bytes: &[u8]) -> Option<(Pos, Moment, u8)> {
        let kept = self.kept.as_ref()?;
        let offset = at.since(Pos::FIRST);
        let (skip, start) = if offset < 0 { (usize::try_from(offset.unsigned_abs()).ok()?, 0) } else { (0, usize::try_from(offset).ok()?) };
        let theirs = bytes.get(skip..)?;
        let ours = kept.held.get(start..)?;
        let differs = ours.iter().zip(theirs).position(|(a, b)| a != b)?;
        let pos = Pos::FIRST.plus(i64::try_from(start.saturating_add(differs)).ok()?);
        let by = kept.held_by.iter().rev().find(|(from, ..)| *from <= pos).or(kept.held_by.first())?;
        Some((pos, by.1, by.2))
    }

    /// Sets a segment aside.
    pub fn put_aside(&mut self, at: Pos, seen: Seen, bytes: &[u8]) {
        let kept = self.kept.get_or_insert_default();
        if kept.aside.len() < ASIDE_MAX && bytes.len() <= 4_096 {
            kept.aside.push(Piece { at, seen, bytes: bytes.to_vec() });
        }
    }

    /// A segment set aside that the peer acknowledged although no other bytes ever stood there: it was the real one.
    pub fn vindicated(&mut self, acked: Pos) -> Option<Piece> {
        let next = self.next;
        let aside = &mut self.kept.as_mut()?.aside;
        let i = aside.iter().position(|p| {
            let end = p.at.plus(p.bytes.len() as i64);
            p.at <= next && end > next && end <= acked
        })?;
        Some(aside.remove(i))
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fits(segments: &[(i64, i64)]) -> (Vec<Fit>, Pos) {
        let mut h = Half::new();
        let f = segments.iter().map(|&(a, b)| h.take(Pos(a), Pos(b))).collect();
        (f, h.next)
    }

    #[test]
    fn a_hole_is_noticed_and_filled() {
        let (f, next) = fits(&[(1, 101), (201, 301), (101, 201)]);
        assert_eq!(f, [Fit::Next, Fit::AfterHole, Fit::FillsHole]);
        assert_eq!(next, Pos(301));
    }

    #[test]
    fn old_bytes_are_old_wherever_they_stand() {
        let (f, _) = fits(&[(1, 101), (1, 101), (201, 301), (201, 301), (51, 101)]);
        assert_eq!(f, [Fit::Next, Fit::Old, Fit::AfterHole, Fit::Old, Fit::Old]);
    }

    proptest! {
        #[test]
        fn any_order_and_duplication_ends_at_the_same_position(order in proptest::collection::vec(0usize..20, 0..80)) {
            let mut h = Half::new();
            for &i in order.iter().chain((0..20).collect::<Vec<_>>().iter()) {
                h.take(Pos(1 + i as i64 * 10), Pos(11 + i as i64 * 10));
                prop_assert!(h.ranges.windows(2).all(|w| w[0].to < w[1].from));
                prop_assert!(h.ranges.iter().all(|r| r.from > h.next));
            }
            prop_assert_eq!(h.next, Pos(201));
            prop_assert!(h.ranges.is_empty());
        }
    }
}
