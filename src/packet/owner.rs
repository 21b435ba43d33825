//! The trailer PCAPdroid writes behind each packet: magic, user id, app name, frame check sequence
//! (<https://emanuele-f.github.io/PCAPdroid/advanced_features>).

use super::bytes::u32;

const MAGIC: u32 = 0x0107_2021;
/// With the frame check sequence, and for captures that were stripped of it.
const LENGTHS: [usize; 2] = [32, 28];

/// The app name in the trailer behind the IP packet that ends at `end`, without its padding.
pub(super) fn find(bytes: &[u8], end: usize) -> Option<&[u8]> {
    let behind = bytes.get(end..).filter(|b| b.len() >= 28)?;
    // Right behind the packet, or at the end of the frame if padding lies between.
    let trailer = Some(behind)
        .into_iter()
        .chain(LENGTHS.iter().filter_map(|n| behind.get(behind.len().checked_sub(*n)?..)))
        .find(|t| u32(t, 0) == Some(MAGIC))?;
    let name = trailer.get(8..28)?;
    let len = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    name.get(..len).filter(|n| !n.is_empty())
}
