//! The compiled services.

use super::builtin;
use super::error::LoadError;
use super::grammar::{self, Entry, Mode};
use super::index::{NameIndex, NetIndex, RuleRef, overlaps};
use super::service::{Service, ServiceInfo};
use crate::model::key::Proto;
use crate::model::label::Role;
use sha2::{Digest, Sha256};
use std::path::Path;

/// Services and their rules, ready to label flows.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// By id.
    pub(super) services: Vec<Service>,
    pub(super) names: NameIndex,
    pub(super) nets: NetIndex,
    /// Every TLS rule.
    pub(super) tls: Vec<RuleRef>,
    /// Every STUN rule.
    pub(super) stun: Vec<RuleRef>,
    /// Every shape rule.
    pub(super) shapes: Vec<RuleRef>,
    /// Every rule about sizes and times.
    pub(super) patterns: Vec<RuleRef>,
    /// Every rule about other flows.
    pub(super) contexts: Vec<RuleRef>,
    /// Every rule about probes.
    pub(super) probes: Vec<RuleRef>,
    /// Rules that count only on request do count.
    pub(super) heuristics: bool,
    warnings: Vec<String>,
    /// Over the texts taken so far, in order.
    digest: Sha256,
}

impl Book {
    /// The services that come with the program.
    pub fn builtin() -> Result<Self, LoadError> {
        let mut book = Self::default();
        for (file, text) in builtin::FILES {
            book.take(file, text)?;
        }
        book.compile();
        Ok(book)
    }

    /// Adds a user's file. A service that is already there must be named with `extends = "builtin:<id>"` (rules are added)
    /// or `replace = true` (it takes the place).
    pub fn with_file(mut self, path: &Path, text: &str) -> Result<Self, LoadError> {
        self.take(&path.display().to_string(), text)?;
        self.compile();
        Ok(self)
    }

    /// Lets rules marked `opt_in` count: heuristics that are more often wrong than the others.
    #[must_use]
    pub fn with_heuristics(mut self, on: bool) -> Self {
        self.heuristics = on;
        self
    }

    /// Services whose presence says something about other flows of the same client, and for how long afterwards, s.
    pub fn contexts(&self) -> impl Iterator<Item = (&str, u16)> {
        let contexts = self.services.iter().flat_map(|s| &s.contexts).map(|c| (&*c.needs, c.within));
        let probes = self.services.iter().flat_map(|s| s.probes.iter().map(|p| (&*s.info.id, p.within)));
        contexts.chain(probes)
    }

    /// What is known of each service, by id.
    pub fn services(&self) -> impl Iterator<Item = &ServiceInfo> {
        self.services.iter().map(|s| &s.info)
    }

    /// The service that a name belongs to, with the role its rule gives, for what is known by its name alone (a DNS question). `None` if
    /// no service claims it, or several with equal right.
    pub fn named(&self, name: &str) -> Option<(&ServiceInfo, Option<Role>)> {
        let mut claims: Vec<_> = Vec::new();
        self.names.find(&self.services, name, Proto::TCP, 443, |s, rule| claims.push(((rule.precision(), rule.db), s, rule.role)));
        let most = claims.iter().map(|c| c.0).max()?;
        let mut first = claims.iter().filter(|c| c.0 == most);
        let (_, s, role) = *first.next().filter(|_| first.next().is_none())?;
        let info = &self.services.get(s)?.info;
        Some((info, role.or(info.role)))
    }

    /// What looks wrong but can be worked with: ranges that two services each claim for themselves alone.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Rules that match nothing, not even a flow made for them: shadowed by others of the same service, or contradicting themselves.
    pub fn idle_rules(&self) -> Vec<String> {
        self.untried()
    }

    /// A hash (SHA-256) of the texts of all files in it, in the order in which they were taken.
    pub fn digest(&self) -> [u8; 32] {
        self.digest.clone().finalize().into()
    }

    fn take(&mut self, file: &str, text: &str) -> Result<(), LoadError> {
        // The length keeps two files apart from one that holds the text of both.
        self.digest.update((text.len() as u64).to_le_bytes());
        self.digest.update(text);
        for entry in grammar::read(file, text)? {
            let there = self.services.iter().position(|s| s.info.id == entry.service.info.id);
            let fault = |message: String| LoadError::Key { file: file.to_owned(), line: entry.line, key: "id".to_owned(), message };
            let id = &entry.service.info.id;
            match (entry.mode, there.and_then(|i| self.services.get_mut(i))) {
                (Mode::New, Some(old)) => {
                    return Err(fault(format!(
                        "`{id}` is already described in {}: write `extends = \"builtin:{id}\"` to add to it, `replace = true` to put this in its place",
                        old.info.file
                    )));
                }
                (Mode::Extend, Some(old)) => extend(old, entry),
                (Mode::Replace, Some(old)) => *old = entry.service,
                (Mode::Extend, None) => return Err(fault(format!("there is no service `{id}` to extend"))),
                (Mode::New | Mode::Replace, None) => self.services.push(entry.service),
            }
        }
        Ok(())
    }

    fn compile(&mut self) {
        self.services.sort_by(|a, b| a.info.id.cmp(&b.info.id));
        self.names = NameIndex::build(&self.services);
        self.nets = NetIndex::build(&self.services);
        self.warnings = overlaps(&self.services, &self.nets);
        let every = |count: fn(&Service) -> usize| -> Vec<RuleRef> {
            (0usize..).zip(&self.services).flat_map(|(s, service)| (0usize..).take(count(service)).map(move |r| (s, r))).collect()
        };
        self.tls = every(|s| s.tls.len());
        self.stun = every(|s| s.stun.len());
        self.shapes = every(|s| s.shapes.len());
        self.patterns = every(|s| s.patterns.len());
        self.contexts = every(|s| s.contexts.len());
        self.probes = every(|s| s.probes.len());
    }
}

/// Adds an entry's rules, and what it says of the service, to the service.
fn extend(old: &mut Service, entry: Entry) {
    let (new, given) = (entry.service, entry.given);
    old.domains.extend(new.domains);
    old.cidrs.extend(new.cidrs);
    old.ports.extend(new.ports);
    old.protocols.extend(new.protocols);
    old.tls.extend(new.tls);
    old.stun.extend(new.stun);
    old.shapes.extend(new.shapes);
    old.patterns.extend(new.patterns);
    old.contexts.extend(new.contexts);
    old.probes.extend(new.probes);
    if given.title {
        old.info.title = new.info.title;
    }
    if given.category {
        old.info.category = new.info.category;
    }
    if given.updated {
        old.info.updated = new.info.updated;
    }
    if given.circumvention {
        old.info.circumvention = new.info.circumvention;
    }
    if given.hosted {
        old.hosted = new.hosted;
    }
    old.info.parent = new.info.parent.or_else(|| old.info.parent.take());
    old.info.role = new.info.role.or(old.info.role);
    old.info.notes = new.info.notes.or_else(|| old.info.notes.take());
    old.info.file = format!("{} + {}", old.info.file, new.info.file).into();
    old.info.rules = old.count_rules();
}
