//! What a live capture says of itself while it runs: counters, losses, and what changed since it last spoke.

use super::finding::Finding;
use super::frame::LinkType;
use super::story::{ServiceState, Story};
use super::time::{Span, Time};

/// Packets that were not analysed, by where they were lost. Four numbers that are never added up before they are shown.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Losses {
    /// The kernel had no room for them.
    pub kernel: u64,
    /// The interface or its driver dropped them.
    pub interface: u64,
    /// Our own queue was full.
    pub queue: u64,
    /// Counted, but not analysed in full: work was shed under overload.
    pub policy: u64,
}

impl Losses {
    /// All of them.
    pub const fn sum(&self) -> u64 {
        self.kernel.saturating_add(self.interface).saturating_add(self.queue).saturating_add(self.policy)
    }

    /// The names of the four numbers with their values, in the order in which they are shown.
    pub const fn named(&self) -> [(&'static str, u64); 4] {
        [("kernel", self.kernel), ("interface", self.interface), ("queue", self.queue), ("policy", self.policy)]
    }
}

/// Whether an interface can be heard.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Link {
    /// It is up.
    #[default]
    Up,
    /// It is down; packets will come again when it is up.
    Down,
    /// It has vanished.
    Gone,
}

impl Link {
    /// Name in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Gone => "gone",
        }
    }
}

/// One interface.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct InterfaceStats {
    /// Its name.
    pub name: String,
    /// Whether it can be heard.
    pub link: Link,
    /// Link type of its frames.
    pub link_type: LinkType,
    /// Frames captured.
    pub packets: u64,
    /// Captured bytes.
    pub bytes: u64,
    /// Lost before they were captured; `policy` is zero here.
    pub losses: Losses,
}

/// How much work is being shed, in the order in which it is (see `engine::shed`).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Shed {
    /// None.
    #[default]
    Nothing,
    /// Payload of long flows is not read.
    LongPayload,
    /// Payload is read only at the very beginning of a flow; no interim judgements, no evidence kept.
    Payload,
    /// Packets of long flows are counted, not followed.
    Following,
}

impl Shed {
    /// Name in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::LongPayload => "long_payload",
            Self::Payload => "payload",
            Self::Following => "following",
        }
    }
    /// From the number in which it is shared between threads.
    pub const fn from_level(level: u8) -> Self {
        match level {
            0 => Self::Nothing,
            1 => Self::LongPayload,
            2 => Self::Payload,
            _ => Self::Following,
        }
    }
}

/// The state of a live capture.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Stats {
    /// 1, 2, 3, …
    pub seq: u64,
    /// Time of the latest packet.
    pub at: Option<Time>,
    /// How long the capture has been running.
    pub uptime: Span,
    /// Time since the previous stats.
    pub since: Span,
    /// Frames captured.
    pub packets: u64,
    /// Captured bytes.
    pub bytes: u64,
    /// Frames since the previous stats.
    pub new_packets: u64,
    /// Captured bytes since the previous stats.
    pub new_bytes: u64,
    /// Frames that became packets.
    pub decoded: u64,
    /// Flows being followed.
    pub flows_active: u64,
    /// Flows that ended.
    pub flows_closed: u64,
    /// Flows closed early because a bound on memory was reached.
    pub flows_evicted: u64,
    /// Flow records that went unwritten: nothing but an unanswered first packet, under overload.
    pub flows_unwritten: u64,
    /// How far analysis is behind capture: how long the latest packets waited to be dealt, and then for their flows to be brought up to date.
    pub lag: Span,
    /// What was lost.
    pub losses: Losses,
    /// Work being shed now.
    pub shed: Shed,
    /// The interfaces.
    pub interfaces: Vec<InterfaceStats>,
    /// Findings told and still standing.
    pub findings: u64,
    /// Services and roles of the window, with totals of the run.
    pub services: Vec<ServiceState>,
    /// Findings told before that later packets took back.
    pub withdrawn: Vec<Box<str>>,
    /// What the operator should know, in words.
    pub notices: Vec<String>,
    /// Rules in force.
    pub rules_sha256: Option<String>,
}

/// A finding that was not told yet, or not like this.
#[derive(Clone, PartialEq, Debug)]
pub struct News {
    /// The finding.
    pub finding: Finding,
    /// The finding it takes the place of.
    pub supersedes: Option<Box<str>>,
}

/// What changed since the previous pulse.
pub struct Pulse<'a> {
    /// Counters.
    pub stats: &'a Stats,
    /// The window: flows that may still matter, open ones among them, with labels, findings and services.
    pub story: &'a Story,
    /// Findings to tell.
    pub news: &'a [News],
    /// The capture is over: this is the last pulse, and the story is complete as far as memory allowed.
    pub last: bool,
}
