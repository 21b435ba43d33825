//! The flow table: a hash map of slots, with expiry queues instead of scans.

use super::roles;
use crate::model::flow::{Closed, Flow, FlowRecord, IDLE_TCP, IDLE_UDP, Moment, RoleBasis, Totals};
use crate::model::key::{Endpoint, FlowKey, Proto};
use crate::model::packet::{Body, Packet};
use crate::model::seq::Seq;
use crate::model::side::{PerSide, Side};
use crate::model::time::{Span, Time};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::collections::VecDeque;
use std::hash::BuildHasher;

/// How long a finished TCP flow waits for stragglers (two maximum segment lifetimes as Linux has them).
const LINGER: Span = Span::from_secs(60);
/// A SYN with a new initial sequence number takes over the ports of an unfinished flow after this silence.
const REUSE_SILENCE: Span = Span::from_secs(20);

/// A flow without packets for so long may doze: longer than most pauses in a conversation, shorter than the life of what will never be answered.
/// Where assertions are on, flows doze after every batch, so that every test of whole captures is one of this.
const QUIET: Span = Span::from_secs(if cfg!(debug_assertions) { 0 } else { 5 });
/// So many may stay awake whatever they do: about 100 MB.
const AWAKE: usize = if cfg!(debug_assertions) { 0 } else { 32_768 };

/// A finished flow of which nothing was heard for so long is at rest: what still comes is counted, but nobody listens any more. Longer than any
/// answer that was on its way when the flow ended.
const REST: Span = Span::from_secs(5);
/// Clocks of interfaces that were captured together may differ by this much (the reader calls more than that a step backwards).
const JITTER: Span = Span::from_secs(1);

/// Flows looked at to find one that carries nothing.
const LOOK_AT: usize = 16;

/// Limits of one table.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most flows at a time.
    pub flows: usize,
}

/// One flow in the table with what the engine keeps for it.
pub struct Entry<T> {
    /// Direction-free key.
    pub key: FlowKey,
    /// Who began.
    pub client: Endpoint,
    /// Who was addressed.
    pub server: Endpoint,
    /// How that is known.
    pub basis: RoleBasis,
    /// First packet.
    pub first: Moment,
    /// Last packet.
    pub last: Moment,
    /// Counters.
    pub totals: PerSide<Totals>,
    /// What the engine keeps for the flow.
    pub state: T,
    client_isn: Option<Seq>,
    fins: PerSide<bool>,
    reset: bool,
    queued: bool,
    dozing: bool,
}

impl<T> Entry<T> {
    /// Both sides said FIN, or one was reset.
    pub fn finished(&self) -> bool {
        self.reset || (self.fins.client && self.fins.server)
    }

    /// A copy, with what the engine keeps for the flow copied by `state`.
    pub fn copy_with<U>(&self, state: impl FnOnce(&T) -> U) -> Entry<U> {
        Entry {
            key: self.key,
            client: self.client,
            server: self.server,
            basis: self.basis,
            first: self.first,
            last: self.last,
            totals: self.totals,
            state: state(&self.state),
            client_isn: self.client_isn,
            fins: self.fins,
            reset: self.reset,
            queued: self.queued,
            dozing: false,
        }
    }

    fn standing(&self) -> Standing {
        Standing {
            first: self.first.frame.0,
            last: self.last.ts,
            client: self.client,
            client_isn: self.client_isn,
            tcp: self.key.proto == Proto::TCP,
            finished: self.finished(),
        }
    }
}

/// What the table asks of a flow, whether it is awake or at rest.
#[derive(Clone, Copy)]
struct Standing {
    /// Its first frame: tells it from others that had the slot before.
    first: u64,
    last: Time,
    client: Endpoint,
    client_isn: Option<Seq>,
    tcp: bool,
    finished: bool,
}

impl Standing {
    const fn idle_limit(&self) -> Span {
        match (self.tcp, self.finished) {
            (true, true) => LINGER,
            (true, false) => IDLE_TCP,
            _ => IDLE_UDP,
        }
    }

    /// When its time is up, if nothing comes.
    fn due(&self) -> Time {
        self.last.plus(self.idle_limit())
    }

    /// Its timeout class.
    const fn class(&self) -> usize {
        match (self.tcp, self.finished) {
            (true, true) => 2,
            (false, _) => 1,
            (true, false) => 0,
        }
    }

    /// Why it ends if its time is up.
    const fn why(&self) -> Closed {
        if self.finished { Closed::Finished } else { Closed::Idle }
    }

    /// A SYN that does not repeat this flow's own SYN begins a new conversation: the client has dropped the old one.
    /// From the other side it does so only when the flow is over, or silent for long.
    fn is_taken_over_by(&self, packet: &Packet<'_>) -> bool {
        let Body::Tcp(seg) = &packet.body else { return false };
        if !seg.flags.syn() || seg.flags.ack() || seg.flags.rst() {
            return false;
        }
        let from_client = packet.src == self.client;
        if from_client && self.client_isn == Some(seg.seq) {
            return false;
        }
        from_client || self.finished || packet.ts.since(self.last) > REUSE_SILENCE
    }
}

/// What the engine keeps for a flow.
pub trait State: Default {
    /// What is kept of it besides its record while the flow is at rest.
    type Rest;
    /// Its counters and what it was, of a flow that was at rest.
    fn wake(record: FlowRecord, rest: Self::Rest) -> (PerSide<Totals>, Self);
}

/// A flow of which hardly anything will come any more: its record, and what it takes to go on with it.
pub struct AtRest<T: State> {
    /// As it would be written if it ended now.
    pub record: FlowRecord,
    /// The engine's part.
    pub rest: T::Rest,
    client_isn: Option<Seq>,
    fins: PerSide<bool>,
    reset: bool,
    queued: bool,
}

impl<T: State> AtRest<T> {
    fn finished(&self) -> bool {
        self.reset || (self.fins.client && self.fins.server)
    }

    fn standing(&self) -> Standing {
        let f: &Flow = &self.record;
        Standing {
            first: f.id.frame.0,
            last: f.last.ts,
            client: f.client,
            client_isn: self.client_isn,
            tcp: f.proto == Proto::TCP,
            finished: self.finished(),
        }
    }

    fn wake(self) -> Entry<T> {
        let Self { record, rest, client_isn, fins, reset, queued } = self;
        let f: &Flow = &record;
        let (key, client, server, basis, first, last) =
            (FlowKey::of(f.client, f.server, f.proto), f.client, f.server, f.role_basis, f.first, f.last);
        let (totals, state) = T::wake(record, rest);
        Entry { key, client, server, basis, first, last, totals, state, client_isn, fins, reset, queued, dozing: false }
    }
}

/// A flow that left the table.
pub enum Gone<T: State> {
    /// It was awake.
    Awake(Box<Entry<T>>),
    /// It was at rest.
    AtRest(Box<AtRest<T>>),
}

enum Slot<T: State> {
    Free,
    Awake(Box<Entry<T>>),
    AtRest(Box<AtRest<T>>),
}

impl<T: State> Slot<T> {
    fn standing(&self) -> Option<Standing> {
        match self {
            Self::Free => None,
            Self::Awake(e) => Some(e.standing()),
            Self::AtRest(r) => Some(r.standing()),
        }
    }

    fn is_of(&self, key: &FlowKey) -> bool {
        match self {
            Self::Free => false,
            Self::Awake(e) => e.key == *key,
            Self::AtRest(r) => FlowKey::of(r.record.client, r.record.server, r.record.proto) == *key,
        }
    }

    /// The flow, awake.
    fn wake(&mut self) -> Option<&mut Entry<T>> {
        if let Self::AtRest(_) = self
            && let Self::AtRest(r) = std::mem::replace(self, Self::Free)
        {
            *self = Self::Awake(Box::new(r.wake()));
        }
        self.awake()
    }

    fn awake(&mut self) -> Option<&mut Entry<T>> {
        if let Self::Awake(e) = self { Some(e) } else { None }
    }

    /// Puts the flow to rest, if `rests` makes a record of it.
    fn rest(&mut self, rests: &mut Rests<'_, T>) {
        let Self::Awake(e) = self else { return };
        if let Some((record, rest)) = rests(e) {
            let (client_isn, fins, reset, queued) = (e.client_isn, e.fins, e.reset, e.queued);
            *self = Self::AtRest(Box::new(AtRest { record, rest, client_isn, fins, reset, queued }));
        }
    }
}

/// Makes a record of a flow that comes to rest, and what it takes to wake it.
pub type Rests<'a, T> = dyn FnMut(&mut Entry<T>) -> Option<(FlowRecord, <T as State>::Rest)> + 'a;

/// Where a packet belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// Slot in the table.
    pub slot: usize,
    /// Its sender.
    pub side: Side,
    /// It began the flow.
    pub fresh: bool,
    /// The flow is awake, but had been over for long enough to be at rest.
    pub late: bool,
}

/// The conversations of one shard.
pub struct Table<T: State> {
    /// Part of the key's hash, and its slot: eight bytes a flow, and growing touches no flow. The hash has a secret, so that nobody can
    /// choose addresses and ports that collide.
    by_key: HashTable<(u32, u32)>,
    secret: RandomState,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    /// (due, slot, first frame) per timeout class; lazily re-queued, so a packet touches no list.
    queues: [VecDeque<(Time, u32, u64)>; 3],
    /// The same for flows that may doze, and for those that may rest; empty if none may.
    quiet: VecDeque<(Time, u32, u64)>,
    over: VecDeque<(Time, u32, u64)>,
    may_doze: bool,
    /// Flows that doze.
    dozing: usize,
    bounds: Bounds,
    evicted: u64,
}

impl<T: State> Table<T> {
    /// An empty table.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            by_key: HashTable::new(),
            secret: RandomState::default(),
            slots: Vec::new(),
            free: Vec::new(),
            queues: [VecDeque::new(), VecDeque::new(), VecDeque::new()],
            quiet: VecDeque::new(),
            over: VecDeque::new(),
            may_doze: false,
            dozing: 0,
            bounds,
            evicted: 0,
        }
    }

    /// Finds or makes the flow of a packet and counts the packet. Flows that end thereby are handed to `closed`.
    pub fn place(&mut self, packet: &Packet<'_>, captured: u32, closed: &mut dyn FnMut(Gone<T>, Closed)) -> Placed {
        let key = packet.key();
        let tag = self.tag(&key);
        let mut found = self.slot_of(tag, &key);
        let mut late = false;
        if let Some(slot) = found
            && let Some(s) = self.slots.get(slot as usize).and_then(Slot::standing)
        {
            let silence = packet.ts.since(s.last);
            let ends = match () {
                () if s.is_taken_over_by(packet) => Some(Closed::PortReuse),
                () if silence > s.idle_limit() => Some(s.why()),
                () => None,
            };
            if let Some(why) = ends {
                self.close(slot, why, closed);
                found = None;
            } else {
                late = self.wake(slot, packet.ts) && s.finished && silence >= REST;
            }
        }
        let fresh = found.is_none();
        let slot = found.unwrap_or_else(|| self.insert(tag, key, packet, closed));
        let side = self.count(slot, packet, captured);
        Placed { slot: slot as usize, side, fresh, late }
    }

    /// The flow with this key, if it lives.
    pub fn find(&mut self, key: &FlowKey, now: Time) -> Option<&mut Entry<T>> {
        let slot = self.slot_of(self.tag(key), key)?;
        self.wake(slot, now);
        self.slots.get_mut(slot as usize)?.awake()
    }

    /// Wakes a flow that is at rest; whether it was awake.
    fn wake(&mut self, slot: u32, now: Time) -> bool {
        let Some(at) = self.slots.get_mut(slot as usize) else { return false };
        let resting = matches!(at, Slot::AtRest(_));
        if resting && let Some(e) = at.wake() {
            let (first, finished) = (e.first.frame.0, e.finished());
            self.dozing = self.dozing.saturating_sub(1);
            self.quiet.push_back((now.plus(QUIET), slot, first));
            if finished {
                self.over.push_back((now.plus(REST).plus(JITTER), slot, first));
            }
        }
        !resting
    }

    fn tag(&self, key: &FlowKey) -> u32 {
        (self.secret.hash_one(key) >> 32) as u32
    }

    fn slot_of(&self, tag: u32, key: &FlowKey) -> Option<u32> {
        let here = |&(t, slot): &(u32, u32)| t == tag && self.slots.get(slot as usize).is_some_and(|s| s.is_of(key));
        self.by_key.find(spread(tag), here).map(|e| e.1)
    }

    /// Sets the most flows at a time.
    pub const fn bound(&mut self, flows: usize) {
        self.bounds.flows = flows;
    }

    /// Flows that live.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The flow in a slot, if it is awake.
    pub fn get_mut(&mut self, slot: usize) -> Option<&mut Entry<T>> {
        self.slots.get_mut(slot)?.awake()
    }

    /// All flows that are awake, in no order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry<T>> {
        self.slots.iter().filter_map(|s| if let Slot::Awake(e) = s { Some(&**e) } else { None })
    }

    /// Ends the flow in a slot.
    pub fn close_slot(&mut self, slot: usize, why: Closed, closed: &mut dyn FnMut(Gone<T>, Closed)) {
        if let Ok(slot) = u32::try_from(slot) {
            self.close(slot, why, closed);
        }
    }

    /// Hands over flows whose time is up at `now`.
    pub fn expire(&mut self, now: Time, closed: &mut dyn FnMut(Gone<T>, Closed)) {
        for class in 0..self.queues.len() {
            while let Some(&(due, slot, frame)) = self.queues[class].front() {
                if due > now {
                    break;
                }
                self.queues[class].pop_front();
                let Some(s) = self.standing(slot, frame) else { continue };
                let due = s.due();
                if due > now {
                    self.queues[s.class()].push_back((due, slot, frame));
                } else {
                    self.close(slot, s.why(), closed);
                }
            }
        }
    }

    /// How the flow stands that began with this frame, if it still has the slot.
    fn standing(&self, slot: u32, first: u64) -> Option<Standing> {
        self.slots.get(slot as usize)?.standing().filter(|s| s.first == first)
    }

    /// From now on flows without packets for a while are handed to [`Self::doze`] and [`Self::rest`].
    pub const fn let_doze(&mut self) {
        self.may_doze = true;
    }

    /// Shows flows that have been quiet for long enough to be kept in fewer bytes. Their next packet is theirs as ever. Those of which there is a
    /// record then are at rest.
    pub fn doze(&mut self, now: Time, dozes: &mut Rests<'_, T>) {
        while let Some(&(due, slot, frame)) = self.quiet.front() {
            if due > now || !self.is_restless() {
                break;
            }
            self.quiet.pop_front();
            let Some(at) = self.slots.get_mut(slot as usize) else { continue };
            let Some(e) = at.awake().filter(|e| e.first.frame.0 == frame && !e.dozing && !e.finished()) else { continue };
            let due = e.last.ts.plus(QUIET);
            if due > now {
                self.quiet.push_back((due, slot, frame));
            } else {
                e.dozing = true;
                self.dozing += 1;
                at.rest(dozes);
            }
        }
    }

    /// Shows finished flows of which nothing was heard for long: `rests` makes records of them.
    pub fn rest(&mut self, now: Time, rests: &mut Rests<'_, T>) {
        while let Some(&(due, slot, frame)) = self.over.front() {
            if due > now {
                break;
            }
            self.over.pop_front();
            let Some(at) = self.slots.get_mut(slot as usize) else { continue };
            let Some(e) = at.awake().filter(|e| e.first.frame.0 == frame && e.finished()) else { continue };
            let due = e.last.ts.plus(REST).plus(JITTER);
            if due > now {
                self.over.push_back((due, slot, frame));
                continue;
            }
            self.dozing += usize::from(!std::mem::replace(&mut e.dozing, true));
            at.rest(rests);
        }
    }

    /// More flows are awake than may stay so.
    fn is_restless(&self) -> bool {
        self.by_key.len().saturating_sub(self.dozing) > AWAKE
    }

    /// Hands over everything that is left.
    pub fn drain(&mut self, closed: &mut dyn FnMut(Gone<T>, Closed)) {
        for slot in 0..self.slots.len() {
            let Some(at) = self.slots.get_mut(slot) else { continue };
            let why = if at.standing().is_some_and(|s| s.finished) { Closed::Finished } else { Closed::CaptureEnd };
            match std::mem::replace(at, Slot::Free) {
                Slot::Free => {}
                Slot::Awake(e) => closed(Gone::Awake(e), why),
                Slot::AtRest(r) => closed(Gone::AtRest(r), why),
            }
        }
        self.by_key.clear();
        self.slots.clear();
        self.free.clear();
        self.queues.iter_mut().for_each(VecDeque::clear);
        self.quiet.clear();
        self.over.clear();
        self.dozing = 0;
    }

    /// Flows evicted since the last call.
    pub fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    fn insert(&mut self, tag: u32, key: FlowKey, packet: &Packet<'_>, closed: &mut dyn FnMut(Gone<T>, Closed)) -> u32 {
        // After the bound was lowered two flows go for each that comes.
        for _ in 0..2 {
            if self.by_key.len() >= self.bounds.flows.max(1) {
                self.evict(closed);
            }
        }
        let (client, server, basis) = roles::assign(packet);
        let at = Moment { frame: packet.frame, ts: packet.ts };
        let entry = Entry {
            key,
            client,
            server,
            basis,
            first: at,
            last: at,
            totals: PerSide::default(),
            state: T::default(),
            client_isn: None,
            fins: PerSide::default(),
            reset: false,
            queued: false,
            dozing: false,
        };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot::Free);
                (self.slots.len() - 1) as u32
            }
        };
        let s = entry.standing();
        self.slots[slot as usize] = Slot::Awake(Box::new(entry));
        self.queues[s.class()].push_back((s.due(), slot, packet.frame.0));
        if self.may_doze {
            self.quiet.push_back((at.ts.plus(QUIET), slot, packet.frame.0));
        }
        self.by_key.insert_unique(spread(tag), (tag, slot), |e| spread(e.0));
        slot
    }

    fn count(&mut self, slot: u32, packet: &Packet<'_>, captured: u32) -> Side {
        let Some(e) = self.slots.get_mut(slot as usize).and_then(Slot::awake) else { return Side::Client };
        let side = if packet.src == e.client { Side::Client } else { Side::Server };
        let at = Moment { frame: packet.frame, ts: packet.ts };
        if std::mem::take(&mut e.dozing) {
            self.dozing = self.dozing.saturating_sub(1);
            self.quiet.push_back((at.ts.plus(QUIET), slot, e.first.frame.0));
        }
        if packet.ts >= e.last.ts {
            e.last = at;
        } else {
            e.last.frame = packet.frame;
        }
        let t = &mut e.totals[side];
        t.packets += 1;
        let (payload, cut) = match &packet.body {
            Body::Tcp(s) => (s.len, u64::from(s.len) > s.payload.len() as u64),
            Body::Udp(d) => (d.len, u64::from(d.len) > d.payload.len() as u64),
            Body::Icmp(i) => (i.payload.len() as u32, false),
            Body::Other(b) => (b.len() as u32, false),
        };
        t.bytes += u64::from(if packet.ip.total_len > 0 { packet.ip.total_len } else { captured });
        t.payload += u64::from(payload);
        t.cut += u64::from(cut);
        t.first.get_or_insert(at);
        t.last = Some(at);
        if payload > 0 {
            t.first_payload.get_or_insert(at);
            t.last_payload = Some(at);
        }
        if let Body::Tcp(seg) = &packet.body {
            let f = seg.flags;
            if f.syn() && !f.ack() && side == Side::Client {
                e.client_isn.get_or_insert(seg.seq);
            }
            if f.syn() && f.ack() && side == Side::Server {
                e.client_isn.get_or_insert(seg.ack.plus(u32::MAX));
            }
            e.fins[side] |= f.fin();
            // A reset ends the flow, unless data goes on: then it was late, stale or forged, and the conversation lives.
            e.reset = f.rst() || (e.reset && seg.len == 0);
            if !e.queued && e.finished() {
                // From now on a shorter limit holds; the long queue's entry will be skipped when its time comes.
                e.queued = true;
                self.queues[2].push_back((packet.ts.plus(LINGER), slot, e.first.frame.0));
                if self.may_doze {
                    self.over.push_back((packet.ts.plus(REST).plus(JITTER), slot, e.first.frame.0));
                }
            }
        }
        side
    }

    fn close(&mut self, slot: u32, why: Closed, closed: &mut dyn FnMut(Gone<T>, Closed)) {
        let Some(at) = self.slots.get_mut(slot as usize) else { return };
        let (key, dozing, gone) = match std::mem::replace(at, Slot::Free) {
            Slot::Free => return,
            Slot::Awake(e) => (e.key, e.dozing, Gone::Awake(e)),
            Slot::AtRest(r) => (FlowKey::of(r.record.client, r.record.server, r.record.proto), true, Gone::AtRest(r)),
        };
        if let Ok(at) = self.by_key.find_entry(spread(self.tag(&key)), |at| at.1 == slot) {
            at.remove();
        }
        self.free.push(slot);
        self.dozing = self.dozing.saturating_sub(usize::from(dozing));
        closed(gone, why);
    }

    /// Makes room: finished flows first, then attempts that one packet of one side is all of, then datagram flows, then the oldest TCP
    /// flow. A flood of first packets thus pushes out itself, not the conversations it drowns.
    fn evict(&mut self, closed: &mut dyn FnMut(Gone<T>, Closed)) {
        if self.evict_first(2, closed) || self.evict_poor(0, closed) || self.evict_poor(1, closed) {
            return;
        }
        for class in [1, 0] {
            if self.evict_first(class, closed) {
                return;
            }
        }
    }

    /// Evicts the flow that has waited longest in a class.
    fn evict_first(&mut self, class: usize, closed: &mut dyn FnMut(Gone<T>, Closed)) -> bool {
        while let Some((_, slot, frame)) = self.queues[class].pop_front() {
            if self.standing(slot, frame).is_some() {
                self.evicted += 1;
                self.close(slot, Closed::Evicted, closed);
                return true;
            }
        }
        false
    }

    /// Evicts the first of the flows that have waited longest of which there is only one packet; the others are queued anew, as when
    /// their time comes and they go on.
    fn evict_poor(&mut self, class: usize, closed: &mut dyn FnMut(Gone<T>, Closed)) -> bool {
        for _ in 0..LOOK_AT {
            let Some((_, slot, frame)) = self.queues[class].pop_front() else { return false };
            let Some(s) = self.standing(slot, frame) else { continue };
            let poor = match self.slots.get(slot as usize) {
                Some(Slot::Awake(e)) => e.totals.client.packets + e.totals.server.packets <= 1,
                Some(Slot::AtRest(r)) => r.record.packets(Side::Client).saturating_add(r.record.packets(Side::Server)) <= 1,
                _ => false,
            };
            if poor {
                self.evicted += 1;
                self.close(slot, Closed::Evicted, closed);
                return true;
            }
            self.queues[s.class()].push_back((s.due(), slot, frame));
        }
        false
    }
}

/// A hash for the table, of which place and mark are taken from different ends.
const fn spread(tag: u32) -> u64 {
    (tag as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::frame::FrameNo;
    use crate::model::packet::{IpHead, Segment, TcpFlags};

    fn ep(last: u8, port: u16) -> Endpoint {
        Endpoint::new(std::net::Ipv4Addr::new(10, 0, 0, last).into(), port)
    }

    fn tcp(n: u64, ms: i64, from_client: bool, flags: TcpFlags, seq: u32) -> Packet<'static> {
        let (src, dst) = if from_client { (ep(1, 40000), ep(2, 443)) } else { (ep(2, 443), ep(1, 40000)) };
        Packet {
            frame: FrameNo(n),
            ts: Time::from_nanos(ms * 1_000_000),
            src,
            dst,
            ip: IpHead { proto: 6, ttl: 64, ..IpHead::default() },
            body: Body::Tcp(Segment { seq: Seq(seq), ack: Seq(0), flags, window: 1000, options: &[], payload: &[], len: 0, raw: &[] }),
            owner: None,
        }
    }

    /// Nothing is kept but the counters.
    impl State for () {
        type Rest = ();
        fn wake(record: FlowRecord, (): ()) -> (PerSide<Totals>, Self) {
            (record.totals, ())
        }
    }

    fn packets(gone: &Gone<()>) -> (u64, u64) {
        match gone {
            Gone::Awake(e) => (e.first.frame.0, e.totals.client.packets + e.totals.server.packets),
            Gone::AtRest(r) => (r.record.id.frame.0, r.record.totals.client.packets + r.record.totals.server.packets),
        }
    }

    fn at_rest(e: &mut Entry<()>) -> Option<(FlowRecord, ())> {
        let detail = crate::model::flow::Detail { totals: e.totals, ..Default::default() };
        let id = crate::model::flow::FlowId { source: 0, frame: e.first.frame };
        let (client, server, role_basis, first, last) = (e.client, e.server, e.basis, e.first, e.last);
        Some((Flow { id, client, server, role_basis, first, last, detail: detail.into(), ..Flow::default() }.into(), ()))
    }

    /// The flows of these packets, with and without any of them coming to rest.
    fn run(packets_in: &[Packet<'static>]) -> Vec<(u64, u64, Closed)> {
        let [awake, rested] = [false, true].map(|may_rest| {
            let mut t: Table<()> = Table::new(Bounds { flows: 10 });
            let mut out = Vec::new();
            let mut note = |gone: Gone<()>, why| {
                let (first, n) = packets(&gone);
                out.push((first, n, why));
            };
            if may_rest {
                t.let_doze();
            }
            for p in packets_in {
                t.place(p, 60, &mut note);
                t.expire(p.ts, &mut note);
                t.doze(p.ts, &mut at_rest);
                t.rest(p.ts, &mut at_rest);
            }
            t.drain(&mut note);
            out
        });
        assert_eq!(awake, rested);
        rested
    }

    #[test]
    fn what_comes_long_after_the_end_is_late_whether_or_not_the_flow_was_at_rest() {
        for may_rest in [false, true] {
            let mut t: Table<()> = Table::new(Bounds { flows: 10 });
            if may_rest {
                t.let_doze();
            }
            let mut late = |n, ms, flags, seq| {
                let p = tcp(n, ms, true, flags, seq);
                let placed = t.place(&p, 60, &mut |_, _| {});
                t.rest(p.ts, &mut at_rest);
                placed.late
            };
            assert!(!late(1, 0, SYN, 100));
            assert!(!late(2, 10, RST, 101));
            assert!(!late(3, 4_000, RST, 101), "an answer may still have been on its way");
            assert!(late(4, 9_500, RST, 101));
            let other = tcp(5, 20_000, true, SYN, 1);
            let other = Packet { src: ep(9, 1), ..other };
            t.place(&other, 60, &mut |_, _| {});
            t.rest(other.ts, &mut at_rest);
            let key = tcp(1, 0, true, SYN, 100).key();
            assert_eq!(t.entries().any(|e| e.key == key), !may_rest, "at rest it is a record");
            let stray = t.place(&tcp(6, 21_000, true, RST, 101), 60, &mut |_, _| {});
            assert_eq!((stray.late, stray.fresh), (!may_rest, false));
            assert_eq!(t.find(&key, other.ts).map(|e| e.totals.client.packets), Some(5));
        }
    }
    const SYN: TcpFlags = TcpFlags::SYN;
    const ACK: TcpFlags = TcpFlags::ACK;
    const RST: TcpFlags = TcpFlags::RST;
    const SYN_ACK: TcpFlags = TcpFlags(0x12);
    const FIN_ACK: TcpFlags = TcpFlags(0x11);

    #[test]
    fn a_repeated_syn_stays_and_a_new_one_after_the_end_begins_a_flow() {
        let flows = run(&[
            tcp(1, 0, true, SYN, 100),
            tcp(2, 1000, true, SYN, 100),
            tcp(3, 1010, false, SYN_ACK, 900),
            tcp(4, 1020, true, FIN_ACK, 101),
            tcp(5, 1030, false, FIN_ACK, 901),
            tcp(6, 1040, true, ACK, 102),
            tcp(7, 2000, true, SYN, 5000),
        ]);
        assert_eq!(flows, [(1, 6, Closed::PortReuse), (7, 1, Closed::CaptureEnd)]);
    }

    #[test]
    fn stragglers_after_a_reset_stay_with_their_flow_until_the_linger_is_over() {
        let flows = run(&[
            tcp(1, 0, true, SYN, 100),
            tcp(2, 10, false, SYN_ACK, 900),
            tcp(3, 20, true, RST, 101),
            tcp(4, 5_000, false, FIN_ACK, 901),
            tcp(5, 5_010, true, RST, 101),
            tcp(6, 70_000, false, ACK, 902),
        ]);
        assert_eq!(flows, [(1, 5, Closed::Finished), (6, 1, Closed::CaptureEnd)]);
    }

    #[test]
    fn a_flood_of_first_packets_evicts_itself() {
        let mut t: Table<()> = Table::new(Bounds { flows: 8 });
        let mut gone = Vec::new();
        let mut note = |e: Gone<()>, _| gone.push(packets(&e).1);
        for p in [tcp(1, 0, true, SYN, 100), tcp(2, 1, false, SYN_ACK, 900), tcp(3, 2, true, ACK, 101)] {
            t.place(&p, 60, &mut note);
        }
        for n in 0..200u8 {
            let mut p = tcp(u64::from(n) + 10, 3 + i64::from(n), true, SYN, 1);
            p.src = ep(n, 1000);
            t.place(&p, 60, &mut note);
        }
        assert_eq!(gone, [1; 193]);
        let key = tcp(1, 0, true, SYN, 100).key();
        assert!(t.find(&key, Time::default()).is_some(), "the conversation lives");
    }

    #[test]
    fn the_table_never_holds_more_than_its_bound() {
        let mut t: Table<()> = Table::new(Bounds { flows: 3 });
        let mut gone = 0;
        for n in 0..50u8 {
            let mut p = tcp(u64::from(n) + 1, i64::from(n), true, SYN, 1);
            p.src = ep(n, 1000);
            t.place(&p, 60, &mut |_, why| {
                assert_eq!(why, Closed::Evicted);
                gone += 1;
            });
        }
        assert_eq!((gone, t.take_evicted()), (47, 47));
    }
}
