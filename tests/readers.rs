//! Consumers that are not ours read the records: a JSON Schema validator the JSON Lines of every case, DuckDB the questions' answers and the Zeek log,
//! a reader of Zeek's logs the Zeek log of every case.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::{cases, tools};
use tamperscope::engine::{self, Plan};
use tamperscope::sink::jsonl::Jsonl;
use tamperscope::sink::output::Memory;
use tamperscope::sink::zeek::{COLUMNS, ConnLog};
use tamperscope::sink::{Sink, schema};

/// JSON Lines, `conn.log`, and `conn.log` as JSON of one capture.
fn analyse(input: &Path) -> [String; 3] {
    let out = [Memory::default(), Memory::default(), Memory::default()];
    let mut sinks: Vec<Box<dyn Sink>> = vec![
        Box::new(Jsonl::new(out[0].clone()).relative_to(Path::new(env!("CARGO_MANIFEST_DIR")))),
        Box::new(ConnLog::new(out[1].clone(), false)),
        Box::new(ConnLog::new(out[2].clone(), true)),
    ];
    engine::run(&Plan { inputs: vec![input.to_owned()], workers: 2, ..Plan::default() }, &mut sinks).unwrap();
    out.map(|m| String::from_utf8(m.take()).unwrap())
}

/// JSON Lines of a case of two captures.
fn pair(name: &str) -> String {
    let out = Memory::default();
    let inputs = ["a.pcap", "b.pcap"].map(|f| cases::root().join(name).join(f)).to_vec();
    engine::pair(&Plan { inputs, workers: 2, ..Plan::default() }, &mut [Box::new(Jsonl::new(out.clone())) as Box<dyn Sink>]).unwrap();
    String::from_utf8(out.take()).unwrap()
}

fn python(python: &Path, script: &str, args: &[&Path]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    Command::new(python).arg(script).args(args).output().unwrap()
}

fn said(out: &Output) -> String {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout.clone()).unwrap()
}

#[test]
fn every_record_of_every_case_fits_the_schema() {
    let Some(py) = tools::python("jsonschema") else { return };
    let dir = support::scratch("readers-schema");
    let (schema_file, records_file) = (dir.join("schema.json"), dir.join("records.jsonl"));
    std::fs::write(&schema_file, schema::document().to_string()).unwrap();
    let mut all = String::new();
    for case in cases::all() {
        all.push_str(&analyse(&cases::input(&case))[0]);
    }
    let cases = std::fs::read_dir(cases::root()).unwrap().map(|d| d.unwrap().file_name().into_string().unwrap());
    let pairs: Vec<String> = cases.filter(|n| n.starts_with("pair-")).collect();
    assert!(pairs.len() > 8, "{pairs:?}");
    pairs.iter().for_each(|name| all.push_str(&pair(name)));
    std::fs::write(&records_file, &all).unwrap();
    let count: Value = serde_json::from_str(&said(&python(&py, "validate.py", &[&schema_file, &records_file]))).unwrap();
    for kind in schema::TYPES {
        let lines = all.lines().filter(|l| l.starts_with(&format!("{{\"type\":\"{kind}\""))).count();
        assert_eq!(count[kind].as_u64().unwrap_or(0), lines as u64, "{kind}");
        assert!(lines > 0 || *kind == "stats", "no {kind} in any case");
    }
    // It can say no: a field too many, one too few, a word it does not know.
    let flow: Value = all.lines().find(|l| l.starts_with("{\"type\":\"flow\"")).map(|l| serde_json::from_str(l).unwrap()).unwrap();
    for spoil in [
        (|f: &mut Value| f["more"] = 1.into()) as fn(&mut Value),
        |f| drop(f.as_object_mut().unwrap().remove("outcome")),
        |f| f["outcome"] = "fine".into(),
        |f| f["packets"]["c2s"] = (-1).into(),
    ] {
        let mut spoiled = flow.clone();
        spoil(&mut spoiled);
        std::fs::write(&records_file, spoiled.to_string()).unwrap();
        assert!(!python(&py, "validate.py", &[&schema_file, &records_file]).status.success(), "{spoiled}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// The answers to the questions under `fixtures/queries`, asked of all cases named.
fn ask(py: &Path, dir: &Path, names: &[&str], questions: &[&str]) -> Vec<Vec<Value>> {
    for name in names {
        std::fs::write(dir.join(format!("{name}.jsonl")), &analyse(&cases::input(&cases::root().join(name)))[0]).unwrap();
    }
    let records = dir.join("*.jsonl");
    let queries = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/queries");
    let files: Vec<PathBuf> = std::iter::once(&"views").chain(questions).map(|q| queries.join(format!("{q}.sql"))).collect();
    let args: Vec<&Path> = std::iter::once(records.as_path()).chain(files.iter().map(PathBuf::as_path)).collect();
    let text = said(&python(py, "duck.py", &args));
    text.lines().skip(1).map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn duckdb_answers_the_usual_questions() {
    let Some(py) = tools::python("duckdb") else { return };
    let dir = support::scratch("readers-queries");
    let cases = ["rst-on-path-tls", "rst-triple-both-ways", "clean-messengers", "sni-hello-dropped", "throttle-policed", "link-pcapdroid"];
    let answers = ask(&py, &dir, &cases, &["by_service_and_hour", "reset_fingerprints", "bytes_at_death", "by_app"]);
    let [by_hour, resets, deaths, apps] = &answers[..] else { panic!("{answers:?}") };

    // What the service rows of the records say is what the question answers.
    let mut failed = 0;
    for row in by_hour {
        let n = |key: &str| row[key].as_u64().unwrap_or(0);
        assert_eq!(n("attempts"), n("ok") + n("failed"), "{row}");
        assert_eq!(row["failed_share"] == "insufficient", n("attempts") < 5, "{row}");
        assert!(row["witness"].is_null() || row["witness"] != row["service"], "{row}");
        failed += n("failed");
    }
    assert!(failed > 5, "{by_hour:?}");
    let hit = by_hour.iter().find(|r| r["surest_finding"].as_str().is_some_and(|s| s.starts_with("confirmed"))).unwrap();
    assert!(hit["witness_finding"].as_str().unwrap().starts_with("f_") && hit["witness_ok"].as_u64().unwrap() > 0, "{hit}");

    // The injector of rst-on-path-tls: TTL 55 above the server's, no don't-fragment bit.
    let injected = resets.iter().find(|r| r["ttl_off"] == 55 && r["df"] == false).unwrap_or_else(|| panic!("{resets:?}"));
    assert!(injected["on_confirmed_findings"].as_u64().unwrap() > 0, "{injected}");

    let n = |key: &str| deaths.iter().map(|r| r[key].as_u64().unwrap()).sum::<u64>();
    assert!(n("died") > 0 && n("well") > 0 && n("connections") >= n("died") + n("well"), "{deaths:?}");
    assert_eq!(apps.iter().map(|r| &r["app"]).collect::<Vec<_>>(), vec!["Telegram"; apps.len()]);
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Rows of `conn.log` as DuckDB reads it, and how many of them are the same in both forms.
fn rows_in_duckdb(py: &Path, dir: &Path, tsv: &str, json: &str) -> Output {
    let mut columns = String::new();
    for (name, kind) in COLUMNS {
        let sql = match kind {
            "time" | "interval" => "DOUBLE",
            "count" | "port" => "UBIGINT",
            "bool" => "BOOLEAN",
            _ => "VARCHAR",
        };
        let _ = write!(columns, "{}'{name}': '{sql}'", if columns.is_empty() { "" } else { ", " });
    }
    let (tsv_file, json_file, sql) = (dir.join("conn.log"), dir.join("conn.json"), dir.join("q.sql"));
    std::fs::write(&tsv_file, tsv).unwrap();
    std::fs::write(&json_file, json).unwrap();
    let same: Vec<String> = COLUMNS
        .iter()
        .filter(|(_, kind)| *kind != "set[string]")
        .map(|(name, kind)| match *kind {
            "time" | "interval" => {
                format!("coalesce(abs(t.\"{name}\" - j.\"{name}\") < 2e-6, t.\"{name}\" IS NULL AND j.\"{name}\" IS NULL)")
            }
            _ => format!("t.\"{name}\" IS NOT DISTINCT FROM j.\"{name}\""),
        })
        .collect();
    let read = format!(
        "CREATE OR REPLACE TABLE t AS FROM read_csv('{}', delim = '\\t', comment = '#', header = false, nullstr = '-', quote = '', escape = '', auto_detect = false, strict_mode = true, columns = {{{columns}}});
         CREATE OR REPLACE TABLE j AS FROM read_json('{}', format = 'newline_delimited', columns = {{{columns}}});
         SELECT (SELECT count(*) FROM t) AS rows, count(*) AS same FROM t JOIN j ON t.uid = j.uid WHERE {};",
        tsv_file.display(),
        json_file.display(),
        same.join(" AND ")
    );
    std::fs::write(&sql, read).unwrap();
    python(py, "duck.py", &[Path::new("none"), &sql])
}

/// A cell of the first row of `conn.log` written anew.
fn with_cell(tsv: &str, column: &str, to: &str) -> String {
    let at = COLUMNS.iter().position(|c| c.0 == column).unwrap();
    let mut lines: Vec<String> = tsv.lines().map(str::to_owned).collect();
    let row = lines.iter().position(|l| !l.starts_with('#')).unwrap();
    let mut cells: Vec<&str> = lines[row].split('\t').collect();
    cells[at] = to;
    lines[row] = cells.join("\t");
    lines.join("\n") + "\n"
}

#[test]
fn duckdb_reads_the_zeek_log_and_both_forms_agree() {
    let Some(py) = tools::python("duckdb") else { return };
    let dir = support::scratch("readers-zeek");
    for name in ["rst-on-path-tls", "dns-race", "clean-messengers", "ip-icmp-prohibited", "phone-pktap"] {
        let [jsonl, tsv, json] = analyse(&cases::input(&cases::root().join(name)));
        let flows = jsonl.lines().filter(|l| l.starts_with("{\"type\":\"flow\"")).count() as u64;
        let want = serde_json::json!([{"rows": flows, "same": flows}]);
        let answer = |tsv: &str| {
            let out = rows_in_duckdb(&py, &dir, tsv, &json);
            out.status.success().then(|| serde_json::from_slice::<Value>(&out.stdout).unwrap())
        };
        assert_eq!(answer(&tsv), Some(want.clone()), "{name}");
        // What is broken does not pass.
        for (column, to) in
            [("history", "ShR"), ("resp_bytes", "many"), ("service", "a\tb"), ("conn_state", "-"), ("duration", "9.5"), ("local_orig", "2")]
        {
            assert_ne!(answer(&with_cell(&tsv, column, to)), Some(want.clone()), "{name}: {column} = {to}");
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_reader_of_zeek_logs_finds_what_the_records_say() {
    let Some(py) = tools::python("parsezeeklogs") else { return };
    let dir = support::scratch("readers-zeek-types");
    let (tsv_file, json_file) = (dir.join("conn.log"), dir.join("conn.json"));
    let read = |tsv: &str, json: &str| {
        std::fs::write(&tsv_file, tsv).unwrap();
        std::fs::write(&json_file, json).unwrap();
        python(&py, "zeek.py", &[&tsv_file, &json_file])
    };
    for case in cases::all() {
        let [jsonl, tsv, json] = analyse(&cases::input(&case));
        if !json.is_empty() {
            let rows: Vec<Value> = serde_json::from_str(&said(&read(&tsv, &json))).unwrap();
            let flows = jsonl.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()).filter(|r| r["type"] == "flow");
            let flows: Vec<Value> = flows.collect();
            assert_eq!(rows.len(), flows.len(), "{case:?}");
            for (row, flow) in rows.iter().zip(&flows) {
                for (column, path) in [
                    ("flow_id", "/id"),
                    ("community_id", "/community_id"),
                    ("id.orig_h", "/client/ip"),
                    ("id.orig_p", "/client/port"),
                    ("id.resp_h", "/server/ip"),
                    ("id.resp_p", "/server/port"),
                    ("orig_pkts", "/packets/c2s"),
                    ("resp_ip_bytes", "/bytes/s2c"),
                    ("outcome", "/outcome"),
                    ("service_guess", "/service/id"),
                    ("app_name", "/owner"),
                ] {
                    let want = flow.pointer(path).unwrap_or(&Value::Null);
                    assert_eq!(&row[column], want, "{case:?}: {column} of {}", flow["id"]);
                }
                // Unset where nothing lasted, as in Zeek.
                assert_eq!(row["duration"].is_null(), row["orig_bytes"].is_null(), "{row}");
                assert!(row["tunnel_parents"].is_null() && row["local_orig"].is_boolean(), "{row}");
            }
        }
    }
    // It can say no: a column too few, a number that is none, a header that names other columns, a separator in a value.
    let [_, tsv, json] = analyse(&cases::input(&cases::root().join("rst-on-path-tls")));
    assert!(read(&tsv, &json).status.success());
    let short: String =
        tsv.lines().map(|l| if l.starts_with('#') { l.to_owned() } else { l.rsplit_once('\t').unwrap().0.to_owned() } + "\n").collect();
    for spoiled in [
        short,
        with_cell(&tsv, "orig_pkts", "few"),
        with_cell(&tsv, "history", "a\tb"),
        with_cell(&tsv, "conn_state", "(empty)"),
        tsv.replace("conn_state\tlocal_orig", "local_orig\tconn_state"),
        tsv.replace("#types\ttime", "#types\tstring"),
        tsv.replace("#path\tconn", "#path\tdns"),
    ] {
        assert!(spoiled != tsv && !read(&spoiled, &json).status.success(), "{spoiled}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn tshark_names_the_same_processes() {
    let Some(tshark) = tools::find("tshark") else { return };
    let input = cases::input(&cases::root().join("phone-pktap"));
    let fields = ["-T", "fields", "-e", "tcp.port", "-e", "pktap.cmdname", "-e", "pktap.ecmdname"];
    let shown = said(&Command::new(tshark).arg("-n").arg("-r").arg(&input).args(fields).args(["-Y", "tcp"]).output().unwrap());
    let mut flows = 0;
    for flow in analyse(&input)[0].lines().filter(|l| l.starts_with("{\"type\":\"flow\"")) {
        let flow: Value = serde_json::from_str(flow).unwrap();
        let port = flow["client"]["port"].to_string();
        for line in shown.lines().filter(|l| l.split(['\t', ',']).any(|f| f == port)) {
            let names: Vec<&str> = line.split('\t').skip(1).collect();
            let want = if names[1].is_empty() { names[0] } else { names[1] };
            assert_eq!(flow["owner"], want, "{line}");
            flows += 1;
        }
    }
    assert!(flows > 20, "{shown}");
}
