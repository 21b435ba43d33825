//! Shapes: what each proves alone, and what it does beside other evidence.

use super::flows::{Says, sni, tcp, udp};
use super::{book, label, named};
use crate::classify::{Beside, Book, Companion, Near};
use crate::model::flow::FlowRecord;
use crate::model::frame::FrameNo;
use crate::model::key::Endpoint;
use crate::model::label::{EvidenceClass, LabelGrade};
use crate::model::note::{Certificate, ClientHello, Fact, Note, ServerHello, Shape, Stun, UserName};
use crate::model::seq::Pos;
use crate::model::side::Side;
use crate::model::time::{Span, Time};

fn shaped(flow: FlowRecord, shape: Shape) -> FlowRecord {
    flow.note(Fact::Shape(shape))
}

#[test]
fn each_shape_names_its_service_at_any_address() {
    let (t, u) = (|| tcp("192.0.2.1:443"), || udp("192.0.2.1:40000"));
    #[rustfmt::skip]
    let table = [
        (u(), Shape::WireGuard, "wireguard -"), (u(), Shape::WireGuardInit, "wireguard -"), (u(), Shape::WireGuardData, "wireguard -"),
        (u(), Shape::OpenVpn, "openvpn -"), (t(), Shape::OpenVpnReset, "openvpn -"), (u(), Shape::Ike, "ikev2 -"), (u(), Shape::IkeMessage, "ikev2 -"),
        (u(), Shape::EspUdp, "ikev2 -"), (u(), Shape::L2tp, "l2tp -"), (t(), Shape::Pptp, "pptp -"), (t(), Shape::Socks, "socks -"),
        (u(), Shape::Dnscrypt, "dnscrypt -"), (t(), Shape::Ultrasurf, "ultrasurf -"), (t(), Shape::WaStream, "whatsapp chat"),
        (t(), Shape::WaHello, "whatsapp chat"), (t(), Shape::TgObfs2, "telegram chat"), (t(), Shape::TgObfs2Frames, "telegram chat"),
        (t(), Shape::TgPlain, "telegram chat"), (u(), Shape::TgPing, "telegram call"), (udp("192.0.2.1:8000"), Shape::Oicq, "qq chat"),
        (t(), Shape::Xmpp, "xmpp chat"), (t(), Shape::Irc, "irc chat"), (u(), Shape::Sip, "sip call"), (u(), Shape::ZoomSfu, "zoom call"),
        (u(), Shape::DiscordAsk, "discord call"), (t(), Shape::ViberHello, "viber chat"), (u(), Shape::DiscordFound, "discord call"), (t(), Shape::ViberFrames, "viber chat"), (u(), Shape::ViberCall, "viber call"),
        (t(), Shape::Threema, "threema chat"), (t(), Shape::Loco, "kakaotalk chat"), (t(), Shape::Mmtls, "wechat chat"), (u(), Shape::ImoCall, "imo call"),
        (u(), Shape::LineCall, "line call"), (u(), Shape::AmneziaWg, "amneziawg -"), (u(), Shape::AmneziaWgData, "amneziawg -"),
        (t(), Shape::OpenVpnXor, "openvpn -"), (u(), Shape::SoftEtherNat, "softether api"), (u(), Shape::SoftEtherPack, "softether api"),
        (u(), Shape::TgReflectorPort, "telegram call"), (u(), Shape::DiscordKeepalive, "discord call"), (u(), Shape::ViberPing, "viber call"),
        (u(), Shape::ZoomMedia, "zoom call"), (udp("192.0.2.1:3478"), Shape::WaHealth, "whatsapp call"), (u(), Shape::WaHealth, ""), (t(), Shape::Sstp, "sstp -"), (t(), Shape::HttpProxy, "http_proxy -"),
        // Sizes and regularity alone never name; neither do shapes that belong to nobody.
        (u(), Shape::TgReflector, ""), (u(), Shape::SignalRtp, ""), (u(), Shape::Rtp, ""), (u(), Shape::Rtcp, ""), (u(), Shape::Dtls, ""),
        (t(), Shape::Broken, ""), (t(), Shape::Ssh, ""), (t(), Shape::Mail, ""), (t(), Shape::BitTorrent, ""), (u(), Shape::QuicRtp, ""),
        // A class of protocols, not one of them.
        (t(), Shape::Opaque, ""),
    ];
    for (flow, shape, want) in table {
        assert_eq!(named(&shaped(flow, shape)), want, "{shape:?}");
    }
}

#[test]
fn frames_that_do_not_follow_speak_against_their_beginning() {
    let begun = |flow: FlowRecord, shape| label(&shaped(flow, shape)).unwrap();
    let broken = |flow: FlowRecord, shape| label(&shaped(shaped(flow, shape), Shape::Broken));
    assert_eq!(begun(tcp("192.0.2.1:443"), Shape::TgObfs2).grade, LabelGrade::Confident);
    let l = broken(tcp("192.0.2.1:443"), Shape::TgObfs2).unwrap();
    assert_eq!((&*l.id, l.grade), ("telegram", LabelGrade::Possible));
    assert!(l.evidence.iter().any(|e| e.db == -20 && e.says.contains("do not follow")), "{l:?}");
    assert!(broken(tcp("192.0.2.1:443"), Shape::WaHello).is_none());
}

#[test]
fn a_server_that_ignores_the_hybrid_key_may_be_fake_tls() {
    let talk = |group, record_len| {
        let hello = ClientHello {
            sni: Some("www.example.com".into()),
            ja4: "t13d1516h2_8daaf6152771_d8a2da3f94cd".into(),
            hybrid: true,
            ..ClientHello::default()
        };
        let server = ServerHello { version: 0x0304, group, ..ServerHello::default() };
        tcp("192.0.2.1:443")
            .note(Fact::ClientHello(Box::new(hello)))
            .note(Fact::ServerHello(Box::new(server)))
            .note(Fact::TlsApplicationData { record_len })
    };
    let l = label(&talk(0x001d, 345)).unwrap();
    assert_eq!((&*l.id, l.grade, l.circumvention), ("mtproxy", LabelGrade::Possible, true));
    assert!(label(&talk(0x001d, 53)).is_none(), "a Finished message");
    assert!(label(&talk(0x11ec, 345)).is_none(), "a server that takes it");
}

#[test]
fn proofs_are_surer_than_lookalikes() {
    let grade = |flow: FlowRecord, shape| label(&shaped(flow, shape)).unwrap().grade;
    assert_eq!(grade(tcp("192.0.2.1:443"), Shape::TgObfs2Frames), LabelGrade::Certain);
    assert_eq!(grade(udp("192.0.2.1:443"), Shape::WireGuard), LabelGrade::Confident);
    assert_eq!(grade(udp("192.0.2.1:443").unanswered(), Shape::WireGuardInit), LabelGrade::Probable);
    assert_eq!(grade(udp("192.0.2.1:1194").unanswered(), Shape::OpenVpnReset), LabelGrade::Confident);
    // At home the pattern adds to the address.
    assert_eq!(grade(udp("91.108.12.5:537"), Shape::TgReflector), LabelGrade::Certain);
    let l = label(&shaped(udp("192.0.2.1:443"), Shape::WireGuard)).unwrap();
    assert!(l.circumvention);
    assert_eq!(l.evidence.first().map(|e| e.class), Some(EvidenceClass::Bytes));
}

#[test]
fn a_tunnel_on_the_resolver_s_port_is_no_lookup() {
    assert_eq!(named(&shaped(udp("192.0.2.1:53"), Shape::WireGuard)), "wireguard -");
    assert_eq!(named(&udp("192.0.2.1:53")), "");
}

#[test]
fn warp_is_wireguard_at_home() {
    assert_eq!(named(&shaped(udp("162.159.193.7:2408"), Shape::WireGuard)), "warp -");
    assert_eq!(named(&shaped(udp("192.0.2.7:2408"), Shape::WireGuard)), "wireguard -");
}

#[test]
fn a_proxy_is_named_and_not_what_it_carries() {
    assert_eq!(named(&sni("www.youtube.com").note(Fact::Shape(Shape::Socks))), "socks -");
    // Other shapes carry nothing.
    assert_eq!(named(&sni("www.youtube.com").note(Fact::Shape(Shape::Rtp))), "youtube web");
}

#[test]
fn a_leg_inherits_from_the_call_that_named_it() {
    let beside = |service| Beside { companion: Some(Companion { service, frame: FrameNo(9), same_socket: false }), near: &[] };
    let leg = |flow: FlowRecord| book().label_beside(&flow, &[], beside("telegram"));
    let l = leg(udp("203.0.113.9:50111")).unwrap();
    assert_eq!((&*l.id, l.role.map(|r| r.name()), l.grade), ("telegram", Some("call"), LabelGrade::Probable));
    assert!(leg(udp("203.0.113.9:50111").unanswered()).is_none(), "an attempt proves nothing");
    assert!(book().label_beside(&udp("203.0.113.9:50111"), &[], beside("nobody")).is_none());
}

#[test]
fn user_names_support_and_do_not_name() {
    let credentials = |username| Stun { kind: 0x0003, username, username_len: 29, ..Stun::default() };
    assert_eq!(named(&udp("192.0.2.1:1400").stun(credentials(UserName::TimedHex18))), "");
    let l = label(&udp("192.0.2.1:1400").realm("telegram.org").stun(credentials(UserName::TimedHex18))).unwrap();
    assert!(l.evidence.iter().any(|e| e.says.contains("time:hex18")), "{:?}", l.evidence);
}

#[test]
fn a_missing_finished_message_raises_a_suspicion_only() {
    let ja4 = "t13d1516h2_8daaf6152771_d8a2da3f94cd";
    let flow = |psk, len| {
        let hello = ClientHello { sni: Some("www.example.com".into()), ja4: ja4.into(), psk, ..ClientHello::default() };
        let mut flow = tcp("192.0.2.1:443")
            .note(Fact::ClientHello(Box::new(hello)))
            .note(Fact::ServerHello(Box::new(ServerHello { version: 0x0304, ..ServerHello::default() })));
        let fact = Fact::TlsApplicationData { record_len: len };
        flow.notes.push(Note { frame: FrameNo(8), ts: Time::from_nanos(0), side: Side::Client, from: Pos::FIRST, to: Pos::FIRST, fact });
        flow
    };
    let text = "schema = 1\n[[service]]\nid = \"mtproxy\"\nextends = \"builtin:mtproxy\"\n[[service.domain]]\nsuffix = \"www.example.com\"\ndb = 26\nsource = \"test\"\n";
    let book = Book::builtin().unwrap().with_file(std::path::Path::new("mine.toml"), text).unwrap();
    let suspected = |f: &FlowRecord| book.label(f, &[]).unwrap().evidence.iter().any(|e| e.says.contains("no Finished message"));
    assert!(suspected(&flow(false, 300)));
    assert!(!suspected(&flow(false, 53)) && !suspected(&flow(false, 69)) && !suspected(&flow(false, 19)));
    assert!(!suspected(&flow(true, 300)), "early data may come first");
    assert_eq!(named(&flow(false, 300)), "", "never enough for a name");
}

#[test]
fn guesses_are_made_on_request_and_stay_possible() {
    let guessing = Book::builtin().unwrap().with_heuristics(true);
    let flow = shaped(tcp("192.0.2.1:8388"), Shape::Opaque);
    let l = guessing.label(&flow, &[]).unwrap();
    assert_eq!((&*l.id, l.grade, l.circumvention), ("shadowsocks", LabelGrade::Possible, true));
    assert!(l.runner_up.is_some(), "others look the same");
    assert!(label(&flow).is_none());
}

#[test]
fn a_relay_of_tor_shows_two_made_up_names() {
    let shown = |names: &[&str], issuer: &str| {
        let names = names.iter().map(|n| (*n).into()).collect();
        tcp("192.0.2.1:9001").sni("www.q4ylhtkahbq.com").note(Fact::Certificate(Box::new(Certificate {
            names,
            issuer: Some(issuer.into()),
            ..Certificate::default()
        })))
    };
    assert_eq!(named(&shown(&["www.iqk6icmxz2ii.net"], "www.5urn7xj6.com")), "tor -");
    assert_eq!(named(&shown(&["www.iqk6icmxz2ii.net", "b.example"], "www.5urn7xj6.com")), "", "a second name");
    assert_eq!(named(&shown(&["www.example-shop.net"], "www.5urn7xj6.com")), "");
    assert_eq!(named(&shown(&["www.iqk6icmxz2ii.net"], "R3")), "");
}

#[test]
fn a_proxy_of_whatsapp_shows_two_made_up_names() {
    let shown = |names: &[&str], issuer: &str| {
        let names = names.iter().map(|n| (*n).into()).collect();
        let certificate = Certificate { names, issuer: Some(issuer.into()), ..Certificate::default() };
        tcp("192.0.2.1:443").note(Fact::Certificate(Box::new(certificate)))
    };
    let l = label(&shown(&["kF3pQx90bTzLm.net"], "Zr81LwQnYc5")).unwrap();
    assert_eq!((&*l.id, l.role.map(|r| r.name()), l.grade), ("whatsapp", Some("chat"), LabelGrade::Possible));
    for (name, issuer) in [
        ("mycompany.net", "MyCompanyCA1"),
        ("MyCompany.net", "MyCompanyCA1"),
        ("kF3pQx90bTzLm.net", "R3"),
        ("kF3pQx90bTzLm.net", "MyCompanyCA"),
        ("kF3pQx90bTzLm.net", "Let's Encrypt Authority X3"),
        ("kF3pQx90bTzLm.com", "Zr81LwQnYc5"),
        ("www.kF3pQx90bTzLm.net", "Zr81LwQnYc5"),
    ] {
        assert_eq!(named(&shown(&[name], issuer)), "", "{name} by {issuer}");
    }
    assert_eq!(named(&shown(&["kF3pQx90bTzLm.net", "home.example"], "Zr81LwQnYc5")), "", "a second name");
}

/// Both ways so fast, for so long, from `client` to `server`.
fn talking(client: u16, server: &str) -> FlowRecord {
    let mut flow = udp(server);
    flow.client.port = client;
    flow.last.ts = flow.first.ts.plus(Span::from_secs(10));
    for side in crate::model::side::Side::BOTH {
        (flow.totals[side].packets, flow.totals[side].payload) = (400, 400 * 120);
    }
    flow.ladder.head = vec![crate::classify::trial::packet(1, 0, Side::Client, 120)];
    flow
}

#[test]
fn facetime_from_phone_to_phone_is_possible_after_a_push() {
    let near = [Near { service: "apns", frame: FrameNo(2), ago: Span::from_secs(4) }];
    let after_a_push = |flow: &FlowRecord| book().label_beside(flow, &[], Beside { companion: None, near: &near });
    let leg = talking(16_393, "203.0.113.9:16402");
    let l = after_a_push(&leg).unwrap();
    assert_eq!((&*l.id, l.role.map(|r| r.name()), l.grade), ("facetime", Some("call"), LabelGrade::Possible));
    assert_eq!(
        l.evidence.iter().filter(|e| e.class == EvidenceClass::Context).map(|e| e.db).collect::<Vec<_>>(),
        [10],
        "one push is one fact"
    );
    assert!(label(&leg).is_none(), "ports and rate alone");
    assert!(after_a_push(&talking(50_000, "203.0.113.9:16402")).is_none(), "one end only");
    assert!(after_a_push(&talking(16_390, "203.0.113.9:16402")).is_none(), "a port between its two ranges");
    assert!(after_a_push(&udp("203.0.113.9:16402")).is_none());
    // Through a relay the address says it, and rate and push make it surer.
    let relayed = talking(50_000, "17.1.2.3:3480");
    assert!(after_a_push(&relayed).unwrap().total_db > label(&udp("17.1.2.3:3480")).unwrap().total_db);
}

/// The same request again and again, every five seconds.
fn polling(name: &str, every_ms: i64) -> FlowRecord {
    let mut flow = sni(name);
    flow.ladder.head = (0..8i64)
        .map(|n| {
            let (side, len) = if n % 2 == 0 { (Side::Client, 310) } else { (Side::Server, 260) };
            crate::classify::trial::packet(n as u64 + 1, n / 2 * every_ms + n % 2 * 80, side, len)
        })
        .collect();
    ended(flow)
}

/// Its last packet is that of the ladder.
fn ended(mut flow: FlowRecord) -> FlowRecord {
    flow.last.ts = flow.ladder.head.last().map_or(flow.first.ts, |p| p.ts);
    flow
}

#[test]
fn a_front_that_is_polled() {
    let l = label(&polling("ajax.aspnetcdn.com", 5000)).unwrap();
    assert_eq!((&*l.id, l.grade, l.circumvention), ("meek", LabelGrade::Possible, true));
    assert_eq!(named(&polling("ajax.aspnetcdn.com", 9000)), "");
    assert_eq!(named(&polling("www.example.com", 5000)), "", "the rhythm alone");
    assert_eq!(named(&sni("ajax.aspnetcdn.com")), "", "the name alone");
}

#[test]
fn a_silent_socket_at_a_front_of_signal() {
    let idle = |name: &str, len: u32, every_ms: i64| {
        let mut flow = sni(name);
        flow.ladder.head = (0..5i64).map(|n| crate::classify::trial::packet(n as u64 + 1, n * every_ms, Side::Client, len)).collect();
        ended(flow)
    };
    let l = label(&idle("www.redditstatic.com", 28, 31_000)).unwrap();
    assert_eq!((&*l.id, l.role.map(|r| r.name()), l.grade), ("signal", Some("chat"), LabelGrade::Possible));
    assert_eq!(named(&idle("www.redditstatic.com", 39, 58_000)), "", "a browser's ping");
    assert_eq!(named(&idle("www.redditstatic.com", 517, 31_000)), "", "requests");
    assert_eq!(named(&idle("www.google.com", 28, 31_000)), "", "too many keep sockets open there");
    assert_eq!(named(&sni("www.redditstatic.com")), "", "the name alone");
}

#[test]
fn keepalives_support_and_do_not_name() {
    let idle = |mut flow: FlowRecord, len: u32, every_ms: i64| {
        flow.ladder.head = (0..6i64).map(|n| crate::classify::trial::packet(n as u64 + 1, n * every_ms, Side::Client, len)).collect();
        ended(flow)
    };
    #[rustfmt::skip]
    let table = [
        (udp("192.0.2.7:51820"), 32, 25_000, Some(Shape::WireGuardData), "wireguard"),
        (udp("192.0.2.7:4500"), 1, 20_000, Some(Shape::EspUdp), "ikev2"),
        (udp("192.0.2.7:597"), 40, 10_000, Some(Shape::TgPing), "telegram"),
        (sni("chat.signal.org"), 28, 30_000, None, "signal"),
        (sni("chat.signal.org"), 39, 31_000, None, "signal"),
        (tcp("155.212.204.5:443").sni("api.oneme.ru"), 46, 30_000, None, "max"),
        (tcp("155.212.204.5:443").sni("ws-api.oneme.ru"), 96, 30_000, None, "max"),
        (tcp("157.240.20.53:443").sni("web.whatsapp.com"), 71, 24_000, None, "whatsapp"),
    ];
    for (flow, len, every, shape, want) in table {
        let said = |flow: FlowRecord| shape.map_or(flow.clone(), |s| shaped(flow, s));
        let (quiet, pinging) = (label(&said(flow.clone())).unwrap(), label(&idle(said(flow.clone()), len, every)).unwrap());
        assert_eq!((&*quiet.id, &*pinging.id), (want, want));
        let rhythm = pinging.evidence.iter().any(|e| e.class == EvidenceClass::Pattern && e.says.starts_with("one length again every"));
        assert!(rhythm && pinging.total_db > quiet.total_db, "{want} {len} every {every} ms: {:?}", pinging.evidence);
        // Without anything else the rhythm names nobody.
        let nowhere = Endpoint::new([192, 0, 2, 7].into(), flow.server.port);
        let alone = idle(crate::classify::trial::flow(flow.proto, nowhere), len, every);
        assert_eq!(named(&alone), "", "{want}");
    }
    // The socket of MAX without a name: possible only once a capture has shown it.
    assert_eq!(named(&idle(tcp("155.212.204.5:443"), 46, 30_000)), "");
}

#[test]
fn channels_and_keepalives_of_calls() {
    let l = label(&shaped(udp("198.51.100.9:3479"), Shape::MsChannel)).unwrap();
    assert_eq!((&*l.id, l.role.map(|r| r.name())), ("teams", Some("call")));
    assert_eq!(named(&shaped(udp("198.51.100.9:8801"), Shape::ZoomPing)), "zoom call");
    assert_eq!(named(&shaped(udp("198.51.100.9:9999"), Shape::ZoomPing)), "", "not one of its ports");
    assert_eq!(named(&shaped(tcp("198.51.100.9:598"), Shape::TgReflectorPort)), "telegram call");
}

#[test]
fn company_supports_and_probes_take_away() {
    let near = |service| [Near { service, frame: FrameNo(2), ago: Span::from_secs(4) }];
    let with = |flow: &FlowRecord, service| book().label_beside(flow, &[], Beside { companion: None, near: &near(service) });
    // A call of Snapchat shares Google's addresses: media beside QUIC and the app's own traffic before it.
    let call = shaped(udp("192.0.2.1:443"), Shape::QuicRtp);
    assert!(with(&call, "snapchat").is_none(), "a pattern and company are not enough");
    let apple = udp("17.1.2.3:3480");
    assert!(with(&apple, "apns").unwrap().confidence > label(&apple).unwrap().confidence);
    assert_eq!(with(&udp("198.51.100.9:40000"), "signal"), None, "company alone is nothing");
    // What MAX asks only to see whether it can be reached.
    let touch = sni("mmg.whatsapp.net");
    assert_eq!(label(&touch).unwrap().grade, LabelGrade::Confident);
    let l = with(&touch, "max").unwrap();
    assert_eq!((&*l.id, l.grade), ("whatsapp", LabelGrade::Possible));
    assert!(l.evidence.iter().any(|e| e.class == EvidenceClass::Contradiction && e.db == -15));
    assert_eq!(with(&sni("web.whatsapp.com"), "max").unwrap().grade, LabelGrade::Confident, "not one of its probes");
}

#[test]
fn a_certificate_of_somebody_else() {
    let l = label(&sni("web.whatsapp.com").certificate(&["filter.example"])).unwrap();
    assert_eq!(l.grade, LabelGrade::Possible, "{:?}", l.evidence);
    for fine in ["*.whatsapp.com", "web.whatsapp.com", "*.whatsapp.net"] {
        assert!(label(&sni("web.whatsapp.com").certificate(&[fine])).unwrap().grade > LabelGrade::Possible, "{fine}");
    }
}

#[test]
fn an_unanswered_flow_is_an_attempt() {
    let l = label(&tcp("149.154.167.51:443").unanswered()).unwrap();
    assert!(l.attempt && l.since == FrameNo(1));
    assert!(!label(&tcp("149.154.167.51:443")).unwrap().attempt);
}

#[test]
fn the_sum_says_when_it_was_enough() {
    let l = label(&tcp("149.154.167.51:443").sni("web.telegram.org")).unwrap();
    assert_eq!((l.since, l.total_db), (FrameNo(1), 51), "the address was");
    let l = label(&sni("web.telegram.org").decoy("vk.com")).unwrap();
    assert_eq!((l.since, l.margin_db.is_some()), (FrameNo(4), true));
}
