//! Sequence numbers as they are on the wire, and stream positions as we count them.

/// A TCP sequence or acknowledgement number from the wire. Wraps, so it has no order (RFC 9293 §3.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Seq(pub u32);

/// A position in one direction of a TCP connection, unwrapped to 64 bits and relative as Wireshark shows it:
/// the SYN is at 0 and the first payload byte at 1. Without a SYN the first byte seen is at 1. May be negative (old data).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Pos(pub i64);

impl Seq {
    /// Signed distance from `from` to `self` modulo 2³², in −2³¹ … 2³¹−1.
    pub const fn distance(self, from: Self) -> i32 {
        self.0.wrapping_sub(from.0) as i32
    }
    /// The number `n` later, wrapping.
    pub const fn plus(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }
}

impl Pos {
    /// The first payload byte.
    pub const FIRST: Self = Self(1);

    /// The position `n` bytes later. Saturates.
    pub const fn plus(self, n: i64) -> Self {
        Self(self.0.saturating_add(n))
    }
    /// Bytes from `earlier` to `self`; negative if `self` lies before it. Saturates.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
    /// Unwraps a wire number to the position nearest to `near`, given the number that stands at position 0.
    pub const fn unwrap(seq: Seq, zero: Seq, near: Self) -> Self {
        let near_seq = Seq(zero.0.wrapping_add(near.0 as u32));
        Self(near.0.saturating_add(seq.distance(near_seq) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unwrapping_finds_any_position_near_the_last_one(zero: u32, near in 0i64..1 << 40, step in -(1i64 << 30)..1 << 30) {
            let want = near + step;
            let seq = Seq(zero.wrapping_add(want as u32));
            prop_assert_eq!(Pos::unwrap(seq, Seq(zero), Pos(near)), Pos(want));
        }
    }
}
