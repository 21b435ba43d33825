//! SoftEther: its NAT helper, and PACKs in datagrams (SoftEtherVPN src/Mayaqua/Pack.c; nDPI 3b1286a: softether.pcap).

use super::{Talk, Verdict, be32, part};
use crate::model::note::Shape;
use crate::model::side::Side;

/// Elements of a PACK that are followed.
const ELEMENTS_MAX: u32 = 64;

/// One letter `A`, answered with the address and port it came from; or a PACK.
pub(super) fn judge(t: &Talk<'_>) -> Verdict {
    if t.len == 1 && t.bytes == b"A" {
        return Verdict::Wait;
    }
    if t.side == Side::Server && t.others().any(|g| g.len == 1 && *g.bytes == *b"A") && address(t.bytes) {
        return Verdict::Yes(Shape::SoftEtherNat);
    }
    if t.whole() && pack(t.bytes).is_some() {
        return Verdict::Yes(Shape::SoftEtherPack);
    }
    if t.before.len() > 4 { Verdict::No } else { Verdict::Wait }
}

/// `IP=a.b.c.d,PORT=n`, with or without an end.
fn address(bytes: &[u8]) -> bool {
    let text = bytes.split(|b| *b == 0).next().unwrap_or(&[]);
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let Some((ip, port)) = text.trim_end().strip_prefix("IP=").and_then(|t| t.split_once(",PORT=")) else { return false };
    ip.parse::<std::net::IpAddr>().is_ok() && port.parse::<u16>().is_ok()
}

/// Count of elements; of each: length of its name plus one, name, type, count of values, values. All of it big-endian.
fn pack(bytes: &[u8]) -> Option<()> {
    let count = be32(bytes, 0).filter(|n| (1..=ELEMENTS_MAX).contains(n))?;
    let mut at = 4usize;
    for _ in 0..count {
        let name = usize::try_from(be32(bytes, at)?).ok()?.checked_sub(1).filter(|n| (1..=63).contains(n))?;
        at = at.checked_add(4)?;
        if !part(bytes, at, name)?.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'@' | b'#')) {
            return None;
        }
        at = at.checked_add(name)?;
        let (kind, values) = (be32(bytes, at)?, be32(bytes, at.checked_add(4)?)?);
        at = at.checked_add(8)?;
        if !(1..=ELEMENTS_MAX).contains(&values) {
            return None;
        }
        for _ in 0..values {
            let len = match kind {
                0 => 4,
                4 => 8,
                1..=3 => usize::try_from(be32(bytes, at)?).ok()?.checked_add(4)?,
                _ => return None,
            };
            part(bytes, at, len)?;
            at = at.checked_add(len)?;
        }
    }
    (at == bytes.len()).then_some(())
}
