//! What a client was doing when a flow began: a call follows its signalling, a probe comes from an app that is running.

use crate::model::flow::FlowRecord;
use crate::model::frame::FrameNo;
use crate::model::label::{Label, LabelGrade};
use crate::model::time::{Span, Time};
use std::collections::HashMap;
use std::net::IpAddr;

/// Flows remembered of one client and service.
const SPELLS_MAX: usize = 4096;

/// When a client used a service.
#[derive(Clone, Copy)]
struct Spell {
    from: Time,
    to: Time,
    frame: FrameNo,
}

/// A service that a client used shortly before.
#[derive(Clone, Copy)]
pub struct Used<'a> {
    /// Service id.
    pub service: &'a str,
    /// First frame of the flow.
    pub frame: FrameNo,
    /// Since its last packet; zero if it still went on.
    pub ago: Span,
}

/// Use of some services by all clients.
#[derive(Default)]
pub struct Neighbours<'a> {
    by_client: HashMap<IpAddr, Vec<(&'a str, Vec<Spell>)>>,
}

impl<'a> Neighbours<'a> {
    /// Collects the flows with a confident label of one of the services `wanted`.
    pub fn of(flows: &[FlowRecord], labels: &[Option<Label>], wanted: &[&'a str]) -> Self {
        let mut all = Self::default();
        for (flow, label) in flows.iter().zip(labels) {
            let Some(label) = label.as_ref().filter(|l| l.grade >= LabelGrade::Confident && !l.attempt) else { continue };
            let Some(service) = wanted.iter().find(|w| ***w == *label.id) else { continue };
            let of_client = all.by_client.entry(flow.client.ip).or_default();
            let at = of_client.iter().position(|(s, _)| s == service).unwrap_or_else(|| {
                of_client.push((service, Vec::new()));
                of_client.len() - 1
            });
            let spells = &mut of_client[at].1;
            if spells.len() < SPELLS_MAX {
                spells.push(Spell { from: flow.first.ts, to: flow.last.ts, frame: flow.first.frame });
            }
        }
        all
    }

    /// What the client of `flow` used within `within` before it began, each service once, the latest use of it.
    pub fn before(&self, flow: &FlowRecord, within: Span) -> Vec<Used<'a>> {
        let now = flow.first.ts;
        let Some(services) = self.by_client.get(&flow.client.ip) else { return Vec::new() };
        let latest = |spells: &[Spell]| {
            let other = spells.iter().filter(|s| s.frame != flow.first.frame && s.from <= now);
            let ago = |s: &Spell| if s.to >= now { Span::ZERO } else { now.since(s.to) };
            other.map(|s| (ago(s), s.frame)).filter(|(ago, _)| *ago <= within).min()
        };
        services.iter().filter_map(|(service, spells)| latest(spells).map(|(ago, frame)| Used { service, frame, ago })).collect()
    }
}
