//! Built cases of interference and of what looks like it: ladders with the times and headers that decide.

use super::Dice;
use super::ladder::{Conv, Sent, Udp, merge};
use super::say::{self, Hello};
use super::wire::{ACK, FIN, PSH, RST, option};

pub const CLIENT: &str = "192.168.1.23";

/// Every case with its packets.
pub fn cases() -> Vec<(&'static str, Vec<Sent>)> {
    vec![
        ("fin-on-path", fin_on_path()),
        ("clean-server-fin", clean_server_fin()),
        ("fin-one-sided", one_sided(fin_on_path())),
        ("alert-on-path", alert(true)),
        ("clean-server-alert", alert(false)),
        ("alert-one-sided", one_sided(alert(true))),
        ("ech-dropped", ech(true)),
        ("clean-ech-lost-once", ech(false)),
        ("ech-one-sided", one_sided(ech(true))),
        ("tls-connections-policed", policed(true)),
        ("clean-server-limits-connections", policed(false)),
        ("tls-connections-one-sided", one_sided(policed(true))),
        ("first-data-dropped", first_data(true)),
        ("clean-first-data-unanswered", first_data(false)),
        ("first-data-one-sided", one_sided(first_data(true))),
        ("allowlist-by-name", allowlist(true)),
        ("clean-some-dead-backends", allowlist(false)),
        ("allowlist-one-sided", one_sided(allowlist(true))),
        ("dot-dropped", dot(true)),
        ("clean-dot-refused", dot(false)),
        ("dot-one-sided", one_sided(dot(true))),
        ("random-looking-dropped", structureless(true)),
        ("clean-random-looking-lost-once", structureless(false)),
        ("random-looking-one-sided", one_sided(structureless(true))),
        ("freeze-16k", freeze(Freeze::Quota)),
        ("clean-outage-midway", freeze(Freeze::Outage)),
        ("clean-reader-stops", freeze(Freeze::Reader)),
        ("freeze-one-sided", one_sided(freeze(Freeze::Quota))),
        ("freeze-packets", freeze_packets()),
        ("residual-three-tuple", residual(true)),
        ("clean-server-bans", residual(false)),
        ("residual-one-sided", one_sided(residual(true))),
        ("clean-server-overloaded", overloaded()),
        ("clean-server-spare-machine", spare_machine()),
        ("clean-server-refuses-hello", refuses_hello()),
        ("rst-ipv6", rst_ipv6()),
        ("desync-tools", desync_tools()),
        ("verdict-one-address-works", one_address_works()),
    ]
}

/// What a tap sees that carries the client's direction only.
pub fn one_sided(packets: Vec<Sent>) -> Vec<Sent> {
    packets.into_iter().filter(|s| s.out).collect()
}

pub fn conv(port: u16, server: &str, at_ms: i64) -> Conv {
    Conv::new(&format!("{CLIENT}:{port}"), server).at_ms(at_ms)
}

/// A TLS 1.3 connection that goes well, with this much data at its end.
pub fn fine_with(port: u16, server: &str, name: &str, at_ms: i64, bytes: usize) -> Vec<Sent> {
    let mut c = conv(port, server, at_ms);
    c.handshake().c2s(&hello(name, port)).ack_from_server();
    finish(&mut c, port, bytes);
    c.done()
}

pub fn fine(port: u16, server: &str, name: &str, at_ms: i64) -> Vec<Sent> {
    fine_with(port, server, name, at_ms, 400)
}

/// From the server's first flight to the end.
fn finish(c: &mut Conv, seed: u16, bytes: usize) {
    let seed = u64::from(seed);
    c.s2c(&say::server_flight(seed, 900)).ack();
    c.c2s(&say::client_finished(seed)).c2s(&say::application_data(seed + 1, 90)).ack_from_server();
    let mut left = bytes;
    while left > 0 {
        let n = left.min(12_000);
        c.s2c(&say::application_data(seed + left as u64, n)).ack();
        left -= n;
    }
    c.after_ms(100).close();
}

fn hello(name: &str, seed: u16) -> Vec<u8> {
    Hello { seed: u64::from(seed), ..Hello::to(name) }.record()
}

/// The last client packet again on a retransmission timer that doubles.
fn in_vain(c: &mut Conv, times: usize) {
    let mut wait = 300;
    for _ in 0..times {
        c.after_ms(wait).again();
        wait *= 2;
    }
}

/// Three connections with one name are ended by a FIN after 9 ms of a round trip of 40; the server's own answer follows. Another name at
/// the same address is answered.
fn fin_on_path() -> Vec<Sent> {
    let server = "203.0.113.40:443";
    let mut all = vec![fine(40_000, server, "www.example.net", 0)];
    for i in 0..3 {
        let mut c = conv(40_001 + i, server, 1_000 + 900 * i64::from(i));
        c.handshake().c2s(&hello("chat.signal.org", i));
        c.after_ms(9).forged_from_server(|p| p.flags(ACK | FIN).ttl(103).df(false).ip_id(9_000 + i).options(&[]));
        c.forged_from_client(|p| p.flags(ACK).ack_by(1));
        c.after_ms(31).s2c(&say::server_flight(u64::from(i), 2_400));
        c.rst_from_client(|p| p.flags(RST).window(0).options(&[]));
        all.push(c.done());
    }
    merge(all)
}

/// The server itself closes after the first message, and after an answer: in its own time, with its own headers, and says nothing more.
fn clean_server_fin() -> Vec<Sent> {
    let server = "203.0.113.41:443";
    let mut all = vec![fine(40_100, server, "www.example.net", 0)];
    for i in 0..3 {
        let mut c = conv(40_101 + i, server, 1_000 + 900 * i64::from(i));
        c.handshake().c2s(&hello("chat.signal.org", i)).ack_from_server().fin_from_server().ack().fin().ack_from_server();
        all.push(c.done());
    }
    merge(all)
}

/// A fatal alert answers one name: put in after 8 ms by another stack, with the server's own answer behind it, or the server's own.
fn alert(forged: bool) -> Vec<Sent> {
    let server = "203.0.113.42:443";
    let mut all = vec![fine(40_200, server, "www.example.net", 0), fine(40_201, server, "www.example.org", 700)];
    for i in 0..3 {
        let mut c = conv(40_202 + i, server, 1_500 + 900 * i64::from(i));
        c.handshake().c2s(&hello("chat.signal.org", i));
        if forged {
            c.after_ms(8).forged_from_server(|p| p.flags(ACK | PSH).ttl(101).df(false).ip_id(77).options(&[]).payload(&say::alert(112)));
            c.after_ms(32).s2c(&say::server_flight(u64::from(i), 2_400));
            c.rst_from_client(|p| p.flags(RST).window(0).options(&[]));
        } else {
            c.ack_from_server().s2c(&say::alert(112)).fin_from_server().ack().fin().ack_from_server();
        }
        all.push(c.done());
    }
    merge(all)
}

/// Messages with ECH behind a public name: the segment that completes them never arrives and the server says goodbye 15 s later without
/// having received it; or one was lost once and arrives the second time. Without ECH the same address answers.
fn ech(dropped: bool) -> Vec<Sent> {
    let server = "203.0.113.43:443";
    let mut all = Vec::new();
    for i in 0..2 {
        let mut c = conv(40_300 + i, server, 4_000 * i64::from(i));
        let hidden = Hello { ech: Some(208), pad_to: 1_700, seed: u64::from(i), ..Hello::to("cloudflare-ech.com") }.record();
        let (first, second) = hidden.split_at(1_400);
        c.handshake().c2s(first).ack_from_server().c2s(second);
        if dropped {
            in_vain(&mut c, 5);
            let missing = second.len() as i32;
            c.after_ms(3_000).forged_from_server(|p| p.flags(ACK | FIN).ack_by(-missing));
        } else {
            in_vain(&mut c, 1);
            c.ack_from_server();
            finish(&mut c, 300 + i, 600);
        }
        all.push(c.done());
    }
    for i in 0..3 {
        all.push(fine(40_310 + i, server, "www.example.net", 1_500 + 5_000 * i64::from(i)));
    }
    merge(all)
}

/// Twice: three connections to a server go well, the next four freeze, and a minute later all is well again. Or the server, too busy, takes
/// the message of the next four and never answers it.
fn policed(dropped: bool) -> Vec<Sent> {
    let server = "203.0.113.44:443";
    let name = "www.example.net";
    let mut all = vec![fine_with(40_499, "198.51.100.44:443", "www.example.org", 20_000, 3_000)];
    for round in 0..2_u16 {
        let from = i64::from(round) * 90_000;
        let port = 40_400 + 20 * round;
        for i in 0..3 {
            all.push(fine(port + i, server, name, from + 900 * i64::from(i)));
        }
        for i in 3..7 {
            let mut c = conv(port + i, server, from + 1_000 * i64::from(i));
            c.handshake().c2s(&hello(name, port + i));
            if dropped {
                in_vain(&mut c, 5);
            } else {
                c.ack_from_server().after_ms(9_000).fin().ack_from_server();
            }
            all.push(c.done());
        }
        all.push(fine(port + 8, server, name, from + 62_000));
        all.push(fine(40_480 + round, "198.51.100.44:443", "www.example.org", from + 6_000));
    }
    merge(all)
}

/// What looks like a TLS handshake passes; the first data of the client does not, while the server is heard to wait and give up. Or that
/// data arrives, and the server has nothing to say.
fn first_data(dropped: bool) -> Vec<Sent> {
    let server = "203.0.113.45:443";
    let mut all = Vec::new();
    for i in 0..3 {
        let mut c = conv(40_500 + i, server, 2_500 * i64::from(i));
        c.handshake().c2s(&hello("www.example.net", i)).ack_from_server().s2c(&say::server_flight(u64::from(i), 1_800)).ack();
        let first = say::client_finished(u64::from(i));
        let (ccs, data) = first.split_at(6);
        c.c2s(ccs).ack_from_server().c2s(data);
        if dropped {
            in_vain(&mut c, 5);
            let missing = data.len() as i32;
            c.after_ms(2_000).forged_from_server(|p| p.flags(ACK | FIN).ack_by(-missing));
        } else {
            c.ack_from_server().after_ms(11_000).fin().ack_from_server().fin_from_server().ack();
        }
        all.push(c.done());
    }
    all.push(fine(40_510, "198.51.100.45:443", "www.example.org", 5_000));
    merge(all)
}

/// Two sites work, again and again; sixteen unrelated ones complete the handshake and never receive the name. Or two of them only.
fn allowlist(everything: bool) -> Vec<Sent> {
    let mut all = Vec::new();
    for i in 0..16_u16 {
        let (server, name) = (format!("{}.51.100.7:443", 20 + 3 * i), format!("www.site-{i}.org"));
        let at = 3_000 * i64::from(i);
        if everything || i % 8 == 3 {
            let mut c = conv(40_600 + i, &server, at);
            c.handshake().c2s(&hello(&name, i));
            in_vain(&mut c, 5);
            all.push(c.done());
        } else {
            all.push(fine(40_600 + i, &server, &name, at));
        }
    }
    for i in 0..8 {
        all.push(fine(40_650 + i, "203.0.113.46:443", if i % 2 == 0 { "www.example.ru" } else { "www.example.com" }, 6_100 * i64::from(i)));
    }
    merge(all)
}

/// DNS over TLS at two announced resolvers: one answers, the other's port 853 is silent although its port 53 answers. Or it refuses.
fn dot(dropped: bool) -> Vec<Sent> {
    let mut all = vec![fine(40_700, "9.9.9.9:853", "dns.quad9.net", 0), fine(40_701, "198.51.100.47:443", "www.example.org", 4_000)];
    for i in 0..3 {
        let mut c = conv(40_710 + i, "8.8.8.8:853", 3_000 * i64::from(i));
        c.syn();
        if dropped {
            for wait in [1_000, 2_000, 4_000] {
                c.after_ms(wait).again();
            }
        } else {
            c.rst_from_server(|p| {
                let back = p.seq.cast_signed().wrapping_neg();
                p.seq_by(back).window(0).options(&[]).ip_id(0)
            });
        }
        all.push(c.done());
        let mut udp = Udp::new(&format!("{CLIENT}:{}", 41_000 + i), "8.8.8.8:53").at_ms(3_500 * i64::from(i));
        let (id, name) = (700 + i, "www.example.org");
        udp.c2s(&say::dns_query(id, name, 1)).s2c(&say::dns_answer(id, name, 1, &["198.51.100.47".parse().unwrap()], 0, 60));
        all.push(udp.done());
    }
    merge(all)
}

/// Streams that begin with random bytes: never acknowledged, five of five, while TLS to the same address is answered. Or lost once each.
fn structureless(dropped: bool) -> Vec<Sent> {
    let server = "203.0.113.48:8388";
    let mut all = Vec::new();
    for i in 0..5 {
        let mut c = conv(40_800 + i, server, 3_000 * i64::from(i));
        c.handshake().c2s(&Dice::new(900 + u64::from(i)).bytes(517));
        if dropped {
            in_vain(&mut c, 5);
        } else {
            in_vain(&mut c, 1);
            c.ack_from_server().s2c(&Dice::new(950 + u64::from(i)).bytes(1_300)).ack().after_ms(50).close();
        }
        all.push(c.done());
    }
    for i in 0..5 {
        all.push(fine(40_820 + i, "203.0.113.48:443", "www.example.net", 500 + 3_000 * i64::from(i)));
    }
    merge(all)
}

#[derive(Clone, Copy, PartialEq)]
enum Freeze {
    Quota,
    Outage,
    Reader,
}

/// Three downloads from one host go silent after some 17 kB while small ones from it and large ones from elsewhere go on. Or everything
/// goes silent at once, for good; or the client stops reading and says so.
fn freeze(how: Freeze) -> Vec<Sent> {
    let host = "203.0.113.49:443";
    let mut all = Vec::new();
    for i in 0..3 {
        let at = if how == Freeze::Outage { 0 } else { 6_000 * i64::from(i) };
        let mut c = conv(40_900 + i, host, at);
        let seed = u64::from(i);
        c.handshake().c2s(&hello("files.example.net", i)).ack_from_server().s2c(&say::server_flight(seed, 2_000)).ack();
        c.c2s(&say::client_finished(seed)).c2s(&say::application_data(seed + 1, 200)).ack_from_server();
        c.s2c(&say::application_data(seed + 2, 13_900));
        if how == Freeze::Reader {
            c.forged_from_client(|p| p.flags(ACK).window(0));
            for wait in [300, 600, 1_200, 2_400] {
                c.after_ms(wait).forged_from_server(|p| p.flags(ACK).seq_by(-1));
                c.forged_from_client(|p| p.flags(ACK).window(0));
            }
        } else {
            c.ack().after_ms(500).c2s(&say::application_data(seed + 3, 60));
            in_vain(&mut c, 5);
        }
        all.push(c.done());
        if how != Freeze::Outage {
            all.push(fine(40_920 + i, host, "files.example.net", at + 3_500));
            all.push(fine_with(
                40_940 + i,
                "198.51.100.49:443",
                "www.example.org",
                at + 2_000,
                if i == 0 && how == Freeze::Quota { 70_000 } else { 400 },
            ));
        }
    }
    merge(all)
}

/// Four connections to one host go silent after the same 30 packets, with segments of other sizes each time; small and large transfers
/// elsewhere go on.
fn freeze_packets() -> Vec<Sent> {
    let host = "203.0.113.54:443";
    let mut all = Vec::new();
    for i in 0..4_u16 {
        let at = 8_000 * i64::from(i);
        let mut c = conv(41_500 + i, host, at);
        let seed = u64::from(i);
        c.handshake().c2s(&hello("files.example.net", i)).ack_from_server().s2c(&say::server_flight(seed, 1_200)).ack();
        c.c2s(&say::client_finished(seed)).c2s(&say::application_data(seed + 1, 200)).ack_from_server();
        for k in 0..11 {
            c.s2c(&say::application_data(seed + 10 + k, 1_090 + 100 * usize::from(i))).ack();
        }
        c.after_ms(400).c2s(&say::application_data(seed + 3, 60));
        in_vain(&mut c, 5);
        all.push(c.done());
        all.push(fine_with(41_520 + i, "198.51.100.54:443", "www.example.org", at + 2_000, if i == 0 { 90_000 } else { 400 }));
    }
    merge(all)
}

/// A name is swallowed; for ten seconds no SYN to that server and port is answered, then a harmless name is. Or the server acknowledges the
/// message, and then, having taken offence, drops everything of this client for a while.
fn residual(swallowed: bool) -> Vec<Sent> {
    let server = "203.0.113.50:443";
    let mut trigger = conv(41_100, server, 500);
    trigger.handshake().c2s(&hello("chat.signal.org", 1));
    if !swallowed {
        trigger.ack_from_server();
    }
    in_vain(&mut trigger, 5);
    let mut all = vec![trigger.done(), fine(41_090, server, "www.example.net", 0), fine(41_120, server, "www.example.net", 14_000)];
    for i in 0..3 {
        let mut c = conv(41_101 + i, server, 2_000 + 2_500 * i64::from(i));
        c.syn().after_ms(1_000).again().after_ms(2_000).again();
        all.push(c.done());
        all.push(fine(41_140 + i, "198.51.100.50:443", "www.example.org", 2_500 + 3_000 * i64::from(i)));
    }
    merge(all)
}

/// A machine whose kernel still finishes handshakes and acknowledges the first message, while its program takes no more connections; when
/// its queue is full, it does not even answer SYNs. Nothing goes well there before or after.
fn overloaded() -> Vec<Sent> {
    let server = "203.0.113.54:443";
    let mut all = Vec::new();
    for i in 0..2 {
        let mut c = conv(41_300 + i, server, 500 + 6_000 * i64::from(i));
        c.handshake().c2s(&hello("media.example.net", i)).ack_from_server();
        c.after_ms(5_500).fin();
        all.push(c.done());
    }
    for i in 0..3 {
        let mut c = conv(41_310 + i, server, 13_000 + 2_500 * i64::from(i));
        c.syn().after_ms(1_000).again().after_ms(2_000).again();
        all.push(c.done());
        all.push(fine(41_340 + i, "198.51.100.54:443", "www.example.org", 13_500 + 2_500 * i64::from(i)));
    }
    merge(all)
}

/// Downloads that the server's site ends in the middle, through another machine than the one that sent the data: another distance, another
/// count of identifications, no fragmentation bit; in its own time, and then silence.
fn spare_machine() -> Vec<Sent> {
    let mut all = Vec::new();
    for i in 0..3 {
        let mut c = conv(41_400 + i, &format!("203.0.113.{}:443", 55 + i), 700 * i64::from(i));
        c.handshake().c2s(&hello("files.example.net", i)).ack_from_server();
        c.s2c(&say::server_flight(u64::from(i), 900)).ack();
        c.c2s(&say::client_finished(u64::from(i))).c2s(&say::application_data(u64::from(i) + 1, 90)).ack_from_server();
        c.s2c(&say::application_data(u64::from(i) + 2, 12_000)).ack();
        c.after_ms(230).rst_from_server(|p| p.ttl(57).df(false).ip_id(51_000 + 13 * i));
        all.push(c.done());
        all.push(fine(41_440 + i, "198.51.100.55:443", "www.example.org", 500 + 900 * i64::from(i)));
    }
    merge(all)
}

/// A server that refuses every connection in the act: it aborts (RST with ACK), and its kernel answers the message that was still under
/// way with a second reset, without ACK, at the position that message acknowledged (RFC 9293 §3.10.7.1).
fn refuses_hello() -> Vec<Sent> {
    let server = "203.0.113.58:443";
    let mut all = Vec::new();
    for i in 0..2 {
        let mut c = conv(41_500 + i, server, 900 * i64::from(i));
        c.handshake().c2s(&hello("web.example.net", i));
        c.rst_from_server(|p| p.ack_by(-(hello("web.example.net", i).len() as i32)));
        c.rst_from_server(|p| p.flags(RST).window(0).ip_id(0).options(&[]));
        all.push(c.done());
        all.push(fine(41_540 + i, "198.51.100.58:443", "www.example.org", 500 + 900 * i64::from(i)));
    }
    merge(all)
}

/// Three resets at once answer a name over IPv6, before the server can have; the server's own answer follows.
fn rst_ipv6() -> Vec<Sent> {
    let (client, server) = ("[2001:db8:7::23]", "[2001:67c:4e8:f004::9]:443");
    let mut all = Vec::new();
    for i in 0..3 {
        let mut c = Conv::new(&format!("{client}:{}", 41_200 + i), server).at_ms(900 * i64::from(i));
        c.handshake().c2s(&hello("web.telegram.org", i));
        c.after_ms(7);
        for k in 0..3 {
            c.forged_from_server(|p| p.ttl(100).window(1_300 + k).options(&[]));
        }
        c.after_ms(33).ack_from_server().s2c(&say::server_flight(u64::from(i), 2_400));
        c.rst_from_client(|p| p.flags(RST).window(0).options(&[]));
        all.push(c.done());
    }
    let mut ok = Conv::new(&format!("{client}:41210"), server).at_ms(4_000);
    ok.handshake().c2s(&hello("www.example.net", 9)).ack_from_server();
    finish(&mut ok, 9, 600);
    all.push(ok.done());
    merge(all)
}

/// One name at two addresses: at the first its message is swallowed, at every attempt, and another name is answered; at the second it goes
/// well meanwhile.
fn one_address_works() -> Vec<Sent> {
    let (blocked, name) = ("203.0.113.52:443", "chat.signal.org");
    let mut all = Vec::new();
    for i in 0..3 {
        let at = 5_000 * i64::from(i);
        let mut c = conv(41_400 + i, blocked, at);
        c.handshake().c2s(&hello(name, i));
        in_vain(&mut c, 5);
        all.push(c.done());
        all.push(fine(41_410 + i, blocked, "www.example.net", at + 1_000));
        all.push(fine(41_420 + i, "203.0.113.53:443", name, at + 2_000));
    }
    merge(all)
}

/// The tricks of zapret, GoodbyeDPI, youtubeUnblock and byedpi, from the client's own machine; nothing interferes and everything works.
fn desync_tools() -> Vec<Sent> {
    let server = "203.0.113.51:443";
    let name = "www.youtube.com";
    let md5 = [&[19, 18][..], &[0; 16], &[1, 1]].concat();
    let old = [&[1, 1][..], &option::timestamps(1, 1)].concat();
    let mut all = Vec::new();
    for i in 0..9_u16 {
        let mut c = conv(41_300 + i, server, 700 * i64::from(i));
        let (real, fake) = (hello(name, i), hello("www.google.com", 99));
        c.handshake();
        match i {
            // Fakes that die on the way, are dropped for their checksum or their MD5 option, or lie outside the window.
            0 => c.forged_from_client(|p| p.ttl(4).payload(&fake)),
            1 => c.forged_from_client(|p| p.bad_checksum().payload(&fake)),
            2 => c.forged_from_client(|p| p.options(&md5).payload(&fake)),
            3 => c.forged_from_client(|p| p.seq_by(-10_000).ack_by(-66_000).payload(&fake)),
            4 => c.forged_from_client(|p| p.options(&old).ttl(6).payload(&fake)),
            // A reset and a FIN of its own that no server sees.
            5 => c.forged_from_client(|p| p.flags(RST).ttl(5).options(&[])),
            6 => c.forged_from_client(|p| p.flags(ACK | FIN).ttl(5)),
            _ => &mut c,
        };
        match i {
            // Split in small pieces; or preceded by other bytes that reach back before it (seqovl), which the server trims.
            7 => c.c2s_cut(&real, &[1, 2, 40, 1]),
            8 => c.forged_from_client(|p| p.seq_by(-568).payload(&Dice::new(5).bytes(568))).c2s(&real),
            _ => c.c2s(&real),
        };
        c.ack_from_server();
        finish(&mut c, i, 600);
        all.push(c.done());
    }
    merge(all)
}
