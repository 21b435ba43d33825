//! What the judges of slowness share: flows of one target laid together, their plateau, what else limits them, and what went faster meanwhile.

use super::weigh::Weigh;
use crate::model::flow::FlowRecord;
use crate::model::key::Proto;
use crate::model::label::{Label, LabelGrade};
use crate::model::pace::Pace;
use crate::model::scene::{KIN_MAX, Scene};
use crate::model::side::Side;
use crate::model::time::{Span, Time};

/// Most bins of a series laid together from several flows.
const SERIES_MAX: usize = 1_024;
/// Most windows a plateau is looked for in.
const WINDOWS_MAX: usize = 48;
/// Windows this near to the middle one belong to the plateau.
const NEAR: f64 = 0.15;
/// Share of a plateau's windows that must be near.
pub(super) const STEADY: f64 = 0.7;
/// A flow that moved less says nothing about how fast it could have been.
const SPEAKS: u64 = 40_000;
/// How much faster another flow must have been to show that the line is not the limit.
pub(super) const FASTER: f64 = 3.0;

/// One direction of one flow.
#[derive(Clone, Copy)]
pub(super) struct Lane<'a> {
    pub flow: &'a FlowRecord,
    pub label: Option<&'a Label>,
    pub pace: &'a Pace,
    pub side: Side,
}

impl<'a> Lane<'a> {
    pub fn of(flow: &'a FlowRecord, label: Option<&'a Label>, side: Side) -> Option<Self> {
        Some(Self { flow, label, pace: flow.pace[side].as_deref()?, side })
    }
    /// The handshake's round trips: from the capture point to this lane's receiver, and to its sender.
    fn handshake(&self) -> (Option<Span>, Option<Span>) {
        let Some(tcp) = self.flow.tcp.as_deref() else { return (None, None) };
        match self.side {
            Side::Client => (tcp.rtt_server, tcp.rtt_client),
            Side::Server => (tcp.rtt_client, tcp.rtt_server),
        }
    }
    /// Smallest known round trip end to end, in seconds.
    fn rtt(&self) -> f64 {
        let (receiver, sender) = self.handshake();
        let hand = receiver.unwrap_or(Span::ZERO).as_secs() + sender.unwrap_or(Span::ZERO).as_secs();
        if hand > 0.0 {
            return hand;
        }
        let low = |q: Option<f64>| q.map_or(0.0, |us| us / 1e6);
        let data = low(self.pace.rtt.quantile(0.05)) + low(self.pace.echo.quantile(0.05));
        if data > 0.0 { data } else { 0.1 }
    }
}

/// All lanes of a client.
pub(super) fn lanes<'a>(scene: &Scene<'a>, side: Side) -> Vec<Lane<'a>> {
    let kin = scene.kin;
    let all: &[u32] = kin.by_client.get(&scene.flow.client.ip).map_or(&[], Vec::as_slice);
    // Where a client has very many flows, those around this one matter.
    let here = all.partition_point(|i| kin.flows.get(*i as usize).is_some_and(|f| f.id < scene.flow.id));
    let from = here.saturating_sub(KIN_MAX / 2);
    all.iter()
        .skip(from)
        .take(KIN_MAX)
        .filter_map(|i| {
            let flow = kin.flows.get(*i as usize)?;
            Lane::of(flow, kin.labels.get(*i as usize).and_then(Option::as_ref), side)
        })
        .collect()
}

/// Whether two lanes go to one target: one name, or without names one server.
pub(super) fn same_target(a: &Lane<'_>, b: &Lane<'_>) -> bool {
    if a.flow.proto != b.flow.proto {
        return false;
    }
    match (a.flow.asked_name(), b.flow.asked_name()) {
        (Some(x), Some(y)) => x == y,
        (None, None) => a.flow.server.ip == b.flow.server.ip,
        _ => false,
    }
}

/// Whether two lanes belong to one service.
pub(super) fn same_service(a: &Lane<'_>, b: &Lane<'_>) -> bool {
    match (known(a.label), known(b.label)) {
        (Some(x), Some(y)) => x.id == y.id && a.flow.proto == b.flow.proto,
        _ => false,
    }
}

/// A label that is more than a guess.
pub(super) fn known(label: Option<&Label>) -> Option<&Label> {
    label.filter(|l| l.grade >= LabelGrade::Probable)
}

/// What passed over time, of several lanes together.
struct Series {
    start: Time,
    width: f64,
    bytes: Vec<f64>,
    drops: Vec<f64>,
    active: Vec<bool>,
}

impl Series {
    fn of(lanes: &[Lane<'_>]) -> Option<Self> {
        let start = lanes.iter().map(|l| l.pace.start).min()?;
        let last = lanes.iter().map(|l| l.pace.last).max()?;
        let widest = lanes.iter().map(|l| l.pace.width.nanos()).max()?.max(1);
        let span = last.since(start).nanos().max(1);
        let width = widest.max(span / (SERIES_MAX as i64 - 1) + 1);
        let n = usize::try_from(span / width).ok()? + 1;
        let mut s = Self { start, width: width as f64 / 1e9, bytes: vec![0.0; n], drops: vec![0.0; n], active: vec![false; n] };
        for l in lanes {
            let p = l.pace;
            let at = |t: i64| usize::try_from(t.max(0) / width).unwrap_or(0).min(n - 1);
            let offset = p.start.since(start).nanos();
            let own = p.width.nanos().max(1);
            for (i, (b, d)) in p.passed.iter().zip(p.drops.iter()).enumerate() {
                let from = offset.saturating_add(own.saturating_mul(i as i64));
                // A bin that straddles two goes to both by share.
                let (a, z) = (at(from), at(from.saturating_add(own - 1)));
                let edge = (a as i64 + 1).saturating_mul(width);
                let share = if a == z { 1.0 } else { ((edge - from) as f64 / own as f64).clamp(0.0, 1.0) };
                s.bytes[a] += f64::from(*b) * share;
                s.bytes[z] += f64::from(*b) * (1.0 - share);
                s.drops[a] += f64::from(*d);
            }
            let (a, z) = (at(offset), at(p.last.since(start).nanos()));
            s.active[a..=z].fill(true);
        }
        Some(s)
    }

    fn time(&self, bin: usize) -> Time {
        self.start.plus(Span::from_nanos((bin as f64 * self.width * 1e9) as i64))
    }

    /// Where the rate falls for good, at least to two thirds, with the rate before; both parts must last.
    fn falls(&self) -> Option<(usize, f64)> {
        let sums: Vec<f64> = std::iter::once(0.0)
            .chain(self.bytes.iter().scan(0.0, |s, b| {
                *s += b;
                Some(*s)
            }))
            .collect();
        let (n, all) = (self.bytes.len(), *sums.last()?);
        let long = ((1.5 / self.width).ceil() as usize).max(2);
        let mean = |a: usize, z: usize| (sums[z] - sums[a]) / (z - a) as f64;
        // The cut that explains most of the variance (two means).
        let gain = |i: usize| mean(0, i).powi(2) * i as f64 + mean(i, n).powi(2) * (n - i) as f64;
        let at = (long..n.saturating_sub(2 * long)).max_by(|a, b| gain(*a).total_cmp(&gain(*b)))?;
        let (before, after) = (mean(0, at), mean(at, n));
        (all > 0.0 && before > 1.5 * after && after > 0.0).then_some((at, before * 8.0 / self.width))
    }

    fn tail(&self, at: usize) -> Self {
        Self {
            start: self.time(at),
            width: self.width,
            bytes: self.bytes[at..].to_vec(),
            drops: self.drops[at..].to_vec(),
            active: self.active[at..].to_vec(),
        }
    }

    /// Consecutive windows of about `seconds`, those mostly idle left out.
    fn windows(&self, seconds: f64) -> Vec<Window> {
        let n = self.bytes.len();
        let step = ((seconds / self.width).round() as usize).max(1).max(n.div_ceil(WINDOWS_MAX));
        (0..n / step)
            .filter_map(|w| {
                let range = w * step..(w + 1) * step;
                let active = self.active[range.clone()].iter().filter(|a| **a).count();
                (active * 4 >= step * 3).then(|| {
                    let bytes: f64 = self.bytes[range.clone()].iter().sum();
                    Window { from: range.start, to: range.end, rate: bytes * 8.0 / (active as f64 * self.width) }
                })
            })
            .collect()
    }

    /// Windows from drop to drop, at least `seconds` long: a token bucket is empty at both ends, whatever the sender did in between.
    fn between_drops(&self, seconds: f64) -> Vec<Window> {
        let mut out = Vec::new();
        let mut from = None;
        for (i, _) in self.drops.iter().enumerate().filter(|(_, d)| **d > 0.0) {
            let Some(a) = from else {
                from = Some(i);
                continue;
            };
            let long = (i - a) as f64 * self.width;
            if long >= seconds {
                let active = self.active[a..i].iter().filter(|x| **x).count();
                let rate = self.bytes[a..i].iter().sum::<f64>() * 8.0 / long;
                if active * 4 >= (i - a) * 3 {
                    out.push(Window { from: a, to: i, rate });
                }
                from = Some(i);
            }
        }
        out
    }
}

#[derive(Clone, Copy)]
struct Window {
    from: usize,
    to: usize,
    rate: f64,
}

/// A stretch of time with one rate.
#[derive(Clone, Debug)]
pub(super) struct Plateau {
    /// IP-level bit/s.
    pub rate: f64,
    /// Lowest and highest of its windows that count, without the outermost tenth.
    pub low: f64,
    pub high: f64,
    pub from: Time,
    pub to: Time,
    /// Windows in it, and the share near the rate.
    pub windows: usize,
    pub steady: f64,
    /// Moments with drops.
    pub episodes: usize,
    /// Packets dropped.
    pub drops: f64,
    /// Bytes that passed.
    pub bytes: f64,
    /// Rate of the windows before it, if it began later.
    pub before: Option<f64>,
    /// Windows run from drop to drop.
    pub at_drops: bool,
}

impl Plateau {
    /// Share of packets dropped during the plateau.
    pub fn loss(&self, lanes: &[Lane<'_>]) -> f64 {
        let size = lanes.iter().map(|l| f64::from(l.pace.largest)).fold(1.0, f64::max);
        self.drops / (self.drops + self.bytes / size).max(1.0)
    }

    /// The same flow was clearly faster before, and it is drops that came in between.
    pub fn slowed(&self, lanes: &[Lane<'_>]) -> bool {
        let same = matches!(lanes, [l] if l.pace.start < self.from.minus(Span::from_millis(500)));
        same && self.before.is_some_and(|b| b > 1.5 * self.rate) && self.drops >= 2.0 && (self.episodes >= 2 || self.seconds() < 4.0)
    }

    /// No one rate, but all of what `lanes` did, for what is slow beyond all measure.
    pub fn whole(lanes: &[Lane<'_>]) -> Option<Self> {
        let s = Series::of(lanes)?;
        let active: Vec<usize> = (0..s.active.len()).filter(|i| s.active[*i]).collect();
        let time = active.len() as f64 * s.width;
        let rate = s.bytes.iter().sum::<f64>() * 8.0 / time.max(0.001);
        let one = Window { from: 0, to: s.bytes.len(), rate };
        Some(Self::build(&s, &[one], 0, s.bytes.len(), 1, 0.0, false))
    }

    pub fn seconds(&self) -> f64 {
        self.to.since(self.from).as_secs()
    }

    /// Looks for it in what `lanes` carried together.
    pub fn of(lanes: &[Lane<'_>]) -> Option<Self> {
        let s = Series::of(lanes)?;
        if let Some((at, before)) = s.falls()
            && let Some(mut p) = Self::within(&s.tail(at), lanes)
            && (p.drops >= 2.0 || p.windows >= 6)
        {
            p.before = Some(before);
            return Some(p);
        }
        Self::within(&s, lanes)
    }

    fn within(s: &Series, lanes: &[Lane<'_>]) -> Option<Self> {
        let rtt = lanes.iter().map(Lane::rtt).fold(0.0, f64::max).min(1.0);
        let largest = f64::from(lanes.iter().map(|l| l.pace.largest).max()?);
        let mut seconds = (10.0 * rtt).max(4.0 * s.width);
        let mut windows = s.windows(seconds);
        if let Some(r) = median(windows.iter().map(|w| w.rate).filter(|r| *r > 0.0)) {
            // A packet more or less must not look like a change.
            seconds = seconds.max(16.0 * largest * 8.0 / r);
            windows = s.windows(seconds);
        }
        let anchored = s.between_drops(seconds);
        let concentrated = Self::concentrated(s, &anchored);
        let longest = Self::longest(s, &windows);
        match (concentrated, longest) {
            (Some(a), Some(b)) => Some(if a.windows >= 8 || a.seconds() >= b.seconds() { a } else { b }),
            (a, b) => a.or(b),
        }
    }

    /// Most windows between drops agree, wherever they stand.
    fn concentrated(s: &Series, windows: &[Window]) -> Option<Self> {
        if windows.len() < 4 {
            return None;
        }
        let mode = half_sample_mode(windows.iter().map(|w| w.rate).collect())?;
        let near: Vec<Window> = windows.iter().filter(|w| (w.rate - mode).abs() <= 0.1 * mode).copied().collect();
        let steady = near.len() as f64 / windows.len() as f64;
        if steady < if windows.len() >= 16 { 0.5 } else { 0.6 } {
            return None;
        }
        let (from, to) = (near.first()?.from, near.last()?.to);
        Some(Self::build(s, &near, from, to, windows.len(), steady, true))
    }

    /// The longest run of windows with one rate.
    fn longest(s: &Series, windows: &[Window]) -> Option<Self> {
        let mut best: Option<(usize, usize, f64)> = None;
        for i in 0..windows.len() {
            for j in (i + 2)..windows.len() {
                if best.is_some_and(|(a, b, _)| b - a >= j - i) {
                    continue;
                }
                let run = &windows[i..=j];
                let Some(mid) = median(run.iter().map(|w| w.rate)) else { continue };
                let near = |w: &Window| (w.rate - mid).abs() <= NEAR * mid;
                let share = run.iter().filter(|w| near(w)).count() as f64 / run.len() as f64;
                if mid > 0.0 && share >= STEADY && near(&windows[i]) && near(&windows[j]) {
                    best = Some((i, j, share));
                }
            }
        }
        let (i, j, share) = best?;
        let run = &windows[i..=j];
        let mid = median(run.iter().map(|w| w.rate))?;
        let near: Vec<Window> = run.iter().filter(|w| (w.rate - mid).abs() <= NEAR * mid).copied().collect();
        let mut p = Self::build(s, &near, windows[i].from, windows[j].to, run.len(), share, false);
        let earlier: Vec<f64> = windows[..i].iter().map(|w| w.rate).collect();
        p.before = (earlier.len() >= 2).then(|| median(earlier.iter().copied())).flatten();
        Some(p)
    }

    fn build(s: &Series, near: &[Window], from: usize, to: usize, windows: usize, steady: f64, at_drops: bool) -> Self {
        let time: f64 = near.iter().map(|w| (w.to - w.from) as f64).sum();
        let rate = near.iter().map(|w| w.rate * (w.to - w.from) as f64).sum::<f64>() / time.max(1.0);
        let mut rates: Vec<f64> = near.iter().map(|w| w.rate).collect();
        rates.sort_by(f64::total_cmp);
        let at = |q: f64| rates.get(((rates.len() - 1) as f64 * q).round() as usize).copied().unwrap_or(rate);
        let drops = &s.drops[from..to.min(s.drops.len())];
        Self {
            rate,
            low: at(0.1),
            high: at(0.9),
            from: s.time(from),
            to: s.time(to),
            windows,
            steady,
            episodes: drops.iter().filter(|d| **d > 0.0).count(),
            drops: drops.iter().sum(),
            bytes: s.bytes[from..to.min(s.bytes.len())].iter().sum(),
            before: None,
            at_drops,
        }
    }
}

/// What the round trips and the spacing say about where packets waited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    /// Undisturbed and usual round trip over the part of the path that was measured best, milliseconds.
    pub base: f64,
    pub usual: f64,
    pub samples: u64,
    /// Share of bytes that followed the packet before much faster than the plateau, as seen behind the limit.
    pub bursts: f64,
    /// Share of bytes that followed at the plateau's rate.
    pub paced: f64,
    /// Time one full packet takes at the plateau's rate, milliseconds.
    pub slot: f64,
}

impl Queue {
    pub fn of(lanes: &[Lane<'_>], rate: f64) -> Self {
        let mut q = Self { base: 0.0, usual: 0.0, samples: 0, bursts: 0.0, paced: 0.0, slot: 0.0 };
        let mut most = f64::NEG_INFINITY;
        let mut weight = 0.0;
        for l in lanes {
            let p = l.pace;
            q.slot = q.slot.max(f64::from(p.largest) * 8e3 / rate.max(1.0));
            let (receiver, sender) = l.handshake();
            // Packets acknowledged alone may wait 40 ms at the receiver; they tell only of queues where one packet takes longer.
            let alone = p.rtt.total() < 15 && q.slot > 60.0;
            let rtt = if alone { &p.rtt_alone } else { &p.rtt };
            let mut legs = vec![(rtt, receiver, if alone { 0.25 } else { 0.5 })];
            // An echo waits for the sender to have something to send; after drops it always has.
            if p.lost_before >= 3 {
                legs.push((&p.echo, sender, 0.25));
            }
            for (spread, hand, at) in legs {
                let (n, Some(usual), Some(low)) = (spread.total(), spread.quantile(at), spread.quantile(0.02)) else { continue };
                let base = hand.map_or(low, |h| (h.nanos() as f64 / 1e3).max(256.0)).min(low.max(256.0));
                if n >= 5 && usual - base > most {
                    most = usual - base;
                    q = Self { base: base / 1e3, usual: usual / 1e3, samples: n, ..q };
                }
            }
            let bytes = p.follow.total() as f64;
            q.bursts += p.follow.share(2.2 * rate, f64::INFINITY) * bytes;
            q.paced += p.follow.share(0.65 * rate, 1.5 * rate) * bytes;
            weight += bytes;
        }
        q.bursts /= f64::max(weight, 1.0);
        q.paced /= f64::max(weight, 1.0);
        q
    }

    /// Packets wait somewhere: round trips grew clearly over the undisturbed one, by about a packet's time at this rate or more.
    pub fn grown(&self) -> bool {
        self.samples >= 5 && self.usual - self.base >= (0.18 * self.base).max(10.0).max(0.7 * self.slot)
    }
}

/// Counts of lanes together.
pub(super) struct Losses {
    pub beyond: u64,
    pub before: u64,
    pub packets: u64,
}

impl Losses {
    pub fn of(lanes: &[Lane<'_>]) -> Self {
        let sum = |f: fn(&Pace) -> u64| lanes.iter().map(|l| f(l.pace)).sum();
        Self { beyond: sum(|p| u64::from(p.lost_beyond)), before: sum(|p| u64::from(p.lost_before)), packets: sum(|p| p.packets) }
    }
    /// Share of all packets sent that were dropped.
    pub fn share(&self) -> f64 {
        let sent = self.packets + self.before;
        if sent == 0 { 0.0 } else { (self.beyond + self.before) as f64 / sent as f64 }
    }
}

/// Whether the end points themselves set the rate: the receiver's window, or a sender with nothing to send.
pub(super) fn held_by_ends(lanes: &[Lane<'_>], p: &Plateau, queue: &Queue, w: &mut Weigh) -> bool {
    // A flow that slowed down is compared with itself: its ends did not change.
    let slowed = p.slowed(lanes);
    let active: f64 = lanes.iter().map(|l| l.pace.last.since(l.pace.start).as_secs()).sum::<f64>().max(0.001);
    let held = lanes.iter().map(|l| l.pace.window_held.as_secs()).sum::<f64>() / active;
    let shut = lanes.iter().map(|l| l.pace.window_shut.as_secs()).sum::<f64>() / active;
    let zero: u32 = lanes.iter().filter_map(|l| l.flow.tcp.as_deref().map(|t| t.side[l.side.peer()].zero_windows)).sum();
    let rtt = lanes.iter().map(Lane::rtt).fold(0.0, f64::max) + if queue.grown() { (queue.usual - queue.base) / 1e3 } else { 0.0 };
    let room = lanes.iter().filter_map(|l| l.pace.window_mean()).min();
    let narrow = room.is_some_and(|r| r as f64 * 8.0 / rtt < 1.3 * p.rate * f64::from(u32::from(rtt > 0.0)));
    if !slowed && (held > 0.2 || shut > 0.1 || zero > 0 || narrow) {
        return true;
    }
    let idle = lanes.iter().map(|l| l.pace.idle.as_secs()).sum::<f64>() / active;
    // Next to the sender, acknowledged data with nothing new after it means it had nothing; elsewhere it may just wait for a timer.
    let sender_seen = lanes.iter().any(|l| l.handshake().0.unwrap_or(Span::ZERO).as_secs() > 0.8 * l.rtt());
    let losses = Losses::of(lanes);
    if !slowed && ((sender_seen && idle > 0.3 && losses.share() < 0.1) || (idle > 0.5 && losses.share() < 0.03 && !queue.grown())) {
        return true;
    }
    w.excluded(
        "receiver's window",
        room.map_or_else(|| "the window was never shut".to_owned(), |r| format!("{r} bytes on average, never shut")),
    );
    if sender_seen {
        w.excluded("sender with nothing to send", format!("it rested {:.0} % of the time", idle * 100.0));
    }
    false
}

/// What other flows of the same client reached meanwhile.
#[derive(Default)]
pub(super) struct Controls {
    /// Other flows that moved enough to speak, with the rate they reached.
    pub others: Vec<f64>,
    /// Of these, at the same address with another name.
    pub same_server: u32,
    pub same_server_fast: u32,
    /// How many were clearly faster.
    pub fast: u32,
    /// Best of them.
    pub best: f64,
    /// Flows that went meanwhile, whether they speak or not.
    pub present: u32,
    /// Moments with drops per packet on them.
    pub hit: f64,
    /// Most that a queue grew on one of them, milliseconds.
    pub queued: f64,
}

impl Controls {
    pub fn of(all: &[Lane<'_>], group: &[Lane<'_>], p: &Plateau) -> Self {
        let mut c = Self::default();
        let slack = Span::from_secs(10);
        let (mut moments, mut packets) = (0.0, 0.0);
        let Some(first) = group.first() else { return c };
        for l in all {
            if group.iter().any(|g| g.flow.id == l.flow.id) || l.pace.total() + l.pace.before < SPEAKS {
                continue;
            }
            if l.pace.start > p.to.plus(slack) || l.pace.last < p.from.minus(slack) {
                continue;
            }
            c.present += 1;
            moments += l.pace.drops.iter().filter(|d| **d > 0).count() as f64;
            packets += l.pace.packets as f64;
            let reached = reach(l);
            let fast = reached >= FASTER * p.rate;
            // A slow flow that lost nothing was slow for reasons of its own.
            let queue = Queue::of(std::slice::from_ref(l), reached);
            c.queued = c.queued.max(queue.usual - queue.base);
            let limited = l.pace.lost_before + l.pace.lost_beyond >= 3 || queue.grown();
            if !fast && !limited {
                continue;
            }
            c.others.push(reached);
            c.fast += u32::from(fast);
            c.best = c.best.max(reached);
            if l.flow.server.ip == first.flow.server.ip && l.flow.asked_name() != first.flow.asked_name() {
                c.same_server += 1;
                c.same_server_fast += u32::from(fast);
            }
        }
        c.hit = moments / f64::max(packets, 1.0);
        c
    }

    /// Chance that all of `own` flows would be slower than all the others, were they drawn alike (exact rank test).
    pub fn chance(&self, own: usize, rate: f64) -> Option<f64> {
        if self.others.is_empty() || self.others.iter().any(|r| *r <= rate) {
            return None;
        }
        let n = self.others.len() as f64;
        Some((1..=own).map(|k| k as f64 / (n + k as f64)).product())
    }
}

/// How full the client's line was while the plateau lasted: share of that time in which everything together stayed below half of the
/// most the line was seen to carry.
pub(super) fn line_free(all: &[Lane<'_>], p: &Plateau) -> f64 {
    let Some(s) = Series::of(all) else { return 0.0 };
    let windows: Vec<Window> = {
        let step = ((0.25 / s.width).round() as usize).max(1);
        let rate = |w: usize| s.bytes[w * step..(w + 1) * step].iter().sum::<f64>() * 8.0 / (step as f64 * s.width);
        (0..s.bytes.len() / step).map(|w| Window { from: w * step, to: (w + 1) * step, rate: rate(w) }).collect()
    };
    let most = windows.iter().map(|w| w.rate).fold(0.0, f64::max);
    let during: Vec<&Window> = windows.iter().filter(|w| s.time(w.from) >= p.from && s.time(w.to) <= p.to).collect();
    let free = during.iter().filter(|w| w.rate < 0.5 * most).count();
    free as f64 / during.len().max(1) as f64
}

/// The rate loss alone would allow (Mathis et al. 1997), in bit/s, end to end.
pub(super) fn loss_allows(lanes: &[Lane<'_>], share: f64) -> f64 {
    let rtt = lanes.iter().map(Lane::rtt).fold(f64::INFINITY, f64::min).clamp(0.001, 2.0);
    let size = lanes.iter().map(|l| f64::from(l.pace.largest)).fold(0.0, f64::max);
    size * 8.0 * 1.22 / (rtt * share.max(1e-6).sqrt())
}

/// The rate a lane reached for at least a fifth of a second (or over all it carried, if that was shorter).
pub(super) fn reach(l: &Lane<'_>) -> f64 {
    let p = l.pace;
    let width = p.width.as_secs();
    let n = ((0.2 / width).ceil() as usize).max(2);
    let used = usize::try_from(p.last.since(p.start).nanos() / p.width.nanos().max(1)).unwrap_or(0) + 1;
    let bins = p.passed.get(..used.min(p.passed.len())).unwrap_or(&p.passed);
    let n = n.min(bins.len().max(1));
    let mut best = 0u64;
    for run in bins.windows(n) {
        best = best.max(run.iter().map(|b| u64::from(*b)).sum());
    }
    best as f64 * 8.0 / (n as f64 * width)
}

/// Whether the flow is one whose datagrams carry bulk data.
pub(super) fn bulk_datagrams(f: &FlowRecord) -> bool {
    f.proto == Proto::UDP && f.app == Some("quic")
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut v: Vec<f64> = values.collect();
    v.sort_by(f64::total_cmp);
    v.get(v.len() / 2).copied()
}

/// The value around which most values crowd (Bickel and Frühwirth 2006).
fn half_sample_mode(mut v: Vec<f64>) -> Option<f64> {
    v.sort_by(f64::total_cmp);
    let mut s = v.as_slice();
    while s.len() > 3 {
        let half = s.len().div_ceil(2);
        let at = (0..=s.len() - half).min_by(|a, b| (s[a + half - 1] - s[*a]).total_cmp(&(s[b + half - 1] - s[*b])))?;
        s = &s[at..at + half];
    }
    match s {
        [a, b, c] => Some(if b - a < c - b { (a + b) / 2.0 } else { (b + c) / 2.0 }),
        [a, b] => Some((a + b) / 2.0),
        [a] => Some(*a),
        _ => None,
    }
}

/// A rate as people write it.
pub(super) fn bps(rate: f64) -> String {
    match rate {
        r if r >= 1e6 => format!("{:.2} Mbit/s", r / 1e6),
        r => format!("{:.0} kbit/s", r / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_where_values_crowd() {
        let got = half_sample_mode(vec![1.0, 5.0, 5.1, 5.2, 9.0, 20.0, 5.05]).unwrap();
        assert!((5.0..5.2).contains(&got), "{got}");
        assert_eq!(half_sample_mode(vec![]), None);
    }

    #[test]
    fn full_separation_of_five_and_five_is_rare() {
        let c = Controls { others: vec![9.0; 5], ..Controls::default() };
        let p = c.chance(5, 1.0).unwrap();
        assert!((p - 1.0 / 252.0).abs() < 1e-9, "{p}");
        assert!(c.chance(5, 9.0).is_none());
    }
}
