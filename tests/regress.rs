//! What was wrong once. Each test says what a user saw.
#![allow(missing_docs)]

use assert_cmd::Command;

fn tamperscope() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tamperscope"))
}

/// The error about standard input named it twice: `-: - is not a capture`.
#[test]
fn a_source_that_fails_is_named_once() {
    let out = tamperscope().arg("-").write_stdin("some words").output().unwrap();
    let says = String::from_utf8_lossy(&out.stderr);
    assert!(says.starts_with("tamperscope: standard input: not a capture: it looks like a text file;"), "{says}");
    let out = tamperscope().args(["--json", "nowhere.pcap"]).output().unwrap();
    let says = String::from_utf8_lossy(&out.stderr);
    assert_eq!(says, "tamperscope: nowhere.pcap: no such file; check the spelling of the path\n");
    let json = String::from_utf8_lossy(&out.stdout);
    assert!(json.contains(r#""failed_sources":[{"path":"nowhere.pcap","why":"no such file; check the spelling of the path"}]"#), "{json}");
}

/// At 80 columns the title of a finding lost the name of its target.
#[test]
fn a_findings_title_keeps_its_target() {
    let out = tamperscope().arg("fixtures/cases/rst-on-path-tls").env("LC_ALL", "C.UTF-8").env("COLUMNS", "80").output().unwrap();
    let says = String::from_utf8_lossy(&out.stdout);
    assert!(says.contains("rst_injection (on_path) on telegram web (web.telegram.org)"), "{says}");
    assert!(says.lines().all(|l| l.chars().count() <= 80), "{says}");
}

/// `run` said nothing about options and rules, so two files could not be told to be comparable.
#[test]
fn a_run_names_the_options_and_rules_that_shape_it() {
    let run = |args: &[&str]| -> serde_json::Value {
        let out = tamperscope().args(["--json", "fixtures/cases/empty"]).args(args).output().unwrap();
        serde_json::from_slice(out.stdout.split(|&b| b == b'\n').next().unwrap()).unwrap()
    };
    let plain = run(&["-j", "3"]);
    assert_eq!(plain["args"], serde_json::json!(["--max-flows 1000000", "--max-memory 4294967296", "--max-drop 1"]));
    let hash = plain["rules_sha256"].as_str().unwrap().to_owned();
    assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
    let own = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("own-services.toml");
    std::fs::write(
        &own,
        "schema = 1\n[[service]]\nid = 'own'\ntitle = 'Own'\ncategory = 'other'\nupdated = '2026-01-01'\n[[service.domain]]\nsuffix = ['own.example']\nsource = 'test'\n",
    )
    .unwrap();
    let more = run(&["--services", own.to_str().unwrap(), "-c", "5", "--fail-on", "likely", "--max-memory", "1G"]);
    assert_eq!(
        more["args"],
        serde_json::json!([
            "--max-flows 1000000",
            "--max-memory 1073741824",
            "-c 5",
            "--fail-on likely",
            "--max-drop 1",
            "--services own-services.toml"
        ])
    );
    assert_ne!(more["rules_sha256"], hash);
    assert_eq!(run(&[])["rules_sha256"], hash);
}
