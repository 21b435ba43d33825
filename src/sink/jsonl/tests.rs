//! Records fit the schema and say what the contract asks.

use super::*;
use crate::model::story::AppState;
use crate::sink::output::Memory;
use crate::sink::{check, sample, schema, text};
use serde_json::{Value, json};

fn lines() -> (String, Vec<Value>) {
    let out = Memory::default();
    let mut sink = Jsonl::new(out.clone()).relative_to(Path::new("cases"));
    let run = RunInfo { version: "0.1.0", args_shown: vec!["--max-flows 10".into()], ..RunInfo::default() };
    sink.begin(&run).unwrap();
    let app = AppState { name: sample::HOSTILE.into(), attempts: 3, ok: 1, failed: 2, flows: 3, ..AppState::default() };
    sink.story(&Story { apps: vec![app], ..sample::story() }).unwrap();
    sink.failed("cases/gone.pcap", "no such file").unwrap();
    let mut end = sample::end();
    end.failed_sources.push(("cases/gone.pcap".into(), "no such file".into()));
    sink.finish(&end).unwrap();
    let text = String::from_utf8(out.take()).unwrap();
    let values = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    (text, values)
}

#[test]
fn every_line_fits_the_schema() {
    let (_, values) = lines();
    for v in &values {
        let mut errors = Vec::new();
        check::errors(v, &schema::record(v["type"].as_str().unwrap()), "", &mut errors);
        assert!(errors.is_empty(), "{errors:#?}");
    }
    let mut types: Vec<_> = values.iter().map(|v| v["type"].as_str().unwrap()).collect();
    types.dedup();
    assert_eq!(types, ["run", "source", "flow", "finding", "service", "app", "source", "end"]);
    assert_eq!(schema::document()["oneOf"].as_array().unwrap().len(), schema::TYPES.len());
}

#[test]
fn type_comes_first_and_nothing_acts_on_a_terminal() {
    let (text, _) = lines();
    for line in text.lines() {
        assert!(line.starts_with("{\"type\":\"") && line.contains("\",\"schema\":\"tamperscope/1\""), "{line}");
        assert!(!line.chars().any(text::treacherous), "{line}");
    }
}

#[test]
fn a_flow_says_what_the_contract_asks() {
    let (_, values) = lines();
    let flow = values.iter().find(|v| v["type"] == "flow").unwrap();
    assert_eq!(flow["id"], "s0f1");
    assert_eq!(flow["first_ts"], "2023-11-14T22:13:20.000000000Z");
    assert_eq!(flow["first_ts_ns"], 1_700_000_000_000_000_000i64);
    assert_eq!(flow["server"], json!({"ip": "149.154.167.99", "port": 443}));
    assert_eq!(flow["bytes"], json!({"c2s": 900, "s2c": 900}));
    assert_eq!(flow["goodput"], json!({"c2s_bps": 16_000, "s2c_bps": 0}));
    assert_eq!(flow["rtt_ms"], 38.5);
    assert_eq!(flow["app"], "tls");
    assert_eq!(flow["ech"], "grease");
    assert_eq!(flow["sni_decoys"], json!(["www.example.org"]));
    assert_eq!(flow["names"]["dns"], json!(["web.telegram.org"]));
    assert_eq!(flow["outcome"], "reset");
    assert_eq!(flow["service"]["id"], "telegram");
    let dns = &values.iter().filter(|v| v["type"] == "flow").nth(1).unwrap();
    assert_eq!((&dns["names"]["qname"], &dns["history"]), (&json!(sample::HOSTILE), &json!("Dd")));
}

#[test]
fn a_finding_leads_to_its_packets() {
    let (_, values) = lines();
    let finding = values.iter().find(|v| v["type"] == "finding").unwrap();
    assert_eq!(finding["flows"][0]["flow_id"], "s0f1");
    assert_eq!(finding["wireshark_filter"], "frame.number in {9, 11, 14}");
    assert_eq!(
        finding["wireshark_flow_filter"],
        "ip.addr == 192.168.1.2 && ip.addr == 149.154.167.99 && tcp.port == 40001 && tcp.port == 443"
    );
    assert_eq!(finding["ooni_failure"], "connection_reset");
}

#[test]
fn paths_below_the_base_lose_it_and_totals_count_lines() {
    let (_, values) = lines();
    let source = values.iter().find(|v| v["type"] == "source").unwrap();
    assert_eq!(source["path"], format!("{}.pcap", sample::HOSTILE));
    let end = values.last().unwrap();
    assert_eq!(end["totals"], json!({"source": 2, "flow": 4, "finding": 2, "service": 4, "app": 1, "packets": 1230}));
    assert_eq!(end["failed_sources"], json!([{"path": "gone.pcap", "why": "no such file"}]));
}
