//! More synthetic vectors: calls through relays, keepalives and rhythms, and names that only a list knows. As in [`super::shapes`], only structure is real.

use super::Dice;
use super::ladder::{Conv, Sent, Udp, merge};
use super::say::{self, Hello};
use super::shapes::{cat, stun};

/// Every case with its packets.
pub fn cases() -> Vec<(&'static str, Vec<Sent>)> {
    vec![("shape-relays", relays()), ("shape-rhythms", rhythms()), ("names-of-lists", lists())]
}

/// A packet of Telegram's newer calls for the other phone, and one for the reflector.
fn reflected(tag: &[u8], from: u8, to: u8, inner: &[u8]) -> Vec<u8> {
    let padding = inner.len().wrapping_neg() & 3;
    cat(&[tag, &[5, 5, 5, to], &[5, 5, 5, from], &(inner.len() as u32).to_be_bytes(), inner, &vec![0; padding]])
}

fn hello(tag: &[u8]) -> Vec<u8> {
    cat(&[tag, &[5, 5, 5, 1], &[0xff; 12], &[0xfe, 0xff, 0xff, 0xff], &[0, 0, 0, 0, 0x7b, 0, 0, 0]])
}

/// Calls through relays of Teams, Telegram and Zoom, each followed by one that nearly is it.
fn relays() -> Vec<Sent> {
    let mut dice = Dice::new(231);
    let channel = dice.bytes(8);
    let wrap = |inner: &[u8], more: usize| cat(&[&[0xff, 0x10], &((inner.len() + 8 + more) as u16).to_be_bytes(), &channel, inner]);
    let asks = stun(0x0001, &dice.bytes(12), &[(0x0006, b"a1b2:c3d4".to_vec()), (0x0008, vec![7; 20])]);
    let mut teams = Udp::new("192.168.1.23:50120", "198.51.100.120:3479");
    let mut alike = Udp::new("192.168.1.23:50121", "198.51.100.121:3479").at_ms(10);
    for more in [0, 1] {
        let flow = if more == 0 { &mut teams } else { &mut alike };
        flow.c2s(&wrap(&asks, more)).s2c(&wrap(&stun(0x0101, &dice.bytes(12), &[(0x0008, vec![8; 20])]), more));
        for n in 0..40u16 {
            let rtp = cat(&[&[0x80, 104], &n.to_be_bytes(), &(u32::from(n) * 320).to_be_bytes(), &[0, 0, 9, 1], &dice.bytes(30)]);
            flow.after_ms(20);
            // Two are lost on their way.
            if n != 11 && n != 23 {
                flow.c2s(&wrap(&rtp, more));
            }
        }
    }
    let mut over_tcp = Conv::new("192.168.1.23:50122", "198.51.100.122:3478").at_ms(20);
    over_tcp.handshake();
    over_tcp.c2s(&wrap(&asks, 0)).s2c(&wrap(&asks, 0)).after_ms(300).close();

    let framed = |p: &[u8]| cat(&[&(p.len() as u32).to_le_bytes(), p]);
    let mut reflector = |at: i64, port: u16, server: &str, tag: &[u8], answer: &[u8]| {
        let mut conv = Conv::new(&format!("192.168.1.23:{port}"), server).at_ms(at);
        conv.handshake();
        conv.c2s(&cat(&[&[0xee; 4], &framed(&cat(&[tag, &hello(tag)[12..]]))]));
        conv.s2c(&framed(&cat(&[answer, &hello(answer)[12..]])));
        for n in 0..3 {
            conv.c2s(&framed(&reflected(tag, 1, 2, &dice.bytes(70 + n)))).s2c(&framed(&reflected(answer, 2, 1, &dice.bytes(81 + n))));
        }
        conv.after_ms(300).close();
        conv.done()
    };
    let tag = Dice::new(232).bytes(12);
    let by_tcp = reflector(40, 50_123, "198.51.100.123:598", &tag, &tag);
    // The tag is one byte again and again: nobody's.
    let no_tag = reflector(60, 50_124, "198.51.100.124:598", &[7; 12], &[7; 12]);

    // An older call: the reflector, then from phone to phone through the same socket, enciphered from the first byte on. And the same through another.
    let mut dice = Dice::new(233);
    let tag = dice.bytes(16);
    let mut old = Udp::new("192.168.1.23:50125", "198.51.100.125:533").at_ms(80);
    old.c2s(&cat(&[&tag, &[0xff; 12], &[0xfe, 0xff, 0xff, 0xff], &dice.bytes(8)]));
    old.s2c(&cat(&[&tag, &[0xff; 12], &[0xc7, 0x72, 0x15, 0xc0], &dice.bytes(32)]));
    let mut direct = |port: u16, server: &str, at: i64| {
        let mut leg = Udp::new(&format!("192.168.1.23:{port}"), server).at_ms(at);
        for n in 0..8 {
            leg.c2s(&cat(&[&[0xc9], &dice.bytes(79 + 16 * n)])).s2c(&cat(&[&[0xca], &dice.bytes(95 + 16 * n)])).after_ms(60);
        }
        leg.done()
    };
    let (leg, stranger) = (direct(50_125, "203.0.113.125:31480", 900), direct(50_126, "203.0.113.126:31480", 950));

    let zoom = |at: i64, port: u16, server: &str, ids: [u8; 2]| {
        let mut call = Udp::new(&format!("192.168.1.23:{port}"), server).at_ms(at);
        for (n, id) in (1u8..).zip(ids) {
            let same = [0, 0, 0, n, 0x0f, 0xfe, 0x98 + n, 0xd2, 0, 0x27, 0x2e, id];
            call.c2s(&cat(&[&[3], &same])).s2c(&cat(&[&[4], &same])).after_ms(5000);
        }
        call.done()
    };
    let (met, other) = (zoom(100, 50_127, "198.51.100.127:8801", [9, 9]), zoom(120, 50_128, "198.51.100.128:8801", [9, 8]));
    merge([teams.done(), alike.done(), over_tcp.done(), by_tcp, no_tag, old.done(), leg, stranger, met, other])
}

/// A TLS connection up to the client's Finished.
fn opened(conv: Conv, name: &str) -> Conv {
    let mut conv = conv;
    conv.handshake();
    conv.c2s(&Hello::to(name).record()).s2c(&say::server_flight(31, 700)).ack();
    conv.c2s(&say::client_finished(32));
    conv
}

/// What is known by its rhythm only together with something else: FaceTime between phones, a front that is polled; and made-up names in a certificate.
fn rhythms() -> Vec<Sent> {
    let mut parts = Vec::new();
    // A push, and a second later a call between two phones. The other client had no push.
    let mut push = opened(Conv::new("192.168.1.23:50130", "203.0.113.130:5223"), "17-courier.push.apple.com");
    push.after_ms(900).s2c(&say::application_data(33, 300)).c2s(&say::application_data(34, 60)).ack_from_server();
    parts.push(push.done());
    let mut dice = Dice::new(234);
    for client in ["192.168.1.23:16393", "192.168.1.24:16393"] {
        let mut call = Udp::new(client, "203.0.113.131:16402").at_ms(2500).rtt_ms(20);
        for _ in 0..107 {
            call.c2s(&cat(&[&[0xc9], &dice.bytes(21)])).after_ms(24).s2c(&cat(&[&[0xca], &dice.bytes(21)])).after_ms(24);
        }
        parts.push(call.done());
    }
    // The same request every five seconds; and a page that takes three files from there.
    for (port, server, waits) in [(50_132, "203.0.113.132:443", [5000; 5]), (50_133, "203.0.113.133:443", [120, 340, 80, 9000, 200])] {
        let mut front = opened(Conv::new(&format!("192.168.1.23:{port}"), server), "ajax.aspnetcdn.com");
        for (n, wait) in (0u64..).zip(waits) {
            front.after_ms(wait - 40).c2s(&say::application_data(40 + n, 402)).s2c(&say::application_data(60 + n, 330)).ack();
        }
        parts.push(front.done());
    }
    let shown = [
        (50_134, "203.0.113.134:443", "kF3pQx90bTzLm.net", "Zr81LwQnYc5"),
        (50_135, "203.0.113.135:443", "storage.example.net", "HomeAuthority1"),
    ];
    for (port, server, name, issuer) in shown {
        let mut conv = Conv::new(&format!("192.168.1.23:{port}"), server);
        conv.handshake();
        conv.c2s(&Hello { sni: None, ..Hello::to("") }.record()).s2c(&say::server_flight_12(36, name, issuer)).ack();
        conv.c2s(&say::application_data(37, 90)).s2c(&say::application_data(38, 200)).after_ms(300).close();
        parts.push(conv.done());
    }
    merge(parts)
}

/// Names that lists hold, and IRC met in the middle.
fn lists() -> Vec<Sent> {
    let mut parts = Vec::new();
    let names =
        [(140, "doh-de.blahdns.com"), (141, "ns0.fdn.fr"), (142, "www.fdn.fr"), (143, "dsn4.d.skype.net"), (144, "skype.net.example.com")];
    for (n, name) in names {
        let mut conv = opened(Conv::new(&format!("192.168.1.23:{}", 50_000 + n), &format!("203.0.113.{n}:443")), name);
        conv.s2c(&say::application_data(41, 300)).after_ms(200).close();
        parts.push(conv.done());
    }
    let irc = [
        ":irc.example.net 372 guest :- Be kind.\r\n",
        ":anna!~a@192.0.2.5 PRIVMSG #garden :the beans are up\r\n",
        ":bert!~b@192.0.2.6 JOIN #garden\r\nPING :irc.example.net\r\n",
    ];
    let log = [":12:01 started\r\n", ":12:02 372 requests\r\n", ":12:03 stopped, 4 left\r\n"];
    for (n, said) in [(145, irc), (146, log)] {
        let mut conv = Conv::new(&format!("192.168.1.23:{}", 50_000 + n), &format!("203.0.113.{n}:6667"));
        for line in said {
            conv.after_ms(700).s2c(line.as_bytes()).ack();
        }
        parts.push(conv.done());
    }
    merge(parts)
}
