//! TCP (RFC 9293), UDP (RFC 768), ICMP (RFC 792, RFC 4443); other protocols by number.

use super::bytes::{size, u8, u16};
use super::net::{self, Net};
use crate::model::key::{Endpoint, FlowKey, Proto};
use crate::model::oddity::Oddity;
use crate::model::packet::{Body, Datagram, Icmp, Quoted, Segment, TcpFlags};
use crate::model::seq::Seq;
use etherparse::{TcpHeaderSlice, UdpHeaderSlice};

/// Ports of a packet, sender first.
type Ports = (u16, u16);

/// Ports where Community ID wants them: real ports, ICMP type and its counterpart or code, 0 for the rest.
fn ports(proto: u8, body: &[u8]) -> Option<Ports> {
    match Proto(proto) {
        Proto::TCP | Proto::UDP | Proto::SCTP => Some((u16(body, 0)?, u16(body, 2)?)),
        Proto::ICMP => icmp_ports(u8(body, 0)?, u8(body, 1)?, false),
        Proto::ICMP6 => icmp_ports(u8(body, 0)?, u8(body, 1)?, true),
        _ => Some((0, 0)),
    }
}

/// Type and the type that answers it; type and code for messages without an answer.
fn icmp_ports(kind: u8, code: u8, v6: bool) -> Option<Ports> {
    let peer = match (v6, kind) {
        (false, 8) => 0,
        (false, 0) => 8,
        (false, 13) => 14,
        (false, 14) => 13,
        (false, 15) => 16,
        (false, 16) => 15,
        (false, 10) => 9,
        (false, 9) => 10,
        (false, 17) => 18,
        (false, 18) => 17,
        (true, 128) => 129,
        (true, 129) => 128,
        (true, 133) => 134,
        (true, 134) => 133,
        (true, 135) => 136,
        (true, 136) => 135,
        (true, 130) => 131,
        (true, 131) => 130,
        (true, 144) => 145,
        (true, 145) => 144,
        _ => code,
    };
    Some((u16::from(kind), u16::from(peer)))
}

/// The flow of a packet; for an ICMP error that of the packet quoted inside.
pub(super) fn key(bytes: &[u8], net: &Net) -> Result<FlowKey, Oddity> {
    let body = net.body(bytes);
    if let Some(q) = quoted(net.head.proto, body) {
        return Ok(FlowKey::of(q.src, q.dst, q.proto));
    }
    let (src, dst) = ports(net.head.proto, body).ok_or(Oddity::BadTransportHeader)?;
    Ok(FlowKey::of(Endpoint::new(net.src, src), Endpoint::new(net.dst, dst), Proto(net.head.proto)))
}

/// Decodes transport header and payload.
pub(super) fn read<'a>(bytes: &'a [u8], net: &Net) -> Result<(Body<'a>, Ports), Oddity> {
    let body = net.body(bytes);
    let ports = ports(net.head.proto, body).ok_or(Oddity::BadTransportHeader)?;
    let body = match Proto(net.head.proto) {
        Proto::TCP => Body::Tcp(tcp(body, net.wire())?),
        Proto::UDP => Body::Udp(udp(body, net.wire())?),
        Proto::ICMP | Proto::ICMP6 => Body::Icmp(icmp(net.head.proto, body)?),
        _ => Body::Other(body),
    };
    Ok((body, ports))
}

/// `wire` is the length of the segment on the wire, header included.
fn tcp(raw: &[u8], wire: u32) -> Result<Segment<'_>, Oddity> {
    let bad = Oddity::BadTransportHeader;
    let fixed: &[u8; 20] = raw.first_chunk().ok_or(bad)?;
    let [.., offset, low, _, _, _, _, _, _] = *fixed;
    let header = u32::from(offset >> 4).saturating_mul(4);
    if header < 20 || header > wire {
        return Err(bad);
    }
    // Options that the capture cut off do not make the rest unreadable: then the fixed part stands for a whole header.
    let mut alone = *fixed;
    let h = TcpHeaderSlice::from_slice(raw).or_else(|_| {
        if let Some(b) = alone.get_mut(12) {
            *b = 0x50;
        }
        TcpHeaderSlice::from_slice(&alone)
    });
    let h = h.map_err(|_| bad)?;
    Ok(Segment {
        seq: Seq(h.sequence_number()),
        ack: Seq(h.acknowledgment_number()),
        flags: TcpFlags((u16::from(offset & 0x0f) << 8) | u16::from(low)),
        window: h.window_size(),
        options: raw.get(20..size(header).min(raw.len())).unwrap_or_default(),
        payload: raw.get(size(header)..).unwrap_or_default(),
        len: wire.saturating_sub(header),
        raw,
    })
}

/// `wire` is the length of the datagram on the wire as the IP header has it.
fn udp(raw: &[u8], wire: u32) -> Result<Datagram<'_>, Oddity> {
    let h = UdpHeaderSlice::from_slice(raw).map_err(|_| Oddity::BadTransportHeader)?;
    let room = wire.saturating_sub(8);
    // A length of 0 (offload, jumbogram) or one that contradicts the IP header says nothing.
    let len = match u32::from(h.length()).checked_sub(8) {
        Some(n) if n <= room => n,
        _ => room,
    };
    let payload = raw.get(8..).unwrap_or_default();
    Ok(Datagram { payload: payload.get(..size(len)).unwrap_or(payload), len })
}

fn icmp(proto: u8, raw: &[u8]) -> Result<Icmp<'_>, Oddity> {
    let bad = Oddity::BadTransportHeader;
    Ok(Icmp {
        kind: u8(raw, 0).ok_or(bad)?,
        code: u8(raw, 1).ok_or(bad)?,
        quoted: quoted(proto, raw),
        payload: raw.get(8..).unwrap_or_default(),
    })
}

/// The packet quoted inside an ICMP error. Eight bytes of its transport header suffice, and even four.
fn quoted(proto: u8, raw: &[u8]) -> Option<Quoted> {
    if !matches!((Proto(proto), u8(raw, 0)?), (Proto::ICMP, 3 | 4 | 5 | 11 | 12) | (Proto::ICMP6, 1..=4)) {
        return None;
    }
    let inner = raw.get(8..)?;
    let quote = net::read(inner, 0, usize::MAX).ok()?;
    let (src, dst) = match quote.fragment {
        // Only the first fragment has ports.
        Some(f) if f.offset != 0 => (0, 0),
        // Not bounded by the quote's length field: some stacks hand it back in host order.
        _ => ports(quote.head.proto, inner.get(quote.at..)?)?,
    };
    Some(Quoted { src: Endpoint::new(quote.src, src), dst: Endpoint::new(quote.dst, dst), proto: Proto(quote.head.proto) })
}
