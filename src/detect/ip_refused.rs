//! A service refused as such: all its addresses, or all ports of one, answer SYNs with resets, in one voice.
//!
//! ```text
//! client            on the path       addresses of one service
//!   | SYN to A --------> X                A
//!   | <------ RST+ACK                        the same TTL, the same header,
//!   | SYN to B --------> X                B  from networks that have nothing in common
//!   | <------ RST+ACK
//! ```

use super::Detector;
use super::rst_on_syn::{self, Refusal};
use super::silence;
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::flow::{Brief, FlowId, FlowRecord, ResetFit};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::label::{EvidenceClass, Label, LabelGrade};
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::Span;
use hashbrown::HashSet;
use std::net::IpAddr;

/// See the module.
pub(super) struct IpRefused;

static CARD: Card = Card {
    rule: "ip.refused",
    kind: Kind::IpBlocking,
    mechanisms: &["reset"],
    claim: "Connections to a service are refused with resets at every address or port that was tried, all of them by one machine.",
    ladder: "\
client            on the path       addresses of one service
  | SYN to A --------> X                A
  | <------ RST+ACK                        the same TTL, the same header,
  | SYN to B --------> X                B  from networks that have nothing in common
  | <------ RST+ACK",
    needs: &[
        "both directions",
        "two addresses of one service, or two ports of one address, that refuse",
        "other connections of the client that work meanwhile",
    ],
    innocent: &["closed port", "firewall that rejects for its owner", "service that has moved away", "scan or peer-to-peer network"],
    confirm: "Connect to the same addresses and ports from another network; compare the refusal's TTL with that of a traceroute to each.",
    sources: &[
        "RFC 9293 §3.10.7.1 (answer of a closed port)",
        "net4people/bbs 106 (addresses answered with resets, Russia 2022)",
        "Sundara Raman et al.: Global, Passive Detection of Connection Tampering, SIGCOMM 2023 (SYN → RST)",
    ],
};

/// Attempts further apart than this are not laid together.
const NEAR: Span = Span::from_secs(300);

impl Detector for IpRefused {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::RESET
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let chorus = Chorus::of(scene)?;
        // The finding is written once, at the first flow that belongs to it.
        if chorus.flows.iter().min() != Some(&scene.flow.id) {
            return None;
        }
        let own = refusal(scene.flow)?;
        let mut w = Weigh::default();
        let (addresses, ports, networks) = (chorus.addresses.len(), chorus.ports.len(), chorus.networks.len());
        w.fact(
            2.0,
            format!("{} attempts at {addresses} addresses and {ports} ports were refused, and none accepted", chorus.flows.len()),
            format!("TTL {}, window {}", own.ttl, own.window),
            "acceptance, or refusals of each machine's own",
            &chorus.frames,
        );
        if networks >= 2 {
            w.fact(
                1.5,
                "one voice for networks that have nothing in common",
                format!("{networks} networks, the same TTL"),
                "distances of their own",
                &chorus.frames,
            );
        }
        let strange = rst_on_syn::judge(scene).filter(|r: &Refusal| r.foreign);
        if let Some(r) = &strange {
            w.llr += r.weigh.llr.max(0.0);
            w.proofs += r.weigh.proofs;
            w.evidence.extend(r.weigh.evidence.iter().cloned());
        }
        if chorus.documented {
            w.excluded("closed port", "the service is known to listen at these addresses on this port");
        } else if strange.is_some() {
            w.excluded("closed port", "no kernel refuses with such a header, or so soon");
        } else {
            w.against(0.0, "closed port", "nothing shows that something listens there");
        }
        w.excluded("scan or peer-to-peer network", "this client does not meet refusals at many addresses");
        if w.proofs == 0 {
            w.against(
                0.0,
                "firewall that rejects for its owner",
                "the owner may refuse this client, or the whole network it is in, everywhere",
            );
        }
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "reset",
            grade: if w.proofs > 0 && !scene.lossy() { Grade::Confirmed } else { Grade::Possible },
            direction: Some(Direction::S2c),
            started: scene.flow.first.ts,
            ooni_failure: Some("connection_refused"),
        };
        let count = u32::try_from(chorus.flows.len()).unwrap_or(u32::MAX);
        let control = vec![Control::counted("same_service_or_address", count, 0).on(chorus.flows.iter().copied()), chorus.alive];
        let mut found = weigh::finding(scene, &claim, w, control, vec!["the same addresses from another network"]);
        found.flows = chorus.flows;
        found.flows.sort_unstable();
        if addresses > 1 {
            found.target.ip = None;
        }
        Some(found)
    }
}

/// Whether this refusal is one of several that have one cause: the judge of single refusals leaves it to this one.
pub(super) fn explains(scene: &Scene<'_>) -> bool {
    Chorus::of(scene).is_some()
}

/// Refusals that sound alike.
struct Chorus {
    addresses: HashSet<IpAddr>,
    ports: HashSet<u16>,
    networks: HashSet<u32>,
    flows: Vec<FlowId>,
    frames: Vec<FrameNo>,
    /// The service is known to listen where it was refused.
    documented: bool,
    /// Other servers that were reached meanwhile.
    alive: Control,
}

impl Chorus {
    /// `None` unless the service, or the address, refuses everywhere and in one voice.
    fn of(scene: &Scene<'_>) -> Option<Self> {
        let (flow, kin) = (scene.flow, scene.kin);
        let own = refusal(flow)?;
        let q = &scene.source.quality;
        // At the server it is the server; a phone's VPN app refuses by itself.
        if scene.vantage() == Vantage::Server || q.phone_vpn || q.one_sided_share > 0.5 || !silence::public(flow.server.ip) {
            return None;
        }
        let label = scene.label.filter(|l| known_by_address(l));
        let mut c = Self {
            addresses: HashSet::new(),
            ports: HashSet::new(),
            networks: HashSet::new(),
            flows: Vec::new(),
            frames: Vec::new(),
            documented: label.is_some(),
            alive: Control::new("same_client_meanwhile"),
        };
        let mut strangers = HashSet::new();
        for i in kin.latest_of_client(flow.client.ip).iter().map(|i| *i as usize) {
            let Some(f) = kin.flows.get(i).filter(|f| f.tcp.is_some() && f.first.ts.since(flow.first.ts).abs() <= NEAR) else { continue };
            let other = kin.labels.get(i).and_then(Option::as_ref);
            let service = label.is_some_and(|l| other.is_some_and(|o| o.id == l.id)) && f.server.port == flow.server.port;
            if f.server.ip != flow.server.ip && !service {
                match refusal(f) {
                    Some(_) => drop(strangers.insert(f.server.ip)),
                    None if f.totals.server.payload > 0 => c.alive.add(f.id, true),
                    None => {}
                }
                continue;
            }
            match refusal(f) {
                // Machines of their own refuse from distances of their own.
                Some(r) if r.ttl.abs_diff(own.ttl) <= 1 && (r.window, r.df) == (own.window, own.df) => {
                    c.addresses.insert(f.server.ip);
                    c.ports.insert(f.server.port);
                    c.networks.insert(silence::network(f.server.ip));
                    c.flows.push(f.id);
                    c.frames.push(r.frame);
                    c.documented &= other.is_some_and(|l| known_by_address(l) && listens(l));
                }
                Some(_) => return None,
                // It was heard otherwise: not refused as such.
                None if f.totals.server.packets > 0 => return None,
                None => {}
            }
        }
        c.frames.truncate(16);
        // One address may refuse at several ports because nothing listens there; only a foreign voice tells.
        let several = (c.addresses.len() >= 2 && c.documented)
            || (c.ports.len() + c.addresses.len() >= 3 && rst_on_syn::judge(scene).is_some_and(|r| r.foreign));
        (several && c.alive.ok >= 2 && strangers.len() <= c.addresses.len()).then_some(c)
    }
}

/// The first reset that answered a SYN of this flow, if nothing else did.
fn refusal(f: &FlowRecord) -> Option<&Brief> {
    let tcp = f.tcp.as_deref().filter(|t| t.side.server.syn.is_none() && t.side.client.unique == 0)?;
    let first = tcp.resets.first().filter(|r| r.fit == ResetFit::OnSyn && r.packet.side == Side::Server && !r.peer_rst_before)?;
    Some(&first.packet)
}

/// An address range tells the service.
fn known_by_address(l: &Label) -> bool {
    l.grade >= LabelGrade::Probable && l.evidence.iter().any(|e| e.class == EvidenceClass::Ip && e.db >= 10)
}

/// It is known to listen at the port that was tried.
fn listens(l: &Label) -> bool {
    l.evidence.iter().any(|e| e.class == EvidenceClass::Port && e.db > 0)
}
