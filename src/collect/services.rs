//! The verdict per service and role: attempts, successes, findings, and in words why.

use crate::model::finding::{Finding, Grade};
use crate::model::flow::{FlowRecord, Outcome};
use crate::model::label::{Label, LabelGrade, Role};
use crate::model::story::{ServiceState, State};
use std::collections::BTreeMap;

/// Fewer judged attempts than this, and no finding: nothing can be said of failures.
const ENOUGH: u64 = 2;

struct Row<'a> {
    title: &'a str,
    circumvention: bool,
    attempts: u64,
    ok: u64,
    failed: u64,
    flows: u64,
    findings: Vec<&'a Finding>,
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
    }
}

/// One row per service and role, in the order of their ids. Flows are in capture order.
pub fn tally(flows: &[FlowRecord], labels: &[Option<Label>], findings: &[Finding]) -> Vec<ServiceState> {
    tally_onto(&Past::default(), flows, labels, findings)
}

/// The same, on top of flows that are no longer kept.
pub fn tally_onto(past: &Past, flows: &[FlowRecord], labels: &[Option<Label>], findings: &[Finding]) -> Vec<ServiceState> {
    let mut rows: BTreeMap<(&str, Option<Role>), Row<'_>> = BTreeMap::new();
    for ((id, role), gone) in &past.rows {
        let row = Row {
            title: &gone.title,
            circumvention: gone.circumvention,
            attempts: gone.attempts,
            ok: gone.ok,
            failed: gone.attempts - gone.ok,
            flows: gone.flows,
            findings: Vec::new(),
        };
        rows.insert((id, *role), row);
    }
    for (flow, label) in flows.iter().zip(labels) {
        let Some(label) = label.as_ref().filter(|l| l.grade >= LabelGrade::Possible) else { continue };
        let row = rows.entry((&label.id, label.role)).or_insert_with(|| Row {
            title: &label.title,
            circumvention: label.circumvention,
            attempts: 0,
            ok: 0,
            failed: 0,
            flows: 0,
            findings: Vec::new(),
        });
        row.flows += 1;
        match flow.outcome {
            Outcome::Unknown => {}
            Outcome::Ok => {
                row.attempts += 1;
                row.ok += 1;
            }
            _ => {
                row.attempts += 1;
                row.failed += 1;
            }
        }
    }
    for finding in findings {
        for id in &finding.flows {
            let at = flows.binary_search_by_key(id, |f| f.id).ok();
            let Some(label) = at.and_then(|i| labels.get(i)).and_then(Option::as_ref) else { continue };
            if let Some(row) = rows.get_mut(&(&*label.id, label.role))
                && row.findings.last().is_none_or(|last| !std::ptr::eq(*last, finding))
            {
                row.findings.push(finding);
            }
        }
    }
    rows.into_iter().map(|((id, role), row)| state(id, role, &row)).collect()
}

fn state(id: &str, role: Option<Role>, row: &Row<'_>) -> ServiceState {
    let worst = row.findings.iter().max_by_key(|f| f.grade);
    let (attempts, ok, failed) = (row.attempts, row.ok, row.failed);
    let state = match worst.map(|f| f.grade) {
        Some(_) if ok > failed => State::Impaired,
        Some(Grade::Confirmed) if ok == 0 => State::Blocked,
        Some(Grade::Confirmed | Grade::Likely) if ok * 4 <= failed => State::LikelyBlocked,
        Some(_) => State::Impaired,
        None if attempts == 0 => State::Insufficient,
        None if ok == 0 && failed >= ENOUGH => State::Down,
        None if ok == 0 => State::Insufficient,
        None if failed > ok => State::Impaired,
        None => State::Ok,
    };
    let because = match (worst, state) {
        (Some(f), _) => format!("{} of {attempts} attempts failed; {} ({}, {})", failed, f.kind.name(), f.mechanism, f.grade.name()),
        (None, State::Ok) => format!("{ok} of {attempts} attempts succeeded and no interference was seen"),
        (None, State::Insufficient) => format!("{} flows, {attempts} of them complete enough to judge", row.flows),
        (None, _) => format!("{failed} of {attempts} attempts failed without a sign of interference"),
    };
    let unless = match (worst, state) {
        (Some(f), _) => f
            .innocent
            .iter()
            .find(|i| i.stands)
            .map_or_else(|| "no innocent cause considered still stands".to_owned(), |i| format!("{}: {}", i.cause, i.why)),
        (None, State::Ok) => "other flows of it, not in this capture, were hindered".to_owned(),
        (None, _) => "the server or the line was at fault, or the capture is too short".to_owned(),
    };
    ServiceState {
        id: id.into(),
        title: row.title.into(),
        role,
        state,
        attempts,
        ok,
        failed,
        flows: row.flows,
        findings: row.findings.iter().map(|f| f.id.clone()).collect(),
        because,
        unless,
        circumvention: row.circumvention,
    }
}
