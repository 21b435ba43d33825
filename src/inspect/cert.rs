//! Names in an X.509 certificate (RFC 5280 §4.1), read by a bounded walk over its DER: no trust, no signature, no dates.

use super::cursor::Cursor;
use crate::model::note::{Certificate, wire_text};

/// Most names kept of one certificate.
const NAMES_MAX: usize = 32;

const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;
const EXPLICIT_VERSION: u8 = 0xa0;
const EXPLICIT_EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// The first certificate of a Certificate handshake message (TLS ≤ 1.2), its 4-byte header included.
pub(super) fn leaf(message: &[u8]) -> Option<Certificate> {
    let mut c = Cursor::starting(message, 4)?;
    c.u24()?;
    let len = c.u24()? as usize;
    names(c.take(len)?)
}

fn names(der: &[u8]) -> Option<Certificate> {
    let (_, certificate) = element(&mut Cursor::new(der)).filter(|e| e.0 == SEQUENCE)?;
    let (_, tbs) = element(&mut Cursor::new(certificate)).filter(|e| e.0 == SEQUENCE)?;
    let mut c = Cursor::new(tbs);
    let (mut tag, _) = element(&mut c)?;
    if tag == EXPLICIT_VERSION {
        (tag, _) = element(&mut c)?;
    }
    // Now past the serial number (an INTEGER); next comes the signature algorithm.
    if tag != 0x02 {
        return None;
    }
    element(&mut c)?;
    let (_, issuer) = element(&mut c)?;
    element(&mut c)?;
    let (_, subject) = element(&mut c)?;
    let mut names = Vec::new();
    if let Some(name) = attribute(subject, COMMON_NAME) {
        names.push(name);
    }
    while let Some((tag, body)) = element(&mut c) {
        if tag == EXPLICIT_EXTENSIONS {
            alternative_names(body, &mut names);
        }
    }
    let issuer = attribute(issuer, COMMON_NAME).or_else(|| attribute(issuer, ORGANISATION));
    Some(Certificate { names, organisation: attribute(subject, ORGANISATION), issuer })
}

fn alternative_names(extensions: &[u8], names: &mut Vec<Box<str>>) {
    let Some((_, list)) = element(&mut Cursor::new(extensions)) else { return };
    let mut list = Cursor::new(list);
    while let Some((_, extension)) = element(&mut list) {
        let mut parts = Cursor::new(extension);
        if element(&mut parts) != Some((OID, SUBJECT_ALT_NAME)) {
            continue;
        }
        // An optional `critical` BOOLEAN may stand before the value.
        let Some((_, value)) = std::iter::from_fn(|| element(&mut parts)).find(|e| e.0 == OCTET_STRING) else { continue };
        let Some((_, general)) = element(&mut Cursor::new(value)) else { continue };
        let mut general = Cursor::new(general);
        while let Some((tag, name)) = element(&mut general) {
            if names.len() >= NAMES_MAX {
                return;
            }
            if tag == DNS_NAME {
                let name = wire_text(name, 255);
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
    }
}

/// The last value of an attribute in a distinguished name (the most specific one).
fn attribute(name: &[u8], wanted: &[u8]) -> Option<Box<str>> {
    let mut sets = Cursor::new(name);
    let mut found = None;
    while let Some((_, set)) = element(&mut sets) {
        let mut pairs = Cursor::new(set);
        while let Some((_, pair)) = element(&mut pairs) {
            let mut pair = Cursor::new(pair);
            if element(&mut pair) == Some((OID, wanted))
                && let Some((tag, value)) = element(&mut pair)
            {
                found = Some(text(tag, value));
            }
        }
    }
    found
}

fn text(tag: u8, value: &[u8]) -> Box<str> {
    if tag != BMP_STRING {
        return wire_text(value, 255);
    }
    let units = value.chunks_exact(2).filter_map(|pair| pair.try_into().ok().map(u16::from_be_bytes));
    let text: String = char::decode_utf16(units.take(255)).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    wire_text(text.as_bytes(), 1024)
}

/// One DER element: tag and content. Only one-byte tags and definite lengths, as certificates use.
fn element<'a>(c: &mut Cursor<'a>) -> Option<(u8, &'a [u8])> {
    let tag = c.u8()?;
    let first = c.u8()?;
    let len = match first {
        0..=0x7f => usize::from(first),
        0x81 => usize::from(c.u8()?),
        0x82 => usize::from(c.u16()?),
        0x83 => c.u24()? as usize,
        _ => return None,
    };
    Some((tag, c.take(len)?))
}
