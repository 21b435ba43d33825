//! The report of two captures compared: what happened between them, each finding with what either capture recorded of it, and what one end alone had said.

use super::draw::{self, Scale, px};
use super::finding::{self, hedge, needs_list, tidy, unless};
use super::mask::Mask;
use super::{ladder, page, speed, words};
use crate::model::finding::{Card, Finding, Kind};
use crate::model::flow::FlowRecord;
use crate::model::frame::FrameNo;
use crate::model::pair::{EndSaid, EndVerdict, PairFinding, Pairing, Path, PerTap, Tap};
use crate::model::story::Story;
use crate::model::time::Span;
use crate::sink::human::Style;
use crate::sink::{RunInfo, filter, jsonl, pair, text};
use maud::{Markup, html};
use std::collections::BTreeSet;

/// Most flows in a finding's table.
const FLOWS_MAX: usize = 12;
/// Most frames of a capture named beside one piece of evidence.
const FRAMES_MAX: usize = 8;
/// Most columns of one sentence.
const SENTENCE_MAX: usize = 600;

/// Both captures and what was found between them.
pub struct Both<'a> {
    /// What the comparison showed.
    pub pairing: &'a Pairing,
    /// Each capture by itself.
    pub stories: PerTap<&'a Story>,
    /// What stands for clients.
    pub mask: &'a Mask,
    /// What the reader asked to see.
    pub style: &'a Style,
    /// What was asked.
    pub run: &'a RunInfo,
}

impl Both<'_> {
    /// Findings to show, surest first: those about ways around blocking only if asked for.
    fn shown(&self) -> Vec<&PairFinding> {
        let mut all = pair::shown(self.style, self.pairing, [self.stories.a, self.stories.b]);
        all.sort_by_key(|f| std::cmp::Reverse((f.finding.grade, f.finding.flows.len())));
        all
    }

    fn names(&self) -> Vec<String> {
        words::file_names(&Tap::BOTH.map(|t| self.stories[t].source.path.as_str()))
    }

    /// The flows of a finding that a capture has.
    fn flows(&self, f: &Finding, tap: Tap) -> Vec<&FlowRecord> {
        f.flows.iter().filter(|id| id.source as usize == tap.index()).filter_map(|id| jsonl::find(self.stories[tap], *id)).collect()
    }

    /// Heading of the whole report.
    pub fn title(&self) -> String {
        format!("Two captures of the same connections: {}", self.names().join(" and "))
    }

    /// The whole page between head and foot.
    pub fn body(&self) -> Markup {
        let shown = self.shown();
        html! {
            (self.summary(&shown))
            main {
                (self.between())
                section id="main" class=(if shown.is_empty() { "none" } else { "found" }) {
                    h2 { "Findings" }
                    @if shown.is_empty() { p { (pair::answer(self.pairing, &shown)) } }
                    @for (i, f) in shown.iter().enumerate() {
                        article.finding id=(format!("finding-{}", i + 1)) aria-labelledby=(format!("heading-{}", i + 1)) {
                            h3 id=(format!("heading-{}", i + 1)) { (i + 1) ". " bdi { (text::cut(&self.heading(&f.finding), 300, false)) } }
                            (self.finding(f))
                        }
                    }
                }
                @if !self.pairing.not_between.is_empty() {
                    section {
                        h2 { "Not borne out between the two captures" }
                        p { "What one capture alone had suggested, although every packet of these connections passed between the two unchanged." }
                        ul { @for e in &self.pairing.not_between { li { bdi { (text::cut(&e.says, SENTENCE_MAX, false)) } "." } } }
                    }
                }
                section {
                    h2 { "The captures" }
                    @for (tap, name) in Tap::BOTH.iter().zip(self.names()) {
                        h3 { (tap.name()) ": " bdi { (text::cut(&name, 120, false)) } }
                        (page::source(self.stories[*tap], &[]))
                    }
                }
                (page::reading())
                @let rules = self.rules(&shown);
                @if !rules.is_empty() { (page::rules(&rules)) }
            }
        }
    }

    fn rules(&self, shown: &[&PairFinding]) -> Vec<&'static Card> {
        let cited = |c: &&&'static Card| shown.iter().any(|f| f.finding.rule == c.rule);
        self.run.cards.iter().filter(cited).copied().collect()
    }

    fn heading(&self, f: &Finding) -> String {
        let title = |t: Tap| self.stories[t].services.iter().find(|s| f.target.service.as_deref() == Some(&*s.id)).map(|s| &*s.title);
        format!("{} – {}", words::kind(f.kind), words::target(f, title(Tap::A).or_else(|| title(Tap::B))))
    }

    fn summary(&self, shown: &[&PairFinding]) -> Markup {
        let hidden = self.pairing.findings.len() - shown.len();
        html! {
            header {
                p.dim { "tamperscope report" }
                h1 { bdi { (text::cut(&self.title(), 200, false)) } }
                p.lead { (pair::answer(self.pairing, shown)) }
                dl.facts {
                    @for (tap, name) in Tap::BOTH.iter().zip(self.names()) {
                        @let s = &self.stories[*tap].source;
                        dt { (tap.name()) } dd {
                            bdi { (text::cut(&name, 120, false)) }
                            @if let (Some(first), Some(last)) = (s.first, s.last) { ", captured " (text::clock(first)) " to " (text::clock(last)) }
                        }
                    }
                    dt { "Compared" } dd { (pair::clock(self.pairing)) }
                    dt { "Asked" } dd {
                        "What happened to packets between the two places"
                        (page::asked(self.run))
                        @for (tap, net) in Tap::BOTH.iter().flat_map(|t| self.pairing.fronts.0[*t].iter().map(move |n| (t, n))) {
                            "; by the word of whoever made this, " (tap.name()) " recorded every packet of " code { (net) }
                        }
                    }
                    dt { "Made with" } dd { (page::made_with(self.run)) }
                }
            }
            @if shown.len() > 1 {
                nav aria-label="Findings" {
                    h2 { "Contents" }
                    ol {
                        @for (i, f) in shown.iter().enumerate() {
                            li {
                                a href=(format!("#finding-{}", i + 1)) { bdi { (text::cut(&self.heading(&f.finding), 120, false)) } }
                                " " span.dim { "(" (f.finding.grade.name()) ")" }
                            }
                        }
                    }
                }
            }
            (page::left_out(hidden, 0))
        }
    }

    /// Both directions between the points.
    fn between(&self) -> Markup {
        let p = self.pairing;
        let paths = [(Tap::A, &p.paths.a), (Tap::B, &p.paths.b)];
        let millis = |s: Option<Span>| s.map_or_else(|| "unknown".to_owned(), |s| format!("{:.1} ms", s.as_millis()));
        let rows: Vec<Vec<String>> = paths
            .iter()
            .map(|(from, path)| {
                let w = &path.way;
                let share = if w.sent == 0 { 0.0 } else { w.lost as f64 / w.sent as f64 };
                vec![
                    format!("{} to {}", from.name(), from.other().name()),
                    text::grouped(w.sent),
                    text::grouped(w.arrived),
                    format!("{} ({})", text::grouped(w.lost), text::percent(share)),
                    text::grouped(w.unsent),
                    text::grouped(w.missed),
                    millis(w.delay.map(|d| d.median)),
                    millis(w.delay.map(|d| d.p95)),
                ]
            })
            .collect();
        let heads = ["direction", "#left", "#arrived", "#lost", "#never sent", "#missed by a capture", "#delay, median", "#95 % below"];
        html! {
            section {
                h2 { "Between the two captures" }
                div.scroll tabindex="0" role="region" aria-label="Packets between the two captures" {
                    (draw::table("Packets of the connections that both captures have", &heads, &rows))
                }
                @if !p.cannot_claim.is_empty() {
                    div.box {
                        p { b { "What these two captures cannot show" } }
                        ul { @for c in &p.cannot_claim { li { b { (c.claim) } ": " bdi { (text::cut(&c.why, SENTENCE_MAX, false)) } } } }
                    }
                }
                @let pictures: Vec<Markup> = paths.iter().filter_map(|(from, path)| over_time(*from, path)).collect();
                @if !pictures.is_empty() { div.two { @for p in &pictures { (p) } } }
            }
        }
    }

    fn finding(&self, p: &PairFinding) -> Markup {
        let f = &p.finding;
        let card = self.run.cards.iter().find(|c| c.rule == f.rule);
        let flows = PerTap { a: self.flows(f, Tap::A), b: self.flows(f, Tap::B) };
        let more = if flows.a.len() >= flows.b.len() { &flows.a } else { &flows.b };
        html! {
            p.lead {
                (hedge(f.grade)) @if let Some(card) = card { (tidy(card.claim)) " " }
                "Seen on " (text::counted(more.len() as u64, words::flows_noun(more))) " to " bdi { (text::cut(&words::target(f, None), 300, false)) }
                @if let Some(bps) = f.rate_bps { ", held to about " (text::rate(bps)) }
                ", first on " (text::clock(f.started)) "."
            }
            p { span class=(words::grade_class(f.grade)) { (f.grade.name()) } " " (words::grade(f.grade)) }
            div.two {
                div { @for picture in self.pictures(p, &flows) { (picture) } }
                div {
                    (because(p))
                    (unless(&f.innocent))
                    (finding::controls(&f.control, "Comparable packets and flows between the same two captures"))
                    (needs_list(&pair::needs(p)))
                    (ends(&p.ends))
                }
            }
            (self.check(p, &flows))
        }
    }

    /// What each capture recorded of the connection with most of the evidence.
    fn pictures(&self, p: &PairFinding, flows: &PerTap<Vec<&FlowRecord>>) -> Vec<Markup> {
        let mut out = Vec::new();
        for tap in Tap::BOTH {
            let frames: BTreeSet<FrameNo> = frames(p, tap).iter().copied().collect();
            let hits = |flow: &&&FlowRecord| flow.ladder.iter().filter(|b| frames.contains(&b.frame)).count();
            if p.finding.kind == Kind::Throttling {
                out.extend(speed::sequence(&format!("Bytes over time at {}", tap.name()), &p.finding, &flows[tap]));
            } else if let Some(flow) = flows[tap].iter().rev().max_by_key(hits) {
                let vantage = self.stories[tap].source.quality.vantage;
                let title =
                    format!("At {}: packets between {} and {}", tap.name(), self.mask.of(flow.client.ip), finding::server(flow, self.mask));
                out.push(ladder::figure(&title, flow, &frames, vantage, ladder::ROWS_MAX));
            } else {
                out.push(html! { p.box { b { "At " (tap.name()) ": nothing." } " This capture has no packet of the connection." } });
            }
        }
        out
    }

    fn check(&self, p: &PairFinding, flows: &PerTap<Vec<&FlowRecord>>) -> Markup {
        let f = &p.finding;
        let row = |tap: Tap, o: &FlowRecord| finding::flow_row(format!("{} {}", tap.name(), o.id.frame.0), o, self.mask);
        let rows: Vec<Vec<String>> = Tap::BOTH.iter().flat_map(|t| flows[*t].iter().take(FLOWS_MAX / 2).map(|o| row(*t, o))).collect();
        let heads = ["first frame", "client", "server", "name asked for", "came out", "#bytes sent", "#bytes received"];
        let all = flows.a.len() + flows.b.len();
        html! {
            h4 { "Check it yourself" }
            @for tap in Tap::BOTH {
                @if let Some(filter) = filter::of_frames(frames(p, tap)) {
                    p { "Open " (tap.name()) " in Wireshark and filter for the packets this rests on: " code { (filter) } }
                }
            }
            (finding::rule(f))
            details {
                summary { (text::counted(all as u64, "flow")) " of this finding, as each capture has them" }
                div.scroll tabindex="0" role="region" aria-label="Flows of this finding" {
                    (draw::table("Flows of this finding", &heads, &rows))
                }
                @if all > rows.len() { p.dim { "and " (all - rows.len()) " more." } }
            }
        }
    }
}

const fn frames(p: &PairFinding, tap: Tap) -> &[FrameNo] {
    match tap {
        Tap::A => p.finding.frames.as_slice(),
        Tap::B => p.frames_b.as_slice(),
    }
}

fn because(p: &PairFinding) -> Markup {
    let named = |tap: Tap, frames: &[FrameNo]| {
        let some: Vec<String> = frames.iter().take(FRAMES_MAX).map(|n| n.0.to_string()).collect();
        let more = if frames.len() > FRAMES_MAX { format!(" and {} more", frames.len() - FRAMES_MAX) } else { String::new() };
        (!some.is_empty())
            .then(|| format!("{} {} {}{more}", tap.name(), if frames.len() == 1 { "frame" } else { "frames" }, some.join(", ")))
    };
    html! {
        h4 { "Because" }
        ol.because {
            @for (i, e) in p.finding.evidence.iter().enumerate() {
                @let at = [named(Tap::A, &e.frames), named(Tap::B, p.evidence_b.get(i).map_or(&[], Vec::as_slice))];
                @let at: Vec<String> = at.into_iter().flatten().collect();
                li {
                    (finding::fact(e))
                    @if !at.is_empty() { " " span.dim { "(" (at.join("; ")) ")" } }
                }
            }
        }
    }
}

/// What each end alone had made of it.
fn ends(all: &[EndSaid]) -> Markup {
    let mark = |v: EndVerdict| match v {
        EndVerdict::Agrees => ("agrees", "mark none"),
        EndVerdict::OtherKind => ("another kind", "mark weak warn"),
        EndVerdict::Missed => ("missed it", "mark weak warn"),
        EndVerdict::Unseen => ("saw nothing", "mark none"),
        EndVerdict::NotBetween => ("not borne out", "mark weak warn"),
    };
    html! {
        @if !all.is_empty() {
            h4 { "What each end alone says" }
            ul.unless {
                @for e in all {
                    @let (word, class) = mark(e.verdict);
                    li { span class=(class) { (word) } " " bdi { (text::cut(&e.says, SENTENCE_MAX, false)) } "." }
                }
            }
        }
    }
}

/// Loss and delay of one direction over time.
fn over_time(from: Tap, path: &Path) -> Option<Markup> {
    let (first, last) = (path.over_time.first()?, path.over_time.last()?);
    if path.over_time.len() < 3 {
        return None;
    }
    let (left, right) = (46.0, 392.0);
    let at = |s: &crate::model::pair::Stretch| s.from.since(first.from).as_secs();
    let step = path.over_time.windows(2).filter_map(|w| Some(at(w.get(1)?) - at(w.first()?))).reduce(f64::min)?;
    let x = Scale::new(0.0, at(last) + step, left, right);
    let share = |s: &crate::model::pair::Stretch| if s.sent == 0 { 0.0 } else { s.lost as f64 / s.sent as f64 * 100.0 };
    let most = path.over_time.iter().map(share).fold(0.0, f64::max).max(1.0);
    let lost = Scale::new(0.0, most, 86.0, 20.0);
    let delays: Vec<(f64, f64)> = path.over_time.iter().filter_map(|s| Some((at(s) + step / 2.0, s.delay?.as_millis()))).collect();
    let slowest = delays.iter().map(|d| d.1).fold(0.0, f64::max);
    let fastest = delays.iter().map(|d| d.1).fold(0.0, f64::min);
    let delay = Scale::new(fastest, slowest.max(1.0), 186.0, 120.0);
    let bottom = if delays.is_empty() { 86.0 } else { 186.0 };
    let width = (x.of(step) - x.of(0.0) - 1.0).max(1.0);
    let line: String = delays
        .iter()
        .enumerate()
        .map(|(i, (t, v))| format!("{}{} {}", if i == 0 { "M" } else { "L" }, px(x.of(*t)), px(delay.of(*v))))
        .collect();
    let inside = html! {
        text.b x="0" y="12" { "lost, %" }
        (draw::left(&lost, left, right, 3, draw::short))
        path.ax d=(format!("M{left} 86 H{right}")) {}
        @for s in path.over_time.iter().filter(|s| s.lost > 0) {
            rect.barbad x=(px(x.of(at(s)))) y=(px(lost.of(share(s)))) width=(px(width)) height=(px(86.0 - lost.of(share(s)))) {}
        }
        @if !delays.is_empty() {
            text.b x="0" y="112" { "delay, ms" }
            (draw::left(&delay, left, right, 3, draw::short))
            path.curve d=(line) {}
        }
        (draw::bottom(&x, bottom, 20.0, "seconds"))
    };
    let title = format!("From {} to {} over time", from.name(), from.other().name());
    let says = "Above: the share of packets that left one capture and never arrived at the other. Below: how long those that arrived took (median); \
                its level is known only as far as the clocks are, its changes are exact.";
    let rows: Vec<Vec<String>> = path
        .over_time
        .iter()
        .map(|s| {
            let delay = s.delay.map_or_else(String::new, |d| format!("{:.2}", d.as_millis()));
            vec![format!("{:.2}", at(s)), text::grouped(s.sent), text::grouped(s.lost), delay]
        })
        .collect();
    let table = draw::table(&title, &["#seconds", "#left", "#lost", "#median delay, ms"], &rows);
    Some(draw::figure(&title, says, bottom + 28.0, &inside, &table))
}
