//! Findings of one cause over many flows are one finding, with its flows and counts.

use crate::model::finding::{Direction, Evidence, Finding, Grade, Target};
use crate::model::flow::FlowId;
use crate::model::frame::FrameNo;
use hashbrown::{HashMap, HashSet};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::net::IpAddr;

/// Most evidence frames one finding names; the flows are all listed.
const FRAMES_MAX: usize = 64;
/// Most deaths one finding names.
const DEATHS_MAX: usize = 256;

/// Addresses beyond which findings alike in all but the address are one: whatever does the same to more of them than this has one cause, and
/// a list of a hundred thousand lines helps nobody.
const CROWD: usize = 256;

/// Rule, mechanism, grade, direction and target.
type Key = (&'static str, &'static str, Grade, Option<Direction>, String);
/// The same for targets that are an address and nothing more: with the service instead.
type CrowdKey = (&'static str, &'static str, Grade, Option<Direction>, Option<Box<str>>);

/// Findings that differ in the address only.
#[derive(Default)]
struct Crowd {
    /// Where each address' finding stands, in the order they came; only the first once there are more than [`CROWD`].
    members: Vec<usize>,
    /// The addresses, once there are more than [`CROWD`].
    addresses: Option<HashSet<IpAddr>>,
}

/// Findings laid together as they come. Parts of a capture can be gathered apart and then joined in order: the result is the same.
#[derive(Default)]
pub struct Causes {
    /// In the order they came; `None` where one went into a crowd.
    list: Vec<Option<Finding>>,
    at: HashMap<Key, usize>,
    crowds: HashMap<CrowdKey, Crowd>,
}

impl Causes {
    /// Takes a finding in.
    pub fn add(&mut self, f: Finding) {
        let Some(address) = only_address(&f.target) else {
            self.place(f);
            return;
        };
        let key = crowd_key(&f);
        if let Some(crowd) = self.crowds.get_mut(&key)
            && let Some(addresses) = &mut crowd.addresses
        {
            addresses.insert(address);
            if let Some(Some(into)) = crowd.members.first().and_then(|i| self.list.get_mut(*i)) {
                join(into, f);
            }
            return;
        }
        if let Some(i) = self.place(f) {
            let crowd = self.crowds.entry(key.clone()).or_default();
            crowd.members.push(i);
            if crowd.members.len() > CROWD {
                self.close_ranks(&key);
            }
        }
    }

    /// Takes in what was gathered from a later part of the capture.
    pub fn join(&mut self, later: Self) {
        for (key, crowd) in later.crowds.iter().filter(|(_, c)| c.addresses.is_some()) {
            self.crowds.entry(key.clone()).or_default();
            self.close_ranks(key);
            if let (Some(mine), Some(theirs)) = (self.crowds.get_mut(key).and_then(|c| c.addresses.as_mut()), &crowd.addresses) {
                mine.extend(theirs);
            }
        }
        for f in later.list.into_iter().flatten() {
            // A crowd's finding has lost its address: it is known by what is left.
            let key = crowd_key(&f);
            if named(&f.target) || f.target.ip.is_some() || !self.crowds.contains_key(&key) {
                self.add(f);
                continue;
            }
            match self.crowds.get(&key).and_then(|c| c.members.first().copied()) {
                Some(i) => {
                    if let Some(Some(into)) = self.list.get_mut(i) {
                        join(into, f);
                    }
                }
                None => {
                    let i = self.list.len();
                    self.list.push(Some(f));
                    if let Some(crowd) = self.crowds.get_mut(&key) {
                        crowd.members.push(i);
                    }
                }
            }
        }
    }

    /// The findings, ordered by start, each with its id.
    pub fn finish(mut self) -> Vec<Finding> {
        for crowd in self.crowds.values() {
            if let (Some(addresses), Some(Some(f))) = (&crowd.addresses, crowd.members.first().and_then(|i| self.list.get_mut(*i))) {
                f.evidence.push(Evidence {
                    says: "the same was seen at many addresses, and is told once".to_owned(),
                    value: format!("{} addresses", addresses.len()),
                    expected: "-".to_owned(),
                    frames: Vec::new(),
                });
            }
        }
        let mut order: Vec<Finding> = self.list.into_iter().flatten().collect();
        for f in &mut order {
            f.flows.sort_unstable();
            f.flows.dedup();
            f.frames.sort_unstable();
            f.frames.dedup();
            f.frames.truncate(FRAMES_MAX);
            f.deaths.sort_unstable();
            f.deaths.dedup_by_key(|d| d.flow);
            f.deaths.truncate(DEATHS_MAX);
            f.id = id_of(f);
        }
        order.sort_by(|a, b| (a.started, a.rule, &a.flows, b.grade).cmp(&(b.started, b.rule, &b.flows, a.grade)));
        order
    }

    /// Lays a finding to those of the same key. Gives its place if it is the first.
    fn place(&mut self, f: Finding) -> Option<usize> {
        let key = (f.rule, f.mechanism, f.grade, f.direction, target_key(&f.target));
        if let Some(Some(into)) = self.at.get(&key).and_then(|i| self.list.get_mut(*i)) {
            join(into, f);
            return None;
        }
        let i = self.list.len();
        self.at.insert(key, i);
        self.list.push(Some(f));
        Some(i)
    }

    /// From now on the crowd has one finding, that of its first member.
    fn close_ranks(&mut self, key: &CrowdKey) {
        let Some(crowd) = self.crowds.get_mut(key).filter(|c| c.addresses.is_none()) else { return };
        let members = std::mem::take(&mut crowd.members);
        let mut addresses = HashSet::new();
        let mut whole: Option<(usize, Finding)> = None;
        for i in members {
            let Some(f) = self.list.get_mut(i).and_then(Option::take) else { continue };
            addresses.extend(f.target.ip);
            match &mut whole {
                Some((_, into)) => join(into, f),
                None => whole = Some((i, f)),
            }
        }
        if let Some((i, mut f)) = whole {
            f.target.ip = None;
            crowd.members.push(i);
            if let Some(place) = self.list.get_mut(i) {
                *place = Some(f);
            }
        }
        crowd.addresses = Some(addresses);
    }
}

/// Lays together findings with the same rule, mechanism, grade, direction and target; orders them by start, and gives each its id.
pub fn merge(found: Vec<Finding>) -> Vec<Finding> {
    let mut causes = Causes::default();
    found.into_iter().for_each(|f| causes.add(f));
    causes.finish()
}

fn named(t: &Target) -> bool {
    t.sni.is_some() || t.host.is_some() || t.qname.is_some()
}

/// The address of a target that is nothing more.
fn only_address(t: &Target) -> Option<IpAddr> {
    t.ip.filter(|_| !named(t))
}

fn crowd_key(f: &Finding) -> CrowdKey {
    (f.rule, f.mechanism, f.grade, f.direction, f.target.service.clone())
}

fn join(into: &mut Finding, f: Finding) {
    into.started = into.started.min(f.started);
    into.flows.extend(f.flows);
    into.frames.extend(f.frames);
    into.deaths.extend(f.deaths);
    if into.target.ip != f.target.ip {
        into.target.ip = None;
    }
    for r in f.resembles {
        if !into.resembles.contains(&r) {
            into.resembles.push(r);
        }
    }
    for c in f.control {
        match into.control.iter_mut().find(|x| x.kind == c.kind) {
            // The numbers are those of one comparison; each of the flows may have been compared with flows of its own.
            Some(x) => {
                if c.n > x.n {
                    (x.n, x.ok) = (c.n, c.ok);
                }
                c.flows.into_iter().for_each(|id| x.name(id));
            }
            None => into.control.push(c),
        }
    }
}

/// One cause: the name if there is one, else the address.
fn target_key(t: &Target) -> String {
    let mut key = String::new();
    let _ = write!(key, "{:?}|{:?}|{:?}|{:?}", t.service, t.sni, t.host, t.qname);
    if !named(t) {
        let _ = write!(key, "|{:?}", t.ip);
    }
    key
}

/// A content hash: rule, mechanism, target, and what was seen when. The same capture gives the same id on any machine.
fn id_of(f: &Finding) -> Box<str> {
    let mut text = String::new();
    let _ = write!(text, "{}|{}|{}|{:?}|{}|", f.rule, f.mechanism, target_key(&f.target), f.direction, f.started.nanos());
    for FlowId { source: _, frame: FrameNo(n) } in &f.flows {
        let _ = write!(text, "{n},");
    }
    text.push('|');
    for FrameNo(n) in &f.frames {
        let _ = write!(text, "{n},");
    }
    let mut id = String::from("f_");
    for byte in Sha256::digest(text.as_bytes()).iter().take(8) {
        let _ = write!(id, "{byte:02x}");
    }
    id.into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::Kind;
    use crate::model::time::Time;

    fn finding(n: u32, address: u32) -> Finding {
        Finding {
            id: "".into(),
            rule: "tcp.rst.on_syn",
            kind: Kind::RstInjection,
            mechanism: "on_syn",
            grade: Grade::Possible,
            flows: vec![FlowId { source: 0, frame: FrameNo(u64::from(n)) }],
            direction: None,
            target: Target { ip: Some(IpAddr::V4(address.into())), ..Target::default() },
            started: Time::from_nanos(i64::from(n)),
            frames: vec![FrameNo(u64::from(n))],
            rate_bps: None,
            throttle: None,
            deaths: Vec::new(),
            evidence: Vec::new(),
            innocent: Vec::new(),
            control: Vec::new(),
            needs: Vec::new(),
            ooni_failure: None,
            resembles: Vec::new(),
        }
    }

    #[test]
    fn a_crowd_of_addresses_is_one_finding_and_a_group_is_not() {
        let few = merge((0..CROWD as u32 * 2).map(|n| finding(n, n % CROWD as u32)).collect());
        assert_eq!(few.len(), CROWD);
        assert!(few.iter().all(|f| f.flows.len() == 2 && f.target.ip.is_some() && f.evidence.is_empty()));
        let many = merge((0..CROWD as u32 * 2).map(|n| finding(n, n % (CROWD as u32 + 1))).collect());
        assert_eq!(many.len(), 1);
        assert_eq!((many[0].flows.len(), many[0].target.ip, &*many[0].evidence[0].value), (CROWD * 2, None, "257 addresses"));
    }

    #[test]
    fn parts_joined_are_the_whole() {
        for (n, addresses) in [(1_000u32, 1_000u32), (1_000, 256), (1_000, 257), (300, 300), (2_000, 700)] {
            let all: Vec<Finding> = (0..n).map(|n| finding(n, n % addresses)).collect();
            let whole = merge(all.clone());
            for size in [1, 7, 299, 600, 5_000] {
                let mut causes = Causes::default();
                for part in all.chunks(size) {
                    let mut piece = Causes::default();
                    part.iter().for_each(|f| piece.add(f.clone()));
                    causes.join(piece);
                }
                assert_eq!(causes.finish(), whole, "{n} findings, {addresses} addresses, parts of {size}");
            }
        }
    }
}
