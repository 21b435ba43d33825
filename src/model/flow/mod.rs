//! The record of one flow: what was seen of a conversation, complete enough to judge it without its packets.

mod folded;
mod ladder;
mod tcp;

pub use folded::{Detail, Folded, begin_count, opened};
pub use ladder::{Brief, LADDER_HEAD, LADDER_TAIL, Ladder, mark};
pub use tcp::{
    AfterReset, CONFLICTS_MAX, Conflict, RESETS_MAX, ResetFit, ResetSeen, Rtt, TcpRecord, TcpSide, Troubles, TtlBook, Unanswered,
    VAIN_REPEATS, Vain,
};

use super::frame::FrameNo;
use super::key::{Endpoint, Proto};
use super::note::Notes;
use super::pace::Pace;
use super::seq::Pos;
use super::side::{PerSide, Side};
use super::time::{Span, Time};
use std::num::NonZeroU32;

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
    /// How it comes out if the capture goes on in silence after this moment; known once it is over.
    pub later: Option<(Time, Outcome, Stage)>,
    /// Smallest round trip to the server and the number of samples, if its SYN was sent once; known once it is over.
    pub nearest: Option<(Span, NonZeroU32)>,
}

/// A flow of which nothing is known, for tests that make flows by hand and name only what matters to them.
#[cfg(test)]
impl Default for Flow {
    fn default() -> Self {
        let nowhere = Endpoint::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0);
        let never = Moment { frame: FrameNo(1), ts: Time::default() };
        Self {
            id: FlowId { source: 0, frame: never.frame },
            proto: Proto::TCP,
            client: nowhere,
            server: nowhere,
            role_basis: RoleBasis::Syn,
            first: never,
            last: never,
            detail: Folded::default(),
            app: None,
            pace: PerSide::default(),
            notes: Notes::default(),
            owner: None,
            closed: Closed::CaptureEnd,
            outcome: Outcome::Unknown,
            stage: Stage::None,
            later: None,
            nearest: None,
        }
    }
}

#[cfg(test)]
impl Flow {
    /// A flow of these datagrams (milliseconds, sender, bytes), in frames from `frame` on, for tests.
    pub(crate) fn of_datagrams(frame: u64, packets: impl IntoIterator<Item = (i64, Side, u32)>) -> Self {
        let mut totals: PerSide<Totals> = PerSide::default();
        let mut ladder = Ladder::default();
        for (frame, (ms, side, len)) in (frame..).zip(packets) {
            let at = Moment { frame: FrameNo(frame), ts: Time::from_nanos(ms * 1_000_000) };
            let t = &mut totals[side];
            t.packets += 1;
            t.first.get_or_insert(at);
            t.last = Some(at);
            ladder.head.push(Brief { ttl: 64, df: true, ..Brief::datagram(at, side, len) });
        }
        let at = |p: Option<&Brief>| p.map(|p| Moment { frame: p.frame, ts: p.ts }).expect("a flow has packets");
        Self {
            id: FlowId { source: 0, frame: FrameNo(frame) },
            proto: Proto::UDP,
            role_basis: RoleBasis::FirstDatagram,
            first: at(ladder.head.first()),
            last: at(ladder.head.last()),
            detail: Detail { totals, ladder, ..Detail::default() }.into(),
            ..Self::default()
        }
    }
}

// A million of them are kept: one byte more costs 64, and an output that needs another field should ask where it belongs.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Flow>() <= 256);

impl Flow {
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
