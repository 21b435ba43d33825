//! A router on the path says that an address may not be reached.
//!
//! ```text
//! client            router        server
//!   | SYN ------------> X            |
//!   | <-- ICMP "administratively prohibited" (or "unreachable"), from neither the client's nor the server's address
//! ```

use super::Detector;
use super::silence::{self, Around};
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::flow::IcmpSeen;
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::label::{EvidenceClass, LabelGrade};
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::Span;
use std::net::IpAddr;

/// See the module.
pub(super) struct Prohibited;

static CARD: Card = Card {
    rule: "ip.icmp",
    kind: Kind::IpBlocking,
    mechanisms: &["icmp"],
    claim: "A router between client and server answers that the address is prohibited or unreachable, while others are reached.",
    ladder: "\
client            router        server
  | SYN ------------> X            |
  | <-- ICMP administratively prohibited, or unreachable, from neither end's address",
    needs: &["the packet and the ICMP error that quotes it", "other connections of the client that work"],
    innocent: &[
        "port that networks filter for everybody",
        "the server's own firewall",
        "a firewall in front of the server",
        "a firewall in the client's own network",
        "dead host or missing route",
        "scan",
    ],
    confirm: "Trace the path to the address and to a neighbour, and compare which router answers; repeat from another network.",
    sources: &["RFC 792", "RFC 1812 §5.2.7.1 (codes 9, 10, 13)", "RFC 4443 §3.1 (codes 1, 5, 6)"],
};

/// Around the refusal the line must have worked for others.
const NEAR: Span = Span::from_secs(30);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Prohibited,
    Unreachable,
}

/// What a destination-unreachable message blames; `None` for what the destination itself decides (port, fragmentation).
const fn says(i: &IcmpSeen) -> Option<Says> {
    match (i.version, i.kind, i.code) {
        (4, 3, 9 | 10 | 13) | (6, 1, 1 | 5 | 6) => Some(Says::Prohibited),
        (4, 3, 0 | 1) | (6, 1, 0 | 3) => Some(Says::Unreachable),
        _ => None,
    }
}

impl Detector for Prohibited {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::ICMP
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        if flow.icmp.is_empty() || flow.totals.server.packets > 0 || !silence::public(flow.server.ip) {
            return None;
        }
        // A word from the destination itself, of whatever kind, is its own decision; one from the client's own address is local.
        if flow.icmp.iter().any(|i| i.about == Side::Client && (i.from == flow.server.ip || i.from == flow.client.ip)) {
            return None;
        }
        let (seen, says) = flow.icmp.iter().filter(|i| i.about == Side::Client).find_map(|i| Some((i, says(i)?)))?;
        // Networks filter some ports for everybody; only another port of the address would show that it is meant.
        if silence::often_filtered(flow.server.port) {
            return None;
        }
        // At the server it is the server's network that speaks.
        if scene.vantage() == Vantage::Server || silence::knocking(scene) {
            return None;
        }
        let around = Around::of(scene, flow.first.ts.minus(NEAR), flow.last.ts.plus(NEAR));
        if around.alive.ok == 0 {
            return None;
        }
        let (tries, heard) = attempts(scene, seen.from);
        let again = tries.n;
        if heard > 0 {
            return None;
        }
        let mut w = Weigh::default();
        let frames: Vec<FrameNo> = flow.icmp.iter().filter(|i| i.about == Side::Client).map(|i| i.at.frame).collect();
        let words = if says == Says::Prohibited { "prohibited" } else { "unreachable" };
        w.fact(
            if says == Says::Prohibited { 3.0 } else { 2.0 },
            format!("{} says that {} is {words}", seen.from, flow.server.ip),
            format!("ICMPv{} type {} code {}", seen.version, seen.kind, seen.code),
            "an answer of the server",
            &frames,
        );
        if again >= 2 {
            w.fact(1.0, "every attempt met the same answer from the same router", format!("{again} attempts"), "-", &[]);
        }
        around.weigh_line(&mut w);
        w.excluded("the server's own firewall", "the error has another address than the server's");
        let home = !silence::public(seen.from);
        if home {
            w.against(0.0, "a firewall in the client's own network", "the router has a private address");
        }
        let next_door = same_network(seen.from, flow.server.ip);
        if next_door {
            w.against(0.0, "a firewall in front of the server", "router and server share a network");
        }
        let ranged = scene
            .label
            .is_some_and(|l| l.grade >= LabelGrade::Probable && l.evidence.iter().any(|e| e.class == EvidenceClass::Ip && e.db >= 10));
        if says == Says::Unreachable {
            w.against(0.0, "dead host or missing route", "routers answer so as well when nobody is there");
        }
        let near = nearer_than_any_server(scene, seen);
        if let Some((took, rtt)) = near {
            w.fact(
                1.5,
                "the router stands nearer to the client than any server",
                format!("{took}"),
                format!("{rtt} to the nearest server"),
                &[seen.at.frame],
            );
        } else if !ranged {
            w.against(0.0, "a firewall in front of the server", "nothing shows where on the path the router stands");
        }
        let independent = again >= 2 && !home && !next_door && around.alive.ok >= 2;
        let grade = if independent && (ranged || (says == Says::Prohibited && near.is_some())) { Grade::Likely } else { Grade::Possible };
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "icmp",
            grade,
            // What was put on the wire came towards the client, as with a reset in answer to a SYN.
            direction: Some(Direction::S2c),
            started: seen.at.ts,
            ooni_failure: Some("host_unreachable"),
        };
        let control = vec![tries, around.alive];
        Some(weigh::finding(scene, &claim, w, control, vec!["a traceroute to the address and to a neighbour", "another network"]))
    }
}

/// How long the router's word took, and the shortest round trip of this client to any server, if the first is clearly the shorter.
fn nearer_than_any_server(scene: &Scene<'_>, seen: &IcmpSeen) -> Option<(Span, Span)> {
    let flow = scene.flow;
    let asked = flow.ladder.iter().rev().find(|p| p.side == Side::Client && p.frame < seen.at.frame)?;
    let took = seen.at.ts.since(asked.ts);
    let rtt =
        scene.kin.with_client(flow.client.ip).filter_map(|f| f.tcp.as_deref().filter(|t| t.side.client.syns <= 1)?.rtt_server).min()?;
    (took >= Span::ZERO && took.nanos() * 10 <= rtt.nanos() * 6).then_some((took, rtt))
}

/// Flows of this client to this address that the same router refused, and flows of anybody that the address answered.
fn attempts(scene: &Scene<'_>, router: IpAddr) -> (Control, u32) {
    let (mut again, mut heard) = (Control::new("same_server_any_port"), 0);
    for f in scene.kin.with_server(scene.flow.server.ip) {
        heard += u32::from(f.totals.server.packets > 0);
        if f.client.ip == scene.flow.client.ip && f.icmp.iter().any(|i| i.from == router && says(i).is_some()) {
            again.add(f.id, false);
        }
    }
    (again, heard)
}

/// Likely one owner: the first 16 bits of IPv4, 32 of IPv6.
const fn same_network(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => u32::from_be_bytes(a.octets()) >> 16 == u32::from_be_bytes(b.octets()) >> 16,
        (IpAddr::V6(a), IpAddr::V6(b)) => u128::from_be_bytes(a.octets()) >> 96 == u128::from_be_bytes(b.octets()) >> 96,
        _ => false,
    }
}
