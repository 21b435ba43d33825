//! What the user says a capture stands in front of, held against what the captures show.
//!
//! Two captures alone cannot tell an address that stands behind B, and whose packets were all swallowed before, from one that never had anything to do
//! with B. The user can (`--b-has`). The word is taken as long as nothing shows that it is wrong; a capture
//! that lacks what it is said to have of one address is not believed about any other.

use super::digest::TapeFlow;
use super::ledger::talked;
use super::view::{Strand, View};
use crate::model::pair::{Fronts, PerTap, Tap};
use ipnet::IpNet;
use std::net::IpAddr;

/// A statement of the user, and what contradicts it.
#[derive(Clone, Debug)]
pub struct Front {
    /// The addresses.
    pub net: IpNet,
    /// Why it is not believed.
    pub refuted: Option<String>,
}

/// All statements.
#[derive(Clone, Default, Debug)]
pub struct Checked(PerTap<Vec<Front>>);

impl Checked {
    /// Holds every statement against the flows.
    pub fn of(view: &View<'_>) -> Self {
        let mut out = Self::default();
        for tap in Tap::BOTH {
            out.0[tap] = view.fronts.0[tap].iter().map(|net| Front { net: *net, refuted: refuted(view, tap, net) }).collect();
            if let Some(why) = out.0[tap].iter().find_map(|f| f.refuted.clone()) {
                for f in &mut out.0[tap] {
                    f.refuted.get_or_insert_with(|| why.clone());
                }
            }
        }
        out
    }

    /// The statement, if there is one that holds, that a capture recorded every packet of an address.
    pub fn holds(&self, tap: Tap, ip: IpAddr) -> Option<IpNet> {
        self.0[tap].iter().find(|f| f.refuted.is_none() && f.net.contains(&ip)).map(|f| f.net)
    }

    /// Statements that do not hold, with the option that made them.
    pub fn refuted(&self) -> impl Iterator<Item = (Tap, &Front)> {
        Tap::BOTH.into_iter().flat_map(|tap| self.0[tap].iter().filter(|f| f.refuted.is_some()).map(move |f| (tap, f)))
    }
}

/// The point nearer the client, if one is said to stand in front of the client or of the server, and the other is not.
pub fn near(s: &Strand<'_>, fronts: &Fronts) -> Option<Tap> {
    let named = |tap: Tap, of: fn(&TapeFlow) -> IpAddr| Tap::BOTH.iter().any(|t| s.at(*t).is_some_and(|f| fronts.of(tap, of(f)).is_some()));
    let at = |tap: Tap| {
        let (client, server) = (named(tap, |f| f.client.ip), named(tap, |f| f.server.ip));
        i8::from(client) - i8::from(server)
    };
    match at(Tap::A).cmp(&at(Tap::B)) {
        std::cmp::Ordering::Greater => Some(Tap::A),
        std::cmp::Ordering::Less => Some(Tap::B),
        std::cmp::Ordering::Equal => None,
    }
}

/// What shows that a capture does not record every packet of these addresses.
fn refuted(view: &View<'_>, tap: Tap, net: &IpNet) -> Option<String> {
    let (own, other) = (tap.name(), tap.other().name());
    for s in view.strands.iter().filter(|s| s.judged()) {
        let (at, there) = (s.at(tap), s.at(tap.other()));
        let Some(f) = there.or(at).filter(|f| net.contains(&f.server.ip)) else { continue };
        if at.is_none() && talked(f) {
            return Some(format!("{other} has a conversation with {} of which {own} has nothing", f.server.ip));
        }
        if let (Some(x), Some(y)) = (at, there)
            && !s.flipped
            && x.server.ip != y.server.ip
        {
            return Some(format!("{} is {} at {own}: what stands before {own} translates addresses", y.server.ip, x.server.ip));
        }
        // Both points have it, and time, which outweighs words, says where they stand.
        if s.both() && s.near == Some(tap) && !net.contains(&f.client.ip) {
            return Some(format!("{own} is nearer the client than {other} on connections with {}", f.server.ip));
        }
    }
    None
}
