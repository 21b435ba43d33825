//! What is kept of a packet for the comparison: numbers and a hash of its payload, never the payload.

use crate::model::flow::{FlowId, RoleBasis};
use crate::model::frame::FrameNo;
use crate::model::key::{Endpoint, Proto};
use crate::model::packet::{Body, Checksum, Packet, TcpFlags};
use crate::model::side::{PerSide, Side};
use crate::model::time::Time;

/// Bytes of payload whose hash is kept beside the hash of all of it: what a short snap length leaves.
pub const HEAD: usize = 16;
/// The same, of more: two answers of one protocol begin alike.
pub const START: usize = 64;

/// 2⁶¹ − 1: the hashes are polynomials over this prime field, so that the hash of a whole follows from the hashes of its parts however a host
/// or its network card cut it.
const PRIME: u64 = (1 << 61) - 1;
/// The point at which the polynomials are taken. Any number far from 0 serves.
const POINT: u64 = 0x0b6f_1a3c_95d2_77e5;

/// Product modulo [`PRIME`].
const fn mul(a: u64, b: u64) -> u64 {
    let wide = a as u128 * b as u128;
    let folded = (wide & PRIME as u128) as u64 + (wide >> 61) as u64;
    if folded >= PRIME { folded - PRIME } else { folded }
}

/// The hash of some bytes.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |h, b| {
        let sum = mul(h, POINT) + u64::from(*b) + 1;
        if sum >= PRIME { sum - PRIME } else { sum }
    })
}

/// The hash of bytes with hash `a` followed by `len` bytes with hash `b`.
pub fn join(a: u64, b: u64, len: u32) -> u64 {
    let (mut power, mut base, mut n) = (1, POINT, len);
    while n > 0 {
        if n & 1 == 1 {
            power = mul(power, base);
        }
        base = mul(base, base);
        n >>= 1;
    }
    let sum = mul(a, power) + b;
    if sum >= PRIME { sum - PRIME } else { sum }
}

/// What kind of packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// A TCP segment.
    Tcp,
    /// A datagram, or a packet of another protocol.
    Datagram,
    /// An ICMP error about the flow: `seq` is its type and code, `ack` 1 if the addressee of the quoted packet sent it.
    Error,
}

/// A packet as it is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest {
    /// Capture time.
    pub ts: Time,
    /// Frame.
    pub frame: FrameNo,
    /// Hash of the captured payload.
    pub hash: u64,
    /// Hash of its first `HEAD` bytes (of all, if it has fewer).
    pub head: u64,
    /// Hash of its first `START` bytes (of all, if it has fewer).
    pub start: u64,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement field; 0 without the flag.
    pub ack: u32,
    /// Payload bytes on the wire.
    pub len: u32,
    /// Of these, captured.
    pub cap: u32,
    /// IP bytes.
    pub ip_len: u32,
    /// IPv4 identification, or `None` where there is none or it is constantly 0.
    pub ip_id: Option<u16>,
    /// TCP window.
    pub window: u16,
    /// TCP flags.
    pub flags: TcpFlags,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Sender.
    pub side: Side,
    /// Kind.
    pub what: What,
    /// First payload bytes (0 beyond the end): tell an HTTP answer or a TLS record.
    pub first: [u8; 4],
    /// The TCP checksum is wrong: no stack accepts the packet, unless its own network card still had to fill it in.
    pub bad: bool,
}

impl Digest {
    /// The digest of a packet that `side` sent.
    pub fn of(packet: &Packet<'_>, side: Side) -> Self {
        let (what, payload, len): (_, &[u8], u32) = match &packet.body {
            Body::Tcp(s) => (What::Tcp, s.payload, s.len),
            Body::Udp(d) => (What::Datagram, d.payload, d.len),
            Body::Icmp(i) => (What::Datagram, i.payload, u32::try_from(i.payload.len()).unwrap_or(u32::MAX)),
            Body::Other(b) => (What::Datagram, b, u32::try_from(b.len()).unwrap_or(u32::MAX)),
        };
        let (seq, ack, window, flags) = match &packet.body {
            Body::Tcp(s) => (s.seq.0, if s.flags.ack() { s.ack.0 } else { 0 }, s.window, s.flags),
            Body::Icmp(i) => (u32::from(i.kind) << 8 | u32::from(i.code), 0, 0, TcpFlags::default()),
            _ => (0, 0, 0, TcpFlags::default()),
        };
        Self {
            ts: packet.ts,
            frame: packet.frame,
            hash: hash(payload),
            head: hash(payload.get(..HEAD).unwrap_or(payload)),
            start: hash(payload.get(..START).unwrap_or(payload)),
            seq,
            ack,
            len,
            cap: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            ip_len: packet.ip.total_len,
            ip_id: packet.ip.id.filter(|id| *id != 0),
            window,
            flags,
            ttl: packet.ip.ttl,
            side,
            what,
            first: std::array::from_fn(|i| payload.get(i).copied().unwrap_or(0)),
            bad: packet.tcp_checksum() == Checksum::Bad,
        }
    }

    /// All of the payload was captured.
    pub const fn whole(&self) -> bool {
        self.cap >= self.len
    }

    /// Whether the payloads can be the same, as far as both were captured. Lengths are compared elsewhere.
    pub fn like(&self, other: &Self) -> bool {
        let enough = |d: &Self| d.cap as usize >= HEAD;
        if self.whole() && other.whole() || self.cap == other.cap {
            self.hash == other.hash
        } else if enough(self) && enough(other) {
            self.begins_alike(other)
        } else {
            true
        }
    }

    /// Whether two payloads of which at least `HEAD` bytes were captured begin alike, as far as is known of both.
    pub fn begins_alike(&self, other: &Self) -> bool {
        let start = |d: &Self| d.cap as usize >= START;
        self.head == other.head && (!(start(self) && start(other)) || self.start == other.start)
    }

    /// Whether [`Self::like`] compared anything.
    pub fn comparable(&self, other: &Self) -> bool {
        self.len > 0 && (self.whole() && other.whole() || self.cap.min(other.cap) as usize >= HEAD)
    }

    /// What a packet is known by wherever it appears, whatever its addresses and ports; `None` if many are alike.
    pub fn mark(&self) -> Option<(u32, u32, u16, u64)> {
        let told = match self.what {
            What::Tcp => self.len > 0 || self.control() != 0,
            What::Datagram => self.len >= 8,
            What::Error => false,
        };
        told.then(|| (self.seq, self.len, self.control(), self.start))
    }

    /// SYN, FIN and RST.
    pub fn control(&self) -> u16 {
        self.flags.0 & (TcpFlags::SYN.0 | TcpFlags::FIN.0 | TcpFlags::RST.0)
    }
}

/// What a SYN offered.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Offer {
    /// Initial sequence number.
    pub isn: u32,
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Option kinds as a bit set (kinds 0–31).
    pub kinds: u32,
}

impl Offer {
    /// What the SYN of a segment offers, if it is one.
    pub fn of(packet: &Packet<'_>) -> Option<Self> {
        let Body::Tcp(s) = &packet.body else { return None };
        if !s.flags.syn() || s.flags.rst() {
            return None;
        }
        let mut offer = Self { isn: s.seq.0, ..Self::default() };
        let mut rest = s.options;
        while let [kind, after @ ..] = rest {
            if *kind == 0 {
                break;
            }
            if *kind > 1 && *kind < 32 {
                offer.kinds |= 1 << kind;
            }
            rest = if *kind == 1 {
                after
            } else {
                let Some(next) = after.first().filter(|l| **l >= 2).and_then(|l| rest.get(usize::from(*l)..)) else { break };
                if let [2, 4, a, b, ..] = rest {
                    offer.mss = Some(u16::from_be_bytes([*a, *b]));
                }
                next
            };
        }
        Some(offer)
    }
}

/// A flow as one capture point recorded it.
#[derive(Clone, Debug)]
pub struct TapeFlow {
    /// Its name: the same as in that capture's story.
    pub id: FlowId,
    /// Protocol.
    pub proto: Proto,
    /// Who began.
    pub client: Endpoint,
    /// Who was addressed.
    pub server: Endpoint,
    /// How that is known.
    pub basis: RoleBasis,
    /// First SYN of each side.
    pub offer: PerSide<Option<Offer>>,
    /// Packets in capture order.
    pub packets: Vec<Digest>,
    /// Packets that were not kept because of the bound on memory.
    pub dropped: u64,
}

/// All flows of one capture, in order of their first frames.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    /// The flows.
    pub flows: Vec<TapeFlow>,
    /// Packets not kept because of the bound on memory.
    pub dropped: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_hash_of_a_whole_follows_from_its_parts(bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0usize..400) {
            let at = at.min(bytes.len());
            let (a, b) = bytes.split_at(at);
            prop_assert_eq!(join(hash(a), hash(b), b.len() as u32), hash(&bytes));
        }

        #[test]
        fn one_changed_byte_changes_the_hash(bytes in proptest::collection::vec(any::<u8>(), 1..200), at in 0usize..200, x in 1u8..=255) {
            let mut other = bytes.clone();
            let at = at % bytes.len();
            other[at] ^= x;
            prop_assert_ne!(hash(&bytes), hash(&other));
        }
    }

    #[test]
    fn zeros_of_different_number_differ() {
        assert_ne!(hash(&[0]), hash(&[0, 0]));
        assert_ne!(hash(&[]), hash(&[0]));
    }
}
