//! The capture itself as pcapng, with the findings as comments on the packets they rest on, for Wireshark.
//!
//! Of a pcapng file every sound block is copied as it is, in its place: interfaces, names, secrets, statistics, custom and unknown blocks, several
//! sections in either byte order. A comment becomes one more option of its packet's block, and the first section's header gets a summary. Classic pcap
//! becomes one section with one interface of the same resolution. Damaged places and packets of interfaces that were never described are left out, as
//! they are for the analysis, so frame numbers stay those of the analysis.

pub mod blocks;
mod comments;
pub mod slice;

use super::output::{NewFile, Output};
use super::{RunInfo, Sink};
use crate::model::frame::FrameNo;
use crate::model::piece::Piece;
use crate::model::story::{End, Story};
use crate::sink::human::Style;
use blocks::{Blocks, COMMENT, Frame, Interface, Resolution, Section, push_option};
use comments::Comments;
use std::io::{self, BufWriter, Write};
use std::path::Path;

const SECTION: u32 = 0x0a0d_0d0a;
const ENHANCED: u32 = 6;
/// Obsolete Packet Block.
const PACKET: u32 = 2;
/// The section length field of a section header block.
const SECTION_LENGTH: std::ops::Range<usize> = 16..24;

/// Writes the capture with comments.
pub struct Annotated<W: Output> {
    blocks: Blocks<BufWriter<W>>,
    comments: Comments,
    /// The first section header of the source is still to come.
    fresh: bool,
    /// Reused for blocks that get a comment.
    block: Vec<u8>,
}

/// The sink behind `--out pcapng=PATH`; `-` is standard output.
pub fn open(path: &Path, _: &Style) -> io::Result<Box<dyn Sink>> {
    if path == Path::new("-") {
        return Ok(Box::new(Annotated::new(io::stdout())));
    }
    Ok(Box::new(Annotated::new(NewFile::create(path)?)))
}

impl<W: Output> Annotated<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        let blocks = Blocks::new(BufWriter::with_capacity(1 << 17, out));
        Self { blocks, comments: Comments::default(), fresh: true, block: Vec::new() }
    }

    fn copy(&mut self, raw: &[u8], big: bool, number: Option<FrameNo>, captured: usize) -> io::Result<()> {
        let kind = word(raw, 0, big);
        // Where options begin, and what is to be said there. A simple packet block has no room for options.
        let (at, said) = match (kind, number) {
            (Some(SECTION), _) if std::mem::take(&mut self.fresh) => (24, std::slice::from_ref(self.comments.summary())),
            (Some(ENHANCED | PACKET), Some(number)) => (28 + captured.next_multiple_of(4), self.comments.on(number)),
            _ => return self.blocks.raw(raw),
        };
        let (Some(head), Some(rest)) = (raw.get(..at), raw.get(at..raw.len().saturating_sub(4))) else { return self.blocks.raw(raw) };
        if said.is_empty() {
            return self.blocks.raw(raw);
        }
        self.block.clear();
        self.block.extend_from_slice(head);
        for comment in said {
            push_option(&mut self.block, COMMENT, comment.as_bytes(), big);
        }
        self.block.extend_from_slice(if rest.is_empty() { &[0; 4] } else { rest });
        if kind == Some(SECTION)
            && let Some(length) = self.block.get_mut(SECTION_LENGTH)
        {
            // The blocks behind it grow: the length is not known any more.
            length.fill(0xff);
        }
        let len = u32::try_from(self.block.len() + 4).map_err(|_| io::ErrorKind::InvalidData)?;
        let len = if big { len.to_be_bytes() } else { len.to_le_bytes() };
        if let Some(field) = self.block.get_mut(4..8) {
            field.copy_from_slice(&len);
        }
        self.block.extend_from_slice(&len);
        self.blocks.raw(&self.block)
    }
}

fn word(raw: &[u8], at: usize, big: bool) -> Option<u32> {
    let bytes = *raw.get(at..)?.first_chunk()?;
    Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
}

impl<W: Output> Sink for Annotated<W> {
    fn begin(&mut self, run: &RunInfo) -> io::Result<()> {
        self.comments = Comments::by(run);
        Ok(())
    }

    fn story(&mut self, story: &Story) -> io::Result<()> {
        self.comments.tell(story, |_| true);
        self.fresh = true;
        Ok(())
    }

    fn rereads(&self) -> bool {
        true
    }

    fn piece(&mut self, piece: &Piece<'_>) -> io::Result<()> {
        match *piece {
            Piece::Header { link, snaplen, nanos, fcs } => {
                self.blocks.section(&Section { comments: &[self.comments.summary()], program: self.comments.program() })?;
                let resolution = if nanos { Resolution::Nanos } else { Resolution::Micros };
                self.blocks.interface(&Interface { link, snaplen, resolution, fcs, ..Interface::default() }).map(drop)
            }
            Piece::Record { head, data } => {
                let said: Vec<&str> = self.comments.on(head.number).iter().map(String::as_str).collect();
                self.blocks.frame(&Frame { interface: 0, ts: head.ts, original: head.original, data, comments: &said })
            }
            Piece::Block { raw, big, frame } => {
                let number = frame.map(|(head, _)| head.number);
                self.copy(raw, big, number, frame.map_or(0, |(_, data)| data.len()))
            }
        }
    }

    fn finish(&mut self, _: &End) -> io::Result<()> {
        if self.blocks.written() == 0 {
            // Nothing could be read: a capture without packets is still one that opens.
            self.blocks.section(&Section { comments: &["nothing could be analysed"], program: self.comments.program() })?;
        }
        let out = self.blocks.out();
        out.flush()?;
        out.get_mut().commit()
    }
}
