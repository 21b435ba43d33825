//! Whose packet is this? The table knows which conversation a packet belongs to and who began it, with how much certainty.
//!
//! Reads headers, never payload. One table belongs to one shard thread. A flow ends by packet time: what decides is the distance
//! between two of its own packets, so the result does not depend on how flows are dealt to shards.

mod roles;
mod table;

pub use table::{AtRest, Bounds, Entry, Gone, Placed, State, Table};
