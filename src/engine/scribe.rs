//! Writes the records of flows: of those that are over, that rest, or that a live capture is asked about.

use super::talk::{Rest, Talk};
use crate::collect::{self, Share, Sums};
use crate::flow::{AtRest, Entry, Gone, State};
use crate::model::flow::{Closed, Detail, Flow, FlowId, FlowRecord, Outcome, Stage, TcpRecord};
use crate::model::pace::Pace;
use crate::model::pack::Writer;
use crate::model::side::PerSide;

/// See the module.
#[derive(Default)]
pub(super) struct Scribe {
    /// Index of the source.
    pub(super) source: u32,
    /// Lends its room.
    writer: Writer,
    /// The same for what is in no record.
    connection: Writer,
    /// What all records together come to.
    pub(super) sums: Sums,
}

impl Scribe {
    /// For the flows of this source.
    #[cfg(feature = "live")]
    pub(super) fn of(source: u32) -> Self {
        Self { source, ..Self::default() }
    }

    /// Keeps the connection and the ladder in fewer bytes until the next packet: a flood leaves hundreds of thousands of flows that will never be
    /// heard of again. Of SYNs that nobody answered there is a record then.
    pub(super) fn doze(&mut self, entry: &mut Entry<Talk>) -> Option<(FlowRecord, Rest)> {
        if !entry.state.dawn.is_empty() {
            return self.rest(entry);
        }
        if entry.state.asleep.is_none() {
            entry.state.doze(&mut self.writer);
        }
        None
    }

    /// Writes the record of a connection of which hardly anything will come any more, and what it takes to go on with it. If it is over, nobody
    /// listens from now on.
    pub(super) fn rest(&mut self, entry: &mut Entry<Talk>) -> Option<(FlowRecord, Rest)> {
        let over = entry.finished();
        let talk = &mut entry.state;
        talk.rouse();
        talk.rise(entry.client, entry.server);
        let pace = talk.take_pace();
        let conversation = talk.tcp.take()?;
        let app = if over { talk.dismiss() } else { None };
        let owner = talk.owner.take();
        self.connection.clear();
        let tcp = conversation.rest(over, &mut self.connection);
        let mut record = self.flow(entry, Some(tcp), pace);
        record.notes.shrink();
        (record.app, record.owner) = (app, owner);
        let share = self.finish(&mut record);
        Some((record, Rest::new(&share, self.connection.bytes(), &mut self.writer)))
    }

    /// For a flow that has just been heard of again: as if it had been at rest.
    pub(super) fn let_rest(&mut self, entry: &mut Entry<Talk>) {
        let listed = entry.state.listed;
        if let Some((record, rest)) = self.rest(entry) {
            (_, entry.state) = Talk::wake(record, rest);
        }
        entry.state.listed = listed;
    }

    /// The record of a flow that left the table.
    pub(super) fn close(&mut self, gone: Gone<Talk>, closed: Closed) -> FlowRecord {
        match gone {
            Gone::Awake(entry) => self.record(*entry, closed, None),
            Gone::AtRest(resting) => {
                let AtRest { mut record, rest, .. } = *resting;
                record.closed = closed;
                self.sums.add(&rest.share(), record.owner.is_some());
                record
            }
        }
    }

    /// The record of a flow, folded. `app` is the protocol, if nobody listens any more who could say.
    pub(super) fn record(&mut self, mut entry: Entry<Talk>, closed: Closed, app: Option<&'static str>) -> FlowRecord {
        let talk = &mut entry.state;
        talk.rouse();
        talk.rise(entry.client, entry.server);
        let app = talk.dismiss().or(app);
        let owner = talk.owner.take();
        let mut record = self.open(&mut entry);
        record.notes.shrink();
        (record.app, record.owner, record.closed) = (app, owner, closed);
        let share = self.finish(&mut record);
        self.sums.add(&share, record.owner.is_some());
        record
    }

    /// Reads off an open record what is only to be had there, and folds it.
    fn finish(&mut self, record: &mut FlowRecord) -> Share {
        collect::ripen(record);
        let share = Share::of(record);
        record.fold(&mut self.writer);
        share
    }

    /// The record of a flow that is awake.
    fn open(&self, entry: &mut Entry<Talk>) -> FlowRecord {
        let talk = &mut entry.state;
        let pace = talk.take_pace();
        let tcp = talk.tcp.take().map(|c| c.close());
        self.flow(entry, tcp, pace)
    }

    /// The record of a flow with what TCP said in it. What else was kept of the flow goes into it.
    fn flow(&self, entry: &mut Entry<Talk>, tcp: Option<Box<TcpRecord>>, pace: PerSide<Option<Box<Pace>>>) -> FlowRecord {
        let talk = &mut entry.state;
        let detail =
            Detail { totals: entry.totals, tcp, ladder: std::mem::take(&mut talk.ladder).close(), icmp: std::mem::take(&mut talk.icmp) };
        FlowRecord::from(Flow {
            id: FlowId { source: self.source, frame: entry.first.frame },
            proto: entry.key.proto,
            client: entry.client,
            server: entry.server,
            role_basis: entry.basis,
            first: entry.first,
            last: entry.last,
            detail: detail.into(),
            app: None,
            pace,
            notes: std::mem::take(&mut talk.notes),
            owner: None,
            closed: Closed::CaptureEnd,
            outcome: Outcome::Unknown,
            stage: Stage::None,
            later: None,
            nearest: None,
        })
    }
}
