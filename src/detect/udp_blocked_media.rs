//! A call that is cut: media flows both ways, then only one side is heard.
//!
//! ```text
//! client                        relay
//!   | media <--------------> media |   for seconds
//!   | media -------------> X       |   then nothing comes back,
//!   | media -------------> X       |   not even keepalives, while the client goes on talking
//! ```
//!
//! Beyond the cut nothing of it can be seen but one thing: the relay that goes on. It does so too after a client that left without a word
//! (a closed tab, a reload), so one call is told from the client's side of the cut only. Who hears the relay's answers leave learns more
//! from requests that are repeated all the same: [`super::stun_unheard`].

use super::Detector;
use super::silence::{self, Around};
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Finding, Grade, Kind};
use crate::model::flow::{Brief, FlowRecord, Moment};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::key::Proto;
use crate::model::label::{EvidenceClass, Role};
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::{Span, Time};

/// See the module.
pub(super) struct MediaCut;

static CARD: Card = Card {
    rule: "udp.media_cut",
    kind: Kind::UdpBlocking,
    mechanisms: &["media_cut"],
    claim: "Media of a call flowed both ways; then nothing at all came back, while the client went on for seconds.",
    ladder: "\
client                        relay
  | media <--------------> media |   for seconds
  | media -------------> X       |   then nothing comes back,
  | media -------------> X       |   not even keepalives, while the client goes on talking",
    needs: &["both directions", "steady media of both sides before", "other connections of the client that work meanwhile"],
    innocent: &["the call ended", "the other party lost its connection", "relay that went down", "outage of the line", "muted microphone"],
    confirm: "Call again and see whether it ends after the same time; capture at the other party. From the client's end nothing tells which \
way is cut: a relay that no longer hears its client may fall silent as well.",
    sources: &["RFC 7675 (consent: an answer at least every few seconds)", "youtubeUnblock 265 (calls in Russia since August 2025)"],
};

/// Media flowed both ways at least this long.
const FLOWED: Span = Span::from_secs(2);
/// The client went on alone at least this long: longer than any pause between keepalives, and longer than it takes an app to notice a hang-up.
const ALONE: Span = Span::from_secs(5);
/// Packets per second from which a flow is media.
const RATE: f64 = 5.0;

impl Detector for MediaCut {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::UDP_EXCHANGE
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        // Beyond the place of the cut a cut call looks like one that ended: only where the client is heard going on can it be told.
        let cut = Cut::of(flow, scene.label.is_some_and(|l| l.role == Some(Role::Call)))?;
        if scene.vantage() == Vantage::Server || scene.source.quality.one_sided_share > 0.5 || !silence::public(flow.server.ip) {
            return None;
        }
        let around = Around::of(scene, cut.heard.ts, cut.last);
        // Others asked in vain as well: the line was down. If nobody else asked, the pattern stands, and so does that cause.
        if around.alive.ok == 0 && around.alive.n > 0 {
            return None;
        }
        // Other media of the client that was cut at another time: other parties do not vanish one after the other.
        let mut calls = Control::new("same_client_other_calls");
        for f in scene.kin.with_client(flow.client.ip).filter(|f| f.id != flow.id) {
            if Cut::of(f, false).is_some_and(|c| c.heard.ts.since(cut.heard.ts).abs() > Span::from_secs(10)) {
                calls.add(f.id, false);
            }
        }
        let again = calls.n;
        let mut w = Weigh::default();
        w.fact(
            2.0,
            format!("media flowed both ways for {}, then nothing came back", cut.flowed),
            format!("the client went on for {} ({} packets sent in all, {} received)", cut.alone, cut.sent, cut.received),
            "media, reports or keepalives of the other side, or silence of both",
            &cut.frames,
        );
        if again > 0 {
            w.fact(1.5, "another call of this client was cut in the same way", format!("{again} more"), "-", &[]);
        }
        around.weigh_line(&mut w);
        w.excluded("the call ended", "the client went on sending for longer than an app needs to notice");
        w.excluded("muted microphone", "not even reports or keepalives came");
        // A relay answers STUN itself, whoever else is in the call.
        let relay = scene.label.is_some_and(|l| l.evidence.iter().any(|e| e.class == EvidenceClass::Ip && e.db >= 10));
        let asked = Consent::of(flow, cut.heard.ts).filter(|c| c.answered > 0 && c.in_vain.len() >= IN_VAIN);
        if let Some(asked) = &asked {
            w.fact(
                1.0,
                "STUN requests had been answered, and were not any more",
                format!("{} answered before, {} in vain after", asked.answered, asked.in_vain.len()),
                "an answer to each",
                &asked.in_vain,
            );
        }
        let own_answer = relay && asked.is_some();
        match () {
            () if again > 0 => w.excluded("the other party lost its connection", "other calls were cut in the same way"),
            () if own_answer => w.excluded("the other party lost its connection", "the relay itself no longer answered"),
            () => w.against(0.0, "the other party lost its connection", "then its media ceases in the same way"),
        }
        let up = around.address.ok > 0;
        match () {
            () if again > 0 => w.excluded("relay that went down", "other calls were cut in the same way"),
            () if up => w.excluded("relay that went down", "other connections brought data from this address meanwhile"),
            () => w.against(0.0, "relay that went down", "nothing else at this address was seen to work after the cut"),
        }
        let settled = again > 0 || (own_answer && up);
        let likely = settled && around.alive.ok >= 2 && scene.label.is_some() && !scene.lossy();
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "media_cut",
            grade: if likely { Grade::Likely } else { Grade::Possible },
            direction: None,
            started: cut.heard.ts,
            ooni_failure: None,
        };
        let needs = vec!["another call", "a capture at the other party"];
        Some(weigh::finding(scene, &claim, w, vec![calls, around.address, around.alive], needs))
    }
}

/// Requests after the cut that must be in vain: consent is asked for every five seconds, and one request may be lost (RFC 7675 §5.1).
const IN_VAIN: usize = 2;

/// The client's STUN requests before and after a moment, as far as they were noted.
struct Consent {
    answered: usize,
    in_vain: Vec<FrameNo>,
}

impl Consent {
    fn of(flow: &FlowRecord, heard: Time) -> Option<Self> {
        let requests = || flow.notes.stun().filter(|(n, m)| n.side == Side::Client && m.kind & 0x0110 == 0);
        let answered = |id| flow.notes.stun().any(|(n, m)| n.side == Side::Server && m.kind & 0x0110 != 0 && m.transaction == id);
        let in_vain = requests().filter(|(n, _)| n.ts > heard).map(|(n, _)| n.frame).collect();
        requests().next()?;
        Some(Self { answered: requests().filter(|(_, m)| answered(m.transaction)).count(), in_vain })
    }
}

/// How a call went on one-sidedly.
struct Cut {
    heard: Moment,
    last: Time,
    flowed: Span,
    alone: Span,
    sent: u64,
    received: u64,
    frames: Vec<FrameNo>,
}

impl Cut {
    fn of(flow: &FlowRecord, call: bool) -> Option<Self> {
        let media = matches!(flow.app, Some("stun" | "rtp" | "rtcp" | "dtls")) || (call && flow.app.is_none());
        let (c, s) = (&flow.totals.client, &flow.totals.server);
        if flow.proto != Proto::UDP || !media || !flow.icmp.is_empty() || s.packets < 20 || c.packets < 40 {
            return None;
        }
        let (begun, heard, last) = (s.first?, s.last?, c.last?.ts);
        let (flowed, alone) = (heard.ts.since(begun.ts), last.since(heard.ts));
        if flowed < FLOWED || alone < ALONE || rate(s.packets, flowed) < RATE {
            return None;
        }
        // The end of the ladder must be the client alone, as fast as media, and as fast as before.
        let tail: Vec<&Brief> = flow.ladder.tail.iter().collect();
        let (first, end) = (tail.first()?, tail.last()?);
        let own = tail.iter().all(|p| p.side == Side::Client && p.frame > heard.frame);
        let now = rate(tail.len() as u64 - 1, end.ts.since(first.ts));
        let before = rate(c.packets, last.since(c.first?.ts));
        if !own || tail.len() < 16 || now < RATE || now < before * 0.5 {
            return None;
        }
        let frames = [heard.frame, first.frame, end.frame].to_vec();
        Some(Self { heard, last, flowed, alone, sent: c.packets, received: s.packets, frames })
    }
}

fn rate(packets: u64, span: Span) -> f64 {
    if span > Span::ZERO { packets as f64 / span.as_secs() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::stun_unheard::tests::{Step, flow};

    #[test]
    fn a_relay_that_answered_and_no_longer_does_is_told_from_one_that_never_did() {
        let talk: [Step; 6] = [(0, 'c', 1), (20, 's', 1), (2500, 'c', 2), (2520, 's', 2), (5000, 'c', 3), (7500, 'c', 4)];
        let at = |ms: i64| Time::from_nanos(ms * 1_000_000);
        let of = |steps: &[Step], ms| Consent::of(&flow(1, 1, "stun", steps), at(ms)).map(|c| (c.answered, c.in_vain.len()));
        assert_eq!(of(&talk, 3000), Some((2, 2)));
        assert_eq!(of(&talk, 6000), Some((2, 1)), "what was asked before the cut says nothing");
        assert_eq!(of(&[(0, 'c', 1), (2500, 'c', 2)], 0), Some((0, 1)));
        assert_eq!(of(&[(0, 's', 1)], 0), None);
    }
}
