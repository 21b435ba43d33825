//! Two answers to one question, and they contradict each other.
//!
//! ```text
//! client                        resolver
//!   | A? name -------------------> |
//!   | <------ A 203.0.113.1        |   first, from another place: other TTL, other header habits, or an address nobody can use
//!   | <------------ A 198.51.100.7 |   the resolver's own, a little later
//! ```

use super::Detector;
use super::dns_habit::{self, departure};
use super::dns_talk::{self, Exchange, Place, Said, Sense};
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::gist::Signs;
use crate::model::scene::Scene;

/// See the module.
pub(super) struct DnsRace;

static CARD: Card = Card {
    rule: "dns.answer.raced",
    kind: Kind::DnsInjection,
    mechanisms: &["race", "nxdomain"],
    claim: "One DNS query got two contradicting answers: one of them was not sent by the resolver.",
    ladder: "\
client                        resolver
  | A? name -------------------> |
  | <------ A 203.0.113.1        |   first, from another place: other TTL, other header habits, or an address nobody can use
  | <------------ A 198.51.100.7 |   the resolver's own, a little later",
    needs: &["the query and all answers to it", "for more than a pattern: headers that tell the two senders apart"],
    innocent: &[
        "the query was sent twice",
        "a resolver that gives out its servers in turn",
        "a forwarder that passes on the answers of several resolvers",
        "capture that misses packets",
    ],
    confirm: "In Wireshark, filter on the transaction id and compare time, TTL, IP identification and DF of the answers with the same resolver's answers to other names. Ask again over an encrypted transport.",
    sources: &[
        "Duan et al.: Hold-On, protecting against on-path DNS poisoning, SATIN 2012 (benign double answers: two in 27 million)",
        "Anonymous et al.: Triplet Censors, FOCI 2020",
        "Hoang et al.: How Great is the Great Firewall? (GFWatch), USENIX Security 2021",
    ],
};

/// One contradiction with what tells the senders apart.
struct Contest<'a> {
    x: Exchange<'a>,
    first: Said<'a>,
    last: Said<'a>,
    ttl: bool,
    header: bool,
}

impl Detector for DnsRace {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::DNS
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        // With part of an answer missing, what looks different may be the same.
        // Over TCP a second answer would have to fit into the stream: contradictions there are seen as such.
        if scene.flow.totals.server.cut > 0 || scene.flow.totals.server.packets < 2 || scene.flow.tcp.is_some() {
            return None;
        }
        let own: Vec<Contest<'_>> = dns_talk::exchanges(scene.flow).into_iter().filter_map(|x| contest(scene, x)).collect();
        if own.is_empty() {
            return None;
        }
        let said = dns_talk::of_resolver(scene);
        let mut best: Option<Finding> = None;
        for c in own {
            let found = judge_one(scene, &said, c);
            if let Some(f) = found
                && best.as_ref().is_none_or(|b| f.grade > b.grade)
            {
                best = Some(f);
            }
        }
        best
    }
}

fn contest<'a>(scene: &Scene<'_>, x: Exchange<'a>) -> Option<Contest<'a>> {
    let (first, last) = x.contradiction()?;
    let (mut ttl, mut header) = (false, false);
    if let (Some(a), Some(b)) = (first.packet, last.packet) {
        ttl = a.ttl.abs_diff(b.ttl) > 1 && !dns_habit::ttl_blind(scene);
        let zero = |id: Option<u16>| id.is_some_and(|i| i == 0);
        header = a.df != b.df || a.tos != b.tos || zero(a.ip_id) != zero(b.ip_id);
    }
    Some(Contest { x, first, last, ttl, header })
}

fn judge_one<'a>(scene: &Scene<'_>, said: &[Exchange<'a>], c: Contest<'a>) -> Option<Finding> {
    let (x, first, last) = (&c.x, &c.first, &c.last);
    let near = first.near(last);
    let odd = [first, last].into_iter().find_map(|a| a.odd_address());
    let both_odd = first.odd_address().is_some() && last.odd_address().is_some();
    let odd = odd.filter(|_| !both_odd && dns_talk::is_public_name(x.name));
    let habit = [first, last].map(|a| departure(scene, said, x, a));
    // The one departs from what the resolver does, the other does not.
    let departs = habit[0].is_some() != habit[1].is_some();
    let early = habit[0].as_ref().is_some_and(|d| d.early);
    let again = said.iter().filter(|y| y.contradiction().is_some()).count();
    let names_single = {
        let mut names: Vec<&str> = said.iter().filter(|y| y.only_answer().is_some() && y.name != x.name).map(|y| y.name).collect();
        names.sort_unstable();
        names.dedup();
        names.len()
    };
    let failed = [first, last].into_iter().any(|a| matches!(a.sense(), Sense::Failed | Sense::Empty));
    let denied = [first, last].into_iter().any(|a| a.sense() != Sense::Addresses);

    let apart = c.ttl || c.header;
    let mut grade = match () {
        // Nobody gives out such an address for a public name beside a real one.
        () if odd.is_some() => Grade::Confirmed,
        // The same operator's servers, perhaps to a query doubled on its way: only another sender's headers count.
        () if near && !(c.ttl && (c.header || early || again >= 2)) => return None,
        () if near => Grade::Likely,
        () if c.ttl && (c.header || departs || early || again >= 2) && !failed => Grade::Confirmed,
        () if c.ttl || (c.header && again >= 2) => Grade::Likely,
        () if again >= 3 && names_single >= 3 && !failed => Grade::Likely,
        () if apart || again >= 2 => Grade::Possible,
        () => return None,
    };
    let forwarder = dns_talk::is_private(scene.flow.server.ip);
    if forwarder {
        // A router may pass on what two resolvers said; with headers of its own, the two answers tell nothing apart.
        if !c.ttl {
            return None;
        }
        grade = grade.min(if odd.is_some() { Grade::Likely } else { Grade::Possible });
    }
    let local = dns_habit::is_local(x, first);
    if local {
        grade = grade.min(Grade::Likely);
    }
    if scene.lossy() {
        grade = grade.min(Grade::Likely);
    }

    let mut w = Weigh::default();
    let query = x.queries.first().map(|q| q.frame);
    let frames: Vec<_> = query.into_iter().chain([first.frame, last.frame]).collect();
    let gap = last.ts.since(first.ts);
    w.fact(
        2.0,
        format!("one query for {} got two contradicting answers", x.name),
        format!("{}; {gap} later {}", first.tells(), last.tells()),
        "one answer, or copies of it",
        &frames,
    );
    if let Some((ip, place)) = odd {
        let what = if place == Place::BlockAddress {
            "an address known from filtering answers"
        } else {
            "an address that is not reachable in public"
        };
        w.proof(format!("one answer is {what}, the other is not"), ip.to_string(), "public addresses", &frames[frames.len() - 2..]);
    }
    if c.ttl
        && let (Some(a), Some(b)) = (first.ttl(), last.ttl())
    {
        w.fact(3.5, "the answers have different TTLs", format!("{a} and {b}"), "the same within 1", &[first.frame, last.frame]);
    }
    if c.header
        && let (Some(a), Some(b)) = (first.packet, last.packet)
    {
        let show = |p: &crate::model::flow::Brief| {
            format!("DF {}, id {}, TOS {}", u8::from(p.df), p.ip_id.map_or("-".into(), |i| i.to_string()), p.tos)
        };
        w.fact(
            1.5,
            "their IP headers were made by different stacks",
            format!("{}; {}", show(a), show(b)),
            "alike",
            &[first.frame, last.frame],
        );
    }
    for (d, a) in habit.iter().zip([first, last]) {
        let Some(d) = d else { continue };
        let frames: Vec<_> = std::iter::once(a.frame).chain(d.usual.iter().take(4).map(|u| u.0)).collect();
        let ttl = a.ttl().unwrap_or(0);
        let value = format!("TTL {ttl}, usual {} for {} names", d.ttl, d.usual_names);
        w.fact(1.0, "one answer departs from this resolver's answers to other names", value, "the usual TTL", &frames);
        if d.early {
            let delay = x.delay().unwrap_or_default();
            w.fact(
                2.0,
                "it came before the resolver ever answers",
                format!("{delay}, fastest otherwise {}", d.floor),
                "no earlier",
                &[a.frame],
            );
        }
    }
    if again > 1 {
        w.fact(0.0, "repetition: contradicted answers from this resolver", format!("{again}"), "none", &[]);
    }
    let asked = x.queries.len();
    w.excluded("the query was sent twice", format!("more different answers than queries before them ({asked})"));
    if near {
        w.against(0.0, "a resolver that gives out its servers in turn", "the addresses are neighbours");
    } else {
        w.excluded("a resolver that gives out its servers in turn", "one query gets one answer, and the addresses have nothing in common");
    }
    if forwarder {
        w.against(0.0, "a forwarder that passes on the answers of several resolvers", "the resolver has a private address");
    }
    if local {
        w.against(0.0, "a filter on the own host or router", "the first answer was made next to the client");
    }
    if scene.lossy() {
        w.against(0.0, "capture that misses packets", "a second query may be missing from this capture");
    }
    let mechanism = if denied && odd.is_none() { "nxdomain" } else { "race" };
    let claim = Claim {
        rule: CARD.rule,
        kind: CARD.kind,
        mechanism,
        grade,
        direction: Some(Direction::S2c),
        started: first.ts,
        ooni_failure: match first.sense() {
            Sense::Denied if first.message.rcode == 3 => Some("dns_nxdomain_error"),
            Sense::Denied => Some("dns_refused_error"),
            _ if first.odd_address().is_some() => Some("dns_bogon_error"),
            _ => None,
        },
    };
    let n = u32::try_from(names_single).unwrap_or(u32::MAX);
    let control = vec![
        Control::counted("same_resolver_other_name", n, n)
            .on(said.iter().filter(|y| y.only_answer().is_some() && y.name != x.name).map(|y| y.flow.id)),
    ];
    let mut f = weigh::finding(scene, &claim, w, control, vec!["the same query over an encrypted transport"]);
    f.target.qname = Some(x.name.into());
    Some(f)
}
