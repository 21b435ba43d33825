//! A FIN that the endpoint it names did not send.
//!
//! ```text
//! client                        server
//!   | SYN, SYN+ACK, ACK            |
//!   | ClientHello ---------------> |
//!   | <------ FIN+ACK   (too early, or from another stack)
//!   | <------------- ServerHello   |   at or beyond the position where the FIN had ended the stream
//! ```

use super::Detector;
use super::forged;
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Direction, Finding, Grade, Innocent, Kind};
use crate::model::flow::{Brief, Outcome, TcpRecord, mark};
use crate::model::gist::Signs;
use crate::model::scene::Scene;
use crate::model::seq::Pos;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::Span;

/// See the module.
pub(super) struct FinInjected;

static CARD: Card = Card {
    rule: "tcp.fin.injected",
    kind: Kind::RstInjection,
    mechanisms: &["fin"],
    claim: "A TCP FIN on this connection was not sent by the endpoint whose address it carries.",
    ladder: "\
client                        server
  | SYN, SYN+ACK, ACK            |
  | ClientHello ---------------> |
  | <------ FIN+ACK   (too early, or from another stack)
  | <------------- ServerHello   |   at or beyond the position where the FIN had ended the stream",
    needs: &["the FIN and the packets around it", "for timing: the handshake, so that the round trip is known"],
    innocent: &["the server closed the connection", "a desync tool on the client", "a box that closes idle connections for both ends"],
    confirm: "Follow the stream: after a FIN its sender has nothing new to say (RFC 9293 §3.6). Compare time, TTL and options with its other packets.",
    sources: &[
        "Weaver, Sommer, Paxson: Detecting Forged TCP Reset Packets, NDSS 2009",
        "CenTrace test captures 2022 (FIN with a page, Pakistan)",
        "RFC 9293 §3.6, RFC 7323 §3.2",
    ],
};

impl Detector for FinInjected {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::FIN
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        let tcp = flow.tcp.as_deref()?;
        if scene.source.quality.phone_vpn || tcp.established.is_none() {
            return None;
        }
        let local = match scene.vantage() {
            Vantage::Client => Some(Side::Client),
            Vantage::Server => Some(Side::Server),
            _ => None,
        };
        Side::BOTH.into_iter().filter(|side| Some(*side) != local).find_map(|side| judge_side(scene, tcp, side))
    }
}

fn judge_side(scene: &Scene<'_>, tcp: &TcpRecord, side: Side) -> Option<Finding> {
    let flow = scene.flow;
    let s = &tcp.side[side];
    let (at, moment) = s.fin?;
    let fin = flow.ladder.iter().find(|p| p.frame == moment.frame && p.flags.fin())?;
    // A client's own desync tool sends FINs with a low TTL or a broken checksum that only boxes near it see.
    let fake = s.syn.is_some_and(|syn| syn.ttl > fin.ttl.saturating_add(3) && fin.ttl <= 12);
    let aside = fin.marks & (mark::ASIDE | mark::BAD_CHECKSUM | mark::MD5) != 0 || s.aside > 0;
    if side == Side::Client && (fake || aside || scene.vantage() != Vantage::Server) {
        return None;
    }
    let mut w = Weigh::default();
    data_after(flow.ladder.iter(), side, fin, at, &mut w);
    if side == Side::Server {
        if let Some(asked) = forged::answered(scene, fin) {
            forged::too_early(scene, asked, fin, "the FIN", &mut w);
        }
        // Only a FIN in place of the answer is compared by its headers: later ones come from stacks and boxes of all kinds.
        if tcp.side.server.unique <= u64::from(fin.len) || w.proofs > 0 {
            forged::header(scene, tcp, fin, "the FIN", &mut w);
        }
    }
    // The headers alone make a pattern at most; a page in the FIN belongs to the judge of pages.
    if w.proofs == 0 && (w.llr < 3.0 || flow.notes.http_request().is_some() || flow.outcome == Outcome::Ok && s.unique > 64) {
        return None;
    }
    let mut grade = w.grade()?;
    if w.proofs == 0 {
        grade = grade.min(Grade::Possible);
        let why = "a server, or a box of its operator, may close for reasons of its own".to_owned();
        w.innocent.push(Innocent { cause: "the server closed the connection", stands: true, why });
    } else {
        w.excluded(
            "the server closed the connection",
            "a stack that has closed has nothing new to say, and none answers before it was asked",
        );
    }
    if scene.lossy() {
        grade = grade.min(Grade::Likely);
    }
    w.excluded("a desync tool on the client", "neither TTL nor checksum was made to be ignored");
    let control = vec![scene.same_server_other_name(), scene.same_server_same_name()];
    let claim = Claim {
        rule: CARD.rule,
        kind: CARD.kind,
        mechanism: "fin",
        grade,
        direction: Some(Direction::from_side(side)),
        started: fin.ts,
        ooni_failure: Some("eof_error"),
    };
    Some(weigh::finding(scene, &claim, w, control, vec!["the same connection captured at the other end"]))
}

/// New bytes at or beyond the position where the FIN ended the stream, from its supposed sender.
fn data_after<'a>(ladder: impl Iterator<Item = &'a Brief>, side: Side, fin: &Brief, at: Pos, w: &mut Weigh) {
    let new = |p: &&Brief| {
        let own = p.side == side && p.ts > fin.ts && p.len > 1 && p.end() > at.plus(2) && p.seq <= at.plus(100_000);
        own && p.marks & (mark::COPY | mark::ASIDE | mark::PROBE) == 0 && !p.flags.rst() && !p.flags.syn()
    };
    let all: Vec<&Brief> = ladder.filter(new).collect();
    let Some(first) = all.first() else { return };
    let gap = first.ts.since(fin.ts);
    let says = format!("the sender of the FIN went on sending new data {gap} later");
    let value = format!("{} segments beyond the end it had announced", all.len());
    let frames = [fin.frame, first.frame];
    if all.len() > 1 || gap > Span::from_millis(2) {
        w.proof(says, value, "none: FIN is the last of a stream", &frames);
    } else {
        w.fact(3.0, says, value, "none: FIN is the last of a stream", &frames);
    }
}
