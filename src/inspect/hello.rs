//! ClientHello and ServerHello bodies (RFC 8446 §4.1, RFC 5246 §7.4.1, RFC 6066, RFC 7301, RFC 9849).

use super::cursor::Cursor;
use super::ja4::{self, Carrier, Parts};
use crate::model::note::{ClientHello, Ech, ServerHello, wire_text};
use tls_parser::{SNIType, TlsExtension};

/// Longest ClientHello that is read, in bytes, header included. Post-quantum hellos are below 2 KiB; 16 KiB is generous.
pub(super) const HELLO_MAX: usize = 16 * 1024;

/// Handshake message types (RFC 8446 §B.3).
pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const SERVER_HELLO: u8 = 2;

/// Names that stand outside when the real one is encrypted: with one of these, the ECH extension is not GREASE.
const ECH_PUBLIC_NAMES: [&str; 5] = ["cloudflare-ech.com", "crypto.cloudflare.com", "public.tls-ech.dev", "cover.defo.ie", "tls-ech.dev"];

/// A ServerHello with this random is a HelloRetryRequest (RFC 8446 §4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb,
    0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

const EXT_SERVER_NAME: u16 = 0x0000;
const EXT_SIGNATURES: u16 = 0x000d;
const EXT_USE_SRTP: u16 = 0x000e;
const EXT_ALPN: u16 = 0x0010;
const EXT_PSK: u16 = 0x0029;
const EXT_EARLY_DATA: u16 = 0x002a;
const EXT_VERSIONS: u16 = 0x002b;
const EXT_KEY_SHARE: u16 = 0x0033;
/// Sent by browsers since 2024 (draft-kwiatkowski-tls-ecdhe-mlkem).
const X25519_MLKEM768: u16 = 0x11ec;
const EXT_ECH: u16 = 0xfe0d;

/// Reads a whole ClientHello: `message` begins with its 4-byte handshake header (type, 24-bit length).
/// For DTLS the cookie must have been cut out before.
pub(super) fn client_hello(message: &[u8], carrier: Carrier) -> Option<ClientHello> {
    let mut c = Cursor::new(message);
    if c.u8()? != CLIENT_HELLO {
        return None;
    }
    let len = c.u24()? as usize;
    let body = c.take(len)?;
    let (after, hello) = tls_parser::parse_tls_handshake_client_hello(body).ok()?;
    // A wrong length of the extension block leaves it unparsed; what is there is still worth walking.
    let block = hello.ext.or_else(|| after.get(2..)).unwrap_or(&[]);
    let ciphers: Vec<u16> = hello.ciphers.iter().map(|c| c.0).collect();
    let walked = Extensions::walk(block);
    let legacy = hello.version.0;
    let version = walked.highest_version(carrier).unwrap_or(legacy);
    let (sni, sni_odd) = walked.name.map_or((None, false), clean_name);
    let ech = match (&sni, walked.ech) {
        (_, false) => Ech::None,
        (Some(name), true) if ECH_PUBLIC_NAMES.contains(&&**name) => Ech::Real,
        (_, true) => Ech::Grease,
    };
    let ja4 = ja4::ja4(&Parts {
        carrier,
        version,
        sni: walked.types.contains(&EXT_SERVER_NAME),
        ciphers: &ciphers,
        extensions: &walked.types,
        alpn: walked.alpn.first().copied(),
        signatures: &walked.signatures,
    });
    Some(ClientHello {
        sni,
        sni_odd,
        alpn: walked.alpn.iter().take(16).map(|a| wire_text(a, 64)).collect(),
        ja4,
        version,
        ech,
        psk: walked.types.contains(&EXT_PSK),
        early_data: walked.types.contains(&EXT_EARLY_DATA),
        len: u32::try_from(c.at()).unwrap_or(u32::MAX),
        records: 0,
        sni_at: walked.name.map_or(0, |name| offset_within(message, name)),
        use_srtp: walked.types.contains(&EXT_USE_SRTP),
        hybrid: walked.hybrid,
    })
}

/// The server name of a hello that may be cut anywhere after its name. `None`: not a ClientHello, or cut before the name.
/// `Some(None)`: the whole hello is there and names nobody.
pub(super) fn name_in_part(message: &[u8]) -> Option<Option<Box<str>>> {
    let mut c = Cursor::new(message);
    if c.u8()? != CLIENT_HELLO {
        return None;
    }
    let len = c.u24()? as usize;
    let complete = c.left() >= len;
    if complete {
        return client_hello(message, Carrier::Tcp).map(|hello| hello.sni);
    }
    c.take(34)?;
    c.block8()?;
    c.block16()?;
    c.block8()?;
    c.u16()?;
    let walked = Extensions::walk(c.rest());
    walked.name.map(|name| clean_name(name).0)
}

/// Reads a ServerHello or HelloRetryRequest with its 4-byte handshake header.
pub(super) fn server_hello(message: &[u8]) -> Option<ServerHello> {
    let mut c = Cursor::new(message);
    if c.u8()? != SERVER_HELLO {
        return None;
    }
    let len = c.u24()? as usize;
    let mut c = Cursor::new(c.take(len)?);
    let legacy = c.u16()?;
    let retry = c.take(32)? == RETRY_RANDOM;
    // Drafts of TLS 1.3 up to 21 had no session id here; later ones and all older versions do.
    if !(0x7f00..=0x7f15).contains(&legacy) {
        c.block8()?;
    }
    let cipher = c.u16()?;
    let mut hello = ServerHello { version: legacy, cipher, alpn: None, retry, group: 0 };
    if !(0x7f00..=0x7f15).contains(&legacy) {
        c.u8()?;
    }
    let Some(block) = c.block16() else { return Some(hello) };
    let mut extensions = Cursor::new(block);
    while let (Some(kind), Some(body)) = (extensions.u16(), extensions.block16()) {
        match kind {
            EXT_KEY_SHARE => hello.group = Cursor::new(body).u16().unwrap_or(0),
            EXT_VERSIONS => hello.version = Cursor::new(body).u16().unwrap_or(hello.version),
            EXT_ALPN => {
                let mut list = Cursor::new(body);
                hello.alpn = list.u16().and_then(|_| list.block8()).map(|a| wire_text(a, 64));
            }
            _ => {}
        }
    }
    Some(hello)
}

/// What the extension walk found, in wire order.
#[derive(Default)]
struct Extensions<'a> {
    types: Vec<u16>,
    name: Option<&'a [u8]>,
    alpn: Vec<&'a [u8]>,
    versions: Vec<u16>,
    signatures: Vec<u16>,
    ech: bool,
    hybrid: bool,
}

impl<'a> Extensions<'a> {
    /// Walks as far as the lengths hold. Types are kept even if the body makes no sense: JA4 counts them.
    fn walk(block: &'a [u8]) -> Self {
        let mut out = Self { types: Vec::with_capacity(24), ..Self::default() };
        let mut c = Cursor::new(block);
        loop {
            let start = c.rest();
            let (Some(kind), Some(body)) = (c.u16(), c.block16()) else { break };
            out.types.push(kind);
            match kind {
                EXT_SERVER_NAME | EXT_ALPN | EXT_SIGNATURES => match tls_parser::parse_tls_client_hello_extension(start) {
                    Ok((_, TlsExtension::SNI(names))) if out.name.is_none() => {
                        out.name = names.iter().find(|(kind, name)| *kind == SNIType::HostName && !name.is_empty()).map(|(_, name)| *name);
                    }
                    Ok((_, TlsExtension::ALPN(values))) if out.alpn.is_empty() => out.alpn = values,
                    Ok((_, TlsExtension::SignatureAlgorithms(values))) if out.signatures.is_empty() => out.signatures = values,
                    _ => {}
                },
                EXT_VERSIONS => {
                    let mut list = Cursor::new(Cursor::new(body).block8().unwrap_or(&[]));
                    while let Some(version) = list.u16() {
                        out.versions.push(version);
                    }
                }
                EXT_KEY_SHARE => {
                    let mut list = Cursor::new(Cursor::new(body).block16().unwrap_or(&[]));
                    while let (Some(group), Some(_)) = (list.u16(), list.block16()) {
                        out.hybrid |= group == X25519_MLKEM768;
                    }
                }
                // Type 0 is the outer hello; an inner marker cannot be seen from outside.
                EXT_ECH => out.ech |= body.first() == Some(&0),
                _ => {}
            }
        }
        out
    }

    fn highest_version(&self, carrier: Carrier) -> Option<u16> {
        let offered = self.versions.iter().copied().filter(|&v| !ja4::is_grease(v));
        match carrier {
            // DTLS counts downwards: 1.3 is 0xfefc, 1.2 is 0xfefd.
            Carrier::Dtls => offered.min(),
            _ => offered.max(),
        }
    }
}

/// Lower case, one trailing dot off, odd bytes escaped; and whether there were any bytes other than letters, digits, hyphens and dots.
fn clean_name(name: &[u8]) -> (Option<Box<str>>, bool) {
    let name = name.strip_suffix(b".").unwrap_or(name).to_ascii_lowercase();
    let odd = !name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    let text = wire_text(&name, 255);
    (if text.is_empty() { None } else { Some(text) }, odd)
}

/// Where `part`, a subslice of `whole`, begins in it.
fn offset_within(whole: &[u8], part: &[u8]) -> u32 {
    let distance = part.as_ptr().addr().checked_sub(whole.as_ptr().addr());
    distance.and_then(|d| u32::try_from(d).ok()).filter(|&d| (d as usize) < whole.len()).unwrap_or(0)
}
