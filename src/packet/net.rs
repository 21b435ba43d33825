//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers, extension headers included.

use super::bytes::{len32, on, u8, u16, u32};
use crate::model::oddity::Oddity;
use crate::model::packet::IpHead;
use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};
use std::net::IpAddr;

/// Extension headers followed in one packet.
const EXTENSIONS: usize = 16;

/// An IP packet inside a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Net {
    pub head: IpHead,
    pub src: IpAddr,
    pub dst: IpAddr,
    /// Offset of the transport header.
    pub at: usize,
    /// Offset behind the last captured byte of the packet.
    pub end: usize,
    /// Offset at which the packet ended on the wire; not less than `end` and `at`.
    pub wire_end: usize,
    /// It is a fragment.
    pub fragment: Option<Fragment>,
}

impl Net {
    /// Bytes of transport header and payload on the wire.
    pub(super) fn wire(&self) -> u32 {
        len32(self.wire_end.saturating_sub(self.at))
    }
    /// Captured bytes of transport header and payload.
    pub(super) fn body<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.at..self.end).unwrap_or_default()
    }
}

/// What makes a packet a fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fragment {
    pub id: u32,
    /// Offset of its bytes in the whole, in bytes.
    pub offset: u32,
    /// More follow.
    pub more: bool,
    /// IPv6: where the fragment header lies and the byte that announces it. IPv4 has none.
    pub header: Option<(usize, usize)>,
}

/// Reads the IP header at `at`. `wire` is the offset at which the bytes around it ended on the wire.
pub(super) fn read(bytes: &[u8], at: usize, wire: usize) -> Result<Net, Oddity> {
    let rest = bytes.get(at..).unwrap_or_default();
    match u8(rest, 0).map(|b| b >> 4) {
        Some(4) => v4(bytes, rest, at, wire),
        Some(6) => v6(bytes, rest, at, wire),
        _ => Err(Oddity::BadIpHeader),
    }
}

fn v4(bytes: &[u8], rest: &[u8], at: usize, wire: usize) -> Result<Net, Oddity> {
    let h = Ipv4HeaderSlice::from_slice(rest).map_err(|_| Oddity::BadIpHeader)?;
    let header = h.slice().len();
    let total = usize::from(h.total_len());
    // 0: a host with segmentation offload captured it before the card filled it in.
    let wire_end = if total == 0 { wire.max(bytes.len()) } else { on(at, total) };
    if wire_end < on(at, header) {
        return Err(Oddity::BadIpHeader);
    }
    let mut net = Net {
        head: IpHead {
            proto: h.protocol().0,
            ttl: h.ttl(),
            tos: u8(rest, 1).unwrap_or(0),
            id: Some(h.identification()),
            df: h.dont_fragment(),
            flow_label: 0,
            total_len: u32::from(h.total_len()),
            rebuilt: false,
        },
        src: IpAddr::V4(h.source_addr()),
        dst: IpAddr::V4(h.destination_addr()),
        at: on(at, header),
        end: wire_end.min(bytes.len()),
        wire_end,
        fragment: None,
    };
    if h.is_fragmenting_payload() {
        net.fragment = Some(Fragment {
            id: u32::from(h.identification()),
            offset: u32::from(h.fragments_offset().value()).saturating_mul(8),
            more: h.more_fragments(),
            header: None,
        });
    } else if net.head.proto == 51 {
        extensions(bytes, &mut net, at)?;
    }
    Ok(net)
}

fn v6(bytes: &[u8], rest: &[u8], at: usize, wire: usize) -> Result<Net, Oddity> {
    let h = Ipv6HeaderSlice::from_slice(rest).map_err(|_| Oddity::BadIpHeader)?;
    let body = on(at, 40);
    let len = usize::from(h.payload_length());
    let proto = h.next_header().0;
    // 0: a jumbogram (RFC 2675) or segmentation offload, unless nothing follows at all.
    let offloaded = len == 0 && proto != 59;
    let wire_end = if offloaded { wire.max(bytes.len()) } else { on(body, len) };
    let mut net = Net {
        head: IpHead {
            proto,
            ttl: h.hop_limit(),
            tos: h.traffic_class(),
            id: None,
            df: false,
            flow_label: h.flow_label().value(),
            total_len: if offloaded { 0 } else { len32(len.saturating_add(40)) },
            rebuilt: false,
        },
        src: IpAddr::V6(h.source_addr()),
        dst: IpAddr::V6(h.destination_addr()),
        at: body,
        end: wire_end.min(bytes.len()),
        wire_end,
        fragment: None,
    };
    if matches!(proto, 0 | 43 | 44 | 51 | 60) {
        extensions(bytes, &mut net, on(at, 6))?;
    }
    Ok(net)
}

/// Walks extension headers (RFC 8200 §4) and AH (RFC 4302) up to the transport header or the fragment header of a real
/// fragment. `named_at` is where the next header's number stands.
fn extensions(bytes: &[u8], net: &mut Net, mut named_at: usize) -> Result<(), Oddity> {
    let bytes = bytes.get(..net.end).unwrap_or(bytes);
    for _ in 0..EXTENSIONS {
        let at = net.at;
        let len = match net.head.proto {
            0 | 43 | 60 => usize::from(u8(bytes, on(at, 1)).ok_or(Oddity::BadIpHeader)?).saturating_add(1).saturating_mul(8),
            51 => usize::from(u8(bytes, on(at, 1)).ok_or(Oddity::BadIpHeader)?).saturating_add(2).saturating_mul(4),
            44 => {
                let field = u16(bytes, on(at, 2)).ok_or(Oddity::BadIpHeader)?;
                let id = u32(bytes, on(at, 4)).ok_or(Oddity::BadIpHeader)?;
                // Offset 0 and no more to come is an atomic fragment (RFC 6946): a whole packet.
                if field & 0xfff9 != 0 {
                    net.head.proto = u8(bytes, at).ok_or(Oddity::BadIpHeader)?;
                    net.fragment =
                        Some(Fragment { id, offset: u32::from(field & 0xfff8), more: field & 1 != 0, header: Some((at, named_at)) });
                    net.at = on(at, 8);
                    return if net.at <= net.wire_end { Ok(()) } else { Err(Oddity::BadIpHeader) };
                }
                8
            }
            _ => return Ok(()),
        };
        net.head.proto = u8(bytes, at).ok_or(Oddity::BadIpHeader)?;
        named_at = at;
        net.at = on(at, len);
        if net.at > net.wire_end {
            return Err(Oddity::BadIpHeader);
        }
    }
    Err(Oddity::BadIpHeader)
}

/// Whether an IP header at `at` is sound in version and lengths and fits the room that ended at `wire`. Asked wherever no
/// field vouches for an IP packet.
pub(super) fn sound(bytes: &[u8], at: usize, wire: usize) -> bool {
    let Some(first) = u8(bytes, at) else { return false };
    match first >> 4 {
        4 => {
            let header = usize::from(first & 0x0f).saturating_mul(4);
            let total = usize::from(u16(bytes, on(at, 2)).unwrap_or(0));
            header >= 20 && total >= header && on(at, total) <= wire && on(at, header) <= bytes.len()
        }
        6 => {
            let len = usize::from(u16(bytes, on(at, 4)).unwrap_or(u16::MAX));
            on(on(at, 40), len) <= wire && on(at, 40) <= bytes.len()
        }
        _ => false,
    }
}
