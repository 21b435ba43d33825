//! The grammar of service files: TOML to checked services. Unknown keys are errors, never ignored.

use super::error::LoadError;
use super::fields::{Fields, Source};
use super::service::{
    Alphabet, Category, CidrRule, ContextRule, DomainRule, Hosting, Make, Ownership, Pattern, PatternRule, PortRule, ProbeRule,
    ProtocolRule, Range, Scope, Service, ServiceInfo, ShapeRule, StunRule, TlsRule,
};
use crate::model::key::Proto;
use crate::model::label::{EvidenceClass, Role};
use crate::model::note::{Shape, UserName};
use ipnet::IpNet;
use toml::de::DeTable;

/// Largest weight a rule may have, either way, dB.
const DB_MAX: i64 = 60;
/// Weight of an exclusive name, dB.
const DOMAIN_DB: i16 = 40;

const FILE_KEYS: &[&str] = &["schema", "service"];
#[rustfmt::skip]
const SERVICE_KEYS: &[&str] = &["id", "title", "category", "parent", "role", "updated", "notes", "circumvention", "hosted", "extends", "replace",
    "domain", "cidr", "port", "protocol", "tls", "stun", "parser", "pattern", "context", "probe"];
#[rustfmt::skip]
const DOMAIN_KEYS: &[&str] = &["suffix", "exact", "prefix_label", "exclude", "db", "dns_db", "cert_db", "role", "brand", "hosted", "proto", "port",
    "source", "updated", "unverified"];
const CIDR_KEYS: &[&str] = &["net", "owner", "last_octet", "db", "role", "brand", "proto", "port", "source", "updated", "unverified"];
const PORT_KEYS: &[&str] = &["proto", "port", "db", "role", "source", "updated", "unverified"];
const PROTOCOL_KEYS: &[&str] = &["ip", "db", "role", "source", "updated", "unverified"];
#[rustfmt::skip]
const TLS_KEYS: &[&str] = &["alpn", "ja4", "cert_cn", "cert_org", "cert_like", "issuer_like", "no_sni", "odd_finished", "hybrid_declined", "db", "role", "proto", "port", "source",
    "updated", "unverified"];
#[rustfmt::skip]
const STUN_KEYS: &[&str] = &["realm", "software", "attr", "type", "only_attrs", "len", "username_len", "username", "db", "role", "proto", "port",
    "source", "updated", "unverified"];
#[rustfmt::skip]
const PARSER_KEYS: &[&str] = &["name", "class", "home", "carries", "opt_in", "db", "role", "proto", "port", "source", "updated", "unverified"];
#[rustfmt::skip]
const PATTERN_KEYS: &[&str] = &["sizes", "tolerance", "modulo", "classes", "percent", "bursts", "skip", "len", "every_ms", "slack_ms", "times", "pps",
    "seconds", "payload_types", "distinct", "nested", "both_ports", "home", "opt_in", "db", "role", "proto", "port", "source", "updated", "unverified"];
const CONTEXT_KEYS: &[&str] = &["needs", "within", "db", "role", "proto", "port", "source", "updated", "unverified"];
const PROBE_KEYS: &[&str] = &["exact", "within", "db", "source", "updated", "unverified"];

/// How an entry meets a service that is already there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// It must not be there.
    New,
    /// Its rules are added.
    Extend,
    /// It takes the place.
    Replace,
}

/// A service as written, before it meets those already loaded.
pub(super) struct Entry {
    pub mode: Mode,
    pub line: usize,
    pub service: Service,
    /// Keys that were given (an extension changes only these).
    pub given: Given,
}

/// Which describing keys an entry gives.
pub(super) struct Given {
    pub title: bool,
    pub category: bool,
    pub updated: bool,
    pub circumvention: bool,
    pub hosted: bool,
}

/// Reads a file.
pub(super) fn read(file: &str, text: &str) -> Result<Vec<Entry>, LoadError> {
    let src = Source { file, text };
    let document = DeTable::parse(text).map_err(|e| src.syntax(&e))?;
    let top = Fields::open(src, String::new(), document.get_ref(), document.span(), FILE_KEYS)?;
    top.number("schema", 1..=1)?;
    let mut out: Vec<Entry> = Vec::new();
    for f in top.tables("service", SERVICE_KEYS)? {
        let entry = service(&f)?;
        if let Some(first) = out.iter().find(|e| e.service.info.id == entry.service.info.id) {
            return Err(f.fault("id", format!("`{}` is already described at line {}", entry.service.info.id, first.line)));
        }
        out.push(entry);
    }
    if out.is_empty() {
        return Err(src.error(&(0..0), "service", "the file describes no service: begin one with [[service]]"));
    }
    Ok(out)
}

fn service(f: &Fields<'_>) -> Result<Entry, LoadError> {
    let id = f.required("id")?;
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-') {
        return Err(f.fault("id", "an id is made of a-z, 0-9, `_` and `-`"));
    }
    let mode = match (f.string("extends")?, f.flag("replace")?) {
        (Some(_), Some(true)) => return Err(f.fault("replace", "a service either extends another or replaces it")),
        (Some(base), _) if base.strip_prefix("builtin:").unwrap_or(base) == id => Mode::Extend,
        (Some(_), _) => return Err(f.fault("extends", format!("a service can only extend itself: expected `builtin:{id}`"))),
        (None, Some(true)) => Mode::Replace,
        (None, _) => Mode::New,
    };
    let extends = mode == Mode::Extend;
    // An extension inherits what it does not say.
    let text = |key| if extends { f.string(key).map(Option::unwrap_or_default) } else { f.required(key) };
    let (title, updated) = (text("title")?, text("updated")?);
    if f.has("updated") {
        day(f)?;
    }
    let category = match text("category")? {
        "" if extends => Category::Other,
        name => *named(f, "category", name, &Category::ALL, |c| c.name())?,
    };
    let hosted = hosting(f)?;
    let circumvention = f.flag("circumvention")?;
    let mut service = Service {
        info: ServiceInfo {
            id: id.into(),
            title: title.into(),
            category,
            parent: f.string("parent")?.map(Into::into),
            role: role(f)?,
            updated: updated.into(),
            notes: f.string("notes")?.map(Into::into),
            circumvention: circumvention.unwrap_or(false),
            rules: 0,
            file: f.src.file.into(),
        },
        hosted: hosted.unwrap_or(Hosting::Cdn),
        domains: Vec::new(),
        cidrs: Vec::new(),
        ports: Vec::new(),
        protocols: Vec::new(),
        tls: Vec::new(),
        stun: Vec::new(),
        shapes: Vec::new(),
        patterns: Vec::new(),
        contexts: Vec::new(),
        probes: Vec::new(),
    };
    for t in f.tables("domain", DOMAIN_KEYS)? {
        domain(&t, &mut service.domains)?;
    }
    for t in f.tables("cidr", CIDR_KEYS)? {
        cidr(&t, &mut service.cidrs)?;
    }
    for t in f.tables("port", PORT_KEYS)? {
        service.ports.push(port(&t)?);
    }
    for t in f.tables("protocol", PROTOCOL_KEYS)? {
        protocol(&t, &mut service.protocols)?;
    }
    for t in f.tables("tls", TLS_KEYS)? {
        service.tls.push(tls(&t)?);
    }
    for t in f.tables("stun", STUN_KEYS)? {
        service.stun.push(stun(&t)?);
    }
    for t in f.tables("parser", PARSER_KEYS)? {
        parser(&t, &mut service.shapes)?;
    }
    for t in f.tables("pattern", PATTERN_KEYS)? {
        service.patterns.push(pattern(&t)?);
    }
    for t in f.tables("context", CONTEXT_KEYS)? {
        service.contexts.push(context(&t)?);
    }
    for t in f.tables("probe", PROBE_KEYS)? {
        service.probes.push(probe(&t)?);
    }
    service.info.rules = service.count_rules();
    if service.info.rules == 0 {
        return Err(f.table_fault(format!("`{id}` has no rule")));
    }
    let given = Given {
        title: f.has("title"),
        category: f.has("category"),
        updated: f.has("updated"),
        circumvention: circumvention.is_some(),
        hosted: hosted.is_some(),
    };
    Ok(Entry { mode, line: f.table_fault("").line(), service, given })
}

fn domain(f: &Fields<'_>, out: &mut Vec<DomainRule>) -> Result<(), LoadError> {
    provenance(f)?;
    let (suffixes, exacts) = (f.list("suffix", host_name)?, f.list("exact", host_name)?);
    if suffixes.is_empty() && exacts.is_empty() {
        return Err(f.table_fault("a name rule needs `suffix` or `exact`"));
    }
    let prefix_label = f.string("prefix_label")?;
    if let Some(label) = prefix_label {
        if !exacts.is_empty() {
            return Err(f.fault("prefix_label", "goes with `suffix`, not with `exact`"));
        }
        if label.is_empty() || label.contains('.') || host_name(label).is_err() {
            return Err(f.fault("prefix_label", "expected the beginning of one label, lower case"));
        }
    }
    let db = weight(f, "db", DOMAIN_DB)?;
    // A DNS answer is worth half of a name in the flow itself, a certificate three quarters:
    // 40, 20 and 30 dB for a name that nobody else uses.
    let dns_db = weight(f, "dns_db", written(f, "db")?.unwrap_or(DOMAIN_DB) / 2)?;
    let cert_db = weight(f, "cert_db", written(f, "db")?.unwrap_or(DOMAIN_DB) / 4 * 3)?;
    let rule = DomainRule {
        name: "".into(),
        exact: false,
        prefix_label: prefix_label.map(Into::into),
        exclude: f.list("exclude", host_name)?,
        scope: scope(f)?,
        db,
        dns_db,
        cert_db,
        role: role(f)?,
        brand: f.string("brand")?.map(Into::into),
        hosted: hosting(f)?,
    };
    out.extend(suffixes.into_iter().map(|name| DomainRule { name, ..rule.clone() }));
    out.extend(exacts.into_iter().map(|name| DomainRule { name, exact: true, ..rule.clone() }));
    Ok(())
}

fn cidr(f: &Fields<'_>, out: &mut Vec<CidrRule>) -> Result<(), LoadError> {
    provenance(f)?;
    let nets = f.list("net", network)?;
    if nets.is_empty() {
        return Err(f.table_fault("`net` is missing"));
    }
    let last_octet = f.pair("last_octet", 0..=255)?.map(|(a, b)| Range { from: a as u16, to: b as u16 });
    if last_octet.is_some() && nets.iter().any(|n| matches!(n, IpNet::V6(_))) {
        return Err(f.fault("last_octet", "is for IPv4 nets only"));
    }
    let owners = [Ownership::Exclusive, Ownership::Owner, Ownership::Shared, Ownership::Cdn];
    let owner = match f.string("owner")? {
        None => Ownership::Exclusive,
        Some(name) => *named(f, "owner", name, &owners, |o| match o {
            Ownership::Exclusive => "exclusive",
            Ownership::Owner => "owner",
            Ownership::Shared => "shared",
            Ownership::Cdn => "cdn",
        })?,
    };
    let rule = CidrRule {
        net: IpNet::default(),
        owner,
        last_octet,
        scope: scope(f)?,
        db: weight(f, "db", owner.default_db())?,
        role: role(f)?,
        brand: f.string("brand")?.map(Into::into),
    };
    out.extend(nets.into_iter().map(|net| CidrRule { net, ..rule.clone() }));
    Ok(())
}

fn port(f: &Fields<'_>) -> Result<PortRule, LoadError> {
    provenance(f)?;
    let scope = scope(f)?;
    if scope.ports.is_empty() {
        return Err(f.table_fault("`port` is missing"));
    }
    Ok(PortRule { scope, db: weight(f, "db", 1)?, role: role(f)? })
}

fn protocol(f: &Fields<'_>, out: &mut Vec<ProtocolRule>) -> Result<(), LoadError> {
    provenance(f)?;
    let known = [Proto::ESP, Proto::AH];
    let names = || known.map(|p| p.name().into_owned()).join(", ");
    let protos = f.list("ip", |s| known.into_iter().find(|p| p.name() == s).ok_or_else(|| format!("`{s}` is none of {}", names())))?;
    if protos.is_empty() {
        return Err(f.table_fault("`ip` is missing"));
    }
    let (db, role) = (needed_weight(f)?, role(f)?);
    out.extend(protos.into_iter().map(|proto| ProtocolRule { proto, db, role }));
    Ok(())
}

fn tls(f: &Fields<'_>) -> Result<TlsRule, LoadError> {
    provenance(f)?;
    let rule = TlsRule {
        alpn: f.list("alpn", |s| Ok(s.into()))?,
        ja4: f.list("ja4", |s| Ok(s.into()))?,
        cert_cn: f.list("cert_cn", |s| Ok(s.to_ascii_lowercase().into()))?,
        cert_org: f.list("cert_org", |s| Ok(s.into()))?,
        no_sni: f.flag("no_sni")?,
        odd_finished: f.flag("odd_finished")?.unwrap_or(false),
        hybrid_declined: f.flag("hybrid_declined")?.unwrap_or(false),
        cert_like: make(f, "cert_like")?,
        issuer_like: make(f, "issuer_like")?,
        scope: scope(f)?,
        db: needed_weight(f)?,
        role: role(f)?,
    };
    if rule.alpn.is_empty()
        && rule.ja4.is_empty()
        && rule.cert_cn.is_empty()
        && rule.cert_org.is_empty()
        && rule.no_sni.is_none()
        && !rule.odd_finished
        && !rule.hybrid_declined
        && rule.cert_like.is_none()
        && rule.issuer_like.is_none()
        && rule.scope.ports.is_empty()
    {
        return Err(f.table_fault("needs one of `alpn`, `ja4`, `cert_cn`, `cert_org`, `cert_like`, `issuer_like`, `no_sni`, `port`"));
    }
    Ok(rule)
}

fn stun(f: &Fields<'_>) -> Result<StunRule, LoadError> {
    provenance(f)?;
    let one = |key| f.list(key, |s| ranges(s, number16)).map(|v| v.into_iter().flatten().next());
    let only = f.list("only_attrs", number16)?;
    let rule = StunRule {
        realm: f.list("realm", |s| Ok(s.into()))?,
        software: f.list("software", |s| Ok(s.into()))?,
        attr: f.list("attr", |s| ranges(s, number16))?.concat(),
        kind: f.list("type", |s| ranges(s, number16))?.concat(),
        only_attrs: (!only.is_empty()).then_some(only),
        len: one("len")?,
        username_len: one("username_len")?,
        username: f
            .string("username")?
            .map(|text| named(f, "username", text, &UserName::ALL, |(_, name)| name).map(|(pattern, _)| *pattern))
            .transpose()?,
        scope: scope(f)?,
        db: needed_weight(f)?,
        role: role(f)?,
    };
    if !["realm", "software", "attr", "type", "only_attrs", "len", "username_len", "username"].iter().any(|k| f.has(k)) {
        return Err(f.table_fault("needs one of `realm`, `software`, `attr`, `type`, `only_attrs`, `len`, `username_len`, `username`"));
    }
    Ok(rule)
}

fn parser(f: &Fields<'_>, out: &mut Vec<ShapeRule>) -> Result<(), LoadError> {
    provenance(f)?;
    let shape = |name: &str| {
        Shape::named(name).ok_or_else(|| {
            let names: Vec<&str> = Shape::ALL.iter().map(|(_, name, _)| *name).collect();
            format!("`{name}` is none of {}", names.join(", "))
        })
    };
    let shapes = f.list("name", shape)?;
    if shapes.is_empty() {
        return Err(f.table_fault("`name` is missing"));
    }
    let classes = [EvidenceClass::Crypto, EvidenceClass::Bytes, EvidenceClass::Pattern];
    let class = f.string("class")?.map(|text| named(f, "class", text, &classes, |c| c.name()).copied()).transpose()?;
    let rule = ShapeRule {
        shape: Shape::Rtp,
        class: class.unwrap_or(EvidenceClass::Bytes),
        home: f.flag("home")?.unwrap_or(false),
        carries: f.flag("carries")?.unwrap_or(false),
        opt_in: f.flag("opt_in")?.unwrap_or(false),
        scope: scope(f)?,
        db: needed_weight(f)?,
        role: role(f)?,
    };
    out.extend(shapes.into_iter().map(|shape| ShapeRule { shape, ..rule.clone() }));
    Ok(())
}

/// `www.{base32:8-20}.net`.
fn make(f: &Fields<'_>, key: &str) -> Result<Option<Make>, LoadError> {
    let Some(text) = f.string(key)? else { return Ok(None) };
    let parts = text.split_once('{').and_then(|(before, rest)| {
        let (random, after) = rest.split_once('}')?;
        let (name, length) = random.split_once(':')?;
        let (alphabet, _) = Alphabet::ALL.iter().find(|(_, n)| *n == name)?;
        Some((before, *alphabet, length, after))
    });
    let Some((before, alphabet, length, after)) = parts else {
        return Err(f.fault(key, "expected text around one random part, such as www.{base32:8-20}.net or {alnum:6-26}.net"));
    };
    match ranges(length, number16).as_deref() {
        Ok([random]) => Ok(Some(Make { before: before.into(), alphabet, random: *random, after: after.into() })),
        _ => Err(f.fault(key, format!("`{length}` is not a length or a range of lengths"))),
    }
}

fn pattern(f: &Fields<'_>) -> Result<PatternRule, LoadError> {
    provenance(f)?;
    let number = |key: &str, within: std::ops::RangeInclusive<i64>, default: Option<i64>| -> Result<i64, LoadError> {
        f.number(key, within)?.or(default).ok_or_else(|| f.table_fault(format!("`{key}` is missing")))
    };
    let sizes = f.list("sizes", |s| match s.parse::<i32>() {
        Ok(n) if (1..=65_535).contains(&n.abs()) && s.starts_with(['+', '-']) => Ok(n),
        _ => Err(format!("`{s}` is not a signed length such as \"+126\"")),
    })?;
    let numbers =
        |key: &str| f.list(key, |s| ranges(s, number16)).map(|v| v.concat().iter().flat_map(|r| r.from..=r.to).collect::<Vec<u16>>());
    let kinds = ["sizes", "modulo", "every_ms", "pps", "payload_types", "nested"];
    let mut given = kinds.iter().filter(|k| f.has(k));
    let pattern = match (given.next().copied(), given.next()) {
        (Some("sizes"), None) => Pattern::Sizes { sizes, tolerance: number("tolerance", 0..=64, Some(0))? as u16 },
        (Some("modulo"), None) => Pattern::Residue {
            modulo: number("modulo", 2..=65_535, None)? as u16,
            classes: numbers("classes")?,
            percent: number("percent", 50..=100, None)? as u8,
            bursts: number("bursts", 4..=40, None)? as u16,
            skip: number("skip", 0..=16, Some(0))? as u16,
        },
        (Some("every_ms"), None) => Pattern::Period {
            len: f.list("len", |s| ranges(s, number16))?.concat().first().copied().ok_or_else(|| f.table_fault("`len` is missing"))?,
            every_ms: number("every_ms", 50..=600_000, None)? as u32,
            slack_ms: number("slack_ms", 1..=60_000, None)? as u32,
            times: number("times", 3..=16, None)? as u16,
        },
        (Some("pps"), None) => {
            Pattern::Media { pps: number("pps", 2..=1000, None)? as u16, seconds: number("seconds", 1..=600, None)? as u16 }
        }
        (Some("payload_types"), None) => {
            Pattern::PayloadTypes { types: numbers("payload_types")?, distinct: number("distinct", 1..=16, Some(1))? as u16 }
        }
        (Some("nested"), None) => Pattern::Nested,
        _ => return Err(f.table_fault(format!("needs exactly one of {}", kinds.map(|k| format!("`{k}`")).join(", ")))),
    };
    let (both_ports, scope) = (f.flag("both_ports")?.unwrap_or(false), scope(f)?);
    if both_ports && scope.ports.is_empty() {
        return Err(f.fault("both_ports", "needs `port`"));
    }
    Ok(PatternRule {
        pattern,
        both_ports,
        home: f.flag("home")?.unwrap_or(false),
        opt_in: f.flag("opt_in")?.unwrap_or(false),
        scope,
        db: needed_weight(f)?,
        role: role(f)?,
    })
}

fn context(f: &Fields<'_>) -> Result<ContextRule, LoadError> {
    provenance(f)?;
    let within = f.number("within", 1..=3600)?.ok_or_else(|| f.table_fault("`within` is missing"))?;
    Ok(ContextRule { needs: f.required("needs")?.into(), within: within as u16, scope: scope(f)?, db: needed_weight(f)?, role: role(f)? })
}

fn probe(f: &Fields<'_>) -> Result<ProbeRule, LoadError> {
    provenance(f)?;
    let names = f.list("exact", host_name)?;
    if names.is_empty() {
        return Err(f.table_fault("`exact` is missing"));
    }
    let within = f.number("within", 1..=3600)?.unwrap_or(30);
    let db = weight(f, "db", -15)?;
    if db > 0 { Err(f.fault("db", "a probe speaks against the name")) } else { Ok(ProbeRule { names, within: within as u16, db }) }
}

/// A weight as written: clipped to ±60 dB is an error here, so that a typing slip shows.
fn written(f: &Fields<'_>, key: &str) -> Result<Option<i16>, LoadError> {
    Ok(f.number(key, -DB_MAX..=DB_MAX)?.map(|n| n as i16))
}

/// A weight, halved if the rule is unverified.
fn weight(f: &Fields<'_>, key: &str, default: i16) -> Result<i16, LoadError> {
    let db = written(f, key)?.unwrap_or(default);
    Ok(if f.flag("unverified")? == Some(true) { db / 2 } else { db })
}

fn needed_weight(f: &Fields<'_>) -> Result<i16, LoadError> {
    if f.has("db") { weight(f, "db", 0) } else { Err(f.table_fault("`db` is missing")) }
}

/// Checks the keys that only say where a rule comes from. The day is the rule's own or its service's; where it comes from every rule says itself.
fn provenance(f: &Fields<'_>) -> Result<(), LoadError> {
    if f.required("source")?.trim().is_empty() {
        return Err(f.fault("source", "say where this rule comes from: a capture, a document, a project with its version"));
    }
    f.flag("unverified")?;
    if f.has("updated") { day(f) } else { Ok(()) }
}

fn day(f: &Fields<'_>) -> Result<(), LoadError> {
    let text = f.required("updated")?;
    match text.parse::<jiff::civil::Date>() {
        Ok(_) if text.len() == 10 => Ok(()),
        _ => Err(f.fault("updated", "expected a day such as 2026-10-01")),
    }
}

fn hosting(f: &Fields<'_>) -> Result<Option<Hosting>, LoadError> {
    let name = |h: &Hosting| match h {
        Hosting::Own => "own",
        Hosting::Cdn => "cdn",
    };
    f.string("hosted")?.map(|text| named(f, "hosted", text, &[Hosting::Own, Hosting::Cdn], name).copied()).transpose()
}

fn role(f: &Fields<'_>) -> Result<Option<Role>, LoadError> {
    let all = [Role::Chat, Role::Media, Role::Call, Role::Push, Role::Web, Role::Api];
    f.string("role")?.map(|text| named(f, "role", text, &all, |r| r.name()).copied()).transpose()
}

fn scope(f: &Fields<'_>) -> Result<Scope, LoadError> {
    let proto = match f.string("proto")? {
        None => None,
        Some(text) => Some(*named(f, "proto", text, &[Proto::TCP, Proto::UDP], |p| if *p == Proto::TCP { "tcp" } else { "udp" })?),
    };
    let number = |s: &str| s.trim().parse::<u16>().map_err(|_| format!("`{s}` is not a port"));
    Ok(Scope { proto, ports: f.list("port", |s| ranges(s, number))?.concat() })
}

/// The value called `name`.
fn named<'v, T>(f: &Fields<'_>, key: &str, name: &str, all: &'v [T], call: impl Fn(&T) -> &'static str) -> Result<&'v T, LoadError> {
    all.iter().find(|v| call(v) == name).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(&call).collect();
        f.fault(key, format!("`{name}` is none of {}", names.join(", ")))
    })
}

/// `1-3,5` with numbers as `number` reads them.
fn ranges(text: &str, number: impl Fn(&str) -> Result<u16, String>) -> Result<Vec<Range>, String> {
    text.split(',')
        .map(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (from, to) = (number(from)?, number(to)?);
            if from > to { Err(format!("{from} is above {to}")) } else { Ok(Range { from, to }) }
        })
        .collect()
}

/// Decimal, or hexadecimal with `0x`.
fn number16(text: &str) -> Result<u16, String> {
    let text = text.trim();
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u16::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("`{text}` is not a number from 0 to 0xffff"))
}

fn network(text: &str) -> Result<IpNet, String> {
    let net: IpNet = match text.parse::<std::net::IpAddr>() {
        Ok(ip) => ip.into(),
        Err(_) => text.parse().map_err(|_| format!("`{text}` is not an address range such as 192.0.2.0/24"))?,
    };
    if net != net.trunc() {
        return Err(format!("`{text}` has bits beyond its prefix; did you mean {}?", net.trunc()));
    }
    Ok(net)
}

fn host_name(text: &str) -> Result<Box<str>, String> {
    let label =
        |l: &str| (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if text.len() <= 253 && text.split('.').all(label) {
        Ok(text.into())
    } else {
        Err(format!("`{text}` is not a plain lower-case host name (no `*`, no leading or trailing dot, IDN as xn--)"))
    }
}
