//! What each output that copies or draws writes of a small case, whole: kept under `fixtures/outputs/<case>`, written anew with `UPDATE_OUTPUTS=1`.
//! Records are kept in `want.jsonl` beside their captures (`tamperscope verify --update`).
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::cases;

/// Case, output, file.
const KEPT: [(&str, &str, &str); 7] = [
    ("rst-triple-both-ways", "zeek", "conn.log"),
    ("rst-triple-both-ways", "zeek-json", "conn.json"),
    ("dns-race", "html", "report.html"),
    ("dns-race", "pcapng", "annotated.pcapng"),
    ("dns-race", "slice", "slice.pcapng"),
    ("freeze-16k", "html", "report.html"),
    ("media-cut", "html", "report.html"),
];

fn run(args: &[&str]) {
    let out =
        Command::new(assert_cmd::cargo::cargo_bin!("tamperscope")).current_dir(env!("CARGO_MANIFEST_DIR")).args(args).output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Writes one output of a case; the path of the capture is typed as a person would, from the project's directory.
fn write(case: &str, kind: &str, to: &Path) {
    let input = cases::input(&cases::root().join(case));
    let input = input.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_str().unwrap();
    if kind == "slice" {
        let records = to.with_extension("jsonl");
        write(case, "jsonl", &records);
        let text = std::fs::read_to_string(&records).unwrap();
        let finding = text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()).find(|r| r["type"] == "finding").unwrap();
        run(&["slice", input, "--finding", finding["id"].as_str().unwrap(), "-o", to.to_str().unwrap()]);
    } else {
        run(&["-q", "--out", &format!("{kind}={}", to.display()), input]);
    }
}

/// The bytes of an output without the hash of the rules in force, which every new service changes.
fn masked(bytes: Vec<u8>, rules: &str) -> Vec<u8> {
    let mut out = bytes;
    // The report shows its beginning only.
    for part in [rules, &rules[..16]] {
        while let Some(at) = out.windows(part.len()).position(|w| w == part.as_bytes()) {
            out[at..at + part.len()].fill(b'0');
        }
    }
    out
}

fn rules(dir: &Path) -> String {
    let records = dir.join("rules.jsonl");
    write("empty", "jsonl", &records);
    let text = std::fs::read_to_string(&records).unwrap();
    let run: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    run["rules_sha256"].as_str().unwrap().to_owned()
}

fn kept(case: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/outputs").join(case).join(file)
}

/// The first line in which two texts differ, or the first byte.
fn difference(want: &[u8], got: &[u8]) -> String {
    let lines = |b: &[u8]| String::from_utf8_lossy(b).lines().map(str::to_owned).collect::<Vec<_>>();
    let at = want.iter().zip(got).take_while(|(a, b)| a == b).count();
    let line = want.iter().take(at).filter(|b| **b == b'\n').count();
    let show = |b: &[u8]| lines(b).get(line).map(|l| l.chars().take(300).collect::<String>());
    format!("byte {at}, line {}: {:?} is now {:?}", line + 1, show(want), show(got))
}

#[test]
fn every_output_of_a_case_is_the_committed_one() {
    let dir = support::scratch("outputs");
    let rules = rules(&dir);
    let mut wrong = Vec::new();
    for (case, kind, file) in KEPT {
        let to = dir.join(file);
        write(case, kind, &to);
        let (want, got) = (kept(case, file), masked(std::fs::read(&to).unwrap(), &rules));
        if std::env::var_os("UPDATE_OUTPUTS").is_some() {
            std::fs::create_dir_all(want.parent().unwrap()).unwrap();
            std::fs::write(&want, &got).unwrap();
        }
        let before = std::fs::read(&want).unwrap_or_default();
        if before != got {
            wrong.push(format!("{} ({kind} of {case}): {}", want.display(), difference(&before, &got)));
        }
    }
    assert!(wrong.is_empty(), "{}\nIf that is meant: UPDATE_OUTPUTS=1 cargo test --test outputs", wrong.join("\n"));
    std::fs::remove_dir_all(&dir).unwrap();
    nothing_else_is_kept();
}

/// Nothing is kept that no output writes.
fn nothing_else_is_kept() {
    let all = std::fs::read_dir(kept("", "")).unwrap().flat_map(|case| std::fs::read_dir(case.unwrap().path()).unwrap());
    let files: Vec<PathBuf> = all.map(|f| f.unwrap().path()).collect();
    for f in &files {
        assert!(KEPT.iter().any(|(case, _, file)| kept(case, file) == *f), "{}", f.display());
    }
    assert_eq!(files.len(), KEPT.len());
}
