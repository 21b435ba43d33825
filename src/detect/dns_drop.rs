//! Queries for one name are never answered; the same resolver answers others meanwhile.
//!
//! ```text
//! client                        resolver
//!   | A? name ----------> X        |
//!   | A? other name -------------> |
//!   | <------------ A 198.51.100.7 |
//!   | A? name ----------> X        |   again and again
//! ```

use super::Detector;
use super::dns_talk::{self, Exchange, Said, Sense, family, watched_until};
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Finding, Grade, Kind};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::scene::Scene;
use crate::model::time::{Span, Time};
use std::net::IpAddr;

/// See the module.
pub(super) struct DnsDrop;

static CARD: Card = Card {
    rule: "dns.query.dropped",
    kind: Kind::DnsInjection,
    mechanisms: &["drop"],
    claim: "Queries for this name, or the answers to them, disappear on the path.",
    ladder: "\
client                        resolver
  | A? name ----------> X        |
  | A? other name -------------> |
  | <------------ A 198.51.100.7 |
  | A? name ----------> X        |   again and again",
    needs: &["both directions", "at least three queries without an answer", "answers to other names meanwhile"],
    innocent: &[
        "packet loss",
        "outage of the line or the resolver",
        "the name's own servers are down, and the resolver waits for them",
        "a resolver or router that ignores this type of question",
        "capture that ends or misses packets",
    ],
    confirm: "Ask another resolver, and this one over an encrypted transport.",
    sources: &["RFC 1035 §7", "RFC 9520 (resolvers answer SERVFAIL when they cannot resolve)"],
};

/// A query is unanswered after this long.
const WAIT: Span = Span::from_secs(2);
/// The queries spread over this long: no short disturbance hit them all.
const SPREAD: Span = Span::from_secs(2);

/// All that was asked in vain for one name.
struct Silence<'s, 'a> {
    exchanges: Vec<&'s Exchange<'a>>,
    frames: Vec<FrameNo>,
    from: Time,
    to: Time,
}

impl Detector for DnsDrop {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::DNS
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        // An ICMP error is an answer: nobody listens, or a firewall says so.
        // Over TCP it is the connection that is silent, and others judge it.
        if !flow.icmp.is_empty() || flow.tcp.is_some() || scene.source.quality.one_sided_share > 0.5 {
            return None;
        }
        let own = dns_talk::exchanges(flow);
        let silent = |x: &&Exchange<'_>| x.answers.is_empty() && x.asks_for_address() && dns_talk::is_public_name(x.name);
        if !own.iter().any(|x| silent(&x)) {
            return None;
        }
        let said = dns_talk::of_resolver(scene);
        let mut best: Option<Finding> = None;
        for x in own.iter().filter(silent) {
            if let Some(f) = judge_one(scene, &said, x)
                && best.as_ref().is_none_or(|b| f.grade > b.grade)
            {
                best = Some(f);
            }
        }
        best
    }
}

fn judge_one<'a>(scene: &Scene<'a>, said: &[Exchange<'a>], x: &Exchange<'a>) -> Option<Finding> {
    let end = scene.source.watched()?;
    let client = scene.flow.client.ip;
    // Answered even once, of whatever type: then it is loss.
    if said.iter().any(|y| y.name == x.name && !y.answers.is_empty()) {
        return None;
    }
    let s = silence(said, x, client, end)?;
    let sent = s.frames.len();
    let mut answered: Vec<&Exchange<'_>> = said
        .iter()
        .filter(|y| y.flow.client.ip == client && y.kind == x.kind && y.name != x.name)
        .filter(|y| y.answers.first().is_some_and(|a| a.ts > s.from))
        .filter(|y| y.queries.first().is_some_and(|q| q.ts < s.to.plus(WAIT)))
        .collect();
    // A line that loses packets makes others repeat themselves too.
    let repeated = answered.iter().filter(|y| y.delay().is_none()).count();
    if repeated.saturating_mul(4) > answered.len() {
        return None;
    }
    answered.sort_by_key(|y| (y.name, y.queries.first().map(|q| q.frame)));
    answered.dedup_by_key(|y| y.name);
    let silent_names = silent_names(said, x, client, s.from, end);
    if answered.len() < 2 || silent_names.len() > answered.len() {
        return None;
    }
    let told = dns_talk::told_elsewhere(scene, x.name, x.kind);
    let mut families: Vec<&str> = silent_names.iter().map(|n| family(n)).collect();
    families.sort_unstable();
    families.dedup();
    let private = dns_talk::is_private(scene.flow.server.ip);
    let mut grade = match () {
        // Its servers work, so this resolver would have got an answer.
        () if !told.is_empty() && sent >= 4 => Grade::Likely,
        // Servers of unrelated names are seldom down together.
        () if families.len() >= 3 && answered.len() >= 3 => Grade::Likely,
        () => Grade::Possible,
    };
    if private {
        grade = Grade::Possible;
    }
    if scene.lossy() {
        grade = grade.lowered()?;
    }

    let mut w = Weigh::default();
    let frames: Vec<FrameNo> = s.frames.iter().copied().take(12).collect();
    w.fact(
        2.0,
        format!("queries for {} were never answered", x.name),
        format!("{} in {} lookups over {}", sent, s.exchanges.len(), s.to.since(s.from)),
        "an answer, if only SERVFAIL",
        &frames,
    );
    let controls: Vec<FrameNo> = answered.iter().filter_map(|y| y.answers.first().map(|a| a.frame)).take(6).collect();
    w.fact(2.0, "the same resolver answered other names meanwhile", format!("{} names", answered.len()), "-", &controls);
    if let Some(t) = told.first().and_then(|t| t.only_answer().map(|a| (t, a))) {
        let value = format!("{}: {}", t.0.flow.server.ip, t.1.tells());
        w.fact(1.5, "another resolver answers this name", value, "-", &[t.1.frame]);
    }
    if families.len() > 1 {
        let some: Vec<&str> = families.iter().take(4).copied().collect();
        w.fact(1.0, "unrelated names are silent", some.join(", "), "none", &[]);
    }
    w.excluded("packet loss", format!("{} queries in a row would all have to be lost", sent));
    w.excluded("outage of the line or the resolver", "it answered other names meanwhile");
    const DOWN: &str = "the name's own servers are down, and the resolver waits for them";
    if told.is_empty() {
        w.against(0.0, DOWN, "no other resolver was asked for this name");
    } else {
        w.excluded(DOWN, "another resolver got an answer");
    }
    if private {
        w.against(0.0, "a router that filters at its user's wish", "the resolver has a private address");
    }
    let claim = Claim {
        rule: CARD.rule,
        kind: CARD.kind,
        mechanism: "drop",
        grade,
        direction: None,
        started: s.from,
        ooni_failure: Some("generic_timeout_error"),
    };
    let n = u32::try_from(answered.len()).unwrap_or(u32::MAX);
    let ok = answered.iter().filter(|y| y.only_answer().is_some_and(|a| a.sense() != Sense::Failed)).count();
    let control =
        vec![Control::counted("same_resolver_other_name", n, u32::try_from(ok).unwrap_or(u32::MAX)).on(answered.iter().map(|y| y.flow.id))];
    let needs = vec!["the same name from another resolver", "the same query over an encrypted transport"];
    let mut f = weigh::finding(scene, &claim, w, control, needs);
    f.target.qname = Some(x.name.into());
    Some(f)
}

/// The unanswered queries for the name of `x`, if they are many and spread enough.
fn silence<'s, 'a>(said: &'s [Exchange<'a>], x: &Exchange<'_>, client: IpAddr, end: Time) -> Option<Silence<'s, 'a>> {
    let exchanges: Vec<&Exchange<'a>> = said
        .iter()
        .filter(|y| y.name == x.name && y.kind == x.kind && y.flow.client.ip == client && y.flow.icmp.is_empty() && y.flow.tcp.is_none())
        .filter(|y| in_vain(y, end).next().is_some())
        .collect();
    let mut queries: Vec<&Said<'_>> = exchanges.iter().flat_map(|y| in_vain(y, end)).collect();
    queries.sort_by_key(|q| q.frame);
    let (from, to) = (queries.first()?.ts, queries.last()?.ts);
    let frames: Vec<FrameNo> = queries.iter().map(|q| q.frame).collect();
    let own = exchanges.iter().any(|y| y.flow.id == x.flow.id);
    (own && frames.len() >= 3 && to.since(from) >= SPREAD).then_some(Silence { exchanges, frames, from, to })
}

/// Queries after which the capture was still listening for long enough.
fn in_vain<'s>(y: &'s Exchange<'_>, end: Time) -> impl Iterator<Item = &'s Said<'s>> + Clone {
    let until = watched_until(y.flow, end);
    y.queries.iter().filter(move |q| until.since(q.ts) >= WAIT)
}

/// Names that this resolver never answered from `from` on, the one in question included.
fn silent_names<'s>(said: &'s [Exchange<'_>], x: &Exchange<'_>, client: IpAddr, from: Time, end: Time) -> Vec<&'s str> {
    let mut out: Vec<&str> = said
        .iter()
        .filter(|y| y.flow.client.ip == client && y.kind == x.kind && y.answers.is_empty() && y.flow.tcp.is_none())
        .filter(|y| in_vain(y, end).next().is_some() && y.queries.first().is_some_and(|q| q.ts >= from.minus(WAIT)))
        .map(|y| y.name)
        .filter(|n| !said.iter().any(|y| y.name == *n && !y.answers.is_empty()))
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}
