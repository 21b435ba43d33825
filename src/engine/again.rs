//! The second walk over a capture whose story is known, for what copies it or parts of it.

use crate::capture::Pieces;
use crate::collect;
use crate::model::evidence::Evidence;
use crate::model::finding::Finding;
use crate::model::flow::{FlowId, FlowRecord};
use crate::model::frame::{FrameHead, FrameNo, LinkType};
use crate::model::key::FlowKey;
use crate::model::piece::Piece;
use crate::model::story::Story;
use crate::model::time::{Span, Time};
use crate::packet::{self, Defragmenter, FragmentName, Peek};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Why standard input, a pipe or an interface cannot be copied from.
pub const ONCE: &str = "this output copies from the capture, which has to be read twice for it: save it to a file first and name that";

/// Fragments wait this long for the rest of their packet, as in the analysis.
const PATIENCE: Span = Span::from_secs(30);
/// Packets whose fragments are waited for at a time.
const WAITING: usize = 4096;

/// Hands every piece of the capture at `path` to `take`, in capture order.
///
/// # Errors
/// When there is no file to read again, when it cannot be opened any more, and those of `take`.
pub fn pieces(path: Option<&Path>, mut take: impl FnMut(&Piece<'_>) -> io::Result<()>) -> io::Result<()> {
    let path = path.filter(|p| p.is_file()).ok_or_else(|| io::Error::other(ONCE))?;
    let mut walk = Pieces::open(path).map_err(|e| io::Error::other(e.to_string()))?;
    while let Some(taken) = walk.next(&mut take) {
        taken?;
    }
    Ok(())
}

/// What a finding is to be read with; the flows it was compared with only if `controls`.
pub fn evidence(story: &Story, finding: &Finding, controls: bool) -> Evidence {
    collect::evidence(story, finding, controls)
}

/// The frames of the capture at `path` that are part of `evidence`, ascending, each with the flow it belongs to. Fragments of a packet are taken
/// together; ICMP errors go with the flow they quote.
///
/// # Errors
/// As [`pieces`].
pub fn frames(path: &Path, story: &Story, evidence: &Evidence) -> io::Result<BTreeMap<FrameNo, Option<FlowId>>> {
    let mut out: BTreeMap<FrameNo, Option<FlowId>> = evidence.frames.iter().map(|f| (*f, None)).collect();
    let owners = Owners::of(&story.flows);
    let mut fragments = Fragments::default();
    pieces(Some(path), |piece| {
        let Some((head, data)) = piece.frame() else { return Ok(()) };
        let found = match packet::peek(&head, data) {
            Ok(Peek::Flow { key, .. }) => Some((key, vec![head.number])),
            Ok(Peek::Fragment { ip_at }) => fragments.take(&head, data.get(usize::from(ip_at)..).unwrap_or_default()),
            Err(_) => None,
        };
        if let Some((key, numbers)) = found
            && let Some(id) = owners.at(&key, head.number).filter(|id| evidence.flows.contains_key(id))
        {
            out.extend(numbers.into_iter().map(|n| (n, Some(id))));
        }
        Ok(())
    })?;
    Ok(out)
}

/// Which flow a key means at which frame: ports are used again.
struct Owners(HashMap<FlowKey, Vec<FlowId>>);

impl Owners {
    fn of(flows: &[FlowRecord]) -> Self {
        let mut by_key: HashMap<FlowKey, Vec<FlowId>> = HashMap::new();
        for f in flows {
            by_key.entry(FlowKey::of(f.client, f.server, f.proto)).or_default().push(f.id);
        }
        for ids in by_key.values_mut() {
            ids.sort_unstable();
        }
        Self(by_key)
    }

    /// The last flow of this key that had begun.
    fn at(&self, key: &FlowKey, frame: FrameNo) -> Option<FlowId> {
        let ids = self.0.get(key)?;
        let n = ids.partition_point(|id| id.frame <= frame);
        n.checked_sub(1).and_then(|i| ids.get(i)).copied()
    }
}

/// Which frames make up a packet that came in fragments.
#[derive(Default)]
struct Fragments {
    whole: Defragmenter,
    waiting: HashMap<FragmentName, (Time, Vec<FrameNo>)>,
}

impl Fragments {
    /// Takes a fragment; gives the packet's flow and all its frames once it is whole.
    fn take(&mut self, head: &FrameHead, ip: &[u8]) -> Option<(FlowKey, Vec<FrameNo>)> {
        let name = FragmentName::read(ip)?;
        if self.waiting.len() >= WAITING {
            self.waiting.clear();
        }
        let (began, frames) = self.waiting.entry(name).or_insert_with(|| (head.ts, Vec::new()));
        if head.ts.since(*began).abs() > PATIENCE {
            (*began, *frames) = (head.ts, Vec::new());
        }
        frames.push(head.number);
        let packet = self.whole.offer(head.ts, ip).ok()??;
        let (_, frames) = self.waiting.remove(&name)?;
        let about = FrameHead { link: LinkType::RAW, original: u32::try_from(packet.len()).ok()?, ..*head };
        match packet::peek(&about, &packet) {
            Ok(Peek::Flow { key, .. }) => Some((key, frames)),
            _ => None,
        }
    }
}
