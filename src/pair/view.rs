//! Flows of both captures as strands: which point is nearer the client, both directions aligned.

use super::align::{self, Aligned, Far, Item, Near, SLACK};
use super::clock;
use super::digest::{Digest, Tape, TapeFlow, What};
use super::flows::{self, Couple};
use super::orient::{common, orient, samples};
use crate::model::key::Proto;
use crate::model::pair::{Clock, Fronts, Matched, PerTap, Tap};
use crate::model::side::{PerSide, Side};
use crate::model::story::Story;
use crate::model::time::{Span, Time};
use hashbrown::HashSet;
use std::net::IpAddr;

/// One direction of a strand: from the point near its sender to the far one.
#[derive(Default)]
pub struct Lane<'a> {
    /// Packets at the point near their sender.
    pub near: Vec<Item<'a>>,
    /// Packets at the other point.
    pub far: Vec<Item<'a>>,
    /// Which is which.
    pub aligned: Aligned,
}

impl<'a> Lane<'a> {
    /// Packets at the near point with what became of them.
    pub fn sent(&self) -> impl Iterator<Item = (&Item<'a>, Near)> {
        self.near.iter().zip(self.aligned.near.iter().copied())
    }
    /// Packets at the far point with what is known of them.
    pub fn came(&self) -> impl Iterator<Item = (&Item<'a>, Far)> {
        self.far.iter().zip(self.aligned.far.iter().copied())
    }
    /// Pairs of packets that are one.
    pub fn both(&self) -> impl Iterator<Item = (&Item<'a>, &Item<'a>)> {
        self.came().filter_map(|(f, s)| match s {
            Far::Match(i) => Some((self.near.get(i)?, f)),
            _ => None,
        })
    }
}

/// A flow of one or both captures.
pub struct Strand<'a> {
    /// In A and B.
    pub flow: PerTap<Option<&'a TapeFlow>>,
    /// How the two were recognised as one.
    pub how: Option<Matched>,
    /// B calls client whom A calls server.
    pub flipped: bool,
    /// The point nearer the client.
    pub near: Option<Tap>,
    /// Directions by sender; empty as long as `near` is unknown or one capture has nothing.
    pub lane: PerSide<Lane<'a>>,
    /// A proxy ends the connection between the points.
    pub terminated: bool,
    /// Sequence numbers are shifted on the way.
    pub shifted: bool,
}

impl<'a> Strand<'a> {
    /// The point that packets of `side` pass first.
    pub fn up(&self, side: Side) -> Option<Tap> {
        self.near.map(|n| if side == Side::Client { n } else { n.other() })
    }
    /// The flow at a point.
    pub fn at(&self, tap: Tap) -> Option<&'a TapeFlow> {
        self.flow[tap]
    }
    /// The flow wherever it was seen, A first.
    pub fn any(&self) -> Option<&'a TapeFlow> {
        self.flow.a.or(self.flow.b)
    }
    /// TCP or UDP between hosts that are not neighbours: what is forwarded at all, and has sides.
    pub fn judged(&self) -> bool {
        let far = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => !(ip.is_multicast() || ip.is_broadcast() || ip.is_link_local() || ip.is_loopback() || ip.is_unspecified()),
            IpAddr::V6(ip) => !(ip.is_multicast() || ip.is_unicast_link_local() || ip.is_loopback() || ip.is_unspecified()),
        };
        self.any().is_some_and(|f| matches!(f.proto, Proto::TCP | Proto::UDP) && far(f.client.ip) && far(f.server.ip))
    }
    /// Both captures have it.
    pub fn both(&self) -> bool {
        self.flow.a.is_some() && self.flow.b.is_some()
    }
    /// Packets of `side` (as A, or the only capture, names the sides) at a point.
    pub fn packets(&self, tap: Tap, side: Side) -> impl Iterator<Item = &'a Digest> + use<'a> {
        let side = if tap == Tap::B && self.flipped { side.peer() } else { side };
        self.flow[tap].into_iter().flat_map(|f| f.packets.iter()).filter(move |d| d.side == side)
    }
    /// Number that stands at position 0 of a side's stream at a point.
    fn zero(&self, tap: Tap, side: Side) -> u32 {
        let offers = self.offers(side);
        if let (Some(a), Some(b)) = (offers.a, offers.b) {
            return if tap == Tap::A { a.isn } else { b.isn };
        }
        if let Some(o) = offers.a.or(offers.b) {
            return o.isn;
        }
        let first = |tap: Tap| self.packets(tap, side).find(|d| d.what == What::Tcp).map(|d| d.seq.wrapping_sub(1));
        first(Tap::A).or_else(|| first(Tap::B)).unwrap_or(0)
    }
    /// What a side's SYN offered, at both points.
    pub fn offers(&self, side: Side) -> PerTap<Option<super::Offer>> {
        let b_side = if self.flipped { side.peer() } else { side };
        PerTap { a: self.flow.a.and_then(|f| f.offer[side]), b: self.flow.b.and_then(|f| f.offer[b_side]) }
    }
    /// Items of a side at a point.
    pub fn items(&self, tap: Tap, side: Side) -> Vec<Item<'a>> {
        align::items(self.packets(tap, side), self.zero(tap, side), self.zero(tap, side.peer()))
    }
}

/// Fewest packets by which the order of arrival is judged.
const ORDERED_MIN: usize = 300;

/// Everything that is compared.
pub struct View<'a> {
    /// All flows: couples in A's order, then what only A has, then what only B has.
    pub strands: Vec<Strand<'a>>,
    /// The clocks.
    pub clock: Clock,
    /// Stories, for names, labels and each end's own findings.
    pub stories: PerTap<&'a Story>,
    /// What the user says each capture stands in front of.
    pub fronts: &'a Fronts,
    /// First and last moments at each point that the other recorded too (own clock).
    covered: PerTap<Option<(Time, Time)>>,
    /// Shortest and (all but) longest time from each point to the other, as the aligned clocks show it.
    travel: PerTap<(Span, Span)>,
    /// The same as the raw clocks show it (far less near), where the clocks could not be aligned because one direction only was seen.
    raw: PerTap<Option<(Span, Span)>>,
    /// Fewest and most TTLs that packets leaving a point lose before the other.
    hops: PerTap<Option<(u8, u8)>>,
    /// By how much, of packets of one flow that left a point, a later one came before an earlier one, and on how many that was measured.
    overtaken: PerTap<(Span, usize)>,
    /// Marks of the packets of flows that one point alone has.
    astray: PerTap<HashSet<(u32, u32, u16, u64)>>,
}

impl<'a> View<'a> {
    /// Lays both captures side by side.
    pub fn of([story_a, story_b]: [&'a Story; 2], a: &'a Tape, b: &'a Tape, fronts: &'a Fronts) -> Self {
        let first = flows::couples(a, b, None);
        let strands: Vec<Strand<'a>> = first.iter().map(|c| couple(a, b, c)).collect();
        let seen: Vec<_> = strands.iter().map(common).collect();
        let near = orient(&strands, &seen, fronts);
        let (to_b, to_a) = samples(&seen, &near);
        let mut clock = clock::measure(&to_b, &to_a);
        if to_b.is_empty() && to_a.is_empty() && seen.iter().any(|s| !s.is_empty()) {
            clock.why_not = Some("nobody can tell which point is nearer the clients");
        }
        let raw = if clock.offset.is_none() && !(clock::enough(&to_b) && clock::enough(&to_a)) {
            PerTap { a: clock::one_way(&to_b, 1), b: clock::one_way(&to_a, -1) }
        } else {
            PerTap::default()
        };
        // With the clocks known, flows that have only their ports in common can be paired too.
        let all = flows::couples(a, b, clock.offset);
        let mut strands: Vec<Strand<'a>> = all.iter().map(|c| couple(a, b, c)).collect();
        let mut used = (vec![false; a.flows.len()], vec![false; b.flows.len()]);
        for c in &all {
            if let (Some(x), Some(y)) = (used.0.get_mut(c.a), used.1.get_mut(c.b)) {
                (*x, *y) = (true, true);
            }
        }
        let only = |flow: PerTap<Option<&'a TapeFlow>>| Strand { flow, ..empty() };
        let rest = |tape: &'a Tape, used: &[bool]| -> Vec<&'a TapeFlow> {
            tape.flows.iter().zip(used.to_vec()).filter(|(_, u)| !u).map(|(f, _)| f).collect()
        };
        strands.extend(rest(a, &used.0).into_iter().map(|f| only(PerTap { a: Some(f), b: None })));
        strands.extend(rest(b, &used.1).into_iter().map(|f| only(PerTap { a: None, b: Some(f) })));
        let seen: Vec<_> = strands.iter().map(common).collect();
        let near = orient(&strands, &seen, fronts);
        // What was paired by time shows the clocks as well, and may have been faster than all before.
        if clock.offset.is_some() {
            let (to_b, to_a) = samples(&seen, &near);
            clock = clock::measure(&to_b, &to_a);
        }
        for (s, n) in strands.iter_mut().zip(near) {
            s.near = n;
        }
        let stories = PerTap { a: story_a, b: story_b };
        let mut view = Self {
            strands,
            clock,
            stories,
            fronts,
            covered: PerTap::default(),
            travel: PerTap::default(),
            raw,
            hops: PerTap::default(),
            overtaken: PerTap::default(),
            astray: PerTap::default(),
        };
        view.stray();
        view.align();
        view.cover();
        view
    }

    /// Enough packets passed both ways that the fastest of them shows the path without queues.
    pub fn timed(&self) -> bool {
        self.clock.offset.is_some() && self.clock.samples.iter().all(|n| *n >= 30)
    }

    /// Least time (far clock less near clock) that a packet leaving `up` at its time `at` can show.
    pub fn least(&self, up: Tap, at: Time) -> Option<Span> {
        if let Some((least, _)) = self.raw[up] {
            return Some(least);
        }
        let half = self.clock.uncertainty.nanos();
        let in_a = if up == Tap::A { at } else { at.minus(self.clock.offset?) };
        let offset = clock::offset_at(&self.clock, in_a)?.nanos();
        Some(Span::from_nanos(if up == Tap::A { offset.saturating_add(half) } else { half.saturating_sub(offset) }))
    }

    /// The same for a packet that was at the far point at its time `at`.
    pub fn least_at_far(&self, up: Tap, at: Time) -> Option<Span> {
        if self.raw[up].is_some() {
            return self.least(up, at);
        }
        let offset = self.clock.offset?;
        self.least(up, if up == Tap::A { at.minus(offset) } else { at.plus(offset) })
    }

    /// The delay that two capture times of one packet show, the clocks' offset taken out.
    pub fn delay(&self, up: Tap, near: Time, far: Time) -> Option<Span> {
        let in_a = if up == Tap::A { near } else { far };
        let offset = clock::offset_at(&self.clock, in_a)?.nanos();
        let diff = far.since(near).nanos();
        Some(Span::from_nanos(if up == Tap::A { diff.saturating_sub(offset) } else { diff.saturating_add(offset) }))
    }

    /// Whether the other point was recording when what left `tap` at this time must have got there, however long it took.
    pub fn kept_after(&self, tap: Tap, at: Time) -> bool {
        if let Some((quick, slow)) = self.raw[tap] {
            return self.ran(tap.other(), at.plus(quick), at.plus(slow));
        }
        let (quick, slow) = (self.travel[tap].0, self.travel[tap].1);
        self.within(tap, at, quick.nanos(), slow.nanos())
    }

    /// Whether the other point was recording when what was at `tap` at this time must have left it. All of a flow follows its SYN: a point that has the
    /// SYN was recording since.
    pub fn kept_before(&self, s: &Strand<'_>, tap: Tap, at: Time) -> bool {
        let begun =
            s.at(tap.other()).and_then(|f| f.packets.first()).is_some_and(|d| d.what == What::Tcp && d.flags.syn() && !d.flags.ack());
        if let Some((quick, slow)) = self.raw[tap.other()] {
            let last = at.minus(quick);
            return self.ran(tap.other(), if begun { last } else { at.minus(slow) }, last);
        }
        let (quick, slow) = (self.travel[tap.other()].0, self.travel[tap.other()].1);
        let early = if begun { quick } else { slow };
        self.within(tap, at, -early.nanos(), -quick.nanos())
    }

    /// Whether what answers a DNS question can only have passed `tap` while it was recording: it has the question.
    pub fn kept_since_question(&self, s: &Strand<'_>, tap: Tap, at_other: &Digest) -> bool {
        let question = |t: Tap, d: &Digest| super::claim::dns_at(self, s, t, d.frame).map(|m| (m.response, m.id));
        let Some((true, id)) = question(tap.other(), at_other) else { return false };
        let asked = s.packets(tap, at_other.side.peer()).any(|d| question(tap, d) == Some((false, id)));
        let over = self.stories[tap].source.last.is_some_and(|last| {
            self.clock.offset.is_some_and(|o| if tap == Tap::A { at_other.ts.minus(o) } else { at_other.ts.plus(o) } <= last)
        });
        asked && over
    }

    /// Fewest and most routers that packets leaving a point pass before the other, by their TTLs.
    pub fn hops(&self, up: Tap) -> Option<(u8, u8)> {
        self.hops[up]
    }

    /// By how much a packet leaving `up` may come before an earlier one of its flow, and by how many that is known; where enough were seen to tell.
    pub fn overtaken(&self, up: Tap) -> Option<(Span, usize)> {
        Some(self.overtaken[up]).filter(|(_, n)| *n >= ORDERED_MIN)
    }

    /// Whether a capture runs from one of its moments to another.
    fn ran(&self, tap: Tap, from: Time, to: Time) -> bool {
        let source = &self.stories[tap].source;
        matches!((source.first, source.last), (Some(first), Some(last)) if first <= from && to <= last)
    }

    /// Whether the other capture runs from `early` to `late` nanoseconds after a moment at `tap`.
    fn within(&self, tap: Tap, at: Time, early: i64, late: i64) -> bool {
        let other = &self.stories[tap.other()].source;
        let (Some(first), Some(last)) = (other.first, other.last) else { return false };
        if let Some(offset) = self.clock.offset {
            let there = if tap == Tap::A { at.plus(offset) } else { at.minus(offset) };
            return first <= there.plus(Span::from_nanos(early)) && there.plus(Span::from_nanos(late)) <= last;
        }
        // Without clocks: well inside the time in which packets of both are known.
        const MARGIN: Span = Span::from_secs(1);
        self.covered[tap].is_some_and(|(from, to)| from.plus(MARGIN) <= at && at <= to.minus(MARGIN))
    }

    /// Whether a point has this packet in a flow of which the other knows nothing: a translator that forgot a connection carries it on as another.
    pub fn elsewhere(&self, tap: Tap, d: &Digest) -> bool {
        d.mark().is_some_and(|m| self.astray[tap].contains(&m))
    }

    fn stray(&mut self) {
        for s in self.strands.iter().filter(|s| !s.both()) {
            for tap in Tap::BOTH {
                let packets = s.at(tap).into_iter().flat_map(|f| f.packets.iter());
                self.astray[tap].extend(packets.filter_map(Digest::mark));
            }
        }
    }

    fn align(&mut self) {
        for i in 0..self.strands.len() {
            let Some(s) = self.strands.get(i) else { continue };
            if !s.both() || !s.judged() || s.near.is_none() {
                continue;
            }
            let mut lanes: PerSide<Lane<'a>> = PerSide { client: Lane::default(), server: Lane::default() };
            for side in Side::BOTH {
                let Some(up) = s.up(side) else { continue };
                let (near, far) = (s.items(up, side), s.items(up.other(), side));
                // As the receiver's own end has it: a forged acknowledgement acknowledges nothing.
                let acked = s
                    .items(up.other(), side.peer())
                    .into_iter()
                    .filter(|i| i.d.flags.ack() && !i.d.flags.rst())
                    .map(|i| i.ack)
                    .max()
                    .unwrap_or(0);
                let least = |n: &Digest| self.least(up, n.ts);
                let aligned = align::align(&near, &far, &least, acked);
                lanes[side] = Lane { near, far, aligned };
            }
            let terminated = terminated(s, &lanes);
            let shifted = shifted(s);
            if let Some(s) = self.strands.get_mut(i) {
                s.lane = lanes;
                s.terminated = terminated;
                s.shifted = shifted;
            }
        }
    }

    fn cover(&mut self) {
        let mut travel: PerTap<Vec<Span>> = PerTap::default();
        let mut out: PerTap<Option<(Time, Time)>> = PerTap::default();
        let mut add = |tap: Tap, t: Time| {
            let c = &mut out[tap];
            *c = Some(c.map_or((t, t), |(a, b)| (a.min(t), b.max(t))));
        };
        for s in &self.strands {
            for side in Side::BOTH {
                let Some(up) = s.up(side) else { continue };
                let mut pairs: Vec<(Time, Time)> = s.lane[side].both().map(|(n, f)| (n.d.ts, f.d.ts)).collect();
                pairs.sort_unstable();
                let mut latest: Option<Time> = None;
                let order = &mut self.overtaken[up];
                order.1 += pairs.len();
                for (_, came) in pairs {
                    if let Some(l) = latest {
                        order.0 = order.0.max(l.since(came));
                    }
                    latest = Some(latest.map_or(came, |l| l.max(came)));
                }
                for (n, f) in s.lane[side].both() {
                    if let Some(lost) = n.d.ttl.checked_sub(f.d.ttl) {
                        let h = self.hops[up].get_or_insert((lost, lost));
                        *h = (h.0.min(lost), h.1.max(lost));
                    }
                    add(up, n.d.ts);
                    add(up.other(), f.d.ts);
                    travel[up].extend(self.delay(up, n.d.ts, f.d.ts));
                }
            }
        }
        self.covered = out;
        for tap in Tap::BOTH {
            let all = &mut travel[tap];
            all.sort_unstable();
            // A few packets that a host held back for long are not the path.
            let slow = all.get(all.len().saturating_sub(1) * 995 / 1000).copied().unwrap_or(Span::ZERO);
            self.travel[tap] = (all.first().copied().unwrap_or(Span::ZERO), slow);
        }
    }
}

fn empty<'a>() -> Strand<'a> {
    Strand {
        flow: PerTap::default(),
        how: None,
        flipped: false,
        near: None,
        lane: PerSide { client: Lane::default(), server: Lane::default() },
        terminated: false,
        shifted: false,
    }
}

fn couple<'a>(a: &'a Tape, b: &'a Tape, c: &Couple) -> Strand<'a> {
    let (fa, fb) = (a.flows.get(c.a), b.flows.get(c.b));
    let flipped = match (fa, fb) {
        (Some(x), Some(y)) => c.how == Matched::Tuple && x.client == y.server && x.client != y.client,
        _ => false,
    };
    Strand { flow: PerTap { a: fa, b: fb }, how: Some(c.how), flipped, ..empty() }
}

/// The far point has the beginning of a conversation that the near point knows nothing of: another host answers in the server's place (a proxy, a
/// load balancer, a performance box), and a second connection goes on from there.
fn terminated(s: &Strand<'_>, lanes: &PerSide<Lane<'_>>) -> bool {
    if s.any().is_none_or(|f| f.proto != Proto::TCP) {
        return false;
    }
    let own_answer = lanes.server.came().any(|(f, state)| f.d.flags.syn() && f.d.flags.ack() && state == Far::Unsent);
    let early_answer = lanes.server.came().any(|(f, state)| f.d.flags.syn() && matches!(state, Far::Known) && shifted(s));
    let carries = |items: &[Item<'_>]| items.iter().filter(|i| i.d.len > 0).count() >= 2;
    let strangers = Side::BOTH.iter().all(|side| {
        let l = &lanes[*side];
        carries(&l.near) && carries(&l.far) && l.both().all(|(n, _)| n.d.len == 0)
    });
    own_answer || early_answer || strangers
}

fn shifted(s: &Strand<'_>) -> bool {
    Side::BOTH.iter().any(|side| {
        let o = s.offers(*side);
        matches!((o.a, o.b), (Some(a), Some(b)) if a.isn != b.isn)
    })
}

/// Latest time at the near point at which a packet can have left that was at the far point at `far`.
pub fn left_by(least: Span, far: Time) -> Time {
    far.minus(least).plus(SLACK)
}
