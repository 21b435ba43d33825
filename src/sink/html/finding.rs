//! One finding as a page: what was observed, how sure that is, the packets, what speaks for it and what else it could be, and how to check.

use super::mask::Mask;
use super::speed::{self, Lane};
use super::timeline::Leg;
use super::{draw, ladder, marks, timeline, words};
use crate::model::finding::{Card, Control, Evidence, Finding, Grade, Innocent, Kind};
use crate::model::flow::{FlowId, FlowRecord, Outcome};
use crate::model::frame::FrameNo;
use crate::model::label::Label;
use crate::model::side::Side;
use crate::model::story::Story;
use crate::sink::human::Style;
use crate::sink::jsonl;
use crate::sink::{filter, text};
use hashbrown::HashSet;
use maud::{Markup, html};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Most flows in a finding's table.
const FLOWS_MAX: usize = 12;
/// Most frames named beside one piece of evidence.
const FRAMES_MAX: usize = 12;
/// Most columns of one sentence.
const SENTENCE_MAX: usize = 600;
/// Most flows looked at for comparisons.
const COMPARED_MAX: usize = 20_000;

/// What a page needs to know besides its finding.
pub struct Around<'a> {
    /// The capture's story.
    pub story: &'a Story,
    /// What stands for clients.
    pub mask: &'a Mask,
    /// What the reader asked to see.
    pub style: &'a Style,
    /// The rule's page.
    pub card: Option<&'a Card>,
}

impl Around<'_> {
    fn label(&self, flow: &FlowRecord) -> Option<&Label> {
        let at = self.story.flows.binary_search_by_key(&flow.id, |f| f.id).ok()?;
        self.story.labels.get(at)?.as_ref()
    }

    /// What a flow is called beside others; ways around blocking stay unnamed unless asked for.
    fn name(&self, flow: &FlowRecord) -> String {
        let label = self.label(flow);
        if label.is_some_and(|l| l.circumvention) && !self.style.show_circumvention {
            return "other traffic".to_owned();
        }
        let name = flow.asked_name().map(|n| text::cut_front(&text::shown(n, false), 36, false));
        let to = name.unwrap_or_else(|| format!("{}:{}", self.mask.of(flow.server.ip), flow.server.port));
        match label {
            Some(l) => format!("{} ({to})", l.title),
            None => to,
        }
    }
}

/// The service's title and role, or the name it had on the wire, or its address.
pub fn target(f: &Finding, story: &Story) -> String {
    let service = f.target.service.as_deref();
    let title = story.services.iter().find(|s| service == Some(&*s.id)).map(|s| &*s.title);
    words::target(f, title)
}

/// The page below its heading.
pub fn body(f: &Finding, around: &Around<'_>) -> Markup {
    let story = around.story;
    let flows: Vec<&FlowRecord> = f.flows.iter().filter_map(|id| jsonl::find(story, *id)).collect();
    let noun = words::flows_noun(&flows);
    let frames: BTreeSet<FrameNo> = f.frames.iter().copied().collect();
    let best = flows.iter().rev().max_by_key(|flow| flow.ladder.iter().filter(|p| frames.contains(&p.frame)).count());
    html! {
        p.lead {
            (hedge(f.grade)) @if let Some(card) = around.card { (tidy(card.claim)) " " }
            "Seen on " (text::counted(f.flows.len() as u64, noun)) " to " bdi { (text::cut(&target(f, story), 300, false)) }
            @if let Some(bps) = f.rate_bps { ", held to about " (text::rate(bps)) }
            ", first on " (text::clock(f.started)) "."
        }
        p { span class=(words::grade_class(f.grade)) { (f.grade.name()) } " " (words::grade(f.grade)) }
        div.two {
            div { @for picture in pictures(f, &flows, best.copied(), around) { (picture) } }
            div {
                (because(&f.evidence))
                (unless(&f.innocent))
                (controls(&f.control, "Comparable flows in the same capture"))
                (needs_list(&f.needs))
            }
        }
        (check(f, &flows, around))
    }
}

/// Address and port of a flow's server.
pub fn server(flow: &FlowRecord, mask: &Mask) -> String {
    let ip = mask.of(flow.server.ip);
    if ip.contains(':') { format!("[{ip}]:{}", flow.server.port) } else { format!("{ip}:{}", flow.server.port) }
}

fn frames_named(frames: &[FrameNo]) -> Markup {
    let named: Vec<String> = frames.iter().take(FRAMES_MAX).map(|n| n.0.to_string()).collect();
    html! {
        @if !named.is_empty() {
            " " span.dim {
                "(" (if frames.len() == 1 { "frame " } else { "frames " }) (named.join(", "))
                @if frames.len() > FRAMES_MAX { " and " (frames.len() - FRAMES_MAX) " more" }
                ")"
            }
        }
    }
}

fn because(evidence: &[Evidence]) -> Markup {
    html! {
        h4 { "Because" }
        ol.because {
            @for e in evidence {
                li { (fact(e)) (frames_named(&e.frames)) }
            }
        }
    }
}

/// One piece of evidence, without its frames.
pub fn fact(e: &Evidence) -> Markup {
    html! {
        bdi { (text::cut(&e.says, SENTENCE_MAX, false)) }
        @if !e.value.is_empty() { ": " bdi.value { (text::cut(&e.value, SENTENCE_MAX, false)) } }
        @if let Some(expected) = e.expectation() {
            span.dim { "; expected without interference: " } bdi { (text::cut(expected, SENTENCE_MAX, false)) }
        }
    }
}

/// Innocent causes, those that still stand first.
pub fn unless(innocent: &[Innocent]) -> Markup {
    let list = |stands: bool| innocent.iter().filter(move |i| i.stands == stands);
    let one = |i: &Innocent, word: &str, class: &str| {
        html! { li { span class=(class) { (word) } " " b { (i.cause) } ": " bdi { (text::cut(&i.why, SENTENCE_MAX, false)) } } }
    };
    html! {
        h4 { "Unless" }
        @if innocent.is_empty() {
            p { "No innocent cause was weighed beyond what the rule excludes from the start." }
        } @else {
            @if list(true).next().is_none() { p { "None of the innocent causes considered still stands:" } }
            ul.unless {
                @for i in list(true) { (one(i, "still possible", "mark weak warn")) }
                @for i in list(false) { (one(i, "ruled out", "mark none")) }
            }
        }
    }
}

/// What it was compared with, in a table with this caption.
pub fn controls(control: &[Control], caption: &str) -> Markup {
    let begin = |c: &Control| {
        let some: Vec<String> = c.flows.iter().take(FRAMES_MAX).map(|id| id.frame.0.to_string()).collect();
        let more = if c.flows.len() > some.len() || c.n as usize > c.flows.len() && !some.is_empty() { ", …" } else { "" };
        format!("{}{more}", some.join(", "))
    };
    let rows: Vec<Vec<String>> = control
        .iter()
        .map(|c| vec![c.kind.replace('_', " "), text::grouped(u64::from(c.n)), text::grouped(u64::from(c.ok)), begin(c)])
        .collect();
    html! {
        h4 { "Controls" }
        @if rows.is_empty() {
            p { "There are no connections to compare with." }
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Controls" {
                (draw::table(caption, &["against", "#compared", "#undisturbed", "first frames"], &rows))
            }
            @if control.iter().any(|c| c.flows.len() > c.n as usize) {
                p.dim { "Counted for one of this finding's flows at a time; the frames are those of all." }
            }
        }
    }
}

/// What would settle it.
pub fn needs_list(needs: &[impl AsRef<str>]) -> Markup {
    html! {
        @if !needs.is_empty() {
            h4 { "What would settle it" }
            ul { @for need in needs { li { (need.as_ref()) } } }
        }
    }
}

/// How far the claim may be taken.
pub const fn hedge(grade: Grade) -> &'static str {
    match grade {
        Grade::Confirmed => "",
        Grade::Likely => "Likely: ",
        Grade::Possible => "Possible, but not established: ",
    }
}

/// Pictures that the data allow. The packets come first, except where only their sum tells.
fn pictures(f: &Finding, flows: &[&FlowRecord], best: Option<&FlowRecord>, around: &Around<'_>) -> Vec<Markup> {
    let story = around.story;
    let frames: BTreeSet<FrameNo> = f.frames.iter().copied().collect();
    let own: HashSet<FlowId> = f.flows.iter().copied().collect();
    let clients: HashSet<IpAddr> = flows.iter().map(|x| x.client.ip).collect();
    let packets = |most: usize| {
        let flow = best?;
        let title = format!("Packets between {} and {}", around.mask.of(flow.client.ip), server(flow, around.mask));
        Some(ladder::figure(&title, flow, &frames, story.source.quality.vantage, most))
    };
    let mut out: Vec<Markup> = Vec::new();
    if f.kind != Kind::Throttling {
        out.extend(packets(ladder::ROWS_MAX));
    }
    if matches!(f.kind, Kind::RstInjection | Kind::SniFiltering | Kind::IpBlocking) {
        let with_resets = best.into_iter().chain(flows.iter().copied()).find_map(marks::headers);
        out.extend(with_resets);
    }
    if f.kind == Kind::Throttling {
        let side = speed::side(f, flows);
        out.extend(speed::sequence("Bytes over time", f, flows));
        out.extend(speed::goodputs(lanes(f, flows, &own, side, around), side, f.throttle.as_deref().and_then(|t| t.p)));
        out.extend(packets(ladder::ROWS_FEW));
    }
    if f.kind == Kind::ConnectionFreeze {
        let well = |o: &&FlowRecord| o.outcome == Outcome::Ok && clients.contains(&o.client.ip) && !own.contains(&o.id);
        let others = story.flows.iter().filter(well);
        if f.deaths.is_empty() {
            out.extend(marks::deaths(others.chain(flows.iter().copied()), 1));
        } else {
            out.extend(marks::weighed(&f.deaths, others));
        }
    }
    if f.kind == Kind::UdpBlocking {
        let near = |o: &&FlowRecord| own.contains(&o.id) || clients.contains(&o.client.ip);
        let legs = story.flows.iter().filter(|o| timeline::is_leg(o, around.label(o)) || own.contains(&o.id)).filter(near);
        let legs: Vec<_> =
            legs.take(COMPARED_MAX).map(|o| Leg { flow: o, service: service_title(o, around), hit: own.contains(&o.id) }).collect();
        out.extend(timeline::legs(&legs, around.mask));
    }
    out
}

/// The flows the finding measured against each other; where it measured none, others of the same client at the time.
fn lanes<'a>(f: &Finding, flows: &[&FlowRecord], own: &HashSet<FlowId>, side: Side, around: &Around<'a>) -> Vec<Lane<'a>> {
    if let Some(t) = f.throttle.as_deref().filter(|t| !t.held.is_empty() && !t.controls.is_empty()) {
        let held = t.held.iter().map(|x| (x, true)).chain(t.controls.iter().map(|x| (x, false)));
        let lane = |((id, rate), hit): (&(_, u64), bool)| {
            let flow = jsonl::find(around.story, *id)?;
            Some(Lane { flow, name: around.name(flow), hit, rate: Some(*rate) })
        };
        return held.filter_map(lane).collect();
    }
    let then = speed::Meanwhile::of(flows);
    let others = around.story.flows.iter().filter(|o| then.comparable(o, side)).take(COMPARED_MAX);
    others.map(|o| Lane { flow: o, name: around.name(o), hit: own.contains(&o.id), rate: None }).collect()
}

fn service_title(flow: &FlowRecord, around: &Around<'_>) -> Option<String> {
    let label = around.label(flow)?;
    (around.style.show_circumvention || !label.circumvention).then(|| label.title.to_string())
}

/// A flow in the table of a finding's flows, named by its first frame.
pub fn flow_row(first_frame: String, o: &FlowRecord, mask: &Mask) -> Vec<String> {
    vec![
        first_frame,
        mask.of(o.client.ip),
        server(o, mask),
        o.asked_name().map_or_else(String::new, |n| text::cut_front(&text::shown(n, false), 60, false)),
        words::outcome(o.outcome).to_owned(),
        text::grouped(o.totals.client.bytes),
        text::grouped(o.totals.server.bytes),
    ]
}

/// By which rule it was found, and how others call it.
pub fn rule(f: &Finding) -> Markup {
    html! {
        p {
            "Rule: " a href=(format!("#rule-{}", f.rule)) { code { (f.rule) } } ", mechanism " code { (f.mechanism) }
            ", id of this finding " code { (f.id) }
            @if let Some(ooni) = f.ooni_failure { ", in OONI's words " code { (ooni) } }
            "."
        }
    }
}

/// How a reader checks it: filters, flows, the rule.
fn check(f: &Finding, flows: &[&FlowRecord], around: &Around<'_>) -> Markup {
    let rows: Vec<Vec<String>> = flows.iter().take(FLOWS_MAX).map(|o| flow_row(o.id.frame.0.to_string(), o, around.mask)).collect();
    let heads = ["#first frame", "client", "server", "name asked for", "came out", "#bytes sent", "#bytes received"];
    html! {
        h4 { "Check it yourself" }
        p {
            "Open the capture in Wireshark and filter for the packets this rests on: "
            code { (filter::of_frames(&f.frames).unwrap_or_else(|| "none".to_owned())) }
        }
        @if around.style.verbose && let Some(filter) = filter::of_flows(flows.iter().copied()) {
            p { "For all packets of these flows: " code { (filter) } }
        }
        (rule(f))
        @if !f.resembles.is_empty() {
            p { "The packets resemble, in their headers, what was described as: " (f.resembles.join("; ")) ". That names a likeness, not an author." }
        }
        details {
            summary { (text::counted(f.flows.len() as u64, "flow")) " of this finding" }
            div.scroll tabindex="0" role="region" aria-label="Flows of this finding" {
                (draw::table("Flows of this finding", &heads, &rows))
            }
            @if f.flows.len() > rows.len() { p.dim { "and " (f.flows.len() - rows.len()) " more." } }
        }
    }
}

/// Text of our own whose source lines are broken.
pub fn tidy(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
