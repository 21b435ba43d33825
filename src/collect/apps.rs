//! What became of each app's or process's connections, where the capture names them.

use super::services::{Sum, hindered, verdict};
use crate::model::finding::Finding;
use crate::model::flow::FlowRecord;
use crate::model::label::{Label, LabelGrade};
use crate::model::story::AppState;
use std::collections::BTreeMap;

/// Most apps told; a phone has hundreds, a forged capture as many as it likes.
const APPS_MAX: usize = 1024;

/// One row per app, in the order of their names.
pub fn apps(flows: &[FlowRecord], labels: &[Option<Label>], findings: &[Finding]) -> Vec<AppState> {
    let mut rows: BTreeMap<&str, (AppState, Sum<'_>)> = BTreeMap::new();
    let mut about: hashbrown::HashMap<_, Vec<&Finding>> = hashbrown::HashMap::new();
    for finding in findings {
        for id in &finding.flows {
            about.entry(*id).or_default().push(finding);
        }
    }
    let hindered = hindered(findings);
    for (flow, label) in flows.iter().zip(labels) {
        let Some(owner) = flow.owner.as_deref() else { continue };
        if rows.len() >= APPS_MAX && !rows.contains_key(owner) {
            continue;
        }
        let (row, sum) = rows.entry(owner).or_default();
        row.name = owner.into();
        sum.count(flow, hindered.contains(&flow.id));
        if let Some(label) = label.as_ref().filter(|l| l.grade >= LabelGrade::Possible)
            && !row.services.contains(&label.id)
        {
            row.services.push(label.id.clone());
        }
        for finding in about.get(&flow.id).into_iter().flatten() {
            if !sum.findings.iter().any(|f| f.id == finding.id) {
                sum.findings.push(finding);
            }
        }
    }
    let mut out = Vec::with_capacity(rows.len());
    for (mut row, sum) in rows.into_values() {
        (row.state, row.because, row.unless) = verdict(&sum);
        (row.attempts, row.ok, row.failed, row.flows) = (sum.attempts, sum.ok, sum.failed, sum.flows);
        row.findings = sum.findings.iter().map(|f| f.id.clone()).collect();
        row.services.sort_unstable();
        row.findings.sort_unstable();
        out.push(row);
    }
    out
}
