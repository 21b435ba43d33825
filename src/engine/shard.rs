//! A shard: it owns the flows it was dealt, and walks each frame through packet → flow → stream → inspect.

use super::glance::Glancer;
use super::reader::Hands;
use super::{ShardSummary, ToCollector, ToShard};
use crate::collect::{self, Share, Sums};
use crate::flow::{Bounds, Entry, Table};
use crate::inspect::{Appetite, Desk};
use crate::model::event::{Seen, StreamEvent};
use crate::model::flow::{Brief, Closed, Detail, Flow, FlowId, FlowRecord, IcmpSeen, Moment, Outcome, Stage, TcpRecord};
use crate::model::frame::{Batch, FrameRef};
use crate::model::key::{Endpoint, FlowKey, Proto};
use crate::model::note::{Notes, wire_text};
use crate::model::oddity::Oddity;
use crate::model::pace::Pace;
use crate::model::pack::{Pack, Reader, Writer};
use crate::model::packet::{Body, Datagram, Icmp, Packet};
use crate::model::side::{PerSide, Side};
use crate::model::time::Time;
use crate::packet;
use crate::stream::{Conversation, Dawn, LadderBook, Pacer};
use crossbeam_channel::{Receiver, Sender};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Records handed to the collector at a time.
const RECORDS: usize = 256;
/// Most ICMP errors kept per flow.
const ICMP_MAX: usize = 4;

/// What a shard keeps for one flow besides the table's entry.
#[derive(Default)]
pub(super) struct Talk {
    /// A live capture has it on its list of flows that changed.
    #[cfg_attr(not(feature = "live"), allow(dead_code))]
    pub(super) listed: bool,
    tcp: Option<Box<Conversation>>,
    /// What there is of it before there is a connection.
    dawn: Dawn,
    ladder: LadderBook,
    desk: Option<Desk>,
    deaf: bool,
    notes: Notes,
    icmp: Vec<IcmpSeen>,
    owner: Option<Box<str>>,
    /// The connection and the ladder of a flow at which nothing happens; both are empty meanwhile.
    asleep: Option<Box<Asleep>>,
    /// What each side sent in datagrams. On its own: most flows of a flood of SYNs have none.
    datagrams: Option<Box<PerSide<Datagrams>>>,
}

/// See [`Scribe::doze`].
struct Asleep {
    bytes: Box<[u8]>,
    pacer: PerSide<Option<Box<Pacer>>>,
    /// The record of a flow that was over when it fell asleep, but for what was noted of it: `bytes` has what the record has not.
    laid: Option<(FlowRecord, Share)>,
}

/// What a side sent in datagrams.
#[derive(Clone, Default)]
struct Datagrams {
    first: Option<Time>,
    packets: u32,
    bytes: u64,
    /// Their pace, once there were enough of them.
    pacer: Option<Box<Pacer>>,
}

pub(super) struct Shard<'a> {
    table: Table<Talk>,
    out: &'a Sender<ToCollector>,
    scribe: Scribe,
    ready: Vec<FlowRecord>,
    summary: ShardSummary,
    latest: Time,
    live: Option<Glancer<'a>>,
}

/// Works on a thread of its own until nothing comes any more.
pub(super) fn run(work: &Receiver<ToShard>, out: &Sender<ToCollector>, max_flows: usize, live: Option<Glancer<'_>>) {
    let mut shard = Shard::new(out, max_flows, live);
    for work in work {
        shard.take(work);
    }
}

/// The only shard, where the reader is: what was just read is at hand, and no other processor has to fetch it.
impl Hands for RefCell<Shard<'_>> {
    fn hand(&self, work: ToShard) -> bool {
        self.borrow_mut().take(work);
        true
    }
}

impl<'a> Shard<'a> {
    pub(super) fn new(out: &'a Sender<ToCollector>, max_flows: usize, live: Option<Glancer<'a>>) -> Self {
        let mut table = Table::new(Bounds { flows: max_flows });
        if live.is_none() {
            // What a live capture shows of open flows it reads from them as they are.
            table.let_doze();
        }
        Self {
            table,
            out,
            scribe: Scribe::default(),
            ready: Vec::new(),
            summary: ShardSummary::default(),
            latest: Time::from_nanos(i64::MIN),
            live,
        }
    }
}

impl Shard<'_> {
    fn take(&mut self, work: ToShard) {
        match work {
            ToShard::Frames(batch) => self.batch(&batch),
            ToShard::SourceEnd => self.source_end(),
            ToShard::Glance { now } => self.glance(now),
        }
    }

    fn batch(&mut self, batch: &Batch) {
        // Which frame is at work, and in which slot: known also when a bug unwinds out of the loop.
        let at = Cell::new(0usize);
        let slot = Cell::new(usize::MAX);
        while at.get() < batch.frames.len() {
            let work = catch_unwind(AssertUnwindSafe(|| {
                while let Some(frame) = batch.frames.get(at.get()) {
                    slot.set(usize::MAX);
                    self.frame(batch, frame, &slot);
                    at.set(at.get() + 1);
                }
            }));
            let Err(panic) = work else { break };
            if cfg!(debug_assertions) {
                resume_unwind(panic);
            }
            let frame = batch.frames.get(at.get()).map_or(0, |f| f.head.number.0);
            self.summary.panics.push(frame);
            self.count(Oddity::InternalPanic);
            self.drop_flow(slot.get());
            at.set(at.get() + 1);
        }
        let (table, ready, scribe, latest) = (&mut self.table, &mut self.ready, &mut self.scribe, self.latest);
        table.expire(latest, &mut |e, why| ready.push(scribe.record(e, why, None)));
        table.doze(latest, &mut |e| scribe.doze(e));
        if self.ready.len() >= RECORDS {
            self.send();
        }
        if let Some(live) = &mut self.live {
            live.batch_done(batch.frames.len() as u64);
            self.table.bound(live.flows());
        }
    }

    /// A live capture wants to know how things stand: flows that ended, and those still open that changed.
    fn glance(&mut self, now: Option<Time>) {
        if let Some(now) = now {
            // Where nobody speaks any more, no packet says that the time of a flow is up.
            let (ready, scribe) = (&mut self.ready, &mut self.scribe);
            self.table.expire(now, &mut |e, why| ready.push(scribe.record(e, why, None)));
        }
        self.send();
        let evicted = self.table.take_evicted();
        self.summary.evicted += evicted;
        let Some(live) = &mut self.live else { return };
        let open = live.open(&mut self.table, self.scribe.source, evicted);
        let _ = self.out.send(ToCollector::Glanced { open });
    }

    /// A flow whose analysis failed leaves the table; what is known of it is still told.
    fn drop_flow(&mut self, slot: usize) {
        let (ready, scribe) = (&mut self.ready, &mut self.scribe);
        self.table.close_slot(slot, Closed::Internal, &mut |mut e, why| {
            e.state.desk = None;
            ready.push(scribe.record(e, why, None));
        });
    }

    fn frame(&mut self, batch: &Batch, frame: &FrameRef, slot: &Cell<usize>) {
        let bytes = batch.bytes(frame);
        let packet = match packet::read(frame, bytes) {
            Ok(packet) => packet,
            Err(oddity) => return self.count(oddity),
        };
        self.summary.decoded += 1;
        self.latest = self.latest.max(packet.ts);
        if let Body::Icmp(icmp) = &packet.body
            && self.icmp_error(&packet, icmp, frame, bytes)
        {
            return;
        }
        let (ready, scribe) = (&mut self.ready, &mut self.scribe);
        let placed = self.table.place(&packet, frame.len, &mut |e, why| ready.push(scribe.record(e, why, None)));
        slot.set(placed.slot);
        let Some(entry) = self.table.get_mut(placed.slot) else { return };
        let ports = (entry.client.port, entry.server.port);
        let talk = &mut entry.state;
        if placed.fresh {
            talk.desk = match packet.body {
                Body::Tcp(_) => Some(Desk::tcp(ports.0, ports.1)),
                Body::Udp(_) => Some(Desk::udp(ports.0, ports.1)),
                _ => None,
            };
        }
        if let Some(live) = &self.live {
            live.keep(entry, frame, bytes);
        }
        if let Some(live) = &mut self.live
            && !live.may_follow(placed.slot, entry, &packet)
        {
            return;
        }
        let talk = &mut entry.state;
        if talk.owner.is_none() {
            // Often only known from the second packet on: the first waits for nobody.
            talk.owner = packet.owner.map(|o| wire_text(o, 64)).or_else(|| batch.owner(&frame.head).map(Into::into));
        }
        talk.take(placed.side, &packet);
    }

    /// An ICMP error belongs to the flow it quotes, if that flow is known.
    fn icmp_error(&mut self, packet: &Packet<'_>, icmp: &Icmp<'_>, frame: &FrameRef, bytes: &[u8]) -> bool {
        let Some(quoted) = icmp.quoted else { return false };
        let key = FlowKey::of(quoted.src, quoted.dst, quoted.proto);
        let Some(entry) = self.table.find(&key) else { return false };
        if let Some(live) = &self.live {
            live.keep(entry, frame, bytes);
        }
        let about = if quoted.src == entry.client { Side::Client } else { Side::Server };
        entry.state.wake();
        if entry.state.icmp.len() < ICMP_MAX {
            entry.state.icmp.push(IcmpSeen {
                at: Moment { frame: packet.frame, ts: packet.ts },
                from: packet.src.ip,
                about,
                version: if packet.ip.proto == Proto::ICMP6.0 { 6 } else { 4 },
                kind: icmp.kind,
                code: icmp.code,
                ttl: packet.ip.ttl,
            });
        }
        true
    }

    fn source_end(&mut self) {
        let (table, ready, scribe) = (&mut self.table, &mut self.ready, &mut self.scribe);
        table.drain(&mut |e, why| ready.push(scribe.record(e, why, None)));
        self.send();
        self.summary.evicted += self.table.take_evicted();
        self.summary.sums = std::mem::take(&mut self.scribe.sums);
        let summary = std::mem::take(&mut self.summary);
        // The collector lives as long as any shard; if it is gone, so is the run.
        let _ = self.out.send(ToCollector::ShardDone { source: self.scribe.source, summary });
        self.scribe.source += 1;
        self.latest = Time::from_nanos(i64::MIN);
    }

    fn send(&mut self) {
        if !self.ready.is_empty() {
            let flows = std::mem::take(&mut self.ready);
            let _ = self.out.send(ToCollector::Flows { source: self.scribe.source, flows });
        }
    }

    fn count(&mut self, oddity: Oddity) {
        *self.summary.oddities.entry(oddity).or_default() += 1;
        if let Some(live) = &mut self.live {
            live.oddity(oddity);
        }
    }
}

impl Talk {
    fn wake(&mut self) {
        let Some(asleep) = self.asleep.take() else { return };
        let Asleep { bytes, pacer, laid } = *asleep;
        let mut r = Reader::new(&bytes);
        if let Some((record, _)) = laid {
            let mut detail = record.into_detail();
            self.ladder = LadderBook::reopen(detail.ladder);
            self.icmp = std::mem::take(&mut detail.icmp);
            self.tcp = detail.tcp.map(|tcp| Box::new(Conversation::go_on(tcp, &mut r, pacer)));
            return;
        }
        self.ladder = Pack::unpack(&mut r);
        if bool::unpack(&mut r) {
            self.tcp = Some(Box::new(Conversation::wake(&mut r, pacer)));
        }
    }

    /// Makes a connection of what was kept of one.
    fn rise(&mut self, client: Endpoint, server: Endpoint) {
        if self.dawn.is_empty() {
            return;
        }
        let ladder = &mut self.ladder;
        let mut conversation = self.dawn.rise(client, server, &mut |brief| ladder.add(brief));
        if self.deaf {
            conversation.stop_listening();
        }
        self.tcp = Some(conversation);
    }

    fn take(&mut self, side: Side, packet: &Packet<'_>) {
        self.wake();
        let seen = Seen { frame: packet.frame, ts: packet.ts, ttl: packet.ip.ttl };
        match &packet.body {
            Body::Tcp(seg) => {
                if self.tcp.is_none() && self.dawn.keeps(side, packet, seg) {
                    return;
                }
                let (client, server) = if side == Side::Client { (packet.src, packet.dst) } else { (packet.dst, packet.src) };
                self.rise(client, server);
                let conversation = self.tcp.get_or_insert_with(Box::default);
                let (desk, notes) = (&mut self.desk, &mut self.notes);
                let mut full = false;
                let brief = conversation.feed(side, packet, seg, &mut |side, seen, event| {
                    if let Some(desk) = desk
                        && !full
                    {
                        full = desk.feed(side, seen, event, notes) == Appetite::Full;
                    }
                });
                if full {
                    self.stop_inspecting();
                }
                self.ladder.add(brief);
            }
            Body::Udp(datagram) => {
                self.ladder.add(datagram_brief(side, packet, datagram.len));
                self.keep_pace(side, packet, datagram);
                if self.deaf {
                    return;
                }
                let event = StreamEvent::Datagram { bytes: datagram.payload, len: datagram.len };
                if let Some(desk) = &mut self.desk
                    && desk.feed(side, &seen, &event, &mut self.notes) == Appetite::Full
                {
                    self.stop_inspecting();
                }
            }
            Body::Icmp(_) | Body::Other(_) => self.ladder.add(datagram_brief(side, packet, 0)),
        }
    }

    fn keep_pace(&mut self, side: Side, packet: &Packet<'_>, datagram: &Datagram<'_>) {
        let datagrams = self.datagrams.get_or_insert_default();
        if let (Some(pacer), Some(first)) = (&mut datagrams[side.peer()].pacer, datagram.payload.first()) {
            pacer.reply(packet.ts, *first, datagram.len as usize);
        }
        let sent = &mut datagrams[side];
        let began = *sent.first.get_or_insert(packet.ts);
        sent.packets = sent.packets.saturating_add(1);
        sent.bytes = sent.bytes.saturating_add(u64::from(packet.ip.total_len));
        if sent.pacer.is_none() && Pacer::wanted(sent.packets, sent.bytes) {
            let before = sent.bytes.saturating_sub(u64::from(packet.ip.total_len));
            sent.pacer = Some(Pacer::new(began, before, packet.ts));
        }
        if let Some(pacer) = &mut sent.pacer {
            pacer.datagram(packet.ts, packet.ip.total_len);
        }
    }

    /// The record of a flow that goes on: everything known but what is half read.
    #[cfg(feature = "live")]
    pub(super) fn so_far(&self) -> Self {
        Self {
            listed: false,
            tcp: self.tcp.clone(),
            dawn: self.dawn.clone(),
            ladder: self.ladder.clone(),
            desk: None,
            deaf: self.deaf,
            notes: self.notes.clone(),
            icmp: self.icmp.clone(),
            owner: self.owner.clone(),
            asleep: None,
            datagrams: self.datagrams.clone(),
        }
    }

    /// Nothing was noted of it.
    #[cfg(feature = "live")]
    pub(super) fn is_bare(&self) -> bool {
        self.notes.list.is_empty() && self.icmp.is_empty()
    }

    /// The protocol recognised so far.
    #[cfg(feature = "live")]
    pub(super) fn app(&self) -> Option<&'static str> {
        self.desk.as_ref().and_then(Desk::app)
    }

    /// Bytes kept until others come.
    #[cfg(feature = "live")]
    pub(super) fn buffered(&self) -> u64 {
        self.tcp.as_ref().map_or(0, |c| c.buffered())
    }

    /// Whether payload is still read.
    #[cfg(feature = "live")]
    pub(super) const fn listens(&self) -> bool {
        !self.deaf
    }

    pub(super) fn stop_inspecting(&mut self) {
        self.deaf = true;
        if let Some(c) = &mut self.tcp {
            c.stop_listening();
        }
    }
}

fn datagram_brief(side: Side, packet: &Packet<'_>, len: u32) -> Brief {
    let ip = &packet.ip;
    Brief {
        ttl: ip.ttl,
        tos: ip.tos,
        ip_id: ip.id,
        df: ip.df,
        ip_len: u16::try_from(ip.total_len).unwrap_or(u16::MAX),
        flow_label: ip.flow_label,
        ..Brief::datagram(Moment { frame: packet.frame, ts: packet.ts }, side, len)
    }
}

/// Writes the records of flows that are over.
#[derive(Default)]
pub(super) struct Scribe {
    /// Index of the source.
    source: u32,
    /// Lends its room.
    writer: Writer,
    /// What all records together come to.
    sums: Sums,
}

impl Scribe {
    /// For the flows of this source.
    #[cfg(feature = "live")]
    pub(super) fn of(source: u32) -> Self {
        Self { source, ..Self::default() }
    }

    /// Keeps the connection and the ladder in a fifth of their bytes until the next packet: a flood leaves hundreds of thousands of flows that
    /// will never be heard of again. If it is over its record is written at once, and rarely taken apart again.
    fn doze(&mut self, entry: &mut Entry<Talk>) {
        let talk = &mut entry.state;
        // What is not yet a connection is small as it is.
        if !talk.dawn.is_empty() || talk.asleep.is_some() {
            return;
        }
        self.writer.clear();
        if entry.finished() && entry.state.tcp.as_ref().is_some_and(|c| c.is_settled()) {
            return self.lay(entry);
        }
        let talk = &mut entry.state;
        talk.ladder.pack(&mut self.writer);
        talk.ladder = LadderBook::default();
        let tcp = talk.tcp.take();
        tcp.is_some().pack(&mut self.writer);
        let pacer = tcp.map(|c| c.doze(&mut self.writer)).unwrap_or_default();
        talk.asleep = Some(Box::new(Asleep { bytes: self.writer.bytes().into(), pacer, laid: None }));
    }

    /// Writes the record of a flow that is over, and keeps what it takes to go on with it.
    fn lay(&mut self, entry: &mut Entry<Talk>) {
        let Some(conversation) = entry.state.tcp.take() else { return };
        let (tcp, pacer) = conversation.set_aside(&mut self.writer);
        let bytes = self.writer.bytes().into();
        let mut record = self.flow(entry, Some(tcp), PerSide::default());
        let share = self.finish(&mut record);
        // Whoever listens may still have something to note.
        entry.state.notes = std::mem::take(&mut record.notes);
        entry.state.asleep = Some(Box::new(Asleep { bytes, pacer, laid: Some((record, share)) }));
    }

    /// The record of a flow, folded. `app` is the protocol, if nobody listens any more who could say.
    pub(super) fn record(&mut self, mut entry: Entry<Talk>, closed: Closed, mut app: Option<&'static str>) -> FlowRecord {
        let talk = &mut entry.state;
        let laid = talk.asleep.as_mut().and_then(|a| a.laid.take());
        if laid.is_none() {
            talk.wake();
            talk.rise(entry.client, entry.server);
        }
        if let Some(mut desk) = talk.desk.take() {
            desk.finish(&mut talk.notes);
            app = desk.app();
        }
        let (mut record, share) = match laid {
            Some((mut record, share)) => {
                record.notes = std::mem::take(&mut talk.notes);
                (record, Some(share))
            }
            None => (self.open(&mut entry), None),
        };
        record.notes.shrink();
        (record.app, record.owner, record.closed) = (app, entry.state.owner.take(), closed);
        let share = share.unwrap_or_else(|| self.finish(&mut record));
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
        let close = |d: Datagrams| d.pacer.map(|p| p.close());
        let pace = match (&mut talk.tcp, talk.datagrams.take()) {
            (Some(c), _) => c.take_pace(),
            (None, Some(sent)) => PerSide { client: close(sent.client), server: close(sent.server) },
            (None, None) => PerSide::default(),
        };
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
