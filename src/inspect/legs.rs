//! The media of a call, counted to its end: what was expected by sequence numbers, what came, and how unevenly.
//!
//! Loss and jitter are those of RFC 3550 (§6.4.1, appendix A.3 and A.8), as seen at the capture point. The clock of a payload type is not in the packets
//! of a call: it is taken from how fast timestamps run against capture time, and must be one that codecs use.

use super::cursor::Cursor;
use crate::model::note::{Fact, MediaLeg};
use crate::model::side::Side;
use crate::model::time::Time;

/// Sources followed; a call has one or two of each side, with repair streams up to four.
const SOURCES: usize = 8;
/// Sequence numbers further apart than this are a new beginning (RFC 3550 A.1: MAX_DROPOUT).
const DROPOUT: u16 = 3000;
/// Packets of one source from which its clock is settled.
const SETTLED: u32 = 32;
/// Packets of one source below which nothing is told of it.
const TELL_MIN: u32 = 16;
/// Clocks of codecs, Hz.
const CLOCKS: [u32; 7] = [8_000, 12_000, 16_000, 24_000, 32_000, 48_000, 90_000];

/// One RTP source.
struct Source {
    side: Side,
    ssrc: u32,
    kind: u8,
    highest: u16,
    received: u32,
    expected: u32,
    gaps: u32,
    longest_gap: u16,
    first: (Time, u32),
    /// Capture time and timestamp of the packet before, for jitter.
    last: (Time, u32),
    clock: u32,
    /// Sixteen times the jitter, ns.
    jitter: i64,
}

/// All sources of a flow.
#[derive(Default)]
pub(super) struct Legs {
    sources: Vec<Source>,
}

impl Legs {
    /// Counts a packet that is RTP by its header.
    pub(super) fn count(&mut self, side: Side, at: Time, bytes: &[u8]) {
        let Some((kind, sequence, timestamp, ssrc)) = header(bytes) else { return };
        if let Some(source) = self.sources.iter_mut().find(|s| s.ssrc == ssrc && s.side == side) {
            return source.count(at, sequence, timestamp);
        }
        if self.sources.len() < SOURCES {
            self.sources.push(Source {
                side,
                ssrc,
                kind,
                highest: sequence,
                received: 1,
                expected: 1,
                gaps: 0,
                longest_gap: 0,
                first: (at, timestamp),
                last: (at, timestamp),
                clock: 0,
                jitter: 0,
            });
        }
    }

    /// What is to be told of each side that sent enough.
    pub(super) fn close(&self) -> impl Iterator<Item = (Side, Fact)> + '_ {
        Side::BOTH.into_iter().filter_map(|side| {
            let mut leg = MediaLeg::default();
            let mut main = 0;
            for s in self.sources.iter().filter(|s| s.side == side && s.received >= TELL_MIN) {
                leg.sources = leg.sources.saturating_add(1);
                leg.packets = leg.packets.saturating_add(u64::from(s.received));
                leg.expected = leg.expected.saturating_add(u64::from(s.expected.max(s.received)));
                leg.gaps = leg.gaps.saturating_add(u64::from(s.gaps));
                leg.longest_gap = leg.longest_gap.max(u64::from(s.longest_gap));
                if !leg.payload_types.contains(&s.kind) {
                    leg.payload_types.push(s.kind);
                }
                if s.received > main {
                    main = s.received;
                    leg.clock_hz = (s.clock > 0).then_some(s.clock);
                    leg.jitter_us = (s.clock > 0).then(|| u64::try_from(s.jitter / 16_000).unwrap_or(0));
                }
            }
            (leg.packets > 0).then(|| (side, Fact::Media(Box::new(leg))))
        })
    }
}

fn header(bytes: &[u8]) -> Option<(u8, u16, u32, u32)> {
    let mut c = Cursor::new(bytes);
    let (first, second) = (c.u8()?, c.u8()?);
    // 72–76 with the marker bit are RTCP (RFC 5761 §4).
    if first & 0xc0 != 0x80 || (192..=223).contains(&second) {
        return None;
    }
    Some((second & 0x7f, c.u16()?, c.u32()?, c.u32()?))
}

impl Source {
    fn count(&mut self, at: Time, sequence: u16, timestamp: u32) {
        let ahead = sequence.wrapping_sub(self.highest);
        if ahead == 0 {
            return;
        }
        self.received = self.received.saturating_add(1);
        if ahead < DROPOUT {
            self.highest = sequence;
            self.expected = self.expected.saturating_add(u32::from(ahead));
            self.gaps = self.gaps.saturating_add(u32::from(ahead > 1));
            self.longest_gap = self.longest_gap.max(ahead.saturating_sub(1));
            self.uneven(at, timestamp);
        } else if ahead < DROPOUT.wrapping_neg() {
            // The sender began anew: what lies between was never sent.
            self.highest = sequence;
            self.expected = self.expected.saturating_add(1);
            self.last = (at, timestamp);
        }
        // Late: it was counted as expected when the next one came.
    }

    fn uneven(&mut self, at: Time, timestamp: u32) {
        let gap = at.since(self.last.0).nanos();
        let steps = timestamp.wrapping_sub(self.last.1);
        // Tried again later: a pause at the beginning spoils the first look.
        if self.clock == 0 && self.received >= SETTLED && self.received.is_power_of_two() {
            self.clock = self.guess(at, timestamp).unwrap_or(0);
        }
        self.last = (at, timestamp);
        // Packets of one picture share a timestamp; after a pause timestamps may jump.
        if self.clock == 0 || steps == 0 || steps > self.clock {
            return;
        }
        let meant = i64::from(steps).saturating_mul(1_000_000_000).checked_div(i64::from(self.clock)).unwrap_or(0);
        let off = gap.saturating_sub(meant).saturating_abs();
        self.jitter = self.jitter.saturating_add(off.saturating_sub(self.jitter / 16));
    }

    /// The codec clock nearest to how fast the timestamps ran, if one is within a tenth.
    fn guess(&self, at: Time, timestamp: u32) -> Option<u32> {
        let took = u64::try_from(at.since(self.first.0).nanos()).ok().filter(|ns| *ns > 100_000_000)?;
        let ran = u64::from(timestamp.wrapping_sub(self.first.1));
        let hertz = ran.saturating_mul(1_000_000_000).checked_div(took)?;
        CLOCKS.into_iter().find(|c| hertz.abs_diff(u64::from(*c)).saturating_mul(10) < u64::from(*c))
    }
}
