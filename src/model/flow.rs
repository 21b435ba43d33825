//! The record of one flow: what was seen of a conversation, complete enough to judge it without its packets.

use super::frame::FrameNo;
use super::gist::Gist;
use super::key::{Endpoint, Proto};
use super::note::Notes;
use super::pace::Pace;
use super::pack::{Pack, Reader, Writer, pack_fields};
use super::packet::TcpFlags;
use super::rare::{Blank, Rare};
use super::seq::{Pos, Seq};
use super::side::{PerSide, Side};
use super::time::{Span, Time};
use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A flow's name: its source and its first frame. Does not depend on threads or hashing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FlowId {
    /// Index of the source in this run.
    pub source: u32,
    /// First frame of the flow.
    pub frame: FrameNo,
}

/// How it is known who began the flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoleBasis {
    /// A SYN without ACK was seen.
    Syn,
    /// A SYN+ACK was seen; its addressee began.
    SynAck,
    /// First datagram seen of a protocol without connections.
    FirstDatagram,
    /// The capture begins in the middle: the side with the better known port is called server.
    PortGuess,
    /// The capture begins in the middle and ports say nothing: the first sender is called client.
    FirstSender,
}

/// A TCP flow without packets for longer than this has ended; long enough for servers' idle timeouts (an hour is the longest in common use).
pub const IDLE_TCP: Span = Span::from_secs(3_700);
/// The same for everything else. NAT mappings for UDP live 30–300 s (RFC 4787 asks for at least 120 s).
pub const IDLE_UDP: Span = Span::from_secs(330);

/// Why a flow's record was closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// Both FINs acknowledged, or a reset, and a quiet time after it.
    Finished,
    /// No packet for longer than the idle time.
    Idle,
    /// A new SYN with other sequence numbers took over the ports.
    PortReuse,
    /// The capture ended.
    CaptureEnd,
    /// The flow table was full.
    Evicted,
    /// The analysis of one of its packets failed (a bug); the frame is in the record.
    Internal,
}

/// Marks on a packet in the ladder, bits of [`Brief::marks`].
pub mod mark {
    /// Carries bytes that were seen before (a retransmission).
    pub const RETRANSMIT: u16 = 1;
    /// An exact copy of a packet seen within a few milliseconds (capture artefact or network duplicate).
    pub const COPY: u16 = 1 << 1;
    /// Starts after a hole.
    pub const AFTER_HOLE: u16 = 1 << 2;
    /// Fills a hole.
    pub const FILLS_HOLE: u16 = 1 << 3;
    /// Checksum wrong although this sender's SYN was right.
    pub const BAD_CHECKSUM: u16 = 1 << 4;
    /// Other bytes than those seen before at the same position.
    pub const CONFLICT: u16 = 1 << 5;
    /// Set aside: made not to be accepted (see `StreamEvent::Aside`).
    pub const ASIDE: u16 = 1 << 6;
    /// Window 0 (not on RST).
    pub const ZERO_WINDOW: u16 = 1 << 7;
    /// Keepalive or window probe: at most one old byte.
    pub const PROBE: u16 = 1 << 8;
    /// Has a TCP timestamp option.
    pub const TIMESTAMP: u16 = 1 << 9;
    /// Acknowledges bytes that were never seen.
    pub const ACKS_UNSEEN: u16 = 1 << 10;
    /// Lies outside the window the receiver had announced.
    pub const OUT_OF_WINDOW: u16 = 1 << 11;
    /// Carries SACK blocks.
    pub const SACK: u16 = 1 << 12;
    /// Has a TCP MD5 option.
    pub const MD5: u16 = 1 << 13;
}

/// One packet in a flow's ladder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Brief {
    /// Frame number.
    pub frame: FrameNo,
    /// Capture time.
    pub ts: Time,
    /// Sender.
    pub side: Side,
    /// TCP flags (empty for UDP).
    pub flags: TcpFlags,
    /// Relative sequence position (TCP).
    pub seq: Pos,
    /// Relative acknowledgement position; meaningful with the ACK flag only.
    pub ack: Pos,
    /// Sequence number on the wire.
    pub seq_raw: Seq,
    /// Acknowledgement field on the wire.
    pub ack_raw: Seq,
    /// Payload bytes on the wire.
    pub len: u32,
    /// Window field, unscaled.
    pub window: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS / traffic class.
    pub tos: u8,
    /// IPv4 identification, or `None` (IPv6).
    pub ip_id: Option<u16>,
    /// IPv4 don't fragment.
    pub df: bool,
    /// Bytes of TCP options.
    pub options: u8,
    /// IP total length.
    pub ip_len: u16,
    /// IPv6 flow label.
    pub flow_label: u32,
    /// Bits of [`mark`].
    pub marks: u16,
}

impl Brief {
    /// Whether all bits of `mark` are set.
    pub const fn marked(&self, mark: u16) -> bool {
        self.marks & mark == mark
    }
    /// Position after the last byte, SYN and FIN counted.
    pub fn end(&self) -> Pos {
        let flags = i64::from(self.flags.syn()) + i64::from(self.flags.fin());
        self.seq.plus(i64::from(self.len)).plus(flags)
    }
}

/// Packets kept from the beginning of a flow.
pub const LADDER_HEAD: usize = 32;
/// Packets kept from the end of a flow.
pub const LADDER_TAIL: usize = 16;

/// A flow's first and last packets, in capture order. Those between are counted only.
#[derive(Clone, Debug, Default)]
pub struct Ladder {
    /// The first [`LADDER_HEAD`] packets.
    pub head: Vec<Brief>,
    /// The last [`LADDER_TAIL`] packets after the head, in order.
    pub tail: Vec<Brief>,
    /// Packets between head and tail.
    pub between: u64,
}

impl Ladder {
    /// Head, then tail.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Brief> {
        self.head.iter().chain(self.tail.iter())
    }
}

/// A moment in a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Frame.
    pub frame: FrameNo,
    /// Capture time.
    pub ts: Time,
}

/// Counters of one side of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    /// Packets.
    pub packets: u64,
    /// IP bytes.
    pub bytes: u64,
    /// Transport payload bytes, retransmissions included.
    pub payload: u64,
    /// First packet.
    pub first: Option<Moment>,
    /// Last packet.
    pub last: Option<Moment>,
    /// First packet with payload.
    pub first_payload: Option<Moment>,
    /// Last packet with payload.
    pub last_payload: Option<Moment>,
    /// Frames that the capture cut short.
    pub cut: u64,
}

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

/// An ICMP error that quotes a packet of the flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IcmpSeen {
    /// When.
    pub at: Moment,
    /// Who sent the error.
    pub from: std::net::IpAddr,
    /// Side whose packet is quoted.
    pub about: Side,
    /// ICMP version 4 or 6.
    pub version: u8,
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// TTL of the error.
    pub ttl: u8,
}

/// How the conversation came out, as far as the capture shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// Both sides exchanged what they wanted, or nothing speaks against it.
    Ok,
    /// The SYN was answered by RST, or by ICMP.
    Refused,
    /// A reset ended it.
    Reset,
    /// No answer to the SYN (or first datagram).
    SilentSyn,
    /// The first message of the client was never acknowledged.
    SilentHello,
    /// The first message was acknowledged but never answered.
    Muted,
    /// Data flowed, then one side went on without answer.
    Stalled,
    /// Too little was seen to say (one side only, mid-flow, cut).
    Unknown,
}

/// How a flow comes out if the capture ends now, and if it goes on in silence: what is not heard is only missing after a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fate {
    /// Outcome and stage if the capture ends soon.
    pub soon: (Outcome, Stage),
    /// Outcome and stage if it ends later than this.
    pub later: Option<(Time, Outcome, Stage)>,
}

impl Default for Fate {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl Fate {
    /// Too little was seen to say, whatever comes.
    pub const UNKNOWN: Self = Self::sure(Outcome::Unknown, Stage::None);

    /// Nothing depends on the end of the capture.
    pub const fn sure(outcome: Outcome, stage: Stage) -> Self {
        Self { soon: (outcome, stage), later: None }
    }

    /// Unknown until `after`.
    pub const fn after(after: Time, outcome: Outcome, stage: Stage) -> Self {
        Self { soon: (Outcome::Unknown, Stage::None), later: Some((after, outcome, stage)) }
    }

    /// Outcome and stage in a capture that ends at `end`.
    pub fn at(&self, end: Time) -> (Outcome, Stage) {
        match self.later {
            Some((after, outcome, stage)) if end > after => (outcome, stage),
            _ => self.soon,
        }
    }
}

/// Stage at which a flow ended, in Cloudflare's alphabet (Sundara Raman et al., SIGCOMM 2023, Table 1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stage {
    /// It did not end abnormally.
    None,
    /// After the SYN.
    PostSyn,
    /// After the handshake's ACK, before data.
    PostAck,
    /// After the client's first data.
    PostPsh,
    /// Later.
    Later,
}

/// A segment repeated as often as this and never acknowledged: its way is closed (backoff makes that more than a second).
pub const VAIN_REPEATS: u32 = 4;

/// Everything kept of a flow, on one place on the heap: a million of them are sorted and handed on without being copied.
#[derive(Clone, Debug)]
pub struct FlowRecord(Box<Flow>);

impl From<Flow> for FlowRecord {
    fn from(flow: Flow) -> Self {
        Self(Box::new(flow))
    }
}

impl std::ops::Deref for FlowRecord {
    type Target = Flow;
    fn deref(&self) -> &Flow {
        &self.0
    }
}

impl std::ops::DerefMut for FlowRecord {
    fn deref_mut(&mut self) -> &mut Flow {
        &mut self.0
    }
}

/// What a [`FlowRecord`] holds.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Name.
    pub id: FlowId,
    /// Protocol.
    pub proto: Proto,
    /// The side that began.
    pub client: Endpoint,
    /// The side that was addressed.
    pub server: Endpoint,
    /// How that is known.
    pub role_basis: RoleBasis,
    /// First packet.
    pub first: Moment,
    /// Last packet.
    pub last: Moment,
    /// Counters, packets and what TCP said; its fields are read as if they were fields of this.
    pub detail: Folded,
    /// Protocol recognised by the inspectors: `tls`, `quic`, `http`, `dns`, …
    pub app: Option<&'static str>,
    /// How fast each side that sent enough went (TCP and UDP).
    pub pace: PerSide<Option<Box<Pace>>>,
    /// What inspectors wrote down.
    pub notes: Notes,
    /// App that owns it, when the capture says so.
    pub owner: Option<Box<str>>,
    /// Why it was closed.
    pub closed: Closed,
    /// How it came out; filled by the collector.
    pub outcome: Outcome,
    /// Where it ended; filled by the collector.
    pub stage: Stage,
    /// How it comes out, depending on when the capture ends; known once it is over.
    pub fate: Fate,
    /// Smallest round trip to the server and the number of samples, if its SYN was sent once; known once it is over.
    pub nearest: Option<(Span, u32)>,
}

impl std::ops::Deref for Flow {
    type Target = Detail;
    fn deref(&self) -> &Detail {
        self.detail.open.get_or_init(|| {
            OPENED.fetch_add(1, Ordering::Relaxed);
            Box::new(Detail::unpack(&mut Reader::new(&self.detail.packed)))
        })
    }
}

impl std::ops::DerefMut for Flow {
    fn deref_mut(&mut self) -> &mut Detail {
        let _: &Detail = self;
        // What changes is no longer what was packed.
        self.detail.packed = Box::default();
        self.detail.open.get_mut().unwrap_or_else(|| unreachable!("it was opened a line above"))
    }
}

/// The part of a record that is large, and that most flows need once or twice.
#[derive(Clone, Debug, Default)]
pub struct Detail {
    /// Counters.
    pub totals: PerSide<Totals>,
    /// TCP only.
    pub tcp: Option<Box<TcpRecord>>,
    /// First and last packets.
    pub ladder: Ladder,
    /// ICMP errors about it (at most 4).
    pub icmp: Vec<IcmpSeen>,
}

pack_fields! {
    Detail { totals, tcp, ladder, icmp }
}

/// A [`Detail`] in a fifth of its bytes, opened by the first who looks and open until it is folded again.
#[derive(Debug, Default)]
pub struct Folded {
    /// Empty as long as it was never folded, or after it was changed.
    packed: Box<[u8]>,
    open: OnceLock<Box<Detail>>,
    /// Of what is packed.
    gist: Gist,
}

impl From<Box<Detail>> for Folded {
    fn from(detail: Box<Detail>) -> Self {
        Self { open: OnceLock::from(detail), ..Self::default() }
    }
}

impl From<Detail> for Folded {
    fn from(detail: Detail) -> Self {
        Self::from(Box::new(detail))
    }
}

impl Clone for Folded {
    fn clone(&self) -> Self {
        Self { packed: self.packed.clone(), open: self.open.clone(), gist: self.gist }
    }
}

/// Records opened where they lie, see [`opened`].
static OPENED: AtomicUsize = AtomicUsize::new(0);

/// How many records were opened where they lie since the count was last [begun](begin_count), on all threads: tells when it is worth
/// visiting all of them to fold those. Nothing else depends on it.
pub fn opened() -> usize {
    OPENED.load(Ordering::Relaxed)
}

/// Begins the count of [`opened`] anew.
pub fn begin_count() {
    OPENED.store(0, Ordering::Relaxed);
}

impl Folded {
    /// Packs what is open, if it is packed nowhere yet, and frees it. `writer` lends its room.
    fn fold(&mut self, writer: &mut Writer) {
        let Some(open) = self.open.take() else { return };
        if self.packed.is_empty() {
            writer.clear();
            open.pack(writer);
            (self.packed, self.gist) = (writer.bytes().into(), Gist::of(&open));
        }
    }
}

impl FlowRecord {
    /// Frees what was opened. `writer` lends its room for what is to be packed first.
    pub fn fold(&mut self, writer: &mut Writer) {
        self.0.detail.fold(writer);
    }

    /// Whether its detail lies open.
    pub fn is_open(&self) -> bool {
        self.0.detail.open.get().is_some()
    }

    /// What it was made of, if it is to be gone on with.
    pub fn into_detail(self) -> Detail {
        let flow = *self.0;
        let _: &Detail = &flow;
        flow.detail.open.into_inner().map_or_else(Detail::default, |open| *open)
    }

    /// The record, opened for as long as this is held: for walks over all flows, which would leave every one of them open.
    pub fn aside(&self) -> Cow<'_, Self> {
        let folded = &self.0.detail;
        if folded.open.get().is_some() {
            return Cow::Borrowed(self);
        }
        let open = Box::new(Detail::unpack(&mut Reader::new(&folded.packed)));
        let detail = Folded::from(open);
        let f = &*self.0;
        Cow::Owned(Self(Box::new(Flow {
            detail,
            pace: f.pace.clone(),
            notes: f.notes.clone(),
            owner: f.owner.clone(),
            ..Flow::without_heap(f)
        })))
    }
}

impl Flow {
    /// A copy of what lies in the record itself.
    fn without_heap(f: &Self) -> Self {
        Self {
            id: f.id,
            proto: f.proto,
            client: f.client,
            server: f.server,
            role_basis: f.role_basis,
            first: f.first,
            last: f.last,
            detail: Folded::default(),
            app: f.app,
            pace: PerSide::default(),
            notes: Notes::default(),
            owner: None,
            closed: f.closed,
            outcome: f.outcome,
            stage: f.stage,
            fate: f.fate,
            nearest: f.nearest,
        }
    }
}

impl Flow {
    /// What of its detail lies open.
    pub fn gist(&self) -> Gist {
        // What was changed, or never folded, is open.
        if self.detail.packed.is_empty() { Gist::of(self) } else { self.detail.gist }
    }
    /// Packets that a side sent. Does not open the record.
    pub fn packets(&self, side: Side) -> u32 {
        self.gist().packets[side]
    }
    /// Payload bytes that a side sent, retransmissions included. Does not open the record.
    pub fn payload(&self, side: Side) -> u64 {
        self.gist().payload[side]
    }
    /// An endpoint by side.
    pub fn endpoint(&self, side: Side) -> Endpoint {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
    }
    /// Smallest handshake or data round trip between the capture point and the server, if any was measured.
    pub fn rtt_to_server(&self) -> Option<Span> {
        let tcp = self.tcp.as_ref()?;
        let data = &tcp.side.client.rtt;
        [tcp.rtt_server, (data.n > 0).then_some(data.min)].into_iter().flatten().min()
    }
    /// Name the client asked for: SNI, else HTTP Host, else a gQUIC name.
    pub fn asked_name(&self) -> Option<&str> {
        if let Some(sni) = self.notes.client_hello().and_then(|(_, h)| h.sni.as_deref()) {
            return Some(sni);
        }
        if let Some(host) = self.notes.http_request().and_then(|(_, r)| r.host.as_deref()) {
            return Some(host);
        }
        self.notes.quic().find_map(|(_, q)| q.gquic_sni.as_deref())
    }
    /// The repetitions of the first byte of `side` that was never acknowledged, if it was repeated at all.
    pub fn in_vain(&self, side: Side) -> Option<&Vain> {
        let side = &self.tcp.as_ref()?.side[side];
        let vain: &Vain = &side.vain;
        (vain.repeats > 0 && vain.at == side.acked.max(Pos::FIRST)).then_some(vain)
    }
    /// Time from first to last packet.
    pub fn duration(&self) -> Span {
        self.last.ts.since(self.first.ts)
    }
}
