//! The client's first message gets no answer.
//!
//! ```text
//! client                        server
//!   | SYN, SYN+ACK, ACK            |
//!   | ClientHello ----------> X    |   hello_dropped: never acknowledged, however often it is sent
//!   | ClientHello ----------> X    |
//!   | ClientHello ---------------> |   hello_muted: it arrives,
//!   |        X <------ ServerHello |   but nothing comes back, however often it is sent
//! ```

use super::Detector;
use super::silence::{self, Around, Hello};
use super::weigh::{self, Claim, Weigh, fisher};
use crate::model::finding::{Card, Direction, Finding, Grade, Kind};
use crate::model::flow::{Brief, FlowRecord, Outcome, mark};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::scene::Scene;
use crate::model::seq::Pos;
use crate::model::side::Side;
use crate::model::time::{Span, Time};

/// See the module.
pub(super) struct HelloSilence;

static CARD: Card = Card {
    rule: "tls.sni.dropped",
    kind: Kind::SniFiltering,
    mechanisms: &["hello_dropped", "hello_muted"],
    claim: "The message that names the server, or every answer to it, disappears on the path.",
    ladder: "\
client                        server
  | SYN, SYN+ACK, ACK            |
  | ClientHello ----------> X    |   hello_dropped: never acknowledged, however often it is sent
  | ClientHello ----------> X    |
  | ClientHello ---------------> |   hello_muted: it arrives,
  |        X <------ ServerHello |   but nothing comes back, however often it is sent",
    needs: &["both directions", "the handshake", "at least two retransmissions, so that one lost packet is excluded"],
    innocent: &[
        "packet loss",
        "path-MTU black hole",
        "dead or overloaded server",
        "server that takes no new connections",
        "the server bans the client",
        "outage of the line",
        "capture that misses packets",
    ],
    confirm: "Connect to the same address with another name; capture at the server to see whether the message arrives.",
    sources: &[
        "Xue et al.: TSPU, IMC 2022 (SNI-II, SNI-IV)",
        "UPB ECH censorship study, FOCI 2025 (swallowed tail segments)",
        "RFC 6298 (retransmission timer)",
    ],
};

/// At least this long without an answer, or ten round trips.
const WAIT: Span = Span::from_millis(2_500);

impl Detector for HelloSilence {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::RESENT
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let found = unanswered_hello(scene)?;
        // Hidden names, servers that were asked too often, and lists of what is allowed have rules of their own. Looked for last: they look around.
        let own = super::ech::hides_name(scene.flow)
            || super::tls_policing::Episode::around(scene).is_some()
            || super::allowlist::explains(scene);
        (!own).then_some(found)
    }
}

/// The judgement itself, whatever the message hides.
pub(super) fn unanswered_hello(scene: &Scene<'_>) -> Option<Finding> {
    let flow = scene.flow;
    let tcp = flow.tcp.as_deref()?;
    // A hello without a name (or with an empty one) can be the trigger as well.
    let name = flow.asked_name().or((flow.app == Some("tls")).then_some("no server"))?;
    if silence::blind(scene) {
        return None;
    }
    let hello = Hello::of(flow)?;
    let unanswered_by_client = muted_as_seen_from_the_server(scene, &hello);
    let seen_from_the_server = unanswered_by_client.is_some();
    let soon_reset = tcp.resets.iter().any(|r| r.packet.ts.since(hello.first.ts) < Span::from_secs(5));
    let mut w = Weigh::default();
    let (mechanism, direction, weight) = if let Some(frames) = unanswered_by_client {
        w.fact(
            2.0,
            "the server's answer was sent again and again and never acknowledged, while the client repeated its message",
            format!("{} packets", frames.len()),
            "an acknowledgement within a round trip",
            &frames,
        );
        ("hello_muted", Some(Direction::S2c), 4)
    } else if tcp.side.server.unique > 0 || soon_reset {
        return None;
    } else if hello.acked < hello.end {
        let n = hello.repeats.len();
        let rtt = tcp.rtt_server.unwrap_or(Span::ZERO);
        let long = hello.waited >= WAIT.max(rtt.times(10));
        if n < 2 || !long || (n == 2 && hello.waited < Span::from_secs(5)) {
            return None;
        }
        let frames: Vec<FrameNo> = std::iter::once(hello.first.frame).chain(hello.repeats.iter().map(|p| p.frame)).collect();
        w.fact(
            2.0,
            format!("the message naming {name} was sent {} times and never acknowledged", n + 1),
            format!("{} without an answer", hello.waited),
            "an acknowledgement within a round trip",
            &frames,
        );
        ("hello_dropped", None, n)
    } else {
        let (n, frames, since) = unanswered_after_acknowledgement(scene)?;
        w.fact(
            2.0,
            format!("the message naming {name} was acknowledged, then nothing came"),
            format!("{n} packets of the client unanswered over {since}"),
            "an answer",
            &frames,
        );
        ("hello_muted", Some(Direction::Both), n)
    };
    let back = if mechanism == "hello_dropped" { hello.way_back_open() } else { Vec::new() };
    let tail = mechanism == "hello_dropped" && hello.tail_swallowed();
    if tail {
        w.fact(
            2.0,
            "its first segment arrived; the one that completes it never did",
            format!("{} of {} bytes acknowledged", hello.acked.0 - 1, hello.end.0 - 1),
            "all",
            &[],
        );
    }
    if !back.is_empty() {
        w.fact(
            2.0,
            "the server was heard later and had still not received it: only the way there is cut",
            format!("{} packets", back.len()),
            "-",
            &back,
        );
    }
    let last = hello.first.ts.plus(hello.waited);
    let around = Around::of(scene, hello.first.ts, last);
    // Whatever else the client asked for meanwhile, it asked in vain: the line was down.
    if back.is_empty() && !seen_from_the_server && around.alive.ok == 0 && around.alive.n >= 2 && around.other_name.ok == 0 {
        return None;
    }
    if back.is_empty() {
        around.weigh(mechanism == "hello_dropped", &mut w);
    } else {
        Around::weigh_one_way(&mut w);
    }
    let taken = weigh_queue(scene, &back, tail, last, &mut w);
    let path_ok = if seen_from_the_server {
        let ok = small_answers_lost(scene, &hello);
        if ok {
            w.excluded("path-MTU black hole", "small packets of the server, acknowledgements among them, were lost as well");
        } else {
            w.against(0.0, "path-MTU black hole", "only large segments of the answer were seen to be lost");
        }
        ok
    } else {
        silence::weigh_path_mtu(scene, Side::Client, hello.largest(), &mut w)
    };
    if mechanism == "hello_muted" && !seen_from_the_server {
        weigh_ban(scene, &hello, last, &mut w);
    }
    w.excluded("packet loss", format!("{weight} retransmissions in a row would all have to be lost"));
    let grade = grade(scene, &around, weight, path_ok && taken, !back.is_empty(), tail)?;
    let mut needs = vec!["a capture at the server, or at another network, of the same name"];
    if around.other_name.n == 0 {
        needs.push("a connection to the same address with another name");
    }
    let direction = if back.is_empty() { direction } else { Some(Direction::C2s) };
    let claim = Claim {
        rule: CARD.rule,
        kind: CARD.kind,
        mechanism,
        grade,
        direction,
        started: hello.first.ts,
        ooni_failure: Some("generic_timeout_error"),
    };
    let control = vec![around.other_name, around.same_name, around.other_server, around.alive];
    Some(weigh::finding(scene, &claim, w, control, needs))
}

/// A single flow is a pattern; controls make it more.
fn grade(scene: &Scene<'_>, around: &Around, repeats: usize, path_ok: bool, back_open: bool, tail: bool) -> Option<Grade> {
    let cut_one_way = back_open && tail;
    let (other, same) = (&around.other_name, &around.same_name);
    let fails = same.n - same.ok + 1;
    let p = fisher(fails, same.ok, other.n - other.ok, other.ok) * f64::from(scene.names_at_server());
    let mixed = same.ok > 0;
    let mut grade = match () {
        () if !path_ok => Grade::Possible,
        () if mixed => Grade::Possible,
        () if p < 0.001 || (cut_one_way && fails >= 3 && other.ok > 0) => Grade::Confirmed,
        () if other.ok >= 1 && (fails >= 2 || repeats >= 4) => Grade::Likely,
        () if cut_one_way || (back_open && fails >= 2 && repeats >= 4 && around.alive.ok > 0) => Grade::Likely,
        () => Grade::Possible,
    };
    // Loss of the capture cannot explain why the sender itself kept retransmitting; it can lend itself to no proof, though.
    if scene.lossy() {
        grade = grade.min(Grade::Likely);
    }
    Some(grade)
}

/// Seen on the server's side: the server answers, its answer is never acknowledged, and the client, still there, shows that it got none of
/// it: it repeats its message, or says goodbye without having received a byte.
fn muted_as_seen_from_the_server(scene: &Scene<'_>, hello: &Hello) -> Option<Vec<FrameNo>> {
    let tcp = scene.flow.tcp.as_deref()?;
    let s = &tcp.side.server;
    if s.unique == 0 || s.acked > Pos::FIRST || s.retransmitted < 3 {
        return None;
    }
    let vain = |p: &&Brief| p.side == Side::Server && p.marked(mark::RETRANSMIT) && p.len > 0 && !p.marked(mark::COPY);
    let again: Vec<&Brief> = scene.flow.ladder.iter().filter(vain).collect();
    let second = again.get(1)?;
    let ignorant: Vec<FrameNo> = scene
        .flow
        .ladder
        .iter()
        .filter(|p| p.side == Side::Client && p.ts > second.ts && !p.flags.rst() && p.ack <= Pos::FIRST && (p.len > 0 || p.flags.fin()))
        .map(|p| p.frame)
        .collect();
    let repeats = hello_again(scene, hello).next().is_some();
    if ignorant.is_empty() && !repeats {
        return None;
    }
    Some(again.iter().map(|p| p.frame).chain(ignorant).collect())
}

/// Packets too small for any path's limit were lost too: segments of the answer with nothing behind a lost large one reported as received,
/// or the bare acknowledgements of a message that the client goes on repeating all the same.
fn small_answers_lost(scene: &Scene<'_>, hello: &Hello) -> bool {
    let ladder = &scene.flow.ladder;
    let small = ladder.iter().any(|p| p.side == Side::Server && p.len > 0 && p.len < 1_200);
    let sacked = ladder.iter().any(|p| p.side == Side::Client && p.marked(mark::SACK));
    let told = hello.answers.iter().find(|p| p.len == 0 && p.ack >= hello.end);
    let deaf = told.map_or(0, |told| hello_again(scene, hello).filter(|p| p.ts.since(told.ts) > Span::from_millis(500)).count());
    deaf >= 2 || (small && !sacked)
}

/// A server may take a message, and then drop everything of its client for a while. That would hit other names as well: it falls if one of
/// them was answered while this one was not, or between two failures of this one.
fn weigh_ban(scene: &Scene<'_>, hello: &Hello, until: Time, w: &mut Weigh) {
    let (own, name) = (scene.flow, scene.flow.asked_name());
    let here = || scene.kin.with_server(own.server.ip).filter(|f| f.client.ip == own.client.ip && f.server.port == own.server.port);
    let failed_later = |t: Time| here().any(|f| f.asked_name() == name && f.first.ts > t && f.outcome != Outcome::Ok);
    let other = here()
        .filter(|f| f.asked_name() != name && f.outcome == Outcome::Ok && f.first.ts > hello.first.ts)
        .any(|f| f.first.ts < until || failed_later(f.first.ts));
    const CAUSE: &str = "the server bans the client";
    if other {
        w.excluded(CAUSE, "it answered another name of this client meanwhile");
    } else {
        w.against(0.0, CAUSE, "it had received the message, and may have dropped everything of this client after it");
    }
}

/// A machine whose queue of new connections is full takes neither the client's acknowledgement nor its message, and repeats its SYN+ACK; what it
/// had taken before goes on. False if that stands: nothing but SYN+ACKs came back, and no connection begun later was taken.
fn weigh_queue(scene: &Scene<'_>, back: &[FrameNo], tail: bool, until: Time, w: &mut Weigh) -> bool {
    const CAUSE: &str = "server that takes no new connections";
    let own = scene.flow;
    let repeated = |frame: &FrameNo| own.ladder.iter().any(|p| p.frame == *frame && p.flags.syn());
    if back.is_empty() || tail || !back.iter().all(repeated) {
        return true;
    }
    let taken = |f: &&FlowRecord| {
        f.server == own.server && f.first.ts > own.first.ts && f.totals.server.first_payload.is_some_and(|m| m.ts < until)
    };
    let n = scene.kin.with_server(own.server.ip).filter(taken).count();
    if n > 0 {
        w.excluded(CAUSE, format!("it took {n} that began later"));
    } else {
        w.against(
            0.0,
            CAUSE,
            "it repeated its SYN+ACK, as if the client's acknowledgement had not come either, and took no other meanwhile",
        );
    }
    n > 0
}

/// The client's repetitions of its message, acknowledged or not.
fn hello_again<'a>(scene: &Scene<'a>, hello: &'a Hello) -> impl Iterator<Item = &'a Brief> {
    let again = |p: &&Brief| p.side == Side::Client && p.marked(mark::RETRANSMIT) && !p.marked(mark::COPY) && p.len > 0;
    scene.flow.ladder.iter().filter(again).filter(|p| p.seq < hello.end)
}

/// After the acknowledgement, what the client sent without an answer: count, frames, time.
fn unanswered_after_acknowledgement(scene: &Scene<'_>) -> Option<(usize, Vec<FrameNo>, Span)> {
    let tcp = scene.flow.tcp.as_deref()?;
    let u = &tcp.side.client.unanswered;
    let (first, last) = (u.first?, u.last?);
    let heard = tcp.side.server.last_packet?;
    let since = last.ts.since(heard.ts);
    if u.packets < 2 || u.retransmissions + tcp.side.client.probes < 1 || since < Span::from_secs(5) || tcp.side.client.resets > 0 {
        return None;
    }
    Some((u.packets as usize, vec![heard.frame, first.frame, last.frame], since))
}
