//! What the reader and the formats say to each other.

use super::bytes::count;
use crate::model::frame::LinkType;
use crate::model::time::Time;

/// The bytes at hand: a whole mapped file, or one chunk of a stream.
#[derive(Clone, Copy)]
pub(super) struct Window<'a> {
    pub bytes: &'a [u8],
    /// Offset of the first byte in the (uncompressed) capture.
    pub base: u64,
    /// Nothing follows these bytes.
    pub last: bool,
}

impl<'a> Window<'a> {
    /// What lies from `at` on.
    pub(super) fn from(&self, at: usize) -> &'a [u8] {
        self.bytes.get(at..).unwrap_or_default()
    }
    /// Offset of `at` in the capture.
    pub(super) fn offset(&self, at: usize) -> u64 {
        self.base.saturating_add(count(at))
    }
    /// Offset of the end in the capture.
    pub(super) fn end(&self) -> u64 {
        self.offset(self.bytes.len())
    }
}

/// One packet record, found whole inside the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record {
    /// Where its captured bytes begin in the window.
    pub at: usize,
    /// Captured bytes.
    pub len: u32,
    /// Bytes on the wire, never less than `len`.
    pub original: u32,
    pub ts: Time,
    pub link: LinkType,
    pub iface: u16,
    /// As [`crate::model::frame::FrameHead::owner`].
    pub owner: u16,
    /// Where the next record begins in the window.
    pub next: usize,
}

/// What a format makes of the window from one offset on. The answer depends on the bytes only, never on where a stream
/// happened to be cut into chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A packet.
    Packet(Record),
    /// No packet; go on at this offset (which may be the same, after a change of state).
    Pass(usize),
    /// No packet, but something Wireshark numbers among the frames; go on at this offset.
    Numbered(usize),
    /// So many bytes from the offset on are needed to tell; only if more may follow.
    Short(usize),
    /// The capture is over.
    End,
}

/// Whether something stands at an offset, while a damaged capture is searched for the next good record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stands {
    Yes,
    No,
    /// So many bytes from the offset on are needed to tell.
    Need(usize),
}

/// A damaged place whose end has not been found yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lost {
    /// Offset in the capture at which the bad record begins.
    pub since: u64,
    /// The record looks good but reaches past the end: if nothing good follows, the file was cut inside it.
    pub cut: bool,
}

/// Searches from `at` for an offset at which `stands` holds. `Step::End` means that none is left.
pub(super) fn search(window: &Window<'_>, at: usize, stands: impl Fn(usize) -> Stands) -> Result<usize, Step> {
    let mut q = at;
    while q < window.bytes.len() {
        match stands(q) {
            Stands::Yes => return Ok(q),
            // What has been searched need not be kept in the window.
            Stands::Need(_) if !window.last && q > at => return Err(Step::Pass(q)),
            Stands::Need(n) if !window.last => return Err(Step::Short(n)),
            Stands::No | Stands::Need(_) => q = q.saturating_add(1),
        }
    }
    if window.last {
        Err(Step::End)
    } else if q > at {
        Err(Step::Pass(q))
    } else {
        Err(Step::Short(1))
    }
}
