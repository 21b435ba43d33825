//! What the command line means: names checked, directories expanded, style and outputs decided.

use crate::cli::{AnalyzeArgs, Cli, Color, PairArgs};
use crate::engine;
use crate::sink::human::{Human, Style};
use crate::sink::jsonl::Jsonl;
use crate::sink::output::UntilClosed;
use crate::sink::{OUT_KINDS, OutKind, Sink};
use clap::CommandFactory;
use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

/// What makes a run impossible before it begins: one sentence for the user, exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Wrong(pub(crate) String);

/// What the environment says about the terminal. Read once; tests write their own.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Standard output is a terminal.
    pub stdout_terminal: bool,
    /// Standard error is a terminal.
    pub stderr_terminal: bool,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `CLICOLOR_FORCE` is set and not `0`.
    pub force_color: bool,
    /// `TERM`.
    pub term: Option<String>,
    /// The first of `LC_ALL`, `LC_CTYPE`, `LANG` that is not empty.
    pub locale: Option<String>,
    /// `COLUMNS`.
    pub columns: Option<usize>,
}

impl Surroundings {
    /// Reads them from the process.
    pub fn read() -> Self {
        let var = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        Self {
            stdout_terminal: io::stdout().is_terminal(),
            stderr_terminal: io::stderr().is_terminal(),
            no_color: var("NO_COLOR").is_some(),
            force_color: var("CLICOLOR_FORCE").is_some_and(|v| v != "0"),
            term: var("TERM"),
            locale: var("LC_ALL").or_else(|| var("LC_CTYPE")).or_else(|| var("LANG")),
            columns: var("COLUMNS").and_then(|v| v.parse().ok()),
        }
    }

    /// Whether to use colours: the option, then `NO_COLOR`, then `CLICOLOR_FORCE`, then what the terminal can.
    pub fn color(&self, wish: Color) -> bool {
        match wish {
            Color::Always => true,
            Color::Never => false,
            Color::Auto if self.no_color => false,
            Color::Auto if self.force_color => true,
            Color::Auto => self.stdout_terminal && self.term.as_deref() != Some("dumb"),
        }
    }

    /// Whether the locale cannot show more than ASCII. No locale at all (a bare container, a cron job) counts as ASCII on a terminal only:
    /// a pipe or file takes UTF-8.
    pub fn ascii(&self) -> bool {
        match &self.locale {
            Some(l) => {
                let l = l.to_ascii_lowercase();
                !(l.contains("utf-8") || l.contains("utf8"))
            }
            None => self.stdout_terminal,
        }
    }

    /// Columns to write for.
    pub fn width(&self) -> usize {
        self.columns.unwrap_or(80).clamp(40, 160)
    }

    /// The style of human output.
    pub fn style(&self, args: &AnalyzeArgs) -> Style {
        Style {
            color: self.color(args.color),
            ascii: self.ascii(),
            width: self.width(),
            quiet: args.quiet,
            verbose: args.verbose,
            show_circumvention: args.show_circumvention,
            explain_labels: args.explain_labels,
        }
    }
}

/// A place to write to, with its kind checked.
pub(crate) struct Out {
    pub(crate) kind: &'static OutKind,
    pub(crate) path: PathBuf,
}

/// An analysis ready to run.
pub struct Analysis {
    /// For the engine.
    pub plan: engine::Plan,
    /// Where the results go.
    pub sinks: Vec<Box<dyn Sink>>,
}

/// What the arguments of `analyze` mean, with its outputs opened.
///
/// # Errors
/// A sentence for the user: no input, an unknown kind of output, an output that cannot be opened, a directory that cannot be read.
pub fn analysis(args: &AnalyzeArgs, around: &Surroundings) -> Result<Analysis, Wrong> {
    let outs = outs(&args.out)?;
    let to_stdout = usize::from(args.json) + outs.iter().filter(|o| o.path == Path::new("-")).count();
    if to_stdout > 1 {
        return Err(Wrong("only one output can go to standard output".into()));
    }
    let plan = engine_plan(args, around)?;
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    let style = around.style(args);
    // Files come first, so that they are complete before anybody is told that the run has ended.
    let mut piped = Vec::new();
    for out in outs {
        let list = if out.path == Path::new("-") { &mut piped } else { &mut sinks };
        let sink = (out.kind.open)(&out.path, &style).map_err(|e| Wrong(format!("cannot write {}: {e}", out.path.display())))?;
        if sink.rereads() {
            twice(out.kind.name, &plan.inputs)?;
        }
        if out.path != Path::new("-") && plan.inputs.iter().any(|input| same_file(input, &out.path)) {
            return Err(Wrong(format!("{} is a capture to be read: name another file for the output", out.path.display())));
        }
        list.push(sink);
    }
    let files = !sinks.is_empty();
    sinks.append(&mut piped);
    if args.json {
        sinks.push(shielded(Jsonl::new(io::stdout()).with_series(args.series), files));
    } else if to_stdout == 0 {
        sinks.push(shielded(Human::new(io::stdout(), style), files));
    }
    Ok(Analysis { plan, sinks })
}

/// Whether an output that copies from its capture can be made: of one file, which is there to be read again.
fn twice(kind: &str, inputs: &[PathBuf]) -> Result<(), Wrong> {
    match inputs {
        [one] if one == Path::new("-") || fs::metadata(one).is_ok_and(|m| !m.is_file()) => {
            Err(Wrong(format!("--out {kind}: {}", engine::again::ONCE)))
        }
        [_] => Ok(()),
        many => Err(Wrong(format!(
            "--out {kind}: takes one capture, so that its frame numbers stay those of the findings, and {} were named: run it on each",
            many.len()
        ))),
    }
}

/// Whether two names lead to the same file that exists.
fn same_file(a: &Path, b: &Path) -> bool {
    fs::canonicalize(a).is_ok_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b && b.is_file()))
}

/// What the arguments of `pair` mean: two captures, each a file that can be read twice.
///
/// # Errors
/// As [`analysis`]; also for standard input, directories and outputs that cannot show two captures.
pub fn comparison(args: &PairArgs, around: &Surroundings) -> Result<Analysis, Wrong> {
    pairable(args)?;
    analysis(&args.into(), around)
}

/// Refuses what `pair` cannot do.
///
/// # Errors
/// A sentence for the user.
pub fn pairable(args: &PairArgs) -> Result<(), Wrong> {
    for path in [&args.a, &args.b] {
        if path.as_os_str() == "-" || path.is_dir() {
            return Err(Wrong(format!("{}: pair reads each capture twice and takes two files", path.display())));
        }
    }
    let can = |out: &&String| OUT_KINDS.iter().any(|k| k.pair && out.split_once('=').is_some_and(|(kind, _)| kind == k.name));
    match args.out.iter().find(|o| !can(o)) {
        Some(other) => {
            let kinds: Vec<&str> = OUT_KINDS.iter().filter(|k| k.pair).map(|k| k.name).collect();
            Err(Wrong(format!("--out {other}: pair writes KIND=PATH with one of the kinds {}", kinds.join(", "))))
        }
        None => Ok(()),
    }
}

/// A closed pipe ends the run, unless files are being written beside it.
pub(crate) fn shielded<S: Sink + 'static>(sink: S, files: bool) -> Box<dyn Sink> {
    if files { Box::new(UntilClosed::new(sink)) } else { Box::new(sink) }
}

/// The engine's part of the arguments.
///
/// # Errors
/// As [`analysis`].
pub fn engine_plan(args: &AnalyzeArgs, around: &Surroundings) -> Result<engine::Plan, Wrong> {
    let typed = without_command(&args.inputs)?;
    let given: Vec<&PathBuf> = args.read.iter().chain(typed).collect();
    if given.is_empty() {
        return Err(Wrong("no capture given: name a file, a directory, or - for standard input (see --help)".into()));
    }
    if given.iter().filter(|p| p.as_os_str() == "-").count() > 1 {
        return Err(Wrong("standard input can be read only once".into()));
    }
    let mut inputs = Vec::new();
    for path in given {
        let before = inputs.len();
        expand(path, &mut inputs)?;
        if inputs.len() == before {
            // A directory without captures is a source that could not be analysed, not a run without work.
            inputs.push(path.clone());
        }
    }
    if let Some(words) = &args.filter {
        engine::check_filter(words).map_err(|says| Wrong(format!("-f {words:?}: {says}")))?;
    }
    let workers = args.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, usize::from);
    Ok(engine::Plan {
        inputs,
        workers,
        max_flows: args.max_flows.0,
        max_memory: args.max_memory.0,
        packet_limit: args.count,
        filter: args.filter.clone(),
        services: args.services.clone(),
        heuristics: args.heuristics,
        max_drop: args.max_drop.0 / 100.0,
        fail_on: args.fail_on.map(Into::into),
        progress: around.stderr_terminal && !args.quiet,
        fronts: args.fronts.clone(),
        ..engine::Plan::default()
    })
}

/// Options before a command make its name look like a file. For `analyze`, the default command, it is simply left out.
fn without_command(inputs: &[PathBuf]) -> Result<&[PathBuf], Wrong> {
    let Some((first, rest)) = inputs.split_first().filter(|(first, _)| !first.exists()) else { return Ok(inputs) };
    match first.to_str() {
        Some("analyze") => Ok(rest),
        Some(name) if Cli::command().find_subcommand(name).is_some() => {
            Err(Wrong(format!("{name} is a command: put it before the options")))
        }
        _ => Ok(inputs),
    }
}

pub(crate) fn outs(typed: &[String]) -> Result<Vec<Out>, Wrong> {
    let kinds = || {
        let list: Vec<String> = OUT_KINDS.iter().map(|k| format!("{} ({})", k.name, k.says)).collect();
        format!("kinds: {}", list.join(", "))
    };
    let mut outs: Vec<Out> = Vec::new();
    for text in typed {
        let Some((name, path)) = text.split_once('=').filter(|(_, path)| !path.is_empty()) else {
            return Err(Wrong(format!("--out {text}: is not KIND=PATH; {}", kinds())));
        };
        let Some(kind) = OUT_KINDS.iter().find(|k| k.name == name) else {
            return Err(Wrong(format!("--out {text}: unknown kind {name}; {}", kinds())));
        };
        if outs.iter().any(|o| o.path == Path::new(path)) {
            return Err(Wrong(format!("--out {text}: {path} is written twice")));
        }
        outs.push(Out { kind, path: path.into() });
    }
    Ok(outs)
}

/// A file stays what it is, even if it does not exist: the engine says so. A directory becomes the captures in it, in name order, subdirectories too.
fn expand(path: &Path, into: &mut Vec<PathBuf>) -> Result<(), Wrong> {
    if !path.is_dir() {
        into.push(path.to_owned());
        return Ok(());
    }
    let unreadable = |e: io::Error| Wrong(format!("cannot read directory {}: {e}", path.display()));
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        entries.push(entry.map_err(unreadable)?.path());
    }
    entries.sort();
    for entry in entries {
        let hidden = entry.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if entry.is_dir() {
            // Links to directories are not followed: they may lead back here.
            if !entry.is_symlink() {
                expand(&entry, into)?;
            }
        } else if entry.is_file() && may_be_capture(&entry) {
            into.push(entry);
        }
    }
    Ok(())
}

/// Whether a file found in a directory begins like a capture or a compressed file. One that cannot be read is kept, so that its error is reported.
fn may_be_capture(path: &Path) -> bool {
    let mut magic = [0u8; 4];
    let read = fs::File::open(path).and_then(|mut f| f.read_exact(&mut magic));
    match read {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => false,
        Err(_) => true,
        Ok(()) => {
            matches!(
                u32::from_be_bytes(magic),
                0xa1b2_c3d4 | 0xd4c3_b2a1 | 0xa1b2_3c4d | 0x4d3c_b2a1 | 0xa1b2_cd34 | 0x34cd_b2a1 | 0x0a0d_0d0a | 0x28b5_2ffd
            ) || magic.starts_with(&[0x1f, 0x8b])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn args(line: &str) -> AnalyzeArgs {
        Cli::try_parse_from(std::iter::once("tamperscope").chain(line.split_whitespace())).unwrap().analyze
    }

    fn wrong(line: &str) -> String {
        analysis(&args(line), &Surroundings::default()).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_was_typed_becomes_numbers() {
        let plan = engine_plan(&args("-r b a -j 3 -c 7 --max-drop 2% --fail-on confirmed"), &Surroundings::default()).unwrap();
        assert_eq!(plan.inputs, [PathBuf::from("b"), PathBuf::from("a")]);
        assert_eq!((plan.workers, plan.packet_limit, plan.progress), (3, Some(7), false));
        assert!((plan.max_drop - 0.02).abs() < 1e-12);
        assert_eq!(plan.fail_on, Some(crate::model::finding::Grade::Confirmed));
    }

    #[test]
    fn usage_errors_say_what_to_do() {
        assert!(wrong("").contains("no capture given"));
        assert!(wrong("- -r -").contains("only once"));
        assert!(wrong("a --out hmtl=x").contains("unknown kind hmtl; kinds: jsonl ("));
        assert!(wrong("a --out jsonl").contains("is not KIND=PATH"));
        assert!(wrong("a --out jsonl=").contains("is not KIND=PATH"));
        assert!(wrong("a --json --out jsonl=-").contains("only one output"));
        assert!(wrong("a --out jsonl=/nonexistent/x").contains("cannot write /nonexistent/x"));
        assert!(wrong("-q verify x").contains("verify is a command"));
        assert_eq!(engine_plan(&args("-v analyze x"), &Surroundings::default()).unwrap().inputs, [PathBuf::from("x")]);
        assert_eq!(wrong("a --json"), "");
    }

    #[test]
    fn colours_follow_option_environment_terminal() {
        let terminal = Surroundings { stdout_terminal: true, ..Surroundings::default() };
        assert!(terminal.color(Color::Auto));
        assert!(!Surroundings::default().color(Color::Auto));
        assert!(!Surroundings { no_color: true, force_color: true, ..terminal.clone() }.color(Color::Auto));
        assert!(Surroundings { force_color: true, ..Surroundings::default() }.color(Color::Auto));
        assert!(!Surroundings { term: Some("dumb".into()), ..terminal.clone() }.color(Color::Auto));
        assert!(Surroundings { no_color: true, ..terminal }.color(Color::Always));
    }

    #[test]
    fn ascii_unless_the_locale_is_utf8() {
        let with = |locale: &str| Surroundings { locale: Some(locale.into()), ..Surroundings::default() };
        assert!(!with("de_DE.UTF-8").ascii() && !with("C.utf8").ascii());
        assert!(with("C").ascii() && with("ru_RU.KOI8-R").ascii());
        assert!(!Surroundings::default().ascii());
    }

    #[test]
    fn directories_become_their_captures_in_name_order() {
        let dir = std::env::temp_dir().join(format!("tamperscope-plan-{}", std::process::id()));
        fs::create_dir_all(dir.join("b")).unwrap();
        for (name, bytes) in [
            ("c.pcap", &b"\xd4\xc3\xb2\xa1"[..]),
            ("a.any", b"\x0a\x0d\x0d\x0arest"),
            ("b/z.gz", b"\x1f\x8b\x08\x00"),
            ("README.md", b"words"),
            ("short", b"x"),
            (".hidden", b"\xd4\xc3\xb2\xa1"),
        ] {
            fs::write(dir.join(name), bytes).unwrap();
        }
        let mut found = Vec::new();
        expand(&dir, &mut found).unwrap();
        let names: Vec<_> = found.iter().map(|p| p.strip_prefix(&dir).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.any", "b/z.gz", "c.pcap"]);
        fs::remove_dir_all(&dir).unwrap();
    }
}
