//! A DTLS handshake that is never answered on a pair of ports on which STUN is.
//!
//! ```text
//! client                        peer or relay
//!   | STUN request, answer <-----> |   the path and both programs work
//!   | ClientHello -------> X       |   sent again on a doubling timer
//!   | ClientHello -------> X       |   (or its answers are lost)
//!   | STUN request, answer <-----> |   meanwhile, on the same ports
//! ```

use super::Detector;
use super::silence;
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Finding, Grade, Kind};
use crate::model::flow::{Brief, FlowRecord};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::key::Proto;
use crate::model::note::{Fact, Shape};
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::Span;
use hashbrown::HashSet;

/// See the module.
pub(super) struct DtlsSilent;

static CARD: Card = Card {
    rule: "dtls.handshake_silent",
    kind: Kind::ProtocolBlocking,
    mechanisms: &["dtls_handshake"],
    claim: "The first message of DTLS is repeated and never answered, while STUN on the very same ports is.",
    ladder: "\
client                        peer or relay
  | STUN request, answer <-----> |   the path and both programs work
  | ClientHello -------> X       |   sent again on a doubling timer
  | ClientHello -------> X       |   (or its answers are lost)
  | STUN request, answer <-----> |   meanwhile, on the same ports",
    needs: &[
        "both directions",
        "at least four messages on DTLS's own timer",
        "STUN answered on the same ports meanwhile",
        "the same with another party",
    ],
    innocent: &["other party that has not begun its side", "packet loss", "path-MTU black hole", "outage of the line"],
    confirm: "Make the same call or tunnel with another program, whose ClientHello differs, and the same from another network.",
    sources: &[
        "net4people/bbs 603 (DTLS of Snowflake dropped by its ClientHello, Russia 2026)",
        "RFC 6347 §4.2.4.1 (retransmission: one second, doubling)",
        "RFC 8445, RFC 5764 (DTLS on the pair of ports that STUN checked)",
    ],
};

/// Messages in vain, and over what time: from the second on, each waited at least as long as a path takes (RFC 6347 §4.2.4.1).
const SENT: usize = 4;
const LONG: Span = Span::from_secs(3);
/// Handshakes with others that must be silent alike, with the same fingerprint.
const OTHERS: usize = 2;

impl Detector for DtlsSilent {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::DTLS
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        let hello = Hello::of(flow)?;
        // At the other party its own silence is what shows.
        if scene.vantage() == Vantage::Server || scene.source.quality.one_sided_share > 0.5 || !silence::public(flow.server.ip) {
            return None;
        }
        let mut alike = Control::new("same_fingerprint_elsewhere");
        let mut other = Control::new("other_fingerprints");
        let mut places = HashSet::new();
        for f in scene.kin.with_client(flow.client.ip).filter(|f| f.id != flow.id && f.proto == Proto::UDP) {
            let Some((_, theirs)) = f.notes.client_hello().filter(|_| is_dtls(f)) else { continue };
            let answered = f.notes.server_hello().is_some();
            if theirs.ja4 == hello.ja4 {
                alike.add(f.id, answered);
                if Hello::of(f).is_some() {
                    places.insert(f.server.ip);
                }
            } else {
                other.add(f.id, answered);
            }
        }
        // The same message was answered elsewhere: whoever is silent here is silent by itself.
        if alike.ok > 0 {
            return None;
        }
        places.remove(&flow.server.ip);
        // One party alone may not have begun its side: a phone that rings answers STUN, and DTLS only once the call is taken.
        if places.is_empty() {
            return None;
        }
        let mut w = Weigh::default();
        w.fact(
            2.0,
            format!("the ClientHello of DTLS was sent {} times and never answered", hello.sent.len()),
            format!("over {}", hello.over),
            "a ServerHello, a HelloVerifyRequest or an alert",
            &hello.sent,
        );
        w.fact(1.5, "STUN on the same ports was answered meanwhile", format!("{} answers", hello.stun.len()), "-", &hello.stun);
        w.excluded("outage of the line", "the same ports were answered meanwhile");
        w.excluded("packet loss", format!("{} messages in a row would all have to be lost", hello.sent.len()));
        const MTU: &str = "path-MTU black hole";
        if hello.len < 1_200 {
            w.excluded(MTU, format!("the message has only {} bytes", hello.len));
        } else {
            w.against(0.0, MTU, format!("the message has {} bytes", hello.len));
        }
        let several = places.len() >= OTHERS && other.ok > 0;
        if several {
            w.excluded(
                "other party that has not begun its side",
                format!("{} others are silent to the same message, and another one was answered", places.len()),
            );
        } else {
            w.against(0.0, "other party that has not begun its side", "programs may answer STUN and not yet, or never, DTLS");
        }
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "dtls_handshake",
            grade: if several && !scene.lossy() { Grade::Likely } else { Grade::Possible },
            direction: None,
            started: flow.first.ts,
            ooni_failure: Some("generic_timeout_error"),
        };
        let needs = vec!["the same with another ClientHello", "the same from another network"];
        Some(weigh::finding(scene, &claim, w, vec![alike, other], needs))
    }
}

fn is_dtls(f: &FlowRecord) -> bool {
    f.notes.shapes().any(|(_, shape)| shape == Shape::Dtls)
}

/// A first message of DTLS that was repeated in vain among STUN that was answered.
struct Hello {
    ja4: Box<str>,
    len: u32,
    sent: Vec<FrameNo>,
    over: Span,
    /// Answers to STUN after the first of them.
    stun: Vec<FrameNo>,
}

impl Hello {
    fn of(flow: &FlowRecord) -> Option<Self> {
        // What lies in the record itself first: few flows are DTLS.
        let (begun, _) = flow.notes.shapes().find(|(n, shape)| *shape == Shape::Dtls && n.side == Side::Client)?;
        if flow.proto != Proto::UDP || flow.notes.server_hello().is_some() || flow.ladder.between > 0 || !flow.icmp.is_empty() {
            return None;
        }
        let (_, hello) = flow.notes.client_hello()?;
        let first = flow.ladder.iter().find(|p| p.frame == begun.frame)?;
        let sent: Vec<&Brief> =
            flow.ladder.iter().filter(|p| p.side == Side::Client && p.len == first.len && p.frame >= first.frame).collect();
        let over = sent.last()?.ts.since(first.ts);
        let gaps: Vec<i64> = sent.windows(2).filter_map(|w| Some(w.last()?.ts.since(w.first()?.ts).nanos())).collect();
        if sent.len() < SENT || over < LONG || !silence::backing_off(&gaps) {
            return None;
        }
        let said: Vec<FrameNo> = flow
            .notes
            .list
            .iter()
            .filter(|n| n.side == Side::Server && n.frame > first.frame && matches!(n.fact, Fact::Stun(_)))
            .map(|n| n.frame)
            .collect();
        // Whatever else the other party said may have been its answer.
        let only_stun = flow.ladder.iter().filter(|p| p.side == Side::Server && p.frame > first.frame).all(|p| said.contains(&p.frame));
        let sent = sent.iter().map(|p| p.frame).collect();
        (only_stun && !said.is_empty()).then(|| Self { ja4: hello.ja4.clone(), len: first.len, sent, over, stun: said })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::flow::{Flow, Outcome};
    use crate::model::key::Endpoint;
    use crate::model::note::{ClientHello, Note, Stun};
    use crate::model::scene::{Index, Kin};
    use crate::model::seq::Pos;
    use crate::model::source::SourceFacts;
    use crate::model::time::Time;
    use std::sync::Arc;

    /// One packet: milliseconds, sender, what (`s` STUN, `h` hello, `a` the answer to it).
    type Step = (i64, char, char);

    fn flow(frame: u64, server: u8, ja4: &str, steps: &[Step]) -> FlowRecord {
        let side = |who| if who == 'c' { Side::Client } else { Side::Server };
        let packets = steps.iter().map(|&(ms, who, what)| (ms, side(who), if what == 'h' { 180 } else { 60 }));
        let mut flow = Flow::of_datagrams(frame, packets);
        for (i, &(ms, who, what)) in steps.iter().enumerate() {
            let (frame, ts) = (FrameNo(frame + i as u64), Time::from_nanos(ms * 1_000_000));
            let mut note = |fact| flow.notes.push(Note { frame, ts, side: side(who), from: Pos::FIRST, to: Pos::FIRST, fact });
            match what {
                's' => note(Fact::Stun(Box::new(Stun { kind: if who == 'c' { 1 } else { 0x0101 }, ..Stun::default() }))),
                'a' => note(Fact::ServerHello(Box::default())),
                _ if steps[..i].iter().all(|s| s.2 != 'h') => {
                    note(Fact::Shape(Shape::Dtls));
                    note(Fact::ClientHello(Box::new(ClientHello { ja4: ja4.into(), ..ClientHello::default() })));
                }
                _ => {}
            }
        }
        FlowRecord::from(Flow {
            client: Endpoint::new([192, 168, 1, 2].into(), 40_000),
            server: Endpoint::new([185, 220, 100, server].into(), 5000),
            app: Some("stun"),
            outcome: Outcome::Ok,
            ..flow
        })
    }

    fn judge(flows: &[FlowRecord]) -> Option<Finding> {
        let labels = vec![None; flows.len()];
        let kin = Kin { flows, labels: &labels, index: Arc::new(Index::of(flows)) };
        DtlsSilent.judge(&Scene { flow: &flows[0], label: None, kin: &kin, source: &SourceFacts::default() })
    }

    const SILENT: [Step; 8] = [
        (0, 'c', 's'),
        (40, 's', 's'),
        (100, 'c', 'h'),
        (1100, 'c', 'h'),
        (2500, 'c', 's'),
        (2540, 's', 's'),
        (3100, 'c', 'h'),
        (7100, 'c', 'h'),
    ];
    const ANSWERED: [Step; 4] = [(0, 'c', 's'), (40, 's', 's'), (100, 'c', 'h'), (140, 's', 'a')];

    #[test]
    fn a_hello_that_several_parties_ignore_while_they_answer_stun_is_dropped() {
        let two = [flow(1, 1, "d12a", &SILENT), flow(101, 2, "d12a", &SILENT)];
        assert_eq!(judge(&two).map(|f| (f.mechanism, f.grade)), Some(("dtls_handshake", Grade::Possible)));
        let [a, b] = two;
        let more = [a, b, flow(201, 3, "d12a", &SILENT), flow(301, 4, "d13b", &ANSWERED)];
        assert_eq!(judge(&more).map(|f| f.grade), Some(Grade::Likely));
    }

    #[test]
    fn one_party_that_has_not_begun_its_side_is_none_of_the_networks_business() {
        assert!(judge(&[flow(1, 1, "d12a", &SILENT)]).is_none());
        // Nor one that is silent to what others answer.
        assert!(judge(&[flow(1, 1, "d12a", &SILENT), flow(101, 2, "d12a", &SILENT), flow(201, 3, "d12a", &ANSWERED)]).is_none());
    }
}
