//! The ordered story of one source, as the collector tells it and the sinks render it.

use super::finding::Finding;
use super::flow::FlowRecord;
use super::label::{Label, Role};
use super::source::SourceFacts;

/// State of a service and role in one capture (contract §3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum State {
    /// Attempts succeeded and nothing speaks against it.
    Ok,
    /// It works, with interference or heavy failures.
    Impaired,
    /// Failures with findings that are likely.
    LikelyBlocked,
    /// Failures with a confirmed finding.
    Blocked,
    /// Failures without any sign of interference.
    Down,
    /// Too little was seen to say.
    #[default]
    Insufficient,
}

impl State {
    /// Name in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Impaired => "impaired",
            Self::LikelyBlocked => "likely_blocked",
            Self::Blocked => "blocked",
            Self::Down => "down",
            Self::Insufficient => "insufficient",
        }
    }
}

/// One row of the verdict.
#[derive(Clone, PartialEq, Debug)]
pub struct ServiceState {
    /// Service id.
    pub id: Box<str>,
    /// Title for people.
    pub title: Box<str>,
    /// Role, if known.
    pub role: Option<Role>,
    /// Verdict.
    pub state: State,
    /// Flows that tried (outcomes that can be judged).
    pub attempts: u64,
    /// Of these, well ended.
    pub ok: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Flows named so, judged or not.
    pub flows: u64,
    /// Ids of findings about it.
    pub findings: Vec<Box<str>>,
    /// Why this state, one sentence.
    pub because: String,
    /// What would change it, one sentence.
    pub unless: String,
    /// A way around blocking: shown to people only on request.
    pub circumvention: bool,
}

/// What became of the connections of one app or process, where the capture names them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AppState {
    /// App, package or process, as the capture names it.
    pub name: Box<str>,
    /// State of its connections, whatever service they went to.
    pub state: State,
    /// Why this state, one sentence.
    pub because: String,
    /// What would change it, one sentence.
    pub unless: String,
    /// Flows that tried (outcomes that can be judged).
    pub attempts: u64,
    /// Of these, well ended.
    pub ok: u64,
    /// Of these, failed.
    pub failed: u64,
    /// All its flows.
    pub flows: u64,
    /// Services it spoke to, sorted.
    pub services: Vec<Box<str>>,
    /// Ids of findings on its flows, sorted.
    pub findings: Vec<Box<str>>,
}

/// Everything about one source, in capture order.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// The capture.
    pub source: SourceFacts,
    /// Flows by first frame.
    pub flows: Vec<FlowRecord>,
    /// Labels, parallel to `flows`.
    pub labels: Vec<Option<Label>>,
    /// DNS names that led the client to each flow's server (as of the flow's first packet), parallel to `flows`.
    pub dns_names: Vec<Vec<Box<str>>>,
    /// Findings by start, then rule.
    pub findings: Vec<Finding>,
    /// One row per service and role.
    pub services: Vec<ServiceState>,
    /// One row per app, where the capture names apps or processes.
    pub apps: Vec<AppState>,
}

/// Sums over a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Sources analysed.
    pub sources: u64,
    /// Sources that could not be analysed, with the reason.
    pub failed_sources: Vec<(String, String)>,
    /// Packets decoded.
    pub packets: u64,
    /// Flows.
    pub flows: u64,
    /// Findings.
    pub findings: u64,
    /// Services.
    pub services: u64,
    /// Exit code the program will return.
    pub exit: i32,
    /// A signal ended the run early.
    pub interrupted: bool,
    /// Which bounds on memory were reached.
    pub bounds_hit: Vec<String>,
    /// A live capture: packets that were not analysed.
    pub losses: Option<super::pulse::Losses>,
}
