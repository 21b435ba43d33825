//! The capture with comments, read by consumers that are not ours: tshark finds the comments, and the findings' filters select their frames.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{cases, tools};
use tamperscope::engine::{self, Plan};
use tamperscope::sink::human::Style;
use tamperscope::sink::jsonl::Jsonl;
use tamperscope::sink::output::Memory;
use tamperscope::sink::{OUT_KINDS, Sink};

/// Records of a capture; with `out`, the commented capture is written there.
fn analyse(input: &Path, out: Option<&Path>) -> Vec<Value> {
    let memory = Memory::default();
    let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(Jsonl::new(memory.clone()))];
    if let Some(out) = out {
        let kind = OUT_KINDS.iter().find(|k| k.name == "pcapng").unwrap();
        sinks.push((kind.open)(out, &Style::default()).unwrap());
    }
    let plan = Plan { inputs: vec![input.to_owned()], workers: 2, ..Plan::default() };
    engine::run(&plan, &mut sinks).unwrap();
    let text = String::from_utf8(memory.take()).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn frames(finding: &Value) -> BTreeSet<u64> {
    finding["frames"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
}

fn findings(records: &[Value]) -> impl Iterator<Item = &Value> {
    records.iter().filter(|r| r["type"] == "finding")
}

/// Frame numbers a display filter selects.
fn select(tshark: &Path, file: &Path, filter: &str) -> BTreeSet<u64> {
    let out =
        Command::new(tshark).arg("-n").arg("-r").arg(file).args(["-Y", filter, "-T", "fields", "-e", "frame.number"]).output().unwrap();
    assert!(out.status.success(), "{}: {filter}: {}", file.display(), String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().lines().map(|l| l.parse().unwrap()).collect()
}

#[test]
fn every_capture_copied_with_comments_says_the_same_again() {
    let dir = support::scratch("pcapng-same");
    for case in cases::all() {
        let input = cases::input(&case);
        let out = dir.join("out.pcapng");
        let records = analyse(&input, Some(&out));
        let readable = records.iter().any(|r| r["type"] == "source" && r["error"].is_null());
        if !readable {
            assert_eq!(std::fs::read(&out).unwrap()[..4], [0x0a, 0x0d, 0x0d, 0x0a], "{}: a capture without packets", case.display());
            continue;
        }
        // What the copy cannot have: the damage, the file's name and format, and what is said of them.
        let told = |records: &[Value]| -> Vec<Value> {
            records.iter().filter(|r| ["flow", "finding", "service"].contains(&r["type"].as_str().unwrap())).cloned().collect()
        };
        assert_eq!(told(&analyse(&out, None)), told(&records), "{}", case.display());
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Frames and their comments, as tshark reads them.
fn commented(tshark: &Path, file: &Path) -> Vec<(u64, String)> {
    let out = Command::new(tshark)
        .arg("-n")
        .arg("-r")
        .arg(file)
        .args(["-T", "fields", "-e", "frame.number", "-e", "frame.comment"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().filter_map(|l| l.split_once('\t')).map(|(n, comment)| (n.parse().unwrap(), comment.to_owned())).collect()
}

/// What tshark finds in the copy of a case; the rules of its findings.
fn tshark_reads(tshark: &Path, case: &Path, dir: &Path) -> Vec<String> {
    let out: PathBuf = dir.join(case.file_name().unwrap()).with_extension("pcapng");
    let records = analyse(&cases::input(case), Some(&out));
    let Some(first) = findings(&records).next() else { return vec![] };
    let comments = commented(tshark, &out);
    let having = |word: &str| -> BTreeSet<u64> { comments.iter().filter(|(_, c)| c.contains(word)).map(|(n, _)| *n).collect() };
    assert_eq!(having("f_"), findings(&records).flat_map(frames).collect::<BTreeSet<_>>(), "{}", case.display());
    for f in findings(&records) {
        let id = f["id"].as_str().unwrap();
        assert_eq!(having(id), frames(f), "{}: {id}", case.display());
    }
    // All filters of a case are written by the same code: a program start for each would prove no more.
    let filter = first["wireshark_filter"].as_str().unwrap();
    assert_eq!(select(tshark, &out, filter), frames(first), "{}: {filter}", case.display());
    let of_flows = first["wireshark_flow_filter"].as_str().unwrap();
    assert!(select(tshark, &out, of_flows).len() > 1, "{}: {of_flows}", case.display());
    std::fs::remove_file(&out).unwrap();
    findings(&records).map(|f| f["rule"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn tshark_finds_the_comments_and_the_filters_select_their_frames() {
    let Some(tshark) = tools::find("tshark") else { return };
    let dir = support::scratch("pcapng-tshark");
    let (all, next) = (cases::all(), std::sync::atomic::AtomicUsize::new(0));
    // tshark mostly starts up: several side by side.
    let rules: Vec<Vec<String>> = std::thread::scope(|scope| {
        let work = || {
            let mut seen = Vec::new();
            while let Some(case) = all.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                seen.push(tshark_reads(&tshark, case, &dir));
            }
            seen
        };
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    });
    let seen = rules.iter().filter(|r| !r.is_empty()).count();
    let kinds: BTreeSet<&String> = rules.iter().flatten().collect();
    assert!(seen > 20 && kinds.len() > 15, "only {seen} cases with findings, of {} rules", kinds.len());
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Blocks of a pcapng file: kind and bytes.
fn blocks(bytes: &[u8]) -> Vec<(u32, &[u8])> {
    let (mut at, mut big, mut out) = (0, false, Vec::new());
    while at < bytes.len() {
        if bytes[at..].starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
            big = bytes[at + 8] == 0x1a;
        }
        let word = |at: usize| {
            let raw: [u8; 4] = bytes[at..at + 4].try_into().unwrap();
            if big { u32::from_be_bytes(raw) } else { u32::from_le_bytes(raw) }
        };
        let len = word(at + 4) as usize;
        out.push((word(at), &bytes[at..at + len]));
        at += len;
    }
    out
}

#[test]
fn what_has_no_comment_is_copied_byte_for_byte() {
    let input = Path::new("fixtures/cases/pcapng-sections/in.pcapng");
    let dir = support::scratch("pcapng-bytes");
    let out = dir.join("out.pcapng");
    analyse(input, Some(&out));
    let (before, after) = (std::fs::read(input).unwrap(), std::fs::read(&out).unwrap());
    let (before, after) = (blocks(&before), blocks(&after));
    assert_eq!(before.len(), after.len());
    assert!(before.iter().any(|b| b.0 == 0x0bad) && before.iter().any(|b| b.0 == 4), "names and a custom block are in it");
    // Only the first section header has changed: it has the summary.
    assert_eq!(before[1..], after[1..]);
    assert!(after[0].1.len() > before[0].1.len());
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn frames_have_the_numbers_wireshark_shows() {
    let Some(tshark) = tools::find("tshark") else { return };
    // Two sections and a custom block, which Wireshark numbers among the frames.
    let input = Path::new("fixtures/cases/pcapng-sections/in.pcapng");
    let records = analyse(input, None);
    let mut flows = 0;
    for f in records.iter().filter(|r| r["type"] == "flow") {
        let filter = format!("{}.port == {}", f["proto"].as_str().unwrap(), f["client"]["port"]);
        let shown = select(&tshark, input, &filter);
        assert_eq!(shown.first(), f["first_frame"].as_u64().as_ref(), "{filter}");
        assert_eq!(shown.last(), f["last_frame"].as_u64().as_ref(), "{filter}");
        flows += 1;
    }
    assert_eq!(flows, 4);
}
