//! Endpoints, protocols and the direction-free key of a flow.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

/// An address and a port. The port is 0 for protocols without ports; ICMP puts type or identifier where Community ID wants them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Endpoint {
    /// Network address.
    pub ip: IpAddr,
    /// Transport port, host order.
    pub port: u16,
}

/// An IP protocol number that carries flows. Unknown numbers survive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Proto(pub u8);

impl Proto {
    /// TCP, 6.
    pub const TCP: Self = Self(6);
    /// UDP, 17.
    pub const UDP: Self = Self(17);
    /// ICMP, 1.
    pub const ICMP: Self = Self(1);
    /// ESP, 50 (RFC 4303).
    pub const ESP: Self = Self(50);
    /// AH, 51 (RFC 4302).
    pub const AH: Self = Self(51);
    /// ICMPv6, 58.
    pub const ICMP6: Self = Self(58);
    /// SCTP, 132.
    pub const SCTP: Self = Self(132);

    /// The lower-case name used in every output, or `ip-N`.
    pub fn name(self) -> std::borrow::Cow<'static, str> {
        match self.0 {
            1 => "icmp".into(),
            2 => "igmp".into(),
            6 => "tcp".into(),
            17 => "udp".into(),
            47 => "gre".into(),
            50 => "esp".into(),
            51 => "ah".into(),
            58 => "icmp6".into(),
            132 => "sctp".into(),
            n => format!("ip-{n}").into(),
        }
    }
}

/// What all packets of one conversation share, whichever way they go: `lo` is the numerically smaller endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowKey {
    /// Smaller endpoint (address bytes first, then port).
    pub lo: Endpoint,
    /// Larger endpoint.
    pub hi: Endpoint,
    /// IP protocol.
    pub proto: Proto,
}

// Every packet's key is hashed: two words for IPv4 instead of a dozen pieces.
impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, to: &mut H) {
        match (self.lo.ip, self.hi.ip) {
            (IpAddr::V4(lo), IpAddr::V4(hi)) => to.write_u64(u64::from(lo.to_bits()) << 32 | u64::from(hi.to_bits())),
            (lo, hi) => {
                for ip in [lo, hi] {
                    to.write_u128(match ip {
                        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
                        IpAddr::V6(ip) => ip.to_bits(),
                    });
                }
            }
        }
        to.write_u64(u64::from(self.lo.port) << 32 | u64::from(self.hi.port) << 8 | u64::from(self.proto.0));
    }
}

impl FlowKey {
    /// The key of a packet from `src` to `dst`.
    pub fn of(src: Endpoint, dst: Endpoint, proto: Proto) -> Self {
        let (lo, hi) = if src <= dst { (src, dst) } else { (dst, src) };
        Self { lo, hi, proto }
    }
}

impl Endpoint {
    /// An endpoint from its parts.
    pub const fn new(ip: IpAddr, port: u16) -> Self {
        Self { ip, port }
    }
}
