//! A decoded packet: headers by value, payload by reference.

use super::frame::FrameNo;
use super::key::{Endpoint, FlowKey, Proto};
use super::seq::Seq;
use super::time::Time;
use std::net::IpAddr;

/// One IP packet, decoded laxly from one frame (or from fragments).
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Frame it came in (the last fragment's for a rebuilt packet, as Wireshark does).
    pub frame: FrameNo,
    /// Capture time.
    pub ts: Time,
    /// Sender. Port 0 where the protocol has none.
    pub src: Endpoint,
    /// Addressee.
    pub dst: Endpoint,
    /// Network header.
    pub ip: IpHead,
    /// Transport header and payload.
    pub body: Body<'a>,
    /// App that owns the packet, when the capture says so (PCAPdroid trailer).
    pub owner: Option<&'a [u8]>,
}

/// What matters of an IPv4 or IPv6 header.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct IpHead {
    /// Transport protocol after extension headers.
    pub proto: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service / traffic class octet (DSCP and ECN).
    pub tos: u8,
    /// IPv4 identification; `None` for IPv6.
    pub id: Option<u16>,
    /// IPv4 don't-fragment bit (false for IPv6).
    pub df: bool,
    /// IPv6 flow label, 0 for IPv4.
    pub flow_label: u32,
    /// Total length on the wire in bytes as the header says (IPv6: 40 + payload length); 0 if an offloading host left it 0.
    pub total_len: u32,
    /// The IP packet was put together from fragments.
    pub rebuilt: bool,
}

/// Transport part.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// A TCP segment.
    Tcp(Segment<'a>),
    /// A UDP datagram.
    Udp(Datagram<'a>),
    /// ICMP or ICMPv6.
    Icmp(Icmp<'a>),
    /// Any other protocol, with what was captured of it.
    Other(&'a [u8]),
}

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Sequence number of the first byte (or of SYN/FIN).
    pub seq: Seq,
    /// Acknowledgement number field, also when ACK is not set.
    pub ack: Seq,
    /// Flag bits.
    pub flags: TcpFlags,
    /// Window field, unscaled.
    pub window: u16,
    /// Raw options (captured part).
    pub options: &'a [u8],
    /// Captured payload.
    pub payload: &'a [u8],
    /// Payload bytes on the wire, from the IP length; ≥ `payload.len()` when the capture cut the frame.
    pub len: u32,
    /// The whole captured TCP segment, header included, for the checksum.
    pub raw: &'a [u8],
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Captured payload.
    pub payload: &'a [u8],
    /// Payload bytes on the wire.
    pub len: u32,
}

/// An ICMP or ICMPv6 message.
#[derive(Clone, Copy, Debug)]
pub struct Icmp<'a> {
    /// Type octet.
    pub kind: u8,
    /// Code octet.
    pub code: u8,
    /// For error messages: the flow of the packet quoted inside, from its sender to its addressee.
    pub quoted: Option<Quoted>,
    /// What follows the 8-byte header.
    pub payload: &'a [u8],
}

/// The packet quoted inside an ICMP error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quoted {
    /// Its sender.
    pub src: Endpoint,
    /// Its addressee.
    pub dst: Endpoint,
    /// Its protocol.
    pub proto: Proto,
}

/// TCP flag bits including the reserved ones: bits 0–7 as in byte 13 of the header (FIN … CWR), bits 8–11 the low nibble of byte 12 (NS/AE and reserved).
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash, Debug)]
pub struct TcpFlags(pub u16);

impl TcpFlags {
    /// No more data from sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// Acknowledgement field is significant.
    pub const ACK: Self = Self(0x10);
    /// Urgent pointer is significant.
    pub const URG: Self = Self(0x20);

    /// Whether all bits of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
    /// SYN set.
    pub const fn syn(self) -> bool {
        self.has(Self::SYN)
    }
    /// ACK set.
    pub const fn ack(self) -> bool {
        self.has(Self::ACK)
    }
    /// RST set.
    pub const fn rst(self) -> bool {
        self.has(Self::RST)
    }
    /// FIN set.
    pub const fn fin(self) -> bool {
        self.has(Self::FIN)
    }
    /// PSH set.
    pub const fn psh(self) -> bool {
        self.has(Self::PSH)
    }
    /// Reserved header bits (byte 12, low nibble) that current stacks leave 0; bit 0 is NS/AE.
    pub const fn reserved(self) -> u8 {
        ((self.0 >> 8) & 0x0f) as u8
    }
}

impl std::fmt::Display for TcpFlags {
    /// `SYN+ACK` style, `none` when empty.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut any = false;
        for (bit, name) in
            [(Self::SYN, "SYN"), (Self::FIN, "FIN"), (Self::RST, "RST"), (Self::PSH, "PSH"), (Self::ACK, "ACK"), (Self::URG, "URG")]
        {
            if self.has(bit) {
                write!(f, "{}{name}", if any { "+" } else { "" })?;
                any = true;
            }
        }
        if any { Ok(()) } else { f.write_str("none") }
    }
}

/// What a transport checksum says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksum {
    /// It fits.
    Good,
    /// It does not fit: corruption, offloading at the sending host, or a packet made not to be accepted.
    Bad,
    /// The frame was cut, so nobody can tell.
    Unknown,
}

impl Packet<'_> {
    /// The direction-free key of the packet's flow. An ICMP error goes by the endpoints of the packet it quotes, so that all errors
    /// about one flow meet, wherever they come from.
    pub fn key(&self) -> FlowKey {
        if let Body::Icmp(Icmp { quoted: Some(q), .. }) = &self.body {
            return FlowKey::of(q.src, q.dst, Proto(self.ip.proto));
        }
        FlowKey::of(self.src, self.dst, Proto(self.ip.proto))
    }

    /// Verifies a TCP checksum (RFC 9293 §3.1). Costs a pass over the segment, so ask only where the answer matters.
    pub fn tcp_checksum(&self) -> Checksum {
        let Body::Tcp(seg) = &self.body else { return Checksum::Unknown };
        if seg.payload.len() as u64 != u64::from(seg.len) || seg.raw.len() < 20 {
            return Checksum::Unknown;
        }
        let mut sum = Sum::default();
        match (self.src.ip, self.dst.ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                sum.add(&a.octets());
                sum.add(&b.octets());
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                sum.add(&a.octets());
                sum.add(&b.octets());
            }
            _ => return Checksum::Unknown,
        }
        let len = u32::try_from(seg.raw.len()).unwrap_or(u32::MAX);
        sum.add(&len.to_be_bytes());
        sum.add(&[0, 6]);
        sum.add(seg.raw);
        if sum.fold() == 0xffff { Checksum::Good } else { Checksum::Bad }
    }
}

/// One's complement sum over 16-bit words (RFC 1071). Every part added must start on an even offset, as all of ours do.
#[derive(Default)]
struct Sum(u64);

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        // Two words at a time: carries are added up in the end (RFC 1071 section 2).
        let (pairs, rest) = bytes.as_chunks::<4>();
        self.0 = pairs.iter().fold(self.0, |sum, pair| sum.wrapping_add(u64::from(u32::from_be_bytes(*pair))));
        let mut words = rest.chunks_exact(2);
        for w in &mut words {
            if let [a, b] = w {
                self.0 = self.0.wrapping_add(u64::from(u16::from_be_bytes([*a, *b])));
            }
        }
        if let [last] = words.remainder() {
            self.0 = self.0.wrapping_add(u64::from(*last) << 8);
        }
    }
    fn fold(self) -> u16 {
        let mut s = self.0;
        while s > 0xffff {
            s = (s & 0xffff).wrapping_add(s >> 16);
        }
        s as u16
    }
}
