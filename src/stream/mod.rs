//! Segments become ordered bytes, gaps, conflicts and ends, with the accounting that evidence needs.
//!
//! The room knows TCP and no protocol above it. State per connection is bounded: `half::RANGES_MAX` holes,
//! `half::WAITING_MAX` bytes waiting for a hole to fill, `half::HELD_MAX` bytes kept to notice contradictions.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

mod conversation;
mod dawn;
mod half;
mod history;
mod ladder;
mod options;
mod pace;
mod told;

pub use conversation::Conversation;
pub use dawn::Dawn;
pub use ladder::LadderBook;
pub use pace::Pacer;
