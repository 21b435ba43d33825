//! Zeek's `conn.log`, as tab-separated text and as JSON: Zeek's names and meanings (`scripts/base/protocols/conn/main.zeek` of Zeek 7.1), then our own
//! columns, for tools that read Zeek.
//!
//! Where it differs from a log that Zeek would write: rows stand in the order of first packets; a flow lives as long as ours do (TCP 3,700 s without a
//! packet, others 330 s), so what Zeek splits after its shorter timeouts stays one row; `history` differs where Zeek looks at order and gaps otherwise
//! than we do; `tunnel_parents` is not filled; `uid` depends on the capture only, so it is the same in every run; `service` names what was recognised,
//! also where a server never answered and Zeek would not yet say so, and knows no `ntp`; `local_orig` and `local_resp` are those of a Zeek whose site is
//! not configured; `#open` and `#close` are times of packets. Clients' addresses are in it, as in Zeek's own.
//!
//! | file | job |
//! |---|---|
//! | `row` | the columns, and what a flow has in each |
//! | `state` | `conn_state` |
//! | `write` | rows as text |

use super::human::Style;
use super::json::Json;
use super::output::{NewFile, Output};
use super::{RunInfo, Sink, text};
use crate::model::finding::Finding;
use crate::model::flow::FlowId;
use crate::model::story::{End, Story};
use crate::model::time::Time;
use hashbrown::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

mod row;
mod state;
mod write;

pub use row::COLUMNS;

/// Bytes gathered before they are handed to the output.
const CHUNK: usize = 128 * 1024;

/// Writes `conn.log`.
pub struct ConnLog<W: Output> {
    out: W,
    form: Form,
    last: Option<Time>,
    begun: bool,
}

enum Form {
    Tsv(String),
    Json(Json),
}

/// The sink behind `--out zeek=PATH`: tab-separated. A directory gets a `conn.log`.
pub fn open(path: &Path, _: &Style) -> io::Result<Box<dyn Sink>> {
    begin(path, Form::Tsv(String::new()))
}

/// The sink behind `--out zeek-json=PATH`.
pub fn open_json(path: &Path, _: &Style) -> io::Result<Box<dyn Sink>> {
    begin(path, Form::Json(Json::default()))
}

fn begin(path: &Path, form: Form) -> io::Result<Box<dyn Sink>> {
    if path == Path::new("-") {
        return Ok(Box::new(ConnLog { out: io::stdout(), form, last: None, begun: false }));
    }
    let out = NewFile::create(&file(path)?)?;
    Ok(Box::new(ConnLog { out, form, last: None, begun: false }))
}

/// The log's file: the path itself, or `conn.log` in a directory, which is made if the path ends in a separator.
fn file(path: &Path) -> io::Result<PathBuf> {
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        std::fs::create_dir_all(path)?;
    }
    Ok(if path.is_dir() { path.join("conn.log") } else { path.to_owned() })
}

impl<W: Output> ConnLog<W> {
    /// Writes to `out`, as JSON or tab-separated.
    pub fn new(out: W, json: bool) -> Self {
        let form = if json { Form::Json(Json::default()) } else { Form::Tsv(String::new()) };
        Self { out, form, last: None, begun: false }
    }

    fn hand_over(&mut self, least: usize) -> io::Result<()> {
        match &mut self.form {
            Form::Tsv(text) if text.len() >= least => {
                self.out.write_all(text.as_bytes())?;
                text.clear();
            }
            Form::Json(json) if json.bytes().len() >= least => {
                self.out.write_all(json.bytes())?;
                json.clear();
            }
            _ => {}
        }
        Ok(())
    }

    /// The header of a tab-separated log, once.
    fn header(&mut self, at: Option<Time>) {
        let Form::Tsv(text) = &mut self.form else { return };
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        text.push_str("#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n");
        let _ = writeln!(text, "#open\t{}", stamp(at));
        for (name, of) in [("#fields", 0), ("#types", 1)] {
            text.push_str(name);
            for c in COLUMNS {
                text.push('\t');
                text.push_str(if of == 0 { c.0 } else { c.1 });
            }
            text.push('\n');
        }
    }
}

impl<W: Output> Sink for ConnLog<W> {
    fn begin(&mut self, _: &RunInfo) -> io::Result<()> {
        Ok(())
    }

    fn story(&mut self, story: &Story) -> io::Result<()> {
        self.header(story.source.first);
        self.last = self.last.max(story.source.last);
        let mut about: HashMap<FlowId, Vec<&Finding>> = HashMap::new();
        for finding in &story.findings {
            for id in &finding.flows {
                about.entry(*id).or_default().push(finding);
            }
        }
        for (i, flow) in story.flows.iter().enumerate() {
            let label = story.labels.get(i).and_then(Option::as_ref);
            let row = row::row(flow, label, about.get(&flow.id).map_or(&[], Vec::as_slice));
            match &mut self.form {
                Form::Tsv(text) => write::tsv(text, &row),
                Form::Json(json) => write::json_line(json, &row),
            }
            self.hand_over(CHUNK)?;
        }
        Ok(())
    }

    fn finish(&mut self, _: &End) -> io::Result<()> {
        self.header(None);
        let close = stamp(self.last);
        if let Form::Tsv(text) = &mut self.form {
            let _ = writeln!(text, "#close\t{close}");
        }
        self.hand_over(0)?;
        self.out.commit()
    }
}

/// `2026-11-22-16-32-24`.
fn stamp(at: Option<Time>) -> String {
    text::clock(at.unwrap_or_default()).trim_end_matches(" UTC").replace([' ', ':'], "-")
}

#[cfg(test)]
mod tests {
    use super::super::output::Memory;
    use super::super::sample;
    use super::*;

    fn written(json: bool) -> String {
        let out = Memory::default();
        let mut sink = ConnLog::new(out.clone(), json);
        sink.story(&sample::story()).unwrap();
        sink.finish(&sample::end()).unwrap();
        String::from_utf8(out.take()).unwrap()
    }

    #[test]
    fn the_header_is_zeeks() {
        let log = written(false);
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines[..5], ["#separator \\x09", "#set_separator\t,", "#empty_field\t(empty)", "#unset_field\t-", "#path\tconn"]);
        assert_eq!(lines[5], "#open\t2023-11-14-22-13-20");
        let names = "#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\tlocal_orig\t\
                     local_resp\tmissed_bytes\thistory\torig_pkts\torig_ip_bytes\tresp_pkts\tresp_ip_bytes\ttunnel_parents\tip_proto\t";
        assert!(lines[6].starts_with(names), "{}", lines[6]);
        let types = "#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\tinterval\tcount\tcount\tstring\tbool\tbool\tcount\tstring\tcount\tcount\tcount\t\
                     count\tset[string]\tcount\t";
        assert!(lines[7].starts_with(types), "{}", lines[7]);
        assert!(lines.last().unwrap().starts_with("#close\t2023-11-14-22-13-32"));
        assert_eq!(lines.len(), 8 + 4 + 1);
        for line in &lines[8..12] {
            assert_eq!(line.split('\t').count(), COLUMNS.len());
        }
    }

    #[test]
    fn nothing_from_the_wire_breaks_a_line() {
        assert!(!written(false).chars().any(|c| text::treacherous(c) && c != '\t' && c != '\n'));
    }

    #[test]
    fn json_has_zeeks_names_and_leaves_out_what_is_not_set() {
        let log = written(true);
        let first: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
        assert_eq!((&first["id.resp_p"], &first["proto"], &first["service"]), (&443.into(), &"tcp".into(), &"ssl".into()));
        assert_eq!(first["ts"], 1_700_000_000.0);
        assert!(first.get("tunnel_parents").is_none());
        assert_eq!(first["verdict"], "confirmed:rst_injection");
        assert_eq!(first["findings"], serde_json::json!(["f_1"]));
        assert_eq!(log.lines().count(), 4);
    }

    #[test]
    fn a_flow_has_one_uid_in_every_run() {
        let story = sample::story();
        let ids: Vec<String> = story.flows.iter().map(row::uid).collect();
        assert!(ids.iter().all(|id| id.len() == 18 && id.starts_with('C') && id.chars().all(|c| c.is_ascii_alphanumeric())));
        assert_eq!(ids, story.flows.iter().map(row::uid).collect::<Vec<_>>());
        assert_ne!(ids[0], ids[1]);
    }
}
