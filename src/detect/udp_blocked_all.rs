//! Everything but TCP vanishes: no datagram of any protocol is answered, wherever it goes.
//!
//! ```text
//! client                        servers
//!   | QUIC --------------> X       |   several protocols,
//!   | STUN --------------> X       |   several addresses,
//!   | VPN ---------------> X       |   none answered
//!   | TCP <----------------------> |   works meanwhile
//! ```

use super::Detector;
use super::silence;
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Finding, Grade, Kind, Target};
use crate::model::flow::{FlowId, FlowRecord};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::key::Proto;
use crate::model::scene::Scene;
use crate::model::source::Vantage;
use crate::model::time::{Span, Time};
use hashbrown::HashSet;
use std::net::IpAddr;

/// See the module.
pub(super) struct AllUdp;

static CARD: Card = Card {
    rule: "udp.all_silent",
    kind: Kind::UdpBlocking,
    mechanisms: &["all_udp"],
    claim: "Datagrams of several protocols to several servers are all unanswered, while TCP of the same client works.",
    ladder: "\
client                        servers
  | QUIC ---------------> X      |   several protocols,
  | STUN ---------------> X      |   several addresses,
  | VPN ----------------> X      |   none answered
  | TCP <----------------------> |   works meanwhile",
    needs: &["both directions", "three servers and two protocols over UDP", "TCP connections that work meanwhile"],
    innocent: &["network that admits no UDP", "outage of the line", "servers that are down", "scan or peer-to-peer network"],
    confirm: "Send the same over another network; compare with this one at another time.",
    sources: &["RFC 9308 §2 (networks that block UDP, 3 to 5 % of them)", "Xue et al.: TSPU, IMC 2022 (QUIC)"],
};

/// Servers and protocols that must be silent, and over what time.
const SERVERS: usize = 3;
const PROTOCOLS: usize = 2;
const LONG: Span = Span::from_secs(3);

impl Detector for AllUdp {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::UDP_UNANSWERED
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let mut t = Tally::of(scene)?;
        // The finding is written once, at the first flow that belongs to it.
        if t.flows.first() != Some(&scene.flow.id) {
            return None;
        }
        let mut w = Weigh::default();
        t.frames.truncate(32);
        let mut protocols: Vec<&str> = t.protocols.iter().copied().collect();
        protocols.sort_unstable();
        w.fact(
            2.0,
            format!("{} servers were silent to {} protocols over UDP", t.servers.len(), protocols.len()),
            format!("{}; {} flows over {}", protocols.join(", "), t.flows.len(), t.last.since(t.first)),
            "answers of some of them",
            &t.frames,
        );
        w.excluded("outage of the line", format!("{} TCP connections brought data meanwhile", t.tcp.ok));
        w.excluded("servers that are down", "they are several, of different kinds");
        w.excluded("scan or peer-to-peer network", "these are requests of protocols that have servers");
        let before = t.heard.ok;
        if before >= 2 {
            w.excluded("network that admits no UDP", format!("{before} other UDP flows of this client were answered before or after"));
        } else {
            w.against(0.0, "network that admits no UDP", "the client's own network may admit TCP only");
        }
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "all_udp",
            grade: if before >= 2 && !scene.lossy() { Grade::Likely } else { Grade::Possible },
            direction: None,
            started: t.first,
            ooni_failure: Some("generic_timeout_error"),
        };
        let mut found =
            weigh::finding(scene, &claim, w, vec![t.tcp, t.heard], vec!["the same over another network", "the same at another time"]);
        // It is about a protocol, not about a service or an address.
        found.target = Target::default();
        found.flows = t.flows;
        Some(found)
    }
}

/// Whether this silent flow is one of many over UDP, of all kinds: other judges of silence leave it to this one.
pub(super) fn explains(scene: &Scene<'_>) -> bool {
    Tally::of(scene).is_some()
}

/// The client's UDP around one silent flow.
struct Tally<'a> {
    servers: HashSet<IpAddr>,
    protocols: HashSet<&'a str>,
    flows: Vec<FlowId>,
    frames: Vec<FrameNo>,
    first: Time,
    last: Time,
    /// UDP that was answered at another time.
    heard: Control,
    /// TCP meanwhile.
    tcp: Control,
}

impl<'a> Tally<'a> {
    /// `None` unless all UDP of this client was silent from the first of its silent flows to the last.
    fn of(scene: &Scene<'a>) -> Option<Self> {
        let (flow, kin) = (scene.flow, scene.kin);
        asked(flow)?;
        if scene.source.quality.one_sided_share > 0.5 || scene.vantage() == Vantage::Server {
            return None;
        }
        let mut t = Self {
            servers: HashSet::new(),
            protocols: HashSet::new(),
            flows: Vec::new(),
            frames: Vec::new(),
            first: flow.first.ts,
            last: flow.last.ts,
            heard: Control::new("same_client_other_udp"),
            tcp: Control::new("same_client_tcp_meanwhile"),
        };
        let all = || kin.with_client(flow.client.ip);
        let heard: Vec<Time> = all().filter(|f| f.tcp.is_some() && silence::public(f.server.ip)).flat_map(moments).collect();
        for f in all() {
            // A question asked while nothing at all came in says that the line was down.
            let alive = |f: &FlowRecord| heard.iter().any(|t| *t >= f.first.ts && *t <= f.last.ts);
            let Some(protocol) = asked(f).filter(|_| alive(f)) else { continue };
            t.servers.insert(f.server.ip);
            t.protocols.insert(protocol);
            t.flows.push(f.id);
            t.frames.push(f.first.frame);
            t.first = t.first.min(f.first.ts);
            t.last = t.last.max(f.last.ts);
        }
        if t.servers.len() < SERVERS || t.protocols.len() < PROTOCOLS || t.last.since(t.first) < LONG {
            return None;
        }
        for f in all().filter(|f| silence::public(f.server.ip)) {
            let (begun, ended) = (f.totals.server.first, f.totals.server.last);
            if f.proto == Proto::UDP && f.totals.server.packets > 0 && !silence::often_filtered(f.server.port) {
                let meanwhile = begun.is_some_and(|m| m.ts <= t.last) && ended.is_some_and(|m| m.ts >= t.first);
                if meanwhile {
                    return None;
                }
                t.heard.add(f.id, true);
            } else if f.tcp.is_some() && f.first.ts <= t.last && f.last.ts >= t.first {
                t.tcp.add(f.id, moments(f).any(|m| m >= t.first && m <= t.last));
            }
        }
        (t.tcp.ok >= 2).then_some(t)
    }
}

/// When a server was surely heard: its first packet and its last, and those with payload.
fn moments(f: &FlowRecord) -> impl Iterator<Item = Time> {
    let s = &f.totals.server;
    [s.first, s.first_payload, s.last_payload, s.last].into_iter().flatten().map(|m| m.ts)
}

/// The protocol of a flow that asked a server over UDP, more than once, and got nothing. Only protocols that have servers count.
fn asked(f: &FlowRecord) -> Option<&'static str> {
    let (first, last) = (f.totals.client.first?, f.totals.client.last?);
    let repeated = f.totals.client.packets >= 2 && last.ts.since(first.ts) >= Span::from_millis(200);
    let silent = f.proto == Proto::UDP && f.totals.server.packets == 0 && f.icmp.is_empty();
    let server = silence::public(f.server.ip) && !silence::often_filtered(f.server.port);
    let protocol = f.app.filter(|app| matches!(*app, "quic" | "stun" | "dtls" | "wireguard" | "openvpn" | "ike"));
    (repeated && silent && server).then_some(protocol)?
}
