//! A stream of capture bytes, decompressed if need be, with its progress and its bounds.

use super::bytes::count;
use crate::model::frame::Store;
use flate2::read::MultiGzDecoder;
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Decompressed bytes after which a compressed capture is given up.
const MOST: u64 = 64 << 30;
/// Decompressed bytes from which on the ratio is watched.
const WATCHED: u64 = 64 << 20;
/// Ratio of decompressed to compressed bytes that only a bomb reaches. (Deflate cannot exceed about 1032, zstd can.)
const RATIO: u64 = 2000;

/// A compression around a capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// By magic: RFC 1952 §2.3.1, RFC 8878 §3.1.1 (frames) and §3.1.2 (skippable frames).
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            _ => None,
        }
    }
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// Where the chunks of a streamed capture are read from.
pub(super) struct Input {
    from: Box<dyn Read + Send>,
    /// Bytes taken from storage so far, compressed ones if compressed.
    taken: Arc<AtomicU64>,
    total: Option<u64>,
    given: u64,
    pub(super) packing: Option<Packing>,
}

impl Input {
    /// Reads `head` (already taken from the stream) and then `rest`, through the decompressor that `head` calls for.
    pub(super) fn new(head: Vec<u8>, rest: Box<dyn Read + Send>, total: Option<u64>) -> io::Result<Self> {
        let packing = Packing::of(&head);
        let taken = Arc::new(AtomicU64::new(0));
        let stored = Counted { from: Cursor::new(head).chain(rest), taken: Arc::clone(&taken) };
        let from: Box<dyn Read + Send> = match packing {
            None => Box::new(stored),
            Some(Packing::Gzip) => Box::new(MultiGzDecoder::new(stored)),
            Some(Packing::Zstd) => Box::new(zstd::stream::read::Decoder::new(stored)?),
        };
        Ok(Self { from, taken, total, given: 0, packing })
    }

    /// Reads a mapped file through the decompressor that its magic calls for.
    pub(super) fn over(store: Store) -> io::Result<Self> {
        let bytes = (*store).as_ref();
        let total = Some(count(bytes.len()));
        let head = bytes.get(..4).unwrap_or(bytes).to_vec();
        let mut rest = Cursor::new(Whole(store));
        rest.set_position(count(head.len()));
        Self::new(head, Box::new(rest), total)
    }

    /// Bytes taken from storage, and how many there are.
    pub(super) fn progress(&self) -> (u64, Option<u64>) {
        (self.taken.load(Ordering::Relaxed), self.total)
    }

    /// Appends at most `most` bytes to `to`, as many as one read gives; 0 at the end.
    pub(super) fn read_into(&mut self, to: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let taken = self.taken.load(Ordering::Relaxed);
        let bomb = self.given > MOST || (self.given > WATCHED && self.given.checked_div(taken).is_none_or(|r| r > RATIO));
        if self.packing.is_some() && bomb {
            return Err(io::Error::other("it expands beyond all measure"));
        }
        let old = to.len();
        to.resize(old.saturating_add(most), 0);
        let got = loop {
            match self.from.read(to.get_mut(old..).unwrap_or_default()) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        to.truncate(old.saturating_add(*got.as_ref().unwrap_or(&0)));
        self.given = self.given.saturating_add(count(*got.as_ref().unwrap_or(&0)));
        got
    }
}

/// A shared store as something a cursor can read.
struct Whole(Store);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

/// Counts the bytes that pass.
struct Counted<R> {
    from: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buf)?;
        self.taken.fetch_add(count(n), Ordering::Relaxed);
        Ok(n)
    }
}
