//! The handshake of a VPN is never answered.
//!
//! ```text
//! client                        server
//!   | initiation --------> X       |   148 bytes, again every five seconds
//!   | initiation --------> X       |
//!   | initiation --------> X       |   protocol, not path: other UDP and TCP of the client work
//! ```

use super::Detector;
use super::silence::{self, Around};
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::flow::{Brief, FlowRecord};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::key::Proto;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::Span;

/// See the module.
pub(super) struct VpnHandshake;

static CARD: Card = Card {
    rule: "vpn.handshake_silent",
    kind: Kind::ProtocolBlocking,
    mechanisms: &["wireguard_handshake", "openvpn_handshake"],
    claim: "The first message of a VPN is repeated and never answered, or its answer never arrives.",
    ladder: "\
client                        server
  | initiation --------> X       |   WireGuard: 148 bytes, again every five seconds
  | initiation --------> X       |
  | initiation --------> X       |   protocol, not path: other traffic of the client works",
    needs: &["both directions", "three messages on the protocol's own timer", "other connections of the client that work meanwhile"],
    innocent: &["server that is down", "key the server does not know", "pre-shared key that differs", "outage of the line", "closed port"],
    confirm: "Make the same tunnel from another network with the same keys; from here, to the same port, send anything else.",
    sources: &["WireGuard white paper §5.4, §6.4 (REKEY_TIMEOUT 5 s)", "net4people/bbs 274 (WireGuard, OpenVPN in Russia 2023)"],
};

/// A WireGuard initiation, and its answer.
pub(super) const INITIATION: u32 = 148;
pub(super) const RESPONSE: u32 = 92;

impl Detector for VpnHandshake {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::TUNNEL
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        if flow.proto != Proto::UDP || !flow.icmp.is_empty() || !silence::public(flow.server.ip) || flow.ladder.between > 0 {
            return None;
        }
        let (mechanism, sent) = wireguard(flow).or_else(|| openvpn(flow))?;
        let answers: Vec<&Brief> = flow.ladder.iter().filter(|p| p.side == Side::Server).collect();
        // The server's silence at the server is its own; its answers, repeated as often as the question, are not.
        let answered = !answers.is_empty();
        if (scene.vantage() == Vantage::Server && !answered) || scene.source.quality.one_sided_share > 0.5 || silence::knocking(scene) {
            return None;
        }
        if !answered && super::udp_blocked_all::explains(scene) {
            return None;
        }
        let around = Around::of(scene, flow.first.ts, flow.last.ts);
        if around.alive.ok == 0 && !answered {
            return None;
        }
        // The same server answered another tunnel: this one's key is the more likely reason.
        let mut same = Control::new("same_server_other_udp");
        let works = scene.kin.with_server(flow.server.ip).filter(|f| f.proto == Proto::UDP && f.totals.server.packets > 3);
        works.for_each(|f| same.add(f.id, true));
        if same.n > 0 && !answered {
            return None;
        }
        let mut w = Weigh::default();
        let frames: Vec<FrameNo> = sent.iter().chain(&answers).map(|p| p.frame).take(16).collect();
        let name = if mechanism == "wireguard_handshake" { "WireGuard" } else { "OpenVPN" };
        w.fact(
            2.0,
            format!("the first message of {name} was sent {} times", sent.len()),
            if answered { format!("{} answers, and no data after them", answers.len()) } else { "no answer".to_owned() },
            "one message, one answer, then data",
            &frames,
        );
        around.weigh_line(&mut w);
        if answered {
            w.excluded("server that is down", "it answers");
            w.against(0.0, "pre-shared key that differs", "a client that cannot open the answer asks again as well");
        } else {
            w.against(0.0, "server that is down", "nothing was seen of it");
            w.against(0.0, "key the server does not know", "WireGuard and OpenVPN with keys do not answer strangers");
        }
        w.excluded("closed port", "no ICMP error came");
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism,
            grade: Grade::Possible,
            direction: answered.then_some(Direction::S2c),
            started: flow.first.ts,
            ooni_failure: Some("generic_timeout_error"),
        };
        let udp = silence::udp_heard(scene, Span::from_secs(60));
        Some(weigh::finding(
            scene,
            &claim,
            w,
            vec![same, udp, around.alive],
            vec!["the same tunnel from another network", "the server's log"],
        ))
    }
}

/// Nothing but initiations on WireGuard's timer; answers, if any, are all responses.
fn wireguard(flow: &FlowRecord) -> Option<(&'static str, Vec<&Brief>)> {
    let sent: Vec<&Brief> = flow.ladder.iter().filter(|p| p.side == Side::Client).collect();
    let sizes = flow.ladder.iter().all(|p| p.len == if p.side == Side::Client { INITIATION } else { RESPONSE });
    let answers = flow.totals.server.packets;
    let fits = sent.len() >= 3 && on_time(&sent) && sizes && (answers == 0 || answers + 1 >= sent.len() as u64);
    (fits && (flow.app.is_none() || flow.app == Some("wireguard"))).then_some(("wireguard_handshake", sent))
}

/// Initiations on WireGuard's timer: REKEY_TIMEOUT of five seconds plus at most a third of one.
pub(super) fn on_time(sent: &[&Brief]) -> bool {
    let mut gaps = sent.windows(2).filter_map(|w| Some(w.last()?.ts.since(w.first()?.ts)));
    gaps.all(|g| g >= Span::from_millis(4_900) && g <= Span::from_millis(5_800))
}

/// A flow known to be OpenVPN whose hard reset is repeated on its growing timer, unanswered.
fn openvpn(flow: &FlowRecord) -> Option<(&'static str, Vec<&Brief>)> {
    let sent: Vec<&Brief> = flow.ladder.iter().filter(|p| p.side == Side::Client).collect();
    let size = sent.first()?.len;
    let repeated = flow.app == Some("openvpn") && flow.totals.server.packets == 0 && sent.len() >= 4 && sent.iter().all(|p| p.len == size);
    (repeated && flow.duration() >= Span::from_secs(6)).then_some(("openvpn_handshake", sent))
}
