//! Judging resets: which of a flow's resets did its endpoint not send?
//!
//! Tests of race and consistency come first (Weaver, Sommer & Paxson, NDSS 2009): what arrives after a reset, how early it came, how it was
//! repeated. Header differences are added up as log-likelihood ratios, small at a client (28 % of genuine responder resets show another
//! TTL, ibid. App. C), large at a server (fewer than 1 % of clients change theirs, Sundara Raman et al., SIGCOMM 2023 §4.3).

mod far;
mod headers;
mod known;
mod race;

pub(super) use far::far_end;
pub(super) use headers::INITIAL_TTLS;
pub use known::KNOWN_INJECTORS;
pub(super) use race::physics_share;

use super::weigh::Weigh;
use crate::model::flow::{FlowRecord, ResetFit, ResetSeen, TcpRecord, mark};
use crate::model::note::Fact;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::{Span, Time};
use headers::Baseline;

/// Silence before a reset that makes a timed-out box or socket the first suspect (servers and NATs drop idle state after 30 s to an hour).
const IDLE: Span = Span::from_secs(30);
/// A desync tool's low TTL dies within this many hops.
const LOW_TTL: u8 = 12;

/// The innocent cause nearest to an injected reset.
pub(super) const ABORT: &str = "abort by the server itself";

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
    let resets: Vec<&ResetSeen> =
        tcp.resets.iter().filter(|r| r.packet.side == side && r.fit != ResetFit::OnSyn && counts(scene, r)).collect();
    let first = *resets.first()?;
    if explained(scene, tcp, side, first) {
        return None;
    }
    let mut w = Weigh::default();
    let base = Baseline::of(flow, tcp, side);
    race::after_the_reset(scene, tcp, side, first, &mut w);
    race::too_early(scene, side, first, &mut w);
    let rewritten = race::repeated(flow, side, &resets, &base, &mut w);
    race::sequence_steps(scene, tcp, side, &resets, &mut w);
    race::both_sides(tcp, side, first, &mut w);
    if !scene.source.quality.phone_vpn {
        headers::headers(scene, flow, tcp, side, &resets, &base, &mut w);
    }
    let resembles = known::resembling(side, &resets);
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
    } else if (ineffective && tcp.after_reset[side].new_data > 0) || survived(tcp, side, first) {
        "late"
    } else {
        "on_path"
    };
    Some(Verdict { weigh: w, mechanism, started: first.packet.ts, resembles })
}

/// Both ends went on after the reset: its sender with new data, and the receiver with acknowledgements of that data.
fn survived(tcp: &TcpRecord, side: Side, first: &ResetSeen) -> bool {
    let Some(onward) = tcp.after_reset[side].first_new else { return false };
    let acked = tcp.side[side].acked > first.sent.max(first.packet.seq).plus(1);
    acked && tcp.side[side.peer()].last_packet.is_some_and(|m| m.ts > onward.ts)
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

/// In a capture that saw every packet twice, an exact copy of a reset is no second reset.
pub(super) fn counts(scene: &Scene<'_>, r: &ResetSeen) -> bool {
    !r.packet.marked(mark::COPY) || scene.source.quality.duplicates < 0.2
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
            cause: ABORT,
            stands: true,
            why: "a server that aborts sends a reset of this shape; only timing, repetition or a control can exclude it".to_owned(),
        });
    } else {
        w.excluded(ABORT, "what came with the reset does not come from a stack that aborts");
    }
    w.excluded("idle timeout of a server, load balancer or NAT", "the connection was in use in the 30 s before the reset");
    w.excluded("answer to a closing connection", "its supposed sender had sent neither FIN nor a TLS alert");
}
