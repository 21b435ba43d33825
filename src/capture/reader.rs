//! Asks the format for one record after the other and moves the window on when it runs short.

use super::damage::Damage;
use super::error::not_a_capture;
use super::feed::Feed;
use super::input::Packing;
use super::pcap::{self, Pcap};
use super::pcapng::Pcapng;
use super::window::{Record, Step, Window};
use super::{CaptureError, Fill, Source};
use crate::model::frame::{Batch, FrameHead, FrameNo, FrameRef, LinkType, Place};
use crate::model::source::SourceFacts;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Frames per batch.
const FRAMES: usize = 512;
/// Steps without a frame per batch, so that a file of nothing but other blocks still lets its reader look up.
const STEPS: usize = 1 << 16;
/// Bytes looked at to recognise the format.
const HEAD: usize = 4096;

/// The capture formats.
pub(super) enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

impl Format {
    /// Recognises the capture whose first bytes are in the window, and where its first record begins.
    pub(super) fn recognise(path: &Path, window: Window<'_>) -> Result<(Self, usize), CaptureError> {
        let path = path.display().to_string();
        let head = window.bytes.get(..HEAD).unwrap_or(window.bytes);
        if let Some(pcap) = Pcap::open(head) {
            let (major, minor) = pcap.version;
            // Every writer since 1998 says 2.4. Another number is damage if the records make sense.
            if major != 2 && !pcap.makes_sense(window.from(pcap::FILE_HEADER)) {
                return Err(CaptureError::UnsupportedVersion { path, format: "pcap", major, minor });
            }
            return Ok((Self::Pcap(pcap), pcap::FILE_HEADER));
        }
        if let Some(ng) = Pcapng::open(head) {
            return match ng.version(head) {
                Some((1, _)) => Ok((Self::Pcapng(ng), 0)),
                Some((major, minor)) => Err(CaptureError::UnsupportedVersion { path, format: "pcapng", major, minor }),
                None => Err(not_a_capture(path, head)),
            };
        }
        Err(not_a_capture(path, head))
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Pcap(p) => p.format,
            Self::Pcapng(_) => "pcapng",
        }
    }

    pub(super) fn next(&mut self, window: &Window<'_>, at: usize, frames: u64, damage: &mut Damage) -> Step {
        match self {
            Self::Pcap(p) => p.next(window, at, frames, damage),
            Self::Pcapng(p) => p.next(window, at, frames, damage),
        }
    }
}

/// A capture being read.
pub(super) struct Reader {
    format: Format,
    feed: Feed,
    damage: Damage,
    facts: SourceFacts,
    /// Frame numbers given out, to packets and to blocks that Wireshark numbers among them.
    numbers: u64,
    ended: bool,
}

impl Reader {
    /// Recognises the format of what `feed` brings.
    pub(super) fn begin(path: &Path, mut feed: Feed) -> Result<Self, CaptureError> {
        let mut damage = Damage::default();
        if let Some(cause) = feed.refill(pcap::FILE_HEADER) {
            // With a file header there may be packets as well; without one there is nothing to analyse.
            if feed.window().bytes.len() < pcap::FILE_HEADER {
                let path = path.display().to_string();
                return Err(match feed.packing {
                    Some(p) => CaptureError::Undecodable { path, packing: p.name(), cause },
                    None => CaptureError::Unreadable { path, cause },
                });
            }
            stopped(&mut damage, feed.packing, &cause);
        }
        let (format, start) = Format::recognise(path, feed.window())?;
        feed.at = start;
        Ok(Self { format, feed, damage, facts: SourceFacts::default(), numbers: 0, ended: false })
    }

    fn take(&mut self, r: &Record, out: &mut Batch) {
        let f = &mut self.facts;
        f.packets = f.packets.saturating_add(1);
        f.bytes = f.bytes.saturating_add(u64::from(r.len));
        f.first = Some(f.first.map_or(r.ts, |t| t.min(r.ts)));
        f.last = Some(f.last.map_or(r.ts, |t| t.max(r.ts)));
        if r.original > r.len {
            f.cut_frames = f.cut_frames.saturating_add(1);
        }
        self.numbers = self.numbers.saturating_add(1);
        let head =
            FrameHead { number: FrameNo(self.numbers), ts: r.ts, original: r.original, link: r.link, iface: r.iface, owner: r.owner };
        out.frames.push(FrameRef { head, at: r.at, len: r.len, ip_at: 0, place: Place::Store });
    }

    /// Steps on until the batch is full, the chunk is used up or the source has ended.
    fn steps(&mut self, out: &mut Batch) -> Fill {
        let mut steps = 0_usize;

        while !self.ended && out.frames.len() < FRAMES && steps < STEPS {
            let window = self.feed.window();
            match self.format.next(&window, self.feed.at, self.numbers, &mut self.damage) {
                Step::Packet(record) => {
                    self.take(&record, out);
                    self.feed.at = record.next;
                }
                Step::Pass(next) => {
                    self.feed.at = next;
                    steps = steps.saturating_add(1);
                }
                Step::Numbered(next) => {
                    self.numbers = self.numbers.saturating_add(1);
                    self.feed.at = next;
                    steps = steps.saturating_add(1);
                }
                // The frames found so far lie in this chunk; the next one comes with the next batch.
                Step::Short(_) if !out.frames.is_empty() => return Fill::More,
                Step::Short(need) => {
                    if let Some(cause) = self.feed.refill(need) {
                        stopped(&mut self.damage, self.feed.packing, &cause);
                    }
                    out.store = Arc::clone(&self.feed.store);
                }
                Step::End => self.ended = true,
            }
        }
        if self.ended { Fill::End } else { Fill::More }
    }
}

impl Source for Reader {
    fn fill(&mut self, out: &mut Batch) -> Result<Fill, CaptureError> {
        out.frames.clear();
        out.rebuilt.clear();
        out.store = Arc::clone(&self.feed.store);
        let fill = self.steps(out);
        if let Format::Pcapng(p) = &self.format {
            // Apps and processes are named before their first packet.
            out.owners = p.owners();
        }
        Ok(fill)
    }

    fn facts(&self) -> SourceFacts {
        let mut facts = self.facts.clone();
        facts.format = self.format.name().to_owned();
        if let Some(p) = self.feed.packing {
            facts.format.push('+');
            facts.format.push_str(p.name());
        }
        (facts.link_types, facts.drops) = match &self.format {
            Format::Pcap(p) => (vec![p.link], None),
            Format::Pcapng(p) => (p.links(), p.drops()),
        };
        facts.processes = facts.link_types.iter().any(|l| matches!(*l, LinkType::PKTAP | LinkType::PKTAP_USER2));
        if let Format::Pcapng(p) = &self.format {
            facts.processes |= p.names_processes();
        }
        facts.skipped_bytes = self.damage.skipped;
        facts.truncated_at = self.damage.truncated_at;
        facts.damage = self.damage.sentences();
        facts
    }

    fn progress(&self) -> (u64, Option<u64>) {
        self.feed.progress()
    }
}

/// Says that the input broke off.
fn stopped(damage: &mut Damage, packing: Option<Packing>, cause: &io::Error) {
    damage.say(match packing {
        Some(p) => format!("The {} data is damaged ({cause}); what could be decompressed was read.", p.name()),
        None => format!("Reading stopped early ({cause})."),
    });
}
