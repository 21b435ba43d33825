//! The verdict per service and role: attempts, successes, findings, and in words why.
//!
//! A role works if any of its addresses works: one that answers while others are cut leaves it impaired, not blocked. It is blocked if none
//! does, and a finding explains it; a success before the interference began says nothing for what came after. Failures alone, without a
//! finding, are no verdict about the network. A service is whole only if all of its roles work: what of it was cut while the rest worked is
//! said of both.

use crate::model::finding::{Finding, Grade, Kind};
use crate::model::flow::{FlowId, FlowRecord, Outcome};
use crate::model::label::{Label, LabelGrade, Role};
use crate::model::plural::one;
use crate::model::side::Side;
use crate::model::story::{ServiceState, State};
use crate::model::time::Time;
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// Title of each service by id, and whether it is a way around blocking.
pub type Titles<'a> = HashMap<&'a str, (&'a str, bool)>;

/// Fewer judged attempts than this, and no finding: nothing can be said of failures.
const ENOUGH: u64 = 2;

#[derive(Default)]
struct Row<'a> {
    title: &'a str,
    circumvention: bool,
    sum: Sum<'a>,
}

/// What flows had come to that a live capture no longer keeps.
#[derive(Default)]
pub struct Past {
    rows: BTreeMap<(Box<str>, Option<Role>), Gone>,
}

/// Sums over flows of one service and role.
#[derive(Default)]
struct Gone {
    title: Box<str>,
    circumvention: bool,
    attempts: u64,
    ok: u64,
    flows: u64,
    /// When the last attempt began that brought something of the server.
    worked: Option<Time>,
}

impl Past {
    /// Counts a flow that is let go.
    pub fn add(&mut self, flow: &FlowRecord, label: Option<&Label>) {
        let Some(label) = label.filter(|l| l.grade >= LabelGrade::Possible) else { return };
        let row = self.rows.entry((label.id.clone(), label.role)).or_default();
        if row.flows == 0 {
            row.title = label.title.clone();
            row.circumvention = label.circumvention;
        }
        row.flows += 1;
        row.attempts += u64::from(flow.outcome != Outcome::Unknown);
        row.ok += u64::from(flow.outcome == Outcome::Ok);
        if flow.outcome == Outcome::Ok && flow.payload(Side::Server) > 0 {
            row.worked = row.worked.max(Some(flow.first.ts));
        }
    }
}

/// One row per service and role, in the order of their ids: of every service that a flow was named after, or a finding is about. Flows are in
/// capture order.
pub fn tally(flows: &[FlowRecord], labels: &[Option<Label>], findings: &[Finding], titles: &Titles<'_>) -> Vec<ServiceState> {
    tally_onto(&Past::default(), flows, labels, findings, titles)
}

/// The same, on top of flows that are no longer kept.
pub fn tally_onto(
    past: &Past,
    flows: &[FlowRecord],
    labels: &[Option<Label>],
    findings: &[Finding],
    titles: &Titles<'_>,
) -> Vec<ServiceState> {
    let mut rows: BTreeMap<(&str, Option<Role>), Row<'_>> = BTreeMap::new();
    for ((id, role), gone) in &past.rows {
        let sum = Sum {
            attempts: gone.attempts,
            ok: gone.ok,
            failed: gone.attempts - gone.ok,
            flows: gone.flows,
            worked: gone.worked.into_iter().collect(),
            findings: Vec::new(),
        };
        rows.insert((id, *role), Row { title: &gone.title, circumvention: gone.circumvention, sum });
    }
    // What a finding is about did not work, whatever came of it in the end.
    let hindered = hindered(findings);
    for (flow, label) in flows.iter().zip(labels) {
        let Some(label) = label.as_ref().filter(|l| l.grade >= LabelGrade::Possible) else { continue };
        let row = rows.entry((&label.id, label.role)).or_default();
        (row.title, row.circumvention) = (&label.title, label.circumvention);
        row.sum.count(flow, hindered.contains(&flow.id));
    }
    for finding in findings {
        let by_flow = finding.flows.iter().filter_map(|id| {
            let at = flows.binary_search_by_key(id, |f| f.id).ok()?;
            let label = labels.get(at).and_then(Option::as_ref)?;
            Some((&*label.id, label.role, false))
        });
        // What names no flow of the service, as a question to a resolver, names the service itself.
        let by_target = finding.target.service.as_deref().map(|id| (id, finding.target.role, true));
        for (id, role, alone) in by_flow.chain(by_target) {
            if alone && !rows.contains_key(&(id, role)) {
                let (title, circumvention) = titles.get(id).copied().unwrap_or((id, false));
                rows.insert((id, role), Row { title, circumvention, ..Row::default() });
            }
            if let Some(row) = rows.get_mut(&(id, role))
                && !row.sum.findings.iter().any(|f| f.id == finding.id)
            {
                row.sum.findings.push(finding);
            }
        }
    }
    let mut states: Vec<ServiceState> = rows.into_iter().map(|((id, role), row)| state(id, role, &row)).collect();
    states.chunk_by_mut(|a, b| a.id == b.id).for_each(tell_parts);
    states
}

/// Says of each part of one service what became of the others, where some were cut and some worked.
fn tell_parts(parts: &mut [ServiceState]) {
    let name = |s: &ServiceState| s.role.map_or("rest", Role::name);
    let of = |states: &[State]| -> Vec<&'static str> { parts.iter().filter(|s| states.contains(&s.state)).map(name).collect() };
    let (worked, cut) = (of(&[State::Ok]), of(&[State::Blocked, State::LikelyBlocked]));
    if worked.is_empty() || cut.is_empty() {
        return;
    }
    for s in parts {
        let more = match s.state {
            State::Ok => format!("; not so its {}: the service as a whole needs both", cut.join(", ")),
            State::Blocked | State::LikelyBlocked => format!("; its {} worked", worked.join(", ")),
            _ => continue,
        };
        s.because.push_str(&more);
    }
}

/// Flows that findings say were kept from working.
pub(super) fn hindered(findings: &[Finding]) -> hashbrown::HashSet<FlowId> {
    findings.iter().filter(|f| hinders(f)).flat_map(|f| f.flows.iter().copied()).collect()
}

/// Whether what a finding says keeps a service from working at all.
fn hinders(f: &Finding) -> bool {
    f.kind != Kind::Throttling && !matches!(f.mechanism, "late" | "media_degraded")
}

/// What connections came to, all of one service or all of one app.
#[derive(Default)]
pub(super) struct Sum<'a> {
    pub attempts: u64,
    pub ok: u64,
    pub failed: u64,
    pub flows: u64,
    /// When attempts that brought something of the server began.
    pub worked: Vec<Time>,
    pub findings: Vec<&'a Finding>,
}

impl Sum<'_> {
    /// Counts a flow.
    pub(super) fn count(&mut self, flow: &FlowRecord, hindered: bool) {
        self.flows += 1;
        match flow.outcome {
            Outcome::Unknown => {}
            Outcome::Ok => {
                self.attempts += 1;
                self.ok += 1;
                if flow.payload(Side::Server) > 0 && !hindered {
                    self.worked.push(flow.first.ts);
                }
            }
            _ => {
                self.attempts += 1;
                self.failed += 1;
            }
        }
    }
}

/// The state, because, unless.
pub(super) fn verdict(sum: &Sum<'_>) -> (State, String, String) {
    let worst = sum.findings.iter().max_by_key(|f| (hinders(f), f.grade));
    let (attempts, ok, failed) = (sum.attempts, sum.ok, sum.failed);
    // The service at large works if anything of it worked once the interference had begun.
    let works = worst.is_some_and(|f| sum.worked.iter().any(|t| *t >= f.started));
    let state = match worst.map(|f| (f.grade, hinders(f))) {
        Some((Grade::Confirmed, true)) if !works => State::Blocked,
        Some((Grade::Likely, true)) if !works => State::LikelyBlocked,
        Some(_) => State::Impaired,
        None if attempts == 0 => State::Insufficient,
        None if ok == 0 && failed >= ENOUGH => State::Down,
        None if ok == 0 => State::Insufficient,
        None if failed > ok => State::Impaired,
        None => State::Ok,
    };
    let because = match (worst, state) {
        (Some(f), State::Impaired) if works && hinders(f) => {
            format!(
                "{failed} of {attempts} attempts failed, others worked meanwhile; {} ({}, {})",
                f.kind.name(),
                f.mechanism,
                f.grade.name()
            )
        }
        (Some(f), _) if failed == 0 && attempts > 0 => {
            format!("no attempt failed, but {} ({}, {})", f.kind.name(), f.mechanism, f.grade.name())
        }
        (Some(f), _) => format!("{failed} of {attempts} attempts failed; {} ({}, {})", f.kind.name(), f.mechanism, f.grade.name()),
        (None, State::Ok) => format!("{ok} of {attempts} attempts succeeded and no interference was seen"),
        (None, State::Insufficient) => format!("{} flows, {attempts} of them complete enough to judge", sum.flows),
        (None, _) => format!("{failed} of {attempts} attempts failed without a sign of interference"),
    };
    let because = one(because);
    let unless = match (worst, state) {
        (Some(f), _) => f
            .innocent
            .iter()
            .find(|i| i.stands)
            .map_or_else(|| "no innocent cause considered still stands".to_owned(), |i| format!("{}: {}", i.cause, i.why)),
        (None, State::Ok) => "other flows of it, not in this capture, were hindered".to_owned(),
        (None, _) => "the server or the line was at fault, or the capture is too short".to_owned(),
    };
    (state, because, unless)
}

fn state(id: &str, role: Option<Role>, row: &Row<'_>) -> ServiceState {
    let (state, because, unless) = verdict(&row.sum);
    ServiceState {
        id: id.into(),
        title: row.title.into(),
        role,
        state,
        attempts: row.sum.attempts,
        ok: row.sum.ok,
        failed: row.sum.failed,
        flows: row.sum.flows,
        findings: row.sum.findings.iter().map(|f| f.id.clone()).collect(),
        because,
        unless,
        circumvention: row.circumvention,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(id: &str, role: Option<Role>, state: State) -> ServiceState {
        ServiceState {
            id: id.into(),
            title: id.into(),
            role,
            state,
            attempts: 2,
            ok: 0,
            failed: 2,
            flows: 2,
            findings: Vec::new(),
            because: "-".to_owned(),
            unless: String::new(),
            circumvention: false,
        }
    }

    #[test]
    fn a_part_that_is_cut_and_one_that_works_each_tell_of_the_other() {
        let mut parts = [part("a", Some(Role::Chat), State::Ok), part("a", Some(Role::Call), State::Blocked)];
        tell_parts(&mut parts);
        assert_eq!(parts[0].because, "-; not so its call: the service as a whole needs both");
        assert_eq!(parts[1].because, "-; its chat worked");
        let mut all_cut = [part("a", Some(Role::Chat), State::Blocked), part("a", Some(Role::Call), State::Blocked)];
        tell_parts(&mut all_cut);
        assert!(all_cut.iter().all(|p| p.because == "-"));
    }
}
