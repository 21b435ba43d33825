//! Frames from network interfaces, through libpcap. With the screen's refresh the only place that looks at a clock.
//!
//! Sockets are opened first ([`open`]), so that rights can be given up before a single packet is looked at; then [`Opened::start`] begins
//! to read. Each socket has a thread that does nothing but copy frames out of the kernel's ring and hand them on in chunks, over one
//! bounded queue. When that queue is full, the chunk is dropped and counted: a live capture never waits for us.

mod hand;
mod meter;
mod order;
mod socket;

pub use meter::Meter;
pub use order::Live;

use hand::Hand;
use socket::Tap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Frames per chunk.
const FRAMES: usize = 512;
/// Bytes per chunk.
const CHUNK: usize = 256 << 10;
/// How long a thread sleeps when there is nothing to read.
const NAP: Duration = Duration::from_millis(50);

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
    let room = options.queue.checked_div(CHUNK).unwrap_or(1).max(4);
    let meter = Arc::new(Meter::new(&options.interfaces, options.interfaces.len().saturating_mul(options.sockets.max(1)), room));
    let mut taps = Vec::new();
    for (interface, name) in options.interfaces.iter().enumerate() {
        for socket in 0..options.sockets.max(1) {
            let (tap, notices) = Tap::open(interface, name, &options)?;
            if socket == 0 {
                notices.into_iter().for_each(|n| meter.notice(n));
                tap.announce(name, &meter);
            }
            taps.push(tap);
        }
    }
    Ok(Opened { taps, options, meter })
}

impl Opened {
    /// The counters.
    pub fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// Begins to read; `order` ends the capture. The threads that read keep the rights that the calling thread has now.
    pub fn start(self, order: Arc<AtomicBool>) -> Live {
        let stop: Arc<AtomicBool> = Arc::default();
        let (tx, rx) = crossbeam_channel::bounded(self.meter.room());
        let options = Arc::new(self.options);
        let mut threads = Vec::new();
        for (socket, tap) in self.taps.into_iter().enumerate() {
            let hand = Hand::new(tap.interface, socket, tx.clone(), Arc::clone(&self.meter));
            let (options, stop) = (Arc::clone(&options), Arc::clone(&stop));
            threads.push(std::thread::spawn(move || hand::listen(tap, hand, &options, &stop)));
        }
        Live::new(rx, self.meter, stop, order, threads, options)
    }
}
