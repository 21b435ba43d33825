//! Walks a capture once more, for outputs that copy it: frames with the numbers the reader gave them, and of pcapng every sound block between them.

use super::CaptureError;
use super::bytes::{Order, size};
use super::damage::Damage;
use super::feed::Feed;
use super::pcap;
use super::reader::Format;
use super::window::{Record, Step};
use crate::model::frame::{FrameHead, FrameNo};
use crate::model::piece::Piece;
use std::path::Path;

/// A capture being walked.
pub struct Pieces {
    format: Format,
    feed: Feed,
    damage: Damage,
    numbers: u64,
    begun: bool,
}

impl Pieces {
    /// Opens a file as [`super::open`] does. A stream can be read only once: give files.
    ///
    /// # Errors
    /// As [`super::open`].
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let mut feed = Feed::open(path)?;
        let _ = feed.refill(pcap::FILE_HEADER);
        let (format, start) = Format::recognise(path, feed.window())?;
        feed.at = start;
        Ok(Self { format, feed, damage: Damage::default(), numbers: 0, begun: false })
    }

    /// Hands the next piece to `take` and gives what it makes of it; `None` at the end.
    pub fn next<R>(&mut self, take: impl FnOnce(&Piece<'_>) -> R) -> Option<R> {
        if !std::mem::replace(&mut self.begun, true)
            && let Format::Pcap(p) = &self.format
        {
            return Some(take(&Piece::Header { link: p.link, snaplen: p.snaplen, nanos: p.unit() == 1, fcs: p.fcs }));
        }
        let found = self.advance()?;
        let window = self.feed.window();
        let raw = window.bytes.get(found.at..found.next).unwrap_or_default();
        let frame = found.record.map(|r| {
            let data = window.bytes.get(r.at..r.at.saturating_add(size(r.len))).unwrap_or_default();
            (
                FrameHead { number: FrameNo(self.numbers), ts: r.ts, original: r.original, link: r.link, iface: r.iface, owner: r.owner },
                data,
            )
        });
        let out = match (found.order, frame) {
            (None, Some((head, data))) => take(&Piece::Record { head, data }),
            (order, frame) => take(&Piece::Block { raw, big: order == Some(Order::Big), frame }),
        };
        self.feed.at = found.next;
        Some(out)
    }

    /// Looks for the next piece, which then lies in the window.
    fn advance(&mut self) -> Option<Found> {
        loop {
            let (at, skipped, was_sound) = (self.feed.at, self.damage.skipped, self.sound().is_some());
            let step = self.format.next(&self.feed.window(), at, self.numbers, &mut self.damage);
            let (record, next) = match step {
                Step::Packet(r) => (Some(r), r.next),
                Step::Pass(next) | Step::Numbered(next) => (None, next),
                Step::Short(need) => {
                    // What is wrong with the input was said by the reader: here it only ends sooner.
                    let _ = self.feed.refill(need);
                    continue;
                }
                Step::End => return None,
            };
            if !matches!(step, Step::Pass(_)) {
                self.numbers = self.numbers.saturating_add(1);
            }
            let order = self.sound();
            let whole = was_sound && order.is_some() && next > at && self.damage.skipped == skipped;
            if record.is_some() || whole {
                return Some(Found { at, next, order, record });
            }
            self.feed.at = next;
        }
    }

    /// Byte order of the current pcapng section, unless a damaged place is being passed over; `None` in a classic file.
    fn sound(&self) -> Option<Order> {
        match &self.format {
            Format::Pcapng(p) => p.sound(),
            Format::Pcap(_) => None,
        }
    }
}

/// Where a piece lies in the window.
struct Found {
    at: usize,
    next: usize,
    /// Of its section, in pcapng.
    order: Option<Order>,
    record: Option<Record>,
}
