//! Built cases of what happens to names on their way: looked up, asked for, certified; and of services refused whole.

use super::Dice;
use super::blocking::{CLIENT, conv, fine, fine_with, one_sided};
use super::ladder::{Sent, Udp, merge};
use super::say::{self, Hello, quic, server_hello};
use super::shapes::cat;

/// Every case with its packets.
pub fn cases() -> Vec<(&'static str, Vec<Sent>)> {
    vec![
        ("doq-dropped", doq(true)),
        ("clean-doq-lost-once", doq(false)),
        ("doq-one-sided", one_sided(doq(true))),
        ("doh-dropped", doh(true)),
        ("clean-doh-one-down", doh(false)),
        ("doh-one-sided", one_sided(doh(true))),
        ("dns-proxied", resolvers(true)),
        ("clean-resolvers-of-one-place", resolvers(false)),
        ("dns-proxied-one-sided", one_sided(resolvers(true))),
        ("dns-servfail-on-path", servfail(true)),
        ("clean-servfail", servfail(false)),
        ("dns-servfail-one-sided", one_sided(servfail(true))),
        ("dns-sinkhole-over-tcp", over_tcp()),
        ("tls-intercepted", intercepted(true)),
        ("clean-own-authority", intercepted(false)),
        ("tls-intercepted-one-sided", one_sided(intercepted(true))),
        ("ip-refused", refused(true)),
        ("clean-ports-refused", refused(false)),
        ("ip-refused-one-sided", one_sided(refused(true))),
        ("port-silent", port(true)),
        ("clean-port-refused", port(false)),
        ("port-silent-one-sided", one_sided(port(true))),
        ("clean-server-refuses-name", refuses_name()),
        ("quic-stalled-server-side", stalled(true)),
        ("clean-quic-client-gone", stalled(false)),
        ("quic-stalled-one-sided", one_sided(stalled(true))),
        ("quic-stalled-client-side", given_up(true)),
        ("clean-quic-left-idle", given_up(false)),
        ("quic-answer-dropped-server-side", begun_again(true)),
        ("clean-quic-answer-lost-twice", begun_again(false)),
    ]
}

fn plain(port: u16, resolver: &str, name: &str, address: &str, at_ms: i64) -> Vec<Sent> {
    super::ladder::lookup(&format!("{CLIENT}:{port}"), resolver, name, address.parse().expect("an address"), at_ms)
}

/// The last client packet again, in vain.
fn in_vain(c: &mut super::ladder::Conv, waits: &[i64]) {
    for wait in waits {
        c.after_ms(*wait).again();
    }
}

/// A QUIC connection whose first packet is sent once and again after each of these waits before it is answered, if it is.
fn quic_talk(port: u16, server: &str, name: &str, at_ms: i64, waits: &[i64], answered: bool) -> Vec<Sent> {
    let mut dice = Dice::new(u64::from(port));
    let mut u = Udp::new(&format!("{CLIENT}:{port}"), server).at_ms(at_ms);
    let (id, scid, sid) = (dice.bytes(8), dice.bytes(4), dice.bytes(8));
    let hello = Hello { alpn: vec!["doq"], quic: true, seed: u64::from(port), ..Hello::to(name) }.message();
    let first = quic::initial(true, &id, &id, &scid, 0, &quic::crypto(0, &hello), 1250);
    u.c2s(&first);
    for wait in waits {
        u.after_ms(*wait).c2s(&first);
    }
    if answered {
        let answer = cat(&[&quic::ack(0), &quic::crypto(0, &server_hello(9, false))]);
        let mut flight = quic::initial(false, &id, &scid, &sid, 0, &answer, 200);
        flight.extend(quic::handshake(&scid, &sid, 960, 10));
        u.s2c(&flight).c2s(&quic::short(&sid, 60, 11)).s2c(&quic::short(&scid, 300, 12));
    }
    u.done()
}

/// DNS over QUIC at a resolver that answers plain DNS: asked twice, five times each, never answered; another resolver's port 853 answers.
/// Or one packet was lost.
fn doq(dropped: bool) -> Vec<Sent> {
    let mut all = vec![
        quic_talk(51_000, "45.90.28.9:853", "dns.nextdns.io", 0, &[], true),
        fine(51_001, "198.51.100.80:443", "www.example.org", 1_500),
    ];
    for i in 0..2 {
        let at = 500 + 6_000 * i64::from(i);
        let waits: &[i64] = if dropped { &[300, 600, 1_200, 2_400] } else { &[300] };
        all.push(quic_talk(51_010 + i, "94.140.14.14:853", "dns.adguard-dns.com", at, waits, !dropped));
        all.push(plain(51_020 + i, "94.140.14.14:53", "www.example.org", "198.51.100.80", at + 700));
        all.push(fine(51_030 + i, "198.51.100.80:443", "www.example.org", at + 900));
    }
    merge(all)
}

/// The names of two operators' DNS-over-HTTPS resolvers are never acknowledged, plain DNS and other names work. Or one of the two is down.
fn doh(both: bool) -> Vec<Sent> {
    let mut all = Vec::new();
    for (i, (server, name, down)) in
        [("8.8.8.8:443", "dns.google", true), ("104.16.248.249:443", "cloudflare-dns.com", both)].into_iter().enumerate()
    {
        for k in 0..2_u16 {
            let (port, at) = (51_100 + 10 * i as u16 + k, 4_000 * i as i64 + 9_000 * i64::from(k));
            if down {
                let mut c = conv(port, server, at);
                c.handshake().c2s(&Hello { seed: u64::from(port), ..Hello::to(name) }.record());
                in_vain(&mut c, &[300, 600, 1_200, 2_400, 4_800]);
                all.push(c.done());
            } else {
                all.push(fine(port, server, name, at));
            }
        }
    }
    for i in 0..4_u16 {
        let at = 300 + 4_500 * i64::from(i);
        all.push(plain(51_150 + i, "9.9.9.9:53", &format!("www.site-{i}.org"), "198.51.100.81", at));
        all.push(fine(51_160 + i, "198.51.100.81:443", &format!("www.site-{i}.org"), at + 100));
    }
    merge(all)
}

/// Resolvers of three operators, asked in turn: one distance, one speed, one counter. Or each with its own.
fn resolvers(one: bool) -> Vec<Sent> {
    let mut all = Vec::new();
    let mut counter = 4_000_u16;
    let mut dice = Dice::new(31);
    for i in 0..9_u16 {
        let at = 400 * i64::from(i);
        let (resolver, far) = [("8.8.8.8:53", 11), ("1.1.1.1:53", 17), ("9.9.9.9:53", 29)][usize::from(i) % 3];
        counter += 1 + dice.below(9) as u16;
        let (rtt, id) = if one { (6, counter) } else { (far, dice.next() as u16) };
        let mut u = Udp::new(&format!("{CLIENT}:{}", 51_200 + i), resolver).rtt_ms(rtt).ttls(64, 59).server_id(id).at_ms(at);
        let name = format!("www.site-{i}.org");
        u.c2s(&say::dns_query(800 + i, &name, 1)).s2c(&say::dns_answer(800 + i, &name, 1, &["93.184.216.82".parse().unwrap()], 0, 60));
        all.push(u.done());
    }
    for i in 0..6_u16 {
        all.push(fine(51_220 + i, &format!("198.51.100.{}:443", 90 + i), "www.example.org", 100 + 500 * i64::from(i)));
    }
    merge(all)
}

/// One name cannot be looked up, the resolver says; but it says so after 8 ms of 40, and from another distance. Or it is the resolver.
fn servfail(forged: bool) -> Vec<Sent> {
    let mut all = Vec::new();
    for i in 0..9_u16 {
        let at = 700 * i64::from(i);
        let failing = i % 3 == 1;
        let (rtt, ttl) = if failing && forged { (8, 117) } else { (40 + i64::from(i % 4), 52) };
        let mut u = Udp::new(&format!("{CLIENT}:{}", 51_300 + i), "8.8.8.8:53").rtt_ms(rtt).ttls(64, ttl).at_ms(at);
        let name = if failing { "chat.signal.org".to_owned() } else { format!("www.site-{i}.org") };
        let (rcode, addresses) = if failing { (2, Vec::new()) } else { (0, vec!["93.184.216.83".parse().unwrap()]) };
        u.c2s(&say::dns_query(900 + i, &name, 1)).s2c(&say::dns_answer(900 + i, &name, 1, &addresses, rcode, 60));
        all.push(u.done());
    }
    merge(all)
}

/// A resolver asked over TCP gives two unrelated names an address known from filtering, and others their own.
fn over_tcp() -> Vec<Sent> {
    let mut all = Vec::new();
    for (i, (name, address)) in [
        ("www.example.org", "93.184.216.84"),
        ("chat.signal.org", "10.10.34.36"),
        ("www.example.net", "93.184.216.85"),
        ("meduza.io", "10.10.34.36"),
        ("www.example.com", "93.184.216.86"),
        ("chat.signal.org", "10.10.34.36"),
    ]
    .into_iter()
    .enumerate()
    {
        let framed = |m: Vec<u8>| cat(&[&(m.len() as u16).to_be_bytes(), &m]);
        let mut c = conv(51_400 + i as u16, "8.8.8.8:53", 900 * i as i64);
        let id = 600 + i as u16;
        c.handshake().c2s(&framed(say::dns_query(id, name, 1))).ack_from_server();
        c.s2c(&framed(say::dns_answer(id, name, 1, &[address.parse().unwrap()], 0, 60))).ack().close();
        all.push(c.done());
    }
    merge(all)
}

/// Four names of unrelated owners show certificates of an authority made for interception, one shows its own. Or three hosts of one owner
/// show those of the owner's authority.
fn intercepted(on_path: bool) -> Vec<Sent> {
    let public = "DigiCert TLS RSA SHA256 2020 CA1";
    let shown: [(&str, &str, &str); 5] = if on_path {
        let made = "Qaznet Trust Network";
        [
            ("www.facebook.com", "31.13.72.36:443", made),
            ("x.com", "104.244.42.1:443", made),
            ("mail.google.com", "142.250.74.5:443", made),
            ("vk.com", "87.240.129.9:443", made),
            ("www.example.org", "198.51.100.87:443", public),
        ]
    } else {
        let own = "Example Holding Issuing CA 2";
        [
            ("git.example.net", "203.0.113.81:443", own),
            ("mail.example.net", "203.0.113.82:443", own),
            ("wiki.example.net", "198.51.100.88:443", own),
            ("www.example.com", "198.51.100.89:443", public),
            ("www.example.org", "198.51.100.87:443", public),
        ]
    };
    let mut all = Vec::new();
    for (i, (name, server, issuer)) in shown.into_iter().enumerate() {
        let mut c = conv(51_500 + i as u16, server, 700 * i as i64);
        let seed = 40 + i as u64;
        c.handshake().c2s(&Hello { seed, ..Hello::to(name) }.record()).ack_from_server();
        c.s2c(&say::server_flight_12(seed, name, issuer)).ack().c2s(&say::client_finished(seed)).s2c(&say::client_finished(seed + 9)).ack();
        c.c2s(&say::application_data(seed + 1, 90)).ack_from_server().s2c(&say::application_data(seed + 2, 700)).ack();
        c.after_ms(50).close();
        all.push(c.done());
    }
    merge(all)
}

/// Three addresses of one messenger, in three networks, refuse the port it listens at, all in one voice. Or they accept there, and each
/// refuses another port in its own time.
fn refused(everywhere: bool) -> Vec<Sent> {
    let mut all = Vec::new();
    for (i, server) in ["149.154.167.51", "149.154.175.53", "91.108.56.130"].into_iter().enumerate() {
        for k in 0..2_u16 {
            let (port, at) = (51_600 + 10 * i as u16 + k, 1_000 * i as i64 + 4_000 * i64::from(k));
            let (to, ttl, rtt) = if everywhere { (443, 59, 12) } else { (8443, 52, 45 + 9 * i as i64) };
            let mut c = conv(port, &format!("{server}:{to}"), at).ttls(64, ttl).rtt_ms(rtt);
            c.syn().rst_from_server(|p| {
                let back = p.seq.cast_signed().wrapping_neg();
                p.seq_by(back).window(0).options(&[]).ip_id(0)
            });
            all.push(c.done());
            if !everywhere {
                all.push(fine(port + 5, &format!("{server}:443"), "web.telegram.org", at + 300));
            }
        }
    }
    for i in 0..5_u16 {
        all.push(fine(51_650 + i, "198.51.100.92:443", "www.example.org", 300 + 1_100 * i64::from(i)));
    }
    merge(all)
}

/// One port at which a messenger listens is silent, the other is not. Or it refuses.
fn port(silent: bool) -> Vec<Sent> {
    let mut all = Vec::new();
    for i in 0..2_u16 {
        let at = 9_000 * i64::from(i);
        let mut c = conv(51_700 + i, "149.154.175.100:5222", at);
        c.syn();
        if silent {
            in_vain(&mut c, &[1_000, 2_000, 4_000]);
        } else {
            c.rst_from_server(|p| {
                let back = p.seq.cast_signed().wrapping_neg();
                p.seq_by(back).window(0).options(&[]).ip_id(0)
            });
        }
        all.push(c.done());
        all.push(fine(51_710 + i, "149.154.175.100:443", "web.telegram.org", at + 900));
        all.push(fine(51_720 + i, "198.51.100.93:443", "www.example.org", at + 2_500));
    }
    merge(all)
}

/// A server resets whoever asks it for one of its names, eight times of eight, in its own time and with its own headers; eight of eight
/// connections with another name are served. So does a box that rewrites its answers: nothing here tells the two apart.
fn refuses_name() -> Vec<Sent> {
    let server = "203.0.113.95:443";
    let mut all = Vec::new();
    for i in 0..8_u16 {
        let at = 1_500 * i64::from(i);
        all.push(fine(51_800 + i, server, "www.example.net", at + 700));
        let mut c = conv(51_820 + i, server, at);
        c.handshake().c2s(&Hello { seed: u64::from(i), ..Hello::to("old.example.net") }.record());
        c.rst_from_server(|p| p.options(&[]));
        all.push(c.done());
    }
    merge(all)
}

/// Seen between client and server: a download over QUIC of which nothing is acknowledged from one moment on; the server probes on its timer,
/// and at last the client says goodbye. Or the client is never heard again.
fn stalled(client_there: bool) -> Vec<Sent> {
    let mut all = Vec::new();
    for (i, (server, name, cut)) in
        [("203.0.113.96:443", "www.example.net", true), ("203.0.113.97:443", "www.example.org", false)].into_iter().enumerate()
    {
        let mut dice = Dice::new(60 + i as u64);
        let mut u = Udp::new(&format!("198.51.100.23:{}", 51_900 + i), server).ttls(57, 61).rtt_ms(3).at_ms(200 * i as i64);
        let (id, scid, sid) = (dice.bytes(8), dice.bytes(4), dice.bytes(8));
        let hello = Hello { alpn: vec!["h3"], quic: true, seed: 70 + i as u64, ..Hello::to(name) }.message();
        u.c2s(&quic::initial(true, &id, &id, &scid, 0, &quic::crypto(0, &hello), 1250));
        let answer = cat(&[&quic::ack(0), &quic::crypto(0, &server_hello(9, false))]);
        let mut flight = quic::initial(false, &id, &scid, &sid, 0, &answer, 200);
        flight.extend(quic::handshake(&scid, &sid, 960, 10));
        u.s2c(&flight).after_ms(37).c2s(&quic::short(&sid, 60, 11));
        for n in 0..14 {
            u.s2c(&quic::short(&scid, 1_180, 20 + n)).s2c(&quic::short(&scid, 1_180, 40 + n)).after_ms(37).c2s(&quic::short(
                &sid,
                33,
                60 + n,
            ));
        }
        if cut {
            u.s2c(&quic::short(&scid, 1_180, 80)).s2c(&quic::short(&scid, 1_180, 81));
            for (n, wait) in [400, 800, 1_600, 3_200].into_iter().enumerate() {
                u.after_ms(wait).s2c(&quic::short(&scid, 1_180, 90 + n as u64));
            }
            if client_there {
                u.after_ms(2_500).c2s(&quic::short(&sid, 30, 99));
            }
        } else {
            for n in 0..40 {
                u.after_ms(200).s2c(&quic::short(&scid, 600, 100 + n)).after_ms(37).c2s(&quic::short(&sid, 33, 150 + n));
            }
        }
        all.push(u.done());
    }
    merge(all)
}

/// Two downloads of one name over QUIC stop after some 17 kB; the client waits ten seconds, each time, and gives up. The same name over TCP,
/// and QUIC to another server, bring more. Or the second download brings twice as much: answers of different length, left idle.
fn given_up(cut: bool) -> Vec<Sent> {
    let mut all = Vec::new();
    let talks = [
        ("203.0.113.100:443", "www.example.net", 0, 14),
        ("203.0.113.101:443", "www.example.org", 500, 40),
        ("203.0.113.100:443", "www.example.net", 12_000, if cut { 14 } else { 28 }),
    ];
    for (i, (server, name, at, packets)) in (0_u16..).zip(talks) {
        let seed = u64::from(i);
        let mut dice = Dice::new(260 + seed);
        let mut u = Udp::new(&format!("{CLIENT}:{}", 52_100 + i), server).at_ms(at);
        let (id, scid, sid) = (dice.bytes(8), dice.bytes(4), dice.bytes(8));
        let hello = Hello { alpn: vec!["h3"], quic: true, seed: 270 + seed, ..Hello::to(name) }.message();
        u.c2s(&quic::initial(true, &id, &id, &scid, 0, &quic::crypto(0, &hello), 1250));
        let answer = cat(&[&quic::ack(0), &quic::crypto(0, &server_hello(9, false))]);
        let mut flight = quic::initial(false, &id, &scid, &sid, 0, &answer, 200);
        flight.extend(quic::handshake(&scid, &sid, 960, 10));
        u.s2c(&flight).c2s(&quic::short(&sid, 60, 11));
        for n in 0..packets {
            u.s2c(&quic::short(&scid, 1_180, 20 + n)).c2s(&quic::short(&sid, 33, 70 + n));
        }
        u.after_ms(9_700).c2s(&quic::short(&sid, 30, 99));
        all.push(u.done());
    }
    all.push(fine_with(52_110, "203.0.113.100:443", "www.example.net", 3_000, 36_000));
    for i in 0..8_u16 {
        all.push(fine(52_120 + i, "198.51.100.94:443", "www.example.com", 2_000 + 2_300 * i64::from(i)));
    }
    merge(all)
}

/// Seen between client and server: the client begins again and again although the server answers each time; another connection goes well.
/// Or the third answer arrives.
fn begun_again(dropped: bool) -> Vec<Sent> {
    let mut all = Vec::new();
    for (i, (server, name, cut)) in
        [("203.0.113.98:443", "www.example.net", true), ("203.0.113.99:443", "www.example.org", false)].into_iter().enumerate()
    {
        let mut dice = Dice::new(160 + i as u64);
        let mut u = Udp::new(&format!("198.51.100.24:{}", 52_000 + i), server).ttls(57, 61).rtt_ms(3).at_ms(200 * i as i64);
        let (id, scid, sid) = (dice.bytes(8), dice.bytes(4), dice.bytes(8));
        let hello = Hello { alpn: vec!["h3"], quic: true, seed: 170 + i as u64, ..Hello::to(name) }.message();
        let first = quic::initial(true, &id, &id, &scid, 0, &quic::crypto(0, &hello), 1250);
        let answer = cat(&[&quic::ack(0), &quic::crypto(0, &server_hello(9, false))]);
        let flight = quic::initial(false, &id, &scid, &sid, 0, &answer, 1_200);
        let rest = quic::handshake(&scid, &sid, 300, 10);
        let waits: &[i64] = match (cut, dropped) {
            (true, true) => &[200, 400, 800, 1_600],
            (true, false) => &[200, 400],
            _ => &[],
        };
        u.c2s(&first).s2c(&flight).s2c(&rest);
        for wait in waits {
            u.after_ms(*wait).c2s(&first).s2c(&flight).s2c(&rest);
        }
        if !(cut && dropped) {
            u.after_ms(37).c2s(&quic::short(&sid, 60, 11));
            for n in 0..40 {
                u.after_ms(90).s2c(&quic::short(&scid, 600, 100 + n)).after_ms(37).c2s(&quic::short(&sid, 33, 150 + n));
            }
        }
        all.push(u.done());
    }
    merge(all)
}
