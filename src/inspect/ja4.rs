//! JA4 fingerprints of ClientHellos (FoxIO JA4 specification, BSD-3 part).

use sha2::{Digest, Sha256};
use std::fmt::Write;

/// What carried the hello: the first letter of a JA4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Carrier {
    Tcp,
    Quic,
    Dtls,
}

/// The parts of a ClientHello that a JA4 is made of, in wire order and with GREASE still inside.
pub(super) struct Parts<'a> {
    pub(super) carrier: Carrier,
    /// Highest version offered, GREASE removed.
    pub(super) version: u16,
    pub(super) sni: bool,
    pub(super) ciphers: &'a [u16],
    pub(super) extensions: &'a [u16],
    pub(super) alpn: Option<&'a [u8]>,
    pub(super) signatures: &'a [u16],
}

/// Reserved values that clients sprinkle in to keep servers tolerant (RFC 8701).
pub(super) const fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

pub(super) fn ja4(parts: &Parts<'_>) -> Box<str> {
    let mut ciphers: Vec<u16> = parts.ciphers.iter().copied().filter(|&c| !is_grease(c)).collect();
    let mut extensions: Vec<u16> = parts.extensions.iter().copied().filter(|&e| !is_grease(e)).collect();
    let carrier = match parts.carrier {
        Carrier::Tcp => 't',
        Carrier::Quic => 'q',
        Carrier::Dtls => 'd',
    };
    let version = match parts.version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        0xfeff => "d1",
        0xfefd => "d2",
        0xfefc => "d3",
        _ => "00",
    };
    let (first, last) = alpn_ends(parts.alpn);
    let mut out = String::with_capacity(40);
    let _ = write!(
        out,
        "{carrier}{version}{}{:02}{:02}{first}{last}_",
        if parts.sni { 'd' } else { 'i' },
        ciphers.len().min(99),
        extensions.len().min(99),
    );
    ciphers.sort_unstable();
    push_hash(&mut out, &comma_hex(&ciphers));
    // The server name and ALPN vary with the destination, not with the client: they are counted above but not hashed.
    extensions.retain(|&e| e != 0x0000 && e != 0x0010);
    extensions.sort_unstable();
    let mut third = comma_hex(&extensions);
    if !parts.signatures.is_empty() {
        third.push('_');
        third.push_str(&comma_hex(parts.signatures));
    }
    out.push('_');
    push_hash(&mut out, &third);
    out.into_boxed_str()
}

fn alpn_ends(alpn: Option<&[u8]>) -> (char, char) {
    let (Some(&first), Some(&last)) = (alpn.and_then(<[u8]>::first), alpn.and_then(<[u8]>::last)) else {
        return ('0', '0');
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        (char::from(first), char::from(last))
    } else {
        (digit(first >> 4), digit(last))
    }
}

/// A lower-case hex digit of the low half of a byte.
const fn digit(nibble: u8) -> char {
    match nibble & 0x0f {
        n @ 0..=9 => b'0'.saturating_add(n) as char,
        n => b'a'.saturating_add(n.saturating_sub(10)) as char,
    }
}

fn push_hex(out: &mut String, byte: u8) {
    out.push(digit(byte >> 4));
    out.push(digit(byte));
}

fn comma_hex(values: &[u16]) -> String {
    let mut out = String::with_capacity(values.len().saturating_mul(5));
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        value.to_be_bytes().into_iter().for_each(|byte| push_hex(&mut out, byte));
    }
    out
}

fn push_hash(out: &mut String, text: &str) {
    if text.is_empty() {
        out.push_str("000000000000");
        return;
    }
    Sha256::digest(text.as_bytes()).iter().take(6).for_each(|byte| push_hex(out, *byte));
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROME: [u16; 15] =
        [0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035];

    #[test]
    fn the_specifications_example() {
        let mut ciphers = vec![0x5a5a];
        ciphers.extend(CHROME);
        let parts = Parts {
            carrier: Carrier::Tcp,
            version: 0x0304,
            sni: true,
            ciphers: &ciphers,
            extensions: &[
                0x8a8a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b, 0xff01, 0x000b,
                0x000a, 0x0015, 0x1a1a,
            ],
            alpn: Some(b"h2"),
            signatures: &[0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601],
        };
        assert_eq!(&*ja4(&parts), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn nothing_offered_hashes_to_zeros() {
        let parts = Parts {
            carrier: Carrier::Quic,
            version: 0x7f1c,
            sni: false,
            ciphers: &[],
            extensions: &[],
            alpn: Some(b"\xab"),
            signatures: &[],
        };
        assert_eq!(&*ja4(&parts), "q00i0000ab_000000000000_000000000000");
    }
}
