//! Slices: every finding of every case comes back from its slice, and nothing of other flows is in it.
#![allow(missing_docs)]

mod support;

use clap::Parser;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use support::{cases, tools};
use tamperscope::cli::{Cli, Command as Typed};
use tamperscope::engine::{self, Plan};
use tamperscope::sink::Sink;
use tamperscope::sink::jsonl::Jsonl;
use tamperscope::sink::output::Memory;
use tamperscope::slice;

fn analyse(input: &Path) -> Vec<Value> {
    let memory = Memory::default();
    let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(Jsonl::new(memory.clone()))];
    engine::run(&Plan { inputs: vec![input.to_owned()], workers: 2, ..Plan::default() }, &mut sinks).unwrap();
    String::from_utf8(memory.take()).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn of<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|r| r["type"] == kind).collect()
}

fn cut(input: &Path, id: &str, out: &Path, more: &[&str]) -> Result<slice::Sliced, slice::NoSlice> {
    let line = ["tamperscope", "slice", input.to_str().unwrap(), "--finding", id, "-o", out.to_str().unwrap(), "-j", "1"];
    let Some(Typed::Slice(args)) = Cli::try_parse_from(line.iter().chain(more)).unwrap().command else { panic!("{line:?}") };
    slice::run(&args)
}

/// What makes a finding the same in another capture: all but its times, frames and flows.
fn claim(f: &Value) -> String {
    let t = &f["target"];
    format!("{} {} {} {} {} {} {} {}", f["rule"], f["mechanism"], f["grade"], f["direction"], t["service"], t["sni"], t["host"], t["qname"])
}

#[test]
fn every_finding_comes_back_from_its_slice_and_no_other() {
    let dir = support::scratch("slice-again");
    let out = dir.join("slice.pcapng");
    let (mut cut_down, mut n) = (0, 0);
    for case in cases::all() {
        let input = cases::input(&case);
        let records = analyse(&input);
        let before: BTreeSet<String> = of(&records, "finding").into_iter().map(claim).collect();
        for f in of(&records, "finding") {
            let id = f["id"].as_str().unwrap();
            let sliced = cut(&input, id, &out, &[]).unwrap_or_else(|e| panic!("{}: {id}: {e}", case.display()));
            let again = analyse(&out);
            let after: BTreeSet<String> = of(&again, "finding").into_iter().map(claim).collect();
            assert!(after.contains(&claim(f)), "{}: {} is lost, left are {after:?}", case.display(), claim(f));
            assert!(after.is_subset(&before), "{}: {after:?} are more than {before:?}", case.display());
            assert_eq!(of(&again, "source")[0]["packets"].as_u64().unwrap(), sliced.frames as u64);
            cut_down += u64::from((sliced.frames as u64) < sliced.of);
            n += 1;
        }
    }
    assert!(n > 30 && cut_down > 5, "{n} findings, {cut_down} slices smaller than their capture");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_slice_holds_its_flows_and_no_other() {
    let dir = support::scratch("slice-flows");
    let out = dir.join("slice.pcapng");
    // Two clients, three services, one of them cut off.
    let input = cases::input(&cases::root().join("rst-on-path-tls"));
    let records = analyse(&input);
    let f = of(&records, "finding").into_iter().find(|f| f["rule"] == "tcp.rst.injected").unwrap();
    let id = f["id"].as_str().unwrap();
    let sliced = cut(&input, id, &out, &["--without-controls"]).unwrap();
    let mine: BTreeSet<String> = f["flows"].as_array().unwrap().iter().map(|x| format!("{} {}", x["client"], x["server"])).collect();
    let again = analyse(&out);
    let mut names = BTreeSet::new();
    for flow in of(&again, "flow") {
        let pair = format!("{} {}", flow["client"], flow["server"]);
        if flow["app"] == "dns" {
            names.insert(flow["names"]["qname"].as_str().unwrap().to_owned());
        } else {
            assert!(mine.contains(&pair), "{pair} does not belong to {mine:?}");
        }
    }
    let sni = f["target"]["sni"].as_str().unwrap();
    assert!(names.iter().all(|n| n == sni), "{names:?} beside {sni}");
    assert!((sliced.frames as u64) < sliced.of);
    // All packets of its flows are there.
    let whole = |records: &[Value]| -> Vec<(String, Value, Value)> {
        of(records, "flow")
            .into_iter()
            .map(|x| (format!("{} {}", x["client"], x["server"]), x["packets"].clone(), x["first_ts"].clone()))
            .filter(|x| mine.contains(&x.0))
            .collect()
    };
    assert_eq!(whole(&again), whole(&records));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn names_secrets_and_machines_of_the_original_stay_behind() {
    // A capture with everything that could tell more than the slice's flows.
    let dir = support::scratch("slice-privacy");
    let (input, out) = (dir.join("in.pcapng"), dir.join("slice.pcapng"));
    std::fs::write(&input, annotated_rst()).unwrap();
    let records = analyse(&input);
    let f = of(&records, "finding").into_iter().find(|f| f["rule"] == "tcp.rst.injected").unwrap();
    cut(&input, f["id"].as_str().unwrap(), &out, &[]).unwrap();
    let bytes = std::fs::read(&out).unwrap();
    for word in ["SECRET-HOST", "SECRET-IFACE", "SECRET-NAME", "CLIENT_RANDOM", "SECRET-COMMENT"] {
        assert!(std::fs::read(&input).unwrap().windows(word.len()).any(|w| w == word.as_bytes()), "{word} is in the original");
        assert!(!bytes.windows(word.len()).any(|w| w == word.as_bytes()), "{word} is in the slice");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// The reset case as pcapng, with names, keys, comments and a machine's name around its frames.
fn annotated_rst() -> Vec<u8> {
    use support::pcap::{Pcapng, Rec};
    let pcap = std::fs::read(cases::input(&cases::root().join("rst-on-path-tls"))).unwrap();
    let u32_at = |at: usize| u32::from_le_bytes(pcap[at..at + 4].try_into().unwrap());
    let nanos = u32_at(0) == 0xa1b2_3c4d;
    let mut ng = Pcapng::new();
    ng.section(false, Some("SECRET-HOST"));
    ng.interface(u32_at(20) as u16, "SECRET-IFACE", Some(9), None);
    ng.name([10, 0, 0, 9], "SECRET-NAME");
    let mut keys = b"KSLT".to_vec();
    let log = b"CLIENT_RANDOM 00 11\n";
    keys.extend((log.len() as u32).to_le_bytes());
    keys.extend(log);
    ng.block(10, keys);
    let mut at = 24;
    while at < pcap.len() {
        let (sec, frac, len) = (u32_at(at), u32_at(at + 4), u32_at(at + 8) as usize);
        let ts = i64::from(sec) * 1_000_000_000 + i64::from(frac) * if nanos { 1 } else { 1000 };
        ng.packet(0, &Rec::new(ts, pcap[at + 16..at + 16 + len].to_vec()), Some("SECRET-COMMENT"));
        at += 16 + len;
    }
    ng.finish()
}

#[test]
fn tshark_reads_the_slice_and_its_original_numbers() {
    let Some(tshark) = tools::find("tshark") else { return };
    let dir = support::scratch("slice-tshark");
    let out = dir.join("slice.pcapng");
    let input = cases::input(&cases::root().join("rst-on-path-tls"));
    let read = |file: &Path, fields: &[&str]| -> Vec<Vec<String>> {
        let mut c = Command::new(&tshark);
        c.arg("-n").arg("-r").arg(file).args(["-T", "fields", "-E", "separator=\x1f"]);
        for f in fields {
            c.args(["-e", f]);
        }
        let done = c.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().lines().map(|l| l.split('\x1f').map(str::to_owned).collect()).collect()
    };
    let records = analyse(&input);
    let id = of(&records, "finding")[0]["id"].as_str().unwrap();
    cut(&input, &id[..8], &out, &[]).unwrap();
    let whole = read(&input, &["frame.time_epoch", "frame.len", "ip.checksum"]);
    let slice = read(&out, &["frame.time_epoch", "frame.len", "ip.checksum", "frame.comment"]);
    assert!(!slice.is_empty() && slice.len() < whole.len());
    for line in slice {
        let number: usize = line[3].strip_prefix("frame ").and_then(|r| r.split(' ').next()).unwrap().parse().unwrap();
        assert_eq!(whole[number - 1], line[..3], "frame {number}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_cannot_be_sliced_is_said() {
    let dir = support::scratch("slice-errors");
    let out = dir.join("slice.pcapng");
    let rst = cases::input(&cases::root().join("rst-on-path-tls"));
    let clean = cases::input(&cases::root().join("clean-messengers"));
    let said = |input: &Path, id: &str| cut(input, id, &out, &[]).unwrap_err();
    assert!(said(&rst, "f_none").says.contains("no finding f_none in this capture; it has f_"));
    assert!(said(&rst, "f_").says.contains("several"));
    assert!(said(&clean, "f_1").says.contains("no findings"));
    assert!(said(Path::new("-"), "f_1").says.contains("read twice"));
    assert_eq!(said(Path::new("gone.pcap"), "f_1").exit, 3);
    assert!(!out.exists(), "nothing is left behind");
    std::fs::remove_dir_all(&dir).unwrap();
}
