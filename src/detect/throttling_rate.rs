//! A rate that something on the path imposes: a policer drops what exceeds it, a shaper lets it wait.
//!
//! ```text
//! rate of new bytes                policing              shaping
//!   |*                             round trips stay,     round trips grow,
//!   |**                            drops go with the     packets come evenly
//!   |  *************************   rate                  spaced
//!   +--------------------------- time
//! ```

use super::Detector;
use super::throttling::{self, Controls, Lane, Losses, Plateau, Queue, bps};
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::frame::FrameNo;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;

/// See the module.
pub(super) struct ThrottlingRate;

static CARD: Card = Card {
    rule: "rate.limited",
    kind: Kind::Throttling,
    mechanisms: &["policing", "shaping"],
    claim: "Something on the path holds this service to a fixed rate while other traffic of the same client goes faster.",
    ladder: "\
rate of new bytes                policing              shaping
  |*                             round trips stay,     round trips grow,
  |**                            drops go with the     packets come evenly
  |  *************************   rate                  spaced
  +--------------------------- time",
    needs: &["10 s of steady demand, or 1 MB", "other traffic of the same client meanwhile, for more than possible"],
    innocent: &[
        "slow or shared line",
        "receiver's window",
        "sender with nothing to send",
        "rate limit of the server",
        "slow line at the server",
        "packet loss",
    ],
    confirm: "Fetch the same object through another network, or another name from the same address; repeat at another hour.",
    sources: &[
        "Flach et al.: An Internet-Wide Analysis of Traffic Policing, SIGCOMM 2016",
        "Xue et al.: Throttling Twitter, IMC 2021",
        "Kanuparthy and Dovrolis: ShaperProbe, IMC 2011",
    ],
};

/// Less than this says nothing of a rate.
const ENOUGH: u64 = 60_000;
/// Shorter plateaus say nothing.
const SECONDS: f64 = 2.5;

impl Detector for ThrottlingRate {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        if flow.pace.client.is_none() && flow.pace.server.is_none() {
            return None;
        }
        Side::BOTH.into_iter().find_map(|side| judge_side(scene, side))
    }
}

fn judge_side(scene: &Scene<'_>, side: Side) -> Option<Finding> {
    let own = Lane::of(scene.flow, scene.label, side)?;
    let all = throttling::lanes(scene, side);
    let group: Vec<Lane<'_>> = all.iter().filter(|l| throttling::same_target(&own, l)).copied().collect();
    if group.first()?.flow.id == own.flow.id
        && let Some(found) = judge_group(scene, side, &all, &group)
    {
        return Some(found);
    }
    // Several names of one service may share one bucket: each alone shows only its changing share.
    let service: Vec<Lane<'_>> = all.iter().filter(|l| throttling::same_service(&own, l)).copied().collect();
    if service.len() <= group.len() || service.first()?.flow.id != own.flow.id {
        return None;
    }
    let alone = service.iter().any(|l| {
        let group: Vec<Lane<'_>> = all.iter().filter(|m| throttling::same_target(l, m)).copied().collect();
        judge_group(scene, side, &all, &group).is_some()
    });
    if alone { None } else { judge_group(scene, side, &all, &service) }
}

fn judge_group(scene: &Scene<'_>, side: Side, all: &[Lane<'_>], group: &[Lane<'_>]) -> Option<Finding> {
    let total: u64 = group.iter().map(|l| l.pace.total()).sum();
    let first = group.first()?;
    if total < ENOUGH || first.pace.largest < 500 {
        return None;
    }
    let found = Plateau::of(group).filter(|p| p.seconds() >= SECONDS && p.windows >= 3);
    let extreme = found.is_none();
    let mut p = found.or_else(|| Plateau::whole(group))?;
    if group.len() > 1 {
        // What was faster before may have been another flow.
        p.before = None;
    }
    if p.seconds() < SECONDS {
        return None;
    }
    // The flows it was seen on.
    let group: Vec<Lane<'_>> = group.iter().filter(|l| l.pace.last >= p.from && l.pace.start <= p.to).copied().collect();
    let datagrams = throttling::bulk_datagrams(first.flow);
    if first.flow.tcp.is_none() && !datagrams {
        return None;
    }
    let queue = Queue::of(&group, p.rate);
    let losses = Losses::of(&group);
    let mut w = Weigh::default();
    if throttling::held_by_ends(&group, &p, &queue, &mut w) {
        return None;
    }
    let share = p.loss(&group);
    let tight = p.windows >= 8 && p.steady >= 0.8 && p.high - p.low <= 0.15 * p.rate;
    let allowed = throttling::loss_allows(&group, share);
    let by_loss = !datagrams && !queue.grown() && p.rate > 0.4 * allowed;
    let free = throttling::line_free(all, &p);
    let mechanism = mechanism(&p, &queue, &losses, share, p.slowed(&group), datagrams)?;
    let controls = Controls::of(all, &group, &p);
    let faster = controls.best / p.rate;
    if !controls.others.is_empty() && (controls.fast == 0 || free < 0.6) {
        return None;
    }
    // Loss alone would explain the rate: then it must be this target's alone, or the rate be very even.
    let hit = p.episodes as f64 / (p.drops + p.bytes / f64::from(first.pace.largest)).max(1.0);
    let alone = controls.fast >= 1
        && share >= 0.04
        && controls.hit < 0.3 * hit
        && p.episodes >= 4
        && p.windows >= if group.len() >= 3 { 4 } else { 5 };
    if by_loss && !alone && (!tight || share < 0.02) {
        return None;
    }
    // No one rate: only what is ten times slower than all else, and loses all the time.
    if extreme
        && (datagrams || by_loss || controls.fast < 2 || faster < 10.0 || free < 0.8 || share < 0.08 || p.episodes < 6 || p.seconds() < 5.0)
    {
        return None;
    }
    // Where nothing shows that it was faster before, a short stretch, or a queue that loses nothing, may be chance.
    let slowed = p.before.is_some_and(|b| b > 1.5 * p.rate) && p.drops >= 2.0;
    let enough = match p.episodes {
        0..=2 => 8,
        _ if group.len() >= 3 => 4,
        _ => 5,
    };
    if !extreme && !slowed && !tight && p.windows < enough {
        return None;
    }
    // Loss on the way up without a comparison is the other judge's.
    if side == Side::Client && share >= 0.15 && controls.fast == 0 {
        return None;
    }
    // A deep queue in which others wait as well is the line's, not this target's.
    let waits = queue.usual - queue.base;
    if queue.grown() && waits > 100.0 && controls.queued > 0.5 * waits {
        return None;
    }
    let strong = p.windows >= if p.at_drops { 8 } else { 5 } && p.steady >= throttling::STEADY;
    let dropping = share >= 0.01 && p.episodes >= 5;
    let chance = controls.chance(group.len(), p.rate);
    let service = throttling::known(first.label).is_some();
    let grade = match () {
        () if datagrams && (controls.fast < 2 || !strong || total < 200_000 || p.windows < 8) => return None,
        () if datagrams => Grade::Possible,
        () if controls.fast == 0 && !(strong && total >= 500_000 && controls.present == 0) => return None,
        () if extreme => Grade::Possible,
        () if controls.fast == 0 => Grade::Possible,
        () if strong && dropping && controls.fast >= 2 && (service || chance.is_some_and(|c| c < 0.05)) => Grade::Likely,
        () if controls.same_server_fast >= 1 && strong && dropping => Grade::Likely,
        () => Grade::Possible,
    };
    let grade = if grade > Grade::Possible && (scene.lossy() || by_loss) { Grade::Possible } else { grade };
    let frames: Vec<FrameNo> = group.iter().map(|l| l.flow.first.frame).take(8).collect();
    w.fact(
        2.0,
        if extreme {
            "all of it went very slowly".to_owned()
        } else {
            format!("{} of {} stretches of time went at one rate", (p.steady * p.windows as f64).round(), p.windows)
        },
        format!("{} ({} to {}) for {:.1} s", bps(p.rate), bps(p.low), bps(p.high), p.seconds()),
        "a rate that follows the path and the other traffic",
        &frames,
    );
    if losses.beyond + losses.before > 0 {
        let place = if losses.before > losses.beyond { "before" } else { "beyond" };
        w.fact(
            1.0,
            format!("packets were dropped {place} the capture point"),
            format!(
                "{} of {} ({:.1} %), at {} moments",
                losses.beyond + losses.before,
                losses.packets + losses.before,
                losses.share() * 100.0,
                p.episodes
            ),
            "few",
            &[],
        );
    }
    if queue.samples > 0 {
        w.fact(
            0.0,
            if queue.grown() { "packets waited in a queue" } else { "no queue grew" },
            format!("round trip {:.0} ms, undisturbed {:.0} ms, {} samples", queue.usual, queue.base, queue.samples),
            "-",
            &[],
        );
    }
    if let Some(before) = p.before.filter(|b| *b > 1.5 * p.rate) {
        w.fact(1.0, "the same flow was faster before", bps(before), bps(p.rate), &[]);
    }
    if controls.fast > 0 {
        w.fact(
            2.0,
            "other traffic of this client was faster meanwhile",
            format!("{} flows, the best {} ({faster:.1} times)", controls.fast, bps(controls.best)),
            bps(p.rate),
            &[],
        );
        let why = format!(
            "another flow of this client reached {}, and {:.0} % of the time the line was less than half used",
            bps(controls.best),
            free * 100.0
        );
        w.excluded("slow or shared line", why);
    } else {
        w.against(0.0, "slow or shared line", "no other traffic of this client was large enough to compare");
    }
    if controls.same_server_fast > 0 {
        w.excluded("slow line at the server", "another name at the same address was faster");
    } else {
        w.against(0.0, "slow line at the server", "nothing else from this address was seen to be faster");
    }
    if !datagrams && losses.beyond + losses.before > 0 {
        let why = format!("so much loss alone would allow {}", bps(allowed));
        if by_loss { w.against(0.0, "packet loss", why) } else { w.excluded("packet loss", why) }
    }
    if mechanism == "shaping" || datagrams {
        w.against(0.0, "rate limit of the server", "a server that paces its packets can look alike");
    } else {
        w.excluded(
            "rate limit of the server",
            format!("{:.1} % of packets were dropped; a server that limits itself sends less", losses.share() * 100.0),
        );
    }
    if let Some(c) = chance {
        w.fact(0.0, "chance that flows drawn alike would part like this", format!("{c:.3}"), "-", &[]);
    }
    let claim = Claim {
        rule: CARD.rule,
        kind: CARD.kind,
        mechanism,
        grade,
        direction: Some(Direction::from_side(side)),
        started: p.from,
        ooni_failure: None,
    };
    let control = vec![
        Control {
            kind: "same_client_other_servers",
            n: controls.others.len() as u32 - controls.same_server,
            ok: controls.fast - controls.same_server_fast,
        },
        Control { kind: "same_server_other_name", n: controls.same_server, ok: controls.same_server_fast },
    ];
    let needs = vec!["the same transfer through another network", "another name at the same address", "the same at another hour"];
    let mut found = weigh::finding(scene, &claim, w, control, needs);
    // Before the dropper, datagrams that were dropped cannot be told from those that passed.
    let passed = !(datagrams && side == Side::Server && scene.vantage() == Vantage::Server);
    found.rate_bps = passed.then_some(p.rate.round() as u64);
    found.flows = group.iter().map(|l| l.flow.id).collect();
    Some(found)
}

/// Policing drops and lets nothing wait; shaping lets packets wait and spaces them evenly. Neither: the ends set the rate.
fn mechanism(p: &Plateau, queue: &Queue, losses: &Losses, share: f64, slowed: bool, datagrams: bool) -> Option<&'static str> {
    let even = queue.paced > 0.9 && queue.bursts < 0.025;
    if datagrams {
        return Some(if even { "shaping" } else { "policing" });
    }
    // With one packet in flight a receiver sees no hole, only the pause; then what was dropped before must do.
    let hidden = p.windows >= 6 && p.high - p.low <= 0.1 * p.rate && losses.before > losses.beyond && losses.share() >= 0.05;
    let dropping = ((p.episodes >= 4 || slowed) && share >= 0.004) || hidden;
    // Behind the limit the spacing tells: what a shaper lets go never comes in bursts.
    let behind = losses.before > losses.beyond;
    match () {
        () if behind && queue.paced >= 0.94 && queue.bursts <= 0.03 => (dropping || queue.grown()).then_some("shaping"),
        () if queue.grown() && behind && queue.paced < 0.78 => dropping.then_some("policing"),
        () if queue.grown() => Some("shaping"),
        () if dropping => Some("policing"),
        () => None,
    }
}
