//! One direction towards one target loses packets at random, whatever the rate, while the same client's other traffic does not.
//!
//! ```text
//! client                        server
//!   | data --------> X             |   every third or fourth, also when it is the only one on the way
//!   | data again ----------------> |
//!   | <---------------------- data |   the way back is whole
//! ```

use super::bps;
use super::lane::{self, Lane};
use super::origin;
use super::plateau::Plateau;
use super::queue::{self, Losses, Queue};
use super::tokens::Tokens;
use crate::detect::Detector;
use crate::detect::weigh::{self, Claim, Weigh, fisher};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::flow::FlowRecord;
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::label::Label;
use crate::model::scene::{KIN_MAX, Scene};
use crate::model::side::Side;
use crate::model::time::Span;

/// See the module.
pub(in crate::detect) struct ThrottlingLoss;

static CARD: Card = Card {
    rule: "loss.targeted",
    kind: Kind::Throttling,
    mechanisms: &["random_drop"],
    claim: "Packets in one direction towards one service are dropped at random; other traffic of the same client is not hit.",
    ladder: "\
client                        server
  | data --------> X             |   every third or fourth, also when it is the only one on the way
  | data again ----------------> |
  | <---------------------- data |   the way back is whole",
    needs: &["at least 60 packets with payload in the direction", "other traffic of the same client in the same direction"],
    innocent: &["lossy line", "congestion", "one bad path to this network", "rate limit that drops"],
    confirm: "Send the same through another network; compare with other addresses behind the same provider.",
    sources: &[
        "Reports of slowed Telegram, Russia, February 2026: random loss from client to server",
        "Mathis et al. 1997",
        "Padhye et al. 1998",
    ],
};

/// Fewer packets say nothing of a share.
const PACKETS: u64 = 60;
/// The part of all packets that went when least was sent.
const QUIET: f64 = 0.15;
/// Other traffic that loses this share says that the line itself is bad, or full.
const LOSSY_LINE: f64 = 0.05;
/// Shortest retransmission timer in common use (Linux), seconds.
const TIMER: f64 = 0.2;
/// Congestion control keeps loss by congestion well below this.
const SHARE: f64 = 0.08;

impl Detector for ThrottlingLoss {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::PACE
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        flow.tcp.as_deref()?;
        if flow.pace.client.is_none() && flow.pace.server.is_none() {
            return None;
        }
        let around = around(scene);
        let group: Vec<Kin<'_>> = around.iter().filter(|k| same_group(flow, scene.label, k)).copied().collect();
        if group.first()?.0.id != flow.id {
            return None;
        }
        Side::BOTH.into_iter().find_map(|side| judge_side(scene, side, &around, &group))
    }
}

type Kin<'a> = (&'a FlowRecord, Option<&'a Label>);

/// TCP flows of the same client that kept a pace, and those near them.
fn around<'a>(scene: &Scene<'a>) -> Vec<Kin<'a>> {
    let kin = scene.kin;
    let all: &[u32] = kin.of_client(scene.flow.client.ip);
    let here = all.partition_point(|i| kin.flows.get(*i as usize).is_some_and(|f| f.id < scene.flow.id));
    all.iter()
        .skip(here.saturating_sub(KIN_MAX / 2))
        .take(KIN_MAX)
        .filter_map(|i| Some((kin.flows.get(*i as usize)?, kin.labels.get(*i as usize).and_then(Option::as_ref))))
        .filter(|(f, _)| f.tcp.is_some() && f.totals.client.packets > 0 && f.totals.server.packets > 0)
        .collect()
}

/// One service, else one name, else one server; only flows that kept a pace.
fn same_group(flow: &FlowRecord, label: Option<&Label>, other: &Kin<'_>) -> bool {
    let (f, l) = other;
    if f.pace.client.is_none() && f.pace.server.is_none() {
        return false;
    }
    match (lane::known(label), lane::known(*l)) {
        (Some(a), Some(b)) => a.id == b.id,
        (None, None) => match (flow.asked_name(), f.asked_name()) {
            (Some(a), Some(b)) => a == b,
            (None, None) => flow.server.ip == f.server.ip,
            _ => false,
        },
        _ => false,
    }
}

/// Packets that asked to be delivered, and those of them that were lost: payload and SYN.
fn trials(f: &FlowRecord, side: Side) -> (u64, u64) {
    let Some(t) = f.tcp.as_deref().map(|t| &t.side[side]) else { return (0, 0) };
    let syns = u64::from(t.syns);
    let lost = match f.pace[side].as_deref() {
        Some(p) => u64::from(p.lost_beyond) + u64::from(p.lost_before),
        None => u64::from(t.retransmitted) + u64::from(t.filled),
    };
    let before = f.pace[side].as_deref().map_or(u64::from(t.filled), |p| u64::from(p.lost_before));
    (u64::from(t.data_segments) + before + syns, lost + syns.saturating_sub(1))
}

fn sum<'a>(flows: impl Iterator<Item = &'a FlowRecord>, side: Side) -> (u64, u64) {
    flows.map(|f| trials(f, side)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
}

/// Whether losses came at many moments, over seconds, in each third of the time between the first and the last.
fn lasting(lanes: &[Lane<'_>]) -> bool {
    lanes.iter().any(|l| {
        let p = l.pace;
        let hit = |d: &u8| *d > 0;
        let (Some(first), Some(last)) = (p.drops.iter().position(hit), p.drops.iter().rposition(hit)) else { return false };
        let moments = p.drops.iter().filter(|d| hit(d)).count();
        let long = p.width.times((last - first) as i64);
        if moments < 15 || long < Span::from_secs(3) {
            return false;
        }
        let third = (last - first) / 3;
        (0..3).all(|k| {
            let part = first + k * third..first + (k + 1) * third + 1;
            let drops: f64 = p.drops[part.clone()].iter().map(|d| f64::from(*d)).sum();
            let passed: f64 = p.passed[part].iter().map(|b| f64::from(*b)).sum::<f64>() / f64::from(p.largest.max(1));
            drops / (drops + passed).max(1.0) >= 0.05
        })
    })
}

/// Packets are lost as often when little is sent as when much is. What overflows a queue, or finds a bucket empty, was too much at that moment.
fn asks_for_nothing(lanes: &[Lane<'_>], share: f64) -> bool {
    // By what passed, for behind the dropper what was lost is known to have been sent beside something that passed.
    let mut bins: Vec<(f64, f64)> = Vec::new();
    for l in lanes {
        let size = f64::from(l.pace.largest.max(1));
        let one = |(b, d): (&u32, &u8)| (f64::from(*b) / size, f64::from(*d));
        bins.extend(l.pace.passed.iter().zip(&l.pace.drops).map(one).filter(|b| b.0 + b.1 > 0.0));
    }
    bins.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all: f64 = bins.iter().map(|b| b.0 + b.1).sum();
    let (mut sent, mut lost) = (0.0, 0.0);
    for (n, d) in bins {
        if sent >= QUIET * all {
            break;
        }
        (sent, lost) = (sent + n + d, lost + d);
    }
    lost >= 0.4 * share * sent
}

/// What a sender reaches that so much loss makes wait for its timer again and again (Padhye et al. 1998, equation 31, without the round trips), bit/s.
fn timers_allow(lanes: &[Lane<'_>], share: f64) -> f64 {
    let timer = lanes.iter().map(Lane::rtt).fold(f64::INFINITY, f64::min).clamp(TIMER, 2.0);
    let size = lanes.iter().map(|l| f64::from(l.pace.largest)).fold(0.0, f64::max);
    let p = share.clamp(1e-6, 1.0);
    let waits = timer * (3.0 * (3.0 * p / 8.0).sqrt()).min(1.0) * p * (1.0 + 32.0 * p * p);
    size * 8.0 / waits
}

fn judge_side(scene: &Scene<'_>, side: Side, around: &[Kin<'_>], group: &[Kin<'_>]) -> Option<Finding> {
    let lanes: Vec<Lane<'_>> = group.iter().filter_map(|(f, l)| Lane::of(f, *l, side)).collect();
    let (n, lost) = sum(group.iter().map(|(f, _)| *f), side);
    let share = lost as f64 / n.max(1) as f64;
    if n < PACKETS || share < SHARE || lanes.is_empty() {
        return None;
    }
    // A gap in IP identifications may be acknowledgements that a capture filter left out.
    if lanes.iter().map(|l| u64::from(l.pace.lost_hidden)).sum::<u64>() * 2 > lost {
        return None;
    }
    // Hit packets must include those that travelled alone: neither a full queue nor an empty bucket drops them.
    let (lone, lone_lost) = lanes.iter().fold((0u64, 0u64), |a, l| (a.0 + u64::from(l.pace.lone), a.1 + u64::from(l.pace.lone_lost)));
    let seen_sent = lanes.iter().map(|l| u64::from(l.pace.lost_beyond)).sum::<u64>() * 2 > lost;
    let alone = lone_lost as f64 / lone.max(1) as f64;
    if seen_sent && lone >= 10 && alone < 0.4 * share {
        return None;
    }
    // What something limits to a rate goes far slower than so much loss would allow.
    let time = lanes.iter().map(|l| l.pace.last.since(l.pace.start).as_secs()).fold(0.0, f64::max).max(0.001);
    let rate = lanes.iter().map(|l| l.pace.total()).sum::<u64>() as f64 * 8.0 / time;
    let busiest = lanes.iter().map(|l| l.pace.total()).max()?;
    let bulk = busiest > 40_000;
    // A burst into a full queue loses much once; here every stretch of time must lose.
    if !lasting(&lanes) || !asks_for_nothing(&lanes, share) {
        return None;
    }
    let allowed = queue::loss_allows(&lanes, share).min(timers_allow(&lanes, share));
    let lonely = seen_sent && lone >= 10 && alone >= 0.6 * share;
    let upward = side == Side::Client && share >= 0.2;
    let limited = Plateau::of(&lanes).is_some_and(|p| p.windows >= 10 && p.steady >= 0.8 && p.high - p.low <= 0.15 * p.rate);
    let plateau = Plateau::of(&lanes);
    // A rate, not chance: for the other judge.
    if plateau.as_ref().is_some_and(|p| p.tokens.is_some()) {
        return None;
    }
    let one_rate = plateau.is_some_and(|p| p.windows >= 5);
    let most = lanes.iter().max_by_key(|l| l.pace.packets)?;
    let scattered = Tokens::of(std::slice::from_ref(most)).is_some_and(|t| t.scattered());
    if side == Side::Server && !scattered && (one_rate || !lonely) {
        return None;
    }
    if bulk && rate < 0.4 * allowed && (limited || !(lonely || upward)) {
        return None;
    }
    let queue = Queue::of(&lanes, rate);
    if queue.grown() && queue.samples >= 15 && !lonely && !scattered {
        return None;
    }
    // What overflows a queue is lost again and again as well. Either it was seen that nothing waits, or that drops ask for no reason.
    if !lonely && !scattered && !upward && (queue.grown() || !queue.seen(&Losses::of(&lanes))) {
        return None;
    }
    let (back_n, back_lost) = sum(group.iter().map(|(f, _)| *f), side.peer());
    let others = || around.iter().filter(|(f, _)| !group.iter().any(|(g, _)| g.id == f.id)).map(|(f, _)| *f);
    let (other_n, other_lost) = sum(others(), side);
    let other_share = other_lost as f64 / other_n.max(1) as f64;
    // A line that drops one packet in twenty of all else is bad or full by itself.
    if other_share > 0.4 * share || (other_share > LOSSY_LINE && other_n >= PACKETS) {
        return None;
    }
    let small = |v: u64| u32::try_from(v).unwrap_or(u32::MAX).min(20_000);
    let p = fisher(small(lost), small(n - lost.min(n)), small(other_lost), small(other_n - other_lost.min(other_n)));
    let mut w = Weigh::default();
    let frames: Vec<FrameNo> = group.iter().map(|(f, _)| f.first.frame).take(8).collect();
    w.fact(
        2.0,
        "packets in this direction were lost again and again",
        format!("{lost} of {n} ({:.0} %)", share * 100.0),
        "below 2 %, and never more than congestion control bears",
        &frames,
    );
    if lone >= 10 && seen_sent {
        w.fact(1.5, "also packets that were alone on the way were lost", format!("{lone_lost} of {lone}"), "none", &[]);
    }
    w.fact(0.5, "the other direction of the same connections", format!("{back_lost} of {back_n} lost"), "-", &[]);
    if other_n >= 8 {
        w.fact(1.0, "other traffic of this client in this direction", format!("{other_lost} of {other_n} lost, p = {p:.1e}"), "-", &[]);
        w.excluded("lossy line", "other traffic of this client came through meanwhile");
    } else {
        w.against(0.0, "lossy line", "no other traffic of this client went this way");
    }
    w.excluded("rate limit that drops", format!("so much loss alone explains the rate ({})", bps(rate)));
    w.excluded("congestion", "loss did not depend on how much was sent");
    let hit: Vec<&FlowRecord> = group.iter().map(|(f, _)| *f).filter(|f| trials(f, side).1 > 0).collect();
    let apart = origin::many_places(scene, &hit);
    let behind = origin::behind_the_tap(scene, side, &lanes, &Losses::of(&lanes), &queue);
    if behind {
        w.excluded("one bad path to this network", "packets are lost on the client's side of the capture point, which all traffic shares");
    } else if apart {
        w.excluded("one bad path to this network", "servers in different networks and places are hit alike");
    } else {
        w.against(
            0.0,
            "one bad path to this network",
            "all that was hit is one server, or may stand in one place; what loses packets there looks the same",
        );
    }
    let one_way = back_n >= 20 && (back_lost as f64 / back_n as f64) < share / 3.0;
    let grade = match () {
        () if other_n < 8 || scene.lossy() => Grade::Possible,
        () if p < 0.01 && one_way && share >= 0.1 && (apart || behind) => Grade::Likely,
        () => Grade::Possible,
    };
    let claim = Claim {
        rule: CARD.rule,
        kind: CARD.kind,
        mechanism: "random_drop",
        grade,
        direction: Some(Direction::from_side(side)),
        started: group.first()?.0.first.ts,
        ooni_failure: None,
    };
    let control = vec![
        Control::counted("same_client_other_servers", small(other_n), small(other_n.saturating_sub(other_lost))).on(others().map(|f| f.id)),
    ];
    let needs = vec!["a capture at the other end", "the same through another network", "more traffic to other servers in this direction"];
    let mut found = weigh::finding(scene, &claim, w, control, needs);
    found.flows = group.iter().filter(|(f, _)| f.pace[side].is_some() || trials(f, side).1 > 0).map(|(f, _)| f.id).collect();
    Some(found)
}
