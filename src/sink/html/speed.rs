//! Pictures of slowness: bytes over time with the line a token bucket allows, and how fast other flows of the same client went.

use super::draw::{self, Scale, px};
use crate::model::finding::{Direction, Finding};
use crate::model::flow::FlowRecord;
use crate::model::pace::Pace;
use crate::model::side::Side;
use crate::model::throttle::Throttle;
use crate::model::time::{Span, Time};
use crate::sink::jsonl::goodput;
use crate::sink::text;
use hashbrown::HashMap;
use maud::{Markup, html};
use std::net::IpAddr;

/// Most flows laid together in one curve.
const FLOWS_MAX: usize = 32;
/// Most points drawn, and most rows of the table.
const POINTS_MAX: usize = 240;
const ROWS_MAX: usize = 25;
/// Most marks for drops.
const DROPS_MAX: usize = 80;
/// Most bars of the comparison.
const BARS_MAX: usize = 14;
/// A flow that moved less says nothing about its speed.
const SPEAKS: u64 = 40_000;

/// The side whose bytes the finding is about.
pub fn side(f: &Finding, flows: &[&FlowRecord]) -> Side {
    match f.direction {
        Some(Direction::C2s) => Side::Client,
        Some(Direction::S2c) => Side::Server,
        _ => {
            let sent = |s: Side| flows.iter().map(|f| f.totals[s].bytes).sum::<u64>();
            if sent(Side::Client) > sent(Side::Server) { Side::Client } else { Side::Server }
        }
    }
}

/// Bytes that had passed by a moment, in seconds since the first.
struct Curve {
    start: Time,
    points: Vec<(f64, f64)>,
    /// Moments with drops, and the height of the curve there.
    drops: Vec<(f64, f64)>,
    dropped: u64,
    flows: usize,
}

impl Curve {
    fn of(flows: &[&FlowRecord], side: Side) -> Option<Self> {
        let paces: Vec<&Pace> = flows.iter().filter_map(|f| f.pace[side].as_deref()).take(FLOWS_MAX).collect();
        let start = paces.iter().map(|p| p.began.min(p.start)).min()?;
        // (when, bytes, drops)
        let mut steps: Vec<(Time, u64, u64)> = Vec::new();
        for p in &paces {
            steps.push((p.start, p.before, 0));
            for bin in p.series() {
                let end = bin.at.plus(p.width).min(p.last.max(p.start));
                steps.push((end, u64::from(bin.passed), u64::from(bin.drops)));
            }
        }
        steps.sort_by_key(|s| s.0);
        let (mut sum, mut points, mut drops, mut dropped) = (0u64, vec![(0.0, 0.0)], Vec::new(), 0);
        for (when, bytes, lost) in steps {
            sum += bytes;
            let t = when.since(start).as_secs();
            points.push((t, sum as f64));
            if lost > 0 {
                dropped += lost;
                drops.push((t, sum as f64));
            }
        }
        (sum > 0).then_some(Self {
            start,
            points: thinned(points, POINTS_MAX),
            drops: thinned(drops, DROPS_MAX),
            dropped,
            flows: paces.len(),
        })
    }

    /// The highest line of this slope that touches the curve from `from` on: what a bucket filled at that rate has let pass.
    fn bucket(&self, bytes_per_second: f64, from: f64) -> Option<f64> {
        let inside = self.points.iter().filter(|p| p.0 >= from);
        inside.map(|(t, sum)| sum - bytes_per_second * t).reduce(f64::max)
    }
}

/// Every so many-th, and always the last.
fn thinned(points: Vec<(f64, f64)>, max: usize) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(max).max(1);
    let last = points.len().saturating_sub(1);
    points.into_iter().enumerate().filter(|(i, _)| i % step == 0 || *i == last).map(|(_, p)| p).collect()
}

/// The line above which nothing more passes: where it starts, seconds and bytes, and where it leaves the picture.
struct Bucket {
    bps: u64,
    line: [(f64, f64); 2],
    /// Bytes let through above the rate before it took hold; the line then starts with the curve.
    burst: Option<u64>,
}

impl Bucket {
    fn of(f: &Finding, curve: &Curve, end: f64, most: f64) -> Option<Self> {
        let bps = f.rate_bps.filter(|r| *r > 0)?;
        let rate = bps as f64 / 8.0;
        // A burst is measured from a single flow's first byte.
        let burst = f.throttle.as_deref().and_then(|t| t.burst).filter(|_| curve.flows == 1);
        let began = f.throttle.as_deref().map_or(f.started, |t| t.from);
        let from = if burst.is_some() { 0.0 } else { began.since(curve.start).as_secs().clamp(0.0, end) };
        let base = burst.map_or_else(|| curve.bucket(rate, from), |b| Some(b as f64))?;
        let stop = ((most - base) / rate).min(end);
        (stop > from).then_some(Self { bps, line: [(from, base + rate * from), (stop, base + rate * stop)], burst })
    }

    /// Bytes on the line at a moment, from its beginning on.
    fn at(&self, t: f64) -> Option<u64> {
        let [(t0, v0), _] = self.line;
        (t >= t0).then(|| (v0 + self.bps as f64 / 8.0 * (t - t0)).max(0.0) as u64)
    }
}

/// Flows that were measured as held back; all of the finding's where no measurement names them.
fn measured<'a>(f: &Finding, flows: &[&'a FlowRecord]) -> Vec<&'a FlowRecord> {
    let held = |o: &&&FlowRecord| f.throttle.as_deref().is_some_and(|t| t.held.iter().any(|(id, _)| *id == o.id));
    let named: Vec<&FlowRecord> = flows.iter().filter(held).copied().collect();
    if named.is_empty() { flows.to_vec() } else { named }
}

/// What the measurement says beside the picture.
fn figures(t: &Throttle) -> String {
    let mut says = format!(" Measured: {} to {}", text::rate(t.low), text::rate(t.high));
    if let Some(burst) = t.burst {
        says.push_str(&format!(", after a burst of {} bytes", text::grouped(burst)));
    }
    if t.loss >= 0.001 {
        says.push_str(&format!(", {:.1} % of packets dropped", t.loss * 100.0));
    }
    if let (Some(base), Some(usual)) = (t.rtt_base_ms, t.rtt_usual_ms) {
        says.push_str(&format!(", round trips of {usual:.0} ms where {base:.0} ms are undisturbed"));
    }
    if let Some(before) = t.before {
        says.push_str(&format!(", {} before it took hold", text::rate(before)));
    }
    says.push('.');
    says
}

/// Bytes over time of the finding's flows, with the rate it infers.
pub fn sequence(title: &str, f: &Finding, flows: &[&FlowRecord]) -> Option<Markup> {
    let curve = Curve::of(&measured(f, flows), side(f, flows))?;
    let end = curve.points.last()?.0;
    let most = curve.points.last()?.1;
    let (left, right, top, bottom) = (52.0, 392.0, 10.0, 190.0);
    let x = Scale::new(0.0, end, left, right);
    let y = Scale::new(0.0, most * 1.04, bottom, top);
    let draw_line = |points: &[(f64, f64)]| {
        let mut d = String::new();
        for (i, (t, v)) in points.iter().enumerate() {
            d.push_str(&format!("{}{} {}", if i == 0 { "M" } else { "L" }, px(x.of(*t)), px(y.of(*v))));
        }
        d
    };
    let line = Bucket::of(f, &curve, end, most * 1.04);
    let unit = if most >= 2e6 { (1e6, "MB") } else { (1e3, "kB") };
    let inside = html! {
        (draw::left(&y, left, right, 5, |v| draw::short(v / unit.0)))
        (draw::bottom(&x, bottom, top, "seconds"))
        text.t x=(px(left + 4.0)) y=(px(top + 8.0)) { (unit.1) }
        path.curve d=(draw_line(&curve.points)) {}
        @for (t, v) in &curve.drops { path.drop d=(format!("M{} {} l-3 6 h6 z", px(x.of(*t)), px(y.of(*v) + 3.0))) {} }
        @if let Some(bucket) = &line {
            path.rate d=(draw_line(&bucket.line)) {}
            text.b.halo x=(px(right - 4.0)) y=(px(bottom - 8.0)) text-anchor="end" {
                "dashed: " (text::rate(bucket.bps)) @if let Some(burst) = bucket.burst { " after " (text::grouped(burst)) " bytes" }
            }
        }
    };
    let mut says = format!("The solid curve is what passed of {}, headers included.", text::counted(curve.flows as u64, "flow"));
    if let Some(bucket) = &line {
        says.push_str(" The dashed line is what a token bucket refilled at the inferred rate lets pass: a held-back flow runs along it.");
        if bucket.burst.is_some() {
            says.push_str(" It starts at what the full bucket let through at once.");
        }
    }
    if let Some(t) = f.throttle.as_deref() {
        says.push_str(&figures(t));
    }
    if curve.dropped > 0 {
        says.push_str(&format!(" Triangles are moments with drops, {} in all.", text::counted(curve.dropped, "packet")));
    }
    let rows: Vec<Vec<String>> = thinned(curve.points.clone(), ROWS_MAX)
        .into_iter()
        .map(|(t, v)| {
            let drops = curve.drops.iter().filter(|d| d.0 <= t).count();
            let mut cells = vec![format!("{t:.2}"), text::grouped(v as u64), drops.to_string()];
            if let Some(bucket) = &line {
                cells.push(bucket.at(t).map_or_else(String::new, text::grouped));
            }
            cells
        })
        .collect();
    let mut heads = vec!["#seconds", "#bytes passed", "#moments with drops so far"];
    if line.is_some() {
        heads.push("#bytes on the line");
    }
    Some(draw::figure(title, &says, bottom + 28.0, &inside, &draw::table(title, &heads, &rows)))
}

/// A flow in the comparison.
pub struct Lane<'a> {
    /// The flow.
    pub flow: &'a FlowRecord,
    /// What it is called.
    pub name: String,
    /// Whether the finding is about it.
    pub hit: bool,
    /// The rate the finding measured of it, IP bytes, bit/s.
    pub rate: Option<u64>,
}

/// From when to when a finding's flows went on, for each client.
pub struct Meanwhile(HashMap<IpAddr, (Time, Time)>);

impl Meanwhile {
    /// Of these flows.
    pub fn of(flows: &[&FlowRecord]) -> Self {
        let mut at: HashMap<IpAddr, (Time, Time)> = HashMap::new();
        for f in flows {
            let (from, to) = at.entry(f.client.ip).or_insert((f.first.ts, f.last.ts));
            (*from, *to) = ((*from).min(f.first.ts), (*to).max(f.last.ts));
        }
        Self(at)
    }

    /// Whether a flow can be compared with them: same client, at about that time, enough bytes.
    pub fn comparable(&self, flow: &FlowRecord, side: Side) -> bool {
        let slack = Span::from_secs(10);
        // Acknowledgements of a large transfer the other way say nothing of what this way could carry.
        let near = |(from, to): &(Time, Time)| flow.first.ts <= to.plus(slack) && *from <= flow.last.ts.plus(slack);
        flow.totals[side].payload >= SPEAKS && self.0.get(&flow.client.ip).is_some_and(near)
    }
}

/// Goodput of the finding's flows beside that of others.
pub fn goodputs(lanes: Vec<Lane<'_>>, side: Side, chance: Option<f64>) -> Option<Markup> {
    let judged = lanes.iter().any(|l| l.rate.is_some());
    let mut all: Vec<(u64, Lane<'_>)> = lanes.into_iter().filter_map(|l| Some((l.rate.or_else(|| goodput(l.flow, side))?, l))).collect();
    if !all.iter().any(|(_, l)| l.hit) || all.iter().all(|(_, l)| l.hit) {
        return None;
    }
    all.sort_by_key(|(bps, l)| (*bps, l.flow.id));
    // Of both kinds, those that moved most.
    let mut bars: Vec<usize> = Vec::new();
    for hit in [true, false] {
        let mut own: Vec<usize> = all.iter().enumerate().filter(|(_, (_, l))| l.hit == hit).map(|(i, _)| i).collect();
        own.sort_by_key(|i| std::cmp::Reverse(all.get(*i).map_or(0, |(_, l)| l.flow.totals[side].bytes)));
        bars.extend(own.into_iter().take(BARS_MAX / 2));
    }
    bars.sort_unstable();
    let left_out = all.len() - bars.len();
    let shown: Vec<&(u64, Lane<'_>)> = bars.iter().filter_map(|i| all.get(*i)).collect();
    let most = shown.iter().map(|(bps, _)| *bps).max()?.max(1);
    let row = 27.0;
    let height = row * shown.len() as f64 + 4.0;
    let inside = html! {
        @for (i, (bps, lane)) in shown.iter().enumerate() {
            @let y = row * i as f64;
            @let width = (*bps as f64 / most as f64 * 300.0).max(1.5);
            text.b[lane.hit] x="0" y=(px(y + 11.0)) { @if lane.hit { "◆ " } (text::cut(&lane.name, 62, false)) }
            rect class=(if lane.hit { "barbad" } else { "bar2" }) x="0" y=(px(y + 15.0)) width=(px(width)) height="8" {}
            text x=(px(width + 6.0)) y=(px(y + 22.5)) { (text::rate(*bps)) }
        }
    };
    let of = if judged {
        "What arrived per second, headers included, as the finding measured it. ◆ and dark: the flows of this finding; lighter: the flows it was compared with."
    } else {
        "Payload per second, from the first to the last packet with payload. ◆ and dark: the flows of this finding; lighter: other flows of the same client meanwhile."
    };
    let mut says = of.to_owned();
    if let Some(p) = chance {
        says.push_str(&format!(" Had all been drawn alike, this order would come up with a chance of {}.", percent(p)));
    }
    if left_out > 0 {
        says.push_str(&format!(" {} more are not drawn.", text::counted(left_out as u64, "flow")));
    }
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|(bps, l)| {
            let finding = if l.hit { "yes" } else { "no" };
            vec![
                l.name.clone(),
                finding.to_owned(),
                text::rate(*bps),
                text::grouped(l.flow.totals[side].payload),
                l.flow.id.frame.0.to_string(),
            ]
        })
        .collect();
    let heads = ["flow", "of this finding", "#goodput", "#payload bytes", "#first frame"];
    Some(draw::figure("Goodput against other traffic", &says, height, &inside, &draw::table("Goodput of flows", &heads, &rows)))
}

/// A chance from 0 to 1 as people read it.
fn percent(p: f64) -> String {
    if p < 0.0001 { "less than 0.01 %".to_owned() } else { format!("{} %", draw::short((p * 10_000.0).round() / 100.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::flow::Outcome;
    use crate::sink::sample;

    #[test]
    fn acknowledgements_are_no_traffic_to_compare_with() {
        let slow = sample::tcp_flow(1, "a.example", Outcome::Ok);
        let mut other = sample::tcp_flow(40, "b.example", Outcome::Ok);
        other.totals.server.payload = 2 * SPEAKS;
        other.totals.client.bytes = 2 * SPEAKS;
        let then = Meanwhile::of(&[&slow]);
        assert!(then.comparable(&other, Side::Server));
        assert!(!then.comparable(&other, Side::Client), "its client sent acknowledgements only");
        other.client.ip = "192.168.1.9".parse().unwrap();
        assert!(!then.comparable(&other, Side::Server), "another client");
    }
}
