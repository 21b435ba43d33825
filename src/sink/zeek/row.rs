//! A row: what is known of a flow, as Zeek names it, and our own columns behind.

use super::super::{community, jsonl, names, ooni};
use super::state;
use crate::model::finding::Finding;
use crate::model::flow::FlowRecord;
use crate::model::key::Proto;
use crate::model::label::Label;
use crate::model::seq::Pos;
use crate::model::side::Side;
use crate::model::time::Time;
use sha1::{Digest, Sha1};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
    let duration = last(f).since(f.first.ts);
    let lasted = duration.nanos() > 0;
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
        if_lasted(Value::Seconds(duration.nanos())),
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
        // Zeek's DNS analyzer reads their ports too.
        "mdns" | "llmnr" => "dns",
        "http" | "dns" | "ssh" | "smtp" | "ftp" | "imap" | "pop3" | "irc" | "sip" | "xmpp" | "socks" => app,
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

/// When a flow ended: once both sides of a connection have closed it, Zeek does not count what follows.
fn last(f: &FlowRecord) -> Time {
    let closed = |side: Side| {
        let t = f.tcp.as_deref()?;
        let reset = t.resets.iter().find(|r| r.packet.side == side).map(|r| r.packet.ts);
        [t.side[side].fin.map(|(_, at)| at.ts), reset].into_iter().flatten().min()
    };
    match (closed(Side::Client), closed(Side::Server)) {
        (Some(c), Some(s)) => c.max(s).min(f.last.ts),
        _ => f.last.ts,
    }
}

/// Address space that Zeek takes for local unless told otherwise (`Site::private_address_space`): IANA's special-purpose registries.
const LOCAL: [(Ipv4Addr, u8); 13] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The same of IPv6, but for what lies in 6to4 (RFC 3056) around the addresses above.
const LOCAL6: [(Ipv6Addr, u8); 8] = [
    (Ipv6Addr::UNSPECIFIED, 128),
    (Ipv6Addr::LOCALHOST, 128),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
];

fn local(ip: IpAddr) -> bool {
    let local4 = |ip: Ipv4Addr| LOCAL.iter().any(|(net, bits)| (u32::from(ip) ^ u32::from(*net)).leading_zeros() >= u32::from(*bits));
    match ip {
        IpAddr::V4(ip) => local4(ip),
        IpAddr::V6(ip) => match ip.segments() {
            [0x2002, a, b, ..] => local4(Ipv4Addr::from(u32::from(a) << 16 | u32::from(b))),
            _ => LOCAL6.iter().any(|(net, bits)| (u128::from(ip) ^ u128::from(*net)).leading_zeros() >= u32::from(*bits)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::flow::{Moment, Outcome};
    use crate::model::frame::FrameNo;
    use crate::model::time::Span;
    use crate::sink::sample;

    #[test]
    fn local_is_what_zeek_takes_for_local() {
        for (ip, is) in [
            ("192.168.1.1", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("198.51.100.7", true),
            ("198.20.0.1", false),
            ("239.255.255.250", false),
            ("255.255.255.255", true),
            ("149.154.167.99", false),
            ("2001:db8::1", true),
            ("2001:200::1", false),
            ("2001:0:4136:e378::1", true),
            ("2002:c0a8:101::1", true),
            ("2002:959a:a763::1", false),
            ("2606:4700::1", false),
            ("fe80::1", true),
            ("::1", true),
            ("::2", false),
        ] {
            assert_eq!(local(ip.parse().unwrap()), is, "{ip}");
        }
    }

    #[test]
    fn what_follows_the_end_of_both_sides_is_not_counted() {
        let mut f = sample::tcp_flow(1, "a.example", Outcome::Ok);
        let at = |ms: i64| Moment { frame: FrameNo(9), ts: f.first.ts.plus(Span::from_millis(ms)) };
        let (fin, other) = (at(20), at(30));
        f.last.ts = f.first.ts.plus(Span::from_secs(5));
        let t = f.tcp.as_mut().unwrap();
        t.resets.clear();
        (t.side.client.fin, t.side.server.fin) = (Some((Pos(9), fin)), None);
        assert_eq!(last(&f).since(f.first.ts), Span::from_secs(5));
        f.tcp.as_mut().unwrap().side.server.fin = Some((Pos(9), other));
        assert_eq!(last(&f).since(f.first.ts), Span::from_millis(30));
    }
}
