//! Lookup of names and addresses among the rules of all services.

use super::service::{CidrRule, DomainRule, Ownership, Service};
use crate::model::key::Proto;
use hashbrown::HashMap;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use smallvec::SmallVec;
use std::net::IpAddr;

/// A rule: index of its service, index among the service's rules of its kind.
pub(super) type RuleRef = (usize, usize);

/// Names by suffix. One hash lookup for each label of a name.
#[derive(Clone, Debug, Default)]
pub(super) struct NameIndex {
    map: HashMap<Box<str>, SmallVec<[RuleRef; 2]>>,
}

impl NameIndex {
    pub fn build(services: &[Service]) -> Self {
        let mut map: HashMap<Box<str>, SmallVec<[RuleRef; 2]>> = HashMap::new();
        for (s, service) in (0usize..).zip(services) {
            for (r, rule) in (0usize..).zip(&service.domains) {
                map.entry(rule.name.clone()).or_default().push((s, r));
            }
        }
        for refs in map.values_mut() {
            // The most precise rule of a service must be met first; of equals, the heavier one.
            refs.sort_by_key(|(s, r)| {
                let rule = services.get(*s).and_then(|x| x.domains.get(*r));
                (*s, rule.map(|d| std::cmp::Reverse((d.precision(), d.scope.narrowness(), d.db))), *r)
            });
        }
        Self { map }
    }

    /// Calls `found` with the most precise rule of each service that covers `name`: exact before first label before suffix, longer before shorter.
    pub fn find<'b>(&self, services: &'b [Service], name: &str, proto: Proto, port: u16, mut found: impl FnMut(usize, &'b DomainRule)) {
        let mut met: SmallVec<[usize; 4]> = SmallVec::new();
        let mut rest = name;
        loop {
            for (s, r) in self.map.get(rest).into_iter().flatten() {
                let Some(rule) = services.get(*s).and_then(|x| x.domains.get(*r)) else { continue };
                if !met.contains(s) && rule.covers(name) && rule.scope.allows(proto, port) {
                    met.push(*s);
                    found(*s, rule);
                }
            }
            match rest.split_once('.') {
                Some((_, up)) => rest = up,
                None => return,
            }
        }
    }
}

/// Address ranges.
#[derive(Clone, Debug, Default)]
pub(super) struct NetIndex {
    v4: PrefixMap<Ipv4Net, SmallVec<[RuleRef; 2]>>,
    v6: PrefixMap<Ipv6Net, SmallVec<[RuleRef; 2]>>,
}

impl NetIndex {
    pub fn build(services: &[Service]) -> Self {
        let mut index = Self::default();
        for (s, service) in (0usize..).zip(services) {
            for (r, rule) in (0usize..).zip(&service.cidrs) {
                match rule.net {
                    IpNet::V4(net) => match index.v4.get_mut(&net) {
                        Some(refs) => refs.push((s, r)),
                        None => _ = index.v4.insert(net, smallvec::smallvec![(s, r)]),
                    },
                    IpNet::V6(net) => match index.v6.get_mut(&net) {
                        Some(refs) => refs.push((s, r)),
                        None => _ = index.v6.insert(net, smallvec::smallvec![(s, r)]),
                    },
                }
            }
        }
        index
    }

    /// Calls `found` with every rule whose net contains `ip`, widest net first.
    pub fn find<'b>(&self, services: &'b [Service], ip: IpAddr, mut found: impl FnMut(usize, &'b CidrRule)) {
        let mut each = |refs: &[RuleRef]| {
            for (s, r) in refs {
                if let Some(rule) = services.get(*s).and_then(|x| x.cidrs.get(*r)) {
                    found(*s, rule);
                }
            }
        };
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.v4.cover_values(&ip.into()).for_each(|refs| each(refs)),
            IpAddr::V6(ip) => self.v6.cover_values(&ip.into()).for_each(|refs| each(refs)),
        }
    }
}

/// Ranges that two services each claim for themselves alone: one of the files must be wrong.
pub(super) fn overlaps(services: &[Service], nets: &NetIndex) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for (s, service) in (0usize..).zip(services) {
        for rule in service.cidrs.iter().filter(|r| r.owner == Ownership::Exclusive) {
            nets.find(services, rule.net.network(), |t, wider| {
                let octets = match (rule.last_octet, wider.last_octet) {
                    (Some(a), Some(b)) => a.meets(b),
                    _ => true,
                };
                // Of two equal nets only one order is told.
                let told = wider.net.prefix_len() < rule.net.prefix_len() || (wider.net == rule.net && t < s);
                if t != s && told && wider.owner == Ownership::Exclusive && octets && wider.scope.meets(&rule.scope) {
                    let other = services.get(t).map_or("", |x| &*x.info.id);
                    let told = format!("{} claims {} for itself alone, but {other} claims {}", service.info.id, rule.net, wider.net);
                    // The other may claim it more than once, for other ports or roles.
                    if !out.contains(&told) {
                        out.push(told);
                    }
                }
            });
        }
    }
    out
}
