//! Captures as an output: pcapng.

pub mod blocks;
