//! A ClientHello that hides its name (Encrypted Client Hello) gets no answer.
//!
//! ```text
//! client                        server
//!   | ClientHello with ECH --> X   |   outside: the public name of the operator; inside: who knows
//!   | ClientHello with ECH --> X   |   never acknowledged, or only its first segment
//!   | ClientHello without ----->   |   the retry names the server in clear,
//!   | <------------- ServerHello   |   and is answered at the same address
//! ```

use super::Detector;
use super::hello_silence::unanswered_hello;
use super::weigh::fisher;
use crate::model::finding::{Card, Control, Evidence, Finding, Grade, Kind};
use crate::model::flow::{FlowRecord, Outcome};
use crate::model::gist::Signs;
use crate::model::note::Ech;
use crate::model::scene::Scene;

/// See the module.
pub(super) struct EchDropped;

static CARD: Card = Card {
    rule: "tls.ech.dropped",
    kind: Kind::SniFiltering,
    mechanisms: &["hello_dropped", "hello_muted"],
    claim: "Messages that hide the server's name with ECH get no answer; messages without it do.",
    ladder: "\
client                        server
  | ClientHello with ECH --> X   |   outside: the public name of the operator
  | ClientHello with ECH --> X   |   never acknowledged, or only its first segment
  | ClientHello without ----->   |   the retry names the server in clear,
  | <------------- ServerHello   |   and is answered at the same address",
    needs: &[
        "both directions",
        "an ECH extension together with a known public name outside; the extension alone is in every browser's hello",
    ],
    innocent: &["packet loss", "path-MTU black hole", "dead or overloaded server", "outage of the line", "a desync tool on the client"],
    confirm: "Switch ECH off in the browser and load the same page; compare with a name outside that is no public ECH name.",
    sources: &[
        "net4people/bbs 417 (outer name and extension together, Russia since November 2024)",
        "Niere et al., FOCI 2025 (UPB ECH study: tail segments swallowed, late FIN of the server)",
        "RFC 9849",
    ],
};

/// Whether the flow's message hides a name: behind a known public one, or behind none at all. GREASE beside an ordinary name hides
/// nothing and is in every browser's hello.
pub(super) fn hides_name(flow: &FlowRecord) -> bool {
    flow.notes
        .client_hello()
        .is_some_and(|(_, h)| h.ech == Ech::Real || (h.ech == Ech::Grease && h.sni.as_deref().is_none_or(str::is_empty)))
}

impl Detector for EchDropped {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::RESENT
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        if !hides_name(scene.flow) {
            return None;
        }
        let mut found = unanswered_hello(scene)?;
        let (mut hidden, mut plain) = (Control::counted("same_server_with_ech", 1, 0), Control::new("same_server_without_ech"));
        for f in scene.kin.with_server(scene.flow.server.ip) {
            let told = f.id != scene.flow.id && f.tcp.is_some() && f.server.port == scene.flow.server.port && f.outcome != Outcome::Unknown;
            if !told || f.notes.client_hello().is_none() {
                continue;
            }
            // Filters take the outer name into account: only messages that hide behind the same one are alike.
            let c = match (hides_name(f), f.asked_name() == scene.flow.asked_name()) {
                (true, true) => &mut hidden,
                (true, false) => continue,
                (false, _) => &mut plain,
            };
            c.add(f.id, f.outcome == Outcome::Ok);
        }
        let p = fisher(hidden.n - hidden.ok, hidden.ok, plain.n - plain.ok, plain.ok);
        found.evidence.push(Evidence {
            says: "the message hides its name with ECH".to_owned(),
            value: format!(
                "{} of {} such messages failed here, {} of {} without",
                hidden.n - hidden.ok,
                hidden.n,
                plain.n - plain.ok,
                plain.n
            ),
            expected: "the same outcome with and without".to_owned(),
            frames: Vec::new(),
        });
        // What the outer name's own failures and successes say does not count: the extension is what is compared.
        let clear = !found.innocent.iter().any(|i| i.stands);
        found.grade = match () {
            () if hidden.ok > 0 => Grade::Possible,
            () if clear && p < 0.001 && !scene.lossy() => Grade::Confirmed,
            () if clear && plain.ok > 0 => Grade::Likely,
            () if clear => found.grade,
            () => Grade::Possible,
        };
        (found.rule, found.kind) = (CARD.rule, CARD.kind);
        found.control.extend([hidden, plain].into_iter().filter(|c| c.n > 0));
        found.needs.push("the same name without ECH");
        Some(found)
    }
}
