//! Calls that cannot begin: requests to relays vanish.
//!
//! ```text
//! client                        relay
//!   | STUN request ------> X       |   stun_dropped: asked again on a timer, at one relay after the other,
//!   | STUN request ------> X       |   never answered
//!   | datagram ----------> X       |   relay_silent: the same without STUN
//!   | TCP to the same service <--> |   while the rest of the app works
//! ```

use super::Detector;
use super::silence::{self, Around};
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Finding, Grade, Kind};
use crate::model::flow::{Brief, FlowId, FlowRecord};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::key::Proto;
use crate::model::label::{EvidenceClass, Role};
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::Span;
use hashbrown::HashSet;

/// See the module.
pub(super) struct CallSilent;

static CARD: Card = Card {
    rule: "udp.call_silent",
    kind: Kind::UdpBlocking,
    mechanisms: &["stun_dropped", "relay_silent"],
    claim: "Requests to the relays of calls are never answered, while other traffic of the client passes.",
    ladder: "\
client                        relay
  | STUN request ------> X       |   stun_dropped: asked again on a timer, at one relay after the other,
  | STUN request ------> X       |   never answered
  | datagram ----------> X       |   relay_silent: the same without STUN
  | TCP to the same service <--> |   while the rest of the app works",
    needs: &["both directions", "several requests over seconds", "other connections of the client that work meanwhile"],
    innocent: &[
        "candidate of a peer that nobody answers",
        "relay that is down",
        "network that admits no UDP",
        "outage of the line",
        "IPv6 without connectivity",
    ],
    confirm: "Send something other than STUN to the same relay and port, and STUN from another network.",
    sources: &[
        "RFC 8489 §6.2.1 (retransmission)",
        "RFC 8445 (candidates)",
        "youtubeUnblock 265, Flowseal 6148 (calls in Russia since August 2025)",
    ],
};

/// Requests of one call lie this close together.
const CALL: Span = Span::from_secs(60);
/// Datagrams without an answer, and over what time, from which silence counts.
const REQUESTS: u64 = 4;
const LONG: Span = Span::from_millis(1_400);

impl Detector for CallSilent {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::UDP_UNANSWERED
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        let mechanism = silent_call(scene, flow)?;
        if scene.source.quality.one_sided_share > 0.5 || scene.vantage() == Vantage::Server || silence::knocking(scene) {
            return None;
        }
        if super::udp_blocked_all::explains(scene) {
            return None;
        }
        let around = Around::of(scene, flow.first.ts, flow.last.ts.plus(Span::from_secs(1)));
        if around.alive.ok == 0 {
            return None;
        }
        let calls = Calls::of(scene);
        // One relay answers: whatever is silent beside it is a candidate that lost, as most do.
        if calls.answered > 0 {
            return None;
        }
        // A lone request is what a call does with an address a peer told it.
        if scene.label.is_none() && calls.silent.len() < 2 && !well_known(flow.server.port) {
            return None;
        }
        let udp = silence::udp_heard(scene, CALL);
        let mut w = Weigh::default();
        let frames: Vec<FrameNo> = flow.ladder.iter().filter(|p| p.side == Side::Client).map(|p| p.frame).take(16).collect();
        let what = if mechanism == "stun_dropped" { "STUN requests" } else { "datagrams" };
        w.fact(
            2.0,
            format!("{} {what} to {} were never answered", flow.totals.client.packets, flow.server.ip),
            format!("over {}", flow.duration()),
            "an answer within a round trip",
            &frames,
        );
        if calls.silent.len() >= 2 {
            w.fact(
                1.5,
                "several relays are silent, and none answers",
                format!("{} addresses, {} requests", calls.silent.len(), calls.requests),
                "at least one relay of a call answers",
                &[],
            );
            w.excluded("relay that is down", "several at once are silent");
        } else {
            w.against(0.0, "relay that is down", "only one was asked");
        }
        around.weigh_line(&mut w);
        if udp.ok > 0 {
            w.fact(1.5, "other UDP of this client was answered meanwhile", format!("{} of {}", udp.ok, udp.n), "-", &[]);
            w.excluded("network that admits no UDP", "other UDP was answered");
        } else {
            w.against(0.0, "network that admits no UDP", "no other UDP of this client was seen to be answered");
        }
        w.excluded(
            "candidate of a peer that nobody answers",
            "the address is public and belongs to a relay by its owner, port or kind of request",
        );
        let settled = calls.silent.len() >= 2 && calls.requests >= 6 && udp.ok > 0 && scene.label.is_some() && !scene.lossy();
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism,
            grade: if settled { Grade::Likely } else { Grade::Possible },
            direction: None,
            started: flow.first.ts,
            ooni_failure: Some("generic_timeout_error"),
        };
        let relays = Control::counted("same_client_other_relays", calls.silent.len() as u32, 0).on(calls.flows.iter().copied());
        let control = vec![relays, udp, calls.foreign, around.alive];
        Some(weigh::finding(
            scene,
            &claim,
            w,
            control,
            vec!["other datagrams to the same relay and port", "the same call from another network"],
        ))
    }
}

/// Whether a flow is a request to a relay that was repeated and never answered, and of which kind.
fn silent_call(scene: &Scene<'_>, flow: &FlowRecord) -> Option<&'static str> {
    let n = flow.totals.client.packets;
    let silent = flow.proto == Proto::UDP && flow.totals.server.packets == 0 && n >= REQUESTS && flow.duration() >= LONG;
    if !silent || !flow.icmp.is_empty() || !silence::public(flow.server.ip) {
        return None;
    }
    let by = silence::answerable(scene);
    let sent: Vec<&Brief> = flow.ladder.iter().filter(|p| p.side == Side::Client && p.ts <= by).collect();
    if silence::bursts(sent.iter().map(|p| p.ts)) < REQUESTS as usize {
        return None;
    }
    if flow.app == Some("stun") {
        // Requests only: media would mean that an answer was missed.
        let alike = sent.iter().map(|p| p.len).collect::<HashSet<_>>().len() <= 4 && flow.ladder.between == 0;
        let asks = flow.notes.stun().next().is_some_and(|(_, m)| m.kind & 0x0110 == 0);
        // A request with a user name checks a candidate (RFC 8445 §7.2.2): relays of apps are asked so as well, strangers more often.
        let checks = flow.notes.stun().all(|(_, m)| m.username_len > 0);
        let relay = !checks || scene.label.is_some() || well_known(flow.server.port);
        return (alike && asks && relay).then_some("stun_dropped");
    }
    let call =
        scene.label.is_some_and(|l| l.role == Some(Role::Call) && l.evidence.iter().any(|e| e.class == EvidenceClass::Ip && e.db > 0));
    (call && flow.app.is_none() && n >= 6).then_some("relay_silent")
}

/// Ports on which relays of calls are asked: STUN's own, and those of apps beside it.
const fn well_known(port: u16) -> bool {
    matches!(port, 3478..=3497 | 5349 | 5350 | 19_302..=19_309 | 590..=599 | 1400)
}

/// The client's other calls around this flow.
struct Calls {
    silent: HashSet<std::net::IpAddr>,
    /// The flows that asked them.
    flows: Vec<FlowId>,
    requests: u64,
    /// Relays heard that are not known to belong to another service.
    answered: u32,
    /// Relays of other services that answered: STUN as such passes.
    foreign: Control,
}

impl Calls {
    fn of(scene: &Scene<'_>) -> Self {
        let (flow, kin) = (scene.flow, scene.kin);
        let own = scene.label.map(|l| &*l.id);
        let foreign = Control::new("other_service_stun");
        let mut c = Self { silent: HashSet::new(), flows: Vec::new(), requests: 0, answered: 0, foreign };
        for i in kin.latest_of_client(flow.client.ip).iter().rev().map(|i| *i as usize) {
            let label = kin.labels.get(i).and_then(Option::as_ref);
            let Some(f) = kin.flows.get(i).filter(|f| f.proto == Proto::UDP && silence::public(f.server.ip)) else { continue };
            let call = f.app == Some("stun") || (label.is_some_and(|l| l.role == Some(Role::Call)) && f.app != Some("quic"));
            if !call || f.first.ts.since(flow.last.ts) > CALL || flow.first.ts.since(f.last.ts) > CALL {
                continue;
            }
            let same = own.is_none() || label.is_none_or(|l| Some(&*l.id) == own);
            match (f.totals.server.packets > 0, same) {
                (true, true) => c.answered += 1,
                (heard, false) => c.foreign.add(f.id, heard),
                (false, true) if f.icmp.is_empty() => {
                    c.silent.insert(f.server.ip);
                    c.flows.push(f.id);
                    c.requests += f.totals.client.packets;
                }
                _ => {}
            }
        }
        c
    }
}
