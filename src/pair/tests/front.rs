//! What the word that B stands in front of an address settles, and what it does not.

use super::*;
use crate::model::pair::{PerTap, Tap};

/// B is said to record everything of the servers in both networks.
fn said() -> Fronts {
    let nets = ["203.0.113.0/24", "198.51.100.0/24"].map(|n| n.parse().unwrap()).to_vec();
    Fronts(PerTap { a: Vec::new(), b: nets })
}

fn grades(p: &Pairing) -> Vec<Grade> {
    p.findings.iter().map(|f| f.finding.grade).collect()
}

/// The surest grade.
fn surest(p: &Pairing) -> Option<Grade> {
    grades(p).into_iter().max()
}

/// A SYN to an address of which B has nothing, and the answer A got, as late as one from beyond B.
fn asked(port: u16, at: f64, answer: Digest) -> Talk {
    let mut t = Talk { apart: true, ..Talk::new(77, port) };
    t.only_a.push(packet(Side::Client, at, SYN, 0, 0, b""));
    t.only_a.push(answer);
    t
}

fn refused(port: u16, at: f64) -> Talk {
    asked(port, at, Digest { ttl: 60, ..packet(Side::Server, at + 70.0, RST | ACK, 0, 1, b"") })
}

/// An ICMP error, destination unreachable, from a router.
fn unreachable(port: u16, at: f64, code: u32) -> Talk {
    let error =
        Digest { what: What::Error, seq: 3 << 8 | code, ack: 0, flags: TcpFlags(0), ..packet(Side::Server, at + 70.0, 0, 0, 0, b"") };
    asked(port, at, error)
}

fn with(more: Vec<Talk>) -> Vec<Talk> {
    background().into_iter().chain(more).collect()
}

#[test]
fn a_refused_syn_is_proved_by_the_word_and_the_finding_names_the_option_without() {
    let talks = with(vec![refused(4003, 1_000.0)]);
    let p = pair(&talks);
    let f = &one(&p).finding;
    assert!(f.grade < Grade::Confirmed && f.needs.iter().any(|n| n.contains("--b-has")), "{f:#?}");
    let p = pair_said(&talks, &said());
    let f = &one(&p).finding;
    assert_eq!((f.rule, f.mechanism, f.grade), ("pair.injected", "on_syn", Grade::Confirmed));
    let by_word = |i: &&crate::model::finding::Innocent| i.why.contains("--b-has 198.51.100.0/24");
    assert!(f.innocent.iter().filter(by_word).all(|i| !i.stands) && f.innocent.iter().filter(by_word).count() == 2, "{f:#?}");
    // The word is about other addresses.
    let other = Fronts(PerTap { a: Vec::new(), b: vec!["192.0.2.0/24".parse().unwrap()] });
    assert_eq!(pair_said(&talks, &other).findings, pair(&talks).findings);
}

#[test]
fn a_capture_that_began_later_or_ended_before_proves_nothing_by_the_word() {
    // B's first packet is that of 0 ms; its last that of 3.5 s.
    for at in [-900.0, 9_000.0] {
        let p = pair_said(&with(vec![refused(4003, at), refused(4004, at + 5.0)]), &said());
        assert!(surest(&p) < Some(Grade::Confirmed), "{at}: {:#?}", p.findings);
    }
}

#[test]
fn a_capture_that_misses_packets_proves_nothing_by_the_word() {
    let mut talks = with(vec![refused(4003, 1_000.0)]);
    for t in &mut talks {
        // What came to B, was answered and acknowledged, and B does not have: every fifth packet.
        let missed: Vec<Digest> = t.both.iter().filter(|d| d.len > 0).step_by(5).copied().collect();
        t.both.retain(|d| !missed.iter().any(|m| m.ts == d.ts && m.side == d.side));
        let at_a =
            |d: Digest| if d.side == Side::Client { d } else { Digest { ts: d.ts.plus(Span::from_nanos(WAY)), ttl: d.ttl - HOPS, ..d } };
        t.only_a.extend(missed.into_iter().map(at_a));
    }
    let p = pair_said(&talks, &said());
    assert!(surest(&p) < Some(Grade::Confirmed), "{:#?}", p.findings);
}

#[test]
fn what_arrived_under_a_translated_address_arrived() {
    // In front of B a translator gives the packets another address, and the server behind it refuses.
    let mut behind = Talk::new(9, 40_777);
    behind.only_b.push(Digest { ttl: 64 - HOPS, ..packet(Side::Client, 1_030.0, SYN, 0, 0, b"") });
    behind.only_b.push(packet(Side::Server, 1_031.0, RST | ACK, 0, 1, b""));
    let p = pair_said(&with(vec![refused(4003, 1_000.0), behind]), &said());
    assert!(p.findings.is_empty(), "{:#?}", p.findings);
}

#[test]
fn a_word_that_the_captures_contradict_is_not_taken_and_that_is_said() {
    // A has a conversation with another server of that network, and B nothing of it.
    let mut past = Talk { apart: true, ..Talk::new(78, 4_010) }.handshake(500.0).chat(600.0, 8);
    past.only_a = past.both.drain(..).collect();
    let p = pair_said(&with(vec![refused(4003, 1_000.0), past]), &said());
    assert!(surest(&p) < Some(Grade::Confirmed), "{:#?}", p.findings);
    assert!(p.cannot_claim.iter().any(|c| c.why.contains("--b-has 198.51.100.0/24: A has a conversation")), "{:#?}", p.cannot_claim);
    // The captures were named the other way round.
    let swapped = Fronts(PerTap { a: said().0[Tap::B].clone(), b: Vec::new() });
    let talks = with(vec![refused(4003, 1_000.0)]);
    let p = pair_said(&talks, &swapped);
    assert_eq!(p.findings, pair(&talks).findings);
    assert!(p.cannot_claim.iter().any(|c| c.why.contains("A is nearer the client")), "{:#?}", p.cannot_claim);
}

#[test]
fn a_prohibition_is_proved_by_the_word_on_two_flows_and_a_missing_route_is_none() {
    let code = |code: u32, n: u16| {
        pair_said(&with((0..n).map(|i| unreachable(4_003 + i, 1_000.0 + f64::from(i) * 400.0, code)).collect()), &said())
    };
    // B has no ICMP error at all: only the missing question counts, and one packet may be missed.
    assert_eq!(grades(&code(13, 1)), [Grade::Likely]);
    assert_eq!(grades(&code(13, 2)), [Grade::Confirmed]);
    // Nobody need have forged that: it is told as a refusal.
    assert_eq!(one(&code(13, 2)).finding.rule, "pair.refused");
    let p = code(1, 2);
    assert_eq!(grades(&p), [Grade::Possible]);
    assert!(one(&p).finding.innocent.iter().any(|i| i.stands && i.cause == "no route to this address"), "{:#?}", p.findings);
    // Its neighbour was reached: there is a route.
    let neighbour = || Talk { apart: true, ..Talk::new(78, 4_010) }.handshake(500.0).chat(600.0, 8);
    let p = pair_said(&with(vec![unreachable(4_003, 1_000.0, 1), unreachable(4_004, 1_400.0, 1), neighbour()]), &said());
    assert_eq!(grades(&p), [Grade::Confirmed]);
}

#[test]
fn where_a_silent_syn_was_dropped_is_told_by_the_word_and_a_missing_route_by_its_neighbours() {
    let silent = |apart: bool| {
        let mut t = Talk { apart, ..Talk::new(77, 4_003) };
        t.only_a.extend([500.0, 1_500.0, 2_500.0].map(|at| packet(Side::Client, at, SYN, 0, 0, b"")));
        with(vec![t])
    };
    for (apart, grade) in [(true, Grade::Possible), (false, Grade::Confirmed)] {
        let p = pair_said(&silent(apart), &said());
        let f = &one(&p).finding;
        assert_eq!((f.rule, f.mechanism, f.grade), ("pair.dropped", "syn_silent", grade), "{f:#?}");
        let p = pair(&silent(apart));
        let f = &one(&p).finding;
        assert!(f.grade == Grade::Possible && f.needs.iter().any(|n| n.contains("--b-has")), "{f:#?}");
    }
}

#[test]
fn the_word_tells_which_point_is_nearer_where_only_one_direction_was_seen_and_ttls_mislead() {
    let one_way = |fronts: &Fronts| {
        let mut all = background();
        let mut t = Talk::new(3, 4003).handshake(1_000.0).chat(1_100.0, 3);
        t.only_a.push(reset(1_121.0, 1));
        all.push(t);
        for t in &mut all {
            // A sees what the server sends only, and something on the way sets the TTL anew.
            let (client, server): (Vec<Digest>, Vec<Digest>) = t.both.drain(..).partition(|d| d.side == Side::Client);
            t.only_b.extend(client.into_iter().map(|d| Digest { ts: d.ts.plus(Span::from_nanos(WAY)), ttl: d.ttl - HOPS, ..d }));
            t.only_b.extend(server.iter().copied());
            t.only_a.extend(server.into_iter().map(|d| Digest { ts: d.ts.plus(Span::from_nanos(WAY)), ttl: 128 - HOPS, ..d }));
        }
        pair_said(&all, fronts)
    };
    assert!(surest(&one_way(&Fronts::default())) < Some(Grade::Confirmed));
    let p = one_way(&said());
    assert_eq!((one(&p).finding.rule, one(&p).finding.grade), ("pair.injected", Grade::Confirmed));
}

#[test]
fn a_little_sooner_than_other_servers_answer_is_no_proof_where_b_did_not_record() {
    // The fastest round trip between the points takes 60 ms, to other servers, and later.
    let early = |took: f64| {
        let answer = Digest { ttl: 60, ..packet(Side::Server, -900.0 + took, RST | ACK, 0, 1, b"") };
        pair_said(&with(vec![asked(4_003, -900.0, answer)]), &said())
    };
    assert!(surest(&early(55.0)) < Some(Grade::Confirmed), "{:#?}", early(55.0).findings);
    assert_eq!(grades(&early(12.0)), [Grade::Confirmed]);
}

#[test]
fn ttls_that_fall_both_ways_do_not_tell_which_point_is_nearer() {
    let mut all: Vec<Talk> = background().into_iter().chain([Talk::new(3, 4_003).handshake(1_000.0).chat(1_100.0, 3)]).collect();
    for (n, t) in all.iter_mut().enumerate() {
        // What the server sends only, and for two of the three connections something on the way sets the TTL anew.
        t.both.retain(|d| d.side == Side::Server);
        let sent: Vec<Digest> = t.both.drain(..).collect();
        let ttl = if n < 2 { 128 - HOPS } else { 64 - HOPS };
        t.only_b.extend(sent.iter().copied());
        t.only_a.extend(sent.into_iter().map(|d| Digest { ts: d.ts.plus(Span::from_nanos(WAY)), ttl, ..d }));
    }
    all[2].only_a.push(reset(1_121.0, 1));
    let p = pair(&all);
    assert!(p.findings.is_empty(), "{:#?}", p.findings);
    assert!(p.cannot_claim.iter().any(|c| c.claim == "directions" && c.why.contains("--b-has")), "{:#?}", p.cannot_claim);
    assert_eq!(one(&pair_said(&all, &said())).finding.rule, "pair.injected");
}

#[test]
fn a_point_that_has_the_answers_only_shows_no_drop_of_the_questions() {
    let mut t = Talk::new(3, 4_003);
    for at in [500.0, 1_100.0, 1_900.0, 2_700.0] {
        t.only_a.push(Digest {
            what: What::Datagram,
            seq: 0,
            ack: 0,
            flags: TcpFlags(0),
            ..packet(Side::Client, at, 0, 0, 0, &[at as u8; 40])
        });
        t.both.push(Digest {
            what: What::Datagram,
            seq: 0,
            ack: 0,
            flags: TcpFlags(0),
            ..packet(Side::Server, at + 30.0, 0, 0, 0, &[!(at as u8); 40])
        });
    }
    let p = pair(&with(vec![t]));
    assert!(p.findings.is_empty(), "{:#?}", p.findings);
}
