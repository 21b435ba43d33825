//! How fast one direction of a busy flow went: what passed in each bin of time, where packets were dropped, how round trips spread.
//!
//! Sizes are IP sizes, headers included, for that is what a policer or shaper on the path counts. Nothing grows with the
//! flow: one that lives longer gets wider bins, not more of them.

use super::throttle::Limit;
use super::time::{Span, Time};

/// Bins of time kept per direction. When they are used up, two become one and the width doubles.
pub const BINS: usize = 256;
/// Width of a bin at the beginning.
pub const BIN_WIDTH: Span = Span::from_millis(20);

/// A histogram of positive numbers on a logarithmic scale: `PER` steps to an octave, from `2^LOW` on.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Spread<const N: usize, const PER: u32, const LOW: u32> {
    /// Weight in each step, up to the last that has any; at most `N`.
    weight: Vec<u32>,
}

impl<const N: usize, const PER: u32, const LOW: u32> Spread<N, PER, LOW> {
    /// Adds `weight` at `value`; what lies outside the scale counts at its ends.
    pub fn add(&mut self, value: u64, weight: u32) {
        let octave = 63u32.saturating_sub(value.max(1).leading_zeros());
        let at = if octave < LOW {
            0
        } else {
            // Linear steps inside an octave: near enough to logarithmic ones, and without floating point.
            let inside = value.wrapping_sub(1u64 << octave).wrapping_mul(u64::from(PER)) >> octave;
            (octave.wrapping_sub(LOW).wrapping_mul(PER) as usize).saturating_add(inside as usize)
        };
        let at = at.min(N.saturating_sub(1));
        if at >= self.weight.len() {
            self.weight.resize(at.saturating_add(1), 0);
        }
        if let Some(w) = self.weight.get_mut(at) {
            *w = w.saturating_add(weight);
        }
    }

    /// Sum of all weights.
    pub fn total(&self) -> u64 {
        self.weight.iter().map(|w| u64::from(*w)).sum()
    }

    /// Middle of a step.
    pub fn value(step: usize) -> f64 {
        let (octave, inside) = (step as u32 / PER, step as u32 % PER);
        // Two to the power of the octave is nothing but an exponent: thousands of these are asked for.
        let power = f64::from_bits((1023 + u64::from(octave + LOW)) << 52);
        power * (1.0 + (f64::from(inside) + 0.5) / f64::from(PER))
    }

    /// The value below which a share `q` of the weight lies, if there is any weight.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let want = q * total as f64;
        let mut sum = 0.0;
        for (i, w) in self.weight.iter().enumerate() {
            sum += f64::from(*w);
            if sum >= want && *w > 0 {
                return Some(Self::value(i));
            }
        }
        self.weight.iter().rposition(|w| *w > 0).map(Self::value)
    }

    /// Share of the weight at values in `from..to`.
    pub fn share(&self, from: f64, to: f64) -> f64 {
        let total = self.total();
        if total == 0 {
            return 0.0;
        }
        let inside: u64 = self
            .weight
            .iter()
            .enumerate()
            .filter(|(i, w)| **w > 0 && (from..to).contains(&Self::value(*i)))
            .map(|(_, w)| u64::from(*w))
            .sum();
        inside as f64 / total as f64
    }
}

/// Round trips in microseconds: steps of at most a sixth, 256 µs to 17 s.
pub type RttSpread = Spread<96, 6, 8>;
/// Rates between two packets in bit/s: steps of at most a quarter, 1 kbit/s to 4 Gbit/s.
pub type RateSpread = Spread<88, 4, 10>;

/// Pace of one direction of a flow.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    /// First packet with payload in this direction, before the accounting began.
    pub began: Time,
    /// IP bytes of packets with payload before the accounting began.
    pub before: u64,
    /// Where the first bin starts.
    pub start: Time,
    /// Last packet with payload.
    pub last: Time,
    /// Width of a bin.
    pub width: Span,
    /// IP bytes of packets with payload that went past the dropper, as far as known: what was seen less what proved dropped afterwards.
    pub passed: Vec<u32>,
    /// IP bytes acknowledged in each bin, headers of full packets added; all zero where no acknowledgement is to be seen (one-sided captures, QUIC).
    pub acked: Vec<u32>,
    /// Packets dropped, at the time they were sent (seen before the dropper), found missing (seen behind it) or told of (QUIC).
    pub drops: Vec<u8>,
    /// Packets with payload, large ones counted as the packets they were on the wire.
    pub packets: u64,
    /// Largest packet, IP bytes on the wire.
    pub largest: u32,
    /// Packets sent again although the capture had seen them and they were not acknowledged: dropped beyond the capture point.
    pub lost_beyond: u32,
    /// Holes in packets: dropped before the capture point.
    pub lost_before: u32,
    /// Of these, those that left no hole: known by a gap in the sender's IP identifications after a pause as long as a retransmission takes.
    pub lost_hidden: u32,
    /// Holes that the receiver of datagrams told of, by longer acknowledgements (QUIC); not known on which side of the capture point they arose.
    pub lost_told: u32,
    /// Packets sent again although acknowledged or not missing.
    pub again: u32,
    /// Packets sent into an empty path.
    pub lone: u32,
    /// Of these, lost beyond the capture point.
    pub lone_lost: u32,
    /// Clean round trips from the capture point to the receiver.
    pub rtt: RttSpread,
    /// The same of packets acknowledged alone, which may include the receiver's delayed acknowledgement.
    pub rtt_alone: RttSpread,
    /// From an acknowledgement to the first data that echoes its timestamp: from the capture point to this sender and back (RFC 7323).
    pub echo: RttSpread,
    /// Bytes by the rate at which they followed the packet before.
    pub follow: RateSpread,
    /// Time during which the receiver's window held the sender back.
    pub window_held: Span,
    /// Time during which the window was shut or below two packets.
    pub window_shut: Span,
    /// Sum of announced windows at this direction's packets, for the mean.
    pub window_sum: u64,
    /// Announcements in that sum.
    pub windows: u32,
    /// Time in which everything sent was acknowledged and nothing new came.
    pub idle: Span,
    /// What limited it; filled when the source is complete.
    pub limit: Option<Limit>,
}

/// One bin of time of a [`Pace`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bin {
    /// When it begins.
    pub at: Time,
    /// IP bytes that passed.
    pub passed: u32,
    /// IP bytes acknowledged.
    pub acked: u32,
    /// Packets dropped.
    pub drops: u8,
}

impl Pace {
    /// A pace whose first bin starts at `start`.
    pub fn new(began: Time, before: u64, start: Time) -> Self {
        Self {
            began,
            before,
            start,
            last: start,
            width: BIN_WIDTH,
            passed: vec![0; BINS],
            acked: vec![0; BINS],
            drops: vec![0; BINS],
            packets: 0,
            largest: 0,
            lost_beyond: 0,
            lost_before: 0,
            lost_hidden: 0,
            lost_told: 0,
            again: 0,
            lone: 0,
            lone_lost: 0,
            rtt: RttSpread::default(),
            rtt_alone: RttSpread::default(),
            echo: RttSpread::default(),
            follow: RateSpread::default(),
            window_held: Span::ZERO,
            window_shut: Span::ZERO,
            window_sum: 0,
            windows: 0,
            idle: Span::ZERO,
            limit: None,
        }
    }

    /// Lets go of the room for what did not come: from now on there are only bins up to the last in use.
    pub fn close(&mut self) {
        let last = |used: Option<usize>| used.map_or(0, |i| i.saturating_add(1));
        let passed = last(self.passed.iter().rposition(|b| *b > 0));
        let drops = last(self.drops.iter().rposition(|d| *d > 0));
        let used = self.used().max(passed).max(drops);
        for bins in [&mut self.passed, &mut self.acked] {
            bins.truncate(used);
            bins.shrink_to_fit();
        }
        self.drops.truncate(used);
        self.drops.shrink_to_fit();
        for weight in [&mut self.rtt.weight, &mut self.rtt_alone.weight, &mut self.echo.weight, &mut self.follow.weight] {
            weight.shrink_to_fit();
        }
    }

    /// IP bytes that passed since the accounting began.
    pub fn total(&self) -> u64 {
        self.passed.iter().map(|b| u64::from(*b)).sum()
    }

    /// Bins in use: up to the last packet with payload or acknowledgement of it.
    pub fn used(&self) -> usize {
        let at = self.last.since(self.start).nanos().max(0).checked_div(self.width.nanos().max(1)).unwrap_or(0);
        let by_time = usize::try_from(at).unwrap_or(BINS).saturating_add(1).min(BINS);
        self.acked.iter().rposition(|b| *b > 0).map_or(by_time, |i| by_time.max(i.saturating_add(1)))
    }

    /// The bins in use, in order of time: what a chart draws. At most [`BINS`].
    pub fn series(&self) -> impl Iterator<Item = Bin> + '_ {
        let bins = self.passed.iter().zip(&self.acked).zip(&self.drops).take(self.used());
        bins.enumerate().map(|(i, ((passed, acked), drops))| Bin {
            at: self.start.plus(self.width.times(i as i64)),
            passed: *passed,
            acked: *acked,
            drops: *drops,
        })
    }

    /// The mean announced window in bytes.
    pub fn window_mean(&self) -> Option<u64> {
        self.window_sum.checked_div(u64::from(self.windows))
    }
}
