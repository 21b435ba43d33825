//! A matched rule in words.

use super::service::{DomainRule, Pattern, StunRule};
use super::weigh::Told;
use crate::model::note::{Stun, UserName};
use crate::model::time::Span;

impl Told<'_> {
    pub(super) fn says(&self) -> String {
        match self {
            Self::Name(kind, name, rule) => format!("{kind} {name} {}", below(name, rule)),
            Self::Dns(name, true, rule) => format!("DNS gave this address for {name} alone, which {}", below(name, rule)),
            Self::Dns(name, false, rule) => format!("DNS gave this address for {name} among other names; it {}", below(name, rule)),
            Self::JustAsked(name, ago, rule) => {
                format!("DNS gave this address {} before for {name}, which {}, and for nothing else", brief(*ago), below(name, rule))
            }
            Self::Address(ip, rule) => {
                let limit = if rule.scope.narrowness() > 0 { " at this protocol and port" } else { "" };
                format!("{ip} is in {}, {}{limit}", rule.net, rule.owner.says())
            }
            Self::Protocol(proto) => format!("IP protocol {}, {}", proto.0, proto.name().to_uppercase()),
            Self::Port(proto, port) => format!("{} port {port}", proto.name()),
            Self::Tls(rule, hello) => {
                let alpn = rule.alpn.iter().find(|a| hello.alpn.contains(a)).map(|a| format!("ALPN {a}"));
                let ja4 = (!rule.ja4.is_empty()).then(|| format!("JA4 {}", hello.ja4));
                let sni = rule.no_sni.map(|no| if no { "no server name" } else { "a server name" }.to_owned());
                let odd = rule.odd_finished.then(|| "no Finished message".to_owned());
                let declined = rule.hybrid_declined.then(|| "a hybrid key that the server ignored".to_owned());
                let made = (rule.cert_like.is_some() || rule.issuer_like.is_some()).then(|| "made-up names in its certificate".to_owned());
                let parts: Vec<String> = [alpn, ja4, sni, odd, declined, made].into_iter().flatten().collect();
                if parts.is_empty() {
                    "TLS handshake on its assigned port".to_owned()
                } else {
                    format!("handshake with {}", parts.join(", "))
                }
            }
            Self::Certificate(name) => format!("certificate {name}"),
            Self::Owner(name) => format!("certificate of {name}"),
            Self::Stun(rule, m) => stun_says(rule, m),
            Self::Shape(shape) => shape.says().to_owned(),
            Self::Companion(c) if c.same_socket => format!("a {} call of this client uses the same socket", c.service),
            Self::Companion(c) => format!("a {} call of this client named this address as its peer's", c.service),
            Self::Pattern(rule) => pattern_says(&rule.pattern),
            Self::Context(near) => format!("this client used {} shortly before", near.service),
            Self::Probe(name, by) => format!("{by} asks {name} only to see whether it can be reached"),
            Self::Issued(name) => format!("the certificate {name} is not one of its names"),
            Self::Decoy(name) => format!("{name} is only the name of a decoy"),
            Self::Broken(shape) => format!("after {} its frames do not follow", shape.says()),
            Self::Mismatch(name, ip) => format!("{name} does not stand at {ip}"),
        }
    }

    pub(super) fn brand(&self) -> Option<Box<str>> {
        match self {
            Self::Name(_, _, rule) | Self::Dns(_, _, rule) | Self::JustAsked(_, _, rule) => rule.brand.clone(),
            Self::Address(_, rule) => rule.brand.clone(),
            _ => None,
        }
    }
}

/// A time of less than a minute.
fn brief(span: Span) -> String {
    let ms = span.nanos() / 1_000_000;
    if ms < 1000 { format!("{ms} ms") } else { format!("{} s", ms / 1000) }
}

fn below(name: &str, rule: &DomainRule) -> String {
    if *name == *rule.name { "is its name".to_owned() } else { format!("ends in {}", rule.name) }
}

fn stun_says(rule: &StunRule, m: &Stun) -> String {
    let mut parts = Vec::new();
    if let (false, Some(realm)) = (rule.realm.is_empty(), &m.realm) {
        parts.push(format!("realm {realm}"));
    }
    if let (false, Some(software)) = (rule.software.is_empty(), &m.software) {
        parts.push(format!("software {software}"));
    }
    if let Some(a) = m.attributes.iter().find(|a| rule.attr.iter().any(|r| r.has(**a))) {
        parts.push(format!("attribute {a:#06x}"));
    }
    if rule.only_attrs.is_some() {
        parts.push("its sole attributes".to_owned());
    }
    if rule.username_len.is_some() {
        parts.push(format!("a user name of {} bytes", m.username_len));
    }
    if let Some((_, pattern)) = rule.username.and_then(|u| UserName::ALL.iter().find(|(p, _)| *p == u)) {
        parts.push(format!("a user name like {pattern}"));
    }
    if rule.len.is_some() {
        parts.push(format!("length {}", m.len));
    }
    if parts.is_empty() {
        format!("STUN message type {:#06x}", m.kind)
    } else {
        format!("STUN type {:#06x} with {}", m.kind, parts.join(", "))
    }
}

fn pattern_says(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Sizes { sizes, .. } => {
            let list: Vec<String> = sizes.iter().map(|n| format!("{n:+}")).collect();
            format!("first payloads of {} bytes", list.join(" "))
        }
        Pattern::Residue { modulo, classes, percent, .. } => {
            let list: Vec<String> = classes.iter().map(u16::to_string).collect();
            format!("at least {percent} % of bursts leave {} when divided by {modulo}", list.join(", "))
        }
        Pattern::Period { every_ms, .. } => format!("one length again every {every_ms} ms"),
        Pattern::Media { pps, seconds } => format!("at least {pps} datagrams a second both ways for {seconds} s"),
        Pattern::PayloadTypes { types, distinct } => {
            let list: Vec<String> = types.iter().map(u16::to_string).collect();
            format!("RTP without DTLS, payload types: {distinct} or more of {}", list.join(", "))
        }
        Pattern::Nested => "bursts with the sizes of a TLS handshake inside".to_owned(),
    }
}
