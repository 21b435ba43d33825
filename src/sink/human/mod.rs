//! The verdict for people: how good the capture is, what became of each service, what the network did, and what to capture next. One screen.
//!
//! Every string that came from the wire passes [`text::shown`] before it is written. Colour only repeats what a symbol and a word say already.

use super::output::Output;
use super::{Sink, names, text};
use crate::model::finding::{Finding, Grade};
use crate::model::flow::FlowRecord;
use crate::model::label::{Label, Role};
use crate::model::pair::Pairing;
use crate::model::source::SourceFacts;
use crate::model::story::{End, ServiceState, State, Story};
use std::io;

mod screen;

/// How to write. Decided once, from options, environment and terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Use colours.
    pub color: bool,
    /// Only ASCII: the locale is not UTF-8.
    pub ascii: bool,
    /// Columns.
    pub width: usize,
    /// Print only the line that counts findings.
    pub quiet: bool,
    /// More findings, all of their evidence, and a line for each flow.
    pub verbose: bool,
    /// Show services that are ways around blocking.
    pub show_circumvention: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { color: false, ascii: false, width: 80, quiet: false, verbose: false, show_circumvention: false }
    }
}

/// A colour or weight.
#[derive(Clone, Copy, Debug)]
pub enum Paint {
    /// Headings.
    Bold,
    /// Secondary text.
    Dim,
    /// Blocked, confirmed.
    Red,
    /// Impaired, likely.
    Yellow,
    /// Ok.
    Green,
}

impl Style {
    /// Text in a colour, if colours are on. `text` is shown text already.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Bold => 1,
            Paint::Dim => 2,
            Paint::Red => 31,
            Paint::Yellow => 33,
            Paint::Green => 32,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
    /// Text made harmless.
    pub fn shown(&self, text: &str) -> String {
        text::shown(text, self.ascii)
    }
}

/// Writes the verdict.
pub struct Human<W: Output> {
    out: W,
    style: Style,
    told: Told,
    /// Two captures were compared; that was told already.
    paired: bool,
}

/// What is kept of the stories until the end.
#[derive(Default)]
struct Told {
    sources: Vec<Source>,
    services: Vec<Row>,
    findings: Vec<Found>,
    failed: Vec<(String, String)>,
}

/// One source.
struct Source {
    facts: SourceFacts,
    flows: usize,
    findings: usize,
}

/// One service and role, over all sources.
struct Row {
    id: Box<str>,
    title: Box<str>,
    role: Option<Role>,
    /// The worst state of any source, and how many sources share it.
    state: State,
    witnesses: usize,
    sources: usize,
    attempts: u64,
    ok: u64,
    failed: u64,
    flows: u64,
    because: String,
    unless: String,
    circumvention: bool,
}

/// A finding with what is needed to show it without its story.
struct Found {
    finding: Finding,
    path: String,
    /// First flow: client and server.
    between: Option<String>,
    circumvention: bool,
}

impl<W: Output> Human<W> {
    /// Writes to `out` in this style.
    pub fn new(out: W, style: Style) -> Self {
        Self { out, style, told: Told::default(), paired: false }
    }

    fn write_lines(&mut self, lines: &[String]) -> io::Result<()> {
        let mut all = String::new();
        for line in lines {
            all.push_str(line);
            all.push('\n');
        }
        self.out.write_all(all.as_bytes())
    }
}

impl<W: Output> Sink for Human<W> {
    fn story(&mut self, story: &Story) -> io::Result<()> {
        self.told.add(story);
        if self.style.verbose && !self.style.quiet {
            let mut lines = vec![self.style.paint(Paint::Bold, &self.style.shown(&format!("Flows of {}", story.source.path)))];
            for (i, flow) in story.flows.iter().enumerate() {
                lines.push(flow_line(&self.style, flow, story.labels.get(i).and_then(Option::as_ref)));
                if lines.len() >= 1024 {
                    self.write_lines(&lines)?;
                    lines.clear();
                }
            }
            lines.push(String::new());
            self.write_lines(&lines)?;
        }
        Ok(())
    }

    fn pair(&mut self, pairing: &Pairing, ends: [&Story; 2]) -> io::Result<()> {
        self.paired = true;
        let lines = super::pair::verdict(&self.style, pairing, ends);
        self.write_lines(&lines)
    }

    fn failed(&mut self, path: &str, why: &str) -> io::Result<()> {
        self.told.failed.push((path.to_owned(), why.to_owned()));
        Ok(())
    }

    fn finish(&mut self, end: &End) -> io::Result<()> {
        if self.paired {
            return self.out.commit();
        }
        let lines = if self.style.quiet { vec![screen::findings_count(&self.told)] } else { screen::verdict(&self.style, &self.told, end) };
        self.write_lines(&lines)?;
        self.out.commit()
    }
}

/// How bad a state is when sources are put together. Too little to say in one capture does not spoil what another shows.
const fn weight(state: State) -> u8 {
    match state {
        State::Insufficient => 0,
        State::Ok => 1,
        State::Down => 2,
        State::Impaired => 3,
        State::LikelyBlocked => 4,
        State::Blocked => 5,
    }
}

impl Told {
    fn add(&mut self, story: &Story) {
        self.sources.push(Source { facts: story.source.clone(), flows: story.flows.len(), findings: story.findings.len() });
        for s in &story.services {
            self.add_service(s);
        }
        for f in &story.findings {
            let flows = || f.flows.iter().filter_map(|id| super::jsonl::find(story, *id));
            let first = flows().next();
            self.findings.push(Found {
                finding: f.clone(),
                path: story.source.path.clone(),
                between: first.map(|f| format!("{} {}", f.proto.name(), between(f))),
                circumvention: is_circumvention(f, story),
            });
        }
    }

    fn add_service(&mut self, s: &ServiceState) {
        let Some(row) = self.services.iter_mut().find(|r| r.id == s.id && r.role == s.role) else {
            self.services.push(Row {
                id: s.id.clone(),
                title: s.title.clone(),
                role: s.role,
                state: s.state,
                witnesses: 1,
                sources: 1,
                attempts: s.attempts,
                ok: s.ok,
                failed: s.failed,
                flows: s.flows,
                because: s.because.clone(),
                unless: s.unless.clone(),
                circumvention: s.circumvention,
            });
            return;
        };
        row.sources += 1;
        row.attempts += s.attempts;
        row.ok += s.ok;
        row.failed += s.failed;
        row.flows += s.flows;
        if s.state == row.state {
            row.witnesses += 1;
        } else if weight(s.state) > weight(row.state) {
            row.state = s.state;
            row.witnesses = 1;
            row.because.clone_from(&s.because);
            row.unless.clone_from(&s.unless);
        }
    }

    /// Findings to show, surest first; equal ones in the order they were told.
    fn findings(&self, style: &Style) -> Vec<&Found> {
        let mut all: Vec<&Found> = self.findings.iter().filter(|f| style.show_circumvention || !f.circumvention).collect();
        all.sort_by_key(|f| std::cmp::Reverse((f.finding.grade, f.finding.flows.len())));
        all
    }

    /// Rows to show, worst first.
    fn rows(&self, style: &Style) -> Vec<&Row> {
        let mut all: Vec<&Row> = self.services.iter().filter(|r| style.show_circumvention || !r.circumvention).collect();
        all.sort_by_key(|r| std::cmp::Reverse((weight(r.state), r.attempts)));
        all
    }

    /// No source, or none with packets.
    fn nothing_seen(&self) -> bool {
        self.sources.iter().all(|s| s.facts.packets == 0)
    }

    fn count(&self, grade: Grade) -> usize {
        self.findings.iter().filter(|f| f.finding.grade == grade).count()
    }
}

/// Whether a finding is about a way around blocking: its service is one, or a flow of it is labelled so.
fn is_circumvention(f: &Finding, story: &Story) -> bool {
    let by_service = f.target.service.as_deref().is_some_and(|id| story.services.iter().any(|s| s.circumvention && *s.id == *id));
    by_service
        || f.flows.iter().any(|id| {
            let at = story.flows.binary_search_by_key(id, |f| f.id);
            let label = at.ok().and_then(|i| story.labels.get(i)).and_then(Option::as_ref);
            label.is_some_and(|l| l.circumvention)
        })
}

fn between(f: &FlowRecord) -> String {
    let end = |e: crate::model::key::Endpoint| match e.ip {
        std::net::IpAddr::V4(ip) => format!("{ip}:{}", e.port),
        std::net::IpAddr::V6(ip) => format!("[{ip}]:{}", e.port),
    };
    format!("{} → {}", end(f.client), end(f.server))
}

fn flow_line(style: &Style, f: &FlowRecord, label: Option<&Label>) -> String {
    let label = label.filter(|l| style.show_circumvention || !l.circumvention);
    let app = f.app.unwrap_or("-");
    let service = label.map_or_else(String::new, |l| format!(" {} ({})", l.id, l.grade.name()));
    let stage = match names::stage(f.stage) {
        "none" => String::new(),
        s => format!("/{s}"),
    };
    let name = f.asked_name().map_or_else(String::new, |n| format!(" {n}"));
    style.shown(&format!(
        "  frame {:<7} {:<4} {} {app} {}{stage}{service}{name}",
        f.id.frame.0,
        f.proto.name(),
        between(f),
        names::outcome(f.outcome)
    ))
}

#[cfg(test)]
mod tests;
