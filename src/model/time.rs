//! Packet time: the only clock the analysis knows.

use std::fmt;
use std::num::NonZeroU64;

/// A moment in nanoseconds since the Unix epoch, as recorded in the capture.
///
/// Comes from packets only. A capture may step backwards; nothing here assumes monotony.
///
/// An `Option<Time>` is no larger than a `Time`: flow records hold dozens of them. That takes one value, so the earliest moment that can be
/// told is a nanosecond later than `i64` has it (in 1677).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(NonZeroU64);

/// The sign bit: with it turned over, unsigned numbers are in the order of signed ones.
const SIGN: u64 = 1 << 63;

/// A signed distance between two moments, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Span(i64);

impl Time {
    /// The moment `ns` nanoseconds after the Unix epoch.
    pub const fn from_nanos(ns: i64) -> Self {
        match NonZeroU64::new(ns.cast_unsigned() ^ SIGN) {
            Some(n) => Self(n),
            None => Self(NonZeroU64::MIN),
        }
    }
    /// Nanoseconds since the Unix epoch.
    pub const fn nanos(self) -> i64 {
        (self.0.get() ^ SIGN).cast_signed()
    }
    /// Time from `earlier` to `self`; negative when the capture stepped back. Saturates.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.nanos().saturating_sub(earlier.nanos()))
    }
    /// The moment `span` later. Saturates.
    pub const fn plus(self, span: Span) -> Self {
        Self::from_nanos(self.nanos().saturating_add(span.0))
    }
    /// The moment `span` earlier. Saturates.
    pub const fn minus(self, span: Span) -> Self {
        Self::from_nanos(self.nanos().saturating_sub(span.0))
    }
}

impl Default for Time {
    /// The Unix epoch.
    fn default() -> Self {
        Self::from_nanos(0)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Time").field(&self.nanos()).finish()
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// `ns` nanoseconds.
    pub const fn from_nanos(ns: i64) -> Self {
        Self(ns)
    }
    /// `us` microseconds. Saturates.
    pub const fn from_micros(us: i64) -> Self {
        Self(us.saturating_mul(1_000))
    }
    /// `ms` milliseconds. Saturates.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }
    /// `s` seconds. Saturates.
    pub const fn from_secs(s: i64) -> Self {
        Self(s.saturating_mul(1_000_000_000))
    }
    /// Nanoseconds, signed.
    pub const fn nanos(self) -> i64 {
        self.0
    }
    /// Milliseconds as a fraction, for display and ratios.
    pub fn as_millis(self) -> f64 {
        self.0 as f64 / 1e6
    }
    /// Seconds as a fraction, for display and ratios.
    pub fn as_secs(self) -> f64 {
        self.0 as f64 / 1e9
    }
    /// This span `n` times. Saturates.
    pub const fn times(self, n: i64) -> Self {
        Self(self.0.saturating_mul(n))
    }
    /// The distance without its sign.
    pub const fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }
}

impl fmt::Display for Span {
    /// Human form with a fitting unit: `412 µs`, `38.2 ms`, `14.6 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0;
        match ns.unsigned_abs() {
            0..1_000_000 => write!(f, "{} µs", ns / 1_000),
            1_000_000..1_000_000_000 => write!(f, "{:.1} ms", self.as_millis()),
            _ => write!(f, "{:.1} s", self.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_print_with_a_fitting_unit() {
        assert_eq!(Span::from_micros(412).to_string(), "412 µs");
        assert_eq!(Span::from_micros(38_200).to_string(), "38.2 ms");
        assert_eq!(Span::from_millis(14_600).to_string(), "14.6 s");
    }

    #[test]
    fn arithmetic_saturates_at_the_ends_of_time() {
        let end = Time::from_nanos(i64::MAX);
        assert_eq!(end.plus(Span::from_secs(1)), end);
        assert!(Time::from_nanos(i64::MIN).since(end) < Span::ZERO);
    }
}
