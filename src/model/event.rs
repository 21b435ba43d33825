//! What the stream room tells the inspectors: ordered bytes, and everything that kept bytes from being ordered.

use super::frame::FrameNo;
use super::seq::Pos;
use super::time::Time;

/// The packet an event came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Its frame.
    pub frame: FrameNo,
    /// Its capture time.
    pub ts: Time,
    /// Its TTL or hop limit.
    pub ttl: u8,
}

/// Why bytes are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GapCause {
    /// The peer acknowledged them: they arrived, the capture lost them.
    CaptureLoss,
    /// The frame was recorded without all of its payload (snaplen).
    Snaplen,
    /// Nobody acknowledged them before the flow ended.
    NeverArrived,
    /// Too much out-of-order data was waiting; the missing part was given up.
    Bound,
}

/// Something that happened to one direction of a conversation.
#[derive(Clone, Copy, Debug)]
pub enum StreamEvent<'a> {
    /// A UDP payload.
    Datagram {
        /// Captured payload.
        bytes: &'a [u8],
        /// Payload length on the wire.
        len: u32,
    },
    /// The next bytes of a TCP stream, in order, each once.
    Bytes {
        /// Position of the first byte.
        at: Pos,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Bytes that will not come.
    Gap {
        /// First missing position.
        from: Pos,
        /// First position after the gap.
        to: Pos,
        /// Why they are missing.
        cause: GapCause,
    },
    /// A segment set aside because it was made not to be accepted (low TTL, bad checksum, stale timestamp, MD5 option),
    /// or because other bytes already stand at its place. Its bytes are not part of the stream.
    Aside {
        /// Where it claims to stand.
        at: Pos,
        /// Its payload.
        bytes: &'a [u8],
    },
    /// The sender is done; its stream ends here.
    Fin {
        /// Position of the FIN.
        at: Pos,
    },
}
