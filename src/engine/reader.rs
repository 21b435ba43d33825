//! Reads sources, finds each frame's packet and, where there are several shards, its flow key, and deals frames to them. The only work here is what must come before a shard is known.

use super::progress::Progress;
use super::{Plan, ToCollector, ToShard};
use crate::capture::{self, CaptureError, Fill, Source};
use crate::model::frame::{Batch, FrameHead, FrameRef, LinkType, Place, Store};
use crate::model::key::FlowKey;
use crate::model::oddity::Oddity;
use crate::model::source::SourceFacts;
use crate::model::time::Time;
use crate::packet::{self, Defragmenter, Peek, Spot};
use crossbeam_channel::Sender;
use foldhash::fast::FixedState;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Frames in a batch to a shard: enough that the channel costs nothing per frame.
const BATCH_FRAMES: usize = 512;

pub(super) fn run<H: Hands>(plan: &Plan, shards: &[H], collector: &Sender<ToCollector>) {
    let mut left = plan.packet_limit.unwrap_or(u64::MAX);
    let mut progress = Progress::new(plan.progress, plan.inputs.len());
    for (index, path) in plan.inputs.iter().enumerate() {
        if plan.stop.load(Ordering::Relaxed) || left == 0 {
            break;
        }
        let source = u32::try_from(index).unwrap_or(u32::MAX);
        let shown = path.display().to_string();
        let message = match read_source(plan, path, shards, &mut left, &mut progress) {
            Ok(facts) => ToCollector::SourceRead { facts: Box::new(SourceFacts { path: shown, index: source, ..facts }) },
            Err(e) => ToCollector::SourceFailed { source, path: shown, why: e.to_string() },
        };
        // Each shard ends every source, also one that could not be read, so that the collector can count them.
        for shard in shards {
            shard.hand(ToShard::SourceEnd);
        }
        if collector.send(message).is_err() {
            break;
        }
    }
    progress.finish();
}

fn read_source<H: Hands>(
    plan: &Plan,
    path: &Path,
    shards: &[H],
    left: &mut u64,
    progress: &mut Progress,
) -> Result<SourceFacts, CaptureError> {
    let mut input = capture::open(path)?;
    let mut dealer = Dealer::new(shards);
    let mut batch = Batch::over(Arc::new([]));
    let mut filter = plan.filter.as_deref().map(capture::Filter::new);
    progress.begin(path);
    loop {
        let fill = input.fill(&mut batch)?;
        if let Some(filter) = &mut filter {
            filter.apply(&mut batch)?;
        }
        dealer.deal(&batch, left);
        progress.update(input.progress());
        if fill == Fill::End || plan.stop.load(Ordering::Relaxed) || *left == 0 || dealer.gone {
            break;
        }
    }
    dealer.flush_all();
    Ok(SourceFacts { filtered: filter.map_or(0, |f| f.left_out()), ..dealer.summary(input.as_ref()) })
}

/// The shard, of so many, that gets the packets of a flow. The same in every run, so that a run can be repeated.
pub fn shard_of(key: &FlowKey, shards: usize) -> usize {
    let hash = FixedState::with_seed(0x7a6d_7065_7273_636f).hash_one(key);
    // The upper half: the flow table's own hash map uses another hash.
    ((hash >> 32) % shards.max(1) as u64) as usize
}

/// Who works on what the reader deals: a shard on a thread of its own, or the only one, where the reader is.
pub(super) trait Hands {
    /// Hands something over; `false` if nobody is there any more.
    fn hand(&self, work: ToShard) -> bool;
}

impl Hands for Sender<ToShard> {
    fn hand(&self, work: ToShard) -> bool {
        self.send(work).is_ok()
    }
}

/// Deals frames by the symmetric hash of their flow key.
pub(super) struct Dealer<'a, H> {
    shards: &'a [H],
    pending: Vec<Option<Batch>>,
    fragments: Defragmenter,
    /// Apps or processes the file named so far.
    owners: Arc<Vec<Box<str>>>,
    oddities: BTreeMap<Oddity, u64>,
    first: Option<Time>,
    last: Option<Time>,
    previous: Option<Time>,
    steps_back: u64,
    dealt: u64,
    bytes: u64,
    gone: bool,
}

/// The clock of a capture may jitter by this much between interfaces without that being a step backwards (ns).
const STEP_BACK: i64 = 1_000_000_000;

impl<'a, H: Hands> Dealer<'a, H> {
    pub(super) fn new(shards: &'a [H]) -> Self {
        Self {
            shards,
            pending: shards.iter().map(|_| None).collect(),
            fragments: Defragmenter::default(),
            owners: Arc::default(),
            oddities: BTreeMap::new(),
            first: None,
            last: None,
            previous: None,
            steps_back: 0,
            dealt: 0,
            bytes: 0,
            gone: false,
        }
    }

    pub(super) fn deal(&mut self, batch: &Batch, left: &mut u64) {
        if !Arc::ptr_eq(&self.owners, &batch.owners) {
            self.owners = Arc::clone(&batch.owners);
            // Names are only added: what is on its way may take the longer list.
            for pending in self.pending.iter_mut().flatten() {
                pending.owners = Arc::clone(&batch.owners);
            }
        }
        let store = (*batch.store).as_ref();
        for frame in &batch.frames {
            if *left == 0 {
                break;
            }
            *left -= 1;
            self.clock(frame);
            let end = frame.at.saturating_add(frame.len as usize);
            let bytes = store.get(frame.at..end).unwrap_or(&[]);
            match self.find(&frame.head, bytes) {
                Ok((to, Spot::Packet(ip_at))) => self.push(to, &batch.store, FrameRef { ip_at, ..*frame }),
                Ok((_, Spot::Fragment(at))) => self.fragment(batch, frame, bytes.get(usize::from(at)..).unwrap_or(&[])),
                Err(oddity) => self.count(oddity),
            }
        }
        self.dealt += batch.frames.len() as u64;
        // A streamed chunk's bytes are freed once its last batch is done with: do not keep part of it back.
        if self.pending.iter().flatten().any(|p| !Arc::ptr_eq(&p.store, &batch.store)) {
            self.flush_all();
        }
    }

    /// Fragments wait here for each other; the packet they make is dealt in place of the last one.
    fn fragment(&mut self, batch: &Batch, frame: &FrameRef, ip: &[u8]) {
        let mut whole = match self.fragments.offer(frame.head.ts, ip) {
            Ok(Some(whole)) => whole,
            Ok(None) => return self.count(Oddity::FragmentHeld),
            Err(oddity) => return self.count(oddity),
        };
        // A rebuilt packet may itself be a tunnel around fragments; packet::peek bounds the depth within one packet, this the packets.
        for _ in 0..4 {
            let head = FrameHead { link: LinkType::RAW, original: whole.len() as u32, ..frame.head };
            match self.find(&head, &whole) {
                Ok((to, Spot::Packet(ip_at))) => return self.push_rebuilt(to, &batch.store, head, ip_at, &whole),
                Ok((_, Spot::Fragment(at))) => {
                    let inner = whole.get(usize::from(at)..).unwrap_or(&[]);
                    match self.fragments.offer(frame.head.ts, inner) {
                        Ok(Some(next)) => whole = next,
                        Ok(None) => return self.count(Oddity::FragmentHeld),
                        Err(oddity) => return self.count(oddity),
                    }
                }
                Err(oddity) => return self.count(oddity),
            }
        }
        self.count(Oddity::TunnelDepth);
    }

    fn push_rebuilt(&mut self, to: usize, store: &Store, head: FrameHead, ip_at: u16, bytes: &[u8]) {
        let pending = self.open(to, store);
        let at = pending.rebuilt.len();
        pending.rebuilt.extend_from_slice(bytes);
        self.push(to, store, FrameRef { head, at, len: bytes.len() as u32, ip_at, place: Place::Rebuilt });
    }

    fn push(&mut self, to: usize, store: &Store, frame: FrameRef) {
        let pending = self.open(to, store);
        pending.frames.push(frame);
        if pending.frames.len() >= BATCH_FRAMES {
            self.flush(to);
        }
    }

    /// The batch under way for a shard, over this store.
    fn open(&mut self, to: usize, store: &Store) -> &mut Batch {
        let other = self.pending[to].as_ref().is_some_and(|p| !Arc::ptr_eq(&p.store, store));
        if other {
            self.flush(to);
        }
        let owners = &self.owners;
        self.pending[to].get_or_insert_with(|| Batch {
            frames: Vec::with_capacity(BATCH_FRAMES),
            owners: Arc::clone(owners),
            ..Batch::over(Arc::clone(store))
        })
    }

    fn flush(&mut self, to: usize) {
        if let Some(batch) = self.pending[to].take() {
            self.gone |= !self.shards[to].hand(ToShard::Frames(batch));
        }
    }

    pub(super) fn flush_all(&mut self) {
        for to in 0..self.shards.len() {
            self.flush(to);
        }
    }

    /// The shard that a frame goes to, and where its packet lies. A single shard gets all of them, whose flow they are of or not.
    fn find(&self, head: &FrameHead, bytes: &[u8]) -> Result<(usize, Spot), Oddity> {
        if self.shards.len() == 1 {
            return packet::find(head, bytes).map(|spot| (0, spot));
        }
        Ok(match packet::peek(head, bytes)? {
            Peek::Flow { ip_at, key } => (shard_of(&key, self.shards.len()), Spot::Packet(ip_at)),
            Peek::Fragment { ip_at } => (0, Spot::Fragment(ip_at)),
        })
    }

    fn clock(&mut self, frame: &FrameRef) {
        let ts = frame.head.ts;
        self.bytes += u64::from(frame.len);
        self.first = Some(self.first.map_or(ts, |f| f.min(ts)));
        self.last = Some(self.last.map_or(ts, |l| l.max(ts)));
        if self.previous.is_some_and(|p| p.since(ts).nanos() > STEP_BACK) {
            self.steps_back += 1;
        }
        self.previous = Some(ts);
    }

    fn count(&mut self, oddity: Oddity) {
        *self.oddities.entry(oddity).or_default() += 1;
    }

    /// The shards have gone.
    #[cfg(feature = "live")]
    pub(super) fn gone(&self) -> bool {
        self.gone
    }

    /// Bytes of fragments that wait for others.
    #[cfg(feature = "live")]
    pub(super) fn buffered(&self) -> u64 {
        self.fragments.buffered()
    }

    /// What is known of a source that goes on.
    #[cfg(feature = "live")]
    pub(super) fn so_far(&self, input: &dyn Source) -> SourceFacts {
        SourceFacts {
            first: self.first,
            last: self.last,
            oddities: self.oddities.clone(),
            time_steps_back: self.steps_back,
            ..input.facts()
        }
    }

    pub(super) fn summary(mut self, input: &dyn Source) -> SourceFacts {
        let incomplete = self.fragments.unfinished();
        if incomplete > 0 {
            self.oddities.insert(Oddity::FragmentIncomplete, incomplete);
        }
        SourceFacts { first: self.first, last: self.last, oddities: self.oddities, time_steps_back: self.steps_back, ..input.facts() }
    }
}
