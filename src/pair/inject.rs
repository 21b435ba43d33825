//! A packet that was received and that nobody sent.
//!
//! Its absence at the point near its supposed sender is not enough: a capture misses packets. What settles it is behaviour: the sender went on as if
//! it had not sent it, sent something else in its place, or could not have sent it yet because what it answers had not arrived.

use super::align::{Far, Item, Near, SLACK};
use super::claim::{self, Claim};
use super::digest::What;
use super::ledger::{Expected, Ledger};
use super::view::{Lane, Strand, View, left_by};
use crate::model::finding::{Direction, Grade, Kind};
use crate::model::pair::{PairFinding, Tap};
use crate::model::side::Side;
use crate::model::time::Span;

/// Packets this close together count as one event when captures lose packets: losses come in bursts.
const BURST: Span = Span::from_millis(5);
/// Below this chance that the near capture merely missed the packets, their absence is a fact.
pub const CONFIRMED: f64 = 1e-3;
/// Below this it is likely.
const LIKELY: f64 = 0.02;
/// Connections of a client, all at both points, that leave no room for another way.
const SURE: u32 = 10;
/// Jitter of capture times where packets are compared with the fastest of many.
const JITTER: Span = Span::from_micros(500);
/// A flow with more datagrams than this is no question and answer.
const TALK: usize = 6;
/// Silence after which devices on the way forget, and may reset, a connection.
const IDLE: Span = Span::from_secs(30);
/// Protocols whose payload address translators rewrite as a service (FTP, H.323, SIP, RTSP, PPTP).
const HELPED: [u16; 6] = [21, 554, 1720, 1723, 5060, 5061];

/// What a received packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sort {
    Reset,
    Fin,
    Data,
    Datagram,
    Error,
}

/// A packet that nobody seems to have sent.
struct Stranger<'v, 'a> {
    item: &'v Item<'a>,
    /// What the near capture has in its place.
    instead: Option<usize>,
    sort: Sort,
}

/// Judges both directions of a strand.
pub fn judge(view: &View<'_>, ledger: &Ledger, s: &Strand<'_>) -> Vec<PairFinding> {
    let mut out = Vec::new();
    if s.terminated || !s.judged() {
        return out;
    }
    for side in Side::BOTH {
        let Some(up) = s.up(side) else { continue };
        if s.both() {
            for sort in [Sort::Reset, Sort::Fin, Sort::Data, Sort::Datagram, Sort::Error] {
                out.extend(couple(view, ledger, s, side, up, sort));
            }
        } else if side == Side::Server && s.at(up).is_none() {
            out.extend(alone(view, ledger, s, up));
        }
    }
    out
}

fn strangers<'v, 'a>(view: &View<'_>, lane: &'v Lane<'a>, far_tap: Tap, sort: Sort) -> Vec<Stranger<'v, 'a>> {
    lane.came()
        .filter_map(|(item, state)| {
            let instead = match state {
                Far::Unsent => None,
                Far::Differs(i) => Some(i),
                _ => return None,
            };
            let of = sort_of(item)?;
            (of == sort && !item.d.bad && view.kept_before(far_tap, item.d.ts)).then_some(Stranger { item, instead, sort: of })
        })
        .collect()
}

fn sort_of(i: &Item<'_>) -> Option<Sort> {
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
struct Proofs {
    n: u32,
    /// The chance that the near capture only missed them.
    chance: f64,
}

fn couple(view: &View<'_>, ledger: &Ledger, s: &Strand<'_>, side: Side, up: Tap, sort: Sort) -> Option<PairFinding> {
    let lane = &s.lane[side];
    let far_tap = up.other();
    let found = strangers(view, lane, far_tap, sort);
    let first = found.first()?;
    if !ledger.records_departures(up) || one_sided(lane, sort) {
        return None;
    }
    if sort == Sort::Datagram && lane.far.len() > TALK {
        return None;
    }
    if first.instead.is_some() && s.any().is_some_and(|f| HELPED.contains(&f.server.port) || HELPED.contains(&f.client.port)) {
        return None;
    }
    let rewritten = found.iter().find_map(|f| rewritten(view, lane, f, up));
    let (rule, kind, mechanism) = name(view, s, side, &found, rewritten.is_some(), far_tap)?;
    let mut claim = Claim::new(rule, kind, mechanism, Direction::from_side(side), first.item.d.ts);
    let frames: Vec<_> = found.iter().take(16).map(|f| (far_tap, f.item.d.frame)).collect();
    claim.fact(
        format!("{} reached {} and did not leave {}", what(&found), far_tap.name(), up.name()),
        format!("{} of {} packets of this direction have no counterpart", found.len(), lane.far.len()),
        "every packet received was sent",
        &frames,
    );
    let mut proofs = Proofs { n: 0, chance: chance(ledger, up, far_tap, &found, lane) };
    if let Some(n) = rewritten {
        let f = first.item;
        claim.fact(
            format!("the packet that left {} at this place of the stream never arrived as it was", up.name()),
            format!("left as {} with {} bytes, came as {} with {} bytes", n.d.flags, n.d.len, f.d.flags, f.d.len),
            "a router changes the TTL and the checksum, an address translator addresses and ports, and nothing else",
            &[(up, n.d.frame), (far_tap, f.d.frame)],
        );
        proofs.n += 1;
    } else if let Some(n) = first.instead.and_then(|i| lane.near.get(i)) {
        claim.fact(
            "its supposed sender sent other bytes at this place of the stream",
            format!("{} bytes at position {}", n.d.len, n.pos),
            "a sender repeats the same bytes",
            &[(up, n.d.frame), (far_tap, first.item.d.frame)],
        );
        proofs.n += 1;
    }
    for f in found.iter().take(16) {
        if let Some(n) = went_on(view, lane, f, up) {
            claim.fact(
                format!("at {} its supposed sender went on as if it had not sent it", up.name()),
                format!("{} with {} bytes at position {}", n.d.flags, n.d.len, n.pos),
                if sort == Sort::Data {
                    "a sender does not go back behind what it has sent"
                } else {
                    "a stack that reset or closed a connection sends nothing more on it"
                },
                &[(up, n.d.frame), (far_tap, f.item.d.frame)],
            );
            proofs.n += 1;
            break;
        }
    }
    for f in found.iter().take(16) {
        if let Some(early) = too_early(view, s, f, side, up) {
            claim.fact(
                format!("it was at {} before what it answers could be answered from beyond {}", far_tap.name(), up.name()),
                format!("{} too early for the fastest packet between the points", early.0),
                "an answer leaves after the question has arrived",
                &[(up, early.1), (far_tap, f.item.d.frame)],
            );
            proofs.n += 1;
            break;
        }
    }
    if sort == Sort::Datagram
        && let Some((near, id)) = other_answer(view, s, &found, up, far_tap)
    {
        claim.fact(
            "the server sent its own answer to this question, and it is another one",
            format!("DNS id 0x{id:04x}"),
            "one answer to a question",
            &[(up, near), (far_tap, first.item.d.frame)],
        );
        proofs.n += 1;
    }
    if sort == Sort::Error && quoted_lost(s, side.peer()) {
        proofs.n += 1;
    }
    if let Some((f, sent)) = beyond(lane, &found) {
        claim.fact(
            "it stands beyond anything its supposed sender had sent",
            format!("at position {}, the sender had come to {sent}", f.item.pos),
            "a stack resets at the position it has come to",
            &[(far_tap, f.item.d.frame)],
        );
        proofs.n += 1;
    }
    if let Some((k, asked)) = never_asked(view, s, &found, side, up) {
        claim.fact(
            format!("it answers what never arrived at {}", up.name()),
            format!("bytes up to position {} were lost before", first.item.ack),
            "a server answers what reaches it",
            &[(far_tap, asked), (far_tap, first.item.d.frame)],
        );
        proofs.chance *= ledger.arrival_miss_rate(up).powi(k);
    }
    if let Some((ttls, own)) = odd_ttl(lane, &found) {
        claim.fact("its TTL is none that packets of this sender have here", ttls, own, &frames);
        proofs.chance *= 0.05;
    }
    claim.grade = match (proofs.n, proofs.chance) {
        (1.., _) => Grade::Confirmed,
        (_, c) if c <= CONFIRMED => Grade::Confirmed,
        (_, c) if c <= LIKELY => Grade::Likely,
        _ => return None,
    };
    if s.shifted && proofs.n == 0 {
        return None;
    }
    innocent(&mut claim, ledger, up, &proofs);
    if matches!(sort, Sort::Reset | Sort::Fin)
        && let Some(quiet) = quiet_before(lane, first.item)
    {
        claim.stands(
            "idle timeout of a device on the way",
            format!("nothing had passed for {quiet}; a NAT, firewall or load balancer may have made it"),
        );
    }
    let mut out = claim.about(view, s);
    out.chance = (proofs.n == 0).then_some(proofs.chance);
    Some(out)
}

/// Only the receiver's capture has the flow: the answer came from between the points, if the other capture should have had the question.
fn alone(view: &View<'_>, ledger: &Ledger, s: &Strand<'_>, up: Tap) -> Option<PairFinding> {
    let tap = up.other();
    let expected = ledger.expected(s, tap)?;
    if !ledger.records_departures(up) {
        return None;
    }
    let mine = s.items(tap, Side::Client);
    let theirs: Vec<Item<'_>> = s.items(tap, Side::Server);
    let answers: Vec<Stranger<'_, '_>> = theirs
        .iter()
        .filter(|i| !i.d.bad && view.kept_before(tap, i.d.ts))
        .filter_map(|item| Some(Stranger { item, instead: None, sort: sort_of(item)? }))
        .collect();
    let first = answers.first()?;
    // A conversation means another way round the other point, not an answer in the server's name.
    if theirs.iter().any(|i| i.d.flags.syn()) || theirs.len() > 2 * mine.len().max(1) || theirs.len() > TALK * 2 {
        return None;
    }
    let asked: Vec<&Item<'_>> = mine.iter().filter(|i| view.kept_after(tap, i.d.ts) && i.d.ts <= first.item.d.ts).collect();
    let question = asked.last()?;
    let took = first.item.d.ts.since(question.d.ts);
    let there_and_back = Span::from_nanos(view.clock.uncertainty.nanos().saturating_mul(2));
    let fast = view.timed() && took.nanos() < there_and_back.nanos().saturating_sub(JITTER.nanos());
    let misses = clusters(mine.iter().filter(|i| view.kept_after(tap, i.d.ts)).map(|i| i.d.ts)) + 1;
    let chance = ledger.miss_rate(up).powi(i32::try_from(misses).unwrap_or(8));
    let grade = match (expected, fast) {
        (Expected::Server, _) if chance <= CONFIRMED => Grade::Confirmed,
        (_, true) if chance <= LIKELY => Grade::Confirmed,
        (Expected::Everything(n), false) if chance <= CONFIRMED => {
            if n >= SURE {
                Grade::Confirmed
            } else {
                Grade::Likely
            }
        }
        _ => return None,
    };
    let (rule, kind, mechanism) = name(view, s, Side::Server, &answers, false, tap)?;
    let mut claim = Claim::new(rule, kind, mechanism, Direction::S2c, first.item.d.ts);
    claim.grade = grade;
    let frames: Vec<_> = answers.iter().take(16).map(|f| (tap, f.item.d.frame)).collect();
    claim.fact(
        format!("{} reached {}, but neither it nor the question it answers was ever at {}", what(&answers), tap.name(), up.name()),
        format!("{} packets of this flow at {}, none at {}", mine.len() + theirs.len(), tap.name(), up.name()),
        "the server answers what reaches it",
        &frames,
    );
    let asked_frames: Vec<_> = asked.iter().map(|i| (tap, i.d.frame)).take(8).collect();
    claim.fact(
        format!("the question did not arrive at {}", up.name()),
        format!("{} packets sent", mine.len()),
        "it arrives",
        &asked_frames,
    );
    if fast {
        claim.fact(
            format!("it came sooner than any packet can go to {} and back", up.name()),
            format!("{took}"),
            format!("at least {there_and_back}"),
            &[(tap, question.d.frame), (tap, first.item.d.frame)],
        );
    }
    match expected {
        Expected::Server => claim.excluded("another way that avoids the other point", "other packets of this server passed both points"),
        Expected::Everything(_) if fast => {
            claim.excluded("another way that avoids the other point", "the other point has the client's other connections, to all servers");
        }
        Expected::Everything(_) => {
            claim.excluded(
                "another way that avoids the other point",
                "the other point has the client's other connections, to all servers, before and after",
            );
        }
    }
    innocent(&mut claim, ledger, up, &Proofs { n: u32::from(fast), chance });
    Some(claim.about(view, s))
}

fn what(found: &[Stranger<'_, '_>]) -> String {
    let n = found.len();
    let one = match found.first().map(|f| (f.sort, f.item.d.flags)) {
        Some((Sort::Reset | Sort::Fin, flags)) => format!("{flags}"),
        Some((Sort::Data, _)) => "data".to_owned(),
        Some((Sort::Error, _)) => "an ICMP error".to_owned(),
        _ => "a datagram".to_owned(),
    };
    if n == 1 { one } else { format!("{one} ({n} packets)") }
}

/// Rule, kind and mechanism of a group.
fn name(
    view: &View<'_>,
    s: &Strand<'_>,
    side: Side,
    found: &[Stranger<'_, '_>],
    rewritten: bool,
    tap: Tap,
) -> Option<(&'static str, Kind, &'static str)> {
    let first = found.first()?;
    let rule = if rewritten { "pair.rewritten" } else { "pair.injected" };
    Some(match first.sort {
        Sort::Reset if rewritten => (rule, Kind::RstInjection, "rewrite"),
        Sort::Reset | Sort::Fin => {
            let asked = s.items(tap, side.peer());
            let asked_only = !asked.is_empty() && asked.iter().all(|i| i.d.flags.syn() || i.d.flags.rst());
            let on_syn = side == Side::Server && asked_only;
            let mechanism = match first.sort {
                _ if on_syn => "on_syn",
                Sort::Fin => "fin",
                _ if survived(s, side, first.item) => "late",
                _ => "on_path",
            };
            (rule, Kind::RstInjection, mechanism)
        }
        Sort::Error => {
            // Time exceeded, too big, and what the addressee itself says are the network's business.
            if !refusal(first.item.d.seq, first.item.d.ack == 1) {
                return None;
            }
            (rule, Kind::IpBlocking, "icmp")
        }
        Sort::Data if rewritten => (rule, Kind::PacketRewriting, "payload"),
        Sort::Data if &first.item.d.first == b"HTTP" => {
            let (flow, _) = claim::record(view, s, tap)?;
            let at = |n: &&crate::model::note::Note| found.iter().any(|f| f.item.d.frame == n.frame);
            let moved = flow.notes.http_responses().filter(|(n, _)| at(n)).any(|(_, r)| (300..400).contains(&r.status));
            (rule, Kind::BlockPage, if moved { "redirect" } else { "body" })
        }
        Sort::Data if first.item.d.first.first() == Some(&0x15) => (rule, Kind::SniFiltering, "alert"),
        Sort::Data => (rule, Kind::PacketInjection, "data"),
        Sort::Datagram => match found.iter().find_map(|f| claim::dns_at(view, s, tap, f.item.d.frame)) {
            Some(m) if m.response && m.rcode == 3 => (rule, Kind::DnsInjection, "nxdomain"),
            Some(m) if m.response => (rule, Kind::DnsInjection, if s.lane[side].near.is_empty() { "sinkhole" } else { "race" }),
            _ if rewritten => (rule, Kind::PacketRewriting, "payload"),
            _ => (rule, Kind::PacketInjection, "datagram"),
        },
    })
}

/// Codes by which somebody on the way refuses (RFC 792, RFC 1812 §5.2.7.1, RFC 4443 §3.1), `type << 8 | code`.
fn refusal(code: u32, from_addressee: bool) -> bool {
    let (kind, code) = (code >> 8, code & 0xff);
    match kind {
        3 => matches!(code, 0 | 1 | 9 | 10 | 13) || from_addressee && matches!(code, 2 | 3),
        1 => matches!(code, 0 | 1 | 3 | 5 | 6) || from_addressee && code == 4,
        _ => false,
    }
}

/// The receiver went on after the reset: it came too late, or did not fit.
fn survived(s: &Strand<'_>, side: Side, reset: &Item<'_>) -> bool {
    let after = reset.d.ts.plus(SLACK);
    let receiver = s.lane[side.peer()].near.iter().any(|i| i.d.ts > after && !i.d.flags.rst() && i.d.len > 0);
    let more = s.lane[side].both().any(|(_, f)| f.d.ts > after && f.d.len > 0 && !f.d.flags.rst());
    receiver && more
}

/// The near packet that this one was made of: at the same place, with the same identification, and it did not arrive itself.
fn rewritten<'v, 'a>(view: &View<'_>, lane: &'v Lane<'a>, f: &Stranger<'_, '_>, up: Tap) -> Option<&'v Item<'a>> {
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

/// Something the supposed sender sent after this packet that it would not have sent had it sent this packet.
fn went_on<'v, 'a>(view: &View<'_>, lane: &'v Lane<'a>, f: &Stranger<'_, '_>, up: Tap) -> Option<&'v Item<'a>> {
    let least = view.least_at_far(up, f.item.d.ts);
    let later = |n: &Item<'_>, arrived: Option<&Item<'_>>| match least {
        Some(least) => n.d.ts > left_by(least, f.item.d.ts),
        // Without clocks the order of arrival decides.
        None => arrived.is_some_and(|a| a.d.ts > f.item.d.ts.plus(Span::from_millis(100))),
    };
    let contradicts = |n: &Item<'_>| match f.sort {
        Sort::Reset => n.d.what == What::Tcp && !n.d.flags.rst() && !n.d.flags.syn(),
        Sort::Fin => n.d.len > 0 && n.end() > f.item.end(),
        // Its next number is lower than what it would have sent.
        Sort::Data => n.d.what == What::Tcp && !n.d.flags.syn() && n.d.len == 0 && n.pos < f.item.end() && n.pos >= f.item.pos,
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

/// How much too early the packet was at the far point to answer what it acknowledges, with the frame that brought that to the near point.
fn too_early(view: &View<'_>, s: &Strand<'_>, f: &Stranger<'_, '_>, side: Side, up: Tap) -> Option<(Span, crate::model::frame::FrameNo)> {
    if !view.timed() {
        return None;
    }
    let least = view.least_at_far(up, f.item.d.ts)?;
    let question = &s.lane[side.peer()];
    // What the supposed sender had received: at its own point that direction arrives.
    let answers = |i: &Item<'_>| match f.sort {
        Sort::Datagram => true,
        Sort::Error => false,
        _ => f.item.d.flags.ack() && f.item.ack > 0 && i.end() + i64::from(i.d.flags.syn()) + i64::from(i.d.flags.fin()) >= f.item.ack,
    };
    let came = question.far.iter().filter(|i| answers(i)).min_by_key(|i| i.d.ts)?;
    let soonest = came.d.ts.plus(least).minus(JITTER);
    (f.item.d.ts < soonest).then(|| (soonest.since(f.item.d.ts), came.d.frame))
}

/// A reset beyond everything that either capture has of its sender. The near one would have had to miss more than the reset.
fn beyond<'f, 'v, 'a>(lane: &Lane<'_>, found: &'f [Stranger<'v, 'a>]) -> Option<(&'f Stranger<'v, 'a>, i64)> {
    let come = |i: &&Item<'_>| i.d.what == What::Tcp && !i.d.flags.rst();
    let reach = |i: &Item<'_>| i.end() + i64::from(i.d.flags.syn()) + i64::from(i.d.flags.fin());
    let sent = lane.near.iter().filter(come).map(reach).chain(lane.far.iter().filter(come).map(reach)).max()?;
    let of = found.iter().find(|f| f.sort == Sort::Reset && f.item.pos > sent && f.item.pos < sent + (1 << 24))?;
    (!lane.near.is_empty()).then_some((of, sent))
}

/// What the packet acknowledges never arrived at the point near its supposed sender: how many packets that point would have had to miss besides,
/// and the frame that brought the question to the other.
fn never_asked(
    view: &View<'_>,
    s: &Strand<'_>,
    found: &[Stranger<'_, '_>],
    side: Side,
    up: Tap,
) -> Option<(i32, crate::model::frame::FrameNo)> {
    let question = &s.lane[side.peer()];
    let f = found.iter().find(|f| matches!(f.sort, Sort::Data | Sort::Reset | Sort::Fin) && f.item.d.flags.ack())?;
    let had = question.far.iter().map(Item::end).max()?;
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
fn other_answer(
    view: &View<'_>,
    s: &Strand<'_>,
    found: &[Stranger<'_, '_>],
    up: Tap,
    far_tap: Tap,
) -> Option<(crate::model::frame::FrameNo, u16)> {
    let forged = found.iter().find_map(|f| claim::dns_at(view, s, far_tap, f.item.d.frame))?;
    let near = &s.lane[Side::Server].near;
    near.iter().find_map(|n| {
        let m = claim::dns_at(view, s, up, n.d.frame)?;
        (m.response && m.id == forged.id && m.qname == forged.qname && m.qtype == forged.qtype).then_some((n.d.frame, m.id))
    })
}

/// What an ICMP error quotes did not arrive either: whoever refused it stands between the points.
fn quoted_lost(s: &Strand<'_>, side: Side) -> bool {
    s.lane[side].sent().any(|(_, state)| state == Near::Lost)
}

/// The chance that the near capture missed all of these although they passed.
fn chance(ledger: &Ledger, up: Tap, far_tap: Tap, found: &[Stranger<'_, '_>], lane: &Lane<'_>) -> f64 {
    let k = clusters(found.iter().map(|f| f.item.d.ts));
    // As many packets of this sort as arrived could have been missed.
    let of_sort = match found.first().map(|f| f.sort) {
        Some(Sort::Reset) => ledger.resets[far_tap],
        _ => lane.far.len() as u64 + 16,
    };
    let p = ledger.miss_rate(up);
    (p.powi(i32::try_from(k).unwrap_or(8)) * of_sort.max(1) as f64).min(1.0)
}

/// Events, packets within [`BURST`] of one another taken as one.
fn clusters(times: impl Iterator<Item = crate::model::time::Time>) -> usize {
    let mut all: Vec<_> = times.collect();
    all.sort_unstable();
    let gaps = all.windows(2).filter(|w| matches!(w, [a, b] if b.since(*a) > BURST)).count();
    if all.is_empty() { 0 } else { gaps + 1 }
}

/// The near capture has nothing of this direction although the far one has a conversation: asymmetric routing or a filter, not forgery.
fn one_sided(lane: &Lane<'_>, sort: Sort) -> bool {
    lane.near.is_empty()
        && sort != Sort::Error
        && lane.far.iter().any(|f| f.d.what == What::Tcp && (f.d.len > 0 || f.d.flags.syn()) && !f.d.flags.rst() || lane.far.len() > TALK)
}

fn odd_ttl(lane: &Lane<'_>, found: &[Stranger<'_, '_>]) -> Option<(String, String)> {
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
fn quiet_before(lane: &Lane<'_>, reset: &Item<'_>) -> Option<Span> {
    let last = lane.far.iter().filter(|f| f.d.ts < reset.d.ts && !f.d.flags.rst()).map(|f| f.d.ts).max()?;
    let quiet = reset.d.ts.since(last);
    (quiet >= IDLE).then_some(quiet)
}

fn innocent(claim: &mut Claim, ledger: &Ledger, up: Tap, proofs: &Proofs) {
    let r = ledger.out[up];
    let measured = format!("{} missed {} of {} packets that certainly passed it", up.name(), r.missed, r.seen + r.missed);
    let why = if proofs.n > 0 {
        format!("{measured}; what the sender did shows that there was none to miss")
    } else {
        format!("{measured}: a chance of {:.1e} to have missed these", proofs.chance)
    };
    claim.excluded("the other capture missed the packet", why);
    claim.excluded("a proxy or performance box that ends the connection", "both points have the same connection, with the same numbers");
    claim.excluded("a network card that cuts or joins segments", "stream bytes and control bits were compared, not frames");
}
