//! Two captures of the same connections, taken at two places: what left one and reached the other, what did not, and what arrived unsent.
//!
//! | file | job |
//! |---|---|
//! | `digest` | what is kept of a packet: numbers, and hashes that survive cutting and joining |
//! | `copies` | what a mirrored port doubled, left out |
//! | `flows` | which flow is which, NAT allowed |
//! | `clock` | offset and drift between the clocks, with the part that cannot be resolved |
//! | `align` | which packet is which, by stream bytes and control bits |
//! | `orient` | which point is nearer the client |
//! | `view` | all of it together: strands, and what each point recorded |
//! | `ledger` | how much each capture missed by itself |
//! | `front` | what the user says a capture stands in front of, held against what it shows |
//! | `names` | whether what is missing parts from the rest by the name asked for |
//! | `trips` | how long a question takes to the other point and back |
//! | `inject`, `answered`, `windows`, `dropped`, `throttled` | the judges |
//! | `proof` | what proves that nobody sent a packet |
//! | `claim`, `report` | how findings are written, and what each end alone had said |
//!
//! Nothing here needs the clocks but delays and rates: packets are matched by content, and what a sender did afterwards is read from its own order.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod align;
mod answered;
mod cards;
mod claim;
mod clock;
mod copies;
mod digest;
mod dropped;
mod flows;
mod front;
mod inject;
mod ledger;
mod names;
mod orient;
mod proof;
mod report;
#[cfg(test)]
mod tests;
mod throttled;
mod trips;
mod view;
mod windows;

pub use cards::CARDS;
pub use digest::{Digest, Offer, Tape, TapeFlow, What};

use crate::model::finding::Direction;
use crate::model::flow::FlowId;
use crate::model::pair::{Fronts, PairFinding, Pairing};
use crate::model::side::Side;
use crate::model::story::Story;
use hashbrown::HashSet;

/// Compares two captures: the story and the tape of each, and what the user says of where they were taken.
pub fn compare(stories: [&Story; 2], tapes: [&Tape; 2], fronts: &Fronts) -> Pairing {
    let clean = tapes.map(copies::without);
    let [a, b] = clean.each_ref().map(|t| &**t);
    let view = view::View::of(stories, a, b, fronts);
    let ledger = ledger::Ledger::of(&view);
    let arrivals = dropped::Arrivals::of(&view);
    // What memory had no room for would look as if it had never been.
    let bitten = |s: &view::Strand<'_>| {
        let cut = |f: Option<&TapeFlow>, tape: &Tape| f.map_or(tape.dropped > 0, |f| f.dropped > 0);
        cut(s.flow.a, a) || cut(s.flow.b, b)
    };
    let mut found: Vec<PairFinding> = Vec::new();
    let mut rewritten: HashSet<(Option<FlowId>, Option<Direction>)> = HashSet::new();
    for s in view.strands.iter().filter(|s| !bitten(s)) {
        let came = inject::judge(&view, &ledger, s);
        let id = s.flow.a.map(|f| f.id);
        rewritten.extend(came.iter().filter(|c| c.finding.rule == "pair.rewritten").map(|c| (id, c.finding.direction)));
        found.extend(came);
    }
    found.extend(windows::judge(&view, &|s| !bitten(s)));
    // What arrived as something else was not dropped.
    let may =
        |s: &view::Strand<'_>, side: Side| !bitten(s) && !rewritten.contains(&(s.flow.a.map(|f| f.id), Some(Direction::from_side(side))));
    let mut dropped = dropped::judge(&view, &ledger, &arrivals, &may);
    if a.dropped == 0 && b.dropped == 0 {
        let held = throttled::judge(&view, &ledger);
        // A bucket that is empty when a connection ends closes nothing.
        let same = |d: &PairFinding, h: &PairFinding| {
            h.finding.direction == d.finding.direction && d.finding.flows.iter().all(|id| h.finding.flows.contains(id))
        };
        dropped.retain(|d| !held.iter().any(|h| same(d, h)));
        found.extend(held);
    }
    found.extend(dropped);
    report::pairing(&view, &ledger, found, [a, b])
}
