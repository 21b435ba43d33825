//! What there is to see, and what keys do to it.

use super::super::human::Style;
use super::super::{jsonl, names, text};
use crate::model::finding::{Finding, Grade};
use crate::model::flow::{Brief, FlowRecord};
use crate::model::label::Label;
use crate::model::packet::TcpFlags;
use crate::model::pulse::{Pulse, Stats};
use crate::model::side::Side;
use crate::model::story::{State, Story};
use crate::model::time::Span;
use std::collections::{HashMap, VecDeque};

/// Findings and flows kept for showing.
const KEEP: usize = 500;
/// Flows of one finding whose packets are shown.
const LADDERS: usize = 3;

/// A key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Next,
    Back,
    Enter,
    Escape,
    Delete,
    Char(char),
}

/// What a key asks of the capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Want {
    Nothing,
    Quit,
}

/// A page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Page {
    Overview,
    Findings,
    Flows,
}

pub(super) const PAGES: [(Page, &str); 3] = [(Page::Overview, "1 Overview"), (Page::Findings, "2 Findings"), (Page::Flows, "3 Flows")];

/// A service, ready to show.
pub(super) struct Row {
    pub name: String,
    pub state: State,
    pub ok: u64,
    pub failed: u64,
    pub flows: u64,
    /// New flows per minute.
    pub rate: f64,
    pub because: String,
    pub unless: String,
}

/// A finding, ready to show.
pub(super) struct Found {
    pub id: Box<str>,
    pub grade: Grade,
    pub line: String,
    pub because: String,
    pub unless: String,
    pub detail: Vec<String>,
    pub withdrawn: bool,
    pub circumvention: bool,
}

/// Everything on the screen.
pub(super) struct View {
    pub style: Style,
    pub stats: Stats,
    pub rows: Vec<Row>,
    pub found: VecDeque<Found>,
    pub flows: Vec<String>,
    pub page: Page,
    /// Selected line and first line shown, per page.
    pub at: [usize; 3],
    pub top: [usize; 3],
    /// Lines the list of the current page has room for; set when drawn.
    pub room: usize,
    pub filter: String,
    pub typing: bool,
    pub paused: bool,
    pub help: bool,
    /// The finding looked at, and its first line shown.
    pub detail: Option<(Box<str>, usize)>,
    pub notice: String,
    before: HashMap<String, u64>,
}

impl View {
    pub(super) fn new(style: Style) -> Self {
        Self {
            style,
            stats: Stats::default(),
            rows: Vec::new(),
            found: VecDeque::new(),
            flows: Vec::new(),
            page: Page::Overview,
            at: [0; 3],
            top: [0; 3],
            room: 1,
            filter: String::new(),
            typing: false,
            paused: false,
            help: false,
            detail: None,
            notice: String::new(),
            before: HashMap::new(),
        }
    }

    fn shown(&self, text: &str) -> String {
        self.style.shown(text)
    }

    /// Takes in what changed. While paused, only losses and counters move: what is being read stays where it is.
    pub(super) fn update(&mut self, pulse: &Pulse<'_>) {
        self.stats.clone_from(pulse.stats);
        if let Some(n) = pulse.stats.notices.last() {
            self.notice = self.shown(n);
        }
        for id in &pulse.stats.withdrawn {
            self.found.iter_mut().filter(|f| f.id == *id).for_each(|f| f.withdrawn = true);
        }
        for n in pulse.news {
            if let Some(old) = &n.supersedes {
                self.found.retain(|f| f.id != *old);
                // Whoever looks at a finding goes on looking at what has become of it.
                if let Some((id, _)) = &mut self.detail
                    && *id == *old
                {
                    id.clone_from(&n.finding.id);
                }
            }
            let found = self.found(&n.finding, pulse.story);
            self.found.push_front(found);
            self.found.truncate(KEEP);
        }
        if self.paused {
            return;
        }
        self.services(pulse.stats);
        self.flows = self.latest(pulse.story);
    }

    fn services(&mut self, stats: &Stats) {
        let minutes = stats.since.as_secs() / 60.0;
        let mut rows: Vec<Row> = Vec::new();
        let mut seen = HashMap::new();
        for s in stats.services.iter().filter(|s| self.style.show_circumvention || !s.circumvention) {
            let role = s.role.map_or_else(String::new, |r| format!(" {}", r.name()));
            let name = self.shown(&format!("{}{role}", s.title));
            let new = s.flows.saturating_sub(self.before.get(&name).copied().unwrap_or(0));
            seen.insert(name.clone(), s.flows);
            rows.push(Row {
                name,
                state: s.state,
                ok: s.ok,
                failed: s.failed,
                flows: s.flows,
                rate: if minutes > 0.0 { new as f64 / minutes } else { 0.0 },
                because: self.shown(&s.because),
                unless: self.shown(&s.unless),
            });
        }
        rows.sort_by(|a, b| (severity(b.state), b.flows, &a.name).cmp(&(severity(a.state), a.flows, &b.name)));
        self.rows = rows;
        self.before = seen;
    }

    fn found(&self, f: &Finding, story: &Story) -> Found {
        let target = [f.target.service.as_deref(), f.target.sni.as_deref(), f.target.host.as_deref(), f.target.qname.as_deref()];
        let mut about: Vec<String> = target.into_iter().flatten().map(str::to_owned).collect();
        if about.is_empty() {
            about.extend(f.target.ip.map(|ip| ip.to_string()));
        }
        let clock = text::clock(f.started);
        let flows = text::counted(f.flows.len() as u64, "flow");
        let line = format!(
            "{} {:<9} {} ({}) {}  {flows}",
            clock.get(11..19).unwrap_or_default(),
            f.grade.name(),
            f.kind.name(),
            f.mechanism,
            about.join(" ")
        );
        let because = f.evidence.first().map_or_else(String::new, |e| format!("{} ({}; expected {})", e.says, e.value, e.expected));
        let unless = f
            .innocent
            .iter()
            .find(|i| i.stands)
            .map_or_else(|| "no innocent cause considered still stands".to_owned(), |i| format!("{}: {}", i.cause, i.why));
        Found {
            id: f.id.clone(),
            grade: f.grade,
            line: self.shown(&line),
            because: self.shown(&because),
            unless: self.shown(&unless),
            detail: self.detail_of(f, story, &about.join(" ")),
            withdrawn: false,
            circumvention: super::super::human::is_circumvention(f, story),
        }
    }

    fn detail_of(&self, f: &Finding, story: &Story, about: &str) -> Vec<String> {
        let mut out = vec![
            format!("{} · {} · {} ({})", f.grade.name(), f.rule, f.kind.name(), f.mechanism),
            format!("about {about}; began {}; {}", text::clock(f.started), f.id),
            String::new(),
            "Because".to_owned(),
        ];
        for e in &f.evidence {
            out.push(format!("  {}: {} (expected {})", e.says, e.value, e.expected));
        }
        out.push("Unless".to_owned());
        for i in &f.innocent {
            out.push(format!("  {} {}: {}", if i.stands { "stands  " } else { "excluded" }, i.cause, i.why));
        }
        for c in &f.control {
            out.push(format!("  control {}: {} of {} undisturbed", c.kind, c.ok, c.n));
        }
        for need in &f.needs {
            out.push(format!("  would settle it: {need}"));
        }
        let flows: Vec<&FlowRecord> = f.flows.iter().filter_map(|id| jsonl::find(story, *id)).collect();
        for flow in flows.iter().take(LADDERS) {
            out.push(String::new());
            out.push(format!("Packets of {} {} ({})", flow.proto.name(), super::super::human::between(flow), jsonl::flow_id(flow.id)));
            for p in &flow.ladder.head {
                out.push(packet_line(flow, p, f));
            }
            if flow.ladder.between > 0 {
                out.push(format!("  … {} packets between", flow.ladder.between));
            }
            for p in &flow.ladder.tail {
                out.push(packet_line(flow, p, f));
            }
        }
        if flows.len() > LADDERS {
            out.push(format!("  … and {} more flows", flows.len() - LADDERS));
        }
        out.iter().map(|l| self.shown(l)).collect()
    }

    /// The flows that moved last.
    fn latest(&self, story: &Story) -> Vec<String> {
        let mut order: Vec<usize> = (0..story.flows.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(story.flows.get(i).map(|f| (f.last.ts, f.id))));
        let line = |i: usize| story.flows.get(i).map(|f| self.flow_line(f, story.labels.get(i).and_then(Option::as_ref)));
        order.into_iter().take(KEEP).filter_map(line).collect()
    }

    /// What became of a flow comes first, and its addresses last: narrow terminals cut lines short.
    fn flow_line(&self, f: &FlowRecord, label: Option<&Label>) -> String {
        let hidden = label.is_some_and(|l| l.circumvention) && !self.style.show_circumvention;
        let service = label.filter(|_| !hidden).map(|l| format!(" {} ({})", l.id, l.grade.name()));
        let app = f.app.filter(|_| !hidden).unwrap_or("-");
        let name = f.asked_name().map_or_else(String::new, |n| format!(" {n}"));
        let (proto, outcome) = (f.proto.name(), names::outcome(f.outcome));
        self.shown(&format!("{proto:<5} {outcome:<12} {app}{}{name}  {}", service.unwrap_or_default(), super::super::human::between(f)))
    }

    fn page_index(&self) -> usize {
        PAGES.iter().position(|(p, _)| *p == self.page).unwrap_or(0)
    }

    /// Whether a line passes the filter.
    pub(super) fn passes(&self, line: &str) -> bool {
        self.filter.is_empty() || line.to_lowercase().contains(&self.filter.to_lowercase())
    }

    /// Findings to show.
    pub(super) fn findings(&self) -> Vec<&Found> {
        self.found.iter().filter(|f| (self.style.show_circumvention || !f.circumvention) && self.passes(&f.line)).collect()
    }

    /// Flows to show.
    pub(super) fn flow_lines(&self) -> Vec<&String> {
        self.flows.iter().filter(|l| self.passes(l)).collect()
    }

    /// Services to show.
    pub(super) fn service_rows(&self) -> Vec<&Row> {
        self.rows.iter().filter(|r| self.passes(&r.name) || self.passes(r.state.name())).collect()
    }

    fn len(&self) -> usize {
        match (&self.detail, self.page) {
            (Some((id, _)), _) => self.found.iter().find(|f| f.id == *id).map_or(0, |f| f.detail.len()),
            (None, Page::Overview) => self.service_rows().len(),
            (None, Page::Findings) => self.findings().len(),
            (None, Page::Flows) => self.flow_lines().len(),
        }
    }

    /// Keeps the selected line in sight of a list with `room` lines; the first line to show.
    pub(super) fn scroll(&mut self, room: usize) -> usize {
        self.room = room.max(1);
        let (i, len) = (self.page_index(), self.len());
        self.at[i] = self.at[i].min(len.saturating_sub(1));
        let (at, top) = (self.at[i], self.top[i]);
        self.top[i] = top.min(at).max((at + 1).saturating_sub(self.room)).min(len.saturating_sub(1));
        self.top[i]
    }

    /// The selected line.
    pub(super) fn selected(&self) -> usize {
        self.at[self.page_index()]
    }

    fn go(&mut self, by: isize) {
        let last = self.len().saturating_sub(1);
        let moved = |from: usize| from.saturating_add_signed(by).min(last);
        if let Some((_, top)) = &mut self.detail {
            *top = moved(*top);
        } else {
            let i = self.page_index();
            self.at[i] = moved(self.at[i]);
        }
    }

    /// Does what a key says.
    pub(super) fn press(&mut self, key: Key) -> Want {
        if self.typing {
            match key {
                Key::Char(c) if self.filter.chars().count() < 64 && !text::treacherous(c) => self.filter.push(c),
                Key::Delete => {
                    self.filter.pop();
                }
                Key::Enter => self.typing = false,
                Key::Escape => {
                    self.typing = false;
                    self.filter.clear();
                }
                _ => {}
            }
            return Want::Nothing;
        }
        let page = self.room.min(1 << 16) as isize;
        match key {
            Key::Char('q') => return Want::Quit,
            Key::Char('?' | 'h') => self.help = !self.help,
            Key::Escape if self.help => self.help = false,
            Key::Escape if self.detail.is_some() => self.detail = None,
            Key::Escape => self.filter.clear(),
            Key::Char('p' | ' ') => self.paused = !self.paused,
            Key::Char('/') => self.typing = true,
            Key::Up | Key::Char('k') => self.go(-1),
            Key::Down | Key::Char('j') => self.go(1),
            Key::PageUp => self.go(-page),
            Key::PageDown => self.go(page),
            Key::Home | Key::Char('g') => self.go(isize::MIN / 2),
            Key::End | Key::Char('G') => self.go(isize::MAX / 2),
            Key::Enter if self.page == Page::Findings && self.detail.is_none() => {
                self.detail = self.findings().get(self.selected()).map(|f| (f.id.clone(), 0));
            }
            Key::Next | Key::Back if self.detail.is_none() => {
                let by = if key == Key::Next { 1 } else { PAGES.len() - 1 };
                self.turn((self.page_index() + by) % PAGES.len());
            }
            Key::Char(c @ '1'..='3') => self.turn(c as usize - '1' as usize),
            _ => {}
        }
        Want::Nothing
    }

    fn turn(&mut self, to: usize) {
        self.detail = None;
        if let Some((page, _)) = PAGES.get(to) {
            self.page = *page;
        }
    }
}

/// How bad a state is, for the order of rows.
const fn severity(state: State) -> u8 {
    match state {
        State::Blocked => 5,
        State::LikelyBlocked => 4,
        State::Impaired => 3,
        State::Down => 2,
        State::Ok => 1,
        State::Insufficient => 0,
    }
}

fn packet_line(flow: &FlowRecord, p: &Brief, f: &Finding) -> String {
    let mark = if f.frames.contains(&p.frame) { '>' } else { ' ' };
    let at = p.ts.since(flow.first.ts);
    let arrow = if p.side == Side::Client { "→" } else { "←" };
    let flags = if flow.tcp.is_some() { flags(p.flags) } else { "-".into() };
    format!("{mark} {:>7} {:>+10.3} s {arrow} {flags:<8} seq {:<8} len {:<5} ttl {}", p.frame.0, seconds(at), p.seq.0, p.len, p.ttl)
}

fn seconds(s: Span) -> f64 {
    s.as_secs()
}

fn flags(f: TcpFlags) -> String {
    let all = [(f.syn(), "SYN"), (f.fin(), "FIN"), (f.rst(), "RST"), (f.ack(), "ACK")];
    let on: Vec<&str> = all.into_iter().filter(|(is, _)| *is).map(|(_, n)| n).collect();
    on.join("+")
}
