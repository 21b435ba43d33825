//! The pages of the rules that need two captures.

use crate::model::finding::{Card, Kind};

const NEEDS: &[&str] =
    &["captures of the same connections at two places, recorded at the same time", "few losses in the captures themselves"];

/// All of them.
pub static CARDS: [Card; 5] = [
    Card {
        rule: "pair.injected",
        kind: Kind::RstInjection,
        mechanisms: &["on_path", "on_syn", "fin", "late", "body", "redirect", "race", "sinkhole", "nxdomain", "alert", "data", "datagram"],
        claim: "A packet reached one capture point and was never sent past the other, from where it claims to come.",
        ladder: "\
A (client)          ?          B (server)
  | ClientHello ----+--------> |
  | <---- RST ------'          |   not in B
  | <----------- ServerHello - |   the server knows nothing of a reset",
        needs: NEEDS,
        innocent: &[
            "the other capture missed the packet",
            "a proxy or performance box that ends the connection",
            "a network card that cuts or joins segments",
            "idle timeout of a device on the way",
            "another way that avoids the other point",
            "the server itself stands between the points",
            "another server with this address, or a resolver's cache between the points",
        ],
        confirm: "Open both captures with the two filters: the packet is in one only, and in the other its sender goes on as if it had not sent it.",
        sources: &["Weaver, Sommer, Paxson: Detecting Forged TCP Reset Packets, NDSS 2009", "RFC 9293"],
    },
    Card {
        rule: "pair.refused",
        kind: Kind::IpBlocking,
        mechanisms: &["icmp"],
        claim: "What left one point for the other was refused between them: it never arrived, and an ICMP error that quotes it came back, which the other point did not send.",
        ladder: "\
A (client)       router        B (server)
  | SYN ------------> X           |   not in B
  | <-- ICMP, quoting it          |   not in B, and not from beyond B: nothing there can quote it",
        needs: NEEDS,
        innocent: &[
            "the other capture missed the packet",
            "another way that avoids the other point",
            "the server itself stands between the points",
            "no route to this address",
        ],
        confirm: "The packet quoted is in one capture only. Trace the path to the address and to others behind the same point, and compare which router answers.",
        sources: &["RFC 792", "RFC 1812, section 5.2.7.1 (codes 9, 10, 13: prohibited)", "RFC 4443, section 3.1 (codes 1, 5, 6)"],
    },
    Card {
        rule: "pair.rewritten",
        kind: Kind::PacketRewriting,
        mechanisms: &["rewrite", "payload", "window"],
        claim: "A packet left one point and arrived at the other as something else: same place in the stream, same identification, other content or a lower window.",
        ladder: "\
A (client)                     B (server)
  |             ServerHello -- |   IP id 0x1a2b
  | <- RST+ACK -'              |   IP id 0x1a2b, no payload",
        needs: NEEDS,
        innocent: &[
            "address translation, MSS clamping, shifted sequence numbers (none of them changes payload or flags)",
            "a helper for FTP or SIP in a translator",
            "a firewall or performance box that sets everybody's windows",
        ],
        confirm: "Compare the two frames side by side.",
        sources: &["Xue et al.: TSPU: Russia's Decentralized Censorship System, IMC 2022"],
    },
    Card {
        rule: "pair.dropped",
        kind: Kind::SniFiltering,
        mechanisms: &[
            "hello_dropped",
            "hello_muted",
            "delayed_drop",
            "byte_quota",
            "syn_silent",
            "drop",
            "initial_dropped",
            "answer_dropped",
            "stalled",
            "stun_dropped",
            "media_cut",
            "all_udp",
            "vpn",
        ],
        claim: "Everything one side of a flow sent from some packet on was lost between the points, while others' packets passed.",
        ladder: "\
A (client)                     B (server)
  | ClientHello ----->X        |
  | ClientHello ----->X        |   again, and again
  | other flow -------------->  |   passes in the same moments",
        needs: NEEDS,
        innocent: &[
            "packet loss",
            "outage of the path",
            "the other capture missed them",
            "another way that avoids the other point",
            "no route to this address",
        ],
        confirm: "The frames named are in one capture only, and the receiver never acknowledged them.",
        sources: &[
            "RFC 9293, section 3.8.1: what was not acknowledged is sent again",
            "RFC 9312, section 4: what can be measured of QUIC from outside",
        ],
    },
    Card {
        rule: "pair.throttled",
        kind: Kind::Throttling,
        mechanisms: &["policing", "shaping", "random_drop"],
        claim: "The flows of one service are held to a rate between the points: what exceeds it is dropped or waits, and other flows are not.",
        ladder: "\
A (server) sends 4 Mbit/s      B (client) receives 150 kbit/s
other flows: sent = received",
        needs: &["captures of the same connections at two places, recorded at the same time", "other flows over the same path"],
        innocent: &["congestion, a slow or shallow link", "a slow server or receiver", "a tariff that slows everything"],
        confirm: "Plot bytes over time of both captures: the curve of the far one is straight where the near one is not.",
        sources: &["Flach et al.: An Internet-Wide Analysis of Traffic Policing, SIGCOMM 2016"],
    },
];
