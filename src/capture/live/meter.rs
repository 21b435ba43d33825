//! The counters of a live capture: written by its threads, read by anyone at any time.

use crate::model::frame::LinkType;
use crate::model::pulse::{InterfaceStats, Link, Losses};
use crate::model::time::{Span, Time};
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Counters of one interface, written by its threads and read by anyone.
#[derive(Default)]
pub(super) struct Gauge {
    pub(super) name: String,
    pub(super) link: AtomicU8,
    pub(super) link_type: AtomicU16,
    pub(super) packets: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) kernel: AtomicU64,
    pub(super) interface: AtomicU64,
    pub(super) queue: AtomicU64,
}

/// The counters of a capture.
pub struct Meter {
    gauges: Vec<Gauge>,
    notices: Mutex<Vec<String>>,
    /// Chunks waiting, and room for them.
    waiting: AtomicU64,
    room: usize,
    /// How long the latest chunk waited (ns).
    waited: AtomicU64,
    /// For each socket: what came before this time (ns) was handed on.
    reached: Vec<AtomicI64>,
}

impl Meter {
    /// For these interfaces with so many sockets in all, and room for so many chunks.
    pub(super) fn new(interfaces: &[String], sockets: usize, room: usize) -> Self {
        let gauge = |name: &String| Gauge { name: name.clone(), ..Gauge::default() };
        let gauges = interfaces.iter().map(gauge).collect();
        let reached = (0..sockets).map(|_| AtomicI64::new(i64::MIN)).collect();
        Self { gauges, notices: Mutex::default(), waiting: AtomicU64::new(0), room, waited: AtomicU64::new(0), reached }
    }

    /// Every interface.
    pub fn interfaces(&self) -> Vec<InterfaceStats> {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let one = |g: &Gauge| InterfaceStats {
            name: g.name.clone(),
            link: match g.link.load(Ordering::Relaxed) {
                0 => Link::Up,
                1 => Link::Down,
                _ => Link::Gone,
            },
            link_type: LinkType(g.link_type.load(Ordering::Relaxed)),
            packets: get(&g.packets),
            bytes: get(&g.bytes),
            losses: Losses { kernel: get(&g.kernel), interface: get(&g.interface), queue: get(&g.queue), policy: 0 },
        };
        self.gauges.iter().map(one).collect()
    }

    /// What was lost before analysis.
    pub fn losses(&self) -> Losses {
        self.interfaces().iter().fold(Losses::default(), |sum, i| Losses {
            kernel: sum.kernel.saturating_add(i.losses.kernel),
            interface: sum.interface.saturating_add(i.losses.interface),
            queue: sum.queue.saturating_add(i.losses.queue),
            policy: 0,
        })
    }

    /// Takes what happened since the last call, in words.
    pub fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How full the queue between capture and analysis is, 0–100.
    pub fn fill_percent(&self) -> u64 {
        let room = u64::try_from(self.room).unwrap_or(u64::MAX);
        self.waiting.load(Ordering::Relaxed).saturating_mul(100).checked_div(room).unwrap_or(0)
    }

    /// How long the latest packets waited between capture and analysis.
    pub fn waited(&self) -> Span {
        Span::from_nanos(i64::try_from(self.waited.load(Ordering::Relaxed)).unwrap_or(i64::MAX))
    }

    /// Whether every interface is up, so that a packet would have been heard.
    pub fn hears(&self) -> bool {
        self.gauges.iter().all(|g| g.link.load(Ordering::Relaxed) == 0)
    }

    /// Something the operator should know.
    pub fn notice(&self, notice: String) {
        let mut list = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        // An interface that flaps must not fill memory between two looks.
        if list.len() < 64 {
            list.push(notice);
        }
    }

    /// Room for so many chunks.
    pub(super) const fn room(&self) -> usize {
        self.room
    }

    /// So many chunks wait.
    pub(super) fn set_waiting(&self, chunks: usize) {
        self.waiting.store(u64::try_from(chunks).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A chunk waited so long.
    pub(super) fn set_waited(&self, time: Duration) {
        self.waited.store(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// All packets of a socket before this time were handed on, or there will be none.
    pub(super) fn reach(&self, socket: usize, until: Time) {
        if let Some(r) = self.reached.get(socket) {
            r.store(until.nanos(), Ordering::Release);
        }
    }

    /// The time before which every packet of a socket was handed on.
    pub(super) fn reached(&self, socket: usize) -> Time {
        Time::from_nanos(self.reached.get(socket).map_or(i64::MAX, |r| r.load(Ordering::Acquire)))
    }

    pub(super) fn gauge(&self, at: usize) -> Option<&Gauge> {
        self.gauges.get(at)
    }
}
