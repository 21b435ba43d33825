//! Judging silence: which packets went unanswered, and what else could explain it.

use super::weigh::Weigh;
use crate::model::finding::{Control, Direction};
use crate::model::flow::{Brief, FlowId, FlowRecord, Moment, Outcome, TcpRecord, Unanswered, VAIN_REPEATS, mark};
use crate::model::frame::FrameNo;
use crate::model::pace::Pace;
use crate::model::scene::Scene;
use crate::model::seq::Pos;
use crate::model::side::Side;
use crate::model::time::{Span, Time};
use hashbrown::HashSet;
use std::net::IpAddr;

/// What became of the client's first message.
pub(super) struct Hello {
    /// First packet of it.
    pub first: Brief,
    /// Position after its last byte.
    pub end: Pos,
    /// Most the server acknowledged.
    pub acked: Pos,
    /// Retransmissions of its unacknowledged part.
    pub repeats: Vec<Brief>,
    /// Server packets after it was first sent, resets excluded.
    pub answers: Vec<Brief>,
    /// From the first sending to the last packet of the client that asks for an answer.
    pub waited: Span,
}

impl Hello {
    /// Reads it off the flow. Needs the handshake and the first message.
    pub fn of(flow: &FlowRecord) -> Option<Self> {
        let tcp = flow.tcp.as_deref()?;
        let (c, s) = (&tcp.side.client, &tcp.side.server);
        if c.syn.is_none() || s.syn.is_none() {
            return None;
        }
        let real = |p: &&Brief| p.marks & (mark::COPY | mark::ASIDE) == 0;
        let first = *flow.ladder.iter().filter(real).find(|p| p.side == Side::Client && p.len > 0 && p.seq == Pos::FIRST)?;
        let noted = flow.notes.client_hello().map(|(n, _)| n.to).or_else(|| flow.notes.http_request().map(|(n, _)| n.to));
        let end = noted.filter(|to| *to > Pos::FIRST).unwrap_or_else(|| first.end());
        let repeats: Vec<Brief> = flow
            .ladder
            .iter()
            .filter(real)
            .filter(|p| p.side == Side::Client && p.len > 0 && p.seq < end && p.end() > c.acked && p.marked(mark::RETRANSMIT))
            .copied()
            .collect();
        let answers =
            flow.ladder.iter().filter(real).filter(|p| p.side == Side::Server && p.ts > first.ts && !p.flags.rst()).copied().collect();
        let last = c.last_asking.map_or(first.ts, |m| m.ts);
        Some(Self { first, end, acked: c.acked, repeats, answers, waited: last.since(first.ts) })
    }

    /// Some of it was acknowledged, but never the segment that completes it.
    pub fn tail_swallowed(&self) -> bool {
        self.acked > Pos::FIRST && self.acked < self.end
    }

    /// Server packets that came long after the message and still do not acknowledge it: the way back is open, the way there is not.
    pub fn way_back_open(&self) -> Vec<FrameNo> {
        self.answers
            .iter()
            .filter(|p| p.ts.since(self.first.ts) > Span::from_secs(2) && (p.flags.syn() || p.ack < self.end))
            .map(|p| p.frame)
            .collect()
    }

    /// Largest unacknowledged segment. Of a message whose beginning arrived no more than the rest can be lost, however large the segments
    /// that the capture shows (offloading).
    pub fn largest(&self) -> u32 {
        let seen = self.repeats.iter().map(|p| p.len).chain(std::iter::once(self.first.len)).max().unwrap_or(0);
        let rest = u32::try_from(self.end.since(self.acked)).unwrap_or(u32::MAX);
        if self.tail_swallowed() { seen.min(rest) } else { seen }
    }
}

/// What the capture shows around a silent flow.
pub(super) struct Around {
    /// Same address, other names.
    pub other_name: Control,
    /// Same address, same name.
    pub same_name: Control,
    /// Same name, other addresses.
    pub other_server: Control,
    /// Connections of the client that received something while this one was silent.
    pub alive: Control,
    /// Other connections to the address, whatever the name, and those of them that brought payload of it while this one was silent.
    pub address: Control,
    /// Further attempts with the same name that the same client made while this one was silent: it had not gone away.
    pub returned: Control,
}

impl Around {
    /// Looks at the kin of a flow that was silent in `from..to`.
    pub fn of(scene: &Scene<'_>, from: Time, to: Time) -> Self {
        let mut alive = Control::new("same_client_meanwhile");
        let settled = from.plus(Span::from_millis(200));
        for f in scene.kin.with_client(scene.flow.client.ip) {
            let repetition = f.server == scene.flow.server && f.asked_name() == scene.flow.asked_name();
            if f.id == scene.flow.id || f.first.ts > to || f.last.ts < settled {
                continue;
            }
            let heard = heard(f, settled, to);
            // A repetition that fails alike is the same event; one that is answered, if only by a SYN+ACK, shows that the line works.
            if heard || !repetition {
                alive.add(f.id, heard);
            }
        }
        let mut address = Control::new("same_server_meanwhile");
        let mut returned = Control::new("same_client_returned");
        let ttl = |f: &FlowRecord| f.tcp.as_deref().and_then(|t| t.side.client.ttl.mode());
        for f in scene.kin.with_server(scene.flow.server.ip).filter(|f| f.id != scene.flow.id) {
            let within =
                |first: Option<Moment>, last: Option<Moment>| first.is_some_and(|m| m.ts < to) && last.is_some_and(|m| m.ts > settled);
            let s = &f.totals.server;
            let (there, heard) =
                (f.first.ts <= to && f.last.ts >= settled, within(s.first_payload, s.last_payload) && heard(f, settled, to));
            address.n += u32::from(there);
            address.ok += u32::from(heard);
            if there || heard {
                address.name(f.id);
            }
            // Behind one address there may be many clients: the one that comes back asks for the same from the same distance.
            let same = f.client.ip == scene.flow.client.ip && f.asked_name() == scene.flow.asked_name() && ttl(f) == ttl(scene.flow);
            if same && f.tcp.is_some() && within(f.totals.client.first, f.totals.client.last) {
                returned.add(f.id, true);
            }
        }
        Self {
            address,
            returned,
            other_name: scene.same_server_other_name(),
            same_name: scene.same_server_same_name(),
            other_server: scene.same_name_other_server(),
            alive,
        }
    }

    /// Weighs the causes that would silence everything when the server of this very connection was heard later and had still not received
    /// what it was sent.
    pub fn weigh_one_way(w: &mut Weigh) {
        w.excluded("outage of the line", "this connection itself brought packets of the server meanwhile");
        w.excluded("dead or overloaded server", "it was heard, and had acknowledged less than it was sent");
    }

    /// Weighs an outage that would silence everything, not this address alone.
    pub fn weigh_line(&self, w: &mut Weigh) {
        if self.alive.ok > 0 {
            w.excluded("outage of the line", format!("{} other connections of this client received packets meanwhile", self.alive.ok));
        } else {
            w.against(0.0, "outage of the line", "no other connection of this client received anything meanwhile");
        }
    }

    /// Weighs the causes that would silence everything, not this flow alone. `unacknowledged`: it is acknowledgements that are missing,
    /// which the kernel of a machine owes however busy its programs are.
    pub fn weigh(&self, unacknowledged: bool, w: &mut Weigh) {
        self.weigh_line(w);
        self.weigh_server(unacknowledged, self.other_name.ok, w);
    }

    /// The machine itself. `others`: connections with other names to it that went well and were answered when this one could have been.
    fn weigh_server(&self, unacknowledged: bool, others: u32, w: &mut Weigh) {
        if unacknowledged && self.address.ok > 0 {
            w.excluded(
                "dead or overloaded server",
                format!(
                    "{} other connections brought data from this address meanwhile; this one was not even acknowledged",
                    self.address.ok
                ),
            );
        } else if others > 0 {
            w.excluded("dead or overloaded server", format!("{others} connections with other names to this address succeeded"));
        } else {
            w.against(0.0, "dead or overloaded server", "nothing else at this address was seen to work");
        }
    }
}

/// Whether the server of a flow was heard between two moments. A flow that goes on before and after them may have been as silent in between as
/// all else: then its packets tell, as far as they were kept, and in the middle of a long flow the account of its pace.
fn heard(f: &FlowRecord, from: Time, to: Time) -> bool {
    let (Some(first), Some(last)) = (f.totals.server.first, f.totals.server.last) else { return false };
    let within = |t: Time| t > from && t < to;
    if first.ts >= to || last.ts <= from || within(first.ts) || within(last.ts) {
        return first.ts < to && last.ts > from;
    }
    if f.ladder.iter().any(|p| p.side == Side::Server && within(p.ts)) {
        return true;
    }
    // What lies between the head and the tail of the ladder.
    let hidden = f.ladder.head.last().zip(f.ladder.tail.first()).is_some_and(|(a, z)| a.ts < to && z.ts > from);
    if f.ladder.between == 0 || !hidden {
        return false;
    }
    let (data, acks) = (f.pace.server.as_deref(), f.pace.client.as_deref());
    let known = data.into_iter().chain(acks).map(|p| p.start).min().is_some_and(|start| start <= from);
    let came = |p: &Pace, bytes: &[u32]| {
        let bin = |t: Time| usize::try_from(t.since(p.start).nanos().max(0) / p.width.nanos().max(1)).unwrap_or(usize::MAX);
        let (a, z) = (bin(from).saturating_add(1), bin(to).min(bytes.len()));
        bytes.get(a..z).unwrap_or_default().iter().any(|b| *b > 0)
    };
    !known || data.is_some_and(|p| came(p, &p.passed)) || acks.is_some_and(|p| came(p, &p.acked))
}

/// Whether packets as large as `len` from this client arrived anywhere: if so, its own line carries that size.
pub(super) fn size_passes(scene: &Scene<'_>, len: u32) -> bool {
    size_arrived(scene, len, |_| true)
}

/// The same at servers of one kind.
fn size_arrived(scene: &Scene<'_>, len: u32, at: impl Fn(IpAddr) -> bool) -> bool {
    scene.kin.with_client(scene.flow.client.ip).filter(|f| f.id != scene.flow.id && at(f.server.ip)).any(|f| {
        let Some(tcp) = f.tcp.as_deref() else { return false };
        f.ladder.iter().any(|p| p.side == Side::Client && p.len >= len && tcp.side.client.acked >= p.end())
    })
}

/// Weighs a path-MTU black hole (RFC 2923) on the way from `side`: only segments near full size vanish then. `len` is the size of the
/// lost segment.
pub(super) fn weigh_path_mtu(scene: &Scene<'_>, side: Side, len: u32, w: &mut Weigh) -> bool {
    const CAUSE: &str = "path-MTU black hole";
    if len < FULL_SIZE {
        let size = if len == 0 { "what was lost carries no payload".to_owned() } else { format!("the lost segment has only {len} bytes") };
        w.excluded(CAUSE, size);
        return true;
    }
    let acked = scene.flow.tcp.as_deref().map_or(Pos::FIRST, |t| t.side[side].acked);
    if scene.flow.ladder.iter().any(|p| p.side == side && p.len >= len && p.end() <= acked) {
        w.excluded(CAUSE, "segments as large had arrived on this connection");
        return true;
    }
    // A tunnel may stand in front of the server alone: what arrives elsewhere does not show that it arrives there.
    if side == Side::Client && size_arrived(scene, len, |ip| neighbours(ip, scene.flow.server.ip)) {
        w.excluded(CAUSE, "segments as large arrived on other connections of this client to the same place");
        return true;
    }
    let small = small_lost(scene, side);
    if small >= 2 {
        w.excluded(CAUSE, format!("{small} smaller segments behind the large ones brought no word either"));
        return true;
    }
    w.against(0.0, CAUSE, format!("the lost segment has {len} bytes, and none as large was seen to arrive"));
    false
}

/// Segments below this size fit every path in use.
const FULL_SIZE: u32 = 1_200;

/// Small segments that `side` sent in this connection, and in its failed repetitions, behind large ones that were lost: on a path that
/// swallows large packets only, each of them arrives and is reported (RFC 5681 §4.2, RFC 2018). None if anything was reported.
fn small_lost(scene: &Scene<'_>, side: Side) -> usize {
    let of = |f: &FlowRecord| {
        let Some(tcp) = f.tcp.as_deref() else { return 0 };
        let acked = tcp.side[side].acked.max(Pos::FIRST);
        let vain = |p: &&Brief| p.side == side && p.seq >= acked && p.marks & (mark::COPY | mark::ASIDE) == 0;
        let Some(large) = f.ladder.iter().filter(vain).find(|p| p.len >= FULL_SIZE) else { return 0 };
        let reported = f.ladder.iter().any(|p| p.side == side.peer() && p.frame > large.frame && !p.flags.syn() && !p.flags.rst());
        let small = f.ladder.iter().filter(vain).filter(|p| p.len > 0 && p.len < FULL_SIZE && p.seq > acked).count();
        if reported { 0 } else { small }
    };
    let again = scene.kin.with_server(scene.flow.server.ip).filter(|f| {
        f.id != scene.flow.id && f.outcome == Outcome::SilentHello && f.asked_name().is_some() && f.asked_name() == scene.flow.asked_name()
    });
    of(scene.flow) + again.map(of).sum::<usize>()
}

/// Whether the capture as a whole forbids conclusions from absence on this flow.
pub(super) fn blind(scene: &Scene<'_>) -> bool {
    let q = &scene.source.quality;
    q.one_sided_share > 0.5 || scene.flow.totals.server.packets == 0 || scene.flow.totals.client.packets == 0
}

/// The side that went on sending without an answer, and what it sent.
pub(super) fn dead_side(flow: &FlowRecord, tcp: &TcpRecord) -> Option<(Side, Unanswered)> {
    if !tcp.resets.is_empty() && tcp.resets.iter().any(|r| r.packet.ts.since(flow.first.ts) < Span::from_secs(5)) {
        return None;
    }
    let silent = |side: Side| {
        let u = tcp.side[side].unanswered;
        let long = match (u.first, u.last) {
            (Some(a), Some(b)) => b.ts.since(a.ts) >= Span::from_secs(3),
            _ => false,
        };
        (u.retransmissions >= 3 && long).then_some((side, u))
    };
    silent(Side::Client).or_else(|| silent(Side::Server)).or_else(|| Side::BOTH.into_iter().find_map(|side| in_vain(flow, side)))
}

/// Which way is cut, when `side` sends in vain: only its own if the other side was still heard in the second half of that time (what was
/// under way at the cut still arrives); else, as far as this capture shows, both.
pub(super) fn cut(tcp: &TcpRecord, side: Side, u: &Unanswered) -> Direction {
    let heard = tcp.side[side.peer()].last_packet;
    let late = heard.zip(u.first.zip(u.last)).is_some_and(|(h, (first, last))| h.ts.since(first.ts) > last.ts.since(h.ts));
    if late { Direction::from_side(side) } else { Direction::Both }
}

/// Whether pauses grow as those of a retransmission timer do that doubles (RFC 6298 §5.5, RFC 9002 §6.2.1), with room for jitter.
pub(super) fn backing_off(gaps: &[i64]) -> bool {
    gaps.windows(2).all(|g| matches!(g, [a, b] if *b * 10 >= *a * 13))
}

/// Deaths this close together have one cause, whatever it is: they count once.
pub(super) const APART: Span = Span::from_secs(2);

/// How a connection fell silent.
pub(super) struct Silenced {
    /// Packets that had passed.
    pub packets: u64,
    /// When.
    pub at: Time,
}

/// When a connection died whose `side` sent `u` in vain: with the last packet of the other side, or, where that goes on saying goodbye or
/// acknowledging what it has, with the first repetition that did not get through.
pub(super) fn died(tcp: &TcpRecord, side: Side, u: &Unanswered) -> Option<Time> {
    let heard = tcp.side[side.peer()].last_packet?.ts;
    Some(u.first.map_or(heard, |first| first.ts.min(heard)))
}

/// A connection that fell silent without a goodbye, if it did; weaker than [`dead_side`], to lay beside one that surely died.
pub(super) fn fell_silent(flow: &FlowRecord) -> Option<Silenced> {
    let tcp = flow.tcp.as_deref()?;
    let by = |side: Side, u: &Unanswered| Some(Silenced { packets: passed(flow, tcp, side), at: died(tcp, side, u)? });
    if let Some((side, u)) = dead_side(flow, tcp) {
        return by(side, &u);
    }
    let side = Side::BOTH.into_iter().find(|s| {
        let u = tcp.side[*s].unanswered;
        // Asked again after more than a retransmission timer at its least (RFC 6298 with 200 ms), of a peer long silent.
        let again = u.first.zip(u.last).is_some_and(|(a, b)| b.ts.since(a.ts) >= Span::from_millis(200));
        let quiet = tcp.side[s.peer()].last_packet.zip(u.last).is_some_and(|(a, b)| b.ts.since(a.ts) >= Span::from_secs(3));
        u.retransmissions >= 1 && u.packets >= 2 && again && quiet && tcp.side[s.peer()].fin.is_none()
    })?;
    if tcp.resets.is_empty() { by(side, &tcp.side[side].unanswered) } else { None }
}

/// Weighs what else may have silenced a connection that had carried data, by the side that went on sending in vain. False if one of the
/// explanations that concern this side stands.
pub(super) fn weigh_dead(scene: &Scene<'_>, around: &Around, side: Side, w: &mut Weigh) -> bool {
    let lost = scene.flow.tcp.as_deref().map_or(0, |tcp| {
        let acked = tcp.side[side].acked.max(Pos::FIRST);
        let vain = scene.flow.ladder.iter().filter(|p| p.side == side && p.marked(mark::RETRANSMIT) && p.len > 0 && p.end() > acked);
        vain.map(|p| p.len).min().unwrap_or(0)
    });
    let mut kept = true;
    if side == Side::Client {
        // It had worked and ceased to: what went well before and after says nothing of the time between.
        around.weigh_line(w);
        around.weigh_server(true, 0, w);
        w.excluded("client that went away", "the client went on sending");
        kept = weigh_mapping(scene, w);
    } else {
        around.weigh_line(w);
        w.excluded("dead or overloaded server", "the server went on sending");
        if around.returned.ok > 0 {
            w.excluded("client that went away", format!("meanwhile it came back {} times for the same name", around.returned.ok));
        } else {
            w.against(0.0, "client that went away", "from here a client that lost its network looks the same");
        }
    }
    weigh_path_mtu(scene, side, lost, w) && kept && (side == Side::Client || around.returned.ok > 0)
}

/// NATs and firewalls that forget a quiet TCP connection soonest do so after about this long, though RFC 5382 asks for two hours.
const FORGOTTEN: Span = Span::from_secs(30);

/// Weighs a NAT or firewall that forgot the connection while it rested: then what the client sends next vanishes. False if that stands.
fn weigh_mapping(scene: &Scene<'_>, w: &mut Weigh) -> bool {
    const CAUSE: &str = "lost NAT mapping";
    let rested = scene.flow.tcp.as_deref().and_then(|tcp| {
        let (heard, asked) = (tcp.side.server.last_packet?, tcp.side.client.unanswered.first?);
        Some(asked.ts.since(heard.ts))
    });
    match rested.filter(|r| *r >= FORGOTTEN) {
        Some(rested) => w.against(0.0, CAUSE, format!("the connection had rested for {rested} before what was not answered any more")),
        None => w.excluded(CAUSE, "the connection had not rested"),
    }
    rested.is_none_or(|r| r < FORGOTTEN)
}

/// A side that goes on hearing the other, but whose first unacknowledged segment is repeated and never gets through.
fn in_vain(flow: &FlowRecord, side: Side) -> Option<(Side, Unanswered)> {
    let v = flow.in_vain(side).filter(|v| v.repeats >= VAIN_REPEATS)?;
    Some((side, Unanswered { packets: v.repeats, retransmissions: v.repeats, first: v.first, last: v.last }))
}

/// Payload bytes of both sides that arrived, by the acknowledgements of the other side where they tell.
pub(super) fn delivered(tcp: &TcpRecord) -> u64 {
    let of = |t: &crate::model::flow::TcpSide| if t.acked > Pos::FIRST { t.unique.min(t.acked.0.unsigned_abs()) } else { 0 };
    // What the server sent may be seen to arrive without being acknowledged (the acknowledgement is dropped).
    let s = &tcp.side.server;
    let server = if s.unanswered.packets == 0 && s.retransmitted < 3 { s.unique } else { of(s) };
    server.saturating_add(of(&tcp.side.client))
}

/// Packets that passed before a flow died: all of the peer's, and those of the dead side that were acknowledged.
pub(super) fn passed(flow: &FlowRecord, tcp: &TcpRecord, dead: Side) -> u64 {
    let arrived =
        flow.ladder.iter().filter(|p| p.side == dead && !p.marked(mark::RETRANSMIT) && p.end() <= tcp.side[dead].acked).count() as u64;
    arrived.saturating_add(flow.totals[dead.peer()].packets)
}

/// An address the public network carries: not private, shared, local, multicast or unspecified.
pub(super) fn public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(a) => {
            let [x, y, ..] = a.octets();
            let shared = x == 100 && (64..128).contains(&y);
            !(a.is_private() || a.is_loopback() || a.is_link_local() || a.is_broadcast() || shared || x == 0 || x >= 224)
        }
        IpAddr::V6(a) => {
            let [first, ..] = a.segments();
            !(a.is_loopback() || a.is_unspecified() || a.is_multicast() || first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80)
        }
    }
}

/// Whether two addresses are announced together: routers carry no smaller blocks (RFC 7454 §6.1.3).
fn neighbours(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => u32::from(a) >> 8 == u32::from(b) >> 8,
        (IpAddr::V6(a), IpAddr::V6(b)) => u128::from(a) >> 80 == u128::from(b) >> 80,
        _ => false,
    }
}

/// The network an address is in, roughly: the first 16 bits of an IPv4 address, 32 of an IPv6 address.
pub(super) const fn network(ip: IpAddr) -> u32 {
    match ip {
        IpAddr::V4(a) => u32::from_be_bytes(a.octets()) >> 16,
        IpAddr::V6(a) => (u128::from_be_bytes(a.octets()) >> 96) as u32,
    }
}

/// Addresses that may stay silent before a client is taken for one that knocks at many doors.
const DOORS: usize = 8;
/// Ports of one address that may.
const PORTS: usize = 5;

/// Whether this client knocks at many doors: scanners, peer-to-peer networks and lists of dead servers meet silence everywhere, and
/// nobody needs to block them. Failures of this flow's own service do not count: they may be the very thing.
pub(super) fn knocking(scene: &Scene<'_>) -> bool {
    let (flow, kin) = (scene.flow, scene.kin);
    let own = scene.label.map(|l| &*l.id);
    let (mut silent, mut heard, mut ports) = (HashSet::new(), HashSet::new(), HashSet::new());
    for i in kin.latest_of_client(flow.client.ip).iter().rev().map(|i| *i as usize) {
        let Some(f) = kin.flows.get(i).filter(|f| f.proto == flow.proto && public(f.server.ip)) else { continue };
        if f.totals.server.packets > 0 {
            heard.insert(f.server.ip);
            continue;
        }
        if f.server.ip == flow.server.ip {
            ports.insert(f.server.port);
        }
        let label = kin.labels.get(i).and_then(Option::as_ref).map(|l| &*l.id);
        if own.is_none() || label != own {
            silent.insert(f.server.ip);
        }
    }
    ports.len() >= PORTS || (silent.len() >= DOORS && silent.len() > heard.len())
}

/// Addresses of this flow's service that this client called: silent ones (this one among them), and ones that were heard.
pub(super) fn service_addresses(scene: &Scene<'_>) -> (u32, u32, Vec<FlowId>) {
    let Some(own) = scene.label.map(|l| &*l.id) else { return (0, 0, Vec::new()) };
    let mut asked = Vec::new();
    let (flow, kin) = (scene.flow, scene.kin);
    let (mut silent, mut heard) = (HashSet::new(), HashSet::new());
    for i in kin.latest_of_client(flow.client.ip).iter().rev().map(|i| *i as usize) {
        let same = kin.labels.get(i).and_then(Option::as_ref).is_some_and(|l| *l.id == *own);
        let Some(f) = kin.flows.get(i).filter(|f| same && f.proto == flow.proto) else { continue };
        // One flow stands for an address.
        let first = if f.totals.server.packets > 0 {
            heard.insert(f.server.ip)
        } else {
            matches!(f.outcome, Outcome::SilentSyn | Outcome::Refused) && silent.insert(f.server.ip)
        };
        if first && f.server.ip != flow.server.ip {
            asked.push(f.id);
        }
    }
    (silent.difference(&heard).count() as u32, heard.len() as u32, asked)
}

/// Ports that networks filter for everybody, to keep worms, spam and reflection attacks out: silence there says nothing about the address.
pub(super) const fn often_filtered(port: u16) -> bool {
    matches!(port, 19 | 23 | 25 | 53 | 69 | 111 | 123 | 135..=139 | 161 | 389 | 445 | 1433 | 1434 | 1900 | 3389 | 5353 | 11_211)
}

/// When the capture had gone on for a second after a packet, so that an answer to it could have been seen: the time before which that holds.
pub(super) fn answerable(scene: &Scene<'_>) -> Time {
    scene.source.watched().unwrap_or(scene.flow.last.ts).minus(Span::from_secs(1))
}

/// How many bursts packets at these times form; a retransmission timer leaves at least this much between two.
pub(super) fn bursts(times: impl Iterator<Item = Time>) -> usize {
    let mut last: Option<Time> = None;
    let mut n = 0;
    for t in times {
        n += usize::from(last.is_none_or(|l| t.since(l) >= BURST_GAP));
        last = Some(t);
    }
    n
}

/// See [`bursts`]. QUIC's first probe timeout is 3 x 333 ms before a round trip is known (RFC 9002 §6.2.2), and stacks shorten it to 200 ms.
const BURST_GAP: Span = Span::from_millis(120);

/// Datagrams that arrived in answer to something other than this flow's protocol: proof that UDP as such passes. What every network lets
/// through, or has a rule of its own for, proves nothing: name and time service.
pub(super) fn udp_heard(scene: &Scene<'_>, around: Span) -> Control {
    let flow = scene.flow;
    let (from, to) = (flow.first.ts.minus(around), flow.last.ts.plus(around));
    let mut c = Control::new("same_client_other_udp");
    for f in scene.kin.with_client(flow.client.ip) {
        let plain = public(f.server.ip) && !often_filtered(f.server.port);
        let other = plain && f.proto == flow.proto && f.server.ip != flow.server.ip && f.app != flow.app;
        if other && f.tcp.is_none() && f.last.ts >= from && f.first.ts <= to {
            c.add(f.id, f.totals.server.packets > 0);
        }
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::flow::{Detail, Flow, Ladder, Totals};
    use crate::model::key::Endpoint;
    use crate::model::scene::{Index, Kin};
    use crate::model::side::PerSide;
    use crate::model::source::SourceFacts;
    use std::sync::Arc;

    #[test]
    fn only_what_the_public_network_carries_is_public() {
        for ip in ["149.154.167.50", "8.8.8.8", "100.128.0.1", "2606:4700::1111"] {
            assert!(public(ip.parse().expect("an address")), "{ip}");
        }
        for ip in
            ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.1.1", "127.0.0.1", "224.0.0.251", "0.0.0.0", "255.255.255.255"]
        {
            assert!(!public(ip.parse().expect("an address")), "{ip}");
        }
        for ip in ["fe80::1", "fd00::1", "::1", "ff02::fb", "::"] {
            assert!(!public(ip.parse().expect("an address")), "{ip}");
        }
    }

    #[test]
    fn packets_sent_together_are_one_burst() {
        let at = |ms: &[i64]| bursts(ms.iter().map(|m| Time::from_nanos(m * 1_000_000)));
        assert_eq!(at(&[]), 0);
        assert_eq!(at(&[0, 1, 2]), 1);
        assert_eq!(at(&[0, 1, 1000, 1001, 3000]), 3);
    }

    fn at(ms: i64) -> Moment {
        Moment { frame: FrameNo(1), ts: Time::from_nanos(ms * 1_000_000) }
    }

    /// A machine slept for ten seconds: connections that had gone on before and went on afterwards were taken for a line that was up meanwhile, and
    /// QUIC that was asked for in between for blocked.
    #[test]
    fn what_was_heard_before_and_after_was_not_heard_meanwhile() {
        let second = |s: i64| at(s * 1_000);
        let packet = |s: i64| Brief::datagram(second(s), Side::Server, 100);
        let flow = |times: &[i64], hidden: u64, pace: Option<Pace>| {
            let (head, tail) = times.split_at(times.len() / 2);
            let briefs = |times: &[i64]| times.iter().map(|s| packet(*s)).collect();
            let server = Totals { first: Some(second(times[0])), last: Some(second(times[times.len() - 1])), ..Totals::default() };
            let detail = Detail {
                totals: PerSide { client: Totals::default(), server },
                tcp: None,
                ladder: Ladder { head: briefs(head), tail: briefs(tail), between: hidden },
                icmp: Vec::new(),
            };
            let pace = PerSide { client: None, server: pace.map(Box::new) };
            FlowRecord::from(Flow { detail: detail.into(), pace, ..Flow::default() })
        };
        let between = |times: &[i64], hidden: u64, pace: Option<Pace>| heard(&flow(times, hidden, pace), second(3).ts, second(13).ts);
        assert!(!between(&[1, 2, 14, 15], 0, None) && between(&[1, 2, 9, 15], 0, None));
        assert!(between(&[1, 2, 14, 15], 100, None), "what nobody kept may have been heard");
        assert!(!between(&[1, 2], 0, None) && !between(&[14, 15], 0, None) && between(&[1, 4], 0, None));
        let mut pace = Pace::new(second(1).ts, 0, second(1).ts);
        pace.width = Span::from_millis(100);
        (pace.passed[5], pace.passed[135]) = (9_000, 9_000);
        assert!(!between(&[1, 2, 14, 15], 100, Some(pace.clone())));
        pace.passed[60] = 1_500;
        assert!(between(&[1, 2, 14, 15], 100, Some(pace)));
    }

    /// A client's connection to `server` whose segment of 1,400 bytes was acknowledged up to `acked`.
    fn sent_large(frame: u64, server: [u8; 4], acked: i64) -> FlowRecord {
        let mut tcp = TcpRecord::default();
        tcp.side.client.acked = Pos(acked);
        let large = Brief { seq: Pos::FIRST, ..Brief::datagram(at(1_000), Side::Client, 1_400) };
        let detail = Detail {
            totals: PerSide::default(),
            tcp: Some(Box::new(tcp)),
            ladder: Ladder { head: vec![large], tail: Vec::new(), between: 0 },
            icmp: Vec::new(),
        };
        let id = FlowId { source: 0, frame: FrameNo(frame) };
        let (client, server) = (Endpoint::new([192, 168, 1, 2].into(), 40_000), Endpoint::new(server.into(), 443));
        FlowRecord::from(Flow { id, client, server, detail: detail.into(), ..Flow::default() })
    }

    fn standing(flows: &[FlowRecord], weigh: impl Fn(&Scene<'_>, &mut Weigh) -> bool) -> (bool, Vec<&'static str>) {
        let labels = vec![None; flows.len()];
        let kin = Kin { flows, labels: &labels, index: Arc::new(Index::of(flows)) };
        let scene = Scene { flow: &flows[0], label: None, kin: &kin, source: &SourceFacts::default() };
        let mut w = Weigh::default();
        let clear = weigh(&scene, &mut w);
        (clear, w.innocent.iter().filter(|i| i.stands).map(|i| i.cause).collect())
    }

    /// A hello of 1,400 bytes went into a tunnel in front of one server; that others had received as much was taken for proof that this one does.
    #[test]
    fn what_arrives_elsewhere_passed_no_tunnel_in_front_of_this_server() {
        let own = sent_large(1, [203, 0, 113, 9], 1);
        let path = |other| standing(&[own.clone(), other], |scene, w| weigh_path_mtu(scene, Side::Client, 1_400, w));
        assert_eq!(path(sent_large(2, [198, 51, 100, 7], 1_401)), (false, vec!["path-MTU black hole"]));
        assert_eq!(path(sent_large(2, [203, 0, 113, 200], 1_401)), (true, vec![]));
        assert_eq!(path(sent_large(2, [203, 0, 113, 200], 1)), (false, vec!["path-MTU black hole"]), "it did not arrive there either");
    }

    /// Connections that carried as much as each other and then rested in a NAT for longer than it remembers all died alike.
    #[test]
    fn a_connection_that_rested_may_have_been_forgotten() {
        let rested = |ms: i64| {
            let mut flow = sent_large(1, [203, 0, 113, 9], 1);
            let mut tcp = TcpRecord::default();
            tcp.side.server.last_packet = Some(at(1_000));
            tcp.side.client.unanswered.first = Some(at(1_000 + ms));
            flow.tcp = Some(Box::new(tcp));
            standing(&[flow], weigh_mapping)
        };
        assert_eq!(rested(40_000), (false, vec!["lost NAT mapping"]));
        assert_eq!(rested(10_000), (true, vec![]));
    }

    /// A machine was down for seven seconds; what it had served under other names before and after was taken for proof that it was up.
    #[test]
    fn what_went_well_before_and_after_says_nothing_of_the_time_between() {
        let around = |meanwhile| Around {
            other_name: Control::counted("same_server_other_name", 2, 2),
            same_name: Control::new("same_server_same_name"),
            other_server: Control::new("same_name_other_server"),
            alive: Control::counted("same_client_meanwhile", 1, 1),
            address: Control::counted("same_server_meanwhile", 2, meanwhile),
            returned: Control::new("same_client_returned"),
        };
        let dead = |meanwhile| {
            standing(&[sent_large(1, [203, 0, 113, 9], 1_401)], |scene, w| weigh_dead(scene, &around(meanwhile), Side::Client, w)).1
        };
        assert_eq!(dead(0), vec!["dead or overloaded server"]);
        assert_eq!(dead(1), Vec::<&str>::new());
    }

    /// Two downloads froze eleven seconds apart (freeze_16k, mid): the first client's FINs and the server's answers to them went on until the
    /// second had frozen as well, and both counted as one event.
    #[test]
    fn a_download_froze_when_it_froze_not_when_its_goodbyes_ended() {
        let mut tcp = TcpRecord::default();
        tcp.side.client.last_packet = Some(at(21_700));
        let vain = Unanswered { packets: 5, retransmissions: 5, first: Some(at(2_240)), last: Some(at(22_020)) };
        assert_eq!(died(&tcp, Side::Server, &vain), Some(at(2_240).ts));
        // Of a connection on which nothing is heard any more the last word tells.
        tcp.side.server.last_packet = Some(at(670));
        let silent = Unanswered { packets: 4, retransmissions: 3, first: Some(at(900)), last: Some(at(9_000)) };
        assert_eq!(died(&tcp, Side::Client, &silent), Some(at(670).ts));
    }
}
