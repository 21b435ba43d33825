//! The loader: what it refuses and how it says so; extension and replacement; the shipped files as a whole.

use super::flows::sni;
use super::{book, lead};
use crate::classify::Book;
use std::collections::BTreeSet;
use std::path::Path;

const HEAD: &str = "[[service]]\nid = \"x\"\ntitle = \"X\"\ncategory = \"other\"\nupdated = \"2026-10-01\"\n";

fn refused(text: &str) -> String {
    Book::default().with_file(Path::new("services/max.toml"), text).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn complaints_name_file_line_and_key() {
    let with = |rules: &str| {
        let source = if rules.is_empty() { "" } else { "\nsource = \"test\"" };
        refused(&format!("{HEAD}{rules}{source}"))
    };
    let rule = |rule: &str| with(&format!("[[service.domain]]\nsuffix = \"a.example\"\nsource = \"test\"\n[[service.domain]]\n{rule}"));
    assert_eq!(rule("suffx = \"b.example\""), "services/max.toml:10: domain[2]: unknown key `suffx` (did you mean `suffix`?)");
    assert_eq!(rule("suffix = \"b.example\"\ndb = \"40\""), "services/max.toml:11: domain[2].db: expected a whole number, found string");
    assert_eq!(rule("suffix = \"b.example\"\ndb = 400"), "services/max.toml:11: domain[2].db: 400 is outside -60…60");
    assert_eq!(rule("suffix = [\"b.example\",\n\"*.c.example\"]").split(": ").nth(1), Some("domain[2].suffix[2]"));
    assert!(rule("suffix = [\"b.example\",\n\"*.c.example\"]").starts_with("services/max.toml:11: "));
    assert!(rule("role = \"chat\"").contains("needs `suffix` or `exact`"));
    assert!(
        rule("suffix = \"b.example\"\nrole = \"talk\"").ends_with("domain[2].role: `talk` is none of chat, media, call, push, web, api")
    );
    assert!(
        with("[[service.cidr]]\nnet = \"10.0.0.1/8\"")
            .ends_with("cidr[1].net: `10.0.0.1/8` has bits beyond its prefix; did you mean 10.0.0.0/8?")
    );
    assert!(with("[[service.cidr]]\nnet = \"2001:db8::/32\"\nlast_octet = [1, 2]").contains("IPv4 nets only"));
    assert!(with("[[service.port]]\nport = \"90-80\"").ends_with("port[1].port: 90 is above 80"));
    assert!(with("[[service.protocol]]\nip = \"gre\"\ndb = 3").ends_with("protocol[1].ip: `gre` is none of esp, ah"));
    assert!(with("[[service.stun]]\nattr = \"0x10000\"\ndb = 3").contains("not a number from 0 to 0xffff"));
    assert!(with("[[service.stun]]\nattr = \"0x4000\"").ends_with("stun[1]: `db` is missing"));
    assert!(with("[[service.tls]]\ndb = 3").contains("needs one of `alpn`"));
    assert!(with("[[service.parser]]\nname = \"wireguard\"").ends_with("parser[1]: `db` is missing"));
    assert!(with("[[service.parser]]\ndb = 3").ends_with("parser[1]: `name` is missing"));
    assert!(with("[[service.parser]]\nname = \"wiregard\"\ndb = 3").contains("parser[1].name: `wiregard` is none of rtp, rtcp, "));
    assert!(with("[[service.parser]]\nname = \"rtp\"\nclass = \"ip\"\ndb = 3").ends_with("`ip` is none of crypto, bytes, pattern"));
    assert!(with("[[service.stun]]\nusername = \"time:x\"\ndb = 3").contains("`time:x` is none of time:hex18, "));
    // Sizes and times: one family a rule, and every number in its bounds.
    assert!(with("[[service.pattern]]\nmodulo = 16\npps = 4\ndb = 3").contains("needs exactly one of `sizes`, `modulo`"));
    assert!(with("[[service.pattern]]\nsizes = [\"126\"]\ndb = 3").contains("`126` is not a signed length"));
    assert!(with("[[service.pattern]]\nlen = 40\nevery_ms = 10\nslack_ms = 1\ntimes = 4\ndb = 3").contains("10 is outside 50"));
    assert!(with("[[service.tls]]\ncert_like = \"www.{base64:8}.net\"\ndb = 3").contains("one random part"));
    assert!(with("[[service.pattern]]\npps = 20\nseconds = 5\nboth_ports = true\ndb = 3").ends_with("pattern[1].both_ports: needs `port`"));
    assert!(with("[[service.context]]\nneeds = \"apns\"\ndb = 3").ends_with("context[1]: `within` is missing"));
    assert!(with("[[service.probe]]\nexact = \"a.example\"\ndb = 3").ends_with("a probe speaks against the name"));
    // Where a rule comes from is a part of it.
    assert!(refused(&format!("{HEAD}[[service.port]]\nport = 80")).ends_with("port[1]: `source` is missing"));
    assert!(refused(&format!("{HEAD}[[service.port]]\nport = 80\nsource = \" \"")).contains("say where this rule comes from"));
    // Sections that other tools have and this one has not are refused, not skipped.
    assert!(with("[[service.residue]]\nmodulo = 16").starts_with("services/max.toml:6: residue: unknown key `residue`"));
    assert!(with("").contains("`x` has no rule"));
    assert_eq!(refused("schema = 2"), "services/max.toml:1: schema: 2 is outside 1…1");
    assert!(refused("[[service]]\nid = \"X\"").starts_with("services/max.toml:2: id: "));
    assert!(refused("[[service]]\nid = \"x\"").ends_with("service: `title` is missing"));
    assert!(refused("a = = 1").starts_with("services/max.toml:1: "));
    assert!(refused("").contains("no service"));
    assert!(refused(&HEAD.replace("2026-10-01", "2026-13-01")).starts_with("services/max.toml:5: updated: expected a day"));
}

#[test]
fn a_users_file_extends_or_replaces_and_must_say_which() {
    let name = "chat.example.net";
    let body = "[[service.domain]]\nsuffix = \"example.net\"\nrole = \"chat\"\nsource = \"test\"\n";
    let user = |text: &str| Book::builtin().unwrap().with_file(Path::new("my.toml"), text);
    let id = |book: &Book, name: &str| book.label(&sni(name), &[]).map(|l| l.id.to_string());

    let added = user(&format!("[[service]]\nid = \"telegram\"\nextends = \"builtin:telegram\"\n{body}")).unwrap();
    assert_eq!(id(&added, name).as_deref(), Some("telegram"));
    assert_eq!(id(&added, "cdn4.cdn-telegram.org").as_deref(), Some("telegram"));
    let info = added.services().find(|s| &*s.id == "telegram").unwrap();
    assert_eq!((&*info.title, &*info.file), ("Telegram", "services/telegram.toml + my.toml"));

    let whole = "id = \"telegram\"\ntitle = \"T\"\ncategory = \"messenger\"\nupdated = \"2026-11-01\"\n";
    let replaced = user(&format!("[[service]]\n{whole}replace = true\n{body}")).unwrap();
    assert_eq!(id(&replaced, name).as_deref(), Some("telegram"));
    assert_eq!(id(&replaced, "cdn4.cdn-telegram.org"), None);

    let clash = user(&format!("[[service]]\n{whole}{body}")).unwrap_err().to_string();
    assert!(clash.starts_with("my.toml:1: id: `telegram` is already described in services/telegram.toml"), "{clash}");
    let unknown = user(&format!("[[service]]\nid = \"nobody\"\nextends = \"builtin:nobody\"\n{body}")).unwrap_err().to_string();
    assert!(unknown.contains("there is no service `nobody` to extend"), "{unknown}");
    let other = user(&format!("[[service]]\nid = \"a\"\nextends = \"builtin:b\"\n{body}")).unwrap_err().to_string();
    assert!(other.contains("expected `builtin:a`"), "{other}");

    let new = user(&format!("{HEAD}{body}")).unwrap();
    assert_eq!(id(&new, name).as_deref(), Some("x"));
}

#[test]
fn exclusive_ranges_of_two_services_are_told() {
    let text = format!("{HEAD}[[service.cidr]]\nnet = \"149.154.167.0/24\"\nproto = \"udp\"\nsource = \"test\"\n");
    let book = Book::builtin().unwrap().with_file(Path::new("my.toml"), &text).unwrap();
    let want = "x claims 149.154.167.0/24 for itself alone, but telegram claims 149.154.160.0/20";
    assert!(book.warnings().iter().any(|w| w == want), "{:?}", book.warnings());
    let text = text.replace("proto =", "owner = \"shared\"\nproto =");
    assert!(Book::builtin().unwrap().with_file(Path::new("my.toml"), &text).unwrap().warnings().is_empty());
}

/// Ids that users may rely on.
pub const IDS: &str = "whatsapp telegram signal facetime imessage apns max wechat qq viber messenger facebook instagram snapchat youtube discord teams skype zoom \
    googlemeet slack webex line kakaotalk zalo imo threema wire element session simplex briar vk odnoklassniki yandex_messenger tamtam icq xmpp irc sip \
    wireguard amneziawg openvpn ikev2 l2tp pptp sstp softether shadowsocks vmess vless trojan hysteria2 tuic tor obfs4 snowflake meek psiphon lantern \
    ultrasurf warp outline mtproxy socks http_proxy icloud_private_relay vpn_service doh dot doq dnscrypt";

#[test]
fn shipped_files_are_sound() {
    assert!(book().warnings().is_empty(), "{:?}", book().warnings());
    let known: BTreeSet<&str> = IDS.split_whitespace().collect();
    let mut seen = BTreeSet::new();
    for s in book().services() {
        assert!(known.contains(&*s.id), "{} is no known id", s.id);
        assert!(seen.insert(s.id.clone()), "{} twice", s.id);
        assert_eq!(*s.file, format!("services/{}.toml", s.id));
        assert!(s.rules > 0 && !s.title.is_empty() && s.updated.len() == 10, "{s:?}");
    }
    for id in &known {
        assert!(seen.contains(*id), "{id} has no file");
    }
    assert_eq!(book().idle_rules(), [""; 0], "rules that match nothing");
    // Every file in the folder is in the list, and every rule says where it comes from.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/classify/services");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        files += 1;
        assert!(seen.contains(path.file_stem().unwrap().to_str().unwrap()), "{path:?} is not in the list");
        assert_eq!(text.matches("[[service.").count(), text.lines().filter(|l| l.starts_with("source = ")).count(), "{path:?}");
    }
    assert_eq!(files, seen.len());
}

#[test]
fn a_rule_that_can_never_match_is_told() {
    let rules = "[[service.domain]]\nsuffix = \"example.net\"\nsource = \"t\"\n[[service.domain]]\nsuffix = \"example.net\"\ndb = 10\nsource = \"t\"\n\
        [[service.parser]]\nname = \"rtp\"\nhome = true\ndb = 3\nsource = \"t\"\n[[service.context]]\nneeds = \"nobody\"\nwithin = 9\ndb = 3\nsource = \"t\"\n";
    let book = Book::default().with_file(Path::new("my.toml"), &format!("{HEAD}{rules}")).unwrap();
    let idle = book.idle_rules();
    assert_eq!(idle.len(), 3, "{idle:?}");
    assert!(
        idle[0].starts_with("x: domain[2] (example.net)") && idle[1].starts_with("x: parser[1]") && idle[2].starts_with("x: context[1]"),
        "{idle:?}"
    );
}

#[test]
fn odd_input_never_panics() {
    let long = "a.".repeat(400);
    for name in ["", ".", "..", "...whatsapp.net.", &long, "\u{202e}telegram.org", "é.t.me"] {
        let _ = book().label(&sni(name), &[lead(name, true)]);
    }
    for text in [
        "[[service]]\nid = 3",
        "service = 1",
        "service = [1]",
        "[service]\nid = \"x\"",
        "[[service]]\nid = \"x\"\ndomain = 3",
        "\u{0}",
        "[[service]]\nport = [[1]]",
    ] {
        assert!(Book::default().with_file(Path::new("odd.toml"), text).is_err(), "{text}");
    }
}
