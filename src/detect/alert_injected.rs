//! A TLS alert in place of the server's answer that the server did not send.
//!
//! ```text
//! client                        server
//!   | ClientHello ---------------> |
//!   | <------ alert (fatal)        |   too early, or from another stack
//!   | <------------- ServerHello   |   the server knows nothing of an alert
//! ```

use super::Detector;
use super::forged;
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Direction, Finding, Grade, Innocent, Kind};
use crate::model::flow::mark;
use crate::model::gist::Signs;
use crate::model::note::Fact;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;

/// See the module.
pub(super) struct AlertInjected;

static CARD: Card = Card {
    rule: "tls.alert.injected",
    kind: Kind::SniFiltering,
    mechanisms: &["alert"],
    claim: "The connection that named this server was refused with a TLS alert which the server did not send.",
    ladder: "\
client                        server
  | ClientHello ---------------> |
  | <------ alert (fatal)        |   too early, or from another stack
  | <------------- ServerHello   |   the server knows nothing of an alert",
    needs: &["the ClientHello and the alert", "the handshake, for the round trip and the server's own headers"],
    innocent: &["the server refuses this name or version", "antivirus or company proxy near the client"],
    confirm: "Compare the alert's time, TTL, options and IP identification with the SYN+ACK. An alert with the server's own headers is the server's policy.",
    sources: &["RFC 8446 §6, RFC 6066 §3 (unrecognized_name)", "Weaver et al., NDSS 2009 (content race)"],
};

impl Detector for AlertInjected {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::ALERT
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        let tcp = flow.tcp.as_deref()?;
        let (_, hello) = flow.notes.client_hello()?;
        if scene.source.quality.phone_vpn || scene.vantage() == Vantage::Server {
            return None;
        }
        // The first thing the server seems to say.
        let (note, code) = flow.notes.list.iter().filter(|n| n.side == Side::Server).find_map(|n| match n.fact {
            Fact::TlsAlert { level: 2, description } => Some((n, description)),
            _ => None,
        })?;
        let alert = flow.ladder.iter().find(|p| p.frame == note.frame && p.side == Side::Server)?;
        if note.from.0 > 1 || alert.marks & (mark::ASIDE | mark::COPY) != 0 {
            return None;
        }
        let mut w = Weigh::default();
        forged::race(tcp, alert, &mut w);
        if let Some(asked) = forged::answered(scene, alert) {
            forged::too_early(scene, asked, alert, "the alert", &mut w);
        }
        forged::header(scene, tcp, alert, "the alert", &mut w);
        let mut grade = w.grade()?;
        let (control, same) = (scene.same_server_other_name(), scene.same_server_same_name());
        if w.proofs == 0 {
            // One difference may have a reason of its own.
            if w.evidence.len() < 2 {
                return None;
            }
            let agreed = control.ok > 0 && same.ok == 0 && same.n > 0;
            grade = if agreed { grade.min(Grade::Likely) } else { Grade::Possible };
        }
        const SERVER: &str = "the server refuses this name or version";
        if w.proofs > 0 {
            w.excluded(SERVER, "the alert is not the server's");
        } else if grade == Grade::Likely {
            w.excluded(SERVER, "its headers are another stack's, every time, and other names are answered");
        } else {
            w.innocent.push(Innocent { cause: SERVER, stands: true, why: "only its headers differ".to_owned() });
        }
        let near = [64, 128, 255].contains(&alert.ttl) && scene.vantage() == Vantage::Client;
        if near {
            w.against(-2.0, "antivirus or company proxy near the client", "the alert has not passed a single router");
            grade = grade.min(Grade::Possible);
        } else {
            w.excluded("antivirus or company proxy near the client", "the alert had passed routers");
        }
        if scene.lossy() {
            grade = grade.min(Grade::Likely);
        }
        let name = hello.sni.as_deref().unwrap_or("no server");
        w.fact(0.0, format!("the message naming {name} was answered with alert {code}"), alert_name(code), "a ServerHello", &[alert.frame]);
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "alert",
            grade,
            direction: Some(Direction::S2c),
            started: alert.ts,
            ooni_failure: Some("ssl_failed_handshake"),
        };
        Some(weigh::finding(scene, &claim, w, vec![control, same], vec!["the same name from another network"]))
    }
}

/// Names of the alerts that refuse (RFC 8446 §6.2).
const fn alert_name(code: u8) -> &'static str {
    match code {
        40 => "handshake_failure",
        47 => "illegal_parameter",
        49 => "access_denied",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        112 => "unrecognized_name",
        _ => "another code",
    }
}
