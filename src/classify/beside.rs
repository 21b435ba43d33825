//! What sizes, times and other flows of the same client say of a flow.

use super::book::Book;
use super::pattern;
use super::weigh::{Beside, COMPANION, Companion, MISISSUED, Match, Matches, Near, Told, sides_uncertain};
use crate::model::flow::FlowRecord;
use crate::model::label::{EvidenceClass, Role};
use crate::model::note::Fact;
use crate::model::side::Side;
use crate::model::time::Span;

/// A flow with more answer than this is used, not probed, bytes.
const PROBE_MAX: u64 = 16 * 1024;

impl Book {
    /// Rules about sizes and times. Of one family the heaviest of each service counts; different families add up.
    pub(super) fn patterns<'a>(&'a self, flow: &FlowRecord, found: &mut Matches<'a>) {
        // Every one of them is about payload.
        if flow.payload(Side::Client) == 0 && flow.payload(Side::Server) == 0 {
            return;
        }
        let bursts = pattern::Bursts::default();
        for (service, r) in &self.patterns {
            let Some(rule) = self.services.get(*service).and_then(|s| s.patterns.get(*r)) else { continue };
            let (here, there) = (rule.scope.allows(flow.proto, flow.server.port), rule.scope.allows(flow.proto, flow.client.port));
            let port_fits = if rule.both_ports { here && there } else { here || (sides_uncertain(flow) && there) };
            if !port_fits
                || rule.opt_in && !self.heuristics
                || rule.home && !found.iter().any(|m| m.service == *service && m.class == EvidenceClass::Ip)
            {
                continue;
            }
            let family = |told: &Told<'_>| matches!(told, Told::Pattern(p) if std::mem::discriminant(&p.pattern) == std::mem::discriminant(&rule.pattern));
            let same = found.iter().position(|m| m.service == *service && family(&m.told));
            if same.and_then(|i| found.get(i)).is_some_and(|m| m.db >= rule.db) {
                continue;
            }
            let Some(frame) = pattern::find(&rule.pattern, flow, &bursts) else { continue };
            let new = Match {
                service: *service,
                class: EvidenceClass::Pattern,
                db: rule.db,
                narrow: 0,
                role: rule.role,
                frame,
                told: Told::Pattern(rule),
            };
            match same.and_then(|i| found.get_mut(i)) {
                Some(old) => *old = new,
                None => found.push(new),
            }
        }
    }

    pub(super) fn companion<'a>(&'a self, companion: Option<Companion<'a>>, found: &mut Matches<'a>) {
        let Some(c) = companion else { return };
        if let Ok(service) = self.services.binary_search_by(|s| (*s.info.id).cmp(c.service)) {
            let told = Told::Companion(c);
            found.push(Match {
                service,
                class: EvidenceClass::Context,
                db: COMPANION,
                narrow: 0,
                role: Some(Role::Call),
                frame: c.frame,
                told,
            });
        }
    }

    /// Company supports what something else speaks for, and takes the weight from a name that an app only probes.
    pub(super) fn near<'a>(&'a self, flow: &'a FlowRecord, near: &[Near<'a>], found: &mut Matches<'a>) {
        if near.is_empty() {
            return;
        }
        let within = |id: &str, s: u16| near.iter().find(|n| n.service == id && n.ago <= Span::from_secs(i64::from(s)));
        for (service, r) in &self.contexts {
            let Some(rule) = self.services.get(*service).and_then(|s| s.contexts.get(*r)) else { continue };
            if !rule.scope.allows(flow.proto, flow.server.port) || !found.iter().any(|m| m.service == *service && m.db > 0) {
                continue;
            }
            if let Some(n) = within(&rule.needs, rule.within) {
                let new = Match {
                    service: *service,
                    class: EvidenceClass::Context,
                    db: rule.db,
                    narrow: 0,
                    role: rule.role,
                    frame: n.frame,
                    told: Told::Context(*n),
                };
                // One fact, though two rules know it: the heavier counts.
                match found.iter_mut().find(|m| m.service == *service && matches!(m.told, Told::Context(x) if x.service == n.service)) {
                    Some(old) if old.db < new.db => *old = new,
                    Some(_) => {}
                    None => found.push(new),
                }
            }
        }
        let Some(name) = flow.asked_name().filter(|_| flow.payload(Side::Server) <= PROBE_MAX) else { return };
        for (prober, r) in &self.probes {
            let Some((by, rule)) = self.services.get(*prober).and_then(|s| Some((&*s.info.id, s.probes.get(*r)?))) else { continue };
            if !rule.names.iter().any(|n| **n == *name) || within(by, rule.within).is_none() {
                continue;
            }
            // A second kind of evidence, and it is more than a touch.
            let touched: Vec<usize> =
                found.iter().filter(|m| m.service != *prober && m.class == EvidenceClass::Name && m.db > 0).map(|m| m.service).collect();
            for service in touched {
                let told = Told::Probe(name, by);
                found.push(Match {
                    service,
                    class: EvidenceClass::Contradiction,
                    db: rule.db,
                    narrow: 0,
                    role: None,
                    frame: flow.first.frame,
                    told,
                });
            }
        }
    }

    /// A certificate that does not cover the name that was asked for.
    pub(super) fn misissued<'a>(&'a self, flow: &'a FlowRecord, own: &str, found: &mut Matches<'a>) {
        let shown = flow.notes.list.iter().find_map(|n| match &n.fact {
            Fact::Certificate(c) => Some((n.frame, &c.names)),
            _ => None,
        });
        let Some((frame, names)) = shown else { return };
        let covers = |n: &str| match n.strip_prefix("*.") {
            Some(rest) => own.split_once('.').is_some_and(|(_, up)| up.eq_ignore_ascii_case(rest)) || own.eq_ignore_ascii_case(rest),
            None => own.eq_ignore_ascii_case(n),
        };
        // Without a name, or with more names than are kept, nothing is known.
        if names.is_empty() || names.len() >= 32 || names.iter().any(|n| covers(n)) {
            return;
        }
        let Some(first) = names.first() else { return };
        let meant: Vec<usize> = found
            .iter()
            .filter(|m| m.class == EvidenceClass::Name && matches!(m.told, Told::Name("SNI", ..)))
            // Another name of the same owner is no contradiction.
            .filter(|m| {
                let mut kin = false;
                for n in names {
                    self.names.find(&self.services, n.strip_prefix("*.").unwrap_or(n), flow.proto, flow.server.port, |s, _| {
                        kin |= s == m.service
                    });
                }
                !kin
            })
            .map(|m| m.service)
            .collect();
        for service in meant {
            let told = Told::Issued(first);
            found.push(Match { service, class: EvidenceClass::Contradiction, db: MISISSUED, narrow: 0, role: None, frame, told });
        }
    }
}

impl<'a> Beside<'a> {
    /// Nothing is said.
    pub const fn is_empty(&self) -> bool {
        self.companion.is_none() && self.near.is_empty()
    }
}
