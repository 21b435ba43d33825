//! What a live capture has told of findings, so that each is told once, revised when it has clearly changed, and taken back when later
//! packets speak against it.
//!
//! The window is judged again and again while flows are still open. A finding is told when two judgements in a row agree on it (or the
//! capture ends): a pattern that one more round trip dissolves is never told. Told findings and those of a later judgement belong together
//! when they share rule and a flow.

use crate::model::finding::{Finding, Grade};
use crate::model::flow::FlowId;
use crate::model::pulse::News;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;

/// Most findings remembered. Older ones can no longer be revised.
const TOLD_MAX: usize = 10_000;
/// A finding is told again when its flows have grown by half.
const GROWN: (usize, usize) = (3, 2);

/// A finding that was told and stands.
struct Told {
    id: Box<str>,
    rule: &'static str,
    mechanism: &'static str,
    grade: Grade,
    flows: Vec<FlowId>,
    /// Innocent causes that stood.
    standing: usize,
    /// Hash of everything it said.
    print: u64,
}

fn print(f: &Finding) -> u64 {
    FixedState::default().hash_one(format!("{f:?}"))
}

impl Told {
    fn of(f: &Finding) -> Self {
        Self {
            id: f.id.clone(),
            rule: f.rule,
            mechanism: f.mechanism,
            grade: f.grade,
            flows: f.flows.clone(),
            standing: f.innocent.iter().filter(|i| i.stands).count(),
            print: print(f),
        }
    }
    fn shares(&self, f: &Finding) -> bool {
        self.rule == f.rule && overlap(&self.flows, &f.flows)
    }
    /// Whether a reader would want to know.
    fn outdated_by(&self, f: &Finding) -> bool {
        let standing = f.innocent.iter().filter(|i| i.stands).count();
        self.grade != f.grade
            || self.mechanism != f.mechanism
            || (self.standing == 0) != (standing == 0)
            || f.flows.len() * GROWN.1 >= self.flows.len() * GROWN.0
    }
}

/// Both are sorted.
fn overlap(a: &[FlowId], b: &[FlowId]) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    short.iter().any(|id| long.binary_search(id).is_ok())
}

/// The ledger.
#[derive(Default)]
pub(super) struct Ledger {
    told: Vec<Told>,
    /// Findings of the previous judgement that were not told: rule, first flow.
    waiting: Vec<(&'static str, Grade, Vec<FlowId>)>,
    /// Told or revised so far.
    pub(super) count: u64,
}

/// What a judgement adds.
#[derive(Default)]
pub(super) struct Change {
    pub news: Vec<News>,
    pub withdrawn: Vec<Box<str>>,
}

impl Ledger {
    /// Findings that stand.
    pub(super) fn standing(&self) -> usize {
        self.told.len()
    }

    /// Compares a judgement with what was told. `known` says whether a flow is still in the window: a finding about flows that have left it
    /// is history, not refuted. At the `last` judgement everything is told as it stands.
    pub(super) fn update(&mut self, findings: &[Finding], known: &dyn Fn(FlowId) -> bool, last: bool) -> Change {
        let mut change = Change::default();
        let mut waiting = Vec::new();
        // Which of the told ones are found again, in this or another form.
        let mut met = vec![false; self.told.len()];
        let mut fresh = Vec::new();
        for f in findings {
            if let Some(at) = self.told.iter().position(|t| t.id == f.id) {
                met[at] = true;
                // The id names what was seen where. What it is worth may change with what else was seen: it then supersedes itself.
                if (last || self.told[at].outdated_by(f)) && self.told[at].print != print(f) {
                    self.told[at] = Told::of(f);
                    change.news.push(News { finding: f.clone(), supersedes: Some(f.id.clone()) });
                }
            } else {
                fresh.push(f);
            }
        }
        for f in fresh {
            let at = (0..self.told.len()).find(|&i| !met[i] && self.told[i].shares(f));
            let Some(at) = at else {
                let agreed =
                    self.waiting.iter().any(|(rule, grade, flows)| *rule == f.rule && *grade == f.grade && overlap(flows, &f.flows));
                if agreed || last {
                    self.told.push(Told::of(f));
                    met.push(true);
                    change.news.push(News { finding: f.clone(), supersedes: None });
                } else {
                    waiting.push((f.rule, f.grade, f.flows.clone()));
                }
                continue;
            };
            met[at] = true;
            if last || self.told[at].outdated_by(f) {
                let old = std::mem::replace(&mut self.told[at], Told::of(f));
                change.news.push(News { finding: f.clone(), supersedes: Some(old.id) });
            }
        }
        self.waiting = waiting;
        // What was told and is found no more, although its flows are still looked at, was wrong.
        let mut at = 0;
        self.told.retain(|t| {
            let stays = met[at] || !t.flows.iter().all(|id| known(*id));
            at += 1;
            if !stays {
                change.withdrawn.push(t.id.clone());
            }
            stays
        });
        if self.told.len() > TOLD_MAX {
            self.told.drain(..self.told.len() - TOLD_MAX);
        }
        self.count += change.news.len() as u64;
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::{Kind, Target};
    use crate::model::frame::FrameNo;
    use crate::model::time::Time;

    fn finding(id: &str, grade: Grade, flows: &[u64]) -> Finding {
        Finding {
            id: id.into(),
            rule: "tcp.rst.injected",
            kind: Kind::RstInjection,
            mechanism: "on_path",
            grade,
            flows: flows.iter().map(|n| FlowId { source: 0, frame: FrameNo(*n) }).collect(),
            direction: None,
            target: Target::default(),
            started: Time::from_nanos(0),
            frames: vec![],
            rate_bps: None,
            evidence: vec![],
            innocent: vec![],
            control: vec![],
            needs: vec![],
            ooni_failure: None,
            resembles: vec![],
            throttle: None,
            deaths: Vec::new(),
        }
    }

    fn said(c: &Change) -> Vec<(&str, Option<&str>)> {
        c.news.iter().map(|n| (&*n.finding.id, n.supersedes.as_deref())).collect()
    }

    const ALL: fn(FlowId) -> bool = |_| true;

    #[test]
    fn a_finding_is_told_when_two_judgements_agree_and_then_once() {
        let mut l = Ledger::default();
        let f = [finding("a", Grade::Likely, &[1])];
        assert_eq!(said(&l.update(&f, &ALL, false)), []);
        assert_eq!(said(&l.update(&f, &ALL, false)), [("a", None)]);
        assert_eq!(said(&l.update(&f, &ALL, false)), []);
        assert_eq!(said(&l.update(&f, &ALL, true)), []);
        assert_eq!(l.standing(), 1);
    }

    #[test]
    fn a_finding_that_is_worth_more_or_less_now_supersedes_itself() {
        let mut l = Ledger::default();
        let f = [finding("a", Grade::Possible, &[1])];
        l.update(&f, &ALL, false);
        l.update(&f, &ALL, false);
        let surer = [finding("a", Grade::Confirmed, &[1])];
        assert_eq!(said(&l.update(&surer, &ALL, false)), [("a", Some("a"))]);
        assert_eq!(said(&l.update(&surer, &ALL, false)), []);
        let mut detail = surer.clone();
        detail[0].needs.push("a longer capture");
        assert_eq!(said(&l.update(&detail, &ALL, false)), [], "not worth a line while it goes on");
        assert_eq!(said(&l.update(&detail, &ALL, true)), [("a", Some("a"))]);
    }

    #[test]
    fn a_pattern_that_dissolves_is_never_told() {
        let mut l = Ledger::default();
        l.update(&[finding("a", Grade::Likely, &[1])], &ALL, false);
        assert_eq!(said(&l.update(&[], &ALL, false)), []);
        assert_eq!(said(&l.update(&[finding("a", Grade::Likely, &[1])], &ALL, false)), []);
    }

    #[test]
    fn a_revision_names_what_it_supersedes_and_small_growth_waits_for_the_end() {
        let mut l = Ledger::default();
        let f = [finding("a", Grade::Likely, &[1, 2, 3])];
        l.update(&f, &ALL, false);
        l.update(&f, &ALL, false);
        assert_eq!(said(&l.update(&[finding("b", Grade::Likely, &[1, 2, 3, 4])], &ALL, false)), []);
        assert_eq!(said(&l.update(&[finding("c", Grade::Confirmed, &[1, 2, 3, 4])], &ALL, false)), [("c", Some("a"))]);
        assert_eq!(said(&l.update(&[finding("d", Grade::Confirmed, &[1, 2, 3, 4, 5, 6])], &ALL, false)), [("d", Some("c"))]);
        assert_eq!(said(&l.update(&[finding("e", Grade::Confirmed, &[1, 2, 3, 4, 5, 6, 7])], &ALL, true)), [("e", Some("d"))]);
    }

    #[test]
    fn what_later_packets_refute_is_withdrawn_and_what_left_the_window_is_not() {
        let mut l = Ledger::default();
        let f = [finding("a", Grade::Likely, &[1])];
        l.update(&f, &ALL, false);
        l.update(&f, &ALL, false);
        let gone = |_| false;
        assert!(l.update(&[], &gone, false).withdrawn.is_empty());
        assert_eq!(l.update(&[], &ALL, false).withdrawn, ["a".into()]);
        assert_eq!(l.standing(), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut l = Ledger::default();
        let gone = |_| false;
        for round in 0..3u64 {
            let many: Vec<_> = (0..8_000u64).map(|n| finding(&format!("{round}-{n}"), Grade::Possible, &[round * 8_000 + n])).collect();
            l.update(&many, &gone, true);
        }
        assert_eq!(l.standing(), TOLD_MAX);
    }
}
