//! The capture threads: each copies frames out of one socket's ring and hands them on in chunks. It never waits for whoever takes them.

use super::meter::Meter;
use super::socket::{Handle, Tap};
use super::{CHUNK, FRAMES, NAP, Options};
use crate::model::frame::{FrameHead, FrameNo, FrameRef, LinkType, Place};
use crate::model::time::Time;
use crossbeam_channel::{Sender, TrySendError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// How often the kernel is asked for its counters, and the interface for its state.
const LOOK: Duration = Duration::from_millis(500);
/// How long the kernel may keep a packet in a ring that looks empty: a few times what it is asked for, on a busy machine.
const HELD: Duration = Duration::from_millis(100);
/// How often a vanished interface is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Frames on their way from a capture thread. Their numbers are given when they are put in order.
pub(super) struct Chunk {
    pub interface: usize,
    /// Which of all sockets.
    pub socket: usize,
    pub bytes: Vec<u8>,
    pub frames: Vec<FrameRef>,
    /// When it was handed on.
    pub sent: Instant,
}

/// What a capture thread fills and hands on.
pub(super) struct Hand {
    chunk: Chunk,
    tx: Sender<Chunk>,
    meter: Arc<Meter>,
}

impl Hand {
    /// For one socket of an interface.
    pub(super) fn new(interface: usize, socket: usize, tx: Sender<Chunk>, meter: Arc<Meter>) -> Self {
        let (bytes, frames) = (Vec::with_capacity(CHUNK), Vec::with_capacity(FRAMES));
        Self { chunk: Chunk { interface, socket, bytes, frames, sent: Instant::now() }, tx, meter }
    }

    fn take(&mut self, packet: &pcap::Packet<'_>, link: LinkType) {
        let h = packet.header;
        let ns = h.ts.tv_sec.saturating_mul(1_000_000_000).saturating_add(h.ts.tv_usec);
        let iface = u16::try_from(self.chunk.interface).unwrap_or(u16::MAX);
        let head = FrameHead { number: FrameNo(0), ts: Time::from_nanos(ns), original: h.len, link, iface, owner: 0 };
        let len = u32::try_from(packet.data.len()).unwrap_or(u32::MAX);
        self.chunk.frames.push(FrameRef { head, at: self.chunk.bytes.len(), len, ip_at: 0, place: Place::Store });
        self.chunk.bytes.extend_from_slice(packet.data);
        if self.chunk.frames.len() >= FRAMES || self.chunk.bytes.len() >= CHUNK {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.chunk.frames.is_empty() {
            return;
        }
        let (frames, bytes) = (self.chunk.frames.len(), self.chunk.bytes.len());
        let now = Instant::now();
        self.chunk.sent = now;
        let (room, count) = (Vec::with_capacity(bytes.min(CHUNK)), Vec::with_capacity(frames));
        let next = Chunk { interface: self.chunk.interface, socket: self.chunk.socket, bytes: room, frames: count, sent: now };
        let full = std::mem::replace(&mut self.chunk, next);
        let Some(gauge) = self.meter.gauge(full.interface) else { return };
        let add = |n: &AtomicU64, by: usize| n.fetch_add(u64::try_from(by).unwrap_or(0), Ordering::Relaxed);
        add(&gauge.packets, frames);
        add(&gauge.bytes, bytes);
        match self.tx.try_send(full) {
            Ok(()) => {}
            Err(TrySendError::Full(lost)) => {
                add(&gauge.queue, lost.frames.len());
            }
            Err(TrySendError::Disconnected(_)) => {}
        }
        self.meter.set_waiting(self.tx.len());
    }
}

/// The life of a capture thread.
pub(super) fn listen(mut tap: Tap, mut hand: Hand, options: &Options, stop: &AtomicBool) {
    let mut name = options.interfaces.get(tap.interface).cloned().unwrap_or_default();
    name.shrink_to_fit();
    let mut kernel = Counter::default();
    let mut driver = Counter::default();
    let mut looked = Instant::now();
    let mut stopping: Option<Instant> = None;
    loop {
        let link = tap.link;
        let asked = SystemTime::now();
        let got = tap.handle.dispatch(Some(FRAMES), |packet| hand.take(&packet, link));
        let idle = match got {
            Ok(n) => n == 0,
            Err(e) => {
                hand.flush();
                // Others need not wait for it.
                hand.meter.reach(hand.chunk.socket, Time::from_nanos(i64::MAX));
                let Some(again) = reopen(&name, &e, tap.interface, options, &hand.meter, stop) else { return };
                hand.meter.reach(hand.chunk.socket, Time::from_nanos(i64::MIN));
                tap = again;
                (kernel, driver) = (kernel.again(), driver.again());
                continue;
            }
        };
        let now = Instant::now();
        if idle || now.duration_since(looked) > LOOK {
            hand.flush();
        }
        if idle {
            hand.meter.reach(hand.chunk.socket, before(asked));
        }
        if now.duration_since(looked) > LOOK || stopping.is_some() {
            looked = now;
            if let (Ok(s), Some(g)) = (tap.handle.stats(), hand.meter.gauge(tap.interface)) {
                g.kernel.fetch_add(kernel.grown(s.dropped), Ordering::Relaxed);
                g.interface.fetch_add(driver.grown(s.if_dropped), Ordering::Relaxed);
            }
            watch_link(&name, tap.interface, &hand.meter);
        }
        if stop.load(Ordering::Relaxed) {
            // What arrived before the order to stop is still in the ring; the kernel lets go of it after its own wait.
            let since = *stopping.get_or_insert(now);
            if idle && now.duration_since(since) > NAP.saturating_mul(2) || now.duration_since(since) > RETRY {
                hand.flush();
                return;
            }
        }
        if idle {
            wait_for_packets(&tap.handle);
        }
    }
}

/// The time before which nothing can be left in the kernel's ring when it was found empty.
fn before(asked: SystemTime) -> Time {
    let since = asked.checked_sub(HELD).and_then(|t| t.duration_since(SystemTime::UNIX_EPOCH).ok());
    Time::from_nanos(since.and_then(|s| i64::try_from(s.as_nanos()).ok()).unwrap_or(i64::MIN))
}

/// Sleeps until there is something to read, at most [`NAP`].
#[cfg(target_os = "linux")]
fn wait_for_packets(handle: &Handle) {
    use nix::poll::{PollFd, PollFlags, poll};
    use std::os::fd::AsFd;
    let mut fds = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
    let nap = u16::try_from(NAP.as_millis()).unwrap_or(50);
    let woken = poll(&mut fds, nap);
    // A socket in error is readable at once: do not spin on it.
    let trouble =
        fds.iter().filter_map(PollFd::revents).any(|r| r.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL));
    if trouble || woken.is_err() {
        std::thread::sleep(NAP);
    }
}

#[cfg(not(target_os = "linux"))]
fn wait_for_packets(_: &Handle) {
    std::thread::sleep(Duration::from_millis(2));
}

/// Says when an interface goes down or comes up. libpcap goes on by itself when it does.
fn watch_link(name: &str, interface: usize, meter: &Meter) {
    let Some(gauge) = meter.gauge(interface).filter(|_| name != "any") else { return };
    let Ok(flags) = std::fs::read_to_string(format!("/sys/class/net/{name}/flags")) else { return };
    let bits = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(1);
    let now = u8::from(bits & 1 == 0);
    let before = gauge.link.swap(now, Ordering::Relaxed);
    if before != now {
        meter.notice(format!("{name}: the interface is {}", if now == 0 { "up again" } else { "down; capture goes on when it is up" }));
    }
}

/// The socket is of no use any more: says so, and opens another as soon as the interface is there again.
fn reopen(name: &str, e: &pcap::Error, interface: usize, options: &Options, meter: &Meter, stop: &AtomicBool) -> Option<Tap> {
    let gauge = meter.gauge(interface)?;
    let first = gauge.link.swap(2, Ordering::Relaxed) != 2;
    if first {
        let then = if options.resume {
            "capture goes on when it is back"
        } else {
            "it will not be opened again: the right to capture was given up"
        };
        meter.notice(format!("{name}: {e}; {then}"));
    }
    let before = LinkType(gauge.link_type.load(Ordering::Relaxed));
    while options.resume && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(RETRY.min(Duration::from_millis(250)));
        let Ok((tap, _)) = Tap::open(interface, name, options) else { continue };
        let link = tap.link;
        if gauge.link.swap(0, Ordering::Relaxed) != 0 {
            let surprise = if link == before { String::new() } else { format!(", with link type {} instead of {}", link.0, before.0) };
            meter.notice(format!("{name}: the interface is back{surprise}"));
        }
        tap.announce(name, meter);
        return Some(tap);
    }
    None
}

/// A 32-bit counter of the kernel that may wrap.
#[derive(Default)]
struct Counter(u32);

impl Counter {
    fn grown(&mut self, now: u32) -> u64 {
        let by = now.wrapping_sub(self.0);
        self.0 = now;
        u64::from(by)
    }
    const fn again(self) -> Self {
        Self(0)
    }
}
