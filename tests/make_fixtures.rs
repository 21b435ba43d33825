//! The fixtures that no network can be asked for: one conversation on every link, in every file format, and damaged files.
//!
//! `cargo test --test make_fixtures -- --ignored` writes them; the other test holds the committed bytes to this code.
#![allow(missing_docs)]

mod support;

use std::io::{Read, Write};
use support::blocking;
use support::blocking_names;
use support::blocking_udp;
use support::ladder::{Conv, EPOCH, Sent, Udp, lookup, merge};
use support::pcap::{Pcap, Pcapng, Rec};
use support::say::{self, Hello, quic};
use support::shapes;
use support::shapes_calls;
use support::wire;
use support::wrap::{self, Link};
use support::{Dice, cases};

const CLIENT: &str = "192.168.1.23:40123";
const SERVER: &str = "149.154.167.99:443";
const NAME: &str = "web.telegram.org";

/// A TLS 1.3 connection from SYN to FIN.
fn talk(conv: Conv, hello: &[u8], cuts: &[usize]) -> Vec<Sent> {
    let mut conv = conv;
    conv.handshake();
    conv.c2s_cut(hello, cuts);
    conv.ack_from_server();
    conv.s2c(&say::server_flight(3, 2300)).ack();
    conv.c2s(&say::client_finished(4)).c2s(&say::application_data(5, 420));
    conv.s2c(&say::application_data(6, 510)).s2c(&say::application_data(7, 3900)).ack();
    conv.after_ms(300).close();
    conv.done()
}

/// The conversation every link type carries, with the lookup that led to it.
fn v4() -> Vec<Sent> {
    merge([
        lookup("192.168.1.23:50001", "9.9.9.9:53", NAME, SERVER.parse::<std::net::SocketAddr>().unwrap().ip(), 0),
        talk(Conv::new(CLIENT, SERVER).at_ms(60), &Hello::to(NAME).record(), &[]),
    ])
}

fn v6() -> Vec<Sent> {
    talk(Conv::new("[2001:db8:7::23]:40123", "[2001:67c:4e8:f004::9]:443"), &Hello::to(NAME).record(), &[])
}

/// The same with a client address as Teredo makes it (RFC 4380 §4): server 192.0.2.45, port and address of the client obscured.
fn v6_teredo() -> Vec<Sent> {
    talk(Conv::new("[2001:0:c000:22d:8000:11b2:3f57:fee8]:40123", "[2001:67c:4e8:f004::9]:443"), &Hello::to(NAME).record(), &[])
}

fn on(link: Link, packets: &[Sent]) -> Vec<u8> {
    Pcap::of(link.number()).write(&packets.iter().map(|s| s.on(link)).collect::<Vec<_>>())
}

/// Every packet through a wrapper, on the given link type.
fn through(link: u16, packets: &[Sent], wrap: impl Fn(&Sent, usize) -> Vec<u8>) -> Vec<u8> {
    let frames: Vec<Rec> = packets.iter().enumerate().map(|(i, s)| Rec::new(s.ts, wrap(s, i))).collect();
    Pcap::of(link).write(&frames)
}

fn fragmented() -> Vec<u8> {
    let mut frames = Vec::new();
    for s in v4() {
        let pieces = if s.packet.len() > 400 { wire::fragments(&s.packet, 200) } else { vec![s.packet.clone()] };
        // The last piece of every second packet overtakes the others.
        let n = pieces.len();
        let order: Vec<usize> = if n > 1 && s.ts % 2 == 0 { [n - 1].into_iter().chain(0..n - 1).collect() } else { (0..n).collect() };
        for (i, k) in order.into_iter().enumerate() {
            frames.push(Rec::new(s.ts + i as i64 * 1000, Link::Ethernet.wrap(&pieces[k], s.out)));
        }
    }
    Pcap::of(1).write(&frames)
}

/// Names that attack whoever reads them, each worth a finding: a forged reset after it, three times. Beside them, one connection that nothing happens to.
fn hostile() -> Vec<Sent> {
    const NAMES: [&str; 4] = [
        "<img src=x onerror=document.title=1>.example",
        "\"></text><script>document.title=1</script>.example",
        "&lt;b&gt;\u{202e}elpmaxe\u{2066}.example",
        "\x1b[2j\r\n</style><style>*{display:none}.example",
    ];
    let mut all = vec![talk(Conv::new("192.168.1.23:41000", "76.223.92.165:443"), &Hello::to("chat.signal.org").record(), &[])];
    for (i, name) in (0u16..).zip(NAMES) {
        for again in 0..3 {
            let port = 41_001 + i * 3 + again;
            let mut conv =
                Conv::new(&format!("192.168.1.23:{port}"), &format!("203.0.113.{}:443", 9 + i)).at_ms(i64::from(port - 41_000) * 700);
            conv.handshake().c2s(&Hello::to(name).record());
            conv.after_ms(12).forged_from_server(|p| p.ttl(107).df(false));
            conv.after_ms(40).s2c(&say::server_flight(3, 2300));
            all.push(conv.done());
        }
    }
    all.concat()
}

/// Two sections, three interfaces: other byte orders, resolutions, offsets, link types; blocks to skip, a comment, statistics.
fn sections() -> Vec<u8> {
    let a = v4();
    let b = talk(Conv::new("192.168.1.23:40200", "76.223.92.165:443").at_ms(700), &Hello::to("chat.signal.org").record(), &[]);
    let c = talk(Conv::new("10.20.0.5:40300", "157.240.205.60:443").at_ms(1500), &Hello::to("web.whatsapp.com").record(), &[]);
    let mut ng = Pcapng::new();
    ng.interface(1, "eth0", Some(9), None).interface(101, "tun0", Some(0x80 | 20), Some(1_000_000));
    ng.name([149, 154, 167, 99], NAME);
    let mut both: Vec<(usize, Sent)> = a.into_iter().map(|s| (0, s)).chain(b.into_iter().map(|s| (1, s))).collect();
    both.sort_by_key(|(_, s)| s.ts);
    for (i, (face, s)) in both.iter().enumerate() {
        let link = [Link::Ethernet, Link::Raw][*face];
        ng.packet(*face, &s.on(link), (i == 0).then_some("the lookup"));
        if i == 5 {
            ng.block(0x0000_0bad, Dice::new(1).bytes(32));
        }
    }
    let end = both.last().unwrap().1.ts;
    ng.statistics(0, end, 22, 0).statistics(1, end, 20, 0);
    ng.section(true, Some("written by another machine")).interface(276, "any", None, None);
    for s in &c {
        ng.packet(0, &s.on(Link::Sll2), None);
    }
    ng.statistics(0, c.last().unwrap().ts, c.len() as u64, 0);
    ng.finish()
}

/// What a VPN app makes of packets: the servers' headers are its own (as `zdtun_make_iphdr` writes them).
fn made_up(packets: Vec<Sent>) -> Vec<Sent> {
    let rewrite = |mut s: Sent| {
        if !s.out {
            s.packet[4..6].fill(0);
            s.packet[6] = 0x40;
            s.packet[8] = 64;
            s.packet[10..12].fill(0);
            let sum = wire::checksum(&[&s.packet[..20]]);
            s.packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        s
    };
    packets.into_iter().map(rewrite).collect()
}

/// PCAPdroid's pcapng: bare IP, a map from user ids to packages in custom blocks, the id in each packet's comment. Telegram's connections are reset
/// right after the name, and the reset's sender goes on: at a network card that would prove a forger.
fn phone() -> Vec<u8> {
    let client = "10.215.173.1";
    let at = |port: u16| format!("{client}:{port}");
    let reset = |port: u16, ms: i64| {
        let mut conv = Conv::new(&at(port), SERVER).at_ms(ms);
        conv.handshake();
        conv.c2s(&Hello::to(NAME).record());
        conv.after_ms(5).forged_from_server(|p| p.window(0));
        conv.after_ms(60).ack_from_server().s2c(&say::server_flight(3, 900));
        conv.done()
    };
    let dns = |port: u16, name: &str, ip: &str, ms| lookup(&at(port), "10.215.173.2:53", name, ip.parse().unwrap(), ms);
    let whatsapp =
        |port: u16, ms: i64| talk(Conv::new(&at(port), "157.240.205.60:443").at_ms(ms), &Hello::to("web.whatsapp.com").record(), &[]);
    let parts = [
        (10_123, [dns(50_001, NAME, "149.154.167.99", 0), reset(40_001, 60), reset(40_002, 900), reset(40_003, 1900)].concat()),
        (10_124, [dns(50_002, "web.whatsapp.com", "157.240.205.60", 20), whatsapp(40_101, 80), whatsapp(40_102, 1200)].concat()),
    ];
    let mut all: Vec<(u32, Sent)> = parts.into_iter().flat_map(|(uid, p)| made_up(p).into_iter().map(move |s| (uid, s))).collect();
    all.sort_by_key(|(_, s)| s.ts);
    let mut ng = Pcapng::new();
    ng.interface(101, "tun0", None, None);
    let mut known = Vec::new();
    for (uid, s) in &all {
        if !known.contains(uid) {
            known.push(*uid);
            let (package, app) = if *uid == 10_123 { ("org.telegram.messenger", "Telegram") } else { ("com.whatsapp", "WhatsApp") };
            let mut map = 62_652_u32.to_le_bytes().to_vec();
            map.extend([1, 1]);
            map.extend(uid.to_le_bytes());
            map.extend([package.len() as u8, app.len() as u8]);
            map.extend(package.bytes().chain(app.bytes()));
            ng.block(0x0bad, map);
        }
        ng.packet(0, &s.on(Link::Raw), Some(&format!("u-{uid}")));
    }
    ng.finish()
}

/// PKTAP as macOS writes it for all interfaces: a header with interface and process before each frame.
fn pktap() -> Vec<u8> {
    let signal = talk(Conv::new("192.168.1.23:40200", "76.223.92.165:443").at_ms(300), &Hello::to("chat.signal.org").record(), &[]);
    let mut all: Vec<(&str, &str, Sent)> = v4().into_iter().map(|s| ("nsurlsessiond", "Telegram", s)).collect();
    all.extend(signal.into_iter().map(|s| ("Signal", "", s)));
    all.sort_by_key(|(_, _, s)| s.ts);
    let frames: Vec<Rec> = all
        .iter()
        .map(|(process, behalf, s)| {
            let mut head = vec![0; 108];
            for (at, n) in [(0, 108_u32), (4, 1), (8, 1), (36, if s.out { 2 } else { 1 }), (40, 2), (44, 14), (52, 512), (84, u32::MAX)] {
                head[at..at + 4].copy_from_slice(&n.to_le_bytes());
            }
            for (at, name) in [(12, "en0"), (56, process), (88, behalf)] {
                head[at..at + name.len()].copy_from_slice(name.as_bytes());
            }
            head.extend(s.on(Link::Ethernet).bytes);
            Rec::new(s.ts, head)
        })
        .collect();
    Pcap::of(258).write(&frames)
}

fn ethernet() -> Vec<Rec> {
    v4().iter().map(|s| s.on(Link::Ethernet)).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut z = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    z.write_all(bytes).unwrap();
    z.finish().unwrap()
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

/// A ClientHello too large for one datagram: a post-quantum key share, the name in the second half.
fn quic_two_datagrams() -> Vec<u8> {
    let (first, scid, server) =
        ([0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08], [0xa1, 0xa2, 0xa3, 0xa4], [0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58]);
    let hello = Hello { alpn: vec!["h3"], quic: true, big_share: true, pad_to: 0, ..Hello::to("www.youtube.com") }.message();
    // The halves cross inside each datagram as well: the frames are out of order, as browsers send them.
    let cut = [0, 60, 700, 1130, hello.len()];
    let piece = |i: usize| quic::crypto(cut[i], &hello[cut[i]..cut[i + 1]]);
    let one = [piece(2), vec![1], piece(0)].concat();
    let two = [piece(3), piece(1)].concat();
    let mut udp = Udp::new("192.168.1.23:51820", "142.250.74.110:443");
    udp.c2s(&quic::initial(true, &first, &first, &scid, 0, &one, 1250));
    udp.c2s(&quic::initial(true, &first, &first, &scid, 1, &two, 1250));
    let answer = [quic::ack(1), quic::crypto(0, &say::server_hello(9, false))].concat();
    let mut flight = quic::initial(false, &first, &scid, &server, 0, &answer, 200);
    flight.extend(quic::handshake(&scid, &server, 960, 10));
    udp.s2c(&flight).s2c(&quic::handshake(&scid, &server, 700, 11));
    let mut reply = quic::initial(true, &first, &server, &scid, 2, &quic::ack(0), 1200 - 100);
    reply.extend(quic::handshake(&server, &scid, 80, 12));
    udp.c2s(&reply);
    for i in 0..6 {
        udp.c2s(&quic::short(&server, 60 + i * 7, 20 + i as u64)).s2c(&quic::short(&scid, 1100, 40 + i as u64));
    }
    on(Link::Ethernet, &udp.done())
}

type Wrapper<'a> = &'a dyn Fn(&Sent, usize) -> Vec<u8>;

/// Case, file name and content of every built case.
fn built() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let (v4, v6, v6_teredo) = (v4(), v6(), v6_teredo());
    let eth = ethernet();
    let whole = Pcap::of(1).write(&eth);
    let mut cases = Vec::new();
    for (name, link) in [
        ("link-ethernet", Link::Ethernet),
        ("link-raw", Link::Raw),
        ("link-null", Link::Null),
        ("link-null-big-endian", Link::NullBig),
        ("link-loop", Link::Loop),
        ("link-sll", Link::Sll),
        ("link-sll2", Link::Sll2),
        ("link-ppp", Link::Ppp),
        ("link-80211", Link::Wifi),
        ("link-radiotap", Link::Radiotap),
        ("link-nflog", Link::Nflog),
    ] {
        cases.push((name, "in.pcap", on(link, &v4)));
    }
    cases.push(("link-ipv6", "in.pcap", on(Link::Ethernet, &v6)));
    let layers: [(&str, u16, &[Sent], Wrapper<'_>); 11] = [
        ("link-vlan", 1, &v4, &|s, _| wrap::vlan(&s.packet, 205, s.out)),
        ("link-qinq", 1, &v4, &|s, _| wrap::qinq(&s.packet, 100, 205, s.out)),
        ("link-mpls", 1, &v4, &|s, _| wrap::mpls(&s.packet, s.out)),
        ("link-pppoe", 1, &v4, &|s, _| wrap::pppoe(&s.packet, s.out)),
        ("link-gre", 1, &v4, &|s, _| Link::Ethernet.wrap(&wrap::gre(&s.packet, s.out), s.out)),
        ("link-ipip", 1, &v4, &|s, _| Link::Ethernet.wrap(&wrap::ip_in_ip(&s.packet, s.out), s.out)),
        ("link-6in4", 1, &v6, &|s, _| Link::Ethernet.wrap(&wrap::ip_in_ip(&s.packet, s.out), s.out)),
        ("link-gtpu", 1, &v4, &|s, i| {
            Link::Ethernet.wrap(&wrap::gtpu(&s.packet, if s.out { 0x1001 } else { 0x2002 }, i as u16, s.out), s.out)
        }),
        ("link-vxlan", 1, &v4, &|s, _| Link::Ethernet.wrap(&wrap::vxlan(&s.packet, 4242, s.out), s.out)),
        ("link-teredo", 1, &v6_teredo, &|s, _| Link::Ethernet.wrap(&wrap::teredo(&s.packet, s.out), s.out)),
        ("link-pcapdroid", 1, &v4, &|s, _| wrap::pcapdroid(&s.packet, 10_217, "Telegram")),
    ];
    for (name, link, packets, wrap) in layers {
        cases.push((name, "in.pcap", through(link, packets, wrap)));
    }
    cases.push(("link-fragments", "in.pcap", fragmented()));

    let style = Pcap::of(1);
    cases.push(("pcap-nanoseconds-big-endian", "in.pcap", Pcap { big_endian: true, nanos: true, ..style }.write(&eth)));
    cases.push(("pcap-kuznetzov", "in.pcap", Pcap { kuznetzov: true, ..style }.write(&eth)));
    cases.push(("pcap-long-records", "in.pcap", Pcap { long_records: true, ..style }.write(&eth)));
    cases.push(("pcapng-sections", "in.pcapng", sections()));
    cases.push(("phone-pcapdroid-vpn", "in.pcapng", phone()));
    cases.push(("phone-pktap", "in.pcap", pktap()));
    cases.push(("gzip", "in.pcap.gz", gzip(&whole)));
    cases.push(("quic-hello-two-datagrams", "in.pcap", quic_two_datagrams()));

    let hello = Hello { pad_to: 1700, ech: Some(208), ..Hello::to(NAME) };
    let pieces = [1, 1, 3, 40, 20, 1, 200, 333, 64];
    cases.push(("hello-crumbs", "in.pcap", on(Link::Ethernet, &talk(Conv::new(CLIENT, SERVER), &hello.records(97), &pieces))));

    let more = [shapes_calls::cases(), blocking::cases(), blocking_udp::cases(), blocking_names::cases()];
    for (name, packets) in shapes::cases().into_iter().chain(more.into_iter().flatten()) {
        cases.push((name, "in.pcap", on(Link::Ethernet, &packets)));
    }

    cases.push(("hostile-names", "in.pcap", on(Link::Ethernet, &hostile())));
    cases.push(("empty", "in.pcap", Pcap::of(1).write(&[])));
    cases.push(("not-a-capture", "in.pcap", b"MZ\x90\x00This is a letter, not a capture. It was given the name of one.\r\n".repeat(8)));
    cases.push(("damaged-truncated", "in.pcap", whole[..whole.len() - 37].to_vec()));
    let mut garbage = whole[..24].to_vec();
    let first: Vec<u8> = Pcap::of(1).write(&eth[..10]).split_off(24);
    garbage.extend(first);
    garbage.extend(Dice::new(99).bytes(333));
    garbage.extend(Pcap::of(1).write(&eth[10..]).split_off(24));
    let again = talk(Conv::new("192.168.1.23:40777", "76.223.92.165:443").at_ms(2000), &Hello::to("chat.signal.org").record(), &[]);
    garbage.extend(on(Link::Ethernet, &again).split_off(24));
    cases.push(("damaged-garbage-in-middle", "in.pcap", garbage));
    cases
}

#[test]
#[ignore = "writes the built fixtures"]
fn regenerate_synthetic_fixtures() {
    for (case, file, bytes) in built() {
        let dir = cases::root().join(case);
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join(file);
        // Another version of the compressor may write other bytes of the same meaning: leave those be.
        let same = file.ends_with(".gz") && std::fs::read(&path).is_ok_and(|old| gunzip(&old) == gunzip(&bytes));
        if !same {
            std::fs::write(path, bytes).unwrap();
        }
    }
}

#[test]
fn committed_fixtures_are_what_this_code_builds() {
    for (case, file, bytes) in built() {
        let path = cases::root().join(case).join(file);
        let old = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let same = if file.ends_with(".gz") { gunzip(&old) == gunzip(&bytes) } else { old == bytes };
        assert!(same, "{} is not what the code builds; run `cargo test --test make_fixtures -- --ignored`", path.display());
    }
}

#[test]
fn built_captures_begin_at_their_epoch() {
    assert!(v4().iter().all(|s| s.ts >= EPOCH && s.ts < EPOCH + 60_000_000_000));
}

#[test]
fn a_ladder_reads_as_it_is_drawn() {
    let mut conv = Conv::new(CLIENT, SERVER).rtt_ms(60).ttls(64, 52);
    conv.handshake();
    conv.c2s(&Hello::to(NAME).record());
    conv.after_ms(12).forged_from_server(|p| p.ttl(107).ip_id(30_000).df(false).window(0));
    conv.after_ms(48).ack_from_server();
    conv.rst_from_client(|p| p.flags(wire::RST));
    let sent = conv.done();
    let rows: Vec<(i64, bool, u8, u8)> = sent.iter().map(|s| ((s.ts - EPOCH) / 1_000_000, s.out, s.packet[33], s.packet[8])).collect();
    assert_eq!(
        rows,
        [
            (0, true, wire::SYN, 64),
            (60, false, wire::SYN | wire::ACK, 52),
            (60, true, wire::ACK, 64),
            (60, true, wire::ACK | wire::PSH, 64),
            (72, false, wire::RST | wire::ACK, 107),
            (120, false, wire::ACK, 52),
            (120, true, wire::RST, 64),
        ]
    );
    // Every header sums to zero, and the forged packet stands where the server's next byte would.
    for s in &sent {
        assert_eq!(wire::checksum(&[&s.packet[..20]]), 0);
        let tcp = &s.packet[20..];
        let len = (tcp.len() as u32).to_be_bytes();
        assert_eq!(wire::checksum(&[&s.packet[12..20], &len, &[0, 0, 0, wire::TCP], tcp]), 0);
    }
    assert_eq!(sent[4].packet[24..32], sent[5].packet[24..32], "same sequence and acknowledgement numbers");
}
