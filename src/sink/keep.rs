//! `live -w`: what is captured, as pcapng, in one file or a row of them.
//!
//! With a bound on size (`-C`) or age (`-G`) the files are `NAME_00001.pcapng`, `NAME_00002.pcapng`, …; with a bound on their number (`-W`)
//! the oldest is deleted when a new one begins. Every block is written whole, so what a killed process leaves is a readable capture up to
//! the last few packets in the buffer.

use super::pcapng::blocks::{Blocks, Frame, Interface, Resolution, Section};
use crate::model::frame::{Batch, LinkType};
use crate::model::time::{Span, Time};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Bytes gathered before they are written.
const BUFFER: usize = 1 << 20;

/// How files follow one another.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Rotation {
    /// Begin another file after this many bytes.
    pub bytes: Option<u64>,
    /// Begin another file after this much packet time.
    pub age: Option<Span>,
    /// Keep at most this many files.
    pub files: Option<usize>,
}

/// A capture being written.
pub struct Keep {
    path: PathBuf,
    rotation: Rotation,
    snaplen: u32,
    names: Vec<String>,
    filter: String,
    out: Option<Blocks<BufWriter<File>>>,
    /// Interfaces described in this file: (index in the capture, link type).
    known: Vec<(u16, LinkType)>,
    began: Option<Time>,
    made: VecDeque<PathBuf>,
    count: u64,
}

impl Keep {
    /// Creates the first file.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: &Path, rotation: Rotation, snaplen: u32, names: &[String], filter: Option<&str>) -> io::Result<Self> {
        let mut keep = Self {
            path: path.to_owned(),
            rotation,
            snaplen,
            names: names.to_vec(),
            filter: filter.unwrap_or_default().to_owned(),
            out: None,
            known: Vec::new(),
            began: None,
            made: VecDeque::new(),
            count: 0,
        };
        keep.next_file()?;
        Ok(keep)
    }

    /// Writes the frames of a batch.
    ///
    /// # Errors
    /// When the disk refuses; nothing more should be written then.
    pub fn write(&mut self, batch: &Batch) -> io::Result<()> {
        for frame in &batch.frames {
            let head = frame.head;
            let began = *self.began.get_or_insert(head.ts);
            let old = self.rotation.age.is_some_and(|age| head.ts.since(began) >= age);
            let large = self.rotation.bytes.is_some_and(|most| self.out.as_ref().is_some_and(|o| o.written() >= most));
            if old || large {
                self.next_file()?;
                self.began = Some(head.ts);
            }
            let interface = self.interface(head.iface, head.link)?;
            if let Some(out) = &mut self.out {
                out.frame(&Frame { interface, ts: head.ts, original: head.original, data: batch.bytes(frame), comments: &[] })?;
            }
        }
        Ok(())
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn finish(mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), |o| o.out().flush())
    }

    fn interface(&mut self, index: u16, link: LinkType) -> io::Result<u32> {
        if let Some(at) = self.known.iter().position(|k| *k == (index, link)) {
            return Ok(at as u32);
        }
        let name = self.names.get(usize::from(index)).map_or("", String::as_str);
        let about = Interface { link, snaplen: self.snaplen, resolution: Resolution::Nanos, name, filter: &self.filter, fcs: None };
        self.known.push((index, link));
        self.out.as_mut().map_or(Ok(0), |o| o.interface(&about))
    }

    fn next_file(&mut self) -> io::Result<()> {
        if let Some(out) = &mut self.out {
            out.out().flush()?;
        }
        self.count += 1;
        let path = if self.rotation == Rotation::default() { self.path.clone() } else { numbered(&self.path, self.count) };
        let mut out = Blocks::new(BufWriter::with_capacity(BUFFER, File::create(&path)?));
        out.section(&Section { comments: &[], program: concat!("tamperscope ", env!("CARGO_PKG_VERSION")) })?;
        out.out().flush()?;
        self.out = Some(out);
        self.known.clear();
        self.made.push_back(path);
        while self.rotation.files.is_some_and(|most| self.made.len() > most.max(1)) {
            if let Some(old) = self.made.pop_front() {
                // Somebody may have taken it away already.
                let _ = fs::remove_file(old);
            }
        }
        Ok(())
    }
}

/// `dir/name.pcapng` → `dir/name_00001.pcapng`.
fn numbered(path: &Path, n: u64) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().map_or_else(String::new, |e| format!(".{}", e.to_string_lossy()));
    path.with_file_name(format!("{stem}_{n:05}{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::frame::{FrameHead, FrameNo, FrameRef, Place};
    use std::sync::Arc;

    fn batch(from: u64, n: u64) -> Batch {
        let mut b = Batch::over(Arc::new(vec![7u8; 1000]));
        for i in from..from + n {
            let head = FrameHead {
                number: FrameNo(i + 1),
                ts: Time::from_nanos(1_700_000_000_000_000_001 + i as i64 * 1_000_000_000),
                original: 1200,
                link: LinkType::ETHERNET,
                iface: 0,
                owner: 0,
            };
            b.frames.push(FrameRef { head, at: 0, len: 1000, ip_at: 14, place: Place::Store });
        }
        b
    }

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("tamperscope-keep-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn files(dir: &Path) -> Vec<String> {
        let mut all: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        all.sort();
        all
    }

    #[test]
    fn one_file_without_bounds() {
        let dir = dir("one");
        let mut k = Keep::create(&dir.join("a.pcapng"), Rotation::default(), 2000, &["eth0".into()], None).unwrap();
        k.write(&batch(0, 10)).unwrap();
        k.finish().unwrap();
        assert_eq!(files(&dir), ["a.pcapng"]);
        assert!(fs::metadata(dir.join("a.pcapng")).unwrap().len() > 10_000);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn files_follow_by_size_and_by_time_and_the_oldest_goes() {
        let d = dir("size");
        let by_size = Rotation { bytes: Some(3000), ..Rotation::default() };
        let mut k = Keep::create(&d.join("a.pcapng"), by_size, 0, &[], None).unwrap();
        k.write(&batch(0, 10)).unwrap();
        k.finish().unwrap();
        assert_eq!(files(&d).len(), 4);
        fs::remove_dir_all(&d).unwrap();
        let d = dir("time");
        let by_time = Rotation { age: Some(Span::from_secs(2)), files: Some(2), ..Rotation::default() };
        let mut k = Keep::create(&d.join("a.pcapng"), by_time, 0, &[], None).unwrap();
        k.write(&batch(0, 10)).unwrap();
        k.finish().unwrap();
        assert_eq!(files(&d), ["a_00004.pcapng", "a_00005.pcapng"]);
        fs::remove_dir_all(&d).unwrap();
    }
}
