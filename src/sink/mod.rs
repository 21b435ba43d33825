//! Renders the story. Computes no verdict: what is written here was decided before.
//!
//! | file | job |
//! |---|---|
//! | `jsonl` | one JSON object a line, the machine's view |
//! | `human` | one screen of verdict on a terminal |
//! | `cards` | pages of detectors: `explain`, `rules` |
//! | `schema` | JSON Schema of the records |
//! | `json` | a small serializer that writes into a reused buffer |
//! | `text` | times, escapes, widths: how strings from the wire become harmless |
//! | `names` | the words the contract gives to values of the model |
//! | `community` | Community ID v1 |
//! | `filter` | Wireshark display filters |
//! | `pair` | two captures compared: what `jsonl` and `human` say of them |
//! | `output` | files that appear complete or not at all; pipes that may close early |

use crate::model::pair::Pairing;
use crate::model::story::{End, Story};
use std::io;

pub mod cards;
#[cfg(test)]
mod check;
pub mod community;
pub mod filter;
pub mod human;
pub mod json;
pub mod jsonl;
pub mod names;
pub mod output;
mod pair;
#[cfg(test)]
mod sample;
pub mod schema;
pub mod text;

/// The name and version of the record family, in every JSONL line.
pub const SCHEMA: &str = "tamperscope/1";

/// What is known before the first source is read. Nothing in it depends on the clock, the host or the number of threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunInfo {
    /// Version of the program.
    pub version: &'static str,
    /// Options that can change the result, in canonical spelling and order, e.g. `--max-flows 1000000`. Never `-j`.
    pub args_shown: Vec<String>,
    /// Hash of the rules and services in force, lower-case hex.
    pub rules_sha256: Option<String>,
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
    /// A source that could not be analysed.
    fn failed(&mut self, path: &str, why: &str) -> io::Result<()> {
        let _ = (path, why);
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
    /// Makes the sink that writes to `path`.
    pub open: fn(&std::path::Path) -> io::Result<Box<dyn Sink>>,
}

/// All kinds of `--out`. A new output is one file and one line here.
pub const OUT_KINDS: &[OutKind] =
    &[OutKind { name: "jsonl", says: "one JSON object a line (see `tamperscope schema`)", open: jsonl::open }];
