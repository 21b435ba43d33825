//! Lookups by hand: a transcript becomes flows, and a detector judges all of them.
//!
//! A line is `ms flow[@resolver] > [type] name` for a query and `ms flow < answer [ttl N] [df0]` for an answer to that flow's last query,
//! where the answer is addresses, `NXDOMAIN`, `REFUSED`, `SERVFAIL` or `none`. The resolver is 8.8.8.8 unless it is named. A line
//! `ms end` is when the capture ends.

use super::Detector;
use super::{dns_drop::DnsDrop, dns_nxdomain::DnsNxdomain, dns_race::DnsRace, dns_sinkhole::DnsSinkhole};
use crate::model::finding::Grade::{self, Confirmed, Likely, Possible};
use crate::model::flow::{Brief, Detail, Flow, FlowId, FlowRecord, Ladder, Moment, RoleBasis};
use crate::model::frame::FrameNo;
use crate::model::key::{Endpoint, Proto};
use crate::model::note::{DnsMessage, Fact, Note};
use crate::model::scene::{Index, Kin, Scene};
use crate::model::seq::Pos;
use crate::model::side::{PerSide, Side};
use crate::model::source::SourceFacts;
use crate::model::time::{Span, Time};
use std::net::IpAddr;
use std::sync::Arc;

struct Capture {
    flows: Vec<FlowRecord>,
    source: SourceFacts,
}

fn capture(transcript: &str) -> Capture {
    let mut flows: Vec<FlowRecord> = Vec::new();
    let mut end = Time::from_nanos(0);
    for (i, line) in transcript.lines().map(str::trim).filter(|l| !l.is_empty()).enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ts = Time::from_nanos(0).plus(Span::from_micros((words[0].parse::<f64>().unwrap() * 1000.0) as i64));
        end = end.max(ts);
        if words[1] == "end" {
            continue;
        }
        let at = Moment { frame: FrameNo(i as u64 + 1), ts };
        let (port, resolver) = words[1].split_once('@').unwrap_or((words[1], "8.8.8.8"));
        let port = 40_000 + port.parse::<u16>().unwrap();
        let known = flows.iter().position(|f| f.client.port == port);
        let f = known.unwrap_or_else(|| {
            flows.push(begin(at, port, resolver.parse().unwrap()));
            flows.len() - 1
        });
        speak(&mut flows[f], at, &words[2..]);
    }
    Capture { flows, source: SourceFacts { last: Some(end), ..SourceFacts::default() } }
}

fn begin(at: Moment, port: u16, resolver: IpAddr) -> FlowRecord {
    FlowRecord::from(Flow {
        id: FlowId { source: 0, frame: at.frame },
        proto: Proto::UDP,
        client: Endpoint::new([192, 168, 1, 2].into(), port),
        server: Endpoint::new(resolver, 53),
        role_basis: RoleBasis::FirstDatagram,
        first: at,
        last: at,
        detail: Detail { totals: PerSide::default(), tcp: None, ladder: Ladder::default(), icmp: Vec::new() }.into(),
        app: Some("dns"),
        ..Flow::default()
    })
}

fn speak(f: &mut FlowRecord, at: Moment, words: &[&str]) {
    let asked = f.notes.dns().filter(|(_, m)| !m.response).last().map(|(_, m)| (m.qname.clone(), m.qtype));
    let after = |key: &str| words.iter().position(|w| *w == key).and_then(|i| words.get(i + 1));
    let query = words[0] == ">";
    let mut m = DnsMessage { response: !query, ..DnsMessage::default() };
    if query {
        m.qname = (*words.last().unwrap()).into();
        m.qtype = if words.contains(&"AAAA") { 28 } else { 1 };
    } else {
        (m.qname, m.qtype) = asked.unwrap();
        m.rcode = match words[1] {
            "NXDOMAIN" => 3,
            "REFUSED" => 5,
            "SERVFAIL" => 2,
            _ => 0,
        };
        m.addresses = words.iter().filter_map(|w| w.parse().ok()).filter(|_| m.rcode == 0).map(|ip| (ip, 60)).collect();
        m.answers = m.addresses.len() as u16;
    }
    // An id of its own for every name of a flow.
    m.id = m.qname.len() as u16 + m.qtype;
    let side = if query { Side::Client } else { Side::Server };
    f.notes.push(Note { frame: at.frame, ts: at.ts, side, from: Pos::FIRST, to: Pos::FIRST, fact: Fact::Dns(Box::new(m)) });
    f.totals[side].packets += 1;
    f.last = at;
    f.ladder.head.push(Brief {
        ttl: after("ttl").map_or(if query { 64 } else { 112 }, |t| t.parse().unwrap()),
        ip_id: Some(at.frame.0 as u16 + 100),
        df: !words.contains(&"df0"),
        ip_len: 88,
        ..Brief::datagram(at, side, 60)
    });
}

fn judge(detector: &dyn Detector, c: &Capture) -> Option<(Grade, &'static str)> {
    let labels = vec![None; c.flows.len()];
    let kin = Kin { flows: &c.flows, labels: &labels, index: Arc::new(Index::of(&c.flows)) };
    let scenes = c.flows.iter().map(|flow| Scene { flow, label: None, kin: &kin, source: &c.source });
    scenes.filter_map(|s| detector.judge(&s)).map(|f| (f.grade, f.mechanism)).max()
}

fn race(t: &str) -> Option<(Grade, &'static str)> {
    judge(&DnsRace, &capture(t))
}
fn sinkhole(t: &str) -> Option<Grade> {
    judge(&DnsSinkhole, &capture(t)).map(|g| g.0)
}
fn denied(t: &str) -> Option<Grade> {
    judge(&DnsNxdomain, &capture(t)).map(|g| g.0)
}
fn dropped(t: &str) -> Option<Grade> {
    judge(&DnsDrop, &capture(t)).map(|g| g.0)
}

/// Five ordinary lookups, around 40 ms, before and after what a test adds from 1,000 ms on.
const ORDINARY: &str = "
    100  91 > ya.ru
    140  91 < 77.88.55.88
    300  92 > github.com
    342  92 < 140.82.121.4
    500  93 > www.wikipedia.org
    541  93 < 185.15.59.224
    9000 94 > python.org
    9040 94 < 151.101.0.223
    9200 95 > kernel.org
    9241 95 < 139.178.84.217
    20000 end
";

fn among(lines: &str) -> String {
    let mut all: Vec<&str> = ORDINARY.lines().chain(lines.lines()).map(str::trim).filter(|l| !l.is_empty()).collect();
    all.sort_by(|a, b| {
        let ms = |l: &str| l.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
        ms(a).total_cmp(&ms(b))
    });
    all.join("\n")
}

#[test]
fn an_injector_next_to_a_tap_on_the_path_is_no_filter_of_the_clients_own() {
    // The answer has passed no router; at the client that is its own router or host, three routers away from it it is not.
    let near = |ttl: u8| among(&format!("1000 1 > ttl {ttl} x.com\n 1002 1 < 127.0.0.1 ttl 128 df0\n 1041 1 < 104.244.42.1"));
    assert_eq!(race(&near(64)), Some((Possible, "race")));
    assert_eq!(race(&near(61)), Some((Confirmed, "race")));
}

#[test]
fn race_of_two_senders() {
    let forged = among("1000 1 > x.com\n 1020 1 < 185.53.177.10 ttl 249 df0\n 1041 1 < 104.244.42.1");
    assert_eq!(race(&forged), Some((Confirmed, "race")));
    // Nothing but an address that cannot be: headers say nothing.
    assert_eq!(race("0 1 > x.com\n 20 1 < 10.10.34.36\n 41 1 < 104.244.42.1"), Some((Confirmed, "race")));
    assert_eq!(race("0 1 > x.com\n 20 1 < NXDOMAIN ttl 60 df0\n 41 1 < 104.244.42.1"), Some((Confirmed, "nxdomain")));
    // The same with a flow for many questions.
    assert_eq!(
        race("0 1 > a.com\n 40 1 < 1.2.3.4\n 100 1 > x.com\n 120 1 < 10.10.34.36\n 141 1 < 104.244.42.1").map(|r| r.0),
        Some(Confirmed)
    );
}

#[test]
fn race_innocent() {
    // Asked twice, answered twice, servers in turn.
    assert_eq!(race("0 1 > cdn.com\n 900 1 > cdn.com\n 1000 1 < 151.101.1.69\n 1001 1 < 199.232.1.69 ttl 60"), None);
    // The answer was doubled on its way.
    assert_eq!(race("0 1 > cdn.com\n 40 1 < 151.101.1.69\n 41 1 < 151.101.1.69 ttl 111"), None);
    // The query was doubled on its way: one sender, servers in turn.
    assert_eq!(race("0 1 > cdn.com\n 40 1 < 151.101.1.69\n 41 1 < 151.101.65.69"), None);
    assert_eq!(race("0 1 > cdn.com\n 40 1 < 151.101.1.69 1.2.3.4\n 41 1 < 1.2.3.4 ttl 60"), None);
    // A router that asks two resolvers and passes on both answers.
    assert_eq!(race("0 1@192.168.1.1 > x.com\n 20 1 < 0.0.0.0\n 41 1 < 104.244.42.1"), None);
    // The query is missing.
    assert_eq!(race("0 1 > y.com\n 5 1 < 1.2.3.4"), None);
}

#[test]
fn race_in_a_capture_with_losses_is_not_confirmed() {
    let mut c = capture("0 1 > x.com\n 20 1 < 10.10.34.36\n 41 1 < 104.244.42.1");
    c.source.quality.capture_loss = 0.02;
    // The second query may be missing, so an innocent cause stands.
    assert_eq!(judge(&DnsRace, &c).map(|g| g.0), Some(Possible));
}

#[test]
fn sinkhole_on_the_path() {
    let two = among("1000 1 > x.com\n 1009 1 < 0.0.0.0 ttl 110 \n 2000 2 > chat.signal.org\n 2009 2 < 0.0.0.0 ttl 110");
    assert_eq!(sinkhole(&two), Some(Confirmed));
    assert_eq!(sinkhole(&among("1000 1 > x.com\n 1009 1 < 0.0.0.0 ttl 110")), Some(Likely));
    assert_eq!(sinkhole(&among("1000 1 > x.com\n 1009 1 < 10.10.34.36 ttl 187")), Some(Confirmed));
    // A usable address, for unrelated names.
    let one = "1000 1 > x.com\n 1009 1 < 188.186.157.49 ttl 90\n 1100 2 > x.com\n 1110 2 < 188.186.157.49 ttl 90\n";
    let shared = format!("{one} 2000 3 > meduza.io\n 2010 3 < 188.186.157.49 ttl 90");
    assert_eq!(sinkhole(&among(&shared)), Some(Likely));
    assert_eq!(sinkhole(&among(one)), Some(Possible));
}

#[test]
fn sinkhole_innocent() {
    // A filter at home; one on the router, in front of a public resolver.
    assert_eq!(sinkhole(&among("1000 1@192.168.1.1 > ads.com\n 1001 1 < 0.0.0.0 ttl 64")), None);
    assert_eq!(sinkhole(&among("1000 1 > ads.com\n 1001 1 < 0.0.0.0 ttl 64")), Some(Possible));
    // What the resolver itself wants to say: private addresses of public names.
    assert_eq!(sinkhole(&among("1000 1 > intern.example.com\n 1040 1 < 10.1.2.3")), None);
    assert_eq!(sinkhole(&among("1000 1 > dead.com\n 1040 1 < 0.0.0.0\n 2000 2 > dead2.com\n 2040 2 < 0.0.0.0")), None);
    assert_eq!(sinkhole(&among("1000 1 > printer.lan\n 1009 1 < 192.168.1.9 ttl 110")), None);
    // A second way to the resolver: whatever is asked, at random.
    let paths =
        "1000 1 > a.com\n 1009 1 < 1.0.0.1 ttl 58\n 1100 2 > b.com\n 1109 2 < 1.0.0.2 ttl 58\n 1200 3 > c.com\n 1209 3 < 1.0.0.3 ttl 58
        1300 4 > d.com\n 1309 4 < 1.0.0.3 ttl 58";
    assert_eq!(sinkhole(&among(paths)), None);
    // A new network: from some moment on.
    let moved = "10000 1 > x.com\n 10009 1 < 1.0.0.1 ttl 58\n 10100 2 > x.com\n 10109 2 < 1.0.0.1 ttl 58\n 10200 3 > x.com\n 10209 3 < 1.0.0.1 ttl 58";
    assert_eq!(sinkhole(&among(moved)), None);
}

#[test]
fn sinkhole_behind_a_router_is_a_pattern_at_most() {
    let one = "0 1@192.168.1.1 > x.com\n 9 1 < 10.10.34.36 ttl 64\n";
    assert_eq!(sinkhole(one), None);
    assert_eq!(sinkhole(&format!("{one} 100 2@192.168.1.1 > meduza.io\n 109 2 < 10.10.34.36 ttl 64")), Some(Possible));
}

#[test]
fn denied_on_the_path() {
    let three =
        "1000 1 > x.com\n 1009 1 < NXDOMAIN ttl 90\n 1100 2 > x.com\n 1110 2 < NXDOMAIN ttl 90\n 1200 3 > x.com\n 1210 3 < NXDOMAIN ttl 90";
    assert_eq!(denied(&among(three)), Some(Likely));
    assert_eq!(denied(&among("1000 1 > x.com\n 1009 1 < REFUSED ttl 90")), Some(Possible));
    assert_eq!(denied(&among("1000 1 > nosuch.com\n 1040 1 < NXDOMAIN")), None);
    assert_eq!(denied(&among("1000 1 > nosuch.com\n 1001 1 < NXDOMAIN ttl 64")), None);
}

#[test]
fn denied_by_one_resolver_alone() {
    let once = "1000 1 > web.whatsapp.com\n 1040 1 < NXDOMAIN\n 1100 2@77.88.8.8 > web.whatsapp.com\n 1120 2 < 157.240.1.60 ttl 55\n";
    assert_eq!(denied(&among(once)), Some(Possible));
    let twice = format!(
        "{once} 2000 3 > web.whatsapp.com\n 2040 3 < NXDOMAIN\n 2100 4@77.88.8.8 > web.whatsapp.com\n 2120 4 < 157.240.1.60 ttl 55"
    );
    assert_eq!(denied(&among(&twice)), Some(Likely));
    // The one that knows it is the office's.
    assert_eq!(denied(&among(&twice.replace("77.88.8.8", "10.0.0.1"))), None);
    // No address of this type is no denial.
    assert_eq!(denied(&among(&twice.replace("NXDOMAIN", "none"))), None);
    // A resolver that filters at its user's wish.
    let filter = among(&twice).replace(" >", "@9.9.9.9 >").replace("@77.88.8.8@9.9.9.9", "@77.88.8.8");
    assert_eq!(denied(&filter), Some(Possible));
    // A resolver that refuses everything is closed.
    assert_eq!(denied(&twice.replace("NXDOMAIN", "REFUSED")), None);
}

const IN_VAIN: &str = "1000 1 > x.com\n 3000 1 > x.com\n 5000 1 > x.com\n 8000 2 > x.com\n 10000 2 > x.com\n";

#[test]
fn queries_in_vain() {
    assert_eq!(dropped(&among(IN_VAIN)), Some(Possible));
    let elsewhere = format!("{IN_VAIN} 11000 3@9.9.9.9 > x.com\n 11020 3 < 104.244.42.1");
    assert_eq!(dropped(&among(&elsewhere)), Some(Likely));
    // The same in one flow for all questions.
    let one =
        "100 1 > x.com\n 200 1 > a.com\n 240 1 < 1.2.3.4\n 2100 1 > x.com\n 3000 1 > bb.com\n 3040 1 < 1.2.3.5\n 4100 1 > x.com\n 9000 end";
    assert_eq!(dropped(one), Some(Possible));
}

#[test]
fn queries_in_vain_innocent() {
    // An answer came after all; the capture ends too early; all is silent; a name of the house.
    assert_eq!(dropped(&among(&format!("{IN_VAIN} 12000 2 < SERVFAIL"))), None);
    assert_eq!(dropped(&among(&format!("{IN_VAIN} 12000 3 > AAAA x.com\n 12040 3 < none"))), None);
    assert_eq!(dropped("0 9 > a.com\n 40 9 < 1.2.3.4\n 1000 1 > x.com\n 2000 1 > x.com\n 3000 1 > x.com\n 3001 end"), None);
    assert_eq!(dropped(&format!("{IN_VAIN} 20000 end")), None);
    assert_eq!(dropped(&among(&IN_VAIN.replace("x.com", "wpad.lan"))), None);
    // The line loses packets: others had to ask again as well.
    let lossy = "1100 5 > a.com\n 3100 5 > a.com\n 3140 5 < 1.2.3.4\n 1200 6 > b.com\n 3200 6 > b.com\n 3240 6 < 1.2.3.5\n";
    assert_eq!(dropped(&among(&format!("{IN_VAIN}{lossy}"))), None);
    // One type of question is ignored.
    assert_eq!(dropped(&among(&IN_VAIN.replace("> x.com", "> AAAA x.com"))), None);
}
