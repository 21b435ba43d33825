//! Sums, caps, tiers, contradictions.

use super::flows::{Says, sni, tcp, udp};
use super::{book, label, lead};
use crate::classify::Book;
use crate::model::label::{EvidenceClass, Label, LabelGrade};
use crate::model::note::{Stun, UserName};
use std::path::Path;

fn near(l: &Label, confidence: f64) -> bool {
    (l.confidence - confidence).abs() < 0.006
}

#[test]
fn a_lone_exclusive_name_is_confident() {
    let l = label(&sni("api.oneme.ru")).unwrap();
    assert!(near(&l, 0.97) && l.grade == LabelGrade::Confident, "{l:?}");
    assert_eq!(l.evidence[0].says, "SNI api.oneme.ru ends in oneme.ru");
    assert_eq!((l.evidence[0].class, l.evidence[0].db, l.evidence[0].frame.0), (EvidenceClass::Name, 40, 4));
}

#[test]
fn name_answer_and_exclusive_address_are_certain() {
    let f = tcp("149.154.167.99:443").sni("web.telegram.org");
    let l = book().label(&f, &[lead("web.telegram.org", true)]).unwrap();
    assert!(l.grade == LabelGrade::Certain && l.confidence > 0.999_999, "{l:?}");
    assert_eq!(l.role.map(|r| r.name()), Some("web"), "what was asked comes before where it stands");
}

#[test]
fn a_syn_to_an_exclusive_address_is_probable() {
    // 35 - 25: ten to one
    let l = label(&tcp("149.154.167.51:8443").unanswered()).unwrap();
    assert!(near(&l, 0.909) && l.grade == LabelGrade::Probable, "{l:?}");
}

#[test]
fn a_relay_attribute_alone_is_confident_and_two_are_capped() {
    let call = |kind, attributes: &[u16]| {
        udp("198.51.100.7:4000").stun(Stun { kind, attributes: attributes.to_vec(), len: 126, ..Stun::default() })
    };
    assert!(near(&label(&call(3, &[0x4000])).unwrap(), 0.969));
    // 40 + 40 is capped at 45: 20 dB in all.
    assert!(near(&label(&call(0x0800, &[0x4003])).unwrap(), 0.990));
    // The leg between phones alone is even odds.
    let leg = label(&call(1, &[0x0008]));
    assert!(leg.is_none(), "126 bytes is not that message");
    let leg = label(&udp("198.51.100.7:4000").stun(Stun { kind: 1, attributes: vec![8], len: 44, ..Stun::default() })).unwrap();
    assert!(near(&leg, 0.5) && leg.grade == LabelGrade::Possible);
}

#[test]
fn an_unverified_rule_is_halved_and_a_range_of_the_owner_is_not_enough() {
    assert!(label(&tcp("155.212.204.5:443")).is_none());
    let named = Stun { kind: 3, username_len: 25, username: UserName::TimedDigits12To16, ..Stun::default() };
    assert!(label(&udp("192.0.2.7:19302").stun(named.clone())).is_none(), "Google's port, and whose user names?");
    // Both together are what its relays show; no capture exists, so not more.
    assert!(label(&udp("155.212.197.7:19302").stun(named)).unwrap().grade >= LabelGrade::Probable);
    assert_eq!(label(&udp("155.212.197.7:19302").unanswered()).unwrap().grade, LabelGrade::Possible);
}

#[test]
fn a_decoy_speaks_against_its_own_name_only() {
    let l = label(&sni("discord.com").decoy("vk.com")).unwrap();
    assert_eq!(&*l.id, "discord");
    assert!(l.runner_up.is_none());
    // The decoy's address evidence is outweighed.
    assert!(label(&tcp("149.154.167.99:443").decoy("web.telegram.org")).is_none());
    // A second hello with another name is a decoy as well; the first stands.
    let l = label(&sni("www.youtube.com").sni("www.sberbank.ru").sni("web.max.ru")).unwrap();
    assert_eq!(&*l.id, "youtube");
    // The same name again, or another of the same service, is none.
    assert!(near(&label(&sni("discord.com").decoy("gateway.discord.gg")).unwrap(), 0.969));
}

#[test]
fn a_name_away_from_home_counts_less_where_the_service_hosts_itself() {
    let away = label(&sni("web.telegram.org")).unwrap();
    // 40 - 15 - 25, and 1 for the port
    assert!(away.confidence < 0.6, "{away:?}");
    assert!(away.evidence.iter().any(|e| e.class == EvidenceClass::Contradiction && e.db == -15));
    let resolved = book().label(&sni("web.telegram.org"), &[lead("web.telegram.org", true)]).unwrap();
    assert_eq!(resolved.grade, LabelGrade::Certain);
    assert!(near(&label(&sni("web.whatsapp.com")).unwrap(), 0.969), "WhatsApp stands on others' networks");
}

#[test]
fn an_unanswered_hello_is_judged_by_name_alone() {
    let f = tcp("192.0.2.1:443").hello(None, &["apns-security-v3"], "");
    assert!(label(&f).is_some());
    assert!(label(&f.unanswered()).is_none());
    assert!(near(&label(&sni("chat.signal.org").unanswered()).unwrap(), 0.969));
}

#[test]
fn a_narrow_lead_is_only_possible_and_names_both() {
    let two = r#"
        [[service]]
        id = "alpha"
        title = "Alpha"
        category = "other"
        updated = "2026-10-01"
        domain = [{ suffix = "shared.example", db = 40, source = "test" }]
        [[service]]
        id = "beta"
        title = "Beta"
        category = "other"
        updated = "2026-10-01"
        domain = [{ suffix = "shared.example", db = 38, source = "test" }]
    "#;
    let book = Book::default().with_file(Path::new("two.toml"), two).unwrap();
    let l = book.label(&sni("a.shared.example"), &[]).unwrap();
    assert_eq!((&*l.id, l.grade), ("alpha", LabelGrade::Possible));
    assert_eq!(l.runner_up.as_ref().map(|r| &*r.0), Some("beta"));
}
