//! Only what is on a list works; everything else fails in the same way.
//!
//! ```text
//! client                        servers
//!   | on the list <------------> A, B
//!   | ClientHello ------> X      C, D, E, F, …   by name: the handshake passes, the name does not
//!   | SYN --------------> X      C, D, E, F, …   by address: not even the handshake
//! ```

use super::Detector;
use super::silence;
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Finding, Grade, Kind, Target};
use crate::model::flow::{FlowId, FlowRecord, Outcome};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::key::Proto;
use crate::model::label::{EvidenceClass, Label, LabelGrade};
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::{Span, Time};
use hashbrown::{HashMap, HashSet};
use std::net::IpAddr;

/// Everything but a few names fails.
pub(super) struct ByName;
/// Everything but a few addresses fails.
pub(super) struct ByAddress;

static BY_NAME: Card = Card {
    rule: "tls.allowlist",
    kind: Kind::SniFiltering,
    mechanisms: &["allowlist"],
    claim: "Connections to a few names work; to all others the handshake passes and the message that names the server does not.",
    ladder: "\
client                        servers
  | listed name <------------> A, B
  | SYN, SYN+ACK, ACK <------> C, D, E, F ...
  | ClientHello ------> X      C, D, E, F ...   every one of them",
    needs: &["both directions", "many unrelated names that fail, and some that work at the same time"],
    innocent: &[
        "captive portal",
        "data plan that is used up",
        "outage of the line",
        "dead servers",
        "firewall of the client's own network",
    ],
    confirm: "Compare with another operator at the same place and time, and with this one a day later.",
    sources: &["net4people/bbs 516 (mobile allow-lists, Russia 2025)", "net4people/bbs 561, 630 (Iran 2026)"],
};

static BY_ADDRESS: Card = Card {
    rule: "ip.allowlist",
    kind: Kind::IpBlocking,
    mechanisms: &["allowlist"],
    claim: "A few addresses answer; all others, of many unrelated services, do not.",
    ladder: "\
client                        servers
  | SYN, SYN+ACK, data <-----> A, B
  | SYN --------------> X      C, D, E, F ...   every one of them",
    needs: &["both directions", "many unrelated services that are silent, and some that work at the same time"],
    innocent: &[
        "captive portal",
        "data plan that is used up",
        "outage of the line",
        "scan or peer-to-peer network",
        "firewall of the client's own network",
    ],
    confirm: "Compare with another operator at the same place and time, and with this one a day later.",
    sources: &["net4people/bbs 516, 630 (allow-lists by address, Russia and Iran)", "Aryapour 2025 (Iran, June 2025)"],
};

/// Unrelated targets that must fail for a pattern, and for more than that.
const FEW: usize = 10;
const MANY: usize = 20;
/// Share of outside targets that may answer all the same, in per cent.
const LEAKS: usize = 5;

impl Detector for ByName {
    fn card(&self) -> &'static Card {
        &BY_NAME
    }

    fn begins_with(&self) -> Signs {
        Signs::SILENT_HELLO
    }
    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        (scene.flow.outcome == Outcome::SilentHello && scene.flow.asked_name().is_some()).then(|| judge(scene, &BY_NAME))?
    }
}

impl Detector for ByAddress {
    fn card(&self) -> &'static Card {
        &BY_ADDRESS
    }

    fn begins_with(&self) -> Signs {
        Signs::SILENT_SYN
    }
    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        (scene.flow.outcome == Outcome::SilentSyn && scene.flow.proto == Proto::TCP).then(|| judge(scene, &BY_ADDRESS))?
    }
}

/// What a client reached and what it did not, each target once.
#[derive(Default)]
struct Tally<'a> {
    failed: HashSet<&'a str>,
    networks: HashSet<u32>,
    worked: HashSet<&'a str>,
    /// First frames of the flows that failed, and the flows.
    frames: Vec<FrameNo>,
    flows: Vec<FlowId>,
    /// Flows that worked.
    passed: Vec<FlowId>,
    first: Option<Time>,
    last: Option<Time>,
    /// Successes after the first failure.
    after: u32,
}

/// Whether a flow that failed is one of the many that are not on a list: other judges of silence leave it to this one.
pub(super) fn explains(scene: &Scene<'_>) -> bool {
    let failure = scene.flow.outcome;
    matches!(failure, Outcome::SilentHello | Outcome::SilentSyn) && Tally::of(scene, failure).is_some()
}

impl<'a> Tally<'a> {
    /// `None` unless almost everything outside a short list fails.
    fn of(scene: &Scene<'a>, failure: Outcome) -> Option<Self> {
        let by_name = failure == Outcome::SilentHello;
        if scene.source.quality.one_sided_share > 0.5 || scene.vantage() == Vantage::Server || !silence::public(scene.flow.server.ip) {
            return None;
        }
        let (flow, kin) = (scene.flow, scene.kin);
        let asked = if by_name { HashMap::new() } else { looked_up(scene) };
        let mut t = Tally::default();
        for i in kin.latest_of_client(flow.client.ip).iter().map(|i| *i as usize) {
            let Some(f) = kin.flows.get(i).filter(|f| f.proto == Proto::TCP && silence::public(f.server.ip)) else { continue };
            // A target is a name; a SYN names nothing, but its address was looked up, or is known to belong to a service.
            let service = || kin.labels.get(i).and_then(Option::as_ref).filter(known_by_address).map(|l| &*l.id);
            let looked_up = || asked.get(&f.server.ip).map(|name| site(name));
            let target = if by_name { f.asked_name().map(site) } else { service().or_else(looked_up) };
            let Some(target) = target else { continue };
            if f.outcome == failure && told(f, failure) {
                t.failed.insert(target);
                t.networks.insert(silence::network(f.server.ip));
                t.frames.push(f.first.frame);
                t.flows.push(f.id);
                t.first.get_or_insert(f.first.ts);
                t.last = Some(f.last.ts);
            } else if f.outcome == Outcome::Ok && f.payload(Side::Server) > 0 {
                t.worked.insert(target);
                t.passed.push(f.id);
                t.after += u32::from(t.first.is_some());
            }
        }
        let (failed, leaks, inside) = (t.failed.len(), t.leaks(), t.inside());
        let span = t.last?.since(t.first?);
        // Networks apart, a list that is short, and life after the first failure.
        let spread = t.networks.len() >= FEW / 2 && inside >= 1 && inside * 2 <= failed && leaks * 100 <= failed * LEAKS && t.after >= 2;
        (failed >= FEW && spread && span >= Span::from_secs(30)).then_some(t)
    }

    /// Targets that failed and worked: it comes and goes.
    fn leaks(&self) -> usize {
        self.failed.intersection(&self.worked).count()
    }

    /// Targets that only worked.
    fn inside(&self) -> usize {
        self.worked.difference(&self.failed).count()
    }
}

fn judge(scene: &Scene<'_>, card: &'static Card) -> Option<Finding> {
    let by_name = card.kind == Kind::SniFiltering;
    let mut t = Tally::of(scene, scene.flow.outcome)?;
    // The finding is written once, at the first flow that belongs to it.
    if t.flows.first() != Some(&scene.flow.id) {
        return None;
    }
    let (failed, leaks, inside) = (t.failed.len(), t.leaks(), t.inside());
    let span = t.last?.since(t.first?);
    let mut w = Weigh::default();
    t.frames.truncate(32);
    let what = if by_name { "names" } else { "services" };
    w.fact(
        2.5,
        format!("{failed} unrelated {what} in {} networks failed at the same stage", t.networks.len()),
        format!("over {span}; {inside} worked"),
        "failures of a few, for reasons of their own",
        &t.frames,
    );
    w.excluded("outage of the line", format!("{} connections to what is listed worked after the first failure", t.after));
    if by_name {
        w.excluded("dead servers", "all of them completed the handshake");
        w.excluded("captive portal", "it would answer, or refuse the handshake");
    } else {
        w.excluded("scan or peer-to-peer network", "the addresses were looked up, or belong to known services");
        w.against(0.0, "captive portal", "one may let a few addresses through and nothing else");
    }
    w.against(0.0, "data plan that is used up", "operators let a few services through then");
    w.against(0.0, "firewall of the client's own network", "a company or a parent may allow a short list only");
    if failed >= MANY && span >= Span::from_secs(600) {
        w.fact(1.0, "it lasted", format!("{span}"), "-", &[]);
    }
    let outside = Control::counted("outside_the_list", failed as u32, leaks as u32).on(t.flows.iter().copied());
    let listed = Control::counted("on_the_list", inside as u32, inside as u32).on(t.passed.iter().copied());
    let claim = Claim {
        rule: card.rule,
        kind: card.kind,
        mechanism: "allowlist",
        grade: Grade::Possible,
        direction: None,
        started: t.first?,
        ooni_failure: Some("generic_timeout_error"),
    };
    let mut found =
        weigh::finding(scene, &claim, w, vec![outside, listed], vec!["another operator at the same place", "the same a day later"]);
    // It is about everything that is not listed: no name, no service, no address.
    found.target = Target::default();
    found.flows = t.flows;
    Some(found)
}

/// Whether an address, or a name looked up for it, tells the service.
fn known_by_address(l: &&Label) -> bool {
    let tells = |c| matches!(c, EvidenceClass::Ip | EvidenceClass::Dns);
    l.grade >= LabelGrade::Probable && l.evidence.iter().any(|e| tells(e.class) && e.db > 0)
}

/// Addresses that this client was told, and for which name; the last answer counts. Addresses told for names of several owners are left out:
/// a resolver that answers everything with one of its own makes no list.
fn looked_up<'a>(scene: &Scene<'a>) -> HashMap<IpAddr, &'a str> {
    let mut names: HashMap<IpAddr, &str> = HashMap::new();
    let mut several = HashSet::new();
    for f in scene.kin.with_client(scene.flow.client.ip).filter(|f| f.app == Some("dns")) {
        for (_, m) in f.notes.dns().filter(|(_, m)| m.response) {
            let name = &*m.qname;
            for (address, _) in &m.addresses {
                if names.insert(*address, name).is_some_and(|before| site(before) != site(name)) {
                    several.insert(*address);
                }
            }
        }
    }
    names.retain(|address, _| !several.contains(address));
    names
}

/// It surely failed: repeated in vain.
fn told(f: &FlowRecord, failure: Outcome) -> bool {
    if failure == Outcome::SilentSyn {
        return f.gist().shows(Signs::RESYN);
    }
    f.tcp.as_deref().is_some_and(|tcp| tcp.side.client.retransmitted >= 2)
}

/// The last two labels of a name: what one owner holds fails together.
fn site(name: &str) -> &str {
    name.rmatch_indices('.').nth(1).and_then(|(at, _)| name.get(at + 1..)).unwrap_or(name)
}
