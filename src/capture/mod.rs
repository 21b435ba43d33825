//! Hands over frames exactly as recorded, with their time and number. Never looks inside a frame; where the user filters, libpcap's program does.
//!
//! One parser core works over a window of bytes (`reader`): for a regular file the window is the whole mapped file and
//! frames point into it; for pipes and compressed files it is a chunk of about 1 MiB that moves along. The formats
//! (`pcap`, `pcapng`) see the same thing either way, so every kind of input is read by the same code.
//! `pieces` walks a capture once more for outputs that copy it, what is no frame included.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)
)]

mod bytes;
mod damage;
mod error;
mod feed;
#[cfg_attr(not(feature = "live"), path = "filter_none.rs")]
mod filter;
mod input;
#[cfg(feature = "live")]
pub mod live;
mod map;
mod owners;
mod pcap;
mod pcapng;
mod pieces;
mod reader;
mod window;

#[cfg(test)]
mod tests;

pub use error::CaptureError;
pub use filter::Filter;
pub use pieces::Pieces;

use crate::model::frame::Batch;
use crate::model::source::SourceFacts;
use std::path::Path;

/// Whether a source has more to give.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fill {
    /// The batch was filled and there may be more.
    More,
    /// The batch holds the last frames (perhaps none); the source is exhausted.
    End,
}

/// Something frames come from.
pub trait Source: Send {
    /// Clears `out.frames` and `out.rebuilt`, sets `out.store` and appends up to 512 frames in capture order
    /// (fewer when a chunk of streamed bytes, about 1 MiB, is used up). After [`Fill::End`] it keeps answering `End`.
    ///
    /// # Errors
    /// Only for trouble that leaves nothing to analyse. Damage in the middle of a capture is no error: it ends up in
    /// [`Source::facts`].
    fn fill(&mut self, out: &mut Batch) -> Result<Fill, CaptureError>;

    /// What is known of the container so far; complete after [`Fill::End`]. `index` and `path` are the caller's to fill in.
    fn facts(&self) -> SourceFacts;

    /// Bytes consumed and, if known, total bytes of the input as stored (compressed bytes for compressed input).
    fn progress(&self) -> (u64, Option<u64>);
}

/// Opens a capture by its magic: pcap or pcapng, plain or inside gzip or zstd; a regular file (mapped where possible),
/// a FIFO, or `-` for standard input.
///
/// # Errors
/// When the path is missing, unreadable or not a capture. A capture that is damaged further on opens without error.
pub fn open(path: &Path) -> Result<Box<dyn Source>, CaptureError> {
    Ok(Box::new(reader::Reader::begin(path, feed::Feed::open(path)?)?))
}

/// Reads a capture from any stream of bytes, as [`open`] does for `-`. `name` is used in error messages only.
///
/// # Errors
/// As [`open`].
pub fn from_stream(name: &str, from: Box<dyn std::io::Read + Send>) -> Result<Box<dyn Source>, CaptureError> {
    let path = Path::new(name);
    Ok(Box::new(reader::Reader::begin(path, feed::Feed::stream(path, from, None)?)?))
}
