//! The only unsafe place of the program: mapping a capture file into memory.
#![allow(unsafe_code)]

use memmap2::Mmap;
use std::fs::File;
use std::io;

/// A whole file as bytes, read by the operating system as they are touched.
pub(super) struct Mapped(Mmap);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Maps a regular file for reading.
pub(super) fn map(file: &File) -> io::Result<Mapped> {
    // SAFETY: the mapping is private and read-only, and nothing here writes to the file. What the type system cannot rule
    // out is another process changing the file while it is mapped: changed bytes reach only parsers that check every
    // access against the slice's length and assume nothing across two reads of one byte, so they give other packets, not
    // a broken invariant; a file cut shorter stops the process with SIGBUS, as it does tools like ripgrep that map input.
    let mapped = unsafe { Mmap::map(file)? };
    #[cfg(unix)]
    {
        // Only advice: the kernel may read ahead further. A refusal changes nothing.
        let _ = mapped.advise(memmap2::Advice::Sequential);
    }
    Ok(Mapped(mapped))
}
