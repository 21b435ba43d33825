//! A packet that was received and that nobody sent.
//!
//! Its absence at the point near its supposed sender is not enough: a capture misses packets. What settles it is behaviour: the sender went on as if
//! it had not sent it, sent something else in its place, or could not have sent it yet because what it answers had not arrived.

use super::align::{Far, Item, SLACK};
use super::answered;
use super::claim::{self, Claim};
use super::ledger::Ledger;
use super::proof::{self, LIKELY, LIKELY_OF_A_LOSSY, Proofs, Sort, Stranger, TALK, sort_of};
use super::view::{Strand, View};
use crate::model::finding::{Direction, Grade, Kind};
use crate::model::flow::IcmpSeen;
use crate::model::frame::FrameNo;
use crate::model::pair::{PairFinding, Tap};
use crate::model::side::Side;

/// Protocols whose payload address translators rewrite as a service (FTP, H.323, SIP, RTSP, PPTP).
const HELPED: [u16; 6] = [21, 554, 1720, 1723, 5060, 5061];

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
            out.extend(answered::judge(view, ledger, s, up));
        }
    }
    out
}

fn strangers<'v, 'a>(view: &View<'_>, s: &'v Strand<'a>, side: Side, far_tap: Tap, sort: Sort) -> Vec<Stranger<'v, 'a>> {
    s.lane[side]
        .came()
        .filter_map(|(item, state)| {
            let instead = match state {
                Far::Unsent => None,
                Far::Differs(i) => Some(i),
                _ => return None,
            };
            let of = sort_of(item)?;
            let kept = || {
                view.kept_before(s, far_tap, item.d.ts) || sort == Sort::Datagram && view.kept_since_question(s, far_tap.other(), item.d)
            };
            // A translator that forgot a connection goes on with it as another.
            let elsewhere = || view.elsewhere(far_tap.other(), item.d);
            let stranger = Stranger { item, instead, sort: of };
            // What could not come so soon from beyond the near point needs no record of it.
            let early = || proof::too_early(view, s, &stranger, side, far_tap.other()).is_some_and(|(by, _)| by > proof::clearly(view));
            (of == sort && !item.d.bad && (kept() || early()) && !elsewhere()).then_some(stranger)
        })
        .collect()
}

fn couple(view: &View<'_>, ledger: &Ledger, s: &Strand<'_>, side: Side, up: Tap, sort: Sort) -> Option<PairFinding> {
    let lane = &s.lane[side];
    let far_tap = up.other();
    let found = strangers(view, s, side, far_tap, sort);
    let first = found.first()?;
    if !ledger.records_departures(up) || proof::one_sided(lane, sort) {
        return None;
    }
    if sort == Sort::Datagram && lane.far.len() > TALK {
        return None;
    }
    if first.instead.is_some() && s.any().is_some_and(|f| HELPED.contains(&f.server.port) || HELPED.contains(&f.client.port)) {
        return None;
    }
    let rewritten = found.iter().find_map(|f| proof::rewritten(view, lane, f, up));
    let (rule, kind, mechanism) = name(view, s, side, &found, rewritten.is_some(), far_tap)?;
    let mut claim = Claim::new(rule, kind, mechanism, Direction::from_side(side), first.item.d.ts);
    let frames: Vec<_> = found.iter().take(16).map(|f| (far_tap, f.item.d.frame)).collect();
    claim.fact(
        format!("{} reached {} and did not leave {}", what(&found), far_tap.name(), up.name()),
        format!("{} of {} packets of this direction have no counterpart", found.len(), lane.far.len()),
        "every packet received was sent",
        &frames,
    );
    let whole = ledger.whole(up);
    let mut proofs = Proofs { n: 0, chance: proof::chance(view, ledger, up, far_tap, &found, lane) };
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
    // Where such packets pass both points, what the sender did settles nothing, and only a capture that misses little can say that some did not.
    let reset = matches!(sort, Sort::Reset | Sort::Fin);
    let beyond = reset && rewritten.is_none() && proof::forged_beyond(lane);
    if beyond && proofs.chance > LIKELY {
        return None;
    }
    for f in found.iter().take(16) {
        if let Some(n) = proof::went_on(view, lane, f, up) {
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
    let overtook = |f| proof::overtook(view, lane, f, up).map(|(n, times)| (f, n, times));
    if proofs.n == 0
        && let Some((f, n, times)) = found.iter().take(16).find_map(overtook)
    {
        claim.fact(
            format!("had {} sent it after all else, it would have overtaken a packet on its way to {}", up.name(), far_tap.name()),
            format!("it came before {} with {} bytes at position {}", n.d.flags, n.d.len, n.pos),
            format!("packets come in the order they left, as {times} did, or hardly later"),
            &[(up, n.d.frame), (far_tap, f.item.d.frame)],
        );
        // That none of so many did bounds how often one does (rule of three).
        proofs.unless_missed(false, 3.0 / times as f64);
    }
    for f in found.iter().take(16) {
        if let Some(early) = proof::too_early(view, s, f, side, up) {
            claim.fact(
                format!("it was at {} before what it answers could be answered from beyond {}", far_tap.name(), up.name()),
                format!("{} too early for the fastest packet between the points", early.0),
                "an answer leaves after the question has arrived",
                &[early.1, (far_tap, f.item.d.frame)],
            );
            // Reckoned from the question's departure at the far point it rests on that capture alone. What a client acknowledges may be forged itself.
            let alone = early.1.0 == far_tap && side == Side::Server && ledger.whole(far_tap);
            proofs.unless_missed(whole || alone, ledger.arrival_miss_rate(up));
            break;
        }
    }
    if sort == Sort::Datagram
        && let Some((near, id)) = proof::other_answer(view, s, &found, up, far_tap)
    {
        claim.fact(
            "the server sent its own answer to this question, and it is another one",
            format!("DNS id 0x{id:04x}"),
            "one answer to a question",
            &[(up, near), (far_tap, first.item.d.frame)],
        );
        // Servers that answer twice are rare, and of one that does a capture may have half.
        proofs.unless_missed(whole, 0.5);
    }
    if sort == Sort::Error && proof::quoted_lost(s, side.peer()) {
        proofs.unless_missed(whole, ledger.arrival_miss_rate(up));
    }
    if let Some((f, sent)) = proof::beyond(lane, &s.lane[side.peer()], &found) {
        claim.fact(
            "it stands beyond anything its supposed sender had sent",
            format!("at position {}, the sender had come to {sent}", f.item.pos),
            "a stack resets at the position it has come to",
            &[(far_tap, f.item.d.frame)],
        );
        // The bytes up to there would have been missed at both points, and the reset at one.
        proofs.unless_missed(false, ledger.miss_rate(up) * ledger.arrival_miss_rate(far_tap));
    }
    if let Some((k, asked)) = proof::never_asked(view, s, &found, side, up) {
        claim.fact(
            format!("it answers what never arrived at {}", up.name()),
            format!("bytes up to position {} were lost before", first.item.ack),
            "a server answers what reaches it",
            &[(far_tap, asked), (far_tap, first.item.d.frame)],
        );
        proofs.chance *= ledger.arrival_miss_rate(up).powi(k);
    }
    if let Some((ttls, own)) = proof::odd_ttl(lane, &found) {
        claim.fact("its TTL is none that packets of this sender have here", ttls, own, &frames);
        proofs.chance *= 0.05;
    }
    refused(&mut claim, view, s, &found, far_tap, &frames);
    // A closed port answers with an error too, and of those a capture that cuts or misses packets may know none.
    if sort == Sort::Error && proofs.n == 0 && (!whole || ledger.errors == 0) {
        return None;
    }
    claim.grade = match (proofs.n, proofs.chance) {
        (1.., _) if !beyond => Grade::Confirmed,
        // A capture that has no reset at all may have been told to leave them out.
        _ if sort == Sort::Reset && !ledger.has_resets[up] => return None,
        // Absence proves nothing of one flow: several together may (`report::pool`).
        (_, c) if c <= if whole { LIKELY } else { LIKELY_OF_A_LOSSY } => Grade::Likely,
        _ => return None,
    };
    if s.shifted && proofs.n == 0 {
        return None;
    }
    innocent(&mut claim, ledger, up, &proofs);
    if reset && let Some(quiet) = proof::quiet_before(lane, first.item) {
        claim.stands(
            "idle timeout of a device on the way",
            format!("nothing had passed for {quiet}; a NAT, firewall or load balancer may have made it"),
        );
    }
    let mut out = claim.about(view, s);
    out.chance = (proofs.n == 0).then_some(proofs.chance);
    Some(out)
}

/// Tells who sent a router's refusal and what it says, if the strangers are one.
pub fn refused(claim: &mut Claim, view: &View<'_>, s: &Strand<'_>, found: &[Stranger<'_, '_>], tap: Tap, frames: &[(Tap, FrameNo)]) {
    let flow = claim::record(view, s, tap).map(|(flow, _)| flow).filter(|_| found.first().is_some_and(|f| f.sort == Sort::Error));
    let seen = flow.and_then(|flow| flow.icmp.iter().find(|i| found.iter().any(|f| f.item.d.frame == i.at.frame)));
    if let Some((seen, words)) = seen.and_then(|i| Some((i, words(i)?))) {
        claim.fact("the error says who refuses", format!("{}: {words}", seen.from), "", frames);
    }
}

/// What an ICMP error says (RFC 792, RFC 1812 section 5.2.7.1, RFC 4443 section 3.1).
const fn words(seen: &IcmpSeen) -> Option<&'static str> {
    Some(match (seen.version, seen.kind, seen.code) {
        (4, 3, 0) => "network unreachable",
        (4, 3, 1) => "host unreachable",
        (4, 3, 2) => "protocol unreachable",
        (4, 3, 3) | (6, 1, 4) => "port unreachable",
        (4, 3, 9) => "communication with the network is administratively prohibited",
        (4, 3, 10) => "communication with the host is administratively prohibited",
        (4, 3, 13) | (6, 1, 1) => "communication is administratively prohibited",
        (6, 1, 0) => "no route to the destination",
        (6, 1, 3) => "address unreachable",
        (6, 1, 5) => "the source address failed a policy",
        (6, 1, 6) => "the route to the destination rejects",
        _ => return None,
    })
}

/// Strangers in words.
pub fn what(found: &[Stranger<'_, '_>]) -> String {
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
pub fn name(
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
            ("pair.refused", Kind::IpBlocking, "icmp")
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

/// The innocent causes that every such finding excludes.
pub fn innocent(claim: &mut Claim, ledger: &Ledger, up: Tap, proofs: &Proofs) {
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
