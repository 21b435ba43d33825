//! A rate between the two points: a policer drops what exceeds it, a shaper makes it wait; both in one service's flows only.
//!
//! Flows of one name (or one server) are taken together, for a bucket may be shared. What speaks for a limit is loss or waiting that others do not share
//! while the path carries less than it is known to carry.

use super::align::Near;
use super::claim::{self, Claim};
use super::digest::What;
use super::ledger::Ledger;
use super::view::View;
use crate::model::finding::{Control, Direction, Kind};
use crate::model::frame::FrameNo;
use crate::model::pair::{PairFinding, Tap};
use crate::model::side::Side;
use crate::model::time::{Span, Time};
use std::collections::BTreeMap;

/// Bins in which rates are counted.
const BIN: Span = Span::from_millis(250);
/// Bins of a window.
const WINDOW: usize = 4;
/// Fewest lost packets.
const LOST_MIN: u64 = 8;
/// Least share of lost packets.
const SHARE_MIN: f64 = 0.015;
/// Losses in a row that count.
const RUN: u32 = 5;
/// Fewest times that loss followed an arrival.
const RUNS_MIN: u64 = 5;
/// How much rarer loss is with all others.
const RARER: f64 = 5.0;
/// Chance below which it is no accident that others lost so few.
const CHANCE: f64 = 1e-4;
/// Fewest packets of others.
const OTHERS_MIN: u64 = 60;
/// Share of what the path is known to carry above which it counts as full.
const FULL: f64 = 0.6;
/// Waiting that counts.
const WAIT: Span = Span::from_millis(60);
/// Waiting of the packet before a lost one that shows a queue.
const QUEUED: Span = Span::from_millis(20);
/// Most bins looked at.
const BINS_MAX: usize = 1 << 16;

/// A packet that left a point.
#[derive(Clone, Copy)]
struct Sent {
    at: Time,
    bytes: u64,
    /// Delay beyond the least of its group; `None` if it was lost or the clocks are unknown.
    wait: Option<Span>,
    lost: bool,
    /// The packet that arrived before it had waited in a queue.
    queued: bool,
    /// It carries payload: lone acknowledgements wait for reasons of their own.
    data: bool,
    /// A lone acknowledgement: one that is missing was joined with the next or thinned out, as devices may. It speaks against a limit, not for one.
    lone: bool,
    frame: FrameNo,
}

/// Flows of one name in one direction.
#[derive(Default)]
struct Group {
    strands: Vec<usize>,
    packets: Vec<Sent>,
}

impl Group {
    fn lost(&self) -> usize {
        self.packets.iter().filter(|p| p.lost).count()
    }
}

/// Judges all groups of both directions.
pub fn judge(view: &View<'_>, ledger: &Ledger) -> Vec<PairFinding> {
    let mut out = Vec::new();
    if view.clock.offset.is_none() {
        return out;
    }
    for up in Tap::BOTH {
        for side in Side::BOTH {
            let groups = groups(view, up, side);
            for (i, _) in groups.iter().enumerate() {
                out.extend(limited(view, ledger, &groups, i, up, side));
            }
        }
    }
    out
}

/// Groups of one direction, in the order of their first flows.
fn groups(view: &View<'_>, up: Tap, side: Side) -> Vec<Group> {
    let mut by_name: BTreeMap<String, Group> = BTreeMap::new();
    for (index, s) in view.strands.iter().enumerate() {
        if !s.both() || !s.judged() || s.up(side) != Some(up) || s.terminated {
            continue;
        }
        let all = claim::records(view, s);
        let name = all.iter().find_map(|(f, _)| f.asked_name().map(str::to_owned));
        let name = name.unwrap_or_else(|| s.any().map_or_else(String::new, |f| f.server.ip.to_string()));
        let g = by_name.entry(name).or_default();
        g.strands.push(index);
        let lane = &s.lane[side];
        let delays: Vec<Option<Span>> = lane
            .sent()
            .map(|(n, state)| match state {
                Near::Match(j) => lane.far.get(j).and_then(|f| view.delay(up, n.d.ts, f.d.ts)),
                _ => None,
            })
            .collect();
        let least = delays.iter().flatten().min().copied().unwrap_or(Span::ZERO);
        let mut before = Span::ZERO;
        // A way that is closed for good is not a rate.
        let open = lane.aligned.near.iter().rposition(|n| *n != Near::Lost).map_or(0, |i| i + 1);
        for ((n, state), delay) in lane.sent().zip(delays).take(open) {
            if n.d.what == What::Error || !view.kept_after(up, n.d.ts) || state == Near::Missed {
                continue;
            }
            let wait = delay.map(|d| Span::from_nanos(d.nanos().saturating_sub(least.nanos())));
            let bytes = u64::from(n.d.ip_len.max(n.d.len));
            let lost = state == Near::Lost;
            if let Some(w) = wait {
                before = w;
            }
            let lone = n.d.what == What::Tcp && n.d.len == 0 && n.d.control() == 0;
            g.packets.push(Sent {
                at: n.d.ts,
                bytes,
                wait,
                lost,
                queued: lost && before >= QUEUED,
                data: n.d.len > 0,
                lone,
                frame: n.d.frame,
            });
        }
    }
    let mut all: Vec<Group> = by_name.into_values().collect();
    all.iter_mut().for_each(|g| g.packets.sort_by_key(|p| (p.at, p.frame)));
    all
}

/// Bytes that arrived, per bin of departure.
struct Load {
    from: Time,
    bins: Vec<u64>,
}

impl Load {
    fn of<'g>(groups: impl Iterator<Item = &'g Group> + Clone, from: Time, to: Time) -> Self {
        let n = usize::try_from(to.since(from).nanos() / BIN.nanos()).unwrap_or(0).min(BINS_MAX) + 1;
        let mut load = Self { from, bins: vec![0; n] };
        for p in groups.flat_map(|g| &g.packets).filter(|p| !p.lost) {
            // A packet that waits counts when it gets on.
            let at = load.bin(p.at.plus(p.wait.unwrap_or(Span::ZERO)));
            if let Some(b) = load.bins.get_mut(at) {
                *b += p.bytes;
            }
        }
        load
    }
    fn bin(&self, at: Time) -> usize {
        usize::try_from(at.since(self.from).nanos() / BIN.nanos()).unwrap_or(usize::MAX)
    }
    /// Bytes in the window around a bin.
    fn around(&self, bin: usize) -> u64 {
        self.bins.iter().skip(bin.saturating_sub(WINDOW / 2)).take(WINDOW).sum()
    }
    /// Most bytes in any window.
    fn peak(&self) -> u64 {
        self.bins.windows(WINDOW.min(self.bins.len()).max(1)).map(|w| w.iter().sum()).max().unwrap_or(0)
    }
}

fn limited(view: &View<'_>, ledger: &Ledger, groups: &[Group], own: usize, up: Tap, side: Side) -> Option<PairFinding> {
    let g = groups.get(own)?;
    let (from, to) = (g.packets.first()?.at, g.packets.last()?.at);
    let from = groups.iter().filter_map(|g| g.packets.first()).map(|p| p.at).min().unwrap_or(from);
    let to = groups.iter().filter_map(|g| g.packets.last()).map(|p| p.at).max().unwrap_or(to);
    let others = || groups.iter().enumerate().filter(move |(i, _)| *i != own).map(|(_, g)| g);
    let total = Load::of(groups.iter(), from, to.plus(Span::from_secs(2)));
    let mine = Load::of(std::iter::once(g), from, to.plus(Span::from_secs(2)));
    // What a full queue drops may be everybody's: a policer has none, so only losses without waiting count for one.
    let capacity = total.peak();
    let idle = |p: &&Sent| !(p.lone || p.lost && p.queued);
    let (n, lost, runs) = count(g, false);
    let (others_n, others_lost) = others().map(|g| count(g, true)).fold((0u64, 0u64), |(n, l), g| (n + g.0, l + g.1));
    if others_n < OTHERS_MIN || n < 30 {
        return None;
    }
    let share = lost as f64 / n as f64;
    let others_share = (others_lost as f64 + 1.0) / (others_n as f64 + 2.0);
    let loss_bins: Vec<usize> = g.packets.iter().filter(|p| p.lost).filter(idle).map(|p| total.bin(p.at)).collect();
    let waits = waits(g, &total);
    // Nobody acknowledges datagrams: a capture that misses packets which others are known to have reached it with has lost these alike.
    let missed = ledger.into[up.other()];
    let missed_share = missed.missed as f64 / (missed.seen + missed.missed).max(1) as f64;
    let lossy = lost >= LOST_MIN
        && missed_share * RARER <= share
        && runs >= RUNS_MIN
        && share >= SHARE_MIN
        && others_share * RARER <= share
        && few(others_lost, others_n as f64 * share) <= CHANCE;
    let (mechanism, when) = if lossy {
        let waiting = waits.iter().filter(|b| loss_bins.contains(b)).count() * 2 > unique(&loss_bins);
        let mechanism = if waiting {
            "shaping"
        } else if random(g, &mine) {
            "random_drop"
        } else {
            "policing"
        };
        (mechanism, loss_bins)
    } else {
        // Waiting without loss proves nothing: queues that all share are waited in unevenly. The delay over time is told, not judged.
        return None;
    };
    let spread = (unique(&when), when.last()?.saturating_sub(*when.first()?));
    if spread.0 < 3 || spread.1 < WINDOW {
        return None;
    }
    // Was the path full when it happened?
    let mut carried: Vec<u64> = when.iter().map(|b| total.around(*b)).collect();
    carried.sort_unstable();
    let carried = *carried.get(carried.len() / 2)?;
    if mechanism != "random_drop" && carried as f64 > FULL * capacity as f64 {
        return None;
    }
    let rate = rate(&mine, &when);
    let direction = Direction::from_side(side);
    let s = view.strands.get(*g.strands.first()?)?;
    let started = g.packets.iter().find(|p| p.lost || p.wait.is_some_and(|w| w >= WAIT)).map_or(from, |p| p.at);
    let mut claim = Claim::new("pair.throttled", Kind::Throttling, mechanism, direction, started);
    claim.rate_bps = rate.filter(|_| mechanism != "random_drop");
    let marked: Vec<(Tap, FrameNo)> = g
        .packets
        .iter()
        .filter(|p| if lossy { p.lost } else { p.wait.is_some_and(|w| w >= WAIT) })
        .map(|p| (up, p.frame))
        .take(24)
        .collect();
    if lossy {
        claim.fact(
            format!("packets that left {} did not arrive at {}, in these flows only", up.name(), up.other().name()),
            format!("{lost} of {n} lost ({:.1} %)", share * 100.0),
            format!("as all others: {others_lost} of {others_n} ({:.2} %)", others_share * 100.0),
            &marked,
        );
    } else {
        claim.fact(
            format!("packets waited between {} and {}, in these flows only", up.name(), up.other().name()),
            format!("{} packets by {WAIT} or more", g.packets.iter().filter(|p| p.wait.is_some_and(|w| w >= WAIT)).count()),
            "packets of other flows that left in the same moments did not wait",
            &marked,
        );
    }
    let kbps = |bytes: u64| bytes * 8 * 1000 / (u64::try_from(BIN.nanos() / 1_000_000).unwrap_or(1) * WINDOW as u64) / 1000;
    claim.fact(
        "the path was not full when it happened",
        format!("{} kbit/s passed then", kbps(carried)),
        format!("at other times {} kbit/s passed", kbps(capacity)),
        &[],
    );
    if let Some(r) = claim.rate_bps {
        claim.fact("what arrived while it was held back", format!("{} kbit/s", r / 1000), "the rate of the path", &[]);
    }
    claim.control.push(Control::counted(
        "other_packets_same_way",
        u32::try_from(others_n).unwrap_or(u32::MAX),
        u32::try_from(others_n - others_lost).unwrap_or(u32::MAX),
    ));
    claim.excluded("congestion, a slow or shallow link", "it was not full, and other flows did not share this");
    claim.excluded("a slow server or receiver", "what is counted left one point and was held back before the other");
    claim.excluded("a tariff that slows everything", "other flows of the same path passed freely");
    let mut f = claim.about(view, s);
    for i in g.strands.iter().skip(1) {
        if let Some(s) = view.strands.get(*i) {
            f.finding.flows.extend(Tap::BOTH.iter().filter_map(|t| s.at(*t).map(|f| f.id)));
        }
    }
    f.finding.flows.sort_unstable();
    Some(f)
}

/// Packets, losses without a queue, and how many times a loss followed an arrival. A policer drops some and lets others pass: of a run of losses
/// (an outage) only the first few count.
fn count(g: &Group, lone: bool) -> (u64, u64, u64) {
    let (mut n, mut lost, mut runs, mut run) = (0, 0, 0, 0);
    for p in g.packets.iter().filter(|p| !(p.lost && p.queued) && (lone || !p.lone)) {
        n += 1;
        run = if p.lost { run + 1 } else { 0 };
        lost += u64::from((1..=RUN).contains(&run));
        runs += u64::from(run == 1);
    }
    (n, lost, runs)
}

/// The chance of at most `seen` losses where `expected` were to be expected (Poisson).
fn few(seen: u64, expected: f64) -> f64 {
    let (mut term, mut sum) = ((-expected).exp(), 0.0);
    for k in 1..=seen.min(10_000) + 1 {
        sum += term;
        term *= expected / k as f64;
    }
    sum
}

fn unique(bins: &[usize]) -> usize {
    let mut all = bins.to_vec();
    all.sort_unstable();
    all.dedup();
    all.len()
}

/// Bins in which packets of a group waited.
fn waits(g: &Group, load: &Load) -> Vec<usize> {
    let mut out: Vec<usize> = g.packets.iter().filter(|p| p.data && p.wait.is_some_and(|w| w >= WAIT)).map(|p| load.bin(p.at)).collect();
    out.dedup();
    out
}

/// Bytes in a second that no bucket refuses.
const LITTLE: u64 = 6_000;

/// Loss that does not ask how much was sent.
fn random(g: &Group, mine: &Load) -> bool {
    let busy = {
        let mut all: Vec<u64> = mine.bins.iter().copied().filter(|b| *b > 0).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or(0)
    };
    let share = g.lost() as f64 / g.packets.len().max(1) as f64;
    // Packets that follow a second in which little was sent: a bucket would have been full for them.
    let (mut n, mut lost, mut last) = (0u32, 0u32, None::<Time>);
    let mut recent: std::collections::VecDeque<(Time, u64)> = std::collections::VecDeque::new();
    for p in &g.packets {
        while recent.front().is_some_and(|r| p.at.since(r.0) > Span::from_secs(1)) {
            recent.pop_front();
        }
        let offered: u64 = recent.iter().map(|r| r.1).sum();
        if last.is_some() && offered < busy.min(LITTLE) {
            n += 1;
            lost += u32::from(p.lost);
        }
        recent.push_back((p.at, p.bytes));
        last = Some(p.at);
    }
    n >= 15 && f64::from(lost) / f64::from(n) >= 0.5 * share && share >= 0.08
}

/// Bins of a stretch over which a rate is taken.
const STRETCH: usize = 10;

fn bps(bytes: u64, bins: usize) -> Option<u64> {
    let ns = i128::from(BIN.nanos()) * i128::try_from(bins.max(1)).ok()?;
    u64::try_from(i128::from(bytes) * 8 * 1_000_000_000 / ns).ok()
}

/// Tenths: how far the upper quarter of the stretches may lie above the lower one.
const ONE_RATE: u64 = 16;

/// The rate at which bytes arrived while they were held back, bits per second: the median of stretches that begin and end with it.
fn rate(mine: &Load, when: &[usize]) -> Option<u64> {
    let mut bins = when.to_vec();
    bins.sort_unstable();
    bins.dedup();
    let mut all: Vec<u64> = Vec::new();
    for (i, from) in bins.iter().enumerate() {
        // Until the first moment far enough on: between two moments at which the bucket is empty exactly its rate passes.
        let Some(to) = bins.iter().skip(i).find(|b| **b >= from + STRETCH) else { break };
        if to - from <= 2 * STRETCH {
            all.extend(bps(mine.bins.iter().skip(*from).take(to - from).sum(), to - from));
        }
    }
    all.sort_unstable();
    // Stretches that differ are not a rate: between some of the losses the bucket was not empty, or they were no bucket's.
    let (low, high) = (*all.get(all.len() / 4)?, *all.get(all.len() * 3 / 4)?);
    (all.len() >= 2 && high <= low.saturating_mul(ONE_RATE) / 10).then(|| all.get(all.len() / 2).copied()).flatten()
}
