//! A name is denied that exists.
//!
//! ```text
//! client            on the path       resolver R        resolver S
//!   | A? name --------> X                |                 |
//!   | <---- NXDOMAIN                     |                 |   too early, with another TTL
//!   |                                    |                 |
//!   | A? name -------------------------> |                 |   or: R itself denies it, time and again,
//!   | <------------------------ NXDOMAIN |                 |
//!   | A? name -------------------------------------------> |   while S knows it
//!   | <---------------------------------------- A 198.51.100.7
//! ```

use super::Detector;
use super::dns_habit::{self, departure};
use super::dns_talk::{self, Exchange, Said, Sense, family};
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::gist::Signs;
use crate::model::scene::Scene;

/// See the module.
pub(super) struct DnsNxdomain;

static CARD: Card = Card {
    rule: "dns.answer.denied",
    kind: Kind::DnsInjection,
    mechanisms: &["nxdomain"],
    claim: "A name is denied (NXDOMAIN, REFUSED), or its lookup fails (SERVFAIL), although it exists: the answer was made on the path, or this resolver alone denies the name.",
    ladder: "\
client            on the path       resolver R        resolver S
  | A? name --------> X                |                 |
  | <---- NXDOMAIN                     |                 |   too early, with another TTL
  |                                    |                 |
  | A? name -------------------------> |                 |   or: R itself denies it, time and again,
  | <------------------------ NXDOMAIN |                 |
  | A? name -------------------------------------------> |   while S knows it
  | <---------------------------------------- A 198.51.100.7",
    needs: &["resolvers with public addresses", "answers of the same resolver to other names, or of another resolver to this name"],
    innocent: &[
        "a name that does not exist",
        "a network with names of its own (split horizon)",
        "a resolver that filters by design, at its user's wish",
        "a name that was registered or removed a moment ago",
        "a resolver reached over paths of different length",
    ],
    confirm: "Ask the name's own servers, and another resolver over an encrypted transport.",
    sources: &[
        "RFC 8020 (NXDOMAIN)",
        "RFC 1035 §4.1.1 (SERVFAIL, REFUSED)",
        "Pearce et al.: Iris, USENIX Security 2017",
        "Duan et al.: Hold-On, SATIN 2012",
    ],
};

impl Detector for DnsNxdomain {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::DNS
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        // A router, an office: the names of the network are its own business.
        if dns_talk::is_private(scene.flow.server.ip) {
            return None;
        }
        let own = dns_talk::exchanges(scene.flow);
        let denied = |x: &&Exchange<'_>| {
            let all = !x.answers.is_empty() && x.answers.iter().all(|a| matches!(a.sense(), Sense::Denied | Sense::Failed));
            all && x.asks_for_address() && dns_talk::is_public_name(x.name)
        };
        if !own.iter().any(|x| denied(&x)) {
            return None;
        }
        let said = dns_talk::of_resolver(scene);
        let mut best: Option<Finding> = None;
        for x in own.iter().filter(denied) {
            let Some(answer) = x.answers.first() else { continue };
            // A resolver that fails has reasons of its own (RFC 4035 §5.5, dead servers): only where the failure was made can tell.
            let alone = || if answer.sense() == Sense::Denied { denied_here_only(scene, &said, x, answer) } else { None };
            let found = made_on_the_path(scene, &said, x, answer).or_else(alone);
            if let Some(f) = found
                && best.as_ref().is_none_or(|b| f.grade > b.grade)
            {
                best = Some(f);
            }
        }
        best
    }
}

fn made_on_the_path<'a>(scene: &Scene<'_>, said: &[Exchange<'a>], x: &Exchange<'a>, answer: &Said<'a>) -> Option<Finding> {
    let d = departure(scene, said, x, answer)?;
    if !d.early || !d.by_name || !d.concentrated {
        return None;
    }
    let mut grade = if d.departing >= 2 && d.p_kind <= 0.05 { Grade::Likely } else { Grade::Possible };
    let local = dns_habit::is_local(x, answer);
    if local {
        grade = grade.lowered()?;
    }
    let mut w = Weigh::default();
    denial(&mut w, x, answer);
    let some: Vec<_> = std::iter::once(answer.frame).chain(d.usual.iter().take(4).map(|u| u.0)).collect();
    w.fact(
        2.0,
        "its TTL is not that of this resolver's answers to other names",
        format!("{}, usual {} ({} answers, {} names)", answer.ttl().unwrap_or(0), d.ttl, d.usual.len(), d.usual_names),
        "the same within 1",
        &some,
    );
    let delay = x.delay().unwrap_or_default();
    w.fact(
        2.5,
        "it came before this resolver ever answers",
        format!("{delay}, fastest otherwise {}", d.floor),
        "no earlier than the fastest",
        &[answer.frame],
    );
    w.excluded("a name that does not exist", "the resolver would have said so itself, in its own time");
    if local {
        w.against(0.0, "a network with names of its own (split horizon)", "the denial was made next to the client");
    }
    w.excluded(
        "a resolver reached over paths of different length",
        format!("the two kinds of answers are divided by name, not by time (p = {:.3})", d.p_kind),
    );
    Some(write(scene, x, answer, grade, w, vec![control_names(said, x)]))
}

fn denied_here_only<'a>(scene: &Scene<'a>, said: &[Exchange<'a>], x: &Exchange<'a>, answer: &Said<'a>) -> Option<Finding> {
    let told = dns_talk::told_elsewhere(scene, x.name, x.kind);
    let (witness, knows) = told.first().and_then(|t| t.only_answer().map(|a| (t, a)))?;
    let control = control_names(said, x);
    // A resolver that refuses or denies everything is closed, or the network is.
    if control.ok < 2 {
        return None;
    }
    let of_name = |y: &&Exchange<'_>| y.name == x.name && y.kind == x.kind && !y.answers.is_empty();
    let times = said.iter().filter(of_name).count();
    let all_denied = said.iter().filter(of_name).all(|y| y.answers.iter().all(|a| a.sense() == Sense::Denied));
    if !all_denied {
        return None;
    }
    // Other names that only this resolver denies.
    let mut families: Vec<&str> = said
        .iter()
        .filter(|y| y.asks_for_address() && dns_talk::is_public_name(y.name))
        .filter(|y| !y.answers.is_empty() && y.answers.iter().all(|a| a.sense() == Sense::Denied))
        .filter(|y| y.name == x.name || !dns_talk::told_elsewhere(scene, y.name, y.kind).is_empty())
        .map(|y| family(y.name))
        .collect();
    families.sort_unstable();
    families.dedup();
    let by_design = dns_talk::filters_by_design(scene.flow.server.ip);
    let repeated = (times >= 2 && told.len() >= 2) || families.len() >= 3;
    let grade = if repeated && !by_design { Grade::Likely } else { Grade::Possible };
    let mut w = Weigh::default();
    denial(&mut w, x, answer);
    let value = format!("{}: {}", witness.flow.server.ip, knows.tells());
    w.fact(2.0, "another resolver knows this name", value, "the same answer", &[knows.frame]);
    w.fact(0.0, "repetition", format!("denied {times} times here, answered {} times elsewhere", told.len()), "-", &[]);
    if families.len() > 1 {
        let some: Vec<&str> = families.iter().take(4).copied().collect();
        w.fact(1.0, "unrelated names are denied by this resolver alone", some.join(", "), "none", &[]);
    }
    w.excluded("a name that does not exist", "another resolver gives public addresses for it");
    if by_design {
        w.against(0.0, "a resolver that filters by design, at its user's wish", "this resolver is known to");
    }
    if !repeated {
        w.against(0.0, "a name that was registered or removed a moment ago", "too few repetitions to tell");
    }
    Some(write(scene, x, answer, grade, w, vec![control]))
}

fn denial(w: &mut Weigh, x: &Exchange<'_>, answer: &Said<'_>) {
    let frames: Vec<_> = x.queries.first().into_iter().map(|q| q.frame).chain([answer.frame]).collect();
    let what = if answer.sense() == Sense::Failed { "is said to be impossible to look up" } else { "is denied" };
    w.fact(1.0, format!("{} {what}", x.name), answer.tells(), "an answer", &frames);
}

/// Other names that this resolver was asked for, and of these, those it gave addresses for.
fn control_names(said: &[Exchange<'_>], x: &Exchange<'_>) -> Control {
    let mut names: Vec<(&str, bool)> =
        said.iter().filter(|y| y.name != x.name).filter_map(|y| y.only_answer().map(|a| (y.name, a.sense() == Sense::Addresses))).collect();
    names.sort_unstable();
    names.dedup();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let flows = said.iter().filter(|y| y.name != x.name && y.only_answer().is_some()).map(|y| y.flow.id);
    Control::counted("same_resolver_other_name", count(names.len()), count(names.iter().filter(|n| n.1).count())).on(flows)
}

fn write(scene: &Scene<'_>, x: &Exchange<'_>, answer: &Said<'_>, grade: Grade, w: Weigh, control: Vec<Control>) -> Finding {
    let claim = Claim {
        rule: CARD.rule,
        kind: CARD.kind,
        mechanism: "nxdomain",
        grade,
        direction: Some(Direction::S2c),
        started: answer.ts,
        ooni_failure: Some(match answer.message.rcode {
            5 => "dns_refused_error",
            2 => "dns_servfail_error",
            _ => "dns_nxdomain_error",
        }),
    };
    let needs = vec!["the same query over an encrypted transport", "the answer of the name's own servers"];
    let mut f = weigh::finding(scene, &claim, w, control, needs);
    f.target.qname = Some(x.name.into());
    f
}
