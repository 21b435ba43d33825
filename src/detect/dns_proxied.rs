//! Resolvers of several operators that are one machine: whoever is asked, a box on the path answers.
//!
//! ```text
//! client            on the path       resolvers of three operators
//!   | to A ------------> X                A      their answers count their packets with one counter
//!   | <---- answer, id 101                       and come from one distance,
//!   | to B ------------> X                B      nearer than any server
//!   | <---- answer, id 102
//! ```

use super::Detector;
use super::dns_habit;
use super::dns_talk;
use super::resets::INITIAL_TTLS;
use super::silence;
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind, Target};
use crate::model::flow::FlowId;
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::scene::Scene;
use crate::model::time::{Span, Time};
use hashbrown::HashMap;
use std::net::IpAddr;
use std::sync::LazyLock;

/// See the module.
pub(super) struct DnsProxied;

static CARD: Card = Card {
    rule: "dns.proxied",
    kind: Kind::DnsInjection,
    mechanisms: &["proxy"],
    claim: "Queries to public resolvers of several operators were all answered by one machine on the way.",
    ladder: "\
client            on the path       resolvers of three operators
  | to A ------------> X                A      their answers count their packets with one counter
  | <---- answer, id 101                       and come from one distance,
  | to B ------------> X                B      nearer than any server
  | <---- answer, id 102",
    needs: &["answers of the resolvers of three operators", "IP identifications that count, or the round trips of other servers"],
    innocent: &[
        "a router or app of one's own that redirects DNS",
        "resolvers that stand in one place nearby",
        "a VPN that answers DNS itself",
    ],
    confirm: "Ask each resolver for a name that tells who asks (whoami.akamai.net, o-o.myaddr.l.google.com), and for id.server in class CH.",
    sources: &[
        "Liu et al., Who Is Answering My Queries, USENIX Security 2018 (on-path interception of DNS)",
        "RFC 6864 (IP identification), RFC 4892 (id.server)",
    ],
};

/// Addresses of public resolvers by operator.
const OPERATORS: [&[&str]; 9] = [
    &["8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844"],
    &["1.1.1.1", "1.0.0.1", "1.1.1.2", "1.1.1.3", "2606:4700:4700::1111", "2606:4700:4700::1001"],
    &["9.9.9.9", "9.9.9.10", "149.112.112.112", "2620:fe::fe", "2620:fe::9"],
    &["208.67.222.222", "208.67.220.220"],
    &["77.88.8.8", "77.88.8.1", "77.88.8.88", "77.88.8.2"],
    &["94.140.14.14", "94.140.15.15"],
    &["223.5.5.5", "223.6.6.6"],
    &["114.114.114.114", "114.114.115.115"],
    &["76.76.2.0", "76.76.10.0"],
];
/// Operators whose answers must be at hand.
const ENOUGH: usize = 3;
/// Steps of a counter that a busy box leaves between two answers.
const STEP: u16 = 64;

/// An answer of a public resolver.
struct Answer {
    operator: usize,
    flow: FlowId,
    frame: FrameNo,
    ts: Time,
    ttl: u8,
    id: Option<u16>,
    delay: Span,
}

/// [`OPERATORS`] as they are asked for: by every flow with DNS in it.
static BY_ADDRESS: LazyLock<HashMap<IpAddr, usize>> = LazyLock::new(|| {
    let all = OPERATORS.iter().enumerate().flat_map(|(operator, all)| all.iter().map(move |a| (a, operator)));
    all.filter_map(|(a, operator)| Some((a.parse().ok()?, operator))).collect()
});

fn operator(ip: IpAddr) -> Option<usize> {
    BY_ADDRESS.get(&ip).copied()
}

impl Detector for DnsProxied {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::DNS
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        operator(flow.server.ip)?;
        if !dns_talk::is_lookup(flow) || scene.source.quality.phone_vpn {
            return None;
        }
        let at = scene.kin.of_client(flow.client.ip);
        let mut heard: Vec<Answer> = Vec::new();
        for f in dns_talk::around(scene, at, 256).filter(|f| f.tcp.is_none()) {
            let Some(operator) = operator(f.server.ip) else { continue };
            for x in dns_talk::exchanges(f) {
                let (Some(a), Some(delay)) = (x.only_answer(), x.delay()) else { continue };
                let Some(p) = a.packet else { continue };
                heard.push(Answer { operator, flow: f.id, frame: p.frame, ts: p.ts, ttl: p.ttl, id: p.ip_id, delay });
            }
        }
        // The finding is written once, at the first flow that belongs to it.
        if heard.iter().map(|a| a.flow).min() != Some(flow.id) {
            return None;
        }
        heard.sort_by_key(|a| a.frame);
        judge(scene, &heard)
    }
}

fn judge(scene: &Scene<'_>, heard: &[Answer]) -> Option<Finding> {
    let (first, last) = (heard.first()?, heard.last()?);
    let mut operators: Vec<usize> = heard.iter().map(|a| a.operator).collect();
    operators.sort_unstable();
    operators.dedup();
    let alike = heard.iter().all(|a| a.ttl == first.ttl);
    if operators.len() < ENOUGH || heard.len() < 2 * ENOUGH || !alike {
        return None;
    }
    let mut w = Weigh::default();
    let frames: Vec<FrameNo> = heard.iter().map(|a| a.frame).take(16).collect();
    // One counter: every answer is a small step behind the one before, whoever is said to have sent them.
    let steps = heard.windows(2).filter_map(|p| Some(p.last()?.id?.wrapping_sub(p.first()?.id?)));
    let counted = heard.iter().all(|a| a.id.is_some_and(|id| id != 0)) && steps.clone().all(|s| (1..=STEP).contains(&s));
    let turns = heard.windows(2).filter(|p| matches!(p, [a, b] if a.operator != b.operator)).count();
    let one_counter = counted && steps.count() + 1 == heard.len() && turns >= 4;
    if one_counter {
        w.fact(
            5.0,
            format!("answers of {} operators count their packets with one counter", operators.len()),
            heard.iter().filter_map(|a| a.id).take(8).map(|i| i.to_string()).collect::<Vec<_>>().join(", "),
            "a counter of each machine's own",
            &frames,
        );
        w.excluded("resolvers that stand in one place nearby", "different machines do not share a counter");
    }
    if !dns_habit::ttl_blind(scene) {
        w.fact(
            1.0,
            "all of them come from one distance",
            format!("TTL {} in {} answers", first.ttl, heard.len()),
            "distances of their own",
            &frames,
        );
    }
    let (near, control) = nearer_than_any_server(scene, heard, &mut w);
    if !one_counter && !near {
        return None;
    }
    if !one_counter {
        w.against(0.0, "resolvers that stand in one place nearby", "an exchange point may house them all");
    }
    let hops = INITIAL_TTLS.iter().filter(|t| **t >= first.ttl).min().map_or(0, |t| t - first.ttl);
    if hops <= 1 || scene.source.quality.ttl_normalised {
        w.against(0.0, "a router or app of one's own that redirects DNS", "the answers have passed at most one router");
    } else {
        w.excluded("a router or app of one's own that redirects DNS", format!("the answers have passed {hops} routers"));
    }
    let claim = Claim {
        rule: CARD.rule,
        kind: CARD.kind,
        mechanism: "proxy",
        grade: if one_counter && !scene.lossy() { Grade::Likely } else { Grade::Possible },
        direction: Some(Direction::S2c),
        started: first.ts,
        ooni_failure: None,
    };
    let mut found = weigh::finding(
        scene,
        &claim,
        w,
        vec![control],
        vec!["what each resolver says of whoever asked it", "the same queries over an encrypted transport"],
    );
    // It is about all of them.
    found.target = Target::default();
    found.flows = heard.iter().map(|a| a.flow).collect();
    found.flows.sort_unstable();
    found.flows.dedup();
    debug_assert!(first.ts <= last.ts);
    Some(found)
}

/// All answer at about the same speed, in less than half the round trip of any server that is no resolver.
fn nearer_than_any_server(scene: &Scene<'_>, heard: &[Answer], w: &mut Weigh) -> (bool, Control) {
    let mut control = Control::new("same_client_other_servers");
    let mut fastest: Option<Span> = None;
    for f in scene.kin.with_client(scene.flow.client.ip).filter(|f| silence::public(f.server.ip) && operator(f.server.ip).is_none()) {
        let Some(rtt) = f.tcp.as_deref().filter(|t| t.side.client.syns <= 1).and_then(|t| t.rtt_server) else { continue };
        control.add(f.id, true);
        fastest = Some(fastest.map_or(rtt, |r| r.min(rtt)));
    }
    let floor = |operator: usize| heard.iter().filter(|a| a.operator == operator).map(|a| a.delay).min();
    let floors: Vec<Span> = (0..OPERATORS.len()).filter_map(floor).collect();
    let (Some(slow), Some(fast), Some(rtt)) = (floors.iter().max(), floors.iter().min(), fastest) else { return (false, control) };
    let close = slow.nanos() * 2 < rtt.nanos() && (slow.nanos() * 2 <= fast.nanos() * 3 || slow.nanos() - fast.nanos() < 1_000_000);
    let near = control.n >= 5 && rtt >= Span::from_millis(4) && close;
    if near {
        w.fact(
            2.0,
            "all of them are nearer than any other server",
            format!("{fast} to {slow}"),
            format!("at least {rtt} to {} servers", control.n),
            &[],
        );
    }
    (near, control)
}
