//! Judging a packet put in place of the server's: does it come when the server could have answered, and with the server's headers?
//!
//! Shared by the judges of block pages, of forged alerts and of forged FINs; resets have their own, for they come from kernels that know
//! no connection.

use super::resets::physics_share;
use super::weigh::Weigh;
use crate::model::flow::{Brief, TcpRecord, mark};
use crate::model::frame::FrameNo;
use crate::model::scene::Scene;
use crate::model::seq::Pos;
use crate::model::side::Side;
use crate::model::time::{Span, Time};

/// Two answers at one position.
pub(super) fn race(tcp: &TcpRecord, page: &Brief, w: &mut Weigh) {
    let Some(c) = tcp.conflicts.iter().find(|c| c.side == Side::Server) else { return };
    w.proof(
        "the server's own answer arrived too, with other bytes at the same position",
        format!("differs at byte {}", c.at.0),
        "one answer",
        &[page.frame, c.seen.frame],
    );
}

/// The answer was there before the request can have reached the server.
pub(super) fn too_early(scene: &Scene<'_>, request: (FrameNo, Time), page: &Brief, what: &str, w: &mut Weigh) {
    let Some((rtt, samples)) = scene.rtt_to(Side::Server).filter(|(r, _)| *r >= Span::from_millis(4)) else { return };
    let (asked, request_at) = request;
    let took = page.ts.since(request_at);
    let share = took.nanos() as f64 / rtt.nanos() as f64;
    if took > Span::ZERO && share < physics_share(samples) && rtt.nanos() - took.nanos() > 2_000_000 {
        w.proof(
            format!("{what} came {took} after the request"),
            format!("{:.0} % of a round trip", share * 100.0),
            format!("at least {rtt}"),
            &[asked, page.frame],
        );
    } else if took > Span::ZERO && share < 0.9 && rtt.nanos() - took.nanos() > 4_000_000 {
        w.fact(
            2.5,
            format!("{what} came {took} after the request"),
            format!("{:.0} % of a round trip", share * 100.0),
            format!("at least {rtt}"),
            &[asked, page.frame],
        );
    }
}

pub(super) fn header(scene: &Scene<'_>, tcp: &TcpRecord, page: &Brief, what: &str, w: &mut Weigh) {
    let others: Vec<&Brief> = scene
        .flow
        .ladder
        .iter()
        .filter(|p| p.side == Side::Server && p.frame != page.frame && !p.flags.rst() && !p.marked(mark::COPY))
        .collect();
    let Some(syn_ack) = tcp.side.server.syn else { return };
    let blind = scene.source.quality.ttl_normalised;
    if !blind && others.iter().all(|p| p.ttl.abs_diff(page.ttl) > 1 || same_sender(p, page)) && syn_ack.ttl.abs_diff(page.ttl) > 1 {
        w.fact(
            1.5,
            format!("{what}'s header: TTL differs from the server's"),
            page.ttl.to_string(),
            syn_ack.ttl.to_string(),
            &[syn_ack.frame, page.frame],
        );
    }
    if page.df != syn_ack.df && page.ip_id.is_some() {
        w.fact(
            1.0,
            format!("{what}'s header: don't-fragment bit differs from the server's"),
            page.df.to_string(),
            syn_ack.df.to_string(),
            &[syn_ack.frame, page.frame],
        );
    }
    let ids: Vec<u16> = others.iter().filter_map(|p| p.ip_id).filter(|id| *id != 0).collect();
    if let (Some(id), true) = (page.ip_id, scene.flow.ladder.between == 0) {
        // Machines that do not count (generators, some middleboxes) repeat themselves: then one more repetition says nothing.
        let counts = ids.len() >= 2 && ids.iter().enumerate().all(|(i, a)| !ids.iter().take(i).any(|b| a == b));
        if let Some(twin) = others.iter().find(|p| counts && p.ip_id == Some(id) && id != 0 && p.ts != page.ts) {
            w.fact(
                2.0,
                "two packets of the server carry one IP identification",
                id.to_string(),
                "a new one each",
                &[page.frame, twin.frame],
            );
        }
        let counted = ids.iter().filter(|i| **i != id).all(|i| id.wrapping_sub(*i) > 512 && i.wrapping_sub(id) > 512);
        let counting = ids.windows(2).filter(|w| matches!(w, [a, b] if b.wrapping_sub(*a) <= 64)).count() > 0;
        if counted && counting {
            w.fact(
                1.5,
                format!("{what}'s header: IP identification is out of the server's count"),
                id.to_string(),
                ids.iter().map(u16::to_string).collect::<Vec<_>>().join(", "),
                &[page.frame],
            );
        }
    }
    if page.tos & 0xfc != syn_ack.tos & 0xfc && page.tos & 0xfc != 0 {
        w.fact(
            1.0,
            format!("{what}'s header: traffic class differs from the server's"),
            format!("{:#04x}", page.tos),
            format!("{:#04x}", syn_ack.tos),
            &[page.frame],
        );
    }
    let stamps = tcp.side.client.timestamps && tcp.side.server.timestamps;
    if stamps && !page.marked(mark::TIMESTAMP) {
        w.fact(
            2.5,
            format!("{what} lacks the timestamp option of this connection (RFC 7323 §3.2 requires it)"),
            "absent",
            "present",
            &[page.frame],
        );
    }
    if page.flags.fin() && page.seq == Pos::FIRST && page.len > 0 && page.len < 1_400 {
        w.fact(0.5, "the answer closes the connection in the same packet", "FIN", "-", &[page.frame]);
    }
    // The server went on as if it had sent nothing: its own packets carry lower sequence numbers than its answer's end.
    let ignorant = others
        .iter()
        .find(|p| p.ts > page.ts && p.len == 0 && p.flags.ack() && !p.flags.fin() && p.seq < page.end() && p.ttl.abs_diff(page.ttl) > 1);
    if let Some(p) = ignorant {
        w.proof(
            "the server goes on as if it had not answered",
            format!("sequence {} after an answer that ends at {}", p.seq.0, page.end().0),
            "the position after its answer",
            &[page.frame, p.frame],
        );
    }
}

/// Packets of the same burst as the page (its FIN, its continuation).
fn same_sender(p: &Brief, page: &Brief) -> bool {
    p.ttl == page.ttl && p.ts.since(page.ts).abs() < Span::from_millis(50)
}

/// The packet of the client that brought the bytes which `p` acknowledges: what it answers at the earliest. `None` if it acknowledges none.
pub(super) fn answered(scene: &Scene<'_>, p: &Brief) -> Option<(FrameNo, Time)> {
    let brought = |q: &&Brief| q.side == Side::Client && q.len > 0 && q.seq < p.ack && q.end() >= p.ack && !q.marked(mark::ASIDE);
    let asked = scene.flow.ladder.iter().filter(brought).min_by_key(|q| q.ts).filter(|q| q.ts <= p.ts)?;
    Some((asked.frame, asked.ts))
}
