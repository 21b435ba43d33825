//! Every shipped service: flows that are it, and flows that nearly are.

use super::flows::{Says, flow, sni, tcp, udp};
use super::{DnsLead, book, label, lead, named};
use crate::model::frame::FrameNo;
use crate::model::key::{Endpoint, Proto};
use crate::model::label::{LabelGrade, Role};
use crate::model::note::{Certificate, Fact, QuicInitial, Stun};
use crate::model::time::Span;

#[test]
fn names_of_each_service() {
    #[rustfmt::skip]
    let table = [
        ("e13.whatsapp.net", "whatsapp chat"), ("g.whatsapp.net", "whatsapp chat"), ("chat.cdn.whatsapp.net", "whatsapp chat"),
        ("mmg.whatsapp.net", "whatsapp media"), ("mmg-fna.whatsapp.net", "whatsapp media"), ("media-mxp1-1.cdn.whatsapp.net", "whatsapp media"),
        ("media.fmct2-1.fna.whatsapp.net", "whatsapp media"), ("pps.whatsapp.net", "whatsapp media"), ("web.whatsapp.com", "whatsapp web"),
        ("wa.me", "whatsapp web"), ("mmx-ds.cdn.whatsapp.net", "whatsapp media"), ("scontent.fna.whatsapp.net", "whatsapp media"),
        ("kws2.web.telegram.org", "telegram chat"), ("kws4-1.web.telegram.org", "telegram chat"), ("venus.web.telegram.org", "telegram chat"),
        ("web.telegram.org", "telegram web"), ("us-east1-aws.sc-jpl.com", "snapchat api"), ("upload.youtube.com", "youtube media"),
        ("content.cdn.viber.com", "viber media"), ("obs-jp.line-apps.com", "line media"), ("legy-jp.line-apps.com", "line chat"),
        ("servicewechat.com", "wechat web"), ("q1.qlogo.cn", "qq media"), ("wx.qlogo.cn", "wechat media"), ("v.qq.com", ""), ("i.gtimg.com", "qq web"),
        ("teams.cloud.microsoft", "teams chat"), ("eu-api.relay.teams.microsoft.com", "teams call"), ("web-chat-e2ee.facebook.com", "messenger chat"),
        ("irc.libera.chat", "irc chat"), ("doh-de.blahdns.com", "doh -"), ("ns0.fdn.fr", "doh -"), ("www.fdn.fr", ""), ("dsn4.d.skype.net", "skype chat"), ("cdn.privateinternetaccess.com", "vpn_service -"), ("sun9-1.vkuserphoto.ru", "vk media"), ("cdn4.cdn-telegram.org", "telegram media"), ("tdesktop.com", "telegram web"),
        ("chat.signal.org", "signal chat"), ("grpc.chat.signal.org", "signal chat"), ("cdn.signal.org", "signal media"), ("sfu.voip.signal.org", "signal call"),
        ("textsecure-service.whispersystems.org", "signal chat"), ("api.oneme.ru", "max chat"), ("iu.oneme.ru", "max media"), ("web.max.ru", "max web"),
        ("botapi.max.ru", "max api"), ("facetime.apple.com", "facetime web"), ("query.ess.apple.com", "imessage api"),
        ("41-courier.push.apple.com", "apns push"), ("web.wechat.com", "wechat web"), ("res.wx.qq.com", "wechat chat"),
        ("hkextshort.weixin.qq.com", "wechat chat"), ("im.qq.com", "qq chat"), ("dl-media.viber.com", "viber media"),
        ("edge-mqtt.facebook.com", "messenger chat"), ("mqtt-mini.facebook.com", "messenger chat"), ("www.messenger.com", "messenger web"),
        ("www.facebook.com", "facebook web"), ("graph.facebook.com", "facebook api"), ("scontent-mxp1-1.xx.fbcdn.net", "facebook media"),
        ("instagram.fmil1-1.fna.fbcdn.net", "instagram media"), ("i.instagram.com", "instagram api"), ("scontent-mxp1-1.cdninstagram.com", "instagram media"),
        ("igcdn-photos-a-a.akamaihd.net", "instagram media"), ("gcp.api.snapchat.com", "snapchat chat"), ("x1.addlive.io", "snapchat call"),
        ("r1---sn-hju7enel.googlevideo.com", "youtube media"), ("yt3.ggpht.com", "youtube media"), ("www.youtube.com", "youtube web"),
        ("gateway.discord.gg", "discord chat"), ("frankfurt123.discord.media", "discord call"), ("cdn.discordapp.com", "discord media"),
        ("presence.teams.microsoft.com", "teams chat"), ("eu-api.asm.skype.com", "skype chat"), ("api.flightproxy.teams.microsoft.com", "teams call"),
        ("zoomfr84zc.zoom.us", "zoom call"), ("meet.google.com", "googlemeet call"), ("wss-primary.slack.com", "slack chat"), ("radcom.webex.com", "webex call"),
        ("uts-front.line-apps.com", "line chat"), ("booking-loco.kakao.com", "kakaotalk chat"), ("wpa.chat.zalo.me", "zalo chat"), ("imo.im", "imo chat"),
        ("api.threema.ch", "threema api"), ("prod-nginz-ssl.wire.com", "wire chat"), ("matrix-client.matrix.org", "element chat"),
        ("seed2.getsession.org", "session api"), ("smp11.simplex.im", "simplex chat"), ("xftp3.simplex.im", "simplex media"),
        ("sun9-10.userapi.com", "vk media"), ("ok.ru", "odnoklassniki web"), ("messenger.yandex.ru", "yandex_messenger chat"),
        ("telemost.yandex.ru", "yandex_messenger call"), ("tamtam.chat", "tamtam chat"), ("u.icq.net", "icq chat"),
        ("api.cloudflareclient.com", "warp -"), ("bridges.torproject.org", "tor web"), ("snowflake-broker.torproject.net", "snowflake api"),
        ("meek.azureedge.net", "meek -"), ("psiphon.ca", "psiphon web"), ("config.getiantem.lantern.io", "lantern web"), ("ultrasurf.us", "ultrasurf web"),
        ("mask-h2.icloud.com", "icloud_private_relay -"), ("getoutline.org", "outline web"), ("www.vpngate.net", "softether web"),
        ("api.nordvpn.com", "vpn_service -"), ("docs.amnezia.org", "amneziawg web"), ("briarproject.org", "briar web"), ("shadowsocks.org", "shadowsocks web"),
        ("www.v2fly.org", "vmess web"), ("xtls.github.io", "vless web"), ("trojan-gfw.github.io", "trojan web"), ("v2.hysteria.network", "hysteria2 web"), ("dns.google", "doh -"), ("mozilla.cloudflare-dns.com", "doh -"), ("dnscrypt.info", "dnscrypt web"),
    ];
    for (name, want) in table {
        assert_eq!(named(&sni(name)), want, "{name}");
    }
    let mut met: Vec<&str> = table.iter().filter_map(|(_, want)| want.split(' ').next()).collect();
    // These have vectors of their own below, or beside their shapes.
    met.extend([
        "http_proxy",
        "obfs4",
        "sstp",
        "tuic",
        "dot",
        "doq",
        "telegram",
        "ikev2",
        "irc",
        "l2tp",
        "mtproxy",
        "openvpn",
        "pptp",
        "sip",
        "socks",
        "wireguard",
        "xmpp",
    ]);
    for service in book().services() {
        assert!(met.contains(&&*service.id), "{} has no vector", service.id);
    }
}

#[test]
fn names_that_only_look_alike() {
    for name in [
        "evilwhatsapp.net",
        "whatsapp.net.example.com",
        "faq.whatsapp.com",
        "blog.whatsapp.com",
        "xwa.me",
        "nottelegram.org",
        "at.me.uk",
        "fax.com",
        "telega.one",
        "www.signal.org",
        "uptime.signal.org",
        "emax.ru",
        "okcdn.ru",
        "i.okcdn.ru",
        "stats.icloud-content.com",
        "www.apple.com",
        "www.google.com",
        "storage.googleapis.com",
        "ajax.aspnetcdn.com",
        "meta.com",
        "ggpht.com",
        "proton.me",
        "yandex.ru",
        "www.cloudflare.com",
        "cloudflare-ech.com",
        "e17.whatsapp.net.ru",
        "",
    ] {
        assert_eq!(named(&sni(name)), "", "{name}");
    }
    // Not the chat hosts, though the family.
    assert_eq!(label(&sni("mmgx.whatsapp.net")).and_then(|l| l.role), Some(Role::Chat));
    assert_eq!(named(&sni("instagramx.fna.fbcdn.net")), "facebook media");
}

#[test]
fn telegram_by_address() {
    for server in ["149.154.167.51:443", "91.108.56.130:5222", "[2001:67c:4e8:f002::a]:443"] {
        let l = label(&tcp(server).unanswered()).unwrap();
        assert_eq!((&*l.id, l.role, l.grade), ("telegram", Some(Role::Chat), LabelGrade::Probable), "{server}");
    }
    assert_eq!(named(&udp("91.108.12.5:537")), "telegram call");
    assert_eq!(named(&tcp("149.154.176.1:443")), "", "just past the range");
    assert_eq!(named(&tcp("91.108.24.1:443")), "", "between two ranges");
    // Mid-flow capture that took the wrong side for the client.
    let mut turned = udp("192.168.1.2:40000");
    turned.client = Endpoint::new([91, 108, 8, 7].into(), 529);
    assert_eq!(named(&turned), "telegram call");
    // A connection that came from a Telegram address (a bot's webhook) is not the chat.
    let mut webhook = tcp("192.168.1.2:8443");
    webhook.client = Endpoint::new([149, 154, 167, 197].into(), 40000);
    assert_eq!(named(&webhook), "");
}

#[test]
fn meta_addresses_alone_say_nothing() {
    for server in ["157.240.20.35:443", "157.240.20.53:443", "31.13.86.52:443", "[2a03:2880:f1ff::1]:443"] {
        assert_eq!(named(&tcp(server)), "", "{server}");
        assert_eq!(named(&tcp(server).unanswered()), "", "{server}");
    }
    assert_eq!(named(&udp("157.240.193.48:3478")), "");
    // But the XMPP port belongs to WhatsApp there.
    assert_eq!(named(&tcp("157.240.20.53:5222").unanswered()), "whatsapp chat");
}

#[test]
fn calls_by_stun() {
    let message = |kind: u16, attributes: &[u16], len: u32| Stun { kind, attributes: attributes.to_vec(), len, ..Stun::default() };
    let at = "198.51.100.7:3478";
    #[rustfmt::skip]
    let table = [
        (udp(at).realm("telegram.org"), "telegram call"), (udp(at).realm("signal.org"), "signal call"), (udp(at).realm("viber.com"), "viber call"),
        (udp(at).realm("turner.facebook"), "messenger call"), (udp(at).realm("turn.l.google.com"), "googlemeet call"),
        (udp(at).stun(message(0x0800, &[], 126)), "whatsapp call"), (udp(at).stun(message(0x0003, &[0x4000], 126)), "whatsapp call"),
        (udp(at).stun(message(0x0001, &[0x0008], 44)), "whatsapp call"), (udp(at).stun(message(0x0001, &[0x8070, 0x8036], 100)), "teams call"),
        (udp(at).stun(Stun { kind: 1, username_len: 73, ..Stun::default() }), "zoom call"),
        // Nobody's handwriting
        (udp(at).realm("example.org"), ""), (udp(at).stun(message(0x0001, &[], 20)), ""), (udp(at).stun(message(0x0001, &[0x0006, 0x0008], 44)), ""),
        (udp("74.125.250.129:19302").stun(message(0x0001, &[], 20)), "googlemeet call"), (udp("173.194.1.1:19302").stun(message(0x0001, &[], 20)), ""),
    ];
    for (i, (f, want)) in table.iter().enumerate() {
        assert_eq!(named(f), *want, "row {i}");
    }
}

#[test]
fn other_addresses() {
    #[rustfmt::skip]
    let table = [
        (tcp("185.88.236.110:5222"), "threema chat"), (udp("134.224.90.111:8801"), "zoom call"), (udp("52.114.250.123:3478"), "teams call"),
        (tcp("17.242.60.84:5223"), "apns push"), (tcp("17.242.60.84:443"), ""), (tcp("159.138.85.48:5223"), ""), (udp("17.1.2.3:3478"), "facetime call"),
        (udp("17.1.2.3:443"), ""), (udp("66.22.196.173:50004"), "discord call"), (udp("66.22.196.173:27015"), ""), (udp("213.163.87.47:50004"), ""),
        (udp("147.92.169.90:29070"), "line call"), (tcp("62.109.224.120:443"), "webex call"), (udp("185.155.137.30:36535"), "imo call"),
        (tcp("52.0.252.145:4244"), "viber chat"), (tcp("52.0.252.145:443"), ""), (udp("162.159.192.7:2408"), "warp -"), (tcp("162.159.192.7:443"), ""),
        (tcp("8.8.8.8:853"), "dot -"), (tcp("8.8.8.8:443"), ""), (udp("8.8.8.8:443"), ""), (tcp("155.212.204.5:443"), ""), (tcp("104.16.1.1:443"), ""),
        (tcp("3.33.221.48:443"), ""), (tcp("76.223.66.180:443"), ""), (flow(Proto::ICMP, "149.154.167.51:0"), ""),
    ];
    for (i, (f, want)) in table.iter().enumerate() {
        assert_eq!(named(f), *want, "row {i}: {:?}", f.server);
    }
}

#[test]
fn ipsec_over_ip_itself() {
    use crate::model::label::EvidenceClass;
    for proto in [Proto::ESP, Proto::AH] {
        let l = label(&flow(proto, "198.51.100.7:0")).unwrap();
        assert_eq!((&*l.id, l.grade, l.circumvention, l.evidence[0].class), ("ikev2", LabelGrade::Confident, true, EvidenceClass::Bytes));
    }
    assert_eq!(label(&flow(Proto::ESP, "198.51.100.7:0")).unwrap().evidence[0].says, "IP protocol 50, ESP");
    // Its neighbours carry routing, not messages, and an address alone says nothing of them.
    for number in [47, 46, 132] {
        assert_eq!(named(&flow(Proto(number), "149.154.167.51:0")), "", "{number}");
    }
}

#[test]
fn handshakes() {
    assert_eq!(named(&tcp("192.0.2.1:443").hello(None, &["apns-security-v3"], "")), "apns push");
    assert_eq!(named(&tcp("192.0.2.1:5223").hello(None, &["smp/1"], "")), "simplex chat");
    assert_eq!(named(&tcp("192.0.2.1:853").hello(None, &[], "")), "dot -");
    assert_eq!(named(&tcp("192.0.2.1:853")), "", "the port without TLS");
    assert_eq!(named(&udp("192.0.2.1:853").hello(None, &["doq"], "")), "doq -");
    assert_eq!(named(&udp("192.0.2.1:443").hello(None, &["h3"], "")), "");
    assert_eq!(named(&tcp("192.0.2.1:8448").hello(Some("home.example"), &["h2"], "")), "element api");
    assert_eq!(named(&tcp("8.8.4.4:853").sni("dns.google")), "dot -");
    assert_eq!(named(&udp("192.0.2.1:443").hello(Some("a.example"), &["hysteria"], "")), "hysteria2 -");
    assert_eq!(named(&udp("192.0.2.1:443").hello(Some("a.example"), &["tuic"], "")), "tuic -");
    // The fingerprint of a client without a name is never more than possible, and with a name it only supports.
    let psiphon = "t12i1508h2_073e58a039a6_e70312a1ce2c";
    assert_eq!(label(&tcp("192.0.2.1:443").hello(None, &[], psiphon)).map(|l| l.grade), Some(LabelGrade::Possible));
    assert_eq!(named(&tcp("192.0.2.1:443").hello(Some("a.example"), &[], psiphon)), "");
}

#[test]
fn other_sources_of_names() {
    assert_eq!(named(&tcp("192.0.2.1:80").host("photos-a.ak.instagram.com")), "instagram web");
    assert_eq!(named(&tcp("10.0.0.1:3128").host("web.whatsapp.com")), "whatsapp web");
    assert_eq!(named(&tcp("192.0.2.1:443").certificate(&["*.whatsapp.net", "whatsapp.net"])), "whatsapp chat");
    assert_eq!(named(&tcp("192.0.2.1:443").certificate(&["*.Kakao.com"])), "kakaotalk chat");
    assert_eq!(
        named(&tcp("192.0.2.1:443").certificate(&["*.google.com", "*.youtube.com", "youtu.be"])),
        "",
        "alternative names are the owner's, not the flow's"
    );
    let gquic = QuicInitial { gquic_sni: Some("www.youtube.com".into()), ..QuicInitial::default() };
    assert_eq!(named(&udp("192.0.2.1:443").note(Fact::Quic(Box::new(gquic)))), "youtube web");
}

#[test]
fn asking_for_a_name_is_not_using_it() {
    assert_eq!(named(&udp("192.168.1.1:53").dns("web.telegram.org")), "");
    assert_eq!(named(&udp("149.154.167.51:53")), "");
    assert_eq!(named(&udp("192.0.2.9:5300").dns("g.whatsapp.net")), "");
}

#[test]
fn brands_and_ways_around_are_marked() {
    let l = label(&sni("it-mil-v086.prod.surfshark.com")).unwrap();
    assert_eq!((&*l.id, l.brand.as_deref(), l.circumvention), ("vpn_service", Some("Surfshark"), true));
    assert!(!label(&sni("web.max.ru")).unwrap().circumvention);
    assert_eq!(named(&sni("dns.mullvad.net")), "doh -");
}

#[test]
fn dns_leads_count_after_the_flow_itself() {
    let f = tcp("104.18.1.1:443").unanswered();
    let name = |name, unique| book().label(&f, &[lead(name, unique)]);
    // 20 dB against a prior of 25: an address others share needs more than a DNS answer.
    assert!(name("discord.com", true).is_none());
    let chat = tcp("157.240.20.53:5222").unanswered();
    assert_eq!(book().label(&chat, &[lead("g.whatsapp.net", true)]).map(|l| l.grade), Some(LabelGrade::Confident));
    let signal = tcp("76.223.66.180:443").unanswered();
    assert_eq!(book().label(&signal, &[lead("chat.signal.org", true)]).map(|l| l.grade), Some(LabelGrade::Probable));
    let other = DnsLead { frame: FrameNo(3), ..lead("www.example.com", false) };
    assert!(book().label(&signal, &[lead("chat.signal.org", false), other]).is_none());
}

#[test]
fn a_certificate_without_a_name_tells_its_owner() {
    let shown = |org: &str| {
        let shown = Certificate { names: vec!["203.0.113.9".into()], organisation: Some(org.into()), ..Certificate::default() };
        tcp("198.51.100.7:443").note(Fact::Certificate(Box::new(shown)))
    };
    let l = label(&shown("Windscribe")).unwrap();
    assert_eq!((&*l.id, l.grade, &*l.evidence[0].says), ("vpn_service", LabelGrade::Probable, "certificate of Windscribe"));
    assert_eq!(named(&shown("V Kontakte LLC")), "vk web");
    assert_eq!(named(&shown("Windscribe Fans")), "");
    // A name that is no host's.
    assert_eq!(named(&udp("198.51.100.7:4000").certificate(&["Snapchat Inc."])), "snapchat call");
    assert_eq!(named(&udp("198.51.100.7:4000").certificate(&["Snapchat Inc. Fans"])), "");
    // Direct TLS to a chat server of whatever name.
    assert_eq!(named(&tcp("192.0.2.7:5223").hello(Some("chat.example.org"), &["xmpp-client"], "")), "xmpp chat");
    assert_eq!(named(&tcp("192.0.2.7:5223").sni("conversations.im")), "xmpp chat");
    assert_eq!(named(&tcp("192.0.2.7:443").sni("conversations.im")), "", "its pages");
}

#[test]
fn a_name_just_asked_for_names_a_silent_flow() {
    let asked = |name, unique, s| DnsLead { ago: Span::from_secs(s), ..lead(name, unique) };
    let shared = tcp("157.240.20.35:443").unanswered();
    let l = book().label(&shared, &[asked("web.whatsapp.com", true, 1)]).unwrap();
    assert_eq!((&*l.id, l.role.map(|r| r.name()), l.grade, l.attempt), ("whatsapp", Some("web"), LabelGrade::Probable, true));
    assert_eq!(l.evidence[0].says, "DNS gave this address 1 s before for web.whatsapp.com, which is its name, and for nothing else");
    let later = book().label(&shared, &[asked("web.whatsapp.com", true, 40)]).unwrap();
    assert_eq!(later.grade, LabelGrade::Possible);
    assert!(book().label(&shared, &[asked("web.whatsapp.com", true, 90)]).is_none(), "and so long after it may be anybody's");
    // Names of one service do not disagree, names of two do.
    let second = DnsLead { frame: FrameNo(3), ..asked("static.whatsapp.net", false, 2) };
    let l = book().label(&shared, &[asked("web.whatsapp.com", false, 1), second]).unwrap();
    assert_eq!((&*l.id, l.role.map(|r| r.name())), ("whatsapp", Some("web")), "the last question counts");
    let other = DnsLead { frame: FrameNo(3), ..asked("www.example.com", false, 2) };
    assert!(book().label(&shared, &[asked("web.whatsapp.com", false, 1), other]).is_none());
    // An alias belongs to its question.
    let alias = asked("mmx-ds.cdn.example.net", false, 1);
    assert!(book().label(&shared, &[asked("web.whatsapp.com", false, 1), alias]).is_some());
    // A flow that says another name is that name's.
    let named = tcp("157.240.20.35:443").sni("www.example.com");
    assert!(book().label(&named, &[asked("web.whatsapp.com", true, 1)]).is_none());
    // A name that is weak evidence itself stays so.
    assert!(book().label(&shared, &[asked("gateway.icloud-content.com", true, 1)]).is_none());
}

#[test]
fn a_name_alone_tells_its_service() {
    let book = book();
    let of = |name: &str| book.named(name).map(|(info, role)| (info.id.to_string(), role));
    assert_eq!(of("web.whatsapp.com").map(|s| s.0).as_deref(), Some("whatsapp"));
    assert_eq!(of("chat.signal.org"), Some(("signal".to_owned(), Some(Role::Chat))));
    assert_eq!(of("www.example.org"), None);
}
