//! Judging silence: which packets went unanswered, and what else could explain it.

use super::weigh::Weigh;
use crate::model::finding::{Control, Direction};
use crate::model::flow::{Brief, FlowId, FlowRecord, Moment, Outcome, TcpRecord, Unanswered, VAIN_REPEATS, mark};
use crate::model::frame::FrameNo;
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
            let heard = f.totals.server.last.is_some_and(|m| m.ts > settled) && f.totals.server.first.is_some_and(|m| m.ts < to);
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
            let (there, heard) =
                (f.first.ts <= to && f.last.ts >= settled, within(f.totals.server.first_payload, f.totals.server.last_payload));
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
        if unacknowledged && self.address.ok > 0 {
            w.excluded(
                "dead or overloaded server",
                format!(
                    "{} other connections brought data from this address meanwhile; this one was not even acknowledged",
                    self.address.ok
                ),
            );
        } else if self.other_name.ok > 0 {
            w.excluded(
                "dead or overloaded server",
                format!("{} connections with other names to this address succeeded", self.other_name.ok),
            );
        } else {
            w.against(0.0, "dead or overloaded server", "nothing else at this address was seen to work");
        }
    }
}

/// Whether packets as large as `len` from this client arrived anywhere: if so, the path carries that size.
pub(super) fn size_passes(scene: &Scene<'_>, len: u32) -> bool {
    scene.kin.with_client(scene.flow.client.ip).filter(|f| f.id != scene.flow.id).any(|f| {
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
    if side == Side::Client && size_passes(scene, len) {
        w.excluded(CAUSE, "segments as large arrived on other connections of this client");
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
    if side == Side::Client {
        around.weigh(true, w);
        w.excluded("client that went away", "the client went on sending");
    } else {
        around.weigh_line(w);
        w.excluded("dead or overloaded server", "the server went on sending");
        if around.returned.ok > 0 {
            w.excluded("client that went away", format!("meanwhile it came back {} times for the same name", around.returned.ok));
        } else {
            w.against(0.0, "client that went away", "from here a client that lost its network looks the same");
        }
    }
    weigh_path_mtu(scene, side, lost, w) && (side == Side::Client || around.returned.ok > 0)
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
