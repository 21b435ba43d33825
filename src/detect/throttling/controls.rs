//! What other flows of the same client reached meanwhile.

use super::lane::Lane;
use super::plateau::Plateau;
use super::queue::{Losses, Queue};
use super::rank;
use super::series::{Series, Window};
use crate::model::flow::FlowId;
use crate::model::pace::BINS;
use crate::model::throttle::RATES_MAX;
use crate::model::time::{Span, Time};

/// A flow that moved less says nothing about how fast it could have been.
const SPEAKS: u64 = 40_000;
/// How much faster another flow must have been to show that the line is not the limit.
const FASTER: f64 = 3.0;
const FASTER_TOKENS: f64 = 1.5;
/// A rate counts as reached if it was kept this long.
const KEPT: f64 = 0.2;
/// What one limit hits, it hits alike: a neighbour that lost or waited less than this share is not held by it.
const SPARED: f64 = 0.25;
/// How long before and after a plateau other flows still tell of the line.
const AROUND: Span = Span::from_secs(10);

/// Other flows that moved enough to speak.
#[derive(Default)]
pub(super) struct Controls {
    /// How many times the plateau's rate a flow must reach to count as faster.
    pub faster: f64,
    /// Those whose own ends did not hold them, with the mean rate of each.
    pub others: Vec<(FlowId, f64)>,
    /// The same of the flows they are compared with.
    pub own: Vec<(FlowId, f64)>,
    /// At the same address with another name.
    pub same_server: u32,
    pub same_server_fast: u32,
    /// Of these, faster while the plateau lasted, by more than a bucket for the whole address lets through.
    pub same_server_meanwhile: u32,
    /// How many were clearly faster, and how many of these while the plateau lasted and beyond what one bucket for all of the client's
    /// traffic lets through.
    pub fast: u32,
    pub meanwhile: u32,
    /// Best of them.
    pub best: f64,
    /// Flows that went meanwhile, whether they speak or not.
    pub present: u32,
    /// Moments with drops per packet on them.
    pub hit: f64,
    /// Share of their packets dropped.
    pub dropped: f64,
    /// Most that a queue grew on one of them, milliseconds.
    pub queued: f64,
}

impl Controls {
    /// `kin`: the flows measured, of which `group` went while the plateau lasted, with what it lost and how long it waited.
    pub fn of(all: &[Lane<'_>], kin: &[Lane<'_>], group: &[Lane<'_>], p: &Plateau, lost: &Losses, waited: &Queue) -> Self {
        // A rate that drops tell so exactly is exceeded by half of it already.
        let mut c = Self { faster: if p.tokens.is_some() { FASTER_TOKENS } else { FASTER }, ..Self::default() };
        let (mut moments, mut packets, mut drops) = (0.0, 0.0, 0.0);
        let Some(first) = group.first() else { return c };
        let speaks = |l: &Lane<'_>| l.pace.total() + l.pace.before >= SPEAKS;
        c.own = group.iter().filter(|l| speaks(l)).map(|l| (l.flow.id, mean(l))).take(RATES_MAX).collect();
        let mut neighbours: Vec<Lane<'_>> = Vec::new();
        // As near as what is compared is long.
        let around = AROUND.max(p.to.since(p.from));
        // Whoever pauses lets a bucket fill up, and what goes then is fast for a moment.
        let beyond = beyond_one_bucket(all, group, p) >= SPEAKS as f64;
        // A rate that stays the same while others come and go on the same line is exceeded by half of it already.
        let then_faster = if p.tight() && beyond { FASTER_TOKENS.min(c.faster) } else { c.faster };
        for l in all {
            if kin.iter().any(|g| g.flow.id == l.flow.id) || !speaks(l) {
                continue;
            }
            if l.pace.start > p.to.plus(around) || l.pace.last < p.from.minus(around) {
                continue;
            }
            c.present += 1;
            moments += l.pace.drops.iter().filter(|d| **d > 0).count() as f64;
            packets += l.pace.packets as f64;
            drops += f64::from(l.pace.lost_before) + f64::from(l.pace.lost_beyond);
            let reached = reach(l, None);
            let faster_then = reach(l, Some((p.from, p.to))) >= then_faster * p.rate;
            let fast = faster_then || reached >= c.faster * p.rate;
            // A slow flow that lost nothing was slow for reasons of its own.
            let queue = Queue::of(std::slice::from_ref(l), reached);
            c.queued = c.queued.max(queue.usual - queue.base);
            let limited = l.pace.lost_before + l.pace.lost_beyond >= 3 || queue.grown();
            if !fast && !limited {
                continue;
            }
            if c.others.len() < RATES_MAX {
                c.others.push((l.flow.id, mean(l)));
            }
            c.fast += u32::from(fast);
            let meanwhile = faster_then;
            c.meanwhile += u32::from(meanwhile);
            c.best = c.best.max(reached);
            let names = (l.flow.asked_name(), first.flow.asked_name());
            if l.flow.server.ip == first.flow.server.ip && matches!(names, (Some(a), Some(b)) if a != b) {
                c.same_server += 1;
                c.same_server_fast += u32::from(fast);
                // A line that both share gives one of them more than the other, and drops or delays both.
                if meanwhile && spared(l, &queue, lost, waited) {
                    c.same_server_meanwhile += 1;
                    neighbours.push(*l);
                }
            }
        }
        c.faster = then_faster;
        if !beyond {
            c.meanwhile = 0;
        }
        neighbours.extend(group);
        if c.same_server_meanwhile > 0 && beyond_one_bucket(&neighbours, group, p) < SPEAKS as f64 {
            c.same_server_meanwhile = 0;
        }
        c.hit = moments / f64::max(packets, 1.0);
        c.dropped = drops / f64::max(packets + drops, 1.0);
        c
    }

    /// Chance that the flows would part like this, were they drawn alike.
    pub fn chance(&self) -> Option<f64> {
        let rates = |v: &[(FlowId, f64)]| v.iter().map(|r| r.1).collect::<Vec<_>>();
        rank::chance_slower(&rates(&self.own), &rates(&self.others))
    }
}

/// What drops or delays a target does so to this lane far less.
fn spared(l: &Lane<'_>, queue: &Queue, target: &Losses, target_queue: &Queue) -> bool {
    let lost = Losses::of(std::slice::from_ref(l)).share();
    let waited = queue.usual - queue.base;
    lost <= SPARED * target.share()
        && (!target_queue.grown() || waited <= f64::max(SPARED * (target_queue.usual - target_queue.base), 10.0))
}

/// Bytes that `lanes` carried together beyond what one token bucket, or one line, of the plateau's rate could have let through: counted from
/// moments at which such a bucket was empty, for it had just dropped something of `group`, or at which packets of `group` waited.
fn beyond_one_bucket(lanes: &[Lane<'_>], group: &[Lane<'_>], p: &Plateau) -> f64 {
    let waits = Queue::of(group, p.rate).grown();
    let count = |bytes: Option<Series>, held: Option<Series>| -> f64 {
        let (Some(s), Some(held)) = (bytes, held) else { return 0.0 };
        let allowed = p.rate / 8.0 * s.width;
        let mut empty = vec![false; s.bytes.len()];
        for (i, (b, d)) in held.bytes.iter().zip(&held.drops).enumerate() {
            let at = held.time(i);
            let full = *b >= 0.5 * p.rate / 8.0 * held.width;
            if (*d > 0.0 || (waits && full))
                && at >= p.from
                && at <= p.to
                && let Some(e) = empty.get_mut((at.since(s.start).as_secs() / s.width) as usize)
            {
                *e = true;
            }
        }
        // Largest sum from an empty bucket to any later moment.
        let (mut most, mut sum) = (0.0f64, f64::NEG_INFINITY);
        for (i, b) in s.bytes.iter().enumerate() {
            if s.time(i) > p.to {
                break;
            }
            sum += b - allowed;
            most = most.max(sum);
            if empty[i] {
                sum = sum.max(0.0);
            }
        }
        most
    };
    // What was acknowledged may come at once after a hole, what was sent may still wait: both must say so.
    let sent = count(Series::passed(lanes), Series::passed(group));
    let arrived = count(Series::arrived(lanes), Series::arrived(group));
    sent.min(arrived)
}

/// How full the client's line was while the plateau lasted: share of that time in which everything together stayed below half of the
/// most the line was seen to carry: while the plateau lasted, if others were `meanwhile` faster, for the line may have become slower since
/// it carried more.
pub(super) fn line_free(all: &[Lane<'_>], p: &Plateau, meanwhile: bool) -> f64 {
    let Some(s) = Series::arrived(all) else { return 0.0 };
    let windows: Vec<Window> = {
        let step = ((0.25 / s.width).round() as usize).max(1);
        let rate = |w: usize| s.bytes[w * step..(w + 1) * step].iter().sum::<f64>() * 8.0 / (step as f64 * s.width);
        (0..s.bytes.len() / step).map(|w| Window { from: w * step, to: (w + 1) * step, rate: rate(w) }).collect()
    };
    let during: Vec<&Window> = windows.iter().filter(|w| s.time(w.from) >= p.from && s.time(w.to) <= p.to).collect();
    let then = during.iter().map(|w| w.rate).fold(0.0, f64::max);
    let most = if meanwhile { then } else { windows.iter().map(|w| w.rate).fold(then, f64::max) };
    let free = during.iter().filter(|w| w.rate < 0.5 * most).count();
    free as f64 / during.len().max(1) as f64
}

/// The rate a lane reached for at least [`KEPT`] (or over all it carried, if that was shorter), between two moments if given. Next to the sender both
/// what was sent and what was acknowledged must have reached it: the one may wait in a queue, the other may come at once after a hole.
pub(super) fn reach(l: &Lane<'_>, between: Option<(Time, Time)>) -> f64 {
    let sent = reach_of(l, &l.pace.passed, between);
    if l.before_the_limit() { sent.min(reach_of(l, &l.pace.acked, between)) } else { sent }
}

fn reach_of(l: &Lane<'_>, bytes: &[u32], between: Option<(Time, Time)>) -> f64 {
    let p = l.pace;
    let width = p.width.as_secs();
    let bin = |t: Time| usize::try_from(t.since(p.start).nanos().max(0) / p.width.nanos().max(1)).unwrap_or(BINS);
    let used = p.used();
    let (from, to) = between.map_or((0, used), |(a, z)| (bin(a).min(used), bin(z).saturating_add(1).min(used)));
    let bins = bytes.get(from..to).unwrap_or_default();
    let n = ((KEPT / width).ceil() as usize).max(2).min(bins.len().max(1));
    let best = bins.windows(n).map(|run| run.iter().map(|b| u64::from(*b)).sum::<u64>()).max().unwrap_or(0);
    best as f64 * 8.0 / (n as f64 * width)
}

/// The mean rate of a lane over its life.
pub(super) fn mean(l: &Lane<'_>) -> f64 {
    let life = l.pace.last.since(l.pace.start).as_secs().max(l.pace.width.as_secs());
    l.pace.total() as f64 * 8.0 / life
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::flow::{Flow, FlowRecord};
    use crate::model::pace::Pace;
    use crate::model::side::{PerSide, Side};

    fn flow(packets: u64, lost_before: u32) -> FlowRecord {
        let pace = Pace { packets, lost_before, largest: 1_500, ..Pace::new(Time::default(), 0, Time::default()) };
        FlowRecord::from(Flow { pace: PerSide { client: None, server: Some(Box::new(pace)) }, ..Flow::default() })
    }

    /// Two connections shared the slow line of one server (367 kbit/s, BBR): the one that got more was taken for a name that goes free, and the
    /// other was likely held.
    #[test]
    fn who_loses_as_much_on_the_same_line_does_not_go_free() {
        let held = flow(300, 100);
        let target = [Lane::of(&held, None, Side::Server).unwrap()];
        let (losses, queue) = (Losses::of(&target), Queue::of(&target, 2e5));
        let free = |packets, lost| {
            let neighbour = flow(packets, lost);
            let l = Lane::of(&neighbour, None, Side::Server).unwrap();
            spared(&l, &Queue::of(&[l], 4e5), &losses, &queue)
        };
        assert!(!free(900, 100));
        assert!(free(900, 5) && free(900, 0));
    }
}
