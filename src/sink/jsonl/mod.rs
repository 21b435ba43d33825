//! JSON Lines: the machine's view of a run. One object a line, `type` first, flows in the order of their first frames.
//!
//! Identifiers: a source is `s0`, `s1`, … in the order the program read them; a flow is its source and first frame, `s0f17`. Neither depends on paths,
//! threads or hashing.

mod finding;
mod flow;
mod state;

pub(super) use flow::{datagram_history, goodput};
#[cfg_attr(not(feature = "live"), allow(unused_imports))]
pub(super) use state::per_second;

use super::human::Style;
use super::json::Json;
use super::output::{NewFile, Output};
use super::{RunInfo, SCHEMA, Sink, pair};
use crate::model::flow::{FlowId, FlowRecord};
use crate::model::pair::Pairing;
use crate::model::pulse::Pulse;
use crate::model::story::{End, Story};
use state::lost;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes gathered before they are handed to the output.
const CHUNK: usize = 128 * 1024;

/// Writes JSON Lines.
pub struct Jsonl<W: Output> {
    out: W,
    json: Json,
    /// Reused for the Community ID.
    scratch: String,
    base: Option<PathBuf>,
    series: bool,
    wrote: Totals,
    /// Each line is handed over by itself, as soon as it is complete: somebody is waiting for it, and whoever is killed leaves no half line.
    at_once: bool,
}

/// Lines written, by type.
#[derive(Clone, Copy, Default)]
struct Totals {
    source: u64,
    flow: u64,
    finding: u64,
    service: u64,
    app: u64,
}

/// The sink behind `--out jsonl=PATH`; `-` is standard output.
pub fn open(path: &Path, _: &Style) -> io::Result<Box<dyn Sink>> {
    if path == Path::new("-") {
        return Ok(Box::new(Jsonl::new(io::stdout())));
    }
    Ok(Box::new(Jsonl::new(NewFile::create(path)?)))
}

/// A live capture's file: written as it goes, so that others may follow it.
pub fn follow(path: &Path) -> io::Result<Box<dyn Sink>> {
    if path == Path::new("-") {
        return Ok(Box::new(Jsonl::new(io::stdout()).at_once()));
    }
    Ok(Box::new(Jsonl::new(Growing(std::fs::File::create(path)?)).at_once()))
}

/// A file that grows in place.
struct Growing(std::fs::File);

impl io::Write for Growing {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Output for Growing {}

/// The sink behind `--out jsonl-series=PATH`.
pub fn open_with_series(path: &Path, _: &Style) -> io::Result<Box<dyn Sink>> {
    if path == Path::new("-") {
        return Ok(Box::new(Jsonl::new(io::stdout()).with_series(true)));
    }
    Ok(Box::new(Jsonl::new(NewFile::create(path)?).with_series(true)))
}

/// A flow's identifier in the records.
pub fn flow_id(id: FlowId) -> String {
    format!("s{}f{}", id.source, id.frame.0)
}

impl<W: Output> Jsonl<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, json: Json::default(), scratch: String::new(), base: None, series: false, wrote: Totals::default(), at_once: false }
    }

    /// Writes each line by itself as soon as it is complete.
    #[must_use]
    pub fn at_once(mut self) -> Self {
        self.at_once = true;
        self
    }

    /// Shows paths below `base` without it, so that the records do not depend on where the input lies.
    #[must_use]
    pub fn relative_to(mut self, base: &Path) -> Self {
        self.base = Some(base.to_owned());
        self
    }

    /// Whether flows bring the time series of their busy directions.
    #[must_use]
    pub fn with_series(mut self, series: bool) -> Self {
        self.series = series;
        self
    }

    fn path<'a>(&self, path: &'a str) -> &'a str {
        let Some(base) = &self.base else { return path };
        Path::new(path).strip_prefix(base).ok().and_then(Path::to_str).unwrap_or(path)
    }

    fn begin_record(&mut self, kind: &str) {
        self.json.open();
        self.json.key("type").str(kind);
        self.json.key("schema").str(SCHEMA);
    }

    fn end_record(&mut self) -> io::Result<()> {
        self.json.close();
        self.json.line();
        if self.at_once || self.json.bytes().len() >= CHUNK { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> io::Result<()> {
        let written = self.out.write_all(self.json.bytes());
        self.json.clear();
        written
    }
}

impl<W: Output> Sink for Jsonl<W> {
    fn begin(&mut self, run: &RunInfo) -> io::Result<()> {
        self.begin_record("run");
        let j = &mut self.json;
        j.key("tool").str("tamperscope");
        j.key("version").str(run.version);
        j.key("args").strs(run.args_shown.iter().map(String::as_str));
        j.key("rules_sha256").str_or_null(run.rules_sha256.as_deref());
        self.end_record()
    }

    fn story(&mut self, story: &Story) -> io::Result<()> {
        self.source(&story.source)?;
        for (i, flow) in story.flows.iter().enumerate() {
            let label = story.labels.get(i).and_then(Option::as_ref);
            let dns_names = story.dns_names.get(i).map_or(&[][..], Vec::as_slice);
            self.flow(&flow.aside(), label, dns_names, None)?;
        }
        for finding in &story.findings {
            self.finding(finding, &[story], None, None)?;
        }
        for service in &story.services {
            self.service(service, story.source.index)?;
        }
        for app in &story.apps {
            self.app(app, story.source.index)?;
        }
        Ok(())
    }

    fn flows(&mut self, story: &Story, over: &[usize]) -> io::Result<()> {
        for &i in over {
            let Some(flow) = story.flows.get(i) else { continue };
            let label = story.labels.get(i).and_then(Option::as_ref);
            let dns_names = story.dns_names.get(i).map_or(&[][..], Vec::as_slice);
            self.flow(flow, label, dns_names, None)?;
        }
        Ok(())
    }

    fn pulse(&mut self, pulse: &Pulse<'_>) -> io::Result<()> {
        for n in pulse.news {
            self.finding(&n.finding, &[pulse.story], None, n.supersedes.as_deref())?;
        }
        self.stats(pulse.stats)?;
        if pulse.last {
            self.source(&pulse.story.source)?;
            for service in &pulse.story.services {
                self.service(service, pulse.story.source.index)?;
            }
        }
        self.out.flush()
    }

    fn pair(&mut self, pairing: &Pairing, ends: [&Story; 2]) -> io::Result<()> {
        for story in ends {
            self.source(&story.source)?;
        }
        let known = pair::by_flow(pairing);
        for story in ends {
            for (i, flow) in story.flows.iter().enumerate() {
                let label = story.labels.get(i).and_then(Option::as_ref);
                let dns_names = story.dns_names.get(i).map_or(&[][..], Vec::as_slice);
                self.flow(flow, label, dns_names, known.get(&flow.id).copied())?;
            }
        }
        for f in &pairing.findings {
            self.finding(&f.finding, &ends, Some(f), None)?;
        }
        self.begin_record("pair");
        pair::record(&mut self.json, pairing, ends);
        self.end_record()
    }

    fn failed(&mut self, path: &str, why: &str) -> io::Result<()> {
        self.begin_record("source");
        let path = self.path(path);
        let j = &mut self.json;
        j.key("id").null();
        j.key("path").str(path);
        j.key("error").str(why);
        j.key("format").null();
        j.key("link_types").strs([]);
        for zero in ["packets", "decoded", "filtered", "bytes"] {
            j.key(zero).int(0u8);
        }
        j.time("first_ts", "first_ts_ns", None);
        j.time("last_ts", "last_ts_ns", None);
        j.key("quality").null();
        j.key("not_decoded").open();
        j.close();
        j.key("cannot_claim").open_list();
        j.close_list();
        self.wrote.source += 1;
        self.end_record()
    }

    fn finish(&mut self, end: &End) -> io::Result<()> {
        self.begin_record("end");
        let failed: Vec<_> = end.failed_sources.iter().map(|(p, why)| (self.path(p).to_owned(), why)).collect();
        let j = &mut self.json;
        j.key("totals").open();
        j.key("source").int(self.wrote.source);
        j.key("flow").int(self.wrote.flow);
        j.key("finding").int(self.wrote.finding);
        j.key("service").int(self.wrote.service);
        j.key("app").int(self.wrote.app);
        j.key("packets").int(end.packets);
        j.close();
        j.key("failed_sources").open_list();
        for (path, why) in &failed {
            j.open();
            j.key("path").str(path);
            j.key("why").str(why);
            j.close();
        }
        j.close_list();
        j.key("exit").int(end.exit);
        j.key("interrupted").bool(end.interrupted);
        j.key("bounds_hit").strs(end.bounds_hit.iter().map(String::as_str));
        if let Some(losses) = &end.losses {
            lost(j, losses);
        }
        self.end_record()?;
        self.hand_over()?;
        self.out.commit()
    }
}

/// Flows are sorted by first frame, so a flow is found by bisection.
pub(super) fn find(story: &Story, id: FlowId) -> Option<&FlowRecord> {
    let at = story.flows.binary_search_by_key(&id, |f| f.id).ok()?;
    story.flows.get(at)
}

#[cfg(test)]
mod tests;
