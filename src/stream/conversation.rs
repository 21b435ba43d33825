//! One TCP connection: each packet is placed, accounted for, and its new bytes handed on in order.

use super::half::{Fit, Half, Piece, Print, Range};
use super::history::History;
use super::options::{self, Options};
use super::pace::{Pacer, Place, Step};
use crate::model::event::{GapCause, Seen, StreamEvent};
use crate::model::flow::{Brief, CONFLICTS_MAX, Conflict, Moment, RESETS_MAX, ResetFit, ResetSeen, TcpRecord, Vain, mark};
use crate::model::pace::Pace;
use crate::model::pack::{Pack, Reader, Writer};
use crate::model::packet::{Checksum, Packet, Segment};
use crate::model::seq::{Pos, Seq};
use crate::model::side::{PerSide, Side};
use crate::model::time::{Span, Time};

/// Two packets alike in all but time are one packet seen twice if they come within this span and carry an IP identification
/// (a retransmission gets a new one), …
const COPY_WITHIN: Span = Span::from_millis(5);
/// … or within this one, if they carry none: no retransmission timer is as short.
const COPY_WITHIN_BLIND: Span = Span::from_micros(600);
/// Acknowledgements across a hole after which its bytes count as lost by the capture (allows for reordered capture queues).
const HOLE_ACKS: u8 = 3;
/// What was under way when the capture met a connection is acknowledged within this time; till then a hole is no loss of the capture.
const BEFORE_CAPTURE: Span = Span::from_secs(1);
/// Only this far into a stream are segments checked for signs that they were made not to be accepted.
const ASIDE_REGION: Pos = Pos(16 * 1024);
/// A client's data segment whose TTL is this much lower than its SYN's was sent with another TTL on purpose; route changes move it by less.
const TTL_DROP: u8 = 4;
/// Payload packets per side whose checksum is verified.
const VERIFY_MAX: u8 = 8;
/// A timestamp this far behind the last one is stale on purpose (RFC 7323 PAWS would drop the segment).
const STALE_TICKS: i32 = -10_000;

/// Receives stream events: who sent, in which packet, what.
pub type Listener<'a> = dyn FnMut(Side, &Seen, &StreamEvent<'_>) + 'a;

/// The state of one connection.
#[derive(Clone)]
pub struct Conversation {
    /// On its own, so that it can be handed over as it is.
    record: Box<TcpRecord>,
    half: PerSide<Half>,
    history: History,
    /// Zero of a SYN+ACK that contradicts the first one.
    other_zero: Option<Seq>,
    fin_told: PerSide<bool>,
    /// How fast each side goes, once it has sent enough.
    pacer: PerSide<Option<Box<Pacer>>>,
    /// First packet with payload.
    pace_from: PerSide<Option<Time>>,
    listening: bool,
    /// It was over, and at rest: no pace is kept any more.
    over: bool,
}

impl Default for Conversation {
    fn default() -> Self {
        Self {
            record: Box::default(),
            half: PerSide { client: Half::new(), server: Half::new() },
            history: History::default(),
            other_zero: None,
            fin_told: PerSide::default(),
            pacer: PerSide::default(),
            pace_from: PerSide::default(),
            listening: true,
            over: false,
        }
    }
}

impl Conversation {
    /// Takes in one packet of `side`. Events for new bytes go to `listener`; the packet's line for the ladder comes back.
    pub fn feed(&mut self, side: Side, packet: &Packet<'_>, seg: &Segment<'_>, listener: &mut Listener<'_>) -> Brief {
        let seen = Seen { frame: packet.frame, ts: packet.ts, ttl: packet.ip.ttl };
        let options = options::read(seg.options);
        let mut brief = self.brief(side, packet, seg, &options);
        if self.is_copy(side, packet, seg, &options) {
            brief.marks |= mark::COPY;
            // Identical resets are how some injectors work: they say nothing about the capture.
            if seg.flags.rst() {
                self.reset(side, &brief, seg);
            } else {
                let s = &mut self.record.side[side];
                s.copies = s.copies.saturating_add(1);
            }
            return brief;
        }
        if seg.flags.rst() {
            let before = self.record.resets.iter().rfind(|r| r.packet.side == side).map(|r| r.packet.seq_raw);
            self.reset(side, &brief, seg);
            self.answer(side.peer());
            match (seg.flags.syn(), seg.flags.fin()) {
                (_, true) => self.history.add(side, 'i'),
                (true, _) => self.history.add(side, 'q'),
                _ if before.is_some_and(|at| at != brief.seq_raw) => self.history.again(side, 'r'),
                _ => self.history.add(side, 'r'),
            }
            return brief;
        }
        self.note_after_reset(side, &brief);
        self.record.side[side].ttl.add(packet.ip.ttl);
        if seg.flags.syn() {
            self.syn(side, packet, &mut brief, &options);
        }
        let aside = seg.len > 0 && self.made_not_to_be_accepted(side, packet, seg, &options, &mut brief);
        if options.tsval.is_some() && !aside {
            self.half[side].tsval = options.tsval;
        }
        if aside {
            brief.marks |= mark::ASIDE;
            let s = &mut self.record.side[side];
            s.aside = s.aside.saturating_add(1);
            if self.listening {
                self.half[side].put_aside(brief.seq, seen, seg.payload);
                listener(side, &seen, &StreamEvent::Aside { at: brief.seq, bytes: seg.payload });
            }
            return brief;
        }
        if seg.flags.ack() {
            self.acknowledge(side, packet, &mut brief, listener);
        }
        self.window(side, seg, &mut brief);
        if let Some(pacer) = &mut self.pacer[side.peer()]
            && seg.flags.ack()
        {
            pacer.acked(packet.ts, brief.ack, self.half[side].window, options.tsval);
        }
        let sent = self.record.side[side].sent;
        if let Some(pacer) = &mut self.pacer[side] {
            pacer.identified(packet.ts, packet.ip.id, seg.len > 0 && brief.seq <= sent && brief.end() > sent);
        }
        self.data(side, seg, &seen, &mut brief, listener);
        if seg.len > 0 && !brief.marked(mark::PROBE) {
            self.keep_pace(side, packet, &brief, sent, options.tsecr);
        }
        self.letters(side, seg, &brief);
        self.ask_and_answer(side, seg, &brief);
        brief
    }

    /// The inspectors want no more: from now on only positions are tracked.
    pub fn stop_listening(&mut self) {
        self.listening = false;
        for side in Side::BOTH {
            self.half[side].forget_bytes();
        }
    }

    /// Writes everything but the pace, which is handed back: for connections at which nothing happens.
    pub fn doze(self, w: &mut Writer) -> PerSide<Option<Box<Pacer>>> {
        self.record.pack(w);
        self.history.pack(w);
        self.state(w);
        self.pacer
    }

    /// The connection that [`Self::doze`] wrote.
    pub fn wake(r: &mut Reader<'_>, pacer: PerSide<Option<Box<Pacer>>>) -> Self {
        let (record, history) = (Pack::unpack(r), Pack::unpack(r));
        Self { pacer, ..Self::of_state(record, history, r) }
    }

    /// The record of a connection of which hardly anything will come any more; what it takes to go on with it is written. If it is `over`, what is
    /// missing is given up, and nothing that was said is kept to compare.
    pub fn rest(mut self, over: bool, w: &mut Writer) -> Box<TcpRecord> {
        if over {
            self.over = true;
            self.listening = false;
            for side in Side::BOTH {
                self.give_up(side);
                self.half[side].rest();
            }
        }
        self.record.history = std::mem::take(&mut self.history.letters);
        self.history.pack(w);
        self.state(w);
        self.record
    }

    /// The connection that [`Self::rest`] wrote.
    pub fn rouse(mut record: Box<TcpRecord>, r: &mut Reader<'_>) -> Self {
        let mut history: History = Pack::unpack(r);
        history.letters = std::mem::take(&mut record.history);
        Self::of_state(record, history, r)
    }

    /// Writes what is in no record.
    fn state(&self, w: &mut Writer) {
        self.half.pack(w);
        self.other_zero.pack(w);
        self.fin_told.pack(w);
        self.pace_from.pack(w);
        self.listening.pack(w);
        self.over.pack(w);
    }

    fn of_state(record: Box<TcpRecord>, history: History, r: &mut Reader<'_>) -> Self {
        Self {
            record,
            half: Pack::unpack(r),
            history,
            other_zero: Pack::unpack(r),
            fin_told: Pack::unpack(r),
            pacer: PerSide::default(),
            pace_from: Pack::unpack(r),
            listening: Pack::unpack(r),
            over: Pack::unpack(r),
        }
    }

    /// Payload bytes acknowledged beyond everything seen, FIN aside.
    fn beyond(&self, side: Side) -> u64 {
        let s = &self.record.side[side];
        let beyond = s.acked.since(self.half[side].next.max(s.sent)).saturating_sub(1);
        if s.was_seen() { u64::try_from(beyond).unwrap_or(0) } else { 0 }
    }

    /// Bytes kept until others come.
    pub fn buffered(&self) -> u64 {
        Side::BOTH.iter().map(|s| self.half[*s].buffered() as u64).sum()
    }

    /// Whether it was over, and at rest.
    pub const fn over(&self) -> bool {
        self.over
    }

    /// Whether events are still produced.
    pub fn listening(&self) -> bool {
        self.listening
    }

    /// The pace of each side that sent enough to have one. Ends its keeping.
    pub fn take_pace(&mut self) -> PerSide<Option<Box<Pace>>> {
        let mut take = |side: Side| self.pacer[side].take().map(|p| p.close());
        PerSide { client: take(Side::Client), server: take(Side::Server) }
    }

    /// The record at the end of the flow.
    pub fn close(mut self) -> Box<TcpRecord> {
        for side in Side::BOTH {
            self.give_up(side);
        }
        self.record.history = self.history.letters;
        self.record
    }

    /// What was not seen of a side is not expected any more.
    fn give_up(&mut self, side: Side) {
        let acked = self.record.side[side].acked;
        let half = &mut self.half[side];
        while let Some(hole) = half.hole() {
            let (lost, missing) = if hole.from >= half.unsure { split(hole, acked) } else { (0, 0) };
            let s = &mut self.record.side[side];
            s.capture_lost = s.capture_lost.saturating_add(lost);
            s.missing = s.missing.saturating_add(missing);
            half.skip_to(hole.to);
        }
        let beyond = self.beyond(side);
        if beyond > 0 {
            let s = &mut self.record.side[side];
            s.capture_lost = s.capture_lost.saturating_add(beyond);
            self.half[side].skip_to(acked);
        }
    }

    fn brief(&mut self, side: Side, packet: &Packet<'_>, seg: &Segment<'_>, options: &Options) -> Brief {
        let ip = &packet.ip;
        let mut marks = 0;
        if options.tsval.is_some() {
            marks |= mark::TIMESTAMP;
        }
        if options.sack_blocks {
            marks |= mark::SACK;
        }
        if options.md5 {
            marks |= mark::MD5;
        }
        let seq = self.position(side, seg);
        let ack = if seg.flags.ack() { self.peer_position(side, seg) } else { Pos::default() };
        Brief {
            frame: packet.frame,
            ts: packet.ts,
            side,
            flags: seg.flags,
            seq,
            ack,
            seq_raw: seg.seq,
            ack_raw: seg.ack,
            len: seg.len,
            window: seg.window,
            ttl: ip.ttl,
            tos: ip.tos,
            ip_id: ip.id,
            df: ip.df,
            options: u8::try_from(seg.options.len()).unwrap_or(u8::MAX),
            ip_len: u16::try_from(ip.total_len).unwrap_or(u16::MAX),
            flow_label: ip.flow_label,
            marks,
        }
    }

    /// Relative position of a segment's sequence number. Resets do not define where a stream begins.
    fn position(&mut self, side: Side, seg: &Segment<'_>) -> Pos {
        let s = &mut self.record.side[side];
        let zero = match s.zero {
            Some(zero) => zero,
            None if seg.flags.rst() => return Pos::default(),
            None => {
                let zero = if seg.flags.syn() { seg.seq } else { seg.seq.plus(u32::MAX) };
                s.zero = Some(zero);
                zero
            }
        };
        Pos::unwrap(seg.seq, zero, s.sent.max(self.half[side].next))
    }

    /// Relative position of a segment's acknowledgement in the peer's stream.
    fn peer_position(&mut self, side: Side, seg: &Segment<'_>) -> Pos {
        let p = &mut self.record.side[side.peer()];
        let zero = match p.zero {
            Some(zero) => zero,
            None if seg.flags.rst() => return Pos::default(),
            None => {
                let zero = seg.ack.plus(u32::MAX);
                p.zero = Some(zero);
                zero
            }
        };
        Pos::unwrap(seg.ack, zero, p.acked.max(Pos::FIRST))
    }

    fn is_copy(&mut self, side: Side, packet: &Packet<'_>, seg: &Segment<'_>, options: &Options) -> bool {
        let half = &mut self.half[side];
        let print = Print::of(seg, packet.ts, packet.ip.id, options.tsval);
        let within = if packet.ip.id.is_some_and(|id| id != 0) { COPY_WITHIN } else { COPY_WITHIN_BLIND };
        let found = half.prints.iter().any(|p| print.is_again(p, within));
        // Pure acknowledgements may repeat for good reason (RFC 5681 duplicate ACKs) where no IP identification tells them apart.
        let blind_ack = seg.len == 0 && packet.ip.id.is_none_or(|id| id == 0) && !seg.flags.syn() && !seg.flags.fin();
        if let Some(p) = half.prints.get_mut(usize::from(half.print_at)) {
            *p = print;
            half.print_at = half.print_at.wrapping_add(1) % 4;
        }
        found && !blind_ack
    }

    fn syn(&mut self, side: Side, packet: &Packet<'_>, brief: &mut Brief, options: &Options) {
        let at = Moment { frame: packet.frame, ts: packet.ts };
        let contradicts = self.record.side[side].zero.is_some_and(|z| z != brief.seq_raw);
        if contradicts {
            self.other_zero = Some(brief.seq_raw);
        }
        let first_of_peer = self.record.side[side.peer()].syn;
        let peer_syns = self.record.side[side.peer()].syns;
        let s = &mut self.record.side[side];
        s.syns = s.syns.saturating_add(1);
        s.syn_last = Some(at);
        if s.syn.is_some() {
            brief.marks |= mark::RETRANSMIT;
        } else {
            s.syn = Some(*brief);
            s.mss = options.mss;
            s.wscale = options.wscale;
            s.sack = options.sack_permitted;
            s.timestamps = options.tsval.is_some();
            if side == Side::Server
                && let Some(syn) = first_of_peer
                && peer_syns == 1
            {
                self.record.rtt_server = Some(packet.ts.since(syn.ts));
            }
        }
        self.record.side[side].sent = self.record.side[side].sent.max(Pos::FIRST);
        if !contradicts {
            match packet.tcp_checksum() {
                Checksum::Good => self.count_checksum(side, false),
                Checksum::Bad => self.count_checksum(side, true),
                Checksum::Unknown => {}
            }
        }
    }

    fn count_checksum(&mut self, side: Side, bad: bool) {
        let s = &mut self.record.side[side];
        s.checksums = s.checksums.saturating_add(1);
        if bad {
            s.bad_checksums = s.bad_checksums.saturating_add(1);
        }
    }

    /// Desync tools send data that the server must not accept, to confuse boxes on the path.
    fn made_not_to_be_accepted(
        &mut self,
        side: Side,
        packet: &Packet<'_>,
        seg: &Segment<'_>,
        options: &Options,
        brief: &mut Brief,
    ) -> bool {
        if brief.seq >= ASIDE_REGION || seg.flags.syn() {
            return false;
        }
        let giant = self.record.side[side.peer()].mss.is_some_and(|mss| seg.len > u32::from(mss));
        let mut bad = false;
        if self.half[side].verified < VERIFY_MAX && !giant {
            self.half[side].verified = self.half[side].verified.saturating_add(1);
            let sum = packet.tcp_checksum();
            if sum != Checksum::Unknown {
                let s = &self.record.side[side];
                let usually_good = s.checksums > s.bad_checksums.saturating_mul(2);
                bad = sum == Checksum::Bad && usually_good;
                self.count_checksum(side, sum == Checksum::Bad);
            }
        }
        if bad {
            brief.marks |= mark::BAD_CHECKSUM;
            self.history.add(side, 'c');
        }
        let stale = match (self.half[side].tsval, options.tsval) {
            (Some(last), Some(now)) => (now.wrapping_sub(last) as i32) < STALE_TICKS,
            _ => false,
        };
        let low_ttl =
            side == Side::Client && self.record.side.client.syn.is_some_and(|syn| packet.ip.ttl.saturating_add(TTL_DROP) <= syn.ttl);
        let before_start = self.record.side[side].syn.is_some() && brief.seq.plus(i64::from(seg.len)) <= Pos::FIRST;
        bad || options.md5 || !seg.flags.ack() || stale || low_ttl || before_start
    }

    fn acknowledge(&mut self, side: Side, packet: &Packet<'_>, brief: &mut Brief, listener: &mut Listener<'_>) {
        let peer = side.peer();
        let at = Moment { frame: packet.frame, ts: packet.ts };
        if side == Side::Client && self.record.established.is_none() && !brief.flags.syn() && self.record.side.server.syn.is_some() {
            // The client chose between two contradicting SYN+ACKs.
            if let Some(other) = self.other_zero
                && brief.ack_raw == other.plus(1)
            {
                self.record.side.server.zero = Some(other);
                brief.ack = Pos::FIRST;
            }
            self.record.established = Some(at);
            if let Some(syn_ack) = self.record.side.server.syn
                && self.record.side.server.syns == 1
            {
                self.record.rtt_client = Some(packet.ts.since(syn_ack.ts));
            }
        }
        let (sent, acked) = (self.record.side[peer].sent, self.record.side[peer].acked);
        if brief.ack > sent.max(Pos::FIRST) {
            brief.marks |= mark::ACKS_UNSEEN;
            self.record.side[side].acks_unseen = self.record.side[side].acks_unseen.saturating_add(1);
        }
        if brief.ack > acked {
            self.record.side[peer].acked = brief.ack;
            if let Some((end, sent_at)) = self.half[peer].timing
                && brief.ack >= end
            {
                self.half[peer].timing = None;
                self.record.side[peer].rtt.add(packet.ts.since(sent_at));
            }
        }
        if self.listening
            && let Some(piece) = self.half[peer].vindicated(brief.ack)
        {
            let Piece { at, seen, bytes } = piece;
            let end = at.plus(bytes.len() as i64);
            let from = self.half[peer].next;
            self.half[peer].take(at, end);
            self.hand_on(peer, from, at, end, &bytes, &seen, listener);
        }
        self.close_holes(peer, brief.ack, at, packet.ip.ttl, listener);
    }

    /// Bytes the receiver has but the capture has not will not come any more.
    fn close_holes(&mut self, sender: Side, acked: Pos, at: Moment, ttl: u8, listener: &mut Listener<'_>) {
        let half = &mut self.half[sender];
        if half.next >= acked || half.hole().is_none() {
            return;
        }
        half.hole_acks = half.hole_acks.saturating_add(1);
        if half.hole_acks < HOLE_ACKS {
            return;
        }
        let seen = Seen { frame: at.frame, ts: at.ts, ttl };
        while let Some(hole) = self.half[sender].hole() {
            if hole.from >= acked {
                break;
            }
            // Where more was seen than could be remembered, what looks missing may have been seen.
            let known = hole.from >= self.half[sender].unsure;
            let lost = if known { hole.to.since(hole.from).unsigned_abs() } else { 0 };
            let s = &mut self.record.side[sender];
            s.capture_lost = s.capture_lost.saturating_add(lost);
            self.history.add(sender, 'g');
            self.half[sender].skip_to(hole.to);
            if self.listening {
                listener(sender, &seen, &StreamEvent::Gap { from: hole.from, to: hole.to, cause: GapCause::CaptureLoss });
                self.drain(sender, hole.to, &seen, listener);
            }
        }
    }

    fn window(&mut self, side: Side, seg: &Segment<'_>, brief: &mut Brief) {
        let s = &mut self.record.side[side];
        if seg.window == 0 && !seg.flags.syn() {
            s.zero_windows = s.zero_windows.saturating_add(1);
            brief.marks |= mark::ZERO_WINDOW;
            self.history.add(side, 'w');
        }
        let shift = if seg.flags.syn() { 0 } else { self.window_shift(side) };
        self.half[side].window = u64::from(seg.window).wrapping_shl(shift);
    }

    /// Scaling of `side`'s window field: both SYNs must offer it (RFC 7323 §2.2); unknown without them, then taken as usual (7).
    fn window_shift(&self, side: Side) -> u32 {
        let (own, peer) = (&self.record.side[side], &self.record.side[side.peer()]);
        match (own.syn.is_some() && peer.syn.is_some(), own.wscale, peer.wscale) {
            (true, Some(shift), Some(_)) => u32::from(shift),
            (true, ..) => 0,
            _ => 7,
        }
    }

    fn data(&mut self, side: Side, seg: &Segment<'_>, seen: &Seen, brief: &mut Brief, listener: &mut Listener<'_>) {
        let start = if seg.flags.syn() { brief.seq.plus(1) } else { brief.seq };
        let len = i64::from(seg.len);
        let end = start.plus(len);
        let to = end.plus(i64::from(seg.flags.fin()));
        let sent = self.record.side[side].sent;
        if len <= 1 && !seg.flags.fin() && !seg.flags.syn() && start.plus(1) == sent && sent > Pos::FIRST {
            brief.marks |= mark::PROBE;
            let s = &mut self.record.side[side];
            s.probes = s.probes.saturating_add(1);
            return;
        }
        if seg.flags.fin() && self.record.side[side].fin.is_none() {
            self.record.side[side].fin = Some((end, Moment { frame: seen.frame, ts: seen.ts }));
        }
        if len == 0 && !seg.flags.fin() {
            return;
        }
        if len > 0 {
            let s = &mut self.record.side[side];
            s.data_segments = s.data_segments.saturating_add(1);
            if self.record.side[side.peer()].mss.is_some_and(|mss| seg.len > u32::from(mss)) {
                let s = &mut self.record.side[side];
                s.giant = s.giant.saturating_add(1);
            }
            self.contradictions(side, start, seg, seen, brief, listener);
        }
        let before = self.half[side].next;
        let fit = self.half[side].take(start, to);
        if fit == Fit::AfterHole && self.just_met(side, seen.ts) {
            self.half[side].unsure = self.half[side].unsure.max(start);
        }
        self.account(side, fit, start, end, len, seen, brief);
        self.record.side[side].sent = sent.max(to);
        if !self.listening {
            return;
        }
        match fit {
            Fit::Old => {}
            _ if start <= before => {
                if len > 0 {
                    self.hand_on(side, before, start, end, seg.payload, seen, listener);
                } else {
                    self.drain(side, end, seen, listener);
                }
            }
            _ => self.half[side].keep(start, *seen, seg.payload),
        }
        if let Some((at, _)) = self.record.side[side].fin
            && self.half[side].next > at
            && !self.fin_told[side]
        {
            self.fin_told[side] = true;
            listener(side, seen, &StreamEvent::Fin { at });
        }
    }

    /// The capture met the connection in the middle, a moment ago: what is missing may have been sent before.
    fn just_met(&self, side: Side, now: Time) -> bool {
        let met = Side::BOTH.into_iter().all(|s| self.record.side[s].syn.is_none());
        met && self.pace_from[side].is_some_and(|first| now.since(first) <= BEFORE_CAPTURE)
    }

    /// `sent` is what this side had sent before this packet.
    fn keep_pace(&mut self, side: Side, packet: &Packet<'_>, brief: &Brief, sent: Pos, tsecr: Option<u32>) {
        let s = &self.record.side[side];
        if self.pacer[side].is_none() && !self.over && Pacer::wanted(s.data_segments, s.unique) {
            // This packet counts from now on, not before.
            let before = s.unique.saturating_sub(u64::from(brief.len));
            let headers = u64::from(s.data_segments.saturating_sub(1)).saturating_mul(52);
            self.pacer[side] = Some(Pacer::new(self.pace_from[side].unwrap_or(brief.ts), before.saturating_add(headers), brief.ts));
        }
        self.pace_from[side].get_or_insert(brief.ts);
        let Some(pacer) = &mut self.pacer[side] else { return };
        let place = match () {
            () if brief.marked(mark::FILLS_HOLE) => Place::Fills,
            () if brief.marked(mark::RETRANSMIT) && brief.end() <= sent => Place::Again,
            () if brief.marked(mark::AFTER_HOLE) && brief.seq > sent => {
                Place::BehindHole(u64::try_from(brief.seq.since(sent)).unwrap_or(0))
            }
            () => Place::New,
        };
        // What one packet on the wire can carry: the peer's MSS less this packet's options (RFC 6691).
        let options = u32::from(brief.options);
        pacer.data(&Step {
            ts: packet.ts,
            len: brief.len,
            ip_len: packet.ip.total_len,
            from: brief.seq,
            to: brief.seq.plus(i64::from(brief.len)),
            place,
            acked: s.acked,
            window: self.half[side.peer()].window,
            mss: self.record.side[side.peer()].mss.map(|mss| u32::from(mss).saturating_sub(options)),
            blind: Side::BOTH.into_iter().any(|s| {
                let s = &self.record.side[s];
                s.syn.is_some() && !s.sack
            }),
            tsecr,
        });
    }

    #[allow(clippy::too_many_arguments)]
    fn account(&mut self, side: Side, fit: Fit, start: Pos, end: Pos, len: i64, seen: &Seen, brief: &mut Brief) {
        let s = &mut self.record.side[side];
        let half = &mut self.half[side];
        match fit {
            Fit::Old if len > 0 => {
                brief.marks |= mark::RETRANSMIT;
                s.retransmitted = s.retransmitted.saturating_add(1);
                s.retransmitted_bytes = s.retransmitted_bytes.saturating_add(len.unsigned_abs());
                self.history.add(side, 't');
                if half.timing.is_some_and(|(timed, _)| timed > start) {
                    half.timing = None;
                }
            }
            // A repeated FIN.
            Fit::Old => brief.marks |= mark::RETRANSMIT,
            Fit::AfterHole => {
                brief.marks |= mark::AFTER_HOLE;
                s.unique = s.unique.saturating_add(len.unsigned_abs());
            }
            Fit::FillsHole => {
                brief.marks |= mark::FILLS_HOLE;
                s.filled = s.filled.saturating_add(1);
                s.unique = s.unique.saturating_add(len.unsigned_abs());
                half.timing = None;
            }
            Fit::Next | Fit::Extends => {
                if fit == Fit::Extends {
                    brief.marks |= mark::RETRANSMIT;
                }
                s.unique = s.unique.saturating_add(len.unsigned_abs());
                if half.timing.is_none() && fit == Fit::Next {
                    half.timing = Some((end, seen.ts));
                }
            }
        }
    }

    fn contradictions(&mut self, side: Side, start: Pos, seg: &Segment<'_>, seen: &Seen, brief: &mut Brief, listener: &mut Listener<'_>) {
        if start >= self.half[side].next || !self.half[side].holds() {
            return;
        }
        let Some((at, held, held_ttl)) = self.half[side].contradiction(start, seg.payload) else { return };
        brief.marks |= mark::CONFLICT;
        if self.record.conflicts.len() < CONFLICTS_MAX {
            self.record.conflicts.push(Conflict { at, side, held, held_ttl, seen: *brief });
        }
        if self.listening {
            listener(side, seen, &StreamEvent::Aside { at: start, bytes: seg.payload });
        }
    }

    /// Delivers the new part of `bytes` (which stand at `at..to` on the wire), then what waited behind it.
    #[allow(clippy::too_many_arguments)]
    fn hand_on(&mut self, side: Side, delivered: Pos, at: Pos, to: Pos, bytes: &[u8], seen: &Seen, listener: &mut Listener<'_>) {
        let skip = usize::try_from(delivered.since(at).max(0)).unwrap_or(usize::MAX);
        let from = at.max(delivered);
        let fresh = bytes.get(skip..).unwrap_or(&[]);
        if !fresh.is_empty() {
            self.half[side].hold(from, fresh, *seen);
            listener(side, seen, &StreamEvent::Bytes { at: from, bytes: fresh });
        }
        let captured_to = from.plus(fresh.len() as i64);
        if captured_to < to {
            listener(side, seen, &StreamEvent::Gap { from: captured_to, to, cause: GapCause::Snaplen });
        }
        self.drain(side, to, seen, listener);
    }

    /// Delivers waiting bytes from `upto` on, with a gap where they were not kept.
    fn drain(&mut self, side: Side, mut upto: Pos, seen: &Seen, listener: &mut Listener<'_>) {
        while upto < self.half[side].next {
            if let Some(piece) = self.half[side].ready(upto) {
                let skip = usize::try_from(upto.since(piece.at)).unwrap_or(usize::MAX);
                let fresh = piece.bytes.get(skip..).unwrap_or(&[]);
                self.half[side].hold(upto, fresh, piece.seen);
                listener(side, &piece.seen, &StreamEvent::Bytes { at: upto, bytes: fresh });
                upto = upto.plus(fresh.len() as i64);
                continue;
            }
            let next = self.half[side].next;
            let fin = self.record.side[side].fin.is_some_and(|(at, _)| at == upto && at.plus(1) == next);
            let to = self.half[side].waits_at().map_or(next, |at| at.min(next));
            if fin || to <= upto {
                break;
            }
            listener(side, seen, &StreamEvent::Gap { from: upto, to, cause: GapCause::Bound });
            upto = to;
        }
    }

    fn reset(&mut self, side: Side, brief: &Brief, seg: &Segment<'_>) {
        let peer = side.peer();
        let fit = self.reset_fit(side, brief);
        let own_last = self.last_of(side);
        let (peer_last, peer_last_payload) = (self.last_of(peer), self.last_asking(peer));
        let mut payload = [0; 32];
        let kept = seg.payload.len().min(payload.len());
        if let (Some(to), Some(from)) = (payload.get_mut(..kept), seg.payload.get(..kept)) {
            to.copy_from_slice(from);
        }
        let seen = ResetSeen {
            packet: *brief,
            fit,
            sent: self.record.side[side].sent,
            acked: self.record.side[side].acked,
            peer_sent: self.record.side[peer].sent,
            peer_last,
            peer_last_payload,
            own_last,
            fin_before: self.record.side[side].fin.is_some(),
            peer_fin_before: self.record.side[peer].fin.is_some(),
            peer_rst_before: self.record.side[peer].resets > 0,
            payload,
            payload_len: u8::try_from(kept).unwrap_or(0),
        };
        let s = &mut self.record.side[side];
        s.resets = s.resets.saturating_add(1);
        if self.record.resets.len() < RESETS_MAX {
            // Nearly always it is the only one.
            if self.record.resets.is_empty() {
                self.record.resets.reserve_exact(1);
            }
            self.record.resets.push(seen);
        }
    }

    /// How a reset fits the state of its receiver, as far as the capture shows it (RFC 5961 §3.2).
    fn reset_fit(&self, side: Side, brief: &Brief) -> ResetFit {
        let s = &self.record.side[side];
        if s.zero.is_none() {
            return if self.record.side[side.peer()].syn.is_some() { ResetFit::OnSyn } else { ResetFit::Unknown };
        }
        // The receiver expects something between what it acknowledged and what the capture has seen of the sender.
        let (low, high) = (s.acked.max(Pos::FIRST), self.half[side].next.max(s.acked));
        let window = self.half[side.peer()].window.max(1);
        let top = high.plus(i64::try_from(window).unwrap_or(i64::MAX));
        match brief.seq {
            p if p >= low && p <= high => ResetFit::Exact,
            p if p < low => ResetFit::Stale,
            p if p < top => ResetFit::InWindow,
            _ => ResetFit::Ahead,
        }
    }

    fn last_of(&self, side: Side) -> Option<Moment> {
        self.record.side[side].last_packet
    }

    fn last_asking(&self, side: Side) -> Option<Moment> {
        self.record.side[side].last_asking
    }

    fn note_after_reset(&mut self, side: Side, brief: &Brief) {
        if self.record.side[side].resets == 0 || brief.flags.syn() {
            return;
        }
        let first_reset = self.record.resets.iter().find(|r| r.packet.side == side).map(|r| r.packet.seq);
        let a = &mut self.record.after_reset[side];
        a.packets = a.packets.saturating_add(1);
        a.first.get_or_insert(*brief);
        if brief.len > 0 && first_reset.is_some_and(|at| brief.end() > at) {
            a.new_data = a.new_data.saturating_add(1);
            a.first_new.get_or_insert(*brief);
        }
    }

    fn letters(&mut self, side: Side, seg: &Segment<'_>, brief: &Brief) {
        let f = seg.flags;
        match (f.syn(), f.fin()) {
            (true, true) => self.history.add(side, 'q'),
            (true, false) => self.history.add(side, if f.ack() { 'h' } else { 's' }),
            // Zeek writes one letter a packet.
            (false, true) => self.history.add(side, 'f'),
            _ if seg.len > 0 && !brief.marked(mark::RETRANSMIT) => self.history.add(side, 'd'),
            _ if f.ack() && seg.len == 0 => self.history.add(side, 'a'),
            _ => {}
        }
    }

    fn ask_and_answer(&mut self, side: Side, seg: &Segment<'_>, brief: &Brief) {
        let at = Moment { frame: brief.frame, ts: brief.ts };
        let s = &mut self.record.side[side];
        s.last_packet = Some(at);
        if seg.len > 0 || seg.flags.syn() || seg.flags.fin() || brief.marked(mark::PROBE) {
            s.last_asking = Some(at);
            let u = &mut s.unanswered;
            u.packets = u.packets.saturating_add(1);
            u.retransmissions = u.retransmissions.saturating_add(u32::from(brief.marked(mark::RETRANSMIT)));
            u.first.get_or_insert(at);
            u.last = Some(at);
        }
        let first = s.acked.max(Pos::FIRST);
        if brief.marked(mark::RETRANSMIT) && brief.len > 0 && brief.seq <= first && brief.end() > first {
            let before = if s.vain.at == first { *s.vain } else { Vain { at: first, repeats: 0, first: None, last: None } };
            *s.vain = Vain { repeats: before.repeats.saturating_add(1), first: before.first.or(Some(at)), last: Some(at), ..before };
        }
        self.answer(side.peer());
    }

    /// `side` has just been answered (by whatever packet).
    fn answer(&mut self, side: Side) {
        self.record.side[side].unanswered = crate::model::flow::Unanswered::default();
    }
}

/// How much of a hole lies before `acked`, and how much after.
fn split(hole: Range, acked: Pos) -> (u64, u64) {
    let edge = acked.max(hole.from).min(hole.to);
    (edge.since(hole.from).unsigned_abs(), hole.to.since(edge).unsigned_abs())
}
