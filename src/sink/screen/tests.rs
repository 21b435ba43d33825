//! Frames as they were looked at, kept beside this file. `UPDATE_FRAMES=1 cargo test --lib screen` writes what is drawn now.

use super::view::{Key, View, Want};
use super::*;
use crate::model::finding::Grade;
use crate::model::pulse::{InterfaceStats, Link, Losses, News, Shed, Stats};
use crate::model::time::Span;
use crate::sink::sample;
use ratatui::backend::TestBackend;
use std::path::PathBuf;

fn pulse(view: &mut View, uptime: i64) {
    let story = sample::story();
    let losses = Losses { kernel: 12, interface: 0, queue: 3, policy: 99 };
    let interfaces =
        vec![InterfaceStats { name: format!("eth0{}", sample::HOSTILE), link: Link::Down, losses, ..InterfaceStats::default() }];
    let stats = Stats {
        seq: 1,
        uptime: Span::from_secs(uptime),
        since: Span::from_secs(2),
        new_packets: 24_680,
        new_bytes: 9_000_000,
        flows_active: 1234,
        losses,
        shed: Shed::LongPayload,
        interfaces,
        services: story.services.clone(),
        notices: vec![format!("eth0: the interface is down {}", sample::HOSTILE)],
        ..Stats::default()
    };
    let news: Vec<News> = story.findings.iter().map(|f| News { finding: f.clone(), supersedes: None }).collect();
    view.update(&Pulse { stats: &stats, story: &story, news: &news, last: false });
}

fn view(ascii: bool) -> View {
    let mut v = View::new(Style { ascii, ..Style::default() });
    pulse(&mut v, 3723);
    v
}

fn frame(v: &mut View, width: u16, height: u16) -> String {
    let mut terminal = ratatui::Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|f| draw::draw(f, v)).unwrap();
    let buffer = terminal.backend().buffer();
    let mut out = String::new();
    for y in 0..height {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn check(name: &str, drawn: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/sink/screen/frames").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_FRAMES").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, drawn).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == drawn, "{name} is drawn differently (UPDATE_FRAMES=1 keeps it):\n{drawn}\nkept:\n{kept}");
    for c in drawn.chars().filter(|c| *c != '\n') {
        assert!(!crate::sink::text::treacherous(c), "{name}: {c:?} reaches the terminal");
    }
}

#[test]
fn overview_on_eighty_columns() {
    check("overview-80x24", &frame(&mut view(false), 80, 24));
}

#[test]
fn overview_wide() {
    check("overview-140x40", &frame(&mut view(false), 140, 40));
}

#[test]
fn overview_in_ascii() {
    let drawn = frame(&mut view(true), 80, 24);
    assert!(drawn.is_ascii());
    check("overview-ascii", &drawn);
}

#[test]
fn findings_and_one_in_detail() {
    let mut v = view(false);
    v.press(Key::Char('2'));
    check("findings-80x24", &frame(&mut v, 80, 24));
    v.press(Key::Enter);
    check("detail-80x24", &frame(&mut v, 80, 24));
    v.press(Key::PageDown);
    frame(&mut v, 80, 24);
    v.press(Key::Escape);
    assert!(v.detail.is_none());
}

#[test]
fn flows_and_a_filter() {
    let mut v = view(false);
    v.press(Key::Char('3'));
    check("flows-80x24", &frame(&mut v, 80, 24));
    for k in [Key::Char('/'), Key::Char('w'), Key::Char('h'), Key::Char('a'), Key::Char('q'), Key::Delete, Key::Char('\u{9b}')] {
        assert_eq!(v.press(k), Want::Nothing);
    }
    check("flows-filter", &frame(&mut v, 80, 24));
    v.press(Key::Enter);
    assert_eq!(v.filter, "wha");
    v.press(Key::Escape);
    assert_eq!(v.filter, "");
}

#[test]
fn help_is_shown_and_closed() {
    let mut v = view(false);
    v.press(Key::Char('?'));
    check("help-80x24", &frame(&mut v, 80, 24));
    v.press(Key::Escape);
    assert!(!v.help);
    assert_eq!(v.press(Key::Char('q')), Want::Quit);
}

#[test]
fn any_size_is_drawn() {
    let mut v = view(false);
    for (w, h) in [(1, 1), (39, 9), (40, 10), (41, 11), (60, 12), (80, 24), (200, 60), (500, 5), (20, 100)] {
        for page in ['1', '2', '3'] {
            v.press(Key::Char(page));
            frame(&mut v, w, h);
            v.press(Key::Enter);
            frame(&mut v, w, h);
        }
        v.help = true;
        frame(&mut v, w, h);
        v.help = false;
    }
}

#[test]
fn while_paused_lists_stand_still_and_counters_go_on() {
    let mut v = view(false);
    v.press(Key::Char('p'));
    v.flows.clear();
    pulse(&mut v, 3800);
    assert!(v.flows.is_empty());
    assert_eq!(v.stats.uptime, Span::from_secs(3800));
    v.press(Key::Char('p'));
    pulse(&mut v, 3802);
    assert!(!v.flows.is_empty());
}

#[test]
fn a_revised_finding_takes_the_place_of_the_old_one_also_in_the_detail_view() {
    let mut v = view(false);
    v.press(Key::Char('2'));
    v.press(Key::Enter);
    let looked_at = v.detail.clone().unwrap().0;
    let story = sample::story();
    let mut revised = sample::finding("f_9", "telegram", Grade::Confirmed, &[1, 40]);
    revised.evidence.clear();
    let news = [News { finding: revised, supersedes: Some(looked_at) }];
    let before = v.found.len();
    v.update(&Pulse { stats: &Stats::default(), story: &story, news: &news, last: false });
    assert_eq!(v.found.len(), before);
    assert_eq!(&*v.detail.clone().unwrap().0, "f_9");
    let withdrawn = Stats { withdrawn: vec!["f_9".into()], ..Stats::default() };
    v.update(&Pulse { stats: &withdrawn, story: &story, news: &[], last: false });
    assert!(v.found.iter().any(|f| f.withdrawn));
}

#[test]
fn the_selection_stays_in_sight() {
    let mut v = view(false);
    v.press(Key::Char('3'));
    v.flows = (0..100).map(|n| format!("flow {n}")).collect();
    for (key, line) in [(Key::End, "> flow 99"), (Key::Home, "> flow 0"), (Key::PageDown, "> flow 20"), (Key::Up, "> flow 19")] {
        v.press(key);
        let drawn = frame(&mut v, 80, 24);
        assert!(drawn.contains(line), "{key:?}\n{drawn}");
    }
}
