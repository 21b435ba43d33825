//! A hand-made story for the tests of the sinks: one blocked service, one way around blocking, and text that attacks the reader.

use crate::model::finding::{Control, Direction, Evidence, Finding, Grade, Innocent, Kind, Target};
use crate::model::flow::{Closed, Detail, Flow, FlowId, FlowRecord, Ladder, Moment, Outcome, RoleBasis, Stage, TcpRecord, Totals};
use crate::model::frame::{FrameNo, LinkType};
use crate::model::key::{Endpoint, Proto};
use crate::model::label::{EvidenceClass, Label, LabelEvidence, LabelFacts, LabelGrade, Role};
use crate::model::note::{ClientHello, DnsMessage, Ech, Fact, Note, Notes};
use crate::model::oddity::Oddity;
use crate::model::seq::Pos;
use crate::model::side::{PerSide, Side};
use crate::model::source::{CannotClaim, Quality, SourceFacts, Vantage};
use crate::model::story::{End, ServiceState, State, Story};
use crate::model::time::{Span, Time};

/// A name that tries to clear the screen, to fake a line and to reverse the text after it.
pub const HOSTILE: &str = "\x1b[2J\nok\u{202e}gro.elpmaxe\u{2066}\u{9b}31m";

fn moment(frame: u64, ms: i64) -> Moment {
    Moment { frame: FrameNo(frame), ts: Time::from_nanos(1_700_000_000_000_000_000).plus(Span::from_millis(ms)) }
}

/// A TCP flow with a ClientHello for `sni`.
pub fn tcp_flow(frame: u64, sni: &str, outcome: Outcome) -> FlowRecord {
    let totals = |from: i64| Totals {
        packets: 5,
        bytes: 900,
        payload: 600,
        first: Some(moment(frame, from)),
        last: Some(moment(frame + 9, from + 500)),
        first_payload: Some(moment(frame + 3, from + 100)),
        last_payload: Some(moment(frame + 8, from + 400)),
        cut: 0,
    };
    let mut tcp = TcpRecord { history: "ShADadr".into(), rtt_server: Some(Span::from_micros(38_250)), ..TcpRecord::default() };
    tcp.rtt_client = Some(Span::from_micros(250));
    tcp.side.client.unique = 600;
    tcp.side.server.retransmitted = 2;
    let mut notes = Notes::default();
    let hello = ClientHello {
        sni: Some(sni.into()),
        alpn: vec!["h2".into(), "http/1.1".into()],
        ja4: "t13d1516h2_8daaf6152771_b186095e22b6".into(),
        ech: Ech::Grease,
        ..ClientHello::default()
    };
    let mut add = |fact| {
        let at = moment(frame + 3, 100);
        notes.push(Note { frame: at.frame, ts: at.ts, side: Side::Client, from: Pos(1), to: Pos(518), fact });
    };
    add(Fact::ClientHello(Box::new(hello)));
    add(Fact::DecoyHello { sni: Some("www.example.org".into()) });
    FlowRecord::from(Flow {
        id: FlowId { source: 0, frame: FrameNo(frame) },
        proto: Proto::TCP,
        client: Endpoint::new("192.168.1.2".parse().unwrap(), 40_000 + frame as u16),
        server: Endpoint::new("149.154.167.99".parse().unwrap(), 443),
        role_basis: RoleBasis::Syn,
        first: moment(frame, 0),
        last: moment(frame + 9, 500),
        detail: Detail {
            totals: PerSide { client: totals(0), server: totals(38) },
            tcp: Some(Box::new(tcp)),
            ladder: Ladder::default(),
            icmp: Vec::new(),
        }
        .into(),
        app: Some("tls"),
        pace: crate::model::side::PerSide::default(),
        notes,
        owner: Some("org.telegram.messenger".into()),
        closed: Closed::Finished,
        outcome,
        stage: if outcome == Outcome::Ok { Stage::None } else { Stage::PostPsh },
        ..Flow::default()
    })
}

fn dns_flow(frame: u64) -> FlowRecord {
    let mut flow = tcp_flow(frame, "unused.example", Outcome::Ok);
    flow.proto = Proto::UDP;
    flow.server.port = 53;
    flow.app = Some("dns");
    flow.tcp = None;
    flow.role_basis = RoleBasis::FirstDatagram;
    flow.owner = None;
    for note in flow.notes.list.iter_mut() {
        note.fact = Fact::Dns(Box::new(DnsMessage { qname: HOSTILE.into(), ..DnsMessage::default() }));
    }
    flow
}

/// A label.
pub fn label(id: &str, circumvention: bool) -> Label {
    Label::from(LabelFacts {
        id: id.into(),
        title: id.into(),
        role: Some(Role::Web),
        confidence: 0.9995,
        grade: LabelGrade::Certain,
        evidence: vec![LabelEvidence {
            class: EvidenceClass::Name,
            says: "SNI web.telegram.org ends in telegram.org".into(),
            db: 30,
            frame: FrameNo(4),
        }],
        runner_up: Some(("mtproxy".into(), 0.01)),
        brand: None,
        circumvention,
        total_db: 33,
        margin_db: Some(53),
        attempt: false,
        own_network: false,
        since: FrameNo(4),
    })
}

/// A finding about `service` on the flows that begin at `frames`.
pub fn finding(id: &str, service: &str, grade: Grade, frames: &[u64]) -> Finding {
    Finding {
        id: id.into(),
        rule: "tcp.rst.injected",
        kind: Kind::RstInjection,
        mechanism: "on_path",
        grade,
        flows: frames.iter().map(|&f| FlowId { source: 0, frame: FrameNo(f) }).collect(),
        direction: Some(Direction::S2c),
        target: Target { service: Some(service.into()), role: Some(Role::Web), sni: Some(HOSTILE.into()), ..Target::default() },
        started: moment(9, 240).ts,
        frames: vec![FrameNo(9), FrameNo(11), FrameNo(14)],
        rate_bps: None,
        throttle: None,
        deaths: Vec::new(),
        evidence: vec![Evidence {
            says: "the reset's TTL differs from the server's".into(),
            value: "57".into(),
            expected: "48 ± 2".into(),
            frames: vec![FrameNo(9)],
        }],
        innocent: vec![
            Innocent { cause: "server abort", stands: false, why: "the server went on sending after the reset".into() },
            Innocent { cause: "two load balancers", stands: true, why: "only one server address was seen".into() },
        ],
        control: vec![Control::counted("same_server_other_name", 3, 3)],
        needs: vec!["a capture at the server at the same time"],
        ooni_failure: Some("connection_reset"),
        resembles: vec!["vector-a"],
    }
}

/// A row of the verdict.
pub fn service(id: &str, state: State, ok: u64, failed: u64) -> ServiceState {
    ServiceState {
        id: id.into(),
        title: id.into(),
        role: Some(Role::Web),
        state,
        attempts: ok + failed,
        ok,
        failed,
        flows: ok + failed,
        findings: Vec::new(),
        because: "its handshakes are reset after the server name".into(),
        unless: "another network reaches it as badly".into(),
        circumvention: false,
    }
}

/// The story.
pub fn story() -> Story {
    let mut oddities = std::collections::BTreeMap::new();
    oddities.insert(Oddity::NotIp, 4);
    let mut around = service("wireguard", State::LikelyBlocked, 0, 2);
    around.circumvention = true;
    let mut blocked = service("telegram", State::Blocked, 0, 2);
    blocked.findings = vec!["f_1".into()];
    Story {
        source: SourceFacts {
            index: 0,
            path: format!("cases/{HOSTILE}.pcap"),
            format: "pcap".into(),
            link_types: vec![LinkType::ETHERNET, LinkType(147)],
            packets: 1234,
            bytes: 99_999,
            first: Some(moment(1, 0).ts),
            last: Some(moment(1, 12_300).ts),
            oddities,
            decoded: 1230,
            truncated_at: Some(FrameNo(1234)),
            damage: vec!["the last packet is cut".into()],
            quality: Quality {
                vantage: Vantage::Client,
                vantage_basis: "TTL 64 from 192.168.1.2".into(),
                capture_loss: 0.004,
                cannot_claim: vec![CannotClaim { claim: "packet drops", why: "the capture lost packets itself".into() }],
                tcp_flows: 2,
                ..Quality::default()
            },
            ..SourceFacts::default()
        },
        flows: vec![
            tcp_flow(1, "web.telegram.org", Outcome::Reset),
            dns_flow(20),
            tcp_flow(40, "www.whatsapp.com", Outcome::Ok),
            tcp_flow(60, "vpn.example", Outcome::SilentHello),
        ],
        labels: vec![Some(label("telegram", false)), None, Some(label("whatsapp", false)), Some(label("wireguard", true))],
        dns_names: vec![vec!["web.telegram.org".into()], vec![], vec![], vec![]],
        findings: vec![finding("f_1", "telegram", Grade::Confirmed, &[1]), finding("f_2", "wireguard", Grade::Likely, &[60])],
        services: vec![blocked, service("whatsapp", State::Ok, 1, 0), around, service("signal", State::Insufficient, 0, 0)],
        apps: Vec::new(),
    }
}

/// Its end.
pub fn end() -> End {
    End { sources: 1, packets: 1230, flows: 4, findings: 2, services: 4, exit: 4, ..End::default() }
}
