//! IP packets, byte by byte: what a stack would put on the wire, with every field open to a forger.

use std::net::IpAddr;

/// TCP flags.
pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

/// Protocol numbers.
pub const ICMP: u8 = 1;
pub const IPIP: u8 = 4;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const IPV6: u8 = 41;
pub const GRE: u8 = 47;
pub const ICMPV6: u8 = 58;

/// An IP header without what follows from its payload.
#[derive(Clone, Copy, Debug)]
pub struct Ip {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub ttl: u8,
    pub id: u16,
    pub df: bool,
    pub tos: u8,
    pub flow_label: u32,
}

impl Ip {
    pub fn new(src: IpAddr, dst: IpAddr) -> Self {
        Self { src, dst, ttl: 64, id: 0, df: true, tos: 0, flow_label: 0 }
    }

    /// The packet that carries `body` as protocol `proto`.
    pub fn carry(&self, proto: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(40 + body.len());
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                out.extend([0x45, self.tos]);
                out.extend(be16(20 + body.len()));
                out.extend(self.id.to_be_bytes());
                out.extend([if self.df { 0x40 } else { 0 }, 0, self.ttl, proto, 0, 0]);
                out.extend(src.octets());
                out.extend(dst.octets());
                let sum = checksum(&[&out]);
                out[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let first = 6 << 28 | u32::from(self.tos) << 20 | self.flow_label;
                out.extend(first.to_be_bytes());
                out.extend(be16(body.len()));
                out.extend([proto, self.ttl]);
                out.extend(src.octets());
                out.extend(dst.octets());
            }
            _ => panic!("an IP packet has one family"),
        }
        out.extend(body);
        out
    }

    /// Sum over the pseudo header's addresses and protocol, and `body`.
    fn pseudo(&self, proto: u8, body: &[u8]) -> u16 {
        let len = (body.len() as u32).to_be_bytes();
        let tail = [0, 0, 0, proto];
        match (self.src, self.dst) {
            (IpAddr::V4(s), IpAddr::V4(d)) => checksum(&[&s.octets(), &d.octets(), &len, &tail, body]),
            (IpAddr::V6(s), IpAddr::V6(d)) => checksum(&[&s.octets(), &d.octets(), &len, &tail, body]),
            _ => panic!("an IP packet has one family"),
        }
    }

    /// A UDP datagram.
    pub fn udp(&self, sport: u16, dport: u16, payload: &[u8]) -> Vec<u8> {
        let mut udp = Vec::with_capacity(8 + payload.len());
        udp.extend(sport.to_be_bytes());
        udp.extend(dport.to_be_bytes());
        udp.extend(be16(8 + payload.len()));
        udp.extend([0, 0]);
        udp.extend(payload);
        let sum = match self.pseudo(UDP, &udp) {
            0 => 0xffff,
            s => s,
        };
        udp[6..8].copy_from_slice(&sum.to_be_bytes());
        self.carry(UDP, &udp)
    }

    /// An ICMP (or ICMPv6) error that quotes the beginning of `about`.
    pub fn icmp_error(&self, kind: u8, code: u8, about: &[u8]) -> Vec<u8> {
        let mut icmp = vec![kind, code, 0, 0, 0, 0, 0, 0];
        icmp.extend(&about[..about.len().min(if self.src.is_ipv4() { 28 } else { 512 })]);
        if self.src.is_ipv4() {
            let sum = checksum(&[&icmp]);
            icmp[2..4].copy_from_slice(&sum.to_be_bytes());
            self.carry(ICMP, &icmp)
        } else {
            let sum = self.pseudo(ICMPV6, &icmp);
            icmp[2..4].copy_from_slice(&sum.to_be_bytes());
            self.carry(ICMPV6, &icmp)
        }
    }
}

/// A TCP segment inside its IP packet. Methods change one field each, so a forged packet reads as its difference.
#[derive(Clone, Debug)]
pub struct Segment {
    pub ip: Ip,
    pub sport: u16,
    pub dport: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
    pub bad_checksum: bool,
}

impl Segment {
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ip.ttl = ttl;
        self
    }
    pub fn ip_id(mut self, id: u16) -> Self {
        self.ip.id = id;
        self
    }
    pub fn df(mut self, df: bool) -> Self {
        self.ip.df = df;
        self
    }
    pub fn tos(mut self, tos: u8) -> Self {
        self.ip.tos = tos;
        self
    }
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }
    /// Moves the sequence number.
    pub fn seq_by(mut self, by: i32) -> Self {
        self.seq = self.seq.wrapping_add_signed(by);
        self
    }
    /// Moves the acknowledgement number.
    pub fn ack_by(mut self, by: i32) -> Self {
        self.ack = self.ack.wrapping_add_signed(by);
        self
    }
    pub fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }
    pub fn bad_checksum(mut self) -> Self {
        self.bad_checksum = true;
        self
    }

    /// The IP packet.
    pub fn bytes(&self) -> Vec<u8> {
        let mut options = self.options.clone();
        while !options.len().is_multiple_of(4) {
            options.push(1);
        }
        let mut tcp = Vec::with_capacity(20 + options.len() + self.payload.len());
        tcp.extend(self.sport.to_be_bytes());
        tcp.extend(self.dport.to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([((20 + options.len()) as u8 / 4) << 4, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(&options);
        tcp.extend(&self.payload);
        let mut sum = self.ip.pseudo(TCP, &tcp);
        if self.bad_checksum {
            sum ^= 0x5a5a;
        }
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        self.ip.carry(TCP, &tcp)
    }
}

/// TCP option bytes.
pub mod option {
    pub fn mss(mss: u16) -> Vec<u8> {
        let [a, b] = mss.to_be_bytes();
        vec![2, 4, a, b]
    }
    pub fn sack_permitted() -> Vec<u8> {
        vec![4, 2]
    }
    pub fn timestamps(value: u32, echo: u32) -> Vec<u8> {
        let mut out = vec![8, 10];
        out.extend(value.to_be_bytes());
        out.extend(echo.to_be_bytes());
        out
    }
    pub fn window_scale(shift: u8) -> Vec<u8> {
        vec![1, 3, 3, shift]
    }
    pub fn md5() -> Vec<u8> {
        let mut out = vec![19, 18];
        out.extend([0xa5; 16]);
        out
    }
}

/// The IPv4 packet in pieces of at most `size` payload bytes (rounded down to a multiple of 8).
pub fn fragments(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    assert_eq!(packet[0] >> 4, 4);
    let (head, body) = packet.split_at(usize::from(packet[0] & 15) * 4);
    let size = (size / 8 * 8).max(8);
    let mut out = Vec::new();
    for (i, piece) in body.chunks(size).enumerate() {
        let at = i * size;
        let more = at + piece.len() < body.len();
        let mut p = head.to_vec();
        p[2..4].copy_from_slice(&be16(head.len() + piece.len()));
        p[6..8].copy_from_slice(&((at / 8) as u16 | if more { 0x2000 } else { 0 }).to_be_bytes());
        p[10..12].fill(0);
        let sum = checksum(&[&p]);
        p[10..12].copy_from_slice(&sum.to_be_bytes());
        p.extend(piece);
        out.push(p);
    }
    out
}

/// The internet checksum over all `parts`, each of even length but the last.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A length as two bytes.
pub fn be16(n: usize) -> [u8; 2] {
    u16::try_from(n).expect("length fits 16 bits").to_be_bytes()
}
