//! Renders the story. Computes no verdict: what is written here was decided before.
//!
//! | file | job |
//! |---|---|
//! | `jsonl` | one JSON object a line, the machine's view |
//! | `human` | one screen of verdict on a terminal |
//! | `html` | a report for people, one file |
//! | `cards` | pages of detectors: `explain`, `rules` |
//! | `zeek` | Zeek's `conn.log` |
//! | `ooni` | OONI's words for failures |
//! | `schema` | JSON Schema of the records |
//! | `json` | a small serializer that writes into a reused buffer |
//! | `text` | times, escapes, widths: how strings from the wire become harmless |
//! | `keep` | what a live capture captures, as pcapng |
//! | `metrics` | counters of a live capture, for Prometheus |
//! | `screen` | a live capture on a terminal |
//! | `names` | the words the contract gives to values of the model |
//! | `rates` | rates and their series in the records |
//! | `community` | Community ID v1 |
//! | `evidence` | the packets of a live capture's findings |
//! | `filter` | Wireshark display filters |
//! | `pair` | two captures compared: what `jsonl` and `human` say of them |
//! | `output` | files that appear complete or not at all; pipes that may close early |
//! | `pcapng` | the capture with findings as comments, and the writer of its blocks |

use crate::model::finding::Card;
use crate::model::pair::Pairing;
use crate::model::piece::Piece;
use crate::model::pulse::Pulse;
use crate::model::story::{End, Story};
use std::io;

pub mod cards;
#[cfg(test)]
mod check;
pub mod community;
#[cfg(feature = "live")]
pub mod evidence;
pub mod filter;
pub mod html;
pub mod human;
pub mod json;
pub mod jsonl;
#[cfg(feature = "live")]
pub mod keep;
mod labels;
#[cfg(feature = "live")]
pub mod metrics;
pub mod names;
pub mod ooni;
pub mod output;
mod pair;
pub mod pcapng;
mod rates;
#[cfg(test)]
mod sample;
pub mod schema;
#[cfg(feature = "live")]
pub mod screen;
pub mod text;
pub mod zeek;

/// The name and version of the record family, in every JSONL line.
pub const SCHEMA: &str = "tamperscope/1";

/// What is known before the first source is read. Nothing in it depends on the clock, the host or the number of threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunInfo {
    /// Version of the program.
    pub version: &'static str,
    /// Options that can change the result, in canonical spelling and order, e.g. `--max-flows 1000000`. Never `-j`.
    pub args_shown: Vec<String>,
    /// Those of them that differ from what the program does unasked.
    pub asked: Vec<String>,
    /// Hash of the rules and services in force, lower-case hex.
    pub rules_sha256: Option<String>,
    /// Pages of the detectors that judge, for outputs that quote them.
    pub cards: Vec<&'static Card>,
}

/// Something that renders a run: told once of its beginning, of each source when that source is complete, and of its end.
pub trait Sink: Send {
    /// The run begins.
    fn begin(&mut self, run: &RunInfo) -> io::Result<()> {
        let _ = run;
        Ok(())
    }
    /// One source, complete.
    fn story(&mut self, story: &Story) -> io::Result<()> {
        let _ = story;
        Ok(())
    }
    /// A live capture: flows that are over and were not told yet, as indices into what `story` holds.
    fn flows(&mut self, story: &Story, over: &[usize]) -> io::Result<()> {
        let _ = (story, over);
        Ok(())
    }
    /// A live capture: what changed since the previous pulse. The last one brings the story that a file would have had.
    fn pulse(&mut self, pulse: &Pulse<'_>) -> io::Result<()> {
        if pulse.last { self.story(pulse.story) } else { Ok(()) }
    }
    /// A source that could not be analysed.
    fn failed(&mut self, path: &str, why: &str) -> io::Result<()> {
        let _ = (path, why);
        Ok(())
    }
    /// Whether it wants every piece of a source after its story, to copy the capture. Such a source is read twice: it must be a file.
    fn rereads(&self) -> bool {
        false
    }
    /// A piece of the source whose story was told last, in capture order.
    fn piece(&mut self, piece: &Piece<'_>) -> io::Result<()> {
        let _ = piece;
        Ok(())
    }
    /// Two captures, compared: in place of their stories.
    fn pair(&mut self, pairing: &Pairing, ends: [&Story; 2]) -> io::Result<()> {
        let _ = (pairing, ends);
        Ok(())
    }
    /// The run ends; everything must be flushed.
    fn finish(&mut self, end: &End) -> io::Result<()>;
}

/// An output kind that `--out KIND=PATH` knows.
pub struct OutKind {
    /// What the user types before `=`.
    pub name: &'static str,
    /// One sentence for the usage text.
    pub says: &'static str,
    /// It can show two captures compared.
    pub pair: bool,
    /// Makes the sink that writes to `path`. What the user wants to see is in the style; outputs for machines show everything and ignore it.
    pub open: fn(&std::path::Path, &human::Style) -> io::Result<Box<dyn Sink>>,
}

/// All kinds of `--out`. A new output is one file and one line here.
pub const OUT_KINDS: &[OutKind] = &[
    OutKind { name: "jsonl", says: "one JSON object a line (see `tamperscope schema`)", pair: true, open: jsonl::open },
    OutKind { name: "jsonl-series", says: "JSON Lines with the time series of busy flows", pair: true, open: jsonl::open_with_series },
    OutKind { name: "pcapng", says: "the capture itself, with the findings as comments on its packets", pair: false, open: pcapng::open },
    OutKind {
        name: "zeek",
        says: "Zeek's conn.log with our columns behind its own, in a file or directory",
        pair: false,
        open: zeek::open,
    },
    OutKind { name: "zeek-json", says: "the same as JSON", pair: false, open: zeek::open_json },
    OutKind { name: "html", says: "a report for people, in one file", pair: true, open: html::open },
];
