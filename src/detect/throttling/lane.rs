//! One direction of one flow, and which of them belong together.

use crate::model::flow::FlowRecord;
use crate::model::key::Proto;
use crate::model::label::{Label, LabelGrade};
use crate::model::pace::Pace;
use crate::model::scene::{KIN_MAX, Scene};
use crate::model::side::Side;
use crate::model::time::{Span, Time};
use std::net::IpAddr;

/// A throttled flow moves on at least this often.
const SILENT: Span = Span::from_secs(3);

/// One direction of one flow.
#[derive(Clone, Copy)]
pub(super) struct Lane<'a> {
    pub flow: &'a FlowRecord,
    pub label: Option<&'a Label>,
    pub pace: &'a Pace,
    pub side: Side,
}

impl<'a> Lane<'a> {
    pub fn of(flow: &'a FlowRecord, label: Option<&'a Label>, side: Side) -> Option<Self> {
        Some(Self { flow, label, pace: flow.pace[side].as_deref()?, side })
    }
    /// The handshake's round trips: from the capture point to this lane's receiver, and to its sender.
    pub fn handshake(&self) -> (Option<Span>, Option<Span>) {
        let Some(tcp) = self.flow.tcp.as_deref() else { return (None, None) };
        match self.side {
            Side::Client => (tcp.rtt_server, tcp.rtt_client),
            Side::Server => (tcp.rtt_client, tcp.rtt_server),
        }
    }
    /// Who sends to whom.
    fn hosts(&self) -> (IpAddr, IpAddr) {
        (self.flow.endpoint(self.side).ip, self.flow.endpoint(self.side.peer()).ip)
    }
    /// Whether the capture point lies on the sender's side of whatever limits it, and acknowledgements tell what arrived.
    pub fn before_the_limit(&self) -> bool {
        let p = self.pace;
        let (receiver, sender) = self.handshake();
        let far = match (receiver, sender) {
            (Some(r), Some(s)) => r.nanos() > s.nanos(),
            _ => p.lost_beyond > p.lost_before,
        };
        far && p.lost_before <= p.lost_beyond && p.acked.iter().any(|b| *b > 0)
    }
    /// When something was dropped first.
    pub fn first_drop(&self) -> Option<Time> {
        let p = self.pace;
        p.drops.iter().position(|d| *d > 0).map(|i| p.start.plus(p.width.times(i as i64)))
    }
    /// Runs of bins without a byte, longer than a few round trips, in nanoseconds from a start that lies `offset` before this lane's first bin.
    pub fn rests(&self, width: i64, offset: i64) -> Vec<(i64, i64)> {
        let long = ((3.0 * self.rtt() * 1e9) as i64 / width).max(3) as usize;
        let mut from = 0;
        let mut out = Vec::new();
        for run in self.pace.passed[..self.pace.used()].chunk_by(|a, b| (*a == 0) == (*b == 0)) {
            let to = from + run.len();
            if run.first() == Some(&0) && run.len() >= long {
                out.push((offset + width * from as i64, offset + width * to as i64));
            }
            from = to;
        }
        out
    }
    /// Nothing that was sent arrived any more for at least half of its life: it was cut off, and what is cut off has no rate.
    pub fn cut_off(&self) -> bool {
        let p = self.pace;
        let used = p.used();
        let arrived = if p.acked.iter().any(|b| *b > 0) { &p.acked } else { &p.passed };
        let alive = arrived.iter().take(used).rposition(|b| *b > 0).map_or(0, |i| i + 1);
        let vain = used.saturating_sub(alive);
        let tries = p.drops.iter().take(used).skip(alive).filter(|d| **d > 0).count();
        vain * 2 >= used && p.width.times(vain as i64) >= SILENT && tries >= 2
    }
    /// Smallest known round trip end to end, in seconds.
    pub fn rtt(&self) -> f64 {
        let (receiver, sender) = self.handshake();
        let hand = receiver.unwrap_or(Span::ZERO).as_secs() + sender.unwrap_or(Span::ZERO).as_secs();
        if hand > 0.0 {
            return hand;
        }
        let low = |q: Option<f64>| q.map_or(0.0, |us| us / 1e6);
        let data = low(self.pace.rtt.quantile(0.05)) + low(self.pace.echo.quantile(0.05));
        if data > 0.0 { data } else { 0.1 }
    }
}

/// All lanes of a client, and those of the server that go the same way between the two hosts, in the order of their first frames.
pub(super) fn lanes<'a>(scene: &Scene<'a>, side: Side) -> Vec<Lane<'a>> {
    let kin = scene.kin;
    let all: &[u32] = kin.of_client(scene.flow.client.ip);
    // Where a client has very many flows, those around this one matter.
    let here = all.partition_point(|i| kin.flows.get(*i as usize).is_some_and(|f| f.id < scene.flow.id));
    let from = here.saturating_sub(KIN_MAX / 2);
    let lane = |i: &u32, side| {
        let flow = kin.flows.get(*i as usize)?;
        Lane::of(flow, kin.labels.get(*i as usize).and_then(Option::as_ref), side)
    };
    let mut lanes: Vec<Lane<'_>> = all.iter().skip(from).take(KIN_MAX).filter_map(|i| lane(i, side)).collect();
    let back: &[u32] = kin.of_client(scene.flow.server.ip);
    let pair = |l: &Lane<'_>| l.flow.server.ip == scene.flow.client.ip && l.flow.client.ip != l.flow.server.ip;
    lanes.extend(back.iter().take(KIN_MAX).filter_map(|i| lane(i, side.peer())).filter(pair));
    lanes.sort_by_key(|l| l.flow.id);
    lanes
}

/// Whether two lanes go to one target: one name, or without names one server.
pub(super) fn same_target(a: &Lane<'_>, b: &Lane<'_>) -> bool {
    if a.flow.proto != b.flow.proto {
        return false;
    }
    match (a.flow.asked_name(), b.flow.asked_name()) {
        (Some(x), Some(y)) => x == y,
        (None, None) => a.hosts() == b.hosts(),
        _ => false,
    }
}

/// Whether two lanes belong to one service.
pub(super) fn same_service(a: &Lane<'_>, b: &Lane<'_>) -> bool {
    match (known(a.label), known(b.label)) {
        (Some(x), Some(y)) => x.id == y.id,
        _ => false,
    }
}

/// A label that is more than a guess.
pub(super) fn known(label: Option<&Label>) -> Option<&Label> {
    label.filter(|l| l.grade >= LabelGrade::Probable)
}

/// Whether the flow is one whose datagrams carry bulk data.
pub(super) fn bulk_datagrams(f: &FlowRecord) -> bool {
    f.proto == Proto::UDP && f.app == Some("quic")
}

/// Whether a lane carries a stream of data, not messages now and then.
pub(super) fn bulk(l: &Lane<'_>) -> bool {
    l.flow.tcp.is_some() || bulk_datagrams(l.flow)
}
