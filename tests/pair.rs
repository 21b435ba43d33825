//! `tamperscope pair` as a user meets it.
#![allow(missing_docs)]

use assert_cmd::Command;
use serde_json::Value;
use tamperscope::sink::schema;

#[path = "../src/sink/check.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod check;

const CASES: [&str; 11] = [
    "pair-rst-beside-genuine",
    "pair-rewritten",
    "pair-dns-race",
    "pair-dns-swallowed",
    "pair-nat-forgot",
    "pair-hello-dropped",
    "pair-policed",
    "pair-clean-tap-loss",
    "pair-clean-nat-offload",
    "pair-syn-refused",
    "pair-unrelated",
];

fn end(case: &str, which: char) -> String {
    format!("fixtures/cases/{case}/{which}.pcap")
}

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let out = Command::cargo_bin("tamperscope").unwrap().args(args).output().unwrap();
    (out.status.code(), String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
}

fn records(text: &str) -> Vec<Value> {
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn of<'a>(all: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> + 'a {
    all.iter().filter(move |r| r["type"] == kind)
}

#[test]
fn every_record_fits_the_schema_and_threads_change_nothing() {
    for case in CASES {
        let (a, b) = (end(case, 'a'), end(case, 'b'));
        let (code, one, _) = run(&["pair", "--json", "-j", "1", &a, &b]);
        assert_eq!(code, Some(0), "{case}");
        assert_eq!(run(&["pair", "--json", "-j", "4", &a, &b]).1, one, "{case}");
        let all = records(&one);
        for r in &all {
            let mut errors = Vec::new();
            check::errors(r, &schema::record(r["type"].as_str().unwrap()), "", &mut errors);
            assert!(errors.is_empty(), "{case}: {errors:#?}");
        }
        assert_eq!((of(&all, "source").count(), of(&all, "pair").count(), of(&all, "end").count()), (2, 1, 1), "{case}");
    }
}

#[test]
fn the_order_of_the_captures_does_not_matter() {
    for case in CASES {
        let what = |args: [&str; 4]| -> Vec<String> {
            let all = records(&run(&args).1);
            let one = |f: &Value| format!("{} {} {} {}", f["rule"], f["mechanism"], f["direction"], f["grade"]);
            let mut out: Vec<String> = of(&all, "finding").map(one).collect();
            out.sort();
            out
        };
        let (a, b) = (end(case, 'a'), end(case, 'b'));
        assert_eq!(what(["pair", "--json", &a, &b]), what(["pair", "--json", &b, &a]), "{case}");
    }
}

#[test]
fn findings_lead_to_packets_of_both_captures() {
    let all = records(&run(&["pair", "--json", &end("pair-rewritten", 'a'), &end("pair-rewritten", 'b')]).1);
    let f = of(&all, "finding").next().unwrap();
    for key in ["wireshark_filter", "wireshark_filter_b"] {
        assert!(f[key].as_str().unwrap().starts_with("frame.number"), "{key}: {}", f[key]);
    }
    assert!(!f["frames"].as_array().unwrap().is_empty() && !f["frames_b"].as_array().unwrap().is_empty());
    let sources: Vec<&str> = f["flows"].as_array().unwrap().iter().map(|x| &x["flow_id"].as_str().unwrap()[..2]).collect();
    assert!(sources.contains(&"s0") && sources.contains(&"s1"), "{sources:?}");
    assert_eq!(f["ends"][1]["verdict"], "missed");
    assert_eq!(f["ooni_failure"], "connection_reset");
}

#[test]
fn a_set_clock_is_found_and_what_it_cannot_resolve_is_said() {
    let all = records(&run(&["pair", "--json", &end("pair-clean-nat-offload", 'a'), &end("pair-clean-nat-offload", 'b')]).1);
    let clock = &of(&all, "pair").next().unwrap()["clock"];
    let (offset, half) = (clock["offset_ms"].as_f64().unwrap(), clock["uncertainty_ms"].as_f64().unwrap());
    assert!((offset - 3_607_000.0).abs() <= half && half < 20.0, "{clock}");
}

#[test]
fn exit_codes_and_refusals() {
    let (a, b) = (end("pair-dns-race", 'a'), end("pair-dns-race", 'b'));
    assert_eq!(run(&["pair", "--fail-on", "confirmed", &a, &b]).0, Some(1));
    assert_eq!(run(&["pair", &a, &b]).0, Some(0));
    let (code, _, said) = run(&["pair", "-", &b]);
    assert!(code == Some(2) && said.contains("reads each capture twice"), "{said}");
    assert_eq!(run(&["pair", &a]).0, Some(2));
    let (code, _, said) = run(&["pair", "--out", "pcapng=x", &a, &b]);
    assert!(code == Some(2) && said.contains("one of the kinds jsonl, jsonl-series, html"), "{said}");
    let (code, _, said) = run(&["pair", "--b-has", "example.org", &a, &b]);
    assert!(code == Some(2) && said.contains("an address or a prefix"), "{said}");
    let (code, _, said) = run(&["pair", &a, "gone.pcap"]);
    assert!(code == Some(3) && said.contains("gone.pcap"), "{said}");
}

#[test]
fn the_verdict_is_on_the_screen_while_a_file_is_written_too() {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("pair-out");
    std::fs::create_dir_all(&dir).unwrap();
    let (a, b) = (end("pair-rewritten", 'a'), end("pair-rewritten", 'b'));
    for kind in ["jsonl", "html"] {
        let file = dir.join(kind);
        let (code, out, _) = run(&["pair", "--out", &format!("{kind}={}", file.display()), &a, &b]);
        assert!(code == Some(0) && out.contains("1 finding between the two points: 1 confirmed"), "{kind}: {out}");
        let written = std::fs::read_to_string(file).unwrap();
        assert!(written.contains("pair.rewritten"), "{kind}: {written:.300}");
    }
}

#[test]
fn people_read_what_was_proved_and_what_one_end_missed() {
    let text = run(&["pair", &end("pair-rewritten", 'a'), &end("pair-rewritten", 'b')]).1;
    for says in ["1 finding between the two points: 1 confirmed", "B alone finds nothing", "Wireshark, A:", "Wireshark, B:", "±"] {
        assert!(text.contains(says), "{says}: {text}");
    }
    let text = run(&["pair", &end("pair-unrelated", 'a'), &end("pair-unrelated", 'b')]).1;
    assert!(text.contains("Nothing can be said"), "{text}");
    // The option is printed as it can be typed, and typed it settles the matter.
    let (a, b) = (end("pair-syn-refused", 'a'), end("pair-syn-refused", 'b'));
    let unsaid = run(&["pair", "--fail-on", "confirmed", &a, &b]);
    assert!(unsaid.0 == Some(0) && unsaid.1.contains("To settle it: --b-has 149.154.167.6, if B recorded"), "{}", unsaid.1);
    assert_eq!(run(&["pair", "--fail-on", "confirmed", "--b-has", "149.154.167.6", &a, &b]).0, Some(1));
    assert_eq!(run(&["pair", "-q", &end("pair-rewritten", 'a'), &end("pair-rewritten", 'b')]).1, "1 finding\n");
}
