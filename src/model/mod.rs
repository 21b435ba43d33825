//! The vocabulary every room speaks. No I/O, no threads, no clocks.

pub mod event;
pub mod finding;
pub mod flow;
pub mod frame;
pub mod key;
pub mod label;
pub mod note;
pub mod oddity;
pub mod pace;
pub mod packet;
pub mod pair;
pub mod scene;
pub mod seq;
pub mod side;
pub mod source;
pub mod story;
pub mod time;
