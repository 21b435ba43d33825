//! Who began a conversation, as far as its first packet tells.

use crate::model::flow::RoleBasis;
use crate::model::key::Endpoint;
use crate::model::packet::{Body, Packet};

/// Ports ≥ 1024 on which servers listen often enough to guess the roles of a flow whose beginning was not captured (IANA registry).
const SERVER_PORTS: [u16; 22] =
    [1194, 1723, 3306, 3389, 3478, 4244, 4433, 4500, 5060, 5061, 5222, 5223, 5228, 5242, 5432, 6667, 6697, 8000, 8080, 8443, 8888, 51820];

/// Client, server, and how that is known.
pub(super) fn assign(packet: &Packet<'_>) -> (Endpoint, Endpoint, RoleBasis) {
    let (src, dst) = (packet.src, packet.dst);
    match &packet.body {
        Body::Tcp(seg) if seg.flags.syn() && seg.flags.ack() => (dst, src, RoleBasis::SynAck),
        Body::Tcp(seg) if seg.flags.syn() => (src, dst, RoleBasis::Syn),
        Body::Tcp(_) => guess(src, dst, RoleBasis::FirstSender),
        Body::Udp(_) => guess_datagram(src, dst),
        Body::Icmp(_) | Body::Other(_) => (src, dst, RoleBasis::FirstDatagram),
    }
}

/// A first datagram usually comes from the client, unless it comes from a well-known port to a port that is not.
fn guess_datagram(src: Endpoint, dst: Endpoint) -> (Endpoint, Endpoint, RoleBasis) {
    match (listens(src.port), listens(dst.port)) {
        (true, false) => (dst, src, RoleBasis::PortGuess),
        _ => (src, dst, RoleBasis::FirstDatagram),
    }
}

fn guess(src: Endpoint, dst: Endpoint, otherwise: RoleBasis) -> (Endpoint, Endpoint, RoleBasis) {
    match (listens(src.port), listens(dst.port)) {
        (true, false) => (dst, src, RoleBasis::PortGuess),
        (false, true) => (src, dst, RoleBasis::PortGuess),
        _ => (src, dst, otherwise),
    }
}

fn listens(port: u16) -> bool {
    port < 1024 || SERVER_PORTS.binary_search(&port).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_list_is_sorted_for_binary_search() {
        assert!(SERVER_PORTS.is_sorted());
    }
}
