//! JSON Lines: the machine's view of a run. One object a line, `type` first, flows in the order of their first frames.
//!
//! Identifiers: a source is `s0`, `s1`, … in the order the program read them; a flow is its source and first frame, `s0f17`. Neither depends on paths,
//! threads or hashing.

use super::human::Style;
use super::json::Json;
use super::output::{NewFile, Output};
use super::{RunInfo, SCHEMA, Sink, community, filter, labels, names, ooni, pair, rates};
use crate::model::finding::{Direction, Finding};
use crate::model::flow::{FlowId, FlowRecord};
use crate::model::label::Label;
use crate::model::note::Fact;
use crate::model::pair::{PairFinding, PairFlow, Pairing};
use crate::model::pulse::{Losses, Pulse, Stats};
use crate::model::side::{PerSide, Side};
use crate::model::signature;
use crate::model::source::SourceFacts;
use crate::model::story::{AppState, End, ServiceState, Story};
use crate::model::time::Span;
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

    fn source(&mut self, s: &SourceFacts) -> io::Result<()> {
        self.begin_record("source");
        let path = self.path(&s.path);
        let j = &mut self.json;
        j.key("id").plain(format_args!("s{}", s.index));
        j.key("path").str(path);
        j.key("error").null();
        j.key("format").str(&s.format);
        j.key("link_types").open_list();
        for l in &s.link_types {
            j.str(&names::link_type(*l));
        }
        j.close_list();
        j.key("packets").int(s.packets);
        j.key("decoded").int(s.decoded);
        j.key("bytes").int(s.bytes);
        j.time("first_ts", "first_ts_ns", s.first);
        j.time("last_ts", "last_ts_ns", s.last);
        let q = &s.quality;
        j.key("quality").open();
        j.key("vantage").str(q.vantage.name());
        j.key("basis").str(&q.vantage_basis);
        j.key("one_sided_share").real(q.one_sided_share);
        j.key("snaplen_cut").real(q.snaplen_cut);
        j.key("offload").bool(q.offload);
        j.key("capture_loss").real(q.capture_loss);
        j.key("duplicates").real(q.duplicates);
        j.key("skipped_bytes").int(s.skipped_bytes);
        j.key("truncated_at_frame").int_or_null(s.truncated_at.map(|f| f.0));
        j.key("drops").int_or_null(s.drops);
        j.key("cut_frames").int(s.cut_frames);
        j.key("tcp_flows").int(q.tcp_flows);
        j.key("ttl_normalised").bool(q.ttl_normalised);
        j.key("checksums_offloaded").bool(q.checksums_offloaded);
        j.key("phone_vpn").bool(q.phone_vpn);
        j.key("time_steps_back").int(s.time_steps_back);
        j.key("flows_evicted").int(s.evicted);
        j.key("damage").strs(s.damage.iter().map(String::as_str));
        j.close();
        j.key("not_decoded").open();
        for (why, n) in &s.oddities {
            j.key(why.name()).int(*n);
        }
        j.close();
        j.key("cannot_claim").open_list();
        for c in &q.cannot_claim {
            j.open();
            j.key("claim").str(c.claim);
            j.key("why").str(&c.why);
            j.close();
        }
        j.close_list();
        self.wrote.source += 1;
        self.end_record()
    }

    fn flow(&mut self, f: &FlowRecord, label: Option<&Label>, dns_names: &[Box<str>], pair: Option<&PairFlow>) -> io::Result<()> {
        self.begin_record("flow");
        self.scratch.clear();
        community::push(&mut self.scratch, f.proto, f.client, f.server);
        let j = &mut self.json;
        j.key("id").plain(format_args!("s{}f{}", f.id.source, f.id.frame.0));
        j.key("source").plain(format_args!("s{}", f.id.source));
        j.key("community_id").str(&self.scratch);
        j.key("proto").str(&f.proto.name());
        j.key("client").endpoint(f.client);
        j.key("server").endpoint(f.server);
        j.key("role_basis").str(names::role_basis(f.role_basis));
        j.time("first_ts", "first_ts_ns", Some(f.first.ts));
        j.time("last_ts", "last_ts_ns", Some(f.last.ts));
        j.key("first_frame").int(f.first.frame.0);
        j.key("last_frame").int(f.last.frame.0);
        both(j, "packets", f.totals.client.packets, f.totals.server.packets);
        both(j, "bytes", f.totals.client.bytes, f.totals.server.bytes);
        both(j, "payload", f.totals.client.payload, f.totals.server.payload);
        j.key("app").str_or_null(f.app);
        said(j, f, dns_names);
        match &f.tcp {
            Some(tcp) => j.key("history").str(&tcp.history),
            None => j.key("history").str(datagram_history(f)),
        }
        j.key("outcome").str(names::outcome(f.outcome));
        j.key("stage").str(names::stage(f.stage));
        j.key("ooni_failure").str_or_null(ooni::failure(f));
        j.key("signature").str_or_null(signature::of(f));
        j.key("closed").str(names::closed(f.closed));
        j.key("goodput").open();
        j.key("c2s_bps").int_or_null(goodput(f, Side::Client));
        j.key("s2c_bps").int_or_null(goodput(f, Side::Server));
        j.close();
        j.key("rtt_ms");
        match rtt_ms(f) {
            Some(ms) => j.real(ms),
            None => j.null(),
        }
        j.key("retransmitted");
        match &f.tcp {
            Some(tcp) => {
                let PerSide { client, server } = &tcp.side;
                j.open();
                j.key("c2s").int(client.retransmitted);
                j.key("s2c").int(server.retransmitted);
                j.key("c2s_bytes").int(client.retransmitted_bytes);
                j.key("s2c_bytes").int(server.retransmitted_bytes);
                j.close();
            }
            None => j.null(),
        }
        resets(j, f);
        rates::limit(j, f);
        j.key("series");
        if self.series {
            rates::series(j, f)
        } else {
            j.null()
        }
        j.key("owner").str_or_null(f.owner.as_deref());
        j.key("service");
        match label {
            Some(l) => labels::service(j, l, f),
            None => j.null(),
        }
        labels::call(j, f);
        if let Some(pair) = pair {
            pair::of_flow(j, pair);
        }
        self.wrote.flow += 1;
        self.end_record()
    }

    fn finding(&mut self, f: &Finding, stories: &[&Story], pair: Option<&PairFinding>, supersedes: Option<&str>) -> io::Result<()> {
        self.begin_record("finding");
        let all = || f.flows.iter().filter_map(|id| stories.iter().find_map(|s| find(s, *id)));
        // A filter is for one capture: that of the first story.
        let own = stories.first().map_or(0, |s| s.source.index);
        let flows = || all().filter(|f| f.id.source == own);
        let j = &mut self.json;
        j.key("id").str(&f.id);
        j.key("source").plain(format_args!("s{own}"));
        j.key("rule").str(f.rule);
        j.key("kind").str(f.kind.name());
        j.key("mechanism").str(f.mechanism);
        j.key("grade").str(f.grade.name());
        j.key("flows").open_list();
        for flow in all() {
            j.open();
            j.key("flow_id").plain(format_args!("s{}f{}", flow.id.source, flow.id.frame.0));
            j.key("proto").str(&flow.proto.name());
            j.key("client").endpoint(flow.client);
            j.key("server").endpoint(flow.server);
            j.close();
        }
        j.close_list();
        j.key("direction").str_or_null(f.direction.map(|d| d.name()));
        let t = &f.target;
        j.key("target").open();
        j.key("service").str_or_null(t.service.as_deref());
        j.key("role").str_or_null(t.role.map(|r| r.name()));
        j.key("sni").str_or_null(t.sni.as_deref());
        j.key("host").str_or_null(t.host.as_deref());
        j.key("qname").str_or_null(t.qname.as_deref());
        match t.ip {
            Some(ip) => j.key("ip").plain(ip),
            None => j.key("ip").null(),
        }
        j.close();
        j.time("started_ts", "started_ts_ns", Some(f.started));
        j.key("frames").open_list();
        for n in &f.frames {
            j.int(n.0);
        }
        j.close_list();
        j.key("rate_bps").int_or_null(f.rate_bps);
        j.key("throttle");
        match &f.throttle {
            Some(t) => rates::throttle(j, t),
            None => j.null(),
        }
        j.key("evidence").open_list();
        for (i, e) in f.evidence.iter().enumerate() {
            j.open();
            j.key("says").str(&e.says);
            j.key("value").str(&e.value);
            j.key("expected").str(&e.expected);
            j.key("frames").open_list();
            for n in &e.frames {
                j.int(n.0);
            }
            j.close_list();
            if let Some(frames) = pair.and_then(|p| p.evidence_b.get(i)) {
                pair::frames(j, "frames_b", frames);
            }
            j.close();
        }
        j.close_list();
        j.key("innocent").open_list();
        for i in &f.innocent {
            j.open();
            j.key("cause").str(i.cause);
            j.key("stands").bool(i.stands);
            j.key("why").str(&i.why);
            j.close();
        }
        j.close_list();
        j.key("control").open_list();
        for c in &f.control {
            j.open();
            j.key("kind").str(c.kind);
            j.key("n").int(c.n);
            j.key("ok").int(c.ok);
            j.close();
        }
        j.close_list();
        j.key("needs").strs(f.needs.iter().copied());
        j.key("wireshark_filter").str_or_null(filter::of_frames(&f.frames).as_deref());
        j.key("wireshark_flow_filter").str_or_null(filter::of_flows(flows()).as_deref());
        j.key("ooni_failure").str_or_null(f.ooni_failure);
        j.key("resembles").strs(f.resembles.iter().copied());
        j.key("supersedes").str_or_null(supersedes);
        if let Some(p) = pair {
            let theirs = all().filter(|f| f.id.source != own);
            pair::of_finding(j, p, filter::of_flows(theirs));
        }
        self.wrote.finding += 1;
        self.end_record()
    }

    fn stats(&mut self, s: &Stats) -> io::Result<()> {
        self.begin_record("stats");
        let j = &mut self.json;
        j.key("seq").int(s.seq);
        j.time("ts", "ts_ns", s.at);
        j.key("uptime_s").real(s.uptime.as_secs());
        j.key("packets").int(s.packets);
        j.key("bytes").int(s.bytes);
        j.key("decoded").int(s.decoded);
        j.key("pps").real(per_second(s.new_packets, s.since));
        j.key("bps").real(per_second(s.new_bytes.saturating_mul(8), s.since));
        j.key("flows").open();
        j.key("active").int(s.flows_active);
        j.key("closed").int(s.flows_closed);
        j.key("evicted").int(s.flows_evicted);
        j.key("unwritten").int(s.flows_unwritten);
        j.close();
        lost(j, &s.losses);
        j.key("shedding").str(s.shed.name());
        j.key("interfaces").open_list();
        for i in &s.interfaces {
            j.open();
            j.key("name").str(&i.name);
            j.key("link").str(i.link.name());
            j.key("link_type").str(&names::link_type(i.link_type));
            j.key("packets").int(i.packets);
            j.key("bytes").int(i.bytes);
            j.key("kernel").int(i.losses.kernel);
            j.key("interface").int(i.losses.interface);
            j.key("queue").int(i.losses.queue);
            j.close();
        }
        j.close_list();
        j.key("findings").int(s.findings);
        j.key("services").open_list();
        for row in &s.services {
            j.open();
            j.key("id").str(&row.id);
            j.key("role").str_or_null(row.role.map(|r| r.name()));
            j.key("state").str(row.state.name());
            j.key("attempts").int(row.attempts);
            j.key("failed").int(row.failed);
            j.close();
        }
        j.close_list();
        j.key("withdrawn").strs(s.withdrawn.iter().map(|id| &**id));
        j.key("notices").strs(s.notices.iter().map(String::as_str));
        j.key("rules_sha256").str_or_null(s.rules_sha256.as_deref());
        self.end_record()
    }

    fn service(&mut self, s: &ServiceState, source: u32) -> io::Result<()> {
        self.begin_record("service");
        let j = &mut self.json;
        j.key("source").plain(format_args!("s{source}"));
        j.key("id").str(&s.id);
        j.key("title").str(&s.title);
        j.key("role").str_or_null(s.role.map(|r| r.name()));
        j.key("state").str(s.state.name());
        j.key("n").open();
        j.key("attempts").int(s.attempts);
        j.key("ok").int(s.ok);
        j.key("failed").int(s.failed);
        j.close();
        j.key("flows").int(s.flows);
        j.key("findings").strs(s.findings.iter().map(|f| &**f));
        j.key("because").str(&s.because);
        j.key("unless").str(&s.unless);
        j.key("circumvention").bool(s.circumvention);
        self.wrote.service += 1;
        self.end_record()
    }
}

impl<W: Output> Jsonl<W> {
    fn app(&mut self, a: &AppState, source: u32) -> io::Result<()> {
        self.begin_record("app");
        let j = &mut self.json;
        j.key("source").plain(format_args!("s{source}"));
        j.key("name").str(&a.name);
        j.key("n").open();
        j.key("attempts").int(a.attempts);
        j.key("ok").int(a.ok);
        j.key("failed").int(a.failed);
        j.close();
        j.key("flows").int(a.flows);
        j.key("services").strs(a.services.iter().map(|s| &**s));
        j.key("findings").strs(a.findings.iter().map(|f| &**f));
        self.wrote.app += 1;
        self.end_record()
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
            self.flow(flow, label, dns_names, None)?;
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
        for zero in ["packets", "decoded", "bytes"] {
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

/// The four numbers of loss.
fn lost(j: &mut Json, losses: &Losses) {
    j.key("losses").open();
    for (name, n) in losses.named() {
        j.key(name).int(n);
    }
    j.close();
}

/// A rate; 0 when no time has passed.
pub(super) fn per_second(n: u64, over: Span) -> f64 {
    if over > Span::ZERO { n as f64 / over.as_secs() } else { 0.0 }
}

fn both(j: &mut Json, key: &str, c2s: u64, s2c: u64) {
    j.key(key).open();
    j.key("c2s").int(c2s);
    j.key("s2c").int(s2c);
    j.close();
}

/// The header of each reset beside its sender's usual one: what clusters of injectors are told apart by.
fn resets(j: &mut Json, f: &FlowRecord) {
    j.key("resets").open_list();
    for r in f.tcp.iter().flat_map(|t| &t.resets) {
        let p = &r.packet;
        let usual = f.tcp.as_ref().and_then(|t| t.side[p.side].ttl.mode());
        j.open();
        j.key("frame").int(p.frame.0);
        j.key("direction").str(Direction::from_side(p.side).name());
        j.key("flags").plain(p.flags);
        j.key("ttl").int(p.ttl);
        j.key("usual_ttl").int_or_null(usual);
        j.key("ip_id").int_or_null(p.ip_id);
        j.key("df").bool(p.df);
        j.key("window").int(p.window);
        j.key("options").int(p.options);
        j.key("payload").int(p.len);
        j.key("fit").str(names::reset_fit(r.fit));
        j.close();
    }
    j.close_list();
}

/// What the flow's notes say in the record: names, decoys, ALPN, JA4, ECH. One walk over the notes.
fn said(j: &mut Json, f: &FlowRecord, dns_names: &[Box<str>]) {
    let (mut host, mut qname, mut cert, mut gquic) = (None, None, None, None);
    for note in &f.notes.list {
        match &note.fact {
            Fact::HttpRequest(r) => host = host.or(r.host.as_deref()),
            Fact::Dns(m) if !m.qname.is_empty() => qname = qname.or(Some(&*m.qname)),
            Fact::Certificate { names, .. } => cert = cert.or(Some(names.as_slice())),
            Fact::Quic(q) => gquic = gquic.or(q.gquic_sni.as_deref()),
            _ => {}
        }
    }
    let hello = f.notes.client_hello().map(|(_, h)| h);
    j.key("names").open();
    j.key("sni").str_or_null(hello.and_then(|h| h.sni.as_deref()).or(gquic));
    j.key("host").str_or_null(host);
    j.key("qname").str_or_null(qname);
    j.key("dns").strs(dns_names.iter().map(|n| &**n));
    j.key("cert").strs(cert.unwrap_or(&[]).iter().map(|n| &**n));
    j.close();
    j.key("sni_decoys").strs(f.notes.decoys().filter_map(|(_, sni)| sni));
    j.key("alpn").strs(hello.iter().flat_map(|h| &h.alpn).map(|a| &**a));
    j.key("ja4").str_or_null(hello.map(|h| &*h.ja4).filter(|ja4| !ja4.is_empty()));
    j.key("ech").str_or_null(hello.map(|h| names::ech(h.ech)));
}

/// Zeek's letters for a flow without connections: who sent payload, in order of appearance.
pub(super) fn datagram_history(f: &FlowRecord) -> &'static str {
    match (f.totals.client.first_payload, f.totals.server.first_payload) {
        (Some(c), Some(s)) if s.frame < c.frame => "dD",
        (Some(_), Some(_)) => "Dd",
        (Some(_), None) => "D",
        (None, Some(_)) => "d",
        (None, None) => "",
    }
}

/// Payload bits per second between the first and the last packet with payload, repetitions not counted.
pub(super) fn goodput(f: &FlowRecord, side: Side) -> Option<u64> {
    let totals = &f.totals[side];
    let (first, last) = (totals.first_payload?, totals.last_payload?);
    let ns = u128::try_from(last.ts.since(first.ts).nanos()).ok().filter(|&ns| ns > 0)?;
    let bytes = f.tcp.as_ref().map_or(totals.payload, |tcp| tcp.side[side].unique);
    u64::try_from(u128::from(bytes) * 8 * 1_000_000_000 / ns).ok()
}

/// The handshake's round trip between client and server, else the smallest one from the capture point to the server.
fn rtt_ms(f: &FlowRecord) -> Option<f64> {
    let tcp = f.tcp.as_ref()?;
    let span = match (tcp.rtt_server, tcp.rtt_client) {
        (Some(server), Some(client)) => server.nanos().saturating_add(client.nanos()),
        _ => f.rtt_to_server()?.nanos(),
    };
    Some(span as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::super::output::Memory;
    use super::super::{check, sample, schema, text};
    use super::*;
    use serde_json::{Value, json};

    fn lines() -> (String, Vec<Value>) {
        let out = Memory::default();
        let mut sink = Jsonl::new(out.clone()).relative_to(Path::new("cases"));
        let run = RunInfo { version: "0.1.0", args_shown: vec!["--max-flows 10".into()], rules_sha256: None, cards: Vec::new() };
        sink.begin(&run).unwrap();
        let app = AppState { name: sample::HOSTILE.into(), attempts: 3, ok: 1, failed: 2, flows: 3, ..AppState::default() };
        sink.story(&Story { apps: vec![app], ..sample::story() }).unwrap();
        sink.failed("cases/gone.pcap", "no such file").unwrap();
        let mut end = sample::end();
        end.failed_sources.push(("cases/gone.pcap".into(), "no such file".into()));
        sink.finish(&end).unwrap();
        let text = String::from_utf8(out.take()).unwrap();
        let values = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        (text, values)
    }

    #[test]
    fn every_line_fits_the_schema() {
        let (_, values) = lines();
        for v in &values {
            let mut errors = Vec::new();
            check::errors(v, &schema::record(v["type"].as_str().unwrap()), "", &mut errors);
            assert!(errors.is_empty(), "{errors:#?}");
        }
        let mut types: Vec<_> = values.iter().map(|v| v["type"].as_str().unwrap()).collect();
        types.dedup();
        assert_eq!(types, ["run", "source", "flow", "finding", "service", "app", "source", "end"]);
        assert_eq!(schema::document()["oneOf"].as_array().unwrap().len(), schema::TYPES.len());
    }

    #[test]
    fn type_comes_first_and_nothing_acts_on_a_terminal() {
        let (text, _) = lines();
        for line in text.lines() {
            assert!(line.starts_with("{\"type\":\"") && line.contains("\",\"schema\":\"tamperscope/1\""), "{line}");
            assert!(!line.chars().any(text::treacherous), "{line}");
        }
    }

    #[test]
    fn a_flow_says_what_the_contract_asks() {
        let (_, values) = lines();
        let flow = values.iter().find(|v| v["type"] == "flow").unwrap();
        assert_eq!(flow["id"], "s0f1");
        assert_eq!(flow["first_ts"], "2023-11-14T22:13:20.000000000Z");
        assert_eq!(flow["first_ts_ns"], 1_700_000_000_000_000_000i64);
        assert_eq!(flow["server"], json!({"ip": "149.154.167.99", "port": 443}));
        assert_eq!(flow["bytes"], json!({"c2s": 900, "s2c": 900}));
        assert_eq!(flow["goodput"], json!({"c2s_bps": 16_000, "s2c_bps": 0}));
        assert_eq!(flow["rtt_ms"], 38.5);
        assert_eq!(flow["app"], "tls");
        assert_eq!(flow["ech"], "grease");
        assert_eq!(flow["sni_decoys"], json!(["www.example.org"]));
        assert_eq!(flow["names"]["dns"], json!(["web.telegram.org"]));
        assert_eq!(flow["outcome"], "reset");
        assert_eq!(flow["service"]["id"], "telegram");
        let dns = &values.iter().filter(|v| v["type"] == "flow").nth(1).unwrap();
        assert_eq!((&dns["names"]["qname"], &dns["history"]), (&json!(sample::HOSTILE), &json!("Dd")));
    }

    #[test]
    fn a_finding_leads_to_its_packets() {
        let (_, values) = lines();
        let finding = values.iter().find(|v| v["type"] == "finding").unwrap();
        assert_eq!(finding["flows"][0]["flow_id"], "s0f1");
        assert_eq!(finding["wireshark_filter"], "frame.number in {9, 11, 14}");
        assert_eq!(
            finding["wireshark_flow_filter"],
            "ip.addr == 192.168.1.2 && ip.addr == 149.154.167.99 && tcp.port == 40001 && tcp.port == 443"
        );
        assert_eq!(finding["ooni_failure"], "connection_reset");
    }

    #[test]
    fn paths_below_the_base_lose_it_and_totals_count_lines() {
        let (_, values) = lines();
        let source = values.iter().find(|v| v["type"] == "source").unwrap();
        assert_eq!(source["path"], format!("{}.pcap", sample::HOSTILE));
        let end = values.last().unwrap();
        assert_eq!(end["totals"], json!({"source": 2, "flow": 4, "finding": 2, "service": 4, "app": 1, "packets": 1230}));
        assert_eq!(end["failed_sources"], json!([{"path": "gone.pcap", "why": "no such file"}]));
    }
}
