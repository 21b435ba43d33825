//! A row: what is known of a flow, as Zeek names it, and our own columns behind.

use super::super::{community, jsonl, names, ooni};
use super::state;
use crate::model::finding::Finding;
use crate::model::flow::FlowRecord;
use crate::model::key::Proto;
use crate::model::label::Label;
use crate::model::seq::Pos;
use crate::model::side::Side;
use sha1::{Digest, Sha1};
use std::borrow::Cow;
use std::net::IpAddr;

/// Columns and their Zeek types: Zeek's own, then ours.
pub const COLUMNS: [(&str, &str); 33] = [
    ("ts", "time"),
    ("uid", "string"),
    ("id.orig_h", "addr"),
    ("id.orig_p", "port"),
    ("id.resp_h", "addr"),
    ("id.resp_p", "port"),
    ("proto", "enum"),
    ("service", "string"),
    ("duration", "interval"),
    ("orig_bytes", "count"),
    ("resp_bytes", "count"),
    ("conn_state", "string"),
    ("local_orig", "bool"),
    ("local_resp", "bool"),
    ("missed_bytes", "count"),
    ("history", "string"),
    ("orig_pkts", "count"),
    ("orig_ip_bytes", "count"),
    ("resp_pkts", "count"),
    ("resp_ip_bytes", "count"),
    ("tunnel_parents", "set[string]"),
    ("ip_proto", "count"),
    ("community_id", "string"),
    ("flow_id", "string"),
    ("sni", "string"),
    ("ja4", "string"),
    ("service_guess", "string"),
    ("service_role", "string"),
    ("outcome", "string"),
    ("ooni_failure", "string"),
    ("verdict", "string"),
    ("findings", "set[string]"),
    ("app_name", "string"),
];

/// A value of a column.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value<'a> {
    Unset,
    /// Nanoseconds, written as seconds with six decimals: a time or an interval.
    Seconds(i64),
    Count(u64),
    Bool(bool),
    Addr(IpAddr),
    Text(Cow<'a, str>),
    Set(Vec<&'a str>),
}

/// The row of a flow with its label and the findings about it.
pub(super) fn row<'a>(f: &'a FlowRecord, label: Option<&'a Label>, findings: &[&'a Finding]) -> [Value<'a>; COLUMNS.len()] {
    let text = |t: Option<&'a str>| t.filter(|t| !t.is_empty()).map_or(Value::Unset, |t| Value::Text(t.into()));
    let (c, s) = (&f.totals.client, &f.totals.server);
    let (orig, resp) = (payload(f, Side::Client), payload(f, Side::Server));
    let lasted = f.duration().nanos() > 0;
    let if_lasted = |v: Value<'a>| if lasted { v } else { Value::Unset };
    let missed = f.tcp.as_ref().map_or(0, |t| t.side.client.capture_lost.saturating_add(t.side.server.capture_lost));
    let history = match &f.tcp {
        Some(tcp) => tcp.history.as_str(),
        None if f.proto == Proto::UDP => jsonl::datagram_history(f),
        None => "",
    };
    let hello = f.notes.client_hello().map(|(_, h)| h);
    let mut community_id = String::new();
    community::push(&mut community_id, f.proto, f.client, f.server);
    let worst = findings.iter().max_by_key(|x| x.grade);
    let failure = ooni::failure(f).or_else(|| worst.and_then(|x| x.ooni_failure));
    [
        Value::Seconds(f.first.ts.nanos()),
        Value::Text(uid(f).into()),
        Value::Addr(f.client.ip),
        Value::Count(f.client.port.into()),
        Value::Addr(f.server.ip),
        Value::Count(f.server.port.into()),
        Value::Text(proto(f.proto).into()),
        text(f.app.and_then(service)),
        if_lasted(Value::Seconds(f.duration().nanos())),
        if_lasted(Value::Count(orig)),
        if_lasted(Value::Count(resp)),
        Value::Text(state::of(f, orig, resp).into()),
        Value::Bool(local(f.client.ip)),
        Value::Bool(local(f.server.ip)),
        Value::Count(missed),
        text(Some(history)),
        Value::Count(c.packets),
        Value::Count(c.bytes),
        Value::Count(s.packets),
        Value::Count(s.bytes),
        Value::Unset,
        Value::Count(f.proto.0.into()),
        Value::Text(community_id.into()),
        Value::Text(jsonl::flow_id(f.id).into()),
        text(f.asked_name()),
        text(hello.map(|h| &*h.ja4)),
        text(label.map(|l| &*l.id)),
        text(label.and_then(|l| l.role).map(|r| r.name())),
        Value::Text(names::outcome(f.outcome).into()),
        text(failure),
        worst.map_or(Value::Unset, |x| Value::Text(format!("{}:{}", x.grade.name(), x.kind.name()).into())),
        if findings.is_empty() { Value::Unset } else { Value::Set(findings.iter().map(|x| &*x.id).collect()) },
        text(f.owner.as_deref()),
    ]
}

/// `C` and 17 digits to the base 62, like Zeek's, from what the flow is.
pub(super) fn uid(f: &FlowRecord) -> String {
    let text = format!("{} {:?} {:?} {} {}", f.proto.0, f.client, f.server, f.first.ts.nanos(), f.id.frame.0);
    let hash = Sha1::digest(text.as_bytes());
    let mut rest = hash.iter().take(16).fold(0u128, |n, b| (n << 8) | u128::from(*b));
    let mut out = String::from("C");
    for _ in 0..17 {
        let digit = (rest % 62) as u8;
        out.push(char::from(match digit {
            0..=9 => b'0' + digit,
            10..=35 => b'A' + digit - 10,
            _ => b'a' + digit - 36,
        }));
        rest /= 62;
    }
    out
}

const fn proto(p: Proto) -> &'static str {
    match p {
        Proto::TCP => "tcp",
        Proto::UDP => "udp",
        Proto::ICMP | Proto::ICMP6 => "icmp",
        _ => "unknown_transport",
    }
}

/// Zeek's name of a protocol, where it has one.
fn service(app: &str) -> Option<&str> {
    Some(match app {
        "tls" => "ssl",
        "quic" => "quic,ssl",
        "dtls" => "dtls",
        "http" | "dns" | "ntp" | "ssh" | "smtp" | "irc" => app,
        "socks4" | "socks5" | "socks" => "socks",
        _ => return None,
    })
}

/// Payload bytes: for TCP by sequence numbers, whatever of them was captured.
fn payload(f: &FlowRecord, side: Side) -> u64 {
    match &f.tcp {
        Some(t) => {
            let s = &t.side[side];
            let end = s.fin.map_or(s.sent, |(fin, _)| fin);
            u64::try_from(end.since(Pos::FIRST)).unwrap_or(0)
        }
        None => f.totals[side].payload,
    }
}

/// Zeek's private address space, which is local unless configured.
fn local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64)
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}
