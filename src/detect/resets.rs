//! Judging resets: which of a flow's resets did its endpoint not send?
//!
//! Tests of race and consistency come first (Weaver, Sommer & Paxson, NDSS 2009): what arrives after a reset, how early it came, how it was
//! repeated. Header differences are added up as log-likelihood ratios, small at a client (28 % of genuine responder resets show another
//! TTL, ibid. App. C), large at a server (fewer than 1 % of clients change theirs, Sundara Raman et al., SIGCOMM 2023 §4.3).

use super::weigh::Weigh;
use crate::model::flow::{Brief, FlowRecord, ResetFit, ResetSeen, TcpRecord, mark};
use crate::model::frame::FrameNo;
use crate::model::note::Fact;
use crate::model::packet::TcpFlags;
use crate::model::scene::Scene;
use crate::model::seq::Pos;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::{Span, Time};

/// Silence before a reset that makes a timed-out box or socket the first suspect (servers and NATs drop idle state after 30 s to an hour).
const IDLE: Span = Span::from_secs(30);
/// Capture queues may swap packets this far apart.
const REORDER: Span = Span::from_millis(2);
/// Packets sent together arrive within this span.
const BURST: Span = Span::from_millis(10);
/// No stack repeats a reset after this long without being provoked by a packet.
const UNPROVOKED: Span = Span::from_millis(100);
/// A desync tool's low TTL dies within this many hops.
const LOW_TTL: u8 = 12;
/// A packet with one of these TTLs has not passed a router.
pub(super) const INITIAL_TTLS: [u8; 3] = [64, 128, 255];
/// A change of route moves a TTL by at most this many hops.
const ROUTE_CHANGE: u8 = 3;
/// A round trip below this cannot be told from scheduling noise.
const MIN_RTT: Span = Span::from_millis(4);

/// The verdict on the resets of one side.
pub(super) struct Verdict {
    /// Evidence.
    pub weigh: Weigh,
    /// `on_path`, `rewrite` or `late`.
    pub mechanism: &'static str,
    /// When the first suspicious reset came.
    pub started: Time,
    /// Known injectors it resembles.
    pub resembles: Vec<&'static str>,
}

/// Judges the resets that claim to come from `side`. `None` when there are none, or all of them are explained.
pub(super) fn judge(scene: &Scene<'_>, side: Side) -> Option<Verdict> {
    let flow = scene.flow;
    let tcp = flow.tcp.as_deref()?;
    let resets: Vec<&ResetSeen> = tcp.resets.iter().filter(|r| r.packet.side == side && r.fit != ResetFit::OnSyn && counts(scene, r)).collect();
    let first = *resets.first()?;
    if explained(scene, tcp, side, first) {
        return None;
    }
    let mut w = Weigh::default();
    let base = Baseline::of(flow, tcp, side);
    after_the_reset(scene, tcp, side, first, &mut w);
    too_early(scene, side, first, &mut w);
    let rewritten = repeated(flow, side, &resets, &base, &mut w);
    sequence_steps(tcp, side, &resets, &mut w);
    both_sides(tcp, side, first, &mut w);
    if !scene.source.quality.phone_vpn {
        headers(scene, flow, tcp, side, &resets, &base, &mut w);
    }
    let resembles = super::resets::resembling(tcp, side, &resets);
    if !resembles.is_empty() && w.proofs == 0 {
        w.fact(
            1.5,
            format!("the header vector resembles a known injector ({})", resembles.join(", ")),
            "match",
            "no match",
            &[first.packet.frame],
        );
    }
    context(scene, tcp, side, first, &mut w);
    // A client that resets before it said anything scans, or has lost its race with a sibling connection.
    if side == Side::Client && tcp.side.client.unique == 0 && w.proofs == 0 {
        return None;
    }
    let ineffective = first.fit == ResetFit::Stale || first.fit == ResetFit::Ahead;
    let mechanism = if rewritten {
        "rewrite"
    } else if ineffective && tcp.after_reset[side].new_data > 0 {
        "late"
    } else {
        "on_path"
    };
    Some(Verdict { weigh: w, mechanism, started: first.packet.ts, resembles })
}

/// Cases in which a reset is what it claims to be, or a local tool's: nothing more is asked.
fn explained(scene: &Scene<'_>, tcp: &TcpRecord, side: Side, first: &ResetSeen) -> bool {
    let s = &tcp.side[side];
    let flow = scene.flow;
    // A client's own desync tool sends resets with a low TTL or a broken checksum that only boxes near it see.
    let fake = s.syn.is_some_and(|syn| first.packet.ttl <= LOW_TTL && syn.ttl > first.packet.ttl.saturating_add(3));
    if side == Side::Client && (fake || s.aside > 0) && scene.vantage() != Vantage::Server {
        return true;
    }
    // The same tools use the MD5 option (RFC 2385), which a server without a shared key must ignore.
    if first.packet.marked(mark::MD5) {
        return true;
    }
    // At the machine that was captured, packets leave with the initial TTL; nobody injects them there.
    let local = match scene.vantage() {
        Vantage::Client => side == Side::Client,
        Vantage::Server => side == Side::Server,
        _ => false,
    };
    if local {
        return true;
    }
    // The sender had said goodbye already: FIN, or a TLS alert (RFC 8446 §6), and now answers stragglers (RFC 9293 §3.10.7.1).
    if first.fin_before || said_alert(flow, side, first.packet.ts) {
        return true;
    }
    // The peer's own reset or FIN came first and the answer is the stateless kind. It may still be forged, but nothing shows it.
    if (first.peer_rst_before || first.peer_fin_before) && tcp.after_reset[side].new_data == 0 && stateless(first) {
        return true;
    }
    // A box or server that forgot an idle connection is not an interferer.
    let last = [first.peer_last, first.own_last].into_iter().flatten().map(|m| m.ts).max();
    last.is_some_and(|ts| first.packet.ts.since(ts) > IDLE)
}

/// RST without ACK at the position the peer asked for, window 0: the answer of a machine that knows no such connection.
fn stateless(r: &ResetSeen) -> bool {
    !r.packet.flags.ack() && r.packet.window == 0 && r.packet.len <= 6
}

fn said_alert(flow: &FlowRecord, side: Side, before: Time) -> bool {
    flow.notes.list.iter().any(|n| n.side == side && n.ts <= before && matches!(n.fact, Fact::TlsAlert { .. } | Fact::TlsEncryptedAlert))
}

/// Data or acknowledgements after a reset: who reset a connection does not go on speaking in it.
fn after_the_reset(scene: &Scene<'_>, tcp: &TcpRecord, side: Side, first: &ResetSeen, w: &mut Weigh) {
    let a = &tcp.after_reset[side];
    let at = first.packet;
    if let Some(data) = a.first_new {
        let gap = data.ts.since(at.ts);
        let says = format!("the sender of the reset went on sending new data {gap} later");
        let value = format!("{} segments at or beyond the reset's position", a.new_data);
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

/// Share of the smallest round trip seen below which an answer is too early for physics. A single sample may be inflated several times
/// (a radio waking up, a queue), many samples may not.
pub(super) fn physics_share(samples: u32) -> f64 {
    match samples {
        0..=2 => 0.15,
        3..=5 => 0.4,
        _ => 0.6,
    }
}

/// In a capture that saw every packet twice, an exact copy of a reset is no second reset.
pub(super) fn counts(scene: &Scene<'_>, r: &ResetSeen) -> bool {
    !r.packet.marked(mark::COPY) || scene.source.quality.duplicates < 0.2
}

/// A reset that answers a packet before that packet can have reached the server and come back.
fn too_early(scene: &Scene<'_>, side: Side, first: &ResetSeen, w: &mut Weigh) {
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
        answered.filter(|p| p.seq < reset.ack && p.end() >= reset.ack).min_by_key(|p| p.ts)
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
        w.fact(3.0, says, format!("{:.0} % of a round trip", share * 100.0), expected, &frames);
    } else if share < 0.9 && margin > 2 * REORDER.nanos() {
        w.fact(if reset.flags.ack() { 2.5 } else { 1.5 }, says, format!("{:.0} % of a round trip", share * 100.0), expected, &frames);
    }
}

/// Repeated resets. True if they look like the server's own retransmissions rewritten in place.
fn repeated(flow: &FlowRecord, side: Side, resets: &[&ResetSeen], base: &Baseline, w: &mut Weigh) -> bool {
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

/// A dead socket answers each packet that was still under way with a reset of its own: are there enough such packets?
fn provoked_burst(flow: &FlowRecord, side: Side, burst: &[&&ResetSeen]) -> bool {
    let Some(last) = burst.last() else { return false };
    let from = last.packet.ts.minus(Span::from_millis(1_500));
    let provoking = flow
        .ladder
        .iter()
        .filter(|p| p.side == side.peer() && (p.len > 0 || p.flags.fin()) && p.ts >= from && p.ts <= last.packet.ts)
        .count();
    flow.ladder.between > 0 || provoking >= burst.len()
}

fn same_packet(a: &Brief, b: &Brief) -> bool {
    a.seq_raw == b.seq_raw && a.ack_raw == b.ack_raw && a.ip_id == b.ip_id && a.window == b.window && a.flags == b.flags
}

/// Resets whose sequence numbers step ahead of everything sent and acknowledged: guesses at a moving target (Weaver et al., RST_SEQ_CHANGE).
fn sequence_steps(tcp: &TcpRecord, side: Side, resets: &[&ResetSeen], w: &mut Weigh) {
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
    let acks: Vec<Pos> = resets.iter().filter(within).filter(|r| r.packet.flags.ack()).map(|r| r.packet.ack).collect();
    let phantom =
        resets.iter().find(|r| r.packet.flags.ack() && tcp.side[side.peer()].zero.is_some() && r.packet.ack > r.peer_sent.plus(1));
    if let Some(r) = phantom
        && !acks.is_empty()
        && tcp.side[side.peer()].was_seen()
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
fn both_sides(tcp: &TcpRecord, side: Side, first: &ResetSeen, w: &mut Weigh) {
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

/// Header fields of one side's ordinary packets.
struct Baseline {
    ttls: Vec<u8>,
    df: Option<bool>,
    tos: Vec<u8>,
    ids: Vec<u16>,
    reserved: bool,
    label: Option<u32>,
}

impl Baseline {
    fn of(flow: &FlowRecord, tcp: &TcpRecord, side: Side) -> Self {
        let own: Vec<&Brief> =
            flow.ladder.iter().filter(|p| p.side == side && !p.flags.rst() && p.marks & (mark::COPY | mark::ASIDE) == 0).collect();
        let df = own.first().map(|p| p.df).filter(|df| own.iter().all(|p| p.df == *df));
        let label = own.first().map(|p| p.flow_label).filter(|l| *l != 0 && own.iter().all(|p| p.flow_label == *l));
        Self {
            ttls: tcp.side[side].ttl.iter().map(|(t, _)| t).collect(),
            df,
            tos: own.iter().map(|p| p.tos & 0xfc).collect(),
            ids: own.iter().filter(|p| !p.flags.syn()).filter_map(|p| p.ip_id).collect(),
            reserved: own.iter().any(|p| p.flags.reserved() & 0x0e != 0),
            label,
        }
    }

    fn ttl_fits(&self, ttl: u8) -> bool {
        self.ttls.iter().any(|t| t.abs_diff(ttl) <= 1)
    }

    /// Identifications that count up by small steps, so that a stray one stands out.
    fn counts_up(&self) -> Option<(u16, u16)> {
        let (first, last) = (*self.ids.first()?, *self.ids.last()?);
        let steps = self.ids.windows(2).all(|w| matches!(w, [a, b] if b.wrapping_sub(*a) <= 100));
        (self.ids.len() >= 3 && steps).then_some((first, last))
    }
}

/// Differences between the reset's headers and those of the side it claims to come from.
fn headers(scene: &Scene<'_>, flow: &FlowRecord, tcp: &TcpRecord, side: Side, resets: &[&ResetSeen], base: &Baseline, w: &mut Weigh) {
    let Some(first) = resets.first() else { return };
    let r = &first.packet;
    let at = [r.frame];
    // A client's headers hardly change; a server's resets may come from another layer of its operator's network.
    let clientish = side == Side::Client;
    if let (Side::Server, Vantage::Client) = (side, scene.vantage())
        && INITIAL_TTLS.contains(&r.ttl)
    {
        w.against(-3.0, "a box in the user's own network", "the reset has not passed a single router");
    }
    if !base.ttls.is_empty() && !scene.source.quality.ttl_normalised {
        if base.ttl_fits(r.ttl) {
            w.llr += if clientish { -1.5 } else { -0.4 };
        } else {
            let shown: Vec<String> = base.ttls.iter().map(u8::to_string).collect();
            let far = base.ttls.iter().all(|t| t.abs_diff(r.ttl) > ROUTE_CHANGE);
            let weight = match (clientish, far) {
                (true, true) => 3.5,
                (true, false) => 1.5,
                (false, true) => 0.8,
                (false, false) => 0.3,
            };
            w.fact(weight, "the reset's TTL differs from the sender's other packets", r.ttl.to_string(), shown.join(", "), &at);
        }
    }
    if let (Some((low, high)), Some(id)) = (base.counts_up(), r.ip_id) {
        // The ladder may lack packets between its head and its tail: the count may have gone on by as many as were sent.
        let sent = u16::try_from(flow.totals[side].packets).unwrap_or(u16::MAX);
        let stray = id.wrapping_sub(low) > high.wrapping_sub(low).max(sent).saturating_add(200) && id != 0;
        if stray {
            w.fact(
                if clientish { 3.0 } else { 1.5 },
                "the reset's IP identification is out of the sender's count",
                id.to_string(),
                format!("near {high}"),
                &at,
            );
        }
    }
    let copied = flow.ladder.iter().rfind(|p| p.side == side.peer() && p.len > 0 && p.ts <= r.ts);
    if let (Some(t), Some(id)) = (copied, r.ip_id)
        && id > 255
        && t.ip_id == Some(id)
    {
        w.fact(
            4.0,
            "the reset carries the IP identification of the packet that triggered it",
            id.to_string(),
            "the sender's own count",
            &[t.frame, r.frame],
        );
    }
    if base.df.is_some_and(|df| df != r.df) && r.ip_id.is_some() {
        w.fact(1.0, "the reset's don't-fragment bit differs", r.df.to_string(), (!r.df).to_string(), &at);
    }
    if !base.tos.is_empty() && !base.tos.contains(&(r.tos & 0xfc)) && r.tos & 0xfc != 0 {
        w.fact(1.5, "the reset's traffic class differs", format!("{:#04x}", r.tos), format!("{:#04x}", base.tos[0]), &at);
    }
    if base.label.is_some_and(|l| l != r.flow_label) {
        w.fact(0.8, "the reset's IPv6 flow label differs", format!("{:#x}", r.flow_label), format!("{:#x}", base.label.unwrap_or(0)), &at);
    }
    if r.flags.reserved() & 0x0e != 0 && !base.reserved {
        w.fact(2.0, "the reset sets reserved header bits", format!("{:#x}", r.flags.reserved()), "0", &at);
    }
    let filled = first.payload.iter().take(usize::from(first.payload_len)).any(|b| *b != 0);
    if r.len > 6 || filled {
        w.fact(2.5, "the reset carries payload", format!("{} bytes", r.len), "none", &at);
    } else if r.ip_len == 46 && !r.df && r.window == 0 && r.flags.ack() && r.ip_id.is_some() {
        w.fact(3.0, "the minimum-frame padding is counted into the reset's length", "46 bytes", "40 bytes", &at);
    }
    // Kernels answer for an unknown connection with window 0 and acknowledgement 0 (Linux, BSD, Windows).
    if !r.flags.ack() && r.window != 0 {
        w.fact(2.5, "a reset without ACK announces a window", r.window.to_string(), "0", &at);
    }
    if !r.flags.ack() && r.ack_raw.0 != 0 {
        w.fact(1.0, "a reset without ACK fills the acknowledgement field", r.ack_raw.0.to_string(), "0", &at);
    }
    let timestamps = tcp.side.client.timestamps && tcp.side.server.timestamps;
    if timestamps && r.flags.has(TcpFlags(0x14)) && !r.marked(mark::TIMESTAMP) {
        w.fact(0.5, "the reset lacks the timestamp option of this connection", "absent", "present", &at);
    }
    // Route changes move a TTL by a few hops; two machines differ by more.
    let vectors = resets.iter().any(|x| x.packet.ttl.abs_diff(r.ttl) > ROUTE_CHANGE && x.packet.ts.since(r.ts).abs() > REORDER);
    if vectors && !scene.source.quality.ttl_normalised {
        let frames: Vec<FrameNo> = resets.iter().map(|x| x.packet.frame).collect();
        w.fact(3.0, "resets of one sender come with different TTLs", "two senders", "one", &frames);
    }
}

/// What happened around the reset.
fn context(scene: &Scene<'_>, tcp: &TcpRecord, side: Side, first: &ResetSeen, w: &mut Weigh) {
    let r = &first.packet;
    let rtt = scene.rtt_to_server().unwrap_or(Span::from_millis(200));
    if let Some(asked) = scene.flow.totals.client.first_payload
        && r.ts.since(asked.ts) >= Span::ZERO
        && r.ts.since(asked.ts) <= rtt.times(3).max(Span::from_millis(300))
        && tcp.side.server.unique <= 6
    {
        w.fact(
            1.0,
            "the reset follows the client's first message",
            format!("{}", r.ts.since(asked.ts)),
            "an answer",
            &[asked.frame, r.frame],
        );
    }
    let dying = scene
        .kin
        .with_client(scene.flow.client.ip)
        .filter(|f| f.server.ip != scene.flow.server.ip && f.id != scene.flow.id)
        .filter(|f| {
            f.tcp.as_ref().is_some_and(|t| t.resets.first().is_some_and(|x| x.packet.ts.since(r.ts).abs() <= Span::from_millis(200)))
        })
        .take(3)
        .count();
    if dying >= 3 {
        w.against(-4.0, "network change or closed app", "three or more connections to other servers were reset within 200 ms");
    } else {
        w.excluded("network change or closed app", "no other connections of this client were reset at that moment");
    }
    if w.proofs == 0 && first.packet.flags.ack() && side == Side::Server {
        w.innocent.push(crate::model::finding::Innocent {
            cause: "abort by the server itself",
            stands: true,
            why: "a server that aborts sends a reset of this shape; only timing, repetition or a control can exclude it".to_owned(),
        });
    } else {
        w.excluded("abort by the server itself", "what came with the reset does not come from a stack that aborts");
    }
    w.excluded("idle timeout of a server, load balancer or NAT", "the connection was in use in the 30 s before the reset");
    w.excluded("answer to a closing connection", "its supposed sender had sent neither FIN nor a TLS alert");
}

/// Header vectors of injectors described in public work. "Resembles", never attribution.
pub(super) fn resembling(tcp: &TcpRecord, side: Side, resets: &[&ResetSeen]) -> Vec<&'static str> {
    let mut out = Vec::new();
    let Some(first) = resets.first() else { return out };
    let r = &first.packet;
    let burst: Vec<&&ResetSeen> = resets.iter().filter(|x| x.packet.flags.ack() && x.packet.ts.since(r.ts).abs() <= BURST).collect();
    let steps: Vec<i64> = burst.windows(2).map(|p| p[1].packet.seq.since(p[0].packet.seq)).collect();
    let identical = burst.windows(2).filter(|p| same_packet(&p[0].packet, &p[1].packet)).count() >= 2;
    if burst.len() >= 3 && (identical || steps.iter().any(|s| *s == 1460 || *s == 2920)) && burst.iter().all(|x| x.packet.window != 0) {
        out.push("GFW type 2: three RST+ACK at once (CenTrace 2022; UPB ECH study 2025)");
    }
    if r.flags.ack() && r.ip_len == 46 && !r.df && r.window == 0 && r.ip_id.is_some_and(|id| id != 0) {
        out.push("Iran TLS 2025: RST+ACK of IP length 46 (UPB ECH study)");
    }
    if first.payload_len >= 10 && first.payload.starts_with(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 0]) {
        out.push("Henan provincial firewall: ten counting payload bytes (Wu et al., S&P 2025)");
    }
    if !r.flags.ack() && r.ip_id == Some(30_000) {
        out.push("Turkmenistan: IP identification 30000 (breakerspace 2023)");
    }
    if r.flags.ack() && r.ip_id == Some(0x00f2) && r.window == 16 && side == Side::Client {
        out.push("Airtel India: IP identification 242, window 16 (Tripwire 2020)");
    }
    if resets.windows(2).any(|p| matches!(p, [a, b] if b.packet.seq.since(a.packet.seq) == 12_503)) {
        out.push("Sandvine: second reset 12503 bytes ahead (Weaver et al. 2009)");
    }
    let _ = tcp;
    out
}
