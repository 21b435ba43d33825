//! Handshakes with one target crawl: a few kilobytes take seconds, lost again and again, while the path answers a SYN at once and other handshakes of
//! the same client are quick. A TLS handshake is a transfer of known size, so it measures a rate too low for anything else to be measured.
//!
//! ```text
//! client                        server
//!   | SYN ---------------------> |
//!   | <----------------- SYN+ACK |   at once
//!   | ClientHello -------------> |
//!   | <----------------- 1st part|
//!   |            X <--- 2nd part |   dropped, sent again, dropped, ...
//!   | <----------------- 2nd part|   seconds later
//! ```

use super::rank;
use crate::detect::Detector;
use crate::detect::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::flow::{FlowRecord, mark};
use crate::model::frame::FrameNo;
use crate::model::key::Proto;
use crate::model::scene::{KIN_MAX, Scene};
use crate::model::side::Side;
use crate::model::time::Span;

/// See the module.
pub(in crate::detect) struct SlowHandshake;

static CARD: Card = Card {
    rule: "handshake.slow",
    kind: Kind::Throttling,
    mechanisms: &["slow_handshake"],
    claim: "TLS handshakes with one target take seconds because their packets are dropped again and again; other handshakes of the same client are quick.",
    ladder: "\
client                        server
  | SYN ---------------------> |
  | <----------------- SYN+ACK |   at once
  | ClientHello -------------> |
  | <----------------- 1st part|
  |            X <--- 2nd part |   dropped, sent again, dropped, ...
  | <----------------- 2nd part|   seconds later",
    needs: &["two handshakes with the target their SYN on, in both directions", "two quick handshakes of the same client within a minute"],
    innocent: &["lossy line", "slow server", "one bad path to this network"],
    confirm: "Repeat the handshake with another name at the same address, and through another network.",
    sources: &["OONI: Twitter in Russia, February 2022 (handshakes that crawl)", "Xue et al.: Throttling Twitter, IMC 2021"],
};

/// A handshake that takes longer, and this many round trips, crawls.
const LONG: f64 = 3.0;
const TRIPS: f64 = 10.0;
/// One that took less is quick.
const QUICK: f64 = 1.0;
/// What is further away in time is no control.
const NEAR: Span = Span::from_secs(60);
/// Losses closer together are one.
const APART: Span = Span::from_millis(400);
/// More than this was carried: the rate itself can be judged.
const CARRIED: u64 = 60_000;
/// See `tell::SIGNIFICANT`; and the chance above which nothing is likely.
const LIKELY: f64 = 0.05;

/// A TLS handshake as the first packets show it.
struct Shake {
    /// Seconds from the ClientHello to the client's answer, as far as seen.
    took: f64,
    done: bool,
    /// Payload of the handshake seen in both directions.
    bytes: u64,
    /// Moments at which something was sent again.
    resent: u32,
    /// Of these, in the direction from the server.
    downward: u32,
    rtt: f64,
    frames: Vec<FrameNo>,
}

impl Shake {
    fn of(f: &FlowRecord) -> Option<Self> {
        let tcp = f.tcp.as_deref()?;
        if f.proto != Proto::TCP || tcp.side.client.syns != 1 || tcp.side.server.syns != 1 {
            return None;
        }
        f.notes.client_hello()?;
        let rtt = tcp.rtt_server?.as_secs() + tcp.rtt_client?.as_secs();
        let mut packets = f.ladder.head.iter().filter(|b| b.len > 0 && !b.marked(mark::COPY));
        let start = packets.find(|b| b.side == Side::Client)?;
        let mut s = Self { took: 0.0, done: false, bytes: u64::from(start.len), resent: 0, downward: 0, rtt, frames: vec![start.frame] };
        let (mut asked, mut answered, mut last_again) = (start.end(), false, None);
        let mut last = start.ts;
        for b in packets {
            last = b.ts;
            let again = b.marks & (mark::RETRANSMIT | mark::FILLS_HOLE) != 0;
            if again && last_again.is_none_or(|at| b.ts.since(at) >= APART) {
                last_again = Some(b.ts);
                s.resent += 1;
                s.downward += u32::from(b.side == Side::Server);
                s.frames.push(b.frame);
            }
            if !b.marked(mark::RETRANSMIT) {
                s.bytes += u64::from(b.len);
            }
            match b.side {
                Side::Server => answered = true,
                Side::Client if answered && b.seq >= asked => {
                    s.done = true;
                    break;
                }
                Side::Client => asked = asked.max(b.end()),
            }
        }
        if !answered {
            return None;
        }
        s.took = last.since(start.ts).as_secs();
        Some(s)
    }

    fn crawls(&self) -> bool {
        // One that never ended may be cut off, which others judge.
        self.done && self.took >= LONG && self.took >= TRIPS * self.rtt && self.resent >= 2
    }

    fn quick(&self) -> bool {
        self.done && self.took < QUICK
    }
}

fn same_target(a: &FlowRecord, b: &FlowRecord) -> bool {
    match (a.asked_name(), b.asked_name()) {
        (Some(x), Some(y)) => x == y,
        _ => a.server.ip == b.server.ip,
    }
}

impl Detector for SlowHandshake {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        // Cheap, and nearly always the end of it: most handshakes are quick.
        let own = Shake::of(flow).filter(Shake::crawls)?;
        let kin = scene.kin;
        let all: &[u32] = kin.by_client.get(&flow.client.ip).map_or(&[], Vec::as_slice);
        let here = all.partition_point(|i| kin.flows.get(*i as usize).is_some_and(|f| f.id < flow.id));
        let near = |f: &&FlowRecord| f.last.ts.plus(NEAR) >= flow.first.ts && f.first.ts <= flow.last.ts.plus(NEAR);
        let around =
            all.iter().skip(here.saturating_sub(KIN_MAX / 2)).take(KIN_MAX).filter_map(|i| kin.flows.get(*i as usize)).filter(near);
        let (mut mine, mut others) = (Vec::new(), Vec::new());
        for f in around {
            if let Some(s) = Shake::of(f) {
                if same_target(flow, f) { mine.push((f, s)) } else { others.push((f, s)) }
            }
        }
        let slow: Vec<_> = mine.iter().filter(|(_, s)| s.crawls()).collect();
        // The first of them speaks for all. One that carried much afterwards was no matter of the handshake.
        let carried = |f: &FlowRecord| f.totals.server.payload.max(f.totals.client.payload) >= CARRIED;
        if slow.first().is_none_or(|(f, _)| f.id != flow.id) || slow.iter().any(|(f, _)| carried(f)) || slow.len() * 2 < mine.len() {
            return None;
        }
        let quick = others.iter().filter(|(_, s)| s.quick()).count();
        // One handshake may be unlucky.
        if slow.len() < 2 {
            return None;
        }
        // Where others crawl too, or nothing can be compared, it is the line.
        if quick < 2 || quick * 4 < others.len() * 3 {
            return None;
        }
        let took = |v: &[(&FlowRecord, Shake)]| v.iter().map(|(_, s)| -s.took).collect::<Vec<_>>();
        let p = rank::chance_slower(&took(&mine), &took(&others));
        let servers: std::collections::BTreeSet<_> = slow.iter().map(|(f, _)| f.server.ip).collect();
        let beside = others.iter().filter(|(f, s)| f.server.ip == flow.server.ip && s.quick()).count();
        let mut w = Weigh::default();
        let frames: Vec<FrameNo> = slow.iter().flat_map(|(_, s)| s.frames.iter().copied()).take(16).collect();
        w.fact(
            2.0,
            "handshakes took seconds",
            format!("{} of {}; this one {:.1} s for {} bytes", slow.len(), mine.len(), own.took, own.bytes),
            format!("about one round trip, {:.0} ms", own.rtt * 1e3),
            &frames,
        );
        let resent: u32 = slow.iter().map(|(_, s)| s.resent).sum();
        w.fact(1.0, "their packets were sent again and again", format!("at {resent} moments"), "hardly ever", &[]);
        w.fact(1.0, "other handshakes of this client were quick meanwhile", format!("{quick} of {}", others.len()), "-", &[]);
        if let Some(p) = p {
            let says = "chance that handshakes drawn alike would part like this (exact Mann-Whitney test)";
            w.fact(0.0, says, format!("{p:.4}"), "above 0.01 proves nothing by itself", &[]);
        }
        w.excluded("lossy line", format!("{quick} other handshakes were quick at the same time"));
        w.excluded("slow server", "the SYN was answered at once, and packets were dropped: a slow server drops none");
        match () {
            () if beside > 0 => w.excluded("one bad path to this network", "another name at the same address was quick"),
            () if servers.len() >= 2 => w.excluded("one bad path to this network", format!("{} addresses are hit alike", servers.len())),
            () => w.against(0.0, "one bad path to this network", "only one address was in use"),
        }
        let many = slow.len() >= 3 && slow.len() * 5 >= mine.len() * 4 && !scene.lossy();
        let grade = match p {
            Some(p) if many && p < super::tell::SIGNIFICANT && servers.len() + beside >= 2 => Grade::Confirmed,
            Some(p) if many && p < LIKELY => Grade::Likely,
            _ => Grade::Possible,
        };
        let downward: u32 = slow.iter().map(|(_, s)| s.downward).sum();
        let direction = match () {
            () if downward * 5 >= resent * 4 => Direction::S2c,
            () if downward * 5 <= resent => Direction::C2s,
            () => Direction::Both,
        };
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "slow_handshake",
            grade,
            direction: Some(direction),
            started: flow.first.ts,
            ooni_failure: None,
        };
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let control = vec![
            Control { kind: "same_client_other_servers", n: count(others.len() - beside), ok: count(quick - beside) },
            Control { kind: "same_server_other_name", n: count(beside), ok: count(beside) },
        ];
        let needs = vec!["the same handshake through another network", "another name at the same address", "ten handshakes with each"];
        let mut found = weigh::finding(scene, &claim, w, control, needs);
        let mut rates: Vec<f64> = slow.iter().map(|(_, s)| s.bytes as f64 * 8.0 / s.took).collect();
        rates.sort_by(f64::total_cmp);
        found.rate_bps = rates.get(rates.len() / 2).map(|r| r.round() as u64);
        found.flows = slow.iter().map(|(f, _)| f.id).collect();
        Some(found)
    }
}
