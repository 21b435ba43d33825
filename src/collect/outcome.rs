//! How each conversation came out, and at which stage it ended.

use crate::model::flow::{Closed, FlowRecord, IDLE_TCP, IDLE_UDP, Outcome, ResetFit, Stage, TcpRecord, VAIN_REPEATS};
use crate::model::key::Proto;
use crate::model::note::Fact;
use crate::model::side::Side;
use crate::model::time::{Span, Time};

/// Silence that counts, at a client or on the path: Cloudflare's server-side 3 s would catch mobile pauses.
const SILENCE: Span = Span::from_secs(5);
/// Silence after which data that flowed counts as stalled.
const STALL: Span = Span::from_secs(10);

/// Settles outcome, stage and closing reason of every flow. `end` is the time of the last packet of the source.
pub fn settle(flows: &mut [FlowRecord], end: Time) {
    for f in flows {
        let (outcome, stage) = match (&f.tcp, f.proto) {
            (Some(tcp), _) => of_tcp(f, tcp, end),
            (None, Proto::UDP) => (of_datagrams(f, end), Stage::None),
            _ => (Outcome::Unknown, Stage::None),
        };
        let once = f.tcp.as_ref().filter(|t| t.side.client.syns <= 1);
        let nearest = once.and_then(|t| Some((f.rtt_to_server()?, t.side.client.rtt.n + u32::from(t.rtt_server.is_some()))));
        (f.outcome, f.stage, f.nearest) = (outcome, stage, nearest);
        // Whether a flow was idle or cut off by the end of the capture must not depend on which shard saw what when.
        if matches!(f.closed, Closed::Idle | Closed::CaptureEnd) {
            let idle = if f.proto == Proto::TCP { IDLE_TCP } else { IDLE_UDP };
            f.closed = if end.since(f.last.ts) > idle { Closed::Idle } else { Closed::CaptureEnd };
        }
    }
}

fn of_tcp(f: &FlowRecord, tcp: &TcpRecord, end: Time) -> (Outcome, Stage) {
    let (c, s) = (&tcp.side.client, &tcp.side.server);
    let stage = stage_at_end(tcp);
    if f.icmp.iter().any(|i| i.about == Side::Client && unreachable(i.version, i.kind)) && s.syns == 0 && s.data_segments == 0 {
        return (Outcome::Refused, Stage::PostSyn);
    }
    if f.totals.server.packets == 0 {
        let silent = c.syns >= 2 || (c.syns == 1 && end.since(f.last.ts) > SILENCE);
        return if c.syns > 0 && silent && c.resets == 0 { (Outcome::SilentSyn, Stage::PostSyn) } else { (Outcome::Unknown, Stage::None) };
    }
    if f.totals.client.packets == 0 {
        return (Outcome::Unknown, Stage::None);
    }
    if tcp.resets.iter().any(|r| r.packet.side == Side::Server && r.fit == ResetFit::OnSyn) && s.syns == 0 {
        return (Outcome::Refused, Stage::PostSyn);
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
            return (Outcome::Reset, stage);
        }
        if let Some(r) = ended_by_reset
            && r.packet.side == Side::Server
        {
            return (Outcome::Reset, stage);
        }
        if !hello_sent {
            return (Outcome::Ok, Stage::None);
        }
        let sent_at = f.totals.client.first_payload.map_or(f.first.ts, |m| m.ts);
        let waited = end.min(f.last.ts.plus(SILENCE)).since(sent_at);
        let waited = if tcp.resets.is_empty() { waited } else { Span::ZERO };
        if waited < SILENCE && c.retransmitted < 2 {
            return (Outcome::Unknown, Stage::None);
        }
        return if c.acked < c.sent.plus(-i64::from(c.fin.is_some())) {
            (Outcome::SilentHello, Stage::PostPsh)
        } else {
            (Outcome::Muted, Stage::PostPsh)
        };
    }
    if ended_by_reset.is_some_and(|r| r.packet.side == Side::Server) {
        return (Outcome::Reset, stage);
    }
    if tcp.resets.is_empty() && Side::BOTH.iter().any(|side| f.in_vain(*side).is_some_and(|v| v.repeats >= VAIN_REPEATS)) {
        return (Outcome::Stalled, Stage::Later);
    }
    // One side went on without an answer: from its own place as well as from the other's.
    for t in [c, s] {
        let u = &t.unanswered;
        if u.retransmissions == 0 || u.packets < 2 || c.resets + s.resets > 0 {
            continue;
        }
        let over = u.first.zip(u.last).map_or(Span::ZERO, |(a, b)| b.ts.since(a.ts));
        let quiet = u.first.is_some_and(|first| end.since(first.ts) > STALL);
        // It may be dying, but the capture may end too early to say.
        let dead = u.packets >= 3 && u.retransmissions >= 2 && quiet || u.retransmissions >= 4 && over > Span::from_secs(3);
        return if dead { (Outcome::Stalled, Stage::Later) } else { (Outcome::Unknown, Stage::None) };
    }
    // A goodbye nobody answered: whether the server was still there, nobody can tell.
    let unheard = c.fin.is_some_and(|(at, _)| c.acked <= at) && s.fin.is_none() && tcp.resets.is_empty();
    (if unheard { Outcome::Unknown } else { Outcome::Ok }, Stage::None)
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

fn of_datagrams(f: &FlowRecord, end: Time) -> Outcome {
    let (c, s) = (&f.totals.client, &f.totals.server);
    if f.icmp.iter().any(|i| i.about == Side::Client && unreachable(i.version, i.kind)) && s.packets == 0 {
        return Outcome::Refused;
    }
    let asked = matches!(f.app, Some("quic" | "dns" | "stun" | "wireguard" | "openvpn" | "ike"));
    match (c.packets, s.packets) {
        (1.., 1..) => Outcome::Ok,
        (2.., 0) if asked && end.since(f.first.ts) > Span::from_secs(2) => Outcome::SilentSyn,
        _ => Outcome::Unknown,
    }
}
