//! Whether the limit may stand at the server itself, on its line, or at its provider.
//!
//! Neither one rate nor drops nor a first burst say where on the path they arise: a hoster holds a tenant to a tariff with the same token
//! bucket that holds a subscriber. These facts do say it:
//!
//! | fact | why it is not the server's end |
//! |---|---|
//! | another name at the same address went faster at the same time | what holds an address holds all its names |
//! | packets passed the capture point, far from the server, and were dropped or waited behind it | the limit lies behind it too |
//! | three servers in other networks and places share one bucket | only the client's side of the path is common to them |
//! | three such servers slowed down at one moment, at different ages of their flows | the same |
//! | three such servers are each held to one rate | tariffs seldom agree to a twentieth |
//!
//! A network of the service's own has no provider that sells it bandwidth: there a bucket that each drop found empty will do, and is never more
//! than likely.
//!
//! Two servers are not enough: one machine may have two addresses, and two providers to announce them.

use super::lane::{self, Lane};
use super::plateau::{self, Plateau};
use super::queue::{Losses, Queue};
use super::rate::Measured;
use super::series::Series;
use crate::model::flow::FlowRecord;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::{Span, Time};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A capture point this far from a server, in time and in routers, is not at its provider any more: light goes 200 km and back.
const FAR: Span = Span::from_millis(2);
const FAR_HOPS: u8 = 3;
/// So many echoes of timestamps hold one that did not wait for data.
const ECHOES: u64 = 20;
/// Round trips of servers in different places differ at least by this, and by a quarter.
const PLACES: Span = Span::from_millis(5);
/// So many servers apart from each other are not one machine with several addresses, nor one with lines of two providers.
const MACHINES: usize = 3;
/// Rates of different servers this near to each other are one rate.
const ALIKE: f64 = 0.05;
/// Servers that share a bucket are watched together for at least so many stretches of time.
pub(super) const STRETCHES: usize = 6;
/// Most stretches that a time is cut into.
const STRETCHES_MAX: usize = 4_096;
/// Most servers of one service that are compared with each other.
const SERVERS_MAX: usize = 16;

/// Why the limit is not at the server's end, if something shows that.
pub(super) struct Elsewhere {
    pub why: String,
    /// It rests on servers being different machines in different places, which addresses and round trips only suggest.
    pub by_places: bool,
    /// Not even servers that pace themselves alike would do it.
    pub not_paced: bool,
}

pub(super) fn elsewhere(scene: &Scene<'_>, m: &Measured<'_>) -> Option<Elsewhere> {
    let known = |why: String| Some(Elsewhere { why, by_places: false, not_paced: true });
    if m.controls.same_server_meanwhile > 0 {
        return known("another name at the same address was faster at the same time".into());
    }
    if behind_the_tap(scene, m.side, &m.group, &m.losses, &m.queue) {
        let what = if m.queue.grown() { "waited" } else { "were dropped" };
        return known(format!("packets passed the capture point, far from the server, and {what} on the client's side of it"));
    }
    let places = |why: &str, not_paced| Some(Elsewhere { why: why.into(), by_places: true, not_paced });
    let servers = servers(scene, &m.service);
    match () {
        () if servers.len() < MACHINES => None,
        () if one_bucket(&servers, &m.p) => places("servers in different networks and places share one bucket", true),
        () if one_moment(&servers) => places("servers in different networks and places slowed down at one moment", true),
        () if one_rate(&servers) => places("servers in different networks and places are each held to one rate", false),
        () => None,
    }
}

/// The capture point lies between the server and what drops or delays, far from the server.
pub(super) fn behind_the_tap(scene: &Scene<'_>, side: Side, lanes: &[Lane<'_>], losses: &Losses, queue: &Queue) -> bool {
    if scene.vantage() != Vantage::Mid || scene.source.quality.ttl_normalised || !lanes.iter().all(far) {
        return false;
    }
    let (here, there) = match side {
        Side::Server => (losses.beyond, losses.before),
        Side::Client => (losses.before, losses.beyond),
    };
    let waited = queue.grown() && queue.behind == (side == Side::Server);
    let dropped = here >= 10 && !queue.grown();
    there * 10 <= here.max(9) && (waited || dropped)
}

/// The capture point is far from this lane's server.
fn far(l: &Lane<'_>) -> bool {
    let Some(tcp) = l.flow.tcp.as_deref() else { return false };
    let data = &tcp.side.client.rtt;
    let rtt = tcp.rtt_server.into_iter().chain((data.n > 0).then_some(data.min)).min();
    // Without a handshake, echoes that waited for nothing tell: the earliest of many.
    let echo = Some(&l.pace.echo).filter(|e| e.total() >= ECHOES).and_then(|e| e.quantile(0.05));
    let rtt = rtt.or_else(|| Some(Span::from_micros((echo? / 2.0) as i64)));
    let hops = tcp.side.server.ttl.mode().map(|ttl| initial(ttl) - ttl);
    rtt.is_some_and(|r| r >= FAR) && hops.is_some_and(|h| h >= FAR_HOPS)
}

/// The TTL with which a packet set out.
fn initial(ttl: u8) -> u8 {
    match ttl {
        0..=64 => 64,
        65..=128 => 128,
        _ => 255,
    }
}

/// The lanes that carry bulk data, by server; only servers that are apart from all others here.
fn servers<'a>(scene: &Scene<'_>, lanes: &[Lane<'a>]) -> Vec<Vec<Lane<'a>>> {
    let mut by: BTreeMap<IpAddr, Vec<Lane<'a>>> = BTreeMap::new();
    for l in lanes.iter().filter(|l| lane::bulk(l) && l.pace.total() >= 100_000) {
        by.entry(l.flow.server.ip).or_default().push(*l);
    }
    let mut kept: Vec<Vec<Lane<'a>>> = Vec::new();
    for lanes in by.into_values() {
        let alone = |k: &Vec<Lane<'_>>| matches!((k.first(), lanes.first()), (Some(a), Some(b)) if apart(scene, a.flow, b.flow));
        if kept.len() < SERVERS_MAX && kept.iter().all(alone) {
            kept.push(lanes);
        }
    }
    kept
}

/// Whether there are servers apart from each other among these, as many as cannot be one machine.
pub(super) fn many_places(scene: &Scene<'_>, flows: &[&FlowRecord]) -> bool {
    let mut kept: Vec<&FlowRecord> = Vec::new();
    for f in flows {
        if kept.len() < MACHINES && kept.iter().all(|k| apart(scene, k, f)) {
            kept.push(f);
        }
    }
    kept.len() >= MACHINES
}

/// Servers in different networks, and not in the same place.
fn apart(scene: &Scene<'_>, a: &FlowRecord, b: &FlowRecord) -> bool {
    let ttl = |f: &FlowRecord| f.tcp.as_deref().and_then(|t| t.side.server.ttl.mode());
    let rtt = |ip| scene.kin.rtt.get(&ip).map(|r| r.0.as_secs());
    let routers = matches!((ttl(a), ttl(b)), (Some(x), Some(y)) if x.abs_diff(y) >= 2) && !scene.source.quality.ttl_normalised;
    let places = matches!((rtt(a.server.ip), rtt(b.server.ip)), (Some(x), Some(y))
        if (x - y).abs() >= PLACES.as_secs() && x.max(y) >= 1.25 * x.min(y));
    network(a.server.ip) != network(b.server.ip) && (routers || places)
}

/// What is announced as one network at most: a sixteenth of the address in version 4, what a provider is given in version 6.
pub(super) fn network(ip: IpAddr) -> (bool, u32) {
    match ip {
        IpAddr::V4(a) => (false, u32::from(a) >> 16),
        IpAddr::V6(a) => (true, (u128::from(a) >> 96) as u32),
    }
}

/// The sum of all keeps one rate while the share of each swings.
pub(super) fn one_bucket(parts: &[Vec<Lane<'_>>], p: &Plateau) -> bool {
    let begin = parts.iter().filter_map(|l| l.iter().map(|l| l.pace.start).min()).max().unwrap_or(p.from);
    let end = parts.iter().filter_map(|l| l.iter().map(|l| l.pace.last).max()).min().unwrap_or(p.to);
    let (from, to) = (begin.max(p.from), end.min(p.to));
    let step = (10.0 * parts.iter().flatten().map(Lane::rtt).fold(0.0, f64::max)).max(0.5);
    let (step, n) = cut(to.since(from).as_secs(), step);
    if n < STRETCHES || parts.len() < 2 {
        return false;
    }
    let each: Vec<Vec<f64>> = parts.iter().map(|l| stretches(l, from, step, n)).collect();
    let sum: Vec<f64> = (0..n).map(|i| each.iter().filter_map(|v| v.get(i)).sum()).collect();
    let swing = variation(&sum);
    swing <= 0.1 && each.iter().all(|v| variation(v) >= f64::max(0.15, 2.0 * swing))
}

/// A time cut into stretches of so many seconds, or of more if there would be too many: clocks of captures may leap by decades.
pub(super) fn cut(seconds: f64, step: f64) -> (f64, usize) {
    let step = step.max(seconds / STRETCHES_MAX as f64);
    (step, ((seconds / step) as usize).min(STRETCHES_MAX))
}

/// Bytes that passed in each of `n` stretches of `step` seconds.
pub(super) fn stretches(lanes: &[Lane<'_>], from: Time, step: f64, n: usize) -> Vec<f64> {
    let mut out = vec![0.0; n];
    for bin in lanes.iter().flat_map(|l| l.pace.series().map(move |b| (b, l.pace.width))) {
        let at = bin.0.at.plus(Span::from_nanos(bin.1.nanos() / 2)).since(from).as_secs() / step;
        if at >= 0.0
            && let Some(slot) = out.get_mut(at as usize)
        {
            *slot += f64::from(bin.0.passed);
        }
    }
    out
}

/// Standard deviation over mean.
pub(super) fn variation(v: &[f64]) -> f64 {
    let mean = v.iter().sum::<f64>() / v.len().max(1) as f64;
    let var = v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len().saturating_sub(1).max(1) as f64;
    if mean > 0.0 { var.sqrt() / mean } else { 0.0 }
}

/// They slowed down at one moment, though not at one age: what a flow spent before is not the reason.
fn one_moment(servers: &[Vec<Lane<'_>>]) -> bool {
    let fall = |lanes: &Vec<Lane<'_>>| {
        let s = Series::passed(lanes)?;
        let (at, _) = s.falls()?;
        let dropped = s.drops.iter().skip(at.saturating_sub(1)).sum::<f64>() >= 2.0;
        dropped.then(|| (s.time(at), s.time(at).since(s.start).as_secs(), s.width))
    };
    let falls: Vec<(Time, f64, f64)> = servers.iter().filter_map(fall).collect();
    let Some(first) = falls.iter().map(|f| f.0).min().filter(|_| falls.len() >= MACHINES) else { return false };
    let spread = |v: &dyn Fn(&(Time, f64, f64)) -> f64| {
        let (low, high) = falls.iter().map(v).fold((f64::MAX, f64::MIN), |(a, z), x| (a.min(x), z.max(x)));
        high - low
    };
    let blur = 2.0 * falls.iter().map(|f| f.2).fold(0.0, f64::max);
    let (moments, ages) = (spread(&|f| f.0.since(first).as_secs()), spread(&|f| f.1));
    moments <= 0.3 + blur && ages >= 0.5 + blur && ages >= 2.0 * moments
}

/// Each keeps a rate, and it is the same.
fn one_rate(servers: &[Vec<Lane<'_>>]) -> bool {
    let steady = |p: &Plateau| p.steady >= plateau::STEADY || (p.near >= 8 && p.deviation <= ALIKE * p.rate);
    let held = |lanes: &Vec<Lane<'_>>| Plateau::of(lanes).filter(|p| p.windows >= 5 && p.episodes >= 3 && steady(p));
    let rates: Vec<f64> = servers.iter().filter_map(held).map(|p| p.rate).collect();
    let (low, high) = rates.iter().fold((f64::MAX, f64::MIN), |(a, z), r| (a.min(*r), z.max(*r)));
    rates.len() >= MACHINES && high - low <= ALIKE * low
}
