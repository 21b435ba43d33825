//! Two captures of the same connections laid side by side: what left one capture point and what reached the other.

use super::finding::Finding;
use super::flow::FlowId;
use super::frame::FrameNo;
use super::side::PerSide;
use super::source::CannotClaim;
use super::time::{Span, Time};
use ipnet::IpNet;
use std::net::IpAddr;

/// One of the two capture points.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Tap {
    /// The first capture, source `s0`.
    A,
    /// The second capture, source `s1`.
    B,
}

impl Tap {
    /// Both, A first.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
    /// 0 or 1: also the index of its source.
    pub const fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
    /// Name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }
}

/// One value for each capture point.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PerTap<T> {
    /// Of A.
    pub a: T,
    /// Of B.
    pub b: T,
}

impl<T> std::ops::Index<Tap> for PerTap<T> {
    type Output = T;
    fn index(&self, tap: Tap) -> &T {
        match tap {
            Tap::A => &self.a,
            Tap::B => &self.b,
        }
    }
}

impl<T> std::ops::IndexMut<Tap> for PerTap<T> {
    fn index_mut(&mut self, tap: Tap) -> &mut T {
        match tap {
            Tap::A => &mut self.a,
            Tap::B => &mut self.b,
        }
    }
}

/// What the user says each capture stands in front of: it recorded every packet of these addresses, so that nothing of theirs stands between the points.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Fronts(pub PerTap<Vec<IpNet>>);

impl Fronts {
    /// What covers an address at a point, as the user wrote it.
    pub fn of(&self, tap: Tap, ip: IpAddr) -> Option<IpNet> {
        self.0[tap].iter().find(|n| n.contains(&ip)).copied()
    }
    /// The option that says so.
    pub const fn option(tap: Tap) -> &'static str {
        match tap {
            Tap::A => "--a-has",
            Tap::B => "--b-has",
        }
    }
}

/// How two flows were recognised as one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Matched {
    /// Same addresses and ports.
    Tuple,
    /// Addresses or ports differ; sequence numbers or payload are the same.
    Content,
}

impl Matched {
    /// Name in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tuple => "tuple",
            Self::Content => "content",
        }
    }
}

/// What became of one direction of a flow between the two points.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Way {
    /// Packets that passed the point nearer their sender while both points recorded.
    pub sent: u64,
    /// Of these, seen at the other point.
    pub arrived: u64,
    /// Of these, not seen there and not acknowledged either.
    pub lost: u64,
    /// Seen at the far point although the near one has no such packet.
    pub unsent: u64,
    /// Packets that one of the captures must have missed itself.
    pub missed: u64,
    /// Added delay, when the clocks can be aligned.
    pub delay: Option<Delay>,
}

/// One-way delay between the points. Its absolute value is known only to ± the clock's uncertainty; differences are exact.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Delay {
    /// Smallest.
    pub min: Span,
    /// Median.
    pub median: Span,
    /// 95th percentile.
    pub p95: Span,
}

/// How the clocks of the two captures stand to each other.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Clock {
    /// What to add to A's times to get B's, if that can be told.
    pub offset: Option<Span>,
    /// Half the round trip between the points: no packet can resolve the offset better.
    pub uncertainty: Span,
    /// How much faster B's clock runs, in parts per million; 0 if too little was seen to measure it.
    pub drift_ppm: f64,
    /// When A's and B's clocks stood `offset` apart (A's time).
    pub at: Time,
    /// Packets it was measured on, from A to B and from B to A.
    pub samples: [u64; 2],
    /// Why it cannot be told.
    pub why_not: Option<&'static str>,
}

/// A flow seen at both points, or at one of them where the other should have seen it too.
#[derive(Clone, PartialEq, Debug)]
pub struct PairFlow {
    /// Its name in A and in B.
    pub ids: PerTap<Option<FlowId>>,
    /// How the two were recognised as one; `None` if one side has nothing.
    pub matched: Option<Matched>,
    /// The point nearer the client.
    pub near: Option<Tap>,
    /// Both directions.
    pub way: PerSide<Way>,
    /// Header fields that changed on the way, with an innocent use each: `address`, `port`, `mss_clamped`, `sequence_shifted`, …
    pub changes: Vec<&'static str>,
    /// The connection ends between the points and another goes on: a proxy. Nothing is claimed of such a flow.
    pub terminated: bool,
}

/// A finding that rests on both captures. Its `frames` and its evidence's frames are those of A.
#[derive(Clone, PartialEq, Debug)]
pub struct PairFinding {
    /// The finding; flows of both sources.
    pub finding: Finding,
    /// Evidence frames of B, ascending.
    pub frames_b: Vec<FrameNo>,
    /// Evidence frames of B, parallel to the finding's evidence.
    pub evidence_b: Vec<Vec<FrameNo>>,
    /// What each end alone made of the same flows.
    pub ends: Vec<EndSaid>,
    /// Where nothing but absence proves it: the chance that a capture merely missed the packets.
    pub chance: Option<f64>,
}

/// What one end alone said about a matter that the pair settles.
#[derive(Clone, PartialEq, Debug)]
pub struct EndSaid {
    /// Which capture.
    pub tap: Tap,
    /// Its finding about the flow, if it had one.
    pub finding: Option<Box<str>>,
    /// Right, missed, wrong.
    pub verdict: EndVerdict,
    /// In words.
    pub says: String,
}

/// How an end alone did.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum EndVerdict {
    /// It found the same kind of interference.
    Agrees,
    /// It found interference, but of another kind.
    OtherKind,
    /// It saw the flow and found nothing.
    Missed,
    /// It has nothing of the flow.
    Unseen,
    /// It claims what did not happen between the two points.
    NotBetween,
}

impl EndVerdict {
    /// Every verdict.
    pub const ALL: [Self; 5] = [Self::Agrees, Self::OtherKind, Self::Missed, Self::Unseen, Self::NotBetween];
    /// Name in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::OtherKind => "other_kind",
            Self::Missed => "missed",
            Self::Unseen => "unseen",
            Self::NotBetween => "not_between",
        }
    }
}

/// One stretch of time in one direction between the points.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// Its beginning (time of the point the packets left).
    pub from: Time,
    /// Packets that left.
    pub sent: u64,
    /// Of these, lost.
    pub lost: u64,
    /// Median delay of those that arrived.
    pub delay: Option<Span>,
}

/// All packets in one direction between the points.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Path {
    /// Sums over all flows.
    pub way: Way,
    /// Over time, at most [`STRETCHES`] equal stretches.
    pub over_time: Vec<Stretch>,
}

/// Most stretches of time a path is told in.
pub const STRETCHES: usize = 24;

/// What two captures show together.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Pairing {
    /// The clocks.
    pub clock: Clock,
    /// Flows, in A's order, then those only B has.
    pub flows: Vec<PairFlow>,
    /// From A to B, and from B to A.
    pub paths: PerTap<Path>,
    /// Findings.
    pub findings: Vec<PairFinding>,
    /// Findings of one end alone that the pair does not bear out.
    pub not_between: Vec<EndSaid>,
    /// What the user said each capture stands in front of.
    pub fronts: Fronts,
    /// What the pair cannot show, and why.
    pub cannot_claim: Vec<CannotClaim>,
    /// Which bounds on memory were reached.
    pub bounds_hit: Vec<String>,
}
