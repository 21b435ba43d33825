//! A flow's first and last packets, one line each.

use super::Moment;
use crate::model::frame::FrameNo;
use crate::model::packet::TcpFlags;
use crate::model::seq::{Pos, Seq};
use crate::model::side::Side;
use crate::model::time::Time;

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
    /// A packet of a protocol without sequence numbers, of which nothing more is known.
    pub fn datagram(at: Moment, side: Side, len: u32) -> Self {
        Self {
            frame: at.frame,
            ts: at.ts,
            side,
            flags: TcpFlags::default(),
            seq: Pos::default(),
            ack: Pos::default(),
            seq_raw: Seq::default(),
            ack_raw: Seq::default(),
            len,
            window: 0,
            ttl: 0,
            tos: 0,
            ip_id: None,
            df: false,
            options: 0,
            ip_len: 0,
            flow_label: 0,
            marks: 0,
        }
    }
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
