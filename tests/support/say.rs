//! What is said inside: TLS, QUIC, HTTP and DNS messages.

use super::Dice;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes_gcm::aead::AeadInOut;
use hkdf::Hkdf;
use sha2::Sha256;
use std::net::IpAddr;

/// A length-prefixed vector: 8-, 16- or 24-bit length.
fn vec8(b: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::try_from(b.len()).expect("8-bit length")];
    out.extend(b);
    out
}
fn vec16(b: &[u8]) -> Vec<u8> {
    let mut out = u16::try_from(b.len()).expect("16-bit length").to_be_bytes().to_vec();
    out.extend(b);
    out
}
fn vec24(b: &[u8]) -> Vec<u8> {
    let mut out = (b.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend(b);
    out
}

/// What a ClientHello asks for.
#[derive(Clone, Debug)]
pub struct Hello {
    pub sni: Option<String>,
    pub alpn: Vec<&'static str>,
    /// An encrypted_client_hello extension with an outer payload of this size.
    pub ech: Option<usize>,
    /// Pads the handshake message to at least this many bytes.
    pub pad_to: usize,
    /// QUIC transport parameters, and no legacy session id.
    pub quic: bool,
    /// A post-quantum key share (1216 bytes), as browsers send since 2024.
    pub big_share: bool,
    pub seed: u64,
}

impl Hello {
    pub fn to(sni: &str) -> Self {
        Self { sni: Some(sni.into()), alpn: vec!["h2", "http/1.1"], ech: None, pad_to: 512, quic: false, big_share: false, seed: 7 }
    }

    /// The handshake message, as a browser of the Chromium family would write it.
    pub fn message(&self) -> Vec<u8> {
        let mut dice = Dice::new(self.seed);
        let grease = 0x0a0a_u16 + 0x1010 * (dice.below(16) as u16);
        let mut ext = Vec::new();
        let mut put = |kind: u16, body: &[u8]| {
            ext.extend(kind.to_be_bytes());
            ext.extend(vec16(body));
        };
        put(grease, &[]);
        if let Some(sni) = &self.sni {
            let mut name = vec![0];
            name.extend(vec16(sni.as_bytes()));
            put(0, &vec16(&name));
        }
        put(23, &[]);
        put(0xff01, &[0]);
        let mut groups = grease.to_be_bytes().to_vec();
        if self.big_share {
            groups.extend([0x11, 0xec]);
        }
        groups.extend([0, 29, 0, 23, 0, 24]);
        put(10, &vec16(&groups));
        if !self.quic {
            put(11, &[1, 0]);
            put(35, &[]);
        }
        let alpn: Vec<u8> = self.alpn.iter().flat_map(|p| vec8(p.as_bytes())).collect();
        if !alpn.is_empty() {
            put(16, &vec16(&alpn));
        }
        put(5, &[1, 0, 0, 0, 0]);
        put(13, &vec16(&[4, 3, 8, 4, 4, 1, 5, 3, 8, 5, 5, 1, 8, 6, 6, 1]));
        let mut shares = grease.to_be_bytes().to_vec();
        shares.extend(vec16(&[0]));
        if self.big_share {
            shares.extend([0x11, 0xec]);
            shares.extend(vec16(&dice.bytes(1216)));
        }
        shares.extend([0, 29]);
        shares.extend(vec16(&dice.bytes(32)));
        put(51, &vec16(&shares));
        put(45, &[1, 1]);
        let mut versions = Vec::new();
        if !self.quic {
            versions.extend(grease.to_be_bytes());
        }
        versions.extend([3, 4]);
        if !self.quic {
            versions.extend([3, 3]);
        }
        put(43, &vec8(&versions));
        put(27, &[2, 0, 2]);
        if self.quic {
            // max_idle_timeout, initial_max_data, initial_source_connection_id (empty).
            put(57, &[0x01, 0x04, 0x80, 0x00, 0x75, 0x30, 0x04, 0x04, 0x80, 0x10, 0x00, 0x00, 0x0f, 0x00]);
        }
        if let Some(n) = self.ech {
            let mut ech = vec![0, 0, 1, 0, 1, dice.below(256) as u8];
            ech.extend(vec16(&dice.bytes(32)));
            ech.extend(vec16(&dice.bytes(n)));
            put(0xfe0d, &ech);
        }
        let mut body = vec![3, 3];
        body.extend(dice.bytes(32));
        body.extend(vec8(&if self.quic { Vec::new() } else { dice.bytes(32) }));
        let mut ciphers = grease.to_be_bytes().to_vec();
        ciphers.extend([0x13, 1, 0x13, 2, 0x13, 3]);
        if !self.quic {
            ciphers.extend([
                0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0, 0x30, 0xcc, 0xa9, 0xcc, 0xa8, 0xc0, 0x13, 0xc0, 0x14, 0, 0x9c, 0, 0x9d, 0, 0x2f,
                0, 0x35,
            ]);
        }
        body.extend(vec16(&ciphers));
        body.extend([1, 0]);
        let now = 4 + body.len() + 2 + ext.len();
        if now < self.pad_to {
            let pad = (self.pad_to - now).saturating_sub(4);
            ext.extend([0, 21]);
            ext.extend(vec16(&vec![0; pad]));
        }
        body.extend(vec16(&ext));
        handshake(1, &body)
    }

    /// The message in one TLS record.
    pub fn record(&self) -> Vec<u8> {
        record(22, 0x0301, &self.message())
    }

    /// The message over many TLS records of at most `size` bytes.
    pub fn records(&self, size: usize) -> Vec<u8> {
        self.message().chunks(size).flat_map(|c| record(22, 0x0301, c)).collect()
    }
}

/// A TLS handshake message.
pub fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(vec24(body));
    out
}

/// A TLS record.
pub fn record(kind: u8, version: u16, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(version.to_be_bytes());
    out.extend(vec16(body));
    out
}

/// A TLS 1.3 ServerHello message.
pub fn server_hello(seed: u64, legacy_session: bool) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut body = vec![3, 3];
    body.extend(dice.bytes(32));
    body.extend(vec8(&if legacy_session { dice.bytes(32) } else { Vec::new() }));
    body.extend([0x13, 0x01, 0]);
    let mut ext = vec![0, 51, 0, 36, 0, 29, 0, 32];
    ext.extend(dice.bytes(32));
    ext.extend([0, 43, 0, 2, 3, 4]);
    body.extend(vec16(&ext));
    handshake(2, &body)
}

/// A TLS 1.3 server's first flight: ServerHello, the compatibility ChangeCipherSpec, what is encrypted already.
pub fn server_flight(seed: u64, encrypted: usize) -> Vec<u8> {
    let mut out = record(22, 0x0303, &server_hello(seed, true));
    out.extend(record(20, 0x0303, &[1]));
    out.extend(application_data(seed ^ 1, encrypted));
    out
}

/// One DER element.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = vec![tag];
    match body.len() {
        n @ 0..0x80 => out.push(n as u8),
        n => {
            out.push(0x82);
            out.extend((n as u16).to_be_bytes());
        }
    }
    out.extend(body);
    out
}

/// A distinguished name with a common name only.
fn common_name(name: &str) -> Vec<u8> {
    let pair = der(0x30, &[&der(0x06, &[&[0x55, 0x04, 0x03]]), &der(0x0c, &[name.as_bytes()])]);
    der(0x30, &[&der(0x31, &[&pair])])
}

/// A TLS 1.2 server's first flight: ServerHello, a certificate for `name` issued by `issuer`, ServerHelloDone. Keys and signature are dice.
pub fn server_flight_12(seed: u64, name: &str, issuer: &str) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut hello = vec![3, 3];
    hello.extend(dice.bytes(32));
    hello.extend(vec8(&dice.bytes(32)));
    hello.extend([0xc0, 0x2f, 0]);
    let algorithm = der(0x30, &[&der(0x06, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b]]), &[5, 0]]);
    let validity = der(0x30, &[&der(0x17, &[b"260101000000Z"]), &der(0x17, &[b"270101000000Z"])]);
    let key = der(0x30, &[&algorithm, &der(0x03, &[&[0], &dice.bytes(270)])]);
    let san = der(0x30, &[&der(0x06, &[&[0x55, 0x1d, 0x11]]), &der(0x04, &[&der(0x30, &[&der(0x82, &[name.as_bytes()])])])]);
    let extensions = der(0xa3, &[&der(0x30, &[&san])]);
    let version = der(0xa0, &[&der(0x02, &[&[2]])]);
    let serial = der(0x02, &[&[1], &dice.bytes(8)]);
    let tbs = der(0x30, &[&version, &serial, &algorithm, &common_name(issuer), &validity, &common_name(name), &key, &extensions]);
    let certificate = der(0x30, &[&tbs, &algorithm, &der(0x03, &[&[0], &dice.bytes(256)])]);
    let mut out = record(22, 0x0303, &handshake(2, &hello));
    out.extend(record(22, 0x0303, &handshake(11, &vec24(&vec24(&certificate)))));
    out.extend(record(22, 0x0303, &handshake(14, &[])));
    out
}

/// A TLS client's second flight: ChangeCipherSpec and Finished.
pub fn client_finished(seed: u64) -> Vec<u8> {
    let mut out = record(20, 0x0303, &[1]);
    out.extend(application_data(seed ^ 2, 53));
    out
}

/// A record of application data.
pub fn application_data(seed: u64, len: usize) -> Vec<u8> {
    record(23, 0x0303, &Dice::new(seed).bytes(len))
}

/// A fatal TLS alert.
pub fn alert(code: u8) -> Vec<u8> {
    record(21, 0x0303, &[2, code])
}

/// An HTTP/1.1 request.
pub fn http_get(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n").into_bytes()
}

/// An HTTP/1.1 response; `extra` is whole header lines.
pub fn http_response(status: &str, extra: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n{extra}\r\n{body}", body.len())
        .into_bytes()
}

fn dns_name(name: &str) -> Vec<u8> {
    let mut out: Vec<u8> = name.split('.').flat_map(|l| vec8(l.as_bytes())).collect();
    out.push(0);
    out
}

/// A DNS query.
pub fn dns_query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut out = id.to_be_bytes().to_vec();
    out.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend(dns_name(name));
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    out
}

/// Its answer.
pub fn dns_answer(id: u16, name: &str, kind: u16, answers: &[IpAddr], rcode: u8, ttl: u32) -> Vec<u8> {
    let mut out = id.to_be_bytes().to_vec();
    out.extend([0x81, 0x80 | rcode, 0, 1]);
    out.extend((answers.len() as u16).to_be_bytes());
    out.extend([0; 4]);
    out.extend(dns_name(name));
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    for a in answers {
        out.extend([0xc0, 12]);
        let (kind, data): (u16, Vec<u8>) = match a {
            IpAddr::V4(a) => (1, a.octets().to_vec()),
            IpAddr::V6(a) => (28, a.octets().to_vec()),
        };
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out.extend(ttl.to_be_bytes());
        out.extend(vec16(&data));
    }
    out
}

/// QUIC version 1 Initials (RFC 9001 §5, RFC 9000 §17.2.2).
pub mod quic {
    use super::*;

    const SALT: [u8; 20] =
        [0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a];

    fn expand(key: &Hkdf<Sha256>, label: &str, out: &mut [u8]) {
        let mut info = (out.len() as u16).to_be_bytes().to_vec();
        info.extend(vec8(format!("tls13 {label}").as_bytes()));
        info.push(0);
        key.expand(&info, out).expect("a short key");
    }

    fn varint(n: usize) -> Vec<u8> {
        match n {
            0..0x40 => vec![n as u8],
            0x40..0x4000 => (n as u16 | 0x4000).to_be_bytes().to_vec(),
            _ => (n as u32 | 0x8000_0000).to_be_bytes().to_vec(),
        }
    }

    /// A CRYPTO frame.
    pub fn crypto(offset: usize, data: &[u8]) -> Vec<u8> {
        let mut out = vec![6];
        out.extend(varint(offset));
        out.extend(varint(data.len()));
        out.extend(data);
        out
    }

    /// An ACK frame of packets 0 to `largest`.
    pub fn ack(largest: u8) -> Vec<u8> {
        vec![2, largest, 10, 0, largest]
    }

    /// An Initial. `secret_id` is the client's first destination connection id; `size` is what the packet is padded to.
    pub fn initial(from_client: bool, secret_id: &[u8], dcid: &[u8], scid: &[u8], number: u8, frames: &[u8], size: usize) -> Vec<u8> {
        let (_, base) = Hkdf::<Sha256>::extract(Some(&SALT), secret_id);
        let mut secret = [0; 32];
        expand(&base, if from_client { "client in" } else { "server in" }, &mut secret);
        let secret = Hkdf::<Sha256>::from_prk(&secret).expect("a 32-byte secret");
        let (mut key, mut iv, mut hp) = ([0; 16], [0; 12], [0; 16]);
        expand(&secret, "quic key", &mut key);
        expand(&secret, "quic iv", &mut iv);
        expand(&secret, "quic hp", &mut hp);

        let mut head = vec![0xc0];
        head.extend(1_u32.to_be_bytes());
        head.extend(vec8(dcid));
        head.extend(vec8(scid));
        head.push(0);
        let mut plain = frames.to_vec();
        let fixed = head.len() + 2 + 1;
        plain.resize(plain.len().max(size.saturating_sub(fixed + 16)).max(4), 0);
        let len = 1 + plain.len() + 16;
        head.extend((len as u16 | 0x4000).to_be_bytes());
        let number_at = head.len();
        head.push(number);

        let mut nonce = iv;
        nonce[11] ^= number;
        let cipher = aes_gcm::Aes128Gcm::new_from_slice(&key).expect("a 16-byte key");
        cipher.encrypt_in_place(&nonce.into(), &head, &mut plain).expect("a short packet");
        let mut packet = head;
        packet.extend(plain);

        let mut mask: aes::Block = <[u8; 16]>::try_from(&packet[number_at + 4..number_at + 20]).expect("16 bytes").into();
        aes::Aes128::new_from_slice(&hp).expect("a 16-byte key").encrypt_block(&mut mask);
        packet[0] ^= mask[0] & 0x0f;
        packet[number_at] ^= mask[1];
        packet
    }

    /// A packet of the Handshake space whose content nobody outside can read.
    pub fn handshake(dcid: &[u8], scid: &[u8], len: usize, seed: u64) -> Vec<u8> {
        let mut out = vec![0xe0 | (seed as u8 & 0x0f)];
        out.extend(1_u32.to_be_bytes());
        out.extend(vec8(dcid));
        out.extend(vec8(scid));
        out.extend((len as u16 | 0x4000).to_be_bytes());
        out.extend(Dice::new(seed).bytes(len));
        out
    }

    /// A 1-RTT packet.
    pub fn short(dcid: &[u8], len: usize, seed: u64) -> Vec<u8> {
        let mut out = vec![0x40 | (seed as u8 & 0x1f)];
        out.extend(dcid);
        out.extend(Dice::new(seed).bytes(len));
        out
    }
}
