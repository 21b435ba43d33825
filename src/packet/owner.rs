//! Who a packet belongs to, where the frame itself says so: the trailer PCAPdroid writes behind each packet (magic, user id, app name, frame check
//! sequence: <https://emanuele-f.github.io/PCAPdroid/advanced_features>), and the header Darwin's PKTAP writes before it (`bsd/net/pktap.h` of XNU).

use super::bytes::{u32, u32_le};

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

/// Longest header that is believed; it has 108 bytes, 156 in newer systems.
const PKTAP_MAX: u32 = 512;
/// Where PKTAP names the process that sent or received the packet, and the one on whose behalf it did so, 17 bytes each.
const COMM: std::ops::Range<usize> = 56..73;
const EFFECTIVE: std::ops::Range<usize> = 88..105;

/// The process of a PKTAP frame: the one on whose behalf the packet was sent, else the one that did.
pub(super) fn process(bytes: &[u8]) -> Option<&[u8]> {
    let len = u32_le(bytes, 0).filter(|n| (108..=PKTAP_MAX).contains(n))?;
    let header = bytes.get(..usize::try_from(len).ok()?)?;
    [EFFECTIVE, COMM].into_iter().find_map(|at| {
        let name = header.get(at)?;
        let len = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        name.get(..len).filter(|n| !n.is_empty())
    })
}
