//! A finding: what the network seems to have done, how sure that is, on which frames, and what innocent cause would look the same.

use super::flow::FlowId;
use super::frame::FrameNo;
use super::label::Role;
use super::side::Side;
use super::throttle::Throttle;
use super::time::Time;
use std::net::IpAddr;

/// Kind of interference (contract §3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Forged or rewritten TCP teardown.
    RstInjection,
    /// Reaction to a server name.
    SniFiltering,
    /// Stops after a quota.
    ConnectionFreeze,
    /// Slowed.
    Throttling,
    /// Forged or dropped DNS answers.
    DnsInjection,
    /// QUIC refused.
    QuicBlocking,
    /// UDP (calls) refused.
    UdpBlocking,
    /// A protocol refused.
    ProtocolBlocking,
    /// An address refused.
    IpBlocking,
    /// A page put in place of the answer.
    BlockPage,
    /// Punishment that outlives its trigger.
    Residual,
    /// A packet that nobody sent and that no kind above names (two captures only).
    PacketInjection,
    /// A packet changed on its way, in a manner no kind above names (two captures only).
    PacketRewriting,
}

impl Kind {
    /// Name in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RstInjection => "rst_injection",
            Self::SniFiltering => "sni_filtering",
            Self::ConnectionFreeze => "connection_freeze",
            Self::Throttling => "throttling",
            Self::DnsInjection => "dns_injection",
            Self::QuicBlocking => "quic_blocking",
            Self::UdpBlocking => "udp_blocking",
            Self::ProtocolBlocking => "protocol_blocking",
            Self::IpBlocking => "ip_blocking",
            Self::BlockPage => "block_page",
            Self::Residual => "residual",
            Self::PacketInjection => "packet_injection",
            Self::PacketRewriting => "packet_rewriting",
        }
    }
}

/// How sure a finding is (contract §3, Grades).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Grade {
    /// A pattern without a control.
    Possible,
    /// Independent facts agree and no innocent cause stands.
    Likely,
    /// A fact no conforming stack or path produces, or a significant difference against a matched control.
    Confirmed,
}

impl Grade {
    /// Name in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Confirmed => "confirmed",
        }
    }
    /// One step less sure; `None` below possible.
    pub const fn lowered(self) -> Option<Self> {
        match self {
            Self::Confirmed => Some(Self::Likely),
            Self::Likely => Some(Self::Possible),
            Self::Possible => None,
        }
    }
}

/// Which way the interference acted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// On packets from client to server.
    C2s,
    /// On packets from server to client.
    S2c,
    /// Both.
    Both,
}

impl Direction {
    /// Name in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::C2s => "c2s",
            Self::S2c => "s2c",
            Self::Both => "both",
        }
    }
    /// The direction of packets that `side` (seems to have) sent.
    pub const fn from_side(side: Side) -> Self {
        match side {
            Side::Client => Self::C2s,
            Side::Server => Self::S2c,
        }
    }
}

/// One fact that speaks for a finding.
#[derive(Clone, PartialEq, Debug)]
pub struct Evidence {
    /// In words.
    pub says: String,
    /// What was measured.
    pub value: String,
    /// What an undisturbed path would show.
    pub expected: String,
    /// Where.
    pub frames: Vec<FrameNo>,
}

impl Evidence {
    /// What an undisturbed path would show, where there is something to compare with; `-` says that there is not.
    pub fn expectation(&self) -> Option<&str> {
        Some(&*self.expected).filter(|expected| !matches!(*expected, "" | "-"))
    }
}

/// An innocent cause that was weighed.
#[derive(Clone, PartialEq, Debug)]
pub struct Innocent {
    /// The cause.
    pub cause: &'static str,
    /// It still stands: the finding could be this.
    pub stands: bool,
    /// Why (not).
    pub why: String,
}

/// A comparison found in the same capture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Control {
    /// Which: `same_server_other_name`, `same_name_other_server`, `same_client_other_servers`, …
    pub kind: &'static str,
    /// Flows compared; of some kinds names, attempts or packets.
    pub n: u32,
    /// Of these, undisturbed.
    pub ok: u32,
    /// The flows, in the order the rule met them, at most [`Control::NAMED_MAX`]: those of all comparisons of this kind where the finding is about
    /// several flows. None where packets were compared.
    pub flows: Vec<FlowId>,
}

impl Control {
    /// Most flows that a comparison names.
    pub const NAMED_MAX: usize = 32;

    /// Nothing compared yet.
    pub const fn new(kind: &'static str) -> Self {
        Self { kind, n: 0, ok: 0, flows: Vec::new() }
    }

    /// Counted elsewhere.
    pub const fn counted(kind: &'static str, n: u32, ok: u32) -> Self {
        Self { kind, n, ok, flows: Vec::new() }
    }

    /// Counts a flow.
    pub fn add(&mut self, flow: FlowId, ok: bool) {
        self.n += 1;
        self.ok += u32::from(ok);
        self.name(flow);
    }

    /// Names a flow that is counted elsewhere.
    pub fn name(&mut self, flow: FlowId) {
        if self.flows.len() < Self::NAMED_MAX && !self.flows.contains(&flow) {
            self.flows.push(flow);
        }
    }

    /// Names flows that are counted elsewhere.
    #[must_use]
    pub fn on(mut self, flows: impl IntoIterator<Item = FlowId>) -> Self {
        flows.into_iter().for_each(|id| self.name(id));
        self
    }
}

/// A connection that died, and how much it had carried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Death {
    /// The connection.
    pub flow: FlowId,
    /// Payload bytes of both sides that had arrived.
    pub bytes: u64,
    /// Packets of both sides that had passed, handshake included.
    pub packets: u64,
}

/// What a finding is about.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Target {
    /// Service id.
    pub service: Option<Box<str>>,
    /// Role.
    pub role: Option<Role>,
    /// Server name in TLS or QUIC.
    pub sni: Option<Box<str>>,
    /// HTTP host.
    pub host: Option<Box<str>>,
    /// DNS name.
    pub qname: Option<Box<str>>,
    /// Server address.
    pub ip: Option<IpAddr>,
}

/// A finding. Flow details are looked up by id when it is written.
#[derive(Clone, PartialEq, Debug)]
pub struct Finding {
    /// Content hash, stable across machines and threads; filled by the collector.
    pub id: Box<str>,
    /// Dotted rule name, e.g. `tcp.rst.injected`.
    pub rule: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Mechanism (contract §3 table).
    pub mechanism: &'static str,
    /// How sure.
    pub grade: Grade,
    /// Flows it was seen on, first frame order.
    pub flows: Vec<FlowId>,
    /// Which way it acted.
    pub direction: Option<Direction>,
    /// What it hit.
    pub target: Target,
    /// First packet of the interference.
    pub started: Time,
    /// Evidence frames, ascending.
    pub frames: Vec<FrameNo>,
    /// Throttling: estimated IP-level rate in bit/s.
    pub rate_bps: Option<u64>,
    /// Throttling: what was measured, as far as a rate was.
    pub throttle: Option<Box<Throttle>>,
    /// Connections that died after an amount: the deaths the finding weighed, in the order of their flows.
    pub deaths: Vec<Death>,
    /// What speaks for it.
    pub evidence: Vec<Evidence>,
    /// What else it could be.
    pub innocent: Vec<Innocent>,
    /// Comparisons.
    pub control: Vec<Control>,
    /// What would settle it.
    pub needs: Vec<&'static str>,
    /// OONI failure string, e.g. `connection_reset`.
    pub ooni_failure: Option<&'static str>,
    /// Known injectors whose header vector it resembles. Never an attribution.
    pub resembles: Vec<&'static str>,
}

/// A detector's page: what `explain` prints, what reports quote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Card {
    /// Rule name.
    pub rule: &'static str,
    /// Kind it reports.
    pub kind: Kind,
    /// Mechanisms it may report.
    pub mechanisms: &'static [&'static str],
    /// One sentence: what it claims.
    pub claim: &'static str,
    /// The packet ladder that shows it.
    pub ladder: &'static str,
    /// What the capture must have.
    pub needs: &'static [&'static str],
    /// Innocent causes it weighs.
    pub innocent: &'static [&'static str],
    /// How a reader confirms it.
    pub confirm: &'static str,
    /// Papers, RFCs, reports.
    pub sources: &'static [&'static str],
}
