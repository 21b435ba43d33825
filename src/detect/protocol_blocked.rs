//! A protocol that is let through by nobody's name, only by its shape or port: encrypted DNS, and streams that look like nothing.
//!
//! ```text
//! client                        server
//!   | SYN (port 853) -----> X      |   dot: encrypted DNS never answered,
//!   | UDP 53 <-------------------> |   while plain DNS to the same resolver is
//!   | random bytes -------> X      |   fully_encrypted: a first message without any structure
//!   | random bytes -------> X      |   never acknowledged, at every attempt,
//!   | ClientHello <--------------> |   while TLS passes
//! ```

use super::Detector;
use super::silence::{self, Around, Hello};
use super::weigh::{self, Claim, Weigh, fisher};
use crate::model::finding::{Card, Control, Finding, Grade, Kind};
use crate::model::flow::{FlowRecord, Outcome};
use crate::model::frame::FrameNo;
use crate::model::label::EvidenceClass;
use crate::model::note::Fact;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::Span;

/// See the module.
pub(super) struct ProtocolBlocked;

static CARD: Card = Card {
    rule: "protocol.silent",
    kind: Kind::ProtocolBlocking,
    mechanisms: &["dot", "fully_encrypted"],
    claim: "Encrypted DNS, or connections that begin with bytes without structure, get no answer, while other protocols to the same place do.",
    ladder: "\
client                        server
  | SYN (port 853) -----> X      |   dot: encrypted DNS never answered,
  | UDP 53 <-------------------> |   while plain DNS to the same resolver is
  | random bytes -------> X      |   fully_encrypted: a first message without any structure
  | random bytes -------> X      |   never acknowledged, at every attempt,
  | ClientHello <--------------> |   while TLS passes",
    needs: &["both directions", "repeated attempts", "another protocol of the same client that works"],
    innocent: &[
        "resolver without DNS over TLS",
        "network that admits no port 853",
        "dead or overloaded server",
        "packet loss",
        "outage of the line",
    ],
    confirm: "Ask the resolver by DNS over TLS from another network; make the same tunnel from another network, and a TLS connection to its address from here.",
    sources: &[
        "Wu et al., USENIX Security 2023 (first packets by their ones and printable bytes, China)",
        "Basso, FOCI 2021 (DNS over TLS and HTTPS blocked, by address and by name)",
        "RFC 7858 (port 853)",
    ],
};

/// Bits set per byte between which a first message looks encrypted; what lies outside passes the filter described by Wu et al.
const ONES: std::ops::RangeInclusive<f32> = 3.4..=4.6;

impl Detector for ProtocolBlocked {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        // At the server its own firewall is what keeps silent.
        if scene.source.quality.one_sided_share > 0.5 || scene.vantage() == Vantage::Server || !silence::public(scene.flow.server.ip) {
            return None;
        }
        dot(scene).or_else(|| fully_encrypted(scene))
    }
}

fn finding(scene: &Scene<'_>, mechanism: &'static str, grade: Grade, w: Weigh, control: Vec<Control>, needs: Vec<&'static str>) -> Finding {
    let grade = if scene.lossy() { grade.min(Grade::Likely) } else { grade };
    let claim = Claim {
        rule: CARD.rule,
        kind: CARD.kind,
        mechanism,
        grade,
        direction: None,
        started: scene.flow.first.ts,
        ooni_failure: Some("generic_timeout_error"),
    };
    weigh::finding(scene, &claim, w, control, needs)
}

/// DNS over TLS that does not begin, at a resolver that answers otherwise.
fn dot(scene: &Scene<'_>) -> Option<Finding> {
    const PORT: u16 = 853;
    let flow = scene.flow;
    let tcp = flow.tcp.as_deref()?;
    let failed = |f: &FlowRecord| matches!(f.outcome, Outcome::SilentSyn | Outcome::SilentHello);
    if flow.server.port != PORT || !failed(flow) || silence::knocking(scene) {
        return None;
    }
    let (mut tries, mut syns, mut long, mut plain) = (0_u32, 0, false, Control::new("same_resolver_other_ports"));
    for f in scene.kin.with_server(flow.server.ip).filter(|f| f.client.ip == flow.client.ip) {
        if f.server.port == PORT && f.tcp.is_some() {
            if !failed(f) {
                return None;
            }
            tries += 1;
            syns += f.tcp.as_deref().map_or(0, |t| t.side.client.syns);
            long |= f.duration() >= Span::from_millis(6_500);
        } else if f.totals.server.packets > 0 {
            plain.add(f.id, true);
        }
    }
    if !(long || (tries >= 2 && syns >= 4)) {
        return None;
    }
    // Other resolvers' port 853: works, or is silent too.
    let (mut others, mut mute) = (Control::new("same_client_other_resolvers_853"), 0);
    for f in scene.kin.with_client(flow.client.ip).filter(|f| f.server.port == PORT && f.server.ip != flow.server.ip && f.tcp.is_some()) {
        others.add(f.id, f.outcome == Outcome::Ok && f.totals.server.payload > 0);
        mute += u32::from(failed(f));
    }
    let around = Around::of(scene, flow.first.ts, flow.last.ts);
    if plain.n == 0 || around.alive.ok == 0 {
        return None;
    }
    let mut w = Weigh::default();
    let frames: Vec<FrameNo> = flow.ladder.iter().filter(|p| p.side == Side::Client).map(|p| p.frame).take(12).collect();
    let what = if tcp.side.server.syns > 0 { "the first message to port 853 was never acknowledged" } else { "port 853 never answered" };
    w.fact(2.0, what, format!("{tries} attempts, {syns} SYNs"), "an answer, a reset or an ICMP error", &frames);
    w.fact(1.5, "the same resolver answers at other ports", format!("{} flows", plain.n), "-", &[]);
    around.weigh_line(&mut w);
    let known = scene.label.is_some_and(|l| l.evidence.iter().any(|e| e.class == EvidenceClass::Ip && e.db >= 10));
    if known {
        w.excluded("resolver without DNS over TLS", "its operator announces it at this address");
    } else {
        w.against(0.0, "resolver without DNS over TLS", "nothing shows that it offers it");
    }
    if others.ok > 0 {
        w.excluded("network that admits no port 853", format!("{} connections to it elsewhere were answered", others.ok));
    } else {
        w.against(0.0, "network that admits no port 853", format!("no other was seen to be answered ({mute} silent)"));
    }
    let grade = if known && others.ok > 0 && tries >= 2 { Grade::Likely } else { Grade::Possible };
    let control = vec![plain, others, around.alive];
    Some(finding(scene, "dot", grade, w, control, vec!["port 853 of the same resolver from another network"]))
}

/// Whether a flow begins with bytes that match no protocol and look encrypted.
fn structureless(f: &FlowRecord) -> bool {
    f.tcp.is_some()
        && f.notes.list.iter().any(|n| {
            n.side == Side::Client && matches!(n.fact, Fact::Opaque { popcount, printable } if ONES.contains(&popcount) && printable <= 0.5)
        })
}

/// First messages without structure that are never acknowledged, while TLS to the same address is answered.
fn fully_encrypted(scene: &Scene<'_>) -> Option<Finding> {
    let flow = scene.flow;
    if flow.outcome != Outcome::SilentHello || !structureless(flow) || silence::blind(scene) {
        return None;
    }
    let hello = Hello::of(flow)?;
    if hello.acked >= hello.end || hello.repeats.len() < 3 || hello.waited < Span::from_secs(3) {
        return None;
    }
    let mut opaque = Control::counted("same_server_structureless", 1, 0);
    let mut plain = Control::new("same_server_other_protocols");
    for f in scene.kin.with_server(flow.server.ip).filter(|f| f.id != flow.id && f.client.ip == flow.client.ip && f.tcp.is_some()) {
        let c = if structureless(f) { &mut opaque } else { &mut plain };
        if f.outcome != Outcome::Unknown {
            c.add(f.id, f.outcome == Outcome::Ok && f.totals.server.payload > 0);
        }
    }
    let fails = opaque.n - opaque.ok;
    let around = Around::of(scene, hello.first.ts, hello.first.ts.plus(hello.waited));
    if fails < 2 || around.alive.ok == 0 {
        return None;
    }
    let mut w = Weigh::default();
    let frames: Vec<FrameNo> = std::iter::once(hello.first.frame).chain(hello.repeats.iter().map(|p| p.frame)).take(12).collect();
    w.fact(
        2.0,
        format!("a first message without structure was sent {} times and never acknowledged", hello.repeats.len() + 1),
        format!("{fails} of {} connections of this kind failed", opaque.n),
        "an acknowledgement within a round trip",
        &frames,
    );
    if plain.ok > 0 {
        w.fact(2.0, "other protocols are answered at this address", format!("{} of {}", plain.ok, plain.n), "-", &[]);
    }
    around.weigh_line(&mut w);
    if plain.ok > 0 || around.address.ok > 0 {
        w.excluded("dead or overloaded server", "it answers other protocols");
    } else {
        w.against(0.0, "dead or overloaded server", "nothing else at this address was seen to work");
    }
    w.excluded("packet loss", format!("{} retransmissions in a row would all have to be lost", hello.repeats.len()));
    let path_ok = silence::weigh_path_mtu(scene, Side::Client, hello.largest(), &mut w);
    let p = fisher(fails, opaque.ok, plain.n - plain.ok, plain.ok);
    // Filters of this kind let a share of connections through: successes among them lower the odds, not the pattern.
    let grade = if path_ok && p < 0.01 && fails >= 3 { Grade::Likely } else { Grade::Possible };
    let control = vec![opaque, plain, around.alive];
    Some(finding(
        scene,
        "fully_encrypted",
        grade,
        w,
        control,
        vec!["a TLS connection to the same address", "the same from another network"],
    ))
}
