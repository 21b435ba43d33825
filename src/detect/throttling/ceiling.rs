//! A rate that is reached again and again and never exceeded, while what was not sent in between is not made up for.
//!
//! ```text
//! rate of what arrives
//!   |  ___   __    ____   ___       a bucket holds what exceeds its rate to nothing: the ceiling
//!   | /   \_/  \  /    \_/   \_     after each loss the sender goes below it, and that time is lost to it
//!   |           \/
//!   +--------------------------- time
//! ```
//!
//! For datagrams that do not show what was dropped. A stream that owes what it could not send goes above its usual rate afterwards; loss at
//! random and a sender's congestion control know no ceiling; a server that paces keeps to it without going below.

use super::series::{Series, Window};

/// Windows this near to the ceiling reach it.
const NEAR: f64 = 0.07;
/// Share of windows that reach it, and at most so many exceed it by a tenth.
const REACH: f64 = 0.28;
const EXCEED: f64 = 0.1;
/// Windows it takes, and times that the rate fell below and came back.
const WINDOWS: usize = 16;
const DIPS: usize = 4;
/// A window below this share is a dip; below that share nothing was sent, which is the sender's.
const DIP: f64 = 0.85;
const IDLE: f64 = 0.2;
/// Share of windows, and of the time at the ceiling, in which nothing may come.
const REST: f64 = 0.15;
const HOLES: f64 = 0.15;
/// What was left out is so many times what ever came at once above the rate.
const UNPAID: f64 = 8.0;
/// Shortest and longest window, seconds; packets in it; and the share of it that may come at once above the rate.
const SHORT: f64 = 0.25;
const LONG: f64 = 2.0;
const PACKETS: f64 = 16.0;
const BURST: f64 = 0.2;
/// What comes in the first second is what a bucket held, or a sender that looks for the rate.
const OPENING: f64 = 1.0;

/// The windows that reach the ceiling, and how many there are in all.
pub(super) struct Ceiling {
    pub near: Vec<Window>,
    pub windows: usize,
}

impl Ceiling {
    /// The ceiling of a series of packets of `size` bytes.
    pub fn of(s: &Series, size: f64) -> Option<Self> {
        let from = (OPENING / s.width).ceil() as usize;
        let used = s.bytes.iter().rposition(|b| *b > 0.0)? + 1;
        let mean = s.bytes.get(from..used)?.iter().sum::<f64>() / (used - from) as f64;
        if mean <= 0.0 {
            return None;
        }
        let mut step = ((SHORT / s.width).round() as usize).max((PACKETS * size / mean).ceil() as usize).max(1);
        let mut best = None;
        while (used - from) / step >= WINDOWS {
            let (found, burst) = Self::within(s, from, used, step)?;
            best = found.or(best);
            // What a bucket holds blurs a short window.
            if burst < BURST || step as f64 * s.width > LONG {
                break;
            }
            step = (step as f64 * 1.4).ceil() as usize;
        }
        best
    }

    /// The same in windows of `step` bins, and the most that came above the rate, as a share of a window.
    fn within(s: &Series, from: usize, to: usize, step: usize) -> Option<(Option<Self>, f64)> {
        let seconds = step as f64 * s.width;
        let windows: Vec<Window> = (from..=to - step)
            .step_by(step)
            .map(|a| Window { from: a, to: a + step, rate: s.bytes[a..a + step].iter().sum::<f64>() / seconds })
            .collect();
        let near = |rate: f64| windows.iter().filter(move |w| (w.rate - rate).abs() <= NEAR * rate);
        let share = |n: usize| n as f64 / windows.len() as f64;
        let mut top: Option<(usize, f64)> = None;
        for w in windows.iter().filter(|w| w.rate > 0.0) {
            let rate = near(w.rate).map(|w| w.rate).sum::<f64>() / near(w.rate).count() as f64;
            let n = near(rate).count();
            let over = share(windows.iter().filter(|w| w.rate > 1.1 * rate).count());
            if over <= EXCEED && top.is_none_or(|(most, _)| n > most) {
                top = Some((n, rate));
            }
        }
        let (n, rate) = top?;
        let (mut burst, mut level) = (0.0f64, 0.0f64);
        for bytes in &s.bytes[from..to] {
            level = (level + bytes - rate * s.width).max(0.0);
            burst = burst.max(level);
        }
        let dip = |w: &Window| w.rate < DIP * rate && w.rate > IDLE * rate;
        let dips = windows.chunk_by(|a, b| dip(a) == dip(b)).filter(|run| run.first().is_some_and(&dip)).count();
        let idle = share(windows.iter().filter(|w| w.rate <= IDLE * rate).count());
        let unpaid: f64 = windows.iter().filter(|w| w.rate > IDLE * rate && w.rate < rate).map(|w| (rate - w.rate) * seconds).sum();
        let holes: usize = near(rate).map(|w| s.bytes[w.from..w.to].iter().filter(|b| **b == 0.0).count()).sum();
        let held =
            share(n) >= REACH && dips >= DIPS && idle <= REST && unpaid >= UNPAID * burst && holes as f64 <= HOLES * (n * step) as f64;
        let kept = || near(rate).map(|w| Window { rate: w.rate * 8.0, ..*w }).collect();
        Some((held.then(|| Self { near: kept(), windows: windows.len() }), burst / (rate * seconds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Time;

    const SIZE: f64 = 1_250.0;
    const WIDTH: f64 = 0.05;

    /// 20 s of what `sends` hands over in each bin, in packets.
    fn series(mut sends: impl FnMut(usize) -> f64) -> Series {
        let n = 400;
        let bytes: Vec<f64> = (0..n).map(|i| sends(i).floor() * SIZE).collect();
        Series { start: Time::from_nanos(0), width: WIDTH, bytes, drops: vec![0.0; n], active: vec![true; n] }
    }

    /// A sender that grows until something is lost and then halves, but not again before so many bins have gone.
    fn halves(rests: u32, mut lets: impl FnMut(f64) -> f64) -> Series {
        let (mut now, mut owed, mut calm) = (6.0f64, 0.0f64, 0u32);
        series(|_| {
            owed += now;
            let sent = owed.floor();
            owed -= sent;
            let passed = lets(sent);
            calm += 1;
            match passed < sent {
                true if calm >= rests => (now, calm) = ((now * 0.5).max(0.5), 0),
                true => {}
                false => now += 0.3,
            }
            passed
        })
    }

    #[test]
    fn a_bucket_is_a_ceiling() {
        let mut level = 6_000.0f64;
        let s = halves(25, |sent| {
            level = (level + 100_000.0 * WIDTH).min(6_000.0);
            let passed = sent.min((level / SIZE).floor());
            level -= passed * SIZE;
            passed
        });
        let c = Ceiling::of(&s, SIZE).unwrap();
        let rate = c.near.iter().map(|w| w.rate).sum::<f64>() / c.near.len() as f64;
        assert!((rate - 800_000.0).abs() < 80_000.0, "{rate}");
    }

    #[test]
    fn loss_at_random_is_none() {
        let mut x = 7u64;
        let mut chance = move || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 33) as f64 / (1u64 << 31) as f64
        };
        let s = halves(3, |sent| (0..sent as u32).filter(|_| chance() >= 0.02).count() as f64);
        assert!(Ceiling::of(&s, SIZE).is_none());
    }

    #[test]
    fn a_stream_is_none_paced_or_in_pieces_or_late() {
        // Evenly; a piece of 12 packets every 0.3 s; evenly, with pauses made up for.
        assert!(Ceiling::of(&series(|_| 4.0), SIZE).is_none());
        assert!(Ceiling::of(&series(|i| if i % 6 == 0 { 12.0 } else { 0.0 }), SIZE).is_none());
        let mut owed = 0.0f64;
        let s = series(|i| {
            owed += 4.0;
            let now = if i % 30 < 6 { 1.0 } else { owed.min(9.0) };
            owed -= now;
            now
        });
        assert!(Ceiling::of(&s, SIZE).is_none());
    }
}
