//! A few packets after the client's first message pass, then the connection dies both ways.
//!
//! ```text
//! client                        server
//!   | ClientHello ---------------> |
//!   | <------------- ServerHello   |   5–8 packets still pass
//!   | more ------------------> X   |
//!   |          X <------- more     |   then silence, without FIN or RST
//! ```

use super::Detector;
use super::silence::{self, Around};
use super::weigh::{self, Claim, Weigh, fisher};
use crate::model::finding::{Card, Finding, Grade, Kind};
use crate::model::gist::Signs;
use crate::model::scene::Scene;
use crate::model::seq::Pos;
use crate::model::side::Side;
use crate::model::time::Time;

/// See the module.
pub(super) struct DelayedDrop;

static CARD: Card = Card {
    rule: "tls.sni.delayed_drop",
    kind: Kind::SniFiltering,
    mechanisms: &["delayed_drop"],
    claim: "The connection is cut without a word a few packets after it named the server.",
    ladder: "\
client                        server
  | ClientHello ---------------> |
  | <------------- ServerHello   |   5-8 packets still pass
  | more ------------------> X   |
  |          X <------- more     |   then silence, without FIN or RST",
    needs: &["both directions", "retransmissions after the last answer"],
    innocent: &[
        "outage of the line",
        "dead or overloaded server",
        "client that went away",
        "lost NAT mapping",
        "path-MTU black hole",
        "packet loss",
    ],
    confirm: "Repeat with another name at the same address; look whether the cut comes after the same number of packets.",
    sources: &["Xue et al.: TSPU, IMC 2022 (SNI-II)"],
};

/// A connection that carried more than this is another kind of case.
pub(super) const BYTES: u64 = 12 * 1024;
/// The same in packets of both sides, handshake included.
const PACKETS: u64 = 40;

impl Detector for DelayedDrop {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::RESENT
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        let tcp = flow.tcp.as_deref()?;
        flow.asked_name()?;
        if super::first_data::stops_there(flow) {
            return None;
        }
        if silence::blind(scene) || tcp.side.server.unique == 0 || silence::delivered(tcp) > BYTES {
            return None;
        }
        let (side, u) = silence::dead_side(flow, tcp)?;
        // An answer of which nothing ever arrived is no few packets that passed: the judge of unanswered messages has it.
        if side == Side::Server && tcp.side.server.acked <= Pos::FIRST {
            return None;
        }
        let (first, last) = (u.first?, u.last?);
        let heard = tcp.side[side.peer()].last_packet?;
        let passed = silence::passed(flow, tcp, side);
        if passed > PACKETS {
            return None;
        }
        let mut w = Weigh::default();
        let who = if side == Side::Client { "client" } else { "server" };
        w.fact(
            2.0,
            format!("after {passed} packets the {who} was no longer answered"),
            format!("{} packets, {} of them retransmissions, over {}", u.packets, u.retransmissions, last.ts.since(first.ts)),
            "an acknowledgement within a round trip",
            &[heard.frame, first.frame, last.frame],
        );
        // Not since the other side was heard last: it may be heard all along, and still not receive.
        let died = silence::died(tcp, side, &u)?;
        let around = Around::of(scene, died, last.ts);
        let clear = silence::weigh_dead(scene, &around, side, &mut w);
        w.excluded("packet loss", format!("{} retransmissions in a row would all have to be lost", u.retransmissions));
        let alike = similar_cuts(scene, passed, died);
        if alike > 0 {
            w.fact(1.5, "other connections with this name were cut at the same place", format!("{alike} more"), "-", &[]);
        }
        let (other, same) = (around.other_name.clone(), around.same_name.clone());
        let fails = (same.n - same.ok).max(alike as u32) + 1;
        let p = fisher(fails, same.ok, other.n - other.ok, other.ok) * f64::from(scene.names_at_server());
        let mut grade = match () {
            () if same.ok > 0 => return None,
            () if p < 0.001 && side == Side::Client => Grade::Confirmed,
            () if other.ok >= 1 && fails >= 2 && alike > 0 => Grade::Likely,
            () if alike > 0 && fails >= 2 && clear && around.alive.ok > 0 => Grade::Likely,
            () => Grade::Possible,
        };
        // Alone, without anything that lived meanwhile, a dead line explains it as well.
        if grade == Grade::Possible && around.alive.ok == 0 && other.ok == 0 && alike == 0 {
            return None;
        }
        // Loss of the capture cannot explain why the sender itself kept retransmitting; it can lend itself to no proof, though.
        if scene.lossy() {
            grade = grade.min(Grade::Likely);
        }
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "delayed_drop",
            grade,
            direction: Some(silence::cut(tcp, side, &u)),
            started: died,
            ooni_failure: Some("generic_timeout_error"),
        };
        Some(weigh::finding(
            scene,
            &claim,
            w,
            vec![other, same, around.alive, around.address, around.returned],
            vec!["a connection to the same address with another name", "a capture at the other end"],
        ))
    }
}

/// Other flows of the same name that died within three packets of the same count, each at a time of its own: what dies together may have
/// one innocent cause.
fn similar_cuts(scene: &Scene<'_>, passed: u64, at: Time) -> usize {
    let Some(name) = scene.flow.asked_name() else { return 0 };
    let mut times = vec![at];
    for f in scene.kin.with_name(name).filter(|f| f.id != scene.flow.id) {
        let Some(silenced) = silence::fell_silent(f).filter(|s| s.packets.abs_diff(passed) <= 3) else { continue };
        if times.iter().all(|t| silenced.at.since(*t).abs() >= silence::APART) {
            times.push(silenced.at);
        }
    }
    times.len() - 1
}
