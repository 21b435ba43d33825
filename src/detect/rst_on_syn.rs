//! A SYN answered by a reset that no closed port sends.
//!
//! ```text
//! client                        server
//!   | SYN -----------------------> |
//!   | <------ RST+ACK  (earlier than the server can answer, or with a header no kernel sends)
//!   | <------------- SYN+ACK       |  (if the box only injects)
//! ```

use super::Detector;
use super::resets::{self, INITIAL_TTLS, physics_share};
use super::silence;
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Kind};
use crate::model::flow::{FlowRecord, Outcome, ResetFit, ResetSeen, TcpRecord};
use crate::model::gist::Signs;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::{Span, Time};

/// See the module.
pub(super) struct RstOnSyn;

static CARD: Card = Card {
    rule: "tcp.rst.on_syn",
    kind: Kind::RstInjection,
    mechanisms: &["on_syn"],
    claim: "A connection attempt was refused by a reset that the addressed machine did not send.",
    ladder: "\
client                        server
  | SYN -----------------------> |
  | <------ RST+ACK  (too early, or with a header no kernel sends)
  | <------------- SYN+ACK       |  (if the box only injects)",
    needs: &["the SYN and its answers"],
    innocent: &["closed port", "host firewall that rejects", "SYN scan or port knocking"],
    confirm: "Try another port of the same address and the same port from another network: a closed port looks the same from everywhere.",
    sources: &[
        "RFC 9293 §3.10.7.1",
        "net4people/bbs 106 (reset in answer to SYN, Russia 2022)",
        "gfw.report 2025-08-20 (resets on every SYN to port 443)",
    ],
};

impl Detector for RstOnSyn {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::RESET
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let refusal = judge(scene)?;
        // Refused as a service or as an address: that is told once, elsewhere.
        if super::ip_refused::explains(scene) {
            return None;
        }
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "on_syn",
            grade: refusal.weigh.grade()?,
            direction: Some(Direction::S2c),
            started: refusal.started,
            ooni_failure: Some("connection_refused"),
        };
        Some(weigh::finding(
            scene,
            &claim,
            refusal.weigh,
            refusal.near.into_iter().collect(),
            vec!["another port of the same address", "the same address from another network"],
        ))
    }
}

/// A refusal that no closed port of the addressed machine explains well.
pub(super) struct Refusal {
    /// Evidence.
    pub weigh: Weigh,
    /// It has a header, or came at a time, that no kernel's refusal has.
    pub foreign: bool,
    /// Other servers, all of them further away.
    near: Option<Control>,
    started: Time,
}

/// Judges the refusal of one SYN by itself.
pub(super) fn judge(scene: &Scene<'_>) -> Option<Refusal> {
    let tcp = scene.flow.tcp.as_deref()?;
    let syn = tcp.side.client.syn?;
    let resets: Vec<&ResetSeen> =
        tcp.resets.iter().filter(|r| r.packet.side == Side::Server && early_in_handshake(r) && resets::counts(scene, r)).collect();
    let first = *resets.first()?;
    // A client that resets its own attempt (a scanner, a loser of happy eyeballs) may meet an answer to that.
    if first.peer_rst_before || scene.source.quality.phone_vpn {
        return None;
    }
    let mut w = Weigh::default();
    timing(scene, &syn, first, &mut w);
    accepted_after_all(tcp, first, &mut w);
    header(&resets, &mut w);
    if scene.vantage() == Vantage::Client && INITIAL_TTLS.contains(&first.packet.ttl) {
        w.against(-3.0, "a box in the user's own network", "the refusal has not passed a single router");
    }
    let conform = w.llr <= 0.0 && w.proofs == 0;
    let near = nearer_than_any_server(scene, &syn, first, &mut w);
    elsewhere(scene, first, &mut w);
    w.grade()?;
    // In a private network the router and the machines are the user's own, whatever they answer with.
    if w.proofs == 0 && !silence::public(scene.flow.server.ip) {
        return None;
    }
    if w.proofs == 0 {
        w.innocent.push(crate::model::finding::Innocent {
            cause: "host firewall that rejects",
            stands: true,
            why: "a firewall in front of the server may send resets of its own making".to_owned(),
        });
    }
    if conform && near.is_some() {
        w.against(0.0, "closed port", "a machine that stands nearer than all others, with this port closed, looks the same");
    } else {
        w.excluded("closed port", "a kernel refuses with window 0 and its usual TTL, and not before the round trip is over");
    }
    Some(Refusal { weigh: w, foreign: !conform, near, started: first.packet.ts })
}

/// It came before the client had sent data.
fn early_in_handshake(r: &ResetSeen) -> bool {
    r.fit == ResetFit::OnSyn || (r.peer_sent.0 <= 1 && r.sent.0 <= 1 && r.packet.flags.ack() && r.packet.seq.0 <= 0)
}

fn timing(scene: &Scene<'_>, syn: &crate::model::flow::Brief, first: &ResetSeen, w: &mut Weigh) {
    let Some((rtt, samples)) = scene.kin.rtt.get(&scene.flow.server.ip).copied().filter(|(r, _)| *r >= Span::from_millis(4)) else {
        return;
    };
    // Answers the last SYN before it; with several SYNs under way only the last is surely not too early.
    let took = first.packet.ts.since(first.peer_last.map_or(syn.ts, |m| m.ts));
    let share = took.nanos() as f64 / rtt.nanos() as f64;
    let frames = [syn.frame, first.packet.frame];
    if took >= Span::ZERO && share < physics_share(samples) && rtt.nanos() - took.nanos() > 2_000_000 {
        w.proof(
            format!("the refusal came {took} after the SYN"),
            format!("{:.0} % of a round trip", share * 100.0),
            format!("at least {rtt}, measured on other connections to this address"),
            &frames,
        );
    }
}

/// The refusal came from much nearer than any server this client reached: in time, and in routers if its TTL tells. No proof: the machine
/// may stand there.
fn nearer_than_any_server(scene: &Scene<'_>, syn: &crate::model::flow::Brief, first: &ResetSeen, w: &mut Weigh) -> Option<Control> {
    let flow = scene.flow;
    if !silence::public(flow.server.ip) || scene.vantage() == Vantage::Server || scene.kin.rtt.contains_key(&flow.server.ip) {
        return None;
    }
    let took = first.packet.ts.since(first.peer_last.map_or(syn.ts, |m| m.ts));
    let mut servers = hashbrown::HashMap::new();
    let mut control = Control::new("same_client_other_servers");
    let timed = |f: &&FlowRecord| f.nearest.is_some() && f.server.ip != flow.server.ip && silence::public(f.server.ip);
    for f in scene.kin.with_client(flow.client.ip).filter(timed) {
        let Some(rtt) = f.tcp.as_deref().filter(|t| t.side.client.syns <= 1).and_then(|t| t.rtt_server) else { continue };
        let hops = f.tcp.as_deref().and_then(|t| t.side.server.syn).map_or(0, |s| hops(s.ttl));
        servers.entry(f.server.ip).or_insert_with(|| {
            control.add(f.id, f.outcome == Outcome::Ok);
            (rtt, hops)
        });
    }
    let (Some(rtt), Some(nearest)) = (servers.values().map(|s| s.0).min(), servers.values().map(|s| s.1).min()) else { return None };
    let soon = took >= Span::ZERO && rtt >= Span::from_millis(4) && took.nanos() * 10 <= rtt.nanos() * 6;
    let near = servers.len() >= 3 && soon && hops(first.packet.ttl) < nearest && !scene.source.quality.ttl_normalised;
    if near {
        w.fact(
            1.5,
            "the refusal came from nearer than any server of this client",
            format!("{took}, {} routers", hops(first.packet.ttl)),
            format!("at least {rtt}, {nearest} routers"),
            &[syn.frame, first.packet.frame],
        );
    }
    near.then_some(control)
}

/// Routers a packet has passed, if it left with a usual initial TTL.
fn hops(ttl: u8) -> u8 {
    INITIAL_TTLS.iter().filter(|t| **t >= ttl).min().map_or(0, |t| t - ttl)
}

/// The same connection is refused and accepted.
fn accepted_after_all(tcp: &TcpRecord, first: &ResetSeen, w: &mut Weigh) {
    let Some(syn_ack) = tcp.side.server.syn else { return };
    let apart = syn_ack.ts.since(first.packet.ts).abs();
    // A server may refuse the SYN of a port it opens a moment later; it does not do both for one SYN.
    if tcp.side.client.syns == 1 && apart < Span::from_secs(3) {
        w.proof(
            "one SYN was both refused and accepted",
            format!("RST and SYN+ACK {apart} apart"),
            "one answer",
            &[first.packet.frame, syn_ack.frame],
        );
    }
}

fn header(resets: &[&ResetSeen], w: &mut Weigh) {
    let Some(first) = resets.first() else { return };
    let r = &first.packet;
    let at = [r.frame];
    if r.window != 0 {
        w.fact(2.5, "the refusal announces a window", r.window.to_string(), "0: no socket, no window", &at);
    }
    if r.seq_raw.0 != 0 && r.flags.ack() && first.fit == ResetFit::OnSyn {
        w.fact(2.0, "the refusal has a sequence number", r.seq_raw.0.to_string(), "0 (RFC 9293 §3.10.7.1)", &at);
    }
    if r.len > 6 || first.payload.iter().take(usize::from(first.payload_len)).any(|b| *b != 0) {
        w.fact(2.5, "the refusal carries payload", format!("{} bytes", r.len), "none", &at);
    }
    let burst = resets.iter().filter(|x| x.packet.ts.since(r.ts).abs() <= Span::from_millis(10) && x.packet.ack_raw == r.ack_raw).count();
    if burst >= 2 {
        let frames: Vec<_> = resets.iter().take(burst).map(|x| x.packet.frame).collect();
        w.fact(2.5, "one SYN was refused several times at once", format!("{burst} resets"), "1", &frames);
    }
    if r.ip_id.is_some_and(|id| id != 0) && !r.df {
        w.fact(
            0.5,
            "the refusal counts its packets and allows fragmentation",
            "identification set, DF clear",
            "0 and DF with most kernels",
            &at,
        );
    }
}

/// The same address behaves otherwise elsewhere in this capture.
fn elsewhere(scene: &Scene<'_>, first: &ResetSeen, w: &mut Weigh) {
    let mut ttls: Vec<u8> = Vec::new();
    let mut repeated = 0;
    let heard = |f: &&FlowRecord| f.id != scene.flow.id && f.packets(Side::Server) > 0;
    for f in scene.kin.with_server(scene.flow.server.ip).filter(heard) {
        let Some(tcp) = f.tcp.as_deref() else { continue };
        ttls.extend(tcp.side.server.ttl.iter().map(|(t, _)| t));
        let refused = tcp.resets.iter().any(|r| r.packet.side == Side::Server && r.fit == ResetFit::OnSyn);
        repeated += u32::from(refused && f.server.port == scene.flow.server.port);
    }
    ttls.sort_unstable();
    ttls.dedup();
    let r = &first.packet;
    if !ttls.is_empty() && !scene.source.quality.ttl_normalised && ttls.iter().all(|t| t.abs_diff(r.ttl) > 3) {
        let shown: Vec<String> = ttls.iter().map(u8::to_string).collect();
        w.fact(1.5, "the refusal's TTL differs from what this address sends elsewhere", r.ttl.to_string(), shown.join(", "), &[r.frame]);
    }
    if repeated > 0 && w.llr > 0.0 {
        w.fact(1.0, "every attempt met the same refusal", format!("{} more", repeated), "-", &[r.frame]);
    }
}
