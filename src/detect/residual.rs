//! Punishment that outlives its trigger: for a while after a hit, innocent attempts to the same server fail too.
//!
//! ```text
//! client                        server
//!   | SYN … ClientHello ---> X     |   the trigger
//!   | SYN -----------> X           |   then even SYNs vanish (or harmless names are reset)
//!   | SYN, SYN+ACK, …              |   and after some time all is well
//! ```
//!
//! The mechanism is the scope, in the words of the UPB group: what the punished packets share with the trigger. `2_tuple`: client and
//! server address; `3_tuple`: these and the server's port; `4_tuple`: all four, so that only a connection from the same port is hit.

use super::Detector;
use super::silence;
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::flow::{FlowRecord, Outcome};
use crate::model::gist::Signs;
use crate::model::scene::Scene;
use crate::model::time::Span;

/// See the module.
pub(super) struct Residual;

static CARD: Card = Card {
    rule: "tcp.residual",
    kind: Kind::Residual,
    mechanisms: &["2_tuple", "3_tuple", "4_tuple"],
    claim: "After a connection was silenced or reset, further attempts to the same server fail for a limited time, whatever they ask for.",
    ladder: "\
client                        server
  | SYN ... ClientHello ---> X   |   the trigger
  | SYN -----------> X           |   then even SYNs vanish (or harmless names are reset)
  | SYN, SYN+ACK, ...            |   and after some time all is well",
    needs: &["the triggering connection", "attempts that fail after it", "one that succeeds before or later"],
    innocent: &["the server bans the client", "the server died and came back", "outage of the line"],
    confirm: "Measure when the first attempt succeeds again; repeat with a harmless name as the first connection.",
    sources: &["Bock et al., WOOT 2021 (residual censorship)", "UPB Syssec blog 2025-04-04 (2-, 3-, 4-tuple terms)"],
};

/// The longest residual blocking known (TSPU, 420 s) with slack.
const REACH: Span = Span::from_secs(600);

impl Detector for Residual {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::SILENT_SYN.and(Signs::SILENT_HELLO).and(Signs::RESET)
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        if scene.source.quality.one_sided_share > 0.5 || flow.tcp.is_none() {
            return None;
        }
        let story = Story::of(scene)?;
        let trigger = story.trigger;
        let mut w = Weigh::default();
        w.fact(
            1.0,
            format!("{} attempts to this server failed after a connection to it had been cut", story.failed.len()),
            format!("the first {} after the trigger", story.failed.first()?.first.ts.since(trigger.first.ts)),
            "a SYN+ACK and an answer, as the trigger itself had begun to receive",
            &[trigger.first.frame, flow.first.frame],
        );
        let last = story.failed.last()?;
        let alive = silence::Around::of(scene, flow.first.ts, flow.last.ts).alive;
        if alive.ok > 0 {
            w.excluded("outage of the line", format!("{} other connections of this client received packets meanwhile", alive.ok));
        } else {
            w.against(0.0, "outage of the line", "no other connection of this client received anything meanwhile");
        }
        // A server that bans first receives what it bans for: its kernel acknowledges it. What was swallowed on the way it never saw.
        let swallowed = trigger.outcome == Outcome::SilentHello && trigger.asked_name().is_some();
        if swallowed {
            w.excluded(
                "the server bans the client",
                "the message that triggered it was never acknowledged: the server had not received it",
            );
        } else {
            w.against(0.0, "the server bans the client", "a server that drops a client's packets for a while looks the same");
        }
        let (scope, why) = story.scope(scene);
        w.fact(0.5, format!("scope: {}", scope.replace('_', "-")), why, "-", &[]);
        if let Some(later) = story.later {
            let (least, most) = (last.last.ts.since(trigger.first.ts), later.first.ts.since(trigger.first.ts));
            w.fact(
                1.5,
                "a later attempt succeeded",
                format!("blocked for at least {least}, at most {most}, counted from the trigger"),
                "-",
                &[last.first.frame, later.first.frame],
            );
            w.excluded("the server died and came back", "it was cut by the trigger's first message, not at a time of its own");
        } else {
            w.against(0.0, "the server died and came back", "no later success was seen");
        }
        // A machine that acknowledged the first message and then fell silent, for good, is overloaded or hangs: it need not have been cut.
        if !swallowed && trigger.outcome == Outcome::Muted && story.healthy == 0 {
            return None;
        }
        let mut grade = match (story.failed.len(), story.later.is_some(), alive.ok > 0) {
            (2.., true, true) => Grade::Likely,
            (_, true, true) | (2.., _, true) | (2.., true, false) => Grade::Possible,
            _ => return None,
        };
        // The client's own retransmissions tell of the silence, whatever the capture lost.
        if scene.lossy() {
            grade = grade.min(Grade::Likely);
        }
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: scope,
            grade,
            direction: Some(Direction::C2s),
            started: flow.first.ts,
            ooni_failure: Some("generic_timeout_error"),
        };
        let tried = story.healthy + story.failed.len();
        let tried_ids = story.failed.iter().chain(&story.later).map(|f| f.id);
        let ok = Control::counted("same_server_before_or_later", tried as u32, story.healthy as u32).on(tried_ids);
        let needs =
            vec!["attempts at known times after the trigger", "the same after a harmless first connection", "another port of the address"];
        let mut found = weigh::finding(scene, &claim, w, vec![ok, alive], needs);
        // A SYN says nothing of what was wanted; the trigger did.
        if found.target.service.is_none()
            && let Ok(at) = scene.kin.flows.binary_search_by_key(&trigger.id, |f| f.id)
            && let Some(label) = scene.kin.labels.get(at).and_then(Option::as_ref)
        {
            found.target.service = Some(label.id.clone());
            found.target.role = label.role;
        }
        Some(found)
    }
}

/// What happened between a client and a server around one failed attempt.
struct Story<'a> {
    trigger: &'a FlowRecord,
    /// Attempts after the trigger that failed, in order; the one under judgement among them.
    failed: Vec<&'a FlowRecord>,
    /// Attempts that came out well, at any time.
    healthy: usize,
    /// The first of them after the failures.
    later: Option<&'a FlowRecord>,
    /// Everything between these two addresses.
    pair: Vec<&'a FlowRecord>,
}

impl<'a> Story<'a> {
    fn of(scene: &Scene<'a>) -> Option<Self> {
        let flow = scene.flow;
        if !failed(flow) {
            return None;
        }
        let pair: Vec<&FlowRecord> =
            scene.kin.with_server(flow.server.ip).filter(|f| f.client.ip == flow.client.ip && f.tcp.is_some()).collect();
        let kin = || pair.iter().copied().filter(|f| f.server.port == flow.server.port);
        let trigger = kin()
            .filter(|f| f.id != flow.id && f.asked_name().is_some())
            .filter(|f| matches!(f.outcome, Outcome::SilentHello | Outcome::Muted | Outcome::Stalled | Outcome::Reset))
            .filter(|f| f.first.ts < flow.first.ts && flow.first.ts.since(f.first.ts) < REACH)
            .max_by_key(|f| f.first.ts)?;
        if !punished(flow, trigger, &pair) {
            return None;
        }
        let mut failed: Vec<&FlowRecord> =
            kin().filter(|f| f.first.ts > trigger.first.ts && (f.id == flow.id || punished(f, trigger, &pair))).collect();
        failed.sort_by_key(|f| f.first.ts);
        let end = failed.last()?.last.ts;
        let healthy = kin().filter(|f| f.outcome == Outcome::Ok).count();
        let later = kin().filter(|f| f.outcome == Outcome::Ok && f.first.ts > end).min_by_key(|f| f.first.ts);
        Some(Self { trigger, failed, healthy, later, pair })
    }

    /// What the punished packets share with the trigger, and how that is known.
    fn scope(&self, scene: &Scene<'_>) -> (&'static str, String) {
        let (server, from) = (scene.flow.server, self.trigger.first.ts);
        let until = self.failed.last().map_or(from, |f| f.last.ts);
        let during = |f: &&&FlowRecord| f.first.ts > from && f.first.ts < until;
        let silent = |f: &&&FlowRecord| f.outcome == Outcome::SilentSyn && f.server.port != server.port;
        if self.pair.iter().filter(during).any(|f| silent(&f)) {
            return ("2_tuple", "another port of the server was silent as well".to_owned());
        }
        if self.failed.iter().all(|f| f.client.port == self.trigger.client.port) {
            return ("4_tuple", "only the port that had been used was hit".to_owned());
        }
        let other = self.pair.iter().filter(during).any(|f| f.server.port != server.port && f.outcome == Outcome::Ok);
        let why =
            if other { "another port of the server answered meanwhile" } else { "no other port of the server was tried: it may be wider" };
        ("3_tuple", format!("attempts from other ports of the client failed; {why}"))
    }
}

/// An attempt that fails although it does nothing that was punished: its SYN is not answered; or it asks for something harmless, which
/// goes well at this server at other times, and dies in the same way as the trigger.
fn punished(f: &FlowRecord, trigger: &FlowRecord, pair: &[&FlowRecord]) -> bool {
    if !failed(f) || f.outcome == Outcome::SilentSyn {
        return failed(f);
    }
    let Some(name) = f.asked_name().filter(|n| Some(*n) != trigger.asked_name()) else { return false };
    f.outcome == trigger.outcome && pair.iter().any(|g| g.asked_name() == Some(name) && g.outcome == Outcome::Ok)
}

/// Whether an attempt failed in a way that may be a punishment, by itself.
fn failed(f: &FlowRecord) -> bool {
    let Some(tcp) = f.tcp.as_deref() else { return false };
    match f.outcome {
        Outcome::SilentSyn => tcp.side.client.syns >= 2,
        Outcome::SilentHello | Outcome::Reset => tcp.side.server.unique == 0,
        _ => false,
    }
}
