//! Parse, run, exit code.

use clap::{CommandFactory, Parser};
use mimalloc::MiMalloc;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use tamperscope::cli::{AnalyzeArgs, Cli, Command, LiveArgs, RulesCommand, SliceArgs, VerifyArgs};
use tamperscope::engine::{self, RunError};
use tamperscope::model::story::End;
use tamperscope::plan::{self, Analysis, Surroundings, Wrong};
use tamperscope::sink::{Sink, cards, schema, text};
use tamperscope::{slice, verify};

mod doctor;

/// Measured (benches/README.md): glibc grows the heap of a thread by a call for every few pages, which was a tenth of all the time.
/// Without huge pages (feature `no_thp`): they are cleared whole where a part is used, which was another tenth.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Exit codes that the engine does not decide (contract §1).
mod exit {
    /// Usage or configuration.
    pub const USAGE: u8 = 2;
    /// Cannot capture.
    pub const CAPTURE: u8 = 5;
    /// Ended by SIGINT.
    pub const INTERRUPTED: u8 = 130;
    /// Ended by SIGTERM.
    pub const TERMINATED: u8 = 143;
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version come this way too, on standard output with code 0.
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(exit::USAGE));
        }
    };
    let around = Surroundings::read();
    match cli.command {
        None if cli.list_interfaces => interfaces(),
        None => analyze(&cli.analyze, &around),
        Some(Command::Analyze(args)) => analyze(&args, &around),
        Some(Command::Live(args)) => watch(&args, &around),
        Some(Command::Pair(args)) => run(plan::comparison(&args, &around), engine::pair, args.quiet),
        Some(Command::Verify(args)) => verify_cases(&args),
        Some(Command::Slice(args)) => slice_of(&args),
        Some(Command::Explain(args)) => explain(&args.rule, &around),
        Some(Command::Rules(args)) => match args.command {
            None => list_rules(&args.services, &around),
            Some(RulesCommand::Check { files }) => check_services(&files),
        },
        Some(Command::Interfaces) => interfaces(),
        Some(Command::Doctor) => say(&doctor::report(), 0),
        Some(Command::Schema) => say(&format!("{:#}\n", schema::document()), 0),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tamperscope", &mut script);
            say(&String::from_utf8_lossy(&script), 0)
        }
        Some(Command::Man) => {
            let mut page = Vec::new();
            match clap_mangen::Man::new(Cli::command()).render(&mut page) {
                Ok(()) => say(&String::from_utf8_lossy(&page), 0),
                Err(e) => complain(&e.to_string(), exit::USAGE),
            }
        }
    }
}

/// Writes to standard output. A reader that has gone is no error.
fn say(text: &str, code: u8) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::from(code),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => complain(&format!("cannot write to standard output: {e}"), exit::USAGE),
    }
}

/// One sentence on standard error. It may quote names from files and captures.
fn complain(sentence: &str, code: u8) -> ExitCode {
    for line in sentence.lines() {
        // Nobody is left to tell if this fails.
        let _ = writeln!(io::stderr(), "tamperscope: {}", text::shown(line, false));
    }
    ExitCode::from(code)
}

fn failed(e: &RunError) -> ExitCode {
    if e.is_broken_pipe() { ExitCode::SUCCESS } else { complain(&e.to_string(), exit::USAGE) }
}

fn analyze(args: &AnalyzeArgs, around: &Surroundings) -> ExitCode {
    run(plan::analysis(args, around), engine::run, args.quiet)
}

/// What a command does with its plan.
type How = fn(&engine::Plan, &mut [Box<dyn Sink>]) -> Result<End, RunError>;

/// Carries out what was planned.
fn run(planned: Result<Analysis, Wrong>, how: How, quiet: bool) -> ExitCode {
    let mut analysis = match planned {
        Ok(analysis) => analysis,
        Err(wrong) => return complain(&wrong.to_string(), exit::USAGE),
    };
    if let Err(e) = stop_on_signal(&analysis.plan) {
        complain(&format!("signals will end the run without a summary: {e}"), 0);
    }
    match how(&analysis.plan, &mut analysis.sinks) {
        Ok(end) => finished(&end, quiet),
        Err(e) => failed(&e),
    }
}

#[cfg(not(feature = "live"))]
fn watch(_: &LiveArgs, _: &Surroundings) -> ExitCode {
    complain("this program was built without the feature `live`; it analyses files only", exit::CAPTURE)
}

#[cfg(feature = "live")]
fn watch(args: &LiveArgs, around: &Surroundings) -> ExitCode {
    use signal_hook::consts::{SIGHUP, SIGUSR1};
    use tamperscope::live::{self, Trouble};
    let prepared = live::prepare(args, around).and_then(|ready| {
        let wishes = ready.wishes();
        let signals = stop_on_signal(ready.plan())
            .and_then(|()| flag::register(SIGHUP, wishes.reload))
            .and_then(|_| flag::register(SIGUSR1, wishes.stats));
        if let Err(e) = signals {
            complain(&format!("signals will not be heard: {e}"), 0);
        }
        ready.run()
    });
    match prepared {
        Ok(end) => finished(&end, args.quiet),
        Err(Trouble::Usage(why)) => complain(&why.to_string(), exit::USAGE),
        Err(Trouble::Capture(why, may_help)) => {
            let fix = if may_help { format!("\ngive the program that one right: {}", doctor::FIX) } else { String::new() };
            complain(&format!("{why}{fix}"), exit::CAPTURE)
        }
        Err(Trouble::Run(e)) => failed(&e),
    }
}

/// The first signal asks the engine to finish with what it has; a second one does not wait.
fn stop_on_signal(plan: &engine::Plan) -> io::Result<()> {
    for (signal, code) in [(SIGINT, exit::INTERRUPTED), (SIGTERM, exit::TERMINATED)] {
        // In this order: the first of these acts only if the last one was here before.
        flag::register_conditional_shutdown(signal, i32::from(code), Arc::clone(&plan.stop))?;
        flag::register_usize(signal, Arc::clone(&plan.signal), usize::from(code))?;
        flag::register(signal, Arc::clone(&plan.stop))?;
    }
    Ok(())
}

fn finished(end: &End, quiet: bool) -> ExitCode {
    for (path, why) in &end.failed_sources {
        let name = if path == "-" { "standard input" } else { path };
        complain(&format!("{name}: {why}"), 0);
    }
    if end.exit == 4 && !quiet {
        complain("finished, but part of the input was damaged, lost or not analysable (exit 4)", 0);
    }
    ExitCode::from(u8::try_from(end.exit).unwrap_or(exit::USAGE))
}

fn verify_cases(args: &VerifyArgs) -> ExitCode {
    let options = verify::Options { update: args.update, workers: args.jobs.map(usize::from) };
    let report = verify::run_cases(&args.dirs, &options);
    if let Some(path) = &args.junit
        && let Err(e) = std::fs::write(path, report.junit())
    {
        return complain(&format!("cannot write {}: {e}", path.display()), exit::USAGE);
    }
    let mut out = report.text(args.quiet);
    if args.github {
        out.push_str(&report.github(verify::ANNOTATIONS_MAX));
        if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|p| !p.is_empty()) {
            let written =
                std::fs::File::options().create(true).append(true).open(&path).and_then(|mut f| f.write_all(report.markdown().as_bytes()));
            if let Err(e) = written {
                complain(&format!("cannot write the step summary: {e}"), 0);
            }
        }
    }
    say(&out, report.exit())
}

fn slice_of(args: &SliceArgs) -> ExitCode {
    match slice::run(args) {
        Ok(s) => {
            complain(&format!("{} of {} in {}", text::counted(s.frames as u64, "frame"), s.of, text::counted(s.flows as u64, "flow")), 0);
            ExitCode::SUCCESS
        }
        Err(e) => complain(&e.to_string(), e.exit),
    }
}

fn explain(rule: &str, around: &Surroundings) -> ExitCode {
    let all = engine::cards();
    let found = cards::find(&all, rule);
    if !found.is_empty() {
        let pages: Vec<String> = found.iter().map(|c| cards::page(c, around.width(), around.ascii())).collect();
        return say(&pages.join("\n"), 0);
    }
    let hint = cards::nearest(&all, rule).map_or_else(String::new, |n| format!("; did you mean {n}?"));
    let mut known: Vec<&str> = all.iter().map(|c| c.rule).collect();
    known.dedup();
    complain(&format!("no rule is called {rule}{hint}\nrules: {}", known.join(", ")), exit::USAGE)
}

fn list_rules(files: &[std::path::PathBuf], around: &Surroundings) -> ExitCode {
    let (services, warnings) = match engine::services(files) {
        Ok(known) => known,
        Err(e) => return failed(&e),
    };
    for warning in warnings {
        complain(&warning, 0);
    }
    let mut out = String::from("Detectors (tamperscope explain RULE)\n\n");
    out.push_str(&cards::list(&engine::cards(), around.width(), around.ascii()));
    out.push_str("\nServices\n\n");
    for s in &services {
        let parent = s.parent.as_deref().map_or_else(String::new, |p| format!("  (shares {p})"));
        let line = format!("{:<20} {:<10} {:>4} rules  {}  {}{parent}", s.id, s.category.name(), s.rules, s.updated, s.title);
        out.push_str(&text::shown(&line, around.ascii()));
        out.push('\n');
    }
    say(&out, 0)
}

fn check_services(files: &[std::path::PathBuf]) -> ExitCode {
    match engine::check_services(files) {
        Ok((services, warnings)) => {
            for warning in &warnings {
                complain(warning, 0);
            }
            say(
                &format!(
                    "{} checked; {} known\n",
                    text::counted(files.len() as u64, "file"),
                    text::counted(services.len() as u64, "service")
                ),
                0,
            )
        }
        Err(e) => failed(&e),
    }
}

fn interfaces() -> ExitCode {
    match doctor::interfaces() {
        Ok(list) => say(&list, 0),
        Err(why) => complain(&format!("cannot list interfaces: {why}\ntry: tamperscope doctor"), exit::CAPTURE),
    }
}
