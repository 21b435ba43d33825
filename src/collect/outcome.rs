//! How each conversation came out, and at which stage it ended.

use crate::model::flow::{Closed, FlowRecord, IDLE_TCP, IDLE_UDP, Outcome, ResetFit, Stage, TcpRecord, VAIN_REPEATS};
use crate::model::key::Proto;
use crate::model::note::Fact;
use crate::model::side::Side;
use crate::model::time::{Span, Time};
use std::num::NonZeroU32;

/// Silence that counts, at a client or on the path: Cloudflare's server-side 3 s would catch mobile pauses.
const SILENCE: Span = Span::from_secs(5);
/// Silence after which data that flowed counts as stalled.
const STALL: Span = Span::from_secs(10);

/// How a flow comes out if the capture ends now, and if it goes on in silence: what is not heard is only missing after a while.
#[derive(Clone, Copy)]
struct Fate {
    soon: (Outcome, Stage),
    later: Option<(Time, Outcome, Stage)>,
}

impl Fate {
    /// Too little was seen to say, whatever comes.
    const UNKNOWN: Self = Self::sure(Outcome::Unknown, Stage::None);

    /// Nothing depends on the end of the capture.
    const fn sure(outcome: Outcome, stage: Stage) -> Self {
        Self { soon: (outcome, stage), later: None }
    }

    /// Unknown in a capture that ends at `after` or before.
    const fn after(after: Time, outcome: Outcome, stage: Stage) -> Self {
        Self { later: Some((after, outcome, stage)), ..Self::UNKNOWN }
    }

    fn at(self, end: Time) -> (Outcome, Stage) {
        match self.later {
            Some((after, outcome, stage)) if end > after => (outcome, stage),
            _ => self.soon,
        }
    }
}

/// Says of a flow that is over what depends on itself alone. Needs it open.
pub fn ripen(f: &mut FlowRecord) {
    let fate = match (&f.tcp, f.proto) {
        (Some(tcp), _) => of_tcp(f, tcp),
        (None, Proto::UDP) => of_datagrams(f),
        _ => Fate::UNKNOWN,
    };
    let once = f.tcp.as_ref().filter(|t| t.side.client.syns <= 1);
    f.nearest = once.and_then(|t| {
        let samples = t.side.client.rtt.n.saturating_add(u32::from(t.rtt_server.is_some()));
        Some((f.rtt_to_server()?, NonZeroU32::new(samples)?))
    });
    ((f.outcome, f.stage), f.later) = (fate.soon, fate.later);
}

/// Settles outcome, stage and closing reason of every flow. `end` is the time of the last packet of the source.
pub fn settle(flows: &mut [FlowRecord], end: Time) {
    for f in flows {
        (f.outcome, f.stage) = Fate { soon: (f.outcome, f.stage), later: f.later }.at(end);
        // Whether a flow was idle or cut off by the end of the capture must not depend on which shard saw what when.
        if matches!(f.closed, Closed::Idle | Closed::CaptureEnd) {
            let idle = if f.proto == Proto::TCP { IDLE_TCP } else { IDLE_UDP };
            f.closed = if end.since(f.last.ts) > idle { Closed::Idle } else { Closed::CaptureEnd };
        }
    }
}

fn of_tcp(f: &FlowRecord, tcp: &TcpRecord) -> Fate {
    let (c, s) = (&tcp.side.client, &tcp.side.server);
    let stage = stage_at_end(tcp);
    if f.icmp.iter().any(|i| i.about == Side::Client && unreachable(i.version, i.kind)) && s.syns == 0 && s.data_segments == 0 {
        return Fate::sure(Outcome::Refused, Stage::PostSyn);
    }
    if f.totals.server.packets == 0 {
        return match c.syns {
            n if n == 0 || c.resets > 0 => Fate::UNKNOWN,
            1 => Fate::after(f.last.ts.plus(SILENCE), Outcome::SilentSyn, Stage::PostSyn),
            _ => Fate::sure(Outcome::SilentSyn, Stage::PostSyn),
        };
    }
    if f.totals.client.packets == 0 {
        return Fate::UNKNOWN;
    }
    if tcp.resets.iter().any(|r| r.packet.side == Side::Server && r.fit == ResetFit::OnSyn) && s.syns == 0 {
        return Fate::sure(Outcome::Refused, Stage::PostSyn);
    }
    let ended_by_reset = tcp.resets.first().filter(|r| {
        // A reset after which its sender went on with new data ended nothing.
        let survived = tcp.after_reset[r.packet.side].new_data > 0
            && tcp.after_reset[r.packet.side.peer()].packets == 0
            && went_on(f, tcp, r.packet.ts);
        !r.fin_before && !r.peer_fin_before && !alert_before(f, r.packet.ts) && !survived
    });
    let hello_sent = c.unique > 0;
    if s.unique == 0 {
        if ended_by_reset.is_some() && hello_sent {
            return Fate::sure(Outcome::Reset, stage);
        }
        if let Some(r) = ended_by_reset
            && r.packet.side == Side::Server
        {
            return Fate::sure(Outcome::Reset, stage);
        }
        if !hello_sent {
            return Fate::sure(Outcome::Ok, Stage::None);
        }
        let acked = c.acked >= c.sent.plus(-i64::from(c.fin.is_some()));
        let outcome = if acked { Outcome::Muted } else { Outcome::SilentHello };
        return match () {
            () if c.retransmitted >= 2 => Fate::sure(outcome, Stage::PostPsh),
            () if !tcp.resets.is_empty() => Fate::UNKNOWN,
            () => {
                let sent_at = f.totals.client.first_payload.map_or(f.first.ts, |m| m.ts);
                Fate::after(sent_at.plus(SILENCE).minus(Span::from_nanos(1)), outcome, Stage::PostPsh)
            }
        };
    }
    if ended_by_reset.is_some_and(|r| r.packet.side == Side::Server) {
        return Fate::sure(Outcome::Reset, stage);
    }
    if tcp.resets.is_empty() && Side::BOTH.iter().any(|side| f.in_vain(*side).is_some_and(|v| v.repeats >= VAIN_REPEATS)) {
        return Fate::sure(Outcome::Stalled, Stage::Later);
    }
    // One side went on without an answer: from its own place as well as from the other's.
    for t in [c, s] {
        let u = &t.unanswered;
        if u.retransmissions == 0 || u.packets < 2 || c.resets + s.resets > 0 {
            continue;
        }
        let over = u.first.zip(u.last).map_or(Span::ZERO, |(a, b)| b.ts.since(a.ts));
        // It may be dying, but the capture may end too early to say.
        return match u.first {
            _ if u.retransmissions >= 4 && over > Span::from_secs(3) => Fate::sure(Outcome::Stalled, Stage::Later),
            Some(first) if u.packets >= 3 && u.retransmissions >= 2 => Fate::after(first.ts.plus(STALL), Outcome::Stalled, Stage::Later),
            _ => Fate::UNKNOWN,
        };
    }
    // A goodbye nobody answered: whether the server was still there, nobody can tell.
    let unheard = c.fin.is_some_and(|(at, _)| c.acked <= at) && s.fin.is_none() && tcp.resets.is_empty();
    Fate::sure(if unheard { Outcome::Unknown } else { Outcome::Ok }, Stage::None)
}

/// Both sides exchanged payload or acknowledgements of it after `ts`.
fn went_on(f: &FlowRecord, tcp: &TcpRecord, ts: Time) -> bool {
    let heard = |side: Side| tcp.side[side].last_packet.is_some_and(|m| m.ts > ts);
    heard(Side::Client) && heard(Side::Server) && f.totals.server.last_payload.is_some_and(|m| m.ts > ts) && tcp.side.server.acked.0 > 1
}

/// Cloudflare's stage of the first reset, counted in what the client had sent before it.
fn stage_at_end(tcp: &TcpRecord) -> Stage {
    let Some(r) = tcp.resets.first() else { return Stage::None };
    let client_sent = if r.packet.side == Side::Client { r.sent } else { r.peer_sent };
    let server_sent = if r.packet.side == Side::Server { r.sent } else { r.peer_sent };
    match (tcp.established.filter(|m| m.frame < r.packet.frame), client_sent.0 > 1, server_sent.0 > 1) {
        (_, true, true) => Stage::Later,
        (_, true, false) => Stage::PostPsh,
        (Some(_), false, _) => Stage::PostAck,
        (None, false, _) => Stage::PostSyn,
    }
}

fn alert_before(f: &FlowRecord, ts: Time) -> bool {
    f.notes.list.iter().any(|n| n.ts <= ts && matches!(n.fact, Fact::TlsAlert { .. } | Fact::TlsEncryptedAlert))
}

/// Destination unreachable (RFC 792, RFC 4443).
fn unreachable(version: u8, kind: u8) -> bool {
    matches!((version, kind), (4, 3) | (6, 1))
}

fn of_datagrams(f: &FlowRecord) -> Fate {
    let (c, s) = (&f.totals.client, &f.totals.server);
    if f.icmp.iter().any(|i| i.about == Side::Client && unreachable(i.version, i.kind)) && s.packets == 0 {
        return Fate::sure(Outcome::Refused, Stage::None);
    }
    let asked = matches!(f.app, Some("quic" | "dns" | "stun" | "wireguard" | "openvpn" | "ike"));
    match (c.packets, s.packets) {
        (1.., 1..) => Fate::sure(Outcome::Ok, Stage::None),
        (2.., 0) if asked => Fate::after(f.first.ts.plus(Span::from_secs(2)), Outcome::SilentSyn, Stage::None),
        _ => Fate::UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_heard_is_only_missing_after_a_while() {
        let at = |s: i64| Time::from_nanos(s * 1_000_000_000);
        let lone_syn = Fate::after(at(5), Outcome::SilentSyn, Stage::PostSyn);
        assert_eq!(lone_syn.at(at(5)), (Outcome::Unknown, Stage::None));
        assert_eq!(lone_syn.at(at(6)), (Outcome::SilentSyn, Stage::PostSyn));
        assert_eq!(Fate::sure(Outcome::Ok, Stage::None).at(at(9)), (Outcome::Ok, Stage::None));
    }
}
