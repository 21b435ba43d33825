//! IEEE 802.11 data frames and the monitor-mode headers before them.

use super::bytes::{on, u8, u16_le, u32, u32_le};
use super::link::{Hop, Kind, behind};
use crate::model::oddity::Oddity;

/// An 802.11 frame at `at` (IEEE 802.11-2020 §9.2.4). `padded`: the capture aligned its body to 4 bytes.
pub(super) fn data(bytes: &[u8], at: usize, padded: bool) -> Result<Hop, Oddity> {
    let kind = u8(bytes, at).ok_or(Oddity::ShortLink)?;
    let flags = u8(bytes, on(at, 1)).ok_or(Oddity::ShortLink)?;
    // Type 2 is data; of its subtypes those with bit 2 carry none.
    if (kind >> 2) & 3 != 2 || kind & 0x40 != 0 {
        return Err(Oddity::WifiNoData);
    }
    if flags & 0x40 != 0 {
        return Err(Oddity::Encrypted);
    }
    let sequence = u16_le(bytes, on(at, 22)).ok_or(Oddity::ShortLink)?;
    if sequence & 0x0f != 0 {
        // A later fragment of an MSDU begins in the middle of something.
        return Err(Oddity::WifiNoData);
    }
    let mut len = 24_usize;
    if flags & 3 == 3 {
        // To and from the distribution system: a fourth address.
        len = on(len, 6);
    }
    let mut aggregate = false;
    if kind & 0x80 != 0 {
        aggregate = u8(bytes, on(at, len)).ok_or(Oddity::ShortLink)? & 0x80 != 0;
        len = on(len, 2);
        if flags & 0x80 != 0 {
            // HT control.
            len = on(len, 4);
        }
    }
    if padded {
        len = len.next_multiple_of(4);
    }
    if aggregate {
        // A-MSDU: addresses and length of the first subframe. The others are not read.
        len = on(len, 14);
    }
    Ok(Hop { at: on(at, len), kind: Kind::Llc })
}

/// Radiotap (<https://www.radiotap.org>): version, pad, length, presence words, fields. Only the flags field is of interest.
/// An FCS at the end needs no cutting off: the IP length ends the packet before it.
pub(super) fn radiotap(bytes: &[u8], at: usize) -> Result<Hop, Oddity> {
    let len = usize::from(u16_le(bytes, on(at, 2)).ok_or(Oddity::ShortLink)?);
    let present = u32_le(bytes, on(at, 4)).ok_or(Oddity::ShortLink)?;
    if len < 8 {
        return Err(Oddity::ShortLink);
    }
    let mut fields = 8_usize;
    let mut word = present;
    // Bit 31 announces a further presence word.
    while word & 0x8000_0000 != 0 {
        word = u32_le(bytes, on(at, fields)).ok_or(Oddity::ShortLink)?;
        fields = on(fields, 4);
    }
    if present & 1 != 0 {
        // TSFT, 8 bytes aligned to 8.
        fields = on(fields.next_multiple_of(8), 8);
    }
    let flags = if present & 2 != 0 && fields < len { u8(bytes, on(at, fields)).unwrap_or(0) } else { 0 };
    data(bytes, on(at, len), flags & 0x20 != 0)
}

/// Prism header: message code, its length. Some drivers write an AVS header under the same link type.
pub(super) fn prism(bytes: &[u8]) -> Result<Hop, Oddity> {
    let code = u32(bytes, 0).ok_or(Oddity::ShortLink)?;
    if code & 0xffff_f000 == 0x8021_1000 {
        return avs(bytes);
    }
    let len = u32_le(bytes, 4).ok_or(Oddity::ShortLink)?;
    // In the writer's byte order; the length is 144 or a little more.
    data(bytes, behind(0, len.min(len.swap_bytes())), false)
}

/// AVS header: magic, length, both in network order.
pub(super) fn avs(bytes: &[u8]) -> Result<Hop, Oddity> {
    let len = u32(bytes, 4).ok_or(Oddity::ShortLink)?;
    data(bytes, behind(0, len), false)
}
