//! The record of a flow, and the figures in it.

use super::super::output::Output;
use super::super::{community, labels, names, ooni, pair, rates};
use super::Jsonl;
use crate::model::finding::Direction;
use crate::model::flow::FlowRecord;
use crate::model::label::Label;
use crate::model::note::Fact;
use crate::model::pair::PairFlow;
use crate::model::side::{PerSide, Side};
use crate::model::signature;
use crate::sink::json::Json;
use std::io;

impl<W: Output> Jsonl<W> {
    pub(super) fn flow(
        &mut self,
        f: &FlowRecord,
        label: Option<&Label>,
        dns_names: &[Box<str>],
        pair: Option<&PairFlow>,
    ) -> io::Result<()> {
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
            Fact::Certificate(c) => cert = cert.or(Some(c.names.as_slice())),
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
pub(in crate::sink) fn datagram_history(f: &FlowRecord) -> &'static str {
    match (f.totals.client.first_payload, f.totals.server.first_payload) {
        (Some(c), Some(s)) if s.frame < c.frame => "dD",
        (Some(_), Some(_)) => "Dd",
        (Some(_), None) => "D",
        (None, Some(_)) => "d",
        (None, None) => "",
    }
}

/// Payload bits per second between the first and the last packet with payload, repetitions not counted.
pub(in crate::sink) fn goodput(f: &FlowRecord, side: Side) -> Option<u64> {
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
