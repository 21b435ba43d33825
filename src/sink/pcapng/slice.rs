//! A slice: the frames of one finding's evidence, each with its number in the original, and nothing of the capture around them. Names of hosts,
//! interfaces and machines, secrets and comments of the original are not taken over; that its capture lost frames is.

use super::super::output::Output;
use super::super::{RunInfo, jsonl, text};
use super::blocks::{Blocks, Frame, Interface, Resolution, Section};
use super::comments::Comments;
use crate::model::evidence::{Evidence, Part};
use crate::model::flow::FlowId;
use crate::model::frame::{FrameHead, FrameNo, LinkType};
use crate::model::source::SourceFacts;
use crate::model::story::Story;
use crate::model::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write};

/// Writes a slice.
pub struct Slice<'a> {
    blocks: Blocks<BufWriter<Box<dyn Output>>>,
    comments: Comments,
    evidence: &'a Evidence,
    frames: &'a BTreeMap<FrameNo, Option<FlowId>>,
    /// Number in the slice, by interface and link type in the original.
    interfaces: BTreeMap<(u16, LinkType), u32>,
    /// Flows whose first frame was written.
    begun: BTreeSet<FlowId>,
    /// Frames of the original, and of these, frames its capture lost.
    of: (u64, u64),
    last: Time,
}

/// Frames the capture lost: as many as it says, at least one where acknowledged bytes are missing from it. A slice must not prove by absence
/// what its original could not.
fn lost(source: &SourceFacts) -> u64 {
    let missed = source.quality.cannot_claim.iter().any(|c| c.claim == "confirmed drops");
    source.drops.unwrap_or(0).max(u64::from(missed))
}

impl<'a> Slice<'a> {
    /// Begins the slice of the findings `ids`: of the capture's frames only `frames` will be written.
    ///
    /// # Errors
    /// Those of the output.
    pub fn new(
        out: Box<dyn Output>,
        run: &RunInfo,
        story: &Story,
        ids: &[&str],
        evidence: &'a Evidence,
        frames: &'a BTreeMap<FrameNo, Option<FlowId>>,
    ) -> io::Result<Self> {
        let mut comments = Comments::by(run);
        comments.tell(story, |f| ids.contains(&&*f.id));
        let mut blocks = Blocks::new(BufWriter::new(out));
        let of = story.source.packets;
        let about =
            format!("A slice: {} of {of}. Numbers in its comments are those of the original.", text::counted(frames.len() as u64, "frame"));
        blocks.section(&Section { comments: &[&about, comments.summary()], program: comments.program() })?;
        Ok(Self {
            blocks,
            comments,
            evidence,
            frames,
            interfaces: BTreeMap::new(),
            begun: BTreeSet::new(),
            of: (of, lost(&story.source)),
            last: Time::default(),
        })
    }

    /// Takes a frame of the original, in order; writes it if it belongs to the slice.
    ///
    /// # Errors
    /// Those of the output.
    pub fn frame(&mut self, head: &FrameHead, data: &[u8]) -> io::Result<()> {
        let Some(flow) = self.frames.get(&head.number) else { return Ok(()) };
        let interface = match self.interfaces.get(&(head.iface, head.link)) {
            Some(known) => *known,
            None => {
                let about = Interface { link: head.link, resolution: Resolution::Nanos, ..Interface::default() };
                let number = self.blocks.interface(&about)?;
                self.interfaces.insert((head.iface, head.link), number);
                number
            }
        };
        let mut origin = format!("frame {} of the original", head.number.0);
        if let Some(id) = flow.filter(|id| self.begun.insert(*id)) {
            let part = self.evidence.flows.get(&id).copied().unwrap_or(Part::Finding);
            origin.push_str(&format!("\n{}: {}", jsonl::flow_id(id), part.says()));
        }
        let mut said = vec![origin.as_str()];
        said.extend(self.comments.on(head.number).iter().map(String::as_str));
        self.last = self.last.max(head.ts);
        self.blocks.frame(&Frame { interface, ts: head.ts, original: head.original, data, comments: &said })
    }

    /// Makes the slice visible.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<()> {
        if self.of.1 > 0 && !self.interfaces.is_empty() {
            self.blocks.statistics(0, self.last, self.of.0, self.of.1)?;
        }
        let out = self.blocks.out();
        out.flush()?;
        out.get_mut().commit()
    }
}
