//! Which flow of A is which flow of B: by addresses and ports, or, behind a NAT, by what the packets carry.

use super::digest::{Digest, Tape, TapeFlow, What};
use crate::model::key::FlowKey;
use crate::model::pair::Matched;
use crate::model::side::Side;
use crate::model::time::{Span, Time};
use hashbrown::{HashMap, HashSet};

/// Payloads per side that identify a flow.
const MARKS: usize = 4;
/// A payload shorter than this identifies nothing.
const MARK_MIN: u32 = 16;
/// A mark that more flows than this carry is no mark.
const COMMON: usize = 8;

/// Two flows that are one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Couple {
    /// Index in A's tape.
    pub a: usize,
    /// Index in B's tape.
    pub b: usize,
    /// How they were recognised.
    pub how: Matched,
}

/// Pairs flows. `offset` (what to add to A's times) decides between flows that reuse the same ports; without it, such flows need common content.
pub fn couples(a: &Tape, b: &Tape, offset: Option<Span>) -> Vec<Couple> {
    let mut by_key: HashMap<FlowKey, Vec<usize>> = HashMap::new();
    let mut by_mark: HashMap<u64, Vec<usize>> = HashMap::new();
    let marks_b: Vec<Vec<u64>> = b.flows.iter().map(marks).collect();
    for (i, flow) in b.flows.iter().enumerate() {
        by_key.entry(key(flow)).or_default().push(i);
        for m in marks_b.get(i).into_iter().flatten() {
            by_mark.entry(*m).or_default().push(i);
        }
    }
    let mut scored: Vec<(u32, usize, usize, Matched)> = Vec::new();
    for (i, flow) in a.flows.iter().enumerate() {
        let marks = marks(flow);
        let mut seen: HashMap<usize, u32> = HashMap::new();
        for m in &marks {
            let Some(with) = by_mark.get(m).filter(|w| w.len() <= COMMON) else { continue };
            for j in with {
                *seen.entry(*j).or_default() += 2;
            }
        }
        let same: HashSet<usize> = by_key.get(&key(flow)).into_iter().flatten().copied().collect();
        let mut all: Vec<usize> = seen.keys().chain(&same).copied().collect();
        all.sort_unstable();
        all.dedup();
        for j in all {
            let Some(other) = b.flows.get(j) else { continue };
            if flow.proto != other.proto {
                continue;
            }
            let content = seen.get(&j).copied().unwrap_or(0);
            let tuple = same.contains(&j);
            if let Some(score) = score(flow, other, content, tuple, offset) {
                scored.push((score, i, j, if tuple { Matched::Tuple } else { Matched::Content }));
            }
        }
    }
    scored.sort_by_key(|(score, i, j, _)| (std::cmp::Reverse(*score), *i, *j));
    let (mut used_a, mut used_b) = (HashSet::new(), HashSet::new());
    let mut out: Vec<Couple> = Vec::new();
    for (_, i, j, how) in scored {
        if !used_a.contains(&i) && !used_b.contains(&j) {
            used_a.insert(i);
            used_b.insert(j);
            out.push(Couple { a: i, b: j, how });
        }
    }
    out.sort_by_key(|c| c.a);
    out
}

fn key(flow: &TapeFlow) -> FlowKey {
    FlowKey::of(flow.client, flow.server, flow.proto)
}

/// How well two flows fit; `None` if they are not one.
fn score(a: &TapeFlow, b: &TapeFlow, content: u32, tuple: bool, offset: Option<Span>) -> Option<u32> {
    let isn = |side: Side| match (a.offer[side], b.offer[side]) {
        (Some(x), Some(y)) => Some(x.isn == y.isn),
        _ => None,
    };
    let isns = [isn(Side::Client), isn(Side::Server)];
    let numbers = isns.iter().filter(|n| **n == Some(true)).count() as u32;
    let conflict = isns.contains(&Some(false));
    let base = content + 8 * numbers;
    if tuple {
        if base > 0 {
            return Some(base + 16);
        }
        // Nothing in common but the ports: the same conversation only if it was at the same time, and not one begun anew.
        let near = offset.is_some_and(|o| overlap(a, b, o));
        return (near && !conflict).then_some(1);
    }
    // Behind a NAT: initial numbers of both sides, or what both carry. One mark alone may be a coincidence of protocols with fixed first bytes.
    (numbers == 2 || content >= 4 || (numbers == 1 && !conflict) || (content >= 2 && a.server == b.server)).then_some(base)
}

fn overlap(a: &TapeFlow, b: &TapeFlow, offset: Span) -> bool {
    const SLACK: Span = Span::from_secs(2);
    let span = |f: &TapeFlow| -> Option<(Time, Time)> {
        let times = || f.packets.iter().map(|p| p.ts);
        Some((times().min()?, times().max()?))
    };
    let (Some((a0, a1)), Some((b0, b1))) = (span(a), span(b)) else { return false };
    let (a0, a1) = (a0.plus(offset).minus(SLACK), a1.plus(offset).plus(SLACK));
    a0 <= b1 && b0 <= a1
}

/// Hashes of the first payloads of each side, direction included.
fn marks(flow: &TapeFlow) -> Vec<u64> {
    let mut out = Vec::new();
    for side in Side::BOTH {
        let mut left = MARKS;
        for p in flow.packets.iter().filter(|p| p.side == side && p.what != What::Error && p.len >= MARK_MIN) {
            if left == 0 {
                break;
            }
            left -= 1;
            if let Some(m) = mark(p, side)
                && !out.contains(&m)
            {
                out.push(m);
            }
        }
    }
    out
}

/// The first bytes, so that a snap length or another segmentation on one side does not hide the likeness.
fn mark(p: &Digest, side: Side) -> Option<u64> {
    (p.cap >= MARK_MIN).then_some(p.head.rotate_left(1) ^ u64::from(side == Side::Server))
}
