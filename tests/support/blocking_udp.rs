//! Built cases of interference with datagrams, and of what looks like it; and of lists of addresses.

use super::Dice;
use super::blocking::{CLIENT, conv, fine, one_sided};
use super::ladder::{Sent, Udp, lookup, merge};
use super::say::{Hello, quic, server_hello};
use super::shapes::{cat, stun};
use super::wire::{ACK, PSH};

/// Every case with its packets.
pub fn cases() -> Vec<(&'static str, Vec<Sent>)> {
    vec![
        ("media-degraded", degraded(true)),
        ("clean-call-on-lossy-line", degraded(false)),
        ("media-degraded-one-sided", one_sided(degraded(true))),
        ("udp-all-silent", all_silent(true)),
        ("clean-udp-some-silent", all_silent(false)),
        ("udp-all-one-sided", one_sided(all_silent(true))),
        ("allowlist-by-address", by_address(true)),
        ("clean-some-services-down", by_address(false)),
        ("allowlist-by-address-one-sided", one_sided(by_address(true))),
    ]
}

/// Two calls over relays of two networks, at two times: every fifth packet of the server is missing, the client's are complete, and
/// downloads meanwhile repeat nothing. Or the downloads lose as much.
fn degraded(only_media: bool) -> Vec<Sent> {
    let mut dice = Dice::new(301);
    let mut all = Vec::new();
    for (i, relay) in [(0u16, "155.212.199.7:19302"), (1, "155.212.200.9:19302")] {
        let at = 40_000 * i64::from(i);
        let t = dice.bytes(12);
        let user = (0x0006, b"1790000000:123456789012".to_vec());
        let mut call = Udp::new(&format!("{CLIENT}:{}", 50_300 + i), relay).at_ms(at);
        call.c2s(&stun(0x0003, &t, &[(0x0019, vec![17, 0, 0, 0]), user]));
        call.s2c(&stun(0x0103, &t, &[(0x0016, vec![0, 1, 1, 2, 3, 4, 5, 6])]));
        let packet = |ssrc: u8, n: u16, dice: &mut Dice| {
            let rtp = cat(&[&[0x80, 111], &n.to_be_bytes(), &(u32::from(n) * 960).to_be_bytes(), &[0, 0, 7, ssrc], &dice.bytes(14)]);
            cat(&[&[0x40, 0x01], &(rtp.len() as u16).to_be_bytes(), &rtp])
        };
        for n in 0..270u16 {
            call.after_ms(20).c2s(&packet(1, 500 + n, &mut dice));
            if n % 5 != 3 {
                call.s2c(&packet(2, 100 + n, &mut dice));
            }
        }
        all.push(call.done());
        for k in 0..2u16 {
            let (port, server) = (50_320 + 2 * i + k, format!("198.51.100.{}:443", 61 + k));
            let from = at + 1_000 + 1_500 * i64::from(k);
            all.push(download(port, &server, from, !only_media));
        }
    }
    merge(all)
}

/// A download in small segments; on a lossy line every fifth is sent twice, for the first never arrived.
fn download(port: u16, server: &str, at_ms: i64, lossy: bool) -> Vec<Sent> {
    let mut c = conv(port, server, at_ms);
    c.handshake().c2s(b"GET /file HTTP/1.1\r\nHost: files.example.net\r\n\r\n").ack_from_server();
    let mut dice = Dice::new(u64::from(port));
    for n in 0..56 {
        let segment = dice.bytes(120);
        c.s2c(&segment);
        if lossy && n % 5 == 3 {
            c.after_ms(120).forged_from_server(|p| p.flags(ACK | PSH).seq_by(-120).payload(&segment));
        }
        c.ack();
    }
    c.close();
    c.done()
}

/// QUIC, STUN and WireGuard to four servers over nine seconds are asked again and again and never answered, TCP works; a minute before,
/// UDP had worked. Or one of the servers answers.
fn all_silent(all_of_it: bool) -> Vec<Sent> {
    let mut dice = Dice::new(302);
    let mut all = Vec::new();
    let mut quic_to = |port: u16, server: &str, name: &str, at: i64, answered: bool, dice: &mut Dice| {
        let mut u = Udp::new(&format!("{CLIENT}:{port}"), server).at_ms(at);
        let (id, scid) = (dice.bytes(8), dice.bytes(4));
        let hello = Hello { alpn: vec!["h3"], quic: true, seed: u64::from(port), ..Hello::to(name) }.message();
        let first = quic::initial(true, &id, &id, &scid, 0, &quic::crypto(0, &hello), 1250);
        u.c2s(&first);
        if answered {
            let server = dice.bytes(8);
            let answer = cat(&[&quic::ack(0), &quic::crypto(0, &server_hello(9, false))]);
            let mut flight = quic::initial(false, &id, &scid, &server, 0, &answer, 200);
            flight.extend(quic::handshake(&scid, &server, 960, 10));
            u.s2c(&flight).c2s(&quic::short(&server, 60, 11)).s2c(&quic::short(&scid, 1_100, 12));
        } else {
            for wait in [300, 600, 1_200, 2_400] {
                u.after_ms(wait).c2s(&first);
            }
        }
        all.push(u.done());
    };
    quic_to(50_400, "203.0.113.70:443", "www.example.net", 0, true, &mut dice);
    quic_to(50_401, "203.0.113.71:443", "www.example.org", 1_500, true, &mut dice);
    quic_to(50_402, "203.0.113.72:443", "www.example.com", 60_000, false, &mut dice);
    quic_to(50_403, "203.0.113.70:443", "www.example.net", 62_000, !all_of_it, &mut dice);
    let mut asks = Udp::new(&format!("{CLIENT}:50404"), "203.0.113.74:3478").at_ms(61_000);
    let request = stun(0x0001, &dice.bytes(12), &[]);
    for wait in [0, 500, 1_000, 2_000, 4_000] {
        asks.after_ms(wait).c2s(&request);
    }
    all.push(asks.done());
    for i in 0..4 {
        all.push(fine(50_410 + i, "198.51.100.75:443", "www.example.org", 60_500 + 2_500 * i64::from(i)));
    }
    merge(all)
}

/// Twelve services, each looked up first, are silent at their addresses, and three national ones answer, for a minute. Or two are silent.
fn by_address(everything: bool) -> Vec<Sent> {
    const ABROAD: [(&str, &str); 12] = [
        ("web.telegram.org", "149.154.167.99:443"),
        ("g.whatsapp.net", "157.240.205.60:5222"),
        ("chat.signal.org", "76.223.92.165:443"),
        ("imo.im", "83.229.88.9:443"),
        ("line.me", "147.92.128.5:443"),
        ("www.viber.com", "52.0.252.9:443"),
        ("threema.ch", "185.88.236.9:443"),
        ("zoom.us", "170.114.0.9:443"),
        ("www.webex.com", "62.109.192.9:443"),
        ("www.facebook.com", "31.13.72.36:443"),
        ("identity.ess.apple.com", "17.32.214.9:443"),
        ("courier.push.apple.com", "17.57.144.10:5223"),
    ];
    let mut all = Vec::new();
    for (i, (name, server)) in (0u16..).zip(ABROAD) {
        let at = 5_000 * i64::from(i);
        let address = server.parse::<std::net::SocketAddr>().unwrap().ip();
        all.push(lookup(&format!("{CLIENT}:{}", 50_600 + i), "192.168.1.1:53", name, address, at));
        if everything || i % 6 == 2 {
            let mut c = conv(50_500 + i, server, at + 100);
            c.syn();
            for wait in [1_000, 2_000, 4_000] {
                c.after_ms(wait).again();
            }
            all.push(c.done());
        } else {
            all.push(fine(50_500 + i, server, name, at + 100));
        }
    }
    for i in 0..9 {
        let (server, name) =
            [("87.240.129.9:443", "vk.com"), ("155.212.199.7:443", "web.max.ru"), ("217.20.144.9:443", "ok.ru")][usize::from(i) % 3];
        all.push(fine(50_550 + i, server, name, 7_000 * i64::from(i)));
    }
    merge(all)
}
