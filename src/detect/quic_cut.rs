//! QUIC that was answered and is cut: the other half of [`super::quic_blocked`], which judges what is never answered.
//!
//! ```text
//! client                        server
//!   | Initial -------------------> |   answer_dropped, seen beyond the cut: the client begins again and again,
//!   |       X <---- Initial, ...   |   as if it had heard nothing
//!   | data <---------------------- |   stalled, seen beyond the cut: probes on a doubling timer that nothing answers,
//!   |       X <------------ probes |   until the client says goodbye
//!   | CLOSE ---------------------> |
//! ```

use super::quic_blocked::{INITIAL_MIN, claim};
use super::silence::{self, Around};
use super::weigh::{self, Weigh};
use crate::model::finding::{Control, Direction, Finding, Grade};
use crate::model::flow::{Brief, FlowRecord, Outcome};
use crate::model::frame::FrameNo;
use crate::model::key::Proto;
use crate::model::scene::Scene;
use crate::model::side::{PerSide, Side};
use crate::model::source::Vantage;
use crate::model::time::{Span, Time};
use hashbrown::HashSet;

/// The handshake goes round in circles: both sides repeat themselves, so one of them is not heard.
pub(super) fn answer_dropped(scene: &Scene<'_>) -> Option<Finding> {
    let flow = scene.flow;
    if flow.ladder.between > 0 || flow.notes.client_hello().is_none() {
        return None;
    }
    let of = |side| flow.ladder.iter().filter(move |p: &&Brief| p.side == side);
    let first_answer = of(Side::Server).next()?;
    let client: Vec<&Brief> = of(Side::Client).filter(|p| p.ts > first_answer.ts).collect();
    let server: Vec<&Brief> = of(Side::Server).collect();
    let starts = repeated_flights(flow)?;
    let answers = silence::bursts(client.iter().map(|p| p.ts));
    let span = starts.last()?.ts.since(first_answer.ts);
    if answers < 2 || span < Span::from_millis(900) {
        return None;
    }
    // Who writes to the id that the server chose has read an answer (RFC 9000 §7.2); acknowledgements in Initials are as large as a beginning.
    let ignorant = !still_ignorant(flow, first_answer.ts).is_empty();
    if ignorant && scene.vantage() == Vantage::Client {
        // The answers reached this machine: what ignores them is its program, or its own firewall.
        return None;
    }
    let moved =
        flow.notes.quic().filter(|(n, q)| n.side == Side::Client && q.kind == 0).map(|(_, q)| &q.dcid).collect::<HashSet<_>>().len() > 1;
    let restarted = !moved && client.iter().all(|p| p.len >= INITIAL_MIN);
    let direction = match (scene.vantage(), restarted) {
        (Vantage::Client, _) | (Vantage::Mid | Vantage::Unknown, false) => Direction::C2s,
        (Vantage::Server, _) | (Vantage::Mid | Vantage::Unknown, true) => Direction::S2c,
    };
    let beside = Beside::of(scene)?;
    let mut w = Weigh::default();
    let frames: Vec<FrameNo> = starts.iter().chain(&client).map(|p| p.frame).take(16).collect();
    w.fact(
        2.0,
        format!("the server sent the beginning of its handshake {} times, although the client kept answering", starts.len()),
        format!("{} datagrams of the client over {span}", client.len()),
        "the handshake goes on after one round trip",
        &frames,
    );
    beside.around.weigh(false, &mut w);
    w.excluded("packet loss", format!("{} flights or their answers in a row would all have to be lost", starts.len()));
    let lost = if direction == Direction::C2s { &client } else { &server };
    let clear = beside.weigh_client(&mut w) & beside.weigh_size(lost, &mut w);
    let grade = beside.grade(scene, clear && starts.len() >= 4);
    let claim = claim("answer_dropped", grade, Some(direction), first_answer.ts);
    let needs = vec!["a capture at the other end", "QUIC to the same address with another name"];
    Some(weigh::finding(scene, &claim, w, beside.control(scene), needs))
}

/// Data flowed; then, without a pause, nothing answers any more, however often the client asks.
pub(super) fn stalled(scene: &Scene<'_>) -> Option<Finding> {
    let flow = scene.flow;
    let heard = flow.totals.server.last?;
    if scene.vantage() == Vantage::Server || flow.totals.server.packets < 4 || flow.totals.client.packets < 6 {
        return None;
    }
    let onward: Vec<&Brief> = flow.ladder.iter().filter(|p| p.side == Side::Client && p.frame > heard.frame).collect();
    let (first, last) = (onward.first()?, onward.last()?);
    let span = last.ts.since(heard.ts);
    let bursts = silence::bursts(onward.iter().map(|p| p.ts));
    // After a pause the mapping in a NAT, or the connection itself, may be gone without a word (RFC 9000 §10.1).
    let paused = flow.ladder.between == 0 && first.ts.since(heard.ts) > Span::from_secs(5);
    if bursts < 5 || span < Span::from_secs(5) || paused || heard.ts.since(flow.first.ts) > Span::from_secs(600) {
        return None;
    }
    if !doubling(&onward) {
        return None;
    }
    let around = Around::of(scene, heard.ts, last.ts);
    if around.alive.ok == 0 {
        return None;
    }
    let mut w = Weigh::default();
    let frames: Vec<FrameNo> = std::iter::once(heard.frame).chain(onward.iter().map(|p| p.frame)).take(16).collect();
    w.fact(
        2.0,
        format!("after {} packets of the server nothing came any more", flow.totals.server.packets),
        format!("{} probes of the client over {span}", onward.len()),
        "an acknowledgement within a round trip",
        &frames,
    );
    around.weigh(false, &mut w);
    w.excluded("lost NAT mapping", "the client had not paused");
    let control = vec![around.other_name, around.same_name, around.alive];
    let claim = claim("stalled", Grade::Possible, None, heard.ts);
    Some(weigh::finding(scene, &claim, w, control, vec!["the same again", "a capture at the server"]))
}

/// Probes come on a timer that doubles; a program that sends on its own clock (a game, a call) does not double.
fn doubling(run: &[&Brief]) -> bool {
    let gaps: Vec<i64> =
        run.windows(2).filter_map(|w| Some(w.last()?.ts.since(w.first()?.ts).nanos())).filter(|g| *g > 100_000_000).collect();
    gaps.len() >= 3 && gaps.windows(2).filter(|g| matches!(g, [a, b] if *b * 10 >= *a * 14)).count() * 3 >= (gaps.len() - 1) * 2
}

/// Beyond the cut: the client repeats its first message on a growing timer, although the server answered it each time.
pub(super) fn begun_again(scene: &Scene<'_>) -> Option<Finding> {
    let flow = scene.flow;
    // At the client the answers are there: what ignores them is the client.
    if flow.ladder.between > 0 || flow.notes.client_hello().is_none() || scene.vantage() == Vantage::Client {
        return None;
    }
    let of = |side| flow.ladder.iter().filter(move |p: &&Brief| p.side == side);
    let client: Vec<&Brief> = of(Side::Client).collect();
    let answers: Vec<&Brief> = of(Side::Server).filter(|p| p.len >= INITIAL_MIN).collect();
    let (first, last) = (answers.first()?, client.last()?);
    let mut starts: Vec<Time> = Vec::new();
    for p in &client {
        if starts.last().is_none_or(|t| p.ts.since(*t) >= Span::from_millis(120)) {
            starts.push(p.ts);
        }
    }
    let gaps: Vec<i64> = starts.windows(2).filter_map(|w| Some(w.last()?.since(*w.first()?).nanos())).collect();
    // The last of them may be a goodbye, which is on no timer.
    let timed = gaps.get(..gaps.len().saturating_sub(usize::from(gaps.len() > 3))).unwrap_or(&gaps);
    let growing = silence::backing_off(timed);
    let nothing_else = client.iter().all(|p| p.len >= INITIAL_MIN);
    // What was sent before an answer can have arrived shows nothing.
    let after = starts.iter().filter(|t| t.since(first.ts) > Span::from_millis(100)).count();
    let answered = silence::bursts(answers.iter().map(|p| p.ts));
    if !nothing_else || !growing || starts.len() < 4 || after < 3 || answered < 3 || last.ts.since(first.ts) < Span::from_secs(1) {
        return None;
    }
    let beside = Beside::of(scene)?;
    let mut w = Weigh::default();
    let frames: Vec<FrameNo> = client.iter().chain(&answers).map(|p| p.frame).take(16).collect();
    w.fact(
        2.0,
        format!("the client began its handshake {} times, although the server answered each time", starts.len()),
        format!("{} answers of the server over {}", answered, last.ts.since(first.ts)),
        "the handshake goes on after one round trip",
        &frames,
    );
    let ignorant = still_ignorant(flow, first.ts.plus(Span::from_millis(100)));
    if !ignorant.is_empty() {
        w.fact(
            2.0,
            "it went on writing to the connection id it had made up itself: it had read no packet of the server",
            format!("{} Initials", ignorant.len()),
            "the id the server chose (RFC 9000 §7.2)",
            &ignorant,
        );
    }
    beside.around.weigh_line(&mut w);
    w.excluded("server without QUIC", "it answered");
    w.excluded("packet loss", format!("{answered} answers in a row would all have to be lost"));
    let server: Vec<&Brief> = of(Side::Server).collect();
    let clear = beside.weigh_client(&mut w) & beside.weigh_size(&server, &mut w);
    let grade = beside.grade(scene, clear && ignorant.len() >= 3);
    let claim = claim("answer_dropped", grade, Some(Direction::S2c), first.ts);
    let needs = vec!["a capture at the client", "QUIC to the same address with another name"];
    Some(weigh::finding(scene, &claim, w, beside.control(scene), needs))
}

/// The beginnings of the server's flights, if it sent its first one again and again on a growing timer and nothing else.
fn repeated_flights(flow: &FlowRecord) -> Option<Vec<&Brief>> {
    let server: Vec<&Brief> = flow.ladder.iter().filter(|p| p.side == Side::Server).collect();
    let mut starts: Vec<&Brief> = Vec::new();
    let mut last: Option<Time> = None;
    for p in &server {
        if last.is_none_or(|l| p.ts.since(l) >= Span::from_millis(150)) {
            starts.push(p);
        }
        last = Some(p.ts);
    }
    // The first flight, by lengths; what comes later must be the same again.
    let flight: Vec<u32> = server.iter().take_while(|p| starts.get(1).is_none_or(|s| p.ts < s.ts)).map(|p| p.len).collect();
    let again = starts.len() >= 3 && starts.iter().all(|p| p.len >= INITIAL_MIN && flight.contains(&p.len));
    let gaps: Vec<i64> = starts.windows(2).filter_map(|w| Some(w.last()?.ts.since(w.first()?.ts).nanos())).collect();
    (again && silence::backing_off(&gaps)).then_some(starts)
}

/// Initials after `from` with which a client still writes to the id it made up for its first one.
fn still_ignorant(flow: &FlowRecord, from: Time) -> Vec<FrameNo> {
    let initials = || flow.notes.quic().filter(|(n, q)| n.side == Side::Client && q.kind == 0);
    let Some((_, own)) = initials().next() else { return Vec::new() };
    let later = || initials().filter(|(n, _)| n.ts > from);
    if later().any(|(_, q)| q.dcid != own.dcid) {
        return Vec::new();
    }
    later().map(|(n, _)| n.frame).collect()
}

/// What a handshake that goes round in circles is compared with.
struct Beside {
    around: Around,
    other: Control,
    /// Handshakes of this client with this address that came to their end, under other names: the same program, the same path.
    completed: Control,
    /// Largest datagram of each side that passed in those.
    passed: PerSide<u32>,
}

impl Beside {
    /// `None` if nothing else of this client or server went well meanwhile: then a line that is down explains it.
    fn of(scene: &Scene<'_>) -> Option<Self> {
        let flow = scene.flow;
        let around = Around::of(scene, flow.first.ts, flow.last.ts);
        let other = scene.same_server_other_name();
        if around.alive.ok == 0 && other.ok == 0 {
            return None;
        }
        let mut completed = Control::new("same_server_other_name_completed");
        let mut passed: PerSide<u32> = PerSide::default();
        for f in scene.kin.with_server(flow.server.ip).filter(|f| f.client.ip == flow.client.ip && f.server.port == flow.server.port) {
            if f.id == flow.id || f.app != Some("quic") || f.asked_name() == flow.asked_name() {
                continue;
            }
            let done = went_through(f);
            completed.add(f.id, done);
            if done {
                f.ladder.iter().for_each(|p| passed[p.side] = passed[p.side].max(p.len));
            }
        }
        Some(Self { around, other, completed, passed })
    }

    /// Weighs the client itself. True if it is not the cause.
    fn weigh_client(&self, w: &mut Weigh) -> bool {
        const CAUSE: &str = "client that cannot complete the handshake";
        if self.completed.ok > 0 {
            w.excluded(CAUSE, format!("it completed {} handshakes with this address under other names", self.completed.ok));
        } else {
            w.against(0.0, CAUSE, "a program that answers wrongly, or ignores what it is sent, would look the same");
        }
        self.completed.ok > 0
    }

    /// Weighs a path that loses large datagrams only, by those that were lost. True if it is not the cause.
    fn weigh_size(&self, lost: &[&Brief], w: &mut Weigh) -> bool {
        const CAUSE: &str = "path that does not carry 1,200-byte datagrams";
        let large = lost.iter().map(|p| p.len).max().unwrap_or(0);
        let passed = lost.first().is_some_and(|p| self.passed[p.side] >= large);
        if passed {
            w.excluded(CAUSE, "packets as large arrived under other names");
        } else if lost.iter().any(|p| p.len < SMALL) {
            w.excluded(CAUSE, "small packets were lost as well");
        } else {
            w.against(0.0, CAUSE, "all that was lost was large");
            return false;
        }
        true
    }

    /// A pattern, unless nothing innocent is left: the same program completes its handshakes with the same machine over the same path.
    fn grade(&self, scene: &Scene<'_>, clear: bool) -> Grade {
        let same = scene.same_server_same_name();
        let again = same.n == 0
            || scene.kin.with_server(scene.flow.server.ip).filter(|f| f.asked_name() == scene.flow.asked_name()).all(|f| !went_through(f));
        if clear && again && self.around.alive.ok > 0 && !scene.lossy() { Grade::Likely } else { Grade::Possible }
    }

    fn control(self, scene: &Scene<'_>) -> Vec<Control> {
        vec![self.completed, self.other, scene.same_server_same_name(), self.around.alive]
    }
}

/// Datagrams below this size fit every path in use.
const SMALL: u32 = 600;

/// A handshake that came to its end: both sides went on to packets smaller than those of a handshake.
fn went_through(f: &FlowRecord) -> bool {
    let onward = |side| f.ladder.iter().filter(|p| p.side == side).skip(1).any(|p| p.len < SMALL);
    let many = f.totals.server.packets >= 3 && f.totals.client.packets >= 3;
    f.app == Some("quic") && many && onward(Side::Client) && onward(Side::Server) && repeated_flights(f).is_none()
}

/// Beyond the cut: data flowed, then the server probes on a doubling timer and hears nothing, until the client, which had not gone away,
/// sends again without having received any of it.
pub(super) fn stalled_seen_from_the_server(scene: &Scene<'_>) -> Option<Finding> {
    let flow = scene.flow;
    if scene.vantage() == Vantage::Client || flow.totals.client.packets < 6 || flow.totals.server.packets < 10 {
        return None;
    }
    let all: Vec<&Brief> = flow.ladder.iter().collect();
    let returned = all.iter().rev().take_while(|p| p.side == Side::Client).count();
    let (before, back) = all.split_at(all.len().saturating_sub(returned));
    let alone = before.iter().rev().take_while(|p| p.side == Side::Server).count();
    let (until, run) = before.split_at(before.len().saturating_sub(alone));
    let (heard, back) = (until.last()?, back.first());
    let (first, last) = (run.first()?, run.last()?);
    let waited = last.ts.since(heard.ts);
    let bursts = silence::bursts(run.iter().map(|p| p.ts));
    // Longer than the client's path takes, and no pause of the client before: its NAT had not forgotten it.
    let paused = first.ts.since(heard.ts) > Span::from_secs(5);
    if bursts < 4 || waited < Span::from_secs(2) || paused || !doubling(run) {
        return None;
    }
    let back = back.filter(|p| p.ts.since(last.ts) <= Span::from_secs(60));
    // Or it asked for the same name anew: it had not gone away, though it may have dropped this connection.
    let mut anew = Control::new("same_client_returned");
    for f in scene.kin.with_client(flow.client.ip).filter(|f| f.id != flow.id && f.asked_name().is_some()) {
        let soon = f.first.ts > heard.ts && f.first.ts.since(last.ts) < Span::from_secs(15);
        if soon && f.asked_name() == flow.asked_name() {
            anew.add(f.id, true);
        }
    }
    if back.is_none() && anew.n == 0 {
        return None;
    }
    let around = Around::of(scene, heard.ts, last.ts);
    let mut w = Weigh::default();
    let frames: Vec<FrameNo> = std::iter::once(heard.frame).chain(run.iter().rev().take(12).rev().map(|p| p.frame)).collect();
    w.fact(
        2.0,
        format!(
            "after {} packets of the client nothing of the server's was acknowledged any more",
            flow.totals.client.packets - returned as u64
        ),
        format!("{bursts} rounds of probes over {waited}"),
        "an acknowledgement within a round trip",
        &frames,
    );
    if let Some(back) = back {
        w.fact(
            1.0,
            "the client was there: it sent again later, on the same path",
            format!("{} later", back.ts.since(last.ts)),
            "-",
            &[back.frame],
        );
        w.excluded("client that went away", "it was heard again from the same address and port");
        w.excluded("lost NAT mapping", "it was heard again through the same mapping");
    } else {
        w.fact(1.0, "the client asked for the same name anew meanwhile", format!("{} connections", anew.n), "-", &[]);
        w.against(0.0, "client that went away", "it may have dropped this one connection without a word");
    }
    w.excluded("packet loss", format!("{bursts} rounds in a row would all have to be lost"));
    around.weigh_line(&mut w);
    // Silent both ways, as far as this capture shows, unless the client was heard again.
    let direction = if back.is_some() { Direction::S2c } else { Direction::Both };
    let control = vec![anew, around.other_name, around.same_name, around.alive];
    let claim = claim("stalled", Grade::Possible, Some(direction), heard.ts);
    Some(weigh::finding(scene, &claim, w, control, vec!["the same again", "a capture at the client"]))
}

/// How far a connection came whose server fell silent without a goodbye, and whose client waited in vain and then gave up.
fn waited_in_vain(f: &FlowRecord) -> Option<u64> {
    let heard = f.totals.server.last?;
    let quic = f.app == Some("quic") && f.proto == Proto::UDP && f.notes.client_hello().is_some();
    if !quic || f.totals.server.packets < 10 || !(MIN_STALL..=MAX_STALL).contains(&f.totals.server.bytes) {
        return None;
    }
    let onward: Vec<&Brief> = f.ladder.iter().filter(|p| p.side == Side::Client && p.frame > heard.frame).collect();
    let last = onward.last()?;
    // Acknowledgements of what came; then nothing, and in the end one small packet: the goodbye.
    let late = onward.iter().filter(|p| p.ts.since(heard.ts) > Span::from_secs(1)).count();
    let waited = last.ts.since(heard.ts);
    let gave_up = (1..=2).contains(&late) && last.len <= 64 && waited >= Span::from_secs(4) && waited <= Span::from_secs(60);
    gave_up.then_some(f.totals.server.bytes)
}

/// Bytes of the server after which connections are known to be cut, with room on both sides.
const MIN_STALL: u64 = 6_000;
const MAX_STALL: u64 = 150_000;

/// Before the cut nothing is repeated: the client waits. A pattern all the same if it happens at the same place time and again, while the
/// same name over TCP, and QUIC to others, go far beyond it.
pub(super) fn given_up(scene: &Scene<'_>) -> Option<Finding> {
    let flow = scene.flow;
    let own = waited_in_vain(flow)?;
    if scene.vantage() == Vantage::Server {
        return None;
    }
    let mut again = Control::counted("same_server_same_name", 0, 0);
    let mut tcp = Control::new("same_server_or_name_over_tcp");
    let mut elsewhere = Control::new("same_client_other_servers_quic");
    let mut frames: Vec<FrameNo> = flow.totals.server.last.map(|m| m.frame).into_iter().collect();
    for f in scene.kin.with_client(flow.client.ip).filter(|f| f.id != flow.id) {
        let name = f.asked_name().is_some() && f.asked_name() == flow.asked_name();
        if f.tcp.is_some() && name && f.server.port == flow.server.port {
            tcp.add(f.id, f.outcome == Outcome::Ok && f.totals.server.payload > own + own / 2);
        } else if f.app == Some("quic") && f.server.ip == flow.server.ip && name {
            match waited_in_vain(f) {
                Some(bytes) if bytes.abs_diff(own) * 5 <= own => {
                    again.add(f.id, false);
                    frames.extend(f.totals.server.last.map(|m| m.frame));
                }
                // One that came further, or ended otherwise: no rule.
                _ => return None,
            }
        } else if f.app == Some("quic") && f.server.ip != flow.server.ip {
            elsewhere.add(f.id, f.totals.server.bytes > own * 2);
        }
    }
    if again.n == 0 || tcp.ok == 0 || elsewhere.ok == 0 {
        return None;
    }
    let heard = flow.totals.server.last?;
    let around = Around::of(scene, heard.ts, flow.last.ts);
    if around.alive.ok == 0 {
        return None;
    }
    let mut w = Weigh::default();
    w.fact(
        1.5,
        format!("{} connections fell silent after nearly as many bytes of the server, and the client waited in vain", again.n + 1),
        format!("{own} bytes here"),
        "an end of the server's, or more data",
        &frames,
    );
    w.fact(1.0, "the same name over TCP brought more", format!("{} connections", tcp.ok), "-", &[]);
    w.fact(0.5, "QUIC to other servers brought more", format!("{} connections", elsewhere.ok), "-", &[]);
    around.weigh_line(&mut w);
    w.against(0.0, "transfer that was complete", "the same answer, fetched twice and then left idle, looks alike from here");
    let control = vec![again, tcp, elsewhere, around.alive];
    let claim = claim("stalled", Grade::Possible, None, heard.ts);
    Some(weigh::finding(scene, &claim, w, control, vec!["a capture at the server", "a larger transfer from the same server over QUIC"]))
}
