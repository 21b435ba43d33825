//! Pictures of single packets and single deaths: headers of resets beside the server's own packets, and after how many bytes connections died.

use super::draw::{self, Scale, px};
use super::words;
use crate::model::finding::Death;
use crate::model::flow::{Brief, FlowRecord};
use crate::model::side::Side;
use crate::sink::text;
use maud::{Markup, html};

/// Steps of the histogram.
const STEPS: usize = 24;
/// TTL and IP identification of resets beside the other packets of the side they claim to come from.
pub fn headers(flow: &FlowRecord) -> Option<Markup> {
    let tcp = flow.tcp.as_deref()?;
    let side = tcp.resets.first()?.packet.side;
    let mut packets: Vec<&Brief> = flow.ladder.iter().filter(|p| p.side == side).collect();
    for r in tcp.resets.iter().filter(|r| r.packet.side == side) {
        if !packets.iter().any(|p| p.frame == r.packet.frame) {
            packets.push(&r.packet);
        }
    }
    packets.sort_by_key(|p| p.frame);
    let others = packets.iter().filter(|p| !p.flags.rst()).count();
    if others == 0 || others == packets.len() {
        return None;
    }
    let ids = packets.iter().any(|p| p.ip_id.is_some());
    let (left, right) = (46.0, 392.0);
    let x = Scale::new(0.0, packets.len() as f64 - 1.0, left + 10.0, right - 10.0);
    let ttl = |p: &Brief| Some(f64::from(p.ttl));
    let id = |p: &Brief| p.ip_id.map(f64::from);
    let ttl_low = packets.iter().map(|p| p.ttl).min()?.saturating_sub(4);
    let ttl_high = packets.iter().map(|p| p.ttl).max()?.saturating_add(4);
    let high = if ids { 226.0 } else { 116.0 };
    let inside = html! {
        text.b x="0" y="12" { "TTL" }
        (panel(&packets, &x, &Scale::new(f64::from(ttl_low), f64::from(ttl_high), 106.0, 18.0), (left, right), ttl))
        @if ids {
            text.b x="0" y="124" { "IP identification" }
            (panel(&packets, &x, &Scale::new(0.0, 65_535.0, 216.0, 132.0), (left, right), id))
        }
        text.t x=(px(right)) y=(px(high + 4.0)) text-anchor="end" { "packets in the order they were captured →" }
    };
    let who = if side == Side::Client { "client" } else { "server" };
    let says = format!(
        "✗: packets with RST that claim to come from the {who}. ○: its other packets. What one machine sends over one path usually has one TTL and identifications that follow one rule."
    );
    let rows: Vec<Vec<String>> = packets
        .iter()
        .map(|p| {
            vec![
                p.frame.0.to_string(),
                if p.flags.rst() { "reset" } else { "other" }.to_owned(),
                p.ttl.to_string(),
                p.ip_id.map_or_else(|| "none".to_owned(), |id| id.to_string()),
                p.window.to_string(),
            ]
        })
        .collect();
    let table = draw::table("Header fields", &["#frame", "packet", "#TTL", "#IP ID", "#window"], &rows);
    Some(draw::figure(&format!("Resets beside the {who}'s own packets"), &says, high + 8.0, &inside, &table))
}

fn panel(packets: &[&Brief], x: &Scale, y: &Scale, (left, right): (f64, f64), value: impl Fn(&Brief) -> Option<f64>) -> Markup {
    html! {
        (draw::left(y, left, right, 4, draw::short))
        @for (i, p) in packets.iter().enumerate() {
            @if let Some(v) = value(p) {
                @let (cx, cy) = (x.of(i as f64), y.of(v));
                @if p.flags.rst() { path.x d=(format!("M{} {} l8 8 m0 -8 l-8 8", px(cx - 4.0), px(cy - 4.0))) {} }
                @else { circle.ring cx=(px(cx)) cy=(px(cy)) r="3.4" {} }
            }
        }
    }
}

/// The deaths that a finding weighed, beside what went well.
pub fn weighed<'a>(deaths: &[Death], well: impl Iterator<Item = &'a FlowRecord>) -> Option<Markup> {
    let died: Vec<u64> = deaths.iter().map(|d| d.bytes).collect();
    let well: Vec<u64> = well
        .filter_map(|f| f.tcp.as_deref().map(|t| t.side.server.unique.saturating_add(t.side.client.unique)))
        .filter(|n| *n > 0)
        .collect();
    histogram(
        &died,
        &well,
        "kB of both sides that arrived; the last bar: that much or more",
        "How many bytes of both sides had arrived when connections died, as the finding weighed them, beside this client's connections that went well. Deaths that crowd at one amount have one cause, such as a quota.",
    )
}

/// Bytes that had arrived from the server when connections died, beside those of connections that went well; `None` below `few` deaths.
pub fn deaths<'a>(flows: impl Iterator<Item = &'a FlowRecord>, few: usize) -> Option<Markup> {
    let (mut died, mut well): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
    for f in flows {
        let Some(tcp) = f.tcp.as_deref() else { continue };
        let got = tcp.side.server.unique;
        if got == 0 {
            continue;
        }
        match f.outcome {
            o if words::failed(o) => died.push(got),
            crate::model::flow::Outcome::Ok => well.push(got),
            _ => {}
        }
    }
    if died.len() < few {
        return None;
    }
    histogram(
        &died,
        &well,
        "kB from the server; the last bar: that much or more",
        "How much had come from the server when connections ended. Deaths that crowd at one amount have one cause, such as a quota or a message that sets it off; deaths at any amount do not.",
    )
}

fn histogram(died: &[u64], well: &[u64], unit: &str, says: &str) -> Option<Markup> {
    // Beyond twice the largest death the others are all alike: they lived.
    let limit = (died.iter().copied().max()? * 2).max(2_000);
    let width = limit.div_ceil(STEPS as u64 - 1).max(1);
    let count = |of: &[u64]| {
        let mut bins = [0u64; STEPS];
        for n in of {
            let at = usize::try_from(n / width).unwrap_or(STEPS).min(STEPS - 1);
            if let Some(b) = bins.get_mut(at) {
                *b += 1;
            }
        }
        bins
    };
    let (bad, good) = (count(died), count(well));
    let (left, right) = (34.0, 392.0);
    let x = Scale::new(0.0, (width * STEPS as u64) as f64 / 1e3, left, right);
    let step = (right - left) / STEPS as f64;
    let half = |bins: &[u64; STEPS], base: f64, class: &'static str| {
        let most = bins.iter().copied().max().unwrap_or(0).max(1);
        let y = Scale::new(0.0, most as f64, base, base - 62.0);
        html! {
            text.t x=(px(left - 4.0)) y=(px(base - 58.0)) text-anchor="end" { (text::grouped(most)) }
            path.ax d=(format!("M{left} {} H{right}", px(base))) {}
            @for (i, n) in bins.iter().enumerate().filter(|(_, n)| **n > 0) {
                rect class=(class) x=(px(left + step * i as f64 + 0.5)) y=(px(y.of(*n as f64))) width=(px(step - 1.0)) height=(px(base - y.of(*n as f64))) {}
            }
        }
    };
    let inside = html! {
        text.b x="0" y="11" { "died (" (text::grouped(died.len() as u64)) ")" }
        (half(&bad, 82.0, "barbad"))
        text.b x="0" y="98" { "went well (" (text::grouped(well.len() as u64)) ")" }
        (half(&good, 169.0, "bar2"))
        (draw::bottom(&x, 169.0, 20.0, unit))
    };
    let rows: Vec<Vec<String>> = (0..STEPS)
        .filter_map(|i| {
            let (b, g) = (*bad.get(i)?, *good.get(i)?);
            let from = text::grouped(width * i as u64);
            let range =
                if i + 1 == STEPS { format!("{from} or more") } else { format!("{from}–{}", text::grouped(width * (i as u64 + 1) - 1)) };
            (b + g > 0).then(|| vec![range, b.to_string(), g.to_string()])
        })
        .collect();
    let table = draw::table("Connections by bytes received", &["bytes", "#died", "#went well"], &rows);
    Some(draw::figure("Bytes at death", says, 198.0, &inside, &table))
}
