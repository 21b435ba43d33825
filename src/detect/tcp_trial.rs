//! Connections by hand: a transcript becomes a flow, and a detector judges it.
//!
//! A line is `ms c|s flags seq ack len`, flags being letters of `SAFRP`, numbers counted from each side's first (its SYN is 0). The word `get`
//! after it makes it a request.

use super::Detector;
use super::handshake_forged::HandshakeForged;
use super::page_unseen::PageUnseen;
use super::rst_injected::RstInjected;
use crate::model::finding::{Direction, Finding, Grade};
use crate::model::flow::{
    AfterReset, Brief, Detail, Flow, FlowId, FlowRecord, Ladder, Moment, ResetFit, ResetSeen, RoleBasis, TcpRecord, Totals,
};
use crate::model::frame::FrameNo;
use crate::model::key::{Endpoint, Proto};
use crate::model::note::{Fact, HttpRequest, Note, Notes};
use crate::model::packet::TcpFlags;
use crate::model::scene::{Index, Kin, Scene};
use crate::model::seq::{Pos, Seq};
use crate::model::side::{PerSide, Side};
use crate::model::source::{SourceFacts, Vantage};
use crate::model::time::{Span, Time};
use std::sync::Arc;

/// Numbers of the SYNs.
const ZERO: PerSide<Seq> = PerSide { client: Seq(1_000), server: Seq(500_000) };

fn brief(line: &str, frame: u64) -> Brief {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |i: usize| words[i].parse::<i64>().expect("a number");
    let side = if words[1] == "c" { Side::Client } else { Side::Server };
    let bit = |(letter, flag): (char, TcpFlags)| if words[2].contains(letter) { flag.0 } else { 0 };
    let all = [('S', TcpFlags::SYN), ('A', TcpFlags::ACK), ('F', TcpFlags::FIN), ('R', TcpFlags::RST), ('P', TcpFlags::PSH)];
    let flags = TcpFlags(all.into_iter().map(bit).sum());
    let raw = |zero: Seq, n: i64| zero.plus(u32::try_from(n).expect("a position"));
    Brief {
        frame: FrameNo(frame),
        ts: Time::from_nanos(number(0) * 1_000_000),
        side,
        flags,
        seq: Pos(number(3)),
        ack: Pos(number(4)),
        seq_raw: raw(ZERO[side], number(3)),
        ack_raw: if flags.ack() { raw(ZERO[side.peer()], number(4)) } else { Seq(0) },
        len: u32::try_from(number(5)).expect("a length"),
        window: if flags.rst() { 0 } else { 500 },
        ttl: 57,
        tos: 0,
        ip_id: Some(0),
        df: true,
        options: 0,
        ip_len: 40,
        flow_label: 0,
        marks: 0,
    }
}

fn flow(transcript: &str) -> FlowRecord {
    let mut totals: PerSide<Totals> = PerSide::default();
    let (mut tcp, mut ladder, mut notes) = (TcpRecord::default(), Ladder::default(), Notes::default());
    let mut resets: Vec<ResetSeen> = Vec::new();
    let mut after: PerSide<AfterReset> = PerSide { client: AfterReset::default(), server: AfterReset::default() };
    for (i, line) in transcript.lines().map(str::trim).filter(|l| !l.is_empty()).enumerate() {
        let p = brief(line, i as u64 + 1);
        let at = Moment { frame: p.frame, ts: p.ts };
        let t = &mut totals[p.side];
        t.packets += 1;
        t.first.get_or_insert(at);
        t.last = Some(at);
        if p.len > 0 {
            t.first_payload.get_or_insert(at);
            t.last_payload = Some(at);
            t.payload += u64::from(p.len);
        }
        let (own, peer) = (tcp.side[p.side].clone(), tcp.side[p.side.peer()].clone());
        if p.flags.rst() {
            let fit = if peer.syn.is_some() { ResetFit::Exact } else { ResetFit::Unknown };
            let peer_last = totals[p.side.peer()].last;
            resets.push(ResetSeen {
                packet: p,
                fit,
                sent: own.sent,
                acked: own.acked,
                peer_sent: peer.sent,
                peer_last,
                peer_last_payload: totals[p.side.peer()].last_payload,
                own_last: None,
                fin_before: false,
                peer_fin_before: false,
                peer_rst_before: false,
                payload: [0; 32],
                payload_len: 0,
            });
            tcp.side[p.side].resets += 1;
        } else {
            let had_reset = resets.iter().any(|r| r.packet.side == p.side);
            after[p.side].packets += u32::from(had_reset);
            let s = &mut tcp.side[p.side];
            if p.flags.syn() {
                s.syn.get_or_insert(p);
                s.syns += 1;
                s.zero = Some(ZERO[p.side]);
            }
            s.ttl.add(p.ttl);
            s.unique += u64::from(p.len);
            s.sent = s.sent.max(p.end());
            s.last_packet = Some(at);
            if p.flags.ack() {
                let peer = &mut tcp.side[p.side.peer()];
                peer.acked = peer.acked.max(p.ack);
            }
        }
        if p.flags.fin() {
            tcp.side[p.side].fin = Some((p.seq, at));
        }
        if line.ends_with("get") {
            let request = HttpRequest { host: Some("news.example.org".into()), ..HttpRequest::default() };
            let fact = Fact::HttpRequest(Box::new(request));
            notes.push(Note { frame: p.frame, ts: p.ts, side: p.side, from: p.seq, to: p.end(), fact });
        }
        ladder.head.push(p);
    }
    let between = |a: Option<Brief>, b: Option<Brief>| a.zip(b).map(|(a, b)| b.ts.since(a.ts));
    let (syn, syn_ack) = (tcp.side.client.syn, tcp.side.server.syn);
    let ack = ladder.head.iter().find(|p| p.side == Side::Client && !p.flags.syn()).copied();
    (tcp.rtt_server, tcp.rtt_client) = (between(syn, syn_ack), between(syn_ack, ack));
    tcp.established = ack.map(|p| Moment { frame: p.frame, ts: p.ts });
    tcp.resets = resets;
    *tcp.after_reset = after;
    let at = |p: Option<&Brief>| p.map(|p| Moment { frame: p.frame, ts: p.ts }).expect("a flow has packets");
    FlowRecord::from(Flow {
        id: FlowId { source: 0, frame: FrameNo(1) },
        proto: Proto::TCP,
        client: Endpoint::new([93, 184, 1, 2].into(), 40_000),
        server: Endpoint::new([198, 51, 100, 7].into(), 443),
        role_basis: RoleBasis::Syn,
        first: at(ladder.head.first()),
        last: at(ladder.head.last()),
        detail: Detail { totals, tcp: Some(Box::new(tcp)), ladder, icmp: Vec::new() }.into(),
        notes,
        ..Flow::default()
    })
}

fn judge(detector: &dyn Detector, vantage: Vantage, transcript: &str) -> Option<Finding> {
    let flows = [flow(transcript)];
    let kin = Kin { flows: &flows, labels: &[None], index: Arc::new(Index::of(&flows)) };
    let mut source = SourceFacts::default();
    source.quality.vantage = vantage;
    detector.judge(&Scene { flow: &flows[0], label: None, kin: &kin, source: &source })
}

const HANDSHAKE: &str = "0 c S 0 0 0
                         1 s SA 0 1 0";

#[test]
fn a_client_that_acknowledges_a_number_the_server_never_used_was_answered_by_somebody_else() {
    let phantom = format!("{HANDSHAKE}\n 40 c A 1 7777 0\n 41 s R 7777 0 0");
    let found = judge(&HandshakeForged, Vantage::Server, &phantom).expect("the server refuses it");
    assert_eq!((found.direction, found.grade), (Some(Direction::S2c), Grade::Possible), "a proxy may fail to translate, once");
    assert!(judge(&HandshakeForged, Vantage::Client, &phantom).is_none());
    // The ordinary way.
    let plain = format!("{HANDSHAKE}\n 40 c A 1 1 0\n 41 c AP 1 1 200\n 42 s A 1 201 0");
    assert!(judge(&HandshakeForged, Vantage::Server, &plain).is_none());
    // A packet of an older connection does not carry on from this SYN.
    let old = format!("{HANDSHAKE}\n 40 c A 90000 7777 0\n 41 s R 7777 0 0");
    assert!(judge(&HandshakeForged, Vantage::Server, &old).is_none());
}

#[test]
fn who_asked_for_a_connection_does_not_accept_one() {
    let reversed = format!("{HANDSHAKE}\n 2 c SA 0 1 0\n 40 c A 1 1 0");
    let found = judge(&HandshakeForged, Vantage::Server, &reversed).expect("a SYN+ACK from the client");
    assert_eq!((found.direction, found.grade), (Some(Direction::C2s), Grade::Confirmed));
    // Both sides may open at once (RFC 9293 §3.5).
    let both = "0 c S 0 0 0\n 1 s S 0 0 0\n 2 c SA 0 1 0\n 3 s SA 0 1 0\n 40 c A 1 1 0";
    assert!(judge(&HandshakeForged, Vantage::Server, both).is_none());
}

#[test]
fn one_inflated_round_trip_makes_no_forgery_of_a_dead_sockets_reset() {
    // The handshake stood in a queue for 114 ms; the client, reset meanwhile, answers the server's acknowledgement after 36 ms.
    let inflated = format!("{HANDSHAKE}\n 115 c A 1 1 0\n 118 c AP 1 1 205\n 119 s A 1 206 0\n 127 s AP 1 206 1216\n 155 c R 206 0 0");
    assert!(judge(&RstInjected, Vantage::Server, &inflated).is_none());
}

#[test]
fn resets_that_acknowledge_more_and_more_of_nothing_are_guesses() {
    let stepping = format!("{HANDSHAKE}\n 40 c A 1 1 0\n 41 c AP 1 1 200\n 42 s AP 1 201 100\n 90 c RA 201 1 0\n 91 c RA 201 1425 0");
    let found = judge(&RstInjected, Vantage::Server, &stepping).expect("nothing was sent between them");
    assert!(found.evidence.iter().any(|e| e.says.starts_with("resets acknowledge different amounts")));
    assert!(found.started.since(Time::default()) == Span::from_millis(90));
}

/// A request, and the beginning of the server's answer.
const ASKED: &str = "0 c S 0 0 0
                     1 s SA 0 1 0
                     70 c A 1 1 0
                     71 c AP 1 1 138 get
                     72 s A 1 139 0
                     73 s AP 1 139 95
                     74 s A 96 139 1460
                     75 s A 1556 139 1460
                     76 s A 3016 139 1460";

#[test]
fn a_page_that_the_server_did_not_send_shows_in_what_the_client_acknowledges() {
    // 108 bytes: inside the server's second segment, and never more.
    let inside = format!("{ASKED}\n 120 c AF 139 109 0\n 121 s A 4476 140 1460\n 170 c R 139 0 0");
    let found = judge(&PageUnseen, Vantage::Server, &inside).expect("an amount that is no segment's");
    assert_eq!((found.mechanism, found.direction, found.grade), ("body", Some(Direction::S2c), Grade::Possible));
    assert!(judge(&PageUnseen, Vantage::Client, &inside).is_none(), "the page itself would be there");
    // Before the server had sent that much.
    let early = "0 c S 0 0 0\n 1 s SA 0 1 0\n 70 c A 1 1 0\n 71 c AP 1 1 138 get\n 72 s A 1 139 0\n 80 c AF 139 362 0\n 90 s AP 1 140 1460";
    assert!(judge(&PageUnseen, Vantage::Server, early).is_some());
}

#[test]
fn who_leaves_in_the_middle_of_an_answer_acknowledges_whole_segments() {
    let aborted = format!("{ASKED}\n 120 c AF 139 96 0\n 121 s A 4476 140 1460\n 170 c R 139 0 0");
    assert!(judge(&PageUnseen, Vantage::Server, &aborted).is_none());
    // Of a segment that the network card has yet to cut, a part of the announced size, with timestamps or without.
    for size in [1448, 1460] {
        let large = format!(
            "0 c S 0 0 0\n 1 s SA 0 1 0\n 70 c A 1 1 0\n 71 c AP 1 1 138 get\n 73 s AP 1 139 14480\n 74 s AP 14481 139 14480\n\
             75 s AP 28961 139 9000\n 120 c AF 139 {} 0",
            1 + 2 * size
        );
        assert!(judge(&PageUnseen, Vantage::Server, &large).is_none());
    }
    // Repeated in smaller pieces, of which it received the first; or a page that this capture saw go by.
    let anew = format!("{ASKED}\n 100 s A 96 139 500\n 120 c AF 139 596 0\n 121 s A 4476 140 1460");
    assert!(judge(&PageUnseen, Vantage::Server, &anew).is_none());
    // It read all of it.
    let whole = format!("{ASKED}\n 120 c A 139 4476 0\n 130 c AF 139 4476 0");
    assert!(judge(&PageUnseen, Vantage::Server, &whole).is_none());
}
