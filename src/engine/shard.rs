//! A shard: it owns the flows it was dealt, and walks each frame through packet → flow → stream → inspect.

use super::glance::Glancer;
use super::reader::Hands;
use super::scribe::Scribe;
use super::talk::Talk;
use super::{ShardSummary, ToCollector, ToShard};
use crate::flow::{Bounds, Gone, Table};
use crate::inspect::Desk;
use crate::model::flow::{Closed, FlowRecord, IcmpSeen, Moment};
use crate::model::frame::{Batch, FrameRef};
use crate::model::key::{FlowKey, Proto};
use crate::model::note::wire_text;
use crate::model::oddity::Oddity;
use crate::model::packet::{Body, Icmp, Packet};
use crate::model::side::Side;
use crate::model::time::Time;
use crate::packet;
use crossbeam_channel::{Receiver, Sender};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Records handed to the collector at a time.
const RECORDS: usize = 256;
/// Most ICMP errors kept per flow.
const ICMP_MAX: usize = 4;

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
        table.expire(latest, &mut |gone, why| ready.push(scribe.close(gone, why)));
        table.doze(latest, &mut |e| scribe.doze(e));
        table.rest(latest, &mut |e| scribe.rest(e));
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
            self.table.expire(now, &mut |gone, why| ready.push(scribe.close(gone, why)));
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
        self.table.close_slot(slot, Closed::Internal, &mut |mut gone, why| {
            if let Gone::Awake(e) = &mut gone {
                e.state.desk = None;
            }
            ready.push(scribe.close(gone, why));
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
        let placed = self.table.place(&packet, frame.len, &mut |gone, why| ready.push(scribe.close(gone, why)));
        slot.set(placed.slot);
        let Some(entry) = self.table.get_mut(placed.slot) else { return };
        if placed.late {
            scribe.let_rest(entry);
        }
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
        let Some(entry) = self.table.find(&key, packet.ts) else { return false };
        if let Some(live) = &self.live {
            live.keep(entry, frame, bytes);
        }
        let about = if quoted.src == entry.client { Side::Client } else { Side::Server };
        entry.state.rouse();
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
        table.drain(&mut |gone, why| ready.push(scribe.close(gone, why)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::frame::{FrameHead, FrameNo, LinkType, Place};
    use crate::model::packet::TcpFlags;
    use std::sync::Arc;

    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;
    const FIN: u8 = 1;

    /// A segment of the connection from this port of 192.0.2.1 to port 80 of 192.0.2.2: when, from whom, flags, positions, payload.
    type Line<'a> = (u16, i64, Side, u8, u32, u32, &'a [u8]);

    /// These segments, so many to a batch.
    fn batches(lines: &[Line<'_>], size: usize) -> Vec<Batch> {
        let (mut bytes, mut frames) = (Vec::new(), Vec::new());
        for (n, (port, ms, side, flags, seq, ack, payload)) in (1u64..).zip(lines) {
            let (from, to) = if *side == Side::Client { ((1, *port), (2, 80)) } else { ((2, 80), (1, *port)) };
            let total = 40 + payload.len() as u16;
            let mut one = vec![0x45, 0];
            one.extend(total.to_be_bytes());
            one.extend((n as u16).to_be_bytes());
            one.extend([0, 0, 64, 6, 0, 0, 192, 0, 2, from.0, 192, 0, 2, to.0]);
            one.extend(from.1.to_be_bytes().into_iter().chain(to.1.to_be_bytes()));
            one.extend(seq.to_be_bytes().into_iter().chain(ack.to_be_bytes()));
            one.extend([0x50, *flags, 0xfa, 0xf0, 0, 0, 0, 0]);
            one.extend(*payload);
            let ts = Time::from_nanos(1_700_000_000_000_000_000 + ms * 1_000_000);
            let head = FrameHead { number: FrameNo(n), ts, original: total.into(), link: LinkType::RAW, iface: 0, owner: 0 };
            frames.push(FrameRef { head, at: bytes.len(), len: total.into(), ip_at: 0, place: Place::Store });
            bytes.extend(one);
        }
        let store: Arc<Vec<u8>> = Arc::new(bytes);
        frames.chunks(size).map(|some| Batch { frames: some.to_vec(), ..Batch::over(store.clone()) }).collect()
    }

    /// The records a shard makes of them; between batches flows doze and come to rest.
    fn records(lines: &[Line<'_>], size: usize) -> Vec<FlowRecord> {
        let (out, told) = crossbeam_channel::unbounded();
        let mut shard = Shard::new(&out, 100, None);
        for batch in batches(lines, size) {
            shard.take(ToShard::Frames(batch));
        }
        shard.take(ToShard::SourceEnd);
        let mut all: Vec<FlowRecord> =
            told.try_iter().flat_map(|m| if let ToCollector::Flows { flows, .. } = m { flows } else { Vec::new() }).collect();
        all.sort_by_key(|f| f.id);
        all
    }

    /// A request answered with a hole in it, both sides' goodbyes, and what may still come after them.
    fn request<'a>(port: u16, at: i64, after: &[Line<'a>]) -> Vec<Line<'a>> {
        const C: Side = Side::Client;
        const S: Side = Side::Server;
        let lines: [Line<'a>; 10] = [
            (port, 0, C, SYN, 100, 0, b""),
            (port, 1_000, C, SYN, 100, 0, b""),
            (port, 1_020, S, SYN | ACK, 900, 101, b""),
            (port, 1_040, C, ACK, 101, 901, b""),
            (port, 1_041, C, ACK, 101, 901, b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"),
            (port, 1_060, S, ACK, 901, 138, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc"),
            (port, 1_065, S, ACK | FIN, 945, 138, b""),
            (port, 1_080, C, ACK, 138, 942, b""),
            (port, 1_081, C, ACK | FIN, 138, 942, b""),
            (port, 1_100, S, ACK, 946, 139, b""),
        ];
        lines.into_iter().chain(after.iter().copied()).map(|l| (l.0, l.1 + at, l.2, l.3, l.4, l.5, l.6)).collect()
    }

    #[test]
    fn what_comes_after_the_end_counts_the_same_whether_or_not_the_flow_was_at_rest() {
        const C: Side = Side::Client;
        const S: Side = Side::Server;
        let after: [Line<'_>; 4] = [
            (1, 9_000, S, ACK, 942, 139, b"def"),
            (1, 9_010, C, RST, 139, 0, b""),
            (1, 20_000, S, ACK, 901, 139, b"HTTP/1.1 403 No\r\n"),
            (1, 31_000, S, RST, 946, 0, b""),
        ];
        let mut lines = request(1, 0, &after);
        // SYNs nobody answers, at the times a stack repeats them, and one that is answered after all; and time that passes.
        lines.extend(
            [0, 1_000, 3_000, 7_000, 15_000].into_iter().flat_map(|ms| [(2, ms, C, SYN, 5, 0, &b""[..]), (3, ms, C, SYN, 5, 0, b"")]),
        );
        lines.extend([(3, 29_500, S, SYN | ACK, 7, 6, &b""[..]), (3, 29_600, C, ACK, 6, 8, b"GET / HTTP/1.1\r\nHost: late\r\n\r\n")]);
        lines.extend((0..80).map(|s| (4, s * 500, C, ACK, 1, 1, &b""[..])));
        lines.sort_by_key(|l| l.1);
        let told = |size| records(&lines, size).iter().map(|f| format!("{f:?}")).collect::<Vec<_>>();
        let at_once = told(lines.len());
        assert_eq!(at_once.len(), 4);
        for size in [1, 2, 3, 7] {
            assert_eq!(told(size), at_once, "{size} frames to a batch");
        }
    }

    #[test]
    fn what_was_missing_at_the_end_is_missing_for_good_and_nobody_reads_on() {
        const S: Side = Side::Server;
        let hole = [(1, 9_000, S, ACK, 942, 139, &b"def"[..]), (1, 9_001, S, ACK, 901, 139, b"HTTP/1.1 403 No\r\n")];
        let [soon, late] = [1_200, 9_000].map(|ms| {
            let lines = request(1, 0, &hole.map(|l| (l.0, l.1 - 9_000 + ms, l.2, l.3, l.4, l.5, l.6)));
            let f = records(&lines, 1).remove(0);
            let tcp = f.tcp.as_ref().unwrap();
            let flags = f.ladder.iter().last().map(|p| p.flags);
            (tcp.side.server.filled, tcp.side.server.missing + tcp.side.server.capture_lost, tcp.conflicts.len(), flags)
        });
        let ack = Some(TcpFlags(u16::from(ACK)));
        assert_eq!(soon, (1, 0, 1, ack));
        assert_eq!(late, (0, 3, 0, ack), "three bytes were never seen");
    }
}
