//! Everything an IP packet may be wrapped in: link headers and tunnels.

use super::wire::{self, Ip, be16};
use std::net::{IpAddr, Ipv4Addr};

/// A link type with its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    Ethernet,
    Raw,
    /// BSD loopback, written on a little-endian machine.
    Null,
    /// BSD loopback, written on a big-endian machine.
    NullBig,
    Loop,
    Sll,
    Sll2,
    Ppp,
    Wifi,
    Radiotap,
    Nflog,
}

const NEAR: [u8; 6] = [0x02, 0x00, 0x5e, 0x10, 0x00, 0x01];
const FAR: [u8; 6] = [0x02, 0x00, 0x5e, 0x10, 0x00, 0x02];

impl Link {
    /// `LINKTYPE_*`.
    pub fn number(self) -> u16 {
        match self {
            Self::Ethernet => 1,
            Self::Raw => 101,
            Self::Null | Self::NullBig => 0,
            Self::Loop => 108,
            Self::Sll => 113,
            Self::Sll2 => 276,
            Self::Ppp => 9,
            Self::Wifi => 105,
            Self::Radiotap => 127,
            Self::Nflog => 239,
        }
    }

    /// The frame around an IP packet; `out` when the recording host sent it.
    pub fn wrap(self, packet: &[u8], out: bool) -> Vec<u8> {
        let v6 = packet[0] >> 4 == 6;
        let kind: u16 = if v6 { 0x86dd } else { 0x0800 };
        let family: u32 = if v6 { 30 } else { 2 };
        let mut f = Vec::with_capacity(packet.len() + 48);
        match self {
            Self::Ethernet => return ethernet(kind, packet, out),
            Self::Raw => {}
            Self::Null => f.extend(family.to_le_bytes()),
            Self::NullBig | Self::Loop => f.extend(family.to_be_bytes()),
            Self::Sll => {
                f.extend([0, if out { 4 } else { 0 }, 0, 1, 0, 6]);
                f.extend(if out { NEAR } else { FAR });
                f.extend([0, 0]);
                f.extend(kind.to_be_bytes());
            }
            Self::Sll2 => {
                f.extend(kind.to_be_bytes());
                f.extend([0, 0, 0, 0, 0, 2, 0, 1, if out { 4 } else { 0 }, 6]);
                f.extend(if out { NEAR } else { FAR });
                f.extend([0, 0]);
            }
            Self::Ppp => f.extend([0xff, 0x03, 0x00, if v6 { 0x57 } else { 0x21 }]),
            Self::Wifi => dot11(&mut f, kind, out),
            Self::Radiotap => {
                // Version, pad, length, present: flags and rate. Flags 0x10: the frame ends in its checksum.
                f.extend([0, 0, 10, 0, 0x06, 0, 0, 0, 0x10, 0x6c]);
                dot11(&mut f, kind, out);
                f.extend(packet);
                let fcs = crc32(&f[10..]);
                f.extend(fcs.to_le_bytes());
                return f;
            }
            Self::Nflog => {
                f.extend([if v6 { 10 } else { 2 }, 0, 0, 5]);
                // Packet header (type 1), prefix (type 10), payload (type 9): lengths in the writer's order, padded to 4.
                for (kind, value) in [(1_u16, &[kind.to_be_bytes()[0], kind.to_be_bytes()[1], 3, 0][..]), (10, b"tap\0"), (9, packet)] {
                    f.extend((4 + value.len() as u16).to_le_bytes());
                    f.extend(kind.to_le_bytes());
                    f.extend(value);
                    while !f.len().is_multiple_of(4) {
                        f.push(0);
                    }
                }
                return f;
            }
        }
        f.extend(packet);
        f
    }
}

fn dot11(f: &mut Vec<u8>, kind: u16, out: bool) {
    // QoS data, to or from the access point.
    f.extend([0x88, if out { 0x01 } else { 0x02 }, 0x2c, 0]);
    let bss = [0x02, 0, 0x5e, 0x10, 0, 0xff];
    f.extend(if out { bss } else { NEAR });
    f.extend(if out { NEAR } else { bss });
    f.extend(FAR);
    f.extend([0x10, 0, 0, 0]);
    f.extend([0xaa, 0xaa, 3, 0, 0, 0]);
    f.extend(kind.to_be_bytes());
}

/// An Ethernet frame.
pub fn ethernet(kind: u16, payload: &[u8], out: bool) -> Vec<u8> {
    let mut f = Vec::with_capacity(14 + payload.len());
    f.extend(if out { FAR } else { NEAR });
    f.extend(if out { NEAR } else { FAR });
    f.extend(kind.to_be_bytes());
    f.extend(payload);
    f
}

fn ethertype(packet: &[u8]) -> u16 {
    if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 }
}

/// 802.1Q.
pub fn vlan(packet: &[u8], id: u16, out: bool) -> Vec<u8> {
    let mut p = id.to_be_bytes().to_vec();
    p.extend(ethertype(packet).to_be_bytes());
    p.extend(packet);
    ethernet(0x8100, &p, out)
}

/// 802.1ad with 802.1Q inside.
pub fn qinq(packet: &[u8], outer: u16, inner: u16, out: bool) -> Vec<u8> {
    let mut p = outer.to_be_bytes().to_vec();
    p.extend([0x81, 0x00]);
    p.extend(inner.to_be_bytes());
    p.extend(ethertype(packet).to_be_bytes());
    p.extend(packet);
    ethernet(0x88a8, &p, out)
}

/// Two MPLS labels.
pub fn mpls(packet: &[u8], out: bool) -> Vec<u8> {
    let mut p = (16_001_u32 << 12 | 64).to_be_bytes().to_vec();
    p.extend((299_u32 << 12 | 0x100 | 64).to_be_bytes());
    p.extend(packet);
    ethernet(0x8847, &p, out)
}

/// PPPoE session.
pub fn pppoe(packet: &[u8], out: bool) -> Vec<u8> {
    let mut p = vec![0x11, 0, 0x12, 0x34];
    p.extend(be16(packet.len() + 2));
    p.extend(if packet[0] >> 4 == 6 { [0, 0x57] } else { [0, 0x21] });
    p.extend(packet);
    ethernet(0x8864, &p, out)
}

/// The IPv4 addresses of a tunnel's ends.
fn outer(out: bool) -> Ip {
    let (a, b) = (IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)), IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)));
    if out { Ip::new(a, b) } else { Ip::new(b, a) }
}

/// GRE with a key.
pub fn gre(packet: &[u8], out: bool) -> Vec<u8> {
    let mut p = vec![0x20, 0];
    p.extend(ethertype(packet).to_be_bytes());
    p.extend([0, 0, 0, 42]);
    p.extend(packet);
    outer(out).carry(wire::GRE, &p)
}

/// IP in IP: IPIP for IPv4, 6in4 for IPv6.
pub fn ip_in_ip(packet: &[u8], out: bool) -> Vec<u8> {
    outer(out).carry(if packet[0] >> 4 == 6 { wire::IPV6 } else { wire::IPIP }, packet)
}

/// GTP-U with a sequence number.
pub fn gtpu(packet: &[u8], teid: u32, seq: u16, out: bool) -> Vec<u8> {
    let mut p = vec![0x32, 0xff];
    p.extend(be16(packet.len() + 4));
    p.extend(teid.to_be_bytes());
    p.extend(seq.to_be_bytes());
    p.extend([0, 0]);
    p.extend(packet);
    outer(out).udp(2152, 2152, &p)
}

/// VXLAN.
pub fn vxlan(packet: &[u8], vni: u32, out: bool) -> Vec<u8> {
    let mut p = vec![8, 0, 0, 0];
    p.extend((vni << 8).to_be_bytes());
    p.extend(Link::Ethernet.wrap(packet, out));
    outer(out).udp(51_234, 4789, &p)
}

/// Teredo: IPv6 in UDP port 3544.
pub fn teredo(packet: &[u8], out: bool) -> Vec<u8> {
    if out { outer(out).udp(61_005, 3544, packet) } else { outer(out).udp(3544, 61_005, packet) }
}

/// PCAPdroid's form: a made-up Ethernet header, the packet, 32 bytes that name the app.
pub fn pcapdroid(packet: &[u8], uid: i32, app: &str) -> Vec<u8> {
    let mut f = vec![0; 12];
    f.extend(ethertype(packet).to_be_bytes());
    f.extend(packet);
    f.extend(0x0107_2021_u32.to_be_bytes());
    f.extend(uid.to_be_bytes());
    let mut name = app.as_bytes().to_vec();
    name.resize(20, 0);
    f.extend(name);
    let fcs = crc32(&f);
    f.extend(fcs.to_le_bytes());
    f
}

/// CRC-32 as Ethernet uses it.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for &b in bytes {
        crc ^= u32::from(b);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    !crc
}
