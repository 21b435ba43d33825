//! Classic pcap files (<https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html>), lenient where writers differ.

use super::bytes::{Order, size};
use super::damage::Damage;
use super::window::{Lost, Record, Stands, Step, Window, search};
use crate::model::frame::LinkType;
use crate::model::time::Time;

/// Length of the file header.
pub(super) const FILE_HEADER: usize = 24;
/// Length of a record header as the format defines it.
const RECORD_HEADER: usize = 16;
/// Length of a record header with interface index, protocol and packet type behind it (Kuznetzov's patch of 1999; some
/// Android captures write it behind the ordinary magic).
const LONG_HEADER: usize = 24;
/// Captured length every file may use whatever snap length it states: writers are careless with that field.
const GENEROUS: u32 = 262_144;
/// Captured length no file may use.
const ABSURD: u32 = 16 << 20;
/// Time step between neighbours that a resynchronised record may make: about two years.
const FAR: u32 = 1 << 26;

/// Whether a file begins with one of the pcap magics.
pub(super) fn is_magic(head: &[u8]) -> bool {
    magic(head).is_some()
}

fn magic(head: &[u8]) -> Option<(Order, u32)> {
    [Order::Little, Order::Big]
        .into_iter()
        .filter_map(|o| Some((o, o.u32(head, 0)?)))
        .find(|(_, m)| matches!(m, 0xa1b2_c3d4 | 0xa1b2_3c4d | 0xa1b2_cd34))
}

/// State of reading one pcap file.
#[derive(Clone, Debug)]
pub(super) struct Pcap {
    order: Order,
    /// Nanoseconds per unit of the second time field: 1000 or 1.
    unit: u32,
    /// Record header length, once known.
    header: Option<usize>,
    /// Captured and original length stand in the other order (version 2.0–2.2; 2.3 where they say so).
    swapped: bool,
    maybe_swapped: bool,
    most: u32,
    pub(super) link: LinkType,
    /// As the file states it.
    pub(super) snaplen: u32,
    /// Bytes of frame check sequence behind each frame, if the file says so.
    pub(super) fcs: Option<u8>,
    pub(super) format: &'static str,
    pub(super) version: (u16, u16),
    last_sec: Option<u32>,
    lost: Option<Lost>,
}

/// A record header.
struct Head {
    sec: u32,
    frac: u32,
    cap: u32,
    orig: u32,
}

impl Pcap {
    /// Reads the file header; `None` if it is not one or is cut.
    pub(super) fn open(head: &[u8]) -> Option<Self> {
        let (order, magic) = magic(head)?;
        let version = (order.u16(head, 4)?, order.u16(head, 6)?);
        let snaplen = order.u32(head, 16)?;
        // The upper half holds the FCS length (bits 28–31) and whether it is valid (bit 26).
        let network = order.u32(head, 20)?;
        let link = LinkType((network & 0xffff) as u16);
        // In units of 16 bits.
        let fcs = (network & 0x0400_0000 != 0).then_some(((network >> 28) as u8).saturating_mul(2));
        let (unit, header, format) = match magic {
            0xa1b2_3c4d => (1, None, "pcap-ns"),
            0xa1b2_cd34 => (1000, Some(LONG_HEADER), "pcap-modified"),
            _ => (1000, None, "pcap"),
        };
        Some(Self {
            order,
            unit,
            header,
            swapped: version.0 == 2 && version.1 < 3,
            maybe_swapped: version == (2, 3),
            most: snaplen.clamp(GENEROUS, ABSURD),
            link,
            snaplen,
            fcs,
            format,
            version,
            last_sec: None,
            lost: None,
        })
    }

    /// Nanoseconds per unit of its timestamps: 1 or 1000.
    pub(super) const fn unit(&self) -> u32 {
        self.unit
    }

    /// Whether the first records make sense, for files that claim an unknown version.
    pub(super) fn makes_sense(&self, start: &[u8]) -> bool {
        [RECORD_HEADER, LONG_HEADER].into_iter().any(|h| self.chain(start, h, 2, |head| self.readable(head)) == Stands::Yes)
    }

    /// The record at `at`.
    pub(super) fn next(&mut self, window: &Window<'_>, at: usize, frames: u64, damage: &mut Damage) -> Step {
        if let Some(lost) = self.lost {
            return self.seek(window, at, lost, frames, damage);
        }
        let rest = window.from(at);
        if rest.is_empty() {
            return if window.last { Step::End } else { Step::Short(RECORD_HEADER) };
        }
        let header = match self.header {
            Some(h) => h,
            None => match self.choose(rest, window.last) {
                Ok(h) => *self.header.insert(h),
                Err(need) => return Step::Short(need),
            },
        };
        let Some(head) = self.head(rest, 0) else {
            if !window.last {
                return Step::Short(header);
            }
            damage.cut(frames.saturating_add(1));
            return Step::End;
        };
        if !self.readable(&head) {
            self.lost = Some(Lost { since: window.offset(at), cut: false });
            return Step::Pass(at.saturating_add(1));
        }
        let whole = header.saturating_add(size(head.cap));
        if rest.len() < whole {
            if !window.last {
                return Step::Short(whole);
            }
            self.lost = Some(Lost { since: window.offset(at), cut: true });
            return Step::Pass(at.saturating_add(1));
        }
        self.last_sec = Some(head.sec);
        Step::Packet(Record {
            at: at.saturating_add(header),
            len: head.cap,
            original: head.orig.max(head.cap),
            ts: self.time(&head),
            link: self.link,
            iface: 0,
            owner: 0,
            next: at.saturating_add(whole),
        })
    }

    fn time(&self, head: &Head) -> Time {
        // At most 2³² seconds and 2³² units: fits 63 bits.
        let ns =
            i64::from(head.sec).saturating_mul(1_000_000_000).saturating_add(i64::from(head.frac).saturating_mul(i64::from(self.unit)));
        Time::from_nanos(ns)
    }

    fn head(&self, bytes: &[u8], at: usize) -> Option<Head> {
        let field = |n: usize| self.order.u32(bytes, at.saturating_add(n));
        let (cap, orig) = (field(8)?, field(12)?);
        let swap = self.swapped || (self.maybe_swapped && cap > orig);
        let (cap, orig) = if swap { (orig, cap) } else { (cap, orig) };
        Some(Head { sec: field(0)?, frac: field(4)?, cap, orig })
    }

    /// Whether a header may be read where one is expected. A run of zeros is damage, not a series of empty packets.
    fn readable(&self, h: &Head) -> bool {
        h.cap <= self.most && (h.cap, h.orig, h.sec, h.frac) != (0, 0, 0, 0)
    }

    /// Whether a header found while searching is to be believed.
    fn believable(&self, h: &Head) -> bool {
        let near = self.last_sec.is_none_or(|s| s.abs_diff(h.sec) <= FAR);
        let fits = u64::from(h.frac).saturating_mul(u64::from(self.unit)) < 1_000_000_000;
        h.cap > 0 && h.cap <= GENEROUS && h.orig >= h.cap && h.orig <= GENEROUS && near && fits
    }

    /// Whether `n` headers of length `header` follow one another from the start of `bytes`. Ending exactly where the bytes
    /// end counts as the header that is not there any more.
    fn chain(&self, bytes: &[u8], header: usize, n: usize, good: impl Fn(&Head) -> bool) -> Stands {
        let mut pos = 0_usize;
        for i in 0..n {
            if pos == bytes.len() && i > 0 {
                return Stands::Yes;
            }
            let Some(head) = self.head(bytes, pos) else {
                return Stands::Need(pos.saturating_add(RECORD_HEADER));
            };
            if !good(&head) {
                return Stands::No;
            }
            pos = pos.saturating_add(header).saturating_add(size(head.cap));
        }
        Stands::Yes
    }

    /// Decides which record header length the file uses: the one whose headers stand where the lengths lead. With the
    /// wrong one, the seconds of the second record are read as its captured length.
    fn choose(&self, rest: &[u8], last: bool) -> Result<usize, usize> {
        // The end of the bytes at hand says something only if it is the end of the file.
        let chain = |header, n| match self.chain(rest, header, n, |h| self.readable(h)) {
            Stands::Yes if !last && self.ends_within(rest, header, n) => Stands::Need(rest.len().saturating_add(1)),
            stands => stands,
        };
        match chain(RECORD_HEADER, 2) {
            Stands::Yes => return Ok(RECORD_HEADER),
            Stands::Need(n) if !last => return Err(n),
            _ => {}
        }
        match chain(LONG_HEADER, 4) {
            Stands::Yes => Ok(LONG_HEADER),
            Stands::Need(n) if !last => Err(n),
            _ => Ok(RECORD_HEADER),
        }
    }

    /// Whether fewer than `n` headers lie inside `bytes`.
    fn ends_within(&self, bytes: &[u8], header: usize, n: usize) -> bool {
        let mut pos = 0_usize;
        for _ in 0..n {
            match self.head(bytes, pos) {
                Some(head) => pos = pos.saturating_add(header).saturating_add(size(head.cap)),
                None => return true,
            }
        }
        false
    }

    /// Looks for three believable records in a row, at least one byte after the bad one.
    fn seek(&mut self, window: &Window<'_>, at: usize, lost: Lost, frames: u64, damage: &mut Damage) -> Step {
        let header = self.header.unwrap_or(RECORD_HEADER);
        let stands = |q: usize| {
            let rest = window.from(q);
            match self.chain(rest, header, 3, |h| self.believable(h)) {
                Stands::Yes if !window.last && self.ends_within(rest, header, 3) => Stands::Need(rest.len().saturating_add(1)),
                stands => stands,
            }
        };
        match search(window, at, stands) {
            Ok(q) => {
                damage.skip(lost.since, window.offset(q), frames);
                self.lost = None;
                Step::Pass(q)
            }
            Err(Step::End) => {
                if lost.cut {
                    damage.cut(frames.saturating_add(1));
                } else {
                    damage.skip(lost.since, window.end(), frames);
                }
                self.lost = None;
                Step::End
            }
            Err(step) => step,
        }
    }
}
