//! What became of each app's or process's connections, where the capture names them.

use crate::model::finding::Finding;
use crate::model::flow::{FlowRecord, Outcome};
use crate::model::label::{Label, LabelGrade};
use crate::model::story::AppState;
use std::collections::BTreeMap;

/// Most apps told; a phone has hundreds, a forged capture as many as it likes.
const APPS_MAX: usize = 1024;

/// One row per app, in the order of their names.
pub fn apps(flows: &[FlowRecord], labels: &[Option<Label>], findings: &[Finding]) -> Vec<AppState> {
    let mut rows: BTreeMap<&str, AppState> = BTreeMap::new();
    let mut about: hashbrown::HashMap<_, Vec<&Finding>> = hashbrown::HashMap::new();
    for finding in findings {
        for id in &finding.flows {
            about.entry(*id).or_default().push(finding);
        }
    }
    for (flow, label) in flows.iter().zip(labels) {
        let Some(owner) = flow.owner.as_deref() else { continue };
        if rows.len() >= APPS_MAX && !rows.contains_key(owner) {
            continue;
        }
        let row = rows.entry(owner).or_default();
        row.name = owner.into();
        row.flows += 1;
        row.attempts += u64::from(flow.outcome != Outcome::Unknown);
        row.ok += u64::from(flow.outcome == Outcome::Ok);
        if let Some(label) = label.as_ref().filter(|l| l.grade >= LabelGrade::Possible)
            && !row.services.contains(&label.id)
        {
            row.services.push(label.id.clone());
        }
        for finding in about.get(&flow.id).into_iter().flatten() {
            if !row.findings.contains(&finding.id) {
                row.findings.push(finding.id.clone());
            }
        }
    }
    let mut out: Vec<AppState> = rows.into_values().collect();
    for row in &mut out {
        row.failed = row.attempts - row.ok;
        row.services.sort_unstable();
        row.findings.sort_unstable();
    }
    out
}
