//! Lays the verdict out on one screen.

use super::{Found, Paint, Row, Source, Style, Told};
use crate::model::finding::{Finding, Grade};
use crate::model::source::{SourceFacts, Vantage};
use crate::model::story::{End, State};
use crate::sink::text::{self, clock, counted, cut, fit, grouped, percent, wrap};

/// Rows of a usual terminal, less one for the prompt.
const ROWS: usize = 23;
/// Most sources listed without `-v`.
const SOURCES_MAX: usize = 3;
/// With at most this many services a reason may take a second line.
const SERVICES_FEW: usize = 3;
/// Most findings shown without `-v`.
const FINDINGS_MAX: usize = 5;
/// With at most this many findings a reason may take a second line.
const FINDINGS_FEW: usize = 2;
/// Most service rows shown without `-v`, and when findings need the room.
const SERVICES_MAX: usize = 10;
const SERVICES_MAX_BESIDE_FINDINGS: usize = 4;

/// Most lines of a finding's title, without where it was.
const TITLE_ROWS: usize = 2;
/// Apps shown without `-v`, and beside findings.
const APPS_MAX: usize = 6;
/// See [`APPS_MAX`].
const APPS_MAX_BESIDE_FINDINGS: usize = 3;
/// Most columns of a name in a finding's title.
const NAME_MAX: usize = 40;
/// Most frames named in a finding's title.
const FRAMES_MAX: usize = 2;

/// The whole verdict.
pub fn verdict(style: &Style, told: &Told, end: &End) -> Vec<String> {
    let mut head = quality(style, told);
    head.extend(services(style, told));
    head.extend(apps(style, told));
    let tail = tail(style, told, end);
    let room = ROWS.saturating_sub(head.len() + tail.len());
    head.extend(findings(style, told, room));
    head.extend(tail);
    head
}

/// `2 findings: 1 confirmed, 1 likely`.
pub fn findings_count(told: &Told) -> String {
    let n = told.total() as u64;
    let mut parts = Vec::new();
    for grade in [Grade::Confirmed, Grade::Likely, Grade::Possible] {
        let n = told.count(grade);
        if n > 0 {
            parts.push(format!("{n} {}", grade.name()));
        }
    }
    let sep = if parts.is_empty() { "" } else { ": " };
    format!("{}{sep}{}", counted(n, "finding"), parts.join(", "))
}

fn quality(style: &Style, told: &Told) -> Vec<String> {
    match told.sources.as_slice() {
        [] => vec![style.paint(Paint::Bold, "Nothing could be analysed.")],
        [one] => one_source(style, one),
        many => many_sources(style, many),
    }
}

fn one_source(style: &Style, s: &Source) -> Vec<String> {
    let f = &s.facts;
    let width = style.width;
    let size = format!("{}, {} in {}{}", f.format, counted(f.packets, "packet"), counted(s.flows as u64, "flow"), lasting(f));
    let size = style.shown(&size);
    let name = text::cut_front(&style.shown(&f.path), width.saturating_sub(text::columns(&size) + 2).max(12), style.ascii);
    let mut lines = vec![format!("{}: {size}", style.paint(Paint::Bold, &name))];
    let mut facts = Vec::new();
    if let Some(first) = f.first {
        facts.push(clock(first));
    }
    facts.push(vantage(f));
    facts.extend(flaws(f));
    lines.extend(indented(style, 2, &facts.join("; "), 2));
    if !f.quality.cannot_claim.is_empty() {
        let claims: Vec<String> = f.quality.cannot_claim.iter().map(|c| format!("{} ({})", c.claim, c.why)).collect();
        let rows = if style.verbose { usize::MAX } else { 2 };
        lines.extend(indented(style, 2, &format!("Cannot show: {}", claims.join("; ")), rows));
    }
    lines
}

fn many_sources(style: &Style, sources: &[Source]) -> Vec<String> {
    let packets = sources.iter().map(|s| s.facts.packets).sum();
    let flows: usize = sources.iter().map(|s| s.flows).sum();
    let title =
        format!("{}: {} in {}", counted(sources.len() as u64, "capture"), counted(packets, "packet"), counted(flows as u64, "flow"));
    let mut lines = vec![style.paint(Paint::Bold, &title)];
    let max = if style.verbose { usize::MAX } else { SOURCES_MAX };
    for s in sources.iter().take(max) {
        let f = &s.facts;
        let mut facts =
            vec![counted(f.packets, "packet"), counted(s.flows as u64, "flow"), counted(s.findings as u64, "finding"), vantage(f)];
        facts.extend(flaws(f));
        let width = (style.width / 3).max(16);
        let name = fit(&text::cut_front(&style.shown(&f.path), width, style.ascii), width, style.ascii);
        lines.push(cut(&format!("  {name} {}", style.shown(&facts.join(", "))), style.width, style.ascii));
    }
    if sources.len() > max {
        lines.push(style.paint(Paint::Dim, &format!("  and {} more (-v shows them)", sources.len() - max)));
    }
    lines
}

pub(in crate::sink) fn lasting(f: &SourceFacts) -> String {
    match (f.first, f.last) {
        (Some(first), Some(last)) => format!(" over {}", last.since(first)),
        _ => String::new(),
    }
}

pub(in crate::sink) fn vantage(f: &SourceFacts) -> String {
    match f.quality.vantage {
        Vantage::Client => "seen from the client side".into(),
        Vantage::Server => "seen from the server side".into(),
        Vantage::Mid => "seen on the path".into(),
        Vantage::Unknown => "vantage unknown".into(),
    }
}

/// What is wrong with the capture; nothing said is nothing wrong.
pub(in crate::sink) fn flaws(f: &SourceFacts) -> Vec<String> {
    let q = &f.quality;
    let mut out = Vec::new();
    let mut share = |value: f64, from: f64, what: &str| {
        if value > from {
            out.push(format!("{} {what}", percent(value)));
        }
    };
    share(q.capture_loss, 0.0, "lost by the capture");
    share(q.one_sided_share, 0.05, "of TCP flows one-sided");
    share(q.snaplen_cut, 0.0, "of frames cut short");
    share(q.duplicates, 0.01, "duplicates");
    if let Some(drops) = f.drops.filter(|&d| d > 0) {
        out.push(format!("{} reported by the capture", counted(drops, "drop")));
    }
    let not_ip: u64 = f.oddities.iter().filter(|(o, _)| !o.understood()).map(|(_, n)| n).sum();
    if not_ip > 0 {
        out.push(format!("{} not decoded", counted(not_ip, "frame")));
    }
    if f.filtered > 0 {
        out.push(format!("{} left out by the filter", counted(f.filtered, "frame")));
    }
    if q.offload {
        out.push("segments merged by offloading".into());
    }
    if f.evicted > 0 {
        out.push(format!("{} evicted", counted(f.evicted, "flow")));
    }
    if f.skipped_bytes > 0 {
        out.push(format!("{} skipped", counted(f.skipped_bytes, "byte")));
    }
    match (&f.damage[..], f.truncated_at) {
        ([], Some(at)) => out.push(format!("ends inside frame {}", at.0)),
        (damage, _) => out.extend(damage.iter().cloned()),
    }
    out
}

fn services(style: &Style, told: &Told) -> Vec<String> {
    let rows = told.rows(style);
    let hidden = told.services.len() - rows.len();
    if told.nothing_seen() {
        return vec![];
    }
    if rows.is_empty() && hidden == 0 {
        return vec![String::new(), "No known service was recognised.".into()];
    }
    let mut lines = vec![String::new()];
    let name_width = rows.iter().map(|r| text::columns(&style.shown(&row_name(r)))).max().unwrap_or(0).clamp(7, 26);
    let heading = format!("  {} {:<14} {:>5} {:>6}  BECAUSE", fit("SERVICE", name_width, style.ascii), "STATE", "OK", "FAILED");
    if !rows.is_empty() {
        lines.push(style.paint(Paint::Bold, &cut(&heading, style.width, style.ascii)));
    }
    let max = match (style.verbose, told.findings.is_empty()) {
        (true, _) => usize::MAX,
        (false, true) => SERVICES_MAX,
        (false, false) => SERVICES_MAX_BESIDE_FINDINGS,
    };
    for row in rows.iter().take(max) {
        lines.extend(service_row(style, row, name_width, if rows.len() <= SERVICES_FEW { 2 } else { 1 }));
    }
    let worst = rows.get(max).map(|r| format!(", {} or better", r.state.name().replace('_', " ")));
    lines.extend(left_out(style, rows.len().saturating_sub(max), &worst.unwrap_or_default(), hidden));
    lines
}

/// What became of each app's connections, the worst first, where the capture names apps.
fn apps(style: &Style, told: &Told) -> Vec<String> {
    let mut rows: Vec<_> = told.apps.iter().filter(|(_, a)| a.attempts > 0).collect();
    if rows.is_empty() {
        return vec![];
    }
    rows.sort_by(|(a, x), (b, y)| (y.failed, y.attempts, a).cmp(&(x.failed, x.attempts, b)));
    let max = match (style.verbose, told.findings.is_empty()) {
        (true, _) => usize::MAX,
        (false, true) => APPS_MAX,
        (false, false) => APPS_MAX_BESIDE_FINDINGS,
    };
    let mut lines = vec![String::new()];
    let name_width = rows.iter().take(max).map(|(n, _)| text::columns(&style.shown(n))).max().unwrap_or(0).clamp(7, 40);
    lines.push(style.paint(
        Paint::Bold,
        &cut(
            &format!("  {} {:<14} {:>5} {:>6}  SERVICES", fit("APP", name_width, style.ascii), "STATE", "OK", "FAILED"),
            style.width,
            style.ascii,
        ),
    ));
    for (name, a) in rows.iter().take(max) {
        let numbers = format!("{:>5} {:>6}", grouped(a.ok), grouped(a.failed));
        let (symbol, paint) = sign(a.state, style.ascii);
        let name = fit(&style.shown(name), name_width, style.ascii);
        let state = style.paint(paint, &format!("{symbol} {name} {:<14}", a.state.name().replace('_', " ")));
        let used = 2 + name_width + 1 + 14 + 1 + text::columns(&numbers) + 2;
        let services = cut(&style.shown(&a.services.join(" ")), style.width.saturating_sub(used), style.ascii);
        lines.push(format!("{state} {numbers}  {services}").trim_end().to_owned());
    }
    lines.extend(left_out(style, rows.len().saturating_sub(max), "", 0));
    lines
}

/// What a list does not show, and how to see it.
fn left_out(style: &Style, more: usize, which: &str, hidden: usize) -> Option<String> {
    let mut parts = Vec::new();
    if more > 0 {
        parts.push(format!("and {more} more{which} (-v shows them)"));
    }
    if hidden > 0 {
        parts.push(format!("{hidden} hidden (--show-circumvention)"));
    }
    let line = format!("  {}", parts.join("; "));
    (!parts.is_empty()).then(|| style.paint(Paint::Dim, &cut(&line, style.width, style.ascii)))
}

pub(in crate::sink) fn row_name(r: &Row) -> String {
    match r.role {
        Some(role) => format!("{} {}", r.title, role.name()),
        None => r.title.to_string(),
    }
}

/// A state as a sign, which repeats what the word beside it says.
const fn sign(state: State, ascii: bool) -> (&'static str, Paint) {
    let (symbol, plain, paint) = match state {
        State::Ok => ("✓", "+", Paint::Green),
        State::Impaired => ("~", "~", Paint::Yellow),
        State::LikelyBlocked => ("!", "!", Paint::Red),
        State::Blocked => ("✗", "X", Paint::Red),
        State::Down => ("▼", "v", Paint::Yellow),
        State::Insufficient => ("?", "?", Paint::Dim),
    };
    (if ascii { plain } else { symbol }, paint)
}

fn service_row(style: &Style, r: &Row, name_width: usize, reason_rows: usize) -> Vec<String> {
    let (symbol, paint) = sign(r.state, style.ascii);
    let word = r.state.name().replace('_', " ");
    let name = fit(&style.shown(&row_name(r)), name_width, style.ascii);
    let mut because = if r.state == State::Ok { String::new() } else { r.because.clone() };
    if r.sources > 1 && r.state != State::Ok {
        because = format!("in {} of {} captures: {because}", r.witnesses, r.sources);
    }
    let numbers = format!("{:>5} {:>6}", grouped(r.ok), grouped(r.failed));
    let used = 2 + name_width + 1 + 14 + 1 + text::columns(&numbers) + 2;
    let mut because = wrap(&style.shown(&because), style.width.saturating_sub(used), reason_rows, style.ascii).into_iter();
    let state = style.paint(paint, &format!("{symbol} {name} {word:<14}"));
    let mut lines = vec![format!("{state} {numbers}  {}", because.next().unwrap_or_default()).trim_end().to_owned()];
    lines.extend(because.map(|more| format!("{}{more}", " ".repeat(used))));
    lines
}

fn findings(style: &Style, told: &Told, room: usize) -> Vec<String> {
    let shown = told.findings(style);
    let hidden = told.findings.len() - shown.len() + if style.show_circumvention { 0 } else { told.rest.circumvention() };
    let mut lines = vec![String::new()];
    if told.total() == 0 {
        if told.nothing_seen() {
            return if told.sources.is_empty() { vec![] } else { vec!["  There are no packets in it.".into()] };
        }
        lines.push(style.paint(Paint::Bold, "No interference found that this capture could show."));
        return lines;
    }
    lines.push(style.paint(Paint::Bold, &findings_count(told)));
    let with_file = told.sources.len() > 1;
    // A line for those left out is always kept free.
    let room = room.saturating_sub(1);
    let mut told_of = 0;
    for (i, found) in shown.iter().enumerate() {
        let more = finding(style, i + 1, found, with_file, if shown.len() <= FINDINGS_FEW { 2 } else { 1 });
        // The surest finding is shown, whatever the room.
        if !style.verbose && i > 0 && (i >= FINDINGS_MAX || lines.len() + more.len() > room) {
            break;
        }
        lines.extend(more);
        told_of += 1;
    }
    lines.extend(left_out(style, shown.len() + told.rest.open() - told_of, "", hidden));
    lines
}

fn finding(style: &Style, number: usize, found: &Found, with_file: bool, reason_rows: usize) -> Vec<String> {
    let f = &found.finding;
    let mut title = format!("{} ({}) on {}", f.kind.name(), f.mechanism, target(f));
    if let Some(bps) = f.rate_bps {
        title.push_str(&format!(" at about {}", text::rate(bps)));
    }
    let mut rest = format!("{}, {}", counted(f.flows.len() as u64, "flow"), frames(f));
    if with_file {
        let name = found.path.rsplit('/').next().unwrap_or(&found.path);
        rest.push_str(&format!(" of {name}"));
    }
    let grade = f.grade.name();
    let paint = match f.grade {
        Grade::Confirmed => Paint::Red,
        Grade::Likely => Paint::Yellow,
        Grade::Possible => Paint::Dim,
    };
    let whole = format!("{grade}: {title}, {rest}");
    let before = format!("{number}. ");
    let mut lines = if before.len() + text::columns(&style.shown(&whole)) <= style.width {
        vec![style.shown(&whole)]
    } else {
        let mut two = indented(style, before.len(), &format!("{grade}: {title},"), TITLE_ROWS);
        two.extend(indented(style, 5, &rest, 1));
        two
    };
    if let Some(first) = lines.first_mut() {
        // The number stands in the indent, and only the grade is coloured.
        let said = first.trim_start().strip_prefix(grade).unwrap_or_default();
        *first = format!("{before}{}{said}", style.paint(paint, grade));
    }
    let rows = if style.verbose { 4 } else { reason_rows };
    if style.verbose {
        if let Some(between) = &found.between {
            let all: Vec<String> = f.frames.iter().map(|n| n.0.to_string()).collect();
            lines.extend(indented(style, 3, &format!("{between}, {} {}", noun(f), all.join(" ")), 2));
        }
        for e in &f.evidence {
            lines.extend(indented(style, 3, &format!("because {}", evidence(e)), rows));
        }
        for i in &f.innocent {
            let word = if i.stands { "unless" } else { "not" };
            lines.extend(indented(style, 3, &format!("{word} {}: {}", i.cause, i.why), rows));
        }
    } else {
        let standing: Vec<String> = f.innocent.iter().filter(|i| i.stands).map(|i| format!("{} ({})", i.cause, i.why)).collect();
        let because: Vec<String> = f.evidence.iter().take(2).map(evidence).collect();
        if !because.is_empty() {
            lines.extend(indented(style, 3, &format!("because {}", because.join("; ")), if standing.is_empty() { 2 } else { rows }));
        }
        if !standing.is_empty() {
            lines.extend(indented(style, 3, &format!("unless {}", standing.join("; ")), rows));
        }
    }
    lines
}

fn evidence(e: &crate::model::finding::Evidence) -> String {
    match (e.value.as_str(), e.expectation()) {
        ("", _) => e.says.clone(),
        (value, None) => format!("{}: {value}", e.says),
        (value, Some(expected)) => format!("{}: {value}, expected {expected}", e.says),
    }
}

fn target(f: &Finding) -> String {
    let t = &f.target;
    let name = t.sni.as_deref().or(t.host.as_deref()).or(t.qname.as_deref());
    let service = t.service.as_deref().map(|s| match t.role {
        Some(role) => format!("{s} {}", role.name()),
        None => s.to_owned(),
    });
    match (service, name, t.ip) {
        (Some(service), Some(name), _) => format!("{service} ({})", short(name)),
        (Some(service), None, _) => service,
        (None, Some(name), _) => short(name),
        (None, None, Some(ip)) => ip.to_string(),
        (None, None, None) => "an unnamed target".to_owned(),
    }
}

/// A name from the wire that does not fill the line: its end tells most.
fn short(name: &str) -> String {
    text::cut_front(&text::shown(name, false), NAME_MAX, false)
}

fn frames(f: &Finding) -> String {
    let mut out: Vec<String> = f.frames.iter().take(FRAMES_MAX).map(|n| n.0.to_string()).collect();
    if f.frames.len() > FRAMES_MAX {
        out.push("…".into());
    }
    format!("{} {}", noun(f), out.join(", "))
}

fn noun(f: &Finding) -> &'static str {
    if f.frames.len() == 1 { "frame" } else { "frames" }
}

/// What to capture next, and what went wrong.
fn tail(style: &Style, told: &Told, end: &End) -> Vec<String> {
    let mut next: Vec<String> = Vec::new();
    let mut add = |line: String| {
        if !line.is_empty() && !next.contains(&line) {
            next.push(line);
        }
    };
    for found in told.findings(style) {
        for need in &found.finding.needs {
            add((*need).to_owned());
        }
    }
    for need in &told.rest.needs {
        add((*need).to_owned());
    }
    for row in told.rows(style).into_iter().filter(|r| r.state == State::Insufficient) {
        let about = if row.unless.is_empty() { "more of its traffic" } else { &row.unless };
        add(format!("{}: {about}", row_name(row)));
    }
    let mut lines = Vec::new();
    if !next.is_empty() {
        lines.push(String::new());
        let rows = if style.verbose { usize::MAX } else { 2 };
        lines.extend(indented(style, 0, &format!("To settle it: {}", next.join("; ")), rows));
    }
    let mut warn = |text: String| lines.extend(indented(style, 0, &text, 2).into_iter().map(|l| style.paint(Paint::Yellow, &l)));
    if !told.failed.is_empty() && !told.sources.is_empty() {
        let paths: Vec<&str> = told.failed.iter().map(|f| f.0.as_str()).collect();
        warn(format!("{} could not be analysed: {}", counted(told.failed.len() as u64, "source"), paths.join(", ")));
    }
    if !end.bounds_hit.is_empty() {
        warn(format!("Limits were reached, so not everything was kept: {}", end.bounds_hit.join("; ")));
    }
    if end.interrupted {
        warn("Interrupted: this is what was read until then.".into());
    }
    lines
}

/// Text made harmless, wrapped and indented; continuation lines are indented two more.
fn indented(style: &Style, by: usize, text: &str, rows: usize) -> Vec<String> {
    let width = style.width.saturating_sub(by + 2);
    let lines = wrap(&style.shown(text), width, rows, style.ascii);
    lines.iter().enumerate().map(|(i, l)| format!("{}{l}", " ".repeat(if i == 0 { by } else { by + 2 }))).collect()
}
