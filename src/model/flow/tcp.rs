//! What TCP said in a flow.

use super::Moment;
use super::ladder::Brief;
use crate::model::pack::pack_fields;
use crate::model::rare::{Blank, Rare};
use crate::model::seq::{Pos, Seq};
use crate::model::side::{PerSide, Side};
use crate::model::time::Span;

/// How a reset fits what its supposed receiver would accept (RFC 5961 §3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetFit {
    /// Exactly the next expected position: every stack accepts it.
    Exact,
    /// Inside the window but not exact: old stacks accept it, current ones answer with a challenge ACK.
    InWindow,
    /// Before the expected position: ignored.
    Stale,
    /// Beyond the window: ignored.
    Ahead,
    /// Answers a SYN: its acknowledgement number decides.
    OnSyn,
    /// Nothing is known of the receiver's state.
    Unknown,
}

/// A reset with the state of the flow at its arrival.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResetSeen {
    /// The packet.
    pub packet: Brief,
    /// How it fits the receiver.
    pub fit: ResetFit,
    /// What this sender had sent so far: position after its last byte.
    pub sent: Pos,
    /// What the receiver had acknowledged of this sender.
    pub acked: Pos,
    /// What the peer had sent so far.
    pub peer_sent: Pos,
    /// Last packet of the peer before the reset.
    pub peer_last: Option<Moment>,
    /// Last packet of the peer with payload, SYN or FIN before the reset.
    pub peer_last_payload: Option<Moment>,
    /// Last packet of the same sender before the reset.
    pub own_last: Option<Moment>,
    /// This sender had sent a FIN.
    pub fin_before: bool,
    /// The peer had sent a FIN.
    pub peer_fin_before: bool,
    /// The peer had sent a reset.
    pub peer_rst_before: bool,
    /// First payload bytes of the reset (at most 32), zero padded; `payload_len` of them count.
    pub payload: [u8; 32],
    /// Captured payload bytes in `payload`.
    pub payload_len: u8,
}

/// Most resets kept per flow.
pub const RESETS_MAX: usize = 12;

/// Packets a sender went on sending after its first reset (a stack that reset a connection does not).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AfterReset {
    /// Packets without RST.
    pub packets: u32,
    /// Of these, segments with payload at or beyond the reset's position.
    pub new_data: u32,
    /// The first of them.
    pub first: Option<Brief>,
    /// The first of them that carries new data.
    pub first_new: Option<Brief>,
}

impl Blank for PerSide<AfterReset> {
    const BLANK: &'static Self = &Self { client: AfterReset::NOTHING, server: AfterReset::NOTHING };
}

impl AfterReset {
    /// Nothing was sent.
    const NOTHING: Self = Self { packets: 0, new_data: 0, first: None, first_new: None };
}

/// Two different payloads at one stream position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// First position that differs.
    pub at: Pos,
    /// Who sent both.
    pub side: Side,
    /// Frame that brought the bytes kept.
    pub held: Moment,
    /// TTL of that frame.
    pub held_ttl: u8,
    /// The packet that contradicts.
    pub seen: Brief,
}

/// Most conflicts kept per flow.
pub const CONFLICTS_MAX: usize = 8;

/// Distinct TTLs of one side with their counts (at most 6 kept; the rest in `other`). Nearly every side has one.
#[derive(Clone, Default, Debug)]
pub struct TtlBook {
    /// (TTL, packets) of the first one; count 0 if there was none.
    first: (u8, u32),
    further: Rare<FurtherTtls>,
}

/// TTLs of one side besides its first.
#[derive(Clone, Debug)]
struct FurtherTtls {
    /// In order of first appearance; unused entries have count 0.
    seen: [(u8, u32); 5],
    /// Packets with still others.
    other: u32,
}

impl Blank for FurtherTtls {
    const BLANK: &'static Self = &Self { seen: [(0, 0); 5], other: 0 };
}

pack_fields! {
    TtlBook { first, further }
    FurtherTtls { seen, other }
}

impl TtlBook {
    /// Counts one packet.
    pub fn add(&mut self, ttl: u8) {
        if self.first.1 == 0 || self.first.0 == ttl {
            self.first = (ttl, self.first.1.saturating_add(1));
            return;
        }
        let further = &mut *self.further;
        match further.seen.iter_mut().find(|e| e.1 == 0 || e.0 == ttl) {
            Some(e) => *e = (ttl, e.1.saturating_add(1)),
            None => further.other = further.other.saturating_add(1),
        }
    }
    /// The most frequent TTL (first seen wins a tie).
    pub fn mode(&self) -> Option<u8> {
        // `max_by_key` keeps the last of equals, so the count decides, then the place counted from the end.
        let best = self.iter().enumerate().max_by_key(|(at, e)| (e.1, std::cmp::Reverse(*at)))?;
        Some(best.1.0)
    }
    /// Whether a TTL was seen within ±`tolerance`.
    pub fn has_near(&self, ttl: u8, tolerance: u8) -> bool {
        self.iter().any(|e| e.0.abs_diff(ttl) <= tolerance)
    }
    /// Entries in use, in order of first appearance.
    pub fn iter(&self) -> impl Iterator<Item = (u8, u32)> + '_ {
        std::iter::once(self.first).chain(self.further.seen.iter().copied()).filter(|e| e.1 > 0)
    }
}

/// Round-trip samples: data (or SYN) of one side to the acknowledgement of the other, as seen at the capture point.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rtt {
    /// Samples taken.
    pub n: u32,
    /// Smallest.
    pub min: Span,
    /// Largest.
    pub max: Span,
    /// Sum, for the mean.
    pub sum: Span,
}

impl Rtt {
    /// Adds a sample.
    pub fn add(&mut self, s: Span) {
        if s < Span::ZERO {
            return;
        }
        self.min = if self.n == 0 { s } else { self.min.min(s) };
        self.max = self.max.max(s);
        self.sum = Span::from_nanos(self.sum.nanos().saturating_add(s.nanos()));
        self.n = self.n.saturating_add(1);
    }
    /// Mean of the samples.
    pub fn mean(&self) -> Option<Span> {
        (self.n > 0).then(|| Span::from_nanos(self.sum.nanos() / i64::from(self.n)))
    }
}

/// TCP as one side spoke it.
#[derive(Clone, Debug, Default)]
pub struct TcpSide {
    /// Initial sequence number, if its SYN was seen; else the number standing at position 0.
    pub zero: Option<Seq>,
    /// Position after the highest byte sent.
    pub sent: Pos,
    /// Position after the highest byte the peer acknowledged.
    pub acked: Pos,
    /// Distinct payload bytes seen.
    pub unique: u64,
    /// Segments of payload (copies not counted).
    pub data_segments: u32,
    /// FIN position and its first frame.
    pub fin: Option<(Pos, Moment)>,
    /// Resets sent.
    pub resets: u32,
    /// Maximum segment size option.
    pub mss: Option<u16>,
    /// Window scale option.
    pub wscale: Option<u8>,
    /// SACK permitted.
    pub sack: bool,
    /// Timestamps offered in the SYN.
    pub timestamps: bool,
    /// Number of SYN (or SYN+ACK) packets.
    pub syns: u32,
    /// First SYN (or SYN+ACK).
    pub syn: Option<Brief>,
    /// Last SYN (or SYN+ACK).
    pub syn_last: Option<Moment>,
    /// TTLs of this side's packets, resets excluded.
    pub ttl: TtlBook,
    /// Round trips measured on this side's data: from the capture point to the other side and back.
    pub rtt: Rtt,
    /// Packets whose checksum was checked.
    pub checksums: u32,
    /// What it sent since the peer's last packet.
    pub unanswered: Unanswered,
    /// How often it repeated the first of its bytes that was not acknowledged at the time.
    pub vain: Rare<Vain>,
    /// Last packet, resets, copies and segments set aside not counted.
    pub last_packet: Option<Moment>,
    /// Last of these with payload, SYN, FIN or a probe.
    pub last_asking: Option<Moment>,
    /// What most sides have nothing of; its fields are read as if they were fields of this.
    pub troubles: Rare<Troubles>,
}

impl std::ops::Deref for TcpSide {
    type Target = Troubles;
    fn deref(&self) -> &Troubles {
        &self.troubles
    }
}

impl std::ops::DerefMut for TcpSide {
    fn deref_mut(&mut self) -> &mut Troubles {
        &mut self.troubles
    }
}

/// What went wrong, or was out of the ordinary, with the packets of one side. Written to only when there is something to count.
#[derive(Clone, Debug)]
pub struct Troubles {
    /// Segments that carried only bytes seen before (probes and copies not counted).
    pub retransmitted: u32,
    /// Bytes in them.
    pub retransmitted_bytes: u64,
    /// Segments that filled a hole.
    pub filled: u32,
    /// Exact copies within a few milliseconds, resets not counted.
    pub copies: u32,
    /// Payload bytes never seen although the peer acknowledged them (lost by the capture).
    pub capture_lost: u64,
    /// Payload bytes never seen and never acknowledged.
    pub missing: u64,
    /// Window-zero announcements by this side.
    pub zero_windows: u32,
    /// Segments longer than the peer's MSS (offloading at the capture host).
    pub giant: u32,
    /// Keepalives and window probes.
    pub probes: u32,
    /// Packets with bad checksum among those checked.
    pub bad_checksums: u32,
    /// Segments set aside as made not to be accepted.
    pub aside: u32,
    /// Packets, resets excluded, whose acknowledgement covered bytes never seen.
    pub acks_unseen: u32,
}

impl Blank for Troubles {
    const BLANK: &'static Self = &Self {
        retransmitted: 0,
        retransmitted_bytes: 0,
        filled: 0,
        copies: 0,
        capture_lost: 0,
        missing: 0,
        zero_windows: 0,
        giant: 0,
        probes: 0,
        bad_checksums: 0,
        aside: 0,
        acks_unseen: 0,
    };
}

impl TcpSide {
    /// Whether any packet of this side was captured (its peer's acknowledgements alone prove nothing about the capture).
    pub fn was_seen(&self) -> bool {
        self.last_packet.is_some()
    }
}

/// Packets that ask for an answer (payload, SYN, FIN, probe), sent since the peer's last packet.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Unanswered {
    /// How many, copies not counted.
    pub packets: u32,
    /// Of these, retransmissions.
    pub retransmissions: u32,
    /// First of them.
    pub first: Option<Moment>,
    /// Last of them.
    pub last: Option<Moment>,
}

/// Repetitions of one byte that did not get it acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vain {
    /// The byte.
    pub at: Pos,
    /// How often it was repeated, copies not counted.
    pub repeats: u32,
    /// First repetition.
    pub first: Option<Moment>,
    /// Last repetition.
    pub last: Option<Moment>,
}

impl Blank for Vain {
    const BLANK: &'static Self = &Self { at: Pos(0), repeats: 0, first: None, last: None };
}

/// TCP part of a flow record.
#[derive(Clone, Debug, Default)]
pub struct TcpRecord {
    /// Zeek's `history` letters.
    pub history: String,
    /// Both sides.
    pub side: PerSide<TcpSide>,
    /// Third packet of the handshake: first ACK of the client after the SYN+ACK.
    pub established: Option<Moment>,
    /// Resets, the first [`RESETS_MAX`].
    pub resets: Vec<ResetSeen>,
    /// What each side went on sending after its own first reset.
    pub after_reset: Rare<PerSide<AfterReset>>,
    /// Contradicting payloads, the first [`CONFLICTS_MAX`].
    pub conflicts: Vec<Conflict>,
    /// From SYN to SYN+ACK (only when the SYN was sent once): capture point to server and back.
    pub rtt_server: Option<Span>,
    /// From SYN+ACK to ACK: capture point to client and back.
    pub rtt_client: Option<Span>,
}

/// A segment repeated as often as this and never acknowledged: its way is closed (backoff makes that more than a second).
pub const VAIN_REPEATS: u32 = 4;
