//! What is said about packets: each finding on the frames it rests on, and a summary on the section.

use super::super::{RunInfo, filter, text};
use crate::model::finding::Finding;
use crate::model::frame::FrameNo;
use crate::model::story::Story;
use hashbrown::HashMap;
use std::fmt::Write;

/// Findings told in the summary; a comment has 64 KiB.
const SUMMARY_MAX: usize = 64;
/// Comments on one frame.
const FRAME_MAX: usize = 16;

/// Comments on the frames of one source.
#[derive(Default)]
pub struct Comments {
    program: String,
    summary: String,
    by_frame: HashMap<FrameNo, Vec<String>>,
}

impl Comments {
    /// Comments of this run's program.
    pub fn by(run: &RunInfo) -> Self {
        Self { program: format!("tamperscope {}", run.version), ..Self::default() }
    }

    /// The program's name and version.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// On the section.
    pub const fn summary(&self) -> &String {
        &self.summary
    }

    /// On a frame.
    pub fn on(&self, frame: FrameNo) -> &[String] {
        self.by_frame.get(&frame).map_or(&[], Vec::as_slice)
    }

    /// Tells the findings that are `wanted`, and forgets those of the source before.
    pub fn tell(&mut self, story: &Story, wanted: impl Fn(&Finding) -> bool) {
        self.by_frame.clear();
        let told: Vec<&Finding> = story.findings.iter().filter(|f| wanted(f)).collect();
        self.summary = format!("{}: {}", self.program, text::counted(told.len() as u64, "finding"));
        for f in told.iter().take(SUMMARY_MAX) {
            let frames = filter::of_frames(&f.frames).unwrap_or_default();
            let _ = write!(self.summary, "\n{}\n  {frames}", title(f));
        }
        if told.len() > SUMMARY_MAX {
            let _ = write!(self.summary, "\nand {} more", told.len() - SUMMARY_MAX);
        }
        for c in &story.source.quality.cannot_claim {
            let _ = write!(self.summary, "\nThis capture cannot show {}: {}", c.claim, text::shown(&c.why, false));
        }
        for f in told {
            for frame in &f.frames {
                let list = self.by_frame.entry(*frame).or_default();
                if list.len() < FRAME_MAX {
                    list.push(comment(f, *frame));
                }
            }
        }
    }
}

/// `f_12ab: confirmed rst_injection (on_path), tcp.rst.injected, telegram web.telegram.org`.
fn title(f: &Finding) -> String {
    let t = &f.target;
    let mut out = format!("{}: {} {} ({}), {}", f.id, f.grade.name(), f.kind.name(), f.mechanism, f.rule);
    let names = [&t.service, &t.sni, &t.host, &t.qname].into_iter().flatten().map(|n| text::shown(n, false));
    let ip = t.ip.map(|ip| ip.to_string());
    let mut told: Vec<String> = Vec::new();
    for name in names.chain(ip) {
        if !told.contains(&name) {
            let _ = write!(out, "{} {name}", if told.is_empty() { "," } else { "" });
            told.push(name);
        }
    }
    out
}

/// The title, then what this frame shows.
fn comment(f: &Finding, frame: FrameNo) -> String {
    let mut out = title(f);
    for e in f.evidence.iter().filter(|e| e.frames.contains(&frame)) {
        let _ = write!(out, "\n{}", text::shown(&e.says, false));
        if !e.value.is_empty() {
            let _ = write!(out, ": {}", text::shown(&e.value, false));
        }
        if let Some(expected) = e.expectation() {
            let _ = write!(out, " (expected: {})", text::shown(expected, false));
        }
    }
    out
}
