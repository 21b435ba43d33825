//! The operator's troubles with a capture: each is one sentence that names the cause and what to do.

use std::io;
use std::path::Path;
use thiserror::Error;

/// Why a capture could not be opened. The sentence does not name the path: whoever shows it says which source it is about.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// There is no such file.
    #[error("no such file; check the spelling of the path")]
    Missing {
        /// As given.
        path: String,
    },
    /// A directory where a file is expected.
    #[error("a directory in which nothing begins like a capture; name a capture")]
    Directory {
        /// As given.
        path: String,
    },
    /// The operating system refuses to read it.
    #[error("cannot be read ({cause}); check its permissions and the disk")]
    Unreadable {
        /// As given.
        path: String,
        /// What the operating system said.
        cause: io::Error,
    },
    /// Something else.
    #[error("not a capture: it looks like {looks_like}; {advice}")]
    NotACapture {
        /// As given.
        path: String,
        /// What it looks like instead, e.g. `a zip archive`.
        looks_like: &'static str,
        /// What to do, e.g. `unpack it first`.
        advice: &'static str,
    },
    /// A capture format version that is not known.
    #[error("a {format} file of version {major}.{minor}, which is not supported; convert it with `editcap -F pcapng`")]
    UnsupportedVersion {
        /// As given.
        path: String,
        /// Format name.
        format: &'static str,
        /// Major version in the file.
        major: u16,
        /// Minor version in the file.
        minor: u16,
    },
    /// A filter that means nothing for frames of this capture.
    #[error("the filter given with -f does not fit link type {link}: {cause}; try it with `tcpdump -r`")]
    Filter {
        /// The link type's number.
        link: u16,
        /// What libpcap said.
        cause: String,
    },
    /// The compressed data is damaged before the first packet.
    #[error("{packing} data that cannot be decompressed ({cause}); fetch the file again")]
    Undecodable {
        /// As given.
        path: String,
        /// `gzip` or `zstd`.
        packing: &'static str,
        /// What the decompressor said.
        cause: io::Error,
    },
}

/// The error for a file that begins with `head` and is no capture.
pub(super) fn not_a_capture(path: String, head: &[u8]) -> CaptureError {
    let (looks_like, advice) = looks_like(head);
    CaptureError::NotACapture { path, looks_like, advice }
}

/// Names what the beginning of a file looks like when it is no capture, and what to do with it.
fn looks_like(head: &[u8]) -> (&'static str, &'static str) {
    const GIVE: &str = "give a pcap or pcapng file, or one inside gzip or zstd";
    const UNPACK: &str = "unpack it and give the capture inside";
    const CONVERT: &str = "convert it with `editcap -F pcapng`";
    const ONCE: &str = "decompress it once and try again";
    const MAGICS: &[(&[u8], &str, &str)] = &[
        (b"\x7fELF", "an ELF program", GIVE),
        (b"PK\x03\x04", "a zip archive", UNPACK),
        (b"PK\x05\x06", "an empty zip archive", GIVE),
        (b"\x1f\x8b", "gzip data inside compressed data", ONCE),
        (b"\x28\xb5\x2f\xfd", "zstd data inside compressed data", ONCE),
        (b"\xfd7zXZ", "xz data", "decompress it with `xz -d` first"),
        (b"BZh", "bzip2 data", "decompress it with `bunzip2` first"),
        (b"\x04\x22\x4d\x18", "lz4 data", "decompress it with `lz4 -d` first"),
        (b"7z\xbc\xaf", "a 7-Zip archive", UNPACK),
        (b"Rar!", "a RAR archive", UNPACK),
        (b"snoop\0\0\0", "a Solaris snoop capture", CONVERT),
        (b"GMBU", "a Microsoft Network Monitor 2 capture", CONVERT),
        (b"RTSS", "a Microsoft Network Monitor 1 capture", CONVERT),
        (b"btsnoop\0", "a Bluetooth btsnoop log", GIVE),
        (b"%PDF", "a PDF document", GIVE),
        (b"\x89PNG", "a PNG image", GIVE),
        (b"\xff\xd8\xff", "a JPEG image", GIVE),
        (b"SQLite format 3", "an SQLite database", GIVE),
        (b"version https://git-lfs", "a Git LFS pointer", "fetch the real file with `git lfs pull`"),
        (b"MZ", "a Windows program", GIVE),
    ];
    if head.is_empty() {
        return ("an empty file", GIVE);
    }
    if let Some((_, name, advice)) = MAGICS.iter().find(|(magic, _, _)| head.starts_with(magic)) {
        return (name, advice);
    }
    if super::pcap::is_magic(head) || super::pcapng::is_magic(head) {
        return ("a capture that ends inside its own file header", "record or copy it again");
    }
    let text = head.trim_ascii_start();
    let starts = |s: &str| text.get(..s.len()).is_some_and(|t| t.eq_ignore_ascii_case(s.as_bytes()));
    if starts("<!doctype html") || starts("<html") {
        return ("an HTML page", "the download gave a web page instead of the file: fetch it again");
    }
    if starts("HTTP/1.") {
        return ("an HTTP response", GIVE);
    }
    if starts("<?xml") {
        return ("an XML document", GIVE);
    }
    if starts("{") || starts("[") {
        return ("a JSON document", GIVE);
    }
    if head.iter().all(|b| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..)) {
        return ("a text file", GIVE);
    }
    if head.iter().all(|b| *b == 0) {
        return ("a run of zero bytes", GIVE);
    }
    ("unknown binary data", GIVE)
}

/// Sorts an operating system error into the drawer that says what to do.
pub(super) fn trouble(path: &Path, cause: io::Error) -> CaptureError {
    let path = path.display().to_string();
    match cause.kind() {
        io::ErrorKind::NotFound => CaptureError::Missing { path },
        io::ErrorKind::IsADirectory => CaptureError::Directory { path },
        _ => CaptureError::Unreadable { path, cause },
    }
}
