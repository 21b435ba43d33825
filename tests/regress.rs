//! What was wrong once. Each test says what a user saw.
#![allow(missing_docs)]

mod support;

use assert_cmd::Command;
use serde_json::Value;
use support::ladder::{Conv, Sent, merge};
use support::pcap::Pcap;
use support::say::{self, Hello};
use support::wrap::Link;

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

/// What the program says of these packets, which seem to have been recorded at the client, as records.
fn analysed(packets: &[Sent]) -> Vec<Value> {
    let frames: Vec<_> = packets.iter().map(|s| s.on(Link::Ethernet)).collect();
    let capture = Pcap::of(1).write(&frames);
    let out = tamperscope().args(["--json", "-"]).write_stdin(capture).output().unwrap();
    out.stdout.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// A capture that met a connection in the middle of a recovery was said to have lost what was sent before it began, and what it showed was doubted.
#[test]
fn what_was_sent_before_a_capture_began_it_did_not_lose() {
    // A piece that the server had sent is missing; `after` seconds passed since the capture met the connection.
    let lost = |after: i64| {
        let mut conv = Conv::new("192.168.1.23:40000", "149.154.167.99:443").rtt_ms(20);
        conv.handshake().c2s(b"GET / HTTP/1.1\r\n\r\n").done();
        conv.s2c(&[1; 1_000]).ack().after_ms(after * 1_000);
        let mut packets = conv.done();
        conv.s2c(&[2; 1_000]).done();
        for n in 4..12 {
            conv.s2c(&[n; 1_000]).ack();
        }
        packets.extend(conv.done());
        let records = analysed(&packets);
        let source = records.iter().find(|r| r["type"] == "source").unwrap();
        source["quality"]["capture_loss"].as_f64().unwrap()
    };
    assert_eq!(lost(0), 0.0);
    assert!(lost(3) > 0.05, "what is missing later was lost");
}

/// A capture that had lost other packets had not seen the one that a server's reset acknowledged, and the reset was called forged.
#[test]
fn a_reset_that_acknowledges_what_a_lossy_capture_missed_is_no_forgery() {
    let forged = |lossy: bool| {
        let mut conv = Conv::new("192.168.1.23:40000", "149.154.167.99:443").rtt_ms(20);
        conv.handshake().c2s(&Hello::to("example.org").record()).s2c(&say::server_flight(1, 900)).ack();
        let mut packets = conv.done();
        for n in 0..12 {
            conv.s2c(&[n; 1_000]).ack();
            packets.extend(conv.done().into_iter().skip(usize::from(lossy && n == 5)));
        }
        conv.c2s(&[9; 300]).done();
        packets.extend(conv.rst_from_server(|reset| reset).done());
        analysed(&packets).iter().filter(|r| r["kind"] == "rst_injection").count()
    };
    assert_eq!(forged(false), 1, "nothing else was missed: the client never sent what the reset acknowledges");
    assert_eq!(forged(true), 0);
}

/// Long after a server had sent a piece it repeated it, and the client, which had it by then, aborted a moment later: too soon to answer the
/// repetition, so the abort was called forged, and confirmed.
#[test]
fn a_reset_that_answers_the_first_of_two_packets_is_not_too_early() {
    let forged = |repeated: bool| {
        let mut conv = Conv::new("192.168.1.23:40000", "149.154.167.99:443").rtt_ms(1).ttls(119, 64);
        conv.syn().syn_ack().after_ms(100).ack().c2s(&Hello::to("example.org").record());
        // So many that what follows is neither among the first packets of the flow nor among the last.
        for n in 0..40 {
            conv.s2c(&[n; 1_000]);
        }
        let mut packets = conv.s2c(&[77; 1_000]).done();
        let piece = packets.last().unwrap().clone();
        let acknowledges = conv.next(true, 0x10).ack;
        if repeated {
            for n in 0..60 {
                conv.s2c(&[n; 1_000]);
            }
            conv.after_ms(400);
            packets.extend(conv.done());
            packets.push(Sent { ts: conv.now, ..piece });
        }
        conv.after_ms(5).rst_from_client(|mut reset| {
            reset.ack = acknowledges;
            reset
        });
        packets.extend(conv.done());
        analysed(&packets).iter().filter(|r| r["kind"] == "rst_injection").count()
    };
    assert_eq!(forged(false), 1, "what was sent for the first time a moment before cannot be answered so soon");
    assert_eq!(forged(true), 0);
}

/// Two downloads from one server whose times lay decades apart were laid side by side second by second: the program took all memory and did not end.
#[test]
fn a_clock_that_leaps_by_decades_costs_nothing() {
    let download = |port: u16, at_ms: i64| {
        let mut conv = Conv::new(&format!("192.168.1.23:{port}"), "149.154.167.99:443").rtt_ms(20).at_ms(at_ms);
        conv.handshake().c2s(&Hello::to("web.telegram.org").record());
        for n in 0..120 {
            conv.s2c(&[n; 1_000]).ack().after_ms(100);
        }
        conv.done()
    };
    let mut packets = download(40_000, 0);
    packets.extend(download(40_001, 60 * 365 * 86_400_000));
    let records = analysed(&packets);
    assert_eq!(records.iter().filter(|r| r["type"] == "flow").count(), 2);
}

/// A server whose queue of new connections was full took no acknowledgement of its SYN+ACK and no message; that it repeated the SYN+ACK was
/// taken for proof that only the way to it was cut, and the name was called filtered.
#[test]
fn a_server_that_takes_no_new_connections_filters_no_name() {
    let server = "203.0.113.54:443";
    let fine = |port: u16, server: &str, name: &str, at_ms: i64| {
        let mut conv = Conv::new(&format!("192.168.1.23:{port}"), server).at_ms(at_ms);
        conv.handshake().c2s(&Hello::to(name).record()).s2c(&say::server_flight(u64::from(port), 900)).ack();
        for n in 0..8 {
            conv.after_ms(700).s2c(&[n; 500]).ack();
        }
        conv.close().done()
    };
    let grade = |later: bool| {
        let mut conv = Conv::new("192.168.1.23:40100", server).at_ms(1_000);
        let mut parts = vec![fine(40_000, server, "www.example.net", 0), fine(40_001, "198.51.100.54:443", "www.example.org", 500)];
        conv.syn().syn_ack();
        let answer = conv.ack().done();
        let again = answer[1].clone();
        parts.push(answer);
        conv.c2s(&Hello::to("chat.example.net").record());
        for wait in [300, 600, 1_200, 2_400] {
            conv.after_ms(wait).again();
        }
        parts.push(conv.done());
        parts.push(vec![Sent { ts: again.ts + 3_100_000_000, ..again }]);
        if later {
            parts.push(fine(40_200, server, "www.example.net", 2_500));
        }
        let found = analysed(&merge(parts));
        let found = found.iter().find(|r| r["kind"] == "sni_filtering").expect("a finding");
        let stands = found["innocent"].as_array().unwrap().iter().filter(|i| i["stands"] == true).count();
        (found["grade"].as_str().unwrap().to_owned(), stands)
    };
    assert_eq!(grade(false), ("possible".to_owned(), 1));
    assert_eq!(grade(true), ("likely".to_owned(), 0), "a connection that began later was taken");
}
