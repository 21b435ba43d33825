//! What the capture threads hand over, as a source: numbered, and with several interfaces put in the order of time.

use super::hand::Chunk;
use super::meter::Meter;
use super::{FRAMES, NAP, Options};
use crate::capture::{CaptureError, Fill, Source};
use crate::model::frame::{Batch, FrameNo, FrameRef};
use crate::model::source::SourceFacts;
use crate::model::time::Time;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Most frames that wait for those of other sockets.
const WAIT_MAX: usize = FRAMES * 64;

/// Frames of one socket that wait to be put in order with those of others.
#[derive(Default)]
struct Lane {
    frames: VecDeque<(FrameRef, Arc<Vec<u8>>)>,
    latest: Option<Time>,
}

/// A live capture as a source.
pub struct Live {
    rx: Receiver<Chunk>,
    meter: Arc<Meter>,
    /// Ends the threads.
    stop: Arc<AtomicBool>,
    /// From outside.
    order: Arc<AtomicBool>,
    ends: Option<Instant>,
    threads: Vec<JoinHandle<()>>,
    /// One for each socket; none if there is one interface, whose packets come in order or, from several sockets, in whole flows.
    lanes: Vec<Lane>,
    /// Frames in the lanes, and their bytes.
    held: (usize, usize),
    options: Arc<Options>,
    facts: SourceFacts,
}

impl Live {
    /// From the threads' chunks.
    pub(super) fn new(
        rx: Receiver<Chunk>,
        meter: Arc<Meter>,
        stop: Arc<AtomicBool>,
        order: Arc<AtomicBool>,
        threads: Vec<JoinHandle<()>>,
        options: Arc<Options>,
    ) -> Self {
        let lanes = if options.interfaces.len() > 1 { threads.len() } else { 0 };
        let lanes = (0..lanes).map(|_| Lane::default()).collect();
        let ends = options.duration.and_then(|d| Instant::now().checked_add(d));
        Self { rx, meter, stop, order, ends, threads, lanes, held: (0, 0), options, facts: SourceFacts::default() }
    }

    /// The counters.
    pub fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// Set to end the capture as if its time were over.
    pub fn ender(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    fn number(&mut self, batch: &mut Batch) {
        let f = &mut self.facts;
        for r in &mut batch.frames {
            f.packets = f.packets.saturating_add(1);
            r.head.number = FrameNo(f.packets);
            f.bytes = f.bytes.saturating_add(u64::from(r.len));
            f.first = Some(f.first.map_or(r.head.ts, |t| t.min(r.head.ts)));
            f.last = Some(f.last.map_or(r.head.ts, |t| t.max(r.head.ts)));
            f.cut_frames = f.cut_frames.saturating_add(u64::from(r.head.original > r.len));
            if !f.link_types.contains(&r.head.link) {
                f.link_types.push(r.head.link);
            }
        }
    }

    /// One chunk, as it is: a single interface has one clock.
    fn pass(&mut self, chunk: Chunk, out: &mut Batch) {
        out.store = Arc::new(chunk.bytes);
        out.frames = chunk.frames;
    }

    fn keep(&mut self, chunk: Chunk) {
        let Some(lane) = self.lanes.get_mut(chunk.socket) else { return };
        self.held = (self.held.0.saturating_add(chunk.frames.len()), self.held.1.saturating_add(chunk.bytes.len()));
        let store = Arc::new(chunk.bytes);
        lane.latest = lane.latest.max(chunk.frames.last().map(|f| f.head.ts));
        lane.frames.extend(chunk.frames.into_iter().map(|f| (f, Arc::clone(&store))));
    }

    /// What waits is as much as may.
    fn crowded(&self) -> bool {
        self.held.0 > WAIT_MAX || self.held.1 > self.options.queue
    }

    /// Takes what there is into the lanes, and gives the time that all sockets have reached.
    fn gather(&mut self, first: Option<Chunk>) -> Time {
        // Asked before the queue is emptied: a socket hands its packets on before it says how far it is.
        let said: Vec<Time> = (0..self.lanes.len()).map(|socket| self.meter.reached(socket)).collect();
        first.into_iter().for_each(|c| self.keep(c));
        while !self.crowded() {
            let Ok(more) = self.rx.try_recv() else { break };
            self.keep(more);
        }
        let end = Time::from_nanos(i64::MAX);
        if self.crowded() {
            return end;
        }
        self.lanes.iter().zip(said).map(|(l, said)| l.latest.map_or(said, |t| t.max(said))).min().unwrap_or(end)
    }

    /// Frames of several interfaces in the order of their time, up to `until`.
    fn merge(&mut self, until: Time, out: &mut Batch) {
        let waits = |l: &Lane| l.frames.front().map(|(f, _)| f.head.ts);
        let mut bytes = Vec::new();
        while out.frames.len() < FRAMES.saturating_mul(4) {
            let next = self.lanes.iter().enumerate().filter_map(|(i, l)| Some((waits(l)?, i))).min();
            let Some((_, at)) = next.filter(|(ts, _)| *ts <= until) else { break };
            let Some((mut frame, store)) = self.lanes.get_mut(at).and_then(|l| l.frames.pop_front()) else { break };
            let len = frame.len as usize;
            self.held = (self.held.0.saturating_sub(1), self.held.1.saturating_sub(len));
            let from = frame.at;
            frame.at = bytes.len();
            bytes.extend_from_slice(store.get(from..from.saturating_add(len)).unwrap_or_default());
            out.frames.push(frame);
        }
        out.store = Arc::new(bytes);
    }
}

impl Source for Live {
    fn fill(&mut self, out: &mut Batch) -> Result<Fill, CaptureError> {
        out.frames.clear();
        out.rebuilt.clear();
        out.store = Arc::new([]);
        if self.order.load(Ordering::Relaxed) || self.ends.is_some_and(|end| Instant::now() >= end) {
            self.stop.store(true, Ordering::Relaxed);
        }
        let mut over = false;
        let mut first = None;
        match self.rx.recv_timeout(NAP) {
            Ok(chunk) => {
                self.meter.set_waited(chunk.sent.elapsed());
                first = Some(chunk);
            }
            Err(RecvTimeoutError::Timeout) => self.meter.set_waited(Duration::ZERO),
            Err(RecvTimeoutError::Disconnected) => over = true,
        }
        if !self.lanes.is_empty() {
            let until = self.gather(first);
            self.merge(if over { Time::from_nanos(i64::MAX) } else { until }, out);
            over &= self.held.0 == 0;
        } else if let Some(chunk) = first {
            self.pass(chunk, out);
        }
        self.meter.set_waiting(self.rx.len());
        self.number(out);
        Ok(if over { Fill::End } else { Fill::More })
    }

    fn facts(&self) -> SourceFacts {
        let losses = self.meter.losses();
        SourceFacts { path: self.options.interfaces.join(","), format: "live".into(), drops: Some(losses.sum()), ..self.facts.clone() }
    }

    fn progress(&self) -> (u64, Option<u64>) {
        (self.facts.bytes, None)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Senders wait for nobody, so the threads end within a nap.
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::frame::{FrameHead, LinkType, Place};

    fn chunk(socket: usize, times: &[i64]) -> Chunk {
        let frame = |(i, ns): (usize, &i64)| {
            let head = FrameHead {
                number: FrameNo(0),
                ts: Time::from_nanos(*ns),
                original: 1,
                link: LinkType::RAW,
                iface: u16::try_from(socket).unwrap(),
                owner: 0,
            };
            FrameRef { head, at: i, len: 1, ip_at: 0, place: Place::Store }
        };
        let bytes = vec![u8::try_from(socket).unwrap(); times.len()];
        Chunk { interface: socket, socket, bytes, frames: times.iter().enumerate().map(frame).collect(), sent: Instant::now() }
    }

    fn live() -> (crossbeam_channel::Sender<Chunk>, Arc<Meter>, Live) {
        let (tx, rx) = crossbeam_channel::bounded(64);
        let options = super::super::Options {
            interfaces: vec!["x".into(), "y".into()],
            filter: None,
            snaplen: 64,
            buffer: 0,
            immediate: false,
            promiscuous: false,
            sockets: 1,
            duration: None,
            queue: 1 << 20,
            resume: false,
        };
        let meter = Arc::new(Meter::new(&options.interfaces, 2, 64));
        let threads = (0..2).map(|_| std::thread::spawn(|| {})).collect();
        let live = Live::new(rx, Arc::clone(&meter), Arc::default(), Arc::default(), threads, Arc::new(options));
        (tx, meter, live)
    }

    fn told(live: &mut Live) -> Vec<(i64, u8)> {
        let mut out = Batch::over(Arc::new([]));
        live.fill(&mut out).unwrap();
        out.frames.iter().map(|f| (f.head.ts.nanos(), out.bytes(f)[0])).collect()
    }

    #[test]
    fn packets_wait_for_a_socket_that_may_yet_have_earlier_ones() {
        let (tx, meter, mut live) = live();
        tx.send(chunk(0, &[10, 30])).unwrap();
        assert_eq!(told(&mut live), [], "of the other nothing is known");
        tx.send(chunk(1, &[20])).unwrap();
        assert_eq!(told(&mut live), [(10, 0), (20, 1)]);
        meter.reach(1, Time::from_nanos(25));
        assert_eq!(told(&mut live), []);
        meter.reach(1, Time::from_nanos(40));
        assert_eq!(told(&mut live), [(30, 0)]);
    }

    #[test]
    fn nothing_waits_for_what_is_gone_or_without_bound() {
        let (tx, meter, mut live) = live();
        tx.send(chunk(0, &[10])).unwrap();
        meter.reach(1, Time::from_nanos(i64::MAX));
        assert_eq!(told(&mut live), [(10, 0)]);
        meter.reach(1, Time::from_nanos(i64::MIN));
        for n in 0..66 {
            tx.send(chunk(0, &vec![20 + n; FRAMES])).unwrap_or_default();
            let _ = told(&mut live);
        }
        assert!(live.held.0 <= WAIT_MAX + FRAMES);
        tx.send(chunk(0, &[100])).unwrap();
        drop(tx);
        let mut rest = 0;
        while live.held.0 > 0 || rest == 0 {
            rest += told(&mut live).len();
        }
        assert!(rest > 0);
    }
}
