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
use crate::model::finding::{Card, Control, Death, Direction, Finding, Grade, Kind};
use crate::model::flow::FlowRecord;
use crate::model::gist::Signs;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::time::Time;

/// See the module.
pub(super) struct Freeze;

static CARD: Card = Card {
    rule: "tcp.freeze",
    kind: Kind::ConnectionFreeze,
    mechanisms: &["byte_quota", "packet_quota"],
    claim: "Connections freeze after about the same amount of data, while others go on.",
    ladder: "\
client                        server
  | handshake, request --------> |
  | <----------------- data      |   16-20 kB, or some 25 packets
  | more ------------------> X   |
  |          X <------- more     |   then silence both ways",
    needs: &["both directions", "several connections, or one and a healthy control at the same time"],
    innocent: &[
        "outage of the line",
        "dead or overloaded server",
        "client that went away",
        "lost NAT mapping",
        "receiver that stopped reading",
    ],
    confirm: "Fetch the same object over another network, and a large object from another host over this one; compare where it stops.",
    sources: &["net4people/bbs 490 (freezes after 16-20 kB, Russia 2025)", "Cloudflare blog 2025-06-26"],
};

/// Bytes at which such freezes were seen, with slack.
const BAND: std::ops::RangeInclusive<u64> = 4 * 1024..=64 * 1024;

impl Detector for Freeze {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::RESENT
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        let tcp = flow.tcp.as_deref()?;
        let bytes = stopped_at(flow)?;
        if silence::blind(scene) || !BAND.contains(&bytes) || super::first_data::stops_there(flow) {
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
        // Not since the other side was heard last: it may be heard all along, and still not receive.
        let died = silence::died(tcp, side, &u)?;
        let around = Around::of(scene, died, last.ts);
        let here = Death { flow: flow.id, bytes, packets: silence::passed(flow, tcp, side) };
        let alike = frozen_alike(scene, &here, died);
        let mut w = Weigh::default();
        w.fact(
            2.0,
            format!("the connection went silent after {bytes} bytes"),
            format!("{} packets had passed; {} more went unanswered over {}", here.packets, u.packets, last.ts.since(first.ts)),
            "answers, or FIN or RST",
            &[heard.frame, first.frame, last.frame],
        );
        if !alike.is_empty() {
            w.fact(2.0, "other connections froze at about the same amount, at other times", format!("{} more", alike.len()), "-", &[]);
        }
        let counts: Vec<Death> = std::iter::once(here).chain(alike.iter().copied()).collect();
        w.fact(0.0, "where connections died", histogram(&counts), "anywhere", &[]);
        let clear = silence::weigh_dead(scene, &around, side, &mut w);
        w.excluded("receiver that stopped reading", "its window was never closed");
        let larger = larger_elsewhere(scene);
        let mut grade = match (alike.len(), around.alive.ok > 0) {
            (1.., true) if larger.ok > 0 && clear => Grade::Likely,
            (1.., _) => Grade::Possible,
            (0, true) if side == Side::Client => Grade::Possible,
            _ => return None,
        };
        // Loss of the capture cannot explain why the sender itself kept retransmitting; it can lend itself to no proof, though.
        if scene.lossy() {
            grade = grade.min(Grade::Likely);
        }
        let mechanism = if by_packets(&counts) { "packet_quota" } else { "byte_quota" };
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism,
            grade,
            direction: Some(stopped(silence::cut(tcp, side, &u), side)),
            started: died,
            ooni_failure: Some("generic_timeout_error"),
        };
        let control = vec![larger, around.alive, around.address, around.returned];
        let needs = vec!["a large object from another host over the same line", "the same object over another network"];
        let mut found = weigh::finding(scene, &claim, w, control, needs);
        found.deaths = counts;
        Some(found)
    }
}

/// Which way it stopped. A client in the middle of a download would hear the server's repetitions if only the way there were cut: so the way back
/// is, and of the way there nothing shows.
fn stopped(cut: Direction, asking: Side) -> Direction {
    if cut == Direction::Both && asking == Side::Client { Direction::S2c } else { cut }
}

/// Bytes that had been delivered when the flow died, if it died.
fn stopped_at(flow: &FlowRecord) -> Option<u64> {
    let tcp = flow.tcp.as_deref()?;
    silence::dead_side(flow, tcp)?;
    Some(silence::delivered(tcp))
}

/// Other flows of this client that froze within half an octave of the same amount, each at a time of its own.
fn frozen_alike(scene: &Scene<'_>, here: &Death, at: Time) -> Vec<Death> {
    let mut times = vec![at];
    let mut out = Vec::new();
    for f in scene.kin.with_client(scene.flow.client.ip).filter(|f| f.id != scene.flow.id) {
        let Some((silenced, tcp)) = silence::fell_silent(f).zip(f.tcp.as_deref()) else { continue };
        let bytes = silence::delivered(tcp);
        let alike = bytes * 10 >= here.bytes * 7 && bytes * 7 <= here.bytes * 10;
        if alike && times.iter().all(|t| silenced.at.since(*t).abs() >= silence::APART) {
            times.push(silenced.at);
            out.push(Death { flow: f.id, bytes, packets: silenced.packets });
        }
    }
    out
}

/// The amounts, in ascending order, as people read them.
fn histogram(deaths: &[Death]) -> String {
    let mut bytes: Vec<u64> = deaths.iter().map(|d| d.bytes).collect();
    let mut packets: Vec<u64> = deaths.iter().map(|d| d.packets).collect();
    bytes.sort_unstable();
    packets.sort_unstable();
    let list = |v: &[u64]| v.iter().take(16).map(u64::to_string).collect::<Vec<_>>().join(", ");
    format!("{} bytes; {} packets", list(&bytes), list(&packets))
}

/// With three deaths or more: the number of packets is (nearly) the same, the number of bytes is not.
fn by_packets(deaths: &[Death]) -> bool {
    let spread = |of: fn(&Death) -> u64| {
        let (low, high) = (deaths.iter().map(of).min().unwrap_or(0), deaths.iter().map(of).max().unwrap_or(0));
        (high - low) as f64 / (high.max(1)) as f64
    };
    deaths.len() >= 3 && spread(|d| d.packets) <= 0.05 && spread(|d| d.bytes) > 0.15
}

/// Flows of this client to other servers that went past the band.
fn larger_elsewhere(scene: &Scene<'_>) -> Control {
    let mut c = Control::new("larger_transfers_elsewhere");
    for f in scene.kin.with_client(scene.flow.client.ip).filter(|f| f.server.ip != scene.flow.server.ip) {
        let Some(tcp) = f.tcp.as_deref() else { continue };
        if tcp.side.server.unique > *BAND.end() {
            c.add(f.id, true);
        }
    }
    c
}
