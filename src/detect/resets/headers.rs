//! Differences between a reset's headers and those of the side it claims to come from, added up as log-likelihood ratios.

use super::race::REORDER;
use crate::detect::weigh::Weigh;
use crate::model::flow::{Brief, FlowRecord, ResetSeen, TcpRecord, mark};
use crate::model::frame::FrameNo;
use crate::model::packet::TcpFlags;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;

/// A packet with one of these TTLs has not passed a router.
pub(in crate::detect) const INITIAL_TTLS: [u8; 3] = [64, 128, 255];
/// A change of route moves a TTL by at most this many hops.
const ROUTE_CHANGE: u8 = 3;
/// The most that is made of TTL, identification, fragmentation bit and timestamps of a server's reset together: one cause explains them all,
/// another machine of the same site (a balancer, a spare that took over), and that is no rarity. It is below what is worth telling by itself.
const OTHER_MACHINE: f64 = 1.8;

/// Header fields of one side's ordinary packets.
pub(super) struct Baseline {
    ttls: Vec<u8>,
    df: Option<bool>,
    tos: Vec<u8>,
    ids: Vec<u16>,
    reserved: bool,
    label: Option<u32>,
}

impl Baseline {
    pub(super) fn of(flow: &FlowRecord, tcp: &TcpRecord, side: Side) -> Self {
        let own: Vec<&Brief> =
            flow.ladder.iter().filter(|p| p.side == side && !p.flags.rst() && p.marks & (mark::COPY | mark::ASIDE) == 0).collect();
        let df = own.first().map(|p| p.df).filter(|df| own.iter().all(|p| p.df == *df));
        let label = own.first().map(|p| p.flow_label).filter(|l| *l != 0 && own.iter().all(|p| p.flow_label == *l));
        Self {
            ttls: tcp.side[side].ttl.iter().map(|(t, _)| t).collect(),
            df,
            tos: own.iter().map(|p| p.tos & 0xfc).collect(),
            ids: own.iter().filter(|p| !p.flags.syn()).filter_map(|p| p.ip_id).collect(),
            reserved: own.iter().any(|p| p.flags.reserved() & 0x0e != 0),
            label,
        }
    }

    pub(super) fn ttl_fits(&self, ttl: u8) -> bool {
        self.ttls.iter().any(|t| t.abs_diff(ttl) <= 1)
    }

    pub(super) fn df_fits(&self, df: bool) -> bool {
        self.df.is_none_or(|own| own == df)
    }

    /// Identifications that count up by small steps, so that a stray one stands out.
    fn counts_up(&self) -> Option<(u16, u16)> {
        let (first, last) = (*self.ids.first()?, *self.ids.last()?);
        let steps = self.ids.windows(2).all(|w| matches!(w, [a, b] if b.wrapping_sub(*a) <= 100));
        (self.ids.len() >= 3 && steps).then_some((first, last))
    }
}

/// Differences between the reset's headers and those of the side it claims to come from.
pub(super) fn headers(
    scene: &Scene<'_>,
    flow: &FlowRecord,
    tcp: &TcpRecord,
    side: Side,
    resets: &[&ResetSeen],
    base: &Baseline,
    w: &mut Weigh,
) {
    let Some(first) = resets.first() else { return };
    let r = &first.packet;
    let at = [r.frame];
    // A client's headers hardly change; a server's resets may come from another layer of its operator's network.
    let clientish = side == Side::Client;
    if let (Side::Server, Vantage::Client) = (side, scene.vantage())
        && INITIAL_TTLS.contains(&r.ttl)
    {
        w.against(-3.0, "a box in the user's own network", "the reset has not passed a single router");
    }
    let before = w.llr;
    if !base.ttls.is_empty() && !scene.source.quality.ttl_normalised {
        if base.ttl_fits(r.ttl) {
            w.llr += if clientish { -1.5 } else { -0.4 };
        } else {
            let shown: Vec<String> = base.ttls.iter().map(u8::to_string).collect();
            let far = base.ttls.iter().all(|t| t.abs_diff(r.ttl) > ROUTE_CHANGE);
            let weight = match (clientish, far) {
                (true, true) => 3.5,
                (true, false) => 1.5,
                (false, true) => 0.8,
                (false, false) => 0.3,
            };
            w.fact(weight, "the reset's TTL differs from the sender's other packets", r.ttl.to_string(), shown.join(", "), &at);
        }
    }
    if let (Some((low, high)), Some(id)) = (base.counts_up(), r.ip_id) {
        // The ladder may lack packets between its head and its tail: the count may have gone on by as many as were sent.
        let sent = u16::try_from(flow.totals[side].packets).unwrap_or(u16::MAX);
        let stray = id.wrapping_sub(low) > high.wrapping_sub(low).max(sent).saturating_add(200) && id != 0;
        if stray {
            w.fact(
                if clientish { 3.0 } else { 1.5 },
                "the reset's IP identification is out of the sender's count",
                id.to_string(),
                format!("near {high}"),
                &at,
            );
        }
    }
    if base.df.is_some_and(|df| df != r.df) && r.ip_id.is_some() {
        w.fact(1.0, "the reset's don't-fragment bit differs", r.df.to_string(), (!r.df).to_string(), &at);
    }
    let timestamps = tcp.side.client.timestamps && tcp.side.server.timestamps;
    if timestamps && r.flags.has(TcpFlags(0x14)) && !r.marked(mark::TIMESTAMP) {
        w.fact(0.5, "the reset lacks the timestamp option of this connection", "absent", "present", &at);
    }
    if !clientish {
        w.llr = w.llr.min(before + OTHER_MACHINE);
    }
    let copied = flow.ladder.iter().rfind(|p| p.side == side.peer() && p.len > 0 && p.ts <= r.ts);
    if let (Some(t), Some(id)) = (copied, r.ip_id)
        && id > 255
        && t.ip_id == Some(id)
    {
        w.fact(
            4.0,
            "the reset carries the IP identification of the packet that triggered it",
            id.to_string(),
            "the sender's own count",
            &[t.frame, r.frame],
        );
    }
    if !base.tos.is_empty() && !base.tos.contains(&(r.tos & 0xfc)) && r.tos & 0xfc != 0 {
        w.fact(1.5, "the reset's traffic class differs", format!("{:#04x}", r.tos), format!("{:#04x}", base.tos[0]), &at);
    }
    if base.label.is_some_and(|l| l != r.flow_label) {
        w.fact(0.8, "the reset's IPv6 flow label differs", format!("{:#x}", r.flow_label), format!("{:#x}", base.label.unwrap_or(0)), &at);
    }
    if r.flags.reserved() & 0x0e != 0 && !base.reserved {
        w.fact(2.0, "the reset sets reserved header bits", format!("{:#x}", r.flags.reserved()), "0", &at);
    }
    let filled = first.payload.iter().take(usize::from(first.payload_len)).any(|b| *b != 0);
    if r.len > 6 || filled {
        w.fact(2.5, "the reset carries payload", format!("{} bytes", r.len), "none", &at);
    } else if r.ip_len == 46 && !r.df && r.window == 0 && r.flags.ack() && r.ip_id.is_some() {
        w.fact(3.0, "the minimum-frame padding is counted into the reset's length", "46 bytes", "40 bytes", &at);
    }
    // Kernels answer for an unknown connection with window 0 and acknowledgement 0 (Linux, BSD, Windows).
    if !r.flags.ack() && r.window != 0 {
        w.fact(2.5, "a reset without ACK announces a window", r.window.to_string(), "0", &at);
    }
    if !r.flags.ack() && r.ack_raw.0 != 0 {
        w.fact(1.0, "a reset without ACK fills the acknowledgement field", r.ack_raw.0.to_string(), "0", &at);
    }
    // Route changes move a TTL by a few hops; two machines differ by more.
    let vectors = resets.iter().any(|x| x.packet.ttl.abs_diff(r.ttl) > ROUTE_CHANGE && x.packet.ts.since(r.ts).abs() > REORDER);
    if vectors && !scene.source.quality.ttl_normalised {
        let frames: Vec<FrameNo> = resets.iter().map(|x| x.packet.frame).collect();
        w.fact(3.0, "resets of one sender come with different TTLs", "two senders", "one", &frames);
    }
}
