//! Where sinks write: files that appear complete or not at all, and pipes whose reader may go away.

use super::{RunInfo, Sink};
use crate::model::pair::Pairing;
use crate::model::piece::Piece;
use crate::model::pulse::Pulse;
use crate::model::story::{End, Story};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Somewhere to write that has to be told when everything was written.
pub trait Output: Write + Send {
    /// Everything was written: make it visible.
    fn commit(&mut self) -> io::Result<()> {
        self.flush()
    }
}

impl Output for io::Stdout {}

impl Output for Box<dyn Output> {
    fn commit(&mut self) -> io::Result<()> {
        (**self).commit()
    }
}

/// Memory that can be read after the sink has finished: clones share it.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    /// Takes what was written.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Memory {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Memory {}

/// A file written beside its final place and renamed when complete, so that no reader ever meets half of it.
pub struct NewFile {
    file: File,
    /// Where it is written, until it is renamed.
    draft: Option<PathBuf>,
    path: PathBuf,
}

impl NewFile {
    /// Begins a file. Something that exists and is no regular file (a pipe, a device) is written directly.
    pub fn create(path: &Path) -> io::Result<Self> {
        // A symbolic link is followed: the file behind it is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if fs::metadata(&path).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
            return Ok(Self { file: File::options().write(true).open(&path)?, draft: None, path });
        }
        let Some(name) = path.file_name().filter(|_| !path.is_dir()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a file name"));
        };
        let mut draft_name = OsString::from(".");
        draft_name.push(name);
        draft_name.push(format!(".part-{}", std::process::id()));
        let draft = path.with_file_name(draft_name);
        let file = File::create(&draft)?;
        Ok(Self { file, draft: Some(draft), path })
    }
}

impl Write for NewFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Output for NewFile {
    fn commit(&mut self) -> io::Result<()> {
        self.file.flush()?;
        if let Some(draft) = self.draft.take() {
            fs::rename(&draft, &self.path)?;
        }
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(draft) = &self.draft {
            // Nothing to do about a failure: the run is failing already.
            let _ = fs::remove_file(draft);
        }
    }
}

/// A sink whose reader may close the pipe without ending the run: the other outputs are completed.
pub struct UntilClosed<S> {
    sink: S,
    closed: bool,
}

impl<S: Sink> UntilClosed<S> {
    /// Wraps a sink.
    pub const fn new(sink: S) -> Self {
        Self { sink, closed: false }
    }
    fn unless_closed(&mut self, act: impl FnOnce(&mut S) -> io::Result<()>) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        match act(&mut self.sink) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other,
        }
    }
}

impl<S: Sink> Sink for UntilClosed<S> {
    fn begin(&mut self, run: &RunInfo) -> io::Result<()> {
        self.unless_closed(|s| s.begin(run))
    }
    fn story(&mut self, story: &Story) -> io::Result<()> {
        self.unless_closed(|s| s.story(story))
    }
    fn flows(&mut self, story: &Story, over: &[usize]) -> io::Result<()> {
        self.unless_closed(|s| s.flows(story, over))
    }
    fn pulse(&mut self, pulse: &Pulse<'_>) -> io::Result<()> {
        self.unless_closed(|s| s.pulse(pulse))
    }
    fn failed(&mut self, path: &str, why: &str) -> io::Result<()> {
        self.unless_closed(|s| s.failed(path, why))
    }
    fn rereads(&self) -> bool {
        self.sink.rereads() && !self.closed
    }
    fn piece(&mut self, piece: &Piece<'_>) -> io::Result<()> {
        self.unless_closed(|s| s.piece(piece))
    }
    fn pair(&mut self, pairing: &Pairing, ends: [&Story; 2]) -> io::Result<()> {
        self.unless_closed(|s| s.pair(pairing, ends))
    }
    fn finish(&mut self, end: &End) -> io::Result<()> {
        self.unless_closed(|s| s.finish(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_only_when_complete() {
        let dir = std::env::temp_dir().join(format!("tamperscope-output-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("out.jsonl");
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(file);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "the draft is removed");
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"whole").unwrap();
        file.commit().unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert!(NewFile::create(&dir).is_err());
        assert!(NewFile::create(Path::new("/dev/null")).unwrap().commit().is_ok());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_closed_pipe_ends_its_own_sink_only() {
        struct Closed(u32);
        impl Sink for Closed {
            fn finish(&mut self, _: &End) -> io::Result<()> {
                self.0 += 1;
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let mut sink = UntilClosed::new(Closed(0));
        assert!(sink.finish(&End::default()).is_ok());
        assert!(sink.finish(&End::default()).is_ok());
        assert_eq!(sink.sink.0, 1);
    }
}
