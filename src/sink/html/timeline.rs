//! Connections over time by outcome, and legs of calls: what happened when.

use super::draw::{self, Scale, px};
use super::mask::Mask;
use super::words;
use crate::model::flow::{FlowRecord, Outcome};
use crate::model::key::Proto;
use crate::model::label::{Label, Role};
use crate::model::side::Side;
use crate::model::story::Story;
use crate::model::time::Time;
use crate::sink::text;
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Bars over the whole time.
const BARS: usize = 48;
/// Most legs drawn.
const LEGS_MAX: usize = 24;

/// One row of bars for each outcome; `None` when there is nothing to compare.
pub fn connections(story: &Story) -> Option<Markup> {
    let from = story.flows.iter().map(|f| f.first.ts).min()?;
    let last = story.flows.iter().map(|f| f.first.ts).max()?;
    if story.flows.len() < 3 {
        return None;
    }
    let span = last.since(from).as_secs().max(1e-6);
    let mut counts: BTreeMap<usize, [u64; BARS]> = BTreeMap::new();
    for f in &story.flows {
        let row = words::OUTCOMES.iter().position(|o| *o == f.outcome).unwrap_or(0);
        let bin = (f.first.ts.since(from).as_secs() / span * BARS as f64) as usize;
        if let Some(n) = counts.entry(row).or_insert([0; BARS]).get_mut(bin.min(BARS - 1)) {
            *n += 1;
        }
    }
    let most = counts.values().flatten().copied().max().unwrap_or(1).max(1);
    let (left, right, row_height, top) = (118.0, 392.0, 30.0, 6.0);
    let bottom = top + row_height * counts.len() as f64;
    let x = Scale::new(0.0, span, left, right);
    let width = (right - left) / BARS as f64;
    let inside = html! {
        (draw::bottom(&x, bottom, top, "seconds since the first connection"))
        @for (i, (row, bins)) in counts.iter().enumerate() {
            @let base = top + row_height * (i as f64 + 1.0);
            @let outcome = words::OUTCOMES.get(*row).copied().unwrap_or(Outcome::Unknown);
            text x="0" y=(px(base - 12.0)) { (words::outcome(outcome)) }
            text.t x="0" y=(px(base - 1.0)) { (text::grouped(bins.iter().sum())) }
            path.ax d=(format!("M{left} {} H{right}", px(base))) {}
            @for (b, n) in bins.iter().enumerate().filter(|(_, n)| **n > 0) {
                @let h = (row_height - 5.0) * *n as f64 / most as f64;
                @let class = if words::failed(outcome) { "barbad" } else if outcome == Outcome::Ok { "bar" } else { "bar2" };
                rect class=(class) x=(px(left + width * b as f64)) y=(px(base - h.max(1.5))) width=(px(width - 0.8)) height=(px(h.max(1.5))) {}
            }
        }
    };
    let says = format!(
        "Each row is one outcome; the bars are connections and flows by the moment they began. The highest bar is {}.",
        text::counted(most, "flow")
    );
    let rows: Vec<Vec<String>> = counts
        .iter()
        .map(|(row, bins)| {
            let outcome = words::OUTCOMES.get(*row).copied().unwrap_or(Outcome::Unknown);
            let mut cells = vec![words::outcome(outcome).to_owned(), text::grouped(bins.iter().sum())];
            cells.extend(bins.chunks(BARS / 6).map(|c| c.iter().sum::<u64>().to_string()));
            cells
        })
        .collect();
    let sixth: Vec<String> = (0..6)
        .map(|i| format!("#{}–{} s", draw::short(round(span / 6.0 * f64::from(i))), draw::short(round(span / 6.0 * f64::from(i + 1)))))
        .collect();
    let mut heads = vec!["outcome", "#all"];
    heads.extend(sixth.iter().map(String::as_str));
    let table = draw::table("Flows by outcome and the time they began", &heads, &rows);
    Some(draw::figure("Connections over time, by outcome", &says, bottom + 28.0, &inside, &table))
}

fn round(v: f64) -> f64 {
    (v * 100.0).round() / 100.0
}

/// Whether a flow is a leg of a call.
pub fn is_leg(f: &FlowRecord, label: Option<&Label>) -> bool {
    let media = matches!(f.app, Some("stun" | "rtp" | "rtcp" | "dtls"));
    f.proto == Proto::UDP && (media || label.is_some_and(|l| l.role == Some(Role::Call)))
}

/// What became of the request for a relayed address (TURN allocate: RFC 8656 §7), if there was one.
fn allocation(f: &FlowRecord) -> &'static str {
    let count = |kind: u16| f.notes.stun().filter(|(_, m)| m.kind == kind).count();
    // The first request is refused for want of a password, so only a refusal that nothing followed is one.
    match (count(0x0003), count(0x0103), count(0x0113)) {
        (_, 1.., _) => "granted",
        (asked, _, refused) if asked > refused => "not answered",
        (_, _, 1..) => "refused",
        _ => "",
    }
}

/// A leg to draw.
pub struct Leg<'a> {
    /// The flow.
    pub flow: &'a FlowRecord,
    /// Its service, if it may be named.
    pub service: Option<String>,
    /// The finding is about it.
    pub hit: bool,
}

/// The legs of calls: when each side sent, on which leg.
pub fn legs(legs: &[Leg<'_>], mask: &Mask) -> Option<Markup> {
    let shown: Vec<&Leg<'_>> = legs.iter().take(LEGS_MAX).collect();
    let from = shown.iter().map(|l| l.flow.first.ts).min()?;
    let to = shown.iter().map(|l| l.flow.last.ts).max()?;
    let span = to.since(from).as_secs().max(0.001);
    let (left, right, row, top) = (10.0, 392.0, 40.0, 4.0);
    let bottom = top + row * shown.len() as f64;
    let x = Scale::new(0.0, span, left, right);
    let at = |t: Time| x.of(t.since(from).as_secs());
    let name = |l: &Leg<'_>| {
        let f = l.flow;
        let what = l.service.as_deref().or(f.app).unwrap_or("udp");
        format!("{what}: {} → {}:{}", mask.of(f.client.ip), mask.of(f.server.ip), f.server.port)
    };
    // A flow that was answered and then hindered did not go well, whatever its handshake did.
    let outcome = |l: &Leg<'_>| if l.hit && l.flow.outcome == Outcome::Ok { "answered" } else { words::outcome(l.flow.outcome) };
    let inside = html! {
        (draw::bottom(&x, bottom, top, "seconds"))
        @for (i, leg) in shown.iter().enumerate() {
            @let f = leg.flow;
            @let y = top + row * i as f64;
            text.b[leg.hit] x=(px(left)) y=(px(y + 13.0)) { @if leg.hit { "◆ " } (text::cut(&format!("{} ({})", name(leg), outcome(leg)), 66, false)) }
            @for (side, class, offset) in [(Side::Client, "bar", 18.0), (Side::Server, "bar2", 27.0)] {
                @match (f.totals[side].first, f.totals[side].last) {
                    (Some(a), Some(z)) => rect class=(class) x=(px(at(a.ts))) y=(px(y + offset)) width=(px((at(z.ts) - at(a.ts)).max(2.0))) height="7" {},
                    _ => text.t x=(px(at(f.first.ts))) y=(px(y + offset + 7.5)) { @if side == Side::Server { "✗ nothing came back" } @else { "✗ nothing was sent" } },
                }
            }
        }
    };
    let more = legs.len().saturating_sub(shown.len());
    let says = format!(
        "For each leg, above: when the client sent; below, lighter: when something came back.{}{}",
        if shown.iter().any(|l| l.hit) { " ◆: what the finding is about." } else { "" },
        if more > 0 { format!(" {more} more legs are not drawn.") } else { String::new() }
    );
    // What the protocol says of a leg, where it was understood.
    let told = |f: &FlowRecord| {
        let answers = f.notes.stun().filter(|(_, m)| m.kind & 0x0110 == 0x0100).count();
        let asked = f.notes.stun().filter(|(_, m)| m.kind & 0x0110 == 0).count();
        let stun = if asked + answers > 0 { format!("{answers} of {asked}") } else { String::new() };
        let media = |side: Side| {
            let Some((_, m)) = f.notes.media().find(|(s, _)| *s == side) else { return String::new() };
            let lost = format!("{:.1} %", m.lost() as f64 * 100.0 / m.expected.max(1) as f64);
            m.jitter_us.map_or_else(|| lost.clone(), |us| format!("{lost}, {:.1} ms", us as f64 / 1000.0))
        };
        [stun, allocation(f).to_owned(), media(Side::Client), media(Side::Server)]
    };
    let since =
        |t: Option<crate::model::flow::Moment>| t.map_or_else(|| "never".to_owned(), |m| format!("{:.2}", m.ts.since(from).as_secs()));
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|leg| {
            let f = leg.flow;
            let (c, s) = (&f.totals.client, &f.totals.server);
            let mut cells = vec![
                name(leg),
                outcome(leg).to_owned(),
                since(c.first),
                since(c.last),
                text::grouped(c.packets),
                since(s.first),
                since(s.last),
                text::grouped(s.packets),
            ];
            cells.extend(told(f));
            cells
        })
        .collect();
    let heads = [
        "leg",
        "outcome",
        "#sent from s",
        "#sent to s",
        "#packets sent",
        "#came back from s",
        "#came back to s",
        "#packets back",
        "#STUN answered",
        "relay",
        "#media sent: lost, jitter",
        "#media back: lost, jitter",
    ];
    Some(draw::figure("Legs of calls", &says, bottom + 28.0, &inside, &draw::table("Legs of calls", &heads, &rows)))
}
