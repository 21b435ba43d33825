//! Tests of race and consistency (Weaver, Sommer & Paxson, NDSS 2009): what came after a reset, how early it came, how it was repeated.

use super::headers::Baseline;
use crate::detect::weigh::{Weigh, count};
use crate::model::flow::{Brief, FlowRecord, ResetSeen, TcpRecord, mark};
use crate::model::frame::FrameNo;
use crate::model::scene::Scene;
use crate::model::seq::Pos;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::{Span, Time};

/// Capture queues may swap packets this far apart.
pub(super) const REORDER: Span = Span::from_millis(2);
/// Packets sent together arrive within this span.
pub(super) const BURST: Span = Span::from_millis(10);
/// No stack repeats a reset after this long without being provoked by a packet.
const UNPROVOKED: Span = Span::from_millis(100);
/// Up to this many samples the smallest round trip may be an inflated one.
const FEW: u32 = 2;
/// A round trip below this cannot be told from scheduling noise.
const MIN_RTT: Span = Span::from_millis(4);

/// Share of the smallest round trip seen below which an answer is too early for physics. A single sample may be inflated several times
/// (a radio waking up, a queue), many samples may not.
pub(in crate::detect) fn physics_share(samples: u32) -> f64 {
    match samples {
        0..=FEW => 0.15,
        3..=5 => 0.4,
        _ => 0.6,
    }
}

/// Data or acknowledgements after a reset: who reset a connection does not go on speaking in it.
pub(super) fn after_the_reset(scene: &Scene<'_>, tcp: &TcpRecord, side: Side, first: &ResetSeen, w: &mut Weigh) {
    let a = &tcp.after_reset[side];
    let at = first.packet;
    if let Some(data) = a.first_new {
        let gap = data.ts.since(at.ts);
        let says = format!("the sender of the reset went on sending new data {gap} later");
        let value = format!("{} at or beyond the reset's position", count(a.new_data, "segment"));
        if gap > REORDER || a.new_data > 1 {
            w.proof(says, value, "none: a stack that reset a connection has forgotten it", &[at.frame, data.frame]);
        } else {
            w.fact(3.0, says, value, "none", &[at.frame, data.frame]);
        }
        return;
    }
    let Some(packet) = a.first else { return };
    let gap = packet.ts.since(at.ts);
    // An ordinary close sends FIN and stragglers; only live traffic proves that the connection was not reset there.
    let alive = packet.flags.ack() && gap > REORDER && !packet.marked(mark::COPY);
    if !alive {
        return;
    }
    let acks_more = packet.ack > at.ack || !at.flags.ack();
    let like = tcp.side[side].ttl.mode().is_some_and(|t| t.abs_diff(packet.ttl) <= 1);
    let says = format!("the sender of the reset went on acknowledging {gap} later");
    let value = format!("{} packets", a.packets);
    if like && (acks_more || packet.len > 0 || packet.flags.fin()) && scene.flow.totals[side].packets > 1 {
        w.proof(says, value, "none: a stack that reset a connection has forgotten it", &[at.frame, packet.frame]);
    } else {
        w.fact(2.0, says, value, "none", &[at.frame, packet.frame]);
    }
}

/// A reset that answers a packet before that packet can have reached the server and come back.
pub(super) fn too_early(scene: &Scene<'_>, side: Side, first: &ResetSeen, w: &mut Weigh) {
    if side == Side::Client && scene.vantage() == Vantage::Client {
        return;
    }
    let Some((rtt, samples)) = scene.rtt_to(side).filter(|(r, _)| *r >= MIN_RTT) else { return };
    let reset = &first.packet;
    // Which packet of the peer does it answer? The one that brought the acknowledged bytes; without ACK, the last one with payload.
    let answered = scene.flow.ladder.iter().filter(|p| p.side == side.peer() && p.ts <= reset.ts && p.len > 0 && !p.marked(mark::ASIDE));
    let trigger = if reset.flags.ack() {
        if reset.ack <= Pos::FIRST {
            return;
        }
        // If that was a repetition, what it repeats may have been answered, and nobody knows when it was sent.
        let brought = answered.filter(|p| p.seq < reset.ack && p.end() >= reset.ack).min_by_key(|p| p.ts);
        brought.filter(|p| !p.marked(mark::RETRANSMIT))
    } else if let Some(asked) = provoking(scene.flow, side, reset).min_by_key(|p| p.ts) {
        Some(asked)
    } else {
        answered.filter(|p| !p.marked(mark::RETRANSMIT)).max_by_key(|p| p.ts)
    };
    let Some(trigger) = trigger else { return };
    let took = reset.ts.since(trigger.ts);
    if took < Span::ZERO {
        return;
    }
    let share = took.nanos() as f64 / rtt.nanos() as f64;
    let margin = rtt.nanos() - took.nanos();
    let frames = [trigger.frame, reset.frame];
    let says = format!("the reset came {took} after the packet it answers");
    let expected = format!("at least {rtt}, the shortest round trip seen");
    if reset.flags.ack() && share < physics_share(samples) && margin > REORDER.nanos() {
        w.proof(says, format!("{:.0} % of a round trip", share * 100.0), expected, &frames);
    } else if share < 0.6 && margin > REORDER.nanos() {
        // What a reset without ACK answers is guessed, and one or two round trips may both have stood in a queue.
        let sure = reset.flags.ack() || samples > FEW;
        w.fact(if sure { 3.0 } else { 1.5 }, says, format!("{:.0} % of a round trip", share * 100.0), expected, &frames);
    } else if share < 0.9 && margin > 2 * REORDER.nanos() {
        w.fact(if reset.flags.ack() { 2.5 } else { 1.5 }, says, format!("{:.0} % of a round trip", share * 100.0), expected, &frames);
    }
}

/// Repeated resets. True if they look like the server's own retransmissions rewritten in place.
pub(super) fn repeated(flow: &FlowRecord, side: Side, resets: &[&ResetSeen], base: &Baseline, w: &mut Weigh) -> bool {
    let mut unprovoked: Vec<FrameNo> = Vec::new();
    for pair in resets.windows(2) {
        let [a, b] = pair else { continue };
        let apart = b.packet.ts.since(a.packet.ts);
        let provoked = b.peer_last.is_some_and(|m| m.ts >= a.packet.ts);
        if apart >= UNPROVOKED && !provoked && a.packet.seq_raw == b.packet.seq_raw {
            unprovoked.extend([a.packet.frame, b.packet.frame]);
        }
    }
    unprovoked.sort_unstable();
    unprovoked.dedup();
    // Each packet of the peer may have provoked one reset, and a slow stack may have answered late.
    let last = resets.last().map_or(Time::default(), |r| r.packet.ts);
    let provoking = flow.ladder.iter().filter(|p| p.side == side.peer() && !p.flags.syn() && !p.flags.rst() && p.ts <= last).count()
        + flow.ladder.between as usize;
    let excess = resets.len().saturating_sub(provoking);
    let same_vector = resets.iter().all(|r| base.ttl_fits(r.packet.ttl));
    match (unprovoked.len(), excess) {
        (0, _) | (_, 0) => unprovoked.clear(),
        (2, _) | (_, 1) => w.fact(
            4.0,
            "the reset was repeated without any packet that could have provoked it",
            "2 resets, more than 100 ms apart",
            "one reset for each provoking packet",
            &unprovoked,
        ),
        (n, _) => w.proof(
            "resets were repeated without any packet that could have provoked them, as data is retransmitted",
            format!("{n} resets, each more than 100 ms after the last"),
            "one reset for each provoking packet: resets are never retransmitted",
            &unprovoked,
        ),
    }
    let burst: Vec<&&ResetSeen> = resets.iter().filter(|r| r.packet.ts.since(resets[0].packet.ts).abs() <= BURST).collect();
    let frames: Vec<FrameNo> = burst.iter().map(|r| r.packet.frame).collect();
    let identical: Vec<&&&ResetSeen> = burst.iter().filter(|r| same_packet(&r.packet, &resets[0].packet)).collect();
    let spread = identical.last().map_or(Span::ZERO, |r| r.packet.ts.since(resets[0].packet.ts));
    let identical = identical.len();
    if identical >= 3 && resets[0].packet.flags.ack() && spread <= Span::from_millis(1) {
        w.fact(5.0, "three or more identical resets within a millisecond", format!("{identical} within {spread}"), "one", &frames);
    } else if burst.len() >= 2 && !unprovoked.is_empty() {
        // Already counted as unprovoked.
    } else if burst.len() >= 2 && !provoked_burst(flow, side, &burst) {
        w.fact(1.5, "several resets at once", format!("{} within {spread}", burst.len()), "one", &frames);
    }
    unprovoked.len() >= 2 && same_vector
}

/// Packets of the peer that a stateless reset may answer: it takes its sequence number from their acknowledgement (RFC 9293 §3.10.7.1),
/// whether they carry data or not.
fn provoking<'a>(flow: &'a FlowRecord, side: Side, reset: &Brief) -> impl Iterator<Item = &'a Brief> {
    let (seq, at, stateless) = (reset.seq_raw, reset.ts, !reset.flags.ack());
    flow.ladder.iter().filter(move |p| {
        let asks = p.side == side.peer() && p.ts <= at && !p.flags.rst() && p.flags.ack() && !p.marked(mark::ASIDE);
        stateless && asks && p.ack_raw == seq
    })
}

/// A dead socket answers each packet that was still under way with a reset of its own: are there enough such packets? The one that killed
/// it, with ACK, needs none: an application that gives up sends it by itself.
fn provoked_burst(flow: &FlowRecord, side: Side, burst: &[&&ResetSeen]) -> bool {
    let Some(last) = burst.last() else { return false };
    let from = last.packet.ts.minus(Span::from_millis(1_500));
    let answers: Vec<&Brief> = burst.iter().map(|r| &r.packet).filter(|r| !r.flags.ack()).collect();
    let answered = |r: &Brief| provoking(flow, side, r).filter(|p| p.ts >= from).count() >= answers.len();
    if burst.len() - answers.len() == 1 && burst[0].packet.flags.ack() && answers.iter().all(|r| answered(r)) {
        return true;
    }
    let provoking = flow
        .ladder
        .iter()
        .filter(|p| p.side == side.peer() && p.ts >= from && p.ts <= last.packet.ts && !p.flags.rst() && !p.flags.syn())
        // A socket in the act of closing answers data; one that is gone answers everything.
        .filter(|p| p.len > 0 || p.flags.fin() || burst.iter().all(|r| !r.packet.flags.ack()))
        .count();
    flow.ladder.between > 0 || provoking >= burst.len()
}

/// Resets whose sequence numbers step ahead of everything sent and acknowledged: guesses at a moving target (Weaver et al., RST_SEQ_CHANGE).
pub(super) fn sequence_steps(scene: &Scene<'_>, tcp: &TcpRecord, side: Side, resets: &[&ResetSeen], w: &mut Weigh) {
    let Some(first) = resets.first() else { return };
    if first.fin_before || first.peer_rst_before {
        return;
    }
    let within = |r: &&&ResetSeen| r.packet.ts.since(first.packet.ts) <= Span::from_secs(2);
    let ahead: Vec<&&ResetSeen> = resets
        .iter()
        .filter(within)
        .filter(|r| r.packet.seq > first.packet.seq.plus(2) && r.packet.seq > r.sent && r.packet.seq > r.acked.plus(2))
        .collect();
    if let Some(r) = ahead.first() {
        let step = r.packet.seq.since(first.packet.seq);
        w.proof(
            "further resets carry sequence numbers beyond anything sent",
            format!("+{step} bytes"),
            "the position after the last byte sent",
            &[first.packet.frame, r.packet.frame],
        );
    }
    // Acknowledgements that step although nothing came to be acknowledged (Weaver et al., RST_ACK_CHANGE).
    let with_ack = || resets.iter().filter(within).filter(|r| r.packet.flags.ack());
    let stepped = with_ack().zip(with_ack().skip(1)).find(|(a, b)| {
        let silent = b.peer_last_payload.is_none_or(|m| m.ts < a.packet.ts);
        a.packet.ack != b.packet.ack && silent && b.peer_sent == a.peer_sent
    });
    if let Some((a, b)) = stepped {
        w.fact(
            3.0,
            "resets acknowledge different amounts, though nothing was sent between them",
            format!("{} and {}", a.packet.ack.0, b.packet.ack.0),
            "one amount",
            &[a.packet.frame, b.packet.frame],
        );
    }
    let acks: Vec<Pos> = resets.iter().filter(within).filter(|r| r.packet.flags.ack()).map(|r| r.packet.ack).collect();
    let phantom =
        resets.iter().find(|r| r.packet.flags.ack() && tcp.side[side.peer()].zero.is_some() && r.packet.ack > r.peer_sent.plus(1));
    if let Some(r) = phantom
        && !acks.is_empty()
        && tcp.side[side.peer()].was_seen()
        // What was acknowledged and not seen may have been sent and missed by a capture that misses other packets.
        && !scene.lossy()
    {
        w.fact(
            2.5,
            "the reset acknowledges bytes that were never sent",
            format!("{}", r.packet.ack.0),
            format!("at most {}", r.peer_sent.0),
            &[r.packet.frame],
        );
    }
}

/// Resets towards both ends within milliseconds: an endpoint that receives a reset does not answer it (RFC 9293 §3.5.3).
pub(super) fn both_sides(tcp: &TcpRecord, side: Side, first: &ResetSeen, w: &mut Weigh) {
    let Some(other) = tcp.resets.iter().find(|r| r.packet.side == side.peer()) else { return };
    let apart = other.packet.ts.since(first.packet.ts).abs();
    let travel = [tcp.rtt_client, tcp.rtt_server].into_iter().flatten().min();
    let too_soon = travel.is_some_and(|t| apart.nanos() * 2 < t.nanos());
    // The earlier of the two must not have provoked the other, and no FIN or abort explains both.
    if apart <= BURST && too_soon && !other.fin_before && other.packet.flags.ack() == first.packet.flags.ack() {
        w.fact(
            4.0,
            "resets went to both ends at once",
            format!("{apart} apart"),
            "one end resets, the other falls silent",
            &[first.packet.frame, other.packet.frame],
        );
    }
}

pub(super) fn same_packet(a: &Brief, b: &Brief) -> bool {
    a.seq_raw == b.seq_raw && a.ack_raw == b.ack_raw && a.ip_id == b.ip_id && a.window == b.window && a.flags == b.flags
}
