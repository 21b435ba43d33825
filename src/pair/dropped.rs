//! Packets that left one point and never arrived at the other, while others did.
//!
//! One lost packet is everyday. What is told here is a way that is closed: everything a sender repeats over a second or more is lost, in one flow, while
//! packets of other flows arrive in the same moments.

use super::align::{Item, Near};
use super::answered;
use super::claim::{self, Claim};
use super::digest::What;
use super::ledger::{Expected, Ledger};
use super::view::{Strand, View};
use crate::model::finding::{Control, Direction, Grade, Kind};
use crate::model::frame::FrameNo;
use crate::model::key::Proto;
use crate::model::note::{Fact, Shape};
use crate::model::pair::{Fronts, PairFinding, PerTap, Tap};
use crate::model::side::Side;
use crate::model::time::{Span, Time};
use hashbrown::HashMap;

/// Losses this close together are one event: a queue that overflows drops many at once.
const EVENT: Span = Span::from_millis(150);
/// Least events in which everything was lost.
const EVENTS_MIN: usize = 3;
/// Least time over which.
const LASTING: Span = Span::from_millis(600);
/// An arrival of another flow within this time of a loss shows that the path was open.
const OPEN: Span = Span::from_millis(100);
/// Chance, over all flows, below which the losses are no accident.
const CHANCE: f64 = 1e-3;

/// Arrivals at the far points, for both directions between the points.
pub struct Arrivals {
    /// Departure times of packets that arrived, with the strand's index, ascending; by the point they left.
    at: PerTap<Vec<(Time, usize)>>,
    lost: PerTap<u64>,
    flows: u64,
}

impl Arrivals {
    /// Collects them.
    pub fn of(view: &View<'_>) -> Self {
        let mut out = Self { at: PerTap::default(), lost: PerTap::default(), flows: 0 };
        for (index, s) in view.strands.iter().enumerate() {
            out.flows += 1;
            for side in Side::BOTH {
                let Some(up) = s.up(side) else { continue };
                let list = &mut out.at[up];
                for (n, state) in s.lane[side].sent() {
                    match state {
                        Near::Match(_) => list.push((n.d.ts, index)),
                        Near::Lost if counts(n) && view.kept_after(up, n.d.ts) => out.lost[up] += 1,
                        _ => {}
                    }
                }
            }
        }
        for tap in Tap::BOTH {
            out.at[tap].sort_unstable();
        }
        out
    }

    /// Packets of other strands that left `up` in a stretch of time and arrived.
    fn open(&self, up: Tap, from: Time, to: Time, own: usize) -> bool {
        let list = &self.at[up];
        let at = list.partition_point(|p| p.0 < from);
        list.iter().skip(at).take_while(|p| p.0 <= to).any(|p| p.1 != own)
    }

    /// Upper bound of the share of packets lost in a direction by all others.
    fn share(&self, up: Tap, own_lost: u64) -> f64 {
        let lost = self.lost[up].saturating_sub(own_lost) as f64 + 1.0;
        lost / (self.at[up].len() as f64 + lost + 1.0)
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
struct Closed {
    /// When they left, and their frames.
    packets: Vec<(Time, FrameNo)>,
    /// The first is a SYN.
    syn: bool,
    lasting: Span,
    /// Packets of this side that arrived before.
    before: u64,
    bytes_before: u64,
    events: usize,
}

/// A strand with a way that seems closed.
struct Suspect<'v, 'a> {
    strand: &'v Strand<'a>,
    side: Side,
    up: Tap,
    closed: Closed,
    expected: Option<Expected>,
    /// Events while the path was open for others.
    open: usize,
}

/// Judges all strands but those that may not be. What one flow leaves open, several flows to the same name (or address) may settle together.
pub fn judge(view: &View<'_>, ledger: &Ledger, arrivals: &Arrivals, may: &dyn Fn(&Strand<'_>, Side) -> bool) -> Vec<PairFinding> {
    let mut suspects: Vec<Suspect<'_, '_>> = Vec::new();
    for (index, s) in view.strands.iter().enumerate().filter(|(_, s)| !s.terminated && s.judged()) {
        let mut add = |side: Side, up: Tap, closed: Option<Closed>, expected: Option<Expected>| {
            let Some(closed) = closed.filter(|c| c.events >= 2 && c.lasting >= LASTING && may(s, side)) else { return };
            let open = opened(arrivals, index, up, &closed);
            suspects.push(Suspect { strand: s, side, up, closed, expected, open });
        };
        if s.both() {
            for side in Side::BOTH {
                if let Some(up) = s.up(side) {
                    add(side, up, couple(view, ledger, s, side, up), None);
                }
            }
        } else if let Some(up) = s.up(Side::Client).filter(|t| s.at(*t).is_some())
            && let Some(expected) = ledger.expected(s, up)
        {
            add(Side::Client, up, alone(view, s, up), Some(expected));
        }
    }
    let mut together: HashMap<(Side, Tap, String), (usize, usize)> = HashMap::new();
    let key = |x: &Suspect<'_, '_>| (x.side, x.up, about(view, x.strand));
    for x in &suspects {
        let sum = together.entry(key(x)).or_default();
        sum.0 += x.open;
        sum.1 += x.closed.packets.len();
    }
    suspects.iter().filter_map(|x| found(view, ledger, arrivals, x, *together.get(&key(x))?)).collect()
}

/// What a flow is about: the name asked for, else the server.
fn about(view: &View<'_>, s: &Strand<'_>) -> String {
    let all = claim::records(view, s);
    let name = all.iter().find_map(|(f, _)| f.asked_name().map(str::to_owned));
    let asked = || all.iter().find_map(|(f, _)| f.notes.dns().next().map(|(_, m)| m.qname.to_string()));
    name.or_else(asked).unwrap_or_else(|| s.any().map_or_else(String::new, |f| f.server.ip.to_string()))
}

/// Events of a closed way at which packets of others arrived: around them, or since the last one, so that no single outage covers two.
fn opened(arrivals: &Arrivals, own: usize, up: Tap, closed: &Closed) -> usize {
    let mut n = 0;
    let mut last: Option<Time> = None;
    for (at, _) in &closed.packets {
        let fresh = last.is_none_or(|l| at.since(l) > EVENT);
        let since = last.is_some_and(|l| arrivals.open(up, l, *at, own));
        if fresh && (since || arrivals.open(up, at.minus(OPEN), at.plus(OPEN), own)) {
            n += 1;
            last = Some(*at);
        }
    }
    n
}

fn couple(view: &View<'_>, ledger: &Ledger, s: &Strand<'_>, side: Side, up: Tap) -> Option<Closed> {
    let lane = &s.lane[side];
    // The far capture must record this direction at all; of this flow, or of others.
    if !ledger.records_departures(up) {
        return None;
    }
    // The other side spoke at the far point although nothing of this side is there: that point has one direction only.
    if lane.far.is_empty() && s.packets(up.other(), side.peer()).any(|d| d.what != What::Error && !d.flags.rst()) {
        return None;
    }
    let least_ttl = lane.both().map(|(n, _)| n.d.ttl).min();
    // The packets at the end of which none arrived.
    let mut run: Vec<&Item<'_>> = Vec::new();
    let (mut before, mut bytes) = (0, 0);
    let mut at_run = (0, 0);
    for (n, state) in lane.sent() {
        match state {
            // The way is open again: what was lost before was not a closed way.
            Near::Lost if counts(n) && view.elsewhere(up.other(), n.d) => {
                run.clear();
                before += 1;
                bytes += u64::from(n.d.len);
                at_run = (before, bytes);
            }
            Near::Match(_) | Near::Arrived => {
                run.clear();
                before += u64::from(counts(n));
                bytes += u64::from(n.d.len);
                at_run = (before, bytes);
            }
            Near::Missed => run.clear(),
            // Of lone acknowledgements some may be thinned out; here none arrives any more.
            // A decoy that is to die on the way does.
            Near::Lost
                if n.d.what != What::Error
                    && !n.d.flags.rst()
                    && view.kept_after(up, n.d.ts)
                    && least_ttl.is_none_or(|t| n.d.ttl.saturating_add(3) >= t) =>
            {
                run.push(n);
            }
            _ => {}
        }
    }
    closed(&run, at_run)
}

/// Only the near capture has the flow: all of it was dropped, if the far one should have had it.
fn alone(view: &View<'_>, s: &Strand<'_>, up: Tap) -> Option<Closed> {
    let all = s.items(up, Side::Client);
    let answered = s.items(up, Side::Server).iter().any(|i| i.d.what != What::Error && !i.d.flags.rst() && i.d.len > 0);
    if answered && s.any().is_some_and(|f| f.proto == Proto::TCP) {
        return None;
    }
    if all.iter().any(|i| view.elsewhere(up.other(), i.d)) {
        return None;
    }
    let run: Vec<&Item<'_>> = all.iter().filter(|i| counts(i) && view.kept_after(up, i.d.ts)).collect();
    closed(&run, (0, 0))
}

/// What a run of lost packets is.
fn closed(items: &[&Item<'_>], (before, bytes_before): (u64, u64)) -> Option<Closed> {
    let (first, last) = (items.first()?, items.last()?);
    let packets = items.iter().map(|i| (i.d.ts, i.d.frame)).collect();
    let (syn, lasting) = (first.d.flags.syn(), last.d.ts.since(first.d.ts));
    Some(Closed { packets, syn, lasting, before, bytes_before, events: events(items) })
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

fn found(view: &View<'_>, ledger: &Ledger, arrivals: &Arrivals, x: &Suspect<'_, '_>, together: (usize, usize)) -> Option<PairFinding> {
    let Suspect { strand: s, side, up, closed, expected, open } = x;
    let (s, side, up) = (*s, *side, *up);
    let (first, _) = closed.packets.first().copied()?;
    let lasting = closed.lasting;
    if together.0 < EVENTS_MIN || *open == 0 {
        return None;
    }
    let share = arrivals.share(up, together.1 as u64);
    // The capture that lost packets may have lost these.
    let r = ledger.into[up.other()];
    let missed = (r.missed as f64 + 1.0) / (r.seen + r.missed + 2) as f64;
    let p = share.max(missed).min(1.0);
    let chance = p.powi(i32::try_from(together.0).unwrap_or(64)) * arrivals.flows.max(1) as f64;
    if chance > CHANCE {
        return None;
    }
    let (kind, mechanism) = name(view, s, side, up, closed);
    let mut claim = Claim::new("pair.dropped", kind, mechanism, Direction::from_side(side), first);
    let frames: Vec<(Tap, FrameNo)> = closed.packets.iter().take(24).map(|p| (up, p.1)).collect();
    claim.fact(
        format!("everything of this direction that left {} from here on was lost before {}", up.name(), up.other().name()),
        format!(
            "{} packets in {} events over {lasting}; {} packets had arrived before",
            closed.packets.len(),
            closed.events,
            closed.before
        ),
        "packets arrive, or a few are lost",
        &frames,
    );
    claim.fact(
        "other flows' packets in the same direction arrived in the same moments",
        format!("at {open} of {} events; all others lost {:.2} %", closed.events, share * 100.0),
        "a broken or congested path drops everybody's packets",
        &[],
    );
    claim.control.push(Control::counted(
        "other_packets_same_way",
        u32::try_from(arrivals.at[up].len() as u64 + arrivals.lost[up]).unwrap_or(u32::MAX),
        u32::try_from(arrivals.at[up].len()).unwrap_or(u32::MAX),
    ));
    claim.excluded("packet loss", format!("a chance of {chance:.0e} at the loss that others had"));
    claim.excluded("outage of the path", "others' packets arrived in the same moments");
    claim.excluded(
        "the other capture missed them",
        format!(
            "it missed {} of {} packets known to have reached it, and the receiver did not acknowledge these",
            r.missed,
            r.seen + r.missed
        ),
    );
    match expected {
        Some(Expected::Server(_)) => {
            claim.excluded("another way that avoids the other point", "other packets to this server passed both points")
        }
        Some(Expected::Everything(_)) => {
            claim.excluded("another way that avoids the other point", "the other point has the client's other connections, to all servers");
            if side == Side::Client {
                // Where the packets end is certain; that somebody wants them to end there is not.
                claim.grade = Grade::Likely;
                claim.stands("no route to this address", "the other point has nothing of this address at all");
                claim.needs.push(answered::word(up.other()));
            }
        }
        Some(Expected::Said(net)) => {
            let far = up.other();
            claim.excluded(
                "another way that avoids the other point",
                format!("{} {net}: {} recorded every packet of this address", Fronts::option(far), far.name()),
            );
            if !s.at(up).is_some_and(|f| ledger.reached(up, f.server.ip)) {
                claim.grade = Grade::Likely;
                claim.stands("no route to this address", "nothing to it or its neighbours passed both points");
                claim.needs.push("the same address reached from another network while B records");
            }
        }
        None => {}
    }
    Some(claim.about(view, s))
}

/// What was dropped, in the words of the contract.
fn name(view: &View<'_>, s: &Strand<'_>, side: Side, up: Tap, closed: &Closed) -> (Kind, &'static str) {
    let syn = closed.syn;
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
