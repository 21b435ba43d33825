//! The verdict for people: how good the capture is, what became of each service, what the network did, and what to capture next. One screen.
//!
//! Every string that came from the wire passes [`text::shown`] before it is written. Colour only repeats what a symbol and a word say already.

use super::output::Output;
use super::{Sink, names, text};
use crate::model::finding::{Finding, Grade};
use crate::model::flow::FlowRecord;
use crate::model::key::Proto;
use crate::model::label::{Label, Role};
use crate::model::pair::Pairing;
use crate::model::source::SourceFacts;
use crate::model::story::{AppState, End, ServiceState, State, Story};
use std::collections::BTreeMap;
use std::io;

pub(in crate::sink) mod screen;

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
    /// Show the evidence for each flow's service.
    pub explain_labels: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { color: false, ascii: false, width: 80, quiet: false, verbose: false, show_circumvention: false, explain_labels: false }
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

/// Findings kept with their evidence where only a handful can be shown.
const KEEP: usize = 256;

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
pub(super) struct Told {
    pub(super) sources: Vec<Source>,
    pub(super) services: Vec<Row>,
    pub(super) findings: Vec<Found>,
    /// Most findings kept with their evidence, if not all; the others are in `rest`.
    keep: Option<usize>,
    rest: Rest,
    pub(super) failed: Vec<(String, String)>,
    /// Over all sources, by name.
    pub(super) apps: BTreeMap<Box<str>, AppState>,
}

/// Findings that will not be shown: only counted, for a flood of them must not cost a flood of memory.
#[derive(Default)]
struct Rest {
    /// By grade, those about ways around blocking not among them.
    open: BTreeMap<Grade, usize>,
    /// The same of those about ways around blocking.
    circumvention: BTreeMap<Grade, usize>,
    /// What would settle them, each once.
    needs: Vec<&'static str>,
}

impl Rest {
    fn add(&mut self, finding: &Finding, circumvention: bool) {
        let of = if circumvention { &mut self.circumvention } else { &mut self.open };
        *of.entry(finding.grade).or_default() += 1;
        for need in &finding.needs {
            if !self.needs.contains(need) {
                self.needs.push(need);
            }
        }
    }

    fn open(&self) -> usize {
        self.open.values().sum()
    }

    fn circumvention(&self) -> usize {
        self.circumvention.values().sum()
    }
}

/// One source.
pub(super) struct Source {
    pub(super) facts: SourceFacts,
    pub(super) flows: usize,
    pub(super) findings: usize,
}

/// One service and role, over all sources.
pub(super) struct Row {
    pub(super) id: Box<str>,
    pub(super) title: Box<str>,
    pub(super) role: Option<Role>,
    /// The worst state of any source, and how many sources share it.
    pub(super) state: State,
    pub(super) witnesses: usize,
    pub(super) sources: usize,
    pub(super) attempts: u64,
    pub(super) ok: u64,
    pub(super) failed: u64,
    pub(super) flows: u64,
    pub(super) because: String,
    pub(super) unless: String,
    pub(super) circumvention: bool,
}

/// A finding with what is needed to show it without its story.
pub(super) struct Found {
    pub(super) finding: Finding,
    pub(super) path: String,
    /// First flow: client and server.
    pub(super) between: Option<String>,
    pub(super) circumvention: bool,
}

impl<W: Output> Human<W> {
    /// Writes to `out` in this style.
    pub fn new(out: W, style: Style) -> Self {
        let keep = (!style.verbose && !style.show_circumvention).then_some(KEEP);
        Self { out, style, told: Told { keep, ..Told::default() }, paired: false }
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
        if (self.style.verbose || self.style.explain_labels) && !self.style.quiet {
            const HEAD: &str = "Flows of ";
            let path = self.style.shown(&story.source.path);
            let path = text::cut_front(&path, self.style.width.saturating_sub(HEAD.len()), self.style.ascii);
            let mut lines = vec![self.style.paint(Paint::Bold, &format!("{HEAD}{path}"))];
            for (i, flow) in story.flows.iter().enumerate() {
                let label = story.labels.get(i).and_then(Option::as_ref);
                let hidden = label.is_some_and(|l| l.circumvention) && !self.style.show_circumvention;
                let label = label.filter(|_| !hidden);
                if !self.style.verbose && label.is_none() {
                    continue;
                }
                // The protocol of a tunnel is its name.
                let app = flow.app.filter(|_| !hidden);
                lines.extend(flow_line(&self.style, flow, app, label));
                if let Some(label) = label.filter(|_| self.style.explain_labels) {
                    lines.extend(explained(&self.style, label));
                }
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
    pub(super) fn add(&mut self, story: &Story) {
        self.sources.push(Source { facts: story.source.clone(), flows: story.flows.len(), findings: story.findings.len() });
        for s in &story.services {
            self.add_service(s);
        }
        for a in &story.apps {
            let row = self.apps.entry(a.name.clone()).or_default();
            if weight(a.state) >= weight(row.state) {
                row.state = a.state;
                row.because.clone_from(&a.because);
            }
            row.attempts += a.attempts;
            row.ok += a.ok;
            row.failed += a.failed;
            row.services.extend(a.services.iter().cloned());
            row.services.sort_unstable();
            row.services.dedup();
        }
        let mut told: Vec<(bool, &Finding)> = story.findings.iter().map(|f| (is_circumvention(f, story), f)).collect();
        if let Some(keep) = self.keep.filter(|k| told.len() > *k) {
            told.sort_by_key(|(circumvention, f)| rank(*circumvention, f));
            told.drain(keep..).for_each(|(circumvention, f)| self.rest.add(f, circumvention));
        }
        for (circumvention, f) in told {
            let first = f.flows.iter().find_map(|id| super::jsonl::find(story, *id));
            self.findings.push(Found {
                finding: f.clone(),
                path: story.source.path.clone(),
                between: first.map(|f| format!("{} {}", f.proto.name(), between(f))),
                circumvention,
            });
        }
        if let Some(keep) = self.keep.filter(|k| self.findings.len() > *k) {
            self.findings.sort_by_key(|f| rank(f.circumvention, &f.finding));
            self.findings.drain(keep..).for_each(|f| self.rest.add(&f.finding, f.circumvention));
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
    pub(super) fn findings(&self, style: &Style) -> Vec<&Found> {
        let mut all: Vec<&Found> = self.findings.iter().filter(|f| style.show_circumvention || !f.circumvention).collect();
        all.sort_by_key(|f| std::cmp::Reverse((f.finding.grade, f.finding.flows.len())));
        all
    }

    /// Rows to show, worst first.
    pub(super) fn rows(&self, style: &Style) -> Vec<&Row> {
        let mut all: Vec<&Row> = self.services.iter().filter(|r| style.show_circumvention || !r.circumvention).collect();
        all.sort_by_key(|r| std::cmp::Reverse((weight(r.state), r.attempts)));
        all
    }

    /// No source, or none with packets.
    pub(super) fn nothing_seen(&self) -> bool {
        self.sources.iter().all(|s| s.facts.packets == 0)
    }

    fn count(&self, grade: Grade) -> usize {
        let rest = |of: &BTreeMap<Grade, usize>| of.get(&grade).copied().unwrap_or(0);
        self.findings.iter().filter(|f| f.finding.grade == grade).count() + rest(&self.rest.open) + rest(&self.rest.circumvention)
    }

    /// All findings, kept or counted.
    fn total(&self) -> usize {
        self.findings.len() + self.rest.open() + self.rest.circumvention()
    }
}

/// What is shown first is smallest.
fn rank(circumvention: bool, f: &Finding) -> (bool, std::cmp::Reverse<(Grade, usize)>) {
    (circumvention, std::cmp::Reverse((f.grade, f.flows.len())))
}

/// Whether a finding is about a way around blocking: its service is one, or a flow of it is labelled so.
pub(in crate::sink) fn is_circumvention(f: &Finding, story: &Story) -> bool {
    let by_service = f.target.service.as_deref().is_some_and(|id| story.services.iter().any(|s| s.circumvention && *s.id == *id));
    by_service
        || f.flows.iter().any(|id| {
            let at = story.flows.binary_search_by_key(id, |f| f.id);
            let label = at.ok().and_then(|i| story.labels.get(i)).and_then(Option::as_ref);
            label.is_some_and(|l| l.circumvention)
        })
}

pub(super) fn between(f: &FlowRecord) -> String {
    // What stands where ports would is ICMP's type, and no port.
    let portless = matches!(f.proto, Proto::ICMP | Proto::ICMP6);
    let end = |e: crate::model::key::Endpoint| match e.ip {
        ip if portless => ip.to_string(),
        std::net::IpAddr::V4(ip) => format!("{ip}:{}", e.port),
        std::net::IpAddr::V6(ip) => format!("[{ip}]:{}", e.port),
    };
    format!("{} → {}", end(f.client), end(f.server))
}

fn flow_line(style: &Style, f: &FlowRecord, app: Option<&str>, label: Option<&Label>) -> Vec<String> {
    let app = app.unwrap_or("-");
    let attempt = |l: &Label| if l.attempt { ", attempt" } else { "" };
    let service = label.map_or_else(String::new, |l| format!(" {} ({}{})", l.id, l.grade.name(), attempt(l)));
    let stage = match names::stage(f.stage) {
        "none" => String::new(),
        s => format!("/{s}"),
    };
    let name = f.asked_name().map_or_else(String::new, |n| format!(" {n}"));
    let head = format!("  frame {:<7} {:<4} {} {app} {}{stage}", f.id.frame.0, f.proto.name(), between(f), names::outcome(f.outcome));
    let whole = style.shown(&format!("{head}{service}{name}"));
    if text::columns(&whole) <= style.width {
        return vec![whole];
    }
    // Who and what on a line of their own, below the protocol.
    let mut lines = if text::columns(&head) <= style.width { vec![style.shown(&head)] } else { folded(style, 2, &head) };
    lines.extend(folded(style, 16, &format!("{service}{name}")));
    lines
}

/// A line as it is, or folded if it is too wide.
fn fitted(style: &Style, line: &str) -> Vec<String> {
    let shown = style.shown(line);
    if text::columns(&shown) <= style.width { vec![shown] } else { folded(style, line.len() - line.trim_start().len(), line) }
}

/// Text in as many lines as it takes, further in from the second on.
fn folded(style: &Style, by: usize, text: &str) -> Vec<String> {
    let lines = text::wrap(&style.shown(text), style.width.saturating_sub(by + 2), usize::MAX, style.ascii);
    lines.iter().enumerate().map(|(i, l)| format!("{:1$}{l}", "", if i == 0 { by } else { by + 2 })).collect()
}

/// The sum behind a label, a line for each piece of evidence.
fn explained(style: &Style, l: &Label) -> Vec<String> {
    let mut lines = Vec::new();
    for e in &l.evidence {
        lines.extend(fitted(style, &format!("      {:>+4} dB {:<13} frame {:<7} {}", e.db, e.class.name(), e.frame.0, e.says)));
    }
    let role = l.role.map_or_else(String::new, |r| format!(" {}", r.name()));
    let second = match (&l.runner_up, l.margin_db) {
        (Some((id, confidence)), Some(margin)) => format!("; next {id} at {:.0} %, {margin} dB behind", confidence * 100.0),
        (None, Some(margin)) => format!("; the next {margin} dB behind"),
        _ => String::new(),
    };
    lines.extend(fitted(
        style,
        &format!(
            "      {:>+4} dB together, before them 1 in 300, each class capped: {}{role} at {:.1} %, possible from frame {}{second}",
            l.total_db,
            l.id,
            l.confidence * 100.0,
            l.since.0
        ),
    ));
    lines
}

#[cfg(test)]
mod tests;
