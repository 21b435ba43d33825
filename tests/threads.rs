//! The same capture gives the same bytes, however many threads work on it.
#![allow(missing_docs)]

mod support;

use assert_cmd::Command;
use std::path::PathBuf;
use std::time::Duration;
use support::cases;

fn json(threads: usize, files: &[PathBuf]) -> (Option<i32>, Vec<u8>) {
    let out = Command::new(env!("CARGO_BIN_EXE_tamperscope"))
        .args(["analyze", "--json", "-j", &threads.to_string()])
        .args(files)
        .timeout(Duration::from_secs(300))
        .output()
        .unwrap_or_else(|e| panic!("{files:?}: {e}"));
    (out.status.code(), out.stdout)
}

/// The first line that differs, for the message.
fn difference(a: &[u8], b: &[u8]) -> String {
    let (a, b) = (String::from_utf8_lossy(a), String::from_utf8_lossy(b));
    let n = a.lines().zip(b.lines()).take_while(|(x, y)| x == y).count();
    format!("line {}:\n  {:.600}\n  {:.600}", n + 1, a.lines().nth(n).unwrap_or("(nothing)"), b.lines().nth(n).unwrap_or("(nothing)"))
}

#[test]
fn every_fixture_reads_the_same_with_one_two_and_five_threads() {
    let mut bad = Vec::new();
    for case in cases::all() {
        let input = [cases::input(&case)];
        let one = json(1, &input);
        assert!(one.0.is_some_and(|c| matches!(c, 0 | 3 | 4)), "{}: exit {:?}", case.display(), one.0);
        for threads in [2, 5] {
            let many = json(threads, &input);
            if many != one {
                bad.push(format!(
                    "{} with -j {threads}: exit {:?} and {:?}, {}",
                    case.display(),
                    one.0,
                    many.0,
                    difference(&one.1, &many.1)
                ));
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn all_fixtures_in_one_run_read_the_same_with_any_number_of_threads() {
    let files: Vec<PathBuf> = cases::all().iter().map(|c| cases::input(c)).collect();
    let one = json(1, &files);
    let again = json(1, &files);
    assert!(one == again, "two runs differ, {}", difference(&one.1, &again.1));
    let many = json(5, &files);
    assert!(one == many, "{}", difference(&one.1, &many.1));
}
