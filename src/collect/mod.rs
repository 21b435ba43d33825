//! Shards' records become one ordered story: capture order, outcomes, quality, names, kin, and findings of one cause laid together.
//!
//! Nothing here re-reads a packet. Each file is one step; the corridor takes them in order.

mod kin;
mod merge;
mod names;
mod near;
mod outcome;
mod peers;
mod quality;
mod services;

pub use kin::index;
pub use merge::merge;
pub use names::{Lead, Names};
pub use near::{Neighbours, Used};
pub use outcome::settle;
pub use peers::{Leg, Peers};
pub use quality::assess;
pub use services::tally;

use crate::model::flow::FlowRecord;

/// Puts flows into capture order.
pub fn order(flows: &mut [FlowRecord]) {
    flows.sort_unstable_by_key(|f| f.id);
}
