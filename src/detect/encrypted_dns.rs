//! Encrypted DNS that gets no answer, while names are still looked up in the clear.
//!
//! ```text
//! client                        resolvers
//!   | SYN (port 853) -----> X   R      dot: DNS over TLS never answered,
//!   | UDP 853 ------------> X   R      doq: nor DNS over QUIC,
//!   | UDP 53 <----------------> R      while plain DNS to the same resolver is
//!   | dns.example, 443 ---> X   R, S   doh: the names of several operators' resolvers all fail,
//!   | www.example <-----------> T           while other names do not
//! ```

use super::Detector;
use super::silence::{self, Around};
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Finding, Grade, Kind, Target};
use crate::model::flow::{FlowId, FlowRecord, Outcome};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::key::Proto;
use crate::model::label::EvidenceClass;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::{Span, Time};

/// See the module.
pub(super) struct EncryptedDns;

static CARD: Card = Card {
    rule: "dns.encrypted_silent",
    kind: Kind::ProtocolBlocking,
    mechanisms: &["dot", "doq", "doh"],
    claim: "Encrypted DNS (over TLS, QUIC or HTTPS) fails, while the same client's plain DNS and other connections work.",
    ladder: "\
client                        resolvers
  | SYN (port 853) -----> X   R      dot: DNS over TLS never answered,
  | UDP 853 ------------> X   R      doq: nor DNS over QUIC,
  | UDP 53 <----------------> R      while plain DNS to the same resolver is
  | dns.example, 443 ---> X   R, S   doh: the names of several operators' resolvers all fail,
  | www.example <-----------> T           while other names do not",
    needs: &["both directions", "repeated attempts", "plain DNS of the same client that works", "for doh: resolvers of two operators"],
    innocent: &[
        "resolver without encrypted DNS",
        "network that admits no port 853",
        "company or parent that wants its own resolver used",
        "packet loss",
        "outage of the line",
    ],
    confirm: "Ask the same resolver by the same transport from another network.",
    sources: &[
        "Basso, FOCI 2021 (DNS over TLS and HTTPS blocked, by address and by name)",
        "UPB ECH study, FOCI 2025 (names of DoH resolvers filtered in China and Iran)",
        "RFC 7858, RFC 9250 (port 853 over TCP and UDP)",
    ],
};

/// Port of DNS over TLS and over QUIC.
pub(super) const PORT: u16 = 853;

impl Detector for EncryptedDns {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::PORT_853.and(Signs::SILENT_HELLO).and(Signs::RESET).and(Signs::QUIC)
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        // At the server its own firewall is what keeps silent.
        if scene.source.quality.one_sided_share > 0.5 || scene.vantage() == Vantage::Server || !silence::public(flow.server.ip) {
            return None;
        }
        if flow.server.port == PORT { port_853(scene) } else { over_https(scene) }
    }
}

fn claim(mechanism: &'static str, grade: Grade, started: Time) -> Claim {
    Claim { rule: CARD.rule, kind: CARD.kind, mechanism, grade, direction: None, started, ooni_failure: Some("generic_timeout_error") }
}

/// A flow to port 853 that never got beyond its beginning.
fn failed(f: &FlowRecord) -> bool {
    if f.tcp.is_some() {
        matches!(f.outcome, Outcome::SilentSyn | Outcome::SilentHello)
    } else {
        f.proto == Proto::UDP && f.totals.server.packets == 0 && f.icmp.is_empty()
    }
}

/// How often a flow knocked at its resolver, and whether over long enough.
fn knocks(f: &FlowRecord) -> (u32, bool) {
    let own = f.ladder.iter().filter(|p| p.side == Side::Client).map(|p| p.ts);
    let n = f.tcp.as_deref().map_or_else(|| u32::try_from(silence::bursts(own)).unwrap_or(u32::MAX), |t| t.side.client.syns);
    let long = if f.tcp.is_some() { Span::from_millis(6_500) } else { Span::from_secs(3) };
    (n, n >= 3 && f.duration() >= long)
}

/// DNS over TLS or QUIC that does not begin, at a resolver that answers otherwise.
fn port_853(scene: &Scene<'_>) -> Option<Finding> {
    let flow = scene.flow;
    if !failed(flow) || silence::knocking(scene) {
        return None;
    }
    let alike = |f: &FlowRecord| f.server.port == PORT && f.proto == flow.proto;
    let (mut tries, mut sent, mut long, mut plain) = (0_u32, 0, false, Control::new("same_resolver_other_ports"));
    for f in scene.kin.with_server(flow.server.ip).filter(|f| f.client.ip == flow.client.ip) {
        if alike(f) {
            if !failed(f) {
                return None;
            }
            let (n, enough) = knocks(f);
            (tries, sent, long) = (tries + 1, sent + n, long || enough);
        } else if f.totals.server.packets > 0 {
            plain.add(f.id, true);
        }
    }
    if !(long || (tries >= 2 && sent >= 4)) {
        return None;
    }
    // Other resolvers' port 853: works, or is silent too.
    let (mut others, mut mute) = (Control::new("same_client_other_resolvers_853"), 0);
    for f in scene.kin.with_client(flow.client.ip).filter(|f| alike(f) && f.server.ip != flow.server.ip) {
        others.add(f.id, f.outcome == Outcome::Ok && f.totals.server.payload > 0);
        mute += u32::from(failed(f));
    }
    let around = Around::of(scene, flow.first.ts, flow.last.ts);
    if plain.n == 0 || around.alive.ok == 0 {
        return None;
    }
    let mut w = Weigh::default();
    let frames: Vec<FrameNo> = flow.ladder.iter().filter(|p| p.side == Side::Client).map(|p| p.frame).take(12).collect();
    let accepted = flow.tcp.as_deref().is_some_and(|t| t.side.server.syns > 0);
    let what = if accepted { "the first message to port 853 was never acknowledged" } else { "port 853 never answered" };
    let unit = if flow.tcp.is_some() { "SYNs" } else { "packets apart" };
    w.fact(2.0, what, format!("{tries} attempts, {sent} {unit}"), "an answer, a reset or an ICMP error", &frames);
    w.fact(1.5, "the same resolver answers at other ports", format!("{} flows", plain.n), "-", &[]);
    around.weigh_line(&mut w);
    // Addresses that operators announce for DNS over TLS; over QUIC fewer of them listen.
    let known = flow.tcp.is_some() && scene.label.is_some_and(|l| l.evidence.iter().any(|e| e.class == EvidenceClass::Ip && e.db >= 10));
    if known {
        w.excluded("resolver without encrypted DNS", "its operator announces it at this address");
    } else {
        w.against(0.0, "resolver without encrypted DNS", "nothing shows that it offers it");
    }
    if others.ok > 0 {
        w.excluded("network that admits no port 853", format!("{} connections to it elsewhere were answered", others.ok));
    } else {
        w.against(0.0, "network that admits no port 853", format!("no other was seen to be answered ({mute} silent)"));
    }
    let mut grade = if known && others.ok > 0 && tries >= 2 { Grade::Likely } else { Grade::Possible };
    if scene.lossy() {
        grade = grade.min(Grade::Likely);
    }
    let control = vec![plain, others, around.alive];
    let mechanism = if flow.tcp.is_some() { "dot" } else { "doq" };
    Some(weigh::finding(
        scene,
        &claim(mechanism, grade, flow.first.ts),
        w,
        control,
        vec!["port 853 of the same resolver from another network"],
    ))
}

/// The name of a DNS-over-HTTPS resolver that this flow asked for.
fn resolver_asked<'a>(scene: &Scene<'a>, at: usize) -> Option<&'a str> {
    let label = scene.kin.labels.get(at).and_then(Option::as_ref)?;
    let by_name = label.evidence.iter().any(|e| e.class == EvidenceClass::Name);
    (&*label.id == "doh" && by_name).then(|| scene.kin.flows.get(at)?.asked_name())?
}

/// It came to nothing after its name was said, however it was stopped.
fn stopped(f: &FlowRecord) -> bool {
    let tcp = matches!(f.outcome, Outcome::SilentHello | Outcome::Reset) && f.totals.server.payload == 0;
    let quic = f.app == Some("quic") && f.totals.server.packets == 0 && f.totals.client.packets >= 3 && f.icmp.is_empty();
    tcp || quic
}

/// Resolvers of several operators, asked for by name over HTTPS, all fail; plain DNS and other names do not.
fn over_https(scene: &Scene<'_>) -> Option<Finding> {
    let (flow, kin) = (scene.flow, scene.kin);
    if !stopped(flow) {
        return None;
    }
    let own = kin.flows.binary_search_by_key(&flow.id, |f| f.id).ok()?;
    resolver_asked(scene, own)?;
    let (mut names, mut flows, mut frames): (Vec<&str>, Vec<FlowId>, Vec<FrameNo>) = (Vec::new(), Vec::new(), Vec::new());
    let (mut first, mut last) = (flow.first.ts, flow.last.ts);
    let mut plain = Control::new("same_client_plain_dns");
    let mut others = Control::new("same_client_other_names");
    for i in kin.latest_of_client(flow.client.ip).iter().map(|i| *i as usize) {
        let Some(f) = kin.flows.get(i) else { continue };
        if let Some(name) = resolver_asked(scene, i) {
            if stopped(f) {
                names.push(name);
                flows.push(f.id);
                frames.push(f.first.frame);
                (first, last) = (first.min(f.first.ts), last.max(f.last.ts));
            } else if f.totals.server.payload > 0 {
                return None;
            }
        } else if f.app == Some("dns") && f.server.port == 53 {
            plain.add(f.id, f.totals.server.packets > 0);
        } else if f.asked_name().is_some() && f.outcome != Outcome::Unknown {
            others.add(f.id, f.outcome == Outcome::Ok && f.totals.server.payload > 0);
        }
    }
    let mut operators: Vec<&str> = names.iter().map(|n| super::dns_talk::family(n)).collect();
    operators.sort_unstable();
    operators.dedup();
    // Written once, at the first flow that belongs to it.
    if flows.first() != Some(&flow.id) || operators.len() < 2 || plain.ok == 0 || others.ok < 2 || others.ok * 4 < others.n * 3 {
        return None;
    }
    let mut w = Weigh::default();
    frames.truncate(16);
    w.fact(
        2.0,
        format!("DNS over HTTPS failed at resolvers of {} operators", operators.len()),
        format!("{}; {} connections over {}", operators.join(", "), flows.len(), last.since(first)),
        "an answer of one of them",
        &frames,
    );
    w.fact(1.5, "plain DNS was answered", format!("{} lookups", plain.ok), "-", &[]);
    w.excluded("outage of the line", format!("{} connections with other names brought data", others.ok));
    w.excluded("resolver without encrypted DNS", "these names serve nothing else, and they belong to several operators");
    w.against(0.0, "company or parent that wants its own resolver used", "their filters stop the same names");
    let control = vec![plain, others];
    let mut found = weigh::finding(
        scene,
        &claim("doh", Grade::Possible, first),
        w,
        control,
        vec!["the same resolvers from another network", "other names at the resolvers' addresses"],
    );
    // It is about a protocol, not about one name or address.
    found.target = Target { service: found.target.service, ..Target::default() };
    found.flows = flows;
    Some(found)
}
