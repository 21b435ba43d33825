//! Sizes and times: what the first and last packets of a flow say without a byte of them. Everything is read from the packet ladder
//! (at most 48 packets), so it costs nothing while packets come in.

use super::service::{Pattern, Range};
use crate::model::flow::{Brief, FlowRecord, mark};
use crate::model::frame::FrameNo;
use crate::model::key::Proto;
use crate::model::note::{Fact, Shape};
use crate::model::side::{PerSide, Side};
use crate::model::time::{Span, Time};
use smallvec::SmallVec;
use std::cell::OnceCell;

/// Bytes of one side between two pushes or answers.
#[derive(Clone, Copy)]
pub(super) struct Burst {
    side: Side,
    bytes: u32,
    /// Its first and last packet, bytes.
    first: u32,
    last: u32,
    frame: FrameNo,
}

/// The bursts of a flow, read off its ladder by the first pattern that asks.
#[derive(Default)]
pub(super) struct Bursts {
    by_push: OnceCell<Vec<Burst>>,
    by_turn: OnceCell<Vec<Burst>>,
}

impl Bursts {
    fn by_push(&self, flow: &FlowRecord) -> &[Burst] {
        self.by_push.get_or_init(|| bursts(flow, true))
    }
    fn by_turn(&self, flow: &FlowRecord) -> &[Burst] {
        self.by_turn.get_or_init(|| bursts(flow, false))
    }
}

/// The frame that completed the pattern, if the flow shows it. `known` are the flow's bursts, as far as they were asked for.
pub(super) fn find(pattern: &Pattern, flow: &FlowRecord, known: &Bursts) -> Option<FrameNo> {
    // A flow of fewer packets than the pattern has is not even opened.
    let gist = flow.gist();
    let spoken = usize::from(gist.spoken);
    let enough = match pattern {
        Pattern::Sizes { sizes, .. } => spoken >= sizes.len(),
        Pattern::Residue { bursts, .. } => spoken >= usize::from(*bursts),
        Pattern::Period { every_ms, slack_ms, times, .. } => {
            let least = i64::from(every_ms.saturating_sub(*slack_ms)) * i64::from(times.saturating_sub(1));
            gist.packets.client.max(gist.packets.server) >= u32::from(*times)
                && flow.last.ts.since(flow.first.ts) >= Span::from_millis(least)
        }
        Pattern::Media { .. } => gist.packets.client > 0 && gist.packets.server > 0,
        Pattern::PayloadTypes { .. } => true,
        Pattern::Nested => spoken >= 4,
    };
    if !enough {
        return None;
    }
    match pattern {
        Pattern::Sizes { sizes, tolerance } => first_sizes(flow, sizes, *tolerance),
        Pattern::Residue { modulo, classes, percent, bursts, skip } => {
            // Both sides must speak so, or it is a download of equal pieces.
            let both = flow.proto == Proto::TCP && gist.payload.client > 0 && gist.payload.server > 0;
            if both { residue(known.by_push(flow), *modulo, classes, *percent, *bursts, *skip) } else { None }
        }
        Pattern::Period { len, every_ms, slack_ms, times } => period(flow, *len, *every_ms, *slack_ms, *times),
        Pattern::Media { pps, seconds } => media(flow, *pps, *seconds),
        Pattern::PayloadTypes { types, distinct } => payload_types(flow, types, *distinct),
        Pattern::Nested => nested(flow, known),
    }
}

/// Packets with new payload, in order.
fn payloads(flow: &FlowRecord) -> impl Iterator<Item = &Brief> {
    flow.ladder.head.iter().filter(|p| fresh(p))
}

/// Carries payload, and for the first time.
const fn fresh(p: &Brief) -> bool {
    p.len > 0 && p.marks & (mark::RETRANSMIT | mark::COPY | mark::ASIDE | mark::PROBE) == 0
}

fn first_sizes(flow: &FlowRecord, sizes: &[i32], tolerance: u16) -> Option<FrameNo> {
    let mut packets = payloads(flow);
    let mut last = None;
    for want in sizes {
        let p = packets.next()?;
        let len = i32::try_from(p.len).ok()?;
        let signed = if p.side == Side::Client { len } else { -len };
        if signed.signum() != want.signum() || signed.abs_diff(*want) > u32::from(tolerance) {
            return None;
        }
        last = Some(p.frame);
    }
    last
}

/// Bursts of the beginning. A burst that is cut off by the end of the ladder's head is left out.
fn bursts(flow: &FlowRecord, by_push: bool) -> Vec<Burst> {
    let mut out: Vec<Burst> = Vec::new();
    let mut open: Option<Burst> = None;
    for p in payloads(flow) {
        if open.is_some_and(|b| b.side != p.side) {
            out.extend(open.take());
        }
        let mut burst = open.take().unwrap_or(Burst { side: p.side, bytes: 0, first: p.len, last: 0, frame: p.frame });
        burst.bytes = burst.bytes.saturating_add(p.len);
        burst.frame = p.frame;
        burst.last = p.len;
        if by_push && p.flags.psh() {
            out.push(burst);
        } else {
            open = Some(burst);
        }
    }
    if !by_push && flow.ladder.between == 0 {
        out.extend(open);
    }
    out
}

fn residue(all: &[Burst], modulo: u16, classes: &[u16], percent: u8, least: u16, skip: u16) -> Option<FrameNo> {
    let mut met = PerSide { client: 0u16, server: 0u16 };
    let (mut counted, mut fits, mut last) = (0usize, 0usize, None);
    for b in all {
        let n = &mut met[b.side];
        *n = n.saturating_add(1);
        if *n > skip {
            counted += 1;
            fits += usize::from(classes.contains(&u16::try_from(b.bytes % u32::from(modulo)).unwrap_or(u16::MAX)));
            last = Some(b.frame);
        }
    }
    let enough = counted >= usize::from(least) && fits * 100 >= counted * usize::from(percent);
    let both = met.client > skip && met.server > skip;
    last.filter(|_| enough && both)
}

/// One side sends payloads of one and the same length, each so long after the one before.
fn period(flow: &FlowRecord, len: Range, every_ms: u32, slack_ms: u32, times: u16) -> Option<FrameNo> {
    let (every, slack) = (Span::from_millis(i64::from(every_ms)), Span::from_millis(i64::from(slack_ms)));
    // Between the first packets and the last lies what nobody kept: a run does not reach over it.
    let unbroken = flow.ladder.between == 0;
    let mut runs: SmallVec<[Run; 8]> = SmallVec::new();
    for (part, packets) in [&flow.ladder.head, &flow.ladder.tail].into_iter().enumerate() {
        if part == 1 && !unbroken {
            runs.clear();
        }
        for p in packets.iter().filter(|p| fresh(p) && u16::try_from(p.len).is_ok_and(|n| len.has(n))) {
            let Some(run) = runs.iter_mut().find(|r| r.side == p.side && r.len == p.len) else {
                runs.push(Run { side: p.side, len: p.len, last: p.ts, packets: 1 });
                continue;
            };
            let on_time = (p.ts.since(run.last).nanos() - every.nanos()).abs() <= slack.nanos();
            run.packets = if on_time { run.packets.saturating_add(1) } else { 1 };
            run.last = p.ts;
            if run.packets >= times {
                return Some(p.frame);
            }
        }
    }
    None
}

/// Payloads of one length of one side.
struct Run {
    side: Side,
    len: u32,
    last: Time,
    /// Of the present run, each on time.
    packets: u16,
}

fn media(flow: &FlowRecord, pps: u16, seconds: u16) -> Option<FrameNo> {
    let took = flow.last.ts.since(flow.first.ts);
    if flow.proto != Proto::UDP || took < Span::from_secs(i64::from(seconds)) {
        return None;
    }
    let secs = took.nanos() as f64 / 1e9;
    let (up, down) = (flow.totals.client.packets as f64, flow.totals.server.packets as f64);
    // The slower way may be a listener's, but not an acknowledgement now and then.
    let fast = up.min(down) / secs >= f64::from(pps) && up.min(down) / up.max(down) >= 0.3;
    let mean = |t: &crate::model::flow::Totals| t.payload as f64 / (t.packets.max(1) as f64);
    let sized = [&flow.totals.client, &flow.totals.server].into_iter().all(|t| (20.0..1300.0).contains(&mean(t)));
    if fast && sized { flow.ladder.head.last().map(|p| p.frame) } else { None }
}

fn payload_types(flow: &FlowRecord, types: &[u16], distinct: u16) -> Option<FrameNo> {
    let dtls = flow.notes.shapes().any(|(_, s)| s == Shape::Dtls);
    let mut met: Vec<u8> =
        flow.notes.media().flat_map(|(_, leg)| leg.payload_types.iter().copied()).filter(|t| types.contains(&u16::from(*t))).collect();
    met.sort_unstable();
    met.dedup();
    let proven = flow.notes.shapes().find(|(_, s)| matches!(s, Shape::Rtp | Shape::QuicRtp)).map(|(n, _)| n.frame);
    if dtls || met.len() < usize::from(distinct) { None } else { proven }
}

/// A second handshake inside the first: a client's burst of a hello, an answer of a few kilobytes, and a burst of a Finished, each with what the outer
/// records add (22 to 80 bytes). After Xue et al., USENIX Security 2024; sizes of common clients.
fn nested(flow: &FlowRecord, known: &Bursts) -> Option<FrameNo> {
    if flow.proto != Proto::TCP {
        return None;
    }
    // Behind TLS the outer handshake comes first: hello, answer, Finished. Otherwise the inner one may begin at once, behind an address.
    let tls = flow.notes.client_hello().is_some();
    let opaque = flow.notes.list.iter().any(|n| matches!(n.fact, Fact::Shape(Shape::Opaque)));
    let from = match (tls, opaque) {
        (true, _) => 2,
        (_, true) => 0,
        _ => return None,
    };
    // Four bursts from there on, each of a packet at least.
    if flow.ladder.head.len() < from + 4 {
        return None;
    }
    let all = known.by_turn(flow);
    let at = |i: usize, side: Side| all.get(i).filter(|b| b.side == side);
    (from..from + 3)
        .find(|i| {
            // The hello is a packet of its own: 517 bytes padded, or with a post-quantum key 1,700 to 1,900. The outer Finished may come before it.
            at(*i, Side::Client).is_some_and(|b| matches!(b.last, 539..=760 | 1_720..=2_150) && b.bytes - b.last <= 160)
                && at(i + 1, Side::Server).is_some_and(|b| (1_300..=7_500).contains(&b.bytes))
                // ChangeCipherSpec and Finished of TLS 1.3: 64 or 80; of TLS 1.2 with a key exchange: 93 or 126. The first request may follow at once.
                && at(i + 2, Side::Client).is_some_and(|b| (86..=170).contains(&b.first) && b.bytes <= 700)
                && at(i + 3, Side::Server).is_some_and(|b| b.first <= 1_400)
        })
        .and_then(|i| all.get(i + 3).map(|b| b.frame))
}
