//! The report's words: plain names for kinds, grades, states and outcomes.

use crate::model::finding::{Finding, Grade, Kind};
use crate::model::flow::{FlowRecord, Outcome};
use crate::model::story::State;

/// A kind as a heading.
pub const fn kind(k: Kind) -> &'static str {
    match k {
        Kind::RstInjection => "Injected connection reset",
        Kind::SniFiltering => "Filtering by server name",
        Kind::ConnectionFreeze => "Connections frozen",
        Kind::Throttling => "Throttling",
        Kind::DnsInjection => "DNS answers forged or dropped",
        Kind::QuicBlocking => "QUIC blocked",
        Kind::UdpBlocking => "Calls blocked (UDP)",
        Kind::ProtocolBlocking => "Protocol blocked",
        Kind::IpBlocking => "Address blocked",
        Kind::BlockPage => "Block page",
        Kind::Residual => "Blocking that outlives its trigger",
        Kind::PacketInjection => "Packets that were never sent",
        Kind::PacketRewriting => "Packets changed on the way",
    }
}

/// What a grade means.
pub const fn grade(g: Grade) -> &'static str {
    match g {
        Grade::Confirmed => {
            "Proved by the packets: something that no correctly working computer or network does, or a clear difference from comparable connections."
        }
        Grade::Likely => "Several independent signs agree, and none of the innocent causes considered explains them as well.",
        Grade::Possible => {
            "It looks like interference, but something innocent may look the same, and there is too little to compare with. Do not rely on it alone."
        }
    }
}

/// Words of the trade that a report cannot do without, for readers of other trades.
pub const GLOSSARY: [(&str, &str); 10] = [
    ("client, server", "who began a connection, and whom it was made to"),
    ("packet, frame", "one piece of traffic as it was captured; its frame number is its place in the capture"),
    ("tap", "where the capture was made"),
    ("TCP, UDP, QUIC", "ways to carry data: sites use TCP or QUIC, calls mostly UDP"),
    ("SYN, ACK, FIN", "packets that begin a connection, say what has arrived, and end it"),
    ("reset, RST", "a packet that breaks a connection off at once"),
    ("ClientHello, SNI", "the first message of an encrypted connection; it names the server where everybody on the way can read it"),
    ("DNS", "the lookup of the address that belongs to a name"),
    ("TTL, IP ID", "numbers on every packet that differ from one sending machine to another, and so tell machines apart"),
    ("control", "comparable connections that show what happens without interference"),
];

/// Class of a grade's mark: how it looks beside its word.
pub const fn grade_class(g: Grade) -> &'static str {
    match g {
        Grade::Confirmed => "mark solid",
        Grade::Likely => "mark bad",
        Grade::Possible => "mark weak warn",
    }
}

/// Sign, word, explanation and class of a state. The sign and the word say it without colour.
pub const fn state(s: State) -> (&'static str, &'static str, &'static str, &'static str) {
    match s {
        State::Ok => ("✓", "works", "attempts succeeded and nothing speaks against it", "good"),
        State::Impaired => ("~", "impaired", "it works, with interference or heavy failures", "warn"),
        State::LikelyBlocked => ("!", "likely blocked", "failures with findings that are likely", "bad"),
        State::Blocked => ("✗", "blocked", "failures with a confirmed finding", "bad"),
        State::Down => ("▼", "down", "failures without any sign of interference", "warn"),
        State::Insufficient => ("?", "too little seen", "this capture cannot say", "none"),
    }
}

/// Every outcome, in the order charts and tables show them.
pub const OUTCOMES: [Outcome; 8] = [
    Outcome::Ok,
    Outcome::Refused,
    Outcome::Reset,
    Outcome::SilentSyn,
    Outcome::SilentHello,
    Outcome::Muted,
    Outcome::Stalled,
    Outcome::Unknown,
];

/// An outcome in a few words.
pub const fn outcome(o: Outcome) -> &'static str {
    match o {
        Outcome::Ok => "went well",
        Outcome::Refused => "refused",
        Outcome::Reset => "reset",
        Outcome::SilentSyn => "no answer at all",
        Outcome::SilentHello => "first message lost",
        Outcome::Muted => "never answered",
        Outcome::Stalled => "stalled",
        Outcome::Unknown => "cannot be judged",
    }
}

/// Whether an outcome is a failure that can be judged.
pub const fn failed(o: Outcome) -> bool {
    !matches!(o, Outcome::Ok | Outcome::Unknown)
}

/// What a finding is about, from the surest name to the address; `title` is the service's.
pub fn target(f: &Finding, title: Option<&str>) -> String {
    let t = &f.target;
    let name = t.sni.as_deref().or(t.host.as_deref()).or(t.qname.as_deref());
    let service = title.or(t.service.as_deref()).map(|s| match t.role {
        Some(role) => format!("{s} {}", role.name()),
        None => s.to_owned(),
    });
    match (service, name, t.ip) {
        (Some(service), Some(name), _) => format!("{service} ({name})"),
        (Some(service), None, _) => service,
        (None, Some(name), _) => name.to_owned(),
        (None, None, Some(ip)) => ip.to_string(),
        (None, None, None) => "an unnamed target".to_owned(),
    }
}

/// `connections` or what stands for them in this protocol.
pub fn flows_noun(flows: &[&FlowRecord]) -> &'static str {
    if !flows.is_empty() && flows.iter().all(|f| f.tcp.is_some()) { "connection" } else { "flow" }
}

/// Names of captures as short as tells them apart: the folders that all have in common may name a person, and are left out.
pub fn file_names(paths: &[&str]) -> Vec<String> {
    let parts: Vec<Vec<&str>> = paths.iter().map(|p| p.split(['/', '\\']).collect()).collect();
    let shortest = parts.iter().map(Vec::len).min().unwrap_or(0);
    let common =
        (0..shortest.saturating_sub(1)).take_while(|i| parts.iter().all(|p| p.get(*i) == parts.first().and_then(|f| f.get(*i)))).count();
    let name = |p: &Vec<&str>| p.get(common..).unwrap_or_default().join("/");
    parts.iter().map(|p| if p.as_slice() == ["-"] { "standard input".to_owned() } else { name(p) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_are_named_without_what_all_share() {
        assert_eq!(file_names(&["/home/anna/x.pcap"]), ["x.pcap"]);
        assert_eq!(file_names(&["/home/anna/a/x.pcap", "/home/anna/b/x.pcap"]), ["a/x.pcap", "b/x.pcap"]);
        assert_eq!(file_names(&["-"]), ["standard input"]);
        assert_eq!(file_names(&["x", "/tmp/x"]), ["x", "/tmp/x"]);
        assert!(file_names(&[]).is_empty());
    }
}
