//! A shard: it owns the flows it was dealt, and walks each frame through packet → flow → stream → inspect.

use super::glance::Glancer;
use super::{ShardSummary, ToCollector, ToShard};
use crate::flow::{Bounds, Entry, Table};
use crate::inspect::{Appetite, Desk};
use crate::model::event::{Seen, StreamEvent};
use crate::model::flow::{Brief, Closed, Detail, Flow, FlowId, FlowRecord, Folded, IcmpSeen, Moment, Outcome, Stage};
use crate::model::frame::{Batch, FrameRef};
use crate::model::key::{FlowKey, Proto};
use crate::model::note::{Notes, wire_text};
use crate::model::oddity::Oddity;
use crate::model::pack::{Pack, Reader, Writer};
use crate::model::packet::{Body, Icmp, Packet, TcpFlags};
use crate::model::seq::{Pos, Seq};
use crate::model::side::{PerSide, Side};
use crate::model::time::Time;
use crate::packet;
use crate::stream::{Conversation, LadderBook, Pacer};
use crossbeam_channel::{Receiver, Sender};
use std::cell::Cell;
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

/// See [`Talk::doze`].
struct Asleep {
    bytes: Box<[u8]>,
    pacer: PerSide<Option<Box<Pacer>>>,
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

struct Shard<'a> {
    table: Table<Talk>,
    out: &'a Sender<ToCollector>,
    source: u32,
    ready: Vec<FlowRecord>,
    summary: ShardSummary,
    latest: Time,
    live: Option<Glancer<'a>>,
    writer: Writer,
}

pub(super) fn run(frames: &Receiver<ToShard>, out: &Sender<ToCollector>, max_flows: usize, live: Option<Glancer<'_>>) {
    let mut shard = Shard {
        table: Table::new(Bounds { flows: max_flows }),
        out,
        source: 0,
        ready: Vec::new(),
        summary: ShardSummary::default(),
        latest: Time::from_nanos(i64::MIN),
        live,
        writer: Writer::default(),
    };
    if shard.live.is_none() {
        // What a live capture shows of open flows it reads from them as they are.
        shard.table.let_doze();
    }
    for message in frames {
        match message {
            ToShard::Frames(batch) => shard.batch(&batch),
            ToShard::SourceEnd => shard.source_end(),
            ToShard::Glance { now } => shard.glance(now),
        }
    }
}

impl Shard<'_> {
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
        let (table, ready, writer, latest, source) = (&mut self.table, &mut self.ready, &mut self.writer, self.latest, self.source);
        table.expire(latest, &mut |e, why| ready.push(record(e, why, source, writer)));
        table.doze(latest, &mut |e| e.state.doze(writer));
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
            let (ready, writer, source) = (&mut self.ready, &mut self.writer, self.source);
            self.table.expire(now, &mut |e, why| ready.push(record(e, why, source, writer)));
        }
        self.send();
        let evicted = self.table.take_evicted();
        self.summary.evicted += evicted;
        let Some(live) = &mut self.live else { return };
        let open = live.open(&mut self.table, self.source, evicted);
        let _ = self.out.send(ToCollector::Glanced { open });
    }

    /// A flow whose analysis failed leaves the table; what is known of it is still told.
    fn drop_flow(&mut self, slot: usize) {
        let (ready, writer, source) = (&mut self.ready, &mut self.writer, self.source);
        self.table.close_slot(slot, Closed::Internal, &mut |mut e, why| {
            e.state.desk = None;
            ready.push(record(e, why, source, writer));
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
        let (ready, writer, source) = (&mut self.ready, &mut self.writer, self.source);
        let placed = self.table.place(&packet, frame.len, &mut |e, why| ready.push(record(e, why, source, writer)));
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
        let (table, ready, writer, source) = (&mut self.table, &mut self.ready, &mut self.writer, self.source);
        table.drain(&mut |e, why| ready.push(record(e, why, source, writer)));
        self.send();
        self.summary.evicted += self.table.take_evicted();
        let summary = std::mem::take(&mut self.summary);
        // The collector lives as long as any shard; if it is gone, so is the run.
        let _ = self.out.send(ToCollector::ShardDone { source: self.source, summary });
        self.source += 1;
        self.latest = Time::from_nanos(i64::MIN);
    }

    fn send(&mut self) {
        if !self.ready.is_empty() {
            let flows = std::mem::take(&mut self.ready);
            let _ = self.out.send(ToCollector::Flows { source: self.source, flows });
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
    /// Keeps the connection and the ladder in a fifth of their bytes until the next packet: a flood leaves hundreds of thousands of flows that
    /// will never be heard of again.
    fn doze(&mut self, w: &mut Writer) {
        self.wake();
        w.clear();
        self.ladder.pack(w);
        self.ladder = LadderBook::default();
        let tcp = self.tcp.take();
        tcp.is_some().pack(w);
        let pacer = tcp.map(|c| c.doze(w)).unwrap_or_default();
        self.asleep = Some(Box::new(Asleep { bytes: w.bytes().into(), pacer }));
    }

    fn wake(&mut self) {
        let Some(asleep) = self.asleep.take() else { return };
        let mut r = Reader::new(&asleep.bytes);
        self.ladder = Pack::unpack(&mut r);
        if bool::unpack(&mut r) {
            self.tcp = Some(Box::new(Conversation::wake(&mut r, asleep.pacer)));
        }
    }

    fn take(&mut self, side: Side, packet: &Packet<'_>) {
        self.wake();
        let seen = Seen { frame: packet.frame, ts: packet.ts, ttl: packet.ip.ttl };
        match &packet.body {
            Body::Tcp(seg) => {
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
                self.keep_pace(side, packet);
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

    fn keep_pace(&mut self, side: Side, packet: &Packet<'_>) {
        let sent = &mut self.datagrams.get_or_insert_default()[side];
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
        frame: packet.frame,
        ts: packet.ts,
        side,
        flags: TcpFlags::default(),
        seq: Pos::default(),
        ack: Pos::default(),
        seq_raw: Seq::default(),
        ack_raw: Seq::default(),
        len,
        window: 0,
        ttl: ip.ttl,
        tos: ip.tos,
        ip_id: ip.id,
        df: ip.df,
        options: 0,
        ip_len: u16::try_from(ip.total_len).unwrap_or(u16::MAX),
        flow_label: ip.flow_label,
        marks: 0,
    }
}

pub(super) fn record(entry: Entry<Talk>, closed: Closed, source: u32, writer: &mut Writer) -> FlowRecord {
    let mut talk = entry.state;
    talk.wake();
    let mut app = None;
    if let Some(mut desk) = talk.desk.take() {
        desk.finish(&mut talk.notes);
        app = desk.app();
    }
    let close = |d: Datagrams| d.pacer.map(|p| p.close());
    let pace = match (&mut talk.tcp, talk.datagrams.take()) {
        (Some(c), _) => c.take_pace(),
        (None, Some(sent)) => PerSide { client: close(sent.client), server: close(sent.server) },
        (None, None) => PerSide::default(),
    };
    let detail = Detail { totals: entry.totals, tcp: talk.tcp.map(|c| c.close()), ladder: talk.ladder.close(), icmp: talk.icmp };
    FlowRecord::from(Flow {
        id: FlowId { source, frame: entry.first.frame },
        proto: entry.key.proto,
        client: entry.client,
        server: entry.server,
        role_basis: entry.basis,
        first: entry.first,
        last: entry.last,
        detail: Folded::of(&detail, writer),
        app,
        pace,
        notes: talk.notes,
        owner: talk.owner,
        closed,
        outcome: Outcome::Unknown,
        stage: Stage::None,
        nearest: None,
    })
}
