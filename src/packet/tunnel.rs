//! IP inside IP, GRE and UDP: where the inner packet begins, if what is there is sound.

use super::bytes::{on, u8, u16, u32};
use super::link::{Hop, Kind, find_ip};
use super::net::{Net, sound};

/// Offset of the IP header inside the tunnel that `outer` carries, if it is one. `bytes` end where `outer` ends.
pub(super) fn inside(bytes: &[u8], outer: &Net) -> Option<usize> {
    let at = outer.at;
    let hop = match outer.head.proto {
        17 => udp(bytes, at, outer.wire_end)?,
        // IP in IP (RFC 2003) and IPv6 in IP (RFC 4213).
        4 | 41 => Hop { at, kind: Kind::Ip },
        47 => gre(bytes, at)?,
        // EtherIP, version 3 (RFC 3378).
        97 if u16(bytes, at)? == 0x3000 => Hop { at: on(at, 2), kind: Kind::Ethernet },
        // MPLS in IP (RFC 4023).
        137 => Hop { at, kind: Kind::Mpls },
        _ => return None,
    };
    let ip_at = find_ip(bytes, hop, outer.wire_end).ok()?;
    sound(bytes, ip_at, outer.wire_end).then_some(ip_at)
}

/// GRE (RFC 2784, RFC 2890), PPTP's version of it (RFC 2637), NVGRE (RFC 7637), ERSPAN (draft-foschiano-erspan-03).
fn gre(bytes: &[u8], at: usize) -> Option<Hop> {
    let flags = u16(bytes, at)?;
    let protocol = u16(bytes, on(at, 2))?;
    let has = |bit: u16, len: usize| if flags & bit != 0 { len } else { 0 };
    let (sequence, key) = (has(0x1000, 4), has(0x2000, 4));
    let body = on(at, 4);
    match flags & 7 {
        0 => {
            // Source routing (RFC 1701) was never used; its entries would follow.
            if flags & 0x4000 != 0 {
                return None;
            }
            let body = on(on(on(body, has(0x8000, 4)), key), sequence);
            match protocol {
                // ERSPAN type II comes with a sequence number and a header of 8 bytes, type I with neither.
                0x88be => Some(Hop { at: on(body, sequence.saturating_mul(2)), kind: Kind::Ethernet }),
                // Type III: 12 bytes, 8 more if the last bit says so.
                0x22eb => {
                    let more = usize::from(u8(bytes, on(body, 11))? & 1).saturating_mul(8);
                    Some(Hop { at: on(on(body, 12), more), kind: Kind::Ethernet })
                }
                0x880b => Some(Hop { at: body, kind: Kind::Ppp }),
                kind => Some(Hop { at: body, kind: Kind::EtherType(kind) }),
            }
        }
        // Version 1 carries PPP if it has a sequence number; without one it is an acknowledgement only.
        1 if protocol == 0x880b && sequence != 0 => Some(Hop { at: on(on(on(body, key), sequence), has(0x0080, 4)), kind: Kind::Ppp }),
        _ => None,
    }
}

/// Tunnels known by their UDP port.
fn udp(bytes: &[u8], at: usize, wire: usize) -> Option<Hop> {
    let (from, to) = (u16(bytes, at)?, u16(bytes, on(at, 2))?);
    let body = on(at, 8);
    match (from, to) {
        (_, 2152) => gtp(bytes, body),
        // Linux used 8472 before the port was assigned.
        (_, 4789 | 8472) => vxlan(bytes, body),
        (_, 6081) => geneve(bytes, body),
        (3544, _) | (_, 3544) => teredo(bytes, body, wire),
        _ => None,
    }
}

/// GTP-U (3GPP TS 29.281 §5): a G-PDU of version 1, with extension headers.
fn gtp(bytes: &[u8], at: usize) -> Option<Hop> {
    let flags = u8(bytes, at)?;
    if flags >> 4 != 3 || u8(bytes, on(at, 1))? != 0xff {
        return None;
    }
    let mut body = on(at, 8);
    if flags & 7 != 0 {
        // Sequence number, N-PDU number, type of the next extension.
        let mut next = if flags & 4 != 0 { u8(bytes, on(at, 11))? } else { 0 };
        body = on(at, 12);
        for _ in 0..8 {
            if next == 0 {
                break;
            }
            let len = usize::from(u8(bytes, body)?).saturating_mul(4);
            next = u8(bytes, on(body, len.checked_sub(1)?))?;
            body = on(body, len);
        }
    }
    Some(Hop { at: body, kind: Kind::Ip })
}

/// VXLAN (RFC 7348 §5): the I flag has to be set, everything reserved is to be ignored.
fn vxlan(bytes: &[u8], at: usize) -> Option<Hop> {
    (u8(bytes, at)? & 0x08 != 0).then_some(Hop { at: on(at, 8), kind: Kind::Ethernet })
}

/// Geneve (RFC 8926 §3.4), version 0.
fn geneve(bytes: &[u8], at: usize) -> Option<Hop> {
    let first = u8(bytes, at)?;
    let kind = u16(bytes, on(at, 2))?;
    let options = usize::from(first & 0x3f).saturating_mul(4);
    (first >> 6 == 0).then_some(Hop { at: on(on(at, 8), options), kind: Kind::EtherType(kind) })
}

/// Teredo (RFC 4380 §5.1): authentication and origin indications, then an IPv6 packet that fills the datagram exactly.
/// The port is in the ephemeral range of many hosts, so the addresses must fit as well.
fn teredo(bytes: &[u8], at: usize, wire: usize) -> Option<Hop> {
    let mut at = at;
    if u16(bytes, at)? == 1 {
        let (id, auth) = (u8(bytes, on(at, 2))?, u8(bytes, on(at, 3))?);
        at = on(on(on(at, 13), usize::from(id)), usize::from(auth));
    }
    if u16(bytes, at)? == 0 {
        at = on(at, 8);
    }
    let exact = on(on(at, 40), usize::from(u16(bytes, on(at, 4))?)) == wire;
    let ours = |address: usize| {
        // 2001:0::/32 is Teredo's own; link-local ones are used with its servers and relays.
        Some(u32(bytes, address)? == 0x2001_0000 || u16(bytes, address)? & 0xffc0 == 0xfe80)
    };
    let known = ours(on(at, 8))? || ours(on(at, 24))?;
    (u8(bytes, at)? >> 4 == 6 && exact && known).then_some(Hop { at, kind: Kind::Ip })
}
