//! Every fixture, mistreated: whatever the bytes, the program finishes, says so, and does not panic.
#![allow(missing_docs)]

mod support;

use assert_cmd::Command;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{Dice, cases};

/// Mutants of each fixture.
const MUTANTS: usize = 20;
/// Of these, run one by one for the exit status of each.
const SINGLY: usize = 3;

/// Where the record (or block) headers of a capture lie, as far as they can be followed.
fn headers(bytes: &[u8]) -> Vec<usize> {
    let u32_at = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
    let mut out = Vec::new();
    match u32_at(0) {
        Some(0x0a0d_0d0a) => {
            let mut at = 0;
            while let Some(n) = u32_at(at + 4).filter(|&n| n >= 12 && n < bytes.len()) {
                out.push(at);
                at += n;
            }
        }
        _ => {
            let mut at = 24;
            while let Some(n) = u32_at(at + 8).filter(|&n| at + 16 + n <= bytes.len()) {
                out.push(at);
                at += 16 + n;
            }
        }
    }
    out
}

/// The mutant number `n`, always the same for the same bytes.
fn mutant(bytes: &[u8], n: usize, dice: &mut Dice) -> Vec<u8> {
    let mut out = bytes.to_vec();
    if out.is_empty() {
        return dice.bytes(64);
    }
    let heads = headers(bytes);
    let record = |dice: &mut Dice| {
        let i = dice.below(heads.len());
        heads.get(i).copied().map(|at| (at, heads.get(i + 1).copied().unwrap_or(bytes.len())))
    };
    match n % 5 {
        // Bits flipped: few, or many.
        0 => {
            for _ in 0..1 << dice.below(10) {
                let at = dice.below(out.len());
                out[at] ^= 1 << dice.below(8);
            }
        }
        // Cut off, anywhere; the first time inside the file header.
        1 => {
            let keep = if n == 1 { dice.below(out.len().min(40)) } else { dice.below(out.len()) };
            out.truncate(keep);
        }
        // A block (a record where one is known) twice, or moved to where it does not belong.
        2 => {
            let (from, to) = record(dice).unwrap_or_else(|| {
                let a = dice.below(out.len());
                (a, (a + 1 + dice.below(600)).min(out.len()))
            });
            let piece = bytes[from..to].to_vec();
            let at = if dice.below(2) == 0 { to } else { dice.below(out.len()) };
            out.splice(at..at, piece);
        }
        // Length fields that lie: in record headers, or two bytes inside a frame's own headers.
        3 => {
            for _ in 0..1 + dice.below(4) {
                let Some((from, to)) = record(dice) else { break };
                let lies = [0_u32, 1, 11, 13, 0xff, 0xffff, 0x7fff_ffff, 0xffff_fff0, 0xffff_ffff, dice.next() as u32];
                let lie = lies[dice.below(lies.len())];
                if dice.below(3) == 0 {
                    let at = from + [4, 8, 12][dice.below(3)];
                    if let Some(field) = out.get_mut(at..at + 4) {
                        field.copy_from_slice(&lie.to_le_bytes());
                    }
                } else {
                    let at = from + 16 + dice.below((to - from).saturating_sub(18).min(110));
                    if let Some(field) = out.get_mut(at..at + 2) {
                        field.copy_from_slice(&(lie as u16).to_be_bytes());
                    }
                }
            }
        }
        // Bytes inside the frames overwritten, the file's structure left whole: this is what reaches the parsers.
        _ => {
            for _ in 0..1 + dice.below(40) {
                let Some((from, to)) = record(dice) else { break };
                let start = (from + 16 + dice.below((to - from).saturating_sub(16))).min(out.len());
                let end = (start + 1 + dice.below(12)).min(to).min(out.len());
                let noise = dice.bytes(end.saturating_sub(start));
                out[start..start + noise.len()].copy_from_slice(&noise);
            }
        }
    }
    out
}

fn analyze(path: &Path) -> (i32, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_tamperscope"))
        .args(["analyze", "--json"])
        .arg(path)
        .timeout(Duration::from_secs(120))
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let exit = out.status.code().unwrap_or_else(|| panic!("{}: ended by a signal or too slow ({})", path.display(), out.status));
    (exit, text(&out.stdout), text(&out.stderr))
}

/// What went wrong with a run, if anything did.
fn complaint((exit, stdout, stderr): &(i32, String, String)) -> Option<String> {
    if !matches!(exit, 0 | 3 | 4) {
        return Some(format!("exit {exit}; stderr: {stderr}"));
    }
    if stderr.contains("panicked") || stdout.contains("internal-panic") {
        return Some(format!("a panic; stderr: {stderr}"));
    }
    for (i, line) in stdout.lines().enumerate() {
        if let Err(e) = serde_json::from_str::<serde_json::Value>(line) {
            return Some(format!("line {} is not JSON ({e}): {line:.200}", i + 1));
        }
    }
    let last = stdout.lines().last().and_then(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let ended = last.is_some_and(|v| v["type"] == "end");
    (*exit != 3 && !ended).then(|| format!("exit {exit} without an `end` line"))
}

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("robust").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a scratch directory");
    dir
}

/// All mutants of the cases whose index leaves `part` when divided by `parts`.
fn mistreat(part: usize, parts: usize) {
    let mut complaints = Vec::new();
    for (k, case) in cases::all().iter().enumerate().filter(|(k, _)| k % parts == part) {
        let input = cases::input(case);
        let bytes = std::fs::read(&input).unwrap_or_else(|e| panic!("{}: {e}", input.display()));
        let name = case.file_name().expect("a case has a name").to_string_lossy().into_owned();
        let dir = scratch(&name);
        let mut files = Vec::new();
        for n in 0..MUTANTS {
            let mut dice = Dice::new(1 + (k * MUTANTS + n) as u64);
            let path = dir.join(format!("mutant-{n:02}.bin"));
            std::fs::write(&path, mutant(&bytes, n, &mut dice)).expect("a mutant can be written");
            files.push(path);
        }
        let before = complaints.len();
        // All of them in one run; then some alone, or all if the run together went wrong.
        let together = complaint(&analyze(&dir)).map(|c| format!("{name}, all mutants: {c}"));
        let first = dir_offset(k);
        for i in 0..if together.is_some() { MUTANTS } else { SINGLY } {
            let path = &files[(first + i * 7) % MUTANTS];
            if let Some(c) = complaint(&analyze(path)) {
                complaints.push(format!("{}: {c}", path.display()));
            }
        }
        if let Some(c) = together.filter(|_| complaints.len() == before) {
            complaints.push(c);
        }
        if complaints.len() == before {
            let _ = std::fs::remove_dir_all(&dir);
        }
    }
    assert!(complaints.is_empty(), "{} complaints (the mutants are kept):\n{}", complaints.len(), complaints.join("\n"));
}

/// Which mutant of a case is first to run alone, so that over all cases every kind has its turn.
fn dir_offset(k: usize) -> usize {
    k * 3
}

#[test]
fn mutants_of_every_third_fixture_from_the_first() {
    mistreat(0, 3);
}

#[test]
fn mutants_of_every_third_fixture_from_the_second() {
    mistreat(1, 3);
}

#[test]
fn mutants_of_every_third_fixture_from_the_third() {
    mistreat(2, 3);
}
