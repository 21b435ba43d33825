//! `slice`: only the evidence of a finding, as a small capture that shows the finding again.

use crate::cli::SliceArgs;
use crate::engine::{self, Plan, again};
use crate::model::evidence::Evidence;
use crate::model::finding::Finding;
use crate::model::story::{End, Story};
use crate::sink::output::{NewFile, Output};
use crate::sink::pcapng::slice::Slice;
use crate::sink::{RunInfo, Sink, text};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Why there is no slice, one sentence, and the exit code that says so.
#[derive(Debug, thiserror::Error)]
#[error("{says}")]
pub struct NoSlice {
    /// The sentence.
    pub says: String,
    /// 2: what was asked for is wrong; 3: the capture cannot be analysed.
    pub exit: u8,
}

fn wrong(says: impl Into<String>) -> NoSlice {
    NoSlice { says: says.into(), exit: 2 }
}

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sliced {
    /// Frames in the slice.
    pub frames: usize,
    /// Frames of the capture.
    pub of: u64,
    /// Flows in the slice.
    pub flows: usize,
}

/// Analyses the capture and writes the evidence of the findings asked for.
///
/// # Errors
/// A capture that cannot be read twice or not analysed, a finding that is not in it, an output that cannot be written.
pub fn run(args: &SliceArgs) -> Result<Sliced, NoSlice> {
    if !args.input.is_file() && (args.input.exists() || args.input == Path::new("-")) {
        return Err(wrong(again::ONCE));
    }
    let told = Arc::new(Mutex::new(Told::default()));
    let plan = Plan {
        inputs: vec![args.input.clone()],
        workers: args.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, usize::from),
        services: args.services.clone(),
        ..Plan::default()
    };
    let end = engine::run(&plan, &mut [Box::new(Listen(Arc::clone(&told)))]).map_err(|e| wrong(e.to_string()))?;
    if let Some((path, why)) = end.failed_sources.first() {
        return Err(NoSlice { says: format!("{path}: {why}"), exit: 3 });
    }
    let told = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
    let mut findings: Vec<&Finding> = Vec::new();
    for id in &args.finding {
        let finding = named(&told.story, id)?;
        if !findings.iter().any(|f| f.id == finding.id) {
            findings.push(finding);
        }
    }
    let mut evidence = Evidence::default();
    for finding in &findings {
        let Evidence { flows, frames } = again::evidence(&told.story, finding, !args.without_controls);
        for (id, part) in flows {
            evidence.flows.entry(id).and_modify(|p| *p = (*p).min(part)).or_insert(part);
        }
        evidence.frames.extend(frames);
    }
    let unreadable = |e: io::Error| wrong(format!("{}: {e}", args.input.display()));
    let frames = again::frames(&args.input, &told.story, &evidence).map_err(unreadable)?;
    let sliced = Sliced { frames: frames.len(), of: told.story.source.packets, flows: evidence.flows.len() };
    let unwritable = |e: io::Error| wrong(format!("cannot write {}: {e}", args.output.display()));
    let out: Box<dyn Output> =
        if args.output == Path::new("-") { Box::new(io::stdout()) } else { Box::new(NewFile::create(&args.output).map_err(unwritable)?) };
    let ids: Vec<&str> = findings.iter().map(|f| &*f.id).collect();
    let mut slice = Slice::new(out, &told.run, &told.story, &ids, &evidence, &frames).map_err(unwritable)?;
    let copied = again::pieces(Some(&args.input), |piece| match piece.frame() {
        Some((head, data)) => slice.frame(&head, data),
        None => Ok(()),
    });
    copied.and_then(|()| slice.finish()).map_err(unwritable)?;
    Ok(sliced)
}

/// The finding with this id, or with the only id that begins so.
fn named<'a>(story: &'a Story, id: &str) -> Result<&'a Finding, NoSlice> {
    let mut like = story.findings.iter().filter(|f| f.id.starts_with(id));
    match (like.next(), like.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            story.findings.iter().find(|f| &*f.id == id).ok_or_else(|| wrong(format!("{id} is the beginning of several findings")))
        }
        (None, _) if story.findings.is_empty() => Err(wrong("this capture has no findings")),
        (None, _) => {
            let known: Vec<&str> = story.findings.iter().map(|f| &*f.id).take(20).collect();
            Err(wrong(format!("no finding {} in this capture; it has {}", text::shown(id, false), known.join(", "))))
        }
    }
}

/// What the run told.
#[derive(Default)]
struct Told {
    run: RunInfo,
    story: Story,
}

/// Keeps the story.
struct Listen(Arc<Mutex<Told>>);

impl Sink for Listen {
    fn begin(&mut self, run: &RunInfo) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).run = run.clone();
        Ok(())
    }
    fn story(&mut self, story: &Story) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).story = story.clone();
        Ok(())
    }
    fn finish(&mut self, _: &End) -> io::Result<()> {
        Ok(())
    }
}
