//! The README shows what the program really does. `UPDATE_README=1 cargo test --test readme` writes what it does now.
#![allow(missing_docs)]

use clap::Parser;
use std::fmt::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use tamperscope::classify::Category;
use tamperscope::cli::Cli;
use tamperscope::{engine, verify};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("README.md can be read")
}

/// A fenced block.
struct Block {
    lang: String,
    /// Index of its first line in the file.
    at: usize,
    lines: Vec<String>,
    /// The line before the fence.
    before: String,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut out: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    let mut before = "";
    for (i, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(lang)) => {
                open = Some(Block { lang: lang.into(), at: i + 1, lines: Vec::new(), before: before.into() });
            }
            (Some(_), Some(_)) => out.extend(open.take()),
            (Some(block), None) => block.lines.push(line.into()),
            (None, None) => {}
        }
        before = line;
    }
    assert!(open.is_none(), "a code block is not closed");
    out
}

/// What a command prints, on both streams, as a newcomer would see it in a pipe.
fn output(command: &str) -> Vec<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_tamperscope")).parent().expect("the binary lies somewhere");
    let mut path = vec![program.to_owned()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let out = Command::new("sh")
        .args(["-c", &format!("{command} 2>&1")])
        .current_dir(root())
        .env_clear()
        .env("PATH", std::env::join_paths(path).expect("PATH can be joined"))
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|e| panic!("{command}: {e}"));
    String::from_utf8(out.stdout).expect("output is UTF-8").lines().map(str::to_owned).collect()
}

/// A stretch of the README and what has to stand there.
struct Claim {
    lines: Range<usize>,
    wanted: Vec<String>,
    about: String,
}

/// The shown output of every `$ command` in `console` blocks.
fn shown_outputs(blocks: &[Block], claims: &mut Vec<Claim>) {
    for block in blocks.iter().filter(|b| b.lang == "console") {
        let commands: Vec<usize> = (0..block.lines.len()).filter(|&i| block.lines[i].starts_with("$ ")).collect();
        assert_eq!(commands.first(), Some(&0), "line {}: a console block begins with a command", block.at + 1);
        for (n, &i) in commands.iter().enumerate() {
            let command = block.lines[i][2..].to_owned();
            assert!(command.starts_with("tamperscope "), "line {}: {command} cannot be checked", block.at + i + 1);
            let end = commands.get(n + 1).copied().unwrap_or(block.lines.len());
            claims.push(Claim { lines: block.at + i + 1..block.at + end, wanted: output(&command), about: command });
        }
    }
}

/// The first command builds and runs; here the program is built, and what it is run with is taken from it. Its output stands in the next `text` block.
fn first_command(blocks: &[Block], claims: &mut Vec<Claim>) {
    let at = blocks.iter().position(|b| b.before == "<!-- ci: first -->").expect("the first command is marked");
    let [command] = blocks[at].lines.as_slice() else { panic!("the first command is one line") };
    let (_, args) = command.split_once("; cargo run -q -- ").expect("the first command ends in cargo run");
    let shown = &blocks[at + 1];
    assert_eq!(shown.lang, "text");
    claims.push(Claim {
        lines: shown.at..shown.at + shown.lines.len(),
        wanted: output(&format!("tamperscope {args}")),
        about: command.clone(),
    });
}

fn detectors() -> Vec<String> {
    let mut out = vec!["| rule | reports | claim |".to_owned(), "|---|---|---|".to_owned()];
    for c in engine::cards() {
        out.push(format!("| `{}` | `{}`: {} | {} |", c.rule, c.kind.name(), c.mechanisms.join(", "), c.claim.replace('|', "\\|")));
    }
    out
}

fn services() -> Vec<String> {
    let (services, _) = engine::services(&[]).expect("the built-in services can be loaded");
    let mut out = vec!["| category | services |".to_owned(), "|---|---|".to_owned()];
    for category in Category::ALL {
        let mut all: Vec<_> = services.iter().filter(|s| s.category == category).collect();
        all.sort_by_key(|s| s.title.to_lowercase());
        let mut row = String::new();
        for (i, s) in all.iter().enumerate() {
            let _ = write!(row, "{}{} (`{}`)", if i > 0 { ", " } else { "" }, s.title, s.id);
        }
        if !row.is_empty() {
            out.push(format!("| {} | {row} |", category.name()));
        }
    }
    out
}

fn tables(text: &str, claims: &mut Vec<Claim>) {
    for (name, wanted) in [("detectors", detectors()), ("services", services())] {
        let mark = format!("<!-- table: {name} -->");
        let begin = text.lines().position(|l| l == mark).unwrap_or_else(|| panic!("{mark} is missing")) + 1;
        let len = text.lines().skip(begin).position(|l| l == "<!-- end of table -->").expect("a table ends");
        claims.push(Claim { lines: begin..begin + len, wanted, about: format!("the table of {name}") });
    }
}

#[test]
fn what_is_shown_is_what_happens() {
    let text = readme();
    let blocks = blocks(&text);
    let mut claims = Vec::new();
    first_command(&blocks, &mut claims);
    shown_outputs(&blocks, &mut claims);
    tables(&text, &mut claims);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut wrong = Vec::new();
    claims.sort_by_key(|c| std::cmp::Reverse(c.lines.start));
    for claim in &claims {
        assert!(!claim.wanted.is_empty(), "{}: prints nothing", claim.about);
        if lines[claim.lines.clone()] != claim.wanted[..] {
            wrong.push(format!("line {}: {}", claim.lines.start + 1, claim.about));
            lines.splice(claim.lines.clone(), claim.wanted.iter().cloned());
        }
    }
    if wrong.is_empty() {
        return;
    }
    if std::env::var_os("UPDATE_README").is_some_and(|v| v == "1") {
        std::fs::write(root().join("README.md"), lines.join("\n") + "\n").expect("README.md can be written");
        return;
    }
    panic!("the README shows something else than what happens (UPDATE_README=1 cargo test --test readme writes it):\n{}", wrong.join("\n"));
}

/// Every `tamperscope …` that a reader might copy is understood by the program.
#[test]
fn every_command_is_one() {
    let mut seen = 0;
    for block in blocks(&readme()).iter().filter(|b| matches!(b.lang.as_str(), "sh" | "console" | "yaml")) {
        for (i, line) in block.lines.iter().enumerate() {
            let line = line.split(" #").next().unwrap_or_default().trim_end();
            let Some((_, args)) = line.split_once("tamperscope ") else { continue };
            let args = args.split(" | ").next().unwrap_or_default();
            if let Err(e) = Cli::try_parse_from(std::iter::once("tamperscope").chain(args.split_whitespace())) {
                panic!("line {}: {line}\n{e}", block.at + i + 1);
            }
            seen += 1;
        }
    }
    assert!(seen > 8, "only {seen} commands");
}

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a scratch directory");
    dir
}

#[test]
fn the_example_files_work() {
    let text = readme();
    let tomls: Vec<String> = blocks(&text).iter().filter(|b| b.lang == "toml").map(|b| b.lines.join("\n")).collect();
    let [services, case] = tomls.as_slice() else { panic!("two examples in TOML, not {}", tomls.len()) };
    let dir = scratch("services");
    std::fs::write(dir.join("mine.toml"), services).expect("the example can be written");
    let (known, warnings) = engine::services(&[dir.join("mine.toml")]).unwrap_or_else(|e| panic!("{e}"));
    assert!(known.iter().any(|s| &*s.id == "example") && warnings.is_empty(), "{warnings:?}");
    let dir = scratch("case");
    std::fs::write(dir.join("case.toml"), case).expect("the example can be written");
    std::fs::copy(root().join("fixtures/cases/rst-on-path-tls/in.pcap"), dir.join("in.pcap")).expect("the capture is there");
    let report = verify::run_cases(&[dir], &verify::Options::default());
    assert_eq!(report.exit(), 0, "{}", report.text(false));
}

#[test]
fn links_lead_somewhere() {
    for (i, line) in readme().lines().enumerate() {
        for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|t| !t.contains("://")) {
            assert!(root().join(target).exists(), "line {}: {target} does not exist", i + 1);
        }
    }
}

/// `.ci/run` takes the commands a newcomer types from here.
#[test]
fn the_commands_for_ci_are_marked() {
    let text = readme();
    let ci = std::fs::read_to_string(root().join(".ci/run")).expect(".ci/run can be read");
    for name in ["first", "tests"] {
        let marked: Vec<Block> = blocks(&text).into_iter().filter(|b| b.before == format!("<!-- ci: {name} -->")).collect();
        assert!(marked.len() == 1 && marked[0].lang == "sh" && marked[0].lines.len() == 1, "{name}");
        assert!(ci.contains(&format!("$(readme {name})")), "{name}");
    }
}
