//! From what was typed to the list of files to open.

use super::error::CaptureError;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Directories nested deeper than this are not entered.
const DEPTH: usize = 64;

/// Replaces every directory by the regular files below it, recursively and in name order. Hidden entries and symbolic
/// links to directories are left out; files that were given explicitly (and `-`) stay as they are, in the order given.
///
/// # Errors
/// When a path does not exist or a directory cannot be listed.
pub fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CaptureError> {
    let mut found = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            found.push(path.clone());
            continue;
        }
        let about = fs::metadata(path).map_err(|cause| trouble(path, cause))?;
        if about.is_dir() {
            list(path, &mut found, DEPTH)?;
        } else {
            found.push(path.clone());
        }
    }
    Ok(found)
}

fn list(dir: &Path, found: &mut Vec<PathBuf>, depth: usize) -> Result<(), CaptureError> {
    let Some(depth) = depth.checked_sub(1) else { return Ok(()) };
    let mut entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(|cause| trouble(dir, cause))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        // A link to a directory could lead back up; a link to a file is as good as the file.
        let kind = entry.file_type().map_err(|cause| trouble(&path, cause))?;
        if kind.is_dir() {
            list(&path, found, depth)?;
        } else if kind.is_file() || (kind.is_symlink() && path.is_file()) {
            found.push(path);
        }
    }
    Ok(())
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
