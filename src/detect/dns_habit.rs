//! A resolver's habits: how fast, and with which TTL, it answers everything else. An answer with other habits came from elsewhere.

use super::dns_talk::{Exchange, Said, Sense};
use super::weigh::fisher;
use crate::model::flow::FlowRecord;
use crate::model::frame::FrameNo;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::time::Span;

/// Steps of TTL by which packets over paths of unequal length may differ.
const TTL_STEP: u8 = 1;
/// Answers needed to know a habit.
const ENOUGH: usize = 3;
/// Neighbouring flows looked at before anything is added up.
const GLANCE: usize = 24;

/// An exchange, its answer and the answer's TTL.
type Heard<'x, 'a> = (&'x Exchange<'a>, &'x Said<'a>, u8);

/// How an answer departs from what its resolver usually does.
#[derive(Default)]
pub(super) struct Departure<'a> {
    /// The usual TTL.
    pub ttl: u8,
    /// The fastest of the usual answers.
    pub floor: Span,
    /// Usual answers, with their names.
    pub usual: Vec<(FrameNo, &'a str)>,
    /// Different names among them.
    pub usual_names: usize,
    /// Exchanges that depart, this one included.
    pub departing: usize,
    /// Of these, those about this name.
    pub of_name: usize,
    /// Hardly any ordinary answer departs: on a second path to the resolver they would.
    pub concentrated: bool,
    /// The answer came clearly before the fastest usual one.
    pub early: bool,
    /// The two kinds are divided by name, not by time: no name has both, and they alternate.
    pub by_name: bool,
    /// The chance that answers like this one, and not the ordinary ones, depart, if paths were drawn at random.
    pub p_kind: f64,
    /// The same chance for the name alone.
    pub p_name: f64,
}

/// TTLs say nothing in this capture.
pub(super) fn ttl_blind(scene: &Scene<'_>) -> bool {
    let q = &scene.source.quality;
    q.ttl_normalised || q.phone_vpn
}

/// A cheap look at whether this flow's resolver uses different TTLs at all.
pub(super) fn ttls_vary(scene: &Scene<'_>) -> bool {
    if ttl_blind(scene) {
        return false;
    }
    let of = |f: &FlowRecord| f.ladder.iter().find(|p| p.side == Side::Server).map(|p| p.ttl);
    let Some(first) = of(scene.flow) else { return false };
    let own = scene.flow.ladder.iter().filter(|p| p.side == Side::Server).any(|p| p.ttl.abs_diff(first) > TTL_STEP);
    let at = scene.kin.of_server(scene.flow.server.ip);
    own || super::dns_talk::around(scene, at, GLANCE).filter_map(of).any(|t| t.abs_diff(first) > TTL_STEP)
}

/// The departure of an answer from its resolver's other answers, if they have a common TTL and this one has another.
pub(super) fn departure<'a>(scene: &Scene<'_>, said: &[Exchange<'a>], x: &Exchange<'a>, answer: &Said<'a>) -> Option<Departure<'a>> {
    let own = answer.ttl()?;
    if ttl_blind(scene) {
        return None;
    }
    let far = |ttl: u8| ttl.abs_diff(own) > TTL_STEP;
    // One answer per exchange; where several contradict each other, none of them is habit.
    let heard: Vec<Heard<'_, 'a>> =
        said.iter().filter_map(|y| y.only_answer().map(|a| (y, a))).filter_map(|(y, a)| a.ttl().map(|t| (y, a, t))).collect();
    let ttl = heard
        .iter()
        .filter(|h| far(h.2))
        .map(|h| h.2)
        .max_by_key(|t| (heard.iter().filter(|h| far(h.2) && h.2.abs_diff(*t) <= TTL_STEP).count(), *t))?;
    let is_usual = |t: u8| far(t) && t.abs_diff(ttl) <= TTL_STEP;
    let (usual, departing): (Vec<Heard<'_, 'a>>, Vec<Heard<'_, 'a>>) = heard.iter().copied().partition(|h| is_usual(h.2));
    let mut names: Vec<&str> = usual.iter().map(|h| h.0.name).collect();
    names.sort_unstable();
    names.dedup();
    if usual.len() < ENOUGH || names.len() < 2 {
        return None;
    }
    let floor = usual.iter().filter_map(|h| h.0.delay()).min()?;
    let delays = usual.iter().filter(|h| h.0.delay().is_some()).count();
    let early = delays >= ENOUGH
        && x.answers.first().is_some_and(|a| a.frame == answer.frame)
        && x.delay()
            .is_some_and(|d| d.nanos().saturating_mul(5) < floor.nanos().saturating_mul(4) && floor.nanos() - d.nanos() > 2_000_000);
    // A path drawn at random would sooner or later show one name both ways.
    let shared = |name: &str| usual.iter().any(|h| h.0.name == name);
    let mixed = shared(x.name) || departing.iter().any(|h| shared(h.0.name));
    let times = |side: &[Heard<'_, 'a>]| {
        let all = side.iter().map(|h| h.1.ts);
        all.clone().min().zip(all.max())
    };
    // A new route or a new network would divide them by time.
    let alternate = match (times(&usual), times(&departing)) {
        (Some((u0, u1)), Some((d0, d1))) => u0 < d1 && d0 < u1,
        (Some((u0, u1)), None) => u0 < answer.ts && answer.ts < u1,
        _ => false,
    };
    let alike = |a: &Said<'_>| {
        let shares = a.addresses().any(|i| answer.addresses().any(|k| i == k));
        shares || matches!(a.sense(), Sense::Denied | Sense::Failed) || a.odd_address().is_some()
    };
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let odd_departing = departing.iter().filter(|h| alike(h.1)).count();
    let odd_usual = usual.iter().filter(|h| alike(h.1)).count();
    let ordinary = departing.len() - odd_departing;
    let of_name = departing.iter().filter(|h| h.0.name == x.name).count();
    Some(Departure {
        ttl,
        floor,
        usual_names: names.len(),
        departing: departing.len(),
        of_name,
        concentrated: ordinary * 4 <= departing.len(),
        early,
        by_name: !mixed && alternate,
        p_kind: fisher(number(odd_departing), number(odd_usual), number(ordinary), number(usual.len() - odd_usual)),
        p_name: fisher(number(of_name), 0, number(departing.len() - of_name), number(usual.len())),
        usual: usual.iter().map(|h| (h.1.frame, h.0.name)).collect(),
    })
}

/// Made within reach of the client's arm: hardly any time, and a TTL from which no router has taken more than one. Where the client's own packets
/// have passed more routers than that, what comes towards it was made beyond its network, however near the capture point.
pub(super) fn is_local(x: &Exchange<'_>, answer: &Said<'_>) -> bool {
    let whole = |said: &Said<'_>| said.ttl().is_some_and(|t| matches!(t, 63 | 64 | 127 | 128 | 254 | 255));
    let client_here = x.queries.first().is_none_or(|q| q.ttl().is_none() || whole(q));
    client_here && whole(answer) && x.delay().is_some_and(|d| d < Span::from_millis(5))
}
