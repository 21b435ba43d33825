//! The judges, on tapes made by hand: a client at A, servers at B ten routers and 30 ms further on, B's clock an hour ahead.

use super::align::{self, Far, Near};
use super::digest;
use super::{Digest, Offer, Tape, TapeFlow, What, compare};
use crate::model::finding::Grade;
use crate::model::flow::{FlowId, RoleBasis};
use crate::model::frame::FrameNo;
use crate::model::key::{Endpoint, Proto};
use crate::model::packet::TcpFlags;
use crate::model::pair::{Fronts, PairFinding, Pairing};
use crate::model::side::{PerSide, Side};
use crate::model::story::Story;
use crate::model::time::{Span, Time};
use std::net::{IpAddr, Ipv4Addr};

mod front;

const MS: i64 = 1_000_000;
const HOUR: i64 = 3_600_000 * MS;
const WAY: i64 = 30 * MS;
const HOPS: u8 = 10;
const CLIENT_ISN: u32 = 1_000;
const SERVER_ISN: u32 = 900_000;
const SYN: u16 = TcpFlags::SYN.0;
const ACK: u16 = TcpFlags::ACK.0;
const RST: u16 = TcpFlags::RST.0;

fn packet(side: Side, at_ms: f64, flags: u16, pos: u32, ack: u32, bytes: &[u8]) -> Digest {
    let (own, other) = if side == Side::Client { (CLIENT_ISN, SERVER_ISN) } else { (SERVER_ISN, CLIENT_ISN) };
    let len = bytes.len() as u32;
    Digest {
        ts: Time::from_nanos((at_ms * MS as f64) as i64),
        frame: FrameNo(0),
        hash: digest::hash(bytes),
        head: digest::hash(bytes.get(..digest::HEAD).unwrap_or(bytes)),
        start: digest::hash(bytes.get(..digest::START).unwrap_or(bytes)),
        seq: own + pos,
        ack: if flags & ACK != 0 { other + ack } else { 0 },
        len,
        cap: len,
        ip_len: len + 40,
        ip_id: Some((at_ms * 7.0) as u16 ^ pos as u16 | 1),
        window: 500,
        flags: TcpFlags(flags),
        ttl: 64,
        side,
        what: What::Tcp,
        first: std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0)),
        bad: false,
    }
}

/// A server's address.
fn address(server: u8, apart: bool) -> IpAddr {
    if apart { Ipv4Addr::new(198, 51, 100, server).into() } else { Ipv4Addr::new(203, 0, 113, server).into() }
}

/// What both points have of a flow, and what only one of them has.
#[derive(Default)]
struct Talk {
    server: u8,
    /// The server stands in another network.
    apart: bool,
    port: u16,
    /// Sent by either side, at its sender's time (A's clock).
    both: Vec<Digest>,
    only_a: Vec<Digest>,
    only_b: Vec<Digest>,
}

impl Talk {
    fn new(server: u8, port: u16) -> Self {
        Self { server, port, ..Self::default() }
    }
    fn handshake(mut self, at: f64) -> Self {
        self.both.push(packet(Side::Client, at, SYN, 0, 0, b""));
        self.both.push(packet(Side::Server, at + 30.0, SYN | ACK, 0, 1, b""));
        self.both.push(packet(Side::Client, at + 60.0, ACK, 1, 1, b""));
        self
    }
    /// `n` requests with answers, 10 ms apart.
    fn chat(mut self, at: f64, n: u32) -> Self {
        for i in 0..n {
            let t = at + f64::from(i) * 10.0;
            self.both.push(packet(Side::Client, t, ACK, 1 + i * 20, 1 + i * 40, &[i as u8 ^ self.port as u8; 20]));
            self.both.push(packet(Side::Server, t + 30.5, ACK, 1 + i * 40, 21 + i * 20, &[i as u8 | 0x80; 40]));
        }
        self
    }
    fn tape(&self, at_a: bool) -> Option<TapeFlow> {
        let own = if at_a { &self.only_a } else { &self.only_b };
        let first = if at_a { Side::Client } else { Side::Server };
        let mut packets: Vec<Digest> = self
            .both
            .iter()
            .map(|d| {
                let travelled = if d.side == first { 0 } else { WAY };
                let ttl = if d.side == first { d.ttl } else { d.ttl - HOPS };
                Digest { ts: d.ts.plus(Span::from_nanos(travelled + if at_a { 0 } else { HOUR })), ttl, ..*d }
            })
            .chain(own.iter().map(|d| Digest { ts: d.ts.plus(Span::from_nanos(if at_a { 0 } else { HOUR })), ..*d }))
            .collect();
        packets.sort_by_key(|d| d.ts);
        let offer = |side: Side| {
            let syn = packets.iter().find(|d| d.side == side && d.flags.syn())?;
            Some(Offer { isn: syn.seq, ..Offer::default() })
        };
        let offer = PerSide { client: offer(Side::Client), server: offer(Side::Server) };
        (!packets.is_empty()).then_some(TapeFlow {
            id: FlowId { source: u32::from(!at_a), frame: FrameNo(0) },
            proto: Proto::TCP,
            client: Endpoint { ip: Ipv4Addr::new(10, 0, 0, 1).into(), port: self.port },
            server: Endpoint { ip: address(self.server, self.apart), port: 443 },
            basis: RoleBasis::Syn,
            offer,
            packets,
            dropped: 0,
        })
    }
}

fn pair(talks: &[Talk]) -> Pairing {
    pair_said(talks, &Fronts::default())
}

fn pair_said(talks: &[Talk], fronts: &Fronts) -> Pairing {
    let tapes = [true, false].map(|at_a| {
        let mut flows: Vec<TapeFlow> = talks.iter().filter_map(|t| t.tape(at_a)).collect();
        let mut frame = 0;
        for f in &mut flows {
            f.id.frame = FrameNo(frame + 1);
            for d in &mut f.packets {
                frame += 1;
                d.frame = FrameNo(frame);
            }
        }
        Tape { flows, dropped: 0 }
    });
    let stories = [0, 1].map(|i: usize| {
        let times = || tapes[i].flows.iter().flat_map(|f| &f.packets).map(|d| d.ts);
        let mut story = Story::default();
        story.source.first = times().min();
        story.source.last = times().max();
        story
    });
    compare([&stories[0], &stories[1]], [&tapes[0], &tapes[1]], fronts)
}

fn one(found: &Pairing) -> &PairFinding {
    assert_eq!(found.findings.len(), 1, "{:#?}", found.findings);
    &found.findings[0]
}

/// Two connections that nothing happens to, from beginning to end of the captures; one of them ends with a genuine reset.
fn background() -> Vec<Talk> {
    let mut first = Talk::new(1, 4001).handshake(0.0).chat(100.0, 300);
    first.both.push(packet(Side::Server, 3_200.0, RST, 12_001, 0, b""));
    vec![first, Talk::new(2, 4002).handshake(5.0).chat(105.0, 340)]
}

#[test]
fn clean_flows_are_clean_and_the_clocks_are_found() {
    let p = pair(&background());
    assert!(p.findings.is_empty(), "{:#?}", p.findings);
    let off = p.clock.offset.unwrap().nanos() - HOUR;
    assert!(off.abs() <= p.clock.uncertainty.nanos() && p.clock.uncertainty <= Span::from_millis(31), "{:?}", p.clock);
}

fn reset(at: f64, pos: u32) -> Digest {
    packet(Side::Server, at, RST, pos, 0, b"")
}

#[test]
fn a_reset_after_which_the_server_went_on_is_proved() {
    let mut all = background();
    let mut t = Talk::new(3, 4003).handshake(1_000.0).chat(1_100.0, 3);
    // At A when the server, 30 ms away, had still to answer the last two requests.
    t.only_a.push(reset(1_121.0, 1));
    all.push(t);
    let p = pair(&all);
    let f = &one(&p).finding;
    assert_eq!((f.rule, f.grade), ("pair.injected", Grade::Confirmed));
    assert!(f.evidence.iter().any(|e| e.says.contains("went on")), "{f:#?}");
}

#[test]
fn it_is_proved_in_the_first_packets_of_a_capture_too() {
    // B's capture begins with this very SYN.
    let mut t = Talk::new(3, 4003).handshake(-50.0).chat(20.0, 3);
    t.only_a.push(reset(41.0, 1));
    let p = pair(&background().into_iter().chain([t]).collect::<Vec<_>>());
    assert_eq!(one(&p).finding.grade, Grade::Confirmed);
}

#[test]
fn a_reset_that_is_merely_absent_is_no_proof() {
    // Nothing follows it: the server's capture may have missed it.
    let silent = |port: u16, at: f64| {
        let mut t = Talk::new(3, port).handshake(at).chat(at + 100.0, 1);
        t.only_a.push(reset(at + 700.0, 41));
        t
    };
    let mut all = background();
    all.push(silent(4003, 1_000.0));
    assert!(pair(&all).findings.iter().all(|f| f.finding.grade < Grade::Confirmed));
    // Had the capture no reset at all, it might have been told to leave them out.
    all[0].both.pop();
    assert!(pair(&all).findings.is_empty());
}

#[test]
fn resets_from_beyond_both_points_are_not_put_between_them_by_a_capture_that_misses_some() {
    // B misses a share of packets; somebody behind it resets, and of two resets it has one.
    let case = |lossy: bool| {
        let mut talks = background();
        if lossy {
            for t in &mut talks {
                // What arrived at A and was acknowledged, and B does not have.
                let missed: Vec<Digest> = t.both.iter().filter(|d| d.side == Side::Server && d.len > 0).step_by(4).copied().collect();
                t.both.retain(|d| !missed.iter().any(|m| m.ts == d.ts && m.side == d.side));
                t.only_a.extend(missed.into_iter().map(|d| Digest { ts: d.ts.plus(Span::from_nanos(WAY)), ttl: d.ttl - HOPS, ..d }));
            }
        }
        let mut t = Talk::new(9, 40_009).handshake(2_000.0).chat(2_100.0, 4);
        t.both.push(Digest { ttl: 50, ip_id: Some(7), ..packet(Side::Server, 2_105.0, ACK | RST, 1, 21, b"") });
        t.only_a.push(Digest {
            ts: Time::from_nanos(2_135 * MS + MS / 10),
            ttl: 40,
            ip_id: Some(9),
            ..packet(Side::Server, 0.0, ACK | RST, 1461, 21, b"")
        });
        talks.push(t);
        pair(&talks)
    };
    let claims = |p: &Pairing| p.findings.iter().filter(|f| f.finding.rule == "pair.injected").count();
    assert_eq!(claims(&case(true)), 0, "{:#?}", case(true).findings);
    assert_eq!(claims(&case(false)), 1, "a capture that misses nothing can tell");
}

#[test]
fn an_answer_to_a_question_that_the_other_capture_has_only_repeated_is_not_too_early() {
    let mut t = Talk::new(3, 4003).handshake(1_000.0).chat(1_100.0, 2);
    let question = |at: f64| packet(Side::Client, at, ACK, 41, 81, b"what B's capture missed at first");
    // It left A at once; B's capture has its second copy alone, and not the reset that answered the first.
    t.only_a.push(question(1_200.0));
    t.both.push(question(1_900.0));
    t.only_a.push(Digest { ttl: 64 - HOPS, ..packet(Side::Server, 1_262.0, ACK | RST, 81, 73, b"") });
    let p = pair(&background().into_iter().chain([t]).collect::<Vec<_>>());
    let early = |f: &PairFinding| f.finding.evidence.iter().any(|e| e.says.contains("could be answered"));
    assert!(!p.findings.iter().any(early), "{:#?}", p.findings);
}

#[test]
fn a_flow_that_only_the_clocks_pair_shows_how_fast_the_way_is() {
    // Mid-flow, with little in common but its ports; its packets take 6 ms less than those by which the clocks were found.
    let mut t = Talk::new(3, 4003);
    let quick = |d: Digest, at_b: bool| Digest {
        ts: d.ts.plus(Span::from_nanos(if at_b { WAY - 6 * MS } else { 0 })),
        ttl: if at_b { d.ttl - HOPS } else { d.ttl },
        ..d
    };
    for i in 0..40u32 {
        let d = packet(Side::Client, 1_000.0 + f64::from(i) * 10.0, ACK, 1, 1 + i * 1_460, b"");
        t.only_a.push(quick(d, false));
        t.only_b.push(quick(d, true));
    }
    let end = packet(Side::Client, 1_500.0, ACK | RST, 1, 1 + 40 * 1_460, b"");
    t.only_a.push(quick(end, false));
    t.only_b.push(quick(end, true));
    let p = pair(&background().into_iter().chain([t]).collect::<Vec<_>>());
    assert!(p.findings.is_empty(), "{:#?}", p.findings);
}

#[test]
fn a_packet_changed_on_the_way_is_proved_and_not_taken_for_dropped() {
    let mut all = background();
    let mut t = Talk::new(3, 4003).handshake(1_000.0);
    let answer = packet(Side::Server, 1_150.0, ACK, 1, 1, &[7; 40]);
    t.only_b.push(answer);
    t.only_a.push(Digest { ts: Time::from_nanos(1_180 * MS), ttl: 64 - HOPS, ..packet(Side::Server, 1_150.0, RST | ACK, 1, 1, b"") });
    all.push(t);
    let p = pair(&all);
    assert_eq!((one(&p).finding.rule, one(&p).finding.grade), ("pair.rewritten", Grade::Confirmed));
}

/// A SYN to a server that B has never seen, refused after `took` milliseconds with this TTL.
fn refused(took: f64, ttl: u8) -> Pairing {
    let mut all = background();
    let mut t = Talk::new(9, 4009);
    t.only_a.push(packet(Side::Client, 1_500.0, SYN, 0, 0, b""));
    t.only_a.push(Digest { ttl, ..packet(Side::Server, 1_500.0 + took, RST | ACK, 0, 1, b"") });
    all.push(t);
    pair(&all)
}

#[test]
fn a_closed_port_of_a_host_between_the_points_is_no_proof() {
    for took in [12.0, 200.0] {
        assert!(refused(took, 60).findings.iter().all(|f| f.finding.grade <= Grade::Possible), "{took} ms");
    }
}

#[test]
fn a_refusal_from_nearer_in_time_than_in_routers_is_proved() {
    let p = refused(12.0, 51);
    assert_eq!((one(&p).finding.mechanism, one(&p).finding.grade), ("on_syn", Grade::Confirmed));
    assert!(refused(200.0, 51).findings.iter().all(|f| f.finding.grade < Grade::Confirmed));
}

#[test]
fn a_reset_is_proved_where_one_capture_has_one_direction_only() {
    let mut all = background();
    let mut t = Talk::new(3, 4003).handshake(1_000.0).chat(1_100.0, 3);
    t.only_a.push(reset(1_121.0, 1));
    all.push(t);
    for t in &mut all {
        let (client, server): (Vec<Digest>, Vec<Digest>) = t.both.drain(..).partition(|d| d.side == Side::Client);
        t.both = server;
        t.only_b.extend(client.into_iter().map(|d| Digest { ts: d.ts.plus(Span::from_nanos(WAY)), ttl: d.ttl - HOPS, ..d }));
    }
    let p = pair(&all);
    assert_eq!(p.clock.why_not, Some("packets of one direction only were seen at both points"));
    let f = &one(&p).finding;
    assert_eq!((f.rule, f.grade), ("pair.injected", Grade::Confirmed));
}

/// Exchanges with a server too few to align clocks by, then a SYN that B never had, refused after `took` milliseconds.
fn refused_among_few(took: f64) -> Pairing {
    let mut all: Vec<Talk> = (0..5u8).map(|i| Talk::new(3, 4_100 + u16::from(i)).handshake(f64::from(i) * 400.0)).collect();
    let mut t = Talk::new(3, 4_200);
    t.only_a.push(packet(Side::Client, 700.0, SYN, 0, 0, b""));
    t.only_a.push(Digest { ttl: 60, ..packet(Side::Server, 700.0 + took, RST | ACK, 0, 1, b"") });
    all.push(t);
    pair(&all)
}

#[test]
fn an_answer_sooner_than_a_servers_own_few_others_is_proved() {
    let p = refused_among_few(12.0);
    assert_eq!((one(&p).finding.mechanism, one(&p).finding.grade), ("on_syn", Grade::Confirmed));
    assert!(one(&p).finding.evidence.iter().any(|e| e.expected.contains("5 exchanges")), "{:#?}", one(&p).finding);
    assert!(refused_among_few(64.0).findings.iter().all(|f| f.finding.grade < Grade::Confirmed));
}

#[test]
fn a_reset_after_what_both_captures_missed_is_no_proof() {
    // Each misses every fifth packet; of one connection both missed the request, and A the reset of the client that gave up.
    let mut all = background();
    for t in &mut all {
        let requests = || t.both.iter().filter(|d| d.side == Side::Client && d.len > 0);
        let (by_a, by_b): (Vec<Digest>, Vec<Digest>) =
            (requests().step_by(5).copied().collect(), requests().skip(2).step_by(5).copied().collect());
        t.both.retain(|d| !by_a.iter().chain(&by_b).any(|m| m.ts == d.ts && m.side == d.side));
        t.only_b.extend(by_a.into_iter().map(|d| Digest { ts: d.ts.plus(Span::from_nanos(WAY)), ttl: d.ttl - HOPS, ..d }));
        t.only_a.extend(by_b);
    }
    let mut t = Talk::new(3, 4003).handshake(1_000.0);
    t.only_b.push(Digest { ttl: 64 - HOPS, ..packet(Side::Client, 1_400.0, RST, 518, 0, b"") });
    all.push(t);
    let p = pair(&all);
    assert!(p.findings.iter().all(|f| f.finding.grade < Grade::Confirmed), "{:#?}", p.findings);
}

#[test]
fn an_answer_sooner_than_its_swallowed_question_can_arrive_is_proved() {
    // It is the last of both captures: nobody knows how long B recorded.
    let case = |took: f64, with_question: bool| {
        let mut t = Talk::new(3, 4003).handshake(5_000.0);
        if with_question {
            t.only_a.push(packet(Side::Client, 5_100.0, ACK, 1, 1, &[3; 90]));
        }
        t.only_a.push(packet(Side::Server, 5_100.0 + took, ACK, 1, 91, &[4; 70]));
        // Sent after it, and swallowed too.
        t.only_a.push(packet(Side::Client, 5_101.0 + took, ACK, 91, 71, &[5; 20]));
        pair(&background().into_iter().chain([t]).collect::<Vec<_>>())
    };
    assert_eq!(one(&case(12.0, true)).finding.grade, Grade::Confirmed);
    for p in [case(70.0, true), case(12.0, false)] {
        assert!(p.findings.iter().all(|f| f.finding.grade < Grade::Confirmed), "{:#?}", p.findings);
    }
}

#[test]
fn an_answer_sooner_than_the_way_is_proved_although_the_other_capture_had_ended() {
    // Few packets, so that absence alone would say little; B's last is that of 600 ms.
    let case = |took: f64| {
        let mut late = Talk::new(1, 4_003);
        late.only_a.push(packet(Side::Client, 900.0, SYN, 0, 0, b""));
        late.only_a.push(Digest { ttl: 60, ..packet(Side::Server, 900.0 + took, RST | ACK, 0, 1, b"") });
        pair(&[Talk::new(1, 4_001).handshake(0.0).chat(100.0, 20), Talk::new(2, 4_002).handshake(5.0).chat(105.0, 20), late])
    };
    let p = case(12.0);
    let f = &one(&p).finding;
    assert_eq!((f.mechanism, f.grade), ("on_syn", Grade::Confirmed));
    let says: Vec<&str> = f.evidence.iter().map(|e| &*e.says).collect();
    assert!(says[0].contains("while B was not recording") && !says.iter().any(|s| s.contains("did not arrive")), "{says:?}");
    // As late as one from beyond B it proves nothing.
    assert!(case(70.0).findings.is_empty(), "{:#?}", case(70.0).findings);
}

#[test]
fn a_server_with_clients_beyond_the_other_point_is_known_all_the_same_and_counted_once() {
    let mut others = Talk::new(1, 50_001).handshake(500.0).chat(600.0, 8);
    // Its own numbers: the same ones under another port would be a translator's.
    others.only_b = others.both.drain(..).map(|d| Digest { seq: d.seq.wrapping_add(9_000_000), ..d }).collect();
    let mut t = Talk::new(1, 4_003);
    t.only_a.push(packet(Side::Client, 1_500.0, SYN, 0, 0, b""));
    t.only_a.push(Digest { ttl: 60, ..packet(Side::Server, 1_512.0, RST | ACK, 0, 1, b"") });
    let p = pair(&background().into_iter().chain([others, t]).collect::<Vec<_>>());
    let f = &one(&p).finding;
    assert_eq!((f.mechanism, f.grade), ("on_syn", Grade::Confirmed));
    assert!(f.innocent.iter().any(|i| i.why == "this server's other connections, 1, passed both points"), "{:#?}", f.innocent);
}

#[test]
fn a_reset_that_would_have_overtaken_the_servers_data_is_proved_where_nothing_overtakes() {
    let case = |ever: bool| {
        let mut all = background();
        // The answer took 15 ms longer than the fastest: the server may have reset in between, had the reset overtaken it.
        let mut t = Talk::new(3, 4_003).handshake(1_000.0);
        t.both.push(packet(Side::Client, 1_070.0, ACK, 1, 1, &[6; 50]));
        let answer = packet(Side::Server, 1_115.0, ACK, 1, 51, &[7; 40]);
        t.only_b.push(answer);
        t.only_a.push(Digest { ts: Time::from_nanos(1_160 * MS), ttl: 64 - HOPS, ..answer });
        t.only_a.push(Digest { ttl: 61, ..reset(1_150.0, 1) });
        all.push(t);
        if ever {
            let late = all[1].both.iter().position(|d| d.side == Side::Server && d.len > 0).unwrap();
            let d = all[1].both.remove(late);
            all[1].only_b.push(d);
            all[1].only_a.push(Digest { ts: d.ts.plus(Span::from_nanos(WAY + 25 * MS)), ttl: d.ttl - HOPS, ..d });
        }
        pair(&all)
    };
    let p = case(false);
    let f = &one(&p).finding;
    assert_eq!(f.grade, Grade::Confirmed);
    assert!(f.evidence.iter().any(|e| e.says.contains("overtaken")), "{:#?}", f.evidence);
    assert!(case(true).findings.iter().all(|f| f.finding.grade < Grade::Confirmed), "{:#?}", case(true).findings);
}

#[test]
fn a_reset_among_later_data_is_not_the_server_going_back() {
    // The server gave up: its reset answers what arrived, at a lower position than its last data, which B's capture missed.
    let mut t = Talk::new(3, 4003).handshake(1_000.0).chat(1_100.0, 2);
    t.only_a.push(Digest { ttl: 64 - HOPS, ..packet(Side::Server, 1_300.0, ACK, 81, 41, &[9; 40]) });
    t.both.push(packet(Side::Server, 1_290.0, RST, 90, 0, b""));
    let p = pair(&background().into_iter().chain([t]).collect::<Vec<_>>());
    assert!(p.findings.iter().all(|f| f.finding.grade < Grade::Confirmed), "{:#?}", p.findings);
}

#[test]
fn a_mirrored_port_hides_nothing_and_proves_nothing() {
    let doubled = |with_reset: bool| {
        let mut all = background();
        if with_reset {
            let mut t = Talk::new(3, 4003).handshake(1_000.0).chat(1_100.0, 3);
            t.only_a.push(reset(1_121.0, 1));
            all.push(t);
        }
        for t in &mut all {
            // What leaves the server's port and what comes to it, each again 40 µs later.
            let copies: Vec<Digest> = t
                .both
                .iter()
                .map(|d| {
                    let (travelled, ttl) = if d.side == Side::Client { (WAY, d.ttl - HOPS) } else { (0, d.ttl) };
                    Digest { ts: d.ts.plus(Span::from_nanos(travelled + 40_000)), ttl, ..*d }
                })
                .collect();
            t.only_b.extend(copies);
        }
        pair(&all)
    };
    assert!(doubled(false).findings.is_empty(), "{:#?}", doubled(false).findings);
    assert_eq!(one(&doubled(true)).finding.grade, Grade::Confirmed);
}

#[test]
fn a_translator_that_forgets_a_connection_forges_nothing() {
    // From half way B has the client's packets from another port, and its server resets what it does not know.
    let mut first = Talk::new(3, 4003).handshake(1_000.0).chat(1_100.0, 20);
    let mut second = Talk::new(3, 50_777);
    for at in [1_500.0, 1_900.0, 2_700.0] {
        let d = packet(Side::Client, at, ACK, 401, 801, &[5; 30]);
        first.only_a.push(d);
        second.only_b.push(Digest { ts: d.ts.plus(Span::from_nanos(WAY)), ttl: d.ttl - HOPS, ..d });
        let r = packet(Side::Server, at + 30.0, RST, 801, 0, b"");
        second.only_b.push(r);
        first.only_a.push(Digest { ts: r.ts.plus(Span::from_nanos(WAY)), ttl: r.ttl - HOPS, ..r });
    }
    let p = pair(&background().into_iter().chain([first, second]).collect::<Vec<_>>());
    assert!(p.findings.is_empty(), "{:#?}", p.findings);
}

#[test]
fn a_window_lowered_for_one_flow_is_proved_and_for_all_is_not() {
    let lowered = |d: &mut Digest| d.window = 40;
    let case = |everybody: bool| {
        let mut all = background();
        all.push(Talk::new(3, 4003).handshake(1_000.0).chat(1_100.0, 30));
        for t in all.iter_mut().filter(|t| everybody || t.server == 3) {
            let (client, rest): (Vec<Digest>, Vec<Digest>) = t.both.drain(..).partition(|d| d.side == Side::Client && !d.flags.syn());
            t.both = rest;
            t.only_a.extend(client.iter().copied());
            t.only_b.extend(client.into_iter().map(|d| {
                let mut d = Digest { ts: d.ts.plus(Span::from_nanos(WAY)), ttl: d.ttl - HOPS, ..d };
                lowered(&mut d);
                d
            }));
        }
        pair(&all)
    };
    let p = case(false);
    assert_eq!((one(&p).finding.rule, one(&p).finding.mechanism, one(&p).finding.grade), ("pair.rewritten", "window", Grade::Confirmed));
    assert!(case(true).findings.is_empty(), "{:#?}", case(true).findings);
}

fn aligned(near: &[Digest], far: &[Digest], acked: i64) -> (Vec<Near>, Vec<Far>) {
    let n = align::items(near.iter(), SERVER_ISN, CLIENT_ISN);
    let f = align::items(far.iter(), SERVER_ISN, CLIENT_ISN);
    let out = align::align(&n, &f, &|_| None, acked);
    (out.near, out.far)
}

fn data(at: f64, pos: u32, bytes: &[u8]) -> Digest {
    packet(Side::Server, at, ACK, pos, 1, bytes)
}

#[test]
fn segments_cut_or_joined_on_the_way_are_the_same_bytes() {
    let bytes: Vec<u8> = (0..90).collect();
    let whole = [data(0.0, 1, &bytes)];
    let cut = [data(30.0, 1, &bytes[..30]), data(30.1, 31, &bytes[30..60]), data(30.2, 61, &bytes[60..])];
    assert_eq!(aligned(&whole, &cut, 0), (vec![Near::Arrived], vec![Far::Known; 3]));
    assert_eq!(aligned(&cut, &whole, 0), (vec![Near::Arrived; 3], vec![Far::Known]));
    let mut other = bytes.clone();
    other[70] ^= 1;
    let (_, far) = aligned(&cut, &[data(30.0, 1, &other)], 0);
    assert!(matches!(far[..], [Far::Differs(_)]), "{far:?}");
}

#[test]
fn an_answer_that_begins_like_the_genuine_one_and_ends_the_stream_is_another() {
    let page = |body: &str| format!("HTTP/1.1 200 OK\r\nServer: {body:>90}").into_bytes();
    let (near, forged) = ([data(0.0, 1, &page("a")[..95]), data(0.1, 96, &[7; 300])], page("blocked by order of the court"));
    let short = Digest { flags: TcpFlags(ACK | TcpFlags::FIN.0), ..data(9.0, 1, &forged[..100]) };
    assert!(matches!(aligned(&near, &[short], 0).1[..], [Far::Differs(1)]), "a stream that ended went on");
    let other: Vec<u8> = forged.iter().rev().copied().collect();
    let unlike = [&b"HTTP/1.1 200 OK\r"[..], &other[..90]].concat();
    assert!(matches!(aligned(&near, &[data(9.0, 1, &unlike)], 0).1[..], [Far::Differs(0)]), "other bytes after the first few");
}

#[test]
fn what_was_lost_missed_repeated_or_never_sent_is_told_apart() {
    let (x, y) = ([1u8; 40], [2u8; 40]);
    // The first transmission is lost, the second arrives: they differ in nothing but the identification.
    let (near, far) = aligned(&[data(0.0, 1, &x), data(300.0, 1, &x)], &[data(300.0, 1, &x)], 0);
    assert_eq!((near, far), (vec![Near::Lost, Near::Match(0)], vec![Far::Match(1)]));
    // Acknowledged, so it arrived: the far capture missed it.
    assert_eq!(aligned(&[data(0.0, 1, &x)], &[], 41).0, [Near::Missed]);
    assert_eq!(aligned(&[data(0.0, 1, &x)], &[], 1).0, [Near::Lost]);
    // The sender went on past it: the near capture missed it; beyond all it sent, nobody sent it.
    assert_eq!(aligned(&[data(1.0, 41, &y)], &[data(30.0, 1, &x), data(1.0, 41, &y)], 0).1, [Far::Missed, Far::Match(0)]);
    assert_eq!(aligned(&[data(0.0, 1, &x)], &[data(0.0, 1, &x), data(9.0, 41, &y)], 0).1, [Far::Match(0), Far::Unsent]);
    // A mirrored port doubles packets.
    assert_eq!(aligned(&[data(0.0, 1, &x)], &[data(0.0, 1, &x), data(0.0, 1, &x)], 0).1, [Far::Match(0), Far::Copy]);
    // Other bytes at the same place.
    assert_eq!(aligned(&[data(0.0, 1, &x)], &[data(3.0, 1, &y)], 0).1, [Far::Differs(0)]);
}
