//! Reads headers laxly: a frame becomes one packet, or one oddity that says where and why reading stopped.
//!
//! [`peek`] goes from the link layer (`link`, `wifi`) through tunnels (`tunnel`) to the innermost IP header and names
//! the flow; [`read`] decodes the packet at the place `peek` found. Nothing is kept between frames, except by the
//! [`Defragmenter`] within its bounds. No header decoding allocates.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)
)]

mod bytes;
mod fragments;
mod link;
mod net;
mod owner;
mod transport;
mod tunnel;
mod wifi;

#[cfg(test)]
mod tests;

pub use fragments::{Defragmenter, FragmentName};

use crate::model::frame::{FrameHead, FrameRef, LinkType, Place};
use crate::model::key::{Endpoint, FlowKey};
use crate::model::oddity::Oddity;
use crate::model::packet::Packet;

/// Tunnels inside one another that are followed.
const TUNNELS: usize = 8;

/// What a glance at a frame tells: enough to choose the shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peek {
    /// A packet of a flow.
    Flow {
        /// Offset of the innermost IP header in the frame.
        ip_at: u16,
        /// Its flow. For an ICMP error the flow of the packet quoted inside, so that the error meets it.
        key: FlowKey,
    },
    /// A fragment of an IP packet: for [`Defragmenter::offer`], from this header on.
    Fragment {
        /// Offset of the IP header in the frame.
        ip_at: u16,
    },
}

/// Where the innermost IP header of a frame lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spot {
    /// That of a packet, at this offset.
    Packet(u16),
    /// That of a fragment: for [`Defragmenter::offer`], from this offset on.
    Fragment(u16),
}

/// Finds the innermost IP header of a frame and the flow it belongs to, see [`find`].
///
/// # Errors
/// Why the frame is no packet of any flow.
pub fn peek(head: &FrameHead, bytes: &[u8]) -> Result<Peek, Oddity> {
    match innermost(head, bytes)? {
        (Spot::Packet(ip_at), packet) => Ok(Peek::Flow { ip_at, key: transport::key(bytes, &packet)? }),
        (Spot::Fragment(ip_at), _) => Ok(Peek::Fragment { ip_at }),
    }
}

/// Finds the innermost IP header of a frame, through link layer and tunnels. Where it does not matter whose packet it is.
///
/// A tunnel is followed only where the header inside is sound, so traffic that merely uses a tunnel's port stays what it is.
///
/// # Errors
/// Why the frame is no packet of any flow, but for what its transport header says.
pub fn find(head: &FrameHead, bytes: &[u8]) -> Result<Spot, Oddity> {
    innermost(head, bytes).map(|(spot, _)| spot)
}

fn innermost(head: &FrameHead, bytes: &[u8]) -> Result<(Spot, net::Net), Oddity> {
    let wire = bytes::size(head.original).max(bytes.len());
    let mut ip_at = link::find_ip(bytes, link::enter(head.link, bytes)?, wire)?;
    let mut packet = net::read(bytes, ip_at, wire)?;
    let mut depth = 0_usize;
    while packet.fragment.is_none() {
        // What lies inside is bounded by the packet around it, not by the frame.
        let held = bytes.get(..packet.end).unwrap_or(bytes);
        let Some(inner) = tunnel::inside(held, &packet) else { break };
        if depth == TUNNELS {
            return Err(Oddity::TunnelDepth);
        }
        depth = depth.saturating_add(1);
        ip_at = inner;
        packet = net::read(held, inner, packet.wire_end)?;
    }
    let at = u16::try_from(ip_at).map_err(|_| Oddity::BadIpHeader)?;
    let spot = if packet.fragment.is_some() { Spot::Fragment(at) } else { Spot::Packet(at) };
    Ok((spot, packet))
}

/// Decodes the packet whose IP header lies at `frame.ip_at`, as [`peek`] found it. Tunnels inside are not looked for.
///
/// # Errors
/// Why the bytes there are no packet. A fragment gives [`Oddity::FragmentHeld`]: it has to be put together first.
pub fn read<'a>(frame: &FrameRef, bytes: &'a [u8]) -> Result<Packet<'a>, Oddity> {
    let wire = bytes::size(frame.head.original).max(bytes.len());
    let mut net = net::read(bytes, usize::from(frame.ip_at), wire)?;
    if net.fragment.is_some() {
        return Err(Oddity::FragmentHeld);
    }
    net.head.rebuilt = frame.place == Place::Rebuilt;
    let (body, (src, dst)) = transport::read(bytes, &net)?;
    Ok(Packet {
        frame: frame.head.number,
        ts: frame.head.ts,
        src: Endpoint::new(net.src, src),
        dst: Endpoint::new(net.dst, dst),
        ip: net.head,
        body,
        owner: match frame.head.link {
            LinkType::PKTAP | LinkType::PKTAP_USER2 => owner::process(bytes),
            _ => owner::find(bytes, net.end),
        },
    })
}
