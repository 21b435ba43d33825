//! Runs cases: a directory with a capture, a `case.toml` that says what must and must not be found in it, and optionally the whole expected output.
//!
//! The case goes through the same command line, plan and engine as a user's run; only the JSON Lines end in memory.

use crate::cli::{AnalyzeArgs, Cli, Command};
use crate::engine;
use crate::plan::{self, Surroundings};
use crate::sink::Sink;
use crate::sink::jsonl::Jsonl;
use crate::sink::output::Memory;
use clap::Parser;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

mod case;
mod compare;
mod report;

pub use report::{ANNOTATIONS_MAX, CaseResult, Report, Verdict};

/// The file that makes a directory a case.
const CASE_FILE: &str = "case.toml";
/// The whole output, where a case keeps it.
const WANT_FILE: &str = "want.jsonl";

/// How to run cases.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Rewrite `want.jsonl` where a case has one or asks for one.
    pub update: bool,
    /// Worker threads, unless a case says otherwise.
    pub workers: Option<usize>,
}

/// Runs every case under `dirs`, in name order.
pub fn run_cases(dirs: &[PathBuf], options: &Options) -> Report {
    let mut report = Report::default();
    for dir in dirs {
        let mut found = Vec::new();
        if let Err(e) = collect(dir, &mut found) {
            report.push(dir, Verdict::Bad(format!("{}: {e}", dir.display())));
        } else if found.is_empty() {
            report.push(dir, Verdict::Bad(format!("{}: no {CASE_FILE} in it or below", dir.display())));
        }
        for case in found {
            let verdict = run_case(&case, options);
            report.push(&case, verdict);
        }
    }
    report
}

/// Case directories under `dir`, in name order. A case may hold other cases below it.
fn collect(dir: &Path, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if dir.join(CASE_FILE).is_file() {
        into.push(dir.to_owned());
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // Links are not followed: they may lead back here.
        if entry.file_type()?.is_dir() {
            entries.push(entry.path());
        }
    }
    entries.sort();
    entries.iter().try_for_each(|e| collect(e, into))
}

/// What a run of the case gave.
struct Ran {
    exit: i32,
    jsonl: String,
    /// Why it could not be carried out.
    error: Option<String>,
}

fn run_case(dir: &Path, options: &Options) -> Verdict {
    let file = dir.join(CASE_FILE);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(e) => return Verdict::Bad(format!("{}: {e}", file.display())),
    };
    let case = match case::Case::parse(&text) {
        Ok(case) => case,
        Err(case::Mistake { line, says }) => return Verdict::Bad(format!("{}:{line}: {says}", file.display())),
    };
    let bad = |says: String| Verdict::Bad(format!("{}: {says}", file.display()));
    let mut args = match arguments(&case) {
        Ok(args) => args,
        Err(says) => return bad(says),
    };
    for input in &case.input {
        let path = dir.join(input);
        // Without this a forgotten capture would pass every `forbid`.
        if !path.exists() && case.exit != Some(3) {
            return bad(format!("input {} does not exist (a case about that has exit = 3)", input.display()));
        }
        args.inputs.push(path);
    }
    for services in &mut args.services {
        *services = dir.join(&services);
    }
    let ran = match catch_unwind(AssertUnwindSafe(|| run(&args, case.pair, dir, options))) {
        Ok(ran) => ran,
        Err(panic) => {
            let says = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            return Verdict::Failed(vec![format!("the program panicked: {}", says.unwrap_or("no message"))]);
        }
    };
    let mut failures = Vec::new();
    check_exit(case.exit, &ran, &mut failures);
    match compare::records(&ran.jsonl) {
        Ok(records) => compare::claims(&case, &records, &mut failures),
        Err(e) => failures.push(e),
    }
    let updated = match whole(dir, &case, &ran, options.update, &mut failures) {
        Ok(updated) => updated,
        Err(e) => return bad(e),
    };
    match (failures.is_empty(), updated) {
        (true, false) => Verdict::Passed,
        (true, true) => Verdict::Updated,
        (false, _) => Verdict::Failed(failures),
    }
}

/// A case's arguments, through the parser that users meet.
fn arguments(case: &case::Case) -> Result<AnalyzeArgs, String> {
    let words: &[&str] = if case.pair { &["tamperscope", "pair", "a", "b"] } else { &["tamperscope", "analyze"] };
    let line = words.iter().map(|w| (*w).to_owned()).chain(case.args.iter().cloned());
    let cli = Cli::try_parse_from(line).map_err(|e| format!("args: {}", e.render().to_string().trim_end()))?;
    let args = match cli.command {
        Some(Command::Analyze(args)) => args,
        // The captures are those of `input`.
        Some(Command::Pair(args)) => AnalyzeArgs { inputs: Vec::new(), ..(&args).into() },
        _ => return Err("args: only those of analyze and pair can be tested".into()),
    };
    if !args.inputs.is_empty() || !args.read.is_empty() {
        return Err("args: a capture belongs into `input`".into());
    }
    if !args.out.is_empty() {
        return Err("args: --out has no place in a case, its output is compared in memory".into());
    }
    Ok(args)
}

fn run(args: &AnalyzeArgs, pair: bool, dir: &Path, options: &Options) -> Ran {
    let refused = |why: String| Ran { exit: 2, jsonl: String::new(), error: Some(why) };
    let mut plan = match plan::engine_plan(args, &Surroundings::default()) {
        Ok(plan) => plan,
        Err(e) => return refused(e.to_string()),
    };
    if let (None, Some(workers)) = (args.jobs, options.workers) {
        plan.workers = workers.max(1);
    }
    let memory = Memory::default();
    let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(Jsonl::new(memory.clone()).relative_to(dir))];
    let how = if pair { engine::pair } else { engine::run };
    match how(&plan, &mut sinks) {
        Ok(end) => Ran { exit: end.exit, jsonl: String::from_utf8_lossy(&memory.take()).into_owned(), error: None },
        Err(e) => refused(e.to_string()),
    }
}

fn check_exit(wanted: Option<i32>, ran: &Ran, failures: &mut Vec<String>) {
    let fits = match wanted {
        Some(code) => ran.exit == code,
        // A case that does not say must at least have been analysed.
        None => matches!(ran.exit, 0 | 1 | 4),
    };
    if !fits {
        let wanted = wanted.map_or_else(|| "0, 1 or 4".to_owned(), |c| c.to_string());
        let why = ran.error.as_ref().map_or_else(String::new, |e| format!(" ({e})"));
        failures.push(format!("exit is {}, expected {wanted}{why}", ran.exit));
    }
}

/// Compares the whole output, if the case keeps it. Returns whether it was rewritten; an error if that failed.
fn whole(dir: &Path, case: &case::Case, ran: &Ran, update: bool, failures: &mut Vec<String>) -> Result<bool, String> {
    let path = dir.join(WANT_FILE);
    let wanted = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(format!("{WANT_FILE}: {e}")),
    };
    if wanted.is_none() && !case.want {
        return Ok(false);
    }
    let got = compare::masked(&ran.jsonl);
    if wanted.as_ref() == Some(&got) {
        return Ok(false);
    }
    if update {
        fs::write(&path, got).map_err(|e| format!("cannot write {WANT_FILE}: {e}"))?;
        return Ok(true);
    }
    match wanted {
        Some(wanted) => failures.extend(compare::difference(&wanted, &got)),
        None => failures.push(format!("{WANT_FILE} is missing (--update writes it)")),
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("tamperscope-verify-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn case(root: &Path, name: &str, toml: &str) {
        let dir = root.join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(CASE_FILE), toml).unwrap();
        // A pcap header without packets.
        let head = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
        fs::write(dir.join("in.pcap"), head).unwrap();
    }

    fn verdicts(root: &Path, update: bool) -> Vec<(String, String)> {
        let report = run_cases(&[root.to_owned()], &Options { update, workers: Some(1) });
        let name = |c: &CaseResult| c.dir.strip_prefix(root).unwrap().display().to_string();
        report.cases.iter().map(|c| (name(c), format!("{:?}", c.verdict))).collect()
    }

    #[test]
    fn cases_run_in_name_order_and_say_what_is_wrong() {
        let root = scratch("order");
        case(&root, "b", "input = 'in.pcap'\nexit = 0\n[[forbid]]\ntype = 'finding'\n");
        case(&root, "a/deep", "input = 'in.pcap'\n[[expect]]\ntype = 'source'\nwhere = { path = 'in.pcap' }\ncount = 1\n");
        case(&root, "c", "input = 'in.pcap'\nexit = 1\n[[expect]]\ntype = 'flow'\n");
        case(&root, "d", "input = 'gone.pcap'\n");
        case(&root, "e", "input = 'gone.pcap'\nexit = 3\n");
        case(&root, "f", "input = 'in.pcap'\n\nexpct = 1\n");
        case(&root, "g", "input = 'in.pcap'\nargs = ['--out', 'jsonl=x']\n");
        case(&root, "h", "input = 'in.pcap'\nargs = ['--services', 'gone.toml']\nexit = 2\n");
        let got = verdicts(&root, false);
        let names: Vec<_> = got.iter().map(|g| g.0.as_str()).collect();
        assert_eq!(names, ["a/deep", "b", "c", "d", "e", "f", "g", "h"]);
        let says = |i: usize| got[i].1.as_str();
        assert_eq!((says(0), says(1), says(4), says(7)), ("Passed", "Passed", "Passed", "Passed"));
        assert!(says(2).contains("exit is 0, expected 1") && says(2).contains("expected flow count >=1, found 0"), "{}", says(2));
        assert!(says(3).contains("gone.pcap does not exist"), "{}", says(3));
        assert!(says(5).contains("f/case.toml:3: unknown field `expct`"), "{}", says(5));
        assert!(says(6).contains("--out has no place"), "{}", says(6));
        let report = run_cases(&[root.join("a"), root.join("none")], &Options::default());
        assert_eq!(report.exit(), 2);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_whole_output_is_kept_on_request_and_compared() {
        let root = scratch("want");
        case(&root, "x", "input = 'in.pcap'\nwant = true\n");
        assert!(verdicts(&root, false)[0].1.contains("want.jsonl is missing"));
        assert_eq!(verdicts(&root, true)[0].1, "Updated");
        assert_eq!(verdicts(&root, false)[0].1, "Passed");
        assert_eq!(verdicts(&root, true)[0].1, "Passed");
        let want = root.join("x/want.jsonl");
        let text = fs::read_to_string(&want).unwrap();
        assert!(!text.contains(env!("CARGO_PKG_VERSION")) && !text.contains(root.to_str().unwrap()), "{text}");
        fs::write(&want, text.replace("\"exit\":0", "\"exit\":4")).unwrap();
        let failed = verdicts(&root, false);
        assert!(failed[0].1.contains("exit: wanted 4, got 0"), "{}", failed[0].1);
        fs::remove_dir_all(&root).unwrap();
    }
}
