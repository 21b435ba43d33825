//! A connection works, then freezes after a quota of bytes or packets, without FIN or RST.
//!
//! ```text
//! client                        server
//!   | handshake, request --------> |
//!   | <----------------- data      |   16–20 kB, or some 25 packets
//!   | more ------------------> X   |
//!   |          X <------- more     |   then silence both ways
//! ```

use super::Detector;
use super::silence::{self, Around};
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::flow::FlowRecord;
use crate::model::scene::Scene;
use crate::model::side::Side;

/// See the module.
pub(super) struct Freeze;

static CARD: Card = Card {
    rule: "tcp.freeze",
    kind: Kind::ConnectionFreeze,
    mechanisms: &["byte_quota"],
    claim: "Connections freeze after about the same amount of data, while others go on.",
    ladder: "\
client                        server
  | handshake, request --------> |
  | <----------------- data      |   16-20 kB, or some 25 packets
  | more ------------------> X   |
  |          X <------- more     |   then silence both ways",
    needs: &["both directions", "several connections, or one and a healthy control at the same time"],
    innocent: &["outage of the line", "dead or overloaded server", "client that went away", "receiver that stopped reading"],
    confirm: "Fetch the same object over another network, and a large object from another host over this one; compare where it stops.",
    sources: &["net4people/bbs 490 (freezes after 16-20 kB, Russia 2025)", "Cloudflare blog 2025-06-26"],
};

/// Bytes at which such freezes were seen, with slack.
const BAND: std::ops::RangeInclusive<u64> = 4 * 1024..=64 * 1024;

impl Detector for Freeze {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        let tcp = flow.tcp.as_deref()?;
        let bytes = stopped_at(flow)?;
        if silence::blind(scene) || !BAND.contains(&bytes) {
            return None;
        }
        // Small ones belong to the cut after a few packets, unless the same name also went well: then it is the amount that matters.
        let few = bytes <= super::delayed_drop::BYTES && scene.same_server_same_name().ok == 0;
        let (side, u) = silence::dead_side(flow, tcp)?;
        if few || tcp.side[side.peer()].zero_windows > 0 {
            return None;
        }
        let (first, last) = (u.first?, u.last?);
        let heard = tcp.side[side.peer()].last_packet?;
        let around = Around::of(scene, heard.ts, last.ts);
        let alike = frozen_alike(scene, bytes);
        let mut w = Weigh::default();
        w.fact(
            2.0,
            format!("the connection went silent after {bytes} bytes"),
            format!("{} packets unanswered over {}", u.packets, last.ts.since(first.ts)),
            "answers, or FIN or RST",
            &[heard.frame, first.frame, last.frame],
        );
        if alike > 0 {
            w.fact(2.0, "other connections froze at about the same amount", format!("{alike} more"), "-", &[]);
        }
        around.weigh(&mut w);
        w.excluded("receiver that stopped reading", "its window was never closed");
        if side == Side::Server {
            w.against(0.0, "client that went away", "from here a client that lost its network looks the same");
        } else {
            w.excluded("client that went away", "the client went on sending");
        }
        let larger = larger_elsewhere(scene);
        let mut grade = match (alike, around.alive.ok > 0, side) {
            (1.., true, Side::Client) if larger.ok > 0 => Grade::Likely,
            (1.., ..) | (0, true, Side::Client) => Grade::Possible,
            _ => return None,
        };
        if scene.lossy() {
            // Loss of the capture cannot explain why the sender itself kept retransmitting, so a pattern remains.
            grade = grade.lowered().unwrap_or(Grade::Possible);
        }
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "byte_quota",
            grade,
            direction: Some(Direction::Both),
            started: heard.ts,
            ooni_failure: Some("generic_timeout_error"),
        };
        Some(weigh::finding(
            scene,
            &claim,
            w,
            vec![larger, around.alive],
            vec!["a large object from another host over the same line", "the same object over another network"],
        ))
    }
}

/// Bytes that had been delivered when the flow died, if it died.
fn stopped_at(flow: &FlowRecord) -> Option<u64> {
    let tcp = flow.tcp.as_deref()?;
    silence::dead_side(flow, tcp)?;
    Some(silence::delivered(tcp))
}

/// Other flows of this client that froze within an octave of the same amount.
fn frozen_alike(scene: &Scene<'_>, bytes: u64) -> usize {
    scene
        .kin
        .with_client(scene.flow.client.ip)
        .filter(|f| f.id != scene.flow.id)
        .filter_map(stopped_at)
        .filter(|b| *b * 10 >= bytes * 7 && *b * 7 <= bytes * 10)
        .count()
}

/// Flows of this client to other servers that went past the band.
fn larger_elsewhere(scene: &Scene<'_>) -> Control {
    let mut c = Control { kind: "larger_transfers_elsewhere", n: 0, ok: 0 };
    for f in scene.kin.with_client(scene.flow.client.ip).filter(|f| f.server.ip != scene.flow.server.ip) {
        let Some(tcp) = f.tcp.as_deref() else { continue };
        if tcp.side.server.unique > *BAND.end() {
            c.n += 1;
            c.ok += 1;
        }
    }
    c
}
