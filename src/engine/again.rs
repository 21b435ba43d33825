//! The second walk over a capture whose story is known, for what copies it or parts of it.

use crate::capture::Pieces;
use crate::model::piece::Piece;
use std::io;
use std::path::Path;

/// Hands every piece of the capture at `path` to `take`, in capture order.
///
/// # Errors
/// When there is no file to read again, when it cannot be opened any more, and those of `take`.
pub fn pieces(path: Option<&Path>, mut take: impl FnMut(&Piece<'_>) -> io::Result<()>) -> io::Result<()> {
    let path = path.filter(|p| p.is_file()).ok_or_else(|| io::Error::other(ONCE))?;
    let mut walk = Pieces::open(path).map_err(|e| io::Error::other(e.to_string()))?;
    while let Some(taken) = walk.next(&mut take) {
        taken?;
    }
    Ok(())
}

/// Why standard input, a pipe or an interface cannot be copied from.
pub const ONCE: &str = "this output copies from the capture, which has to be read twice for it: save it to a file first and name that";
