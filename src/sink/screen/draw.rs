//! Draws a view. Colour only repeats what a word says already; without colours and with ASCII alone nothing is lost.

use super::super::text;
use super::view::{PAGES, Page, View};
use crate::model::finding::Grade;
use crate::model::story::State;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Clear;

/// Smallest terminal that is drawn on.
const SMALLEST: (u16, u16) = (40, 10);

pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        lines(frame, area, vec![Line::raw("terminal too small")]);
        return;
    }
    let [head, losses, tabs, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Length(1), Constraint::Min(3), Constraint::Length(1)])
            .areas(area);
    lines(frame, head, vec![title(view, head.width)]);
    lines(frame, losses, vec![lost(view, losses.width)]);
    lines(frame, tabs, vec![pages(view)]);
    if view.detail.is_some() {
        detail(frame, body, view);
    } else {
        match view.page {
            Page::Overview => overview(frame, body, view),
            Page::Findings => findings(frame, body, view),
            Page::Flows => flows(frame, body, view),
        }
    }
    lines(frame, foot, vec![footer(view, foot.width)]);
    if view.help {
        help(frame, area, view);
    }
}

/// Lines from the top; what does not fit is cut.
fn lines(frame: &mut Frame<'_>, area: Rect, list: Vec<Line<'_>>) {
    for (y, line) in (area.y..area.bottom()).zip(list) {
        frame.render_widget(line, Rect { y, height: 1, ..area });
    }
}

fn paint(view: &View, color: Color) -> Style {
    if view.style.color { Style::new().fg(color) } else { Style::new() }
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn cut(view: &View, text: &str, width: u16) -> String {
    text::cut(text, usize::from(width), view.style.ascii)
}

fn title(view: &View, width: u16) -> Line<'static> {
    let s = &view.stats;
    let names: Vec<&str> = s.interfaces.iter().map(|i| i.name.as_str()).collect();
    let secs = s.uptime.nanos() / 1_000_000_000;
    let per = |n: u64| super::super::jsonl::per_second(n, s.since);
    let paused = if view.paused { "  PAUSED" } else { "" };
    let text = format!(
        "tamperscope  {}  {:02}:{:02}:{:02}  {}pkt/s  {}bit/s  {} flows{paused}",
        names.join(","),
        secs / 3600,
        secs / 60 % 60,
        secs % 60,
        scaled(per(s.new_packets)),
        scaled(per(s.new_bytes) * 8.0),
        s.flows_active
    );
    Line::styled(cut(view, &view.style.shown(&text), width), bold())
}

/// 1234567 → `1.2 M`.
fn scaled(n: f64) -> String {
    match n {
        n if n >= 1e9 => format!("{:.1} G", n / 1e9),
        n if n >= 1e6 => format!("{:.1} M", n / 1e6),
        n if n >= 1e3 => format!("{:.1} k", n / 1e3),
        n => format!("{n:.0} "),
    }
}

fn lost(view: &View, width: u16) -> Line<'static> {
    let s = &view.stats;
    let named: Vec<String> = s.losses.named().iter().map(|(name, n)| format!("{name} {n}")).collect();
    let shed = match s.shed {
        crate::model::pulse::Shed::Nothing => String::new(),
        shed => format!("  shedding {}", shed.name()),
    };
    let silent: Vec<String> =
        s.interfaces.iter().filter(|i| i.link.name() != "up").map(|i| format!("  {} {}", i.name, i.link.name())).collect();
    let evicted = if s.flows_evicted > 0 { format!("  evicted {}", s.flows_evicted) } else { String::new() };
    let text = format!("Lost: {}{evicted}{shed}{}", named.join(", "), silent.concat());
    let style =
        if s.losses.sum() > 0 || !silent.is_empty() { paint(view, Color::Yellow).add_modifier(Modifier::BOLD) } else { Style::new() };
    Line::styled(cut(view, &view.style.shown(&text), width), style)
}

fn pages(view: &View) -> Line<'static> {
    let mut spans = Vec::new();
    for (page, name) in PAGES {
        let count = match page {
            Page::Overview => String::new(),
            Page::Findings => format!(" ({})", view.findings().len()),
            Page::Flows => format!(" ({})", view.flow_lines().len()),
        };
        let on = page == view.page;
        let text = if on { format!("[{name}{count}]") } else { format!(" {name}{count} ") };
        spans.push(Span::styled(text, if on { bold() } else { Style::new() }));
    }
    Line::from(spans)
}

fn footer(view: &View, width: u16) -> Line<'static> {
    let text = if view.typing {
        format!("Filter: {}_   Enter: keep, Esc: clear", view.filter)
    } else {
        let filter = if view.filter.is_empty() { String::new() } else { format!("filter \"{}\"  ", view.filter) };
        let notice = if view.notice.is_empty() { String::new() } else { format!("  ! {}", view.notice) };
        format!("{filter}?:help q:quit p:pause /:filter Tab:page Enter:detail{notice}")
    };
    Line::styled(cut(view, &view.style.shown(&text), width), Style::new().add_modifier(Modifier::REVERSED))
}

fn state_style(view: &View, state: State) -> Style {
    match state {
        State::Blocked | State::LikelyBlocked => paint(view, Color::Red).add_modifier(Modifier::BOLD),
        State::Impaired | State::Down => paint(view, Color::Yellow),
        State::Ok => paint(view, Color::Green),
        State::Insufficient => Style::new(),
    }
}

fn grade_style(view: &View, grade: Grade) -> Style {
    match grade {
        Grade::Confirmed => paint(view, Color::Red).add_modifier(Modifier::BOLD),
        Grade::Likely => paint(view, Color::Yellow),
        Grade::Possible => Style::new(),
    }
}

fn rule(view: &View, name: &str, width: u16) -> Line<'static> {
    let dash = if view.style.ascii { "-" } else { "─" };
    let rest = usize::from(width).saturating_sub(text::columns(name) + 4);
    Line::styled(format!("{0}{0} {name} {1}", dash, dash.repeat(rest)), bold())
}

fn overview(frame: &mut Frame<'_>, area: Rect, view: &mut View) {
    let found: Vec<(String, Style, String, String)> = view
        .findings()
        .iter()
        .map(|f| {
            let gone = if f.withdrawn { "(withdrawn) " } else { "" };
            let style = if f.withdrawn { Style::new() } else { grade_style(view, f.grade) };
            (format!("{gone}{}", f.line), style, f.because.clone(), f.unless.clone())
        })
        .collect();
    let below = (area.height / 2).min(u16::try_from(found.len() * 3 + 1).unwrap_or(u16::MAX).max(2));
    let [above, below] = Layout::vertical([Constraint::Min(3), Constraint::Length(below)]).areas(area);
    services(frame, above, view);
    let mut list = vec![rule(view, "Findings", below.width)];
    if found.is_empty() {
        list.push(Line::raw("  none so far"));
    }
    for (line, style, because, unless) in found {
        list.push(Line::styled(cut(view, &line, below.width), style));
        list.push(Line::raw(cut(view, &format!("  because {because}"), below.width)));
        list.push(Line::raw(cut(view, &format!("  unless  {unless}"), below.width)));
    }
    lines(frame, below, list);
}

fn services(frame: &mut Frame<'_>, area: Rect, view: &mut View) {
    let room = usize::from(area.height.saturating_sub(2));
    let top = view.scroll(room);
    let wide = area.width >= 100;
    let mut list = vec![rule(view, "Services", area.width)];
    let why = if wide { "  because / unless" } else { "" };
    list.push(Line::raw(cut(
        view,
        &format!("  {:<28} {:<14} {:>7} {:>7} {:>9}{why}", "service", "state", "ok", "failed", "flows/min"),
        area.width,
    )));
    let rows = view.service_rows();
    if rows.is_empty() {
        list.push(Line::raw("  none recognised so far"));
    }
    for (i, r) in rows.iter().enumerate().skip(top).take(room) {
        let mark = if i == view.selected() { '>' } else { ' ' };
        let name = text::cut(&r.name, 28, view.style.ascii);
        let pad = " ".repeat(28usize.saturating_sub(text::columns(&name)));
        let why = if wide { format!("  {}; unless {}", r.because, r.unless) } else { String::new() };
        let line = format!("{mark} {name}{pad} {:<14} {:>7} {:>7} {:>9.0}{why}", r.state.name(), r.ok, r.failed, r.rate);
        list.push(Line::styled(cut(view, &line, area.width), state_style(view, r.state)));
    }
    lines(frame, area, list);
}

fn findings(frame: &mut Frame<'_>, area: Rect, view: &mut View) {
    let [list_area, why] = Layout::vertical([Constraint::Min(3), Constraint::Length(3)]).areas(area);
    let top = view.scroll(usize::from(list_area.height));
    let found = view.findings();
    let mut list = Vec::new();
    if found.is_empty() {
        list.push(Line::raw("  none so far"));
    }
    for (i, f) in found.iter().enumerate().skip(top).take(usize::from(list_area.height)) {
        let mark = if i == view.selected() { '>' } else { ' ' };
        let gone = if f.withdrawn { "(withdrawn) " } else { "" };
        let style = if f.withdrawn { Style::new() } else { grade_style(view, f.grade) };
        list.push(Line::styled(cut(view, &format!("{mark} {gone}{}", f.line), list_area.width), style));
    }
    let mut below = vec![rule(view, "Selected", why.width)];
    if let Some(f) = found.get(view.selected()) {
        below.push(Line::raw(cut(view, &format!("because {}", f.because), why.width)));
        below.push(Line::raw(cut(view, &format!("unless  {}", f.unless), why.width)));
    }
    lines(frame, list_area, list);
    lines(frame, why, below);
}

fn flows(frame: &mut Frame<'_>, area: Rect, view: &mut View) {
    let top = view.scroll(usize::from(area.height));
    let all = view.flow_lines();
    let mut list = Vec::new();
    if all.is_empty() {
        list.push(Line::raw("  none so far"));
    }
    for (i, l) in all.iter().enumerate().skip(top).take(usize::from(area.height)) {
        let mark = if i == view.selected() { '>' } else { ' ' };
        list.push(Line::raw(cut(view, &format!("{mark} {l}"), area.width)));
    }
    lines(frame, area, list);
}

fn detail(frame: &mut Frame<'_>, area: Rect, view: &mut View) {
    view.room = usize::from(area.height);
    let Some((id, top)) = view.detail.clone() else { return };
    let Some(f) = view.found.iter().find(|f| f.id == id) else {
        lines(frame, area, vec![Line::raw("  this finding is no longer kept")]);
        return;
    };
    let mut list = Vec::new();
    for l in f.detail.iter().skip(top) {
        // Long sentences are continued: here they are read, not skimmed.
        for (i, part) in wrap(l, usize::from(area.width)).into_iter().enumerate() {
            let evidence = i == 0 && l.starts_with('>');
            list.push(Line::styled(part, if evidence { grade_style(view, f.grade) } else { Style::new() }));
        }
        if list.len() >= usize::from(area.height) {
            break;
        }
    }
    lines(frame, area, list);
}

/// A line in pieces of at most `width` columns, broken at spaces where there are any.
fn wrap(line: &str, width: usize) -> Vec<String> {
    if text::columns(line) <= width {
        return vec![line.to_owned()];
    }
    let indent = "    ";
    let mut out = Vec::new();
    let mut now = String::new();
    for word in line.split_inclusive(' ') {
        if text::columns(&now) + text::columns(word.trim_end()) > width && !now.trim().is_empty() {
            out.push(now.trim_end().to_owned());
            now = indent.to_owned();
        }
        now.push_str(word);
        while text::columns(now.trim_end()) > width {
            let mut head = String::new();
            while let Some(c) = now.chars().next().filter(|_| text::columns(&head) < width.saturating_sub(1)) {
                head.push(c);
                now.remove(0);
            }
            out.push(head);
            now.insert_str(0, indent);
        }
    }
    out.push(now.trim_end().to_owned());
    out
}

fn help(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let rows = [
        "Keys",
        "  1 2 3, Tab    overview, findings, flows",
        "  Up Down PgUp PgDn Home End (k j g G)",
        "  Enter         a finding with its packets",
        "  Esc           back; clear the filter",
        "  / text        show only lines with it",
        "  p, space      pause: lists stand still",
        "  q             end the capture, print the verdict",
        "  Ctrl-C        the same, exit status 130",
        "",
        "Lost: kernel (its buffer was full), interface (driver),",
        "queue (ours was full), policy (counted, but not read in",
        "full under overload). Losses lower what can be claimed.",
    ];
    let width = 60.min(area.width);
    let height = u16::try_from(rows.len() + 2).unwrap_or(15).min(area.height);
    let place = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    let mut list = vec![rule(view, "Help", width)];
    list.extend(rows.map(|r| Line::raw(format!(" {r}"))));
    list.push(rule(view, "?: close", width));
    lines(frame, place, list);
}
