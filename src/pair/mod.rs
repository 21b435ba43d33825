//! Two captures of the same connections, taken at two places: what left one and reached the other, what did not, and what arrived unsent.
//!
//! | file | job |
//! |---|---|
//! | `digest` | what is kept of a packet: numbers, and hashes that survive cutting and joining |
//! | `flows` | which flow is which, NAT allowed |
//! | `clock` | offset and drift between the clocks, with the part that cannot be resolved |
//! | `align` | which packet is which, by stream bytes and control bits |
//! | `view` | all of it together: strands, orientation, what each point recorded |
//! | `ledger` | how much each capture missed by itself |
//! | `inject`, `dropped`, `throttled` | the judges |
//! | `claim`, `report` | how findings are written, and what each end alone had said |
//!
//! Nothing here needs the clocks but delays and rates: packets are matched by content, and what a sender did afterwards is read from its own order.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod align;
mod cards;
mod claim;
mod clock;
mod digest;
mod dropped;
mod flows;
mod inject;
mod ledger;
mod report;
mod throttled;
mod view;

pub use cards::CARDS;
pub use digest::{Digest, Offer, Tape, TapeFlow, What};

use crate::model::pair::Pairing;
use crate::model::story::Story;

/// Compares two captures: the story and the tape of each.
pub fn compare(stories: [&Story; 2], tapes: [&Tape; 2]) -> Pairing {
    let [a, b] = tapes;
    let view = view::View::of(stories, a, b);
    let ledger = ledger::Ledger::of(&view);
    let arrivals = dropped::Arrivals::of(&view);
    let mut found = Vec::new();
    for (index, s) in view.strands.iter().enumerate() {
        let bitten = s.flow.a.is_some_and(|f| f.dropped > 0) || s.flow.b.is_some_and(|f| f.dropped > 0);
        // What memory had no room for would look as if it had never been.
        if bitten || a.dropped > 0 && s.flow.a.is_none() || b.dropped > 0 && s.flow.b.is_none() {
            continue;
        }
        found.extend(inject::judge(&view, &ledger, s));
        found.extend(dropped::judge(&view, &ledger, &arrivals, index, s));
    }
    if a.dropped == 0 && b.dropped == 0 {
        found.extend(throttled::judge(&view));
    }
    report::pairing(&view, &ledger, found, tapes)
}
