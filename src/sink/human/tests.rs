//! What people see, with names that attack them.

use super::super::output::Memory;
use super::super::sample;
use super::*;

fn written(style: Style, stories: &[Story], failed: &[&str]) -> String {
    let out = Memory::default();
    let mut sink = Human::new(out.clone(), style);
    for story in stories {
        sink.story(story).unwrap();
    }
    for path in failed {
        sink.failed(path, "no such file").unwrap();
    }
    sink.finish(&sample::end()).unwrap();
    let text = out.take();
    String::from_utf8(text).unwrap()
}

/// A long story: many services and findings.
fn crowd() -> Story {
    let mut story = sample::story();
    for i in 0..12u64 {
        story.services.push(sample::service(&format!("service-number-{i}"), State::Impaired, i, 1));
        story.findings.push(sample::finding(&format!("f_x{i}"), "telegram", Grade::Likely, &[1]));
    }
    story
}

#[test]
fn the_verdict_of_a_hostile_capture() {
    let text = written(Style::default(), &[sample::story()], &[]);
    let wanted = "\
…e}gro.elpmaxe\\u{2066}\\u{9b}31m.pcap: pcap, 1,234 packets in 4 flows over 12.3 s
  2023-11-14 22:13:20 UTC; seen from the client side; 0.4 % lost by the
    capture; the last packet is cut
  Cannot show: packet drops (the capture lost packets itself)

  SERVICE      STATE             OK FAILED  BECAUSE
✗ telegram web blocked            0      2  its handshakes are reset after the
                                            server name
✓ whatsapp web ok                 1      0
? signal web   insufficient       0      0  its handshakes are reset after the
                                            server name
  1 hidden (--show-circumvention)

2 findings: 1 confirmed, 1 likely
1. confirmed: rst_injection (on_path) on telegram web
     (…}ok\\u{202e}gro.elpmaxe\\u{2066}\\u{9b}31m),
     1 flow, frames 9, 11, …
   because the reset's TTL differs from the server's: 57, expected 48 ± 2
   unless two load balancers (only one server address was seen)
  1 hidden (--show-circumvention)

To settle it: a capture at the server at the same time; signal web: another
  network reaches it as badly
";
    assert_eq!(text, wanted, "\n{text}");
}

#[test]
fn nothing_from_the_wire_acts_on_the_terminal() {
    for style in [
        Style::default(),
        Style { verbose: true, show_circumvention: true, ..Style::default() },
        Style { ascii: true, width: 40, ..Style::default() },
        Style { verbose: true, ascii: true, width: 200, ..Style::default() },
    ] {
        for stories in [vec![sample::story()], vec![sample::story(), crowd()]] {
            let text = written(style, &stories, &[sample::HOSTILE]);
            assert!(!text.chars().any(|c| c != '\n' && text::treacherous(c)), "{text}");
            assert!(!style.ascii || text.is_ascii(), "{text}");
        }
    }
}

#[test]
fn a_crowded_verdict_stays_on_one_screen() {
    let text = written(Style::default(), &[crowd()], &[]);
    assert!(text.lines().count() <= 24, "{text}");
    assert!(text.lines().all(|l| text::columns(l) <= 80), "{text}");
    assert!(text.contains("and 11 more, impaired or better (-v shows them)"), "{text}");
    let many: Vec<Story> = (0..9).map(|_| crowd()).collect();
    let text = written(Style::default(), &many, &["gone.pcap"]);
    assert!(text.lines().count() <= 26, "{text}");
    assert!(
        text.contains("9 captures") && text.contains("in 9 of 9 captures") && text.contains("1 source could not be analysed"),
        "{text}"
    );
}

#[test]
fn colours_repeat_words_and_can_be_off() {
    let style = Style { color: true, ..Style::default() };
    let colored = written(style, &[sample::story()], &[]);
    assert!(colored.contains("\x1b[31m✗ telegram web blocked"), "{colored}");
    let mut plain = colored;
    for code in [0, 1, 2, 31, 32, 33] {
        plain = plain.replace(&format!("\x1b[{code}m"), "");
    }
    assert_eq!(plain, written(Style::default(), &[sample::story()], &[]));
}

#[test]
fn ways_around_are_shown_on_request_only() {
    let hidden = written(Style { verbose: true, ..Style::default() }, &[sample::story()], &[]);
    assert!(!hidden.contains("wireguard"), "{hidden}");
    let shown = written(Style { show_circumvention: true, ..Style::default() }, &[sample::story()], &[]);
    assert!(shown.contains("! wireguard web likely blocked") && !shown.contains("--show"), "{shown}");
}

#[test]
fn quiet_is_one_line_and_verbose_lists_flows() {
    let quiet = written(Style { quiet: true, ..Style::default() }, &[sample::story()], &[]);
    assert_eq!(quiet, "2 findings: 1 confirmed, 1 likely\n");
    let none = written(Style { quiet: true, ..Style::default() }, &[], &[]);
    assert_eq!(none, "0 findings\n");
    let verbose = written(Style { verbose: true, width: 120, ..Style::default() }, &[sample::story()], &[]);
    assert!(
        verbose.contains("tcp  192.168.1.2:40001 → 149.154.167.99:443 tls reset/post_psh telegram (certain) web.telegram.org"),
        "{verbose}"
    );
    assert!(verbose.contains("not server abort: the server went on sending after the reset"), "{verbose}");
}

#[test]
fn a_clean_or_empty_run_says_so() {
    let mut story = sample::story();
    story.findings.clear();
    story.services.clear();
    let text = written(Style::default(), &[story], &[]);
    assert!(
        text.contains("No known service was recognised.") && text.contains("No interference found that this capture could show."),
        "{text}"
    );
    let empty =
        Story { source: SourceFacts { path: "a.pcap".into(), format: "pcap".into(), ..SourceFacts::default() }, ..Story::default() };
    assert_eq!(
        written(Style::default(), &[empty], &[]),
        "a.pcap: pcap, 0 packets in 0 flows\n  vantage unknown\n  There are no packets in it.\n"
    );
    assert_eq!(written(Style::default(), &[], &["gone.pcap"]), "Nothing could be analysed.\n");
}

#[test]
fn apps_are_listed_the_worst_first() {
    let app = |name: &str, ok, failed| AppState { name: name.into(), attempts: ok + failed, ok, failed, ..AppState::default() };
    let apps = vec![app("com.whatsapp", 9, 0), app("org.telegram\u{202e}.messenger", 1, 3), app("idle", 0, 0)];
    let mut sink = Human::new(Memory::default(), Style::default());
    sink.story(&Story { apps, ..sample::story() }).unwrap();
    let out = screen::verdict(&sink.style, &sink.told, &sample::end());
    let at = out.iter().position(|l| l.trim_start().starts_with("APP ")).unwrap();
    assert!(out[at + 1].contains("org.telegram\\u{202e}.messenger") && out[at + 1].contains(" 3"), "{out:#?}");
    assert!(out[at + 2].contains("com.whatsapp"), "{out:#?}");
    assert!(!out.iter().any(|l| l.contains("idle")), "nothing was tried by it");
}
