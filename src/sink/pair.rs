//! Two captures compared: the additions to JSON Lines, and the verdict for people.

use super::filter;
use super::human::{Paint, Style, is_circumvention};
use super::json::Json;
use super::jsonl;
use super::text::{self, counted, percent};
use crate::model::finding::{Evidence, Grade};
use crate::model::flow::{FlowId, FlowRecord};
use crate::model::frame::FrameNo;
use crate::model::pair::{Delay, EndSaid, PairFinding, PairFlow, Pairing, Path, Tap, Way};
use crate::model::side::Side;
use crate::model::story::Story;
use crate::model::time::Span;
use hashbrown::HashMap;

/// What is known of each flow's counterpart.
pub fn by_flow(pairing: &Pairing) -> HashMap<FlowId, &PairFlow> {
    let ids = |f: &PairFlow| [f.ids.a, f.ids.b];
    pairing.flows.iter().flat_map(|f| ids(f).into_iter().flatten().map(move |id| (id, f))).collect()
}

/// A list of frames under a key.
pub fn frames(j: &mut Json, key: &str, frames: &[FrameNo]) {
    j.key(key).open_list();
    for n in frames {
        j.int(n.0);
    }
    j.close_list();
}

fn id(j: &mut Json, key: &str, id: Option<FlowId>) {
    match id {
        Some(id) => j.key(key).plain(jsonl::flow_id(id)),
        None => j.key(key).null(),
    }
}

fn ms(j: &mut Json, span: Option<Span>) {
    match span {
        Some(s) => j.real(s.as_millis()),
        None => j.null(),
    }
}

/// `pair` in a flow record.
pub fn of_flow(j: &mut Json, f: &PairFlow) {
    j.key("pair").open();
    id(j, "a", f.ids.a);
    id(j, "b", f.ids.b);
    j.key("matched").str_or_null(f.matched.map(|m| m.name()));
    j.key("near_client").str_or_null(f.near.map(Tap::name));
    for (key, side) in [("c2s", Side::Client), ("s2c", Side::Server)] {
        j.key(key);
        way(j, &f.way[side]);
    }
    j.key("changes").strs(f.changes.iter().copied());
    j.key("terminated").bool(f.terminated);
    j.close();
}

fn way(j: &mut Json, w: &Way) {
    j.open();
    for (key, n) in [("sent", w.sent), ("arrived", w.arrived), ("lost", w.lost), ("unsent", w.unsent), ("missed", w.missed)] {
        j.key(key).int(n);
    }
    j.key("delay_ms");
    match w.delay {
        Some(Delay { min, median, p95 }) => {
            j.open();
            j.key("min").real(min.as_millis());
            j.key("median").real(median.as_millis());
            j.key("p95").real(p95.as_millis());
            j.close();
        }
        None => j.null(),
    }
    j.close();
}

/// What a finding of two captures has besides.
pub fn of_finding(j: &mut Json, f: &PairFinding, flow_filter: Option<String>) {
    j.key("sources").strs(["s0", "s1"]);
    frames(j, "frames_b", &f.frames_b);
    j.key("wireshark_filter_b").str_or_null(filter::of_frames(&f.frames_b).as_deref());
    j.key("wireshark_flow_filter_b").str_or_null(flow_filter.as_deref());
    ends(j, "ends", &f.ends);
}

fn ends(j: &mut Json, key: &str, all: &[EndSaid]) {
    j.key(key).open_list();
    for e in all {
        j.open();
        j.key("source").plain(format_args!("s{}", e.tap.index()));
        j.key("finding").str_or_null(e.finding.as_deref());
        j.key("verdict").str(e.verdict.name());
        j.key("says").str(&e.says);
        j.close();
    }
    j.close_list();
}

/// The body of the `pair` record.
pub fn record(j: &mut Json, p: &Pairing, stories: [&Story; 2]) {
    j.key("sources").strs(["s0", "s1"]);
    let c = &p.clock;
    j.key("clock").open();
    j.key("offset_ms");
    ms(j, c.offset);
    j.key("uncertainty_ms");
    ms(j, c.offset.map(|_| c.uncertainty));
    j.key("drift_ppm").real(c.drift_ppm);
    j.key("samples").open();
    j.key("a_to_b").int(c.samples[0]);
    j.key("b_to_a").int(c.samples[1]);
    j.close();
    j.key("why_not").str_or_null(c.why_not);
    j.close();
    j.key("flows").open();
    j.key("a").int(stories[0].flows.len() as u64);
    j.key("b").int(stories[1].flows.len() as u64);
    j.key("both").int(both(p) as u64);
    j.close();
    for (key, path) in [("a_to_b", &p.paths.a), ("b_to_a", &p.paths.b)] {
        j.key(key).open();
        j.key("way");
        way(j, &path.way);
        j.key("over_time").open_list();
        for s in &path.over_time {
            j.open();
            j.time("from_ts", "from_ts_ns", Some(s.from));
            j.key("sent").int(s.sent);
            j.key("lost").int(s.lost);
            j.key("delay_ms");
            ms(j, s.delay);
            j.close();
        }
        j.close_list();
        j.close();
    }
    ends(j, "not_between", &p.not_between);
    j.key("cannot_claim").open_list();
    for c in &p.cannot_claim {
        j.open();
        j.key("claim").str(c.claim);
        j.key("why").str(&c.why);
        j.close();
    }
    j.close_list();
    j.key("fronts").open();
    for (key, tap) in [("a", Tap::A), ("b", Tap::B)] {
        j.key(key).open_list();
        for net in &p.fronts.0[tap] {
            j.plain(net);
        }
        j.close_list();
    }
    j.close();
}

fn both(p: &Pairing) -> usize {
    p.flows.iter().filter(|f| f.ids.a.is_some() && f.ids.b.is_some()).count()
}

/// The verdict for people, as lines.
pub fn verdict(style: &Style, p: &Pairing, stories: [&Story; 2]) -> Vec<String> {
    if style.quiet {
        return vec![counted(p.findings.len() as u64, "finding")];
    }
    let mut out = Vec::new();
    for (tap, story) in Tap::BOTH.iter().zip(stories) {
        let s = &story.source;
        let facts = format!(
            "{}, {} in {}, {}",
            s.format,
            counted(s.packets, "packet"),
            counted(story.flows.len() as u64, "flow"),
            match s.quality.vantage {
                crate::model::source::Vantage::Unknown => "vantage unknown".to_owned(),
                v => format!("vantage {}", v.name()),
            }
        );
        out.push(format!("{} {}", style.paint(Paint::Bold, &style.shown(&format!("{} {}:", tap.name(), s.path))), style.shown(&facts)));
    }
    out.push(style.shown(&clock(p)));
    for (tap, path) in [(Tap::A, &p.paths.a), (Tap::B, &p.paths.b)] {
        out.push(style.shown(&way_line(tap, path)));
    }
    for c in &p.cannot_claim {
        out.extend(wrapped(style, 2, &format!("Cannot show {}: {}", c.claim, c.why)));
    }
    out.push(String::new());
    let shown = shown(style, p, stories);
    let hidden = p.findings.len() - shown.len();
    out.push(style.paint(Paint::Bold, &answer(p, &shown)));
    for f in shown {
        out.extend(finding(style, f, stories));
    }
    if hidden > 0 {
        let n = counted(hidden as u64, "finding");
        out.extend(wrapped(style, 0, &format!("Left out: {n} about ways around blocking (--show-circumvention shows them)")));
    }
    if !p.not_between.is_empty() {
        out.push(String::new());
        out.push(style.paint(Paint::Bold, "Not borne out between the points:"));
        for e in &p.not_between {
            out.extend(wrapped(style, 2, &e.says));
        }
    }
    out
}

/// Findings to show: those about ways around blocking only if asked for.
pub fn shown<'p>(style: &Style, p: &'p Pairing, stories: [&Story; 2]) -> Vec<&'p PairFinding> {
    let around = |f: &PairFinding| stories.iter().any(|s| is_circumvention(&f.finding, s));
    p.findings.iter().filter(|f| style.show_circumvention || !around(f)).collect()
}

/// The answer in a sentence, with the findings that are shown.
pub fn answer(p: &Pairing, shown: &[&PairFinding]) -> String {
    if both(p) == 0 {
        return "Nothing can be said: no connection was seen at both points.".to_owned();
    }
    if p.findings.is_empty() {
        return "Between the two points nothing was injected, changed, dropped or held back that these captures show.".to_owned();
    }
    let n = |g| shown.iter().filter(|f| f.finding.grade == g).count();
    let grades = [Grade::Confirmed, Grade::Likely, Grade::Possible].map(|g| (n(g), g.name()));
    let parts: Vec<String> = grades.iter().filter(|g| g.0 > 0).map(|g| format!("{} {}", g.0, g.1)).collect();
    let sep = if parts.is_empty() { "" } else { ": " };
    format!("{} between the two points{sep}{}", counted(shown.len() as u64, "finding"), parts.join(", "))
}

/// How many flows both have, and how the clocks stand.
pub fn clock(p: &Pairing) -> String {
    let flows = format!("{} seen at both points", counted(both(p) as u64, "flow"));
    match p.clock.offset {
        Some(offset) => {
            let drift = if p.clock.drift_ppm == 0.0 { String::new() } else { format!(", drifting {:+.1} ppm", p.clock.drift_ppm) };
            let signed = if offset < Span::ZERO { format!("behind A's by {}", offset.abs()) } else { format!("ahead of A's by {offset}") };
            format!("{flows}; B's clock is {signed} ± {}{drift}", p.clock.uncertainty)
        }
        None => format!("{flows}; the clocks cannot be aligned{}", p.clock.why_not.map_or_else(String::new, |w| format!(": {w}"))),
    }
}

fn way_line(from: Tap, path: &Path) -> String {
    let w = &path.way;
    let share = if w.sent == 0 { 0.0 } else { w.lost as f64 / w.sent as f64 };
    let delay = w.delay.map_or_else(String::new, |d| format!("; {} added, 95 % below {}", d.median, d.p95));
    let unsent = if w.unsent == 0 { String::new() } else { format!("; {} that were never sent", counted(w.unsent, "packet")) };
    format!(
        "{} → {}: {} of {} lost ({}){unsent}{delay}",
        from.name(),
        from.other().name(),
        w.lost,
        counted(w.sent, "packet"),
        percent(share)
    )
}

fn finding(style: &Style, p: &PairFinding, stories: [&Story; 2]) -> Vec<String> {
    let f = &p.finding;
    let paint = match f.grade {
        Grade::Confirmed => Paint::Red,
        Grade::Likely => Paint::Yellow,
        Grade::Possible => Paint::Dim,
    };
    let t = &f.target;
    let name = t.sni.as_deref().or(t.host.as_deref()).or(t.qname.as_deref()).map(str::to_owned).or_else(|| t.ip.map(|ip| ip.to_string()));
    let about = name.map_or_else(String::new, |n| format!(" on {n}"));
    let rate = f.rate_bps.map_or_else(String::new, |r| format!(" at {}", text::rate(r)));
    let title = format!("{} {}{rate}{about} ({})", f.kind.name(), f.mechanism, f.direction.map_or("both", |d| d.name()));
    let mut out = vec![String::new(), format!("{} {}", style.paint(paint, f.grade.name()), style.shown(&title))];
    for (i, e) in f.evidence.iter().enumerate().take(if style.verbose { usize::MAX } else { 4 }) {
        let frames_b = p.evidence_b.get(i).map_or(&[][..], Vec::as_slice);
        out.extend(wrapped(style, 2, &fact(e, frames_b)));
    }
    if style.verbose {
        for i in &f.innocent {
            out.extend(wrapped(style, 4, &format!("{} {}: {}", if i.stands { "unless" } else { "not" }, i.cause, i.why)));
        }
    }
    for e in &p.ends {
        out.extend(wrapped(style, 2, &e.says));
    }
    for need in needs(p) {
        out.extend(wrapped(style, 2, &format!("To settle it: {need}")));
    }
    for (tap, frames) in [(Tap::A, &f.frames), (Tap::B, &p.frames_b)] {
        let own = f.flows.iter().filter_map(|id| stories.iter().find_map(|s| jsonl::find(s, *id)));
        let own = own.filter(|r: &&FlowRecord| r.id.source as usize == tap.index());
        if let Some(filter) = filter::of_frames(frames).or_else(|| filter::of_flows(own)) {
            out.extend(wrapped(style, 2, &format!("Wireshark, {}: {filter}", tap.name())));
        }
    }
    out
}

/// What would settle it, options as they can be typed.
pub fn needs(p: &PairFinding) -> Vec<String> {
    let ip = p.finding.target.ip.map(|ip| ip.to_string());
    let typed = |need: &&str| ip.as_ref().map_or_else(|| (*need).to_owned(), |ip| need.replace("ADDRESS (the target's)", ip));
    p.finding.needs.iter().map(typed).collect()
}

fn fact(e: &Evidence, frames_b: &[FrameNo]) -> String {
    let some = |frames: &[FrameNo], tap: Tap| {
        let (first, more) = (frames.first()?, frames.len() > 1);
        Some(format!("{} frame {}{}", tap.name(), first.0, if more { "…" } else { "" }))
    };
    let at: Vec<String> = [some(&e.frames, Tap::A), some(frames_b, Tap::B)].into_iter().flatten().collect();
    let at = if at.is_empty() { String::new() } else { format!(" [{}]", at.join(", ")) };
    format!("{}: {}{at}", e.says, e.value)
}

fn wrapped(style: &Style, indent: usize, text: &str) -> Vec<String> {
    let rows = if style.verbose { usize::MAX } else { 4 };
    let lines = text::wrap(&style.shown(text), style.width.saturating_sub(indent + 2), rows, style.ascii);
    lines.into_iter().enumerate().map(|(i, l)| format!("{:indent$}{}{l}", "", if i == 0 { "" } else { "  " })).collect()
}
