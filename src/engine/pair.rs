//! Two captures of the same connections: each is analysed by itself, then read once more into digests, and both are compared.

use super::{BYTES_PER_FLOW, Plan, RunError, run_info};
use crate::capture::{self, CaptureError, Fill};
use crate::flow::{Bounds, Gone, State, Table};
use crate::model::finding::Grade;
use crate::model::flow::{Closed, FlowId, FlowRecord, Totals};
use crate::model::frame::{Batch, FrameHead, FrameRef, LinkType, Place};
use crate::model::key::FlowKey;
use crate::model::packet::{Body, Packet, TcpFlags};
use crate::model::side::{PerSide, Side};
use crate::model::story::{End, Story};
use crate::model::time::Time;
use crate::packet::{self, Defragmenter, Spot};
use crate::pair::{self, Digest, Offer, Tape, TapeFlow, What};
use crate::sink::Sink;
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Keeps the story of a source for the comparison.
struct Keeper(Arc<Mutex<Vec<Story>>>);

impl Sink for Keeper {
    fn story(&mut self, story: &Story) -> io::Result<()> {
        if let Ok(mut all) = self.0.lock() {
            all.push(story.clone());
        }
        Ok(())
    }
    fn finish(&mut self, _: &End) -> io::Result<()> {
        Ok(())
    }
}

/// Compares the two inputs of the plan, feeds the sinks, and returns the totals with the exit code.
///
/// # Errors
/// As [`super::run`].
pub fn pair(plan: &Plan, sinks: &mut [Box<dyn Sink>]) -> Result<End, RunError> {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let alone = Plan { fail_on: None, ..plan.clone() };
    let mut end = super::run(&alone, &mut [Box::new(Keeper(Arc::clone(&kept)))])?;
    let stories = kept.lock().map(|mut all| std::mem::take(&mut *all)).unwrap_or_default();
    let book = super::book(&plan.services)?;
    let run_info = run_info(plan, &book, super::DEFAULT_MAX_MEMORY);
    for sink in sinks.iter_mut() {
        sink.begin(&run_info)?;
    }
    for (path, why) in &end.failed_sources {
        for sink in sinks.iter_mut() {
            sink.failed(path, why)?;
        }
    }
    end.findings = 0;
    end.services = 0;
    if let ([a, b], [path_a, path_b]) = (stories.as_slice(), plan.inputs.as_slice())
        && end.failed_sources.is_empty()
        && !end.interrupted
    {
        let tapes = [read(plan, path_a, 0), read(plan, path_b, 1)];
        let [Ok(tape_a), Ok(tape_b)] = tapes else {
            // It was read a moment ago: the file went away.
            let lost = tapes.into_iter().zip([path_a, path_b]).find_map(|(t, p)| Some((p.display().to_string(), t.err()?.to_string())));
            end.failed_sources.extend(lost);
            return finish(end, 3, sinks);
        };
        let pairing = pair::compare([a, b], [&tape_a, &tape_b], &plan.fronts);
        end.findings = pairing.findings.len() as u64;
        end.bounds_hit.extend(pairing.bounds_hit.iter().cloned());
        for sink in sinks.iter_mut() {
            sink.pair(&pairing, [a, b])?;
        }
        let worst: Option<Grade> = pairing.findings.iter().map(|f| f.finding.grade).max();
        let failing = plan.fail_on.is_some_and(|g| worst.is_some_and(|w| w >= g));
        let exit = if failing { 1 } else { end.exit };
        return finish(end, exit, sinks);
    }
    let exit = if end.interrupted { end.exit } else { 3 };
    finish(end, exit, sinks)
}

fn finish(mut end: End, exit: i32, sinks: &mut [Box<dyn Sink>]) -> Result<End, RunError> {
    end.exit = exit;
    for sink in sinks.iter_mut() {
        sink.finish(&end)?;
    }
    Ok(end)
}

/// What is kept of a flow while its capture is read.
#[derive(Default)]
struct Kept {
    offer: PerSide<Option<Offer>>,
    packets: Vec<Digest>,
    dropped: u64,
}

impl State for Kept {
    /// None is at rest.
    type Rest = Infallible;
    fn wake(_: FlowRecord, rest: Infallible) -> (PerSide<Totals>, Self) {
        match rest {}
    }
}

/// Reads a capture into digests.
struct Reader {
    table: Table<Kept>,
    fragments: Defragmenter,
    tape: Tape,
    source: u32,
    room: u64,
    latest: Time,
}

fn read(plan: &Plan, path: &Path, source: u32) -> Result<Tape, CaptureError> {
    let by_memory = usize::try_from(plan.max_memory / BYTES_PER_FLOW).unwrap_or(usize::MAX);
    let mut reader = Reader {
        table: Table::new(Bounds { flows: plan.max_flows.min(by_memory).max(1) }),
        fragments: Defragmenter::default(),
        tape: Tape::default(),
        source,
        // Half of the memory for each capture.
        room: plan.max_memory / 2 / size_of::<Digest>() as u64,
        latest: Time::from_nanos(i64::MIN),
    };
    let mut input = capture::open(path)?;
    let mut batch = Batch::over(Arc::new([]));
    loop {
        let fill = input.fill(&mut batch)?;
        for frame in &batch.frames {
            reader.frame(frame, batch.bytes(frame));
        }
        reader.expire();
        if fill == Fill::End || plan.stop.load(Ordering::Relaxed) {
            break;
        }
    }
    let Reader { mut table, mut tape, source, .. } = reader;
    table.drain(&mut |e, _: Closed| keep(&mut tape, source, e));
    tape.flows.sort_unstable_by_key(|f| f.id);
    Ok(tape)
}

fn keep(tape: &mut Tape, source: u32, gone: Gone<Kept>) {
    let e = match gone {
        Gone::Awake(e) => *e,
        Gone::AtRest(r) => match r.rest {},
    };
    tape.dropped += e.state.dropped;
    tape.flows.push(TapeFlow {
        id: FlowId { source, frame: e.first.frame },
        proto: e.key.proto,
        client: e.client,
        server: e.server,
        basis: e.basis,
        offer: e.state.offer,
        packets: e.state.packets,
        dropped: e.state.dropped,
    });
}

impl Reader {
    fn frame(&mut self, frame: &FrameRef, bytes: &[u8]) {
        match packet::find(&frame.head, bytes) {
            Ok(Spot::Packet(ip_at)) => self.packet(&FrameRef { ip_at, ..*frame }, bytes),
            Ok(Spot::Fragment(ip_at)) => {
                let mut ip = bytes.get(usize::from(ip_at)..).unwrap_or(&[]).to_vec();
                // A packet put together may itself be a tunnel around fragments.
                for _ in 0..4 {
                    let Ok(Some(whole)) = self.fragments.offer(frame.head.ts, &ip) else { return };
                    let len = u32::try_from(whole.len()).unwrap_or(u32::MAX);
                    let head = FrameHead { link: LinkType::RAW, original: len, ..frame.head };
                    match packet::find(&head, &whole) {
                        Ok(Spot::Packet(ip_at)) => {
                            return self.packet(&FrameRef { head, at: 0, len, ip_at, place: Place::Rebuilt }, &whole);
                        }
                        Ok(Spot::Fragment(ip_at)) => ip = whole.get(usize::from(ip_at)..).unwrap_or(&[]).to_vec(),
                        Err(_) => return,
                    }
                }
            }
            // Counted when the capture was analysed by itself.
            Err(_) => {}
        }
    }

    fn packet(&mut self, frame: &FrameRef, bytes: &[u8]) {
        let Ok(packet) = packet::read(frame, bytes) else { return };
        self.latest = self.latest.max(packet.ts);
        if self.error(&packet) {
            return;
        }
        let (tape, source) = (&mut self.tape, self.source);
        let placed = self.table.place(&packet, frame.len, &mut |e, _| keep(tape, source, e));
        let Some(entry) = self.table.get_mut(placed.slot) else { return };
        if let Some(offer) = Offer::of(&packet) {
            entry.state.offer[placed.side].get_or_insert(offer);
        }
        if self.room == 0 {
            entry.state.dropped += 1;
            return;
        }
        self.room -= 1;
        entry.state.packets.push(Digest::of(&packet, placed.side));
    }

    /// An ICMP error belongs to the flow it quotes.
    fn error(&mut self, packet: &Packet<'_>) -> bool {
        let Body::Icmp(icmp) = &packet.body else { return false };
        let Some(quoted) = icmp.quoted else { return false };
        let Some(entry) = self.table.find(&FlowKey::of(quoted.src, quoted.dst, quoted.proto), packet.ts) else { return false };
        let about = if quoted.src == entry.client { Side::Client } else { Side::Server };
        if self.room == 0 {
            entry.state.dropped += 1;
            return true;
        }
        self.room -= 1;
        let digest = Digest::of(packet, about.peer());
        let from_addressee = u32::from(packet.src.ip == quoted.dst.ip);
        let flags = TcpFlags::default();
        entry.state.packets.push(Digest {
            what: What::Error,
            ack: from_addressee,
            flags,
            len: 0,
            cap: 0,
            hash: 0,
            head: 0,
            start: 0,
            ..digest
        });
        true
    }

    fn expire(&mut self) {
        let (tape, source) = (&mut self.tape, self.source);
        self.table.expire(self.latest, &mut |e, _| keep(tape, source, e));
    }
}
