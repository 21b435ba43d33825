//! What is told about slowness: what limited a busy flow, and what a throttle was measured to be.

use super::flow::FlowId;
use super::time::Time;

/// What set the rate of one direction of a busy flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Limiter {
    /// The sender had nothing to send, or the flow was over before anything else could limit it.
    Application,
    /// The receiver's announced window.
    ReceiveWindow,
    /// Congestion control without loss or queue: the sender's own window, still growing or held.
    Sender,
    /// The sender spaces its packets evenly, without loss and without a queue.
    Pacing,
    /// As much loss as explains the rate.
    Loss,
    /// A queue fills and overflows somewhere, at no one rate.
    Bottleneck,
    /// Packets above one rate are dropped; none wait.
    Policer,
    /// Packets above one rate wait and come out evenly.
    Shaper,
    /// Packets are dropped whatever the rate, also those alone on the way.
    RandomDrop,
}

impl Limiter {
    /// Name in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::ReceiveWindow => "receive_window",
            Self::Sender => "sender",
            Self::Pacing => "pacing",
            Self::Loss => "loss",
            Self::Bottleneck => "bottleneck",
            Self::Policer => "policer",
            Self::Shaper => "shaper",
            Self::RandomDrop => "random_drop",
        }
    }

    /// All of them, in the order of [`Limiter`].
    pub const ALL: [Self; 9] = [
        Self::Application,
        Self::ReceiveWindow,
        Self::Sender,
        Self::Pacing,
        Self::Loss,
        Self::Bottleneck,
        Self::Policer,
        Self::Shaper,
        Self::RandomDrop,
    ];
}

/// The limit of one direction of a flow, seen by itself. It accuses nobody: a policer may be the subscriber's plan.
#[derive(Clone, PartialEq, Debug)]
pub struct Limit {
    /// What fits best.
    pub by: Limiter,
    /// What this capture cannot tell from it.
    pub or: Vec<Limiter>,
    /// On what that rests, in words.
    pub why: String,
}

/// Whether slowness was this service's alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Other traffic of the same client at the same time was not slowed.
    Targeted,
    /// Other traffic was slowed alike.
    General,
    /// Nothing to compare with.
    Unknown,
}

impl Scope {
    /// Name in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Targeted => "targeted",
            Self::General => "general",
            Self::Unknown => "unknown",
        }
    }
}

/// Most flows whose rates are listed on either side of a comparison.
pub const RATES_MAX: usize = 64;

/// A throttle as measured: enough to draw it.
#[derive(Clone, PartialEq, Debug)]
pub struct Throttle {
    /// Targeted or general.
    pub scope: Scope,
    /// IP-level rate in bit/s.
    pub rate: u64,
    /// Interval of the rate: 95 % from the spread of its stretches of time.
    pub low: u64,
    /// See `low`.
    pub high: u64,
    /// Bytes let through above the rate before it took hold, if that was seen. A line of slope `rate` that starts at this height bounds what passed.
    pub burst: Option<u64>,
    /// Share of packets dropped while it lasted, 0–1.
    pub loss: f64,
    /// Undisturbed round trip in milliseconds over the part of the path that shows queues best.
    pub rtt_base_ms: Option<f64>,
    /// Usual round trip of the same part while throttled.
    pub rtt_usual_ms: Option<f64>,
    /// When it took hold.
    pub from: Time,
    /// When it was last seen.
    pub to: Time,
    /// Rate in bit/s before it took hold, if the flow was older.
    pub before: Option<u64>,
    /// Flows held, each with the rate it kept, in bit/s (at most [`RATES_MAX`]).
    pub held: Vec<(FlowId, u64)>,
    /// Flows compared with, each with the rate it reached (at most [`RATES_MAX`]).
    pub controls: Vec<(FlowId, u64)>,
    /// Chance of this order if all flows were drawn alike: exact one-sided Mann-Whitney test, one value a flow.
    pub p: Option<f64>,
}
