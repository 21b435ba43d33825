//! A call made useless without being cut: one direction of its media loses packets, nothing else does.
//!
//! ```text
//! client                        relay
//!   | media -------------------> | |   complete
//!   | <--- x --- media -- x ---- | |   much of it missing, by its sequence numbers
//!   | TCP of the same direction <--|   complete as well
//! ```

use super::Detector;
use super::silence;
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::flow::FlowRecord;
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::key::Proto;
use crate::model::note::MediaLeg;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::time::Span;

/// See the module.
pub(super) struct MediaDegraded;

static CARD: Card = Card {
    rule: "udp.media_degraded",
    kind: Kind::UdpBlocking,
    mechanisms: &["media_degraded"],
    claim: "One direction of a call's media lost much of its packets; the other direction, and other traffic the same way, lost next to nothing.",
    ladder: "\
client                        relay
  | media ---------------------> |   complete
  | <--- x --- media --- x ----- |   much of it missing, by its sequence numbers
  | TCP of the same direction <->|   complete as well",
    needs: &[
        "both directions",
        "RTP whose headers can be read",
        "other traffic in the same direction meanwhile",
        "a capture that misses nothing",
    ],
    innocent: &[
        "congestion of the line",
        "outage of the line",
        "wireless link of the client",
        "the other party's own line",
        "capture that misses packets",
    ],
    confirm: "Call another party over the same line, and the same party over another; capture at the relay or the other party.",
    sources: &["RFC 3550 §6.4.1 and A.3 (loss by sequence numbers)", "ITU-T G.113 (speech is hardly understood beyond some 10 % of loss)"],
};

/// Packets of a direction, by sequence numbers, from which its loss is a figure.
const EXPECTED: u64 = 250;
/// Loss from which a call is spoilt, and up to which it is sound, in per cent.
const SPOILT: u64 = 8;
const SOUND: u64 = 1;
/// Places at which packets must be missing.
const GAPS: u64 = 10;
/// Segments of a TCP connection from which it is a control, and the share of retransmissions up to which it lost nothing, in per cent.
const SEGMENTS: u64 = 50;
const REPEATED: u64 = 1;

impl Detector for MediaDegraded {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::UDP_EXCHANGE
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        let (side, bad, good) = spoilt(flow)?;
        if scene.lossy() || scene.source.quality.one_sided_share > 0.5 || !silence::public(flow.server.ip) {
            return None;
        }
        let control = same_way(scene, side);
        // Without anything that went well the same way at the same time a bad line explains all of it; so it does if anything else lost as much.
        if control.ok == 0 || control.ok < control.n {
            return None;
        }
        let again = others(scene, side);
        let mut w = Weigh::default();
        let frames: Vec<FrameNo> = flow.ladder.iter().filter(|p| p.side == side).map(|p| p.frame).take(8).collect();
        let way = Direction::from_side(side);
        w.fact(
            2.0,
            format!("{} of {} media packets {} never came", bad.lost(), bad.expected, way.name()),
            format!("{:.1} %", share(bad) * 100.0),
            format!("the other way {:.1} % of {}", share(good) * 100.0, good.expected),
            &frames,
        );
        w.excluded(
            "congestion of the line",
            format!("{} other connections the same way repeated at most {REPEATED} % meanwhile", control.ok),
        );
        w.excluded("outage of the line", format!("packets were missing at {} places, at most {} at once", bad.gaps, bad.longest_gap));
        w.excluded("wireless link of the client", "it would lose packets of the other connections as well");
        w.excluded("capture that misses packets", "no segment was acknowledged that the capture lacks");
        if again > 0 {
            w.fact(1.5, "calls to other addresses were spoilt the same way, at other times", format!("{again} more"), "-", &[]);
            w.excluded("the other party's own line", "other parties' lines do not fail in the same way one after the other");
        } else {
            w.against(0.0, "the other party's own line", "a relay passes on no more than it receives");
        }
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "media_degraded",
            grade: if again > 0 && control.ok >= 2 && scene.label.is_some() { Grade::Likely } else { Grade::Possible },
            direction: Some(way),
            started: flow.first.ts,
            ooni_failure: None,
        };
        let calls = Control::counted("same_client_other_calls", again, 0);
        Some(weigh::finding(scene, &claim, w, vec![control, calls], vec!["a call to another party", "a capture at the other party"]))
    }
}

fn share(leg: &MediaLeg) -> f64 {
    leg.lost() as f64 / leg.expected.max(1) as f64
}

/// The side whose media was spoilt while the other's was sound: its leg, and the other.
fn spoilt(flow: &FlowRecord) -> Option<(Side, &MediaLeg, &MediaLeg)> {
    if flow.proto != Proto::UDP {
        return None;
    }
    let leg = |side: Side| flow.notes.media().find(|(s, _)| *s == side).map(|(_, l)| l).filter(|l| l.expected >= EXPECTED);
    let (c, s) = (leg(Side::Client)?, leg(Side::Server)?);
    // Here and there throughout the call, and never much at once: a pause of the line is no degraded call.
    let scattered = |l: &MediaLeg| l.gaps >= GAPS && l.longest_gap * 5 <= l.lost();
    let is_spoilt = |l: &MediaLeg| l.lost() * 100 >= l.expected * SPOILT && scattered(l);
    let sound = |l: &MediaLeg| l.lost() * 100 <= l.expected * SOUND;
    match () {
        () if is_spoilt(c) && sound(s) => Some((Side::Client, c, s)),
        () if is_spoilt(s) && sound(c) => Some((Side::Server, s, c)),
        () => None,
    }
}

/// TCP connections of this client with many segments from the same side meanwhile, and those of them that repeated next to none.
fn same_way(scene: &Scene<'_>, side: Side) -> Control {
    let flow = scene.flow;
    let mut c = Control::new("same_direction_meanwhile");
    for f in scene.kin.with_client(flow.client.ip).filter(|f| f.first.ts < flow.last.ts && f.last.ts > flow.first.ts) {
        let Some(tcp) = f.tcp.as_deref() else { continue };
        let sent = f.totals[side].packets;
        if tcp.side[side].unique > 0 && sent >= SEGMENTS {
            c.add(f.id, u64::from(tcp.side[side].retransmitted) * 100 <= sent * REPEATED);
        }
    }
    c
}

/// Calls of this client to other addresses that were spoilt the same way, each at a time of its own.
fn others(scene: &Scene<'_>, side: Side) -> u32 {
    let flow = scene.flow;
    let apart = |f: &FlowRecord| f.first.ts.since(flow.last.ts) > Span::ZERO || flow.first.ts.since(f.last.ts) > Span::ZERO;
    let alike = |f: &&FlowRecord| f.server.ip != flow.server.ip && apart(f) && spoilt(f).is_some_and(|(s, ..)| s == side);
    scene.kin.with_client(flow.client.ip).filter(alike).count() as u32
}
