//! The flows that a live capture keeps in view: those still open, and those that ended and may yet serve as evidence or control.
//!
//! The window is bounded. When it is full, what was told already and says least goes first: flows of which only one side was heard and
//! nothing was noted, then healthy ones, then the oldest.

use crate::collect::Past;
use crate::model::flow::{FlowId, FlowRecord, Outcome};
use crate::model::label::Label;
use crate::model::story::Story;
use crate::model::time::{Span, Time};
use hashbrown::HashMap;

/// Nothing that comes out about a flow depends on more than this after its last packet (`collect::settle` waits 10 s for a stall).
const SETTLED: Span = Span::from_secs(12);

struct Kept {
    /// None while it is lent.
    record: Option<FlowRecord>,
    open: bool,
    told: bool,
}

/// The window.
pub(super) struct Window {
    kept: HashMap<FlowId, Kept>,
    /// Most flows kept after a judgement.
    max: usize,
    /// Planned for; `max` may be less while memory is short.
    planned: usize,
    /// What those that left had come to.
    pub(super) past: Past,
    /// Records for which there was no room at all.
    overflow: Vec<FlowRecord>,
}

/// How much a flow is worth keeping, once it was told.
fn worth(f: &FlowRecord, label: Option<&Label>) -> u8 {
    let heard = f.totals.client.packets > 0 && f.totals.server.packets > 0;
    let bare = f.notes.list.is_empty() && f.icmp.is_empty();
    match f.outcome {
        Outcome::Unknown if bare && label.is_none() => 0,
        _ if !heard && bare && label.is_none() => 1,
        Outcome::Unknown => 2,
        Outcome::Ok if label.is_none() => 3,
        Outcome::Ok => 4,
        _ => 5,
    }
}

impl Window {
    pub(super) fn new(max: usize) -> Self {
        Self { kept: HashMap::new(), max, planned: max, past: Past::default(), overflow: Vec::new() }
    }

    /// Memory has room for this percentage of what was planned.
    pub(super) fn squeeze(&mut self, percent: u64) {
        self.max = usize::try_from(self.planned as u64 * percent / 100).unwrap_or(self.planned).max(64);
    }

    /// Takes a flow that ended. `false`: there is no room; it waits in [`Self::take_overflow`].
    pub(super) fn closed(&mut self, record: FlowRecord) -> bool {
        if self.kept.len() >= self.max.saturating_mul(2) && !self.kept.contains_key(&record.id) {
            self.overflow.push(record);
            return false;
        }
        self.kept.insert(record.id, Kept { record: Some(record), open: false, told: false });
        true
    }

    /// Takes the state of a flow that goes on.
    pub(super) fn open(&mut self, record: FlowRecord) {
        let room = self.kept.len() < self.max;
        match self.kept.get_mut(&record.id) {
            // It ended while its description was on the way.
            Some(k) if !k.open => {}
            Some(k) => k.record = Some(record),
            None if room => {
                self.kept.insert(record.id, Kept { record: Some(record), open: true, told: false });
            }
            None => {}
        }
    }

    /// How many records wait that found no room.
    pub(super) fn overflowing(&self) -> usize {
        self.overflow.len()
    }

    /// Records that found no room: to be told at once, without kin.
    pub(super) fn take_overflow(&mut self) -> Vec<FlowRecord> {
        std::mem::take(&mut self.overflow)
    }

    /// Whether a flow is in view.
    pub(super) fn knows(&self, id: FlowId) -> bool {
        self.kept.contains_key(&id)
    }

    /// Lends all records to a judgement; [`Self::put_back`] brings them home.
    pub(super) fn lend(&mut self) -> Vec<FlowRecord> {
        let mut flows = Vec::with_capacity(self.kept.len());
        for k in self.kept.values_mut() {
            flows.extend(k.record.take());
        }
        flows
    }

    /// Flows of the story that are over and settled and were not told yet; they count as told from now on. At the `last` call all are.
    pub(super) fn take_over(&mut self, story: &Story, last: bool) -> Vec<usize> {
        let now = story.source.watched().unwrap_or(Time::from_nanos(0));
        let mut over = Vec::new();
        for (i, f) in story.flows.iter().enumerate() {
            let Some(k) = self.kept.get_mut(&f.id) else { continue };
            if !k.told && (last || (!k.open && now.since(f.last.ts) > SETTLED)) {
                k.told = true;
                over.push(i);
            }
        }
        over
    }

    /// Takes the records back, and lets go of what is over the bound: told ones, the least telling and oldest first.
    pub(super) fn put_back(&mut self, story: Story) {
        let excess = story.flows.len().saturating_sub(self.max);
        let mut leaving = hashbrown::HashSet::new();
        if excess > 0 {
            let mut order: Vec<(u8, FlowId)> = Vec::new();
            for (f, l) in story.flows.iter().zip(&story.labels) {
                if self.kept.get(&f.id).is_some_and(|k| k.told && !k.open) {
                    order.push((worth(f, l.as_ref()), f.id));
                }
            }
            order.sort_unstable();
            leaving.extend(order.into_iter().take(excess).map(|(_, id)| id));
        }
        for (record, label) in story.flows.into_iter().zip(story.labels) {
            if leaving.contains(&record.id) {
                self.past.add(&record, label.as_ref());
                self.kept.remove(&record.id);
            } else if let Some(k) = self.kept.get_mut(&record.id) {
                k.record = Some(record);
            }
        }
    }
}
