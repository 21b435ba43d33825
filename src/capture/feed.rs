//! The moving window over an input: a mapped file that never moves, or chunks of a stream.

use super::CaptureError;
use super::bytes::count;
use super::error::trouble;
use super::input::{Input, Packing};
use super::map;
use super::window::Window;
use crate::model::frame::Store;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// Bytes per chunk of a streamed capture.
const CHUNK: usize = 1 << 20;
/// Bytes asked of a stream at once.
const SIP: usize = 1 << 17;

/// The bytes of a capture as they come in.
pub(super) struct Feed {
    /// The window's bytes: the mapped file, or the current chunk.
    pub store: Store,
    /// Offset of the window in the capture.
    base: u64,
    /// Offset of the next record in the window.
    pub at: usize,
    /// Where further chunks come from; `None` if the window is all there is.
    input: Option<Input>,
    /// Progress when the input was used up.
    taken: (u64, Option<u64>),
    pub packing: Option<Packing>,
    /// A pipe: hand over what there is instead of waiting for a full chunk.
    eager: bool,
}

impl Feed {
    /// Opens a path; `-` is standard input.
    pub(super) fn open(path: &Path) -> Result<Self, CaptureError> {
        if path.as_os_str() == "-" {
            return Self::stream(path, Box::new(io::stdin()), None);
        }
        let about = fs::metadata(path).map_err(|cause| trouble(path, cause))?;
        if about.is_dir() {
            return Err(CaptureError::Directory { path: path.display().to_string() });
        }
        let file = File::open(path).map_err(|cause| trouble(path, cause))?;
        if !about.is_file() {
            return Self::stream(path, Box::new(file), None);
        }
        // Files that claim to be empty may be generated as they are read (/proc), and some file systems cannot map.
        match map::map(&file) {
            Ok(mapped) if about.len() > 0 => Self::mapped(path, Arc::new(mapped)),
            _ => Self::stream(path, Box::new(file), Some(about.len())),
        }
    }

    fn mapped(path: &Path, store: Store) -> Result<Self, CaptureError> {
        let bytes = (*store).as_ref();
        if Packing::of(bytes).is_some() {
            return Ok(Self::over(Input::over(store).map_err(|cause| trouble(path, cause))?, false));
        }
        let total = count(bytes.len());
        Ok(Self { store, base: 0, at: 0, input: None, taken: (total, Some(total)), packing: None, eager: false })
    }

    /// Reads from a stream of bytes, compressed or not; `total` is its length if known.
    pub(super) fn stream(path: &Path, mut from: Box<dyn Read + Send>, total: Option<u64>) -> Result<Self, CaptureError> {
        let mut head = Vec::new();
        from.by_ref().take(4).read_to_end(&mut head).map_err(|cause| trouble(path, cause))?;
        let input = Input::new(head, from, total).map_err(|cause| trouble(path, cause))?;
        Ok(Self::over(input, total.is_none()))
    }

    fn over(input: Input, eager: bool) -> Self {
        let packing = input.packing;
        Self { store: Arc::new(Vec::new()), base: 0, at: 0, input: Some(input), taken: (0, None), packing, eager }
    }

    pub(super) fn window(&self) -> Window<'_> {
        Window { bytes: (*self.store).as_ref(), base: self.base, last: self.input.is_none() }
    }

    /// Bytes consumed and total bytes as stored.
    pub(super) fn progress(&self) -> (u64, Option<u64>) {
        match (&self.input, self.base) {
            (Some(input), _) => input.progress(),
            // A mapped file: the whole input is the window.
            (None, 0) if self.taken.1 == Some(count((*self.store).as_ref().len())) => (count(self.at), self.taken.1),
            (None, _) => self.taken,
        }
    }

    /// Moves the window on so that at least `need` bytes lie behind `at`, or the input is used up. An error ends the input;
    /// what was read before it stays in the window.
    pub(super) fn refill(&mut self, need: usize) -> Option<io::Error> {
        let input = self.input.as_mut()?;
        let rest = (*self.store).as_ref().get(self.at..).unwrap_or_default();
        // Room beyond what is needed, so that a long search moves on by more than a few bytes per copy.
        let room = CHUNK.max(need.saturating_add(CHUNK / 2));
        let mut chunk = Vec::with_capacity(rest.len().saturating_add(if self.eager { SIP } else { CHUNK }));
        chunk.extend_from_slice(rest);
        let mut error = None;
        let ended = loop {
            // Even a pipe is read in larger steps where much has to be carried over with each.
            let eager = self.eager && need <= CHUNK;
            if chunk.len() >= need && (eager || chunk.len() >= room) {
                break false;
            }
            let most = room.saturating_sub(chunk.len()).clamp(1, SIP);
            match input.read_into(&mut chunk, most) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(e) => {
                    error = Some(e);
                    break true;
                }
            }
        };
        self.base = self.base.saturating_add(count(self.at));
        self.at = 0;
        self.store = Arc::new(chunk);
        if ended {
            self.taken = input.progress();
            self.input = None;
        }
        error
    }
}
