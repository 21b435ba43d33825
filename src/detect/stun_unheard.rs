//! Answers of a relay that do not arrive, seen beyond the place where they are lost.
//!
//! ```text
//! client        cut     capture    relay
//!   | request T --------------------> |
//!   |        X <--------- answer T -- |   answered at once,
//!   | request T --------------------> |   and asked again all the same, on a timer:
//!   |        X <--------- answer T -- |   who holds an answer does not repeat its question
//! ```

use super::Detector;
use super::silence::{self, Around};
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::flow::FlowRecord;
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::key::Proto;
use crate::model::note::{Note, Stun};
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::{Span, Time};

/// See the module.
pub(super) struct StunUnheard;

static CARD: Card = Card {
    rule: "udp.stun_unheard",
    kind: Kind::UdpBlocking,
    mechanisms: &["stun_dropped"],
    claim: "A relay answers each request of a call at once, and the client goes on repeating the very same request: no answer reaches it.",
    ladder: "\
client        cut     capture    relay
  | request T --------------------> |
  |        X <--------- answer T -- |   answered at once,
  | request T --------------------> |   and asked again all the same, on a timer:
  |        X <--------- answer T -- |   who holds an answer does not repeat its question",
    needs: &[
        "a capture at the relay, or on the path beyond the cut",
        "one transaction repeated at least three times over a second and a half",
    ],
    innocent: &["answers that were still under way", "packet loss", "firewall of the client's own machine", "outage of the line"],
    confirm: "Capture at the client: the answers do not arrive there.",
    sources: &["RFC 8489 §6.2.1 (a request is repeated, with its transaction id, until it is answered)"],
};

/// Repetitions of one answered request, and over what time: RFC 8489's timer of 500 ms gives them at 0.5, 1.5 and 3.5 s, the quickest
/// implementations (250 ms) at 0.25, 0.75 and 1.75 s.
const REPEATS: usize = 3;
const LONG: Span = Span::from_millis(1_500);
/// An answer older than this was not under way any more: longer than a round trip over two satellites.
const ARRIVED: Span = Span::from_millis(700);

impl Detector for StunUnheard {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::STUN
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        // At the client the answers are there: what ignores them is the client.
        if flow.app != Some("stun") || flow.proto != Proto::UDP || scene.vantage() == Vantage::Client || !flow.icmp.is_empty() {
            return None;
        }
        let circle = Circle::of(flow)?;
        let around = Around::of(scene, flow.first.ts, flow.last.ts);
        let mut udp = Control::new("same_client_other_udp");
        for f in scene.kin.with_client(flow.client.ip).filter(|f| f.id != flow.id && f.proto == Proto::UDP && f.tcp.is_none()) {
            // Heard at both ends: it went on after it was answered.
            let meanwhile = f.first.ts <= flow.last.ts && f.last.ts >= flow.first.ts;
            let both = f.totals.server.packets >= 3 && f.totals.client.last.zip(f.totals.server.first).is_some_and(|(c, s)| c.ts > s.ts);
            if meanwhile && silence::public(f.server.ip) && !silence::often_filtered(f.server.port) && Circle::of(f).is_none() {
                udp.add(f.id, both);
            }
        }
        let others = circles_elsewhere(scene);
        // One client behind whose tap nothing else is seen to work: its line may be down one way.
        if around.alive.ok == 0 && udp.ok == 0 {
            return None;
        }
        let mut w = Weigh::default();
        w.fact(
            2.5,
            format!("one request was sent {} times, although it was answered each time", circle.sent),
            format!("over {}; the first answer {} before the last repetition", circle.over, circle.known_for),
            "no repetition once the answer has arrived",
            &circle.frames,
        );
        w.excluded("answers that were still under way", format!("the first had left {} before the last repetition", circle.known_for));
        w.excluded("packet loss", format!("{} answers in a row would all have to be lost", circle.sent - 1));
        around.weigh_line(&mut w);
        const OWN: &str = "firewall of the client's own machine";
        if udp.ok > 0 {
            w.excluded(OWN, format!("answers over UDP reached the client on {} other flows meanwhile", udp.ok));
        } else {
            w.against(0.0, OWN, "a machine that admits no answers over UDP looks the same");
        }
        if others.n > 0 {
            w.fact(1.0, "answers of other relays did not arrive either", format!("{} flows", others.n), "-", &[]);
        }
        let likely = udp.ok > 0 && around.alive.ok > 0 && !scene.lossy();
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "stun_dropped",
            grade: if likely { Grade::Likely } else { Grade::Possible },
            direction: Some(Direction::S2c),
            started: circle.from,
            ooni_failure: Some("generic_timeout_error"),
        };
        Some(weigh::finding(scene, &claim, w, vec![udp, others, around.alive], vec!["a capture at the client"]))
    }
}

/// One transaction that was answered and repeated.
struct Circle {
    sent: usize,
    over: Span,
    known_for: Span,
    from: Time,
    frames: Vec<FrameNo>,
}

impl Circle {
    fn of(flow: &FlowRecord) -> Option<Self> {
        let asks = |(n, m): &(&Note, &Stun)| n.side == Side::Client && m.kind & 0x0110 == 0;
        flow.notes.stun().filter(asks).find_map(|(_, first)| {
            let same = || flow.notes.stun().filter(|(_, m)| m.transaction == first.transaction);
            let sent: Vec<&Note> = same().filter(asks).map(|(n, _)| n).collect();
            let answers: Vec<&Note> = same().filter(|x| !asks(x) && x.0.side == Side::Server).map(|(n, _)| n).collect();
            let (begun, last, answer) = (sent.first()?, sent.last()?, answers.first()?);
            let over = last.ts.since(begun.ts);
            let late = sent.iter().filter(|n| n.ts.since(answer.ts) > ARRIVED).count();
            let each = answers.len() + 1 >= sent.len();
            let frames: Vec<FrameNo> = sent.iter().chain(&answers).map(|n| n.frame).take(16).collect();
            (sent.len() > REPEATS && over >= LONG && late >= 1 && each).then(|| Self {
                sent: sent.len(),
                over,
                known_for: last.ts.since(answer.ts),
                from: begun.ts,
                frames,
            })
        })
    }
}

/// Other flows of this client in which the same shows.
fn circles_elsewhere(scene: &Scene<'_>) -> Control {
    let flow = scene.flow;
    let mut c = Control::new("same_client_other_relays");
    for f in scene.kin.with_client(flow.client.ip).filter(|f| f.id != flow.id && f.server.ip != flow.server.ip) {
        if f.app == Some("stun") && Circle::of(f).is_some() {
            c.add(f.id, false);
        }
    }
    c
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::flow::{Flow, Outcome};
    use crate::model::key::Endpoint;
    use crate::model::note::Fact;
    use crate::model::scene::{Index, Kin};
    use crate::model::seq::Pos;
    use crate::model::source::SourceFacts;
    use std::sync::Arc;

    /// One STUN message: milliseconds, sender, transaction.
    pub(in crate::detect) type Step = (i64, char, u8);

    /// A flow of STUN messages; the transaction is the id twelve times over.
    pub(in crate::detect) fn flow(frame: u64, server: u8, app: &'static str, steps: &[Step]) -> FlowRecord {
        let side = |who| if who == 'c' { Side::Client } else { Side::Server };
        let mut flow = Flow::of_datagrams(frame, steps.iter().map(|&(ms, who, _)| (ms, side(who), 60)));
        for (frame, &(ms, who, id)) in (frame..).zip(steps) {
            let kind = if who == 'c' { 1 } else { 0x0101 };
            let fact = Fact::Stun(Box::new(Stun { kind, transaction: [id; 12], ..Stun::default() }));
            let (frame, ts) = (FrameNo(frame), Time::from_nanos(ms * 1_000_000));
            flow.notes.push(Note { frame, ts, side: side(who), from: Pos::FIRST, to: Pos::FIRST, fact });
        }
        FlowRecord::from(Flow {
            client: Endpoint::new([93, 184, 1, 2].into(), 40_000 + u16::from(server)),
            server: Endpoint::new([198, 51, 100, server].into(), 3478),
            app: Some(app),
            outcome: Outcome::Ok,
            ..flow
        })
    }

    fn judge(vantage: Vantage, steps: &[Step], others: &[FlowRecord]) -> Option<Finding> {
        let mut flows = vec![flow(1, 1, "stun", steps)];
        flows.extend_from_slice(others);
        let labels = vec![None; flows.len()];
        let kin = Kin { flows: &flows, labels: &labels, index: Arc::new(Index::of(&flows)) };
        let mut source = SourceFacts { last: Some(Time::from_nanos(60_000_000_000)), ..SourceFacts::default() };
        source.quality.vantage = vantage;
        StunUnheard.judge(&Scene { flow: &flows[0], label: None, kin: &kin, source: &source })
    }

    /// Another flow of the client, answered and going on.
    fn works() -> FlowRecord {
        let steps: Vec<Step> = (0..8).flat_map(|i| [(i * 500, 'c', 100 + i as u8), (i * 500 + 1, 's', 100 + i as u8)]).collect();
        flow(100, 9, "stun", &steps)
    }

    const UNHEARD: [Step; 8] =
        [(0, 'c', 1), (1, 's', 1), (500, 'c', 1), (501, 's', 1), (1500, 'c', 1), (1501, 's', 1), (3500, 'c', 1), (3501, 's', 1)];

    #[test]
    fn a_request_repeated_although_answered_was_not_heard_to_be_answered() {
        let found = judge(Vantage::Server, &UNHEARD, &[works()]).expect("it was answered four times");
        assert_eq!((found.mechanism, found.direction, found.grade), ("stun_dropped", Some(Direction::S2c), Grade::Likely));
        assert!(judge(Vantage::Server, &UNHEARD, &[]).is_none(), "nothing else of the client is seen to work");
        assert!(judge(Vantage::Client, &UNHEARD, &[works()]).is_none(), "the answers are there");
    }

    #[test]
    fn a_client_far_away_repeats_until_the_answer_arrives() {
        // 1.2 s of round trip: two repetitions were under way when the first answer left.
        let far = [(0, 'c', 1), (1, 's', 1), (250, 'c', 1), (251, 's', 1), (600, 'c', 1), (601, 's', 1)];
        assert!(judge(Vantage::Server, &far, &[works()]).is_none());
    }

    #[test]
    fn a_new_request_each_time_is_a_keepalive() {
        let keepalives: Vec<Step> = (0..8).flat_map(|i| [(i * 2500, 'c', i as u8), (i * 2500 + 1, 's', i as u8)]).collect();
        assert!(judge(Vantage::Server, &keepalives, &[works()]).is_none());
    }
}
