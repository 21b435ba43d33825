//! Punishment that outlives its trigger: for a while after a hit, innocent attempts to the same server fail too.
//!
//! ```text
//! client                        server
//!   | SYN … ClientHello ---> X     |   the trigger
//!   | SYN -----------> X           |   then even SYNs vanish
//!   | SYN, SYN+ACK, …              |   and after some time all is well
//! ```

use super::Detector;
use super::silence;
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::flow::{FlowRecord, Outcome};
use crate::model::scene::Scene;
use crate::model::time::Span;

/// See the module.
pub(super) struct Residual;

static CARD: Card = Card {
    rule: "tcp.residual",
    kind: Kind::Residual,
    mechanisms: &["syn_dropped"],
    claim: "After a connection was silenced, further attempts to the same server fail for a limited time.",
    ladder: "\
client                        server
  | SYN ... ClientHello ---> X   |   the trigger
  | SYN -----------> X           |   then even SYNs vanish
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

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        let tcp = flow.tcp.as_deref()?;
        if flow.outcome != Outcome::SilentSyn || tcp.side.client.syns < 2 || scene.source.quality.one_sided_share > 0.5 {
            return None;
        }
        let kin: Vec<&FlowRecord> = scene
            .kin
            .with_server(flow.server.ip)
            .filter(|f| f.id != flow.id && f.server.port == flow.server.port && f.client.ip == flow.client.ip && f.tcp.is_some())
            .collect();
        let trigger = kin
            .iter()
            .filter(|f| matches!(f.outcome, Outcome::SilentHello | Outcome::Muted | Outcome::Stalled | Outcome::Reset))
            .filter(|f| f.first.ts < flow.first.ts && flow.first.ts.since(f.first.ts) < REACH)
            .max_by_key(|f| f.first.ts)?;
        let healthy: Vec<&&FlowRecord> = kin.iter().filter(|f| f.outcome == Outcome::Ok).collect();
        let later = healthy.iter().filter(|f| f.first.ts > flow.last.ts).min_by_key(|f| f.first.ts);
        let failed = kin.iter().filter(|f| f.outcome == Outcome::SilentSyn && f.first.ts > trigger.first.ts).count() + 1;
        let mut w = Weigh::default();
        w.fact(
            1.0,
            format!("{} SYNs to this server went unanswered", tcp.side.client.syns),
            format!("{} after the triggering connection", flow.first.ts.since(trigger.first.ts)),
            "a SYN+ACK, as the trigger itself had received",
            &[trigger.first.frame, flow.first.frame],
        );
        let alive = silence::Around::of(scene, flow.first.ts, flow.last.ts).alive;
        if alive.ok > 0 {
            w.excluded("outage of the line", "other servers answered this client meanwhile");
        } else {
            w.against(0.0, "outage of the line", "no other connection of this client received anything meanwhile");
        }
        w.against(0.0, "the server bans the client", "a server that drops a client's packets for a while looks the same");
        let lasted = later.map(|f| f.first.ts.since(trigger.first.ts));
        if let Some(span) = lasted {
            w.fact(1.5, "a later attempt succeeded", format!("blocked for at most {span}"), "-", &[]);
        }
        let mut grade = match (failed, lasted.is_some(), alive.ok > 0) {
            (2.., true, true) => Grade::Likely,
            (_, true, true) | (2.., _, true) | (2.., true, false) => Grade::Possible,
            _ => return None,
        };
        if scene.lossy() {
            grade = grade.lowered()?;
        }
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "syn_dropped",
            grade,
            direction: Some(Direction::C2s),
            started: flow.first.ts,
            ooni_failure: Some("generic_timeout_error"),
        };
        let ok = Control { kind: "same_server_before_or_later", n: (healthy.len() + failed) as u32, ok: healthy.len() as u32 };
        Some(weigh::finding(
            scene,
            &claim,
            w,
            vec![ok, alive],
            vec!["attempts at known times after the trigger", "the same after a harmless first connection"],
        ))
    }
}
