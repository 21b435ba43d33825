//! A deterministic builder of captures: packets, conversations drawn as ladders, messages, file formats.
//!
//! Nothing here reads a clock or a random source: the same calls give the same bytes, on every machine.
#![allow(dead_code, missing_docs)]

pub mod blocking;
pub mod blocking_names;
pub mod blocking_udp;
pub mod cases;
pub mod ladder;
pub mod pcap;
pub mod say;
pub mod shapes;
pub mod shapes_calls;
pub mod tools;
pub mod wire;
pub mod wrap;

/// An empty folder for one test's files.
pub fn scratch(name: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("tamperscope-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("the temporary folder can be written");
    dir
}

/// A small generator (xorshift64*), so that nothing depends on a crate's stream of numbers.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { ((self.next() >> 16) % n as u64) as usize }
    }
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| (self.next() >> 40) as u8).collect()
    }
}
