//! How well each capture recorded what it should have: the measure of every claim that rests on a packet's absence.

use super::align::{Far, Near};
use super::digest::{TapeFlow, What};
use super::front::Checked;
use super::proof::TALK;
use super::trips::Trips;
use super::view::{Strand, View};
use crate::model::key::{Endpoint, Proto};
use crate::model::pair::{PerTap, Tap};
use crate::model::side::Side;
use hashbrown::{HashMap, HashSet};
use ipnet::IpNet;
use std::net::IpAddr;

/// What a capture recorded of what certainly passed it: segments and datagrams whose absence would show, so that of acknowledgements on their way
/// to the other point all count that came there, and of those coming from it none: they may be thinned out on the way.
#[derive(Clone, Copy, Default, Debug)]
pub struct Record {
    /// Packets recorded, known to have passed because the other capture has them too.
    pub seen: u64,
    /// Packets it missed although they passed.
    pub missed: u64,
}

/// The record of both captures, by the direction of the packets.
#[derive(Default)]
pub struct Ledger {
    /// Of packets leaving towards the other point.
    pub out: PerTap<Record>,
    /// Of packets arriving from it.
    pub into: PerTap<Record>,
    /// Packets of any sort that left a point and arrived at the other.
    passed: PerTap<u64>,
    /// How long questions took from one point to the other and back, by the point they left first and the server.
    trips: HashMap<(Tap, Proto, Endpoint), Trips>,
    /// Resets that arrived from the other point, genuine ones included.
    pub resets: PerTap<u64>,
    /// ICMP errors that both captures have.
    pub errors: u64,
    /// A capture has resets at all, in whatever direction: it was not told to leave them out.
    pub has_resets: PerTap<bool>,
    /// Servers, with protocol and port, as each capture has them: how many flows the other has too, and how many conversations it has alone. A server has
    /// clients that never pass the other point; that says nothing of those that do.
    servers: HashMap<(Tap, Proto, Endpoint), (u32, u32)>,
    /// Per client at A and B: flows both captures have, and all flows with a packet towards the other point.
    clients: HashMap<(Tap, IpAddr), (u32, u32)>,
    /// Servers of flows that both captures have, as each names them.
    reached: HashSet<(Tap, IpAddr)>,
    /// What the user says the captures stand in front of.
    pub fronts: Checked,
}

impl Ledger {
    /// Counts.
    pub fn of(view: &View<'_>) -> Self {
        let mut l = Self { fronts: Checked::of(view), ..Self::default() };
        for s in &view.strands {
            if !s.judged() {
                continue;
            }
            for tap in Tap::BOTH {
                let Some(f) = s.at(tap) else { continue };
                // A flow whose answers nobody but the near capture saw is what is to be judged, not a witness.
                let answered = s.both() || !f.packets.iter().any(|d| d.side == Side::Server);
                if answered && s.near == Some(tap) {
                    let e = l.clients.entry((tap, f.client.ip)).or_default();
                    e.0 += u32::from(s.both());
                    e.1 += u32::from(s.both() || f.packets.len() > 8);
                }
            }
            for tap in Tap::BOTH {
                let Some(f) = s.at(tap) else { continue };
                l.has_resets[tap] |= f.packets.iter().any(|d| d.what == What::Tcp && d.flags.rst());
                if s.both() {
                    l.reached.insert((tap, f.server.ip));
                }
                let e = l.servers.entry((tap, f.proto, f.server)).or_default();
                e.0 += u32::from(s.both());
                e.1 += u32::from(!s.both() && talked(f));
            }
            for side in Side::BOTH {
                if let Some(up) = s.up(side) {
                    l.lane(s, side, up);
                }
            }
            if let Some((near, trip)) = Trips::of(s)
                && let Some(f) = s.at(near)
            {
                l.trips.entry((near, f.proto, f.server)).or_default().add(trip);
            }
        }
        for tap in Tap::BOTH {
            let source = &view.stories[tap].source;
            let drops = source.drops.unwrap_or(0);
            l.out[tap].missed = l.out[tap].missed.max(drops);
            l.into[tap].missed = l.into[tap].missed.max(drops);
        }
        l
    }

    fn lane(&mut self, s: &Strand<'_>, side: Side, up: Tap) {
        let lane = &s.lane[side];
        // In a conversation what stands between datagrams that are known was one of them.
        let talk = lane.far.len() > TALK;
        let known = |j: usize| matches!(lane.aligned.far.get(j), Some(Far::Match(_)));
        let (first, last) = ((0..lane.far.len()).find(|j| known(*j)), (0..lane.far.len()).rfind(|j| known(*j)));
        for (j, (f, state)) in lane.came().enumerate() {
            self.resets[up.other()] += u64::from(f.d.flags.rst());
            let datagram = f.d.what == What::Datagram;
            self.errors += u64::from(f.d.what == What::Error && matches!(state, Far::Match(_)));
            match state {
                Far::Match(_) => {
                    let bytes = datagram || f.d.len > 0 && !f.d.flags.rst();
                    self.passed[up] += 1;
                    self.out[up].seen += u64::from(bytes || f.d.what == What::Tcp && f.d.control() == 0);
                    self.into[up.other()].seen += u64::from(bytes);
                }
                Far::Missed => self.out[up].missed += 1,
                Far::Unsent if datagram && talk && Some(j) > first && Some(j) < last => self.out[up].missed += 1,
                _ => {}
            }
        }
        for (_, state) in lane.sent() {
            if state == Near::Missed {
                self.into[up.other()].missed += 1;
            }
        }
    }

    /// Upper bound (95 %) of the share of departing packets that a capture misses.
    pub fn miss_rate(&self, up: Tap) -> f64 {
        // A capture does not ask which way a packet goes; but what one direction lost is not excused by the other.
        let (out, into) = (self.out[up], self.into[up]);
        let both = Record { seen: out.seen + into.seen, missed: out.missed + into.missed };
        bound(out).min(bound(both)).max(rate(out))
    }

    /// The same for packets arriving.
    pub fn arrival_miss_rate(&self, tap: Tap) -> f64 {
        let (out, into) = (self.out[tap], self.into[tap]);
        let both = Record { seen: out.seen + into.seen, missed: out.missed + into.missed };
        bound(into).min(bound(both)).max(rate(into))
    }

    /// Whether nothing is known that a capture missed.
    pub fn whole(&self, tap: Tap) -> bool {
        self.out[tap].missed + self.into[tap].missed == 0
    }

    /// Whether a capture recorded packets leaving towards the other point at all.
    pub fn records_departures(&self, up: Tap) -> bool {
        self.passed[up] > 0
    }

    /// Round trips between the points of questions to the server of a flow that `tap`, near its client, recorded.
    pub fn trips(&self, s: &Strand<'_>, tap: Tap) -> Option<&Trips> {
        let f = s.at(tap)?;
        self.trips.get(&(tap, f.proto, f.server))
    }

    /// Whether a capture recorded packets that came from the other point at all.
    pub fn records_arrivals(&self, tap: Tap) -> bool {
        self.passed[tap.other()] > 0
    }

    /// Whether packets to an address, or to its neighbours, passed both points: there is a way to it.
    pub fn reached(&self, tap: Tap, ip: IpAddr) -> bool {
        let around = match ip {
            IpAddr::V4(_) => IpNet::new(ip, 24),
            IpAddr::V6(_) => IpNet::new(ip, 48),
        };
        self.reached.iter().any(|(t, other)| *t == tap && around.as_ref().is_ok_and(|n| n.contains(other)))
    }

    /// Whether the other capture would have this flow, of which only `tap` (near its client) has anything: it is said to have everything of the
    /// server, it knows the server, or it has everything else the client did, to several servers.
    pub fn expected(&self, s: &Strand<'_>, tap: Tap) -> Option<Expected> {
        let f = s.at(tap)?;
        if let Some(net) = self.fronts.holds(tap.other(), f.server.ip) {
            return Some(Expected::Said(net));
        }
        // Where a conversation passed one point only, flows to this server are spread over several ways.
        match self.servers.get(&(tap, f.proto, f.server)) {
            Some((both, 0)) if *both > 0 => return Some(Expected::Server(*both)),
            Some((1.., _)) => return None,
            _ => {}
        }
        let (both, all) = self.clients.get(&(tap, f.client.ip)).copied()?;
        let shared = || self.servers.iter().filter(|(k, n)| k.0 == tap && n.0 > 0).map(|(k, _)| k);
        let servers = shared().count();
        // It records this protocol, to this port, at all.
        let kin = shared().any(|k| k.1 == f.proto && k.2.port == f.server.port);
        (kin && servers >= 2 && both >= 2 && both * 20 >= all * 19).then_some(Expected::Everything(both))
    }
}

/// More than a question and an answer.
pub fn talked(f: &TapeFlow) -> bool {
    f.packets.len() > TALK
        && Side::BOTH.iter().all(|side| f.packets.iter().any(|d| d.side == *side && d.what != What::Error && d.len > 0))
        && (f.proto != Proto::TCP || f.packets.iter().any(|d| d.side == Side::Server && d.flags.syn()))
}

/// Upper bound (95 %: the rule of three, and one deviation where there were misses).
fn bound(r: Record) -> f64 {
    let missed = r.missed as f64;
    ((missed + 2.0 * missed.sqrt() + 3.0) / (r.seen + r.missed + 3) as f64).min(1.0)
}

fn rate(r: Record) -> f64 {
    r.missed as f64 / (r.seen + r.missed).max(1) as f64
}

/// Why a capture should have had a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// It has all other conversations with this server: so many.
    Server(u32),
    /// It has the client's other flows, to all servers: so many.
    Everything(u32),
    /// The user says that it recorded every packet of these addresses.
    Said(IpNet),
}
