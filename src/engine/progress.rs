//! Progress on standard error for people who wait. With `live.rs` the only place that looks at a clock, through `indicatif`.

use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;

/// Bytes between two updates: a glance at the bar costs more than a batch.
const STEP: u64 = 8 << 20;

/// A progress bar, or nothing.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    files: usize,
    file: usize,
    shown: u64,
}

impl Progress {
    pub fn new(wanted: bool, files: usize) -> Self {
        Self { bar: wanted.then(ProgressBar::no_length), files, file: 0, shown: 0 }
    }

    /// A new source begins.
    pub fn begin(&mut self, path: &Path) {
        self.file += 1;
        self.shown = 0;
        let Some(bar) = &self.bar else { return };
        let name: String = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().chars().filter(|c| !c.is_control()).collect());
        if let Ok(style) = ProgressStyle::with_template("{msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}") {
            bar.set_style(style);
        }
        bar.set_position(0);
        bar.set_message(if self.files > 1 { format!("[{}/{}] {name}", self.file, self.files) } else { name });
    }

    /// How far the source was read.
    pub fn update(&mut self, (done, total): (u64, Option<u64>)) {
        let Some(bar) = &self.bar else { return };
        if done.saturating_sub(self.shown) < STEP {
            return;
        }
        self.shown = done;
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(done);
    }

    /// Takes the bar away.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
