//! An answer to what never reached the other point: only the receiver's capture has the flow, and the other one should have had the question.

use super::align::Item;
use super::claim::Claim;
use super::inject;
use super::ledger::{Expected, Ledger};
use super::names;
use super::proof::{self, CONFIRMED, JITTER, LIKELY, Proofs, Sort, Stranger, TALK, sort_of};
use super::view::{Strand, View};
use crate::model::finding::{Direction, Finding, Grade, Kind};
use crate::model::pair::{Fronts, PairFinding, Tap};
use crate::model::side::Side;
use crate::model::time::Span;

/// Only the receiver's capture has the flow: the answer came from between the points, if the other capture should have had the question.
pub fn judge(view: &View<'_>, ledger: &Ledger, s: &Strand<'_>, up: Tap) -> Option<PairFinding> {
    let tap = up.other();
    let expected = ledger.expected(s, tap)?;
    if !ledger.records_departures(up) {
        return None;
    }
    let mine = s.items(tap, Side::Client);
    let theirs: Vec<Item<'_>> = s.items(tap, Side::Server);
    let mut answers: Vec<Stranger<'_, '_>> =
        theirs.iter().filter(|i| !i.d.bad).filter_map(|item| Some(Stranger { item, instead: None, sort: sort_of(item)? })).collect();
    // A conversation means another way round the other point, not an answer in the server's name.
    if theirs.iter().any(|i| i.d.flags.syn()) || theirs.len() > 2 * mine.len().max(1) || theirs.len() > TALK * 2 {
        return None;
    }
    // An answer may be to the first of several questions, however late.
    let began = answers.first()?.item.d.ts;
    let question = mine.first().filter(|i| i.d.ts <= began)?;
    let took = began.since(question.d.ts);
    let there_and_back = Span::from_nanos(view.clock.uncertainty.nanos().saturating_mul(2));
    // The way to an address that never passed both points may be shorter than those that did.
    let margin = if matches!(expected, Expected::Server(_)) { JITTER } else { proof::clearly(view) };
    let timed = view.timed() && took.nanos() < there_and_back.nanos().saturating_sub(margin.nanos());
    // Where few packets passed, exchanges with this very server tell how fast it can be.
    let trips = ledger.trips(s, tap).filter(|t| t.chance(Span::from_nanos(took.nanos().saturating_add(JITTER.nanos()))) <= CONFIRMED);
    let fast = timed || trips.is_some();
    // What was quicker than that needs no record of the other point; all else needs one of these very moments.
    if !fast {
        answers.retain(|f| view.kept_before(s, tap, f.item.d.ts));
    }
    let first = answers.first()?;
    // What is at the other point under another address, at a translator's, or without what belongs to it, did pass there.
    if mine.iter().chain(&theirs).any(|i| view.elsewhere(up, i.d)) {
        return None;
    }
    let asked: Vec<&Item<'_>> = mine.iter().filter(|i| i.d.ts <= first.item.d.ts).collect();
    let said = matches!(expected, Expected::Said(_));
    // Of errors the other capture may have recorded none.
    let unheard = first.sort == Sort::Error && ledger.errors == 0;
    let questions = proof::clusters(mine.iter().filter(|i| view.kept_after(tap, i.d.ts)).map(|i| i.d.ts));
    let chance = if said {
        let question = if ledger.records_arrivals(up) { ledger.arrival_miss_rate(up) } else { 1.0 };
        let answer = if unheard { 1.0 } else { ledger.miss_rate(up) };
        question.powi(i32::try_from(questions).unwrap_or(8)) * answer
    } else {
        ledger.miss_rate(up).powi(i32::try_from(questions + 1).unwrap_or(8))
    };
    // From between the points it came if it was quicker than any packet to the other point and back, or if the other point would have seen it.
    let seen = if fast || said { LIKELY } else { CONFIRMED };
    // What was quicker than any packet to the other point and back came from between, whatever that point recorded.
    if chance > seen && !fast {
        return None;
    }
    let covered = questions > 0 && view.kept_before(s, tap, first.item.d.ts);
    let ttl = beyond_by_ttl(view, up, &answers);
    // An error that the other capture has not may be one of which it recorded too little to know the flow.
    if unheard && !fast && !said {
        return None;
    }
    // A single datagram in answer is given by whoever has the address, and one way round the other point may lead to another of these.
    let datagram = first.sort == Sort::Datagram && !matches!(expected, Expected::Everything(_));
    let told = said_of(view, s, tap);
    let split = if datagram { names::split(view, s, tap) } else { 0.0 };
    let apart = told.is_some() || split <= LIKELY;
    if datagram && !fast && !apart && !said {
        return None;
    }
    // A router without a way to the address says so, and nobody forged that.
    let no_way = match expected {
        Expected::Server(_) => None,
        _ => answers
            .iter()
            .find(|a| a.sort == Sort::Error && no_route(a.item.d.seq))
            .filter(|_| !s.at(tap).is_some_and(|f| ledger.reached(tap, f.server.ip))),
    };
    let grade = match expected {
        Expected::Server(_) if fast && (!datagram || told.is_some() || split <= CONFIRMED) => Grade::Confirmed,
        // The address was never seen beyond the other point: its own host may stand before it, unless the TTL is none it could have.
        Expected::Everything(_) if fast && ttl.is_some_and(|t| t.sure) => Grade::Confirmed,
        // Neither question nor answer was where all packets of this address were recorded. One flow is settled if the question is among what is missing.
        Expected::Said(_) if no_way.is_none() && (fast || questions > 0 && chance <= CONFIRMED && (!datagram || apart)) => Grade::Confirmed,
        _ => Grade::Likely,
    };
    let (rule, kind, mechanism) = inject::name(view, s, Side::Server, &answers, false, tap)?;
    let mut claim = Claim::new(rule, kind, mechanism, Direction::S2c, first.item.d.ts);
    claim.grade = grade;
    let frames: Vec<_> = answers.iter().take(16).map(|f| (tap, f.item.d.frame)).collect();
    let question_word = if first.sort == Sort::Error { "the packet it quotes" } else { "the question it answers" };
    if covered {
        claim.fact(
            format!("{} reached {}, but neither it nor {question_word} was ever at {}", inject::what(&answers), tap.name(), up.name()),
            format!("{} packets of this flow at {}, none at {}", mine.len() + theirs.len(), tap.name(), up.name()),
            "the server answers what reaches it",
            &frames,
        );
        let asked_frames: Vec<_> = asked.iter().map(|i| (tap, i.d.frame)).take(8).collect();
        claim.fact(
            format!("{question_word} did not arrive at {}", up.name()),
            format!("{} packets sent", mine.len()),
            "it arrives",
            &asked_frames,
        );
    } else {
        claim.fact(
            format!("{} reached {} while {} was not recording", inject::what(&answers), tap.name(), up.name()),
            format!("{} packets of this flow at {}", mine.len() + theirs.len(), tap.name()),
            "",
            &frames,
        );
    }
    inject::refused(&mut claim, view, s, &answers, tap, &frames);
    if fast {
        let expected = match trips {
            Some(t) if !timed => format!("{} in {} exchanges with this server, the server's own time taken off", t.range(), t.n),
            _ => format!("at least {there_and_back}"),
        };
        claim.fact(
            format!("it came sooner than any packet can go to {} and back", up.name()),
            format!("{took}"),
            expected,
            &[(tap, question.d.frame), (tap, first.item.d.frame)],
        );
    }
    match expected {
        Expected::Server(n) => {
            let why = format!("this server's other connections, {n}, passed both points");
            claim.excluded("another way that avoids the other point", why);
            const OTHER: &str = "another server with this address, or a resolver's cache between the points";
            match told {
                Some(f) if datagram => {
                    let why = format!("to {} alone what it says is {} {} already", tap.name(), f.grade.name(), f.kind.name());
                    claim.excluded(OTHER, why);
                }
                _ if datagram && split <= LIKELY => {
                    let why = format!("neither goes by the name asked for: by chance flows part by name like this {split:.1e} of the time");
                    claim.excluded(OTHER, why);
                }
                _ if datagram => {
                    claim.stands(OTHER, "too few questions were asked to tell ways by port from answers by name");
                    claim.needs.push("the same questions asked more often, from other ports");
                }
                _ => {}
            }
        }
        Expected::Everything(n) => {
            let why = format!("the other point has the client's other connections, {n}, to all servers");
            claim.excluded("another way that avoids the other point", why);
            if let Some(Ttl { came, fewest, .. }) = ttl {
                let why = format!("TTL {came} is that of a host {fewest} or more routers away");
                claim.excluded("the server itself stands between the points", why);
                if datagram && !fast && !apart {
                    // One question and one answer are the least that a capture can miss of a conversation, and such flows are many.
                    claim.needs.push("the same questions asked more often, from other ports");
                }
            } else {
                claim.stands("the server itself stands between the points", "the other point has nothing of this address at all");
            }
            claim.needs.push(word(up));
        }
        Expected::Said(net) => {
            let why = format!("{} {net}: {} recorded every packet of this address", Fronts::option(up), up.name());
            claim.excluded("another way that avoids the other point", why.clone());
            claim.excluded("the server itself stands between the points", why);
        }
    }
    if no_way.is_some() {
        claim.stands(
            "no route to this address",
            "nothing to it or its neighbours passed both points, and a router without a way to it says just that",
        );
    }
    inject::innocent(&mut claim, ledger, up, &Proofs { n: u32::from(fast), chance });
    let claim_rests_on_ways = claim.grade == Grade::Likely;
    let mut out = claim.about(view, s);
    // Flows to a server whose other flows all passed both points are independent of one another: of `n`, not many more than three in `n` go another way.
    // An address of which nothing is known is one question, however often it is asked.
    out.chance = match expected {
        Expected::Server(n) if claim_rests_on_ways => Some(chance.max(3.0 / (f64::from(n) + 3.0))),
        Expected::Said(_) if claim_rests_on_ways && !datagram => Some(chance),
        _ => None,
    };
    Some(out)
}

/// What the receiver's own capture makes of an answer by what it says, when and with which TTL, no innocent cause standing.
fn said_of<'a>(view: &View<'a>, s: &Strand<'_>, tap: Tap) -> Option<&'a Finding> {
    let id = s.at(tap)?.id;
    let story = view.stories[tap];
    let of = |f: &&Finding| f.kind == Kind::DnsInjection && f.mechanism != "drop" && f.grade >= Grade::Likely && f.flows.contains(&id);
    story.findings.iter().find(of)
}

/// What would settle whether a point should have had a flow: the user's word.
pub const fn word(up: Tap) -> &'static str {
    match up {
        Tap::A => "--a-has ADDRESS (the target's), if A recorded every packet of it",
        Tap::B => "--b-has ADDRESS (the target's), if B recorded every packet of it",
    }
}

/// Errors by which a router says that it has no way to an address (RFC 792, RFC 4443 §3.1).
const fn no_route(code: u32) -> bool {
    matches!((code >> 8, code & 0xff), (3, 0 | 1) | (1, 0 | 3))
}

/// First TTLs that operating systems give.
const FIRST: [u8; 4] = [32, 64, 128, 255];

/// A TTL that no host between the points gives.
#[derive(Clone, Copy)]
struct Ttl {
    came: u8,
    /// Fewest routers that explain it.
    fewest: u8,
    /// They are as many as on the longest way between the points that was seen.
    sure: bool,
}

/// Whether no host between the points can have sent the answers: whatever TTL it began with, more routers than there are lie behind it.
fn beyond_by_ttl(view: &View<'_>, up: Tap, answers: &[Stranger<'_, '_>]) -> Option<Ttl> {
    let (shortest, longest) = view.hops(up)?;
    let away = |ttl: u8| FIRST.iter().filter_map(|f| f.checked_sub(ttl)).min();
    let all = answers.iter().map(|f| Some((f.item.d.ttl, away(f.item.d.ttl)?)));
    let (came, fewest) = all.collect::<Option<Vec<_>>>()?.into_iter().min_by_key(|a| a.1)?;
    (shortest > 0 && fewest >= shortest).then_some(Ttl { came, fewest, sure: fewest >= longest })
}
