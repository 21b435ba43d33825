//! A read position in untrusted bytes: every step is checked, none can panic.

/// Reads big-endian fields one after another; `None` once the bytes run out.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(all: &'a [u8]) -> Self {
        Self { all, at: 0 }
    }
    /// Starts `at` bytes into `all`; `None` past its end.
    pub(super) fn starting(all: &'a [u8], at: usize) -> Option<Self> {
        (at <= all.len()).then_some(Self { all, at })
    }
    /// The same bytes, read from `at` on.
    pub(super) fn moved(&self, at: usize) -> Option<Self> {
        Self::starting(self.all, at)
    }
    /// Bytes read so far, from the beginning of the whole slice.
    pub(super) const fn at(&self) -> usize {
        self.at
    }
    /// What has not been read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.all.get(self.at..).unwrap_or(&[])
    }
    /// Length of what has not been read yet.
    pub(super) const fn left(&self) -> usize {
        self.all.len().saturating_sub(self.at)
    }
    pub(super) const fn is_empty(&self) -> bool {
        self.left() == 0
    }
    pub(super) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(n)?;
        let taken = self.all.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }
    pub(super) fn u24(&mut self) -> Option<u32> {
        let high = u32::from(self.u8()?);
        Some(high << 16 | u32::from(self.u16()?))
    }
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }
    /// A QUIC variable-length integer (RFC 9000 §16).
    pub(super) fn varint(&mut self) -> Option<u64> {
        let first = self.u8()?;
        let mut value = u64::from(first & 0x3f);
        for _ in 1..(1u8 << (first >> 6)) {
            value = value << 8 | u64::from(self.u8()?);
        }
        Some(value)
    }
    /// A block with its length in one byte before it.
    pub(super) fn block8(&mut self) -> Option<&'a [u8]> {
        let n = self.u8()?;
        self.take(usize::from(n))
    }
    /// A block with its length in two bytes before it.
    pub(super) fn block16(&mut self) -> Option<&'a [u8]> {
        let n = self.u16()?;
        self.take(usize::from(n))
    }
}
