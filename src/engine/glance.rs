//! What a shard does besides its work when the capture is live: it remembers which flows changed, tells how they stand when asked, and
//! sheds work under overload (`shed` says in which order).

use super::scribe::Scribe;
use super::shed;
use super::talk::Talk;
use crate::flow::{Entry, Table};
use crate::model::board::{Board, Count};
use crate::model::flow::{Closed, FlowRecord};
use crate::model::frame::FrameRef;
use crate::model::oddity::Oddity;
use crate::model::packet::{Body, Packet};
use crate::model::pulse::Shed;
use crate::model::shelf::Shelf;

/// Most open flows a shard describes at a time.
const OPEN_MAX: usize = 2048;
/// Most flows on the list of those that changed. A flood beyond it is not described while it lasts; its records come when the flows end.
const LIST_MAX: usize = 1 << 16;

/// A shard's part of a live capture.
pub(super) struct Glancer<'a> {
    board: &'a Board,
    shard: usize,
    /// Most flows of this shard.
    most: usize,
    /// Where packets are kept in case a finding needs them.
    shelf: Option<&'a Shelf>,
    changed: Vec<u32>,
    /// What is being shed; looked up once a batch.
    shed: Shed,
    policy: u64,
    odd: u64,
}

impl<'a> Glancer<'a> {
    pub(super) fn new(board: &'a Board, shard: usize, most: usize, shelf: Option<&'a Shelf>) -> Self {
        Self { board, shard, most, shelf, changed: Vec::new(), shed: Shed::Nothing, policy: 0, odd: 0 }
    }

    /// Notes that a flow changed, and decides whether its packet is followed or only counted. Stops the reading of payload where that is
    /// being shed.
    pub(super) fn may_follow(&mut self, slot: usize, entry: &mut Entry<Talk>, packet: &Packet<'_>) -> bool {
        if !entry.state.listed
            && self.changed.len() < LIST_MAX
            && let Ok(slot) = u32::try_from(slot)
        {
            entry.state.listed = true;
            self.changed.push(slot);
        }
        if self.shed == Shed::Nothing {
            return true;
        }
        let packets = entry.totals.client.packets + entry.totals.server.packets;
        let task = shed::task(self.shed, packets);
        if task.follow && task.read {
            return true;
        }
        let payload = match &packet.body {
            Body::Tcp(s) => s.len > 0,
            Body::Udp(d) => d.len > 0,
            _ => false,
        };
        let deafened = !task.read && entry.state.listens();
        if deafened {
            entry.state.stop_inspecting();
        }
        if !task.follow || (deafened && payload) {
            self.policy += 1;
        }
        task.follow
    }

    pub(super) fn batch_done(&mut self, frames: u64) {
        let odd = std::mem::take(&mut self.odd);
        self.board.worked(frames.saturating_sub(odd), std::mem::take(&mut self.policy));
        self.shed = self.board.shed();
    }

    /// Keeps a packet of a flow, unless that is being shed.
    pub(super) fn keep(&self, entry: &Entry<Talk>, frame: &FrameRef, bytes: &[u8]) {
        if let Some(shelf) = self.shelf.filter(|_| self.shed < Shed::Payload) {
            shelf.keep(entry.first.frame, frame.head, frame.ip_at, bytes);
        }
    }

    /// How many flows may be followed now.
    pub(super) fn flows(&self) -> usize {
        usize::try_from(self.most as u64 * self.board.share() / 100).unwrap_or(self.most).max(1)
    }

    pub(super) fn oddity(&mut self, oddity: Oddity) {
        self.odd += 1;
        self.board.add(Count::Oddity(oddity), 1);
    }

    /// Records of open flows that changed: those in which both sides were heard, or payload was sent, come first.
    pub(super) fn open(&mut self, table: &mut Table<Talk>, source: u32, evicted: u64) -> Vec<FlowRecord> {
        let buffered = table.entries().map(|e| e.state.buffered()).sum();
        self.board.following(self.shard, table.len() as u64, buffered, evicted);
        let mut out = Vec::new();
        if self.shed >= Shed::Payload {
            return out;
        }
        let changed = std::mem::take(&mut self.changed);
        let mut bare = Vec::new();
        for slot in changed {
            let Some(entry) = table.get_mut(slot as usize) else { continue };
            let rich = !entry.state.is_bare() || entry.totals.server.packets > 0;
            if rich && out.len() < OPEN_MAX {
                out.push(so_far(entry, source));
            } else {
                bare.push(slot);
            }
        }
        let keep = bare.len().saturating_sub(OPEN_MAX.saturating_sub(out.len()));
        for slot in bare.split_off(keep) {
            if let Some(entry) = table.get_mut(slot as usize) {
                out.push(so_far(entry, source));
            }
        }
        self.changed = bare;
        out
    }
}

fn so_far(entry: &mut Entry<Talk>, source: u32) -> FlowRecord {
    entry.state.listed = false;
    Scribe::of(source).record(entry.copy_with(Talk::so_far), Closed::CaptureEnd, entry.state.app())
}

#[cfg(test)]
mod tests {
    use super::super::{ToCollector, ToShard, shard};
    use super::*;
    use crate::model::frame::{Batch, FrameHead, FrameNo, LinkType, Place};
    use crate::model::time::Time;
    use std::sync::Arc;

    /// Datagrams of one flow with 20 bytes of nothing known: the given numbers, a millisecond apart.
    fn datagrams(numbers: impl Iterator<Item = u64>) -> Batch {
        let mut one = vec![0x45, 0, 0, 48, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        one.extend([0x9c, 0x40, 0x9c, 0x41, 0, 28, 0, 0]);
        one.extend([0xa5; 20]);
        let (mut bytes, mut frames) = (Vec::new(), Vec::new());
        for n in numbers {
            let ts = Time::from_nanos(1_700_000_000_000_000_000 + n as i64 * 1_000_000);
            let head = FrameHead { number: FrameNo(n), ts, original: 48, link: LinkType::RAW, iface: 0, owner: 0 };
            frames.push(FrameRef { head, at: bytes.len(), len: 48, ip_at: 0, place: Place::Store });
            bytes.extend_from_slice(&one);
        }
        Batch { frames, ..Batch::over(Arc::new(bytes)) }
    }

    /// What a shard makes of 200 such packets when `shed` is given up after the first `before` of them; and what policy cost.
    fn shard(shed: Shed, before: u64) -> (FlowRecord, u64) {
        let board = Board::default();
        let (to, frames) = crossbeam_channel::unbounded();
        let (out, told) = crossbeam_channel::unbounded();
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| shard::run(&frames, &out, 100, Some(Glancer::new(&board, 0, 100, None))));
            let glanced = || {
                to.send(ToShard::Glance { now: None }).unwrap();
                while !matches!(told.recv().unwrap(), ToCollector::Glanced { .. }) {}
            };
            to.send(ToShard::Frames(datagrams(1..=before))).unwrap();
            glanced();
            board.set_shed(shed);
            // A shard looks up between batches.
            to.send(ToShard::Frames(datagrams(std::iter::empty()))).unwrap();
            to.send(ToShard::Frames(datagrams(before + 1..=200))).unwrap();
            to.send(ToShard::SourceEnd).unwrap();
            drop(to);
            worker.join().unwrap();
        });
        drop(out);
        let flows = told.into_iter().find_map(|m| if let ToCollector::Flows { flows, .. } = m { Some(flows) } else { None });
        let mut flows = flows.unwrap();
        assert_eq!(flows.len(), 1);
        (flows.remove(0), board.policy_losses())
    }

    #[test]
    fn what_is_shed_is_counted_and_no_packet_goes_uncounted() {
        let (whole, none) = shard(Shed::Nothing, 10);
        assert_eq!((whole.totals.client.packets, none), (200, 0));
        let (f, lost) = shard(Shed::Following, 10);
        assert_eq!((f.totals.client.packets, f.totals.client.bytes), (200, whole.totals.client.bytes), "packets are counted to the last");
        // All but the first 64 are not followed; at most one more is where the reading of payload stopped.
        assert!((136..=137).contains(&lost), "{lost}");
        let (f, late) = shard(Shed::Following, 150);
        assert_eq!(f.totals.client.packets, 200);
        assert!((50..=51).contains(&late), "{late}");
        let (f, little) = shard(Shed::Payload, 10);
        assert_eq!(f.totals.client.packets, 200);
        assert!(little <= 1, "it is followed, only its payload is not read: {little}");
    }
}
