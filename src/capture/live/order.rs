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

/// An interface that was silent this long is not waited for when packets of several are put in order.
const SILENT: Duration = Duration::from_millis(80);

/// Frames of one interface that wait to be put in order with those of others.
#[derive(Default)]
struct Lane {
    frames: VecDeque<(FrameRef, Arc<Vec<u8>>)>,
    latest: Option<Time>,
    heard: Option<Instant>,
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
    lanes: Vec<Lane>,
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
        let lanes = options.interfaces.iter().map(|_| Lane::default()).collect();
        let ends = options.duration.and_then(|d| Instant::now().checked_add(d));
        Self { rx, meter, stop, order, ends, threads, lanes, options, facts: SourceFacts::default() }
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
        let Some(lane) = self.lanes.get_mut(chunk.interface) else { return };
        let store = Arc::new(chunk.bytes);
        lane.latest = lane.latest.max(chunk.frames.last().map(|f| f.head.ts));
        lane.heard = Some(Instant::now());
        lane.frames.extend(chunk.frames.into_iter().map(|f| (f, Arc::clone(&store))));
    }

    /// Frames of several interfaces in the order of their time, up to what every interface that talks has reached.
    fn merge(&mut self, all: bool, out: &mut Batch) {
        let talking = |l: &&Lane| l.heard.is_some_and(|h| h.elapsed() < SILENT);
        let until = self.lanes.iter().filter(talking).filter_map(|l| l.latest).min();
        let waits = |l: &Lane| l.frames.front().map(|(f, _)| f.head.ts);
        let mut bytes = Vec::new();
        while out.frames.len() < FRAMES.saturating_mul(4) {
            let next = self.lanes.iter().enumerate().filter_map(|(i, l)| Some((waits(l)?, i))).min();
            let Some((ts, at)) = next.filter(|(ts, _)| all || until.is_none_or(|u| *ts <= u)) else { break };
            debug_assert!(all || until.is_none_or(|u| ts <= u));
            let Some((mut frame, store)) = self.lanes.get_mut(at).and_then(|l| l.frames.pop_front()) else { break };
            let end = frame.at.saturating_add(frame.len as usize);
            let from = frame.at;
            frame.at = bytes.len();
            bytes.extend_from_slice(store.get(from..end).unwrap_or_default());
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
        match self.rx.recv_timeout(NAP) {
            Ok(chunk) if self.lanes.len() == 1 => {
                self.meter.set_waited(chunk.sent.elapsed());
                self.pass(chunk, out);
            }
            Ok(chunk) => {
                self.meter.set_waited(chunk.sent.elapsed());
                self.keep(chunk);
                while let Ok(more) = self.rx.try_recv() {
                    self.keep(more);
                    if self.lanes.iter().map(|l| l.frames.len()).sum::<usize>() > FRAMES.saturating_mul(16) {
                        break;
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => self.meter.set_waited(Duration::ZERO),
            Err(RecvTimeoutError::Disconnected) => over = true,
        }
        if self.lanes.len() > 1 {
            self.merge(over, out);
            over &= self.lanes.iter().all(|l| l.frames.is_empty());
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
