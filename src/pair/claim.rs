//! How a finding is written down: facts with frames of both captures.

use crate::model::finding::{Control, Direction, Evidence, Finding, Grade, Innocent, Kind, Target};
use crate::model::flow::FlowRecord;
use crate::model::frame::FrameNo;
use crate::model::label::Label;
use crate::model::note::{DnsMessage, Fact};
use crate::model::pair::{PairFinding, Tap};
use crate::model::plural::one;
use crate::model::story::Story;
use crate::model::time::Time;

use super::view::{Strand, View};

/// A claim under way.
pub struct Claim {
    pub rule: &'static str,
    pub kind: Kind,
    pub mechanism: &'static str,
    pub grade: Grade,
    pub direction: Direction,
    pub started: Time,
    pub rate_bps: Option<u64>,
    pub facts: Vec<(Evidence, Vec<FrameNo>)>,
    pub innocent: Vec<Innocent>,
    pub control: Vec<Control>,
    pub needs: Vec<&'static str>,
}

impl Claim {
    /// A claim without facts yet.
    pub fn new(rule: &'static str, kind: Kind, mechanism: &'static str, direction: Direction, started: Time) -> Self {
        Self {
            rule,
            kind,
            mechanism,
            grade: Grade::Confirmed,
            direction,
            started,
            rate_bps: None,
            facts: Vec::new(),
            innocent: Vec::new(),
            control: Vec::new(),
            needs: Vec::new(),
        }
    }

    /// A fact, with the frames of each capture that show it.
    pub fn fact(&mut self, says: impl Into<String>, value: impl Into<String>, expected: impl Into<String>, frames: &[(Tap, FrameNo)]) {
        let of = |tap: Tap| -> Vec<FrameNo> {
            let mut all: Vec<FrameNo> = frames.iter().filter(|f| f.0 == tap).map(|f| f.1).collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        let e = Evidence { says: one(says.into()), value: one(value.into()), expected: one(expected.into()), frames: of(Tap::A) };
        self.facts.push((e, of(Tap::B)));
    }

    /// An innocent cause that the pair excludes.
    pub fn excluded(&mut self, cause: &'static str, why: impl Into<String>) {
        self.innocent.push(Innocent { cause, stands: false, why: one(why.into()) });
    }

    /// An innocent cause that may still be.
    pub fn stands(&mut self, cause: &'static str, why: impl Into<String>) {
        self.innocent.push(Innocent { cause, stands: true, why: one(why.into()) });
    }

    /// The finding about a strand.
    pub fn about(self, view: &View<'_>, s: &Strand<'_>) -> PairFinding {
        let grade = if self.grade == Grade::Likely && self.innocent.iter().any(|i| i.stands) { Grade::Possible } else { self.grade };
        let all = |list: Vec<&Vec<FrameNo>>| -> Vec<FrameNo> {
            let mut all: Vec<FrameNo> = list.into_iter().flatten().copied().collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        let frames = all(self.facts.iter().map(|f| &f.0.frames).collect());
        let frames_b = all(self.facts.iter().map(|f| &f.1).collect());
        let (evidence, evidence_b) = self.facts.into_iter().unzip();
        let finding = Finding {
            id: "".into(),
            rule: self.rule,
            kind: self.kind,
            mechanism: self.mechanism,
            grade,
            flows: Tap::BOTH.iter().filter_map(|t| s.at(*t).map(|f| f.id)).collect(),
            direction: Some(self.direction),
            target: target(view, s),
            started: self.started,
            frames,
            rate_bps: self.rate_bps,
            evidence,
            innocent: self.innocent,
            control: self.control,
            needs: self.needs,
            ooni_failure: ooni(view, s, self.kind, self.mechanism, self.direction),
            resembles: Vec::new(),
            throttle: None,
            deaths: Vec::new(),
        };
        PairFinding { finding, frames_b, evidence_b, ends: Vec::new(), chance: None }
    }
}

/// The record of a strand at a point.
pub fn record<'a>(view: &View<'a>, s: &Strand<'_>, tap: Tap) -> Option<(&'a FlowRecord, Option<&'a Label>)> {
    let id = s.at(tap)?.id;
    let story: &'a Story = view.stories[tap];
    let i = story.flows.binary_search_by_key(&id, |f| f.id).ok()?;
    Some((story.flows.get(i)?, story.labels.get(i).and_then(Option::as_ref)))
}

/// Both records, that of the point nearer the client first.
pub fn records<'a>(view: &View<'a>, s: &Strand<'_>) -> Vec<(&'a FlowRecord, Option<&'a Label>)> {
    let first = s.near.unwrap_or(Tap::A);
    [first, first.other()].iter().filter_map(|t| record(view, s, *t)).collect()
}

/// The DNS message in a frame of a strand.
pub fn dns_at<'a>(view: &View<'a>, s: &Strand<'_>, tap: Tap, frame: FrameNo) -> Option<&'a DnsMessage> {
    let (flow, _) = record(view, s, tap)?;
    flow.notes.list.iter().find_map(|n| match &n.fact {
        Fact::Dns(m) if n.frame == frame => Some(&**m),
        _ => None,
    })
}

/// The protocol recognised at either point.
pub fn app(view: &View<'_>, s: &Strand<'_>) -> Option<&'static str> {
    records(view, s).iter().find_map(|(f, _)| f.app)
}

/// OONI's word for what the client met: that of its own capture if that says one of this flow, else what this does to a client.
fn ooni(view: &View<'_>, s: &Strand<'_>, kind: Kind, mechanism: &str, direction: Direction) -> Option<&'static str> {
    let near = s.near.unwrap_or(Tap::A);
    let id = s.at(near).map(|f| f.id);
    let said = || view.stories[near].findings.iter().filter(|f| f.kind == kind && id.is_some_and(|id| f.flows.contains(&id)));
    if let Some(word) = said().find_map(|f| f.ooni_failure) {
        return Some(word);
    }
    match (kind, mechanism) {
        (Kind::RstInjection, "late") => None,
        // What reaches the server only, the client may never hear of.
        (Kind::RstInjection, _) if direction == Direction::C2s => None,
        (Kind::RstInjection, "on_syn") => Some("connection_refused"),
        (Kind::RstInjection, "fin") => Some("eof_error"),
        (Kind::RstInjection, _) => Some("connection_reset"),
        (Kind::IpBlocking, "icmp") => Some("host_unreachable"),
        (Kind::SniFiltering, "alert") => Some("ssl_failed_handshake"),
        (Kind::DnsInjection, "nxdomain") => Some("dns_nxdomain_error"),
        (Kind::DnsInjection, "drop") => Some("generic_timeout_error"),
        (Kind::UdpBlocking, "media_cut") | (Kind::DnsInjection, _) => None,
        (
            Kind::SniFiltering
            | Kind::ConnectionFreeze
            | Kind::IpBlocking
            | Kind::QuicBlocking
            | Kind::UdpBlocking
            | Kind::ProtocolBlocking,
            _,
        ) => Some("generic_timeout_error"),
        _ => None,
    }
}

fn target(view: &View<'_>, s: &Strand<'_>) -> Target {
    let all = records(view, s);
    let sni = all.iter().find_map(|(f, _)| f.notes.client_hello().and_then(|(_, h)| h.sni.clone()));
    let host = all.iter().find_map(|(f, _)| f.notes.http_request().and_then(|(_, r)| r.host.clone()));
    let qname = all.iter().find_map(|(f, _)| f.notes.dns().find(|(_, m)| !m.qname.is_empty()).map(|(_, m)| m.qname.clone()));
    let label = all.iter().find_map(|(_, l)| *l);
    Target {
        service: label.map(|l| l.id.clone()),
        role: label.and_then(|l| l.role),
        host: if sni.is_none() { host } else { None },
        sni,
        qname,
        ip: s.near.and_then(|n| s.at(n)).or_else(|| s.any()).map(|f| f.server.ip),
    }
}
