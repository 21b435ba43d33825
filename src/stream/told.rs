//! What a QUIC receiver tells of packets that did not arrive: each hole makes its acknowledgements longer.
//!
//! An ACK frame lists ranges of packet numbers. Every hole adds a gap and a range, two bytes or more, to each acknowledgement until the sender
//! has confirmed one of them (RFC 9000 §13.2.3, §19.3.1). The numbers are encrypted, the length of a packet is not.
//!
//! ```text
//! sender                            receiver
//!   | 1200 --------------------------> |
//!   | <------------------------- 34    |   everything up to here
//!   | 1200 ----X                       |
//!   | 1200 --------------------------> |
//!   | <------------------------- 36    |   there is a hole, …
//!   | 1200 --------------------------> |
//!   | <------------------------- 36    |   … and it stays: not another frame that came along once
//! ```

use crate::model::time::{Span, Time};

/// A packet of a receiver that only receives is hardly ever larger (bytes of UDP payload).
const SMALL: u16 = 128;
/// What one hole adds, bytes.
const RANGE: u16 = 2;
/// More at a time is another frame.
const LEAP: u16 = 16;

/// The lengths of a receiver's acknowledgements.
#[derive(Clone, Default)]
pub(super) struct Told {
    /// That of the last one, and when it came.
    last: Option<(Time, u16)>,
    /// It had grown: when, and what it was before.
    grown: Option<(Time, u16)>,
    /// Packets as long as the one before, or holes confirmed; and those that were longer only once.
    regular: u32,
    odd: u32,
}

impl Told {
    /// A packet of the receiver with `len` bytes of payload, which begins with `first`. Comes back: holes, and when they arose: between
    /// two acknowledgements.
    pub fn reply(&mut self, ts: Time, first: u8, len: usize) -> Option<(Time, u32)> {
        // A short header (RFC 9000 §17.3).
        if first & 0xc0 != 0x40 {
            return None;
        }
        let Some(len) = u16::try_from(len).ok().filter(|len| *len <= SMALL) else {
            self.odd = self.odd.saturating_add(1);
            return None;
        };
        let (at, last) = self.last.replace((ts, len))?;
        let told = self.grown.take().and_then(|(since, before)| {
            let rise = len.min(last).saturating_sub(before);
            let holes = rise.checked_div(RANGE).unwrap_or(0);
            let to = if holes > 0 { &mut self.regular } else { &mut self.odd };
            *to = to.saturating_add(1);
            (holes > 0).then_some((since, u32::from(holes)))
        });
        match len.checked_sub(last) {
            Some(RANGE..=LEAP) => self.grown = Some((between(at, ts), last)),
            Some(0 | 1) => self.regular = self.regular.saturating_add(1),
            Some(_) => self.odd = self.odd.saturating_add(1),
            // Confirmed: shorter again.
            None => {}
        }
        told
    }

    /// The lengths are those of acknowledgements, and of little else.
    pub const fn plausible(&self) -> bool {
        self.odd.saturating_mul(3) <= self.regular
    }
}

/// The moment half way between two.
fn between(a: Time, b: Time) -> Time {
    a.plus(Span::from_nanos(b.since(a).nanos() / 2))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn holes(lengths: &[usize]) -> (Vec<(i64, u32)>, bool) {
        let mut told = Told::default();
        let at = |i: usize| Time::from_nanos(i as i64 * 1_000_000);
        let found = lengths.iter().enumerate().filter_map(|(i, len)| told.reply(at(i), 0x51, *len)).collect::<Vec<_>>();
        (found.into_iter().map(|(t, n)| (t.since(at(0)).nanos() / 1_000_000, n)).collect(), told.plausible())
    }

    #[test]
    fn a_hole_makes_every_later_acknowledgement_longer() {
        assert_eq!(holes(&[34, 34, 34, 36, 36, 36, 38, 39, 33, 33]), (vec![(2, 1), (5, 1)], true));
        assert_eq!(holes(&[34, 34, 38, 38]), (vec![(1, 2)], true));
    }

    #[test]
    fn a_frame_that_came_along_and_a_number_that_grew_are_no_holes() {
        assert_eq!(holes(&[34, 34, 34, 34, 34, 34, 40, 34, 34, 34]).0, []);
        assert_eq!(holes(&[33, 34, 33, 34, 35, 34, 34]).0, []);
        assert_eq!(holes(&[34, 34, 900, 34, 34]).0, []);
    }

    #[test]
    fn messages_are_no_acknowledgements() {
        let mut x = 7u64;
        let lengths: Vec<usize> = (0..400)
            .map(|_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                30 + (x >> 33) as usize % 300
            })
            .collect();
        assert!(!holes(&lengths).1);
    }

    #[test]
    fn long_headers_tell_nothing() {
        let mut told = Told::default();
        assert!((0..9).all(|i| told.reply(Time::from_nanos(i), 0xc3, 40 + i as usize).is_none()));
    }
}
