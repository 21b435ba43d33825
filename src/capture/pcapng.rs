//! pcapng files (<https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html>): several sections in either byte order,
//! several interfaces each. Blocks of no use here (name resolution, secrets, custom and unknown ones) are passed over.

use super::bytes::{Order, count, size};
use super::damage::Damage;
use super::owners::Owners;
use super::window::{Lost, Record, Stands, Step, Window, search};
use crate::model::frame::LinkType;
use crate::model::time::Time;
use std::sync::Arc;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
/// Obsolete Packet Block.
const PACKET: u32 = 2;
const SIMPLE: u32 = 3;
const NAMES: u32 = 4;
const STATISTICS: u32 = 5;
const ENHANCED: u32 = 6;
const SECRETS: u32 = 10;
/// Darwin's process event block: an id, and options that name the process.
const PROCESS: u32 = 0x8000_0001;
/// Blocks that are no packets and still lines of their own in Wireshark 4: entries of the systemd journal, and custom blocks, copied and not
/// copied by tools. They have frame numbers there, so they use up a number here.
const NUMBERED: [u32; 3] = [9, 0x0bad, 0x4000_0bad];

/// A block longer than this is damage: it would have to be held whole, and no writer makes such.
const ABSURD: usize = 16 << 20;
/// Type, length, trailing length.
const SMALLEST: usize = 12;
/// Interfaces kept over all sections; their running number is 16 bits wide.
const INTERFACES: usize = 1 << 16;

/// Whether a file begins with a section header block.
pub(super) fn is_magic(head: &[u8]) -> bool {
    head.starts_with(&SECTION.to_be_bytes())
}

/// Byte order of the section header block at the beginning of `block`, by its byte-order magic.
fn section_order(block: &[u8]) -> Option<Order> {
    [Order::Little, Order::Big].into_iter().find(|o| o.u32(block, 8) == Some(0x1a2b_3c4d))
}

/// One interface description.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkType,
    /// 0 if unlimited.
    snaplen: u32,
    /// `if_tsresol` as written: power of 10, or of 2 with the high bit set.
    resolution: u8,
    /// `if_tsoffset`, seconds.
    offset: i64,
    /// Drops by its last statistics block.
    drops: Option<u64>,
}

impl Interface {
    /// Nanoseconds since the epoch of a timestamp in this interface's units. Saturates.
    fn time(&self, ticks: u64) -> Time {
        let power = u32::from(self.resolution & 0x7f);
        let ns: u128 = if self.resolution & 0x80 == 0 {
            let ticks = u128::from(ticks);
            match power.checked_sub(9) {
                None | Some(0) => ticks.saturating_mul(10_u128.pow(9_u32.saturating_sub(power))),
                // Finer than 10⁻⁴⁷ s: whatever the count, it is no nanosecond.
                Some(finer) => 10_u128.checked_pow(finer).and_then(|d| ticks.checked_div(d)).unwrap_or(0),
            }
        } else {
            u128::from(ticks).saturating_mul(1_000_000_000).checked_shr(power).unwrap_or(0)
        };
        let ns = i64::try_from(ns).unwrap_or(i64::MAX);
        Time::from_nanos(ns.saturating_add(self.offset.saturating_mul(1_000_000_000)))
    }
}

/// State of reading one pcapng file.
#[derive(Clone, Debug)]
pub(super) struct Pcapng {
    order: Order,
    /// Of all sections, in order of appearance; the index is the running number.
    interfaces: Vec<Interface>,
    /// First interface of the current section.
    section: usize,
    /// Drops counted in obsolete packet blocks.
    packet_drops: u64,
    last: Time,
    lost: Option<Lost>,
    owners: Owners,
}

impl Pcapng {
    /// Recognises the first section header; the block itself is read by [`Pcapng::next`].
    pub(super) fn open(head: &[u8]) -> Option<Self> {
        if !is_magic(head) {
            return None;
        }
        let order = section_order(head)?;
        Some(Self {
            order,
            interfaces: Vec::new(),
            section: 0,
            packet_drops: 0,
            last: Time::default(),
            lost: None,
            owners: Owners::default(),
        })
    }

    /// Version of the section whose header begins `head`.
    pub(super) fn version(&self, head: &[u8]) -> Option<(u16, u16)> {
        Some((self.order.u16(head, 12)?, self.order.u16(head, 14)?))
    }

    /// Link types, each once, in order of appearance.
    pub(super) fn links(&self) -> Vec<LinkType> {
        let mut links = Vec::new();
        for i in &self.interfaces {
            if !links.contains(&i.link) {
                links.push(i.link);
            }
        }
        links
    }

    /// Drops the capture reports, if it reports any.
    pub(super) fn drops(&self) -> Option<u64> {
        let reported = self.interfaces.iter().filter_map(|i| i.drops).reduce(u64::saturating_add);
        match (reported, self.packet_drops) {
            (None, 0) => None,
            (None, n) => Some(n),
            (Some(n), _) => Some(n),
        }
    }

    /// Apps or processes named so far.
    pub(super) fn owners(&self) -> Arc<Vec<Box<str>>> {
        self.owners.names()
    }

    /// Whether those are processes.
    pub(super) const fn names_processes(&self) -> bool {
        self.owners.processes()
    }

    /// Byte order of the current section, unless the reader is searching for the next good block.
    pub(super) fn sound(&self) -> Option<Order> {
        self.lost.is_none().then_some(self.order)
    }

    /// The block at `at`.
    pub(super) fn next(&mut self, window: &Window<'_>, at: usize, frames: u64, damage: &mut Damage) -> Step {
        if let Some(lost) = self.lost {
            return self.seek(window, at, lost, frames, damage);
        }
        let rest = window.from(at);
        if rest.is_empty() {
            return if window.last { Step::End } else { Step::Short(SMALLEST) };
        }
        let (kind, len) = match self.whole(rest) {
            Ok(found) => found,
            Err(Stands::Need(n)) if !window.last => return Step::Short(n),
            Err(stands) => {
                // A block that reaches past the end was cut, unless a good one is found inside it.
                self.lost = Some(Lost { since: window.offset(at), cut: matches!(stands, Stands::Need(_)) });
                return Step::Pass(at.saturating_add(1));
            }
        };
        let next = at.saturating_add(len);
        let block = rest.get(..len.saturating_sub(4)).unwrap_or_default();
        let found = match kind {
            kind if NUMBERED.contains(&kind) => {
                self.owners.custom(self.order, block);
                return Step::Numbered(next);
            }
            PROCESS => {
                let name = self.options(block.get(12..).unwrap_or_default()).find(|(code, _)| *code == 2).map(|(_, name)| name);
                self.owners.process(name);
                Ok(None)
            }
            ENHANCED => self.enhanced(block),
            SECTION => {
                self.order = section_order(block).unwrap_or(self.order);
                self.section = self.interfaces.len();
                self.owners.section();
                Ok(None)
            }
            INTERFACE => {
                match self.describe(block) {
                    Some(i) if self.interfaces.len() < INTERFACES => self.interfaces.push(i),
                    _ => damage.skip(window.offset(at), window.offset(next), frames),
                }
                Ok(None)
            }
            SIMPLE => self.simple(block),
            PACKET => self.obsolete(block),
            STATISTICS => {
                self.statistics(block);
                Ok(None)
            }
            _ => Ok(None),
        };
        match found {
            Ok(Some(mut record)) => {
                record.at = record.at.saturating_add(at);
                record.next = next;
                self.last = record.ts;
                Step::Packet(record)
            }
            Ok(None) => Step::Pass(next),
            Err(Bad::Orphan) => {
                damage.orphans = damage.orphans.saturating_add(1);
                damage.skipped = damage.skipped.saturating_add(count(len));
                Step::Pass(next)
            }
            Err(Bad::Lengths) => {
                damage.skip(window.offset(at), window.offset(next), frames);
                Step::Pass(next)
            }
        }
    }

    /// Type and length of the block at the beginning of `bytes` if it is sound and whole.
    fn whole(&self, bytes: &[u8]) -> Result<(u32, usize), Stands> {
        let kind = self.order.u32(bytes, 0).ok_or(Stands::Need(SMALLEST))?;
        let order = if kind == SECTION {
            // Its type reads the same in both orders; the magic after the length says which one is meant.
            bytes.get(..SMALLEST).ok_or(Stands::Need(SMALLEST))?;
            section_order(bytes).ok_or(Stands::No)?
        } else {
            self.order
        };
        let len = size(order.u32(bytes, 4).ok_or(Stands::Need(SMALLEST))?);
        if !(SMALLEST..=ABSURD).contains(&len) || len & 3 != 0 {
            return Err(Stands::No);
        }
        let trailing = order.u32(bytes, len.saturating_sub(4)).ok_or(Stands::Need(len))?;
        if size(trailing) == len { Ok((kind, len)) } else { Err(Stands::No) }
    }

    fn describe(&self, block: &[u8]) -> Option<Interface> {
        let link = LinkType(self.order.u16(block, 8)?);
        let snaplen = self.order.u32(block, 12)?;
        let mut found = Interface { link, snaplen, resolution: 6, offset: 0, drops: None };
        for (code, value) in self.options(block.get(16..)?) {
            match (code, value) {
                (9, [r, ..]) => found.resolution = *r,
                (14, v) => found.offset = self.order.u64(v, 0).map_or(0, u64::cast_signed),
                _ => {}
            }
        }
        Some(found)
    }

    /// The options of a block: code and value, up to the end mark or the first that does not fit.
    fn options<'a>(&self, mut bytes: &'a [u8]) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let order = self.order;
        std::iter::from_fn(move || {
            let code = order.u16(bytes, 0).filter(|c| *c != 0)?;
            let len = usize::from(order.u16(bytes, 2)?);
            let value = bytes.get(4..len.saturating_add(4))?;
            // Values are padded to 32 bits.
            bytes = bytes.get(len.next_multiple_of(4).saturating_add(4)..).unwrap_or_default();
            Some((code, value))
        })
    }

    /// Running number and description of interface `id` of the current section.
    fn interface(&self, id: u32) -> Result<(u16, Interface), Bad> {
        let index = self.section.saturating_add(size(id));
        let found = *self.interfaces.get(index).ok_or(Bad::Orphan)?;
        Ok((u16::try_from(index).unwrap_or(u16::MAX), found))
    }

    fn enhanced(&self, block: &[u8]) -> Result<Option<Record>, Bad> {
        let field = |at| self.order.u32(block, at).ok_or(Bad::Lengths);
        self.packet(block, field(8)?, (field(12)?, field(16)?), (field(20)?, field(24)?)).map(Some)
    }

    fn obsolete(&mut self, block: &[u8]) -> Result<Option<Record>, Bad> {
        let id = self.order.u16(block, 8).ok_or(Bad::Lengths)?;
        let drops = self.order.u16(block, 10).ok_or(Bad::Lengths)?;
        let field = |at| self.order.u32(block, at).ok_or(Bad::Lengths);
        let record = self.packet(block, u32::from(id), (field(12)?, field(16)?), (field(20)?, field(24)?))?;
        if drops != u16::MAX {
            self.packet_drops = self.packet_drops.saturating_add(u64::from(drops));
        }
        Ok(Some(record))
    }

    /// What both packet blocks with a timestamp share: their bytes begin at offset 28.
    fn packet(&self, block: &[u8], id: u32, (high, low): (u32, u32), (len, original): (u32, u32)) -> Result<Record, Bad> {
        let (iface, about) = self.interface(id)?;
        if size(len) > block.len().saturating_sub(28) {
            return Err(Bad::Lengths);
        }
        let ts = about.time((u64::from(high) << 32) | u64::from(low));
        // Most files name nobody: their options are not looked at.
        let owner = if self.owners.any() {
            let options = block.get(28_usize.saturating_add(size(len).next_multiple_of(4))..).unwrap_or_default();
            self.owners.of(self.order, self.options(options))
        } else {
            0
        };
        Ok(Record { at: 28, len, original: original.max(len), ts, link: about.link, iface, owner, next: 0 })
    }

    /// A simple packet block has no timestamp: it gets that of the packet before it, so that no flow seems to end or begin.
    fn simple(&self, block: &[u8]) -> Result<Option<Record>, Bad> {
        let original = self.order.u32(block, 8).ok_or(Bad::Lengths)?;
        let (iface, about) = self.interface(0)?;
        let room = u32::try_from(block.len().saturating_sub(12)).unwrap_or(u32::MAX);
        let limit = if about.snaplen == 0 { u32::MAX } else { about.snaplen };
        let len = original.min(limit).min(room);
        Ok(Some(Record { at: 12, len, original, ts: self.last, link: about.link, iface, owner: 0, next: 0 }))
    }

    /// Later statistics of an interface replace earlier ones: they count from the start of the capture.
    fn statistics(&mut self, block: &[u8]) {
        let Some(id) = self.order.u32(block, 8) else { return };
        let mut drops = None;
        for (code, value) in self.options(block.get(20..).unwrap_or_default()) {
            // isb_ifdrop and isb_osdrop.
            if matches!(code, 5 | 7)
                && let Some(n) = self.order.u64(value, 0)
            {
                drops = Some(n.saturating_add(drops.unwrap_or(0)));
            }
        }
        let index = self.section.saturating_add(size(id));
        if let (Some(i), Some(_)) = (self.interfaces.get_mut(index), drops) {
            i.drops = drops;
        }
    }

    /// Looks for the next sound block of a known type, at least one byte after the bad one.
    fn seek(&mut self, window: &Window<'_>, at: usize, lost: Lost, frames: u64, damage: &mut Damage) -> Step {
        let known = |kind| {
            matches!(kind, SECTION | INTERFACE | PACKET | SIMPLE | NAMES | STATISTICS | ENHANCED | SECRETS | PROCESS)
                || NUMBERED.contains(&kind)
        };
        let stands = |q: usize| {
            let rest = window.from(q);
            match self.order.u32(rest, 0) {
                Some(kind) if !known(kind) => Stands::No,
                // The type tells most offsets apart; only then is a whole block asked for.
                _ => self.whole(rest).map_or_else(|s| s, |_| Stands::Yes),
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

/// Why a packet block gives no packet.
enum Bad {
    /// Its interface was never described.
    Orphan,
    /// Its lengths contradict each other.
    Lengths,
}
