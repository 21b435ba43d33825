//! Weighing: the facts of one flow against every service.

use super::book::Book;
use super::leads::LATELY_MAX;
use super::service::{CidrRule, DomainRule, Hosting, Ownership, PatternRule, Scope, StunRule, TlsRule};
use crate::model::flow::{FlowRecord, RoleBasis};
use crate::model::frame::FrameNo;
use crate::model::key::{Endpoint, Proto};
use crate::model::label::{EvidenceClass, Label, LabelEvidence, LabelFacts, LabelGrade, Role};
use crate::model::note::{ClientHello, Fact, Shape, Stun};
use crate::model::side::Side;
use crate::model::time::Span;
use smallvec::SmallVec;
use std::net::IpAddr;

/// A DNS answer seen before the flow that gave this client this server address.
#[derive(Clone, Copy, Debug)]
pub struct DnsLead<'a> {
    /// The name asked for, or an alias in the chain; lower case, no trailing dot.
    pub name: &'a str,
    /// Frame of the answer.
    pub frame: FrameNo,
    /// Only one name led this client to this address then.
    pub unique: bool,
    /// Time from the answer to the flow's first packet.
    pub ago: Span,
}

/// A call of the same client that announced this flow's other end as its peer, shortly before.
#[derive(Clone, Copy, Debug)]
pub struct Companion<'a> {
    /// The service of that call.
    pub service: &'a str,
    /// Frame that announced the peer.
    pub frame: FrameNo,
    /// Not announced: the call and this flow share the client's address and port.
    pub same_socket: bool,
}

/// A service that the same client used shortly before the flow began.
#[derive(Clone, Copy, Debug)]
pub struct Near<'a> {
    /// Its id.
    pub service: &'a str,
    /// First frame of the flow that says so.
    pub frame: FrameNo,
    /// Time between its last packet and this flow's first; zero if it was still going on.
    pub ago: Span,
}

/// What other flows say of one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// A call that this flow is a leg of.
    pub companion: Option<Companion<'a>>,
    /// Services of the same client, each once.
    pub near: &'a [Near<'a>],
}

/// Odds of any one service before evidence: about 1 flow in 300.
const PRIOR: i16 = -25;
/// A name at an address where its service does not stand.
const MISMATCH: i16 = -15;
/// The name of a decoy hello.
const DECOY: i16 = -30;
/// An address and port that a call of the same client named as its peer's, or the client's own: the two have both in common.
pub(super) const COMPANION: i16 = 32;
/// Other flows of the client, all together.
const CONTEXT: i16 = 10;
/// The beginning of a protocol, and then something else.
const BROKEN: i16 = -20;
// An answer to a ClientHello that is no TLS counts nothing against the name that was asked for: a page or a forged answer is what blocking looks like.
/// A certificate that does not cover the name asked for. What shows a forged one may be a censor's: the name stays possible.
pub(super) const MISISSUED: i16 = -15;
/// A label that leads the next by less is ambiguous …
const MARGIN: i16 = 3;
/// … and no surer than this: "possible".
const AMBIGUOUS_MAX: f64 = 0.79;
/// A second service below this confidence is not worth telling.
const RUNNER_UP_MIN: f64 = 0.05;

/// A rule that matched, before anything is put into words.
#[derive(Clone, Copy)]
pub(super) struct Match<'a> {
    pub service: usize,
    pub class: EvidenceClass,
    pub db: i16,
    /// Order among matches of equal weight: the narrower rule.
    pub narrow: u8,
    pub role: Option<Role>,
    pub frame: FrameNo,
    pub told: Told<'a>,
}

/// What matched, for the words.
#[derive(Clone, Copy)]
pub(super) enum Told<'a> {
    Name(&'static str, &'a str, &'a DomainRule),
    Dns(&'a str, bool, &'a DomainRule),
    /// A name, how long before the flow it was answered.
    JustAsked(&'a str, Span, &'a DomainRule),
    Address(IpAddr, &'a CidrRule),
    Port(Proto, u16),
    Protocol(Proto),
    Tls(&'a TlsRule, &'a ClientHello),
    Certificate(&'a str),
    /// The organisation that a certificate was issued to.
    Owner(&'a str),
    Stun(&'a StunRule, &'a Stun),
    Shape(Shape),
    Companion(Companion<'a>),
    Decoy(&'a str),
    Mismatch(&'a str, IpAddr),
    /// What the flow began as.
    Broken(Shape),
    Pattern(&'a PatternRule),
    Context(Near<'a>),
    Probe(&'a str, &'a str),
    Issued(&'a str),
}

pub(super) type Matches<'a> = SmallVec<[Match<'a>; 8]>;

/// The sum of one service.
struct Candidate {
    service: usize,
    total: i16,
}

impl Book {
    /// The service the flow belongs to, if the evidence makes one at least as likely as not. `dns` are answers seen before its first packet.
    ///
    /// Plain DNS flows have no service: asking for a name is not using it.
    pub fn label(&self, flow: &FlowRecord, dns: &[DnsLead<'_>]) -> Option<Label> {
        self.label_beside(flow, dns, Beside::default())
    }

    /// As [`Book::label`], with what other flows of the same client say of it.
    pub fn label_beside(&self, flow: &FlowRecord, dns: &[DnsLead<'_>], beside: Beside<'_>) -> Option<Label> {
        let found = self.matches(flow, dns, beside)?;
        let mut label = self.decide(flow, &found)?;
        label.attempt = flow.payload(Side::Server) == 0;
        Some(label)
    }

    /// Every rule that speaks for or against a service; `None` if none does.
    pub(super) fn matches<'a>(&'a self, flow: &'a FlowRecord, dns: &[DnsLead<'a>], beside: Beside<'a>) -> Option<Matches<'a>> {
        let mut found = Matches::new();
        if flow.proto != Proto::TCP && flow.proto != Proto::UDP {
            self.protocols(flow, &mut found);
            return (!found.is_empty()).then_some(found);
        }
        if is_plain_dns(flow) {
            return None;
        }
        self.names(flow, &mut found);
        self.leads(flow, dns, &mut found);
        self.addresses(flow, &mut found);
        self.handshake(flow, &mut found);
        self.stun(flow, &mut found);
        self.shapes(flow, &mut found);
        self.patterns(flow, &mut found);
        self.companion(beside.companion, &mut found);
        if found.is_empty() {
            return None;
        }
        self.contradictions(flow, &mut found);
        self.near(flow, beside.near, &mut found);
        self.ports(flow, &mut found);
        if flow.payload(Side::Server) == 0 {
            // Nobody answered: how the client speaks proves nothing about who would have.
            found.retain(|m| !matches!(m.class, EvidenceClass::Fp | EvidenceClass::Pattern | EvidenceClass::Context));
        }
        Some(found)
    }

    /// What says by the number in the IP header what it is.
    fn protocols<'a>(&'a self, flow: &FlowRecord, found: &mut Matches<'a>) {
        for (service, s) in self.services.iter().enumerate() {
            for rule in s.protocols.iter().filter(|r| r.proto == flow.proto) {
                let (db, role, told) = (rule.db, rule.role, Told::Protocol(flow.proto));
                keep(found, Match { service, class: EvidenceClass::Bytes, db, narrow: 0, role, frame: flow.first.frame, told });
            }
        }
    }

    /// SNI, gQUIC name, HTTP host, certificate.
    fn names<'a>(&'a self, flow: &'a FlowRecord, found: &mut Matches<'a>) {
        let mut add = |kind: &'static str, name: &'a str, frame: FrameNo, weigh: fn(&DomainRule) -> i16| {
            self.names.find(&self.services, name, flow.proto, flow.server.port, |service, rule| {
                let (db, narrow) = (weigh(rule), rule.precision());
                keep(
                    found,
                    Match { service, class: EvidenceClass::Name, db, narrow, role: rule.role, frame, told: Told::Name(kind, name, rule) },
                );
            });
        };
        let (mut hello, mut host, mut certificate, mut gquic) = (false, false, false, false);
        for note in &flow.notes.list {
            match &note.fact {
                // Later hellos with another name are decoys, see `contradictions`.
                Fact::ClientHello(h) if !std::mem::replace(&mut hello, true) => {
                    if let Some(sni) = &h.sni {
                        add("SNI", sni, note.frame, |r| r.db);
                    }
                }
                Fact::Quic(q) if !gquic => {
                    if let Some(name) = &q.gquic_sni {
                        gquic = true;
                        add("QUIC SNI", name, note.frame, |r| r.db);
                    }
                }
                Fact::HttpRequest(r) if !host => {
                    if let Some(name) = &r.host {
                        host = true;
                        add("Host", name, note.frame, |r| r.db);
                    }
                }
                // Alternative names list whatever else the owner serves (YouTube's stand in every Google certificate): only the first name counts.
                Fact::Certificate(c) if !std::mem::replace(&mut certificate, true) => {
                    if let Some(name) = c.names.first() {
                        add("certificate", name.strip_prefix("*.").unwrap_or(name), note.frame, |r| r.cert_db);
                    }
                }
                _ => {}
            }
        }
    }

    fn addresses<'a>(&'a self, flow: &FlowRecord, found: &mut Matches<'a>) {
        let mut side = |at: Endpoint, exclusive_only: bool| {
            self.nets.find(&self.services, at.ip, |service, rule| {
                if rule.covers(at, flow.proto) && (rule.owner == Ownership::Exclusive || !exclusive_only) {
                    let told = Told::Address(at.ip, rule);
                    let narrow = rule.scope.narrowness();
                    keep(
                        found,
                        Match { service, class: EvidenceClass::Ip, db: rule.db, narrow, role: rule.role, frame: flow.first.frame, told },
                    );
                }
            });
        };
        side(flow.server, false);
        if sides_uncertain(flow) {
            side(flow.client, true);
        }
    }

    /// ALPN, JA4, certificate conditions, a handshake on its assigned port.
    fn handshake<'a>(&'a self, flow: &'a FlowRecord, found: &mut Matches<'a>) {
        let hello = flow.notes.client_hello();
        let certificate = flow.notes.list.iter().find_map(|n| match &n.fact {
            Fact::Certificate(c) => Some((n.frame, &**c)),
            _ => None,
        });
        if hello.is_none() && certificate.is_none() {
            return;
        }
        for (service, r) in &self.tls {
            let Some(rule) = self.services.get(*service).and_then(|s| s.tls.get(*r)) else { continue };
            if !rule.scope.allows(flow.proto, flow.server.port) {
                continue;
            }
            let about_certificate = rule.about_certificate();
            let about_hello = !rule.alpn.is_empty()
                || !rule.ja4.is_empty()
                || rule.no_sni.is_some()
                || rule.odd_finished
                || rule.hybrid_declined
                || !about_certificate;
            let hello_fits = || {
                hello.is_some_and(|(_, h)| {
                    (rule.alpn.is_empty() || rule.alpn.iter().any(|a| h.alpn.contains(a)))
                        && (rule.ja4.is_empty() || rule.ja4.contains(&h.ja4))
                        && rule.no_sni.is_none_or(|no| h.sni.is_none() == no)
                        && (!rule.odd_finished || odd_finished(flow, h))
                        && (!rule.hybrid_declined || hybrid_declined(flow, h))
                })
            };
            if about_hello && !hello_fits() {
                continue;
            }
            let mut hit = Match {
                service: *service,
                class: EvidenceClass::Fp,
                db: rule.db,
                narrow: rule.scope.narrowness(),
                role: rule.role,
                frame: flow.first.frame,
                told: Told::Port(flow.proto, flow.server.port),
            };
            if !about_certificate {
                let Some((note, h)) = hello else { continue };
                (hit.frame, hit.told) = (note.frame, Told::Tls(rule, h));
                if rule.alpn.is_empty() && rule.ja4.is_empty() {
                    // The handshake itself, on a port assigned to it: structure, not handwriting.
                    hit.class = EvidenceClass::Bytes;
                }
            } else {
                let Some((frame, shown)) = certificate else { continue };
                let Some(said) = rule.certificate_fits(shown) else { continue };
                (hit.class, hit.frame, hit.told) = (EvidenceClass::Name, frame, said);
            }
            keep(found, hit);
        }
    }

    /// STUN rules add up, each once.
    fn stun<'a>(&'a self, flow: &'a FlowRecord, found: &mut Matches<'a>) {
        if flow.notes.stun().next().is_none() {
            return;
        }
        for (service, r) in &self.stun {
            let Some(rule) = self.services.get(*service).and_then(|s| s.stun.get(*r)) else { continue };
            let port_fits = rule.scope.allows(flow.proto, flow.server.port)
                || (sides_uncertain(flow) && rule.scope.allows(flow.proto, flow.client.port));
            if !port_fits {
                continue;
            }
            if let Some((note, message)) = flow.notes.stun().find(|(_, m)| stun_fits(rule, m)) {
                let told = Told::Stun(rule, message);
                found.push(Match {
                    service: *service,
                    class: EvidenceClass::Stun,
                    db: rule.db,
                    narrow: 0,
                    role: rule.role,
                    frame: note.frame,
                    told,
                });
            }
        }
    }

    /// Shapes. What a tunnel or a proxy carries does not say whose flow it is.
    fn shapes<'a>(&'a self, flow: &'a FlowRecord, found: &mut Matches<'a>) {
        if flow.notes.shapes().next().is_none() {
            return;
        }
        let mut carrier = None;
        for (service, r) in &self.shapes {
            let Some(rule) = self.services.get(*service).and_then(|s| s.shapes.get(*r)) else { continue };
            let port_fits = rule.scope.allows(flow.proto, flow.server.port)
                || (sides_uncertain(flow) && rule.scope.allows(flow.proto, flow.client.port));
            if !port_fits
                || rule.opt_in && !self.heuristics
                || rule.home && !found.iter().any(|m| m.service == *service && m.class == EvidenceClass::Ip)
            {
                continue;
            }
            let Some((note, shape)) = flow.notes.shapes().find(|(_, shape)| *shape == rule.shape) else { continue };
            let narrow = rule.scope.narrowness();
            keep(
                found,
                Match {
                    service: *service,
                    class: rule.class,
                    db: rule.db,
                    narrow,
                    role: rule.role,
                    frame: note.frame,
                    told: Told::Shape(shape),
                },
            );
            if rule.carries {
                carrier = Some(*service);
            }
        }
        if let Some((note, _)) = flow.notes.shapes().find(|(_, shape)| *shape == Shape::Broken) {
            let begun = found.iter().filter(|m| matches!(m.class, EvidenceClass::Bytes | EvidenceClass::Crypto));
            let against: Matches<'a> = begun
                .filter_map(|m| match m.told {
                    Told::Shape(shape) => {
                        let told = Told::Broken(shape);
                        Some(Match {
                            class: EvidenceClass::Contradiction,
                            db: BROKEN,
                            narrow: 0,
                            role: None,
                            frame: note.frame,
                            told,
                            ..*m
                        })
                    }
                    _ => None,
                })
                .collect();
            found.extend(against);
        }
        if let Some(carrier) = carrier {
            found.retain(|m| m.service == carrier || !matches!(m.class, EvidenceClass::Name | EvidenceClass::Fp));
        }
    }

    fn contradictions<'a>(&'a self, flow: &'a FlowRecord, found: &mut Matches<'a>) {
        let Some(own) = flow.notes.client_hello().and_then(|(_, h)| h.sni.as_deref()) else { return self.decoys(flow, None, found) };
        let mut against: SmallVec<[Match<'a>; 2]> = SmallVec::new();
        self.names.find(&self.services, own, flow.proto, flow.server.port, |s, rule| {
            let hosted = rule.hosted.or_else(|| self.services.get(s).map(|x| x.hosted));
            if hosted != Some(Hosting::Own) || found.iter().any(|m| m.service == s && m.class == EvidenceClass::Dns) {
                return;
            }
            let mut at_home = false;
            self.nets.find(&self.services, flow.server.ip, |t, _| at_home |= t == s);
            if !at_home {
                let told = Told::Mismatch(own, flow.server.ip);
                against.push(Match {
                    service: s,
                    class: EvidenceClass::Contradiction,
                    db: MISMATCH,
                    narrow: 0,
                    role: None,
                    frame: flow.first.frame,
                    told,
                });
            }
        });
        found.extend(against);
        self.misissued(flow, own, found);
        self.decoys(flow, Some(own), found);
    }

    /// Names that were shown to the path but not to the server: what a desync tool wants taken for the flow's name.
    fn decoys<'a>(&'a self, flow: &'a FlowRecord, own: Option<&str>, found: &mut Matches<'a>) {
        for note in &flow.notes.list {
            let name = match &note.fact {
                Fact::DecoyHello { sni: Some(name) } => &**name,
                Fact::ClientHello(h) => match &h.sni {
                    Some(name) if own.is_some_and(|own| own != &**name) => &**name,
                    _ => continue,
                },
                _ => continue,
            };
            self.names.find(&self.services, name, flow.proto, flow.server.port, |service, _| {
                // The flow's own name speaks for the same service: the decoy changes nothing.
                if !found.iter().any(|m| m.service == service && matches!(m.class, EvidenceClass::Name | EvidenceClass::Contradiction)) {
                    let told = Told::Decoy(name);
                    found.push(Match {
                        service,
                        class: EvidenceClass::Contradiction,
                        db: DECOY,
                        narrow: 0,
                        role: None,
                        frame: note.frame,
                        told,
                    });
                }
            });
        }
    }

    /// Port rules of the services that something else speaks for.
    fn ports<'a>(&'a self, flow: &FlowRecord, found: &mut Matches<'a>) {
        let mut candidates: SmallVec<[usize; 8]> = found.iter().map(|m| m.service).collect();
        candidates.sort_unstable();
        candidates.dedup();
        for service in candidates {
            for rule in self.services.get(service).map_or(&[][..], |s| &s.ports) {
                let port = match (
                    allows(&rule.scope, flow.proto, flow.server),
                    sides_uncertain(flow) && allows(&rule.scope, flow.proto, flow.client),
                ) {
                    (true, _) => flow.server.port,
                    (_, true) => flow.client.port,
                    _ => continue,
                };
                let told = Told::Port(flow.proto, port);
                keep(
                    found,
                    Match { service, class: EvidenceClass::Port, db: rule.db, narrow: 0, role: rule.role, frame: flow.first.frame, told },
                );
            }
        }
    }

    fn decide(&self, flow: &FlowRecord, found: &[Match<'_>]) -> Option<Label> {
        let mut candidates: SmallVec<[Candidate; 8]> = SmallVec::new();
        for m in found {
            if !candidates.iter().any(|c| c.service == m.service) {
                candidates.push(Candidate { service: m.service, total: total(found, m.service) });
            }
        }
        // Services are in order of id, so equal totals are told in order of id.
        candidates.sort_by_key(|c| (std::cmp::Reverse(c.total), c.service));
        let mut ranked = candidates.iter();
        let (best, second) = (ranked.next()?, ranked.next());
        let mut confidence = confidence(best.total);
        let runner_up = second.map(|c| (c, self::confidence(c.total))).filter(|(_, p)| *p >= RUNNER_UP_MIN);
        if runner_up.as_ref().is_some_and(|(c, _)| best.total - c.total < MARGIN) {
            confidence = confidence.min(AMBIGUOUS_MAX);
        }
        if families(found, best.service) == Some(1) {
            // One look at sizes and times is never more than possible.
            confidence = confidence.min(AMBIGUOUS_MAX);
        }
        let grade = LabelGrade::of(confidence)?;
        let service = self.services.get(best.service)?;
        let mut own: SmallVec<[&Match<'_>; 8]> = found.iter().filter(|m| m.service == best.service).collect();
        own.sort_by_key(|m| (m.class, std::cmp::Reverse(m.db), m.frame));
        Some(Label::from(LabelFacts {
            id: service.info.id.clone(),
            title: service.info.title.clone(),
            role: role(&own).or(service.info.role),
            confidence,
            grade,
            evidence: own.iter().map(|m| LabelEvidence { class: m.class, says: m.told.says(), db: m.db, frame: m.frame }).collect(),
            runner_up: runner_up.and_then(|(c, p)| Some((self.services.get(c.service)?.info.id.clone(), p))),
            brand: own.iter().find_map(|m| m.told.brand()),
            circumvention: service.info.circumvention,
            total_db: best.total,
            margin_db: second.map(|c| best.total - c.total),
            attempt: false,
            own_network: own.iter().any(|m| matches!(m.told, Told::Address(_, rule) if rule.own_network())),
            since: since(flow, found, best.service),
        }))
    }
}

/// Confidence of a sum in decibans.
fn confidence(total: i16) -> f64 {
    let odds = 10f64.powf(f64::from(total) / 10.0);
    odds / (1.0 + odds)
}

/// Prior plus the capped sums of each class.
fn total(found: &[Match<'_>], service: usize) -> i16 {
    use EvidenceClass as C;
    let classes = [C::Crypto, C::Name, C::Dns, C::Stun, C::Bytes, C::Ip, C::Port, C::Fp, C::Pattern, C::Context, C::Contradiction];
    let mut sum = PRIOR;
    for class in classes {
        let of_class = || found.iter().filter(|m| m.service == service && m.class == class);
        let cap = match class {
            C::Crypto => 60,
            C::Name | C::Stun | C::Bytes => 45,
            C::Dns if of_class().any(|m| matches!(m.told, Told::JustAsked(..))) => LATELY_MAX,
            C::Dns => 20,
            // What the user asked for may say possible alone.
            C::Pattern if of_class().any(|m| matches!(m.told, Told::Pattern(r) if r.opt_in)) => 26,
            // Two independent families, or a shape, which holds several properties together.
            C::Pattern if of_class().count() > 1 || of_class().any(|m| matches!(m.told, Told::Shape(_))) => 20,
            C::Pattern => 15,
            C::Ip if of_class().any(|m| matches!(m.told, Told::Address(_, r) if r.owner == Ownership::Exclusive)) => 35,
            C::Ip => 10,
            C::Context if of_class().any(|m| matches!(m.told, Told::Companion(_))) => COMPANION,
            C::Context => CONTEXT,
            C::Port => 3,
            // An ALPN of its own is nearly a name.
            C::Fp if of_class().any(|m| matches!(m.told, Told::Tls(r, _) if !r.alpn.is_empty())) => 40,
            // A stack without a name and with a fingerprint of its own: possible, never more.
            C::Fp
                if of_class()
                    .any(|m| matches!(m.told, Told::Tls(r, _) if !r.ja4.is_empty() && (r.no_sni == Some(true) || r.odd_finished))) =>
            {
                26
            }
            C::Fp => 15,
            C::Contradiction => 0,
        };
        let db: i16 = of_class().fold(0, |a, m| a.saturating_add(m.db));
        sum = sum.saturating_add(db.clamp(-60, cap));
    }
    sum
}

/// If nothing but sizes, times, handwriting and company speaks for the service: how many independent families of it do.
fn families(found: &[Match<'_>], service: usize) -> Option<usize> {
    use EvidenceClass as C;
    let own = || found.iter().filter(move |m| m.service == service && m.db > 0);
    let weak = |m: &Match<'_>| matches!(m.class, C::Pattern | C::Port | C::Fp) || matches!(m.told, Told::Context(_));
    if own().any(|m| !weak(m)) {
        return None;
    }
    Some(own().filter(|m| matches!(m.class, C::Pattern | C::Fp)).count())
}

/// The frame with which the evidence for the service was enough to call it possible.
fn since(flow: &FlowRecord, found: &[Match<'_>], service: usize) -> FrameNo {
    let own: SmallVec<[&Match<'_>; 8]> = found.iter().filter(|m| m.service == service).collect();
    let mut frames: SmallVec<[FrameNo; 8]> = own.iter().map(|m| m.frame).collect();
    frames.sort_unstable();
    let enough = |upto: FrameNo| {
        let seen: Matches<'_> = own.iter().filter(|m| m.frame <= upto).map(|m| **m).collect();
        total(&seen, service) >= 0
    };
    frames.into_iter().find(|f| enough(*f)).unwrap_or(flow.first.frame).max(flow.first.frame)
}

/// The role of the strongest rule that has one: what was said in the flow comes before where it went.
fn role(own: &[&Match<'_>]) -> Option<Role> {
    let rank = |m: &Match<'_>| match m.class {
        EvidenceClass::Stun | EvidenceClass::Crypto => 0,
        EvidenceClass::Name => 1,
        EvidenceClass::Dns => 2,
        EvidenceClass::Bytes | EvidenceClass::Fp => 3,
        EvidenceClass::Ip => 4,
        _ => 5,
    };
    own.iter().filter(|m| m.role.is_some() && m.db > 0).min_by_key(|m| (rank(m), std::cmp::Reverse(m.db))).and_then(|m| m.role)
}

/// Keeps the heavier (of equals, the narrower) of the matches of one service and class: rules of one kind are alternatives.
pub(super) fn keep<'a>(found: &mut Matches<'a>, new: Match<'a>) {
    match found.iter_mut().find(|m| m.service == new.service && m.class == new.class) {
        Some(old) if (new.db, new.narrow) > (old.db, old.narrow) => *old = new,
        Some(_) => {}
        None => found.push(new),
    }
}

fn allows(scope: &Scope, proto: Proto, at: Endpoint) -> bool {
    scope.allows(proto, at.port)
}

/// The capture does not prove which side began: either may be the service.
pub(super) fn sides_uncertain(flow: &FlowRecord) -> bool {
    flow.proto == Proto::UDP || matches!(flow.role_basis, RoleBasis::PortGuess | RoleBasis::FirstSender)
}

/// A DNS, mDNS or LLMNR flow (RFC 1035, 6762, 4795) without TLS around it.
fn is_plain_dns(flow: &FlowRecord) -> bool {
    if flow.app == Some("dns") || flow.notes.dns().next().is_some() {
        return true;
    }
    // Tunnels like to use the port that is open everywhere.
    if flow.notes.shapes().next().is_some() {
        return false;
    }
    let port = |p: u16| matches!(p, 53 | 5353 | 5355);
    (port(flow.server.port) || (sides_uncertain(flow) && port(flow.client.port)))
        && !flow.notes.list.iter().any(|n| matches!(n.fact, Fact::ClientHello(_) | Fact::HttpRequest(_) | Fact::Stun(_)))
}

/// TLS 1.3 without early data: the client's first record is Finished, 53 or 69 bytes with its tag (RFC 8446 §4.4.4), or an alert of 19.
/// Imitations go on with data at once.
fn odd_finished(flow: &FlowRecord, hello: &ClientHello) -> bool {
    let first = flow.notes.list.iter().find_map(|n| match n.fact {
        Fact::TlsApplicationData { record_len } if n.side == Side::Client => Some(record_len),
        _ => None,
    });
    let modern = flow.notes.server_hello().is_some_and(|(_, s)| s.version == 0x0304);
    modern && !hello.psk && !hello.early_data && flow.proto == Proto::TCP && first.is_some_and(|len| !matches!(len, 53 | 69 | 19))
}

/// A genuine server that knows the group takes it; a server of fake TLS answers with x25519 (0x001d) whatever it is offered.
fn hybrid_declined(flow: &FlowRecord, hello: &ClientHello) -> bool {
    hello.hybrid && flow.notes.server_hello().is_some_and(|(_, s)| s.group == 0x001d && !s.retry)
}

fn stun_fits(rule: &StunRule, m: &Stun) -> bool {
    let text = |want: &[Box<str>], have: &Option<Box<str>>| want.is_empty() || have.as_ref().is_some_and(|h| want.contains(h));
    let in_any = |ranges: &[super::service::Range], n: u16| ranges.iter().any(|r| r.has(n));
    text(&rule.realm, &m.realm)
        && text(&rule.software, &m.software)
        && (rule.attr.is_empty() || m.attributes.iter().any(|a| in_any(&rule.attr, *a)))
        && (rule.kind.is_empty() || in_any(&rule.kind, m.kind))
        && rule.only_attrs.as_ref().is_none_or(|only| *only == m.attributes)
        && rule.len.is_none_or(|r| u16::try_from(m.len).is_ok_and(|n| r.has(n)))
        && rule.username_len.is_none_or(|r| r.has(m.username_len))
        && rule.username.is_none_or(|u| u == m.username)
}
