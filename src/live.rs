//! What the arguments of `live` mean, and in which order a live capture is set up: sockets first, then rights are given up, then outputs
//! are opened, then everything else is closed off, and only then is a packet looked at.

use crate::cli::LiveArgs;
use crate::engine::watch::{self, LiveError, Opened, Watch, Wishes};
use crate::engine::{self, Plan, RunError};
use crate::model::board::Board;
use crate::model::pulse::Pulse;
use crate::model::shelf::Shelf;
use crate::model::story::End;
use crate::model::time::Span;
use crate::plan::{self, Surroundings, Wrong};
use crate::sandbox::{Sandbox, place_of};
use crate::sink::evidence::{Evidence, Policy};
use crate::sink::human::{Human, Style};
use crate::sink::jsonl::{self, Jsonl};
use crate::sink::keep::{Keep, Rotation};
use crate::sink::screen::{Orders, Screen};
use crate::sink::{Sink, metrics, text};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Why a live capture could not begin or go on.
pub enum Trouble {
    /// Wrong usage: exit status 2.
    Usage(Wrong),
    /// Nothing can be captured: exit status 5; whether the right to capture would help.
    Capture(LiveError, bool),
    /// It went wrong later.
    Run(RunError),
}

impl From<Wrong> for Trouble {
    fn from(wrong: Wrong) -> Self {
        Self::Usage(wrong)
    }
}

/// Everything is open; nothing was read yet.
pub struct Ready {
    plan: Plan,
    opened: Opened,
    board: Arc<Board>,
    wishes: Wishes,
    interval: Duration,
    keep: Option<Keep>,
    sinks: Vec<Box<dyn Sink>>,
    sandbox: Sandbox,
    listener: Option<metrics::Listener>,
    screen: Option<Style>,
    shelves: Vec<Arc<Shelf>>,
}

/// Bytes that may wait between capture and analysis: a sixteenth of the memory, within reason.
fn queue(max_memory: u64) -> usize {
    usize::try_from((max_memory / 16).clamp(4 << 20, 256 << 20)).unwrap_or(4 << 20)
}

/// Opens sockets and outputs.
///
/// # Errors
/// [`Trouble`] says why, and what to do.
pub fn prepare(args: &LiveArgs, around: &Surroundings) -> Result<Ready, Trouble> {
    let outs = plan::outs(&args.out)?;
    let to_stdout = usize::from(args.json) + outs.iter().filter(|o| o.path == Path::new("-")).count();
    if to_stdout > 1 {
        return Err(Wrong("only one output can go to standard output".into()).into());
    }
    // Wrong service files are found before anything is opened.
    engine::services(&args.services).map_err(Trouble::Run)?;
    let plan = engine_plan(args);
    let board: Arc<Board> = Arc::default();
    let mut sandbox = Sandbox::new(args.sandbox);
    let address = args.metrics.as_deref().map(metrics::address).transpose().map_err(Wrong)?;
    let filter = if args.expression.is_empty() { args.filter.clone() } else { Some(args.expression.join(" ")) };
    let opened = watch::open(watch::Options {
        interfaces: args.interfaces.clone(),
        filter: filter.clone(),
        snaplen: args.snaplen,
        buffer: u32::try_from(args.buffer.0).unwrap_or(u32::MAX).min(1 << 30),
        immediate: args.immediate_mode,
        promiscuous: args.promisc,
        sockets: usize::from(args.capture_threads),
        duration: args.autostop.map(|a| a.0),
        queue: queue(args.max_memory.0),
        resume: sandbox.keeps_capturing(),
    })
    .map_err(|e| {
        let may_help = matches!(e, LiveError::Permission { .. });
        Trouble::Capture(e, may_help)
    })?;
    let listener = match address {
        Some(a) => Some(metrics::Listener::bind(a).map_err(|e| Wrong(format!("cannot serve metrics on {a}: {e}")))?),
        None => None,
    };
    sandbox.rights().map_err(Wrong)?;
    let keep = args.write.as_deref().map(|path| open_keep(args, path, filter.as_deref())).transpose()?;
    let style = Style {
        color: around.color(args.color),
        ascii: around.ascii(),
        width: around.width(),
        show_circumvention: args.show_circumvention,
        ..Style::default()
    };
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    for out in &outs {
        // Records are written as they come; other kinds when the capture ends.
        let sink = if out.kind.name == "jsonl" { jsonl::follow(&out.path) } else { (out.kind.open)(&out.path, &style) };
        sinks.push(sink.map_err(|e| cannot_write(&out.path, &e))?);
    }
    let screen = (to_stdout == 0 && around.stdout_terminal).then_some(style);
    if to_stdout == usize::from(args.json) && screen.is_none() {
        let files = !sinks.is_empty() || keep.is_some();
        sinks.push(plan::shielded(Jsonl::new(io::stdout()).at_once(), files));
    }
    if !args.quiet && screen.is_none() {
        sinks.push(Box::new(Notices));
    }
    let shelves = shelves(args, plan.workers);
    if let Some(dir) = &args.evidence {
        let policy = Policy {
            dir: dir.clone(),
            bytes: args.evidence_size.0,
            age: Span::from_secs(i64::from(args.evidence_age) * 3600),
            real: args.evidence_real_addresses,
        };
        let meter = opened.meter();
        let tell = Box::new(move |said| meter.notice(said));
        sinks.push(Box::new(Evidence::create(policy, shelves.clone(), tell).map_err(|e| cannot_write(dir, &e))?));
    }
    let files = outs.iter().map(|o| o.path.as_path()).chain(args.write.as_deref()).filter(|p| *p != Path::new("-"));
    let mut places: Vec<PathBuf> = files.map(place_of).collect();
    places.extend(args.evidence.clone());
    // Their directories, not the files: who edits one often puts another in its place, which HUP is to read.
    let rules: Vec<PathBuf> = args.services.iter().map(|p| place_of(p)).collect();
    sandbox.files(&places, &rules).map_err(Wrong)?;
    Ok(Ready {
        plan,
        opened,
        board,
        wishes: Wishes::default(),
        interval: Duration::from_secs(u64::from(args.interval)),
        keep,
        sinks,
        sandbox,
        listener,
        screen,
        shelves,
    })
}

/// Says on standard error what the operator should know.
struct Notices;

impl Sink for Notices {
    fn pulse(&mut self, pulse: &Pulse<'_>) -> io::Result<()> {
        for notice in &pulse.stats.notices {
            // Nobody is left to tell if this fails.
            let _ = writeln!(io::stderr(), "tamperscope: {}", text::shown(notice, false));
        }
        Ok(())
    }
    fn finish(&mut self, _: &End) -> io::Result<()> {
        Ok(())
    }
}

/// A tenth of the memory for packets that may become evidence.
fn shelves(args: &LiveArgs, workers: usize) -> Vec<Arc<Shelf>> {
    let most = usize::try_from(args.max_memory.0 / 10).unwrap_or(usize::MAX) / workers.max(1);
    let count = if args.evidence.is_some() { workers.max(1) } else { 0 };
    (0..count).map(|_| Arc::new(Shelf::new(most))).collect()
}

fn cannot_write(path: &Path, e: &io::Error) -> Trouble {
    Wrong(format!("cannot write {}: {e}", path.display())).into()
}

fn open_keep(args: &LiveArgs, path: &Path, filter: Option<&str>) -> Result<Keep, Trouble> {
    let rotation = Rotation {
        bytes: args.rotate_size.map(|n| u64::from(n.get()) * 1_000_000),
        age: args.rotate_age.map(|n| Span::from_secs(i64::from(n.get()))),
        files: args.rotate_files.and_then(|n| usize::try_from(n.get()).ok()),
    };
    Keep::create(path, rotation, args.snaplen, &args.interfaces, filter).map_err(|e| cannot_write(path, &e))
}

fn engine_plan(args: &LiveArgs) -> Plan {
    let workers = args.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, usize::from);
    Plan {
        workers,
        max_flows: args.max_flows.0,
        max_memory: args.max_memory.0,
        packet_limit: args.count,
        services: args.services.clone(),
        max_drop: args.max_drop.0 / 100.0,
        fail_on: args.fail_on.map(Into::into),
        ..Plan::default()
    }
}

impl Ready {
    /// The engine's part, for signals to stop.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What other signals ask for.
    pub fn wishes(&self) -> Wishes {
        self.wishes.clone()
    }

    /// Captures until told to stop.
    ///
    /// # Errors
    /// [`Trouble::Run`] when an output cannot be written.
    pub fn run(mut self) -> Result<End, Trouble> {
        let meter = self.opened.meter();
        let live = self.opened.start(Arc::clone(&self.plan.stop));
        self.sandbox.network().map_err(Wrong)?;
        for missing in self.sandbox.missing() {
            meter.notice(format!("sandbox: {missing}"));
        }
        // Threads begun from here on can do nothing but compute, and write to what is open.
        if let Some(listener) = self.listener {
            self.sinks.push(Box::new(listener.serve(Arc::clone(&self.board))));
        }
        if let Some(style) = self.screen {
            let orders = Orders { end: live.ender(), interrupt: Arc::clone(&self.plan.stop) };
            let screen = Screen::open(style, orders).map_err(|e| Wrong(format!("the terminal cannot be used ({e}); try --json")))?;
            self.sinks.push(Box::new(screen));
            // When the screen is gone, what it came to remains to be read.
            self.sinks.push(Box::new(Human::new(io::stdout(), style)));
        }
        let watch = Watch { live, board: self.board, interval: self.interval, wishes: self.wishes, keep: self.keep, shelves: self.shelves };
        watch::watch(&self.plan, watch, &mut self.sinks).map_err(Trouble::Run)
    }
}
