//! Numbers in network order, read with bounds.

/// The byte at `at`.
pub(super) fn u8(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// The 16-bit number at `at`.
pub(super) fn u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_be_bytes(*b))
}

/// The 32-bit number at `at`.
pub(super) fn u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b))
}

/// The 16-bit little-endian number at `at`.
pub(super) fn u16_le(bytes: &[u8], at: usize) -> Option<u16> {
    u16(bytes, at).map(u16::swap_bytes)
}

/// The 32-bit little-endian number at `at`.
pub(super) fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    u32(bytes, at).map(u32::swap_bytes)
}

/// Offset `n` further on. Saturates: no slice reaches there.
pub(super) const fn on(at: usize, n: usize) -> usize {
    at.saturating_add(n)
}

/// A 32-bit length as an offset.
pub(super) fn size(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// A length as 32 bits. Saturates.
pub(super) fn len32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
