//! Records of how things stand: the source, live counters, services, apps.

use super::super::names;
use super::super::output::Output;
use super::Jsonl;
use crate::model::pulse::{Losses, Stats};
use crate::model::source::SourceFacts;
use crate::model::story::{AppState, ServiceState};
use crate::model::time::Span;
use crate::sink::json::Json;
use std::io;

impl<W: Output> Jsonl<W> {
    pub(super) fn source(&mut self, s: &SourceFacts) -> io::Result<()> {
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
        j.key("filtered").int(s.filtered);
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

    pub(super) fn stats(&mut self, s: &Stats) -> io::Result<()> {
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

    pub(super) fn service(&mut self, s: &ServiceState, source: u32) -> io::Result<()> {
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

    pub(super) fn app(&mut self, a: &AppState, source: u32) -> io::Result<()> {
        self.begin_record("app");
        let j = &mut self.json;
        j.key("source").plain(format_args!("s{source}"));
        j.key("name").str(&a.name);
        j.key("state").str(a.state.name());
        j.key("because").str(&a.because);
        j.key("unless").str(&a.unless);
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

/// The four numbers of loss.
pub(super) fn lost(j: &mut Json, losses: &Losses) {
    j.key("losses").open();
    for (name, n) in losses.named() {
        j.key(name).int(n);
    }
    j.close();
}

/// A rate; 0 when no time has passed.
pub(in crate::sink) fn per_second(n: u64, over: Span) -> f64 {
    if over > Span::ZERO { n as f64 / over.as_secs() } else { 0.0 }
}
