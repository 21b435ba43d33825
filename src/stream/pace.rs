//! Keeps the pace of one direction while its packets come in: bins, drops, clean round trips, what held the sender back.
//!
//! Nothing is kept for a direction that carried little ([`Pacer::wanted`]). For one that did, everything is of fixed size: about 5 kB.
//! A packet costs a few additions; only a retransmission looks through the packets in flight ([`FLIGHT`] at most).

use super::told::Told;
use crate::model::pace::{BINS, Pace};
use crate::model::seq::Pos;
use crate::model::time::{Span, Time};

/// Packets in flight that are remembered; when they are more, neighbours share an entry.
const FLIGHT: usize = 40;
/// Packets sent again that are remembered.
const RESENT: usize = 12;
/// A hole filled within this time was reordering, not loss.
const REORDER: Span = Span::from_millis(3);
/// No retransmission timer is shorter (RFC 6298 asks for 1 s, stacks use 200 ms; less what the path may take away).
const TIMER: Span = Span::from_millis(180);
/// A larger gap in IP identifications is not that of a sender which numbers each connection's packets by themselves.
const GAP: u16 = 12;
/// A pause of the sender shorter than this is no pause.
const PAUSE: Span = Span::from_millis(5);
/// Packets and bytes from which a direction is worth the memory.
const SOME_PACKETS: u32 = 12;
const SOME_BYTES: u64 = 16 * 1024;

/// A packet (or several neighbours) on the way.
#[derive(Clone, Copy, Default)]
struct Sent {
    end: Pos,
    at: Time,
    /// It was sent more than once, so its acknowledgement says nothing of the round trip.
    again: bool,
    /// Nothing else was on the way when it was sent.
    lone: bool,
    /// Packets in it.
    packets: u8,
}

/// How a data packet relates to those before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// It follows on, or stands behind a hole already known.
    New,
    /// It stands behind a new hole of so many bytes.
    BehindHole(u64),
    /// It fills a hole.
    Fills,
    /// Its bytes were seen before.
    Again,
}

/// A data packet as the pace needs it.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// When.
    pub ts: Time,
    /// Payload on the wire.
    pub len: u32,
    /// IP length on the wire.
    pub ip_len: u32,
    /// First position.
    pub from: Pos,
    /// Position after the last byte.
    pub to: Pos,
    /// How it relates to those before it.
    pub place: Place,
    /// What the peer has acknowledged.
    pub acked: Pos,
    /// The peer's announced window in bytes.
    pub window: u64,
    /// Largest payload of one packet on the wire, if the handshake told.
    pub mss: Option<u32>,
    /// The receiver tells only up to where it has everything (no selective acknowledgements): a sender repeats what may have arrived.
    pub blind: bool,
    /// Echoed timestamp.
    pub tsecr: Option<u32>,
}

/// The pace of one direction while it is being kept.
#[derive(Clone)]
pub struct Pacer {
    /// On its own, so that it can be handed over as it is.
    pace: Box<Pace>,
    flight: [Sent; FLIGHT],
    /// First entry in use, and how many.
    head: usize,
    used: usize,
    /// Packets that share an entry.
    stride: u8,
    /// Packets sent again, with when they last were: what is dropped again was dropped then.
    resent: [(Pos, Time); RESENT],
    /// Where in it the next one goes.
    next_resent: usize,
    /// Highest position sent.
    top: Pos,
    /// Acknowledgements up to here were delayed by a loss.
    ignore: Pos,
    /// Up to here packets passed while others before them were missing.
    behind_hole: Pos,
    /// Acknowledgements up to here are accounted for.
    told: Option<Pos>,
    /// The last hole: when it was noticed, when it arose, and the packets missing.
    hole: Option<(Time, Time, u32)>,
    held_since: Option<Time>,
    shut_since: Option<Time>,
    /// When everything sent had been acknowledged.
    drained: Option<Time>,
    /// A timestamp of the receiver that has not been echoed yet: when it passed.
    asked: Option<(u32, Time)>,
    header: u32,
    ids: Ids,
    /// What the receiver of datagrams tells of those that did not arrive.
    told_holes: Told,
    /// The bin of the last moment asked for, and how long it lasts: most packets fall into the same.
    current: (Time, Time, usize),
}

/// IP identifications of the sender's packets: most stacks of today number those of each connection one by one.
#[derive(Clone, Default)]
struct Ids {
    last: Option<(u16, Time)>,
    /// Steps by one, and others.
    ones: u32,
    odd: u32,
}

impl Ids {
    /// Packets that must have been dropped between the last one and this, after a pause; 0 if the sender does not number that way.
    fn missing(&mut self, id: Option<u16>, ts: Time) -> u32 {
        let Some(id) = id else { return 0 };
        let Some((last, at)) = self.last.replace((id, ts)) else { return 0 };
        let step = id.wrapping_sub(last);
        let paused = ts.since(at) >= TIMER;
        match step {
            1 => self.ones = self.ones.saturating_add(1),
            2..=GAP if paused => {}
            _ => self.odd = self.odd.saturating_add(1),
        }
        let regular = self.ones >= 8 && self.odd.saturating_mul(4) < self.ones;
        if paused && regular && (2..=GAP).contains(&step) { u32::from(step).saturating_sub(1) } else { 0 }
    }
}

impl Pacer {
    /// Whether a direction that carried this much is worth keeping the pace of.
    pub fn wanted(packets: u32, bytes: u64) -> bool {
        packets >= SOME_PACKETS || bytes >= SOME_BYTES
    }

    /// Begins to keep the pace at `start`, after `before` IP bytes since `began`.
    pub fn new(began: Time, before: u64, start: Time) -> Box<Self> {
        Box::new(Self {
            pace: Box::new(Pace::new(began, before, start)),
            flight: [Sent::default(); FLIGHT],
            head: 0,
            used: 0,
            stride: 1,
            resent: [(Pos::default(), start); RESENT],
            next_resent: 0,
            top: Pos::default(),
            ignore: Pos::default(),
            behind_hole: Pos::default(),
            told: None,
            hole: None,
            held_since: None,
            shut_since: None,
            drained: None,
            asked: None,
            header: 40,
            ids: Ids::default(),
            told_holes: Told::default(),
            current: (start, start, 0),
        })
    }

    /// What was kept.
    pub fn close(mut self) -> Box<Pace> {
        if self.pace.lost_told > 0 && !self.told_holes.plausible() {
            self.pace.lost_told = 0;
            self.pace.drops.fill(0);
        }
        self.pace.close();
        self.pace
    }

    /// A packet with payload.
    pub fn data(&mut self, step: &Step) {
        let Step { ts, len, from, to, .. } = *step;
        let (packets, bytes) = self.on_wire(step);
        self.told.get_or_insert(step.acked);
        // What is missing was sent after the packet before: where nothing more came for a while, that was long ago.
        let before = if self.pace.packets > 0 { self.pace.last.min(ts) } else { ts };
        self.arrive(ts, packets, bytes);
        if let (Some((asked, at)), Some(echo)) = (self.asked, step.tsecr)
            && (echo.wrapping_sub(asked) as i32) >= 0
        {
            self.asked = None;
            self.pace.echo.add(micros(ts.since(at)), 1);
        }
        if step.windows_known() {
            self.pace.window_sum = self.pace.window_sum.saturating_add(step.window);
            self.pace.windows = self.pace.windows.saturating_add(1);
        }
        match step.place {
            // What passed here behind a hole may well have arrived (RFC 6582): without selective acknowledgements it is repeated all the same.
            Place::Again if to <= step.acked || (step.blind && (self.hole.is_some() || to <= self.behind_hole)) => {
                self.pace.again = self.pace.again.saturating_add(1);
            }
            Place::Again => self.sent_again(step, packets, bytes),
            Place::Fills => {
                self.ignore = self.ignore.max(self.top);
                self.behind_hole = self.behind_hole.max(self.top);
                if let Some((noticed, arose, missing)) = self.hole.take()
                    && ts.since(noticed) < REORDER
                {
                    self.pace.lost_before = self.pace.lost_before.saturating_sub(missing);
                    let bin = self.bin(arose);
                    if let Some(d) = self.pace.drops.get_mut(bin) {
                        *d = d.saturating_sub(u8::try_from(missing).unwrap_or(u8::MAX));
                    }
                }
            }
            Place::New | Place::BehindHole(_) => {
                // What was acknowledged before is not missing: it was sent before the capture began, or the capture missed it.
                let unknown = u64::try_from(step.from.since(step.acked)).unwrap_or(0);
                if let Place::BehindHole(bytes) = step.place
                    && unknown > 0
                {
                    let bytes = bytes.min(unknown);
                    let size = u64::from(step.mss.unwrap_or(len)).max(1);
                    let missing = u32::try_from(bytes.div_ceil(size)).unwrap_or(u32::MAX);
                    self.pace.lost_before = self.pace.lost_before.saturating_add(missing);
                    self.dropped(before, 0, missing);
                    self.hole = Some((ts, before, missing));
                    self.behind_hole = self.behind_hole.max(to);
                    self.ignore = self.ignore.max(to);
                }
                if let Some(at) = self.drained.take() {
                    let pause = ts.since(at);
                    if pause > PAUSE {
                        self.pace.idle = sum(self.pace.idle, pause);
                    }
                }
                let lone = self.used == 0 && from <= step.acked;
                self.pace.lone = self.pace.lone.saturating_add(u32::from(lone));
                self.remember(Sent { end: to, at: ts, again: false, lone, packets: 1 });
            }
        }
        self.top = self.top.max(to);
        self.hold(step);
    }

    /// Any packet of the sender, before what it carries is told: only a gap that leaves no hole tells something new.
    pub fn identified(&mut self, ts: Time, id: Option<u16>, whole: bool) {
        let missing = self.ids.missing(id, ts);
        if missing > 0 && whole {
            self.pace.lost_before = self.pace.lost_before.saturating_add(missing);
            self.pace.lost_hidden = self.pace.lost_hidden.saturating_add(missing);
            self.dropped(self.pace.last.min(ts), 0, missing);
        }
    }

    /// A datagram: no positions, no acknowledgements.
    pub fn datagram(&mut self, ts: Time, ip_len: u32) {
        self.pace.largest = self.pace.largest.max(ip_len);
        self.arrive(ts, 1, ip_len);
    }

    /// A datagram of the receiver, with `len` bytes of payload that begin with `first`.
    pub fn reply(&mut self, ts: Time, first: u8, len: usize) {
        if let Some((at, holes)) = self.told_holes.reply(ts, first, len) {
            self.pace.lost_told = self.pace.lost_told.saturating_add(holes);
            self.dropped(at, 0, holes);
        }
    }

    /// The peer acknowledged everything before `ack` and announces `window`; `tsval` is its timestamp.
    pub fn acked(&mut self, ts: Time, ack: Pos, window: u64, tsval: Option<u32>) {
        if let Some(tsval) = tsval
            && self.asked.is_none()
        {
            self.asked = Some((tsval, ts));
        }
        if let Some(since) = self.held_since.take() {
            self.pace.window_held = sum(self.pace.window_held, ts.since(since));
        }
        let shut = window < u64::from(self.pace.largest).saturating_mul(2);
        match (shut, self.shut_since) {
            (true, None) => self.shut_since = Some(ts),
            (false, Some(since)) => {
                self.pace.window_shut = sum(self.pace.window_shut, ts.since(since));
                self.shut_since = None;
            }
            _ => {}
        }
        let new = self.told.map_or(0, |told| ack.since(told));
        self.count_acked(ts, ack);
        let mut last = None;
        while let Some(first) = self.first() {
            if first.end > ack {
                break;
            }
            last = Some(first);
            self.head = self.head.wrapping_add(1) % FLIGHT;
            self.used = self.used.saturating_sub(1);
        }
        // One packet alone may wait for the receiver's delayed acknowledgement (RFC 9293 §3.8.6.3). Neighbours may share an entry: bytes tell.
        let several = new > i64::from(self.pace.largest.saturating_sub(self.header));
        if let Some(s) = last
            && !s.again
            && s.end == ack
            && ack > self.ignore
        {
            let to = if several { &mut self.pace.rtt } else { &mut self.pace.rtt_alone };
            to.add(micros(ts.since(s.at)), 1);
        }
        // Fewer are on the way than once: each may have an entry again.
        if self.used <= FLIGHT / 4 {
            self.stride = (self.stride / 2).max(1);
        }
        if self.used == 0 && last.is_some() {
            self.drained = Some(ts);
        }
    }

    /// The bytes an acknowledgement covers for the first time passed everything on the way, headers included.
    fn count_acked(&mut self, ts: Time, ack: Pos) {
        let Some(told) = self.told else { return };
        let new = u32::try_from(ack.since(told)).unwrap_or(0);
        if new == 0 {
            return;
        }
        self.told = Some(ack);
        let one = self.pace.largest.saturating_sub(self.header).max(1);
        let bytes = new.saturating_add(self.header.saturating_mul(new.div_ceil(one)));
        let bin = self.make_room(ts);
        if let Some(b) = self.pace.acked.get_mut(bin) {
            *b = b.saturating_add(bytes);
        }
    }

    /// Packets on the wire, and their IP bytes, of what may be one giant segment of an offloading host.
    fn on_wire(&mut self, step: &Step) -> (u32, u32) {
        let header = step.ip_len.saturating_sub(step.len);
        if (20..=120).contains(&header) {
            self.header = header;
        }
        let one = step.mss.unwrap_or(1_460).max(256);
        let packets = if step.len > one { step.len.div_ceil(one) } else { 1 };
        let bytes = step.len.saturating_add(self.header.saturating_mul(packets));
        self.pace.largest = self.pace.largest.max(step.len.min(one).saturating_add(self.header));
        (packets, bytes)
    }

    fn arrive(&mut self, ts: Time, packets: u32, bytes: u32) {
        let gap = u64::try_from(ts.since(self.pace.last).nanos()).unwrap_or(0).max(1_000);
        if self.pace.packets > 0 {
            let rate = u64::from(bytes).saturating_mul(8_000_000_000).checked_div(gap).unwrap_or(0);
            self.pace.follow.add(rate, bytes);
        }
        self.pace.packets = self.pace.packets.saturating_add(u64::from(packets));
        let bin = self.make_room(ts);
        if let Some(b) = self.pace.passed.get_mut(bin) {
            *b = b.saturating_add(bytes);
        }
        self.pace.last = self.pace.last.max(ts);
    }

    /// The sender gave up waiting: the packet it sends again was dropped, when it was last sent.
    fn sent_again(&mut self, step: &Step, packets: u32, bytes: u32) {
        self.pace.lost_beyond = self.pace.lost_beyond.saturating_add(packets);
        self.ignore = self.ignore.max(self.top);
        let mut at = step.ts;
        for i in 0..self.used {
            let Some(s) = self.flight.get_mut(self.head.wrapping_add(i) % FLIGHT) else { break };
            if s.end >= step.to {
                at = s.at;
                s.again = true;
                if s.lone {
                    self.pace.lone_lost = self.pace.lone_lost.saturating_add(1);
                }
                // Only if the entry ends with this packet: neighbours that share one are several on the way.
                s.lone = i == 0 && s.end == step.to;
                self.pace.lone = self.pace.lone.saturating_add(u32::from(s.lone));
                if s.end == step.to {
                    s.at = step.ts;
                }
                break;
            }
        }
        match self.resent.iter_mut().find(|r| r.0 == step.to) {
            Some(r) => at = std::mem::replace(&mut r.1, step.ts),
            None => {
                if let Some(r) = self.resent.get_mut(self.next_resent) {
                    *r = (step.to, step.ts);
                }
                self.next_resent = self.next_resent.wrapping_add(1) % RESENT;
            }
        }
        self.dropped(at, bytes, packets);
    }

    fn dropped(&mut self, at: Time, bytes: u32, packets: u32) {
        let bin = self.bin(at);
        if let Some(b) = self.pace.passed.get_mut(bin) {
            *b = b.saturating_sub(bytes);
        }
        if let Some(d) = self.pace.drops.get_mut(bin) {
            *d = d.saturating_add(u8::try_from(packets).unwrap_or(u8::MAX));
        }
    }

    fn hold(&mut self, step: &Step) {
        if !step.windows_known() {
            return;
        }
        let flight = u64::try_from(self.top.since(step.acked)).unwrap_or(0);
        let full = step.window.saturating_sub(u64::from(self.pace.largest));
        if flight >= full && flight > 0 {
            self.held_since.get_or_insert(step.ts);
        } else {
            self.held_since = None;
        }
    }

    fn first(&self) -> Option<Sent> {
        if self.used == 0 { None } else { self.flight.get(self.head).copied() }
    }

    fn remember(&mut self, sent: Sent) {
        let last = self.head.wrapping_add(self.used.wrapping_sub(1)) % FLIGHT;
        if self.used > 0
            && let Some(s) = self.flight.get_mut(last).filter(|s| s.packets < self.stride && !s.again)
        {
            *s = Sent { end: sent.end.max(s.end), at: sent.at, again: false, lone: false, packets: s.packets.saturating_add(1) };
            return;
        }
        if self.used == FLIGHT {
            self.pair_up();
        }
        let at = self.head.wrapping_add(self.used) % FLIGHT;
        if let Some(s) = self.flight.get_mut(at) {
            *s = sent;
            self.used = self.used.saturating_add(1);
        }
    }

    /// Two neighbours in flight become one entry, which ends where the later one ends and is as old as that; so will those to come.
    fn pair_up(&mut self) {
        self.stride = self.stride.saturating_mul(2);
        let half = FLIGHT / 2;
        let mut kept = [Sent::default(); FLIGHT];
        for (i, k) in kept.iter_mut().take(half).enumerate() {
            let at = self.head.wrapping_add(i.wrapping_mul(2)) % FLIGHT;
            let (a, b) = (self.flight.get(at).copied(), self.flight.get(at.wrapping_add(1) % FLIGHT).copied());
            if let (Some(a), Some(b)) = (a, b) {
                let packets = a.packets.saturating_add(b.packets);
                *k = Sent { end: b.end.max(a.end), at: b.at, again: a.again || b.again, lone: false, packets };
            }
        }
        self.flight = kept;
        self.head = 0;
        self.used = half;
    }

    /// The bin of a moment; moments outside go to the ends.
    fn bin(&self, ts: Time) -> usize {
        let width = self.pace.width.nanos().max(1);
        let i = ts.since(self.pace.start).nanos().max(0).checked_div(width).unwrap_or(0);
        usize::try_from(i).unwrap_or(usize::MAX).min(BINS.saturating_sub(1))
    }

    /// The bin of a moment, after widening bins until it has one.
    fn make_room(&mut self, ts: Time) -> usize {
        let (from, to, bin) = self.current;
        if ts >= from && ts < to {
            return bin;
        }
        let past = ts.since(self.pace.start).nanos().max(0);
        while past.checked_div(self.pace.width.nanos()).is_some_and(|bin| bin >= BINS as i64) {
            let p = &mut self.pace;
            halve(&mut p.passed, u32::saturating_add);
            halve(&mut p.acked, u32::saturating_add);
            halve(&mut p.drops, u8::saturating_add);
            p.width = p.width.times(2);
        }
        let bin = self.bin(ts);
        let from = self.pace.start.plus(self.pace.width.times(i64::try_from(bin).unwrap_or(0)));
        self.current = (from, from.plus(self.pace.width), bin);
        bin
    }
}

impl Step {
    /// Mid-flow the window's scale is unknown, and so is what it means.
    fn windows_known(&self) -> bool {
        self.mss.is_some()
    }
}

fn micros(span: Span) -> u64 {
    u64::try_from(span.nanos() / 1_000).unwrap_or(0)
}

fn sum(a: Span, b: Span) -> Span {
    Span::from_nanos(a.nanos().saturating_add(b.nanos().max(0)))
}

/// Makes one bin of two, in place.
fn halve<T: Copy + Default>(bins: &mut [T], add: impl Fn(T, T) -> T) {
    let half = bins.len().div_ceil(2);
    for i in 0..half {
        let at = i.saturating_mul(2);
        let of = |at: usize| bins.get(at).copied().unwrap_or_default();
        let both = add(of(at), of(at.saturating_add(1)));
        if let Some(bin) = bins.get_mut(i) {
            *bin = both;
        }
    }
    bins.iter_mut().skip(half).for_each(|bin| *bin = T::default());
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: i64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    fn step(ms: i64, n: i64, place: Place, acked: i64) -> Step {
        Step {
            ts: at(ms),
            len: 1_000,
            ip_len: 1_052,
            from: Pos(1 + n * 1_000),
            to: Pos(1_001 + n * 1_000),
            place,
            acked: Pos(1 + acked * 1_000),
            window: 65_535,
            mss: Some(1_448),
            blind: false,
            tsecr: None,
        }
    }

    #[test]
    fn a_retransmission_takes_the_original_out_of_its_bin() {
        let mut p = Pacer::new(at(0), 0, at(0));
        p.data(&step(0, 0, Place::New, 0));
        p.data(&step(100, 1, Place::New, 0));
        p.data(&step(500, 0, Place::Again, 0));
        let pace = p.close();
        assert_eq!((pace.lost_beyond, pace.drops[0], pace.passed[0]), (1, 1, 0));
        assert_eq!((pace.passed[5], pace.passed[25]), (1_052, 1_052));
    }

    #[test]
    fn what_was_acknowledged_was_not_dropped() {
        let mut p = Pacer::new(at(0), 0, at(0));
        p.data(&step(0, 0, Place::New, 0));
        p.acked(at(40), Pos(1_001), 65_535, None);
        p.data(&step(300, 0, Place::Again, 1));
        let pace = p.close();
        assert_eq!((pace.lost_beyond, pace.again), (0, 1));
    }

    #[test]
    fn what_is_repeated_without_selective_acknowledgements_was_not_all_lost() {
        let lost = |blind| {
            let mut p = Pacer::new(at(0), 0, at(0));
            p.data(&step(0, 0, Place::New, 0));
            p.data(&step(9, 2, Place::BehindHole(1_000), 1));
            for n in 3..6 {
                p.data(&step(7 + n, n, Place::New, 1));
            }
            // All is sent again, though the receiver lacks the first one only, and says so after it came.
            p.data(&Step { blind, ..step(300, 1, Place::Fills, 1) });
            for n in 2..6 {
                p.data(&Step { blind, ..step(300 + n, n, Place::Again, 1) });
            }
            let pace = p.close();
            (pace.lost_before, pace.lost_beyond, pace.again)
        };
        assert_eq!((lost(true), lost(false)), ((1, 0, 4), (1, 4, 0)));
    }

    #[test]
    fn round_trips_after_a_loss_do_not_count() {
        let mut p = Pacer::new(at(0), 0, at(0));
        for n in 0..4 {
            p.data(&step(n, n, Place::New, 0));
        }
        p.data(&step(200, 0, Place::Again, 0));
        p.acked(at(250), Pos(4_001), 65_535, None);
        p.data(&step(260, 4, Place::New, 4));
        p.data(&step(261, 5, Place::New, 4));
        p.acked(at(311), Pos(6_001), 65_535, None);
        let pace = p.close();
        assert_eq!(pace.rtt.total(), 1);
        let ms = pace.rtt.quantile(0.5).unwrap() / 1e3;
        assert!((45.0..56.0).contains(&ms), "{ms}");
    }

    #[test]
    fn what_was_acknowledged_before_the_capture_showed_it_is_not_dropped() {
        // Recovery without SACK, met in the middle: each acknowledgement covers what was sent before the capture began.
        let mut p = Pacer::new(at(0), 0, at(0));
        p.data(&step(0, 0, Place::New, 0));
        p.data(&step(40, 3, Place::BehindHole(2_000), 3));
        p.data(&step(80, 8, Place::BehindHole(4_000), 6));
        assert_eq!(p.close().lost_before, 2, "of the second hole two segments are unaccounted for");
    }

    #[test]
    fn a_hole_filled_at_once_was_reordering() {
        let mut p = Pacer::new(at(0), 0, at(0));
        p.data(&step(0, 0, Place::New, 0));
        p.data(&step(10, 2, Place::BehindHole(1_000), 1));
        p.data(&step(11, 1, Place::Fills, 1));
        let pace = p.close();
        assert_eq!((pace.lost_before, pace.drops[0]), (0, 0));
    }

    #[test]
    fn what_is_missing_after_a_pause_was_dropped_before_it() {
        let mut p = Pacer::new(at(0), 0, at(0));
        p.data(&step(0, 0, Place::New, 0));
        p.data(&step(50, 1, Place::New, 0));
        p.data(&step(450, 4, Place::BehindHole(2_000), 2));
        let pace = p.close();
        assert_eq!((pace.lost_before, pace.drops[2], pace.drops.get(22).copied().unwrap_or(0)), (2, 2, 0));
    }

    #[test]
    fn a_giant_segment_is_several_packets() {
        let mut p = Pacer::new(at(0), 0, at(0));
        p.data(&Step { len: 14_480, ip_len: 14_532, to: Pos(14_481), ..step(0, 0, Place::New, 0) });
        let pace = p.close();
        assert_eq!((pace.packets, pace.passed[0], pace.largest), (10, 14_480 + 520, 1_500));
    }

    #[test]
    fn round_trips_are_told_with_many_packets_on_the_way() {
        // 200 on the way all the time, acknowledged two by two 100 ms after they were sent.
        let mut p = Pacer::new(at(0), 0, at(0));
        for n in 0..2_000i64 {
            let now = n / 2;
            p.data(&Step { ts: at(now), ..step(now, n, Place::New, (n - 200).max(0)) });
            if n >= 200 && n % 2 == 1 {
                p.acked(at(now), Pos(1 + (n - 199) * 1_000), 65_535, None);
            }
        }
        let pace = p.close();
        assert!(pace.rtt.total() >= 100, "{}", pace.rtt.total());
        let ms = pace.rtt.quantile(0.5).unwrap() / 1e3;
        assert!((90.0..116.0).contains(&ms), "{ms}");
    }

    #[test]
    fn what_is_dropped_again_was_dropped_when_it_was_sent_again() {
        let mut p = Pacer::new(at(0), 0, at(0));
        // More packets than entries, so that the first shares one.
        for n in 0..90 {
            p.data(&step(0, n, Place::New, 0));
        }
        p.data(&step(300, 0, Place::Again, 0));
        p.data(&step(700, 0, Place::Again, 0));
        let pace = p.close();
        assert_eq!((pace.drops[0], pace.drops[15], pace.drops[35]), (1, 1, 0));
    }

    #[test]
    fn what_shares_an_entry_does_not_travel_alone() {
        let mut p = Pacer::new(at(0), 0, at(0));
        // More packets than entries: neighbours share one.
        for n in 0..90 {
            p.data(&step(n / 10, n, Place::New, 0));
        }
        let before = p.pace.lone;
        for n in 0..90 {
            p.data(&step(300 + n, n, Place::Again, 0));
        }
        let pace = p.close();
        assert_eq!((before, pace.lost_beyond), (1, 90));
        assert!(pace.lone <= 2 && pace.lone_lost <= 1, "{} {}", pace.lone, pace.lone_lost);
    }

    #[test]
    fn a_moment_goes_to_its_bin_whatever_came_before() {
        let mut p = Pacer::new(at(0), 0, at(0));
        let mut plain = [0u32; 400];
        for ms in [3, 19, 20, 21, 39, 5, 5_000, 4_999, 5_119, 5_121, 20, 7_000] {
            p.datagram(at(ms), 100);
            plain[usize::try_from(ms).unwrap() / 40] += 100;
        }
        let pace = p.close();
        let (used, rest) = plain.split_at(pace.passed.len());
        assert_eq!((pace.width, &pace.passed[..]), (Span::from_millis(40), used));
        assert!(rest.iter().all(|b| *b == 0), "nothing is left out");
    }

    #[test]
    fn memory_per_direction_is_bounded() {
        // What is kept and what it takes to keep it stand apart.
        let (kept, keeping) = (size_of::<Pace>(), size_of::<Pacer>());
        println!("{kept} + {keeping} bytes");
        assert!(kept + keeping <= 5_888, "{kept} + {keeping}");
    }

    proptest! {
        /// Whatever comes, in whatever order of time: nothing is lost from the sum, and bins stay in their bounds.
        #[test]
        fn bytes_are_kept_whatever_the_times(steps in proptest::collection::vec((-10_000i64..4_000_000, 40u32..1_500), 1..300)) {
            let mut p = Pacer::new(at(0), 0, at(0));
            for (ms, len) in &steps {
                p.datagram(at(*ms), *len);
            }
            let pace = p.close();
            prop_assert_eq!(pace.total(), steps.iter().map(|s| u64::from(s.1)).sum::<u64>());
            prop_assert!(pace.last.since(pace.start).nanos() / pace.width.nanos() < BINS as i64);
        }

        /// Any mix of new, lost and repeated packets and acknowledgements: no overflow, and never more passed than was seen.
        #[test]
        fn any_mix_keeps_its_books(mix in proptest::collection::vec((0u8..5, 0i64..200, 0i64..50), 1..400)) {
            let mut p = Pacer::new(at(0), 0, at(0));
            let (mut top, mut acked, mut now) = (0i64, 0i64, 0i64);
            for (kind, n, dt) in mix {
                now += dt;
                match kind {
                    0 | 1 => { p.data(&step(now, top, Place::New, acked)); top += 1; }
                    2 => { p.data(&step(now, top + 2, Place::BehindHole(2_000), acked)); top += 3; }
                    3 => p.data(&step(now, n.min(top), Place::Again, acked)),
                    _ => { acked = acked.max(n.min(top)); p.acked(at(now), Pos(1 + acked * 1_000), 65_535, None); }
                }
                prop_assert!(p.used <= FLIGHT);
            }
            let pace = p.close();
            prop_assert!(pace.total() <= pace.packets * 1_052);
        }
    }
}
