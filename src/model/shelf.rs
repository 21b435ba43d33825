//! Packets of flows, kept for a while in case a finding needs them: the first and the last of each flow, within a bound over all flows.

use super::flow::{LADDER_HEAD, LADDER_TAIL};
use super::frame::{FrameHead, FrameNo};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes kept of a frame.
pub const FRAME_MAX: usize = 2048;
/// Packets kept of a flow after it was flagged.
pub const FOLLOWING_MAX: usize = 2000;
/// What a kept packet costs besides its bytes.
const OVERHEAD: usize = 96;

/// A packet on the shelf.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Number, time, link type, length on the wire.
    pub head: FrameHead,
    /// Offset of the innermost IP header.
    pub ip_at: u16,
    /// The frame, at most [`FRAME_MAX`] bytes of it.
    pub bytes: Box<[u8]>,
}

#[derive(Default)]
struct Flow {
    first: Vec<Kept>,
    last: VecDeque<Kept>,
    bytes: usize,
    /// Flagged: what came since is handed on. How many were.
    following: Option<usize>,
}

#[derive(Default)]
struct Inner {
    flows: HashMap<FrameNo, Flow>,
    /// In order of their beginning, for making room; may name flows that have gone.
    order: VecDeque<FrameNo>,
    bytes: usize,
    following: Vec<(FrameNo, Kept)>,
}

/// The shelf of one shard.
pub struct Shelf {
    inner: Mutex<Inner>,
    most: usize,
}

impl Shelf {
    /// Keeps at most `most` bytes.
    pub fn new(most: usize) -> Self {
        Self { inner: Mutex::default(), most }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a packet of the flow that began with frame `flow`.
    pub fn keep(&self, flow: FrameNo, head: FrameHead, ip_at: u16, bytes: &[u8]) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let kept = Kept { head, ip_at, bytes: bytes.get(..FRAME_MAX).unwrap_or(bytes).into() };
        let size = kept.bytes.len() + OVERHEAD;
        let new = !inner.flows.contains_key(&flow);
        let f = inner.flows.entry(flow).or_default();
        if new {
            inner.order.push_back(flow);
        }
        if let Some(n) = &mut f.following {
            if *n < FOLLOWING_MAX && inner.following.len() < FOLLOWING_MAX * 8 {
                *n += 1;
                inner.following.push((flow, kept));
            }
            return;
        }
        f.bytes += size;
        inner.bytes += size;
        if f.first.len() < LADDER_HEAD {
            f.first.push(kept);
        } else {
            if f.last.len() >= LADDER_TAIL
                && let Some(old) = f.last.pop_front()
            {
                f.bytes -= old.bytes.len() + OVERHEAD;
                inner.bytes -= old.bytes.len() + OVERHEAD;
            }
            f.last.push_back(kept);
        }
        while inner.bytes > self.most {
            let Some(oldest) = inner.order.pop_front() else { break };
            if let Some(gone) = inner.flows.remove(&oldest) {
                inner.bytes -= gone.bytes;
            }
        }
    }

    /// Hands over what is kept of a flow; from now on its packets are handed on by [`Self::following`].
    pub fn flag(&self, flow: FrameNo) -> Vec<Kept> {
        let mut inner = self.lock();
        let Some(f) = inner.flows.get_mut(&flow) else { return Vec::new() };
        f.following.get_or_insert(0);
        let bytes = std::mem::take(&mut f.bytes);
        let mut out = std::mem::take(&mut f.first);
        out.extend(std::mem::take(&mut f.last));
        inner.bytes -= bytes;
        out
    }

    /// Takes the packets of flagged flows that came since the last call, with the first frame of their flow.
    pub fn following(&self) -> Vec<(FrameNo, Kept)> {
        std::mem::take(&mut self.lock().following)
    }

    /// Bytes kept, bookkeeping included.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::frame::LinkType;
    use crate::model::time::Time;

    fn keep(shelf: &Shelf, flow: u64, n: u64) {
        let head = FrameHead { number: FrameNo(n), ts: Time::from_nanos(0), original: 100, link: LinkType::RAW, iface: 0, owner: 0 };
        shelf.keep(FrameNo(flow), head, 0, &[0; 100]);
    }

    #[test]
    fn the_first_and_the_last_are_kept_and_what_follows_is_handed_on() {
        let shelf = Shelf::new(1 << 20);
        (1..=100).for_each(|n| keep(&shelf, 1, n));
        let kept: Vec<u64> = shelf.flag(FrameNo(1)).iter().map(|k| k.head.number.0).collect();
        assert_eq!(kept, (1..=32).chain(85..=100).collect::<Vec<_>>());
        assert_eq!(shelf.bytes(), 0);
        keep(&shelf, 1, 101);
        keep(&shelf, 2, 102);
        let after: Vec<_> = shelf.following().iter().map(|(f, k)| (f.0, k.head.number.0)).collect();
        assert_eq!(after, [(1, 101)]);
        assert!(shelf.following().is_empty() && shelf.flag(FrameNo(77)).is_empty());
    }

    #[test]
    fn the_oldest_flows_make_room() {
        let shelf = Shelf::new(20_000);
        (1..=1000).for_each(|n| keep(&shelf, n, n));
        assert!(shelf.bytes() <= 20_000);
        assert!(shelf.flag(FrameNo(1)).is_empty());
        assert_eq!(shelf.flag(FrameNo(1000)).len(), 1);
        (1..=100_000).for_each(|n| keep(&shelf, 1000, n));
        assert!(shelf.following().len() <= FOLLOWING_MAX);
    }
}
