//! The record of a finding.

use super::super::output::Output;
use super::super::{filter, pair, rates};
use super::{Jsonl, find};
use crate::model::finding::Finding;
use crate::model::pair::PairFinding;
use crate::model::story::Story;
use std::io;

impl<W: Output> Jsonl<W> {
    pub(super) fn finding(
        &mut self,
        f: &Finding,
        stories: &[&Story],
        pair: Option<&PairFinding>,
        supersedes: Option<&str>,
    ) -> io::Result<()> {
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
        j.key("deaths").open_list();
        for d in &f.deaths {
            j.open();
            j.key("flow_id").plain(format_args!("s{}f{}", d.flow.source, d.flow.frame.0));
            j.key("bytes").int(d.bytes);
            j.key("packets").int(d.packets);
            j.close();
        }
        j.close_list();
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
            j.key("flows").open_list();
            for id in &c.flows {
                j.plain(format_args!("s{}f{}", id.source, id.frame.0));
            }
            j.close_list();
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
}
