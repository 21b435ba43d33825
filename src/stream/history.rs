//! Zeek's `history` letters (Zeek, `base/protocols/conn/main.zeek`): upper case is the client.

use crate::model::pack::pack_fields;
use crate::model::side::{PerSide, Side};

/// Letters written so far and how often each repeating one occurred.
#[derive(Clone, Default)]
pub(super) struct History {
    pub letters: String,
    once: PerSide<u32>,
    repeats: PerSide<[u32; 4]>,
}

pack_fields! {
    History { letters, once, repeats }
}

/// Longest history kept.
const MAX: usize = 96;
const REPEATING: [char; 4] = ['c', 'g', 't', 'w'];

impl History {
    /// Writes a letter: `c g t w` at the 1st, 10th, 100th … occurrence, others once per side.
    pub fn add(&mut self, side: Side, letter: char) {
        if let Some(i) = REPEATING.iter().position(|l| *l == letter) {
            let Some(n) = self.repeats[side].get_mut(i) else { return };
            *n = n.saturating_add(1);
            if !matches!(*n, 1 | 10 | 100 | 1_000 | 10_000 | 100_000 | 1_000_000) {
                return;
            }
        } else {
            let bit = 1u32.wrapping_shl(u32::from(letter).wrapping_sub(u32::from('a')));
            if letter != '^' {
                if self.once[side] & bit != 0 {
                    return;
                }
                self.once[side] |= bit;
            }
        }
        self.again(side, letter);
    }

    /// Writes a letter whether it was written before or not.
    pub fn again(&mut self, side: Side, letter: char) {
        if self.letters.len() < MAX {
            self.letters.push(if side == Side::Client { letter.to_ascii_uppercase() } else { letter });
        }
    }
}
