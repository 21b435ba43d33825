//! Packets of a flow, and what is said of them.

use super::{Pack, Reader, Writer, pack_fields};
use crate::model::event::Seen;
use crate::model::flow::{
    AfterReset, Brief, Conflict, IcmpSeen, Ladder, Moment, ResetFit, ResetSeen, Rtt, TcpRecord, TcpSide, Totals, Troubles, Unanswered, Vain,
};
use crate::model::frame::FrameNo;
use crate::model::packet::TcpFlags;
use crate::model::seq::{Pos, Seq};
use crate::model::side::Side;
use crate::model::time::Time;

/// The last packet of a side.
#[derive(Clone, Copy)]
pub(super) struct Last {
    seq: i64,
    ack: i64,
    seq_raw: u32,
    ack_raw: u32,
    rare: Rarely,
}

/// What rarely changes from one packet of a side to the next.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Rarely {
    ttl: u8,
    tos: u8,
    df: bool,
    options: u8,
    window: u16,
    marks: u16,
    flow_label: u32,
    /// Bytes of the IP packet beyond the payload.
    headers: u32,
    has_id: bool,
}

impl Last {
    /// There was none.
    pub(super) const NONE: Self = {
        let rare = Rarely { ttl: 0, tos: 0, df: false, options: 0, window: 0, marks: 0, flow_label: 0, headers: 0, has_id: false };
        Self { seq: 0, ack: 0, seq_raw: 0, ack_raw: 0, rare }
    };
}

/// Most packets that can be referred to: their place takes six bits.
const KNOWN_MAX: usize = 63;

impl Writer {
    /// What follows may refer to these packets, which were written just now, in this order.
    pub fn refer_to(&mut self, head: &[Brief], tail: &[Brief]) {
        self.known.clear();
        self.known.extend(head.iter().chain(tail).take(KNOWN_MAX));
    }

    /// The place of this moment among the packets, if it is one of theirs.
    fn place(&self, at: &Moment) -> Option<u8> {
        let place = self.known.iter().position(|p| p.frame == at.frame && p.ts == at.ts)?;
        u8::try_from(place).ok()
    }

    /// Later distances are those from here.
    const fn stand_at(&mut self, at: &Moment) {
        (self.context.frame, self.context.ts) = (at.frame.0, at.ts.nanos());
    }

    fn distance(&mut self, at: &Moment) {
        at.frame.pack(self);
        at.ts.pack(self);
    }
}

impl Reader<'_> {
    /// What `read` reads may refer to these packets, which were read just now.
    pub fn beside<T>(&mut self, head: &mut Vec<Brief>, tail: &mut Vec<Brief>, read: impl FnOnce(&mut Self) -> T) -> T {
        self.known = [std::mem::take(head), std::mem::take(tail)];
        let t = read(self);
        [*head, *tail] = std::mem::take(&mut self.known);
        t
    }

    /// The packet at a place, from which later distances are; one of zeros if there is none.
    fn known(&mut self, place: u8) -> Brief {
        let [head, tail] = &self.known;
        let place = usize::from(place);
        let found = head.get(place).or_else(|| tail.get(place.checked_sub(head.len())?)).copied();
        let p = found.unwrap_or(Brief::datagram(Moment { frame: FrameNo(0), ts: Time::from_nanos(0) }, Side::Client, 0));
        (self.context.frame, self.context.ts) = (p.frame.0, p.ts.nanos());
        p
    }

    fn distance(&mut self) -> Moment {
        Moment { frame: Pack::unpack(self), ts: Pack::unpack(self) }
    }
}

/// Of a moment that may not be there: there is none, it is written out, or from here on its place.
mod moment {
    pub const NONE: u8 = 0;
    pub const FAR: u8 = 1;
    pub const PLACE: u8 = 2;
}

impl Pack for Moment {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        Self::pack_option(Some(self), w);
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        Self::unpack_option(r).unwrap_or(Self { frame: FrameNo(0), ts: Time::from_nanos(0) })
    }
    #[inline]
    fn pack_option(this: Option<&Self>, w: &mut Writer) {
        let Some(at) = this else { return w.out.push(moment::NONE) };
        if let Some(place) = w.place(at) {
            w.out.push(moment::PLACE.saturating_add(place));
            w.stand_at(at);
        } else {
            w.out.push(moment::FAR);
            w.distance(at);
        }
    }
    #[inline]
    fn unpack_option(r: &mut Reader<'_>) -> Option<Self> {
        match r.byte() {
            moment::NONE => None,
            moment::FAR => Some(r.distance()),
            place => {
                let p = r.known(place.wrapping_sub(moment::PLACE));
                Some(Self { frame: p.frame, ts: p.ts })
            }
        }
    }
}

const FITS: [ResetFit; 6] = [ResetFit::Exact, ResetFit::InWindow, ResetFit::Stale, ResetFit::Ahead, ResetFit::OnSyn, ResetFit::Unknown];

impl Pack for ResetFit {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        FITS.iter().position(|f| f == self).unwrap_or(FITS.len()).pack(w);
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        FITS.get(usize::unpack(r)).copied().unwrap_or(Self::Unknown)
    }
}

/// Bits of the first byte of a packet.
mod head {
    pub const SERVER: u8 = 1;
    pub const RARE: u8 = 1 << 1;
    pub const SEQ_ODD: u8 = 1 << 2;
    pub const ACK_ODD: u8 = 1 << 3;
    pub const DF: u8 = 1 << 4;
    pub const ID: u8 = 1 << 5;
    /// There is one (of what may not be there, whose byte is zero then).
    pub const THERE: u8 = 1 << 6;
    /// It is one of those that can be referred to; the other bits are its place.
    pub const KNOWN: u8 = 1 << 7;
}

impl Pack for Brief {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        let at = Moment { frame: self.frame, ts: self.ts };
        if let Some(place) = w.place(&at)
            && w.known.get(usize::from(place)) == Some(self)
        {
            w.out.push(head::KNOWN | place);
            return w.stand_at(&at);
        }
        let side = usize::from(self.side == Side::Server);
        let before = w.context.last[side];
        let rare = Rarely {
            ttl: self.ttl,
            tos: self.tos,
            df: self.df,
            options: self.options,
            window: self.window,
            marks: self.marks,
            flow_label: self.flow_label,
            headers: u32::from(self.ip_len).wrapping_sub(self.len),
            has_id: self.ip_id.is_some(),
        };
        let (seq, ack) = (self.seq.0.wrapping_sub(before.seq), self.ack.0.wrapping_sub(before.ack));
        // Positions and numbers on the wire nearly always move by the same amount.
        let seq_odd = self.seq_raw.0.wrapping_sub(before.seq_raw.wrapping_add(seq as u32));
        let ack_odd = self.ack_raw.0.wrapping_sub(before.ack_raw.wrapping_add(ack as u32));
        let bit = |on: bool, bit: u8| if on { bit } else { 0 };
        w.out.push(
            bit(side == 1, head::SERVER)
                | bit(rare != before.rare, head::RARE)
                | bit(seq_odd != 0, head::SEQ_ODD)
                | bit(ack_odd != 0, head::ACK_ODD)
                | bit(self.df, head::DF)
                | bit(rare.has_id, head::ID),
        );
        self.frame.pack(w);
        self.ts.pack(w);
        self.flags.0.pack(w);
        self.len.pack(w);
        w.signed(seq);
        w.signed(ack);
        if seq_odd != 0 {
            seq_odd.pack(w);
        }
        if ack_odd != 0 {
            ack_odd.pack(w);
        }
        if let Some(id) = self.ip_id {
            id.pack(w);
        }
        if rare != before.rare {
            w.out.extend_from_slice(&[rare.ttl, rare.tos, rare.options]);
            rare.window.pack(w);
            rare.marks.pack(w);
            rare.flow_label.pack(w);
            rare.headers.pack(w);
        }
        w.context.last[side] = Last { seq: self.seq.0, ack: self.ack.0, seq_raw: self.seq_raw.0, ack_raw: self.ack_raw.0, rare };
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        let bits = r.byte();
        r.packet(bits)
    }
    #[inline]
    fn pack_option(this: Option<&Self>, w: &mut Writer) {
        let Some(packet) = this else { return w.out.push(0) };
        let at = w.out.len();
        packet.pack(w);
        w.out[at] |= head::THERE;
    }
    #[inline]
    fn unpack_option(r: &mut Reader<'_>) -> Option<Self> {
        let bits = r.byte();
        (bits & head::THERE != 0).then(|| r.packet(bits & !head::THERE))
    }
}

impl Reader<'_> {
    /// The packet whose first byte this is.
    #[inline]
    fn packet(&mut self, bits: u8) -> Brief {
        let r = self;
        let has = |bit: u8| bits & bit != 0;
        if has(head::KNOWN) {
            return r.known(bits & !head::KNOWN);
        }
        let side = if has(head::SERVER) { Side::Server } else { Side::Client };
        let at = usize::from(has(head::SERVER));
        let before = r.context.last[at];
        let frame = FrameNo::unpack(r);
        let ts = Time::unpack(r);
        let flags = TcpFlags(u16::unpack(r));
        let len = u32::unpack(r);
        let (seq, ack) = (r.signed(), r.signed());
        let seq_odd = if has(head::SEQ_ODD) { u32::unpack(r) } else { 0 };
        let ack_odd = if has(head::ACK_ODD) { u32::unpack(r) } else { 0 };
        let ip_id = has(head::ID).then(|| u16::unpack(r));
        let mut rare = before.rare;
        if has(head::RARE) {
            (rare.ttl, rare.tos, rare.options) = (r.byte(), r.byte(), r.byte());
            rare.window = u16::unpack(r);
            rare.marks = u16::unpack(r);
            rare.flow_label = u32::unpack(r);
            rare.headers = u32::unpack(r);
        }
        (rare.df, rare.has_id) = (has(head::DF), has(head::ID));
        let last = Last {
            seq: before.seq.wrapping_add(seq),
            ack: before.ack.wrapping_add(ack),
            seq_raw: before.seq_raw.wrapping_add(seq as u32).wrapping_add(seq_odd),
            ack_raw: before.ack_raw.wrapping_add(ack as u32).wrapping_add(ack_odd),
            rare,
        };
        r.context.last[at] = last;
        Brief {
            frame,
            ts,
            side,
            flags,
            seq: Pos(last.seq),
            ack: Pos(last.ack),
            seq_raw: Seq(last.seq_raw),
            ack_raw: Seq(last.ack_raw),
            len,
            window: rare.window,
            ttl: rare.ttl,
            tos: rare.tos,
            ip_id,
            df: rare.df,
            options: rare.options,
            ip_len: len.wrapping_add(rare.headers) as u16,
            flow_label: rare.flow_label,
            marks: rare.marks,
        }
    }
}

impl Pack for TcpSide {
    #[inline]
    fn pack(&self, w: &mut Writer) {
        // Of a side that said nothing all is zero: one byte says so.
        let from = w.out.len();
        w.out.push(1);
        self.pack_all(w);
        if w.out[from + 1..].iter().all(|b| *b == 0) {
            w.out.truncate(from);
            w.out.push(0);
        }
    }
    #[inline]
    fn unpack(r: &mut Reader<'_>) -> Self {
        if r.byte() == 0 { Self::default() } else { Self::unpack_all(r) }
    }
}

macro_rules! side_fields {
    ($($f:ident),*) => {
        impl TcpSide {
            #[inline]
            fn pack_all(&self, w: &mut Writer) {
                $( self.$f.pack(w); )*
            }
            #[inline]
            fn unpack_all(r: &mut Reader<'_>) -> Self {
                Self { $( $f: Pack::unpack(r) ),* }
            }
        }
    };
}
side_fields!(
    zero,
    sent,
    acked,
    unique,
    data_segments,
    fin,
    resets,
    mss,
    wscale,
    sack,
    timestamps,
    syns,
    syn,
    syn_last,
    ttl,
    rtt,
    checksums,
    unanswered,
    vain,
    last_packet,
    last_asking,
    troubles
);

pack_fields! {
    Seen { frame, ts, ttl }
    Totals { packets, bytes, payload, first, last, first_payload, last_payload, cut }
    Rtt { n, min, max, sum }
    Unanswered { packets, retransmissions, first, last }
    Vain { at, repeats, first, last }
    Troubles {
        retransmitted, retransmitted_bytes, filled, copies, capture_lost, missing, zero_windows, giant, probes, bad_checksums, aside, acks_unseen,
    }
    ResetSeen {
        packet, fit, sent, acked, peer_sent, peer_last, peer_last_payload, own_last, fin_before, peer_fin_before, peer_rst_before, payload, payload_len,
    }
    AfterReset { packets, new_data, first, first_new }
    Conflict { at, side, held, held_ttl, seen }
    TcpRecord { history, side, established, resets, after_reset, conflicts, rtt_server, rtt_client }
    IcmpSeen { at, from, about, version, kind, code, ttl }
    Ladder { head, tail, between }
}

#[cfg(test)]
mod tests {
    use super::super::tests::there_and_back;
    use super::*;
    use proptest::prelude::*;

    /// Any packet at all, made from noise.
    fn packet(noise: &[u64; 4]) -> Brief {
        let [a, b, c, d] = *noise;
        Brief {
            frame: FrameNo(a),
            ts: Time::from_nanos(b as i64 | 1),
            side: if a & 1 == 0 { Side::Client } else { Side::Server },
            flags: TcpFlags(c as u16),
            seq: Pos(d as i64),
            ack: Pos(c as i64),
            seq_raw: Seq(b as u32),
            ack_raw: Seq((d >> 32) as u32),
            len: (a >> 32) as u32,
            window: (b >> 40) as u16,
            ttl: (c >> 8) as u8,
            tos: (c >> 16) as u8,
            ip_id: (d & 2 == 0).then_some((d >> 8) as u16),
            df: c & 4 == 0,
            options: (a >> 8) as u8,
            ip_len: (b >> 8) as u16,
            flow_label: (c >> 24) as u32,
            marks: (d >> 16) as u16,
        }
    }

    proptest! {
        #[test]
        fn packets_come_back_as_they_were(noise: Vec<[u64; 4]>) {
            let ladder: Vec<Brief> = noise.iter().map(packet).collect();
            prop_assert_eq!(there_and_back(&ladder).0, ladder);
        }

        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let mut r = Reader::new(&bytes);
            let mut ladder = Ladder::unpack(&mut r);
            let _: TcpRecord = r.beside(&mut ladder.head, &mut ladder.tail, Pack::unpack);
        }
    }

    #[test]
    fn the_packets_of_a_conversation_take_a_fifth_of_their_room() {
        let of = |i: u64, seq: i64| Brief {
            frame: FrameNo(1_000_000 + i * 7),
            ts: Time::from_nanos(1_700_000_000_000_000_000 + i as i64 * 11_000_000),
            side: Side::Server,
            flags: TcpFlags(0x18),
            seq: Pos(seq),
            ack: Pos(518),
            seq_raw: Seq(4_000_000_000u32.wrapping_add(seq as u32)),
            ack_raw: Seq(3_000_000_518),
            len: 1_400,
            window: 501,
            ip_id: Some(i as u16 + 3_000),
            ip_len: 1_452,
            ..packet(&[0, 0, 4, 0])
        };
        let ladder: Vec<Brief> = (0..32).map(|i| of(i, 1 + i as i64 * 1_400)).collect();
        let (back, bytes) = there_and_back(&ladder);
        assert_eq!(back, ladder);
        assert!(bytes * 4 < ladder.len() * size_of::<Brief>(), "{bytes}");
    }

    #[test]
    fn what_is_said_of_a_packet_in_the_ladder_is_its_place() {
        let of =
            |i: u64| Brief { seq: Pos(1 + i as i64 * 1_400), ..packet(&[1_000_000 + i * 7, 1_700_000_000_000_000_000 + (i << 24), i, 77]) };
        let all: Vec<Brief> = (0..6).map(of).collect();
        let (head, tail) = all.split_at(4);
        let ladder = Ladder { head: head.to_vec(), tail: tail.to_vec(), between: 3 };
        let at = |p: &Brief| Moment { frame: p.frame, ts: p.ts };
        let elsewhere = Moment { frame: FrameNo(7), ..at(&all[2]) };
        let marked = Brief { marks: 1 ^ all[5].marks, ..all[5] };
        let said = (
            [Some(at(&all[0])), None, Some(at(&all[5])), Some(elsewhere)],
            [Some(all[3]), None, Some(all[4]), Some(marked)],
            (at(&all[1]), all[2]),
        );
        let mut w = Writer::default();
        ladder.pack(&mut w);
        let packets = w.bytes().len();
        w.refer_to(&ladder.head, &ladder.tail);
        (said.0, said.1, said.2).pack(&mut w);
        let len = w.bytes().len() - packets;
        let mut r = Reader::new(w.bytes());
        let mut back = Ladder::unpack(&mut r);
        let told = r.beside(&mut back.head, &mut back.tail, |r| {
            (<[Option<Moment>; 4]>::unpack(r), <[Option<Brief>; 4]>::unpack(r), <(Moment, Brief)>::unpack(r))
        });
        assert_eq!(told, said);
        assert_eq!((back.head, back.tail, back.between), (ladder.head, ladder.tail, 3));
        assert!(r.from.is_empty());
        let [written_out, far] = [there_and_back(&marked).1, there_and_back(&elsewhere).1];
        assert!(len <= 8 + far + written_out, "{len} bytes");
    }

    #[test]
    fn a_side_that_said_nothing_is_one_byte() {
        assert_eq!(there_and_back(&TcpSide::default()).1, 1);
        let silent = TcpSide { syns: 1, syn: Some(packet(&[1, 2, 3, 4])), ..TcpSide::default() };
        let (back, _) = there_and_back(&silent);
        assert_eq!((back.syns, back.syn), (silent.syns, silent.syn));
    }
}
