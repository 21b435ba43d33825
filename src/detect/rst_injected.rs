//! A reset that the endpoint it names did not send.
//!
//! ```text
//! client                        server
//!   | SYN, SYN+ACK, ACK            |
//!   | ClientHello ---------------> |
//!   | <------ RST   (too early, or repeated, or from another stack)
//!   | <------------- ACK, ServerHello: the server knows nothing of a reset
//! ```

use super::Detector;
use super::resets::{self, ABORT};
use super::weigh::{self, Claim};
use crate::model::finding::{Card, Direction, Finding, Grade, Kind};
use crate::model::flow::Outcome;
use crate::model::gist::Signs;
use crate::model::scene::Scene;
use crate::model::side::Side;

/// See the module.
pub(super) struct RstInjected;

static CARD: Card = Card {
    rule: "tcp.rst.injected",
    kind: Kind::RstInjection,
    mechanisms: &["on_path", "rewrite", "late"],
    claim: "A TCP reset on this connection was not sent by the endpoint whose address it carries.",
    ladder: "\
client                        server
  | SYN, SYN+ACK, ACK            |
  | ClientHello ---------------> |
  | <------ RST   (too early, or repeated, or from another stack)
  | <------------- ACK, ServerHello: the server knows nothing of a reset",
    needs: &["the reset and the packets around it", "for timing: the handshake, so that the round trip is known"],
    innocent: &[
        "abort by the server itself",
        "answer to a closing connection",
        "idle timeout of a server, load balancer or NAT",
        "network change or closed app",
        "a desync tool on the client",
    ],
    confirm: "Follow the stream in Wireshark and compare the reset's time, TTL, IP identification and sequence number with the packets of the same sender before and after it. Repeat with another name to the same address.",
    sources: &[
        "Weaver, Sommer, Paxson: Detecting Forged TCP Reset Packets, NDSS 2009",
        "Sundara Raman et al.: Global, Passive Detection of Connection Tampering, SIGCOMM 2023",
        "RFC 9293, RFC 5961",
    ],
};

impl Detector for RstInjected {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::RESET
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let server = resets::judge(scene, Side::Server);
        let client = resets::judge(scene, Side::Client);
        let graded = |v: &Option<resets::Verdict>| v.as_ref().and_then(|v| v.weigh.grade());
        let (gs, gc) = (graded(&server), graded(&client));
        let (best, side) = if gs >= gc { (server?, Side::Server) } else { (client?, Side::Client) };
        let mut v = best;
        let mut both = gs.is_some() && gc.is_some();
        if !both && let Some((says, frames)) = resets::far_end(scene, side, v.started) {
            both = true;
            v.weigh.fact(0.0, says, "both ends", "one end", &frames);
        }
        let control = scene.same_server_other_name();
        let same = scene.same_server_same_name();
        if same.n > same.ok && control.ok > 0 && control.n == control.ok {
            v.weigh.llr += 1.5;
        }
        let mut grade = v.weigh.grade()?;
        // A rewritten packet has the server's own headers: without proof by repetition it stays a pattern.
        if v.mechanism == "rewrite" && v.weigh.proofs == 0 {
            grade = grade.min(Grade::Likely);
        }
        // With loss in the capture the packet that provoked a reset may simply be missing.
        if scene.lossy() && v.weigh.proofs == 1 && grade == Grade::Confirmed {
            grade = Grade::Likely;
        }
        if grade >= Grade::Likely {
            for i in v.weigh.innocent.iter_mut().filter(|i| i.cause == ABORT) {
                i.stands = false;
                i.why = "too many facts about the resets do not fit a stack that aborts".to_owned();
            }
        }
        let mut needs = vec!["the same connection captured at the other end"];
        if control.n == 0 {
            needs.push("a connection to the same address with another name");
        }
        let direction = if both { Direction::Both } else { Direction::from_side(side) };
        let failure = matches!(scene.flow.outcome, Outcome::Reset | Outcome::Refused).then_some("connection_reset");
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: v.mechanism,
            grade,
            direction: Some(direction),
            started: v.started,
            ooni_failure: failure,
        };
        let mut f = weigh::finding(scene, &claim, v.weigh, vec![control, same], needs);
        f.resembles = v.resembles;
        Some(f)
    }
}
