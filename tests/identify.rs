//! Every wire shape over every fixture: what it hit, and what it hit wrongly.
#![allow(missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use support::cases;
use tamperscope::engine::{self, Plan};
use tamperscope::model::label::EvidenceClass;
use tamperscope::model::story::{End, Story};
use tamperscope::sink::Sink;

/// What the fixtures of a name hold, and no other fixture does: services that shapes may name there.
const TRUTH: &[(&str, &[&str])] = &[
    ("shape-wireguard", &["wireguard"]),
    ("shape-openvpn", &["openvpn"]),
    ("shape-ike", &["ikev2"]),
    ("shape-whatsapp", &["whatsapp"]),
    ("shape-telegram", &["telegram"]),
    ("shape-call-legs", &["telegram"]),
    ("shape-discord", &["discord"]),
    ("shape-call-media", &["max"]),
    ("shape-keepalives", &["discord", "viber", "whatsapp", "zoom"]),
    ("media-degraded", &["max"]),
    ("media-degraded-one-sided", &["max"]),
    ("clean-call-on-lossy-line", &["max"]),
    ("dot-dropped", &["dot"]),
    ("dot-one-sided", &["dot"]),
    ("clean-dot-refused", &["dot"]),
    ("doq-dropped", &["doq"]),
    ("doq-one-sided", &["doq"]),
    ("clean-doq-lost-once", &["doq"]),
    ("wireguard-cut", &["wireguard"]),
    ("wireguard-one-sided", &["wireguard"]),
    ("clean-wireguard-lost-twice", &["wireguard"]),
    ("clean-wireguard-line-down", &["wireguard"]),
    ("openvpn-reset", &["openvpn"]),
    ("clean-openvpn-refused", &["openvpn"]),
    ("shape-relays", &["teams", "telegram", "zoom"]),
    ("shape-rhythms", &["facetime", "meek"]),
    ("names-of-lists", &["irc"]),
    ("shape-obfuscated", &["amneziawg", "openvpn", "softether", "telegram"]),
];

/// (case, service, class, words) of each piece of evidence that came from bytes, handwriting or pattern.
type Seen = BTreeMap<(String, String), BTreeMap<(String, String), u32>>;

struct Watch {
    case: String,
    seen: Arc<Mutex<Seen>>,
}

impl Sink for Watch {
    fn story(&mut self, story: &Story) -> io::Result<()> {
        let mut seen = self.seen.lock().unwrap();
        for label in story.labels.iter().flatten() {
            for e in &label.evidence {
                if matches!(e.class, EvidenceClass::Crypto | EvidenceClass::Bytes | EvidenceClass::Stun | EvidenceClass::Pattern) {
                    let shape = (e.class.name().to_owned(), e.says.clone());
                    *seen.entry(shape).or_default().entry((label.id.to_string(), self.case.clone())).or_default() += 1;
                }
            }
        }
        Ok(())
    }
    fn finish(&mut self, _: &End) -> io::Result<()> {
        Ok(())
    }
}

fn over_fixtures(heuristics: bool) -> Seen {
    let seen = Arc::new(Mutex::new(Seen::new()));
    for case in cases::all() {
        let plan = Plan { inputs: vec![cases::input(&case)], heuristics, ..Plan::default() };
        let watch = Watch { case: case.file_name().unwrap().to_string_lossy().into_owned(), seen: Arc::clone(&seen) };
        engine::run(&plan, &mut [Box::new(watch)]).unwrap();
    }
    Arc::into_inner(seen).unwrap().into_inner().unwrap()
}

fn expected(case: &str, service: &str) -> bool {
    TRUTH.iter().any(|(name, services)| *name == case && services.contains(&service))
}

/// Prints the table (`cargo test --test identify -- --nocapture`) and allows no false hit.
#[test]
fn no_shape_hits_wrongly_in_the_fixtures() {
    let seen = over_fixtures(false);
    let mut wrong = Vec::new();
    println!("{:>5} {:>5}  shape", "hits", "false");
    for ((class, says), by) in &seen {
        let hits: u32 = by.values().sum();
        let bad: Vec<_> = by.iter().filter(|((service, case), _)| !expected(case, service)).collect();
        println!("{hits:>5} {:>5}  {class}: {says}", bad.iter().map(|(_, n)| **n).sum::<u32>());
        wrong.extend(bad.into_iter().map(|(at, _)| format!("{says}: {at:?}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Every fixture made for a shape is hit by one.
    let hit: BTreeSet<&str> = seen.values().flat_map(|by| by.keys().map(|(_, case)| &**case)).collect();
    for (case, _) in TRUTH.iter().filter(|(case, _)| case.starts_with("shape-")) {
        assert!(hit.contains(case), "{case}");
    }
}

#[test]
fn guesses_are_wrong_nowhere_in_the_fixtures_either() {
    let guesses = ["shadowsocks", "vmess", "vless", "trojan", "obfs4"];
    for ((_, says), by) in over_fixtures(true) {
        // Made of dice: what these guesses are about.
        let dice = ["shape-near-misses", "clean-random-looking-lost-once", "random-looking-dropped", "random-looking-one-sided"];
        let wrong: Vec<_> = by.keys().filter(|(service, case)| guesses.contains(&&**service) && !dice.contains(&&**case)).collect();
        assert!(wrong.is_empty(), "{says}: {wrong:?}");
    }
}
