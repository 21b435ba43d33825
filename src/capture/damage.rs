//! What was wrong with a capture file: counted, and said in a few sentences.

use crate::model::frame::FrameNo;

/// Sentences kept per source; a file damaged in a thousand places is not a thousand sentences.
const SENTENCES: usize = 8;

/// Everything a reader noticed that should not be in a capture.
#[derive(Clone, Debug, Default)]
pub(super) struct Damage {
    /// Bytes that could not be understood.
    pub skipped: u64,
    /// The frame inside which the file ends.
    pub truncated_at: Option<FrameNo>,
    /// Packets naming an interface that was never described (pcapng).
    pub orphans: u64,
    said: Vec<String>,
    unsaid: u64,
}

impl Damage {
    /// Adds one sentence, or counts it once there are enough.
    pub(super) fn say(&mut self, sentence: String) {
        if self.said.len() < SENTENCES {
            self.said.push(sentence);
        } else {
            self.unsaid = self.unsaid.saturating_add(1);
        }
    }
    /// Notes that the bytes from `from` to `to` (offsets in the uncompressed capture) were skipped.
    pub(super) fn skip(&mut self, from: u64, to: u64, after: u64) {
        let n = to.saturating_sub(from);
        self.skipped = self.skipped.saturating_add(n);
        self.say(format!("{n} bytes at offset {from}, after frame {after}, could not be understood and were skipped."));
    }
    /// Notes that the file ends inside frame `number`, which is not read.
    pub(super) fn cut(&mut self, number: u64) {
        self.truncated_at = Some(FrameNo(number));
        self.say(format!("The capture ends in the middle of frame {number}; that frame was left out."));
    }
    /// All sentences.
    pub(super) fn sentences(&self) -> Vec<String> {
        let mut all = self.said.clone();
        if self.orphans > 0 {
            all.push(format!("{} packets name an interface the file never describes; they were left out.", self.orphans));
        }
        if self.unsaid > 0 {
            all.push(format!("There was more damage of this kind in {} further places.", self.unsaid));
        }
        all
    }
}
