//! The vocabulary every room speaks. No I/O, no threads, no clocks.

#[cfg(feature = "live")]
pub mod board;
pub mod event;
pub mod evidence;
pub mod finding;
pub mod flow;
pub mod frame;
pub mod key;
pub mod label;
pub mod note;
pub mod oddity;
pub mod pace;
pub mod packet;
pub mod piece;
pub mod pulse;
pub mod rare;
pub mod scene;
pub mod seq;
#[cfg(feature = "live")]
pub mod shelf;
pub mod side;
pub mod signature;
pub mod source;
pub mod story;
pub mod throttle;
pub mod time;
