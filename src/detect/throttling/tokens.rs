//! Whether drops come when a token bucket would be empty, and what rate fills it.
//!
//! ```text
//! bytes passed
//!   |                         x    at each drop (x) the bucket is empty: what passed between two drops is what dripped in,
//!   |               x  . '         however the sender behaved in between. A line through the drops has the bucket's rate,
//!   |      x   . '                 and nothing that passes lies above it. What is dropped at random is dropped anywhere.
//!   | . '
//!   +----------------------- time
//! ```
//!
//! After Flach et al. 2016; here without round trips, and without a bucket's size, so that several flows and a view behind the limit will do.

use super::half_sample_mode;
use super::lane::Lane;
use super::series::{Series, Window};

/// Most drops a line is laid through.
const DROPS_MAX: usize = 64;
/// Fewer moments with drops, or stretches between them, prove nothing.
const MOMENTS: usize = 6;
const STRETCHES: usize = 3;
/// A stretch that carried this near to what dripped in agrees.
const NEAR: f64 = 0.1;

/// The token bucket that explains the drops best.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    /// IP-level bit/s.
    pub rate: f64,
    /// Moments with drops.
    pub moments: usize,
    /// Stretches between drops; the shares that carried what dripped in, and more than that.
    pub stretches: usize,
    pub near: f64,
    pub over: f64,
    /// Standard deviation of the stretches that agree, as a share of the rate.
    pub deviation: f64,
    /// Chance that a packet dropped found fewer tokens than one that passed: near one half if drops do not ask for tokens.
    pub empty: f64,
    /// The stretches that agree.
    pub windows: Vec<Window>,
}

impl Tokens {
    /// A bucket explains the drops, and little else would.
    pub fn strong(&self) -> bool {
        let agree = self.near * self.stretches as f64;
        let enough = agree >= 3.5 || (self.moments >= 10 && self.deviation <= 0.02 && self.near >= 0.99);
        enough && self.near >= 0.74 && self.over <= 0.2 && self.deviation <= 0.06
    }

    /// The same where receivers of datagrams tell of drops: when each arose is not known as well, nor each by itself.
    pub fn likely(&self) -> bool {
        self.stretches >= 8 && self.near >= 0.6 && self.over <= 0.2 && self.deviation <= 0.07
    }

    /// Drops come when there is no reason for them: no stretch of time like another, and not when most had passed.
    pub fn scattered(&self) -> bool {
        let apart = self.near < 0.33 || (self.near < 0.55 && self.stretches >= 16);
        self.moments >= 20 && self.stretches >= 6 && apart && (0.35..=0.6).contains(&self.empty)
    }

    /// The best bucket for what `lanes` carried together, if drops are many enough to tell.
    pub fn of(lanes: &[Lane<'_>]) -> Option<Self> {
        let size = lanes.iter().map(|l| f64::from(l.pace.largest)).fold(0.0, f64::max);
        Self::within(&Series::passed(lanes)?, size)
    }

    /// The same in a series of packets of `size` bytes.
    pub fn within(s: &Series, size: f64) -> Option<Self> {
        let hits: Vec<usize> = (0..s.drops.len()).filter(|i| s.drops[*i] > 0.0).collect();
        let (first, last) = (*hits.first()?, *hits.last()?);
        if hits.len() < MOMENTS || (last - first) as f64 * s.width < super::rate::SECONDS || size <= 0.0 {
            return None;
        }
        let mut sum = 0.0;
        let sums: Vec<f64> = s
            .bytes
            .iter()
            .map(|b| {
                sum += b;
                sum
            })
            .collect();
        let time = |i: usize| i as f64 * s.width;
        let points: Vec<usize> = hits.iter().step_by(hits.len().div_ceil(DROPS_MAX)).copied().collect();
        let long = time(last - first);
        let mut slopes = Vec::new();
        for (k, a) in points.iter().enumerate() {
            for b in points.iter().skip(k + 1) {
                if time(b - a) >= (long / 6.0).max(6.0 * s.width) {
                    slopes.push((sums[*b] - sums[*a]) / time(b - a));
                }
            }
        }
        let rough = half_sample_mode(slopes).filter(|r| *r > 0.0)?;
        // Where in its bin a drop was is not known; but once the bucket is empty no more passes than drips in.
        let upto: Vec<f64> = sums.iter().zip(&s.bytes).map(|(sum, b)| sum - b.min(rough * s.width) / 2.0).collect();
        // Long enough that packets and bins, which are whole, cost little.
        let grain = 1.5 * size + rough * s.width / 2.0;
        let step = (7.0 * grain / rough).max(4.0 * s.width);
        let stretches: Vec<(usize, usize, f64)> = {
            let (mut out, mut from) = (Vec::new(), first);
            for b in hits.iter().skip(1) {
                if time(b - from) >= step {
                    out.push((from, *b, (upto[*b] - upto[from]) / time(b - from)));
                    from = *b;
                }
            }
            out
        };
        if stretches.len() < STRETCHES {
            return None;
        }
        // Up to a packet's worth of tokens may be left at each end, and where in its bin a drop stands is not known.
        let slack = |w: &(usize, usize, f64), rate: f64| (NEAR * rate).max(grain / time(w.1 - w.0));
        let near = |rate: f64| stretches.iter().filter(move |w| (w.2 - rate).abs() <= slack(w, rate));
        let crowd = half_sample_mode(stretches.iter().map(|w| w.2).collect());
        let middle = super::median(stretches.iter().map(|w| w.2));
        let mut rate = rough;
        for other in [crowd, middle].into_iter().flatten() {
            if near(other).count() > near(rate).count() {
                rate = other;
            }
        }
        let agrees: Vec<&(usize, usize, f64)> = near(rate).collect();
        if agrees.len() < 2 {
            return None;
        }
        let total: f64 = agrees.iter().map(|w| time(w.1 - w.0)).sum();
        let rate = agrees.iter().map(|w| w.2 * time(w.1 - w.0)).sum::<f64>() / f64::max(total, f64::MIN_POSITIVE);
        let share = |n: usize| n as f64 / stretches.len() as f64;
        let deviation =
            (agrees.iter().map(|w| (w.2 - rate).powi(2)).sum::<f64>() / agrees.len().saturating_sub(1).max(1) as f64).sqrt() / rate;
        Some(Self {
            rate: rate * 8.0,
            moments: hits.len(),
            stretches: stretches.len(),
            near: share(agrees.len()),
            over: share(stretches.iter().filter(|w| w.2 > rate + slack(w, rate)).count()),
            deviation,
            empty: found_empty(s, &upto, rate, first, last),
            windows: agrees.iter().map(|w| Window { from: w.0, to: w.1, rate: w.2 * 8.0 }).collect(),
        })
    }
}

/// Chance that fewer tokens of a bucket of `rate` (bit/s) were left at a drop than at a packet that passed: one half where drops ask for none.
pub(super) fn emptiness(s: &Series, rate: f64) -> Option<f64> {
    let hit = |d: &f64| *d > 0.0;
    let (first, last) = (s.drops.iter().position(hit)?, s.drops.iter().rposition(hit)?);
    let drip = rate / 8.0;
    let mut sum = 0.0;
    let upto: Vec<f64> = s
        .bytes
        .iter()
        .map(|b| {
            sum += b;
            sum - b.min(drip * s.width) / 2.0
        })
        .collect();
    (last > first).then(|| found_empty(s, &upto, drip, first, last))
}

/// Moments with drops after which more passed than a bucket of `rate` (bit/s), empty at that moment, could have let through, and all moments
/// with drops. A sender with a pace of its own sends what it owes after each loss; a bucket owes nothing.
pub(super) fn overdrawn(s: &Series, size: f64, rate: f64) -> (usize, usize) {
    let drip = rate / 8.0 * s.width;
    let hits: Vec<usize> = (0..s.drops.len()).filter(|i| s.drops[*i] > 0.0).collect();
    let over = |(k, from): (usize, &usize)| {
        let to = hits.get(k + 1).map_or(s.bytes.len(), |next| next + 1).min(s.bytes.len());
        let mut sum = 0.0;
        s.bytes.get(from + 1..to).unwrap_or_default().iter().enumerate().any(|(n, bytes)| {
            sum += bytes;
            // What dripped in since, with a tenth for an error of the rate; a packet that was too large before; and the rest of the drop's bin.
            sum > 1.1 * drip * (n + 1) as f64 + drip + 2.0 * size
        })
    };
    (hits.iter().enumerate().filter(|h| over(*h)).count(), hits.len())
}

/// Chance that tokens were fewer at a drop than at a packet that passed, counted anew from each drop. Ties count half.
fn found_empty(s: &Series, upto: &[f64], rate: f64, first: usize, last: usize) -> f64 {
    let mut dropped: Vec<(f64, f64)> = Vec::new();
    let mut passed: Vec<(f64, f64)> = Vec::new();
    let mut from = first;
    for i in first + 1..=last {
        let tokens = rate * (i - from) as f64 * s.width - (upto[i] - upto[from]);
        if s.bytes[i] > 0.0 {
            passed.push((tokens, s.bytes[i]));
        }
        if s.drops[i] > 0.0 {
            dropped.push((tokens, s.drops[i]));
            from = i;
        }
    }
    passed.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut below = vec![0.0];
    for p in &passed {
        below.push(below.last().copied().unwrap_or(0.0) + p.1);
    }
    let (mut score, mut all) = (0.0, 0.0);
    let total = below.last().copied().unwrap_or(0.0);
    for (tokens, n) in &dropped {
        let under = below[passed.partition_point(|p| p.0 < *tokens)];
        let upto = below[passed.partition_point(|p| p.0 <= *tokens)];
        score += n * (total - upto + (upto - under) / 2.0);
        all += n * total;
    }
    if all > 0.0 { score / all } else { 0.5 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Time;

    const SIZE: f64 = 1_500.0;
    const WIDTH: f64 = 0.05;

    /// Numbers in 0..1 that look like chance and are the same each time.
    fn chance() -> impl FnMut() -> f64 {
        let mut x = 7u64;
        move || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 33) as f64 / (1u64 << 31) as f64
        }
    }

    /// 20 s of a sender whose rate, in packets a bin, grows until something is lost and then falls; `lets` says how many of so many packets pass.
    fn series(mut rate: impl FnMut(f64, bool) -> f64, mut lets: impl FnMut(f64) -> f64) -> Series {
        let n = 400;
        let mut s = Series { start: Time::from_nanos(0), width: WIDTH, bytes: vec![0.0; n], drops: vec![0.0; n], active: vec![true; n] };
        let (mut now, mut hit, mut owed) = (8.0, false, 0.0f64);
        for i in 0..n {
            now = rate(now, hit);
            owed += now;
            let sent = owed.floor();
            owed -= sent;
            let passed = lets(sent);
            (s.bytes[i], s.drops[i]) = (passed * SIZE, sent - passed);
            hit = sent > passed;
        }
        s
    }

    fn halves(now: f64, hit: bool) -> f64 {
        if hit { (now * 0.5).max(0.2) } else { now + 0.12 }
    }

    fn bucket(bytes_a_second: f64, depth: f64) -> impl FnMut(f64) -> f64 {
        let mut level = depth;
        move |sent| {
            level = (level + bytes_a_second * WIDTH).min(depth);
            let passed = sent.min((level / SIZE).floor());
            level -= passed * SIZE;
            passed
        }
    }

    #[test]
    fn a_bucket_shows_whatever_the_sender_does() {
        for (rate, depth) in [(60_000.0, 20_000.0), (60_000.0, 60_000.0), (120_000.0, 60_000.0)] {
            let t = Tokens::within(&series(halves, bucket(rate, depth)), SIZE).unwrap();
            assert!(t.strong() && !t.scattered(), "{t:?}");
            assert!((t.rate / 8.0 - rate).abs() < 0.04 * rate && t.empty > 0.6, "{t:?}");
        }
    }

    #[test]
    fn loss_by_chance_is_no_bucket() {
        for share in [0.01, 0.03, 0.1] {
            let mut draw = chance();
            let s = series(halves, |sent| (0..sent as u32).filter(|_| draw() >= share).count() as f64);
            assert!(Tokens::within(&s, SIZE).is_none_or(|t| !t.strong()), "{share}");
        }
    }

    #[test]
    fn a_paced_sender_loses_when_there_are_tokens() {
        let mut draw = chance();
        let s = series(|_, _| 6.0, |sent| (0..sent as u32).filter(|_| draw() >= 0.02).count() as f64);
        let t = Tokens::within(&s, SIZE).unwrap();
        assert!(t.near > 0.7 && t.empty < 0.5, "{t:?}");
    }

    #[test]
    fn a_stream_that_makes_up_for_what_it_lost_is_no_bucket() {
        // Owes 4 packets a bin; every second it loses some and rests for a timer, then sends all it owes.
        let (mut owed, mut t) = (0.0, 0);
        let s = series(
            |_, _| {
                t += 1;
                owed += 4.0;
                let now = if t % 20 < 8 { 0.0 } else { f64::min(owed, 24.0) };
                owed -= now;
                now
            },
            |sent| if sent > 20.0 { sent - 1.0 } else { sent },
        );
        let (over, all) = overdrawn(&s, SIZE, 4.0 * SIZE / WIDTH * 8.0);
        assert!(all >= 15 && over * 2 > all, "{over} of {all}");
        let s = series(halves, bucket(60_000.0, 20_000.0));
        assert_eq!(overdrawn(&s, SIZE, 480_000.0).0, 0);
    }

    #[test]
    fn a_few_drops_at_once_say_nothing() {
        let mut left = 40.0;
        let s = series(
            |_, _| 6.0,
            |sent| {
                let lost = f64::min(left, sent);
                left -= lost;
                sent - lost
            },
        );
        assert!(Tokens::within(&s, SIZE).is_none());
    }
}
