//! Handshake packets that neither end can have sent, told at the far end of the path.
//!
//! ```text
//! client            box            server
//!   | SYN, number C ---------------> |
//!   | <-- SYN+ACK, X --|             |   the client was answered by somebody else,
//!   | <------------- SYN+ACK, S ---- |   before the server's own answer
//!   | ACK of X ------------------->  |   the server is told of a number it never used, and refuses it
//!   |                  |- SYN+ACK -> |   or: the side that asked for the connection seems to accept one
//! ```

use super::Detector;
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::flow::{Brief, FlowRecord, mark};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::scene::Scene;
use crate::model::seq::Pos;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::{Span, Time};

/// See the module.
pub(super) struct HandshakeForged;

static CARD: Card = Card {
    rule: "tcp.handshake_forged",
    kind: Kind::RstInjection,
    mechanisms: &["on_path"],
    claim: "The handshake has packets that neither end can have sent: an acceptance from the side that asked, or an acknowledgement of a number the server never used.",
    ladder: "\
client            box            server
  | SYN, number C ---------------> |
  | <-- SYN+ACK, X --|             |   the client was answered by somebody else,
  | <------------- SYN+ACK, S ---- |   before the server's own answer
  | ACK of X ------------------->  |   the server is told of a number it never used, and refuses it
  |                  |- SYN+ACK -> |   or: the side that asked for the connection seems to accept one",
    needs: &["a capture at the server or on the path", "the SYN and the server's answer"],
    innocent: &[
        "both sides open at once",
        "packet of an older connection on the same ports",
        "protection against floods that answers for the server",
    ],
    confirm: "Capture at the client: a second SYN+ACK, with another number, arrives there before the server's.",
    sources: &[
        "Tripwire testdata (China, 2020: SYN+ACKs to both ends while residual blocking lasts)",
        "RFC 9293 §3.5 (simultaneous open), §3.10.7.3 (an acknowledgement that is not acceptable is answered by a reset)",
    ],
};

impl Detector for HandshakeForged {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::RESYN.and(Signs::NO_BYTE)
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        // At the client its own programs make packets of every kind; the answers it got are there to be seen.
        if scene.vantage() == Vantage::Client || scene.source.quality.one_sided_share > 0.5 || scene.source.quality.phone_vpn {
            return None;
        }
        let (reversed, phantom) = (reversed(scene.flow), phantom(scene.flow));
        let started = reversed.map_or_else(|| phantom.as_ref().map(|p| p.0.ts), |p| Some(p.ts))?;
        let mut alike = Control::new("same_server_handshake_forged");
        for f in scene.kin.with_server(scene.flow.server.ip).filter(|f| f.id != scene.flow.id && f.tcp.is_some()) {
            if self::reversed(f).is_some() || self::phantom(f).is_some() {
                alike.add(f.id, false);
            }
        }
        let mut w = Weigh::default();
        if let Some(p) = reversed {
            w.proof("the side that asked for the connection seems to accept one", "SYN+ACK", "ACK", &[p.frame]);
            w.excluded("both sides open at once", "the server sent no SYN of its own");
        }
        if let Some((ack, refusal)) = phantom {
            let frames: Vec<FrameNo> = std::iter::once(ack.frame).chain(refusal.map(|r| r.frame)).collect();
            w.fact(
                if refusal.is_some() { 4.5 } else { 2.5 },
                "the client acknowledged a number that the server never used: it was answered by somebody else",
                ack.ack_raw.0.to_string(),
                "the number of the server's SYN+ACK, plus one",
                &frames,
            );
            w.excluded("packet of an older connection on the same ports", "it carries on from the SYN of this one");
            const PROXY: &str = "protection against floods that answers for the server";
            if reversed.is_none() && alike.n == 0 {
                w.against(0.0, PROXY, "one that fails to translate its own numbers would look the same");
            }
        }
        let grade = w.grade()?;
        let grade = if scene.lossy() { grade.min(Grade::Likely) } else { grade };
        let towards = if reversed.is_some() && phantom.is_some() {
            Direction::Both
        } else if reversed.is_some() {
            Direction::C2s
        } else {
            Direction::S2c
        };
        let claim =
            Claim { rule: CARD.rule, kind: CARD.kind, mechanism: "on_path", grade, direction: Some(towards), started, ooni_failure: None };
        Some(weigh::finding(scene, &claim, w, vec![alike], vec!["a capture at the client"]))
    }
}

/// A SYN+ACK from the side that sent the SYN, towards a server that accepted it in the ordinary way.
fn reversed(flow: &FlowRecord) -> Option<&Brief> {
    let tcp = flow.tcp.as_deref()?;
    let (asked, accepted) = (tcp.side.client.syn?, tcp.side.server.syn?);
    let opened = |p: &Brief| p.side == Side::Server && p.flags.syn() && !p.flags.ack();
    if asked.flags.ack() || !accepted.flags.ack() || flow.ladder.iter().any(opened) {
        return None;
    }
    let accepts = |p: &&Brief| p.flags.syn() && p.flags.ack() && !p.flags.rst() && p.marks & (mark::COPY | mark::BAD_CHECKSUM) == 0;
    flow.ladder.iter().filter(accepts).find(|p| p.side == Side::Client && p.frame > asked.frame)
}

/// The client's first packet after the handshake, if it carries on from its SYN but acknowledges a number that no SYN+ACK of the server had;
/// and the server's reset that refuses just that number.
fn phantom(flow: &FlowRecord) -> Option<(Brief, Option<Brief>)> {
    let tcp = flow.tcp.as_deref()?;
    let (asked, accepted) = (tcp.side.client.syn?, tcp.side.server.syn?);
    let answered = flow.ladder.iter().find(|p| {
        let own = p.side == Side::Client && p.frame > accepted.frame && !p.flags.syn() && !p.flags.rst() && p.flags.ack();
        own && p.seq == Pos::FIRST && p.seq_raw == asked.seq_raw.plus(1) && p.marks & (mark::COPY | mark::BAD_CHECKSUM | mark::ASIDE) == 0
    })?;
    let used = |n| flow.ladder.iter().any(|p| p.side == Side::Server && p.flags.syn() && p.seq_raw.plus(1) == n);
    // A server that goes on to send data may have had that much acknowledged before the capture saw it.
    if used(answered.ack_raw) || tcp.side.server.unique > 0 {
        return None;
    }
    let refuses = |p: &&Brief| p.side == Side::Server && p.flags.rst() && p.seq_raw == answered.ack_raw && soon(p.ts, answered.ts);
    Some((*answered, flow.ladder.iter().find(refuses).copied()))
}

fn soon(after: Time, before: Time) -> bool {
    let gap = after.since(before);
    gap >= Span::ZERO && gap < Span::from_secs(1)
}
