//! The corridor: it walks batches through the rooms and is the only place with threads, channels and joins.
//!
//! One reader (this thread) finds each frame's flow key and deals frames to shards; each shard owns the flows it was dealt;
//! one collector restores capture order, judges, and feeds the sinks. Files make the reader wait: all channels are bounded.
//! With one worker the same code runs with one shard.

pub mod again;
mod collector;
#[cfg_attr(not(feature = "live"), path = "glance_none.rs")]
mod glance;
#[cfg(feature = "live")]
mod ledger;
#[cfg(feature = "live")]
mod memory;
mod pair;
mod progress;
#[cfg(feature = "live")]
mod pulse;
mod reader;
mod scribe;
mod shard;
#[cfg(feature = "live")]
mod shed;
mod split;
mod talk;
#[cfg(feature = "live")]
pub mod watch;
#[cfg(feature = "live")]
mod window;

pub use crate::classify::ServiceInfo;
pub use pair::pair;
pub use reader::shard_of;

use crate::classify;
use crate::collect;
use crate::detect;
use crate::model::finding::{Card, Grade};
use crate::model::flow::FlowRecord;
use crate::model::frame::Batch;
use crate::model::oddity::Oddity;
use crate::model::pair::{Fronts, Tap};
use crate::model::source::SourceFacts;
use crate::model::story::End;
use crate::sink::{RunInfo, Sink};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// Batches in flight per shard. Each holds at most 512 frames.
const BATCHES_IN_FLIGHT: usize = 16;

/// What a run is to do, with every name checked.
#[derive(Clone)]
pub struct Plan {
    /// Files to analyse, in order; `-` is standard input.
    pub inputs: Vec<PathBuf>,
    /// Shards, at least 1.
    pub workers: usize,
    /// Most flows alive at a time, over all shards.
    pub max_flows: usize,
    /// Most memory for flow state, bytes; translated into a bound on flows.
    pub max_memory: u64,
    /// Stop after this many packets in total.
    pub packet_limit: Option<u64>,
    /// Analyse only frames that this filter in libpcap's language lets through.
    pub filter: Option<String>,
    /// The user's service files.
    pub services: Vec<PathBuf>,
    /// Let rules count that are more often wrong than others (`opt_in` in service files).
    pub heuristics: bool,
    /// Share of packets (0–1) that may be lost by the capture before the run counts as degraded.
    pub max_drop: f64,
    /// Findings at or above this grade make the exit code 1.
    pub fail_on: Option<Grade>,
    /// Set by a signal: finish what was read and end.
    pub stop: Arc<AtomicBool>,
    /// The exit code of the signal that set `stop`: 130 or 143; 0 as long as there was none.
    pub signal: Arc<AtomicUsize>,
    /// Show progress on standard error.
    pub progress: bool,
    /// Of two captures that are compared: what the user says each stands in front of.
    pub fronts: Fronts,
}

/// Most flows followed at a time, unless the plan says otherwise.
pub const DEFAULT_MAX_FLOWS: usize = 1_000_000;
/// Most memory for flows, unless the plan says otherwise. Not taken from the machine, so that results do not depend on it.
pub const DEFAULT_MAX_MEMORY: u64 = 4 << 30;
/// The same for live captures, in bytes.
pub const DEFAULT_LIVE_MEMORY: u64 = 1 << 30;
/// Share of packets that may be lost, unless the plan says otherwise.
pub const DEFAULT_MAX_DROP: f64 = 0.01;

impl Default for Plan {
    /// What the command line does without options, on one thread.
    fn default() -> Self {
        Self {
            inputs: Vec::new(),
            workers: 1,
            max_flows: DEFAULT_MAX_FLOWS,
            max_memory: DEFAULT_MAX_MEMORY,
            packet_limit: None,
            filter: None,
            services: Vec::new(),
            heuristics: false,
            max_drop: DEFAULT_MAX_DROP,
            fail_on: None,
            stop: Arc::default(),
            signal: Arc::default(),
            progress: false,
            fronts: Fronts::default(),
        }
    }
}

/// Why a run could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A service file is wrong, or cannot be read.
    #[error("{0}")]
    Services(String),
    /// An output could not be written.
    #[error("cannot write output: {0}")]
    Output(#[from] std::io::Error),
}

impl RunError {
    /// The reader of our output has gone: no error for a program in a pipe.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(e) if e.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

/// To a shard.
enum ToShard {
    /// Frames of the current source.
    Frames(Batch),
    /// The current source is over.
    SourceEnd,
    /// A live source goes on: say how things stand.
    #[cfg_attr(not(feature = "live"), allow(dead_code))]
    Glance {
        /// Up to when the source was watched.
        now: Option<crate::model::time::Time>,
    },
}

/// To the collector.
enum ToCollector {
    /// Flows that ended.
    Flows { source: u32, flows: Vec<FlowRecord> },
    /// A shard has handed over all flows of a source.
    ShardDone { source: u32, summary: ShardSummary },
    /// The reader has read all of a source.
    SourceRead { facts: Box<SourceFacts> },
    /// A source could not be opened or read.
    SourceFailed { source: u32, path: String, why: String },
    /// A live source: all flows that ended were handed over, and these are open and changed since the last time.
    #[cfg_attr(not(feature = "live"), allow(dead_code))]
    Glanced { open: Vec<FlowRecord> },
    /// A live source goes on: what the reader knows of it.
    #[cfg_attr(not(feature = "live"), allow(dead_code))]
    Tick(Box<Tick>),
}

/// How a live source stands, as its reader sees it.
#[cfg_attr(not(feature = "live"), allow(dead_code))]
struct Tick {
    /// Number of the request that went to the shards.
    tick: u64,
    facts: SourceFacts,
    /// Since the capture began.
    uptime: crate::model::time::Span,
    /// How long the shards have had the request.
    #[cfg(feature = "live")]
    since: pulse::Stopwatch,
}

/// What a shard counted for one source.
#[derive(Default)]
struct ShardSummary {
    oddities: BTreeMap<Oddity, u64>,
    decoded: u64,
    evicted: u64,
    panics: Vec<u64>,
    sums: collect::Sums,
}

/// Memory one flow may need on average, for turning a memory bound into a flow bound: a TLS flow's record with its ladder and notes.
const BYTES_PER_FLOW: u64 = 4 * 1024;

/// Analyses all inputs, feeds the sinks, and returns the totals with the exit code.
///
/// # Errors
/// [`RunError::Services`] when a service file is wrong, [`RunError::Output`] when a sink cannot write.
pub fn run(plan: &Plan, sinks: &mut [Box<dyn Sink>]) -> Result<End, RunError> {
    let book = book(&plan.services)?.with_heuristics(plan.heuristics);
    let workers = plan.workers.max(1);
    let by_memory = usize::try_from(plan.max_memory / BYTES_PER_FLOW).unwrap_or(usize::MAX);
    let flows_per_shard = (plan.max_flows.min(by_memory) / workers).max(1);
    for sink in sinks.iter_mut() {
        sink.begin(&run_info(plan, &book, DEFAULT_MAX_MEMORY))?;
    }
    let (collect_tx, collect_rx) = crossbeam_channel::bounded(workers * 4 + 4);
    std::thread::scope(|scope| {
        // Named, so that a profile tells them apart.
        let named = |name: String| std::thread::Builder::new().name(name);
        let book = &book;
        let collector =
            named("collector".to_owned()).spawn_scoped(scope, move || collector::run(plan, workers, book, &collect_rx, sinks))?;
        if workers == 1 {
            reader::run(plan, &[RefCell::new(shard::Shard::new(&collect_tx, flows_per_shard, None))], &collect_tx);
        } else {
            let mut to_shards = Vec::with_capacity(workers);
            for k in 0..workers {
                let (tx, rx) = crossbeam_channel::bounded(BATCHES_IN_FLIGHT);
                to_shards.push(tx);
                let out = collect_tx.clone();
                named(format!("shard {k}")).spawn_scoped(scope, move || shard::run(&rx, &out, flows_per_shard, None))?;
            }
            reader::run(plan, &to_shards, &collect_tx);
        }
        drop(collect_tx);
        match collector.join() {
            Ok(end) => end,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// What is known before the first source.
/// `memory`: the bound on memory when the user sets none.
fn run_info(plan: &Plan, book: &classify::Book, memory: u64) -> RunInfo {
    let args_shown = args_shown(plan);
    let unasked = self::args_shown(&Plan { max_memory: memory, ..Plan::default() });
    RunInfo {
        version: env!("CARGO_PKG_VERSION"),
        asked: args_shown.iter().filter(|a| !unasked.contains(a)).cloned().collect(),
        args_shown,
        rules_sha256: Some(rules_sha256(book)),
        cards: cards(),
    }
}

/// The options that can change what the run tells, in one spelling and order. A service file is named without its folder: records say
/// nothing about the machine they were made on.
fn args_shown(plan: &Plan) -> Vec<String> {
    let mut out = vec![format!("--max-flows {}", plan.max_flows), format!("--max-memory {}", plan.max_memory)];
    out.extend(plan.packet_limit.map(|n| format!("-c {n}")));
    out.extend(plan.filter.as_ref().map(|words| format!("-f {words}")));
    out.extend(plan.fail_on.map(|g| format!("--fail-on {}", g.name())));
    out.push(format!("--max-drop {}", plan.max_drop * 100.0));
    out.extend(plan.services.iter().map(|p| {
        let name = p.file_name().unwrap_or(p.as_os_str()).to_string_lossy();
        format!("--services {name}")
    }));
    out.extend(plan.heuristics.then(|| "--heuristics".to_owned()));
    out.extend(Tap::BOTH.iter().flat_map(|tap| plan.fronts.0[*tap].iter().map(|net| format!("{} {net}", Fronts::option(*tap)))));
    out
}

/// Whether words are a filter in libpcap's language, for [`Plan::filter`].
///
/// # Errors
/// What is wrong with them.
pub fn check_filter(words: &str) -> Result<(), String> {
    crate::capture::Filter::check(words)
}

/// One hash over everything that is a rule but not code: services, the user's among them, known block pages and injectors.
fn rules_sha256(book: &classify::Book) -> String {
    use std::fmt::Write;
    let all = Sha256::new().chain_update(book.digest()).chain_update(detect::KNOWN_PAGES).chain_update(detect::KNOWN_INJECTORS).finalize();
    all.iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// All detectors' cards, in the order in which they judge.
pub fn cards() -> Vec<&'static Card> {
    detect::ALL.iter().map(|d| d.card()).chain(&crate::pair::CARDS).collect()
}

/// The services known, the user's files included.
///
/// # Errors
/// [`RunError::Services`] names file, line and key of what is wrong.
pub fn services(files: &[PathBuf]) -> Result<(Vec<ServiceInfo>, Vec<String>), RunError> {
    let book = book(files)?;
    Ok((book.services().cloned().collect(), book.warnings().to_vec()))
}

/// As [`services`], and besides tries every rule with a flow made for it: the warnings name those that match nothing.
///
/// # Errors
/// [`RunError::Services`] when a file cannot be read or is wrong.
pub fn check_services(files: &[PathBuf]) -> Result<(Vec<ServiceInfo>, Vec<String>), RunError> {
    let book = book(files)?;
    let warnings = book.warnings().iter().cloned().chain(book.idle_rules()).collect();
    Ok((book.services().cloned().collect(), warnings))
}

fn book(files: &[PathBuf]) -> Result<classify::Book, RunError> {
    let mut book = classify::Book::builtin().map_err(|e| RunError::Services(e.to_string()))?;
    for file in files {
        let text = std::fs::read_to_string(file).map_err(|e| RunError::Services(format!("{}: {e}", file.display())))?;
        book = book.with_file(file, &text).map_err(|e| RunError::Services(e.to_string()))?;
    }
    Ok(book)
}
