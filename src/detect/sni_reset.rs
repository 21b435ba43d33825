//! Resets that depend on the server name.
//!
//! ```text
//! client                        server
//!   | ClientHello (name A) ------> |
//!   | <------ RST                  |   every time
//!   | ClientHello (name B) ------> |
//!   | <------------- ServerHello   |   same address, same time
//! ```

use super::Detector;
use super::resets;
use super::weigh::{self, Claim, Weigh, fisher};
use crate::model::finding::{Card, Direction, Finding, Grade, Kind};
use crate::model::flow::Outcome;
use crate::model::gist::Signs;
use crate::model::scene::Scene;
use crate::model::side::Side;

/// See the module.
pub(super) struct SniReset;

static CARD: Card = Card {
    rule: "tls.sni.reset",
    kind: Kind::SniFiltering,
    mechanisms: &["reset"],
    claim: "Connections that name this server in their first message are reset; others are not.",
    ladder: "\
client                        server
  | ClientHello (name A) ------> |
  | <------ RST                  |   every time
  | ClientHello (name B) ------> |
  | <------------- ServerHello   |   same address, same time",
    needs: &["the client's first message", "a control: the same address with another name, or a reset that proves itself"],
    innocent: &["the server refuses this name", "abort by the server itself", "the address is blocked, whatever the name"],
    confirm: "Connect to the same address with another name, and with this name from another network.",
    sources: &["Sundara Raman et al.: Global, Passive Detection of Connection Tampering, SIGCOMM 2023", "Xue et al.: TSPU, IMC 2022"],
};

impl Detector for SniReset {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::RESET
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        let tcp = flow.tcp.as_deref()?;
        let name = flow.asked_name()?;
        let (hello, first) = hello_and_reset(scene)?;
        // Nothing of the server's answer came through before the reset.
        if tcp.side.server.unique > 64 && !tcp.resets.iter().any(|r| r.sent.0 <= 1 && r.packet.side == Side::Server) {
            return None;
        }
        let [by_server, by_client] = [Side::Server, Side::Client].map(|s| resets::judge(scene, s).and_then(|v| v.weigh.grade()));
        let own = by_server.max(by_client);
        let other = scene.same_server_other_name();
        let same = scene.same_server_same_name();
        let elsewhere = scene.same_name_other_server();
        let fails = same.n - same.ok + 1;
        let p = fisher(fails, same.ok, other.n - other.ok, other.ok) * f64::from(scene.names_at_server());
        let mut w = Weigh::default();
        w.fact(
            1.0,
            format!("the connection was reset right after naming {name}"),
            "no answer",
            "a ServerHello or a response",
            &[hello, first],
        );
        if fails > 1 {
            w.fact(
                0.0,
                "repetition: connections with this name to this address",
                format!("{fails} of {} failed", fails + same.ok),
                "-",
                &[],
            );
        }
        if other.n > 0 {
            w.fact(
                0.0,
                "control: connections with other names to this address",
                format!("{} of {} succeeded (p = {p:.4})", other.ok, other.n),
                "-",
                &[],
            );
        }
        let grade = match own {
            // The reset itself is proven forged; that it answers the name needs the control.
            Some(Grade::Confirmed) if other.ok > 0 && same.ok == 0 => Grade::Confirmed,
            Some(Grade::Confirmed | Grade::Likely) => Grade::Likely,
            // However often it happens: a server that refuses one of its names (a rule of its own, a dead page) does it every time.
            _ if p < 0.01 => Grade::Possible,
            _ if fails >= 2 && other.ok >= 1 && same.ok == 0 => Grade::Possible,
            Some(Grade::Possible) if other.ok >= 1 && same.ok == 0 => Grade::Possible,
            _ => return None,
        };
        if other.ok > 0 {
            w.excluded("the address is blocked, whatever the name", "other names at this address were answered");
        } else {
            w.against(0.0, "the address is blocked, whatever the name", "no other name was tried at this address");
        }
        let forged = own >= Some(Grade::Likely);
        if forged {
            w.excluded("the server refuses this name", "the reset was not the server's");
        } else {
            w.against(0.0, "the server refuses this name", "the resets have the server's own headers");
        }
        let started = flow.totals.client.first_payload.map_or(flow.first.ts, |m| m.ts);
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "reset",
            grade,
            direction: Some(match (by_server, by_client) {
                (Some(_), Some(_)) => Direction::Both,
                (one, other) => {
                    let side = if one.is_none() && other.is_some() { Side::Client } else { Side::Server };
                    let both = resets::far_end(scene, side, started).is_some();
                    if both { Direction::Both } else { Direction::from_side(side) }
                }
            }),
            started,
            ooni_failure: Some("connection_reset"),
        };
        Some(weigh::finding(scene, &claim, w, vec![other, same, elsewhere], vec!["the same name from another network"]))
    }
}

/// Frames of the client's first message and of the reset that followed it.
fn hello_and_reset(scene: &Scene<'_>) -> Option<(crate::model::frame::FrameNo, crate::model::frame::FrameNo)> {
    let tcp = scene.flow.tcp.as_deref()?;
    let hello = scene.flow.totals.client.first_payload?;
    let reset = tcp.resets.iter().find(|r| r.packet.ts >= hello.ts && !r.fin_before && !r.peer_fin_before)?;
    let refused = matches!(scene.flow.outcome, Outcome::Reset);
    refused.then_some((hello.frame, reset.packet.frame))
}
