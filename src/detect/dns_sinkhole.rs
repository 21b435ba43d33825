//! The only answer was not made where the resolver is.
//!
//! ```text
//! client            on the path            resolver
//!   | A? name --------> X                     |   the query goes no further
//!   | <---- A 10.10.34.36                     |   too early, with another TTL, and an address of no use
//!   | A? other name ------------------------> |
//!   | <------------------------ A 198.51.100.7|   at the usual time with the usual TTL
//! ```

use super::Detector;
use super::dns_habit::{self, Departure, departure};
use super::dns_talk::{self, Exchange, Place, Said, Sense, family};
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::scene::Scene;
use std::net::IpAddr;

/// See the module.
pub(super) struct DnsSinkhole;

static CARD: Card = Card {
    rule: "dns.answer.sinkhole",
    kind: Kind::DnsInjection,
    mechanisms: &["sinkhole"],
    claim: "The answer leads nowhere, or to one odd address, and was not made where this resolver's other answers are made.",
    ladder: "\
client            on the path            resolver
  | A? name --------> X                     |   the query goes no further
  | <---- A 10.10.34.36                     |   too early, with another TTL, and an address of no use
  | A? other name ------------------------> |
  | <------------------------ A 198.51.100.7|   at the usual time with the usual TTL",
    needs: &["query and answer", "a resolver with a public address", "answers of the same resolver to other names"],
    innocent: &[
        "a filter of the user's own (ad blocker, parental control)",
        "a router or office resolver with names of its own",
        "public names that really have private addresses",
        "a resolver reached over paths of different length",
        "many names on one hosting address",
    ],
    confirm: "Ask the same resolver again, and ask another over an encrypted transport; compare the answer's TTL and delay with those for other names.",
    sources: &[
        "Lange et al.: IRBlock, USENIX Security 2025 (10.10.34.34-36)",
        "Duan et al.: Hold-On, SATIN 2012 (delay and TTL of forged answers)",
        "RFC 6890 (special-purpose addresses)",
    ],
};

impl Detector for DnsSinkhole {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::DNS
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let resolver = scene.flow.server.ip;
        let own = dns_talk::exchanges(scene.flow);
        let asked = |x: &Exchange<'_>| {
            x.only_answer().is_some_and(|a| a.sense() == Sense::Addresses) && dns_talk::is_public_name(x.name) && x.asks_for_address()
        };
        if !own.iter().any(asked) {
            return None;
        }
        let odd = |x: &Exchange<'_>| x.only_answer().is_some_and(|a| a.odd_address().is_some());
        if !own.iter().any(odd) && !dns_habit::ttls_vary(scene) {
            return None;
        }
        let said = dns_talk::of_resolver(scene);
        let mut best: Option<Finding> = None;
        for x in own.iter().filter(|x| asked(x)) {
            let Some(answer) = x.only_answer() else { continue };
            let found = if dns_talk::is_private(resolver) {
                from_private_resolver(scene, &said, x, answer)
            } else {
                judge_one(scene, &said, x, answer)
            };
            if let Some(f) = found
                && best.as_ref().is_none_or(|b| f.grade > b.grade)
            {
                best = Some(f);
            }
        }
        best
    }
}

/// A router passes on what it was told. Its own names and filters look the same, except for an address known from elsewhere.
fn from_private_resolver(scene: &Scene<'_>, said: &[Exchange<'_>], x: &Exchange<'_>, answer: &Said<'_>) -> Option<Finding> {
    let (ip, place) = answer.odd_address()?;
    let same = families_with(said, ip);
    if place != Place::BlockAddress || same.len() < 2 {
        return None;
    }
    let mut w = Weigh::default();
    block_address(&mut w, x, answer, ip);
    one_for_many(&mut w, ip, &same, answer);
    w.against(0.0, "a router or office resolver with names of its own", "the resolver has a private address");
    Some(write(scene, x, answer, Grade::Possible, w, said))
}

fn judge_one<'a>(scene: &Scene<'_>, said: &[Exchange<'a>], x: &Exchange<'a>, answer: &Said<'a>) -> Option<Finding> {
    let odd = answer.odd_address();
    let d = departure(scene, said, x, answer);
    let address = odd.map_or_else(|| answer.addresses().next(), |o| Some(o.0))?;
    let same = families_with(said, address);
    let shared = same.len() >= 2 && others_differ(said, address);
    let told = if odd.is_some() { dns_talk::told_elsewhere(scene, x.name, x.kind) } else { Vec::new() };
    let made = d.as_ref().filter(|d| d.early && d.by_name);
    let other_ttl = d.as_ref().is_some_and(|d| d.by_name && d.concentrated);
    let alone = |d: &Departure<'_>| d.concentrated && d.p_kind <= 0.05;
    let times = said.iter().filter(|y| y.name == x.name && y.only_answer().is_some_and(|a| a.addresses().any(|i| i == address))).count();
    let by_design = dns_talk::filters_by_design(scene.flow.server.ip);

    let mut grade = match (odd.map(|o| o.1), made) {
        // Where, when and what: three facts that have no cause in common but an answer made on the path.
        (Some(Place::BlockAddress), Some(d)) if d.concentrated => Grade::Confirmed,
        (Some(_), Some(d)) if alone(d) && d.departing >= 2 => Grade::Confirmed,
        (Some(_), Some(d)) if d.concentrated => Grade::Likely,
        (Some(Place::BlockAddress), _) if other_ttl || shared || times >= 2 || !told.is_empty() => Grade::Likely,
        (Some(Place::BlockAddress), _) => Grade::Possible,
        (Some(_), _) if other_ttl && d.as_ref().is_some_and(|d| alone(d) && d.departing >= 2) => Grade::Likely,
        (Some(_), _) if other_ttl => Grade::Possible,
        // Without a word from its headers it may be what the resolver wants to say.
        (Some(_), _) if !told.is_empty() && !by_design => Grade::Possible,
        (Some(_), _) => return None,
        // A usable address: odd only if unrelated names share it, or if one name departs time and again.
        (None, Some(d)) if shared && alone(d) && d.departing >= 3 => Grade::Likely,
        (None, Some(d)) if d.of_name >= 3 && d.p_name <= 0.01 => Grade::Likely,
        (None, Some(d)) if d.of_name >= 2 && d.p_name <= 0.05 => Grade::Possible,
        (None, _) if other_ttl && shared && d.as_ref().is_some_and(|d| alone(d) && d.departing >= 3) => Grade::Possible,
        (None, _) => return None,
    };
    let local = dns_habit::is_local(x, answer);
    if local {
        grade = grade.lowered()?;
    }
    if scene.lossy() {
        grade = grade.min(Grade::Likely);
    }

    let mut w = Weigh::default();
    match odd {
        Some((ip, Place::BlockAddress)) => block_address(&mut w, x, answer, ip),
        Some((ip, _)) => w.fact(
            1.5,
            format!("the answer for {} is an address that is not reachable in public", x.name),
            ip.to_string(),
            "public addresses",
            &frames(x, answer),
        ),
        None => {
            w.fact(0.0, format!("the answer for {}", x.name), answer.tells(), "-", &frames(x, answer));
        }
    }
    if let Some(d) = &d {
        habits(&mut w, x, answer, d);
    }
    if shared {
        one_for_many(&mut w, address, &same, answer);
    }
    if let Some(t) = told.first().and_then(|t| t.only_answer().map(|a| (t, a))) {
        let value = format!("{}: {}", t.0.flow.server.ip, t.1.tells());
        w.fact(1.5, "another resolver gave public addresses for this name", value, "the same answer", &[t.1.frame]);
    }
    innocent(&mut w, local, by_design, d.as_ref());
    Some(write(scene, x, answer, grade, w, said))
}

fn innocent(w: &mut Weigh, local: bool, by_design: bool, d: Option<&Departure<'_>>) {
    const FILTER: &str = "a filter of the user's own (ad blocker, parental control)";
    match d {
        _ if local => w.against(0.0, FILTER, "the answer was made next to the client"),
        _ if by_design => w.against(0.0, FILTER, "this resolver filters by design"),
        Some(d) if d.early => {
            w.excluded(FILTER, "the resolver has a public address, and the answer was made neither there nor next to the client")
        }
        _ => w.against(0.0, FILTER, "nothing tells where the answer was made"),
    }
    const PATHS: &str = "a resolver reached over paths of different length";
    match d {
        Some(d) if d.by_name => {
            w.excluded(PATHS, format!("the two kinds of answers are divided by name, not by time (p = {:.3})", d.p_kind.min(d.p_name)))
        }
        Some(_) => w.against(0.0, PATHS, "one name has both, or they follow each other in time"),
        None => {}
    }
}

fn habits(w: &mut Weigh, x: &Exchange<'_>, answer: &Said<'_>, d: &Departure<'_>) {
    let some: Vec<FrameNo> = std::iter::once(answer.frame).chain(d.usual.iter().take(4).map(|u| u.0)).collect();
    let ttl = answer.ttl().unwrap_or(0);
    w.fact(
        2.0,
        "its TTL is not that of this resolver's answers to other names",
        format!("{ttl}, usual {} ({} answers, {} names)", d.ttl, d.usual.len(), d.usual_names),
        "the same within 1",
        &some,
    );
    if d.early {
        let delay = x.delay().unwrap_or_default();
        w.fact(
            2.5,
            "it came before this resolver ever answers",
            format!("{delay}, fastest otherwise {}", d.floor),
            "no earlier than the fastest",
            &frames(x, answer),
        );
    }
    if d.departing > 1 {
        w.fact(
            0.0,
            "repetition: answers that depart",
            format!("{} against {} usual (p = {:.3})", d.departing, d.usual.len(), d.p_kind.min(d.p_name)),
            "none",
            &[],
        );
    }
}

fn block_address(w: &mut Weigh, x: &Exchange<'_>, answer: &Said<'_>, ip: IpAddr) {
    w.fact(
        2.5,
        format!("the answer for {} is an address known from filtering answers", x.name),
        ip.to_string(),
        "public addresses",
        &frames(x, answer),
    );
}

fn one_for_many(w: &mut Weigh, ip: IpAddr, same: &[&str], answer: &Said<'_>) {
    let some: Vec<&str> = same.iter().take(4).copied().collect();
    w.fact(1.5, "unrelated names have this one address", format!("{ip}: {}", some.join(", ")), "addresses of their own", &[answer.frame]);
}

fn frames(x: &Exchange<'_>, answer: &Said<'_>) -> Vec<FrameNo> {
    x.queries.first().into_iter().map(|q| q.frame).chain([answer.frame]).collect()
}

/// Unrelated names that this resolver answered with this address.
fn families_with<'a>(said: &[Exchange<'a>], ip: IpAddr) -> Vec<&'a str> {
    let with = |x: &&Exchange<'a>| dns_talk::is_public_name(x.name) && x.answers.iter().any(|a| a.addresses().any(|i| i == ip));
    let mut out: Vec<&str> = said.iter().filter(with).map(|x| family(x.name)).collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// Other names have addresses of their own; a captive portal sends all names to one place.
fn others_differ(said: &[Exchange<'_>], ip: IpAddr) -> bool {
    let mut seen: Vec<IpAddr> =
        said.iter().filter_map(|x| x.only_answer()).filter_map(|a| a.addresses().next()).filter(|i| *i != ip).collect();
    seen.sort_unstable();
    seen.dedup();
    seen.len() >= 3
}

fn write(scene: &Scene<'_>, x: &Exchange<'_>, answer: &Said<'_>, grade: Grade, w: Weigh, said: &[Exchange<'_>]) -> Finding {
    let claim = Claim {
        rule: CARD.rule,
        kind: CARD.kind,
        mechanism: "sinkhole",
        grade,
        direction: Some(Direction::S2c),
        started: answer.ts,
        ooni_failure: answer.odd_address().map(|_| "dns_bogon_error"),
    };
    let others = said.iter().filter(|y| y.name != x.name && y.only_answer().is_some_and(|a| a.sense() == Sense::Addresses));
    let mut control = Control::new("same_resolver_other_name");
    others.for_each(|y| control.add(y.flow.id, y.answers.iter().all(|a| a.odd_address().is_none())));
    let needs = vec!["the same query over an encrypted transport", "the same query from another network"];
    let mut f = weigh::finding(scene, &claim, w, vec![control], needs);
    f.target.qname = Some(x.name.into());
    f
}
