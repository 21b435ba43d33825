//! What the DNS detectors share: queries and answers paired, answers compared, addresses and names sorted.

use crate::model::flow::{Brief, Closed, FlowRecord};
use crate::model::frame::FrameNo;
use crate::model::note::DnsMessage;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::time::{Span, Time};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The same question under the same id after this long is a new one.
const SAME_QUESTION: Span = Span::from_secs(30);
/// Flows of one resolver looked at on either side of the one that is judged.
const AROUND_RESOLVER: usize = 64;
/// Flows of one client looked at on either side, for what other resolvers say.
const AROUND_CLIENT: usize = 256;
/// How far away in time a resolver's answers still tell its habits.
const HABIT: Span = Span::from_secs(600);

pub(super) const A: u16 = 1;
pub(super) const AAAA: u16 = 28;
const HTTPS: u16 = 65;
const TRUNCATED: u16 = 0x0200;
const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;
const REFUSED: u16 = 5;

/// One message of a flow with the packet that carried it.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub frame: FrameNo,
    pub ts: Time,
    pub message: &'a DnsMessage,
    /// Headers; absent in the middle of a long flow.
    pub packet: Option<&'a Brief>,
}

/// What an answer amounts to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sense {
    /// It gives addresses.
    Addresses,
    /// No such name, or refused.
    Denied,
    /// The resolver failed.
    Failed,
    /// No error, and no address.
    Empty,
    /// Cut short, or nothing that could be compared.
    Unclear,
}

impl Said<'_> {
    pub fn sense(&self) -> Sense {
        let m = self.message;
        match m.rcode {
            _ if m.flags & TRUNCATED != 0 => Sense::Unclear,
            NXDOMAIN | REFUSED => Sense::Denied,
            SERVFAIL => Sense::Failed,
            0 if !m.addresses.is_empty() => Sense::Addresses,
            0 if m.answers == 0 => Sense::Empty,
            _ => Sense::Unclear,
        }
    }

    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.message.addresses.iter().map(|a| a.0)
    }

    /// The first address that no public name has, with what it is.
    pub fn odd_address(&self) -> Option<(IpAddr, Place)> {
        self.addresses().map(|ip| (ip, place(ip))).find(|(_, p)| *p != Place::Public)
    }

    pub fn ttl(&self) -> Option<u8> {
        self.packet.map(|p| p.ttl)
    }

    /// Neither the same nor overlapping: no two views of one set of servers.
    pub fn contradicts(&self, other: &Self) -> bool {
        match (self.sense(), other.sense()) {
            (Sense::Addresses, Sense::Addresses) => !self.addresses().any(|a| other.addresses().any(|b| a == b)),
            (Sense::Addresses, Sense::Denied | Sense::Failed | Sense::Empty) => true,
            (Sense::Denied | Sense::Failed | Sense::Empty, Sense::Addresses) => true,
            _ => false,
        }
    }

    /// Addresses of both lie in one neighbourhood: one operator's servers, given out in turn.
    pub fn near(&self, other: &Self) -> bool {
        self.addresses().any(|a| other.addresses().any(|b| neighbours(a, b)))
    }

    /// In words.
    pub fn tells(&self) -> String {
        let m = self.message;
        match self.sense() {
            Sense::Addresses => {
                let some: Vec<String> = self.addresses().take(3).map(|a| a.to_string()).collect();
                some.join(", ")
            }
            Sense::Denied if m.rcode == REFUSED => "REFUSED".into(),
            Sense::Denied => "NXDOMAIN".into(),
            Sense::Failed => "SERVFAIL".into(),
            Sense::Empty => "no address".into(),
            Sense::Unclear => format!("code {}", m.rcode),
        }
    }
}

/// One question to one resolver with all its repetitions and answers.
pub(super) struct Exchange<'a> {
    pub flow: &'a FlowRecord,
    pub name: &'a str,
    pub kind: u16,
    id: u16,
    /// Queries, capture copies left out.
    pub queries: Vec<Said<'a>>,
    /// All answers that came after a query.
    pub answers: Vec<Said<'a>>,
}

impl<'a> Exchange<'a> {
    /// Time from the query to the first answer, where only one query can have caused it.
    pub fn delay(&self) -> Option<Span> {
        let a = self.answers.first()?;
        let mut before = self.queries.iter().filter(|q| q.frame < a.frame);
        let q = before.next()?;
        before.next().is_none().then(|| a.ts.since(q.ts))
    }

    /// The answer, if all that came say the same.
    pub fn only_answer(&self) -> Option<&Said<'a>> {
        let first = self.answers.first()?;
        self.answers.iter().all(|a| !a.contradicts(first)).then_some(first)
    }

    /// Two answers that contradict each other, more than there were queries to cause them.
    pub fn contradiction(&self) -> Option<(Said<'a>, Said<'a>)> {
        let mut different: Vec<Said<'a>> = Vec::new();
        let mut more = false;
        for a in &self.answers {
            if a.sense() == Sense::Unclear {
                return None;
            }
            if different.iter().all(|d| a.contradicts(d)) {
                different.push(*a);
                more |= different.len() > self.queries.iter().filter(|q| q.frame < a.frame).count();
            }
        }
        let [first, .., last] = *different.as_slice() else { return None };
        more.then_some((first, last))
    }

    pub fn asks_for_address(&self) -> bool {
        matches!(self.kind, A | AAAA | HTTPS)
    }
}

/// All exchanges of a flow, in the order of their first query. Nothing for multicast, where many may answer.
pub(super) fn exchanges(flow: &FlowRecord) -> Vec<Exchange<'_>> {
    let mut out: Vec<Exchange<'_>> = Vec::new();
    if !is_lookup(flow) {
        return out;
    }
    for (note, message) in flow.notes.dns() {
        let said = Said { frame: note.frame, ts: note.ts, message, packet: flow.ladder.iter().find(|p| p.frame == note.frame) };
        let open = out.iter_mut().rev().find(|x| x.id == message.id && x.kind == message.qtype && x.name == &*message.qname);
        match (note.side, message.response, open) {
            (Side::Client, false, Some(x)) if x.last_ts().is_some_and(|t| said.ts.since(t) < SAME_QUESTION) => {
                let copy = x.queries.last().is_some_and(|q| is_copy(q, &said));
                x.queries.extend((!copy).then_some(said));
            }
            (Side::Client, false, _) => out.push(Exchange {
                flow,
                name: &message.qname,
                kind: message.qtype,
                id: message.id,
                queries: vec![said],
                answers: Vec::new(),
            }),
            (Side::Server, true, Some(x)) => x.answers.push(said),
            _ => {}
        }
    }
    out
}

impl Exchange<'_> {
    fn last_ts(&self) -> Option<Time> {
        self.queries.last().into_iter().chain(self.answers.last()).map(|s| s.ts).max()
    }
}

/// A conversation with one resolver, in datagrams or over TCP.
pub(super) fn is_lookup(flow: &FlowRecord) -> bool {
    let many = match flow.server.ip {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_multicast(),
    };
    flow.app == Some("dns") && !many
}

/// A packet that the capture recorded twice.
fn is_copy(a: &Said<'_>, b: &Said<'_>) -> bool {
    let apart = b.ts.since(a.ts);
    match (a.packet.and_then(|p| p.ip_id), b.packet.and_then(|p| p.ip_id)) {
        (Some(x), Some(y)) => x == y && apart < Span::from_millis(20),
        _ => apart < Span::from_millis(1),
    }
}

/// What the resolver of this flow told this client around the same time, this flow included, in capture order.
/// Another client, or this host by another interface, may reach the resolver another way.
pub(super) fn of_resolver<'a>(scene: &Scene<'a>) -> Vec<Exchange<'a>> {
    let at = scene.kin.of_server(scene.flow.server.ip);
    let flow = scene.flow;
    around(scene, at, AROUND_RESOLVER).filter(|f| f.server.port == flow.server.port && near_in_time(f, flow)).flat_map(exchanges).collect()
}

/// What other public resolvers told this client about a name: exchanges with public addresses.
pub(super) fn told_elsewhere<'a>(scene: &Scene<'a>, name: &str, kind: u16) -> Vec<Exchange<'a>> {
    let at = scene.kin.of_client(scene.flow.client.ip);
    let here = scene.flow.server.ip;
    around(scene, at, AROUND_CLIENT)
        .filter(|f| f.server.ip != here && is_lookup(f) && !is_private(f.server.ip))
        .flat_map(exchanges)
        .filter(|x| x.name == name && x.kind == kind)
        .filter(|x| x.only_answer().is_some_and(|a| a.sense() == Sense::Addresses && a.odd_address().is_none()))
        .collect()
}

/// The flows listed before and after this one.
pub(super) fn around<'a>(scene: &Scene<'a>, at: &'a [u32], n: usize) -> impl Iterator<Item = &'a FlowRecord> + use<'a> {
    let flows = scene.kin.flows;
    let id = scene.flow.id;
    let here = at.partition_point(|&i| flows.get(i as usize).is_some_and(|f| f.id < id));
    let window = at.get(here.saturating_sub(n)..here.saturating_add(n).min(at.len())).unwrap_or(&[]);
    window.iter().filter_map(move |&i| flows.get(i as usize))
}

fn near_in_time(a: &FlowRecord, b: &FlowRecord) -> bool {
    a.first.ts <= b.last.ts.plus(HABIT) && b.first.ts <= a.last.ts.plus(HABIT)
}

/// Until when an answer in this flow would have been noted.
pub(super) fn watched_until(flow: &FlowRecord, end: Time) -> Time {
    let noted = flow.notes.dns().count() as u64;
    let packets = flow.totals.client.packets + flow.totals.server.packets;
    if packets > noted || matches!(flow.closed, Closed::Evicted | Closed::Internal) {
        // What came after the last note may have been the answer.
        return flow.notes.list.last().map_or(flow.first.ts, |n| n.ts);
    }
    end
}

/// What kind of place an address is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Public,
    /// Reported as the answer that a national filter gives.
    BlockAddress,
    /// Private, loopback, reserved: no public name is served there.
    Unroutable,
}

/// The addresses of Iran's filtering answers (IRBlock, USENIX Security 2025; UPB ECH study, FOCI 2025).
const BLOCK_ADDRESSES: [Ipv4Addr; 3] = [Ipv4Addr::new(10, 10, 34, 34), Ipv4Addr::new(10, 10, 34, 35), Ipv4Addr::new(10, 10, 34, 36)];

pub(super) fn place(ip: IpAddr) -> Place {
    match ip {
        IpAddr::V4(v4) if BLOCK_ADDRESSES.contains(&v4) => Place::BlockAddress,
        // 127.0.0.2 and up are verdicts of mail blocklists.
        IpAddr::V4(v4) if v4.is_loopback() && v4 != Ipv4Addr::LOCALHOST => Place::Public,
        IpAddr::V4(v4) if is_reserved(v4) => Place::Unroutable,
        IpAddr::V6(v6) if is_reserved6(v6) => Place::Unroutable,
        _ => Place::Public,
    }
}

/// IANA special-purpose registry (RFC 6890), without what is globally reachable.
fn is_reserved(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    a == 0
        || a == 127
        || a >= 224
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_documentation()
        || (a == 100 && b & 0xc0 == 64)
        || (a == 198 && b & 0xfe == 18)
        || (a == 192 && b == 0 && c == 0)
}

fn is_reserved6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    if let Some(v4) = ip.to_ipv4_mapped() {
        return is_reserved(v4);
    }
    // ::/16 with its old mappings (64:ff9b::/96 is not in it), unique local, link-local, multicast, documentation, Teredo:
    // a Teredo address is a client behind NAT, never a service.
    a == 0 || a & 0xfe00 == 0xfc00 || a & 0xffc0 == 0xfe80 || a >= 0xff00 || (a == 0x2001 && (b == 0x0db8 || b == 0))
}

/// An address of a private network or of this host: the resolver is a router, a filter of one's own, or an office's.
pub(super) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => {
            let [a, ..] = v6.segments();
            v6.is_loopback() || a & 0xfe00 == 0xfc00 || a & 0xffc0 == 0xfe80
        }
    }
}

/// Public resolvers that say openly that they answer wrongly for some names: by design, so their word proves nothing.
const FILTERING: [&str; 22] = [
    // Quad9
    "9.9.9.9",
    "149.112.112.112",
    "2620:fe::fe",
    "2620:fe::9",
    // Cloudflare for Families
    "1.1.1.2",
    "1.0.0.2",
    "1.1.1.3",
    "1.0.0.3",
    // AdGuard
    "94.140.14.14",
    "94.140.15.15",
    "94.140.14.15",
    "94.140.15.16",
    // OpenDNS, FamilyShield
    "208.67.222.222",
    "208.67.220.220",
    "208.67.222.123",
    "208.67.220.123",
    // CleanBrowsing
    "185.228.168.168",
    "185.228.169.168",
    "185.228.168.9",
    "185.228.169.9",
    // Yandex Safe
    "77.88.8.88",
    "77.88.8.2",
];

pub(super) fn filters_by_design(resolver: IpAddr) -> bool {
    FILTERING.iter().any(|r| r.parse::<IpAddr>().is_ok_and(|ip| ip == resolver))
        // NextDNS and ControlD give each customer addresses of their own.
        || matches!(resolver, IpAddr::V4(v4) if matches!(v4.octets(), [45, 90, 28 | 30, _] | [76, 76, 2 | 10, _]))
}

/// A name of the public tree that means the same everywhere.
pub(super) fn is_public_name(name: &str) -> bool {
    const LOCAL: [&str; 20] = [
        "alt",
        "arpa",
        "box",
        "corp",
        "dhcp",
        "domain",
        "example",
        "gateway",
        "home",
        "internal",
        "intranet",
        "invalid",
        "lan",
        "local",
        "localdomain",
        "localhost",
        "onion",
        "private",
        "router",
        "test",
    ];
    // Denying these is how a network asks browsers and phones to use its own resolver.
    const CANARIES: [&str; 4] = ["use-application-dns.net", "mask.icloud.com", "mask-h2.icloud.com", "mask-canary.icloud.com"];
    let Some((front, top)) = name.rsplit_once('.') else { return false };
    !front.is_empty() && !top.is_empty() && !LOCAL.contains(&top) && !CANARIES.contains(&name)
}

/// The part of a name that somebody registered, roughly: two labels, three below common second levels.
pub(super) fn family(name: &str) -> &str {
    const SECOND: [&str; 7] = ["ac", "co", "com", "edu", "gov", "net", "org"];
    let mut dots = name.rmatch_indices('.').map(|(i, _)| i);
    let (Some(last), Some(second)) = (dots.next(), dots.next()) else { return name };
    let label = name.get(second.saturating_add(1)..last).unwrap_or("");
    let top = name.len().saturating_sub(last.saturating_add(1));
    let cut = if top == 2 && SECOND.contains(&label) { dots.next() } else { Some(second) };
    cut.and_then(|i| name.get(i.saturating_add(1)..)).unwrap_or(name)
}

fn neighbours(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..2] == b.octets()[..2],
        (IpAddr::V6(a), IpAddr::V6(b)) => a.segments()[..2] == b.segments()[..2],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let of = |s: &str| s.parse().map(place).unwrap_or(Place::Public);
        for s in ["10.10.34.34", "10.10.34.36"] {
            assert_eq!(of(s), Place::BlockAddress, "{s}");
        }
        for s in ["0.0.0.0", "127.0.0.1", "192.168.1.1", "100.64.0.1", "243.185.187.39", "::", "::1", "fd00::1", "2001:0:53aa:64c::1"] {
            assert_eq!(of(s), Place::Unroutable, "{s}");
        }
        for s in ["127.0.0.2", "8.8.8.8", "100.128.0.1", "2001:4860:4860::8888", "64:ff9b::808:808"] {
            assert_eq!(of(s), Place::Public, "{s}");
        }
    }

    #[test]
    fn names() {
        for s in ["web.whatsapp.com", "x.com", "t.me"] {
            assert!(is_public_name(s), "{s}");
        }
        for s in ["", "wpad", "printer.lan", "1.0.168.192.in-addr.arpa", "mask.icloud.com", ".com"] {
            assert!(!is_public_name(s), "{s}");
        }
        for (name, part) in [("web.whatsapp.com", "whatsapp.com"), ("x.com", "x.com"), ("www.bbc.co.uk", "bbc.co.uk"), ("co.uk", "co.uk")] {
            assert_eq!(family(name), part);
        }
    }
}
