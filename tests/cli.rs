//! The program as its users meet it: exit codes, what goes to which stream, and what never reaches a terminal.
#![allow(missing_docs)]

#[path = "../src/sink/check.rs"]
mod check;
mod support;

use serde_json::Value;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use support::ladder::Conv;
use support::pcap::Pcap;
use support::say::{self, Hello};
use support::{cases, wrap::Link};
use tamperscope::engine;
use tamperscope::sink::{schema, text};

/// The program, with a terminal's usual environment and none of ours.
fn tamperscope(args: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_tamperscope"));
    c.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).env_clear().env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    c
}

fn run(args: &[&str]) -> Output {
    tamperscope(args).output().unwrap()
}

fn exit(args: &[&str]) -> Option<i32> {
    run(args).status.code()
}

fn stdout(args: &[&str]) -> String {
    let out = run(args);
    assert!(out.status.success(), "{args:?}: {} {}", out.status, String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// The path of a case's capture.
fn case(name: &str) -> String {
    cases::input(&cases::root().join(name)).to_str().unwrap().to_owned()
}

fn records(jsonl: &[u8]) -> Vec<Value> {
    jsonl
        .split(|&b| b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(l))))
        .collect()
}

/// An empty directory of this test's own.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn shell(line: &str) {
    assert!(Command::new("sh").args(["-c", line]).status().unwrap().success(), "{line}");
}

/// Runs the program with `bytes` on its standard input.
fn fed(args: &[&str], bytes: &[u8]) -> Output {
    let mut child = tamperscope(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    // It may end without reading everything.
    let writer = std::thread::spawn(move || drop(input.write_all(&bytes)));
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap();
    out
}

/// A TLS conversation of a client with a server of this name, on Ethernet.
fn conversation(name: &str) -> Vec<u8> {
    let mut conv = Conv::new("192.168.1.23:40123", "203.0.113.9:443");
    conv.handshake().c2s(&Hello::to(name).record()).ack_from_server();
    conv.s2c(&say::server_flight(3, 2300)).ack().after_ms(300).close();
    let frames: Vec<_> = conv.done().iter().map(|s| s.on(Link::Ethernet)).collect();
    Pcap::of(Link::Ethernet.number()).write(&frames)
}

// Exit codes.

#[test]
fn finished_is_0() {
    for name in ["link-ethernet", "empty", "rst-on-path-tls"] {
        assert_eq!(exit(&[&case(name)]), Some(0), "{name}");
    }
}

#[test]
fn a_finding_at_or_above_the_grade_is_1() {
    let likely = case("sni-hello-dropped");
    for (grade, code) in [("possible", 1), ("likely", 1), ("confirmed", 0)] {
        assert_eq!(exit(&["--fail-on", grade, &likely]), Some(code), "{grade}");
    }
    // 1 wins over 4.
    let (damaged, confirmed) = (case("damaged-truncated"), case("rst-on-path-tls"));
    assert_eq!(exit(&[&damaged, &confirmed]), Some(4));
    let out = run(&["--json", "--fail-on", "confirmed", &damaged, &confirmed]);
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(records(&out.stdout).last().unwrap()["exit"], 1);
}

#[test]
fn wrong_usage_is_2_and_says_what_to_do() {
    for (args, says) in [
        (&["--no-such-option"][..], "--no-such-option"),
        (&[][..], "no capture given"),
        (&["--out", "pdf=x", "a.pcap"], "unknown kind pdf"),
        (&["--fail-on", "maybe", "a.pcap"], "possible"),
        (&["explain", "tcp.rst.injectd"], "did you mean tcp.rst.injected?"),
        (&["verify", "src/model"], "no case.toml"),
    ] {
        let out = run(args);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        let all = said(&out) + &String::from_utf8_lossy(&out.stdout);
        assert!(all.contains(says), "{args:?}: {all}");
    }
}

#[test]
fn nothing_analysable_is_3_and_names_the_cause() {
    let dir = scratch("nothing");
    let file = |name: &str, bytes: &[u8]| {
        std::fs::write(dir.join(name), bytes).unwrap();
        dir.join(name).to_str().unwrap().to_owned()
    };
    let mut strange = Pcap::of(147);
    strange.nanos = true;
    let frames: Vec<_> = (0..3).map(|i| support::pcap::Rec::new(i, vec![0xff; 60])).collect();
    let strange = file("strange.pcap", &strange.write(&frames));
    for (path, says) in [
        ("gone.pcap", "no such file"),
        (case("not-a-capture").as_str(), "not a capture"),
        (file("zero", b"").as_str(), "an empty file"),
        (file("zip", b"PK\x03\x04rest of it").as_str(), "unpack it"),
        (strange.as_str(), "link type 147"),
    ] {
        let out = run(&[path]);
        assert_eq!(out.status.code(), Some(3), "{path}");
        assert!(said(&out).contains(says), "{path}: {}", said(&out));
    }
}

#[test]
fn damaged_input_is_4_and_the_rest_is_analysed() {
    let out = run(&["--json", &case("damaged-truncated")]);
    assert_eq!(out.status.code(), Some(4));
    assert!(said(&out).contains("damaged"), "{}", said(&out));
    let all = records(&out.stdout);
    assert!(all.iter().any(|r| r["type"] == "flow"));
    assert_eq!(all.last().unwrap()["exit"], 4);
    // One good source among bad ones is degraded, not nothing.
    assert_eq!(exit(&[&case("link-ethernet"), "gone.pcap"]), Some(4));
}

#[test]
fn a_closed_pipe_is_0() {
    for args in [&["--json", "-"][..], &["-"], &["-v", "-"]] {
        let mut child = tamperscope(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Nobody reads any more before the first byte is there to be read.
        drop(child.stdout.take());
        child.stdin.take().unwrap().write_all(&conversation("example.org")).unwrap();
        let out = child.wait_with_output().unwrap();
        assert_eq!((out.status.code(), said(&out)), (Some(0), String::new()), "{args:?}");
    }
}

/// Feeds packets without end until the program has taken some of them, sends it a signal, and returns what it left behind.
fn interrupted(args: &[&str], signal: &str) -> Output {
    let mut child: Child = tamperscope(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let file = conversation("example.org");
    let (head, records) = file.split_at(24);
    input.write_all(head).unwrap();
    // More than a pipe holds: it is at work, and listens to signals.
    for _ in 0..200 {
        input.write_all(records).unwrap();
    }
    shell(&format!("kill -{signal} {}", child.id()));
    let records = records.to_vec();
    let writer = std::thread::spawn(move || while input.write_all(&records).is_ok() {});
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap();
    out
}

#[test]
fn a_signal_ends_the_run_after_a_clean_flush() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let out = interrupted(&["--json", "-"], signal);
        assert_eq!(out.status.code(), Some(code), "{signal}: {}", said(&out));
        let all = records(&out.stdout);
        let end = all.last().unwrap();
        assert_eq!((&end["type"], &end["interrupted"], &end["exit"]), (&"end".into(), &true.into(), &code.into()));
        assert!(all.iter().any(|r| r["type"] == "flow"), "{signal}");
        let out = interrupted(&["-"], signal);
        assert!(String::from_utf8_lossy(&out.stdout).contains("Interrupted: this is what was read until then."));
    }
}

// What goes in and out.

#[test]
fn json_goes_to_standard_output_and_nothing_else_does() {
    let mut files: Vec<String> = cases::all().iter().map(|c| cases::input(c).to_str().unwrap().to_owned()).collect();
    files.push("gone.pcap".into());
    let mut args = vec!["--json", "--color", "always", "-v"];
    args.extend(files.iter().map(String::as_str));
    let out = run(&args);
    assert!(out.stdout.ends_with(b"\n"));
    for line in out.stdout.strip_suffix(b"\n").unwrap().split(|&b| b == b'\n') {
        assert!(line.starts_with(b"{\"type\":\"") && line.ends_with(b"}"), "{}", String::from_utf8_lossy(line));
    }
    assert!(said(&out).contains("gone.pcap: no such file"));
}

#[test]
fn every_record_of_every_fixture_fits_the_schema() {
    let schemas: Vec<(&str, Value)> = schema::TYPES.iter().map(|t| (*t, schema::record(t))).collect();
    let mut seen: Vec<String> = Vec::new();
    for c in cases::all() {
        let out = run(&["--json", cases::input(&c).to_str().unwrap()]);
        let all = records(&out.stdout);
        assert_eq!((&all[0]["type"], &all[all.len() - 1]["type"]), (&"run".into(), &"end".into()), "{}", c.display());
        for record in &all {
            let kind = record["type"].as_str().unwrap();
            let (_, fits) = schemas.iter().find(|s| s.0 == kind).unwrap_or_else(|| panic!("{}: type {kind}", c.display()));
            let mut errors = Vec::new();
            check::errors(record, fits, "", &mut errors);
            assert!(errors.is_empty(), "{}: {errors:#?}", c.display());
            seen.push(kind.to_owned());
        }
        let end = &all[all.len() - 1];
        assert_eq!(end["exit"].as_i64(), out.status.code().map(i64::from), "{}", c.display());
        for kind in ["source", "flow", "finding", "service"] {
            let n = all.iter().filter(|r| r["type"] == kind).count();
            assert_eq!(end["totals"][kind], n, "{} {kind}", c.display());
        }
    }
    // `stats` comes from live captures only, `pair` from two: tests/live.rs and tests/pair.rs hold them to the schema.
    assert!(
        schema::TYPES.iter().all(|t| ["stats", "pair"].contains(t) || seen.iter().any(|s| s == t)),
        "the fixtures do not show every type of record"
    );
}

#[test]
fn standard_input_and_pipes_read_like_files() {
    // Not the source's own record, which names the path.
    let same = |out: &Output| -> Vec<Value> { records(&out.stdout).into_iter().filter(|r| r["type"] != "source").collect() };
    for name in ["rst-on-path-tls", "gzip", "pcapng-sections"] {
        let path = case(name);
        let file = same(&run(&["--json", &path]));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(same(&fed(&["--json", "-"], &bytes)), file, "{name} on standard input");
        assert_eq!(same(&fed(&["--json", "-r", "-"], &bytes)), file, "{name} with -r -");
        let fifo = scratch(&format!("fifo-{name}")).join("pipe");
        shell(&format!("mkfifo '{}'", fifo.display()));
        let child = tamperscope(&["--json", fifo.to_str().unwrap()]).stdout(Stdio::piped()).spawn().unwrap();
        std::fs::write(&fifo, &bytes).unwrap();
        assert_eq!(same(&child.wait_with_output().unwrap()), file, "{name} through a FIFO");
    }
}

#[test]
fn a_directory_is_read_in_name_order() {
    let dir = scratch("order");
    std::fs::create_dir(dir.join("b")).unwrap();
    for name in ["c.pcap", "a-without-extension", "b/z.pcap"] {
        std::fs::copy(case("link-ethernet"), dir.join(name)).unwrap();
    }
    std::fs::write(dir.join("notes.txt"), "not a capture").unwrap();
    let out = run(&["--json", dir.to_str().unwrap()]);
    let sources: Vec<String> = records(&out.stdout)
        .iter()
        .filter(|r| r["type"] == "source")
        .map(|r| Path::new(r["path"].as_str().unwrap()).strip_prefix(&dir).unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(sources, ["a-without-extension", "b/z.pcap", "c.pcap"]);
}

#[test]
fn an_output_file_holds_what_json_prints() {
    let dir = scratch("out");
    let path = dir.join("x.jsonl");
    let out = run(&["--out", &format!("jsonl={}", path.display()), &case("rst-on-path-tls")]);
    assert!(String::from_utf8_lossy(&out.stdout).contains("2 findings"), "people still get their verdict");
    let written = std::fs::read(&path).unwrap();
    assert_eq!(written, run(&["--json", &case("rst-on-path-tls")]).stdout);
    assert_eq!(written, run(&["--out", "jsonl=-", &case("rst-on-path-tls")]).stdout);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "no draft is left");
}

#[test]
fn a_wrong_service_file_is_named_with_line_and_key() {
    let dir = scratch("services");
    let path = dir.join("mine.toml");
    let begin = "schema = 1\n\n[[service]]\nid = \"mine\"\ntitle = \"Mine\"\ncategory = \"messenger\"\nupdated = \"2026-01-01\"\n\n[[service.domain]]\n";
    for (rule, says) in [
        ("sufix = [\"mine.example\"]\n", "mine.toml:10: domain[1]: unknown key `sufix` (did you mean `suffix`?)"),
        ("suffix = [\"mine.example\"]\ndb = \"much\"\nsource = \"test\"\n", "mine.toml:11: domain[1].db:"),
        ("suffix = [\"mine.example\"\n", "mine.toml:1"),
    ] {
        std::fs::write(&path, format!("{begin}{rule}")).unwrap();
        let file = path.to_str().unwrap();
        for args in [&["--services", file, "a.pcap"][..], &["rules", "check", file], &["rules", "--services", file]] {
            let out = run(args);
            assert_eq!(out.status.code(), Some(2), "{args:?}");
            assert!(said(&out).contains(says), "{args:?}: {}", said(&out));
        }
    }
    std::fs::write(&path, format!("{begin}suffix = [\"mine.example\"]\nsource = \"test\"\n")).unwrap();
    let capture = dir.join("in.pcap");
    std::fs::write(&capture, conversation("chat.mine.example")).unwrap();
    let out = run(&["--json", "--services", path.to_str().unwrap(), capture.to_str().unwrap()]);
    let flow = records(&out.stdout).into_iter().find(|r| r["type"] == "flow").unwrap();
    assert_eq!(flow["service"]["id"], "mine");
    let out = run(&["--services", "gone.toml", capture.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(2));
    assert!(said(&out).contains("gone.toml"));
}

#[test]
fn rules_check_tells_what_is_wrong_with_a_service_file() {
    let path = scratch("rules-check").join("mine.toml");
    let service = "schema = 1\n[[service]]\nid = \"mine\"\ntitle = \"Mine\"\ncategory = \"messenger\"\nupdated = \"2026-01-01\"\n";
    let name = "[[service.domain]]\nsuffix = \"mine.example\"\nsource = \"test\"\n";
    let check = |rules: &str| {
        std::fs::write(&path, format!("{service}{rules}")).unwrap();
        let out = run(&["rules", "check", path.to_str().unwrap()]);
        (out.status.code(), said(&out))
    };
    assert_eq!(check(name), (Some(0), String::new()));
    // A range that another service claims for itself alone: once, though that one does so in two rules.
    let (exit, says) = check(&format!("{name}[[service.cidr]]\nnet = \"149.154.167.0/24\"\nsource = \"test\"\n"));
    let claims = "mine claims 149.154.167.0/24 for itself alone, but telegram claims 149.154.160.0/20";
    assert_eq!((exit, says.matches(claims).count()), (Some(0), 1), "{says}");
    // A rule that nothing can meet: a heavier one of the same name stands before it.
    let (exit, says) = check(&format!("{name}{name}db = 3\n"));
    assert!(exit == Some(0) && says.contains("mine: domain[2] (mine.example) does not match a flow made for it"), "{says}");
    let (exit, says) = check(&format!("{name}dbs = 3\n"));
    assert!(exit == Some(2) && says.contains("unknown key `dbs` (did you mean `db`?)"), "{says}");
}

#[test]
fn colours_follow_option_and_environment() {
    let path = case("rst-on-path-tls");
    let colored = |args: &[&str], vars: &[(&str, &str)]| {
        let out = tamperscope(args).arg(&path).envs(vars.iter().copied()).output().unwrap();
        out.stdout.contains(&0x1b)
    };
    assert!(!colored(&[], &[]), "not into a pipe");
    assert!(colored(&["--color", "always"], &[]));
    assert!(colored(&["--color", "always"], &[("NO_COLOR", "1")]), "the option wins");
    assert!(colored(&[], &[("CLICOLOR_FORCE", "1")]));
    assert!(!colored(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(colored(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "")]), "an empty NO_COLOR is none");
    assert!(!colored(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]));
}

/// Names that clear the screen, set the window's title, fake a line and reverse text.
const HOSTILE: [&str; 4] = [
    "\x1b[2J\x1b[1;1Hcleared.example",
    "a\u{9b}31m\u{202e}elpmaxe\u{2066}.example",
    "\x1b]0;title\x07.example",
    "fake\r\n✓ all is well.example",
];

#[test]
fn a_hostile_name_never_acts_on_the_terminal() {
    let dir = scratch("hostile");
    for (i, name) in HOSTILE.iter().enumerate() {
        // A reset after the hello, so that the name is worth a finding.
        let mut frames = Vec::new();
        for port in [40_001, 40_002, 40_003] {
            let mut conv = Conv::new(&format!("192.168.1.23:{port}"), "203.0.113.9:443").at_ms(i64::from(port - 40_000) * 2000);
            conv.handshake().c2s(&Hello::to(name).record());
            conv.forged_from_server(|p| p.ttl(107)).after_ms(40);
            conv.s2c(&say::server_flight(3, 2300));
            frames.extend(conv.done().iter().map(|s| s.on(Link::Ethernet)));
        }
        let path = dir.join(format!("{i}.pcap"));
        std::fs::write(&path, Pcap::of(1).write(&frames)).unwrap();
        let path = path.to_str().unwrap();
        for args in [&[path][..], &["-v", path], &["--color", "always", "-v", path], &["--json", path]] {
            let out = run(args);
            let mut text = String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap();
            for code in [0, 1, 2, 31, 32, 33] {
                text = text.replace(&format!("\x1b[{code}m"), "");
            }
            assert!(!text.chars().any(|c| c != '\n' && text::treacherous(c)), "{args:?}: {text}");
            assert!(!text.lines().any(|l| l.starts_with("✓ all is well")), "{args:?}: {text}");
            assert!(text.contains("example"), "{args:?} does not tell of the name at all: {text}");
        }
    }
}

// The other commands.

#[test]
fn every_rule_can_be_explained() {
    for card in engine::cards() {
        let page = stdout(&["explain", card.rule]);
        assert!(page.starts_with(&format!("{}\n===", card.rule)), "{page}");
        for part in ["What it claims", "What it looks like", "Innocent causes", "How to confirm it", "Sources"] {
            assert!(page.contains(part), "{}: {part} is missing", card.rule);
        }
        assert!(stdout(&["explain", card.kind.name()]).contains(&page), "{} by its kind", card.rule);
    }
}

#[test]
fn rules_lists_every_detector_and_service() {
    let list = stdout(&["rules"]);
    let begins = |name: &str| list.lines().any(|l| l.split_whitespace().next() == Some(name));
    for card in engine::cards() {
        assert!(begins(card.rule), "{}", card.rule);
    }
    let (services, _) = engine::services(&[]).unwrap();
    for id in services.iter().map(|s| &*s.id).chain(["whatsapp", "telegram", "signal", "max", "facetime", "imessage", "apns"]) {
        assert!(begins(id), "{id}");
    }
}

/// The unit starts what this program knows how to start.
#[cfg(feature = "live")]
#[test]
fn the_systemd_unit_has_options_that_exist() {
    use clap::Parser;
    let unit = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/tamperscope.service")).unwrap();
    let line = unit.lines().find_map(|l| l.strip_prefix("ExecStart=")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let cli = tamperscope::cli::Cli::try_parse_from(words).unwrap();
    assert!(matches!(cli.command, Some(tamperscope::cli::Command::Live(_))));
    for hardening in ["NoNewPrivileges=yes", "CapabilityBoundingSet=CAP_NET_RAW", "ProtectSystem=strict", "DynamicUser=yes"] {
        assert!(unit.lines().any(|l| l == hardening), "{hardening}");
    }
}

#[test]
fn schema_completions_man_and_version_are_printed() {
    let document: Value = serde_json::from_str(&stdout(&["schema"])).unwrap();
    assert_eq!(document["oneOf"].as_array().unwrap().len(), schema::TYPES.len());
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = stdout(&["completions", shell]);
        assert!(script.contains("tamperscope") && script.contains("fail-on"), "{shell}");
    }
    assert!(stdout(&["man"]).contains(".TH tamperscope"));
    assert_eq!(stdout(&["--version"]), format!("tamperscope {}\n", env!("CARGO_PKG_VERSION")));
    assert!(stdout(&["--help"]).contains("Exit status:"));
    assert!(stdout(&["doctor"]).contains("can be analysed"));
}

#[test]
fn verify_reports_for_people_junit_and_github() {
    let dir = scratch("verify");
    let write = |name: &str, toml: &str| {
        std::fs::create_dir(dir.join(name)).unwrap();
        std::fs::write(dir.join(name).join("case.toml"), toml).unwrap();
        std::fs::write(dir.join(name).join("in.pcap"), conversation("example.org")).unwrap();
    };
    write("good", "input = 'in.pcap'\nexit = 0\n[[forbid]]\ntype = 'finding'\n");
    let (root, junit) = (dir.to_str().unwrap(), dir.join("junit.xml"));
    assert_eq!(exit(&["verify", root]), Some(0));
    write("wrong", "input = 'in.pcap'\n[[expect]]\ntype = 'finding'\n");
    let summary = dir.join("summary.md");
    let mut command = tamperscope(&["verify", "--github", "--junit", junit.to_str().unwrap(), root]);
    let out = command.env("GITHUB_STEP_SUMMARY", &summary).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("2 cases: 1 passed, 1 failed") && text.contains("\n::error "), "{text}");
    assert!(std::fs::read_to_string(&junit).unwrap().contains("failures=\"1\""));
    let mut written = String::new();
    std::fs::File::open(&summary).unwrap().read_to_string(&mut written).unwrap();
    assert!(written.contains("wrong"), "{written}");
}

#[test]
fn what_people_read_keeps_to_the_width_of_their_terminal() {
    for columns in ["80", "100", "160"] {
        let out =
            tamperscope(&["-v", "--explain-labels", "--show-circumvention", "fixtures/cases"]).env("COLUMNS", columns).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(text.lines().count() > 1_000);
        for line in text.lines() {
            assert!(text::columns(line) <= columns.parse().unwrap(), "{columns}: {line}");
        }
        for many in [" 1 packets", " 1 flows", " 1 times", " 1 segments", " 1 connections", "(1 packets"] {
            assert!(!text.contains(many), "{many}");
        }
    }
}

/// The label of the flow was hidden, its protocol was not, and a tunnel's protocol is its name.
#[test]
fn verbose_lines_name_a_tunnel_only_if_asked_to() {
    let said = |args: &[&str]| {
        let out = tamperscope(args).arg("fixtures/cases/wireguard-cut").output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    assert!(said(&["-v", "--show-circumvention"]).contains(" wireguard "));
    let shy = said(&["-v"]);
    let flows: Vec<&str> = shy.lines().filter(|l| l.starts_with("  frame ")).collect();
    assert!(!flows.is_empty() && flows.iter().all(|l| !l.contains(" wireguard ")), "{shy}");
}
