//! What the comparison found, put in order: findings of one cause together, every flow's sums, and what each end alone had said.

use super::align::{Far, Near};
use super::digest::{Tape, What};
use super::ledger::Ledger;
use super::view::{Strand, View};
use crate::model::finding::{Direction, Finding, Grade, Kind, Target};
use crate::model::flow::{FlowId, Outcome};
use crate::model::key::Proto;
use crate::model::pair::{Delay, EndSaid, EndVerdict, Fronts, PairFinding, PairFlow, Pairing, Path, PerTap, STRETCHES, Stretch, Tap, Way};
use crate::model::side::{PerSide, Side};
use crate::model::source::CannotClaim;
use crate::model::time::{Span, Time};
use hashbrown::{HashMap, HashSet};
use sha2::{Digest as _, Sha256};
use std::fmt::Write;

/// Most frames a finding names of each capture.
const FRAMES_MAX: usize = 64;

/// The whole result.
pub fn pairing(view: &View<'_>, ledger: &Ledger, found: Vec<PairFinding>, tapes: [&Tape; 2]) -> Pairing {
    let mut findings = merge(found);
    for f in &mut findings {
        f.ends = Tap::BOTH.iter().map(|t| end_said(view, f, *t)).collect();
    }
    let not_between = not_between(view, &findings);
    let mut bounds_hit = Vec::new();
    for (tape, tap) in tapes.iter().zip(Tap::BOTH) {
        if tape.dropped > 0 {
            bounds_hit.push(format!("{} packets of {} were not compared: --max-memory was reached", tape.dropped, tap.name()));
        }
    }
    Pairing {
        clock: view.clock.clone(),
        flows: view.strands.iter().map(|s| flow(view, s)).collect(),
        paths: PerTap { a: path(view, Tap::A), b: path(view, Tap::B) },
        findings,
        not_between,
        fronts: view.fronts.clone(),
        cannot_claim: cannot(view, ledger),
        bounds_hit,
    }
}

/// What rests on absence alone is likely in one flow; several flows to one target, each of which a capture would have had to miss by its own accident,
/// are a significant difference against the thousands of packets it did not miss. Nothing else is in doubt: what is proved on one flow stands for itself.
fn pool(found: &mut [PairFinding]) {
    let key = |f: &PairFinding| (f.finding.rule, f.finding.kind, f.finding.direction, target_key(&f.finding.target));
    let mut together: HashMap<_, (u32, f64)> = HashMap::new();
    for f in found.iter() {
        if let Some(chance) = f.chance {
            let sum = together.entry(key(f)).or_insert((0, 1.0));
            *sum = (sum.0 + 1, sum.1 * chance);
        }
    }
    // The same thing, proved on another connection to the same target: the coincidence would have to be a double one.
    let proved: HashSet<_> = found.iter().filter(|f| f.finding.grade == Grade::Confirmed).map(key).collect();
    for f in found.iter_mut().filter(|f| f.chance.is_some() && f.finding.grade == Grade::Likely) {
        let k = key(f);
        if proved.contains(&k) || together.get(&k).is_some_and(|(n, c)| *n >= 2 && *c <= super::proof::CONFIRMED) {
            f.finding.grade = Grade::Confirmed;
        }
    }
}

/// Findings with the same rule, mechanism, grade, direction and target become one.
fn merge(mut found: Vec<PairFinding>) -> Vec<PairFinding> {
    pool(&mut found);
    type Key = (&'static str, &'static str, Grade, Option<Direction>, String);
    let mut order: Vec<PairFinding> = Vec::new();
    let mut at: HashMap<Key, usize> = HashMap::new();
    for f in found {
        let g = &f.finding;
        let key = (g.rule, g.mechanism, g.grade, g.direction, target_key(&g.target));
        match at.get(&key).and_then(|i| order.get_mut(*i)) {
            Some(into) => {
                into.finding.started = into.finding.started.min(f.finding.started);
                into.finding.flows.extend(f.finding.flows);
                into.finding.frames.extend(f.finding.frames);
                into.frames_b.extend(f.frames_b);
                if into.finding.target.ip != f.finding.target.ip {
                    into.finding.target.ip = None;
                }
            }
            None => {
                at.insert(key, order.len());
                order.push(f);
            }
        }
    }
    for f in &mut order {
        f.finding.flows.sort_unstable();
        f.finding.flows.dedup();
        for frames in [&mut f.finding.frames, &mut f.frames_b] {
            frames.sort_unstable();
            frames.dedup();
            frames.truncate(FRAMES_MAX);
        }
        f.finding.id = id_of(&f.finding);
    }
    order.sort_by(|a, b| (a.finding.started, &a.finding.flows, a.finding.rule).cmp(&(b.finding.started, &b.finding.flows, b.finding.rule)));
    order
}

fn target_key(t: &Target) -> String {
    let mut key = format!("{:?}|{:?}|{:?}|{:?}", t.service, t.sni, t.host, t.qname);
    if t.sni.is_none() && t.host.is_none() && t.qname.is_none() {
        let _ = write!(key, "|{:?}", t.ip);
    }
    key
}

/// A content hash: the same captures give the same id on any machine.
fn id_of(f: &Finding) -> Box<str> {
    let text = format!("{}|{}|{}|{:?}|{}|{:?}", f.rule, f.mechanism, target_key(&f.target), f.direction, f.started.nanos(), f.frames);
    let hash = Sha256::digest(text.as_bytes());
    hash.iter()
        .take(6)
        .fold(String::with_capacity(12), |mut out, b| {
            let _ = write!(out, "{b:02x}");
            out
        })
        .into()
}

fn has_flow(f: &Finding, tap: Tap) -> impl Iterator<Item = FlowId> + '_ {
    f.flows.iter().copied().filter(move |id| id.source as usize == tap.index())
}

/// What an end alone made of the flows of a finding.
fn end_said(view: &View<'_>, f: &PairFinding, tap: Tap) -> EndSaid {
    let story = view.stories[tap];
    let flows: HashSet<FlowId> = has_flow(&f.finding, tap).collect();
    let said = |verdict, finding: Option<&Finding>, says: String| EndSaid { tap, finding: finding.map(|g| g.id.clone()), verdict, says };
    if flows.is_empty() {
        return said(EndVerdict::Unseen, None, format!("{} has nothing of it", tap.name()));
    }
    let outcomes = |word: &str| {
        let n = story.flows.iter().filter(|r| flows.contains(&r.id)).count();
        let fine = story.flows.iter().filter(|r| flows.contains(&r.id) && r.outcome == Outcome::Ok).count();
        format!("{word}; {fine} of {n} flows looked well to it")
    };
    let own: Vec<&Finding> = story.findings.iter().filter(|g| g.flows.iter().any(|id| flows.contains(id))).collect();
    let related = |g: &&&Finding| class(g.kind) == class(f.finding.kind) && is_drop(g) == is_drop(&f.finding);
    if let Some(g) = own.iter().filter(|g| g.kind == f.finding.kind).max_by_key(|g| g.grade).or_else(|| own.iter().find(related)) {
        return said(EndVerdict::Agrees, Some(g), format!("{} alone says {} ({})", tap.name(), g.kind.name(), g.grade.name()));
    }
    if let Some(g) = own.iter().max_by_key(|g| g.grade) {
        return said(EndVerdict::OtherKind, Some(g), format!("{} alone says {} ({})", tap.name(), g.kind.name(), g.grade.name()));
    }
    said(EndVerdict::Missed, None, outcomes(&format!("{} alone finds nothing", tap.name())))
}

/// Kinds that one mechanism may be told as.
const fn class(kind: Kind) -> u8 {
    match kind {
        Kind::RstInjection | Kind::SniFiltering | Kind::BlockPage | Kind::PacketInjection | Kind::PacketRewriting => 0,
        Kind::ConnectionFreeze | Kind::IpBlocking | Kind::Residual => 1,
        Kind::Throttling => 2,
        Kind::DnsInjection => 3,
        Kind::QuicBlocking | Kind::UdpBlocking | Kind::ProtocolBlocking => 4,
    }
}

/// The finding is about packets that vanished.
fn is_drop(f: &Finding) -> bool {
    match f.kind {
        Kind::SniFiltering => !matches!(f.mechanism, "reset" | "alert"),
        Kind::DnsInjection => f.mechanism == "drop",
        Kind::IpBlocking => f.mechanism == "syn_silent",
        Kind::ConnectionFreeze | Kind::QuicBlocking | Kind::UdpBlocking | Kind::ProtocolBlocking | Kind::Residual => true,
        Kind::RstInjection | Kind::BlockPage | Kind::Throttling | Kind::PacketInjection | Kind::PacketRewriting => false,
    }
}

/// Findings of one end about flows in which every packet passed between the points unchanged: whatever happened, it did not happen there.
fn not_between(view: &View<'_>, found: &[PairFinding]) -> Vec<EndSaid> {
    let mut out = Vec::new();
    let mut strands: HashMap<FlowId, &Strand<'_>> = HashMap::new();
    for s in &view.strands {
        for tap in Tap::BOTH {
            strands.extend(s.at(tap).map(|f| (f.id, s)));
        }
    }
    for tap in Tap::BOTH {
        for g in &view.stories[tap].findings {
            if found.iter().any(|f| f.finding.flows.iter().any(|id| g.flows.contains(id))) {
                continue;
            }
            let all: Vec<&&Strand<'_>> = g.flows.iter().filter_map(|id| strands.get(id)).collect();
            let whole = |s: &&&Strand<'_>| {
                let way = Side::BOTH.map(|side| way(view, s, side));
                s.both()
                    && !s.terminated
                    && way.iter().all(|w| w.unsent == 0 && w.lost * 200 <= w.sent)
                    && way.iter().any(|w| w.arrived > 0)
            };
            if all.is_empty() || !all.iter().all(whole) {
                continue;
            }
            let resets = matches!(g.kind, Kind::RstInjection) || g.mechanism == "reset";
            let says = if resets {
                format!(
                    "{} alone says {} ({}): its resets passed both points, whoever sent them stands beyond",
                    tap.name(),
                    g.kind.name(),
                    g.grade.name()
                )
            } else {
                format!(
                    "{} alone says {} ({}): nothing was lost, added or changed between the points",
                    tap.name(),
                    g.kind.name(),
                    g.grade.name()
                )
            };
            out.push(EndSaid { tap, finding: Some(g.id.clone()), verdict: EndVerdict::NotBetween, says });
        }
    }
    out
}

fn way(view: &View<'_>, s: &Strand<'_>, side: Side) -> Way {
    let (Some(up), lane) = (s.up(side), &s.lane[side]) else { return Way::default() };
    let mut w = Way::default();
    let mut delays: Vec<Span> = Vec::new();
    for (n, state) in lane.sent() {
        match state {
            Near::Match(j) => {
                w.sent += 1;
                w.arrived += 1;
                delays.extend(lane.far.get(j).and_then(|f| view.delay(up, n.d.ts, f.d.ts)));
            }
            Near::Arrived => {
                w.sent += 1;
                w.arrived += 1;
            }
            Near::Missed => w.missed += 1,
            Near::Lost if view.kept_after(up, n.d.ts) => {
                w.sent += 1;
                // Lone acknowledgements are joined and thinned out on the way.
                let pure = n.d.what == What::Tcp && n.d.len == 0 && n.d.control() == 0;
                w.lost += u64::from(!pure);
                w.arrived += u64::from(pure);
            }
            Near::Lost => {}
        }
    }
    for (f, state) in lane.came() {
        match state {
            Far::Unsent | Far::Differs(_) if view.kept_before(s, up.other(), f.d.ts) && !s.terminated => w.unsent += 1,
            Far::Missed if f.d.len > 0 => w.missed += 1,
            _ => {}
        }
    }
    w.delay = spread(delays);
    w
}

fn spread(mut all: Vec<Span>) -> Option<Delay> {
    all.sort_unstable();
    let at = |share: usize| all.get(all.len().saturating_sub(1) * share / 100).copied();
    Some(Delay { min: at(0)?, median: at(50)?, p95: at(95)? })
}

fn flow(view: &View<'_>, s: &Strand<'_>) -> PairFlow {
    PairFlow {
        ids: PerTap { a: s.flow.a.map(|f| f.id), b: s.flow.b.map(|f| f.id) },
        matched: s.how,
        near: if s.both() { s.near } else { None },
        way: if s.both() { PerSide { client: way(view, s, Side::Client), server: way(view, s, Side::Server) } } else { PerSide::default() },
        changes: changes(s),
        terminated: s.terminated,
    }
}

/// What the path changes in headers, as routers, translators and firewalls do.
fn changes(s: &Strand<'_>) -> Vec<&'static str> {
    let mut out = Vec::new();
    let (Some(a), Some(b)) = (s.flow.a, s.flow.b) else { return out };
    let ends = |f: &super::TapeFlow, flip: bool| if flip { (f.server, f.client) } else { (f.client, f.server) };
    let ((ac, as_), (bc, bs)) = (ends(a, false), ends(b, s.flipped));
    if ac.ip != bc.ip || as_.ip != bs.ip {
        out.push("address");
    }
    if ac.port != bc.port || as_.port != bs.port {
        out.push("port");
    }
    for side in Side::BOTH {
        let o = s.offers(side);
        if let (Some(x), Some(y)) = (o.a, o.b) {
            if x.mss != y.mss {
                out.push("mss");
            }
            if x.kinds != y.kinds {
                out.push("options");
            }
        }
    }
    if s.shifted {
        out.push("sequence");
    }
    let any = |differs: fn(&super::Digest, &super::Digest) -> bool| {
        Side::BOTH.iter().any(|side| {
            let (n, d) = s.lane[*side].both().fold((0u32, 0u32), |(n, d), (x, y)| (n + 1, d + u32::from(differs(x.d, y.d))));
            d * 2 > n
        })
    };
    if any(|x, y| x.window != y.window && x.what == What::Tcp) {
        out.push("window");
    }
    if any(|x, y| x.ip_id.is_some() && x.ip_id != y.ip_id) {
        out.push("ip_id");
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// All packets leaving one point towards the other.
fn path(view: &View<'_>, up: Tap) -> Path {
    let mut sum = Way::default();
    let mut delays = Vec::new();
    let mut all: Vec<(Time, bool, Option<Span>)> = Vec::new();
    for s in view.strands.iter().filter(|s| s.both()) {
        for side in Side::BOTH {
            if s.up(side) != Some(up) {
                continue;
            }
            let w = way(view, s, side);
            sum.sent += w.sent;
            sum.arrived += w.arrived;
            sum.lost += w.lost;
            sum.unsent += w.unsent;
            sum.missed += w.missed;
            let lane = &s.lane[side];
            for (n, state) in lane.sent() {
                match state {
                    Near::Match(j) => {
                        let d = lane.far.get(j).and_then(|f| view.delay(up, n.d.ts, f.d.ts));
                        delays.extend(d);
                        all.push((n.d.ts, false, d));
                    }
                    Near::Lost if n.d.len > 0 && view.kept_after(up, n.d.ts) => all.push((n.d.ts, true, None)),
                    _ => {}
                }
            }
        }
    }
    sum.delay = spread(delays);
    all.sort_unstable_by_key(|p| p.0);
    Path { way: sum, over_time: over_time(&all) }
}

fn over_time(all: &[(Time, bool, Option<Span>)]) -> Vec<Stretch> {
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return Vec::new() };
    let width = (last.0.since(first.0).nanos() / STRETCHES as i64).max(1_000_000_000);
    all.chunk_by(|a, b| a.0.since(first.0).nanos() / width == b.0.since(first.0).nanos() / width)
        .map(|part| Stretch {
            from: part.first().map_or(first.0, |p| first.0.plus(Span::from_nanos(p.0.since(first.0).nanos() / width * width))),
            sent: part.len() as u64,
            lost: part.iter().filter(|p| p.1).count() as u64,
            delay: spread(part.iter().filter_map(|p| p.2).collect()).map(|d| d.median),
        })
        .collect()
}

fn cannot(view: &View<'_>, ledger: &Ledger) -> Vec<CannotClaim> {
    let mut out = Vec::new();
    let mut say = |claim, why: String| out.push(CannotClaim { claim, why });
    let both = view.strands.iter().filter(|s| s.both()).count();
    if both == 0 {
        say("anything", "the captures have no connection in common".into());
        return out;
    }
    for (tap, front) in ledger.fronts.refuted() {
        let why = format!("{} {}: {}", Fronts::option(tap), front.net, front.refuted.as_deref().unwrap_or_default());
        say("what rests on the word that a capture has all packets of an address", why);
    }
    if let Some(why) = view.clock.why_not {
        say("delays and rates between the points", format!("the clocks cannot be aligned: {why}"));
    }
    for tap in Tap::BOTH {
        if !ledger.records_departures(tap) {
            say(
                if tap == Tap::A { "injection of packets that reach B" } else { "injection of packets that reach A" },
                format!(
                    "{} recorded no packet on its way to {} that also arrived: it saw one direction only, or none of it passed",
                    tap.name(),
                    tap.other().name()
                ),
            );
        }
        let r = ledger.out[tap];
        if r.missed * 200 > r.seen {
            say(
                "a single absent packet",
                format!("{} missed {} of {} packets that certainly passed it", tap.name(), r.missed, r.seen + r.missed),
            );
        }
    }
    let terminated = view.strands.iter().filter(|s| s.terminated).count();
    if terminated > 0 {
        say("what happened in proxied connections", format!("{terminated} connections end between the points and go on as others"));
    }
    let unsure = view.strands.iter().filter(|s| s.both() && s.near.is_none()).count();
    if unsure > 0 {
        let why = format!(
            "for {unsure} flows nobody can tell which point is nearer the client; --a-has and --b-has say what each capture stands in front of"
        );
        say("directions", why);
    }
    let cut = view.strands.iter().filter(|s| s.both()).flat_map(|s| [s.flow.a, s.flow.b]).flatten();
    let (n, short) = cut
        .flat_map(|f| f.packets.iter().filter(|d| d.len > 0 && f.proto == Proto::TCP))
        .fold((0u64, 0u64), |(n, c), d| (n + 1, c + u64::from(!d.whole())));
    if short * 2 > n {
        say("changes inside payloads", "most packets were cut short by the snap length of a capture".into());
    }
    out
}
