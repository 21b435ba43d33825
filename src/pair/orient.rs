//! Which point is nearer each flow's client, by the packets that both points certainly have, and by what the user says of where they stand.

use super::clock::Sample;
use super::digest::{Digest, What};
use super::front;
use super::view::Strand;
use crate::model::pair::{Fronts, PerTap, Tap};
use crate::model::side::Side;
use hashbrown::HashMap;
use std::net::IpAddr;

/// A packet seen once at each point: its sender's side, and its times.
pub type Common = (Side, Sample, i16);

/// Position, acknowledgement, length, control bits, hash.
type Alike = (i64, i64, u32, u16, u64);
/// How often at A and B, and the first of each.
#[derive(Clone, Copy, Default)]
struct Twice<'a> {
    n: PerTap<u32>,
    first: PerTap<Option<&'a Digest>>,
}

/// Packets that are certainly the same: alike in everything, and alone in that at both points.
pub fn common(s: &Strand<'_>) -> Vec<Common> {
    let mut out = Vec::new();
    if !s.both() || !s.judged() {
        return out;
    }
    for side in Side::BOTH {
        let mut seen: HashMap<Alike, Twice<'_>> = HashMap::new();
        for tap in Tap::BOTH {
            for i in s.items(tap, side) {
                let d = i.d;
                if d.what == What::Error || (d.what == What::Datagram && d.len == 0) {
                    continue;
                }
                let e = seen.entry((i.pos, i.ack, d.len, d.control(), d.head)).or_default();
                e.n[tap] += 1;
                e.first[tap].get_or_insert(d);
            }
        }
        // A mirrored port doubles everything: then the first of each are taken.
        let doubled = !seen.values().any(|e| e.n.a == 1 || e.n.b == 1);
        let alone = seen.into_values().filter(|e| e.n.a == e.n.b && (e.n.a == 1 || doubled));
        let pairs: Vec<(&Digest, &Digest)> = alone.filter_map(|e| Some((e.first.a?, e.first.b?))).collect();
        // Where each capture missed one of two transmissions, what looks alike was sent at different times: identifications tell.
        let both = |p: &&(&Digest, &Digest)| p.0.ip_id.is_some() && p.1.ip_id.is_some();
        let (same, n) = (pairs.iter().filter(both).filter(|p| p.0.ip_id == p.1.ip_id).count(), pairs.iter().filter(both).count());
        let kept = same * 2 > n;
        let one = pairs.iter().filter(|p| !kept || !both(p) || p.0.ip_id == p.1.ip_id);
        out.extend(one.map(|(a, b)| (side, Sample { a: a.ts, diff: b.ts.since(a.ts) }, i16::from(a.ttl) - i16::from(b.ttl))));
    }
    // The map has no order; everything that follows must not depend on that.
    out.sort_by_key(|c| (c.1.a, c.0 == Side::Server, c.1.diff, c.2));
    out
}

/// The point nearer each strand's client: who sees a packet first, by time (both directions together need no common clock), or, where only one
/// direction was seen, by what the user says, else by TTL. A host stands on one side of the points for all its flows, so one flow with odd TTLs does not decide against the others.
pub fn orient(strands: &[Strand<'_>], seen: &[Vec<Common>], fronts: &Fronts) -> Vec<Option<Tap>> {
    let votes: Vec<Vote> = seen.iter().map(|s| vote(s)).collect();
    let ends = |s: &Strand<'_>| s.any().map(|f| (f.client.ip, f.server.ip));
    let mut hosts: HashMap<IpAddr, Vote> = HashMap::new();
    let mut total = Vote::default();
    let mut falls: HashMap<IpAddr, (u32, u32)> = HashMap::new();
    for (s, v) in strands.iter().zip(&votes) {
        let v = Vote { time: v.time.signum(), hops: v.hops.signum() };
        total.add(v, 1);
        if let Some((client, server)) = ends(s) {
            hosts.entry(client).or_default().add(v, 1);
            hosts.entry(server).or_default().add(v, -1);
            for (host, hops) in [(client, v.hops), (server, -v.hops)] {
                let n = falls.entry(host).or_default();
                *n = (n.0 + u32::from(hops > 0), n.1 + u32::from(hops < 0));
            }
        }
    }
    // A host stands on one side: where its TTLs fall both ways, somebody sets them anew, and they tell nothing.
    let reset = falls.values().any(|(a, b)| a.min(b) * 4 > *a.max(b));
    let tap = |v: i64| match v {
        0 => None,
        v if v > 0 => Some(Tap::A),
        _ => Some(Tap::B),
    };
    let of = |s: &Strand<'_>, own: &Vote| {
        let mut around = Vote::default();
        if let Some((client, server)) = ends(s) {
            around.add(hosts.get(&client).copied().unwrap_or_default(), 1);
            around.add(hosts.get(&server).copied().unwrap_or_default(), -1);
        }
        let measured = [own.time, around.time].into_iter().find_map(tap);
        let said = || front::near(s, fronts);
        let hops = |v: i64| if reset { 0 } else { v };
        let guessed = || [hops(around.hops), hops(own.hops), total.time, hops(total.hops)].into_iter().find_map(tap);
        measured.or_else(said).or_else(guessed)
    };
    strands.iter().zip(&votes).map(|(s, v)| of(s, v)).collect()
}

/// Above 0: A is nearer the client.
#[derive(Clone, Copy, Default)]
struct Vote {
    time: i64,
    hops: i64,
}

impl Vote {
    const fn add(&mut self, other: Self, sign: i64) {
        self.time += other.time * sign;
        self.hops += other.hops * sign;
    }
}

/// What one flow's packets say, by time if both directions were seen, and by TTL.
fn vote(seen: &[Common]) -> Vote {
    let median = |side: Side| {
        let mut all: Vec<i64> = seen.iter().filter(|c| c.0 == side).map(|c| c.1.diff.nanos()).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied()
    };
    let mut hops: Vec<i16> = seen.iter().map(|c| if c.0 == Side::Client { c.2 } else { -c.2 }).collect();
    hops.sort_unstable();
    let hops = i64::from(hops.get(hops.len() / 2).copied().unwrap_or(0));
    let time = match (median(Side::Client), median(Side::Server)) {
        // Closer than this the jitter of the capturing hosts decides: routers in between do better.
        (Some(c), Some(s)) if (c - s).abs() > 200_000 || hops == 0 => c - s,
        _ => 0,
    };
    Vote { time, hops }
}

pub fn samples(seen: &[Vec<Common>], near: &[Option<Tap>]) -> (Vec<Sample>, Vec<Sample>) {
    let (mut to_b, mut to_a) = (Vec::new(), Vec::new());
    for (seen, near) in seen.iter().zip(near) {
        let Some(near) = near else { continue };
        for (side, sample, _) in seen {
            let from_a = (*side == Side::Client) == (*near == Tap::A);
            if from_a { to_b.push(*sample) } else { to_a.push(*sample) }
        }
    }
    (to_b, to_a)
}
