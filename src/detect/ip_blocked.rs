//! An address that does not answer, while others do.
//!
//! ```text
//! client                        server
//!   | SYN -----------> X           |   0 s
//!   | SYN -----------> X           |   1 s, 3 s, 7 s: never a SYN+ACK, a reset or an ICMP error
//!   | SYN (other port) -> X        |   nor at any other port, nor at the next attempt
//! ```

use super::Detector;
use super::silence::{self, Around};
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::flow::{FlowId, FlowRecord, Outcome, TcpRecord};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::label::{EvidenceClass, LabelGrade};
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::{Span, Time};
use hashbrown::HashSet;

/// See the module.
pub(super) struct SynSilent;

static CARD: Card = Card {
    rule: "ip.syn_silent",
    kind: Kind::IpBlocking,
    mechanisms: &["syn_silent"],
    claim: "Nothing comes back from one address, or from one port of a service at it, at no attempt, while the client reaches others.",
    ladder: "\
client                        server
  | SYN -----------> X           |   0 s
  | SYN -----------> X           |   1 s, 3 s, 7 s: never a SYN+ACK, a reset or an ICMP error
  | SYN (other port) -> X        |   nor at any other port, nor at the next attempt",
    needs: &["both directions", "several SYNs over seconds", "other connections of the client that work meanwhile"],
    innocent: &[
        "dead host, or one that is firewalled for everybody",
        "broken IPv6",
        "scan or peer-to-peer network",
        "outage of the line",
        "port that networks filter for everybody",
        "closed port",
        "routing failure",
    ],
    confirm: "Connect to the same address from another network; a dead host is silent there too. Try a neighbouring address of the same owner.",
    sources: &[
        "RFC 6298 (SYN retransmission: 1, 3, 7, 15 s)",
        "RFC 8305 (happy eyeballs)",
        "youtubeUnblock 361 (subnets of messengers, Russia 2026)",
    ],
};

/// From the first SYN to the last: three retransmissions of Linux and Windows, less some slack.
const LONG: Span = Span::from_millis(6_500);
/// The same for kernels that repeat a SYN every second at first (Linux 6.5, `tcp_syn_linear_timeouts` = 4): five SYNs take this long.
const LINEAR: Span = Span::from_millis(3_500);
const LINEAR_SYNS: u32 = 5;
/// Attempts further apart than this are not laid together.
const NEAR: Span = Span::from_secs(300);
/// Two attempts of one program to reach one name by both families lie this close (RFC 8305 asks for 250 ms).
const SIBLING: Span = Span::from_secs(3);

impl Detector for SynSilent {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::RESYN
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        if !flow.gist().shows(Signs::RESYN) || scene.source.quality.one_sided_share > 0.5 || !silence::public(flow.server.ip) {
            return None;
        }
        let tcp = flow.tcp.as_deref()?;
        if flow.packets(Side::Server) > 0 {
            return answer_lost(scene, tcp);
        }
        // At the server its own firewall is what keeps silent.
        if flow.outcome != Outcome::SilentSyn || tcp.side.client.resets > 0 || scene.vantage() == Vantage::Server {
            return None;
        }
        // An address that was heard at all is not refused as an address: residual blocking, a full backlog, a port that is closed.
        let Some(tries) = Tries::of(scene) else { return one_port(scene) };
        if tries.ports.iter().all(|p| silence::often_filtered(*p)) {
            return None;
        }
        let known = known(scene);
        let long = tries.long > 0;
        // One short attempt is enough only beside others at unrelated places that all met the same silence.
        let crowd = if known && !long && tries.syns >= 3 { silent_together(scene) } else { 0 };
        let enough = if known { long || (tries.attempts >= 2 && tries.syns >= 4) || crowd >= CROWD } else { long && tries.attempts >= 2 };
        if !enough || silence::knocking(scene) || sibling_answered(scene) || super::allowlist::explains(scene) {
            return None;
        }
        let around = Around::of(scene, tries.first, tries.last);
        if around.alive.ok == 0 {
            return None;
        }
        let (mut w, mut needs) = (Weigh::default(), vec!["the same address from another network"]);
        let frames: Vec<FrameNo> = flow.ladder.iter().filter(|p| p.side == Side::Client).map(|p| p.frame).collect();
        w.fact(
            2.0,
            format!("{} SYNs in {} attempts went unanswered", tries.syns, tries.attempts),
            format!("{} without any packet from {}", tries.last.since(tries.first), flow.server.ip),
            "a SYN+ACK, a reset or an ICMP error within a round trip",
            &frames,
        );
        if tries.ports.len() >= 2 {
            w.fact(
                1.0,
                "several ports of the address are silent",
                format!("{} ports", tries.ports.len()),
                "a reset from a closed port",
                &[],
            );
        } else {
            needs.push("another port of the same address");
        }
        if crowd >= CROWD {
            w.fact(1.0, "addresses in unrelated networks were silent at the same time", format!("{crowd} networks"), "-", &[]);
        }
        around.weigh_line(&mut w);
        w.excluded("scan or peer-to-peer network", "this client does not meet silence at many addresses");
        let (silent, heard, asked) = silence::service_addresses(scene);
        if silent >= 2 && heard == 0 {
            w.fact(1.5, "no address of this service answers", format!("{silent} addresses silent, none heard"), "-", &[]);
        } else if heard > 0 {
            w.against(0.0, "dead host", format!("{heard} other addresses of this service answered"));
        }
        let service_silent = known && heard == 0 && (silent >= 2 || (tries.attempts >= 2 && in_its_range(scene)));
        if !service_silent && heard == 0 {
            w.against(0.0, "dead host", "a machine that is off, or firewalled for everybody, looks the same");
        } else if service_silent {
            w.excluded("dead host", "the address belongs to a service that is known to answer there");
        }
        let likely = service_silent && around.alive.ok >= 2 && !scene.lossy();
        let control = vec![
            Control::counted("same_server_any_port", tries.attempts, 0).on(tries.flows),
            Control::counted("same_service_other_address", silent.saturating_sub(1) + heard, heard).on(asked),
            around.alive,
        ];
        let grade = if likely { Grade::Likely } else { Grade::Possible };
        Some(weigh::finding(scene, &claim(grade, None, flow.first.ts), w, control, needs))
    }
}

fn claim(grade: Grade, direction: Option<Direction>, started: Time) -> Claim {
    Claim {
        rule: CARD.rule,
        kind: CARD.kind,
        mechanism: "syn_silent",
        grade,
        direction,
        started,
        ooni_failure: Some("generic_timeout_error"),
    }
}

/// Networks beside this one that must be silent at the same time.
const CROWD: usize = 3;

/// Networks other than this flow's in which this client's SYNs to the same port were repeated in vain within a minute of this one.
fn silent_together(scene: &Scene<'_>) -> usize {
    let flow = scene.flow;
    let mut networks = HashSet::new();
    for f in scene.kin.with_client(flow.client.ip).filter(|f| f.outcome == Outcome::SilentSyn && f.server.port == flow.server.port) {
        let repeated = f.tcp.as_deref().is_some_and(|t| t.side.client.syns >= 3);
        if repeated && silence::public(f.server.ip) && f.first.ts.since(flow.first.ts).abs() <= Span::from_secs(60) {
            networks.insert(silence::network(f.server.ip));
        }
    }
    networks.remove(&silence::network(flow.server.ip));
    networks.len()
}

/// All attempts of this client to reach this address.
struct Tries {
    attempts: u32,
    syns: u32,
    /// Attempts with at least three SYNs over [`LONG`].
    long: u32,
    ports: HashSet<u16>,
    flows: Vec<FlowId>,
    first: Time,
    last: Time,
}

impl Tries {
    /// `None` if the address was heard, by whatever protocol.
    fn of(scene: &Scene<'_>) -> Option<Self> {
        let own = scene.flow;
        let mut t =
            Self { attempts: 0, syns: 0, long: 0, ports: HashSet::new(), flows: Vec::new(), first: own.first.ts, last: own.last.ts };
        for f in scene.kin.with_server(own.server.ip) {
            if f.packets(Side::Server) > 0 || f.gist().shows(Signs::ICMP) && f.icmp.iter().any(|i| i.about == Side::Client) {
                return None;
            }
            if f.outcome != Outcome::SilentSyn || f.client.ip != own.client.ip || f.first.ts.since(own.first.ts).abs() > NEAR {
                continue;
            }
            let Some(tcp) = f.tcp.as_deref() else { continue };
            let syns = tcp.side.client.syns;
            t.attempts += 1;
            t.syns += syns;
            t.long += u32::from((syns >= 3 && f.duration() >= LONG) || (syns >= LINEAR_SYNS && f.duration() >= LINEAR));
            t.ports.insert(f.server.port);
            t.flows.push(f.id);
            t.first = t.first.min(f.first.ts);
            t.last = t.last.max(f.last.ts);
        }
        Some(t)
    }
}

/// One port of an address is silent, while another port of it answers: told only of a port at which its service is known to listen.
fn one_port(scene: &Scene<'_>) -> Option<Finding> {
    let flow = scene.flow;
    let port = flow.server.port;
    let listens = in_its_range(scene) && scene.label?.evidence.iter().any(|e| e.class == EvidenceClass::Port && e.db > 0);
    if !listens || silence::often_filtered(port) || silence::knocking(scene) {
        return None;
    }
    let mut here = Control::new("same_server_same_port");
    let mut ports = Control::new("same_server_other_port");
    let (mut syns, mut long, mut frames) = (0, false, Vec::new());
    for f in scene.kin.with_server(flow.server.ip).filter(|f| f.client.ip == flow.client.ip && f.proto == flow.proto) {
        let near = f.first.ts.since(flow.first.ts).abs() <= NEAR;
        let Some(tcp) = f.tcp.as_deref().filter(|_| near) else { continue };
        if f.server.port != port {
            ports.add(f.id, f.outcome == Outcome::Ok && f.totals.server.payload > 0);
        } else if f.totals.server.packets > 0 || !f.icmp.is_empty() {
            // Answered even once: a full backlog, a ban, residual blocking.
            return None;
        } else if f.outcome == Outcome::SilentSyn {
            here.add(f.id, false);
            let n = tcp.side.client.syns;
            syns += n;
            long |= (n >= 3 && f.duration() >= LONG) || (n >= LINEAR_SYNS && f.duration() >= LINEAR);
            frames.push(f.first.frame);
        }
    }
    let around = Around::of(scene, flow.first.ts, flow.last.ts);
    if !long || here.n < 2 || ports.ok == 0 || around.alive.ok == 0 {
        return None;
    }
    let mut w = Weigh::default();
    w.fact(
        2.0,
        format!("{syns} SYNs to port {port} in {} attempts went unanswered", here.n),
        "no packet from that port",
        "a SYN+ACK, a reset or an ICMP error within a round trip",
        &frames,
    );
    w.fact(1.5, "another port of the same address answers", format!("{} connections", ports.ok), "-", &[]);
    around.weigh_line(&mut w);
    w.excluded("dead host, or one that is firewalled for everybody", "it answers at another port");
    w.against(0.0, "closed port", "the owner's own firewall may drop what it does not serve at this address");
    let control = vec![here, ports, around.alive];
    let claim = claim(Grade::Possible, None, flow.first.ts);
    Some(weigh::finding(scene, &claim, w, control, vec!["the same port of this address from another network"]))
}

/// The address is known to belong to a service by more than its port.
fn known(scene: &Scene<'_>) -> bool {
    scene.label.is_some_and(|l| {
        let tells = |c| matches!(c, EvidenceClass::Ip | EvidenceClass::Dns | EvidenceClass::Name);
        l.grade >= LabelGrade::Probable && l.evidence.iter().any(|e| e.db > 0 && tells(e.class))
    })
}

/// It lies in a range that the service's owner announces.
fn in_its_range(scene: &Scene<'_>) -> bool {
    scene.label.is_some_and(|l| l.evidence.iter().any(|e| e.class == EvidenceClass::Ip && e.db >= 10))
}

/// A connection of the other address family, begun together with this one, succeeded: one family is broken, and the program did not care.
fn sibling_answered(scene: &Scene<'_>) -> bool {
    let (flow, kin) = (scene.flow, scene.kin);
    let label = |i: usize| kin.labels.get(i).and_then(Option::as_ref).map(|l| &*l.id);
    let Ok(own) = kin.flows.binary_search_by_key(&flow.id, |f| f.id) else { return false };
    let near = |f: &FlowRecord| f.first.ts.since(flow.first.ts).abs() <= SIBLING;
    let fits = |i: usize, f: &FlowRecord| {
        let other = f.server.ip.is_ipv4() != flow.server.ip.is_ipv4() && f.server.port == flow.server.port;
        // IPv6 without connectivity is common; the reverse is told from chance by its service only.
        let together = flow.server.ip.is_ipv6() || (label(i).is_some() && label(i) == label(own));
        other && together && f.proto == flow.proto && f.outcome == Outcome::Ok && f.totals.server.packets > 0
    };
    let (before, after) = kin.flows.split_at(own);
    before.iter().enumerate().rev().take(256).take_while(|(_, f)| near(f)).any(|(i, f)| fits(i, f))
        || after.iter().enumerate().take(256).take_while(|(_, f)| near(f)).any(|(i, f)| fits(own + i, f))
}

/// Seen beyond the place where it happens: the server answers every SYN, and the client goes on asking.
fn answer_lost(scene: &Scene<'_>, tcp: &TcpRecord) -> Option<Finding> {
    let flow = scene.flow;
    let (c, s) = (&tcp.side.client, &tcp.side.server);
    let span = c.syn_last?.ts.since(c.syn?.ts);
    let stuck = c.syns >= 3 && s.syns >= 3 && tcp.established.is_none() && c.unique == 0 && s.unique == 0 && c.resets + s.resets == 0;
    if !stuck || span < LONG || scene.vantage() == Vantage::Client || silence::knocking(scene) {
        return None;
    }
    let mut others = Control::new("same_server_other_client");
    let established = |f: &&FlowRecord| f.tcp.as_ref().is_some_and(|t| t.established.is_some());
    scene.kin.with_server(flow.server.ip).filter(established).for_each(|f| others.add(f.id, true));
    let around = Around::of(scene, flow.first.ts, flow.last.ts);
    if others.n == 0 && around.alive.ok == 0 {
        return None;
    }
    let mut w = Weigh::default();
    let frames: Vec<FrameNo> = flow.ladder.iter().map(|p| p.frame).take(16).collect();
    w.fact(
        2.0,
        "the server accepted the connection again and again, and the client went on asking for it",
        format!("{} SYNs, {} SYN+ACKs over {span}", c.syns, s.syns),
        "an ACK within a round trip",
        &frames,
    );
    w.excluded("spoofed SYNs", "one and the same SYN is repeated on a retransmission timer");
    w.against(0.0, "routing failure", "a way back that leads nowhere looks the same");
    let control = vec![others, around.alive];
    let claim = claim(Grade::Possible, Some(Direction::S2c), flow.first.ts);
    Some(weigh::finding(scene, &claim, w, control, vec!["a capture at the client", "other clients of the same network"]))
}
