//! The packet ladder: client, tap, server, and each packet as an arrow at its time, with the frames a finding rests on marked.

use super::draw;
use crate::model::flow::{Brief, FlowRecord, IcmpSeen, mark};
use crate::model::frame::FrameNo;
use crate::model::note::Fact;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::Time;
use crate::sink::text;
use maud::{Markup, html};
use std::collections::BTreeSet;

/// Most packets drawn where they show what happened, and where only their sum does.
pub const ROWS_MAX: usize = 22;
pub const ROWS_FEW: usize = 10;
/// Most columns of the words above an arrow.
const LABEL_MAX: usize = 42;
/// Height of a packet's row.
const ROW: f64 = 25.0;
/// Where the lines of client and server stand.
const CLIENT: f64 = 64.0;
const SERVER: f64 = 330.0;

enum Row<'a> {
    Packet(&'a Brief),
    Icmp(&'a IcmpSeen),
    /// Packets not drawn.
    Gap(u64),
}

/// The ladder of one flow as a figure with this title. `frames` are those the finding rests on, `most` how many packets to draw.
pub fn figure(title: &str, flow: &FlowRecord, frames: &BTreeSet<FrameNo>, vantage: Vantage, most: usize) -> Markup {
    let rows = rows(flow, frames, most);
    let tap = match vantage {
        Vantage::Client => CLIENT + 32.0,
        Vantage::Server => SERVER - 32.0,
        Vantage::Mid | Vantage::Unknown => (CLIENT + SERVER) / 2.0,
    };
    let top = 34.0;
    let height = top + ROW * rows.len() as f64 + 8.0;
    let hits = rows.iter().filter(|r| hit(r, frames)).count();
    let more = frames.len().saturating_sub(hits);
    let says = format!(
        "Time runs downwards, in seconds since the first packet. The dot is where the capture saw the packet{}; what is beyond it must be inferred. Marked ◆, with a thick arrow: {} of the evidence{}.",
        match vantage {
            Vantage::Unknown => ", somewhere on the way",
            Vantage::Client => ", near the client",
            Vantage::Server => ", near the server",
            Vantage::Mid => ", on the path",
        },
        text::counted(hits as u64, "packet"),
        if more > 0 { format!("; {more} more of its frames are elsewhere") } else { String::new() },
    );
    let inside = html! {
        text.b x=(draw::px(CLIENT)) y="12" text-anchor="middle" { "client" }
        text.b x=(draw::px(SERVER)) y="12" text-anchor="middle" { "server" }
        text.t x=(draw::px(tap)) y="25" text-anchor="middle" { "tap" }
        text.t x="0" y="12" { "s" }
        text.t x="400" y="12" text-anchor="end" { "frame" }
        @for (i, row) in rows.iter().enumerate() {
            @if hit(row, frames) {
                rect.band x="0" y=(draw::px(top + ROW * i as f64)) width="400" height=(draw::px(ROW)) {}
            }
        }
        @for x in [CLIENT, SERVER] { path.life d=(format!("M{} 17 V{}", draw::px(x), draw::px(height))) {} }
        path.tap d=(format!("M{} 29 V{}", draw::px(tap), draw::px(height))) {}
        @for (i, row) in rows.iter().enumerate() {
            (arrow(flow, row, top + ROW * i as f64, tap, hit(row, frames)))
        }
    };
    draw::figure(title, &says, height, &inside, &table(flow, &rows, frames))
}

fn hit(row: &Row<'_>, frames: &BTreeSet<FrameNo>) -> bool {
    match row {
        Row::Packet(p) => frames.contains(&p.frame),
        Row::Icmp(i) => frames.contains(&i.at.frame),
        Row::Gap(_) => false,
    }
}

/// What is drawn: the beginning, the end, and the evidence with its neighbours.
fn rows<'a>(flow: &'a FlowRecord, frames: &BTreeSet<FrameNo>, most: usize) -> Vec<Row<'a>> {
    let all: Vec<&Brief> = flow.ladder.iter().collect();
    let mut keep = vec![false; all.len()];
    let mut room = most;
    let mut take = |i: usize| {
        if let Some(k) = keep.get_mut(i)
            && !*k
            && room > 0
        {
            *k = true;
            room -= 1;
        }
    };
    let hits: Vec<usize> = all.iter().enumerate().filter(|(_, p)| frames.contains(&p.frame)).map(|(i, _)| i).collect();
    hits.iter().take(most / 2).for_each(|i| take(*i));
    (0..4).for_each(&mut take);
    for i in hits.iter().take(most / 2) {
        [i.saturating_sub(1), i + 1].into_iter().for_each(&mut take);
    }
    (all.len().saturating_sub(3)..all.len()).for_each(&mut take);
    (0..all.len()).for_each(take);

    let mut out: Vec<Row<'a>> = Vec::new();
    let mut icmp = flow.icmp.iter().peekable();
    let mut skipped = 0u64;
    for (i, p) in all.iter().enumerate() {
        if i == flow.ladder.head.len() {
            skipped += flow.ladder.between;
        }
        while let Some(e) = icmp.next_if(|e| e.at.frame < p.frame) {
            gap(&mut out, &mut skipped);
            out.push(Row::Icmp(e));
        }
        if keep.get(i).copied().unwrap_or(false) {
            gap(&mut out, &mut skipped);
            out.push(Row::Packet(p));
        } else {
            skipped += 1;
        }
    }
    if all.len() <= flow.ladder.head.len() {
        skipped += flow.ladder.between;
    }
    gap(&mut out, &mut skipped);
    out.extend(icmp.map(Row::Icmp));
    out
}

fn gap<'a>(out: &mut Vec<Row<'a>>, skipped: &mut u64) {
    if *skipped > 0 {
        out.push(Row::Gap(*skipped));
        *skipped = 0;
    }
}

fn arrow(flow: &FlowRecord, row: &Row<'_>, y: f64, tap: f64, hit: bool) -> Markup {
    let (at, says, frame, from, to) = match row {
        Row::Gap(n) => {
            return html! {
                text.t.halo x=(draw::px((CLIENT + SERVER) / 2.0)) y=(draw::px(y + 16.0)) text-anchor="middle" {
                    "⋮ " (text::counted(*n, "packet")) " not drawn"
                }
            };
        }
        Row::Packet(p) => {
            let (from, to) = if p.side == Side::Client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
            (p.ts, label(flow, p), p.frame, from, to)
        }
        Row::Icmp(i) => {
            // It comes from somewhere on the way, to the side whose packet it quotes.
            let to = if i.about == Side::Client { CLIENT } else { SERVER };
            (i.at.ts, icmp(i), i.at.frame, (CLIENT + SERVER) / 2.0, to)
        }
    };
    let line = y + 19.0;
    let back = if to > from { -7.0 } else { 7.0 };
    let head = format!("M{} {} l{} -4 v8 z", draw::px(to), draw::px(line), draw::px(back));
    html! {
        text.t x="0" y=(draw::px(y + 15.0)) { (seconds(flow, at)) }
        path.pk.hit[hit] d=(format!("M{} {} H{}", draw::px(from), draw::px(line), draw::px(to + back * 0.7))) {}
        path.pkh.hit[hit] d=(head) {}
        @if matches!(row, Row::Packet(_)) { circle.dot cx=(draw::px(tap)) cy=(draw::px(line)) r="2.4" {} }
        text.halo.b[hit].hit[hit] x=(draw::px((CLIENT + SERVER) / 2.0)) y=(draw::px(y + 13.0)) text-anchor="middle" { (text::cut(&says, LABEL_MAX, false)) }
        text.b[hit] x="400" y=(draw::px(y + 15.0)) text-anchor="end" { @if hit { "◆ " } (frame.0) }
    }
}

fn seconds(flow: &FlowRecord, at: Time) -> String {
    format!("{:.3}", at.since(flow.first.ts).as_secs())
}

/// Flags, payload and what was said, in a few words.
fn label(flow: &FlowRecord, p: &Brief) -> String {
    let mut parts = Vec::new();
    let said = said(flow, p.frame);
    if flow.tcp.is_some() {
        // What was said tells more than that something was.
        parts.extend(Some(flags(p)).filter(|f| said.is_none() || f != DATA));
    }
    parts.extend(said);
    if p.len > 0 {
        parts.push(format!("{} B", p.len));
    }
    if p.marked(mark::RETRANSMIT) {
        parts.push("again".to_owned());
    }
    if parts.is_empty() {
        parts.push("empty".to_owned());
    }
    parts.join(" ")
}

/// Flags that only go with data.
const DATA: &str = "data";

fn flags(p: &Brief) -> String {
    let all = [(p.flags.syn(), "SYN"), (p.flags.fin(), "FIN"), (p.flags.rst(), "RST"), (p.flags.psh(), "PSH"), (p.flags.ack(), "ACK")];
    let set: Vec<&str> = all.iter().filter(|(on, _)| *on).map(|(_, n)| *n).collect();
    match set.as_slice() {
        [] => "no flags".to_owned(),
        // Beside data, PSH and ACK tell nothing.
        ["PSH", "ACK"] | ["ACK"] if p.len > 0 => DATA.to_owned(),
        set => set.join("+"),
    }
}

/// What the message that this frame completed said.
fn said(flow: &FlowRecord, frame: FrameNo) -> Option<String> {
    flow.notes.list.iter().filter(|n| n.frame == frame).find_map(|n| {
        Some(match &n.fact {
            Fact::ClientHello(h) => match &h.sni {
                Some(sni) => format!("ClientHello {}", text::cut_front(&text::shown(sni, false), 26, false)),
                None => "ClientHello".to_owned(),
            },
            Fact::DecoyHello { .. } => "decoy ClientHello".to_owned(),
            Fact::ServerHello(_) => "ServerHello".to_owned(),
            Fact::TlsAlert { description, .. } => format!("TLS alert {description}"),
            Fact::TlsEncryptedAlert => "TLS alert".to_owned(),
            Fact::HttpRequest(r) => match &r.host {
                Some(host) => format!("{} {}", r.method, text::cut_front(&text::shown(host, false), 24, false)),
                None => r.method.to_string(),
            },
            Fact::HttpResponse(r) if r.status == 0 => "HTML".to_owned(),
            Fact::HttpResponse(r) => format!("HTTP {}", r.status),
            Fact::Dns(m) => {
                let name = text::cut_front(&text::shown(&m.qname, false), 22, false);
                match (m.response, m.rcode, m.addresses.first()) {
                    (false, ..) => format!("{name}?"),
                    (true, 0, Some((ip, _))) => format!("{name} = {ip}"),
                    (true, 0, None) => format!("{name}: no address"),
                    (true, 3, _) => format!("{name}: no such name"),
                    (true, code, _) => format!("{name}: error {code}"),
                }
            }
            Fact::Quic(q) => match q.kind {
                0 => "QUIC Initial",
                1 => "QUIC 0-RTT",
                2 => "QUIC Handshake",
                3 => "QUIC Retry",
                _ => "QUIC version negotiation",
            }
            .to_owned(),
            Fact::Stun(s) => match (s.kind & 0x0110, s.kind & 0x3eef) {
                (0x0000, 1) => "STUN request".to_owned(),
                (0x0100, 1) => "STUN answer".to_owned(),
                (0x0000, 3) => "relay request".to_owned(),
                (0x0100, 3) => "relay granted".to_owned(),
                (0x0110, _) => "STUN error".to_owned(),
                _ => "STUN".to_owned(),
            },
            _ => return None,
        })
    })
}

fn icmp(i: &IcmpSeen) -> String {
    format!("ICMP{} type {} code {}", if i.version == 6 { "v6" } else { "" }, i.kind, i.code)
}

/// Marks of a packet, in words.
fn marks(p: &Brief) -> String {
    let words = [
        (mark::RETRANSMIT, "sent before"),
        (mark::COPY, "copy"),
        (mark::AFTER_HOLE, "after a hole"),
        (mark::FILLS_HOLE, "fills a hole"),
        (mark::BAD_CHECKSUM, "bad checksum"),
        (mark::CONFLICT, "other bytes at the same place"),
        (mark::ASIDE, "made not to be accepted"),
        (mark::ZERO_WINDOW, "window 0"),
        (mark::PROBE, "probe"),
        (mark::ACKS_UNSEEN, "acknowledges what was not seen"),
        (mark::OUT_OF_WINDOW, "outside the window"),
        (mark::MD5, "MD5 option"),
    ];
    let set: Vec<&str> = words.iter().filter(|(bit, _)| p.marked(*bit)).map(|(_, w)| *w).collect();
    set.join(", ")
}

fn table(flow: &FlowRecord, rows: &[Row<'_>], frames: &BTreeSet<FrameNo>) -> Markup {
    let heads = ["#frame", "evidence", "#seconds", "from", "packet", "#payload", "#TTL", "#IP ID", "seq", "remarks"];
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let evidence = if hit(row, frames) { "yes".to_owned() } else { String::new() };
            match row {
                Row::Packet(p) => vec![
                    p.frame.0.to_string(),
                    evidence,
                    seconds(flow, p.ts),
                    if p.side == Side::Client { "client" } else { "server" }.to_owned(),
                    [Some(flags(p)).filter(|_| flow.tcp.is_some()), said(flow, p.frame)]
                        .into_iter()
                        .flatten()
                        .collect::<Vec<_>>()
                        .join(" "),
                    p.len.to_string(),
                    p.ttl.to_string(),
                    p.ip_id.map_or_else(String::new, |id| id.to_string()),
                    if flow.tcp.is_some() { p.seq.0.to_string() } else { String::new() },
                    marks(p),
                ],
                Row::Icmp(i) => {
                    let mut cells =
                        vec![i.at.frame.0.to_string(), evidence, seconds(flow, i.at.ts), i.from.to_string(), icmp(i), String::new()];
                    cells.extend([i.ttl.to_string(), String::new(), String::new(), String::new()]);
                    cells
                }
                Row::Gap(n) => {
                    let mut cells = vec!["…".to_owned(), String::new(), String::new(), String::new(), format!("{n} more")];
                    cells.resize(heads.len(), String::new());
                    cells
                }
            }
        })
        .collect();
    draw::table("Packets of the connection", &heads, &cells)
}
