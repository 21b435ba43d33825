//! A connection of which there are only SYNs of its client, as they came. It becomes a [`Conversation`] once something else comes, or when it ends:
//! a flood, and most of a scan, is hundreds of thousands of these, and what is kept of a connection is twenty times as large.

use super::Conversation;
use crate::model::flow::Brief;
use crate::model::frame::FrameNo;
use crate::model::key::Endpoint;
use crate::model::packet::{Body, IpHead, Packet, Segment, TcpFlags};
use crate::model::seq::Seq;
use crate::model::side::Side;
use crate::model::time::Time;

/// More SYNs than this are a connection like any other.
const SYNS_MAX: usize = 8;
/// Longest TCP header (RFC 9293 §3.1), bytes.
const HEADER_MAX: usize = 60;
/// Bytes of it before the options.
const FIXED: usize = 20;

/// SYNs of a client that nobody has answered yet.
#[derive(Clone, Default)]
pub struct Dawn {
    syns: Vec<Syn>,
}

/// One of them.
#[derive(Clone)]
struct Syn {
    frame: FrameNo,
    ts: Time,
    ip: IpHead,
    seq: Seq,
    ack: Seq,
    flags: TcpFlags,
    window: u16,
    len: u8,
    header: [u8; HEADER_MAX],
}

impl Dawn {
    /// Keeps a packet of a connection that has not begun yet; `false` if it is none that can be kept.
    pub fn keeps(&mut self, side: Side, packet: &Packet<'_>, seg: &Segment<'_>) -> bool {
        let f = seg.flags;
        let lone = side == Side::Client && f.syn() && !f.ack() && !f.rst() && !f.fin() && seg.len == 0 && seg.payload.is_empty();
        let whole = seg.raw.len() == seg.options.len().saturating_add(FIXED) && seg.raw.get(FIXED..) == Some(seg.options);
        if !lone || !whole || self.syns.len() >= SYNS_MAX {
            return false;
        }
        let mut header = [0; HEADER_MAX];
        let Some(room) = header.get_mut(..seg.raw.len()) else { return false };
        room.copy_from_slice(seg.raw);
        if self.syns.len() == self.syns.capacity() {
            self.syns.reserve_exact(self.syns.len().max(1));
        }
        self.syns.push(Syn {
            frame: packet.frame,
            ts: packet.ts,
            ip: packet.ip,
            seq: seg.seq,
            ack: seg.ack,
            flags: f,
            window: seg.window,
            len: u8::try_from(seg.raw.len()).unwrap_or(u8::MAX),
            header,
        });
        true
    }

    /// Whether nothing is kept.
    pub const fn is_empty(&self) -> bool {
        self.syns.is_empty()
    }

    /// The connection that begins with what was kept, and the lines of its ladder. Nothing is kept afterwards.
    pub fn rise(&mut self, client: Endpoint, server: Endpoint, ladder: &mut dyn FnMut(Brief)) -> Box<Conversation> {
        let mut conversation = Box::<Conversation>::default();
        for syn in std::mem::take(&mut self.syns) {
            let raw = syn.header.get(..usize::from(syn.len)).unwrap_or(&[]);
            let seg = Segment {
                seq: syn.seq,
                ack: syn.ack,
                flags: syn.flags,
                window: syn.window,
                options: raw.get(FIXED..).unwrap_or(&[]),
                payload: &[],
                len: 0,
                raw,
            };
            let packet = Packet { frame: syn.frame, ts: syn.ts, src: client, dst: server, ip: syn.ip, body: Body::Tcp(seg), owner: None };
            // A SYN brings no byte: nobody has anything to listen to.
            ladder(conversation.feed(Side::Client, &packet, &seg, &mut |_, _, _| {}));
        }
        conversation
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const OPTIONS: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7];

    fn syn(frame: u64, ms: i64, seq: u32, ttl: u8) -> (u64, Time, u32, IpHead) {
        let ip = IpHead { proto: 6, ttl, id: Some(frame as u16), df: true, total_len: 60, ..IpHead::default() };
        (frame, Time::from_nanos(ms * 1_000_000), seq, ip)
    }

    /// What a flow of these SYNs comes to, with and without waiting for its dawn, as its record and the lines of its ladder.
    fn both(syns: &[(u64, Time, u32, IpHead)]) -> [String; 2] {
        let client = Endpoint::new(Ipv4Addr::new(10, 0, 0, 1).into(), 40_000);
        let server = Endpoint::new(Ipv4Addr::new(192, 0, 2, 1).into(), 443);
        let (mut dawn, mut early, mut late) = (Dawn::default(), Box::<Conversation>::default(), Vec::new());
        let mut lines = Vec::new();
        for (frame, ts, seq, ip) in syns {
            let mut raw = vec![0x9c, 0x40, 1, 0xbb];
            raw.extend(seq.to_be_bytes());
            raw.extend([0, 0, 0, 0, 0xa0, 2, 0xfa, 0xf0, 0, 0, 0, 0]);
            raw.extend(OPTIONS);
            let seg = Segment {
                seq: Seq(*seq),
                ack: Seq(0),
                flags: TcpFlags::SYN,
                window: 64_240,
                options: raw.get(20..).unwrap(),
                payload: &[],
                len: 0,
                raw: &raw,
            };
            let packet = Packet { frame: FrameNo(*frame), ts: *ts, src: client, dst: server, ip: *ip, body: Body::Tcp(seg), owner: None };
            assert!(dawn.keeps(Side::Client, &packet, &seg));
            lines.push(early.feed(Side::Client, &packet, &seg, &mut |_, _, _| {}));
        }
        let risen = dawn.rise(client, server, &mut |line| late.push(line));
        assert!(dawn.is_empty());
        [format!("{:?} {lines:?}", early.close()), format!("{:?} {late:?}", risen.close())]
    }

    #[test]
    fn waiting_for_an_answer_changes_nothing() {
        let [early, late] = both(&[syn(1, 0, 7, 64), syn(2, 1_000, 7, 64), syn(3, 1_001, 7, 64), syn(9, 3_000, 8, 63)]);
        assert_eq!(early, late);
    }

    #[test]
    fn what_is_more_than_a_syn_does_not_wait() {
        let ep = |n| Endpoint::new(Ipv4Addr::new(10, 0, 0, n).into(), 1);
        let raw = [0; 24];
        let base = Segment {
            seq: Seq(1),
            ack: Seq(0),
            flags: TcpFlags::SYN,
            window: 1,
            options: raw.get(20..).unwrap(),
            payload: &[],
            len: 0,
            raw: &raw,
        };
        let mut dawn = Dawn::default();
        let mut keeps = |side, seg: Segment<'_>| {
            let ip = IpHead::default();
            let packet = Packet { frame: FrameNo(1), ts: Time::default(), src: ep(1), dst: ep(2), ip, body: Body::Tcp(seg), owner: None };
            dawn.keeps(side, &packet, &seg)
        };
        assert!(!keeps(Side::Server, base));
        assert!(!keeps(Side::Client, Segment { flags: TcpFlags(0x12), ..base }));
        assert!(!keeps(Side::Client, Segment { len: 5, ..base }), "a SYN with data (RFC 7413)");
        assert!(!keeps(Side::Client, Segment { raw: raw.get(..20).unwrap(), ..base }), "cut by the snap length");
        assert!((0..SYNS_MAX).all(|_| keeps(Side::Client, base)));
        assert!(!keeps(Side::Client, base), "a bound");
    }
}
