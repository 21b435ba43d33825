//! `-f` with files, as tcpdump's users know it.
#![allow(missing_docs)]
#![cfg(feature = "live")]

use assert_cmd::Command;
use serde_json::Value;

fn run(args: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let out = Command::cargo_bin("tamperscope").unwrap().args(args).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let records = text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    (out.status.code(), records, String::from_utf8(out.stderr).unwrap())
}

fn flows(records: &[Value]) -> Vec<&Value> {
    records.iter().filter(|r| r["type"] == "flow").collect()
}

#[test]
fn frames_of_a_file_are_chosen_and_keep_their_numbers() {
    const CASE: &str = "fixtures/cases/rst-on-path-tls/in.pcap";
    let (_, all, _) = run(&["--json", CASE]);
    for workers in ["1", "3"] {
        let (code, some, _) = run(&["--json", "-j", workers, "-r", CASE, "-f", "host 149.154.167.99"]);
        assert_eq!(code, Some(0));
        let there: Vec<&Value> = flows(&all).into_iter().filter(|f| f["server"]["ip"] == "149.154.167.99").collect();
        let ends =
            |of: &[&Value]| -> Vec<String> { of.iter().map(|f| format!("{} {} {}", f["id"], f["first_frame"], f["last_frame"])).collect() };
        assert_eq!(ends(&flows(&some)), ends(&there));
        assert_eq!(flows(&some).len(), 2);
        let source = some.iter().find(|r| r["type"] == "source").unwrap();
        let within: u64 = there.iter().map(|f| f["packets"]["c2s"].as_u64().unwrap() + f["packets"]["s2c"].as_u64().unwrap()).sum();
        assert_eq!(source["packets"].as_u64().unwrap() - source["filtered"].as_u64().unwrap(), within, "{source}");
        let run = some.iter().find(|r| r["type"] == "run").unwrap();
        assert!(run["args"].as_array().unwrap().iter().any(|a| a == "-f host 149.154.167.99"), "{run}");
    }
    // Nothing left is no failure; words that are no filter are.
    assert_eq!(run(&["--json", "-f", "port 1", CASE]).0, Some(0));
    let (code, _, said) = run(&["-f", "no such words", CASE]);
    assert!(code == Some(2) && said.contains("-f \"no such words\""), "{said}");
    let (code, _, said) = run(&["-f", "ether host 02:00:00:00:00:01", "fixtures/cases/link-raw"]);
    assert!(code == Some(3) && said.contains("does not fit link type 101"), "{said}");
}

#[test]
fn every_link_type_gets_a_program_of_its_own() {
    for case in ["link-raw", "link-sll", "link-sll2", "link-radiotap", "link-null", "link-loop", "link-ppp", "pcapng-sections"] {
        let path = format!("fixtures/cases/{case}");
        let (_, all, _) = run(&["--json", &path]);
        let (_, some, _) = run(&["--json", "-f", "tcp port 443", &path]);
        let wanted = flows(&all).iter().filter(|f| f["proto"] == "tcp" && f["server"]["port"] == 443).count();
        assert!(wanted > 0 && flows(&some).len() == wanted, "{case}: {} of {wanted}", flows(&some).len());
    }
}
