//! Clients get letters instead of addresses: a report is made to be published, and its readers need to tell clients apart, not to find them.
//!
//! The letters are put in where a finished piece of the report is sealed, so that no sentence can forget to.

use crate::model::flow::{FlowRecord, RoleBasis};
use crate::model::key::Proto;
use crate::model::label::{Label, LabelGrade};
use crate::model::story::Story;
use crate::sink::text;
use hashbrown::HashSet;
use maud::Markup;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Most addresses that get a letter, over all captures of a run: those of what is shown.
const NAMED_MAX: usize = 10_000;

/// Addresses that are not shown.
#[derive(Default)]
pub struct Mask {
    open: bool,
    clients: BTreeMap<IpAddr, usize>,
    peers: BTreeMap<IpAddr, usize>,
    /// Clients and peers beyond the bound, of the capture at hand: they stay unnamed.
    unnamed: BTreeSet<IpAddr>,
    /// The bound was reached: an address that nobody knows may be a client of an earlier capture.
    full: bool,
    /// See [`Mask::close`].
    closed: bool,
    /// Addresses in what is being drafted.
    drafted: RefCell<BTreeSet<IpAddr>>,
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

    /// Takes note of the addresses in a piece that will be shown. Those that the piece asked [`Mask::of`] for have been noted already.
    pub fn draft(&self, markup: &Markup) {
        self.masked(&markup.0);
    }

    /// Learns which of the addresses drafted are clients of a story, or far ends of calls that are no known relay: those are clients too. A capture
    /// may have a million clients; what is kept grows with what is shown.
    pub fn learn(&mut self, story: &Story) {
        self.unnamed.clear();
        let wanted: HashSet<IpAddr> = std::mem::take(self.drafted.get_mut()).into_iter().collect();
        if self.open || wanted.is_empty() {
            return;
        }
        let sure = |f: &FlowRecord| matches!(f.role_basis, RoleBasis::Syn | RoleBasis::SynAck | RoleBasis::FirstDatagram);
        let shown = |ip: IpAddr| wanted.contains(&ip);
        let servers: HashSet<IpAddr> = story.flows.iter().filter(|f| shown(f.server.ip) && sure(f)).map(|f| f.server.ip).collect();
        for f in story.flows.iter().filter(|f| shown(f.client.ip)) {
            if sure(f) || !servers.contains(&f.client.ip) {
                self.name(f.client.ip, false);
            }
        }
        for (f, label) in story.flows.iter().zip(&story.labels).filter(|(f, _)| shown(f.server.ip)) {
            if is_peer(f, label.as_ref()) && !self.clients.contains_key(&f.server.ip) {
                self.name(f.server.ip, true);
            }
        }
    }

    fn name(&mut self, ip: IpAddr, peer: bool) {
        if self.clients.contains_key(&ip) || self.peers.contains_key(&ip) && peer {
            return;
        }
        if self.clients.len() + self.peers.len() >= NAMED_MAX {
            self.full = true;
            self.unnamed.insert(ip);
            return;
        }
        let into = if peer { &mut self.peers } else { &mut self.clients };
        let next = into.len();
        into.insert(ip, next);
    }

    /// What stands for an address.
    pub fn of(&self, ip: IpAddr) -> String {
        if self.open {
            return ip.to_string();
        }
        self.drafted.borrow_mut().insert(ip);
        self.hidden(ip).unwrap_or_else(|| ip.to_string())
    }

    /// What stands for an address that is not shown.
    fn hidden(&self, ip: IpAddr) -> Option<String> {
        match (self.clients.get(&ip), self.peers.get(&ip)) {
            (Some(n), _) => Some(format!("client {}", letters(*n))),
            (None, Some(n)) => Some(format!("peer {}", letters(*n))),
            _ if self.unnamed.contains(&ip) => Some("another client".to_owned()),
            _ => (self.full && self.closed).then(|| "an address".to_owned()),
        }
    }

    /// From here on pieces belong to no single capture: once the bound was reached, nobody can tell whose the other addresses are.
    pub fn close(&mut self) {
        self.unnamed.clear();
        self.closed = true;
    }

    /// A finished piece: addresses of clients replaced, and whatever could act on a reader or hide from him shown as an escape. Markup of our own
    /// has neither line breaks nor control characters, so all that are found came from elsewhere.
    pub fn seal(&self, markup: &Markup) -> String {
        text::shown(&self.masked(&markup.0), false)
    }

    fn masked(&self, text: &str) -> String {
        if self.open {
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
        let parsed = |t: &str| t.parse::<IpAddr>().ok();
        let known = |ip: IpAddr| {
            self.drafted.borrow_mut().insert(ip);
            self.hidden(ip)
        };
        let bare = token.trim_end_matches(['.', ':']);
        if let Some((ip, tail)) =
            parsed(token).map(|ip| (ip, "")).or_else(|| parsed(bare).map(|ip| (ip, token.get(bare.len()..).unwrap_or_default())))
        {
            return Some(format!("{}{tail}", known(ip)?));
        }
        let (head, port) = bare.rsplit_once(':')?;
        Some(format!("{}:{port}{}", known(parsed(head)?)?, token.get(bare.len()..).unwrap_or_default()))
    }
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
    use crate::sink::sample;
    use maud::html;

    #[test]
    fn clients_get_letters_wherever_their_address_stands() {
        let mut mask = Mask::default();
        for ip in ["192.168.1.2", "2001:db8::7"] {
            mask.name(ip.parse().unwrap(), false);
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
    fn only_what_is_shown_gets_a_letter_and_nobody_shares_one() {
        let mut story = sample::story();
        let one = story.flows[0].client.ip;
        let mut mask = Mask::default();
        mask.learn(&story);
        assert!(mask.clients.is_empty(), "nothing was drafted");
        mask.draft(&html! { p { "from " (one) } });
        mask.learn(&story);
        assert_eq!((mask.clients.len(), &*mask.masked(&one.to_string())), (1, "client A"));
        // As many as get letters, and two more.
        let like = story.flows[0].clone();
        let many = |n: usize| IpAddr::from(std::net::Ipv4Addr::from(0x0b00_0000 + u32::try_from(n).unwrap()));
        story.flows = (0..NAMED_MAX + 1)
            .map(|n| {
                let mut f = like.clone();
                f.client.ip = many(n);
                f
            })
            .collect();
        story.labels = vec![None; story.flows.len()];
        for n in 0..NAMED_MAX + 1 {
            mask.of(many(n));
        }
        mask.learn(&story);
        assert_eq!(mask.clients.len(), NAMED_MAX);
        let names: BTreeSet<String> = (0..NAMED_MAX - 1).map(|n| mask.of(many(n))).collect();
        assert_eq!(names.len(), NAMED_MAX - 1, "each has a letter of its own");
        assert_eq!([mask.of(many(NAMED_MAX - 1)), mask.of(many(NAMED_MAX))], ["another client", "another client"]);
        mask.close();
        assert_eq!(mask.masked("seen from 11.0.39.16."), "seen from an address.");
    }

    #[test]
    fn letters_go_on_after_z() {
        assert_eq!([0, 25, 26, 701, 702].map(letters), ["A", "Z", "AA", "ZZ", "AAA"]);
    }
}
