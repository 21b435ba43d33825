//! What proves that nobody sent a packet: facts of either capture about its supposed sender, and the chance that it was only missed.

use super::align::{Far, Item, Near, SLACK};
use super::claim;
use super::digest::What;
use super::ledger::Ledger;
use super::view::{Lane, Strand, View, left_by};
use crate::model::frame::FrameNo;
use crate::model::pair::Tap;
use crate::model::side::Side;
use crate::model::time::{Span, Time};

/// Packets this close together count as one event when captures lose packets: losses come in bursts.
const BURST: Span = Span::from_millis(5);
/// Below this chance that the near capture merely missed packets of several flows, their absence is a fact.
pub const CONFIRMED: f64 = 1e-3;
/// Below this it is likely, …
pub const LIKELY: f64 = 0.02;
/// … and below this if the near capture is known to have missed some: then packets too many come up by the dozen, and one in fifty is soon there.
pub const LIKELY_OF_A_LOSSY: f64 = 0.005;
/// Packets of one flow hardly overtake one another by more than this, if nothing better is known.
const LATE: Span = Span::from_millis(100);
/// What is allowed beyond the worst order of arrival that was seen.
const OVERTAKEN: Span = Span::from_millis(5);
/// What "sooner than the fastest" must come to, as a share of a round trip between the points, where the fastest was not measured on this very way at
/// this very time: of another server's packets, or before a queue was drained.
const CLEARLY: i64 = 5;
/// Jitter of capture times where packets are compared with the fastest of many.
pub const JITTER: Span = Span::from_micros(500);
/// A flow with more datagrams than this is no question and answer.
pub const TALK: usize = 6;
/// Silence after which devices on the way forget, and may reset, a connection.
const IDLE: Span = Span::from_secs(30);

/// What a received packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sort {
    /// A reset.
    Reset,
    /// A FIN without bytes.
    Fin,
    /// Stream bytes.
    Data,
    /// A datagram.
    Datagram,
    /// An ICMP error.
    Error,
}

/// A packet that nobody seems to have sent.
pub struct Stranger<'v, 'a> {
    /// It.
    pub item: &'v Item<'a>,
    /// What the near capture has in its place.
    pub instead: Option<usize>,
    /// What it is.
    pub sort: Sort,
}

/// What a packet is, if it can be a stranger.
pub fn sort_of(i: &Item<'_>) -> Option<Sort> {
    Some(match i.d.what {
        What::Error => Sort::Error,
        What::Datagram => Sort::Datagram,
        What::Tcp if i.d.flags.rst() => Sort::Reset,
        What::Tcp if i.d.flags.syn() => return None,
        What::Tcp if i.d.len > 0 => Sort::Data,
        What::Tcp if i.d.flags.fin() => Sort::Fin,
        What::Tcp => return None,
    })
}

/// What speaks for one group of strangers.
#[derive(Default)]
pub struct Proofs {
    /// Facts that no miss explains.
    pub n: u32,
    /// The chance that the near capture only missed them.
    pub chance: f64,
}

impl Proofs {
    /// A fact that a near capture which misses packets explains by missing more, with a chance of `more`.
    pub fn unless_missed(&mut self, whole: bool, more: f64) {
        self.chance *= more;
        self.n += u32::from(whole || self.chance <= CONFIRMED);
    }
}

/// The near packet that this one was made of: at the same place, with the same identification, and it did not arrive itself.
pub fn rewritten<'v, 'a>(view: &View<'_>, lane: &'v Lane<'a>, f: &Stranger<'_, '_>, up: Tap) -> Option<&'v Item<'a>> {
    if !matches!(f.sort, Sort::Reset | Sort::Data) {
        return None;
    }
    lane.sent()
        .filter(|(n, state)| *state == Near::Lost && n.pos == f.item.pos && (n.d.flags != f.item.d.flags || n.d.hash != f.item.d.hash))
        .filter(|(n, _)| n.d.ip_id.is_some() && n.d.ip_id == f.item.d.ip_id)
        .find(|(n, _)| {
            let fits = |least: Span| {
                let diff = f.item.d.ts.since(n.d.ts).nanos().saturating_sub(least.nanos());
                (-SLACK.nanos()..Span::from_secs(2).nanos()).contains(&diff)
            };
            view.least(up, n.d.ts).is_none_or(fits)
        })
        .map(|(n, _)| n)
}

/// Somebody beyond both points resets in the sender's name: a reset that passed the near point, after which the sender went on. That the sender went
/// on then tells nothing of where a reset came from that the near capture lacks: it may have missed one more of these.
pub fn forged_beyond(lane: &Lane<'_>) -> bool {
    let goes_on = |after: Time| {
        let more = |n: &Item<'_>| n.d.what == What::Tcp && !n.d.flags.rst() && !n.d.flags.syn() && n.d.ts > after.plus(SLACK);
        lane.near.iter().any(more)
    };
    let states = lane.near.iter().zip(&lane.aligned.near);
    states.filter(|(n, s)| n.d.flags.rst() && matches!(s, Near::Match(_))).any(|(n, _)| goes_on(n.d.ts))
}

/// Something the supposed sender sent after this packet that it would not have sent had it sent this packet.
pub fn went_on<'v, 'a>(view: &View<'_>, lane: &'v Lane<'a>, f: &Stranger<'_, '_>, up: Tap) -> Option<&'v Item<'a>> {
    let least = view.least_at_far(up, f.item.d.ts);
    let most = view.overtaken(up).map(|(most, _)| Span::from_nanos(most.nanos().saturating_add(OVERTAKEN.nanos())));
    let later = |n: &Item<'_>, arrived: Option<&Item<'_>>| {
        let left_later = least.is_some_and(|least| n.d.ts > left_by(least, f.item.d.ts));
        // It came later than any packet of that size came behind one that left after it.
        let behind = most.filter(|_| n.d.len == 0 && f.item.d.len == 0);
        let by = if least.is_none() { Some(behind.unwrap_or(LATE)) } else { behind };
        left_later || by.is_some_and(|by| arrived.is_some_and(|a| a.d.ts > f.item.d.ts.plus(by)))
    };
    let contradicts = |n: &Item<'_>| match f.sort {
        Sort::Reset => n.d.what == What::Tcp && !n.d.flags.rst() && !n.d.flags.syn(),
        Sort::Fin => n.d.len > 0 && n.end() > f.item.end(),
        // Its next number is lower than what it would have sent.
        // A reset may stand anywhere: it answers what arrived.
        Sort::Data => {
            let bare = n.d.what == What::Tcp && !n.d.flags.syn() && !n.d.flags.rst() && n.d.len == 0;
            bare && n.pos < f.item.end() && n.pos >= f.item.pos
        }
        Sort::Datagram | Sort::Error => false,
    };
    let mut arrived: Vec<Option<usize>> = vec![None; lane.near.len()];
    for (j, state) in lane.aligned.far.iter().enumerate() {
        if let Far::Match(i) = state
            && let Some(slot) = arrived.get_mut(*i)
        {
            *slot = Some(j);
        }
    }
    let at = |i: usize| arrived.get(i).copied().flatten().and_then(|j| lane.far.get(j));
    lane.near.iter().enumerate().find(|(i, n)| contradicts(n) && later(n, at(*i))).map(|(_, n)| n)
}

/// A packet its supposed sender would not have sent after this one, that came after it and clearly later than any that was overtaken: either the sender
/// went on, or this one overtook it. With the packet, of how many that came in their order that is known.
pub fn overtook<'v, 'a>(view: &View<'_>, lane: &'v Lane<'a>, f: &Stranger<'_, '_>, up: Tap) -> Option<(&'v Item<'a>, usize)> {
    if !matches!(f.sort, Sort::Reset) {
        return None;
    }
    let (most, times) = view.overtaken(up)?;
    let at = f.item.d.ts.plus(most).plus(JITTER);
    let contradicts = |n: &Item<'_>| n.d.what == What::Tcp && !n.d.flags.rst() && !n.d.flags.syn();
    let (near, _) = lane.both().find(|(n, came)| contradicts(n) && came.d.ts > at)?;
    Some((near, times))
}

/// How much too early the packet was at the far point to answer what it acknowledges, with the frame that brought that to the near point, or that left
/// the far one and never came there.
pub fn too_early(view: &View<'_>, s: &Strand<'_>, f: &Stranger<'_, '_>, side: Side, up: Tap) -> Option<(Span, (Tap, FrameNo))> {
    if !view.timed() {
        return None;
    }
    let least = view.least_at_far(up, f.item.d.ts)?;
    let question = &s.lane[side.peer()];
    let asked = claim::dns_at(view, s, up.other(), f.item.d.frame).filter(|m| m.response).map(|m| m.id);
    // What the supposed sender had received: at its own point that direction arrives.
    let answers = |i: &Item<'_>, tap: Tap| match f.sort {
        // Of datagrams only an answer is known to follow its question.
        Sort::Datagram => asked.is_some() && claim::dns_at(view, s, tap, i.d.frame).filter(|m| !m.response).map(|m| m.id) == asked,
        Sort::Error => false,
        _ => f.item.d.flags.ack() && f.item.ack > 0 && i.end() + i64::from(i.d.flags.syn()) + i64::from(i.d.flags.fin()) >= f.item.ack,
    };
    let came = question.far.iter().filter(|i| answers(i, up)).min_by_key(|i| i.d.ts);
    // That point may have missed the first of several: none came sooner than the first that was sent can have.
    let left = question.near.iter().filter(|i| answers(i, up.other()));
    let sent = left.filter_map(|i| Some((i.d.ts.plus(view.least(up.other(), i.d.ts)?), i.d.frame))).min();
    // Alone its departure tells only if that capture has the very packet that is answered: it may have begun, or missed some, before.
    let very = |i: &Item<'_>| answers(i, up.other()) && (f.sort == Sort::Datagram || i.pos < f.item.ack);
    if came.is_none() && !question.near.iter().any(very) {
        return None;
    }
    let by = |(at, frame): (Time, FrameNo), tap: Tap| (at, (tap, frame));
    let all = [came.map(|i| by((i.d.ts, i.d.frame), up)), sent.map(|s| by(s, up.other()))];
    let (known, frame) = all.into_iter().flatten().min_by_key(|k| k.0)?;
    let soonest = known.plus(least).minus(JITTER);
    (f.item.d.ts < soonest).then(|| (soonest.since(f.item.d.ts), frame))
}

/// By how much a packet must be sooner than the fastest that was seen, if that was seen at another time or of another server.
pub fn clearly(view: &View<'_>) -> Span {
    JITTER.max(Span::from_nanos(view.clock.uncertainty.nanos().saturating_mul(2) / CLEARLY))
}

/// A reset beyond everything that either capture has of its sender, and that its receiver acknowledged. The near one would have had to miss more than
/// the reset.
pub fn beyond<'f, 'v, 'a>(lane: &Lane<'_>, back: &Lane<'_>, found: &'f [Stranger<'v, 'a>]) -> Option<(&'f Stranger<'v, 'a>, i64)> {
    let come = |i: &&Item<'_>| i.d.what == What::Tcp && !i.d.flags.rst();
    let reach = |i: &Item<'_>| i.end() + i64::from(i.d.flags.syn()) + i64::from(i.d.flags.fin());
    // Whoever wrote them: even who forges an answer has seen what it answers.
    let acknowledged = back.near.iter().chain(&back.far).filter(|i| i.d.flags.ack()).map(|i| i.ack);
    let sent = lane.near.iter().chain(&lane.far).filter(come).map(reach).chain(acknowledged).max()?;
    let of = found.iter().find(|f| f.sort == Sort::Reset && f.item.pos > sent && f.item.pos < sent + (1 << 24))?;
    (!lane.near.is_empty()).then_some((of, sent))
}

/// What the packet acknowledges never arrived at the point near its supposed sender: how many packets that point would have had to miss besides,
/// and the frame that brought the question to the other.
pub fn never_asked(view: &View<'_>, s: &Strand<'_>, found: &[Stranger<'_, '_>], side: Side, up: Tap) -> Option<(i32, FrameNo)> {
    let question = &s.lane[side.peer()];
    let f = found.iter().find(|f| matches!(f.sort, Sort::Data | Sort::Reset | Sort::Fin) && f.item.d.flags.ack())?;
    let had = question.far.iter().map(Item::end).max()?;
    // What was lost after the answer may be a way that closed then.
    let asked: Vec<&Item<'_>> = question
        .sent()
        .filter(|(i, state)| *state == Near::Lost && i.d.len > 0 && i.end() > had && i.end() <= f.item.ack && i.d.ts < f.item.d.ts)
        .filter(|(i, _)| view.kept_after(up.other(), i.d.ts))
        .map(|(i, _)| i)
        .collect();
    let k = clusters(asked.iter().map(|i| i.d.ts));
    Some((i32::try_from(k).ok().filter(|k| *k > 0)?, asked.first()?.d.frame))
}

/// The server's own answer to the same DNS question.
pub fn other_answer(view: &View<'_>, s: &Strand<'_>, found: &[Stranger<'_, '_>], up: Tap, far_tap: Tap) -> Option<(FrameNo, u16)> {
    let forged = found.iter().find_map(|f| claim::dns_at(view, s, far_tap, f.item.d.frame).filter(|m| m.response))?;
    let near = &s.lane[Side::Server].near;
    near.iter().find_map(|n| {
        let m = claim::dns_at(view, s, up, n.d.frame)?;
        (m.response && m.id == forged.id && m.qname == forged.qname && m.qtype == forged.qtype).then_some((n.d.frame, m.id))
    })
}

/// What an ICMP error quotes did not arrive either: whoever refused it stands between the points.
pub fn quoted_lost(s: &Strand<'_>, side: Side) -> bool {
    s.lane[side].sent().any(|(_, state)| state == Near::Lost)
}

/// The chance that the near capture missed all of these although they passed.
pub fn chance(view: &View<'_>, ledger: &Ledger, up: Tap, far_tap: Tap, found: &[Stranger<'_, '_>], lane: &Lane<'_>) -> f64 {
    let k = clusters(found.iter().map(|f| f.item.d.ts));
    // As many packets of this sort as arrived could have been missed.
    let of_sort = match found.first().map(|f| f.sort) {
        Some(Sort::Reset) => ledger.resets[far_tap],
        // At the end of any flow a missed packet looks like one that nobody sent.
        _ => lane.far.len() as u64 + view.strands.len() as u64,
    };
    let p = ledger.miss_rate(up);
    (p.powi(i32::try_from(k).unwrap_or(8)) * of_sort.max(1) as f64).min(1.0)
}

/// Events, packets within [`BURST`] of one another taken as one.
pub fn clusters(times: impl Iterator<Item = Time>) -> usize {
    let mut all: Vec<_> = times.collect();
    all.sort_unstable();
    let gaps = all.windows(2).filter(|w| matches!(w, [a, b] if b.since(*a) > BURST)).count();
    if all.is_empty() { 0 } else { gaps + 1 }
}

/// The near capture has nothing of this direction although the far one has a conversation: asymmetric routing or a filter, not forgery.
pub fn one_sided(lane: &Lane<'_>, sort: Sort) -> bool {
    lane.near.is_empty()
        && sort != Sort::Error
        && lane.far.iter().any(|f| f.d.what == What::Tcp && (f.d.len > 0 || f.d.flags.syn()) && !f.d.flags.rst() || lane.far.len() > TALK)
}

/// TTLs of strangers that packets of their sender do not have, and those these have.
pub fn odd_ttl(lane: &Lane<'_>, found: &[Stranger<'_, '_>]) -> Option<(String, String)> {
    let mut own: Vec<u8> = lane.both().map(|(_, f)| f.d.ttl).collect();
    own.sort_unstable();
    if own.len() < 3 {
        return None;
    }
    own.dedup();
    let odd = |t: u8| own.iter().all(|o| o.abs_diff(t) > 3);
    let mut ttls: Vec<u8> = found.iter().map(|f| f.item.d.ttl).filter(|t| odd(*t)).collect();
    ttls.sort_unstable();
    ttls.dedup();
    let list = |all: &[u8]| all.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    (!ttls.is_empty()).then(|| (list(&ttls), list(&own)))
}

/// How long nothing had passed either point before a reset, if that is long.
pub fn quiet_before(lane: &Lane<'_>, reset: &Item<'_>) -> Option<Span> {
    let last = lane.far.iter().filter(|f| f.d.ts < reset.d.ts && !f.d.flags.rst()).map(|f| f.d.ts).max()?;
    let quiet = reset.d.ts.since(last);
    (quiet >= IDLE).then_some(quiet)
}
