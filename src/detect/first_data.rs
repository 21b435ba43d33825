//! The handshake is let through; the first data of the client after it is not.
//!
//! ```text
//! client                        server
//!   | ClientHello ---------------> |
//!   | <------------- ServerHello … |   what looks like a TLS handshake passes
//!   | ApplicationData ------> X    |   the first data of the client never arrives,
//!   | ApplicationData ------> X    |   however often it is sent
//!   | <--------------- FIN         |   while the server, still heard, waits and gives up
//! ```

use super::Detector;
use super::silence::{self, Around};
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::flow::{Brief, FlowRecord, Outcome};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::note::{Fact, Note};
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::time::Span;

/// See the module.
pub(super) struct FirstData;

static CARD: Card = Card {
    rule: "tls.first_data",
    kind: Kind::ConnectionFreeze,
    mechanisms: &["first_application_data"],
    claim: "The TLS handshake passes, and the client's first data after it is dropped, while the way back stays open.",
    ladder: "\
client                        server
  | ClientHello ---------------> |
  | <------------- ServerHello   |   what looks like a TLS handshake passes
  | ApplicationData ------> X    |   the first data of the client never arrives,
  | ApplicationData ------> X    |   however often it is sent
  | <--------------- FIN         |   while the server, still heard, waits and gives up",
    needs: &[
        "both directions",
        "retransmissions of the first data",
        "packets of the server after it, or several connections that die at this point",
    ],
    innocent: &["packet loss", "path-MTU black hole", "outage of the line", "dead or overloaded server"],
    confirm: "Make the same connection from another network; from here, a true TLS connection to the same address.",
    sources: &["9seconds/mtg 547 (Russia, April 2026: fake TLS of MTProto proxies)", "teleproxy 39"],
};

impl Detector for FirstData {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::RESENT
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        let tcp = flow.tcp.as_deref()?;
        if silence::blind(scene) || tcp.side.client.resets + tcp.side.server.resets > 0 {
            return None;
        }
        let here = Stuck::of(flow)?;
        let alike: Vec<&FlowRecord> = scene
            .kin
            .with_client(flow.client.ip)
            .filter(|f| f.id != flow.id && f.server.port == flow.server.port && f.server.ip == flow.server.ip)
            .filter(|f| Stuck::of(f).is_some())
            .collect();
        // The way back is open, or it happens here again and again: otherwise the connection may have died at any packet.
        if here.heard.is_empty() && alike.len() < 2 {
            return None;
        }
        let around = Around::of(scene, here.first.ts, here.last.ts);
        let mut w = Weigh::default();
        let frames: Vec<FrameNo> = here.repeats.iter().map(|p| p.frame).take(12).collect();
        w.fact(
            2.0,
            format!("the first data after the handshake was sent {} times and never acknowledged", here.repeats.len()),
            format!("{} bytes, over {}", here.repeats.iter().map(|p| p.len).max().unwrap_or(0), here.last.ts.since(here.first.ts)),
            "an acknowledgement within a round trip",
            &frames,
        );
        if !here.heard.is_empty() {
            w.fact(
                2.0,
                "the server was heard later and had still not received it: only the way there is cut",
                format!("{} packets", here.heard.len()),
                "-",
                &here.heard,
            );
            w.excluded("dead or overloaded server", "the server was heard meanwhile, and acknowledged less than it had been sent");
            w.excluded("outage of the line", "the same connection brought packets of the server meanwhile");
        } else {
            around.weigh(true, &mut w);
        }
        if !alike.is_empty() {
            w.fact(1.5, "other connections to this server stopped at the same point", format!("{} more", alike.len()), "-", &[]);
        }
        w.excluded("packet loss", format!("{} packets in a row would all have to be lost", here.repeats.len()));
        let size = here.repeats.iter().map(|p| p.len).min().unwrap_or(0);
        let path_ok = silence::weigh_path_mtu(scene, Side::Client, size, &mut w);
        let likely = path_ok && !here.heard.is_empty() && !alike.is_empty();
        let mut grade = if likely { Grade::Likely } else { Grade::Possible };
        if scene.lossy() {
            grade = grade.min(Grade::Likely);
        }
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "first_application_data",
            grade,
            direction: (!here.heard.is_empty()).then_some(Direction::C2s),
            started: here.first.ts,
            ooni_failure: Some("generic_timeout_error"),
        };
        let again = Control::counted("same_server_same_point", alike.len() as u32, 0).on(alike.iter().map(|f| f.id));
        let control = vec![again, around.other_name, around.alive];
        Some(weigh::finding(
            scene,
            &claim,
            w,
            control,
            vec!["the same connection from another network", "a true TLS connection to this address"],
        ))
    }
}

/// Whether this flow is one that died at its first data with the way back open: other judges of silence leave it alone.
pub(super) fn stops_there(flow: &FlowRecord) -> bool {
    Stuck::of(flow).is_some_and(|s| !s.heard.is_empty())
}

/// A flow whose first application data was repeated in vain.
struct Stuck<'a> {
    first: &'a Brief,
    last: &'a Brief,
    repeats: Vec<&'a Brief>,
    /// Packets of the server long after it that still do not acknowledge it.
    heard: Vec<FrameNo>,
}

impl<'a> Stuck<'a> {
    fn of(flow: &'a FlowRecord) -> Option<Self> {
        let tcp = flow.tcp.as_deref()?;
        let data = |n: &&Note| n.side == Side::Client && matches!(n.fact, Fact::TlsApplicationData { .. });
        let answered = flow.notes.list.iter().any(|n| n.side == Side::Server && matches!(n.fact, Fact::ServerHello(_)));
        let from = flow.notes.list.iter().find(data)?.from;
        let acked = tcp.side.client.acked;
        // All before it arrived, nothing of it did; a ChangeCipherSpec of six bytes may share its segment.
        if !answered || acked > from || from.since(acked) > 6 || flow.outcome == Outcome::Ok {
            return None;
        }
        let repeats: Vec<&Brief> =
            flow.ladder.iter().filter(|p| p.side == Side::Client && p.len > 0 && p.end() > from && p.seq <= from).collect();
        let (first, last) = (*repeats.first()?, *repeats.last()?);
        if repeats.len() < 4 || last.ts.since(first.ts) < Span::from_secs(3) {
            return None;
        }
        let late = |p: &&Brief| p.side == Side::Server && p.ts.since(first.ts) > Span::from_secs(2) && p.flags.ack() && !p.flags.rst();
        let heard = flow.ladder.iter().filter(late).filter(|p| p.ack <= from).map(|p| p.frame).collect();
        Some(Self { first, last, repeats, heard })
    }
}
