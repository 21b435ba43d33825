//! The parts of the page around its findings: head, summary, captures, services, rules.

use super::finding::tidy;
use super::mask::Mask;
use super::{draw, marks, timeline, words};
use crate::model::finding::{Card, Grade, Kind};
use crate::model::source::{SourceFacts, Vantage};
use crate::model::story::{End, Story};
use crate::sink::RunInfo;
use crate::sink::human::{Found, Row, Style, Told, screen};
use crate::sink::text::{self, clock, counted};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

/// The only style sheet. Nothing in it comes from a capture.
const CSS: &str = include_str!("style.css");

/// Most captures listed in the table.
const LISTED_MAX: usize = 500;
/// Most services in the grid.
const SERVICES_MAX: usize = 300;
/// Fewer deaths show no pattern.
const DEATHS_FEW: usize = 4;
/// Most apps listed.
const APPS_MAX: usize = 200;
/// Most findings in the contents.
const CONTENTS_MAX: usize = 100;

/// Everything before the summary: the policy forbids whatever is not this style sheet.
pub fn head(title: &str) -> Markup {
    let hash = STANDARD.encode(Sha256::digest(CSS.as_bytes()));
    let policy = format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'");
    html! {
        (DOCTYPE)
        (PreEscaped("<html lang=\"en\">"))
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(policy);
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="referrer" content="no-referrer";
            meta name="color-scheme" content="light dark";
            title { (title) }
        }
    }
}

/// The style element, exactly as its hash says.
pub fn style() -> String {
    format!("<style>{CSS}</style>")
}

/// `report.pcap`, or how many captures.
pub fn subject(told: &Told) -> String {
    match (told.sources.as_slice(), told.failed.as_slice()) {
        ([_], []) => names(told).concat(),
        ([], [(path, _)]) => words::file_names(&[path]).concat(),
        ([], []) => "no capture".to_owned(),
        (read, failed) => counted((read.len() + failed.len()) as u64, "capture"),
    }
}

/// The names of the captures, in the order they were read.
pub fn names(told: &Told) -> Vec<String> {
    words::file_names(&told.sources.iter().map(|s| s.facts.path.as_str()).collect::<Vec<_>>())
}

/// Heading, answer in one sentence, what was asked, what follows.
pub fn summary(told: &Told, shown: &[&Found], all: usize, titles: &[String], run: &RunInfo, end: &End, style: &Style) -> Markup {
    let rows = told.rows(style);
    let failed = words::file_names(&told.failed.iter().map(|f| f.0.as_str()).collect::<Vec<_>>());
    let hidden = (told.findings.iter().filter(|f| f.circumvention).count(), told.services.iter().filter(|r| r.circumvention).count());
    let hidden = if style.show_circumvention { (0, 0) } else { hidden };
    html! {
        header {
            p.dim { "tamperscope report" }
            h1 { "What the network did: " bdi { (text::cut(&subject(told), 120, false)) } }
            p.lead { (answer(told, shown, all, &rows)) }
            dl.facts {
                @let first = told.sources.iter().filter_map(|s| s.facts.first).min();
                @let last = told.sources.iter().filter_map(|s| s.facts.last).max();
                @if let (Some(first), Some(last)) = (first, last) { dt { "Captured" } dd { (clock(first)) " to " (clock(last)) } }
                dt { "Asked" } dd {
                    "Which services are in " (counted((told.sources.len() + told.failed.len()) as u64, "capture"))
                    ", and what the network did to them"
                    (asked(run))
                }
                dt { "Made with" } dd { (made_with(run)) }
            }
        }
        @if !told.failed.is_empty() {
            div.box {
                p { b { "Not analysed: " (counted(told.failed.len() as u64, "capture")) "." } }
                ul { @for (path, (_, why)) in failed.iter().zip(&told.failed).take(LISTED_MAX) { li { bdi { (path) } ": " bdi { (why) } } } }
            }
        }
        @if end.interrupted { div.box { p { "The run was interrupted: this is what was read until then." } } }
        @if !end.bounds_hit.is_empty() { div.box { p { "Limits were reached, so not everything was kept: " (end.bounds_hit.join("; ")) "." } } }
        @if shown.len() > 1 {
            nav aria-label="Findings" {
                h2 { "Contents" }
                ol {
                    @for (i, (found, title)) in shown.iter().zip(titles).enumerate().take(CONTENTS_MAX) {
                        li { a href=(format!("#finding-{}", i + 1)) { bdi { (text::cut(title, 120, false)) } } " " span.dim { "(" (found.finding.grade.name()) ")" } }
                    }
                }
                @if shown.len() > CONTENTS_MAX { p.dim { "and " (shown.len() - CONTENTS_MAX) " more." } }
            }
        }
        (left_out(hidden.0, hidden.1))
    }
}

/// With which options it was asked, behind the question.
pub fn asked(run: &RunInfo) -> Markup {
    html! { @if !run.asked.is_empty() { ", with " @for a in &run.asked { code.opt { (a) } " " } } }
}

/// How much about ways around blocking is not shown, if any.
pub fn left_out(findings: usize, services: usize) -> Markup {
    html! {
        @if findings + services > 0 {
            p.dim {
                "Left out on purpose, because they name ways around blocking: "
                @if findings > 0 { (counted(findings as u64, "finding")) }
                @if findings > 0 && services > 0 { " and " }
                @if services > 0 { (counted(services as u64, "service")) }
                ". The option " code.opt { "--show-circumvention" } " shows them."
            }
        }
    }
}

/// What made the report.
pub fn made_with(run: &RunInfo) -> Markup {
    html! {
        "tamperscope " (run.version)
        @if let Some(hash) = &run.rules_sha256 { ", rules and services " code { (hash.get(..16).unwrap_or(hash)) } }
        ". It only read captures: it asked no server and resolved no name."
    }
}

/// The answer to the question, in a sentence or two.
fn answer(told: &Told, shown: &[&Found], all: usize, rows: &[&Row]) -> String {
    if told.sources.is_empty() {
        return "Nothing could be analysed.".to_owned();
    }
    if told.nothing_seen() {
        return "There are no packets in it.".to_owned();
    }
    let of = |grade: Grade| shown.iter().filter(|f| f.finding.grade == grade).count();
    let counts: Vec<String> = [Grade::Confirmed, Grade::Likely, Grade::Possible]
        .into_iter()
        .filter(|g| of(*g) > 0)
        .map(|g| format!("{} {}", of(g), g.name()))
        .collect();
    let mut out = if counts.is_empty() {
        "No interference was found that this capture could show.".to_owned()
    } else {
        let more = if all > shown.len() { format!(" and {} no surer", all - shown.len()) } else { String::new() };
        format!("{}: {}{more}.", counted(all as u64, "finding"), counts.join(", "))
    };
    use crate::model::story::State;
    for (states, says) in [
        (&[State::Blocked][..], "Blocked"),
        (&[State::LikelyBlocked], "Likely blocked"),
        (&[State::Impaired], "Impaired"),
        (&[State::Ok], "Working"),
    ] {
        let names: Vec<String> = rows.iter().filter(|r| states.contains(&r.state)).map(|r| screen::row_name(r)).collect();
        if !names.is_empty() {
            let few: Vec<&str> = names.iter().take(6).map(String::as_str).collect();
            let more = names.len().saturating_sub(few.len());
            out.push_str(&format!(" {says}: {}{}.", few.join(", "), if more > 0 { format!(" and {more} more") } else { String::new() }));
        }
    }
    out
}

/// The table of captures, when there are several.
pub fn sources(told: &Told) -> Markup {
    let rows: Vec<Vec<String>> = told
        .sources
        .iter()
        .zip(names(told))
        .take(LISTED_MAX)
        .map(|(s, name)| {
            let q = screen::flaws(&s.facts);
            vec![
                name,
                text::grouped(s.facts.packets),
                text::grouped(s.flows as u64),
                s.findings.to_string(),
                s.facts.quality.vantage.name().to_owned(),
                if q.is_empty() { "nothing noticed".to_owned() } else { q.join(", ") },
            ]
        })
        .collect();
    let heads = ["capture", "#packets", "#flows", "#findings", "seen from", "flaws"];
    html! {
        div {
            div.scroll tabindex="0" role="region" aria-label="Captures" { (draw::table("Captures in the order they were read", &heads, &rows)) }
            @if told.sources.len() > rows.len() { p.dim { "and " (told.sources.len() - rows.len()) " more." } }
        }
    }
}

/// Legs of calls, unless a finding about calls draws them itself.
pub fn legs(story: &Story, mask: &Mask, style: &Style) -> Option<Markup> {
    if story.findings.iter().any(|f| f.kind == Kind::UdpBlocking) {
        return None;
    }
    let label = |i: usize| story.labels.get(i).and_then(Option::as_ref);
    let legs: Vec<_> = story
        .flows
        .iter()
        .enumerate()
        .filter(|(i, f)| timeline::is_leg(f, label(*i)))
        .map(|(i, flow)| {
            let service = label(i).filter(|l| style.show_circumvention || !l.circumvention).map(|l| l.title.to_string());
            timeline::Leg { flow, service, hit: false }
        })
        .collect();
    timeline::legs(&legs, mask)
}

/// Pictures of a whole capture.
pub fn pictures(story: &Story, mask: &Mask, style: &Style) -> Vec<Markup> {
    let all = [timeline::connections(story), legs(story, mask, style), marks::deaths(story.flows.iter(), DEATHS_FEW)];
    all.into_iter().flatten().collect()
}

/// One capture: how good it is, what it cannot show, and what happened over time.
pub fn source(story: &Story, pictures: &[Markup]) -> Markup {
    let s = &story.source;
    let flaws = screen::flaws(s);
    html! {
        ul {
            li { (counted(s.packets, "packet")) " in " (counted(story.flows.len() as u64, "flow")) (screen::lasting(s)) ", " (s.format) "." }
            li { (vantage(s)) }
            @if flaws.is_empty() {
                li { "No loss, cut or damage was noticed." }
            } @else {
                li { "Flaws: " bdi { (flaws.join("; ")) } "." }
            }
            @if s.quality.phone_vpn { li { "Made by a VPN app on a telephone: headers are the app's own, so nothing is claimed from them." } }
            @if s.quality.ttl_normalised { li { "Every packet that came in has the same TTL, so TTLs prove nothing here." } }
        }
        @if !s.quality.cannot_claim.is_empty() {
            div.box {
                p { b { "What this capture cannot show" } }
                ul { @for c in &s.quality.cannot_claim { li { b { (c.claim) } ": " bdi { (c.why) } } } }
            }
        }
        p.dim { "Nothing found means: nothing that this capture could show and these rules look for." }
        @if !pictures.is_empty() { div.two { @for p in pictures { (p) } } }
    }
}

fn vantage(s: &SourceFacts) -> Markup {
    let q = &s.quality;
    html! {
        @match q.vantage {
            Vantage::Client => "Taken at or next to the clients. What happens further on must be inferred.",
            Vantage::Server => "Taken at or next to the servers. What happens between them and the clients must be inferred.",
            Vantage::Mid => "Taken on the path between clients and servers.",
            Vantage::Unknown => "Nobody can tell from the packets where it was taken.",
        }
        @if !q.vantage_basis.is_empty() { " " span.dim { "(" bdi { (q.vantage_basis) } ")" } }
    }
}

/// Every service with its state as a sign and a word.
pub fn services(told: &Told, style: &Style, finding_of: &dyn Fn(&Row) -> Vec<usize>) -> Markup {
    let rows = told.rows(style);
    html! {
        section {
            h2 { "Services" }
            @if rows.is_empty() {
                p { "No known service was recognised." }
            } @else {
                ul.grid {
                    @for r in rows.iter().take(SERVICES_MAX) {
                        @let (sign, word, means, class) = words::state(r.state);
                        li class=(class) {
                            h3 { bdi { (text::cut(&screen::row_name(r), 60, false)) } }
                            p { span class={ "mark " (class) } { span aria-hidden="true" { (sign) " " } (word) } span.sr { ": " (means) } }
                            p.dim { (text::grouped(r.ok)) " of " (counted(r.attempts, "attempt")) " went well"
                                @if r.failed > 0 { ", " (text::grouped(r.failed)) " failed" }
                                @if r.sources > 1 { "; " (word) " in " (r.witnesses) " of " (r.sources) " captures" }
                                "." }
                            @if !r.because.is_empty() { p { bdi { (text::cut(&r.because, 240, false)) } "." } }
                            @if !r.unless.is_empty() { p.dim { "Unless: " bdi { (text::cut(&r.unless, 240, false)) } "." } }
                            @let about = finding_of(r);
                            @if !about.is_empty() {
                                p { "See " @for (i, n) in about.iter().take(6).enumerate() { @if i > 0 { ", " } a href=(format!("#finding-{n}")) { "finding " (n) } } "." }
                            }
                        }
                    }
                }
                @if rows.len() > SERVICES_MAX { p.dim { "and " (rows.len() - SERVICES_MAX) " more." } }
            }
        }
    }
}

/// What became of each app's connections, where a capture names apps. Services that name ways around blocking are left out unless asked for.
pub fn apps(told: &Told, style: &Style) -> Option<Markup> {
    let mut rows: Vec<_> = told.apps.iter().filter(|(_, a)| a.attempts > 0).collect();
    rows.sort_by(|(a, x), (b, y)| (y.failed, y.attempts, a).cmp(&(x.failed, x.attempts, b)));
    let hidden = |id: &str| !style.show_circumvention && told.services.iter().any(|r| r.circumvention && *r.id == *id);
    let title = |id: &str| told.services.iter().find(|r| *r.id == *id).map_or_else(|| id.to_owned(), |r| r.title.to_string());
    let cells: Vec<Vec<String>> = rows
        .iter()
        .take(APPS_MAX)
        .map(|(name, a)| {
            let services: Vec<String> = a.services.iter().filter(|id| !hidden(id)).map(|id| title(id)).collect();
            vec![
                text::cut(name, 80, false),
                words::state(a.state).1.to_owned(),
                text::grouped(a.attempts),
                text::grouped(a.ok),
                text::grouped(a.failed),
                services.join(", "),
            ]
        })
        .collect();
    (!cells.is_empty()).then(|| {
        html! {
            section {
                h2 { "Apps" }
                div.scroll tabindex="0" role="region" aria-label="Apps" {
                    (draw::table("Connections by the app that made them, as the capture names it", &["app", "state", "#attempts", "#went well", "#failed", "services"], &cells))
                }
                @if rows.len() > cells.len() { p.dim { "and " (rows.len() - cells.len()) " more." } }
            }
        }
    })
}

/// The beginning of a finding's page; its end is the caller's.
pub fn finding_head(n: usize, title: &str, file: Option<&str>) -> Markup {
    html! {
        (PreEscaped(format!("<article class=\"finding\" id=\"finding-{n}\" aria-labelledby=\"heading-{n}\">")))
        h3 id=(format!("heading-{n}")) { (n) ". " bdi { (text::cut(title, 300, false)) } }
        @if let Some(file) = file { p.dim { "In " bdi { (text::cut(file, 120, false)) } } }
    }
}

/// Pages of the rules that the findings cite.
pub fn rules(cards: &[&Card]) -> Markup {
    let list = |title: &str, items: &[&str]| {
        html! { @if !items.is_empty() { h4 { (title) } ul { @for i in items { li { (tidy(i)) } } } } }
    };
    html! {
        section {
            h2 { "The rules behind the findings" }
            @for card in cards {
                section {
                    h3 id=(format!("rule-{}", card.rule)) { code { (card.rule) } }
                    p { (tidy(card.claim)) }
                    @if !card.ladder.trim().is_empty() {
                        div.scroll tabindex="0" role="region" aria-label=(format!("What {} looks like", card.rule)) {
                            pre { @for line in card.ladder.trim_matches('\n').lines() { span { @if line.is_empty() { " " } @else { (line) } } } }
                        }
                    }
                    div.two {
                        div { (list("What the capture must have", card.needs)) (list("Innocent causes it weighs", card.innocent)) }
                        div {
                            @if !card.confirm.trim().is_empty() { h4 { "How to confirm it" } p { (tidy(card.confirm)) } }
                            (list("Sources", card.sources))
                        }
                    }
                }
            }
        }
    }
}

/// How to read it, for whoever opens it without knowing the program.
pub fn reading() -> Markup {
    html! {
        section.reading {
            h2 { "How to read this" }
            p { "A finding says what was observed in the packets. It never says who did it, or why." }
            dl.facts {
                @for g in [Grade::Confirmed, Grade::Likely, Grade::Possible] {
                    dt { span class=(words::grade_class(g)) { (g.name()) } } dd { (words::grade(g)) }
                }
            }
            h3 { "Words" }
            dl.facts { @for (word, means) in words::GLOSSARY { dt { (word) } dd { (means) } } }
        }
    }
}

/// The end.
pub fn foot(mask: &Mask) -> Markup {
    html! {
        footer {
            p {
                @if mask.is_open() { "Addresses of clients are shown: think before you publish this." }
                @else { "Addresses of clients are replaced by letters; servers, names and times are shown as captured." }
                " Text from the capture is shown, never obeyed: what could act on the reader is written as an escape such as "
                code { "\\u{202e}" } "."
            }
        }
    }
}
