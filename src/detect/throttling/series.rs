//! What passed over time, of several lanes together.

use super::lane::Lane;
use crate::model::time::{Span, Time};

/// Most bins of a series laid together from several flows.
const SERIES_MAX: usize = 1_024;
/// Most windows a plateau is looked for in.
const WINDOWS_MAX: usize = 48;

/// What passed over time, of several lanes together.
pub(super) struct Series {
    pub start: Time,
    pub width: f64,
    pub bytes: Vec<f64>,
    pub drops: Vec<f64>,
    pub active: Vec<bool>,
}

impl Series {
    /// What passed, as far as the capture point saw it go.
    pub fn passed(lanes: &[Lane<'_>]) -> Option<Self> {
        Self::of(lanes, |l| &l.pace.passed)
    }

    /// What arrived: next to the sender, what was acknowledged, for what was sent may still wait in a queue.
    pub fn arrived(lanes: &[Lane<'_>]) -> Option<Self> {
        Self::of(lanes, |l| if l.before_the_limit() { &l.pace.acked } else { &l.pace.passed })
    }

    fn of<'a>(lanes: &[Lane<'a>], bytes: impl Fn(&Lane<'a>) -> &'a [u32]) -> Option<Self> {
        let start = lanes.iter().map(|l| l.pace.start).min()?;
        let last = lanes.iter().map(|l| l.pace.start.plus(l.pace.width.times(l.pace.used() as i64 - 1))).max()?;
        let widest = lanes.iter().map(|l| l.pace.width.nanos()).max()?.max(1);
        let span = last.since(start).nanos().max(1);
        let width = widest.max(span / (SERIES_MAX as i64 - 1) + 1);
        let n = usize::try_from(span / width).ok()? + 1;
        let mut s = Self { start, width: width as f64 / 1e9, bytes: vec![0.0; n], drops: vec![0.0; n], active: vec![false; n] };
        let mut rests: Vec<(usize, usize)> = Vec::new();
        for l in lanes {
            let p = l.pace;
            let at = |t: i64| usize::try_from(t.max(0) / width).unwrap_or(0).min(n - 1);
            let offset = p.start.since(start).nanos();
            let own = p.width.nanos().max(1);
            for (i, (b, d)) in bytes(l).iter().zip(p.drops.iter()).enumerate().take(p.used()) {
                let from = offset.saturating_add(own.saturating_mul(i as i64));
                // A bin that straddles two goes to both by share.
                let (a, z) = (at(from), at(from.saturating_add(own - 1)));
                let edge = (a as i64 + 1).saturating_mul(width);
                let share = if a == z { 1.0 } else { ((edge - from) as f64 / own as f64).clamp(0.0, 1.0) };
                s.bytes[a] += f64::from(*b) * share;
                s.bytes[z] += f64::from(*b) * (1.0 - share);
                s.drops[a] += f64::from(*d);
            }
            // A sender that lost nothing and paused had nothing to send; after a loss a pause is part of what loss costs.
            let clean = l.flow.tcp.is_some() && u64::from(p.lost_before + p.lost_beyond) * 200 < p.packets;
            rests.extend(clean.then(|| l.rests(own, offset)).into_iter().flatten().map(|(a, z)| (at(a), at(z))));
            let (a, z) = (at(offset), at(p.last.since(start).nanos()));
            s.active[a..=z].fill(true);
        }
        if let ([_], false) = (lanes, rests.is_empty()) {
            for (a, z) in rests {
                s.active[a.saturating_add(1).min(z)..z].fill(false);
            }
        }
        Some(s)
    }

    pub fn time(&self, bin: usize) -> Time {
        self.start.plus(Span::from_nanos((bin as f64 * self.width * 1e9) as i64))
    }

    /// Where the rate falls for good, at least to two thirds, with the rate before; both parts must last.
    pub fn falls(&self) -> Option<(usize, f64)> {
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

    pub fn tail(&self, at: usize) -> Self {
        self.between(at, self.bytes.len())
    }

    /// The bins `from..to`.
    pub fn between(&self, from: usize, to: usize) -> Self {
        Self {
            start: self.time(from),
            width: self.width,
            bytes: self.bytes[from..to].to_vec(),
            drops: self.drops[from..to].to_vec(),
            active: self.active[from..to].to_vec(),
        }
    }

    /// Consecutive windows of about `seconds`, those mostly idle left out.
    pub fn windows(&self, seconds: f64) -> Vec<Window> {
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
    pub fn between_drops(&self, seconds: f64) -> Vec<Window> {
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

#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub from: usize,
    pub to: usize,
    pub rate: f64,
}
