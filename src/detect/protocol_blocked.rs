//! A protocol that is let through by nobody's name, only by its shape: streams that look like nothing.
//!
//! ```text
//! client                        server
//!   | random bytes -------> X      |   a first message without any structure
//!   | random bytes -------> X      |   never acknowledged, at every attempt,
//!   | ClientHello <--------------> |   while TLS passes
//! ```

use super::Detector;
use super::silence::{self, Around, Hello};
use super::weigh::{self, Claim, Weigh, fisher};
use crate::model::finding::{Card, Control, Finding, Grade, Kind};
use crate::model::flow::{FlowRecord, Outcome};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
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
    mechanisms: &["fully_encrypted"],
    claim: "Connections that begin with bytes without structure get no answer, while other protocols to the same place do.",
    ladder: "\
client                        server
  | random bytes -------> X      |   fully_encrypted: a first message without any structure
  | random bytes -------> X      |   never acknowledged, at every attempt,
  | ClientHello <--------------> |   while TLS passes",
    needs: &["both directions", "repeated attempts", "another protocol of the same client that works"],
    innocent: &["dead or overloaded server", "path-MTU black hole", "packet loss", "outage of the line"],
    confirm: "Make the same tunnel from another network, and a TLS connection to its address from here.",
    sources: &["Wu et al., USENIX Security 2023 (first packets by their ones and printable bytes, China)"],
};

/// Bits set per byte between which a first message looks encrypted; what lies outside passes the filter described by Wu et al.
const ONES: std::ops::RangeInclusive<f32> = 3.4..=4.6;

impl Detector for ProtocolBlocked {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::SILENT_HELLO
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        // At the server its own firewall is what keeps silent.
        if scene.source.quality.one_sided_share > 0.5 || scene.vantage() == Vantage::Server || !silence::public(scene.flow.server.ip) {
            return None;
        }
        fully_encrypted(scene)
    }
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
    let claim = Claim {
        rule: CARD.rule,
        kind: CARD.kind,
        mechanism: "fully_encrypted",
        grade: if scene.lossy() { grade.min(Grade::Likely) } else { grade },
        direction: None,
        started: flow.first.ts,
        ooni_failure: Some("generic_timeout_error"),
    };
    let control = vec![opaque, plain, around.alive];
    Some(weigh::finding(scene, &claim, w, control, vec!["a TLS connection to the same address", "the same from another network"]))
}
