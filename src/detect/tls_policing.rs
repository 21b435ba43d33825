//! Too many TLS connections to one server at once: the first few go through, then all freeze for a while.
//!
//! ```text
//! client                        server
//!   | ClientHello 1 … m ---------> |   answered
//!   | ClientHello m+1 ------> X    |   within half a minute: never answered, none of them
//!   | ClientHello … --------> X    |
//!   |        45–180 s later        |
//!   | ClientHello ---------------> |   answered again
//! ```

use super::Detector;
use super::silence;
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Finding, Grade, Kind};
use crate::model::flow::{FlowRecord, Outcome};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::scene::Scene;
use crate::model::time::{Span, Time};

/// See the module.
pub(super) struct TlsPolicing;

static CARD: Card = Card {
    rule: "tls.connection_policing",
    kind: Kind::ConnectionFreeze,
    mechanisms: &["tls_connections"],
    claim: "After a few TLS connections to one server in a short time, all further ones freeze for about a minute.",
    ladder: "\
client                        server
  | ClientHello 1 ... m -------> |   answered
  | ClientHello m+1 ------> X    |   within half a minute: never answered, none of them
  | ClientHello ... ------> X    |
  |        45-180 s later        |
  | ClientHello ---------------> |   answered again",
    needs: &["both directions", "the connections that went well before, those that froze, and one that went well later"],
    innocent: &["server that limits connections", "exhausted NAT", "outage of the line", "dead or overloaded server"],
    confirm: "Open a dozen connections at once to the same server from this and from another network, with the same program.",
    sources: &["net4people/bbs 546 (Russia, November 2025)", "XTLS 6293, dpi-checkers 83 (2026: by subnet, name and JA4)"],
};

/// Connections within this time are counted together.
const WINDOW: Span = Span::from_secs(30);
/// A later success after this long ends the term.
const TERM: std::ops::RangeInclusive<i64> = 20..=240;
/// Connections that went through first, and that froze then.
const FIRST: usize = 2;
const FROZEN: usize = 3;

/// One time that a server's connections froze.
pub(super) struct Episode<'a> {
    before: Vec<&'a FlowRecord>,
    frozen: Vec<&'a FlowRecord>,
    after: &'a FlowRecord,
}

impl<'a> Episode<'a> {
    /// The episode in which this flow froze.
    pub fn around(scene: &Scene<'a>) -> Option<Self> {
        if !froze(scene.flow) {
            return None;
        }
        Self::all(scene).into_iter().find(|e| e.frozen.iter().any(|f| f.id == scene.flow.id))
    }

    /// All episodes of this client and server.
    fn all(scene: &Scene<'a>) -> Vec<Self> {
        let own = scene.flow;
        let mut flows: Vec<&FlowRecord> = scene
            .kin
            .with_server(own.server.ip)
            .filter(|f| f.client.ip == own.client.ip && f.server.port == own.server.port && f.notes.client_hello().is_some())
            .filter(|f| froze(f) || f.outcome == Outcome::Ok)
            .collect();
        flows.sort_by_key(|f| asked(f));
        let mut out = Vec::new();
        let mut rest = flows.as_slice();
        while let Some(begin) = rest.iter().position(|f| froze(f)) {
            let end = begin + rest.iter().skip(begin).take_while(|f| froze(f)).count();
            let (head, tail) = rest.split_at(end);
            let (before, frozen) = head.split_at(begin);
            let from = frozen.first().map_or(Time::default(), |f| asked(f));
            let before: Vec<&FlowRecord> = before.iter().copied().filter(|f| from.since(asked(f)) <= WINDOW).collect();
            let last = frozen.last().map_or(from, |f| asked(f));
            if let Some(after) = tail.first()
                && before.len() >= FIRST
                && frozen.len() >= FROZEN
                && TERM.contains(&(asked(after).since(from).nanos() / 1_000_000_000))
                && last.since(from) <= WINDOW.times(4)
                // Other names freeze too, or the same name had gone well: it is not the name.
                && frozen.iter().all(|f| before.iter().any(|b| b.asked_name() == f.asked_name()))
            {
                out.push(Self { before, frozen: frozen.to_vec(), after });
            }
            rest = tail;
        }
        out
    }
}

/// When a flow sent its first message.
fn asked(f: &FlowRecord) -> Time {
    f.totals.client.first_payload.map_or(f.first.ts, |m| m.ts)
}

fn froze(f: &FlowRecord) -> bool {
    matches!(f.outcome, Outcome::SilentHello | Outcome::Muted)
}

impl Detector for TlsPolicing {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::SILENT_HELLO.and(Signs::MUTED)
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        if silence::blind(scene) {
            return None;
        }
        let here = Episode::around(scene)?;
        let all = Episode::all(scene).len();
        let from = here.frozen.first().map(|f| asked(f))?;
        let last = here.frozen.last()?.last.ts;
        let around = silence::Around::of(scene, from, last);
        let mut w = Weigh::default();
        let frames: Vec<FrameNo> = here.frozen.iter().map(|f| f.first.frame).chain([here.after.first.frame]).take(16).collect();
        w.fact(
            2.5,
            format!("after {} connections within half a minute the next {} got no answer", here.before.len(), here.frozen.len()),
            format!("the first that went well again came {} later", asked(here.after).since(from)),
            "each connection fares like the one before",
            &frames,
        );
        if all >= 2 {
            w.fact(2.5, "it happened again", format!("{all} times"), "-", &[]);
        }
        around.weigh_line(&mut w);
        let unacked = here.frozen.iter().all(|f| f.outcome == Outcome::SilentHello);
        if unacked {
            w.excluded(
                "server that limits connections",
                "it accepted each of them and never acknowledged the message: it did not receive it",
            );
            w.excluded("dead or overloaded server", "its kernel went on accepting connections");
        } else {
            w.against(0.0, "server that limits connections", "the messages were acknowledged");
        }
        w.excluded("exhausted NAT", "the handshakes passed it both ways");
        let mut grade = if all >= 2 && unacked && around.alive.ok > 0 { Grade::Likely } else { Grade::Possible };
        if scene.lossy() {
            grade = grade.min(Grade::Likely);
        }
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "tls_connections",
            grade,
            direction: None,
            started: from,
            ooni_failure: Some("generic_timeout_error"),
        };
        let well = here.before.len() as u32 + 1;
        let well_ids = here.before.iter().chain([&here.after]).map(|f| f.id);
        let same = Control::counted("same_server_before_and_after", well, well).on(well_ids);
        Some(weigh::finding(
            scene,
            &claim,
            w,
            vec![same, around.alive],
            vec!["the same number of connections from another network", "another program"],
        ))
    }
}
