//! All that a client receives or sends is held to one rate together: general slowness, which is about no service.
//!
//! ```text
//! a  ***   ****  **    *****     the shares of what goes to different networks swing,
//! b  ****  ***   *****  **       their sum keeps one rate,
//! a+b  -------------------       and what exceeds it is dropped, without waiting
//! ```

use super::lane::{self, Lane};
use super::rate::{self, Measured};
use super::{controls, origin, tell};
use crate::detect::Detector;
use crate::detect::weigh::{self, Claim};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind, Target};
use crate::model::gist::Signs;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::throttle::Scope;

/// See the module.
pub(in crate::detect) struct ThrottlingGeneral;

static CARD: Card = Card {
    rule: "rate.general",
    kind: Kind::Throttling,
    mechanisms: &["policing"],
    claim: "All that a client receives or sends is held to one rate together by dropping what exceeds it; no service is singled out.",
    ladder: "\
a  ***   ****  **    *****     the shares of what goes to different networks swing,
b  ****  ***   *****  **       their sum keeps one rate,
a+b  -------------------       and what exceeds it is dropped, without waiting",
    needs: &["two or more servers in different networks at once, for 5 s", "drops on flows of each"],
    innocent: &["subscriber's plan", "slow or shared line", "limit at the servers"],
    confirm: "Compare with other subscribers of the same plan, with another line, and with another hour.",
    sources: &["Flach et al.: An Internet-Wide Analysis of Traffic Policing, SIGCOMM 2016"],
};

/// Each of two targets in different networks carries at least this share of the bytes.
const SHARE: f64 = 0.15;
/// A flow that reaches this many times the rate is not held to it.
const FREE: f64 = 2.0;
/// Shorter is not told.
const SECONDS: f64 = 5.0;
/// Moments with drops that it takes, and how many of them on each side of the comparison.
const EPISODES: usize = 6;

impl Detector for ThrottlingGeneral {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::PACE
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        Side::BOTH.into_iter().find_map(|side| judge_side(scene, side))
    }
}

fn judge_side(scene: &Scene<'_>, side: Side) -> Option<Finding> {
    // It is told of the first flow of a group, and of such that are bulk and were not cut off is a group made.
    Lane::of(scene.flow, scene.label, side).filter(|l| lane::bulk(l) && !l.cut_off())?;
    let all = lane::lanes(scene, side);
    let m = held_together(scene, &all, side).filter(|m| m.group.first().is_some_and(|l| l.flow.id == scene.flow.id))?;
    let mut m = m;
    let mut w = std::mem::take(&mut m.weigh);
    tell::facts(&m, &mut w);
    w.against(0.0, "subscriber's plan", "a plan that is used up, or what was bought, holds everything in the same way");
    w.against(0.0, "slow or shared line", "a line whose buffer is tiny drops as a policer does");
    w.excluded("limit at the servers", "servers in different networks share the rate");
    let claim = Claim {
        rule: CARD.rule,
        kind: CARD.kind,
        mechanism: "policing",
        grade: Grade::Possible,
        direction: Some(Direction::from_side(side)),
        started: m.p.from,
        ooni_failure: None,
    };
    let control: Vec<Control> = Vec::new();
    let needs = vec!["the same through another line", "another subscriber of the same plan", "the same at another hour"];
    let mut found = weigh::finding(scene, &claim, w, control, needs);
    found.target = Target::default();
    tell::measured(&mut found, scene, &m, Scope::General);
    Some(found)
}

/// What all of a client's bulk flows in one direction keep to together, if they do.
pub(super) fn held_together<'a>(scene: &Scene<'_>, all: &[Lane<'a>], side: Side) -> Option<Measured<'a>> {
    let ours: Vec<Lane<'a>> = all.iter().filter(|l| l.flow.client.ip == scene.flow.client.ip && lane::bulk(l)).copied().collect();
    let total: u64 = ours.iter().map(|l| l.pace.total()).sum();
    // The target that carries most with all that stands in its network, and all others.
    let main = ours.iter().max_by_key(|l| l.pace.total())?;
    let with_main = |l: &Lane<'_>| {
        lane::same_target(main, l)
            || lane::same_service(main, l)
            || origin::network(main.flow.server.ip) == origin::network(l.flow.server.ip)
    };
    let bytes: u64 = ours.iter().filter(|l| with_main(l)).map(|l| l.pace.total()).sum();
    if (bytes.min(total - bytes) as f64) < SHARE * total as f64 {
        return None;
    }
    // Moments with drops on each side of the comparison: what the whole has not, no part of it has.
    let hit = |lanes: &mut dyn Iterator<Item = &Lane<'_>>| {
        lanes.map(|l| l.pace.drops.iter().filter(|d| **d > 0).count()).sum::<usize>() >= EPISODES / 2
    };
    if !hit(&mut ours.iter().filter(|l| with_main(l))) || !hit(&mut ours.iter().filter(|l| !with_main(l))) {
        return None;
    }
    let m = rate::measure(&ours, &ours, side)?;
    let p = &m.p;
    let steady = (p.windows >= 8 && p.steady >= 0.8 && p.high - p.low <= 0.25 * p.rate) || p.one_rate_despite_loss();
    // That nothing waits must have been seen: a line whose buffer was not measured is a line.
    let waits = m.queue.grown() || !m.queue.seen(&m.losses);
    if m.mechanism != "policing" || m.extreme || m.datagrams || waits || !steady || p.seconds() < SECONDS || p.episodes < EPISODES {
        return None;
    }
    // What was faster meanwhile was not held.
    if m.group.iter().any(|l| controls::reach(l, Some((p.from, p.to))) >= FREE * p.rate) {
        return None;
    }
    let (a, b): (Vec<Lane<'_>>, Vec<Lane<'_>>) = m.group.iter().partition(|l| with_main(l));
    (hit(&mut a.iter()) && hit(&mut b.iter()) && origin::one_bucket(&[a, b], p) && !rate::lossy(scene, &m.group)).then_some(m)
}
