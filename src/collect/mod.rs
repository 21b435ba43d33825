//! Shards' records become one ordered story: capture order, outcomes, quality, names, kin, and findings of one cause laid together.
//!
//! Nothing here re-reads a packet. Each file is one step; the corridor takes them in order.

mod apps;
mod evidence;
mod merge;
mod names;
mod near;
mod outcome;
mod peers;
mod quality;
mod services;

pub use apps::apps;
pub use evidence::evidence;
pub use merge::{Causes, merge};
pub use names::{Lead, Names};
pub use near::{Neighbours, Used};
pub use outcome::{ripen, settle};
pub use peers::{Leg, Peers};
pub use quality::{Share, Sums, assess};
pub use services::{Past, Titles, tally, tally_onto};

use crate::model::flow::FlowRecord;

/// Puts flows into capture order.
pub fn order(flows: &mut [FlowRecord]) {
    // One shard hands over most flows in order. The names are copied out, so that sorting does not visit each flow many times.
    if !flows.is_sorted_by_key(|f| f.id) {
        flows.sort_by_cached_key(|f| f.id);
    }
}
