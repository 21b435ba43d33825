//! What is known of a capture as a whole, and what it therefore cannot support.

use super::frame::{FrameNo, LinkType};
use super::oddity::Oddity;
use super::time::{Span, Time};
use std::collections::BTreeMap;

/// Where the capture was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Vantage {
    /// At or next to the clients.
    Client,
    /// At or next to the servers.
    Server,
    /// On the path.
    Mid,
    /// Nobody can tell.
    #[default]
    Unknown,
}

impl Vantage {
    /// Name in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Mid => "mid",
            Self::Unknown => "unknown",
        }
    }
}

/// What the reader learned of a source.
#[derive(Clone, Debug, Default)]
pub struct SourceFacts {
    /// Index in this run.
    pub index: u32,
    /// As given by the user.
    pub path: String,
    /// `pcap`, `pcap-ns`, `pcapng`, …, with `+gzip` or `+zstd`.
    pub format: String,
    /// Link types of its interfaces, in order of appearance.
    pub link_types: Vec<LinkType>,
    /// Frames read.
    pub packets: u64,
    /// Of these, left out by the user's filter.
    pub filtered: u64,
    /// Captured bytes of these frames.
    pub bytes: u64,
    /// Earliest packet time.
    pub first: Option<Time>,
    /// Latest packet time.
    pub last: Option<Time>,
    /// How long a live capture listened in vain after the latest packet; zero for a file, which cannot know.
    pub silence: Span,
    /// Frames recorded shorter than they were.
    pub cut_frames: u64,
    /// Bytes of the file that could not be understood.
    pub skipped_bytes: u64,
    /// The file ends inside this frame.
    pub truncated_at: Option<FrameNo>,
    /// What was wrong with the file, in words.
    pub damage: Vec<String>,
    /// Drops the capture itself reports (interface statistics), if any.
    pub drops: Option<u64>,
    /// Frames that did not become packets.
    pub oddities: BTreeMap<Oddity, u64>,
    /// Frames that became packets.
    pub decoded: u64,
    /// Flows evicted because a bound was reached.
    pub evicted: u64,
    /// What the capture names as owners of packets are processes of a computer or iPhone (PKTAP, Darwin's pcapng), not apps seen by an app.
    pub processes: bool,
    /// Capture steps backwards in time.
    pub time_steps_back: u64,
    /// Quality; filled by the collector.
    pub quality: Quality,
}

impl SourceFacts {
    /// The time up to which the source was watched: no packet until then means that there was none. `None` without any packet.
    pub fn watched(&self) -> Option<Time> {
        self.last.map(|last| last.plus(self.silence))
    }
}

/// Capture quality, judged before any finding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quality {
    /// Where it was taken.
    pub vantage: Vantage,
    /// Why we think so.
    pub vantage_basis: String,
    /// Share of TCP flows with packets of one side only, 0–1.
    pub one_sided_share: f64,
    /// Share of frames cut by the snap length, 0–1.
    pub snaplen_cut: f64,
    /// Segments larger than the peer's MSS were seen (TSO/GRO at the capture host).
    pub offload: bool,
    /// Share of acknowledged payload bytes that the capture missed, 0–1.
    pub capture_loss: f64,
    /// Share of packets that are exact copies of another, 0–1.
    pub duplicates: f64,
    /// Every inbound packet has one TTL: TTL evidence is blind.
    pub ttl_normalised: bool,
    /// Bad checksums are usual for one sender (offload), so they mean nothing.
    pub checksums_offloaded: bool,
    /// TCP flows counted.
    pub tcp_flows: u64,
    /// Synthetic packets of a phone VPN capture (no real TTLs).
    pub phone_vpn: bool,
    /// Claims this capture cannot support, and why.
    pub cannot_claim: Vec<CannotClaim>,
}

/// A claim the capture cannot support.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CannotClaim {
    /// The claim, e.g. `packet drops`.
    pub claim: &'static str,
    /// Why not.
    pub why: String,
}
