//! Tries every rule with a flow made for it: a rule that does not match even that one says nothing, whatever it was meant to say.

use super::book::Book;
use super::service::{Alphabet, CidrRule, DomainRule, Pattern, PatternRule, Scope, Service, StunRule, TlsRule};
use super::weigh::{Beside, Match, Near, Told};
use crate::model::flow::{Brief, Closed, Detail, Flow, FlowId, FlowRecord, Ladder, Moment, Outcome, RoleBasis, Stage, Totals};
use crate::model::frame::FrameNo;
use crate::model::key::{Endpoint, Proto};
use crate::model::note::{Certificate, ClientHello, Fact, MediaLeg, Note, Notes, ServerHello, Shape, Stun};
use crate::model::packet::TcpFlags;
use crate::model::seq::{Pos, Seq};
use crate::model::side::{PerSide, Side};
use crate::model::time::{Span, Time};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};

const START: Moment = Moment { frame: FrameNo(1), ts: Time::from_nanos(0) };
/// An address nobody claims (RFC 5737).
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A flow whose server answered, from 192.168.1.2 to `server`, that says nothing yet.
pub(super) fn flow(proto: Proto, server: Endpoint) -> FlowRecord {
    let answered = Totals { packets: 5, payload: 1000, ..Totals::default() };
    FlowRecord::from(Flow {
        id: FlowId { source: 0, frame: START.frame },
        proto,
        client: Endpoint::new(Ipv4Addr::new(192, 168, 1, 2).into(), 50_123),
        server,
        role_basis: if proto == Proto::TCP { RoleBasis::Syn } else { RoleBasis::FirstDatagram },
        first: START,
        last: START,
        detail: Detail { totals: PerSide { client: answered, server: answered }, tcp: None, ladder: Ladder::default(), icmp: Vec::new() }
            .into(),
        app: None,
        pace: PerSide::default(),
        notes: Notes::default(),
        owner: None,
        closed: Closed::Finished,
        outcome: Outcome::Unknown,
        stage: Stage::None,
        later: None,
        nearest: None,
    })
}

fn note(flow: &mut FlowRecord, side: Side, fact: Fact) {
    flow.notes.push(Note { frame: FrameNo(4), ts: START.ts, side, from: Pos::FIRST, to: Pos::FIRST, fact });
}

/// A flow within the rule's protocol and ports.
fn scoped(scope: &Scope, or: Proto, ip: IpAddr) -> FlowRecord {
    let port = scope.ports.first().map_or(443, |r| r.from);
    flow(scope.proto.unwrap_or(or), Endpoint::new(ip, port))
}

fn hello(sni: Option<Box<str>>) -> Fact {
    Fact::ClientHello(Box::new(ClientHello { sni, ..ClientHello::default() }))
}

impl Book {
    /// Rules that do not match a flow made for them, as sentences.
    pub(super) fn untried(&self) -> Vec<String> {
        let book = self.clone().with_heuristics(true);
        let mut out = Vec::new();
        for (s, service) in book.services.iter().enumerate() {
            let mut tell = |kind: &str, i: usize, met: bool, what: String| {
                if !met {
                    out.push(format!("{}: {kind}[{}] ({what}) does not match a flow made for it", service.info.id, i + 1));
                }
            };
            for (i, r) in service.domains.iter().enumerate() {
                let met =
                    of_domain(r).iter().any(|flow| book.hits(s, flow, |m| matches!(m.told, Told::Name(_, _, x) if std::ptr::eq(x, r))));
                tell("domain", i, met, r.name.to_string());
            }
            for (i, r) in service.cidrs.iter().enumerate() {
                let met = of_cidr(r).iter().any(|flow| book.hits(s, flow, |m| matches!(m.told, Told::Address(_, x) if std::ptr::eq(x, r))));
                tell("cidr", i, met, r.net.to_string());
            }
            for (i, r) in service.protocols.iter().enumerate() {
                let met = book.hits(s, &flow(r.proto, Endpoint::new(NOWHERE, 0)), |m| matches!(m.told, Told::Protocol(_)));
                tell("protocol", i, met, r.proto.name().into_owned());
            }
            for (i, r) in service.tls.iter().enumerate() {
                let hit = |m: &Match<'_>| {
                    matches!(m.told, Told::Tls(x, _) if std::ptr::eq(x, r))
                        || matches!(m.told, Told::Certificate(_) | Told::Owner(_)) && r.about_certificate()
                };
                tell("tls", i, book.hits(s, &of_tls(r), hit), format!("{} dB", r.db));
            }
            for (i, r) in service.stun.iter().enumerate() {
                tell(
                    "stun",
                    i,
                    book.hits(s, &of_stun(r), |m| matches!(m.told, Told::Stun(x, _) if std::ptr::eq(x, r))),
                    format!("{} dB", r.db),
                );
            }
            for (i, r) in service.shapes.iter().enumerate() {
                let mut flow = book.at_home(service, r.home, &r.scope, Proto::TCP);
                note(&mut flow, Side::Client, Fact::Shape(r.shape));
                // Of several shapes in one class the heaviest counts; each is tried alone.
                tell("parser", i, book.hits(s, &flow, |m| matches!(m.told, Told::Shape(x) if x == r.shape)), r.shape.says().to_owned());
            }
            for (i, r) in service.patterns.iter().enumerate() {
                let tcp = matches!(r.pattern, Pattern::Residue { .. } | Pattern::Nested);
                let mut flow = of_pattern(r, book.at_home(service, r.home, &r.scope, if tcp { Proto::TCP } else { Proto::UDP }));
                if r.both_ports {
                    flow.client.port = flow.server.port;
                }
                tell(
                    "pattern",
                    i,
                    book.hits(s, &flow, |m| matches!(m.told, Told::Pattern(x) if std::ptr::eq(x, r))),
                    format!("{} dB", r.db),
                );
            }
            for (i, r) in service.contexts.iter().enumerate() {
                let mut flow = scoped(&r.scope, Proto::UDP, NOWHERE);
                // Company supports only what something else speaks for.
                let names = service.domains.iter().find(|d| d.scope.allows(flow.proto, flow.server.port));
                note(&mut flow, Side::Client, hello(names.map(sample_name)));
                let near = [Near { service: &r.needs, frame: FrameNo(1), ago: Span::ZERO }];
                let known = book.services.iter().any(|x| x.info.id == r.needs);
                let found = book.matches(&flow, &[], Beside { companion: None, near: &near });
                let met = found.is_some_and(|f| f.iter().any(|m| m.service == s && matches!(m.told, Told::Context(_))));
                tell("context", i, known && (met || names.is_none()), format!("needs {}", r.needs));
            }
            for (i, r) in service.probes.iter().enumerate() {
                for name in &r.names {
                    let mut flow = flow(Proto::TCP, Endpoint::new(NOWHERE, 443));
                    note(&mut flow, Side::Client, hello(Some(name.clone())));
                    let near = [Near { service: &service.info.id, frame: FrameNo(1), ago: Span::ZERO }];
                    let found = book.matches(&flow, &[], Beside { companion: None, near: &near });
                    tell("probe", i, found.is_some_and(|f| f.iter().any(|m| matches!(m.told, Told::Probe(..)))), name.to_string());
                }
            }
        }
        out
    }

    fn hits(&self, service: usize, flow: &FlowRecord, fits: impl Fn(&Match<'_>) -> bool) -> bool {
        self.matches(flow, &[], Beside::default()).is_some_and(|found| found.iter().any(|m| m.service == service && fits(m)))
    }

    /// A flow within the rule's scope, and in the service's own ranges if the rule asks for that.
    fn at_home(&self, service: &Service, home: bool, scope: &Scope, or: Proto) -> FlowRecord {
        let Some(range) = service.cidrs.iter().find(|c| home && c.scope.meets(scope)) else { return scoped(scope, or, NOWHERE) };
        let both = Scope {
            proto: scope.proto.or(range.scope.proto),
            ports: if scope.ports.is_empty() { range.scope.ports.clone() } else { scope.ports.clone() },
        };
        scoped(&both, or, range.net.network())
    }
}

fn sample_name(r: &DomainRule) -> Box<str> {
    match &r.prefix_label {
        Some(label) => format!("{label}1.{}", r.name).into(),
        None => r.name.clone(),
    }
}

/// The name, and one below it: another rule may hold the name alone.
fn of_domain(r: &DomainRule) -> Vec<FlowRecord> {
    let below = (!r.exact && r.prefix_label.is_none()).then(|| format!("made-for-this.{}", r.name).into());
    [Some(sample_name(r)), below]
        .into_iter()
        .flatten()
        .map(|name| {
            let mut flow = scoped(&r.scope, Proto::TCP, NOWHERE);
            note(&mut flow, Side::Client, hello(Some(name)));
            flow
        })
        .collect()
}

/// The ends of the range and its middle: another rule may hold a part of it.
fn of_cidr(r: &CidrRule) -> Vec<FlowRecord> {
    let middle = match r.net {
        IpNet::V4(net) => {
            let base = u32::from(net.network()) + (u32::from(net.broadcast()) - u32::from(net.network())) / 2;
            let octet = r.last_octet.map_or(base & 0xff, |o| u32::from(o.from));
            IpAddr::from(Ipv4Addr::from(base & !0xff | octet))
        }
        IpNet::V6(net) => IpAddr::from(net.network()),
    };
    [middle, r.net.network(), r.net.broadcast()].into_iter().map(|ip| scoped(&r.scope, Proto::TCP, ip)).collect()
}

fn of_tls(r: &TlsRule) -> FlowRecord {
    let mut flow = scoped(&r.scope, Proto::TCP, NOWHERE);
    let sni = if r.no_sni == Some(false) { Some("name.example".into()) } else { None };
    let ja4 = r.ja4.first().cloned().unwrap_or_default();
    let alpn = r.alpn.first().cloned().into_iter().collect();
    note(
        &mut flow,
        Side::Client,
        Fact::ClientHello(Box::new(ClientHello { sni, ja4, alpn, hybrid: r.hybrid_declined, ..ClientHello::default() })),
    );
    if r.odd_finished || r.hybrid_declined {
        note(
            &mut flow,
            Side::Server,
            Fact::ServerHello(Box::new(ServerHello { version: 0x0304, group: 0x001d, ..ServerHello::default() })),
        );
        note(&mut flow, Side::Client, Fact::TlsApplicationData { record_len: 345 });
    }
    if r.about_certificate() {
        let made = |m: &super::service::Make| -> Box<str> {
            let random: String = "aZ7bY3".chars().cycle().take(usize::from(m.random.from)).collect();
            let random = if m.alphabet == Alphabet::Base32 { random.to_ascii_lowercase() } else { random };
            format!("{}{random}{}", m.before, m.after).into()
        };
        let name = r.cert_like.as_ref().map(made).or_else(|| r.cert_cn.first().cloned()).unwrap_or_default();
        let shown = Certificate { names: vec![name], organisation: r.cert_org.first().cloned(), issuer: r.issuer_like.as_ref().map(made) };
        note(&mut flow, Side::Server, Fact::Certificate(Box::new(shown)));
    }
    flow
}

fn of_stun(r: &StunRule) -> FlowRecord {
    let mut flow = scoped(&r.scope, Proto::UDP, NOWHERE);
    let attributes = r.only_attrs.clone().unwrap_or_else(|| r.attr.first().map(|a| a.from).into_iter().collect());
    let message = Stun {
        kind: r.kind.first().map_or(1, |k| k.from),
        realm: r.realm.first().cloned(),
        software: r.software.first().cloned(),
        attributes,
        len: r.len.map_or(92, |l| u32::from(l.from)),
        username_len: r.username_len.map_or(0, |l| l.from),
        username: r.username.unwrap_or_default(),
        ..Stun::default()
    };
    note(&mut flow, Side::Client, Fact::Stun(Box::new(message)));
    flow
}

/// A packet with payload, ended by a push.
pub(super) fn packet(n: u64, at_ms: i64, side: Side, len: u32) -> Brief {
    Brief {
        frame: FrameNo(n),
        ts: START.ts.plus(Span::from_millis(at_ms)),
        side,
        flags: TcpFlags(0x18),
        seq: Pos::default(),
        ack: Pos::default(),
        seq_raw: Seq::default(),
        ack_raw: Seq::default(),
        len,
        window: 1000,
        ttl: 64,
        tos: 0,
        ip_id: None,
        df: true,
        options: 0,
        ip_len: 0,
        flow_label: 0,
        marks: 0,
    }
}

fn of_pattern(r: &PatternRule, mut flow: FlowRecord) -> FlowRecord {
    let alternate = |i: u32| if i.is_multiple_of(2) { Side::Client } else { Side::Server };
    match &r.pattern {
        Pattern::Sizes { sizes, .. } => {
            let side = |n: i32| if n > 0 { Side::Client } else { Side::Server };
            flow.ladder.head = (1..).zip(sizes).map(|(i, n)| packet(i, 0, side(*n), n.unsigned_abs())).collect();
        }
        Pattern::Residue { modulo, classes, bursts, skip, .. } => {
            let len = u32::from(*modulo) + u32::from(classes.first().copied().unwrap_or(0));
            let n = u32::from(*bursts) + 2 * u32::from(*skip) + 1;
            flow.ladder.head = (0..n).map(|i| packet(u64::from(i), i64::from(i), alternate(i), len)).collect();
        }
        Pattern::Period { len, every_ms, times, .. } => {
            flow.ladder.head = (0..=i64::from(*times))
                .map(|i| packet(i as u64 + 1, i * i64::from(*every_ms), Side::Client, u32::from(len.from)))
                .collect();
            flow.last.ts = flow.ladder.head.last().map_or(flow.first.ts, |p| p.ts);
        }
        Pattern::Media { pps, seconds } => {
            flow.last.ts = START.ts.plus(Span::from_secs(i64::from(*seconds) + 1));
            let packets = u64::from(*pps) * (u64::from(*seconds) + 2);
            let sent = Totals { packets, payload: packets * 100, ..Totals::default() };
            flow.totals = PerSide { client: sent, server: sent };
            flow.ladder.head = vec![packet(1, 0, Side::Client, 100)];
        }
        Pattern::PayloadTypes { types, distinct } => {
            let payload_types = types.iter().take(usize::from(*distinct)).filter_map(|t| u8::try_from(*t).ok()).collect();
            note(&mut flow, Side::Client, Fact::Shape(Shape::Rtp));
            note(&mut flow, Side::Client, Fact::Media(Box::new(MediaLeg { payload_types, ..MediaLeg::default() })));
        }
        Pattern::Nested => {
            note(&mut flow, Side::Client, hello(None));
            let sizes = [517, 3000, 660, 3000, 120, 300, 100, 100];
            flow.ladder.head = (0u32..).zip(sizes).map(|(i, n)| packet(u64::from(i), 0, alternate(i), n)).collect();
        }
    }
    flow
}
