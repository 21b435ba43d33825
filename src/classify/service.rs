//! A service as its file describes it, after checking.

use crate::model::key::{Endpoint, Proto};
use crate::model::label::{EvidenceClass, Role};
use crate::model::note::{Shape, UserName};
use ipnet::IpNet;
use std::net::IpAddr;

/// What kind of service it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Category {
    /// Text messages between people.
    Messenger,
    /// Voice and video calls, conferences.
    Call,
    /// Public posts.
    Social,
    /// Video to watch.
    Video,
    /// Push notifications.
    Push,
    /// Mail.
    Mail,
    /// Tunnels and proxies.
    Vpn,
    /// Encrypted name resolution.
    Dns,
    /// Hosting used by many.
    Cloud,
    /// Anything else.
    Other,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 10] =
        [Self::Messenger, Self::Call, Self::Social, Self::Video, Self::Push, Self::Mail, Self::Vpn, Self::Dns, Self::Cloud, Self::Other];

    /// Name in service files and outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messenger => "messenger",
            Self::Call => "call",
            Self::Social => "social",
            Self::Video => "video",
            Self::Push => "push",
            Self::Mail => "mail",
            Self::Vpn => "vpn",
            Self::Dns => "dns",
            Self::Cloud => "cloud",
            Self::Other => "other",
        }
    }
}

/// What `tamperscope rules` says of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceInfo {
    /// Id, `[a-z0-9_-]+`.
    pub id: Box<str>,
    /// Title for people.
    pub title: Box<str>,
    /// Category.
    pub category: Category,
    /// Family it shares infrastructure with: another service's id, or a name such as `meta`.
    pub parent: Option<Box<str>>,
    /// Role of a flow when no rule says better.
    pub role: Option<Role>,
    /// Day its facts were last checked, `YYYY-MM-DD`.
    pub updated: Box<str>,
    /// Remarks for people.
    pub notes: Option<Box<str>>,
    /// A way around blocking.
    pub circumvention: bool,
    /// Number of rules; a list of names or nets in one rule counts once for each entry.
    pub rules: usize,
    /// File (or files, joined by ` + `) it was read from.
    pub file: Box<str>,
}

/// Where a service's named hosts stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hosting {
    /// Only in the service's own ranges: its name at any other address is a proxy, a decoy or fronting.
    Own,
    /// Anywhere.
    Cdn,
}

/// Who else uses an address range.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Ownership {
    /// A network of many customers that the service rents.
    Cdn,
    /// A network that several services of one owner share.
    Shared,
    /// The owner's own network, mostly this service.
    Owner,
    /// Nobody else (within the rule's protocol and ports).
    Exclusive,
}

impl Ownership {
    /// Weight of a range when the rule gives none, dB.
    pub const fn default_db(self) -> i16 {
        match self {
            Self::Exclusive => 35,
            Self::Owner => 8,
            Self::Shared => 4,
            Self::Cdn => 2,
        }
    }

    /// In words.
    pub const fn says(self) -> &'static str {
        match self {
            Self::Exclusive => "used by it alone",
            Self::Owner => "its owner's network",
            Self::Shared => "shared with its siblings",
            Self::Cdn => "rented among others",
        }
    }
}

/// A closed range of numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    pub from: u16,
    pub to: u16,
}

impl Range {
    pub const fn has(self, n: u16) -> bool {
        self.from <= n && n <= self.to
    }
    pub const fn meets(self, other: Self) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

/// Protocol and ports a rule is limited to. Ports are the service's side.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Scope {
    pub proto: Option<Proto>,
    /// Empty: any port.
    pub ports: Vec<Range>,
}

impl Scope {
    pub fn allows(&self, proto: Proto, port: u16) -> bool {
        self.proto.is_none_or(|p| p == proto) && (self.ports.is_empty() || self.ports.iter().any(|r| r.has(port)))
    }
    /// Whether some packet could satisfy both.
    pub fn meets(&self, other: &Self) -> bool {
        let proto = match (self.proto, other.proto) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        let ports = self.ports.is_empty() || other.ports.is_empty() || self.ports.iter().any(|a| other.ports.iter().any(|b| a.meets(*b)));
        proto && ports
    }
    /// Conditions in force, 0–2.
    pub fn narrowness(&self) -> u8 {
        u8::from(self.proto.is_some()) + u8::from(!self.ports.is_empty())
    }
}

/// A name rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct DomainRule {
    /// Name, lower case.
    pub name: Box<str>,
    /// Only this name, not those below it.
    pub exact: bool,
    /// First label must be this, or begin with it followed by a hyphen or digit.
    pub prefix_label: Option<Box<str>>,
    /// Names (and all below them) that this rule does not cover.
    pub exclude: Vec<Box<str>>,
    pub scope: Scope,
    /// Weight as SNI or Host, dB.
    pub db: i16,
    /// Weight as the only DNS name of the address, dB.
    pub dns_db: i16,
    /// Weight as certificate name, dB.
    pub cert_db: i16,
    pub role: Option<Role>,
    pub brand: Option<Box<str>>,
    pub hosted: Option<Hosting>,
}

impl DomainRule {
    /// Whether `name`, known to end in the rule's name at a label boundary, is meant.
    pub fn covers(&self, name: &str) -> bool {
        let whole = name.len() == self.name.len();
        if self.exact && !whole {
            return false;
        }
        if let Some(prefix) = &self.prefix_label {
            let label = name.split('.').next().unwrap_or(name);
            let fits = label
                .strip_prefix(&**prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(|c: char| c == '-' || c.is_ascii_digit()));
            if whole || !fits {
                return false;
            }
        }
        !self.exclude.iter().any(|x| ends_at_label(name, x))
    }

    /// Order of precision among rules of one name: exact, first label, suffix.
    pub fn precision(&self) -> u8 {
        match (self.exact, &self.prefix_label) {
            (true, _) => 2,
            (_, Some(_)) => 1,
            _ => 0,
        }
    }
}

/// Whether `name` is `suffix` or lies below it.
pub(super) fn ends_at_label(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// An address rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CidrRule {
    pub net: IpNet,
    pub owner: Ownership,
    /// IPv4 only: the last octet must lie here.
    pub last_octet: Option<Range>,
    pub scope: Scope,
    pub db: i16,
    pub role: Option<Role>,
    pub brand: Option<Box<str>>,
}

impl CidrRule {
    /// Whether this is a network of the owner's own and not a corner of a hoster's: what registries gave to their members was not smaller
    /// than this, and what a hoster sets apart for one customer hardly ever is as large.
    pub const fn own_network(&self) -> bool {
        let registered = match self.net {
            IpNet::V4(net) => net.prefix_len() <= 22,
            IpNet::V6(net) => net.prefix_len() <= 48,
        };
        registered && !matches!(self.owner, Ownership::Cdn)
    }
    /// Whether `at`, known to lie in the net, is meant.
    pub fn covers(&self, at: Endpoint, proto: Proto) -> bool {
        let octet = match (self.last_octet, at.ip.to_canonical()) {
            (Some(r), IpAddr::V4(ip)) => r.has(u16::from(ip.octets()[3])),
            (Some(_), IpAddr::V6(_)) => false,
            (None, _) => true,
        };
        octet && self.scope.allows(proto, at.port)
    }
}

/// A port rule: supports other evidence, never stands alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PortRule {
    pub scope: Scope,
    pub db: i16,
    pub role: Option<Role>,
}

/// A rule about the TLS (or QUIC) handshake; all conditions must hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TlsRule {
    /// One of these is offered.
    pub alpn: Vec<Box<str>>,
    /// The JA4 is one of these.
    pub ja4: Vec<Box<str>>,
    /// The certificate's common name is, or lies below, one of these.
    pub cert_cn: Vec<Box<str>>,
    /// Organisations that the certificate names as its owner; any is enough.
    pub cert_org: Vec<Box<str>>,
    /// Server name absent (true) or present (false).
    pub no_sni: Option<bool>,
    /// The client's first encrypted record is not as long as a Finished message is.
    pub odd_finished: bool,
    /// The client sent a key of X25519MLKEM768, and the server chose another group.
    pub hybrid_declined: bool,
    /// The certificate's first name, and its issuer's, have this make.
    pub cert_like: Option<Make>,
    pub issuer_like: Option<Make>,
    pub scope: Scope,
    pub db: i16,
    pub role: Option<Role>,
}

/// How a made-up name is made: `www.{base32:8-20}.net` is literal text around so many characters of one alphabet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Make {
    pub before: Box<str>,
    pub alphabet: Alphabet,
    /// Length of the random part.
    pub random: Range,
    pub after: Box<str>,
}

/// What the random part of a made-up name is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Alphabet {
    /// a–z and 2–7 (RFC 4648 §6, lower case).
    Base32,
    /// a–z, A–Z and 0–9, some of each: nobody names a host so.
    Alnum,
}

impl Alphabet {
    /// Each with its name in service files.
    pub const ALL: &[(Self, &str)] = &[(Self::Base32, "base32"), (Self::Alnum, "alnum")];

    fn fits(self, random: &str) -> bool {
        match self {
            Self::Base32 => random.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7')),
            Self::Alnum => {
                let some = |kind: fn(&u8) -> bool| random.bytes().any(|b| kind(&b));
                random.bytes().all(|b| b.is_ascii_alphanumeric())
                    && some(u8::is_ascii_lowercase)
                    && some(u8::is_ascii_uppercase)
                    && some(u8::is_ascii_digit)
            }
        }
    }
}

impl Make {
    pub fn fits(&self, name: &str) -> bool {
        let Some(random) = name.strip_prefix(&*self.before).and_then(|n| n.strip_suffix(&*self.after)) else { return false };
        u16::try_from(random.len()).is_ok_and(|n| self.random.has(n)) && self.alphabet.fits(random)
    }
}

/// A protocol over IP that says what it is by its number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ProtocolRule {
    pub proto: Proto,
    pub db: i16,
    pub role: Option<Role>,
}

/// A rule about a STUN message; all conditions must hold for one message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct StunRule {
    pub realm: Vec<Box<str>>,
    pub software: Vec<Box<str>>,
    /// One attribute lies in one of these ranges.
    pub attr: Vec<Range>,
    /// The message type lies in one of these ranges.
    pub kind: Vec<Range>,
    /// These attributes and no others, in this order.
    pub only_attrs: Option<Vec<u16>>,
    /// Message length, header included.
    pub len: Option<Range>,
    pub username_len: Option<Range>,
    pub username: Option<UserName>,
    pub scope: Scope,
    pub db: i16,
    pub role: Option<Role>,
}

/// Sizes and times of a flow's packets: what a rule about them asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Pattern {
    /// The first payloads, client's positive, server's negative, within a tolerance.
    Sizes {
        /// Lengths in order.
        sizes: Vec<i32>,
        /// Bytes that each may be off.
        tolerance: u16,
    },
    /// Bursts (ended by PSH, or by the other side) leave one of these rests.
    Residue {
        modulo: u16,
        classes: Vec<u16>,
        /// Share of bursts, in percent.
        percent: u8,
        /// Bursts needed.
        bursts: u16,
        /// Bursts of each side at the beginning that do not count.
        skip: u16,
    },
    /// One side sends payloads of one length again and again.
    Period { len: Range, every_ms: u32, slack_ms: u32, times: u16 },
    /// Datagrams flow both ways at least so fast, for at least so long.
    Media { pps: u16, seconds: u16 },
    /// At least so many of these RTP payload types, without DTLS.
    PayloadTypes { types: Vec<u16>, distinct: u16 },
    /// Bursts with the sizes of a TLS handshake where the outer protocol should be carrying requests.
    Nested,
}

/// A rule about sizes and times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PatternRule {
    pub pattern: Pattern,
    /// Both ends must have one of the rule's ports.
    pub both_ports: bool,
    /// Counts only at an address of the service's own ranges.
    pub home: bool,
    /// Counts only if the user asked for heuristics.
    pub opt_in: bool,
    pub scope: Scope,
    pub db: i16,
    pub role: Option<Role>,
}

/// A rule about other flows of the same client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ContextRule {
    /// Id of the service that was seen.
    pub needs: Box<str>,
    /// Seconds before the flow began within which it was still active.
    pub within: u16,
    pub scope: Scope,
    pub db: i16,
    pub role: Option<Role>,
}

/// Names that the service's app touches only to see whether they can be reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ProbeRule {
    pub names: Vec<Box<str>>,
    /// Seconds around the probe within which the service itself must be active.
    pub within: u16,
    /// Negative.
    pub db: i16,
}

/// A rule about a protocol that inspectors recognise by its shape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ShapeRule {
    pub shape: Shape,
    pub class: EvidenceClass,
    /// Counts only at an address of the service's own ranges.
    pub home: bool,
    /// The service carries other traffic: names seen inside say what it is used for, not whose flow it is.
    pub carries: bool,
    /// Counts only if the user asked for heuristics.
    pub opt_in: bool,
    pub scope: Scope,
    pub db: i16,
    pub role: Option<Role>,
}

/// A service with its rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Service {
    pub info: ServiceInfo,
    pub hosted: Hosting,
    pub domains: Vec<DomainRule>,
    pub cidrs: Vec<CidrRule>,
    pub ports: Vec<PortRule>,
    pub protocols: Vec<ProtocolRule>,
    pub tls: Vec<TlsRule>,
    pub stun: Vec<StunRule>,
    pub shapes: Vec<ShapeRule>,
    pub patterns: Vec<PatternRule>,
    pub contexts: Vec<ContextRule>,
    pub probes: Vec<ProbeRule>,
}

impl Service {
    pub fn count_rules(&self) -> usize {
        self.domains.len()
            + self.cidrs.len()
            + self.ports.len()
            + self.protocols.len()
            + self.tls.len()
            + self.stun.len()
            + self.shapes.len()
            + self.patterns.len()
            + self.contexts.len()
            + self.probes.len()
    }
}
