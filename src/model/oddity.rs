//! Strangeness on the wire: a closed vocabulary, counted and named, never an error past the packet room.

/// Why a frame did not become a packet, or what was strange about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Oddity {
    /// Link type not known here.
    UnknownLinkType,
    /// Frame too short for its link header.
    ShortLink,
    /// Not IP: ARP, LLDP, spanning tree and the like.
    NotIp,
    /// IP header cut or impossible.
    BadIpHeader,
    /// Transport header cut or impossible.
    BadTransportHeader,
    /// A fragment whose packet was never completed.
    FragmentIncomplete,
    /// A fragment that overlaps another with other bytes; the packet was thrown away.
    FragmentConflict,
    /// A fragment waiting for the others (not an error; counted while waiting).
    FragmentHeld,
    /// Too many fragments were waiting.
    FragmentBound,
    /// Tunnels nested deeper than followed.
    TunnelDepth,
    /// Encrypted below IP (802.11 protected frame, ESP).
    Encrypted,
    /// 802.11 management or control frame, or no data in it.
    WifiNoData,
    /// A bug in the analysis of this frame, caught.
    InternalPanic,
}

impl Oddity {
    /// Stable kebab-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownLinkType => "unknown-link-type",
            Self::ShortLink => "short-link-header",
            Self::NotIp => "not-ip",
            Self::BadIpHeader => "bad-ip-header",
            Self::BadTransportHeader => "bad-transport-header",
            Self::FragmentIncomplete => "fragment-incomplete",
            Self::FragmentConflict => "fragment-conflict",
            Self::FragmentHeld => "fragment-held",
            Self::FragmentBound => "fragment-bound",
            Self::TunnelDepth => "tunnel-depth",
            Self::Encrypted => "encrypted",
            Self::WifiNoData => "wifi-no-data",
            Self::InternalPanic => "internal-panic",
        }
    }
    /// Whether a frame with this oddity was nevertheless understood for what it is (ARP is not a damaged packet).
    pub const fn understood(self) -> bool {
        matches!(self, Self::NotIp | Self::Encrypted | Self::WifiNoData | Self::FragmentHeld)
    }
}
