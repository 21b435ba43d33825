//! What a shard does besides its work when the capture is live: it remembers which flows changed, tells how they stand when asked, and
//! sheds work under overload (`shed` says in which order).

use super::shard::{self, Talk};
use super::shed;
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
    let app = entry.state.app();
    let mut record = shard::record(entry.copy_with(Talk::so_far), Closed::CaptureEnd, source);
    record.app = app;
    record
}
