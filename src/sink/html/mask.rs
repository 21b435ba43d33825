//! Clients get letters instead of addresses: a report is made to be published, and its readers need to tell clients apart, not to find them.
//!
//! The letters are put in where a finished piece of the report is sealed, so that no sentence can forget to.

use crate::model::flow::{FlowRecord, RoleBasis};
use crate::model::key::Proto;
use crate::model::label::{Label, LabelGrade};
use crate::model::story::Story;
use crate::sink::text;
use maud::Markup;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Most addresses that get a name of their own; further ones share one.
const NAMED_MAX: usize = 100_000;

/// Addresses that are not shown.
#[derive(Default)]
pub struct Mask {
    open: bool,
    clients: BTreeMap<IpAddr, usize>,
    peers: BTreeMap<IpAddr, usize>,
}

impl Mask {
    /// A mask that knows nobody yet; an open one hides nobody.
    pub fn new(open: bool) -> Self {
        Self { open, ..Self::default() }
    }

    /// Whether addresses are shown after all.
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// Learns the clients of a story, and the far ends of calls that are no known relay: those are clients too.
    pub fn learn(&mut self, story: &Story) {
        if self.open {
            return;
        }
        let sure = |f: &FlowRecord| matches!(f.role_basis, RoleBasis::Syn | RoleBasis::SynAck | RoleBasis::FirstDatagram);
        let servers: BTreeSet<IpAddr> = story.flows.iter().filter(|f| sure(f)).map(|f| f.server.ip).collect();
        for f in &story.flows {
            if sure(f) || !servers.contains(&f.client.ip) {
                name(&mut self.clients, f.client.ip);
            }
        }
        for (i, f) in story.flows.iter().enumerate() {
            let label = story.labels.get(i).and_then(Option::as_ref);
            if is_peer(f, label) && !self.clients.contains_key(&f.server.ip) {
                name(&mut self.peers, f.server.ip);
            }
        }
    }

    /// What stands for an address.
    pub fn of(&self, ip: IpAddr) -> String {
        let shared = |n: usize| if n < NAMED_MAX { n } else { NAMED_MAX };
        match (self.open, self.clients.get(&ip), self.peers.get(&ip)) {
            (false, Some(n), _) => format!("client {}", letters(shared(*n))),
            (false, None, Some(n)) => format!("peer {}", letters(shared(*n))),
            _ => ip.to_string(),
        }
    }

    /// A finished piece: addresses of clients replaced, and whatever could act on a reader or hide from him shown as an escape. Markup of our own
    /// has neither line breaks nor control characters, so all that are found came from elsewhere.
    pub fn seal(&self, markup: &Markup) -> String {
        text::shown(&self.masked(&markup.0), false)
    }

    fn masked(&self, text: &str) -> String {
        if self.open || (self.clients.is_empty() && self.peers.is_empty()) {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        let part = |c: char| c.is_ascii_hexdigit() || c == '.' || c == ':';
        let mut rest = text;
        while let Some(from) = rest.find(part) {
            let (before, tail) = rest.split_at(from);
            let end = tail.find(|c| !part(c)).unwrap_or(tail.len());
            let (token, after) = tail.split_at(end);
            out.push_str(before);
            // `dead.example`: the letters before or after belong to a word, not to an address.
            let word = before.ends_with(|c: char| c.is_ascii_alphanumeric()) || after.starts_with(|c: char| c.is_ascii_alphanumeric());
            match (!word).then(|| self.token(token)).flatten() {
                Some(masked) => out.push_str(&masked),
                None => out.push_str(token),
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// A token that is an address, maybe with a port or the full stop of its sentence.
    fn token(&self, token: &str) -> Option<String> {
        if token.len() < 3 || !token.contains(['.', ':']) {
            return None;
        }
        let known = |t: &str| t.parse::<IpAddr>().ok().filter(|ip| self.clients.contains_key(ip) || self.peers.contains_key(ip));
        let bare = token.trim_end_matches(['.', ':']);
        if let Some(ip) = known(token).or_else(|| known(bare)) {
            let tail = token.get(bare.len()..).filter(|_| token.parse::<IpAddr>().is_err()).unwrap_or_default();
            return Some(format!("{}{tail}", self.of(ip)));
        }
        let (head, port) = bare.rsplit_once(':')?;
        Some(format!("{}:{port}{}", self.of(known(head)?), token.get(bare.len()..).unwrap_or_default()))
    }
}

fn name(into: &mut BTreeMap<IpAddr, usize>, ip: IpAddr) {
    let next = into.len();
    into.entry(ip).or_insert(next);
}

/// Ports of STUN and TURN servers (RFC 8489, RFC 8656, and those of the large operators): who is asked there is a machine, not a person.
const RELAY_PORTS: [u16; 7] = [3478, 3479, 3480, 3481, 5349, 5350, 19302];

/// The other person of a call, as far as can be told: media over UDP to an address that no service file knows and that is no relay.
fn is_peer(f: &FlowRecord, label: Option<&Label>) -> bool {
    let media = f.proto == Proto::UDP && matches!(f.app, Some("rtp" | "rtcp" | "dtls" | "stun"));
    let relay = RELAY_PORTS.contains(&f.server.port) || f.notes.stun().any(|(_, s)| s.realm.is_some());
    media && !relay && label.is_none_or(|l| l.grade < LabelGrade::Probable)
}

/// 0 is `A`, 25 `Z`, 26 `AA`.
fn letters(n: usize) -> String {
    let mut out = String::new();
    let mut n = n + 1;
    while n > 0 {
        out.insert(0, char::from(b'A' + u8::try_from((n - 1) % 26).unwrap_or(0)));
        n = (n - 1) / 26;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_letters_wherever_their_address_stands() {
        let mut mask = Mask::default();
        for ip in ["192.168.1.2", "2001:db8::7"] {
            name(&mut mask.clients, ip.parse().unwrap());
        }
        for (text, wanted) in [
            ("TTL 64 from 192.168.1.2", "TTL 64 from client A"),
            ("192.168.1.2:443, 192.168.1.2.", "client A:443, client A."),
            ("[2001:db8::7]:443 and 2001:db8::7", "[client B]:443 and client B"),
            ("192.168.1.23 and 1192.168.1.2", "192.168.1.23 and 1192.168.1.2"),
            ("a.192.168.1.2x", "a.192.168.1.2x"),
            ("bead: face. at 10:20", "bead: face. at 10:20"),
        ] {
            assert_eq!(mask.masked(text), wanted);
        }
        mask.open = true;
        assert_eq!(mask.masked("192.168.1.2"), "192.168.1.2");
    }

    #[test]
    fn letters_go_on_after_z() {
        assert_eq!([0, 25, 26, 701, 702].map(letters), ["A", "Z", "AA", "ZZ", "AAA"]);
    }
}
