//! QUIC that gets no answer, loses its answers, or dies.
//!
//! ```text
//! client                        server
//!   | Initial ---------> X         |   initial_dropped: sent on a growing timer, never answered,
//!   | Initial ---------> X         |   while TCP, or QUIC with other names, gets through
//!   | Initial -------------------> |   answer_dropped: the server repeats its flight
//!   | <--- Initial, Handshake      |   although the client's packets
//!   | ACK, Handshake ----> X       |   are there to be seen
//!   | 1-RTT ... 1-RTT              |   stalled: data flowed,
//!   | 1-RTT -----------> X         |   then nothing answers the probes
//! ```

use super::Detector;
use super::quic_cut;
use super::quic_speaks::Speaks;
use super::silence::{self, Around};
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind, Target};
use crate::model::flow::{Brief, FlowRecord, Outcome};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::key::Proto;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::{Span, Time};
use hashbrown::HashSet;
use std::net::IpAddr;

/// See the module.
pub(super) struct QuicBlocked;

static CARD: Card = Card {
    rule: "quic.blocked",
    kind: Kind::QuicBlocking,
    mechanisms: &["initial_dropped", "answer_dropped", "stalled"],
    claim: "QUIC to a server gets no answer, loses its answers or dies, while other traffic passes.",
    ladder: "\
client                        server
  | Initial ---------> X         |   initial_dropped: sent on a growing timer, never answered,
  | Initial ---------> X         |   while TCP, or QUIC with other names, gets through
  | Initial -------------------> |   answer_dropped: the server repeats its flight
  | <--- Initial, Handshake      |   although the client's packets
  | ACK, Handshake ----> X       |   are there to be seen
  | 1-RTT ... 1-RTT              |   stalled: data flowed,
  | 1-RTT -----------> X         |   then nothing answers the probes",
    needs: &[
        "both directions",
        "repeated packets, so that loss is excluded",
        "something comparable that works: TCP, or other names over QUIC",
    ],
    innocent: &[
        "server without QUIC",
        "front that hands names on, and the machine for this name is down",
        "network that admits no UDP to port 443",
        "outage of the line",
        "path that does not carry 1,200-byte datagrams",
        "packet loss",
        "lost NAT mapping",
        "client that went away",
        "transfer that was complete",
    ],
    confirm: "Ask the same address for another name over QUIC, and the same name from another network. Silence at the client's end tells neither \
which way the packets are lost nor whether the machine behind a front is down: the name's HTTPS record (alpn h3) beside a TCP connection \
that works, or an answer to another version of QUIC, do tell the latter.",
    sources: &[
        "RFC 9000, RFC 9002 §6.2 (probe timeout)",
        "net4people/bbs 490 (connections that freeze after some 16 KB, TCP and UDP, Russia 2025)",
        "Zohaib et al., USENIX Security 2025 (QUIC SNI, China)",
        "Xue et al.: TSPU, IMC 2022 (Initials of version 1 dropped)",
        "Elmenhorst et al., IMC 2021 (QUIC by endpoint, Iran)",
        "RFC 9460 §7.1 (HTTPS records tell whether a name is served over HTTP/3)",
    ],
};

/// An Initial fills its datagram to this size (RFC 9000 §14.1); older versions come close.
pub(super) const INITIAL_MIN: u32 = 1_000;
/// Kin further away in time is no comparison.
const NEAR: Span = Span::from_secs(180);

impl Detector for QuicBlocked {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::QUIC
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        // DNS over QUIC has a rule of its own.
        let quic = flow.app == Some("quic") && flow.server.port != super::encrypted_dns::PORT;
        let quic = quic && flow.proto == Proto::UDP && silence::public(flow.server.ip);
        // An ICMP error has another story: a closed port, or a router that refuses.
        if !quic || !flow.icmp.is_empty() || flow.totals.client.packets == 0 || scene.source.quality.one_sided_share > 0.5 {
            return None;
        }
        if flow.totals.server.packets == 0 {
            return if super::udp_blocked_all::explains(scene) { None } else { initial_dropped(scene) };
        }
        quic_cut::answer_dropped(scene)
            .or_else(|| quic_cut::begun_again(scene))
            .or_else(|| quic_cut::stalled(scene))
            .or_else(|| quic_cut::stalled_seen_from_the_server(scene))
            .or_else(|| quic_cut::given_up(scene))
    }
}

/// What the capture shows of QUIC and TCP around the flow.
struct Beside {
    /// QUIC of this client to other servers.
    elsewhere: Control,
    /// Servers of this client that answer no QUIC, this one among them.
    mute_servers: usize,
    /// TCP of the same address, or of the same name.
    tcp: Control,
}

impl Beside {
    fn of(scene: &Scene<'_>) -> Self {
        let flow = scene.flow;
        let mut elsewhere = Control::new("same_client_other_servers_quic");
        let mut tcp = Control::new("same_server_or_name_over_tcp");
        let mut mute: HashSet<IpAddr> = HashSet::new();
        let mut heard: HashSet<IpAddr> = HashSet::new();
        mute.insert(flow.server.ip);
        for f in scene.kin.with_client(flow.client.ip).filter(|f| near(f, flow)) {
            let fallback = f.tcp.is_some()
                && f.server.port == flow.server.port
                && (f.server.ip == flow.server.ip || (f.asked_name().is_some() && f.asked_name() == flow.asked_name()));
            if fallback && f.outcome != Outcome::Unknown {
                tcp.add(f.id, f.outcome == Outcome::Ok && f.totals.server.payload > 0);
            }
            if f.app != Some("quic") || f.proto != flow.proto || !silence::public(f.server.ip) {
                continue;
            }
            let answered = f.totals.server.packets > 0;
            if answered {
                heard.insert(f.server.ip);
            } else {
                mute.insert(f.server.ip);
            }
            if f.server.ip != flow.server.ip && f.outcome != Outcome::Unknown {
                elsewhere.add(f.id, answered);
            }
        }
        Self { elsewhere, mute_servers: mute.difference(&heard).count(), tcp }
    }
}

fn near(f: &FlowRecord, flow: &FlowRecord) -> bool {
    f.id != flow.id && f.first.ts.since(flow.last.ts) <= NEAR && flow.first.ts.since(f.last.ts) <= NEAR
}

/// Clients that try TCP beside or after QUIC have waited at least this long for an answer.
const FELL_BACK: Span = Span::from_millis(400);

fn initial_dropped(scene: &Scene<'_>) -> Option<Finding> {
    let flow = scene.flow;
    // At the server its own silence is what shows.
    if scene.vantage() == Vantage::Server {
        return None;
    }
    let by = silence::answerable(scene);
    let sent: Vec<&Brief> = flow.ladder.iter().filter(|p| p.side == Side::Client && p.ts <= by).collect();
    // Only a client that heard nothing sends nothing but Initials: if it goes on to smaller packets, the capture missed the answers.
    let whole = sent.iter().filter(|p| p.len >= INITIAL_MIN).count();
    if whole * 3 < sent.len() * 2 || flow.ladder.between > 0 {
        return None;
    }
    let bursts = silence::bursts(sent.iter().map(|p| p.ts));
    let span = sent.last()?.ts.since(flow.first.ts);
    let quiet = scene.source.watched().map_or(Span::ZERO, |end| end.since(flow.last.ts));
    // Looking around costs more than counting: most flows end here.
    if if bursts < 2 { quiet <= Span::from_secs(3) } else { span < FELL_BACK } {
        return None;
    }
    let other = scene.same_server_other_name();
    // With every other name answered at this address, even a program that sends once and gives up shows something.
    let lone = bursts < 2 && other.ok >= 5 && other.ok == other.n;
    if bursts < 2 && !lone {
        return None;
    }
    let beside = Beside::of(scene);
    let repeated = bursts >= 3 && span >= Span::from_millis(900);
    let fell_back = bursts >= 2 && span >= FELL_BACK && beside.tcp.ok > 0;
    if !(repeated || fell_back || lone) {
        return None;
    }
    // The same name answered at the same address: what is lost now and then is not blocked. In another version it is a control.
    let speaks = Speaks::of(scene);
    let same = scene.same_server_same_name();
    let fails = (same.n - same.ok + 1).max(1);
    let same_version = same.ok.saturating_sub(speaks.version_same_name);
    if same_version >= fails || speaks.only_outdated(flow) || silence::knocking(scene) {
        return None;
    }
    let around = Around::of(scene, flow.first.ts, flow.last.ts.plus(Span::from_secs(1)));
    let service = scene.label.is_some() && around.alive.ok > 0;
    let heard_here = other.ok > 0 || speaks.version.ok > 0;
    let all_quic = beside.elsewhere.ok == 0 && beside.mute_servers >= 2 && !heard_here;
    if beside.tcp.ok == 0 && !heard_here && beside.elsewhere.ok == 0 && !service {
        return None;
    }
    let mut w = Weigh::default();
    let frames: Vec<FrameNo> = sent.iter().map(|p| p.frame).take(16).collect();
    let what = if all_quic { "QUIC" } else { flow.asked_name().unwrap_or("a server without a visible name") };
    w.fact(
        if bursts >= 3 { 2.0 } else { 1.0 },
        format!("the Initial for {what} was sent {} times and never answered", sent.len()),
        format!("{bursts} times over {span}"),
        "an Initial, a Retry or a version negotiation of the server within a round trip",
        &frames,
    );
    if beside.tcp.ok > 0 {
        w.fact(1.5, "the same server, or the same name, answers over TCP", format!("{} connections", beside.tcp.ok), "-", &[]);
    }
    weigh_server(&speaks, &other, &mut w);
    if all_quic {
        w.fact(0.5, "no QUIC of this client is answered, whatever the name", format!("{} servers silent", beside.mute_servers), "-", &[]);
        w.against(0.0, "network that admits no UDP to port 443", "many companies and some routers drop all of it");
    } else if beside.elsewhere.ok > 0 || heard_here {
        w.excluded(
            "network that admits no UDP to port 443",
            format!("{} QUIC connections were answered", beside.elsewhere.ok + other.ok + speaks.version.ok),
        );
    } else {
        w.against(0.0, "network that admits no UDP to port 443", "no QUIC of this client was seen to be answered");
    }
    let udp = silence::udp_heard(scene, NEAR);
    around.weigh_line(&mut w);
    if bursts >= 3 {
        w.excluded("packet loss", format!("{bursts} packets in a row would all have to be lost"));
    } else {
        w.against(0.0, "packet loss", format!("only {bursts} sent"));
    }
    let large = sent.iter().map(|p| p.len).min().unwrap_or(0);
    if heard_here || beside.elsewhere.ok > 0 || silence::size_passes(scene, large) {
        w.excluded("path that does not carry 1,200-byte datagrams", "packets as large arrived");
    } else {
        w.against(0.0, "path that does not carry 1,200-byte datagrams", "none as large was seen to arrive");
    }
    let differs = same.ok == 0 && other.ok >= 2 && other.ok * 2 > other.n && flow.asked_name().is_some();
    // From the client's end a machine that fails behind its front is never quite excluded: nothing is confirmed here.
    let often = repeated && (fails >= 2 || bursts >= 4);
    let mut grade = match () {
        () if often && speaks.by_version() => Grade::Likely,
        () if often && differs && speaks.served_here() => Grade::Likely,
        () => Grade::Possible,
    };
    if scene.lossy() {
        grade = grade.lowered().unwrap_or(Grade::Possible);
    }
    let mut needs = vec!["the same name over QUIC from another network"];
    if other.n == 0 {
        needs.push("QUIC to the same address with another name");
    }
    let control = vec![other, same, speaks.version, speaks.tcp, beside.tcp, beside.elsewhere, udp, around.alive];
    let mut found = weigh::finding(scene, &claim("initial_dropped", grade, None, flow.first.ts), w, control, needs);
    if all_quic {
        // It is about QUIC as such: no name, no service, no address.
        found.target = Target::default();
    }
    Some(found)
}

/// Weighs whether the server would have answered: a server without QUIC, or without this name.
fn weigh_server(speaks: &Speaks, other: &Control, w: &mut Weigh) {
    const NONE: &str = "server without QUIC";
    const FRONT: &str = "front that hands names on, and the machine for this name is down";
    if let Some(frame) = speaks.offered {
        w.fact(1.0, "the name's own HTTPS record offers HTTP/3", "alpn h3", "-", &[frame]);
    }
    if other.ok > 0 {
        w.fact(2.0, "the same address answers other names over QUIC", format!("{} of {}", other.ok, other.n), "-", &[]);
    }
    if speaks.by_version() {
        w.fact(
            3.0,
            "the same address answers other versions of QUIC, and version 1 not even with a version negotiation",
            format!("{} of {} connections", speaks.version.ok, speaks.version.n),
            "-",
            &[],
        );
        w.excluded(NONE, "it answered another version");
        w.excluded(FRONT, "whoever answers other versions reads version 1");
        return;
    }
    if other.ok > 0 {
        w.excluded(NONE, "it answered other names");
    } else if speaks.served_here() {
        w.excluded(NONE, "the name's own record offers HTTP/3");
    } else {
        w.against(0.0, NONE, "nothing at this address was seen to answer QUIC");
    }
    match () {
        () if speaks.served_here() => {
            w.excluded(FRONT, "the name's record offers HTTP/3, and the same address serves the name over TCP meanwhile");
        }
        () if other.ok > 0 => w.against(0.0, FRONT, "the address answers other names only"),
        () => w.against(0.0, FRONT, "nothing shows that the machine for this name is up"),
    }
}

pub(super) fn claim(mechanism: &'static str, grade: Grade, direction: Option<Direction>, started: Time) -> Claim {
    Claim { rule: CARD.rule, kind: CARD.kind, mechanism, grade, direction, started, ooni_failure: Some("generic_timeout_error") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::flow::{Flow, TcpRecord, TcpSide};
    use crate::model::key::Endpoint;
    use crate::model::note::{ClientHello, DnsMessage, Fact, Note, Notes, QuicInitial};
    use crate::model::scene::{Index, Kin};
    use crate::model::seq::Pos;
    use crate::model::side::PerSide;
    use crate::model::source::SourceFacts;
    use std::sync::Arc;

    /// One packet of a ladder: milliseconds, sender, bytes.
    type Step = (i64, char, u32);

    fn flow(frame: u64, server: u8, app: Option<&'static str>, steps: &[Step]) -> FlowRecord {
        let side = |who| if who == 'c' { Side::Client } else { Side::Server };
        let flow = Flow::of_datagrams(frame, steps.iter().map(|&(ms, who, len)| (ms, side(who), len)));
        let answered = flow.packets(Side::Server) > 0;
        FlowRecord::from(Flow {
            client: Endpoint::new([192, 168, 1, 2].into(), 40_000),
            server: Endpoint::new([198, 51, 100, server].into(), 443),
            app,
            notes: if app == Some("quic") { quic_notes(frame, "news.example.org", 1) } else { Notes::default() },
            outcome: if answered { Outcome::Ok } else { Outcome::SilentSyn },
            ..flow
        })
    }

    fn note(frame: u64, side: Side, fact: Fact) -> Note {
        Note { frame: FrameNo(frame), ts: Time::default(), side, from: Pos::FIRST, to: Pos::FIRST, fact }
    }

    fn quic_notes(frame: u64, name: &str, version: u32) -> Notes {
        let hello = ClientHello { sni: Some(name.into()), ..ClientHello::default() };
        let initial = QuicInitial { version, ..QuicInitial::default() };
        let mut notes = Notes::default();
        notes.push(note(frame, Side::Client, Fact::Quic(Box::new(initial))));
        notes.push(note(frame, Side::Client, Fact::ClientHello(Box::new(hello))));
        notes
    }

    /// A connection to the address under judgement.
    fn here(frame: u64, name: &str, version: u32, steps: &[Step]) -> FlowRecord {
        let mut f = flow(frame, 1, Some("quic"), steps);
        f.notes = quic_notes(frame, name, version);
        f
    }

    /// The judgement about `steps`, beside other flows of the same client.
    fn judge(steps: &[Step], others: &[FlowRecord]) -> Option<Finding> {
        let mut flows = vec![flow(1, 1, Some("quic"), steps)];
        flows.extend_from_slice(others);
        let labels = vec![None; flows.len()];
        let kin = Kin { flows: &flows, labels: &labels, index: Arc::new(Index::of(&flows)) };
        let source = SourceFacts { last: Some(Time::from_nanos(60_000_000_000)), ..SourceFacts::default() };
        QuicBlocked.judge(&Scene { flow: &flows[0], label: None, kin: &kin, source: &source })
    }

    /// Something else that is answered all the time.
    fn alive(app: Option<&'static str>) -> FlowRecord {
        let steps: Vec<Step> = (0..60).flat_map(|s| [(s * 500, 'c', 100), (s * 500 + 30, 's', 100)]).collect();
        flow(1_000, 2, app, &steps)
    }

    const INITIALS: [Step; 4] = [(0, 'c', 1200), (1000, 'c', 1200), (3000, 'c', 1200), (7000, 'c', 1200)];

    #[test]
    fn initials_without_an_answer_need_something_comparable_that_works() {
        assert!(judge(&INITIALS, &[]).is_none());
        assert!(judge(&INITIALS, &[alive(Some("dns"))]).is_none());
        let found = judge(&INITIALS, &[alive(Some("quic"))]).expect("QUIC elsewhere is answered");
        assert_eq!((found.mechanism, found.grade), ("initial_dropped", Grade::Possible));
    }

    #[test]
    fn a_client_that_goes_on_after_its_initials_was_answered_out_of_sight() {
        let steps = [(0, 'c', 1200), (1000, 'c', 1200), (1100, 'c', 80), (1200, 'c', 300), (3000, 'c', 1200), (3100, 'c', 60)];
        assert!(judge(&steps, &[alive(Some("quic"))]).is_none());
    }

    #[test]
    fn one_lost_initial_is_a_lost_packet() {
        assert!(judge(&[(0, 'c', 1200)], &[alive(Some("quic"))]).is_none());
    }

    #[test]
    fn a_server_that_repeats_its_flight_to_a_client_that_answers_is_not_heard() {
        let circle = [
            (0, 'c', 1200),
            (40, 's', 1252),
            (41, 's', 1252),
            (42, 's', 700),
            (45, 'c', 1200),
            (340, 's', 1252),
            (345, 'c', 90),
            (940, 's', 1252),
            (945, 'c', 90),
            (2140, 's', 1252),
        ];
        assert_eq!(judge(&circle, &[alive(None)]).map(|f| f.mechanism), Some("answer_dropped"));
        // A program that sends one Initial and never answers makes every server repeat itself.
        let probe = [(0, 'c', 1200), (40, 's', 1252), (340, 's', 1252), (940, 's', 1252), (2140, 's', 1252)];
        assert!(judge(&probe, &[alive(None)]).is_none());
    }

    #[test]
    fn probes_on_a_doubling_timer_show_a_dead_path_and_pauses_do_not() {
        let mut steps: Vec<Step> = (0..10).flat_map(|i| [(i * 50, 'c', 100), (i * 50 + 30, 's', 1200)]).collect();
        let done = steps.clone();
        steps.extend([(500, 'c', 60), (800, 'c', 60), (1400, 'c', 60), (2600, 'c', 60), (5000, 'c', 60), (9800, 'c', 60)]);
        assert_eq!(judge(&steps, &[alive(None)]).map(|f| f.mechanism), Some("stalled"));
        assert!(judge(&steps, &[]).is_none(), "nothing else works: the line may be down");
        let mut paused = done.clone();
        paused.extend([(40_000, 'c', 60), (40_300, 'c', 60), (40_900, 'c', 60), (42_100, 'c', 60), (44_500, 'c', 60), (49_300, 'c', 60)]);
        assert!(judge(&paused, &[alive(None)]).is_none(), "a NAT forgets");
        let mut clock = done;
        clock.extend((0..20).map(|i| (600 + i * 300, 'c', 60)));
        assert!(judge(&clock, &[alive(None)]).is_none(), "its own clock is no timer");
    }

    /// An exchange that goes on all the time.
    const WELL: [Step; 8] = [
        (200, 'c', 1200),
        (240, 's', 1200),
        (300, 'c', 90),
        (340, 's', 90),
        (6000, 'c', 90),
        (6040, 's', 90),
        (9000, 'c', 90),
        (9040, 's', 90),
    ];

    #[test]
    fn a_server_that_answers_other_versions_would_answer_version_1() {
        let v2 = |frame| here(frame, "news.example.org", 0x6b33_43cf, &WELL);
        let found = judge(&INITIALS, &[v2(200), alive(None)]).expect("version 2 is answered");
        assert_eq!((found.grade, found.direction), (Grade::Likely, None));
        // Version 1 passes for others: it is not the version.
        let other = here(300, "other.example.org", 1, &WELL);
        assert_eq!(judge(&INITIALS, &[v2(200), other, alive(None)]).map(|f| f.grade), Some(Grade::Possible));
        // A server may ignore what it does not speak, if it speaks version 1.
        let draft = here(1, "news.example.org", 0xff00_001d, &INITIALS);
        let flows = [draft, here(200, "news.example.org", 1, &WELL), alive(None)];
        let kin = Kin { flows: &flows, labels: &[None, None, None], index: Arc::new(Index::of(&flows)) };
        let source = SourceFacts { last: Some(Time::from_nanos(60_000_000_000)), ..SourceFacts::default() };
        assert!(QuicBlocked.judge(&Scene { flow: &flows[0], label: None, kin: &kin, source: &source }).is_none());
        // What was answered long before only may have ceased since.
        let before: Vec<Step> = WELL.iter().map(|s| (s.0 - 20_000, s.1, s.2)).collect();
        let old = here(200, "news.example.org", 0x6b33_43cf, &before);
        assert_ne!(judge(&INITIALS, &[old, alive(None)]).map(|f| f.grade), Some(Grade::Likely));
    }

    #[test]
    fn a_front_whose_machine_for_one_name_is_down_is_no_block() {
        let others: Vec<FlowRecord> = (0..8).map(|i| here(200 + i * 20, &format!("{i}.example.org"), 1, &WELL)).collect();
        let mut beside = others.clone();
        beside.extend((0..6).map(|i| here(500 + i * 20, "news.example.org", 1, &INITIALS)));
        beside.push(alive(None));
        let found = judge(&INITIALS, &beside).expect("other names are answered");
        assert_eq!(found.grade, Grade::Possible, "however often it is tried");
        assert!(found.innocent.iter().any(|i| i.stands && i.cause.starts_with("front")));
        // The name's own record offers HTTP/3, and its machine answers over TCP.
        let mut lookup = flow(2_000, 53, Some("dns"), &[(0, 'c', 40), (20, 's', 120)]);
        let told = DnsMessage { response: true, qname: "news.example.org".into(), qtype: 65, h3: true, ..DnsMessage::default() };
        lookup.notes.push(note(2_001, Side::Server, Fact::Dns(Box::new(told))));
        let mut tcp = here(2_100, "news.example.org", 1, &WELL);
        tcp.app = Some("tls");
        tcp.proto = Proto::TCP;
        tcp.tcp =
            Some(Box::new(TcpRecord { side: PerSide { client: TcpSide::default(), server: TcpSide::default() }, ..TcpRecord::default() }));
        tcp.totals.server.payload = 5_000;
        beside.extend([lookup, tcp]);
        assert_eq!(judge(&INITIALS, &beside).map(|f| f.grade), Some(Grade::Likely));
    }
}
