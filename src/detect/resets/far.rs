//! Whether resets went to the far end too, where this capture shows one half of them only.
//!
//! ```text
//! client        capture     box       server
//!   | <----------- RST -----|           |      seen
//!   |                       |-- RST --> |      not seen, but the server that had just acknowledged the hello
//!   | <------------- ACK of the hello --|      says nothing more, long before it can know that the client is gone
//! ```

use super::headers::Baseline;
use crate::model::flow::{FlowRecord, mark};
use crate::model::frame::FrameNo;
use crate::model::scene::Scene;
use crate::model::seq::Pos;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::{Span, Time};

/// A server that has read a hello answers within this time (its key exchange takes a few milliseconds); a busy one needs longer, so that a
/// shorter round trip tells nothing.
const ANSWERS_WITHIN: Span = Span::from_millis(25);
/// Less than this cannot be told from an answer that was under way.
const UNDER_WAY: Span = Span::from_millis(4);

/// What shows that the other end was told the same, when forged resets that claim to come from `side` were seen from `started` on: a
/// sentence with its frames. `None` if nothing shows it.
pub(in crate::detect) fn far_end(scene: &Scene<'_>, side: Side, started: Time) -> Option<(&'static str, Vec<FrameNo>)> {
    match side {
        Side::Client => client_is_gone(scene, started),
        Side::Server => server_fell_silent(scene, started),
    }
}

/// Resets towards the server were seen; the client answers what the server still sent with the reset of a machine that knows no such
/// connection (RFC 9293 §3.10.7.1), with its own headers and after its own round trip.
fn client_is_gone(scene: &Scene<'_>, started: Time) -> Option<(&'static str, Vec<FrameNo>)> {
    let flow = scene.flow;
    let tcp = flow.tcp.as_deref()?;
    let base = Baseline::of(flow, tcp, Side::Client);
    if scene.vantage() == Vantage::Client || tcp.side.client.fin.is_some() {
        return None;
    }
    let (rtt, _) = scene.rtt_to(Side::Client).filter(|(rtt, _)| *rtt >= UNDER_WAY)?;
    tcp.resets.iter().filter(|r| r.packet.side == Side::Client && r.packet.ts > started).find_map(|r| {
        let own = base.ttl_fits(r.packet.ttl) && base.df_fits(r.packet.df);
        let stateless = !r.packet.flags.ack() && r.packet.window == 0 && r.packet.len <= 6 && !r.fin_before;
        let mut asked = flow.ladder.iter().filter(|p| p.side == Side::Server && p.flags.ack() && !p.flags.rst() && !p.marked(mark::COPY));
        let asked = asked.rfind(|p| p.ack_raw == r.packet.seq_raw && r.packet.ts.since(p.ts).nanos() * 10 >= rtt.nanos() * 6)?;
        (own && stateless).then(|| {
            let says = "the client, too, had lost the connection: with its own headers it answered the server as if there were none";
            (says, vec![asked.frame, r.packet.frame])
        })
    })
}

/// Resets towards the client were seen; the server acknowledges the whole hello after that, and sends not one byte more although no word of
/// the client's end can have reached it yet.
fn server_fell_silent(scene: &Scene<'_>, started: Time) -> Option<(&'static str, Vec<FrameNo>)> {
    let flow = scene.flow;
    let tcp = flow.tcp.as_deref()?;
    let base = Baseline::of(flow, tcp, Side::Server);
    let whole = flow.notes.client_hello().map(|(note, _)| note.to).filter(|to| *to > Pos::FIRST)?;
    let round_trip = Span::from_nanos(tcp.rtt_server?.nanos().saturating_add(tcp.rtt_client.unwrap_or_default().nanos()));
    if scene.vantage() == Vantage::Server || round_trip < ANSWERS_WITHIN || spoke(flow, tcp) || scene.lossy() {
        return None;
    }
    let mut own = flow.ladder.iter().filter(|p| p.side == Side::Server && !p.flags.rst() && !p.marked(mark::COPY));
    let heard = own.rfind(|p| p.ts > started && p.flags.ack() && p.ack >= whole && base.ttl_fits(p.ttl))?;
    let says =
        "the server, too, was stopped: it acknowledged the whole message and said nothing more, before it could know of the client's end";
    Some((says, vec![heard.frame]))
}

/// The server sent payload of its own.
fn spoke(flow: &FlowRecord, tcp: &crate::model::flow::TcpRecord) -> bool {
    tcp.side.server.unique > 0 || flow.totals.server.payload > 6
}
