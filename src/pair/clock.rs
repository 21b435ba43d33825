//! Offset and drift between two clocks, from packets that passed both points.
//!
//! A packet from A to B shows `B − A = offset + delay`, one from B to A `B − A = offset − delay`. No delay is negative, so the smallest of the first
//! kind and the largest of the second bound the offset; half their distance (half the round trip between the points) cannot be resolved.

use crate::model::pair::Clock;
use crate::model::time::{Span, Time};

/// A packet seen at both points.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// When at A.
    pub a: Time,
    /// B's time less A's.
    pub diff: Span,
}

/// Least stretch over which a drift is measured.
const DRIFT_MIN: Span = Span::from_secs(20);
/// Stretches in which the smallest delay is looked for.
const BINS: i64 = 32;
/// Bounds that contradict one another by less than this are jitter of the capturing hosts.
const CONTRADICTION: Span = Span::from_millis(2);
/// Fewest packets each way.
const SAMPLES_MIN: usize = 3;

/// The clocks as packets from A to B and from B to A show them.
pub fn measure(to_b: &[Sample], to_a: &[Sample]) -> Clock {
    let samples = [to_b.len() as u64, to_a.len() as u64];
    let Some(first) = to_b.iter().chain(to_a).map(|s| s.a).min() else {
        return Clock { samples, why_not: Some("no packet was seen at both points"), ..Clock::default() };
    };
    let last = to_b.iter().chain(to_a).map(|s| s.a).max().unwrap_or(first);
    let refuse = |why| Clock { samples, at: first, why_not: Some(why), ..Clock::default() };
    if !enough(to_b) || !enough(to_a) {
        return refuse("packets of one direction only were seen at both points");
    }
    let drift_ppm = drift(to_b, to_a, first, last.since(first));
    let level = |s: &Sample| s.diff.nanos() - tilt(drift_ppm, s.a.since(first)).nanos();
    let upper = to_b.iter().map(level).min().unwrap_or(0);
    let lower = to_a.iter().map(level).max().unwrap_or(0);
    if lower > upper.saturating_add(CONTRADICTION.nanos()) {
        return refuse("one of the clocks was set while the captures ran");
    }
    let half = (upper.saturating_sub(lower) / 2).max(0);
    Clock {
        offset: Some(Span::from_nanos(lower.saturating_add(half))),
        uncertainty: Span::from_nanos(half),
        drift_ppm,
        at: first,
        samples,
        why_not: None,
    }
}

/// Whether packets of a direction are enough to measure by.
pub const fn enough(samples: &[Sample]) -> bool {
    samples.len() >= SAMPLES_MIN
}

/// Drift of the worst clock that is allowed for where it cannot be measured.
const DRIFT_MAX_PPM: f64 = 100.0;

/// Least and (all but) greatest difference, far less near, of packets of one direction: what can be told when none of the other were seen. `sign` is
/// 1 for packets from A to B, −1 for those from B to A.
pub fn one_way(samples: &[Sample], sign: i64) -> Option<(Span, Span)> {
    if !enough(samples) {
        return None;
    }
    let (first, last) = (samples.iter().map(|s| s.a).min()?, samples.iter().map(|s| s.a).max()?);
    let spare = tilt(DRIFT_MAX_PPM, last.since(first)).nanos();
    let mut all: Vec<i64> = samples.iter().map(|s| s.diff.nanos().saturating_mul(sign)).collect();
    all.sort_unstable();
    let slow = all.get(all.len().saturating_sub(1) * 995 / 1000)?;
    Some((Span::from_nanos(all.first()?.saturating_sub(spare)), Span::from_nanos(slow.saturating_add(spare))))
}

/// How far a drift carries the offset in a time.
fn tilt(ppm: f64, over: Span) -> Span {
    Span::from_nanos((ppm * 1e-6 * over.nanos() as f64) as i64)
}

/// B's time less A's at a moment of A, delay aside.
pub fn offset_at(clock: &Clock, a: Time) -> Option<Span> {
    let offset = clock.offset?;
    Some(Span::from_nanos(offset.nanos().saturating_add(tilt(clock.drift_ppm, a.since(clock.at)).nanos())))
}

/// The slope that both directions' least delays share; queues tilt them against each other, a drift tilts them alike.
fn drift(to_b: &[Sample], to_a: &[Sample], first: Time, span: Span) -> f64 {
    if span < DRIFT_MIN {
        return 0.0;
    }
    let up = slope(&envelope(to_b, first, span, 1));
    let down = slope(&envelope(to_a, first, span, -1));
    let (Some(up), Some(down)) = (up, down) else { return 0.0 };
    let mean = f64::midpoint(up, down);
    // What is not shared is noise; a drift smaller than that is not measured.
    if (up - down).abs() > mean.abs() { 0.0 } else { (mean * 1e3).round() / 1e3 }
}

/// Least delay of each stretch (`sign` −1: largest difference), as (seconds, nanoseconds).
fn envelope(samples: &[Sample], first: Time, span: Span, sign: i64) -> Vec<(f64, f64)> {
    let mut best: Vec<Option<(i64, i64)>> = vec![None; BINS as usize];
    for s in samples {
        let at = s.a.since(first).nanos();
        let bin = (i128::from(at) * i128::from(BINS) / i128::from(span.nanos().max(1) + 1)) as usize;
        let v = s.diff.nanos().saturating_mul(sign);
        if let Some(slot) = best.get_mut(bin)
            && slot.is_none_or(|(_, old)| v < old)
        {
            *slot = Some((at, v));
        }
    }
    best.into_iter().flatten().map(|(at, v)| (at as f64 / 1e9, (v * sign) as f64)).collect()
}

/// Median slope over all pairs of stretches (Theil–Sen), parts per million.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    if points.len() < 6 {
        return None;
    }
    let mut all = Vec::new();
    for (i, p) in points.iter().enumerate() {
        for q in points.iter().skip(i + 1) {
            if q.0 - p.0 > 1.0 {
                all.push((q.1 - p.1) / (q.0 - p.0) / 1e3);
            }
        }
    }
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(n: i64, every_ms: i64, offset_ms: i64, ppm: f64, delay_us: impl Fn(i64) -> i64) -> Vec<Sample> {
        (0..n)
            .map(|i| {
                let at = Span::from_millis(i * every_ms);
                let diff = offset_ms * 1_000_000 + tilt(ppm, at).nanos() + delay_us(i) * 1000;
                Sample { a: Time::from_nanos(0).plus(at), diff: Span::from_nanos(diff) }
            })
            .collect()
    }

    #[test]
    fn offset_lies_within_half_the_round_trip() {
        let c = measure(
            &samples(50, 20, -3_600_000, 0.0, |i| 20_000 + i % 7 * 900),
            &samples(50, 20, -3_600_000, 0.0, |i| -(10_000 + i % 5 * 700)),
        );
        let error = c.offset.unwrap().nanos() + 3_600_000_000_000;
        assert!(error.abs() <= c.uncertainty.nanos() && c.uncertainty == Span::from_millis(15), "{c:?}");
    }

    #[test]
    fn drift_is_told_from_a_queue_that_fills() {
        let c = measure(&samples(600, 100, 50, 40.0, |i| 9_000 + i % 11 * 300), &samples(600, 100, 50, 40.0, |i| -(8_000 + i % 13 * 300)));
        assert!((c.drift_ppm - 40.0).abs() < 4.0, "{c:?}");
        let queue = measure(&samples(600, 100, 50, 0.0, |i| 9_000 + i * 100), &samples(600, 100, 50, 0.0, |i| -(8_000 + i % 13 * 300)));
        assert_eq!(queue.drift_ppm, 0.0);
    }

    #[test]
    fn a_clock_that_was_set_is_refused() {
        let step = |i: i64| if i < 300 { 0 } else { 700_000 };
        let c = measure(&samples(600, 10, 0, 0.0, |i| 5_000 + step(i)), &samples(600, 10, 0, 0.0, |i| -5_000 + step(i)));
        assert!(c.offset.is_none() && c.why_not.is_some(), "{c:?}");
        assert!(measure(&samples(9, 10, 0, 0.0, |_| 1), &[]).offset.is_none());
    }
}
