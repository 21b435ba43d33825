//! From the first byte of a frame down to an IP header: link layers (<https://www.tcpdump.org/linktypes.html>), tags and labels.

use super::bytes::{on, size, u8, u16, u16_le, u32, u32_le};
use super::net::sound;
use super::wifi;
use crate::model::frame::LinkType;
use crate::model::oddity::Oddity;

/// Tags, labels and headers followed inside one link layer.
const HOPS: usize = 32;
/// Link types that are cheap to read and have no name in the model.
const PPI: LinkType = LinkType(192);
const PRISM: LinkType = LinkType(119);
const AVS: LinkType = LinkType(163);
const CISCO_HDLC: LinkType = LinkType(104);
const FDDI: LinkType = LinkType(10);
const FRAME_RELAY: LinkType = LinkType(107);
const PPP_PPPD: LinkType = LinkType(166);
const PPP_WITH_DIR: LinkType = LinkType(204);

/// What stands at an offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// An IP header of either version.
    Ip,
    /// Whatever this EtherType says.
    EtherType(u16),
    /// An Ethernet header.
    Ethernet,
    /// An LLC header (IEEE 802.2).
    Llc,
    /// A PPP protocol field, perhaps after address and control.
    Ppp,
    /// An MPLS label stack.
    Mpls,
}

/// A header to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hop {
    pub at: usize,
    pub kind: Kind,
}

const fn hop(at: usize, kind: Kind) -> Result<Hop, Oddity> {
    Ok(Hop { at, kind })
}

/// Reads the header of a frame's link type.
pub(super) fn enter(link: LinkType, bytes: &[u8]) -> Result<Hop, Oddity> {
    const SHORT: Oddity = Oddity::ShortLink;
    match link {
        LinkType::ETHERNET => hop(0, Kind::Ethernet),
        LinkType::RAW | LinkType::RAW_BSD | LinkType::RAW_OPENBSD | LinkType::IPV4 | LinkType::IPV6 => hop(0, Kind::Ip),
        LinkType::LINUX_SLL => hop(16, cooked(u16(bytes, 14).ok_or(SHORT)?)),
        LinkType::LINUX_SLL2 => {
            u8(bytes, 19).ok_or(SHORT)?;
            hop(20, cooked(u16(bytes, 0).ok_or(SHORT)?))
        }
        LinkType::NULL | LinkType::LOOP => {
            let family = u32(bytes, 0).ok_or(SHORT)?;
            // The writer's byte order is unknown, but families are small: one reading of the number is.
            match family.min(family.swap_bytes()) {
                // Cisco HDLC, which some captures of serial links carry under this number.
                _ if matches!(bytes, [0x0f | 0x8f, 0, ..]) => hop(4, Kind::EtherType(u16(bytes, 2).ok_or(SHORT)?)),
                // AF_INET; AF_INET6 of Linux, BSD, FreeBSD and Darwin, and Windows as 23.
                2 | 10 | 23 | 24 | 28 | 30 => hop(4, Kind::Ip),
                _ => Err(Oddity::NotIp),
            }
        }
        LinkType::PPP | LinkType::PPP_HDLC => match bytes {
            // Cisco HDLC in PPP's clothes: address (unicast or broadcast), control 0, EtherType.
            [0x0f | 0x8f, 0, ..] => hop(4, Kind::EtherType(u16(bytes, 2).ok_or(SHORT)?)),
            _ => hop(0, Kind::Ppp),
        },
        // One byte of direction: before the frame, or in the place of its address byte.
        PPP_WITH_DIR => hop(1, Kind::Ppp),
        PPP_PPPD => match bytes {
            [_, 3, ..] => hop(2, Kind::Ppp),
            _ => hop(1, Kind::Ppp),
        },
        CISCO_HDLC => hop(4, Kind::EtherType(u16(bytes, 2).ok_or(SHORT)?)),
        // Frame control, two addresses.
        FDDI => hop(13, Kind::Llc),
        // Two bytes of Q.922 address, control, then a protocol id (RFC 2427 §4) that says IP for itself or SNAP.
        FRAME_RELAY => match bytes {
            [_, _, 3, 0xcc | 0x8e, ..] => hop(4, Kind::Ip),
            [_, _, 3, 0, 0x80, 0, 0, 0, hi, lo, ..] | [_, _, 3, 0x80, 0, 0, 0, hi, lo, ..] => {
                hop(if bytes.get(3) == Some(&0) { 10 } else { 9 }, Kind::EtherType(u16::from_be_bytes([*hi, *lo])))
            }
            [_, _, _, _, ..] => Err(Oddity::NotIp),
            _ => Err(SHORT),
        },
        LinkType::PPP_ETHER => hop(0, Kind::EtherType(0x8864)),
        LinkType::IEEE802_11 => wifi::data(bytes, 0, false),
        LinkType::IEEE802_11_RADIOTAP => wifi::radiotap(bytes, 0),
        PRISM => wifi::prism(bytes),
        AVS => wifi::avs(bytes),
        // Version, flags, length, link type, all little-endian.
        PPI => behind_meta(bytes, usize::from(u16_le(bytes, 2).ok_or(SHORT)?), u32_le(bytes, 4).ok_or(SHORT)?),
        // Length, kind, link type, in the byte order of the Mac that wrote it.
        LinkType::PKTAP | LinkType::PKTAP_USER2 => behind_meta(bytes, size(u32_le(bytes, 0).ok_or(SHORT)?), u32_le(bytes, 8).ok_or(SHORT)?),
        LinkType::NFLOG => nflog(bytes),
        _ => Err(Oddity::UnknownLinkType),
    }
}

/// The frame behind a wrapper of `len` bytes that names its link type. Wrappers inside wrappers are not followed: they could
/// go on for ever.
fn behind_meta(bytes: &[u8], len: usize, link: u32) -> Result<Hop, Oddity> {
    let link = LinkType(u16::try_from(link).unwrap_or(u16::MAX));
    if matches!(link, PPI | LinkType::PKTAP | LinkType::PKTAP_USER2) {
        return Err(Oddity::UnknownLinkType);
    }
    let inner = enter(link, bytes.get(len..).ok_or(Oddity::ShortLink)?)?;
    hop(on(len, inner.at), inner.kind)
}

/// The protocol field of Linux cooked headers: an EtherType, or one of Linux's own numbers below 0x0600.
const fn cooked(protocol: u16) -> Kind {
    match protocol {
        0x0004 => Kind::Llc,
        n => Kind::EtherType(n),
    }
}

/// Netfilter log: 4 bytes of header, then attributes; the packet is attribute 9. Lengths are in the writer's byte order.
fn nflog(bytes: &[u8]) -> Result<Hop, Oddity> {
    let find = |number: fn(&[u8], usize) -> Option<u16>| {
        let mut at = 4_usize;
        for _ in 0..HOPS {
            let len = usize::from(number(bytes, at)?);
            let kind = number(bytes, on(at, 2))?;
            if len < 4 {
                return None;
            }
            if kind & 0x7fff == 9 {
                return Some(on(at, 4));
            }
            at = on(at, len.next_multiple_of(4));
        }
        None
    };
    let at = find(u16_le).or_else(|| find(u16)).ok_or(Oddity::NotIp)?;
    hop(at, Kind::Ip)
}

/// Follows link headers from `hop` to an IP header and gives its offset. `wire` is where the frame (or the packet around)
/// ended on the wire; it helps to tell IP from other payloads where no field does.
pub(super) fn find_ip(bytes: &[u8], mut hop: Hop, wire: usize) -> Result<usize, Oddity> {
    for _ in 0..HOPS {
        let at = hop.at;
        hop = match hop.kind {
            Kind::Ip => return Ok(at),
            Kind::Ethernet => ethernet(bytes, at)?,
            Kind::Llc => llc(bytes, at)?,
            Kind::EtherType(kind) => match kind {
                0x0800 | 0x86dd => return Ok(at),
                // 802.1Q, 802.1ad and its forerunner: tag, then the next EtherType.
                0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
                    let next = u16(bytes, on(at, 2)).ok_or(Oddity::ShortLink)?;
                    let at = on(at, 4);
                    // Below 0x0600 it is a length: LLC follows.
                    if next < 0x0600 { Hop { at, kind: Kind::Llc } } else { Hop { at, kind: Kind::EtherType(next) } }
                }
                0x8847 | 0x8848 => Hop { at, kind: Kind::Mpls },
                0x8864 => pppoe(bytes, at)?,
                0x6558 => Hop { at, kind: Kind::Ethernet },
                // MACsec.
                0x88e5 => return Err(Oddity::Encrypted),
                _ => return Err(Oddity::NotIp),
            },
            Kind::Ppp => ppp(bytes, at)?,
            Kind::Mpls => mpls(bytes, at, wire)?,
        };
    }
    Err(Oddity::TunnelDepth)
}

/// Ethernet II, or IEEE 802.3 with LLC.
fn ethernet(bytes: &[u8], at: usize) -> Result<Hop, Oddity> {
    let kind = u16(bytes, on(at, 12)).ok_or(Oddity::ShortLink)?;
    let at = on(at, 14);
    hop(at, if kind >= 0x0600 { Kind::EtherType(kind) } else { Kind::Llc })
}

/// LLC: SNAP with an EtherType (OUI 0 or 0000F8), or IP's own SAP.
fn llc(bytes: &[u8], at: usize) -> Result<Hop, Oddity> {
    match bytes.get(at..).ok_or(Oddity::ShortLink)? {
        [0xaa, 0xaa, 3, 0, 0, 0 | 0xf8, hi, lo, ..] => hop(on(at, 8), Kind::EtherType(u16::from_be_bytes([*hi, *lo]))),
        [6, 6, 3, ..] => hop(on(at, 3), Kind::Ip),
        [] | [_] | [_, _] => Err(Oddity::ShortLink),
        _ => Err(Oddity::NotIp),
    }
}

/// PPPoE session header (RFC 2516 §4).
fn pppoe(bytes: &[u8], at: usize) -> Result<Hop, Oddity> {
    match bytes.get(at..).unwrap_or_default() {
        [0x11, 0, _, _, _, _, ..] => hop(on(at, 6), Kind::Ppp),
        [_, _, _, _, _, _, ..] => Err(Oddity::NotIp),
        _ => Err(Oddity::ShortLink),
    }
}

/// PPP: address and control may be left out, and the protocol field may be one byte (RFC 1661 §6.5, §6.6).
fn ppp(bytes: &[u8], at: usize) -> Result<Hop, Oddity> {
    let at = match bytes.get(at..) {
        Some([0xff, 3, ..]) => on(at, 2),
        _ => at,
    };
    let first = u8(bytes, at).ok_or(Oddity::ShortLink)?;
    // The last byte of a protocol number is odd, every other one even.
    let (protocol, at) = if first & 1 == 1 { (u16::from(first), on(at, 1)) } else { (u16(bytes, at).ok_or(Oddity::ShortLink)?, on(at, 2)) };
    match protocol {
        0x0021 | 0x0057 => hop(at, Kind::Ip),
        0x0281 | 0x0283 => hop(at, Kind::Mpls),
        // ECP and its single-link form.
        0x0053 | 0x0055 => Err(Oddity::Encrypted),
        _ => Err(Oddity::NotIp),
    }
}

/// MPLS label stack (RFC 3032). Nothing says what follows the last label: IP if it looks like IP in its whole header,
/// else a pseudo-wire with control word (RFC 4385) or without.
fn mpls(bytes: &[u8], mut at: usize, wire: usize) -> Result<Hop, Oddity> {
    for _ in 0..HOPS {
        let label = u32(bytes, at).ok_or(Oddity::ShortLink)?;
        at = on(at, 4);
        if label & 0x100 == 0 {
            continue;
        }
        if sound(bytes, at, wire) {
            return hop(at, Kind::Ip);
        }
        let known = |at| matches!(u16(bytes, on(at, 12)), Some(0x0800 | 0x86dd | 0x8100 | 0x88a8 | 0x8847 | 0x8864));
        return match u8(bytes, at).ok_or(Oddity::ShortLink)? >> 4 {
            // A control word, or an address of the many that begin like one: the EtherType shows which.
            0 if !known(on(at, 4)) && known(at) => hop(at, Kind::Ethernet),
            0 => hop(on(at, 4), Kind::Ethernet),
            // Associated channel: operations messages.
            1 => Err(Oddity::NotIp),
            _ => hop(at, Kind::Ethernet),
        };
    }
    Err(Oddity::TunnelDepth)
}

/// A length field of a header as an offset behind it.
pub(super) fn behind(at: usize, len: u32) -> usize {
    on(at, size(len))
}
