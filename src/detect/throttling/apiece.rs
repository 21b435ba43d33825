//! Whether each of several flows is held to a rate of its own, or all share one bucket.

use super::lane::Lane;
use super::origin;
use super::plateau::{self, Plateau};
use crate::model::time::Span;
use std::collections::BTreeMap;

/// Flows watched side by side over stretches of so many seconds at least; whoever swings less keeps a rate of its own.
const STEP: f64 = 1.5;
const SWING: f64 = 0.12;
/// Rates of flows this near to each other are one rate; more flows than this are not laid side by side; and what a flow does at first does not count.
const NEAR: f64 = 0.12;
const MOST: usize = 16;
const OPENING: Span = Span::from_secs(1);

/// The rate of one flow where each of several that go at once keeps the same rate for itself. Flows that share a bucket swing.
pub(super) fn side_by_side(group: &[Lane<'_>], p: &Plateau) -> Option<f64> {
    if group.len() < 2 {
        return None;
    }
    let from = group.iter().map(|l| l.pace.start).max()?.max(p.from);
    let to = group.iter().map(|l| l.pace.last).min()?.min(p.to);
    let step = (10.0 * group.iter().map(Lane::rtt).fold(0.0, f64::max)).max(STEP);
    let (step, n) = origin::cut(to.since(from).as_secs(), step);
    if n < origin::STRETCHES {
        return None;
    }
    let shares: Vec<Vec<f64>> = group.iter().map(|l| origin::stretches(std::slice::from_ref(l), from, step, n)).collect();
    if shares.iter().any(|s| origin::variation(s) > SWING) {
        return None;
    }
    let rates: Vec<f64> = shares.iter().map(|s| s.iter().sum::<f64>() * 8.0 / (n as f64 * step)).collect();
    let (low, high) = rates.iter().fold((f64::MAX, f64::MIN), |(a, z), r| (a.min(*r), z.max(*r)));
    let sum: f64 = rates.iter().sum();
    (high <= 1.08 * low && (sum - p.rate).abs() <= 0.1 * p.rate).then_some(sum / rates.len() as f64)
}

/// The plateau of one flow where several come and go and, however many go at once, each has the same. One bucket for all gives more to fewer.
pub(super) fn come_and_go(lanes: &[Lane<'_>]) -> Option<Plateau> {
    if lanes.len() < 2 || lanes.len() > MOST {
        return None;
    }
    let step = (10.0 * lanes.iter().map(Lane::rtt).fold(0.0, f64::max)).max(1.0);
    let from = lanes.iter().map(|l| l.pace.start).min()?;
    let (step, n) = origin::cut(lanes.iter().map(|l| l.pace.last).max()?.since(from).as_secs(), step);
    let sums = origin::stretches(lanes, from, step, n);
    // What each has, by how many there are all through a stretch; beginnings and ends do not count.
    let mut apiece: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for (i, sum) in sums.iter().enumerate() {
        let (a, z) = (
            from.plus(Span::from_nanos((i as f64 * step * 1e9) as i64)),
            from.plus(Span::from_nanos(((i + 1) as f64 * step * 1e9) as i64)),
        );
        let there = lanes.iter().filter(|l| l.pace.start < z && l.pace.last > a).count();
        let through = lanes.iter().filter(|l| l.pace.start.plus(OPENING) <= a && l.pace.last >= z).count();
        if there == through && through > 0 {
            apiece.entry(through).or_default().push(sum * 8.0 / step / through as f64);
        }
    }
    apiece.retain(|_, rates| rates.len() >= 2);
    let all: Vec<f64> = apiece.values().flatten().copied().collect();
    let rate = super::median(all.iter().copied())?;
    let near = |r: f64| (r - rate).abs() <= NEAR * rate;
    let alike = apiece.len() >= 2
        && apiece.values().all(|rates| super::median(rates.iter().copied()).is_some_and(near))
        && all.iter().filter(|r| near(**r)).count() as f64 >= plateau::STEADY * all.len() as f64;
    let one = |l: &Lane<'_>| Plateau::of(std::slice::from_ref(l)).filter(|p| near(p.rate) && p.windows >= 5 && p.steady >= plateau::STEADY);
    if alike { lanes.iter().filter_map(one).max_by_key(|p| p.windows) } else { None }
}
