//! Packets that left one point and never arrived at the other, while others did.
//!
//! One lost packet is everyday. What is told here is a way that is closed: everything a sender repeats over a second or more is lost, in one flow, while
//! packets of other flows arrive in the same moments.

use super::align::{Item, Near};
use super::claim::{self, Claim};
use super::digest::What;
use super::ledger::{Expected, Ledger};
use super::view::{Strand, View};
use crate::model::finding::{Control, Direction, Grade, Kind};
use crate::model::frame::FrameNo;
use crate::model::key::Proto;
use crate::model::note::{Fact, Shape};
use crate::model::pair::{PairFinding, Tap};
use crate::model::side::Side;
use crate::model::time::{Span, Time};

/// Losses this close together are one event: a queue that overflows drops many at once.
const EVENT: Span = Span::from_millis(150);
/// Least events in which everything was lost.
const EVENTS_MIN: usize = 3;
/// Least time over which.
const LASTING: Span = Span::from_millis(600);
/// An arrival of another flow within this time of a loss shows that the path was open.
const OPEN: Span = Span::from_millis(300);
/// Chance, over all flows, below which the losses are no accident.
const CHANCE: f64 = 1e-3;

/// Arrivals at the far points, for both directions between the points.
pub struct Arrivals {
    /// Departure times of packets that arrived, with the strand's index, ascending; by the point they left.
    at: [Vec<(Time, usize)>; 2],
    lost: [u64; 2],
    flows: u64,
}

impl Arrivals {
    /// Collects them.
    pub fn of(view: &View<'_>) -> Self {
        let mut out = Self { at: [Vec::new(), Vec::new()], lost: [0; 2], flows: 0 };
        for (index, s) in view.strands.iter().enumerate() {
            out.flows += 1;
            for side in Side::BOTH {
                let Some(up) = s.up(side) else { continue };
                let list = &mut out.at[up.index()];
                for (n, state) in s.lane[side].sent() {
                    match state {
                        Near::Match(_) => list.push((n.d.ts, index)),
                        Near::Lost if counts(n) && view.recorded(up, n.d.ts) => out.lost[up.index()] += 1,
                        _ => {}
                    }
                }
            }
        }
        out.at.iter_mut().for_each(|l| l.sort_unstable());
        out
    }

    /// Packets of other strands that left `up` within [`OPEN`] of a moment and arrived.
    fn open(&self, up: Tap, at: Time, own: usize) -> bool {
        let list = &self.at[up.index()];
        let from = list.partition_point(|p| p.0 < at.minus(OPEN));
        list.iter().skip(from).take_while(|p| p.0 <= at.plus(OPEN)).any(|p| p.1 != own)
    }

    /// Upper bound of the share of packets lost in a direction by all others.
    fn share(&self, up: Tap, own_lost: u64) -> f64 {
        let lost = self.lost[up.index()].saturating_sub(own_lost) as f64 + 1.0;
        lost / (self.at[up.index()].len() as f64 + lost + 1.0)
    }
}

/// Lone acknowledgements are not counted: a sender that hears nothing sends fewer of them, and devices thin them out.
fn counts(i: &Item<'_>) -> bool {
    match i.d.what {
        What::Tcp => i.d.len > 0 || i.d.control() != 0,
        What::Datagram => true,
        What::Error => false,
    }
}

/// A way found closed.
struct Closed<'v, 'a> {
    items: Vec<&'v Item<'a>>,
    /// Packets of this side that arrived before.
    before: u64,
    bytes_before: u64,
    events: usize,
}

/// Judges both directions of a strand.
pub fn judge(view: &View<'_>, ledger: &Ledger, arrivals: &Arrivals, index: usize, s: &Strand<'_>) -> Vec<PairFinding> {
    if s.terminated {
        return Vec::new();
    }
    if s.both() {
        return Side::BOTH.iter().filter_map(|side| couple(view, ledger, arrivals, index, s, *side)).collect();
    }
    let Some(up) = s.up(Side::Client).filter(|t| s.at(*t).is_some()) else { return Vec::new() };
    alone(view, ledger, arrivals, index, s, up).into_iter().collect()
}

fn couple(view: &View<'_>, ledger: &Ledger, arrivals: &Arrivals, index: usize, s: &Strand<'_>, side: Side) -> Option<PairFinding> {
    let up = s.up(side)?;
    let lane = &s.lane[side];
    // The far capture must record this direction at all; of this flow, or of others.
    if ledger.into[up.other()].seen == 0 {
        return None;
    }
    let least_ttl = lane.both().map(|(n, _)| n.d.ttl).min();
    // The longest run of packets of which none arrived.
    let (mut best, mut run): (Option<Closed<'_, '_>>, Vec<&Item<'_>>) = (None, Vec::new());
    let (mut before, mut bytes) = (0, 0);
    let mut at_run = (0, 0);
    for (n, state) in lane.sent() {
        match state {
            Near::Match(_) | Near::Arrived if counts(n) => {
                close(&mut best, &mut run, at_run);
                before += 1;
                bytes += u64::from(n.d.len);
                at_run = (before, bytes);
            }
            Near::Missed => close(&mut best, &mut run, at_run),
            Near::Lost if counts(n) && view.recorded(up, n.d.ts) => {
                // A decoy that is to die on the way does.
                if least_ttl.is_none_or(|t| n.d.ttl.saturating_add(3) >= t) && !n.d.flags.rst() {
                    run.push(n);
                }
            }
            _ => {}
        }
    }
    close(&mut best, &mut run, at_run);
    let closed = best?;
    found(view, ledger, arrivals, index, s, side, up, &closed, None)
}

/// Only the near capture has the flow: all of it was dropped, if the far one should have had it.
fn alone(view: &View<'_>, ledger: &Ledger, arrivals: &Arrivals, index: usize, s: &Strand<'_>, up: Tap) -> Option<PairFinding> {
    let expected = ledger.expected(s, up)?;
    let all = s.items(up, Side::Client);
    let items: Vec<&Item<'_>> = all.iter().filter(|i| counts(i) && view.recorded(up, i.d.ts)).collect();
    let answered = s.items(up, Side::Server).iter().any(|i| i.d.what != What::Error && !i.d.flags.rst() && i.d.len > 0);
    if answered && s.any().is_some_and(|f| f.proto == Proto::TCP) {
        return None;
    }
    let events = events(&items);
    found(view, ledger, arrivals, index, s, Side::Client, up, &Closed { items, before: 0, bytes_before: 0, events }, Some(expected))
}

/// Ends a run; the longest is kept.
fn close<'v, 'a>(best: &mut Option<Closed<'v, 'a>>, run: &mut Vec<&'v Item<'a>>, at: (u64, u64)) {
    let items = std::mem::take(run);
    let events = events(&items);
    if best.as_ref().is_none_or(|b| events > b.events) {
        *best = Some(Closed { items, before: at.0, bytes_before: at.1, events });
    }
}

fn events(items: &[&Item<'_>]) -> usize {
    let mut n = usize::from(!items.is_empty());
    let mut last = items.first().map(|i| i.d.ts);
    for i in items {
        if last.is_some_and(|l| i.d.ts.since(l) > EVENT) {
            n += 1;
            last = Some(i.d.ts);
        }
    }
    n
}

#[expect(clippy::too_many_arguments, reason = "one place writes what both kinds of strands give")]
fn found(
    view: &View<'_>,
    ledger: &Ledger,
    arrivals: &Arrivals,
    index: usize,
    s: &Strand<'_>,
    side: Side,
    up: Tap,
    closed: &Closed<'_, '_>,
    expected: Option<Expected>,
) -> Option<PairFinding> {
    let (first, last) = (closed.items.first()?, closed.items.last()?);
    let lasting = last.d.ts.since(first.d.ts);
    // Events during which the path was open for others.
    let mut open: Vec<&Item<'_>> = Vec::new();
    for i in &closed.items {
        let fresh = open.last().is_none_or(|l| i.d.ts.since(l.d.ts) > EVENT);
        if fresh && arrivals.open(up, i.d.ts, index) {
            open.push(i);
        }
    }
    if closed.events < EVENTS_MIN || lasting < LASTING || open.len() < EVENTS_MIN {
        return None;
    }
    let share = arrivals.share(up, closed.items.len() as u64);
    // The capture that lost packets may have lost these.
    let r = ledger.into[up.other()];
    let missed = (r.missed as f64 + 1.0) / (r.seen + r.missed + 2) as f64;
    let p = share.max(missed).min(1.0);
    let chance = p.powi(i32::try_from(open.len()).unwrap_or(64)) * arrivals.flows.max(1) as f64;
    if chance > CHANCE {
        return None;
    }
    let (kind, mechanism) = name(view, s, side, up, closed);
    let mut claim = Claim::new("pair.dropped", kind, mechanism, Direction::from_side(side), first.d.ts);
    let frames: Vec<(Tap, FrameNo)> = closed.items.iter().take(24).map(|i| (up, i.d.frame)).collect();
    claim.fact(
        format!("everything of this direction that left {} from here on was lost before {}", up.name(), up.other().name()),
        format!("{} packets in {} events over {lasting}; {} packets had arrived before", closed.items.len(), closed.events, closed.before),
        "packets arrive, or a few are lost",
        &frames,
    );
    claim.fact(
        "other flows' packets in the same direction arrived in the same moments",
        format!("at {} of {} events; all others lost {:.2} %", open.len(), closed.events, share * 100.0),
        "a broken or congested path drops everybody's packets",
        &[],
    );
    claim.control.push(Control {
        kind: "other_packets_same_way",
        n: u32::try_from(arrivals.at[up.index()].len() as u64 + arrivals.lost[up.index()]).unwrap_or(u32::MAX),
        ok: u32::try_from(arrivals.at[up.index()].len()).unwrap_or(u32::MAX),
    });
    claim.excluded("packet loss", format!("a chance of {chance:.0e} at the loss that others had"));
    claim.excluded("outage of the path", "others' packets arrived in the same moments");
    claim.excluded(
        "the other capture missed them",
        format!("it missed {} of {} packets known to have reached it, and the receiver did not acknowledge these", r.missed, r.seen + r.missed),
    );
    match expected {
        Some(Expected::Server) => claim.excluded("another way that avoids the other point", "other packets to this server passed both points"),
        Some(Expected::Everything) => {
            claim.excluded("another way that avoids the other point", "the other point has the client's other connections, to all servers");
            if side == Side::Client {
                // Where the packets end is certain; that somebody wants them to end there is not.
                claim.grade = Grade::Likely;
                claim.stands("no route to this address", "the other point has nothing of this address at all");
            }
        }
        None => {}
    }
    Some(claim.about(view, s))
}

/// What was dropped, in the words of the contract.
fn name(view: &View<'_>, s: &Strand<'_>, side: Side, up: Tap, closed: &Closed<'_, '_>) -> (Kind, &'static str) {
    let syn = closed.items.first().is_some_and(|i| i.d.flags.syn());
    if s.any().is_some_and(|f| f.proto == Proto::TCP) {
        let tap = if side == Side::Client { up } else { up.other() };
        let down: u64 = s.packets(tap, Side::Server).map(|d| u64::from(d.len)).sum();
        let asked = s.items(tap, Side::Client).iter().filter(|i| i.d.len > 0).count();
        return match side {
            _ if syn => (Kind::IpBlocking, "syn_silent"),
            Side::Client if closed.bytes_before == 0 => (Kind::SniFiltering, "hello_dropped"),
            Side::Server if closed.bytes_before == 0 => (Kind::SniFiltering, "hello_muted"),
            _ if (8_000..40_000).contains(&down) => (Kind::ConnectionFreeze, "byte_quota"),
            _ if asked > 0 => (Kind::SniFiltering, "delayed_drop"),
            _ => (Kind::ConnectionFreeze, "byte_quota"),
        };
    }
    let shapes = || claim::records(view, s).into_iter().flat_map(|(f, _)| f.notes.shapes().map(|(_, shape)| shape).collect::<Vec<Shape>>());
    let stun = claim::records(view, s).iter().any(|(f, _)| f.notes.list.iter().any(|n| matches!(n.fact, Fact::Stun(_))));
    match claim::app(view, s) {
        Some("dns") => (Kind::DnsInjection, "drop"),
        Some("quic") if closed.before == 0 && side == Side::Client => (Kind::QuicBlocking, "initial_dropped"),
        Some("quic") if closed.before == 0 => (Kind::QuicBlocking, "answer_dropped"),
        Some("quic") => (Kind::QuicBlocking, "stalled"),
        _ if stun && closed.before == 0 => (Kind::UdpBlocking, "stun_dropped"),
        _ if closed.before > 0 => (Kind::UdpBlocking, "media_cut"),
        _ if shapes().next().is_some() => (Kind::ProtocolBlocking, "vpn"),
        _ => (Kind::UdpBlocking, "all_udp"),
    }
}
