//! What of a flow lies open, so that a million of them can be gone through without opening one.

use super::flow::{Detail, Flow, Outcome};
use super::key::Proto;
use super::note::{Fact, Shape};
use super::side::{PerSide, Side};
use std::ops::{BitOr, BitOrAssign};

/// Of a flow's [`Detail`] what is asked of every flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gist {
    /// Packets of each side, at most `u32::MAX`.
    pub packets: PerSide<u32>,
    /// Transport payload bytes of each side, retransmissions included.
    pub payload: PerSide<u64>,
    /// Packets with payload among the first ([`super::flow::LADDER_HEAD`]).
    pub spoken: u8,
    /// Signs that the detail shows.
    signs: Signs,
}

/// What a flow has of the things that detectors begin with: bits that err on the side of more. None of it is evidence.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Signs(u32);

impl Signs {
    /// A reset was seen.
    pub const RESET: Self = Self(1);
    /// TCP payload was sent again, or a side went on asking.
    pub const RESENT: Self = Self(1 << 1);
    /// A handshake, and a FIN after it.
    pub const FIN: Self = Self(1 << 2);
    /// More than one SYN of the client.
    pub const RESYN: Self = Self(1 << 3);
    /// An ICMP error about it.
    pub const ICMP: Self = Self(1 << 4);
    /// [`Outcome::SilentSyn`].
    pub const SILENT_SYN: Self = Self(1 << 5);
    /// [`Outcome::SilentHello`].
    pub const SILENT_HELLO: Self = Self(1 << 6);
    /// [`Outcome::Muted`].
    pub const MUTED: Self = Self(1 << 7);
    /// A TLS alert in clear.
    pub const ALERT: Self = Self(1 << 8);
    /// A certificate in clear.
    pub const CERTIFICATE: Self = Self(1 << 9);
    /// An HTTP request in clear.
    pub const HTTP: Self = Self(1 << 10);
    /// DNS in clear.
    pub const DNS: Self = Self(1 << 11);
    /// QUIC.
    pub const QUIC: Self = Self(1 << 12);
    /// Datagrams of the client only, at least two.
    pub const UDP_UNANSWERED: Self = Self(1 << 13);
    /// Datagrams both ways, at least 16 in all.
    pub const UDP_EXCHANGE: Self = Self(1 << 14);
    /// At least three datagrams of the client, of no known protocol or a tunnel's.
    pub const TUNNEL: Self = Self(1 << 15);
    /// A side sent enough to have a pace.
    pub const PACE: Self = Self(1 << 16);
    /// At the port of DNS over TLS and QUIC (RFC 7858, RFC 9250).
    pub const PORT_853: Self = Self(1 << 17);
    /// Both sides sent SYNs, and the server not one byte.
    pub const NO_BYTE: Self = Self(1 << 18);
    /// STUN.
    pub const STUN: Self = Self(1 << 19);
    /// DTLS.
    pub const DTLS: Self = Self(1 << 20);

    /// Whether the two have one in common.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of a flow whose outcome is settled. Does not open it.
    pub fn of(flow: &Flow) -> Self {
        let gist = flow.gist();
        let mut signs = gist.signs
            | match flow.outcome {
                Outcome::SilentSyn => Self::SILENT_SYN,
                Outcome::SilentHello => Self::SILENT_HELLO,
                Outcome::Muted => Self::MUTED,
                _ => Self::default(),
            };
        if flow.proto == Proto::UDP {
            let (sent, received) = (gist.packets.client, gist.packets.server);
            signs.put(Self::UDP_UNANSWERED, received == 0 && sent >= 2);
            signs.put(Self::UDP_EXCHANGE, received > 0 && sent.saturating_add(received) >= 16);
            signs.put(Self::TUNNEL, sent >= 3 && matches!(flow.app, None | Some("wireguard" | "openvpn")));
        }
        signs.put(Self::PORT_853, flow.server.port == 853);
        signs.put(Self::QUIC, flow.app == Some("quic"));
        signs.put(Self::STUN, flow.app == Some("stun"));
        signs.put(Self::DNS, flow.app == Some("dns"));
        signs.put(Self::PACE, flow.pace.client.is_some() || flow.pace.server.is_some());
        for note in &flow.notes.list {
            signs |= match note.fact {
                Fact::TlsAlert { .. } => Self::ALERT,
                Fact::Certificate(_) => Self::CERTIFICATE,
                Fact::HttpRequest(_) => Self::HTTP,
                Fact::Dns(_) => Self::DNS,
                Fact::Quic(_) => Self::QUIC,
                Fact::Stun(_) => Self::STUN,
                Fact::Shape(Shape::Dtls) => Self::DTLS,
                _ => Self::default(),
            };
        }
        signs
    }

    fn put(&mut self, sign: Self, there: bool) {
        if there {
            *self |= sign;
        }
    }
}

impl BitOr for Signs {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.and(other)
    }
}

impl BitOrAssign for Signs {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.and(other);
    }
}

impl Gist {
    /// Whether the detail has one of these; of those that depend on more than it nothing is known here.
    pub const fn shows(&self, signs: Signs) -> bool {
        self.signs.meets(signs)
    }

    /// That of a detail.
    pub fn of(detail: &Detail) -> Self {
        let t = &detail.totals;
        let packets = |side: Side| u32::try_from(t[side].packets).unwrap_or(u32::MAX);
        let mut signs = Signs::default();
        signs.put(Signs::ICMP, !detail.icmp.is_empty());
        if let Some(tcp) = &detail.tcp {
            let (c, s) = (&tcp.side.client, &tcp.side.server);
            let again = |side: Side| {
                let t = &tcp.side[side];
                t.retransmitted + t.probes + t.unanswered.retransmissions + t.vain.repeats > 0
            };
            signs.put(Signs::RESET, !tcp.resets.is_empty());
            signs.put(Signs::RESENT, c.data_segments + s.data_segments > 0 && Side::BOTH.into_iter().any(again));
            signs.put(Signs::FIN, tcp.established.is_some() && (c.fin.is_some() || s.fin.is_some()));
            signs.put(Signs::RESYN, c.syns > 1);
            signs.put(Signs::NO_BYTE, c.syn.is_some() && s.syn.is_some() && s.unique == 0);
        }
        Self {
            packets: PerSide { client: packets(Side::Client), server: packets(Side::Server) },
            payload: PerSide { client: t.client.payload, server: t.server.payload },
            spoken: detail.ladder.head.iter().filter(|p| p.len > 0).count() as u8,
            signs,
        }
    }
}
