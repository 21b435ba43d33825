//! Bytes without structure from the first on, both ways: Shadowsocks, VMess, obfs4 and others try to look so. A class, never a service.

use super::{Heads, Verdict};
use crate::model::note::Shape;
use crate::model::side::Side;

/// Bytes of each side that are needed.
const ENOUGH: usize = 128;
/// Bytes that may already show a structure.
const SOME: usize = 32;

/// Both heads have the bits, the printable bytes, the zeros and the spread of dice.
pub(super) fn judge(h: &Heads) -> Verdict {
    let mut wait = false;
    for side in [Side::Client, Side::Server] {
        let head = h.of(side);
        if head.len() >= SOME && !dice(head) {
            return Verdict::No;
        }
        wait |= head.len() < ENOUGH;
    }
    if wait { Verdict::Wait } else { Verdict::Yes(Shape::Opaque) }
}

/// Whether counts lie within four standard deviations of what equally likely bytes give.
fn dice(bytes: &[u8]) -> bool {
    let n = bytes.len() as f64;
    let within = |count: usize, p: f64, of: f64| (count as f64 - of * p).abs() <= 4.0 * (of * p * (1.0 - p)).sqrt() + 1.0;
    let ones = bytes.iter().map(|b| b.count_ones() as usize).sum();
    let printable = bytes.iter().filter(|b| matches!(b, 0x20..=0x7e)).count();
    let zeros = bytes.iter().filter(|b| **b == 0).count();
    let mut met = [false; 256];
    for b in bytes {
        if let Some(slot) = met.get_mut(usize::from(*b)) {
            *slot = true;
        }
    }
    let distinct = met.iter().filter(|m| **m).count();
    // Values expected to be met by n throws: 256·(1 − (255/256)^n).
    let expected = 256.0 * (1.0 - (255.0f64 / 256.0).powf(n));
    within(ones, 0.5, n * 8.0) && within(printable, 95.0 / 256.0, n) && within(zeros, 1.0 / 256.0, n) && (distinct as f64) > expected - 24.0
}
