#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use super::*;
use crate::model::frame::{FrameNo, LinkType};
use crate::model::key::Proto;
use crate::model::packet::{Body, Checksum, TcpFlags};
use crate::model::seq::Seq;
use crate::model::time::{Span, Time};
use proptest::prelude::*;
use std::net::IpAddr;

fn head(link: u16, len: usize) -> FrameHead {
    FrameHead { number: FrameNo(7), ts: Time::from_nanos(1), original: len as u32, link: LinkType(link), iface: 0, owner: 0 }
}

fn frame(link: u16, len: usize, ip_at: u16) -> FrameRef {
    FrameRef { head: head(link, len), at: 0, len: len as u32, ip_at, place: Place::Store }
}

/// Peeks and reads as the engine does, and holds the two to each other.
fn decode(link: u16, bytes: &[u8]) -> Result<Packet<'_>, Oddity> {
    match peek(&head(link, bytes.len()), bytes)? {
        Peek::Flow { ip_at, key } => {
            let packet = read(&frame(link, bytes.len(), ip_at), bytes)?;
            let quotes = matches!(packet.body, Body::Icmp(i) if i.quoted.is_some());
            assert!(quotes || packet.key() == key, "{packet:?} {key:?}");
            Ok(packet)
        }
        Peek::Fragment { .. } => Err(Oddity::FragmentHeld),
    }
}

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];

fn a6() -> [u8; 16] {
    "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets()
}
fn b6() -> [u8; 16] {
    "2001:db8::2".parse::<std::net::Ipv6Addr>().unwrap().octets()
}

fn ip4(proto: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0x45, 0x28, 0, 0, 0x12, 0x34, 0x40, 0, 61, proto, 0, 0];
    out.extend(A);
    out.extend(B);
    out.extend(body);
    let len = out.len() as u16;
    out[2..4].copy_from_slice(&len.to_be_bytes());
    out
}

fn ip6(proto: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0x62, 0x8a, 0xbc, 0xde];
    out.extend((body.len() as u16).to_be_bytes());
    out.extend([proto, 57]);
    out.extend(a6());
    out.extend(b6());
    out.extend(body);
    out
}

fn tcp(payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x30, 0x39, 1, 0xbb, 0, 0, 0, 9, 0, 0, 0, 8, 0x81, 0x18, 0x10, 0, 0, 0, 0, 0];
    out.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    out.extend(payload);
    out
}

fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = from.to_be_bytes().to_vec();
    out.extend(to.to_be_bytes());
    out.extend((payload.len() as u16 + 8).to_be_bytes());
    out.extend([0, 0]);
    out.extend(payload);
    out
}

fn ether(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut out = vec![2; 12];
    out.extend(kind.to_be_bytes());
    out.extend(body);
    out
}

fn with(front: &[u8], body: &[u8]) -> Vec<u8> {
    [front, body].concat()
}

fn assert_hello(link: u16, bytes: &[u8]) {
    let p = decode(link, bytes).unwrap_or_else(|o| panic!("{o:?}: {bytes:02x?}"));
    let Body::Tcp(seg) = p.body else { panic!("{p:?}") };
    assert_eq!((seg.payload, seg.len), (&b"hello"[..], 5));
    assert_eq!((p.src.port, p.dst.port), (12345, 443));
}

#[test]
fn headers_are_read_in_full() {
    let bytes = ether(0x0800, &with(&ip4(6, &tcp(b"hello")), &[0; 6]));
    let p = decode(1, &bytes).unwrap();
    assert_eq!(p.src, Endpoint::new(IpAddr::from(A), 12345));
    assert_eq!(p.dst, Endpoint::new(IpAddr::from(B), 443));
    assert_eq!((p.ip.proto, p.ip.ttl, p.ip.tos, p.ip.id, p.ip.df), (6, 61, 0x28, Some(0x1234), true));
    assert_eq!((p.ip.total_len, p.ip.flow_label, p.ip.rebuilt), (57, 0, false));
    let Body::Tcp(seg) = p.body else { panic!() };
    assert_eq!((seg.seq, seg.ack, seg.window), (Seq(9), Seq(8), 0x1000));
    assert!(seg.flags.has(TcpFlags::PSH) && seg.flags.ack() && seg.flags.reserved() == 1);
    assert_eq!((seg.options.len(), seg.raw.len()), (12, 37));

    let bytes = ether(0x86dd, &ip6(6, &tcp(b"hello")));
    let p = decode(1, &bytes).unwrap();
    assert_eq!((p.ip.ttl, p.ip.tos, p.ip.id, p.ip.flow_label, p.ip.total_len), (57, 0x28, None, 0xabcde, 77));
    assert_eq!(p.src.ip, IpAddr::from(a6()));
}

#[test]
fn every_link_type_leads_to_the_packet() {
    let (v4, v6) = (ip4(6, &tcp(b"hello")), ip6(6, &tcp(b"hello")));
    for ip in [&v4, &v6] {
        let is4 = ip[0] >> 4 == 4;
        let kind: u16 = if is4 { 0x0800 } else { 0x86dd };
        let k = kind.to_be_bytes();
        let snap = with(&[0xaa, 0xaa, 3, 0, 0, 0, k[0], k[1]], ip);
        let ppp = with(&[0, if is4 { 0x21 } else { 0x57 }], ip);
        let family = if is4 { 2 } else { 30 };
        for raw in [12, 14, 101, 228, 229] {
            assert_hello(raw, ip);
        }
        assert_hello(1, &ether(kind, ip));
        assert_hello(1, &ether(snap.len() as u16, &snap));
        assert_hello(0, &with(&[family, 0, 0, 0], ip));
        assert_hello(0, &with(&[0, 0, 0, family], ip));
        assert_hello(108, &with(&[0, 0, 0, family], ip));
        assert_hello(113, &with(&[0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, k[0], k[1]], ip));
        assert_hello(276, &with(&[k[0], k[1], 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0], ip));
        for link in [9, 50] {
            assert_hello(link, &ppp);
            assert_hello(link, &with(&[0xff, 3], &ppp));
            assert_hello(link, &ppp[1..]);
            assert_hello(link, &with(&[0x0f, 0, k[0], k[1]], ip));
        }
        assert_hello(204, &with(&[1, 0xff, 3], &ppp));
        assert_hello(166, &with(&[0, 3], &ppp));
        assert_hello(104, &with(&[0x0f, 0, k[0], k[1]], ip));
        assert_hello(107, &with(&[0x18, 0x41, 3, if is4 { 0xcc } else { 0x8e }], ip));
        assert_hello(107, &with(&[0x18, 0x41, 3, 0, 0x80, 0, 0, 0, k[0], k[1]], ip));
        assert_hello(10, &with(&[0x50; 13], &snap));
        assert_hello(51, &with(&[0x11, 0, 0, 1, 0, 9], &ppp));
        // Netfilter: family, version, resource; timestamp attribute, odd-sized prefix, payload.
        let mut nflog = vec![2, 0, 0, 1, 5, 0, 10, 0, b'x', 0, 0, 0];
        nflog.extend((ip.len() as u16 + 4).to_le_bytes());
        nflog.extend([9, 0]);
        assert_hello(239, &with(&nflog, ip));
        // 802.11: plain data, QoS with four addresses and HT control, behind radiotap with padding, Prism and PPI.
        let wifi = with(&with(&[0x08, 1], &[0; 22]), &snap);
        let qos = with(&with(&[0x88, 0x83], &[0; 34]), &snap);
        let mut padded = with(&[0x88, 1], &[0; 26]);
        padded.extend(&snap);
        let tap = [0, 0, 17, 0, 3, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0x30];
        let mut tap = tap.to_vec();
        tap.resize(17, 0);
        tap[16] = 0x30;
        assert_hello(105, &wifi);
        assert_hello(105, &qos);
        assert_hello(127, &with(&tap, &padded));
        assert_hello(127, &with(&[0, 0, 12, 0, 0, 0, 0, 0x80, 0, 0, 0, 0], &wifi));
        let mut amsdu = with(&[0x88, 1], &[0; 22]);
        amsdu.extend([0x80, 0]);
        amsdu.extend([3; 14]);
        assert_hello(105, &with(&amsdu, &snap));
        let mut prism = vec![0, 0, 0, 0x44, 144, 0, 0, 0];
        prism.resize(144, 0);
        assert_hello(119, &with(&prism, &wifi));
        assert_hello(192, &with(&[0, 0, 8, 0, 105, 0, 0, 0], &wifi));
        assert_hello(258, &with(&[12, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0], &ether(kind, ip)));
    }
}

#[test]
fn tags_labels_and_sessions_are_passed() {
    let ip = ip4(6, &tcp(b"hello"));
    for outer in [0x8100, 0x88a8, 0x9100] {
        assert_hello(1, &ether(outer, &with(&[0, 5, 0x81, 0, 0, 6, 8, 0], &ip)));
    }
    let stack = [0, 1, 0, 64, 0, 2, 1, 64];
    assert_hello(1, &ether(0x8847, &with(&stack, &ip)));
    assert_hello(1, &ether(0x8847, &with(&stack, &ether(0x0800, &ip))));
    assert_hello(1, &ether(0x8847, &with(&stack, &with(&[0; 4], &ether(0x0800, &ip)))));
    assert_hello(1, &ether(0x8864, &with(&[0x11, 0, 0, 1, 0, 59, 0, 0x21], &ip)));
}

#[test]
fn tunnels_are_followed() {
    let (v4, v6) = (ip4(6, &tcp(b"hello")), ip6(6, &tcp(b"hello")));
    let eth = ether(0x0800, &v4);
    let gre = |front: &[u8], body: &[u8]| ip4(47, &with(front, body));
    let vxlan = with(&[8, 0, 0, 0, 0, 0, 9, 0], &eth);
    let gtp = |front: &[u8]| with(front, &v4);
    let teredo = {
        let mut t = v6.clone();
        t[8..12].copy_from_slice(&[0x20, 1, 0, 0]);
        t
    };
    let packets = [
        ip4(4, &v4),
        ip4(41, &v6),
        ip6(41, &v6),
        gre(&[0, 0, 8, 0], &v4),
        gre(&[0xb0, 0, 0x86, 0xdd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2], &v6),
        gre(&[0x20, 0, 0x65, 0x58, 0, 0, 0, 1], &eth),
        gre(&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0, 0, 0, 0, 0, 0, 0], &eth),
        gre(&[0x30, 0x81, 0x88, 0x0b, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xff, 3, 0, 0x21], &v4),
        gre(&[0, 0, 0x88, 0x0b, 0, 0x21], &v4),
        ip4(17, &udp(2152, 2152, &gtp(&[0x30, 0xff, 0, 57, 0, 0, 0, 1]))),
        ip4(17, &udp(2152, 2152, &gtp(&[0x34, 0xff, 0, 65, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 9, 0]))),
        ip4(17, &udp(50_000, 4789, &vxlan)),
        ip6(17, &udp(50_000, 8472, &vxlan)),
        ip4(17, &udp(50_000, 6081, &with(&[1, 0, 0x65, 0x58, 0, 0, 1, 0, 1, 2, 3, 4], &eth))),
        ip4(17, &udp(3544, 50_000, &teredo)),
        ip4(17, &udp(50_000, 3544, &with(&[0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1, 2, 3, 4, 5, 6], &teredo))),
        ip4(97, &with(&[0x30, 0], &eth)),
        ip4(137, &with(&[0, 2, 1, 64], &v4)),
        ip4(4, &ip4(47, &with(&[0, 0, 8, 0], &ip4(17, &udp(50_000, 4789, &vxlan))))),
    ];
    for p in &packets {
        assert_hello(101, p);
        assert_hello(1, &ether(if p[0] >> 4 == 4 { 0x0800 } else { 0x86dd }, p));
    }
}

#[test]
fn traffic_on_a_tunnels_port_stays_what_it_is() {
    let v6 = ip6(6, &tcp(b"hello"));
    for (port, payload) in [
        (3544, &b"E not a packet"[..]),
        (3544, &v6),
        (4789, b"\x08\0\0\0\0\0\0\0 not ethernet at all, but long enough"),
        (2152, b"\x30\xff\0\0\0\0\0\0\x45\0\xff\xff tooooooooo long"),
        (2152, b""),
        (6081, b"\0\0\x08\0"),
    ] {
        let bytes = ip4(17, &udp(1000, port, payload));
        let p = decode(101, &bytes).unwrap();
        let Body::Udp(d) = p.body else { panic!() };
        assert_eq!((d.payload, d.len as usize, p.dst.port), (payload, payload.len(), port));
    }
    // A tunnel with something else inside is its outer packet.
    let p = ip4(47, &[0, 0, 0x88, 0x3e, 1, 2]);
    assert!(matches!(decode(101, &p).unwrap().body, Body::Other([0, 0, 0x88, 0x3e, 1, 2])));
}

#[test]
fn nesting_has_an_end() {
    let mut p = ip4(6, &tcp(b"hello"));
    for _ in 0..8 {
        p = ip4(4, &p);
    }
    assert_hello(101, &p);
    assert_eq!(decode(101, &ip4(4, &p)).unwrap_err(), Oddity::TunnelDepth);
}

#[test]
fn what_is_no_packet_is_named() {
    let wifi = |kind: u8, flags: u8| with(&[kind, flags], &[0; 40]);
    for (link, bytes, want) in [
        (1, ether(0x0806, &[0; 28]), Oddity::NotIp),
        (1, ether(38, &[0x42, 0x42, 3, 0, 0]), Oddity::NotIp),
        (1, ether(0x88e5, &[0; 28]), Oddity::Encrypted),
        (1, vec![0; 13], Oddity::ShortLink),
        (1, ether(0x0800, &[0x45, 0, 0]), Oddity::BadIpHeader),
        (1, ether(0x86dd, &[0x60; 39]), Oddity::BadIpHeader),
        (101, vec![], Oddity::BadIpHeader),
        (101, ip4(6, &[0; 3]), Oddity::BadTransportHeader),
        (101, ip4(6, &[0; 20]), Oddity::BadTransportHeader),
        (101, ip4(17, &[0; 7]), Oddity::BadTransportHeader),
        (105, wifi(0x08, 0x41), Oddity::Encrypted),
        (105, wifi(0x80, 0), Oddity::WifiNoData),
        (105, wifi(0x48, 1), Oddity::WifiNoData),
        (0, vec![7, 0, 0, 0, 1], Oddity::NotIp),
        (147, vec![0; 60], Oddity::UnknownLinkType),
    ] {
        assert_eq!(decode(link, &bytes).unwrap_err(), want, "{link} {bytes:02x?}");
    }
}

#[test]
fn cut_frames_keep_their_length_on_the_wire() {
    let whole = ether(0x0800, &ip4(6, &tcp(&[b'x'; 1000])));
    // Cut inside the payload, inside the options, and inside the fixed header.
    for (cut, want) in [(100, Some((34, 12))), (60, Some((0, 6))), (50, None)] {
        let mut f = frame(1, whole.len(), 14);
        f.len = cut;
        let got = read(&f, &whole[..cut as usize]);
        match (got, want) {
            (Ok(p), Some((payload, options))) => {
                let Body::Tcp(seg) = p.body else { panic!() };
                assert_eq!((seg.payload.len(), seg.options.len(), seg.len), (payload, options, 1000));
                assert_eq!(p.tcp_checksum(), Checksum::Unknown);
            }
            (got, None) => assert_eq!(got.unwrap_err(), Oddity::BadTransportHeader),
            (got, want) => panic!("{cut}: {got:?} {want:?}"),
        }
    }
    let mut big = ip4(17, &udp(1, 2, &[0; 500]));
    let f = frame(101, big.len(), 0);
    big.truncate(60);
    let Body::Udp(d) = read(&f, &big).unwrap().body else { panic!() };
    assert_eq!((d.payload.len(), d.len), (32, 500));
}

#[test]
fn offloaded_packets_without_length_use_the_captured_one() {
    let mut p = ip4(6, &tcp(b"hello"));
    p[2..4].copy_from_slice(&[0, 0]);
    assert_hello(101, &p);
    assert_eq!(decode(101, &p).unwrap().ip.total_len, 0);
    let mut p = ip6(6, &tcp(b"hello"));
    p[4..6].copy_from_slice(&[0, 0]);
    assert_hello(101, &p);
}

#[test]
fn extension_headers_are_walked() {
    let seg = tcp(b"hello");
    let hop = [43, 0, 0, 0, 0, 0, 0, 0];
    let routing = [60, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let options = [44, 0, 0, 0, 0, 0, 0, 0];
    let atomic = [51, 0, 0, 0, 0, 0, 0, 1];
    let auth = [6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];
    let body = [&hop[..], &routing, &options, &atomic, &auth, &seg].concat();
    assert_hello(101, &ip6(0, &body));
    assert_hello(101, &ip4(51, &with(&auth, &seg)));
    let endless: Vec<u8> = [60, 0, 0, 0, 0, 0, 0, 0].repeat(40);
    assert_eq!(decode(101, &ip6(60, &endless)).unwrap_err(), Oddity::BadIpHeader);
    assert_eq!(decode(101, &ip6(60, &[6, 200, 0, 0, 0, 0, 0, 0])).unwrap_err(), Oddity::BadIpHeader);
}

#[test]
fn icmp_errors_meet_the_flow_they_quote() {
    let sent = ip4(6, &tcp(b"hello"));
    let Ok(Peek::Flow { key: want, .. }) = peek(&head(101, sent.len()), &sent) else { panic!() };
    // Eight bytes of the segment are quoted.
    let error = ip4(1, &with(&[3, 13, 0, 0, 0, 0, 0, 0], &sent[..28]));
    let Ok(Peek::Flow { key, ip_at: 0 }) = peek(&head(101, error.len()), &error) else { panic!() };
    assert_eq!(key, want);
    let p = decode(101, &error).unwrap();
    let Body::Icmp(i) = p.body else { panic!() };
    let q = i.quoted.unwrap();
    assert_eq!((i.kind, i.code, q.src, q.dst.port, q.proto), (3, 13, Endpoint::new(IpAddr::from(A), 12345), 443, Proto::TCP));

    let sent = ip6(17, &udp(5000, 53, b"?"));
    let error = ip6(58, &with(&[1, 4, 0, 0, 0, 0, 0, 0], &sent));
    let Body::Icmp(i) = decode(101, &error).unwrap().body else { panic!() };
    assert_eq!(i.quoted.unwrap().src.port, 5000);
}

#[test]
fn pings_have_the_ports_of_community_id() {
    for (v6, kind, code, want) in [
        (false, 8, 0, (8, 0)),
        (false, 0, 0, (0, 8)),
        (false, 13, 0, (13, 14)),
        (false, 42, 7, (42, 7)),
        (true, 128, 0, (128, 129)),
        (true, 136, 0, (136, 135)),
    ] {
        let body = [kind, code, 0, 0, 1, 2, 0, 3, b'!'];
        let bytes = if v6 { ip6(58, &body) } else { ip4(1, &body) };
        let p = decode(101, &bytes).unwrap();
        assert_eq!((p.src.port, p.dst.port), want);
        let Body::Icmp(i) = p.body else { panic!() };
        assert_eq!((i.payload, i.quoted), (&b"!"[..], None));
    }
}

#[test]
fn sctp_has_ports_and_other_protocols_have_none() {
    let p = ip4(132, &[0, 7, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    let p = decode(101, &p).unwrap();
    assert_eq!((p.src.port, p.dst.port), (7, 8));
    let p = ip4(50, &[1, 2, 3, 4, 5]);
    let p = decode(101, &p).unwrap();
    assert_eq!((p.src.port, p.dst.port), (0, 0));
    assert!(matches!(p.body, Body::Other([1, 2, 3, 4, 5])));
}

#[test]
fn pcapdroids_trailer_names_the_app() {
    let mut trailer = vec![1, 7, 0x20, 0x21, 0, 0, 0x27, 0x10];
    trailer.extend(b"Telegram\0\0\0\0\0\0\0\0\0\0\0\0");
    let fcs = with(&trailer, &[1, 2, 3, 4]);
    let ip = ip4(6, &tcp(b"hello"));
    for tail in [trailer.clone(), fcs.clone(), with(&[0; 6], &trailer), with(&[0; 6], &fcs)] {
        for (link, bytes) in [(1, ether(0x0800, &with(&ip, &tail))), (101, with(&ip, &tail))] {
            assert_eq!(decode(link, &bytes).unwrap().owner, Some(&b"Telegram"[..]));
            assert_hello(link, &bytes);
        }
    }
    let bytes = ether(0x0800, &with(&ip, &[0; 40]));
    assert_eq!(decode(1, &bytes).unwrap().owner, None);
}

/// A packet cut into fragments of at most `mtu` bytes of payload (a multiple of 8), behind a hop-by-hop header in IPv6.
fn fragments(v6: bool, proto: u8, body: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let n = body.len().div_ceil(mtu);
    body.chunks(mtu)
        .enumerate()
        .map(|(i, piece)| {
            let (at, more) = ((i * mtu) as u16, u16::from(i + 1 < n));
            if v6 {
                let mut front = vec![44, 0, 1, 4, 0, 0, 0, 0, proto, 0];
                front.extend((at | more).to_be_bytes());
                front.extend([0, 0, 0x12, 0x34]);
                ip6(0, &with(&front, piece))
            } else {
                let mut p = ip4(proto, piece);
                p[6..8].copy_from_slice(&((at / 8) | (more << 13)).to_be_bytes());
                p
            }
        })
        .collect()
}

fn t(seconds: i64) -> Time {
    Time::from_nanos(0).plus(Span::from_secs(seconds))
}

#[test]
fn a_rebuilt_packet_has_a_sound_header() {
    let body = udp(1000, 53, &[7; 100]);
    for v6 in [false, true] {
        let mut d = Defragmenter::default();
        let mut got = None;
        for f in fragments(v6, 17, &body, 40) {
            let padded = with(&f, &[0xee; 4]);
            assert_eq!(peek(&head(101, padded.len()), &padded), Ok(Peek::Fragment { ip_at: 0 }));
            assert_eq!(read(&frame(101, padded.len(), 0), &padded).unwrap_err(), Oddity::FragmentHeld);
            assert!(got.is_none());
            got = d.offer(t(0), &padded).unwrap();
        }
        let bytes = got.unwrap();
        let mut f = frame(101, bytes.len(), 0);
        f.place = Place::Rebuilt;
        let p = read(&f, &bytes).unwrap();
        assert!(p.ip.rebuilt && !p.ip.df);
        assert_eq!(p.ip.total_len as usize, bytes.len());
        let Body::Udp(u) = p.body else { panic!() };
        assert_eq!((u.payload, u.len), (&[7; 100][..], 100));
        if !v6 {
            let sum: u32 = bytes[..20].chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        }
        assert_eq!(d.unfinished(), 0);
    }
}

#[test]
fn contradicting_fragments_end_their_packet() {
    for v6 in [false, true] {
        let mut d = Defragmenter::default();
        let mut f = fragments(v6, 17, &udp(1, 2, &[7; 100]), 40);
        assert_eq!(d.offer(t(0), &f[0]), Ok(None));
        assert_eq!(d.offer(t(0), &f[0]), Ok(None));
        *f[0].last_mut().unwrap() ^= 1;
        assert_eq!(d.offer(t(0), &f[0]), Err(Oddity::FragmentConflict));
        assert_eq!(d.offer(t(0), &f[1]), Err(Oddity::FragmentConflict));
        assert_eq!(d.unfinished(), 1);
        // Later the same name is used for another packet.
        assert_eq!(d.offer(t(31), &f[1]), Ok(None));
    }
    // Two ends.
    let mut d = Defragmenter::default();
    let f = fragments(false, 17, &[7; 100], 40);
    assert_eq!(d.offer(t(0), &f[2]), Ok(None));
    let longer = fragments(false, 17, &[7; 160], 40);
    assert_eq!(d.offer(t(0), &longer[3]), Err(Oddity::FragmentConflict));
}

#[test]
fn impossible_fragments_are_refused() {
    let mut d = Defragmenter::default();
    let mut f = fragments(false, 17, &[7; 100], 40)[0].clone();
    f.pop();
    f[3] -= 1;
    assert_eq!(d.offer(t(0), &f), Err(Oddity::BadIpHeader));
    let mut beyond = fragments(false, 17, &[7; 100], 40)[2].clone();
    beyond[6..8].copy_from_slice(&[0x1f, 0xff]);
    assert_eq!(d.offer(t(0), &beyond), Err(Oddity::BadIpHeader));
    assert_eq!(d.offer(t(0), b"\x45"), Err(Oddity::BadIpHeader));
}

#[test]
fn waiting_fragments_are_bounded() {
    let mut d = Defragmenter::default();
    let first = |id: u16, len: usize| {
        let mut f = fragments(false, 17, &vec![7; len + 8], len)[0].clone();
        f[4..6].copy_from_slice(&id.to_be_bytes());
        f
    };
    for id in 0..1000 {
        assert_eq!(d.offer(t(0), &first(id, 32_000)), Ok(None));
    }
    assert_eq!(d.unfinished(), 1000);
    // A packet of too many fragments.
    let many = fragments(false, 17, &[7; 8 * 80], 8);
    let got: Vec<_> = many.iter().map(|f| d.offer(t(1), f)).collect();
    assert_eq!(got[64], Err(Oddity::FragmentBound));
    assert_eq!(got[79], Err(Oddity::FragmentBound));
    assert_eq!(d.offer(t(100), &first(7, 8)), Ok(None));
    assert_eq!(d.unfinished(), 1000 + 64 + 1);
}

#[test]
fn a_fragment_cut_by_the_capture_cuts_the_packet() {
    let body = udp(1000, 53, &[7; 100]);
    let f = fragments(false, 17, &body, 40);
    let mut d = Defragmenter::default();
    assert_eq!(d.offer(t(0), &f[0]), Ok(None));
    assert_eq!(d.offer(t(0), &f[1][..40]), Ok(None));
    let bytes = d.offer(t(0), &f[2]).unwrap().unwrap();
    assert_eq!(bytes.len(), 20 + 40 + 20);
    let Body::Udp(u) = read(&frame(101, bytes.len(), 0), &bytes).unwrap().body else { panic!() };
    assert_eq!((u.payload.len(), u.len), (52, 100));
}

const LINKS: [u16; 26] =
    [0, 1, 9, 10, 12, 14, 50, 51, 101, 104, 105, 107, 108, 113, 119, 127, 149, 163, 166, 192, 204, 228, 229, 239, 258, 276];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), original: u32, ip_at: u16) {
        for link in LINKS {
            let _ = decode(link, &bytes);
            let mut f = frame(link, bytes.len(), ip_at);
            f.head.original = original;
            let _ = read(&f, &bytes);
            let _ = peek(&f.head, &bytes);
        }
        let _ = Defragmenter::default().offer(t(0), &bytes);
    }

    #[test]
    fn damaged_packets_do_not_panic(which in 0_usize..12, edits in prop::collection::vec((0_usize..160, any::<u8>()), 0..6), cut in 0_usize..200) {
        let v4 = ip4(6, &tcp(b"hello"));
        let eth = ether(0x0800, &v4);
        let mut bytes = ether(0x0800, &match which {
            0 => v4,
            1 => ip4(47, &with(&[0x30, 0x81, 0x88, 0x0b, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xff, 3, 0, 0x21], &v4)),
            2 => ip4(17, &udp(1, 4789, &with(&[8, 0, 0, 0, 0, 0, 9, 0], &eth))),
            3 => ip4(17, &udp(1, 2152, &with(&[0x34, 0xff, 0, 65, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 9, 0], &v4))),
            4 => ip4(17, &udp(1, 6081, &with(&[1, 0, 0x65, 0x58, 0, 0, 1, 0, 1, 2, 3, 4], &eth))),
            5 => ip4(41, &ip6(60, &with(&[44, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 1], &tcp(b"hello")))),
            6 => ip4(1, &with(&[3, 13, 0, 0, 0, 0, 0, 0], &v4)),
            7 => ip4(17, &udp(1, 3544, &with(&[0, 0, 1, 2, 3, 4, 5, 6], &ip6(6, &tcp(b"hello"))))),
            8 => ip4(4, &ip4(4, &ip4(97, &with(&[0x30, 0], &eth)))),
            9 => ip4(137, &with(&[0, 2, 1, 64], &eth)),
            10 => ip4(51, &with(&[6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9], &tcp(b"hello"))),
            _ => ip4(47, &with(&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &eth)),
        });
        for (at, byte) in edits {
            if let Some(b) = bytes.get_mut(at) { *b = byte; }
        }
        bytes.truncate(cut);
        let _ = decode(1, &bytes);
    }

    #[test]
    fn any_order_and_repetition_of_fragments_gives_the_packet(
        v6: bool, len in 9_usize..1500, mtu in 1_usize..40, order in prop::collection::vec(any::<prop::sample::Index>(), 0..120),
    ) {
        let mtu = (mtu * 8).max(len.div_ceil(60).next_multiple_of(8));
        let body: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
        let pieces = fragments(v6, 99, &body, mtu);
        prop_assume!(pieces.len() > 1);
        let mut d = Defragmenter::default();
        let mut whole = Vec::new();
        let turns = order.iter().map(|i| i.index(pieces.len())).chain((0..pieces.len()).rev());
        for i in turns {
            if let Some(p) = d.offer(t(0), &pieces[i]).unwrap() { whole.push(p); }
        }
        prop_assert!(!whole.is_empty());
        for bytes in whole {
            let p = read(&frame(101, bytes.len(), 0), &bytes).unwrap();
            prop_assert_eq!(p.ip.proto, 99);
            let Body::Other(got) = p.body else { panic!() };
            prop_assert_eq!(got, &body[..]);
        }
    }

    #[test]
    fn noise_does_not_break_the_defragmenter(
        packets in prop::collection::vec((any::<bool>(), 0_u16..4, 0_u16..40, any::<bool>(), 0_usize..64, any::<u8>(), -60_i64..60), 0..300),
    ) {
        let mut d = Defragmenter::default();
        for (v6, id, at, more, len, fill, ts) in packets {
            let body = vec![fill & 1; len];
            let mut p = if v6 {
                let field = ((at << 3) | u16::from(more)).to_be_bytes();
                ip6(44, &with(&[17, 0, field[0], field[1], 0, 0, 0, id as u8], &body))
            } else {
                ip4(17, &body)
            };
            if !v6 {
                p[4..6].copy_from_slice(&id.to_be_bytes());
                p[6..8].copy_from_slice(&(at | (u16::from(more) << 13)).to_be_bytes());
            }
            let _ = d.offer(t(ts), &p);
        }
        let _ = d.unfinished();
    }
}
