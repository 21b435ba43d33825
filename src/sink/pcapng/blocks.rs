//! Writes pcapng blocks (<https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html>): sections, interfaces, packets with comments, statistics,
//! and blocks of other files as they are. Little-endian; knows nothing of what the packets mean.

use crate::model::frame::LinkType;
use crate::model::time::Time;
use std::io::{self, Write};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const ENHANCED: u32 = 6;
/// `opt_comment`, valid in every block.
pub(super) const COMMENT: u16 = 1;
/// Longest value of an option; its length field has 16 bits.
const VALUE_MAX: usize = u16::MAX as usize;

/// What a section header says of its maker. Empty strings are left out.
#[derive(Clone, Copy, Default, Debug)]
pub struct Section<'a> {
    /// Comments on the whole section, for people.
    pub comments: &'a [&'a str],
    /// `shb_userappl`: the program that writes.
    pub program: &'a str,
}

/// Units of an interface's timestamps.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Resolution {
    /// 10⁻⁶ s, what pcapng assumes without `if_tsresol`.
    #[default]
    Micros,
    /// 10⁻⁹ s.
    Nanos,
}

/// An interface description. Empty strings are left out.
#[derive(Clone, Copy, Default, Debug)]
pub struct Interface<'a> {
    /// Link type of its frames.
    pub link: LinkType,
    /// Bytes kept of a frame; 0 is no limit.
    pub snaplen: u32,
    /// Units of its timestamps.
    pub resolution: Resolution,
    /// `if_name`, e.g. `eth0`.
    pub name: &'a str,
    /// `if_filter`: the capture filter in libpcap's language.
    pub filter: &'a str,
    /// `if_fcslen`: bytes of frame check sequence behind each frame.
    pub fcs: Option<u8>,
}

/// A frame with what is to be said about it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Frame<'a> {
    /// Number of its interface within the section, in the order of [`Blocks::interface`].
    pub interface: u32,
    /// When it was captured. Times before 1970 become 1970: the format has none.
    pub ts: Time,
    /// Bytes it had on the wire.
    pub original: u32,
    /// Bytes captured, at most 4 GiB.
    pub data: &'a [u8],
    /// `opt_comment`, each shown as one by Wireshark. Cut at 65,535 bytes.
    pub comments: &'a [&'a str],
}

/// Writes one block after the other. Nothing is buffered beyond a block, so whatever was written is a readable file.
pub struct Blocks<W> {
    out: W,
    /// The block being put together, reused.
    block: Vec<u8>,
    /// Of the current section's interfaces.
    resolutions: Vec<Resolution>,
    written: u64,
}

impl<W: Write> Blocks<W> {
    /// Writes to `out`. A file begins with [`Blocks::section`].
    pub const fn new(out: W) -> Self {
        Self { out, block: Vec::new(), resolutions: Vec::new(), written: 0 }
    }

    /// Bytes written so far.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// The output, e.g. to flush it.
    pub const fn out(&mut self) -> &mut W {
        &mut self.out
    }

    /// Gives the output back.
    pub fn into_inner(self) -> W {
        self.out
    }

    /// Begins a section; its interfaces are numbered from 0 again.
    ///
    /// # Errors
    /// Those of the output, here and below.
    pub fn section(&mut self, about: &Section<'_>) -> io::Result<()> {
        self.resolutions.clear();
        self.begin(SECTION);
        self.u32(0x1a2b_3c4d);
        self.u16(1);
        self.u16(0);
        // Length of the section: not known yet, and no reader needs it.
        self.block.extend_from_slice(&[0xff; 8]);
        let start = self.block.len();
        for comment in about.comments {
            self.option(COMMENT, comment.as_bytes());
        }
        self.text(4, about.program);
        self.end_options(start);
        self.end()
    }

    /// Describes the next interface and gives its number.
    pub fn interface(&mut self, about: &Interface<'_>) -> io::Result<u32> {
        let number = u32::try_from(self.resolutions.len()).unwrap_or(u32::MAX);
        self.resolutions.push(about.resolution);
        self.begin(INTERFACE);
        self.u16(about.link.0);
        self.u16(0);
        self.u32(about.snaplen);
        let start = self.block.len();
        self.text(2, about.name);
        if about.resolution == Resolution::Nanos {
            self.option(9, &[9]);
        }
        if !about.filter.is_empty() {
            // The first byte says that a string follows.
            let mut value = vec![0];
            value.extend_from_slice(about.filter.as_bytes());
            self.option(11, &value);
        }
        if let Some(fcs) = about.fcs {
            self.option(13, &[fcs]);
        }
        self.end_options(start);
        self.end()?;
        Ok(number)
    }

    /// A packet, as an enhanced packet block.
    pub fn frame(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let len = u32::try_from(frame.data.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.begin(ENHANCED);
        self.u32(frame.interface);
        self.time(frame.interface, frame.ts);
        self.u32(len);
        self.u32(frame.original.max(len));
        self.block.extend_from_slice(frame.data);
        self.pad();
        let start = self.block.len();
        for comment in frame.comments {
            self.option(COMMENT, comment.as_bytes());
        }
        self.end_options(start);
        self.end()
    }

    /// Counters of an interface: frames received and dropped since the capture began.
    pub fn statistics(&mut self, interface: u32, ts: Time, received: u64, dropped: u64) -> io::Result<()> {
        self.begin(STATISTICS);
        self.u32(interface);
        self.time(interface, ts);
        let start = self.block.len();
        self.option(4, &received.to_le_bytes());
        self.option(5, &dropped.to_le_bytes());
        self.end_options(start);
        self.end()
    }

    /// A block of another file, byte for byte. That it belongs where it is put is the caller's affair.
    pub fn raw(&mut self, block: &[u8]) -> io::Result<()> {
        self.written = self.written.saturating_add(block.len() as u64);
        self.out.write_all(block)
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.u32(kind);
        self.u32(0);
    }

    /// Both lengths, then the block goes out.
    fn end(&mut self) -> io::Result<()> {
        let len = u32::try_from(self.block.len() + 4).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.u32(len);
        if let Some(field) = self.block.get_mut(4..8) {
            field.copy_from_slice(&len.to_le_bytes());
        }
        self.written = self.written.saturating_add(u64::from(len));
        self.out.write_all(&self.block)
    }

    fn time(&mut self, interface: u32, ts: Time) {
        let unit = match self.resolutions.get(interface as usize) {
            Some(Resolution::Nanos) => 1,
            _ => 1_000,
        };
        let ticks = u64::try_from(ts.nanos()).unwrap_or(0) / unit;
        self.u32((ticks >> 32) as u32);
        self.u32(ticks as u32);
    }

    fn text(&mut self, code: u16, value: &str) {
        if !value.is_empty() {
            self.option(code, value.as_bytes());
        }
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        push_option(&mut self.block, code, value, false);
    }

    /// The end mark, if any option was written since `start`.
    fn end_options(&mut self, start: usize) {
        if self.block.len() > start {
            self.u32(0);
        }
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn u16(&mut self, n: u16) {
        self.block.extend_from_slice(&n.to_le_bytes());
    }

    fn u32(&mut self, n: u32) {
        self.block.extend_from_slice(&n.to_le_bytes());
    }
}

/// Appends one option with its padding, in the byte order of its section. A text too long for it is cut between characters.
pub(super) fn push_option(block: &mut Vec<u8>, code: u16, value: &[u8], big: bool) {
    let mut len = value.len().min(VALUE_MAX);
    while len < value.len() && value.get(len).is_some_and(|b| b & 0xc0 == 0x80) {
        len -= 1;
    }
    for field in [code, len as u16] {
        block.extend_from_slice(&if big { field.to_be_bytes() } else { field.to_le_bytes() });
    }
    block.extend_from_slice(value.get(..len).unwrap_or(value));
    block.resize(block.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn blocks_are_whole_and_say_what_was_given() {
        let mut blocks = Blocks::new(Vec::new());
        blocks.section(&Section { comments: &["all of it"], program: "tamperscope" }).unwrap();
        let about = Interface { link: LinkType(101), resolution: Resolution::Nanos, name: "tun0", filter: "tcp", ..Interface::default() };
        assert_eq!(blocks.interface(&about).unwrap(), 0);
        assert_eq!(blocks.interface(&Interface::default()).unwrap(), 1);
        let frame = Frame { ts: Time::from_nanos(5_000_000_123), original: 9, data: b"abcde", comments: &["one", "two"], interface: 0 };
        blocks.frame(&frame).unwrap();
        blocks.frame(&Frame { interface: 1, comments: &[], ..frame }).unwrap();
        blocks.statistics(0, Time::from_nanos(-1), 7, 3).unwrap();
        let wrote = blocks.written();
        let file = blocks.into_inner();
        assert_eq!(wrote, file.len() as u64);
        let (mut at, mut kinds) = (0, Vec::new());
        while at < file.len() {
            let len = word(&file, at + 4) as usize;
            assert_eq!(word(&file, at + len - 4) as usize, len, "both lengths agree");
            kinds.push((word(&file, at), at));
            at += len;
        }
        assert_eq!(kinds.iter().map(|k| k.0).collect::<Vec<_>>(), [SECTION, 1, 1, 6, 6, 5]);
        let (first, second) = (kinds[3].1, kinds[4].1);
        // The same moment in nanoseconds and in microseconds.
        assert_eq!((word(&file, first + 12), word(&file, first + 16)), (1, 705_032_827));
        assert_eq!((word(&file, second + 12), word(&file, second + 16)), (0, 5_000_000));
        assert_eq!(&file[first + 28..first + 36], b"abcde\0\0\0");
        assert_eq!(&file[first + 36..first + 44], b"\x01\0\x03\0one\0");
        assert_eq!(word(&file, first + 52), 0, "the end mark");
        assert_eq!(word(&file, second + 4), 40, "no options, no end mark");
    }

    #[test]
    fn a_long_comment_is_cut_between_characters() {
        let mut block = Vec::new();
        push_option(&mut block, COMMENT, "ж".repeat(40_000).as_bytes(), true);
        let len = usize::from(u16::from_be_bytes([block[2], block[3]]));
        assert_eq!(len, 65_534);
        assert!(std::str::from_utf8(&block[4..4 + len]).is_ok());
        assert_eq!(block.len() % 4, 0);
    }
}
