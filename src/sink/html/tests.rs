//! The report of a hand-made story with names that attack its reader; what it leaves out; what its bounds do.

use super::super::output::Memory;
use super::super::{sample, text};
use super::*;
use crate::model::finding::Grade;

fn written(style: Style, stories: &[Story]) -> String {
    let out = Memory::default();
    let mut sink = Html::new(out.clone(), style);
    sink.begin(&RunInfo {
        version: "0.1.0",
        args_shown: vec!["--max-flows 10".into(), "--max-drop 100".into()],
        asked: vec!["--max-flows 10".into()],
        ..RunInfo::default()
    })
    .unwrap();
    for story in stories {
        sink.story(story).unwrap();
    }
    sink.failed("cases/gone.pcap", "no such <file>").unwrap();
    sink.finish(&sample::end()).unwrap();
    String::from_utf8(out.take()).unwrap()
}

#[test]
fn text_from_the_wire_neither_acts_nor_hides() {
    let page = written(Style::default(), &[sample::story()]);
    assert!(!page.chars().any(|c| c != '\n' && text::treacherous(c)), "{page}");
    assert!(page.contains("\\u{1b}[2J\\u{a}ok\\u{202e}gro.elpmaxe\\u{2066}\\u{9b}31m"), "{page}");
    assert!(page.contains("no such &lt;file&gt;"), "{page}");
}

#[test]
fn ways_around_and_clients_are_hidden() {
    let shy = written(Style::default(), &[sample::story()]);
    assert!(!shy.contains("wireguard") && !shy.contains("192.168.1.2"), "{shy}");
    assert!(shy.contains("Left out on purpose, because they name ways around blocking: 1 finding and 1 service."), "{shy}");
    assert!(shy.contains("TTL 64 from client A"), "{shy}");
    let open = written(Style { show_circumvention: true, verbose: true, ..Style::default() }, &[sample::story()]);
    assert!(open.contains("wireguard") && open.contains("TTL 64 from 192.168.1.2") && open.contains("ip.addr == 192.168.1.2"), "{open}");
}

#[test]
fn the_surest_findings_get_pages_and_the_rest_are_counted() {
    let mut story = sample::story();
    for i in 0..FINDINGS_MAX as u64 + 20 {
        story.findings.push(sample::finding(&format!("f_x{i}"), "telegram", Grade::Possible, &[1]));
    }
    let mut sure = sample::story();
    sure.findings = vec![sample::finding("f_sure", "telegram", Grade::Likely, &[40])];
    let page = written(Style::default(), &[story, sure]);
    assert_eq!(page.matches("<article").count(), FINDINGS_MAX);
    assert!(page.contains("f_sure") && page.contains("And 22 more that are no surer"), "{}", page.len());
    assert!(page.contains("122 findings: 1 confirmed, 1 likely, 98 possible and 22 no surer."), "{page:.3000}");
}

#[test]
fn captures_beyond_the_bound_are_listed_only() {
    let stories: Vec<Story> = (0..SOURCES_MAX + 3)
        .map(|i| Story {
            source: crate::model::source::SourceFacts { path: format!("d/{i}.pcap"), packets: 1, ..sample::story().source },
            ..Story::default()
        })
        .collect();
    let page = written(Style::default(), &stories);
    assert!(page.contains("and 3 more.") && page.contains("52.pcap"), "{page:.3000}");
}

#[test]
fn a_run_without_packets_is_not_called_clean() {
    let page = written(Style::default(), &[]);
    assert!(page.contains("Nothing was analysed") && page.contains("gone.pcap") && !page.contains("No interference"), "{page}");
    let clean = written(Style::default(), &[Story { findings: vec![], ..sample::story() }]);
    assert!(clean.contains("No interference was found"), "{clean}");
}
