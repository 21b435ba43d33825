//! The desk as a whole: any segmentation says the same, nothing hostile breaks it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::string_slice
)]

use super::quic_keys::{self, Keys};
use super::*;
use crate::model::event::GapCause;
use crate::model::frame::FrameNo;
use crate::model::note::{Ech, Shape, UserName};
use crate::model::time::Time;
use proptest::prelude::*;

fn seen(frame: u64) -> Seen {
    Seen { frame: FrameNo(frame), ts: Time::from_nanos(0), ttl: 64 }
}

/// A conversation being told to a desk.
struct Talk {
    desk: Desk,
    notes: Notes,
    at: [i64; 2],
    frame: u64,
    appetite: Appetite,
}

impl Talk {
    fn new(desk: Desk) -> Self {
        Self { desk, notes: Notes::default(), at: [1, 1], frame: 0, appetite: Appetite::Hungry }
    }
    fn event(&mut self, side: Side, ev: &StreamEvent<'_>) -> &mut Self {
        self.frame += 1;
        if self.appetite == Appetite::Hungry {
            self.appetite = self.desk.feed(side, &seen(self.frame), ev, &mut self.notes);
        }
        self
    }
    fn say(&mut self, side: Side, bytes: &[u8]) -> &mut Self {
        let at = Pos(self.at[side as usize]);
        self.at[side as usize] += bytes.len() as i64;
        self.event(side, &StreamEvent::Bytes { at, bytes })
    }
    fn send(&mut self, side: Side, bytes: &[u8]) -> &mut Self {
        self.event(side, &StreamEvent::Datagram { bytes, len: bytes.len() as u32 })
    }
    fn say_cut(&mut self, side: Side, bytes: &[u8], cuts: &[usize]) -> &mut Self {
        let mut rest = bytes;
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let n = cuts.next().map_or(rest.len(), |&n| n.clamp(1, rest.len()));
            self.say(side, &rest[..n]);
            rest = &rest[n..];
        }
        self
    }
    /// What was said, without the frame numbers.
    fn told(&mut self) -> Vec<String> {
        self.desk.finish(&mut self.notes);
        self.notes.list.iter().map(|n| format!("{:?} {:?}-{:?} {:?}", n.side, n.from, n.to, n.fact)).collect()
    }
}

fn ext(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), body].concat()
}

fn hello(sni: &str, more: &[Vec<u8>]) -> Vec<u8> {
    let name = [&(sni.len() as u16 + 3).to_be_bytes()[..], &[0], &(sni.len() as u16).to_be_bytes(), sni.as_bytes()].concat();
    let mut extensions = ext(0, &name);
    extensions.extend(ext(0x0a0a, b""));
    extensions.extend(ext(0x10, b"\x00\x0c\x02h2\x08http/1.1"));
    extensions.extend(ext(0x2b, &[4, 3, 4, 3, 3]));
    extensions.extend(ext(0x0d, &[0, 4, 4, 3, 8, 4]));
    for e in more {
        extensions.extend(e);
    }
    let mut body = vec![3, 3];
    body.extend([7u8; 32]);
    body.push(0);
    body.extend([0, 4, 0x13, 1, 0x13, 2, 1, 0]);
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    [&[1, 0][..], &(body.len() as u16).to_be_bytes(), &body].concat()
}

fn records(message: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut out = vec![];
    let mut rest = message;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let n = (*cuts.next().unwrap()).min(rest.len());
        out.extend([0x16, 3, 1, (n >> 8) as u8, n as u8]);
        out.extend(&rest[..n]);
        rest = &rest[n..];
    }
    out
}

fn server_hello(random: [u8; 32]) -> Vec<u8> {
    let extensions = ext(0x2b, &[3, 4]);
    let mut body = vec![3, 3];
    body.extend(random);
    body.extend([0, 0x13, 1, 0]);
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    [&[2, 0][..], &(body.len() as u16).to_be_bytes(), &body].concat()
}

const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb,
    0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect()
}

#[test]
fn a_desk_is_small() {
    assert!(size_of::<Desk>() <= 64, "{}", size_of::<Desk>());
}

#[test]
fn a_hello_in_one_chunk() {
    let mut t = Talk::new(Desk::tcp(50_000, 443));
    let message = hello("Web.Telegram.ORG.", &[]);
    t.say(Side::Client, &records(&message, &[message.len()]));
    let (note, h) = t.notes.client_hello().unwrap();
    assert_eq!((note.from, note.to), (Pos(1), Pos(1 + 5 + message.len() as i64)));
    assert_eq!(h.sni.as_deref(), Some("web.telegram.org"));
    assert!(!h.sni_odd);
    assert_eq!(&message[h.sni_at as usize..][..4], b"Web.");
    assert_eq!((h.version, h.records, h.len), (0x0304, 1, message.len() as u32));
    assert_eq!(h.alpn.iter().map(|a| &**a).collect::<Vec<_>>(), ["h2", "http/1.1"]);
    assert!(h.ja4.starts_with("t13d0204h2_"), "{}", h.ja4);
    assert_eq!(t.desk.app(), Some("tls"));
}

#[test]
fn ech_is_real_only_behind_a_public_name() {
    let ech = ext(0xfe0d, &[0, 0, 1, 0, 1, 9, 0, 0, 0, 0]);
    for (name, want) in [("cloudflare-ech.com", Ech::Real), ("example.org", Ech::Grease)] {
        let mut t = Talk::new(Desk::tcp(50_000, 443));
        let message = hello(name, std::slice::from_ref(&ech));
        t.say(Side::Client, &records(&message, &[message.len()]));
        assert_eq!(t.notes.client_hello().unwrap().1.ech, want);
    }
}

#[test]
fn a_hello_that_stops_is_partial_whoever_stops_it() {
    let message = hello("example.org", &[]);
    let wire = records(&message, &[message.len()]);
    let partial = |t: &mut Talk| {
        t.desk.finish(&mut t.notes);
        t.notes.list.iter().find_map(|n| match n.fact {
            Fact::PartialClientHello { announced, have } => Some((announced, have)),
            _ => None,
        })
    };
    let mut ended = Talk::new(Desk::tcp(50_000, 443));
    ended.say(Side::Client, &wire[..60]);
    assert_eq!(partial(&mut ended), Some((message.len() as u32, 55)));
    let mut gap = Talk::new(Desk::tcp(50_000, 443));
    gap.say(Side::Client, &wire[..60]);
    gap.event(Side::Client, &StreamEvent::Gap { from: Pos(61), to: Pos(100), cause: GapCause::CaptureLoss });
    gap.say(Side::Client, &wire[99..]);
    assert_eq!(partial(&mut gap), Some((message.len() as u32, 55)));
    let mut first_byte = Talk::new(Desk::tcp(50_000, 443));
    first_byte.say(Side::Client, &wire[..1]);
    assert_eq!(partial(&mut first_byte), Some((0, 0)));
    let mut header = Talk::new(Desk::tcp(50_000, 9443));
    header.say(Side::Client, &wire[..5]);
    assert_eq!(partial(&mut header), Some((0, 0)));
}

#[test]
fn decoys_are_told_apart_and_a_retry_is_none() {
    let fake = hello("www.google.com", &[]);
    let real = hello("discord.com", &[]);
    let mut t = Talk::new(Desk::tcp(50_000, 443));
    let cut = records(&fake, &[fake.len()]);
    t.event(Side::Client, &StreamEvent::Aside { at: Pos(1), bytes: &cut[..80] });
    t.event(Side::Client, &StreamEvent::Aside { at: Pos(1), bytes: &[0; 50] });
    t.say(Side::Client, &records(&real, &[real.len()]));
    t.say(Side::Server, &records(&server_hello(RETRY), &[300]));
    t.say(Side::Server, &[20, 3, 3, 0, 1, 1]);
    t.say(Side::Client, &[20, 3, 3, 0, 1, 1]);
    t.say(Side::Client, &records(&real, &[real.len()]));
    t.say(Side::Server, &records(&server_hello([1; 32]), &[300]));
    t.say(Side::Server, &[23, 3, 3, 0, 50]);
    assert_eq!(t.appetite, Appetite::Hungry);
    t.say(Side::Client, &[23, 3, 3, 0, 53]);
    assert_eq!(t.appetite, Appetite::Full);
    assert_eq!(t.notes.decoys().map(|d| d.1.unwrap().to_owned()).collect::<Vec<_>>(), ["www.google.com"]);
    let hellos = t.notes.list.iter().filter(|n| matches!(n.fact, Fact::ClientHello(_))).count();
    let answers: Vec<_> =
        t.notes.list.iter().filter_map(|n| if let Fact::ServerHello(s) = &n.fact { Some((s.retry, s.version)) } else { None }).collect();
    assert_eq!((hellos, answers), (2, vec![(true, 0x0304), (false, 0x0304)]));
}

#[test]
fn alerts_in_clear_and_not() {
    let mut t = Talk::new(Desk::tcp(50_000, 443));
    let message = hello("example.org", &[]);
    t.say(Side::Client, &records(&message, &[100]));
    t.say_cut(Side::Server, &[21, 3, 3, 0, 2, 2, 40, 21, 3, 3, 0, 26], &[1]);
    assert!(matches!(t.notes.list[1].fact, Fact::TlsAlert { level: 2, description: 40 }));
    assert!(matches!(t.notes.list[2].fact, Fact::TlsEncryptedAlert));
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&[tag, 0x82][..], &(body.len() as u16).to_be_bytes(), &body].concat()
}

#[test]
fn names_of_a_certificate() {
    let cn = |name: &str| der(0x30, &[&der(0x31, &[&der(0x30, &[&[6, 3, 0x55, 4, 3], &der(0x0c, &[name.as_bytes()])])])]);
    let san = der(0x30, &[&der(0x82, &[b"*.kakao.com"]), &der(0x87, &[&[1, 2, 3, 4]]), &der(0x82, &[b"kakao.com"])]);
    let extension = der(0x30, &[&[6, 3, 0x55, 0x1d, 0x11], &[1, 1, 0xff], &der(4, &[&san])]);
    let tbs = der(
        0x30,
        &[
            &der(0xa0, &[&[2, 1, 2]]),
            &[2, 1, 5],
            &der(0x30, &[]),
            &cn("Some CA"),
            &der(0x30, &[]),
            &cn("kakao.com"),
            &der(0x30, &[]),
            &der(0xa3, &[&der(0x30, &[&extension])]),
        ],
    );
    let der = der(0x30, &[&tbs]);
    let len = |n: usize| [0, (n >> 8) as u8, n as u8];
    let message = [&[11][..], &len(der.len() + 6), &len(der.len() + 3), &len(der.len()), &der].concat();
    let found = cert::leaf(&message).unwrap();
    assert_eq!(found.names.iter().map(|n| &**n).collect::<Vec<_>>(), ["kakao.com", "*.kakao.com"]);
    assert_eq!(found.issuer.as_deref(), Some("Some CA"));
}

#[test]
fn block_pages() {
    let mut t = Talk::new(Desk::tcp(50_000, 80));
    t.say(Side::Client, b"GET /x HTTP/1.1\r\nhOsT: Example.ORG:80\r\nUser-Agent: a\r\n\r\n");
    t.say(Side::Server, b"HTTP/1.1 302 Found\r\nLocation: http://blocked.mts.ru/\r\nContent-Length: 0\r\n\r\n");
    t.say(Side::Client, b"GET /y HTTP/1.1\r\nHost: b\r\n\r\n");
    t.say(Side::Server, b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n");
    t.say(Side::Client, b"CONNECT signal.org:443 HTTP/1.1\r\n\r\n");
    t.say(Side::Server, b"HTTP/1.1 200 OK\r\n\r\n");
    let message = hello("signal.org", &[]);
    t.say(Side::Client, &records(&message, &[50]));
    let requests: Vec<_> =
        t.notes.list.iter().filter_map(|n| if let Fact::HttpRequest(r) = &n.fact { r.host.as_deref() } else { None }).collect();
    assert_eq!(requests, ["example.org", "b", "signal.org"]);
    let answers: Vec<_> = t.notes.http_responses().map(|(_, r)| (r.status, &*r.body, r.location.as_deref())).collect();
    assert_eq!(
        answers,
        [(302, &b""[..], Some("http://blocked.mts.ru/")), (403, b"", None), (200, b"", None)],
        "the first alone has a body"
    );
    assert_eq!(t.notes.client_hello().unwrap().1.sni.as_deref(), Some("signal.org"));

    let mut bare = Talk::new(Desk::tcp(50_000, 80));
    bare.say(Side::Client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .say(Side::Server, b"<HTML><body>denied")
        .event(Side::Server, &StreamEvent::Fin { at: Pos(19) });
    let (_, page) = bare.notes.http_responses().next().unwrap();
    assert_eq!((page.status, &*page.body), (0, &b"<HTML><body>denied"[..]));

    let mut chunked = Talk::new(Desk::tcp(50_000, 80));
    chunked.say(Side::Client, b"GET /y HTTP/1.1\r\nHost: b\r\n\r\n");
    chunked.say(Side::Server, b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n");
    assert_eq!(&*chunked.notes.http_responses().next().unwrap().1.body, b"hello world");
}

#[test]
fn tls_behind_socks_and_after_starttls() {
    let message = hello("www.youtube.com", &[]);
    let wire = records(&message, &[message.len()]);
    let mut t = Talk::new(Desk::tcp(50_000, 1080));
    t.say(Side::Client, &[5, 1, 0]).say(Side::Server, &[5, 0]);
    t.say(Side::Client, b"\x05\x01\x00\x03\x0fwww.youtube.com\x01\xbb").say(Side::Server, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    t.say_cut(Side::Client, &wire, &[7]);
    assert_eq!(t.notes.client_hello().unwrap().1.sni.as_deref(), Some("www.youtube.com"));
    assert_eq!(t.desk.app(), Some("socks"));
    let mut t = Talk::new(Desk::tcp(50_000, 587));
    t.say(Side::Server, b"220 mx ESMTP\r\n")
        .say(Side::Client, b"EHLO me\r\nSTARTTLS\r\n")
        .say(Side::Server, b"220 go\r\n")
        .say(Side::Client, &wire);
    assert!(t.notes.client_hello().is_some());
    assert_eq!(t.desk.app(), Some("smtp"));
    let mut t = Talk::new(Desk::tcp(50_000, 5222));
    let opens =
        b"<?xml version='1.0'?><stream:stream to='example.org' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
    t.say(Side::Client, opens)
        .say(Side::Server, b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>")
        .say(Side::Client, b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        .say(Side::Server, b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        .say(Side::Client, &wire);
    assert_eq!(t.notes.client_hello().unwrap().1.sni.as_deref(), Some("www.youtube.com"));
    assert_eq!((t.desk.app(), t.notes.shapes().next().map(|(_, s)| s)), (Some("xmpp"), Some(Shape::Xmpp)));
}

#[test]
fn requests_that_open_a_tunnel() {
    let told = |request: &[u8]| {
        let mut t = Talk::new(Desk::tcp(50_000, 8080));
        t.say(Side::Client, request);
        let host = t.notes.http_request().and_then(|(_, r)| r.host.clone());
        (t.notes.shapes().map(|(_, s)| s).collect::<Vec<_>>(), host)
    };
    let (shapes, host) = told(b"CONNECT web.telegram.org:443 HTTP/1.1\r\nHost: web.telegram.org:443\r\n\r\n");
    assert_eq!((shapes.as_slice(), host.as_deref()), (&[Shape::HttpProxy][..], Some("web.telegram.org")));
    let sstp = b"SSTP_DUPLEX_POST /sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/ HTTP/1.1\r\nHost: vpn.example\r\n\r\n";
    assert_eq!(told(sstp).0, [Shape::Sstp]);
    assert_eq!(told(b"SSTP_DUPLEX_POST / HTTP/1.1\r\nHost: vpn.example\r\n\r\n").0, [], "another resource");
    assert_eq!(told(b"GET /index.html HTTP/1.1\r\nHost: vpn.example\r\n\r\n").0, []);
}

#[test]
fn bytes_that_are_nothing() {
    let mut t = Talk::new(Desk::tcp(50_000, 4444));
    t.say(Side::Client, &[0xaa; 40]);
    assert!(matches!(t.notes.list[0].fact, Fact::Opaque { popcount, printable } if popcount == 4.0 && printable == 0.0));
    t.say(Side::Server, &[0x81; 4]).say(Side::Server, &[0x81; 40]);
    assert_eq!(t.appetite, Appetite::Full);
    assert_eq!(t.notes.list.len(), 1);
}

fn dns_answer() -> Vec<u8> {
    unhex(
        "1234 8180 0001 0003 0000 0001  03777777 076578616d706c65 03636f6d 00 0041 0001
         c00c 0005 0001 0000003c 0006 03636466 c010
         c02d 0001 0001 0000003c 0004 01020304
         c02d 0041 0001 0000003c 0019 0001 00 0004 0004 05060708 0005 0002 abcd 0006 0000 fff0 0000
         00 0029 04d0 01000000 0000",
    )
}

#[test]
fn a_dns_answer() {
    let found = dns::read(&dns_answer(), false).unwrap();
    let m = &found.message;
    assert!(found.strict);
    assert_eq!((&*m.qname, m.qtype, m.rcode, m.answers, m.ech), ("www.example.com", 65, 16, 3, true));
    assert_eq!(m.addresses.iter().map(|a| a.0.to_string()).collect::<Vec<_>>(), ["1.2.3.4", "5.6.7.8"]);
    assert_eq!(m.aliases.iter().map(|a| &**a).collect::<Vec<_>>(), ["cdf.example.com"]);
    // A loop of pointers ends, and the question survives a broken answer.
    assert!(dns::read(&unhex("1234 8180 0001 0000 0000 0000 c00c 0001 0001"), false).is_none());
    let cut = dns::read(&dns_answer()[..40], false).unwrap();
    assert_eq!((&*cut.message.qname, cut.strict), ("www.example.com", false));
}

#[test]
fn an_https_record_tells_whether_a_name_is_served_over_quic() {
    let answer = |alpn: &str, len: &str| {
        unhex(&format!(
            "1234 8180 0001 0001 0000 0000  03777777 076578616d706c65 03636f6d 00 0041 0001
             c00c 0041 0001 0000003c {len} 0001 00 0001 {alpn}"
        ))
    };
    let h3 = |bytes: &[u8]| dns::read(bytes, false).unwrap().message.h3;
    assert!(h3(&answer("0006 026832 026833", "000d")), "h2, h3");
    assert!(h3(&answer("0006 0568332d3239", "000d")), "h3-29");
    assert!(!h3(&answer("0003 026832", "000a")), "h2");
    assert!(!h3(&answer("0004 03683333", "000b")), "h33 is no version of it");
    // A length beyond the list ends it.
    assert!(!h3(&answer("0003 096833", "000a")));
}

fn stun_message() -> Vec<u8> {
    unhex(
        "0113 0030 2112a442 000102030405060708090a0b
         0009 0010 00000401 556e617574686f72697a6564
         0014 0006 7369676e616c 0000
         0012 0008 0001 a147 5e12a443 8022 0000",
    )
}

#[test]
fn of_a_stun_user_name_only_the_pattern_is_kept() {
    let named = |name: &str| {
        let pad = name.len().wrapping_neg() & 3;
        let value = [&6u16.to_be_bytes()[..], &(name.len() as u16).to_be_bytes(), name.as_bytes(), &vec![0; pad]].concat();
        let m = [&[0, 3][..], &(value.len() as u16).to_be_bytes(), &unhex("2112a442 000102030405060708090a0b"), &value].concat();
        let m = stun::read(&m).unwrap();
        assert!(!format!("{m:?}").contains(name));
        m.username
    };
    assert_eq!(named("1716239022:0123456789abcdef01"), UserName::TimedHex18);
    assert_eq!(named("1716239022:1234567890"), UserName::TimedDigits10);
    assert_eq!(named("1716239022:123456789012"), UserName::TimedDigits12To16);
    assert_eq!(named("1716239022:1234567890123456789"), UserName::TimedDigits19);
    for other in [
        "1716239022:0123456789ABCDEF01",
        "1716239022:12345678901",
        "716239022:1234567890",
        "9716239022:1234567890",
        "ab12:cd34",
        "1716239022",
    ] {
        assert_eq!(named(other), UserName::Other, "{other}");
    }
}

#[test]
fn a_stun_answer() {
    let m = stun::read(&stun_message()).unwrap();
    assert_eq!((m.kind, m.error, m.realm.as_deref(), m.len), (0x0113, Some(401), Some("signal"), 68));
    assert_eq!(m.attributes, [9, 0x14, 0x12, 0x8022]);
    let peer = m.peer.unwrap();
    assert_eq!((peer.ip.to_string(), peer.port), ("127.0.0.1".to_owned(), 0x8055));
}

#[test]
fn a_call_on_one_port_pair() {
    let mut t = Talk::new(Desk::udp(50_000, 3478));
    t.send(Side::Server, &stun_message());
    let body = [&[0xfe, 0xfd][..], &[7; 32], &[0, 3, 1, 2, 3, 0, 2, 0xc0, 0x2b, 1, 0, 0, 9], &ext(14, &[0, 2, 0, 1, 0])].concat();
    let n = body.len() as u8;
    let fragment = |at: u8, part: &[u8]| {
        let handshake = [&[1, 0, 0, n, 0, 0, 0, 0, at, 0, 0, part.len() as u8][..], part].concat();
        [&[22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, handshake.len() as u8][..], &handshake].concat()
    };
    t.send(Side::Client, &fragment(0, &body[..20])).send(Side::Client, &fragment(20, &body[20..]));
    for i in 0..5u8 {
        t.send(Side::Client, &[0x80, 111, 0, i, 0, 0, i, 0, 1, 2, 3, 4, 9, 9, 9, 9]);
    }
    let hello = t.notes.client_hello().unwrap().1;
    assert!(hello.use_srtp && hello.ja4.starts_with("dd2i0101"), "{}", hello.ja4);
    assert!(t.notes.list.iter().any(|n| matches!(n.fact, Fact::Shape(Shape::Rtp))));
    assert_eq!(t.desk.app(), Some("stun"));
}

/// RFC 9001 appendix A.2.
const CRYPTO_A2: &str = "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c00000413011302010000c0
    00000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d0017001800100007000504616c706e000500050100000000003300260024001d0020
    9370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d0010000e0403050306030203080408050806002d00020101001c
    00024001003900320408ffffffffffffffff05048000ffff07048000ffff0801100104800075300901100f088394c8f03e51570806048000ffff";

fn initial(version: u32, dcid: &[u8], client: bool, frames: &[u8]) -> Vec<u8> {
    let keys = Keys::derive(&quic_keys::recipe(version).unwrap(), dcid, client).unwrap();
    let mut body = frames.to_vec();
    body.resize(body.len().max(1162), 0);
    let first = if version == quic_keys::V2 { 0xd3 } else { 0xc3 };
    let mut head = vec![first];
    head.extend(version.to_be_bytes());
    if client {
        head.push(dcid.len() as u8);
        head.extend(dcid);
        head.push(0);
    } else {
        head.extend([0, 4, 9, 9, 9, 9]);
    }
    head.push(0);
    head.extend((0x4000u16 | (body.len() + 20) as u16).to_be_bytes());
    head.extend([0, 0, 0, 2]);
    keys.seal(&head, 4, &body)
}

fn crypto(at: usize, data: &[u8]) -> Vec<u8> {
    [&[6][..], &(0x4000u16 | at as u16).to_be_bytes(), &(0x4000u16 | data.len() as u16).to_be_bytes(), data].concat()
}

#[test]
fn the_client_initial_of_rfc_9001() {
    let dcid = unhex("8394c8f03e515708");
    let packet = initial(1, &dcid, true, &unhex(CRYPTO_A2));
    assert_eq!(packet.len(), 1200);
    assert_eq!(packet[..32], unhex("c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11"));
    assert_eq!(packet[1184..], unhex("e221af44860018ab0856972e194cd934"));
    let mut t = Talk::new(Desk::udp(50_000, 443));
    t.send(Side::Client, &packet);
    let hello = t.notes.client_hello().unwrap().1;
    assert_eq!(hello.sni.as_deref(), Some("example.com"));
    assert!(hello.ja4.starts_with("q13d0211an"), "{}", hello.ja4);
    let (_, q) = t.notes.quic().next().unwrap();
    assert_eq!((q.version, &*q.dcid, q.kind, q.decrypted), (1, "8394c8f03e515708", 0, true));
    t.send(Side::Server, &initial(1, &dcid, false, &[2, 0, 0, 0, 0]));
    // Only a look at first bytes is left: media may come on the same ports.
    let mut n = 0;
    while t.appetite == Appetite::Hungry && n < 1000 {
        t.send(Side::Server, &[0x47; 30]);
        n += 1;
    }
    assert_eq!((n, t.notes.shapes().count()), (198, 0));
}

#[test]
fn media_beside_quic() {
    let dcid = unhex("8394c8f03e515708");
    let mut t = Talk::new(Desk::udp(50_000, 443));
    t.send(Side::Client, &initial(1, &dcid, true, &unhex(CRYPTO_A2))).send(Side::Server, &initial(1, &dcid, false, &[2, 0, 0, 0, 0]));
    for i in 0..40u8 {
        t.send(Side::Client, &[0x80, 101, 0, i, 0, 0, i, 0, 1, 2, 3, 4, 9, 9, 9, 9]);
    }
    assert_eq!(t.notes.shapes().map(|(_, s)| s).collect::<Vec<_>>(), [Shape::QuicRtp]);
    assert_eq!(t.desk.app(), Some("quic"));
}

#[test]
fn stun_before_it_had_a_cookie() {
    let request = [&[0, 1, 0, 8][..], &[9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 6], &[0, 3, 0, 4, 0, 0, 0, 6]].concat();
    let answer = [&[1, 1, 0, 12][..], &request[4..20], &[0, 1, 0, 8, 0, 1, 0x9c, 0x40, 203, 0, 113, 9]].concat();
    let m = stun::read_old(&answer, false).unwrap();
    assert_eq!((m.kind, &m.attributes[..], m.len), (0x0101, &[1][..], 32));
    assert!(stun::read_old(&request, false).is_some());
    assert!(stun::read_old(&answer[..31], false).is_none());
    let bare = [&[0, 1, 0, 0][..], &request[4..20]].concat();
    assert!(stun::read_old(&bare, true).is_some());
    assert!(stun::read_old(&bare, false).is_none(), "sixteen bytes of anything");
    assert!(stun::read_old(&[&[0, 1, 0, 0][..], &[7; 16]].concat(), true).is_none());
}

#[test]
fn what_a_relay_passes_on() {
    let mut t = Talk::new(Desk::udp(50_000, 3478));
    let channel = |i: u8| {
        let rtp = [0x80, 111, 0, i, 0, 0, i, 0, 1, 2, 3, 4, 9, 9, 9, 9];
        [&[0x40, 0x01, 0, rtp.len() as u8][..], &rtp].concat()
    };
    t.send(Side::Client, &channel(0));
    assert_eq!(t.desk.app(), None, "no relay so far");
    t.send(Side::Server, &stun_message());
    for i in (1..60).filter(|i| i % 10 != 7) {
        t.send(Side::Client, &channel(i));
    }
    t.desk.finish(&mut t.notes);
    assert!(t.notes.shapes().any(|(_, s)| s == Shape::Rtp));
    let (side, leg) = t.notes.media().next().unwrap();
    assert_eq!((side, leg.sources, &leg.payload_types[..]), (Side::Client, 1, &[111][..]));
    // Counted after the packet that proved them to be media, number 3: 7, 17 … 57 did not come.
    assert_eq!((leg.packets, leg.lost()), (50, 6));
}

#[test]
fn a_hello_over_two_datagrams_and_shuffled_frames() {
    for version in [1, quic_keys::V2, 0xff00_001d, 0xface_b002] {
        let message = hello("signal.org", &[ext(0x15, &[0; 1500])]);
        let (a, b) = message.split_at(700);
        let first = [crypto(300, &a[300..]), vec![1], crypto(0, &a[..310])].concat();
        let mut t = Talk::new(Desk::udp(50_000, 443));
        let dcid = [1, 2, 3, 4, 5, 6, 7, 8];
        t.send(Side::Client, &initial(version, &dcid, true, &first));
        assert!(t.notes.client_hello().is_none());
        t.send(Side::Client, &initial(version, &dcid, true, &crypto(700, b)));
        assert_eq!(t.notes.client_hello().unwrap().1.sni.as_deref(), Some("signal.org"), "{version:x}");
    }
}

#[test]
fn the_server_shows_which_initial_was_a_decoy() {
    let fake = initial(1, &[1; 8], true, &crypto(0, &hello("www.google.com", &[])));
    let real = initial(1, &[2; 8], true, &crypto(0, &hello("discord.com", &[])));
    for order in [[&fake, &real], [&real, &fake]] {
        let mut t = Talk::new(Desk::udp(50_000, 443));
        for packet in order {
            t.send(Side::Client, packet);
        }
        t.send(Side::Server, &initial(1, &[2; 8], false, &[2, 0, 0, 0, 0]));
        assert_eq!(t.notes.client_hello().unwrap().1.sni.as_deref(), Some("discord.com"));
        assert_eq!(t.notes.decoys().map(|d| d.1.unwrap().to_owned()).collect::<Vec<_>>(), ["www.google.com"]);
    }
}

#[test]
fn a_whole_quic_hello_never_comes() {
    let message = hello("signal.org", &[]);
    let mut t = Talk::new(Desk::udp(50_000, 443));
    t.send(Side::Client, &initial(1, &[1; 8], true, &crypto(0, &message[..40])));
    assert!(t.told().iter().any(|n| n.contains("PartialClientHello") && n.contains("have: 40")));
}

/// Conversations whose notes may not depend on how they are cut: (ports, client bytes, server bytes).
#[allow(clippy::type_complexity)]
fn scripts() -> Vec<((u16, u16), Vec<u8>, Vec<u8>)> {
    let message = hello("example.org", &[ext(0x15, &[0; 300])]);
    let mut tls_client = records(&message, &[1, 0, 40, 3]);
    tls_client.extend([20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let tls_server = [records(&server_hello([3; 32]), &[13]), vec![21, 3, 3, 0, 2, 1, 0, 23, 3, 3, 0, 1, 0]].concat();
    let http_client =
        b"POST /a HTTP/1.1\r\nHost: Example.org:8080\r\nContent-Length: 4\r\n\r\nbodyGET / HTTP/1.1\nHost: b.example\n\n".to_vec();
    let http_server =
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP/1.0 200 OK\r\n\r\n<html>page".to_vec();
    let framed = |m: &[u8]| [&(m.len() as u16).to_be_bytes()[..], m].concat();
    let query = dns_answer()[..33].to_vec();
    let mut query = framed(&query);
    query[4..6].copy_from_slice(&[1, 0]);
    query[8..14].fill(0);
    let answers = [framed(&dns_answer()), framed(&dns_answer())].concat();
    let stun = [framed(&stun_message()), framed(&stun_message())].concat();
    vec![
        ((50_000, 443), tls_client, tls_server),
        ((50_000, 8080), http_client, http_server),
        ((50_000, 53), query, answers),
        ((50_000, 3478), stun_message(), stun),
    ]
}

fn tell(ports: (u16, u16), client: &[u8], server: &[u8], cuts: &[usize]) -> Vec<String> {
    let mut t = Talk::new(Desk::tcp(ports.0, ports.1));
    t.say_cut(Side::Client, client, cuts).say_cut(Side::Server, server, cuts);
    t.told()
}

proptest! {
    #[test]
    fn cutting_changes_nothing(cuts in prop::collection::vec(1usize..90, 1..12), which in 0usize..4) {
        let (ports, client, server) = scripts().swap_remove(which);
        let whole = tell(ports, &client, &server, &[usize::MAX]);
        prop_assert!(whole.len() >= 2, "{whole:?}");
        prop_assert_eq!(&whole, &tell(ports, &client, &server, &cuts));
        prop_assert_eq!(&whole, &tell(ports, &client, &server, &[1]));
    }

    #[test]
    fn noise_never_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        cuts in prop::collection::vec(1usize..60, 1..5),
        ports in prop::sample::select(vec![(50_000u16, 443u16), (50_000, 53), (50_000, 5353), (50_000, 40_000)]),
        start in prop::sample::select(vec![&b""[..], b"\x16\x03\x01", b"GET ", b"HTTP/1.1 200 OK\r\n", b"\xc3\0\0\0\x01\x08", b"\x05\x01\x00", b"\x80o", b"\x16\xfe\xfd", b"\x01\x01\x00\x10\x21\x12\xa4\x42"]),
    ) {
        let bytes = [start, &bytes].concat();
        tell(ports, &bytes, &bytes, &cuts);
        let mut t = Talk::new(Desk::udp(ports.0, ports.1));
        t.send(Side::Client, &bytes).send(Side::Server, &bytes).send(Side::Client, &bytes[bytes.len() / 2..]);
        t.told();
    }

    #[test]
    fn damage_never_panics(
        which in 0usize..4,
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        gap in 0i64..400,
    ) {
        let (ports, mut client, mut server) = scripts().swap_remove(which);
        for (at, value) in &hits {
            let (c, s) = (at.index(client.len()), at.index(server.len()));
            client[c] = *value;
            server[s] = *value;
        }
        tell(ports, &client, &server, &[17]);
        let mut t = Talk::new(Desk::tcp(ports.0, ports.1));
        for (side, bytes) in [(Side::Client, &client), (Side::Server, &server)] {
            let at = cut.index(bytes.len());
            t.say(side, &bytes[..at]);
            t.event(side, &StreamEvent::Aside { at: Pos(1), bytes });
            let from = Pos(t.at[side as usize]);
            t.event(side, &StreamEvent::Gap { from, to: from.plus(gap), cause: GapCause::CaptureLoss });
            t.at[side as usize] += gap;
            t.say(side, &bytes[at..]);
        }
        t.told();
        let mut datagrams = Talk::new(Desk::udp(ports.0, ports.1));
        for bytes in [&dns_answer(), &stun_message(), &client, &server] {
            let mut bytes = bytes.clone();
            for (at, value) in &hits {
                let i = at.index(bytes.len());
                bytes[i] = *value;
            }
            datagrams.send(Side::Client, &bytes).send(Side::Server, &bytes);
        }
        datagrams.told();
    }

    #[test]
    fn damaged_quic_never_panics(hits in prop::collection::vec((0usize..1200, any::<u8>()), 0..4), frames in prop::collection::vec(any::<u8>(), 0..200), end in 0usize..1201) {
        let mut packet = initial(1, &[5; 8], true, &frames);
        for (at, value) in hits {
            packet[at] = value;
        }
        let mut t = Talk::new(Desk::udp(50_000, 443));
        t.send(Side::Client, &packet).send(Side::Server, &packet).send(Side::Client, &packet[..end]);
        t.told();
    }
}
