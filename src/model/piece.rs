//! A capture piece by piece, as outputs that copy it see it: frames, and of pcapng everything between them.

use super::frame::{FrameHead, LinkType};

/// A piece of a capture. Damaged places are no pieces, so what is copied from pieces is sound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece<'a> {
    /// A classic pcap file begins.
    Header {
        /// Link type of all frames.
        link: LinkType,
        /// Snap length as stated.
        snaplen: u32,
        /// Timestamps are in nanoseconds, else in microseconds.
        nanos: bool,
        /// Bytes of frame check sequence behind each frame, if the file says so.
        fcs: Option<u8>,
    },
    /// A frame of a classic pcap file.
    Record {
        /// Number, time, length.
        head: FrameHead,
        /// Captured bytes.
        data: &'a [u8],
    },
    /// A whole block of a pcapng file.
    Block {
        /// All of its bytes, both lengths included.
        raw: &'a [u8],
        /// Its section is written in big-endian.
        big: bool,
        /// The frame in it, if it holds one, and its captured bytes.
        frame: Option<(FrameHead, &'a [u8])>,
    },
}

impl<'a> Piece<'a> {
    /// The frame and its captured bytes.
    pub const fn frame(&self) -> Option<(FrameHead, &'a [u8])> {
        match *self {
            Self::Header { .. } => None,
            Self::Record { head, data } => Some((head, data)),
            Self::Block { frame, .. } => frame,
        }
    }
}
