//! A rate that something on the path imposes: a policer drops what exceeds it, a shaper lets it wait.
//!
//! ```text
//! rate of new bytes                policing              shaping
//!   |*                             round trips stay,     round trips grow,
//!   |**                            drops go with the     packets come evenly
//!   |  *************************   rate                  spaced
//!   +--------------------------- time
//! ```

use super::apiece;
use super::controls::{self, Controls};
use super::ends::Ends;
use super::general;
use super::lane::{self, Lane};
use super::plateau::{self, Plateau};
use super::queue::{self, Losses, Queue};
use super::series::Series;
use super::tell;
use super::tokens::{self, Tokens};
use crate::detect::Detector;
use crate::detect::weigh::Weigh;
use crate::model::finding::{Card, Finding, Grade, Kind};
use crate::model::gist::Signs;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::throttle::Limiter;
use crate::model::time::Time;

/// See the module.
pub(in crate::detect) struct ThrottlingRate;

pub(super) static CARD: Card = Card {
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
    needs: &[
        "10 s of steady demand, or 1 MB",
        "for more than possible: other traffic of the same client meanwhile",
        "and another name at the same address meanwhile, a capture point between server and limit, three servers in different places, or a server in \
its service's own network",
    ],
    innocent: &[
        "slow or shared line",
        "receiver's window",
        "sender with nothing to send",
        "rate limit of the server",
        "slow line at the server",
        "limit at the server's provider",
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
const ENOUGH: u64 = 30_000;
/// Without anything to compare with, a rate must be kept this many seconds: every fast transfer fills some line for a while.
const ALONE: f64 = 5.0;
/// The same where every drop says what the rate is.
const ALONE_TOKENS: f64 = 8.0;
/// Chance below which flows that part so are not alike.
const APART: f64 = 0.01;
/// Where others wait so long, in milliseconds, the line is loaded, and slowness is no wonder.
const LOADED: f64 = 100.0;
/// So much faster than later is a beginning in which nothing was known of the rate.
const EAGER: f64 = 1.45;
/// Drops that find the bucket empty with this chance are not random.
const EMPTY: f64 = 0.65;
/// So many drops after which a bucket would have been overdrawn are no error of measurement.
const OVERDRAWN: usize = 3;
/// No sender that loss holds back goes so many times faster than loss allows.
const LOSS_BOUND: f64 = 5.0;
/// A stream with a pace of its own may lose less than this at random and keep it, unless drops find the bucket empty with this chance.
const TOLD: f64 = 0.03;
const TOLD_EMPTY: f64 = 0.58;
/// Less loss than this says little of what holds a rate; and fewer moments with drops say nothing of a bucket.
const FEW: f64 = 0.02;
const MOMENTS: usize = 6;
/// Share of packets that only a line without room loses of all it carries.
const FULL_LINE: f64 = 0.1;
/// Standard deviations that chance hardly strays, and that nothing but what is meant does.
const SURELY: f64 = 2.3;
const BEYOND_DOUBT: f64 = 4.0;
/// Fewer drops that a receiver of datagrams told of may be chance, if it was heard this often.
const FEW_TOLD: u64 = 6;
const ANSWERS: u32 = 24;
/// From this share on drops at random are for the other judge.
const SCATTERED: f64 = 0.08;
/// The same of those that are neither very even nor told by their drops.
const SOME_SECONDS: f64 = 4.0;
/// Shorter plateaus say nothing.
pub(super) const SECONDS: f64 = 2.5;

impl Detector for ThrottlingRate {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::PACE
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        if flow.pace.client.is_none() && flow.pace.server.is_none() {
            return None;
        }
        Side::BOTH.into_iter().find_map(|side| judge_side(scene, side))
    }
}

/// Flows of one target laid together, measured, with every innocent limit that the flows themselves show ruled out.
pub(super) struct Measured<'a> {
    pub group: Vec<Lane<'a>>,
    /// All lanes of the same target or service, slowed or not.
    pub service: Vec<Lane<'a>>,
    pub side: Side,
    pub p: Plateau,
    pub queue: Queue,
    pub losses: Losses,
    /// Share of packets dropped during the plateau.
    pub share: f64,
    /// What so much loss alone would allow, bit/s.
    pub allowed: f64,
    /// Loss alone would explain the rate.
    pub by_loss: bool,
    /// Share of the time in which the client's line was less than half used.
    pub free: f64,
    pub controls: Controls,
    pub mechanism: &'static str,
    /// No one rate, only slow beyond all measure.
    pub extreme: bool,
    pub datagrams: bool,
    /// The windows of the plateau are within a few percent of each other.
    pub tight: bool,
    /// The rate of one flow, if each of several is held for itself; the plateau is that of their sum.
    pub each: Option<f64>,
    pub weigh: Weigh,
}

fn judge_side(scene: &Scene<'_>, side: Side) -> Option<Finding> {
    let own = Lane::of(scene.flow, scene.label, side)?;
    let all = lane::lanes(scene, side);
    let pick = |alike: fn(&Lane<'_>, &Lane<'_>) -> bool| all.iter().filter(|l| alike(&own, l)).copied().collect::<Vec<_>>();
    let group = pick(lane::same_target);
    // Several names of one service, over TCP and QUIC, may share one bucket: each alone shows only its changing share.
    let wider = pick(lane::same_service);
    let first = |lanes: &[Lane<'_>]| lanes.first().is_some_and(|l| l.flow.id == own.flow.id);
    let together = || if wider.len() > group.len() { measure(&all, &wider, side) } else { None };
    if first(&group)
        && let Some(alone) = measure(&all, &group, side)
    {
        let beaten = together().is_some_and(|t| t.beats(&alone))
            || (alone.controls.meanwhile == 0 && general::held_together(scene, &all, side).is_some());
        if !beaten && let Some(found) = judge(scene, alone) {
            return Some(found);
        }
    }
    if wider.len() <= group.len() || !first(&wider) {
        return None;
    }
    let together = together()?;
    let mut rest = wider.as_slice();
    let mut alone = false;
    while let Some(l) = rest.first() {
        let target: Vec<Lane<'_>> = wider.iter().filter(|m| lane::same_target(l, m)).copied().collect();
        alone |=
            target.first().is_some_and(|t| t.flow.id == l.flow.id) && measure(&all, &target, side).is_some_and(|m| !together.beats(&m));
        rest = rest.get(1..).unwrap_or_default();
    }
    if alone { None } else { judge(scene, together) }
}

/// Measures `lanes` together. `None`: no rate, or one that needs no box on the path to explain it.
pub(super) fn measure<'a>(all: &[Lane<'a>], lanes: &[Lane<'a>], side: Side) -> Option<Measured<'a>> {
    // What was cut off and sent in vain is for others to judge.
    let alive: Vec<Lane<'_>> = lanes.iter().filter(|l| !l.cut_off()).copied().collect();
    let lanes = alive.as_slice();
    let total: u64 = lanes.iter().map(|l| l.pace.total()).sum();
    let first = lanes.first()?;
    let datagrams = lanes.iter().all(|l| lane::bulk_datagrams(l.flow));
    if total < ENOUGH || first.pace.largest < 500 || lanes.iter().any(|l| l.flow.tcp.is_none() && !lane::bulk_datagrams(l.flow)) {
        return None;
    }
    // What did not last for long enough, a bin more at each end.
    let (start, last) = (lanes.iter().map(|l| l.pace.start).min()?, lanes.iter().map(|l| l.pace.last).max()?);
    let bin = lanes.iter().map(|l| l.pace.width.as_secs()).fold(0.0, f64::max);
    if last.since(start).as_secs() + 2.0 * bin < SECONDS {
        return None;
    }
    let fallen = Plateau::fallen(lanes);
    // What was steady before it all but ceased is not what it is held to.
    let held = |p: &Plateau| p.seconds() >= SECONDS && p.windows >= 3 && fallen.as_ref().is_none_or(|f| p.to > f.from);
    let found = Plateau::of(lanes).filter(held);
    // Of datagrams a ceiling tells more, unless drops found the bucket empty or a quick start went before.
    let shown = |p: &Plateau| p.tokens.is_some_and(|empty| empty >= TOLD_EMPTY) || eager(lanes, p.rate);
    let found = match found {
        found if !datagrams || found.as_ref().is_some_and(shown) => found,
        found => Plateau::under_ceiling(lanes).filter(|p| p.seconds() >= SECONDS).or(found),
    };
    // Each with a rate of its own: their sum changes as they come and go, and what one of them keeps is what all are held to.
    let own = if found.as_ref().is_some_and(Plateau::one_rate_despite_loss) { None } else { apiece::come_and_go(lanes) };
    let come_and_go = own.is_some();
    let found = own.filter(held).or(found);
    let extreme = found.is_none();
    let mut p = found.or(fallen).or_else(|| Plateau::whole(lanes)).filter(|p| p.seconds() >= SECONDS)?;
    if lanes.len() > 1 {
        // What was faster before may have been another flow.
        p.before = None;
    }
    // The flows it was seen on.
    let group: Vec<Lane<'_>> = lanes.iter().filter(|l| l.pace.last >= p.from && l.pace.start <= p.to).copied().collect();
    let queue = Queue::of(&group, p.rate);
    let losses = Losses::of(&group);
    let mut weigh = Weigh::default();
    let ends = Ends::of(&group);
    match ends.limit(&group, &p, &queue) {
        // Whoever has nothing to send does not empty a bucket again and again.
        Some(Limiter::Application) if p.tokens.is_some_and(|empty| empty >= EMPTY) => {}
        Some(_) => return None,
        None => {}
    }
    match () {
        () if !datagrams => ends.excluded(&mut weigh),
        () if losses.told > 0 => weigh.excluded("receiver's window", "what a receiver holds back is not sent, and not dropped on the way"),
        () => weigh.against(0.0, "receiver's window", "QUIC's flow control is encrypted"),
    }
    let share = p.loss(&group);
    // What was dropped while it fell does not hold it down afterwards.
    let allowed = queue::loss_allows(&group, if p.fell { p.loss_within(&group) } else { share });
    let mechanism = mechanism(&p, &queue, &losses, share, p.slowed(&group), datagrams)?;
    let service = all.iter().filter(|l| lane::same_target(first, l) || lane::same_service(first, l)).copied().collect();
    // What little was faster before is what a bucket held: the limit is as old as its first drop. And so it is where nothing was faster before.
    let mild =
        if p.fell { p.before.is_some_and(|b| b <= 2.0 * p.rate) } else { lanes.len() == 1 && p.before.is_none_or(|b| b <= EAGER * p.rate) };
    let since = if mild { group.iter().filter_map(Lane::first_drop).min().map_or(p.from, |t| t.min(p.from)) } else { p.from };
    let limited = Plateau { from: since, ..p.clone() };
    let controls = Controls::of(all, lanes, &group, &limited, &losses, &queue);
    Some(Measured {
        service,
        side,
        share,
        allowed,
        // What loss holds back comes in bursts, a window at a time.
        by_loss: !datagrams && !queue.grown() && !queue.spaced() && p.rate > 0.4 * allowed && p.rate < LOSS_BOUND * allowed,
        // Each keeps its rate however many share the line: then it is not full.
        free: if come_and_go { 1.0 } else { controls::line_free(all, &limited, controls.meanwhile > 0) },
        controls,
        mechanism,
        extreme,
        datagrams,
        tight: p.tight(),
        each: if come_and_go { Some(p.rate) } else { apiece::side_by_side(&group, &p) },
        group,
        p,
        queue,
        losses,
        weigh,
    })
}

impl Measured<'_> {
    /// Laid together the flows keep one rate better than this part of them does alone, and they went at the same time.
    fn beats(&self, part: &Self) -> bool {
        let spread = |m: &Self| (m.p.high - m.p.low) / m.p.rate;
        let beside = |l: &Lane<'_>| {
            let long = l.pace.last.min(part.p.to).since(l.pace.start.max(part.p.from)).as_secs();
            long >= 1.0 && !part.group.iter().any(|g| g.flow.id == l.flow.id)
        };
        !self.extreme
            && (part.extreme || (self.p.rate > 1.1 * part.p.rate && spread(self) < 0.9 * spread(part)))
            && self.group.iter().any(beside)
    }

    /// Enough of it was seen, and nothing else that was seen explains it.
    fn holds(&self) -> bool {
        let (p, controls) = (&self.p, &self.controls);
        // The line was free for most of the time, or for long enough to see that nothing changes when it is.
        let free = self.free >= 0.6 || (controls.meanwhile > 0 && self.free >= 0.3 && self.free * p.seconds() >= 4.0);
        if !controls.others.is_empty() && (controls.fast == 0 || !free) {
            return false;
        }
        // A line that drops one packet in ten of everything else is full: then this target must be hit apart, and harder, or its rate be exact.
        let apart = (self.alone_hit() && self.share > controls.dropped) || self.empties() || p.one_rate_despite_loss();
        if controls.dropped >= FULL_LINE && !apart {
            return false;
        }
        // Drops at any moment, as often as others have them: a sender that keeps a rate of its own, on a path that loses some.
        if self.at_random() {
            return false;
        }
        // Loss alone would explain the rate: then it must be this target's alone, or the rate be very even.
        let alone = (controls.meanwhile >= 1 || self.spared(0.25))
            && (self.share >= 0.04 || (self.losses.share() >= SCATTERED && self.spared(0.1)))
            && self.spared(0.5)
            && (p.episodes >= 4 || (p.fell && p.drops + p.drops_before >= 10.0))
            && p.windows >= if self.group.len() >= 3 { 4 } else { 5 };
        // Loss at random does not wait until too much has come; what others lose does not matter where that is beyond doubt, for a line that is full
        // drops somewhat oftener what comes in bursts.
        let found = if self.spared(0.25) { SURELY } else { BEYOND_DOUBT };
        let bucket = controls.meanwhile >= 1 && self.share >= FEW && self.found_empty(found);
        if self.by_loss && !alone && !bucket && (!p.one_rate_despite_loss() || (self.share < FEW && p.tokens.is_none())) {
            return false;
        }
        // No one rate: only what is ten times slower than all else, and loses all the time.
        let slowest = !self.datagrams
            && !self.by_loss
            && controls.fast >= 2
            && controls.best >= 10.0 * p.rate
            && controls.queued < LOADED
            && self.free >= 0.8
            && self.share >= 0.08
            && (p.before.is_some() || self.group.iter().all(|l| controls::reach(l, None) < controls.best / 3.0))
            && p.seconds() >= 5.0
            && if p.before.is_some() { p.episodes >= 3 && self.share >= 0.15 && controls.meanwhile >= 2 } else { p.episodes >= 6 };
        if self.extreme && !slowest {
            return false;
        }
        // Where nothing shows that it was faster before, a short stretch, or a queue that loses nothing, may be chance.
        let slowed = p.before.is_some_and(|b| b > 1.5 * p.rate) && (p.drops >= 2.0 || p.slowed(&self.group));
        let enough = match p.episodes {
            0 if p.drops_before >= 10.0 && self.losses.share() >= 0.04 => 5,
            1..=2 if self.share >= 0.05 && controls.meanwhile >= 2 && p.steady >= 0.85 => 5,
            0..=2 => 8,
            _ if self.group.len() >= 3 || (p.episodes >= 16 && self.share >= 0.1) => 4,
            _ => 5,
        };
        // A line that others fill for a few seconds is slow as well.
        let short = p.seconds() < SOME_SECONDS && !self.datagrams;
        if !self.extreme && !self.tight && p.tokens.is_none() && (short || (!slowed && p.windows < enough)) {
            return false;
        }
        if self.datagrams && self.mechanism == "policing" && !self.policed() {
            return false;
        }
        // And where nothing was faster at the same time, a line that loses hits all alike.
        let unsure = self.error_share() > if self.datagrams && self.fell_far() { 0.08 } else { 0.05 }
            || (controls.meanwhile == 0 && !self.datagrams);
        let waits = self.queue.usual - self.queue.base;
        let alike = if waits > 100.0 { 0.5 } else { 0.7 };
        // A line that is hardly used lets nothing wait.
        let unused = controls.meanwhile > 0 && self.free >= 0.6;
        let alone = if self.queue.grown() { unused || controls.queued <= alike * waits } else { self.alone_hit() };
        if controls.fast > 0 && !alone && !p.one_rate_despite_loss() && unsure {
            return false;
        }
        // A queue that never runs empty lets out the same all the time; where it does not, others share it.
        let uneven = p.high - p.low > 0.15 * p.rate && controls.fast < 2;
        if self.mechanism == "shaping" && !self.datagrams && !self.extreme && uneven {
            return false;
        }
        // Drops that hold a rate come as long as it is held.
        let seldom = p.episodes * 4 < p.windows && self.share < 0.05 && (p.drops_before < 10.0 || self.losses.share() < 0.04);
        if self.mechanism == "policing" && !self.datagrams && !self.extreme && p.tokens.is_none() && seldom {
            return false;
        }
        // Loss on the way up without a comparison is the other judge's.
        if self.side == Side::Client && self.share >= 0.15 && controls.fast == 0 {
            return false;
        }
        // A deep queue in which others wait as well is the line's, not this target's.
        !(self.queue.grown() && !unused && waits > 30.0 && controls.queued > alike * waits)
    }

    /// Packets are dropped, but not when more comes than the rate lets through.
    fn at_random(&self) -> bool {
        if self.mechanism != "policing" || self.datagrams || self.extreme {
            return false;
        }
        if self.each.is_none() && self.overdrawn() {
            return true;
        }
        if self.p.before.is_some_and(|b| b > 1.5 * self.p.rate) {
            return false;
        }
        let Some(t) = Tokens::of(&self.group) else {
            // Too few drops for a line through them: then at least they must not ask for no reason.
            let few = self.p.episodes >= 4 && self.share < 0.05 && self.group.len() == 1;
            return few && self.during().and_then(|s| tokens::emptiness(&s, self.p.rate)).is_some_and(|empty| empty < 0.5);
        };
        // Few drops stand where they will; many leave no packet unharmed that comes too soon.
        (self.share < 0.05 && t.empty < 0.5 && !self.singled_out()) || (self.by_loss && self.share >= SCATTERED && t.scattered())
    }

    /// Others were faster at the same time and lost next to nothing, where this target lost much.
    fn singled_out(&self) -> bool {
        let c = &self.controls;
        c.meanwhile >= 2 && self.share >= TOLD && c.dropped * 10.0 < self.share
    }

    /// After most drops more passed than an empty bucket could have let through.
    fn overdrawn(&self) -> bool {
        let size = self.group.iter().map(|l| f64::from(l.pace.largest)).fold(1.0, f64::max);
        let Some(s) = self.during() else { return false };
        let (over, all) = tokens::overdrawn(&s, size, self.p.rate);
        over >= OVERDRAWN && over * 3 >= all
    }

    /// What passed while the plateau lasted.
    fn during(&self) -> Option<Series> {
        let s = Series::passed(&self.group)?;
        let at = |t: Time| ((t.since(s.start).as_secs() / s.width).round().max(0.0) as usize).min(s.bytes.len());
        let (from, to) = (at(self.p.from), at(self.p.to));
        (from < to).then(|| s.between(from, to))
    }

    /// Drops hold these datagrams to the rate. A stream that rests now and then loses as others do: where its receiver could be heard, it must tell
    /// of drops that hit nobody else, or that found the bucket empty.
    fn policed(&self) -> bool {
        let shown = self.p.ceiling || self.eager() || self.told();
        let hit = self.losses.told >= FEW_TOLD && (self.alone_hit() || self.empties());
        shown && (hit || !self.answered())
    }

    /// A line through the drops that the receiver told of is a bucket's.
    fn told(&self) -> bool {
        self.p.tokens.is_some_and(|empty| empty >= TOLD_EMPTY || self.share >= TOLD)
    }

    /// Drops found the bucket empty too often for chance: then it does not matter what others lose.
    fn empties(&self) -> bool {
        self.p.tokens.is_some_and(|empty| strays(empty, self.p.episodes) >= SURELY)
    }

    /// The same of a bucket of the plateau's rate, where no line was laid through the drops; by so many standard deviations.
    fn found_empty(&self, deviations: f64) -> bool {
        let Some(s) = self.during() else { return false };
        let moments = s.drops.iter().filter(|d| **d > 0.0).count();
        moments >= MOMENTS && tokens::emptiness(&s, self.p.rate).is_some_and(|empty| strays(empty, moments) >= deviations)
    }

    /// Drops find a bucket of this rate empty.
    pub fn bucket(&self) -> bool {
        self.empties() || self.found_empty(SURELY)
    }

    /// A policer of this traffic alone, on the way from a network that nobody holds to a tariff: the service's own.
    pub fn sold_to_nobody(&self) -> bool {
        let own = |l: &Lane<'_>| lane::known(l.label).is_some_and(|label| label.own_network);
        !self.datagrams && self.mechanism == "policing" && self.bucket() && self.group.iter().all(own)
    }

    /// The receiver was heard, so that it could tell what it missed.
    fn answered(&self) -> bool {
        self.group.iter().all(|l| l.flow.packets(l.side.peer()) >= ANSWERS)
    }

    /// Datagrams that went clearly faster at first: what a bucket held, or a sender that had to learn the rate. Whoever plays a stream does not.
    fn eager(&self) -> bool {
        self.datagrams && (eager(&self.group, self.p.rate) || self.fell_far())
    }

    /// It was several times faster for a while, and what came afterwards is not a stream's pieces.
    fn fell_far(&self) -> bool {
        self.p.fell && self.p.before.is_some_and(|b| b > 3.0 * self.p.rate) && !self.p.streams(&self.group)
    }

    /// Half the interval of the rate, as a share of it.
    fn error_share(&self) -> f64 {
        self.p.error() / self.p.rate
    }

    /// Drops hit the flows compared with less than this share of how they hit this target, by moments or by packets.
    fn spared(&self, share: f64) -> bool {
        let (p, c) = (&self.p, &self.controls);
        let packets = (p.drops + p.bytes / self.group.first().map_or(1.0, |l| f64::from(l.pace.largest))).max(1.0);
        c.hit < share * p.episodes as f64 / packets || c.dropped < share * self.share
    }

    /// What hits this target does not hit the flows it is compared with: neither its drops nor its queue.
    pub fn alone_hit(&self) -> bool {
        let (p, c) = (&self.p, &self.controls);
        let waits = self.queue.usual - self.queue.base;
        let fell = p.fell && self.losses.share() >= 0.1;
        let few = p.episodes >= 3 && self.singled_out();
        let by_drops = (p.episodes >= 4 || few || (p.episodes > 0 && (self.share >= 0.05 || fell))) && self.spared(0.5);
        let by_queue = self.queue.grown() && c.queued < 0.5 * waits;
        if self.queue.grown() { by_queue && (p.episodes < 4 || by_drops) } else { by_drops }
    }

    /// Many short flows, each slower than all they are compared with.
    fn apart(&self) -> bool {
        let (n, m) = (self.controls.own.len(), self.controls.others.len());
        n >= 5 && m >= 5 && self.p.episodes >= 16 && self.controls.chance().is_some_and(|p| p < APART)
    }

    fn strong(&self) -> bool {
        let windows = if self.p.at_drops { 8 } else { 5 };
        (self.p.windows >= windows && self.p.steady >= plateau::STEADY) || self.p.ceiling || self.p.one_rate_despite_loss()
    }

    /// What the measurement carries; innocent causes that stand lower it afterwards. Confirmed takes p < 0.001, as elsewhere.
    fn grade(&self, lossy: bool) -> Option<Grade> {
        let total: u64 = self.group.iter().map(|l| l.pace.total()).sum();
        let controls = &self.controls;
        if self.datagrams {
            let windows = if self.p.tokens.is_some() { 5 } else { 8 };
            let enough = controls.fast >= 2 && self.strong() && total >= 200_000 && self.p.windows >= windows;
            return enough.then_some(Grade::Possible);
        }
        if controls.fast == 0 {
            let (exact, seconds) = (self.p.tokens.is_some() && self.mechanism == "policing", self.p.seconds());
            // So does a rate that hardly changes, where many drops and no wait were seen.
            let exact = exact || (self.mechanism == "policing" && self.tight && self.share >= 0.02 && self.queue.seen(&self.losses));
            let long = (seconds >= ALONE && total >= 500_000) || (exact && seconds >= ALONE_TOKENS && total >= 150_000);
            // Others were there but asked for too little to be compared by rate: then at least they lose nothing.
            let apart = controls.present == 0 || (exact && self.alone_hit() && self.share >= 0.03);
            return (self.strong() && long && apart).then_some(Grade::Possible);
        }
        // What only the sender's numbering tells of drops needs a rate that is the more even.
        let told = self.losses.hidden * 2 <= self.losses.before + self.losses.beyond || self.p.one_rate_despite_loss();
        // One direction alone shows neither windows nor acknowledgements.
        let both = self.group.iter().all(|l| l.flow.totals.client.packets > 0 && l.flow.totals.server.packets > 0);
        let proven = both
            && told
            && (self.strong() || self.apart())
            && controls.meanwhile >= 1
            && !self.extreme
            && !lossy
            && self.error_share() <= 0.07
            && self.alone_hit();
        Some(match controls.chance() {
            _ if !proven => Grade::Possible,
            Some(p) if p < tell::SIGNIFICANT => Grade::Confirmed,
            _ => Grade::Likely,
        })
    }
}

/// By how many standard deviations drops at so many moments found fewer tokens than packets that passed: of the mean of so many numbers between 0
/// and 1, which is one half by chance.
fn strays(empty: f64, moments: usize) -> f64 {
    (empty - 0.5) * (12.0 * moments as f64).sqrt()
}

/// All went clearly faster in their first second than their part of `rate`.
fn eager(lanes: &[Lane<'_>], rate: f64) -> bool {
    lanes.iter().all(|l| opening(l) >= EAGER * rate / lanes.len() as f64)
}

/// The rate of a lane in its first second.
fn opening(l: &Lane<'_>) -> f64 {
    let p = l.pace;
    let bins = ((1.0 / p.width.as_secs()) as usize).max(1);
    let bytes: u64 = p.before + p.passed.iter().take(bins).map(|b| u64::from(*b)).sum::<u64>();
    bytes as f64 * 8.0 / (p.start.since(p.began).as_secs() + bins as f64 * p.width.as_secs())
}

/// Whether the capture lost packets that might pass for drops. That it began in the middle of a flow is no loss.
pub(super) fn lossy(scene: &Scene<'_>, group: &[Lane<'_>]) -> bool {
    let q = scene.source;
    let here = |l: &Lane<'_>| l.flow.tcp.as_deref().map(|t| &t.side[l.side]).is_some_and(|s| s.capture_lost.saturating_mul(100) > s.unique);
    q.quality.capture_loss > 0.005 || q.drops.unwrap_or(0) > 0 || group.iter().any(here)
}

fn judge(scene: &Scene<'_>, m: Measured<'_>) -> Option<Finding> {
    if !m.holds() {
        return None;
    }
    // What a capture with losses of its own shows of a few drops may be those.
    let lost = scene.source.quality.capture_loss;
    if lost > 0.005 && m.share < f64::max(0.05, 2.0 * lost) && m.losses.before > m.losses.beyond {
        return None;
    }
    let grade = m.grade(lossy(scene, &m.group))?;
    Some(tell::finding(scene, m, grade))
}

/// Policing drops and lets nothing wait; shaping lets packets wait and spaces them evenly. Neither: the ends set the rate.
pub(super) fn mechanism(p: &Plateau, queue: &Queue, losses: &Losses, share: f64, slowed: bool, datagrams: bool) -> Option<&'static str> {
    let even = queue.paced > 0.9 && queue.bursts < 0.025;
    if datagrams {
        // What a policer lets through comes in the sender's own bursts.
        let smooth = queue.paced >= 0.5 && queue.bursts <= 0.35;
        return Some(if even || smooth { "shaping" } else { "policing" });
    }
    // With one packet in flight a receiver sees no hole, only the pause; then what was dropped before must do.
    let hidden = p.windows >= 6 && p.high - p.low <= 0.1 * p.rate && losses.before > losses.beyond && losses.share() >= 0.05;
    let dropping = ((p.episodes >= 4 || slowed) && share >= 0.004) || hidden;
    // A sender that drops made careful (BBR takes a policer's rate for its own) may then lose nothing for a long time.
    let warned = !queue.grown() && p.drops_before >= 10.0 && losses.share() >= 0.04 && p.windows >= 5 && p.steady >= 0.8;
    // Behind the limit the spacing tells: what a shaper lets go never comes in bursts.
    let behind = losses.before > losses.beyond;
    match () {
        // Several lost at once, once, and no change of the rate: a buffer ran over. Chance takes one at a time, and who paces fills none.
        () if queue.spaced() && (behind || p.tight()) => {
            let over = p.tight() && p.drops + p.drops_before >= 3.0 * (p.episodes + usize::from(p.drops_before > 0.0)).max(1) as f64;
            (dropping || queue.grown() || over).then_some("shaping")
        }
        () if queue.grown() && behind && queue.paced < if queue.doubtful() { 0.92 } else { 0.78 } => dropping.then_some("policing"),
        () if queue.grown() => Some("shaping"),
        () if dropping || warned => Some("policing"),
        () => None,
    }
}
