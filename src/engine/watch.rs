//! A live capture: the same rooms and shards as for files, with a reader that never waits for them, and a collector that judges while
//! packets still come.
//!
//! On every interval the reader asks each shard how things stand. The collector puts their answers into its window, judges the window as
//! if the capture ended there, tells the flows that are over and the findings that are new (`engine/ledger`), and hands out counters.
//! At the end the same is done once more with everything closed, so that findings and flows equal those of `analyze` on the same packets
//! as long as the window holds them all.

use super::collector::{self, Tally};
use super::glance::Glancer;
use super::ledger::{Change, Ledger};
use super::memory;
use super::pulse::{Clock, Hush, Stopwatch};
use super::reader::Dealer;
use super::window::Window;
use super::{Plan, RunError, ShardSummary, Tick, ToCollector, ToShard, shard, shed};
use crate::capture::live::{Live, Meter};
use crate::capture::{Fill, Source};
use crate::classify::Book;
use crate::collect;
use crate::model::board::{Board, Count};
use crate::model::flow::FlowRecord;
use crate::model::frame::Batch;
use crate::model::pulse::{Losses, Pulse, Shed, Stats};
use crate::model::shelf::Shelf;
use crate::model::source::SourceFacts;
use crate::model::story::{End, Story};
use crate::model::time::Span;
use crate::sink::Sink;
use crate::sink::keep::Keep;
use crossbeam_channel::{Receiver, Sender};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub use crate::capture::live::{LiveError, Opened, Options, open};

/// Memory a flow in the window needs on average, for turning a memory bound into a number.
const BYTES_PER_RECORD: u64 = 6 * 1024;
/// Most flows in the window: judging them takes a few tenths of a second on a small machine.
const WINDOW_MAX: u64 = 30_000;
/// Records without room in the window that are told at a time.
const OVERFLOW: usize = 4096;

/// What signals ask of a live capture.
#[derive(Clone, Default)]
pub struct Wishes {
    /// Say how things stand now (USR1).
    pub stats: Arc<AtomicBool>,
    /// Read the service files again (HUP).
    pub reload: Arc<AtomicBool>,
}

/// A live capture to run.
pub struct Watch {
    /// Open sockets, begun to be read.
    pub live: Live,
    /// Counters that outputs read while it runs.
    pub board: Arc<Board>,
    /// Between two looks at how things stand.
    pub interval: Duration,
    /// What signals ask for.
    pub wishes: Wishes,
    /// Where captured packets are written, if anywhere.
    pub keep: Option<Keep>,
    /// Where packets are kept for evidence: one for each worker, or none.
    pub shelves: Vec<Arc<Shelf>>,
}

/// Captures until told to stop, feeds the sinks, and returns the totals with the exit code.
///
/// # Errors
/// As [`super::run`].
pub fn watch(plan: &Plan, watch: Watch, sinks: &mut [Box<dyn Sink>]) -> Result<End, RunError> {
    let book = super::book(&plan.services)?;
    let workers = plan.workers.max(1);
    // Half for the flow tables, a fifth for the window; queues, evidence and outputs live on the rest. Sockets' rings are shared with the
    // kernel and count too.
    let by_memory = usize::try_from(plan.max_memory / 2 / super::BYTES_PER_FLOW).unwrap_or(usize::MAX);
    let flows_per_shard = (plan.max_flows.min(by_memory) / workers).max(1);
    let window = usize::try_from((plan.max_memory / 5 / BYTES_PER_RECORD).clamp(64, WINDOW_MAX)).unwrap_or(64);
    for sink in sinks.iter_mut() {
        sink.begin(&super::run_info(plan, &book, super::DEFAULT_LIVE_MEMORY))?;
    }
    let Watch { live, board, interval, wishes, keep, shelves } = watch;
    let shelves = &shelves;
    let board: &Board = &board;
    let meter = live.meter();
    let (collect_tx, collect_rx) = crossbeam_channel::bounded(workers * 4 + 4);
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let mut to_shards = Vec::with_capacity(workers);
        for index in 0..workers {
            let (tx, rx) = crossbeam_channel::bounded(super::BATCHES_IN_FLIGHT);
            to_shards.push(tx);
            let out = collect_tx.clone();
            scope.spawn(move || {
                shard::run(&rx, &out, flows_per_shard, Some(Glancer::new(board, index, flows_per_shard, shelves.get(index).map(|s| &**s))))
            });
        }
        let (done, wishes) = (&done, &wishes);
        let collector = Collector {
            plan,
            workers,
            book,
            meter: Arc::clone(&meter),
            board,
            done,
            wishes,
            window: Window::new(window),
            ledger: Ledger::default(),
            tally: Tally::default(),
            stats: Stats::default(),
            flows: 0,
        };
        let collector = scope.spawn(move || collector.run(&collect_rx, sinks));
        let reader = Reader {
            plan,
            shards: &to_shards,
            collector: &collect_tx,
            board,
            done,
            wishes,
            clock: Clock::start(interval),
            hush: Hush::start(),
            keep,
            used: 0,
        };
        reader.run(live, &meter);
        drop(to_shards);
        drop(collect_tx);
        match collector.join() {
            Ok(end) => end,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

struct Reader<'a> {
    plan: &'a Plan,
    shards: &'a [Sender<ToShard>],
    collector: &'a Sender<ToCollector>,
    board: &'a Board,
    done: &'a AtomicU64,
    wishes: &'a Wishes,
    clock: Clock,
    hush: Hush,
    keep: Option<Keep>,
    /// Memory in use when it was last looked at, bytes.
    used: u64,
}

impl Reader<'_> {
    fn run(mut self, mut live: Live, meter: &Meter) {
        let mut dealer = Dealer::new(self.shards);
        let mut batch = Batch::over(Arc::new([]));
        let mut left = self.plan.packet_limit.unwrap_or(u64::MAX);
        let mut asked = 0;
        let mut trouble = None;
        let mut packets = 0;
        loop {
            let fill = match live.fill(&mut batch) {
                Ok(fill) => fill,
                Err(e) => {
                    trouble = Some(e.to_string());
                    break;
                }
            };
            batch.frames.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            packets += batch.frames.len() as u64;
            if !batch.frames.is_empty() {
                self.hush.broken();
            }
            if !meter.hears() {
                self.hush.deafened();
            }
            if let Some(keep) = &mut self.keep
                && let Err(e) = keep.write(&batch)
            {
                let said = format!("captured packets can no longer be written: {e}");
                meter.notice(said.clone());
                trouble = Some(said);
                self.keep = None;
            }
            dealer.deal(&batch, &mut left);
            self.board.set_shed(shed::level(self.board.shed(), meter.fill_percent()));
            let wished = self.wishes.stats.swap(false, Ordering::Relaxed);
            // One question at a time: under load the answers take as long as they take.
            if (self.clock.due() || wished) && self.done.load(Ordering::Relaxed) >= asked {
                asked += 1;
                if let Some(used) = memory::used() {
                    memory::correct(self.board, used, std::mem::replace(&mut self.used, used), self.plan.max_memory);
                }
                dealer.flush_all();
                let facts = SourceFacts { packets, silence: self.hush.lasted(), ..dealer.so_far(&live) };
                self.board.hold_fragments(dealer.buffered());
                let now = facts.watched();
                let tick = Tick { tick: asked, facts, uptime: self.clock.uptime(), since: Stopwatch::start() };
                // Before the shards are asked: were their answers there first, the collector would take them for those to an earlier question,
                // and this one would never be done.
                if self.collector.send(ToCollector::Tick(Box::new(tick))).is_err() {
                    break;
                }
                for shard in self.shards {
                    let _ = shard.send(ToShard::Glance { now });
                }
            }
            if fill == Fill::End || left == 0 || dealer.gone() {
                break;
            }
        }
        dealer.flush_all();
        if let Some(keep) = self.keep.take()
            && let Err(e) = keep.finish()
        {
            trouble.get_or_insert(format!("captured packets could not be written to the end: {e}"));
        }
        let mut facts = dealer.summary(&live);
        facts.packets = packets;
        facts.silence = self.hush.lasted();
        facts.damage.extend(trouble);
        // Its last counters are in once its threads have ended.
        drop(live);
        facts.drops = Some(meter.losses().sum() + self.board.policy_losses());
        for shard in self.shards {
            let _ = shard.send(ToShard::SourceEnd);
        }
        let tick = Tick { tick: u64::MAX, facts: facts.clone(), uptime: self.clock.uptime(), since: Stopwatch::start() };
        let _ = self.collector.send(ToCollector::Tick(Box::new(tick)));
        let _ = self.collector.send(ToCollector::SourceRead { facts: Box::new(facts) });
    }
}

struct Collector<'a> {
    plan: &'a Plan,
    workers: usize,
    book: Book,
    meter: Arc<Meter>,
    board: &'a Board,
    done: &'a AtomicU64,
    wishes: &'a Wishes,
    window: Window,
    ledger: Ledger,
    tally: Tally,
    stats: Stats,
    /// Flows told.
    flows: u64,
}

impl Collector<'_> {
    fn run(mut self, messages: &Receiver<ToCollector>, sinks: &mut [Box<dyn Sink>]) -> Result<End, RunError> {
        let mut tick: Option<Box<Tick>> = None;
        let mut answers = 0;
        let mut shards: Vec<ShardSummary> = Vec::new();
        let mut facts = None;
        let mut failure = None;
        for message in messages {
            if failure.is_some() {
                // The channel is still emptied, so that nobody waits for us.
                self.plan.stop.store(true, Ordering::Relaxed);
                self.done.store(u64::MAX, Ordering::Relaxed);
                continue;
            }
            match message {
                ToCollector::Flows { flows, .. } => failure = self.take(flows, tick.as_deref(), sinks).err(),
                ToCollector::Glanced { open } => {
                    open.into_iter().for_each(|f| self.window.open(f));
                    answers += 1;
                }
                ToCollector::Tick(t) => tick = Some(t),
                ToCollector::ShardDone { summary, .. } => shards.push(summary),
                ToCollector::SourceRead { facts: f } => facts = Some(*f),
                ToCollector::SourceFailed { .. } => {}
            }
            if answers >= self.workers
                && let Some(t) = &tick
                && t.tick != u64::MAX
            {
                answers = 0;
                let number = t.tick;
                self.stats.lag = Span::from_nanos(self.meter.waited().nanos().saturating_add(t.since.passed().nanos()));
                failure = self.pulse(t.facts.clone(), t.uptime, false, sinks).err();
                self.done.store(number, Ordering::Relaxed);
            }
        }
        if let Some(e) = failure {
            return Err(e);
        }
        if let Some(mut facts) = facts {
            collector::add_up(&mut facts, shards);
            let uptime = tick.map_or(Span::ZERO, |t| t.uptime);
            self.pulse(facts, uptime, true, sinks)?;
        }
        let mut end = self.tally.end(self.plan);
        end.flows = self.flows;
        end.losses = Some(self.stats.losses);
        for sink in sinks.iter_mut() {
            sink.finish(&end)?;
        }
        Ok(end)
    }

    /// Flows that ended.
    fn take(&mut self, flows: Vec<FlowRecord>, tick: Option<&Tick>, sinks: &mut [Box<dyn Sink>]) -> Result<(), RunError> {
        let shedding = self.board.shed() >= Shed::Payload;
        let mut by_proto = [0u64; 256];
        let mut unwritten = 0;
        for f in flows {
            if let Some(n) = by_proto.get_mut(usize::from(f.proto.0)) {
                *n += 1;
            }
            self.stats.flows_closed += 1;
            let lone = f.totals.client.packets <= 1 && f.totals.server.packets == 0 && f.notes.list.is_empty() && f.icmp.is_empty();
            if shedding && lone {
                unwritten += 1;
                continue;
            }
            self.window.closed(f);
        }
        self.board.unwritten(unwritten);
        for (proto, n) in (0u8..=255).zip(by_proto) {
            self.board.add(Count::Flow(proto), n);
        }
        if self.window.overflowing() >= OVERFLOW {
            let facts = tick.map_or_else(SourceFacts::default, |t| t.facts.clone());
            self.tell_overflow(facts, sinks)?;
        }
        Ok(())
    }

    /// Flows that found no room are told by themselves: their names and outcomes, but no finding rests on them.
    fn tell_overflow(&mut self, facts: SourceFacts, sinks: &mut [Box<dyn Sink>]) -> Result<(), RunError> {
        let flows = self.window.take_overflow();
        if flows.is_empty() {
            return Ok(());
        }
        let sums = collect::Sums::of(&flows);
        let story = collector::describe(facts, flows, sums, &self.book, self.workers);
        let all: Vec<usize> = (0..story.flows.len()).collect();
        self.flows += all.len() as u64;
        for sink in sinks.iter_mut() {
            sink.flows(&story, &all)?;
        }
        for (f, l) in story.flows.iter().zip(&story.labels) {
            self.window.past.add(f, l.as_ref());
        }
        Ok(())
    }

    fn pulse(&mut self, mut facts: SourceFacts, uptime: Span, last: bool, sinks: &mut [Box<dyn Sink>]) -> Result<(), RunError> {
        if self.wishes.reload.swap(false, Ordering::Relaxed) {
            self.reload();
        }
        self.tell_overflow(facts.clone(), sinks)?;
        let losses = Losses { policy: self.board.policy_losses(), ..self.meter.losses() };
        facts.drops = Some(losses.sum());
        if !last {
            facts.decoded = self.board.decoded();
            facts.evicted = self.board.flows_evicted();
        }
        // Under heavy load flows are told, but not judged: that waits.
        let judging = last || self.board.shed() < Shed::Payload;
        self.window.squeeze(self.board.share());
        let flows = self.window.lend();
        let sums = collect::Sums::of(&flows);
        let mut story = if judging {
            collector::compose(facts, flows, sums, &self.book, self.workers)
        } else {
            collector::describe(facts, flows, sums, &self.book, self.workers)
        };
        story.services =
            collect::tally_onto(&self.window.past, &story.flows, &story.labels, &story.findings, &collector::titles(&self.book));
        let over = self.window.take_over(&story, last);
        let window = &self.window;
        let change = if judging { self.ledger.update(&story.findings, &|id| window.knows(id), last) } else { Change::default() };
        self.flows += over.len() as u64;
        self.count(&story, &over, &change);
        self.state(&story, losses, uptime, change.withdrawn);
        let pulse = Pulse { stats: &self.stats, story: &story, news: &change.news, last };
        for sink in sinks.iter_mut() {
            sink.flows(&story, &over)?;
            sink.pulse(&pulse)?;
        }
        if last {
            self.tally.count(self.plan, &story);
            self.tally.end.findings = self.ledger.standing() as u64;
        } else {
            self.window.put_back(story);
        }
        Ok(())
    }

    /// Brings the board up to date.
    fn count(&self, story: &Story, over: &[usize], change: &Change) {
        for &i in over {
            if let (Some(f), Some(Some(l))) = (story.flows.get(i), story.labels.get(i)) {
                self.board.add(Count::Connection(l.id.clone(), l.role, f.outcome), 1);
            }
        }
        for n in &change.news {
            self.board.add(Count::Finding(n.finding.rule, n.finding.grade), 1);
        }
    }

    /// Brings the stats up to date.
    fn state(&mut self, story: &Story, losses: Losses, uptime: Span, withdrawn: Vec<Box<str>>) {
        let s = &mut self.stats;
        s.seq += 1;
        s.at = story.source.last;
        s.since = Span::from_nanos(uptime.nanos() - s.uptime.nanos());
        s.uptime = uptime;
        s.new_packets = story.source.packets.saturating_sub(s.packets);
        s.new_bytes = story.source.bytes.saturating_sub(s.bytes);
        s.packets = story.source.packets;
        s.bytes = story.source.bytes;
        s.decoded = story.source.decoded;
        s.flows_active = self.board.flows_active();
        s.flows_evicted = story.source.evicted;
        s.flows_unwritten = self.board.flows_unwritten();
        s.losses = losses;
        s.shed = self.board.shed();
        s.interfaces = self.meter.interfaces();
        s.findings = self.ledger.standing() as u64;
        s.services.clone_from(&story.services);
        s.withdrawn = withdrawn;
        s.notices = self.meter.take_notices();
        s.rules_sha256 = Some(super::rules_sha256(&self.book));
    }

    /// Reads the service files again; wrong ones change nothing.
    fn reload(&mut self) {
        self.meter.notice(match super::book(&self.plan.services) {
            Ok(book) => {
                self.book = book;
                "service files were read again".into()
            }
            Err(e) => format!("service files could not be read again, the old ones stay in force: {e}"),
        });
    }
}
