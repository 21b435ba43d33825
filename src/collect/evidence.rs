//! What a finding is to be read with: its flows, the flows it was compared with, and the DNS that led there. Nothing else goes into a slice.
//!
//! A finding names the flows it was compared with, as far as they are not too many; where it names none, they are found again by what the kind of the
//! comparison says. Flows taken for comparison come without comparisons of their own. Where they too were hit, as with
//! one name on two servers, a slice of the weaker finding may show both as one `possible` finding without an address, where the whole capture keeps
//! them apart because it holds what the other was compared with. The grade that counts is the original's.

use crate::model::evidence::{Evidence, Part};
use crate::model::finding::{Control, Finding};
use crate::model::flow::{FlowId, FlowRecord, Outcome};
use crate::model::label::Role;
use crate::model::side::Side;
use crate::model::story::Story;
use hashbrown::{HashMap, HashSet};

/// Most flows taken for one comparison: more says nothing new.
const CONTROL_MAX: usize = 64;
/// Flows taken to show that other things worked, where any would do: two are asked for, one may fail.
const WITNESSES: usize = 3;
/// Flows of a finding for which such witnesses are looked for.
const EACH_MAX: usize = 16;

/// Chooses what belongs to `finding`. Comparisons are left out unless `controls`.
pub fn evidence(story: &Story, finding: &Finding, controls: bool) -> Evidence {
    let index: HashMap<FlowId, usize> = story.flows.iter().enumerate().map(|(i, f)| (f.id, i)).collect();
    let own: Vec<usize> = finding.flows.iter().filter_map(|id| index.get(id).copied()).collect();
    let mut out = Evidence { flows: finding.flows.iter().map(|id| (*id, Part::Finding)).collect(), frames: Vec::new() };
    let flow = |i: usize| story.flows.get(i);
    for f in own.iter().filter_map(|i| flow(*i)) {
        let again =
            |x: &&FlowRecord| x.client.ip == f.client.ip && x.server == f.server && x.proto == f.proto && x.asked_name() == f.asked_name();
        for x in story.flows.iter().filter(again).take(CONTROL_MAX) {
            out.flows.entry(x.id).or_insert(Part::Repetition);
        }
    }
    if controls {
        // What a throttle was measured against is in its figures.
        for (id, _) in finding.throttle.iter().flat_map(|t| &t.controls) {
            out.flows.entry(*id).or_insert(Part::Control("measured_against"));
        }
        for c in &finding.control {
            for x in compared(story, &own, &out, c) {
                out.flows.entry(x.id).or_insert(Part::Control(c.kind));
            }
        }
    }
    lookups(story, &index, &mut out);
    out.frames.sort_unstable();
    out.frames.dedup();
    out
}

/// The flows of a comparison, the nearest in time first; where it names none, those that stand in the relation to the finding's flows that its kind
/// names.
fn compared<'a>(story: &'a Story, own: &[usize], taken: &Evidence, control: &Control) -> Vec<&'a FlowRecord> {
    let (kind, n) = (control.kind, control.n);
    let label = |i: usize| story.labels.get(i).and_then(Option::as_ref);
    let named: HashSet<FlowId> = control.flows.iter().copied().collect();
    let related = |i: usize, x: &FlowRecord, o: usize, f: &FlowRecord| {
        if !named.is_empty() {
            return named.contains(&x.id);
        }
        let client = x.client.ip == f.client.ip;
        let name = f.asked_name().is_some() && x.asked_name() == f.asked_name();
        match kind {
            "same_server_or_name_over_tcp" => client && x.tcp.is_some() && (x.server.ip == f.server.ip || name),
            k if k.ends_with("server_other_name") => x.server == f.server && x.asked_name().is_some() && x.asked_name() != f.asked_name(),
            k if k.starts_with("same_server") => x.server.ip == f.server.ip,
            k if k.starts_with("same_resolver") => client && x.server.ip == f.server.ip && x.app == Some("dns"),
            k if k.starts_with("same_name") => name,
            k if k.starts_with("same_service") => label(i).is_some() && label(i).map(|l| &l.id) == label(o).map(|l| &l.id),
            k if k.ends_with("udp") => client && x.proto == f.proto && x.server.ip != f.server.ip,
            "same_client_other_resolvers_853" => client && x.server.port == 853 && x.server.ip != f.server.ip,
            "larger_transfers_elsewhere" => client && x.server.ip != f.server.ip && received(x) > received(f),
            k if k.ends_with("quic") => client && x.app == Some("quic"),
            k if k.ends_with("relays") || k.ends_with("calls") || k.ends_with("stun") => {
                client && (x.app == Some("stun") || label(i).is_some_and(|l| l.role == Some(Role::Call)))
            }
            _ => client,
        }
    };
    // Any flow would do to show that the line worked; all others are counted, so all that were counted are needed.
    let meanwhile = kind == "same_client_meanwhile";
    let last = |x: &FlowRecord| {
        if meanwhile { x.totals[Side::Server].packets == 0 } else { x.tcp.is_some() && x.outcome == Outcome::Unknown }
    };
    let others = || story.flows.iter().enumerate().filter(|(_, x)| !taken.flows.contains_key(&x.id));
    let nearest = |of: &[usize], most: usize| {
        let mut found: Vec<(bool, i64, &FlowRecord)> = Vec::new();
        for (i, x) in others() {
            let near = of.iter().filter_map(|o| Some((*o, story.flows.get(*o)?))).filter(|(o, f)| related(i, x, *o, f));
            let Some(gap) = near.map(|(_, f)| gap(x, f)).min() else { continue };
            found.push((last(x), gap, x));
        }
        found.sort_by_key(|(last, gap, x)| (*last, *gap, x.id));
        found.truncate(most);
        found.into_iter().map(|(_, _, x)| x).collect::<Vec<_>>()
    };
    if meanwhile {
        // Each of the finding's flows had its own moment.
        return own.iter().take(EACH_MAX).flat_map(|o| nearest(&[*o], WITNESSES)).collect();
    }
    nearest(own, if named.is_empty() { usize::try_from(n).unwrap_or(CONTROL_MAX).min(CONTROL_MAX) } else { CONTROL_MAX })
}

/// Payload bytes of the server that arrived.
fn received(f: &FlowRecord) -> u64 {
    f.tcp.as_deref().map_or(0, |t| t.side.server.unique)
}

/// Nanoseconds between two flows' lives, negative by how much they overlap.
fn gap(a: &FlowRecord, b: &FlowRecord) -> i64 {
    let (from, to) = (a.first.ts.max(b.first.ts), a.last.ts.min(b.last.ts));
    from.since(to).nanos()
}

/// DNS exchanges of the flows' clients for the names that led to their servers, before each flow.
fn lookups(story: &Story, index: &HashMap<FlowId, usize>, out: &mut Evidence) {
    let mut wanted: HashSet<(std::net::IpAddr, &str)> = HashSet::new();
    let mut latest = None;
    for id in out.flows.keys() {
        let Some((f, names)) = index.get(id).and_then(|i| Some((story.flows.get(*i)?, story.dns_names.get(*i)?))) else { continue };
        wanted.extend(names.iter().map(|n| (f.client.ip, &**n)));
        wanted.extend(f.asked_name().map(|n| (f.client.ip, n)));
        latest = latest.max(Some(f.last.ts));
    }
    let mut led = Vec::new();
    for f in story.flows.iter().filter(|f| f.app == Some("dns") && !out.flows.contains_key(&f.id)) {
        let asked = |name: &str| wanted.contains(&(f.client.ip, name));
        let hit = |m: &crate::model::note::DnsMessage| asked(&m.qname);
        if !f.notes.dns().any(|(n, m)| hit(m) && Some(n.ts) <= latest) {
            continue;
        }
        if f.notes.dns().all(|(_, m)| hit(m)) {
            // The whole flow: of a connection, single segments would say less than nothing.
            led.push(f.id);
        } else if f.tcp.is_none() {
            out.frames.extend(f.notes.dns().filter(|(_, m)| hit(m)).map(|(n, _)| n.frame));
        }
    }
    for id in led {
        out.flows.entry(id).or_insert(Part::Lookup);
    }
}
