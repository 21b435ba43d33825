//! Frames from network interfaces, through libpcap. With the screen's refresh the only place that looks at a clock.
//!
//! Sockets are opened first ([`open`]), so that rights can be given up before a single packet is looked at; then [`Opened::start`] begins
//! to read. Each socket has a thread that does nothing but copy frames out of the kernel's ring and hand them on in chunks, over one
//! bounded queue. When that queue is full, the chunk is dropped and counted: a live capture never waits for us.

use super::{CaptureError, Fill, Source};
use crate::model::frame::{Batch, FrameHead, FrameNo, FrameRef, LinkType, Place};
use crate::model::pulse::{InterfaceStats, Link, Losses};
use crate::model::source::SourceFacts;
use crate::model::time::Time;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Frames per chunk.
const FRAMES: usize = 512;
/// Bytes per chunk.
const CHUNK: usize = 256 << 10;
/// How long the kernel may keep packets back to hand over several at once (ms).
const KERNEL_WAIT: i32 = 20;
/// How long a thread sleeps when there is nothing to read.
const NAP: Duration = Duration::from_millis(50);
/// How often the kernel is asked for its counters, and the interface for its state.
const LOOK: Duration = Duration::from_millis(500);
/// How often a vanished interface is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// An interface that was silent this long is not waited for when packets of several are put in order.
const SILENT: Duration = Duration::from_millis(80);

/// What to capture.
#[derive(Clone, Debug)]
pub struct Options {
    /// Interfaces, at least one; `any` is all of them.
    pub interfaces: Vec<String>,
    /// A filter in libpcap's language.
    pub filter: Option<String>,
    /// Most bytes of a frame that are captured.
    pub snaplen: u32,
    /// Bytes of the kernel's ring, per socket.
    pub buffer: u32,
    /// Hand over each packet as it comes.
    pub immediate: bool,
    /// Also capture frames for others.
    pub promiscuous: bool,
    /// Sockets (and threads) per interface.
    pub sockets: usize,
    /// Stop after this time.
    pub duration: Option<Duration>,
    /// Bytes that may wait between capture and analysis.
    pub queue: usize,
    /// Open an interface again when it comes back after it had vanished (needs the right to capture to be kept).
    pub resume: bool,
}

/// Why nothing can be captured.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The right to capture is missing.
    #[error("{interface}: this process may not capture ({cause})")]
    Permission {
        /// Interface.
        interface: String,
        /// What libpcap said.
        cause: String,
    },
    /// There is no such interface.
    #[error("{interface}: {cause}; `tamperscope interfaces` lists what there is")]
    Missing {
        /// Interface.
        interface: String,
        /// What libpcap said.
        cause: String,
    },
    /// The filter is wrong.
    #[error("{interface}: the filter is wrong: {cause}")]
    Filter {
        /// Interface.
        interface: String,
        /// What libpcap said.
        cause: String,
    },
    /// Something else.
    #[error("{interface}: {cause}")]
    Other {
        /// Interface.
        interface: String,
        /// What libpcap said.
        cause: String,
    },
}

/// Counters of one interface, written by its threads and read by anyone.
pub struct Gauge {
    name: String,
    link: AtomicU8,
    link_type: AtomicU16,
    packets: AtomicU64,
    bytes: AtomicU64,
    kernel: AtomicU64,
    interface: AtomicU64,
    queue: AtomicU64,
}

/// The counters of a capture.
pub struct Meter {
    gauges: Vec<Gauge>,
    notices: Mutex<Vec<String>>,
    /// Chunks waiting, and room for them.
    waiting: AtomicU64,
    room: u64,
}

impl Meter {
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
        self.waiting.load(Ordering::Relaxed).saturating_mul(100).checked_div(self.room).unwrap_or(0)
    }

    /// Something the operator should know.
    pub fn notice(&self, notice: String) {
        let mut list = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        // An interface that flaps must not fill memory between two looks.
        if list.len() < 64 {
            list.push(notice);
        }
    }

    fn gauge(&self, at: usize) -> Option<&Gauge> {
        self.gauges.get(at)
    }
}

type Handle = pcap::Capture<pcap::Active>;

/// A socket that is open and not yet read.
struct Tap {
    /// Index of the interface.
    interface: usize,
    handle: Handle,
    link: LinkType,
}

/// Open sockets.
pub struct Opened {
    taps: Vec<Tap>,
    options: Options,
    meter: Arc<Meter>,
}

/// Opens the sockets; nothing is read yet.
///
/// # Errors
/// [`LiveError`] says which interface, why, and what to do.
pub fn open(options: Options) -> Result<Opened, LiveError> {
    let gauges = options.interfaces.iter().map(|name| Gauge {
        name: name.clone(),
        link: AtomicU8::new(0),
        link_type: AtomicU16::new(0),
        packets: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        kernel: AtomicU64::new(0),
        interface: AtomicU64::new(0),
        queue: AtomicU64::new(0),
    });
    let room = options.queue.checked_div(CHUNK).unwrap_or(1).max(4);
    let meter = Arc::new(Meter {
        gauges: gauges.collect(),
        notices: Mutex::default(),
        waiting: AtomicU64::new(0),
        room: u64::try_from(room).unwrap_or(u64::MAX),
    });
    let mut taps = Vec::new();
    for (interface, name) in options.interfaces.iter().enumerate() {
        for socket in 0..options.sockets.max(1) {
            let (handle, notices) = activate(name, &options)?;
            let link = LinkType(u16::try_from(handle.get_datalink().0).unwrap_or(u16::MAX));
            if socket == 0 {
                notices.into_iter().for_each(|n| meter.notice(n));
                if !KNOWN_LINKS.contains(&link) {
                    meter.notice(format!("{name}: link type {} is not one whose frames can be read", link.0));
                }
                if let Some(g) = meter.gauge(interface) {
                    g.link_type.store(link.0, Ordering::Relaxed);
                }
            }
            if options.sockets > 1 {
                fanout::join(&handle, interface).map_err(|cause| LiveError::Other { interface: name.clone(), cause })?;
            }
            taps.push(Tap { interface, handle, link });
        }
    }
    Ok(Opened { taps, options, meter })
}

/// Link types the analysis reads.
const KNOWN_LINKS: &[LinkType] = &[
    LinkType::NULL,
    LinkType::ETHERNET,
    LinkType::PPP,
    LinkType::RAW_BSD,
    LinkType::RAW_OPENBSD,
    LinkType::PPP_HDLC,
    LinkType::PPP_ETHER,
    LinkType::RAW,
    LinkType::IEEE802_11,
    LinkType::LOOP,
    LinkType::LINUX_SLL,
    LinkType::IEEE802_11_RADIOTAP,
    LinkType::IPV4,
    LinkType::IPV6,
    LinkType::NFLOG,
    LinkType::LINUX_SLL2,
];

/// Opens one socket. What libpcap only warns about (the `pcap` crate makes errors of it) is tried again without, and said.
fn activate(name: &str, o: &Options) -> Result<(Handle, Vec<String>), LiveError> {
    let mut notices = Vec::new();
    let attempt = |promiscuous: bool, nanoseconds: bool| {
        let snaplen = i32::try_from(o.snaplen).unwrap_or(i32::MAX);
        let buffer = i32::try_from(o.buffer).unwrap_or(i32::MAX);
        let precision = if nanoseconds { pcap::Precision::Nano } else { pcap::Precision::Micro };
        pcap::Capture::from_device(name)?
            .snaplen(snaplen)
            .buffer_size(buffer)
            .immediate_mode(o.immediate)
            .timeout(KERNEL_WAIT)
            .precision(precision)
            .promisc(promiscuous)
            .open()
    };
    let opened = match attempt(o.promiscuous, true) {
        Err(e) if o.promiscuous && !is_fatal(&e) => {
            let plain = attempt(false, true);
            if plain.is_ok() {
                notices.push(format!("{name}: not in promiscuous mode ({e})"));
            }
            plain
        }
        other => other,
    };
    let mut handle = opened.map_err(|e| sort(name, &e))?;
    if name == "any" {
        // The newer header tells the interfaces apart; older libpcaps keep the old one.
        let _ = handle.set_datalink(pcap::Linktype(i32::from(LinkType::LINUX_SLL2.0)));
    }
    let mut handle = handle.setnonblock().map_err(|e| sort(name, &e))?;
    if let Some(filter) = &o.filter {
        handle.filter(filter, true).map_err(|e| LiveError::Filter { interface: name.into(), cause: e.to_string() })?;
    }
    Ok((handle, notices))
}

fn is_fatal(e: &pcap::Error) -> bool {
    let text = e.to_string().to_ascii_lowercase();
    ["permission", "permitted", "no such device", "exist"].iter().any(|w| text.contains(w))
}

fn sort(name: &str, e: &pcap::Error) -> LiveError {
    let cause = e.to_string();
    let text = cause.to_ascii_lowercase();
    let interface = name.to_owned();
    if text.contains("permission") || text.contains("permitted") {
        LiveError::Permission { interface, cause }
    } else if text.contains("no such device") || text.contains("exist") {
        LiveError::Missing { interface, cause }
    } else {
        LiveError::Other { interface, cause }
    }
}

/// Several sockets on one interface, each with its share of the flows.
#[cfg(target_os = "linux")]
mod fanout {
    use nix::sys::socket::setsockopt;
    use nix::{libc, setsockopt_impl, sockopt_impl};

    /// `PACKET_FANOUT_HASH`: both directions of a flow go to one socket; with `PACKET_FANOUT_FLAG_DEFRAG`: fragments too (packet(7)).
    const MODE: u32 = 0x8000;

    sockopt_impl!(
        /// Joins a fan-out group.
        Fanout,
        SetOnly,
        libc::SOL_PACKET,
        libc::PACKET_FANOUT,
        u32
    );

    /// Joins the group of this process and interface.
    pub(super) fn join(handle: &super::Handle, interface: usize) -> Result<(), String> {
        let group = (std::process::id() as usize).wrapping_mul(31).wrapping_add(interface) as u16;
        let value = u32::from(group) | (MODE << 16);
        setsockopt(handle, Fanout, &value)
            .map_err(|e| format!("packets cannot be shared between several sockets here ({e}); leave out --capture-threads"))
    }
}

#[cfg(not(target_os = "linux"))]
mod fanout {
    pub(super) fn join(_: &super::Handle, _: usize) -> Result<(), String> {
        Err("packets can be shared between several sockets on Linux only; leave out --capture-threads".into())
    }
}

/// Frames on their way from a capture thread. Their numbers are given when they are put in order.
struct Chunk {
    interface: usize,
    bytes: Vec<u8>,
    frames: Vec<FrameRef>,
}

impl Opened {
    /// The counters.
    pub fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// Begins to read; `order` ends the capture. The threads that read keep the rights that the calling thread has now.
    pub fn start(self, order: Arc<AtomicBool>) -> Live {
        let stop: Arc<AtomicBool> = Arc::default();
        let room = usize::try_from(self.meter.room).unwrap_or(4);
        let (tx, rx) = crossbeam_channel::bounded(room);
        let options = Arc::new(self.options);
        let mut threads = Vec::new();
        for tap in self.taps {
            let hand = Hand {
                chunk: Chunk { interface: tap.interface, bytes: Vec::with_capacity(CHUNK), frames: Vec::with_capacity(FRAMES) },
                tx: tx.clone(),
                meter: Arc::clone(&self.meter),
            };
            let (options, stop) = (Arc::clone(&options), Arc::clone(&stop));
            threads.push(std::thread::spawn(move || listen(tap, hand, &options, &stop)));
        }
        let lanes = options.interfaces.iter().map(|_| Lane::default()).collect();
        let ends = options.duration.and_then(|d| Instant::now().checked_add(d));
        Live { rx, meter: self.meter, stop, order, ends, threads, lanes, options, facts: SourceFacts::default() }
    }
}

/// What a capture thread fills and hands on.
struct Hand {
    chunk: Chunk,
    tx: Sender<Chunk>,
    meter: Arc<Meter>,
}

impl Hand {
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
        let next =
            Chunk { interface: self.chunk.interface, bytes: Vec::with_capacity(bytes.min(CHUNK)), frames: Vec::with_capacity(frames) };
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
        self.meter.waiting.store(u64::try_from(self.tx.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// The life of a capture thread.
fn listen(mut tap: Tap, mut hand: Hand, options: &Options, stop: &AtomicBool) {
    let mut name = options.interfaces.get(tap.interface).cloned().unwrap_or_default();
    name.shrink_to_fit();
    let mut kernel = Counter::default();
    let mut driver = Counter::default();
    let mut looked = Instant::now();
    let mut stopping: Option<Instant> = None;
    loop {
        let link = tap.link;
        let got = tap.handle.dispatch(Some(FRAMES), |packet| hand.take(&packet, link));
        let idle = match got {
            Ok(n) => n == 0,
            Err(e) => {
                hand.flush();
                let Some(again) = reopen(&name, &e, tap.interface, options, &hand.meter, stop) else { return };
                tap = again;
                (kernel, driver) = (kernel.again(), driver.again());
                continue;
            }
        };
        let now = Instant::now();
        if idle || now.duration_since(looked) > LOOK {
            hand.flush();
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
        let Ok((handle, _)) = activate(name, options) else { continue };
        if options.sockets > 1 && fanout::join(&handle, interface).is_err() {
            continue;
        }
        let link = LinkType(u16::try_from(handle.get_datalink().0).unwrap_or(u16::MAX));
        gauge.link_type.store(link.0, Ordering::Relaxed);
        if gauge.link.swap(0, Ordering::Relaxed) != 0 {
            let surprise = if link == before { String::new() } else { format!(", with link type {} instead of {}", link.0, before.0) };
            meter.notice(format!("{name}: the interface is back{surprise}"));
        }
        return Some(Tap { interface, handle, link });
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
            Ok(chunk) if self.lanes.len() == 1 => self.pass(chunk, out),
            Ok(chunk) => {
                self.keep(chunk);
                while let Ok(more) = self.rx.try_recv() {
                    self.keep(more);
                    if self.lanes.iter().map(|l| l.frames.len()).sum::<usize>() > FRAMES.saturating_mul(16) {
                        break;
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => over = true,
        }
        if self.lanes.len() > 1 {
            self.merge(over, out);
            over &= self.lanes.iter().all(|l| l.frames.is_empty());
        }
        self.meter.waiting.store(u64::try_from(self.rx.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
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
