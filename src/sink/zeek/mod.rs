//! Zeek's `conn.log`, as tab-separated text and as JSON: Zeek's names and meanings (`scripts/base/protocols/conn/main.zeek` of Zeek 7.1), then our own
//! columns, for tools that read Zeek.
//!
//! Where it differs from a log that Zeek would write: rows stand in the order of first packets; a flow lives as long as ours do (TCP 3,700 s without a
//! packet, others 330 s), so what Zeek splits after its shorter timeouts stays one row; `duration` ends with the last packet, not with the last
//! productive one; `history` leaves out some of what Zeek writes of odd flags, order and gaps; `tunnel_parents` is not filled; `uid` depends on the capture only, so it is the same in every
//! run; `service` names what was recognised, not what Zeek would have, and knows no `ntp`; `local_orig` and `local_resp` are always filled, from the
//! kind of address, where Zeek asks its site's configuration; `#open` and `#close` are times of packets. Clients' addresses are in it, as in Zeek's own.

use super::json::Json;
use super::output::{NewFile, Output};
use super::{RunInfo, Sink, community, jsonl, names, ooni, text};
use crate::model::finding::Finding;
use crate::model::flow::{FlowId, FlowRecord, TcpRecord};
use crate::model::key::Proto;
use crate::model::label::Label;
use crate::model::seq::Pos;
use crate::model::side::Side;
use crate::model::story::{End, Story};
use crate::model::time::Time;
use crate::sink::human::Style;
use hashbrown::HashMap;
use sha1::{Digest, Sha1};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

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

/// Bytes gathered before they are handed to the output.
const CHUNK: usize = 128 * 1024;

/// A value of a column.
#[derive(Clone, PartialEq, Debug)]
enum Value<'a> {
    Unset,
    /// Nanoseconds, written as seconds with six decimals: a time or an interval.
    Seconds(i64),
    Count(u64),
    Bool(bool),
    Addr(IpAddr),
    Text(Cow<'a, str>),
    Set(Vec<&'a str>),
}

/// Writes `conn.log`.
pub struct ConnLog<W: Output> {
    out: W,
    form: Form,
    last: Option<Time>,
    begun: bool,
}

enum Form {
    Tsv(String),
    Json(Json),
}

/// The sink behind `--out zeek=PATH`: tab-separated. A directory gets a `conn.log`.
pub fn open(path: &Path, _: &Style) -> io::Result<Box<dyn Sink>> {
    begin(path, Form::Tsv(String::new()))
}

/// The sink behind `--out zeek-json=PATH`.
pub fn open_json(path: &Path, _: &Style) -> io::Result<Box<dyn Sink>> {
    begin(path, Form::Json(Json::default()))
}

fn begin(path: &Path, form: Form) -> io::Result<Box<dyn Sink>> {
    if path == Path::new("-") {
        return Ok(Box::new(ConnLog { out: io::stdout(), form, last: None, begun: false }));
    }
    let out = NewFile::create(&file(path)?)?;
    Ok(Box::new(ConnLog { out, form, last: None, begun: false }))
}

/// The log's file: the path itself, or `conn.log` in a directory, which is made if the path ends in a separator.
fn file(path: &Path) -> io::Result<PathBuf> {
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        std::fs::create_dir_all(path)?;
    }
    Ok(if path.is_dir() { path.join("conn.log") } else { path.to_owned() })
}

impl<W: Output> ConnLog<W> {
    /// Writes to `out`, as JSON or tab-separated.
    pub fn new(out: W, json: bool) -> Self {
        let form = if json { Form::Json(Json::default()) } else { Form::Tsv(String::new()) };
        Self { out, form, last: None, begun: false }
    }

    fn hand_over(&mut self, least: usize) -> io::Result<()> {
        match &mut self.form {
            Form::Tsv(text) if text.len() >= least => {
                self.out.write_all(text.as_bytes())?;
                text.clear();
            }
            Form::Json(json) if json.bytes().len() >= least => {
                self.out.write_all(json.bytes())?;
                json.clear();
            }
            _ => {}
        }
        Ok(())
    }

    /// The header of a tab-separated log, once.
    fn header(&mut self, at: Option<Time>) {
        let Form::Tsv(text) = &mut self.form else { return };
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        text.push_str("#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n");
        let _ = writeln!(text, "#open\t{}", stamp(at));
        for (name, of) in [("#fields", 0), ("#types", 1)] {
            text.push_str(name);
            for c in COLUMNS {
                text.push('\t');
                text.push_str(if of == 0 { c.0 } else { c.1 });
            }
            text.push('\n');
        }
    }
}

impl<W: Output> Sink for ConnLog<W> {
    fn begin(&mut self, _: &RunInfo) -> io::Result<()> {
        Ok(())
    }

    fn story(&mut self, story: &Story) -> io::Result<()> {
        self.header(story.source.first);
        self.last = self.last.max(story.source.last);
        let mut about: HashMap<FlowId, Vec<&Finding>> = HashMap::new();
        for finding in &story.findings {
            for id in &finding.flows {
                about.entry(*id).or_default().push(finding);
            }
        }
        for (i, flow) in story.flows.iter().enumerate() {
            let label = story.labels.get(i).and_then(Option::as_ref);
            let row = row(flow, label, about.get(&flow.id).map_or(&[], Vec::as_slice));
            match &mut self.form {
                Form::Tsv(text) => tsv(text, &row),
                Form::Json(json) => json_line(json, &row),
            }
            self.hand_over(CHUNK)?;
        }
        Ok(())
    }

    fn finish(&mut self, _: &End) -> io::Result<()> {
        self.header(None);
        let close = stamp(self.last);
        if let Form::Tsv(text) = &mut self.form {
            let _ = writeln!(text, "#close\t{close}");
        }
        self.hand_over(0)?;
        self.out.commit()
    }
}

/// `2026-11-22-16-32-24`.
fn stamp(at: Option<Time>) -> String {
    text::clock(at.unwrap_or_default()).trim_end_matches(" UTC").replace([' ', ':'], "-")
}

fn row<'a>(f: &'a FlowRecord, label: Option<&'a Label>, findings: &[&'a Finding]) -> [Value<'a>; COLUMNS.len()] {
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
        Value::Text(state(f, orig, resp).into()),
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
fn uid(f: &FlowRecord) -> String {
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

/// A TCP endpoint's state as Zeek keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Endpoint {
    Inactive,
    Partial,
    SynSent,
    SynAckSent,
    Established,
    Closed,
    Reset,
}

impl Endpoint {
    fn of(t: &TcpRecord, side: Side) -> Self {
        let (s, peer) = (&t.side[side], &t.side[side.peer()]);
        match side {
            _ if s.resets > 0 => Self::Reset,
            _ if s.fin.is_some() => Self::Closed,
            _ if s.syn.is_some() && peer.syn.is_some() => Self::Established,
            Side::Client if s.syn.is_some() => Self::SynSent,
            Side::Server if s.syn.is_some() => Self::SynAckSent,
            _ if s.was_seen() => Self::Partial,
            _ => Self::Inactive,
        }
    }
    const fn idle(self) -> bool {
        matches!(self, Self::Inactive | Self::Partial)
    }
}

/// Zeek's `conn_state`.
fn state(f: &FlowRecord, orig: u64, resp: u64) -> &'static str {
    let Some(t) = &f.tcp else {
        let sent = (f.totals.client.packets > 0, f.totals.server.packets > 0);
        return match sent {
            _ if f.proto != Proto::UDP => "OTH",
            (true, true) => "SF",
            (true, false) => "S0",
            (false, true) => "SHR",
            (false, false) => "OTH",
        };
    };
    use Endpoint::{Closed, Established, Inactive, Reset, SynAckSent, SynSent};
    let (o, r) = (Endpoint::of(t, Side::Client), Endpoint::of(t, Side::Server));
    match (o, r) {
        (SynSent | SynAckSent, Reset) => "REJ",
        (Reset, Reset) if orig == 0 && resp == 0 => "REJ",
        (o, Reset) if o.idle() => "RSTRH",
        (_, Reset) => "RSTR",
        (Reset, r) if r.idle() && syn_then_reset(&t.history) => "RSTOS0",
        (Reset, r) if r.idle() => "OTH",
        (Reset, _) => "RSTO",
        (Closed, Closed) => "SF",
        (Closed, r) if r.idle() => "SH",
        (Closed, _) => "S2",
        (o, Closed) if o.idle() => "SHR",
        (_, Closed) => "S3",
        (SynSent, Inactive) => "S0",
        (Established, Established) => "S1",
        _ => "OTH",
    }
}

/// Zeek's `/\^?S[^HAFGIQ]*R.*/`.
fn syn_then_reset(history: &str) -> bool {
    let Some(rest) = history.strip_prefix('^').unwrap_or(history).strip_prefix('S') else { return false };
    rest.split_once('R').is_some_and(|(between, _)| !between.contains(['H', 'A', 'F', 'G', 'I', 'Q']))
}

fn tsv(out: &mut String, row: &[Value<'_>]) {
    for (i, value) in row.iter().enumerate() {
        if i > 0 {
            out.push('\t');
        }
        match value {
            Value::Unset => out.push('-'),
            Value::Seconds(ns) => seconds(out, *ns),
            Value::Count(n) => drop(write!(out, "{n}")),
            Value::Bool(b) => out.push(if *b { 'T' } else { 'F' }),
            Value::Addr(ip) => drop(write!(out, "{ip}")),
            Value::Text(t) => escaped(out, t, false),
            Value::Set(all) => {
                for (i, t) in all.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    escaped(out, t, true);
                }
            }
        }
    }
    out.push('\n');
}

/// Nanoseconds as seconds with six decimals, cut.
fn seconds(out: &mut String, ns: i64) {
    let us = (ns / 1_000).unsigned_abs();
    let _ = write!(out, "{}{}.{:06}", if ns < 0 { "-" } else { "" }, us / 1_000_000, us % 1_000_000);
}

/// Zeek's escapes: `\xNN` for what would end the field or the line, act on a terminal, or be mistaken for no value.
fn escaped(out: &mut String, value: &str, in_set: bool) {
    let alone = value == "-" || value == "(empty)";
    for (i, c) in value.chars().enumerate() {
        if text::treacherous(c) || c == '\\' || (c == ',' && in_set) || (alone && i == 0) {
            let mut bytes = [0; 4];
            for b in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(out, "\\x{b:02x}");
            }
        } else {
            out.push(c);
        }
    }
}

fn json_line(json: &mut Json, row: &[Value<'_>]) {
    json.open();
    for ((name, _), value) in COLUMNS.iter().zip(row) {
        match value {
            // Zeek leaves unset fields out.
            Value::Unset => {}
            Value::Seconds(ns) => json.key(name).real(*ns as f64 / 1e9),
            Value::Count(n) => json.key(name).int(*n),
            Value::Bool(b) => json.key(name).bool(*b),
            Value::Addr(ip) => json.key(name).plain(ip),
            Value::Text(t) => json.key(name).str(t),
            Value::Set(all) => json.key(name).strs(all.iter().copied()),
        }
    }
    json.close();
    json.line();
}

#[cfg(test)]
mod tests {
    use super::super::output::Memory;
    use super::super::sample;
    use super::*;

    fn written(json: bool) -> String {
        let out = Memory::default();
        let mut sink = ConnLog::new(out.clone(), json);
        sink.story(&sample::story()).unwrap();
        sink.finish(&sample::end()).unwrap();
        String::from_utf8(out.take()).unwrap()
    }

    #[test]
    fn the_header_is_zeeks() {
        let log = written(false);
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines[..5], ["#separator \\x09", "#set_separator\t,", "#empty_field\t(empty)", "#unset_field\t-", "#path\tconn"]);
        assert_eq!(lines[5], "#open\t2023-11-14-22-13-20");
        let names = "#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\tlocal_orig\t\
                     local_resp\tmissed_bytes\thistory\torig_pkts\torig_ip_bytes\tresp_pkts\tresp_ip_bytes\ttunnel_parents\tip_proto\t";
        assert!(lines[6].starts_with(names), "{}", lines[6]);
        let types = "#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\tinterval\tcount\tcount\tstring\tbool\tbool\tcount\tstring\tcount\tcount\tcount\t\
                     count\tset[string]\tcount\t";
        assert!(lines[7].starts_with(types), "{}", lines[7]);
        assert!(lines.last().unwrap().starts_with("#close\t2023-11-14-22-13-32"));
        assert_eq!(lines.len(), 8 + 4 + 1);
        for line in &lines[8..12] {
            assert_eq!(line.split('\t').count(), COLUMNS.len());
        }
    }

    #[test]
    fn nothing_from_the_wire_breaks_a_line() {
        let mut out = String::new();
        escaped(&mut out, "a\tb\nc\\d,\u{202e}", false);
        assert_eq!(out, "a\\x09b\\x0ac\\x5cd,\\xe2\\x80\\xae");
        out.clear();
        escaped(&mut out, "a,b", true);
        escaped(&mut out, "-", false);
        assert_eq!(out, "a\\x2cb\\x2d");
        assert!(!written(false).chars().any(|c| text::treacherous(c) && c != '\t' && c != '\n'));
    }

    #[test]
    fn json_has_zeeks_names_and_leaves_out_what_is_not_set() {
        let log = written(true);
        let first: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
        assert_eq!((&first["id.resp_p"], &first["proto"], &first["service"]), (&443.into(), &"tcp".into(), &"ssl".into()));
        assert_eq!(first["ts"], 1_700_000_000.0);
        assert!(first.get("tunnel_parents").is_none());
        assert_eq!(first["verdict"], "confirmed:rst_injection");
        assert_eq!(first["findings"], serde_json::json!(["f_1"]));
        assert_eq!(log.lines().count(), 4);
    }

    #[test]
    fn resets_before_any_answer_are_told_from_others() {
        assert!(syn_then_reset("SR") && syn_then_reset("^STR") && syn_then_reset("SrR"));
        assert!(!syn_then_reset("SAR") && !syn_then_reset("ShR".replace('h', "H").as_str()) && !syn_then_reset("R"));
    }

    #[test]
    fn a_flow_has_one_uid_in_every_run() {
        let story = sample::story();
        let ids: Vec<String> = story.flows.iter().map(uid).collect();
        assert!(ids.iter().all(|id| id.len() == 18 && id.starts_with('C') && id.chars().all(|c| c.is_ascii_alphanumeric())));
        assert_eq!(ids, story.flows.iter().map(uid).collect::<Vec<_>>());
        assert_ne!(ids[0], ids[1]);
    }
}
