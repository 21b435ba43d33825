//! The capture-quality gate: where the capture was taken, what it missed, and which claims it therefore cannot support.

use crate::model::flow::{Brief, FlowRecord};
use crate::model::frame::LinkType;
use crate::model::pack::pack_fields;
use crate::model::side::{PerSide, Side};
use crate::model::source::{CannotClaim, Quality, SourceFacts, Vantage};
use hashbrown::HashSet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Initial TTLs in use: a packet with one of them has not passed a router.
const INITIAL_TTLS: [u8; 4] = [32, 64, 128, 255];
/// Share of the round trip on one side of the capture point below which it stands next to that side.
const NEAR: f64 = 0.05;
/// Loss of the capture above which nothing is concluded from absence (0.5 %).
const LOSS: f64 = 0.005;

/// Judges a source by its flows, and by what was counted of all of them.
pub fn assess(source: &SourceFacts, flows: &[FlowRecord], sums: Sums) -> Quality {
    let n = &sums.counts;
    let mut q = Quality {
        tcp_flows: n.flows,
        one_sided_share: ratio(n.one_sided, n.talked),
        snaplen_cut: ratio(source.cut_frames, source.packets),
        offload: n.giant > 0,
        capture_loss: ratio(n.lost, n.lost + n.unique),
        duplicates: ratio(n.copies, n.packets),
        checksums_offloaded: n.bad_checksums * 2 > n.checksums && n.checksums >= 4,
        ttl_normalised: sums.ttl_normalised(),
        phone_vpn: phone_vpn(source, flows, sums.owned),
        ..Quality::default()
    };
    (q.vantage, q.vantage_basis) = sums.vantage(&q);
    q.cannot_claim = cannot_claim(source, &q);
    q
}

/// Whether a VPN app on the phone made the capture and, ending connections itself, wrote the servers' headers: every packet of a server has TTL 64, no
/// identification and may not be fragmented (`zdtun_make_iphdr` of PCAPdroid; other apps' stacks do alike). In root mode PCAPdroid names apps too, but
/// records what came from the network. Without names of apps it takes a capture of bare IP packets in which public servers are no router away.
fn phone_vpn(source: &SourceFacts, flows: &[FlowRecord], owned: bool) -> bool {
    let apps = !source.processes && owned;
    let bare = !source.link_types.is_empty() && source.link_types.iter().all(|l| BARE.contains(l));
    if !apps && !bare {
        return false;
    }
    let (mut heard, mut made_up, mut public) = (0_usize, 0_usize, 0_usize);
    for f in flows.iter().map(FlowRecord::aside).filter(|f| f.totals.server.packets > 0) {
        let written = |p: &Brief| p.ttl == 64 && p.ip_id.unwrap_or(0) == 0 && (p.df || p.ip_id.is_none());
        heard += 1;
        if f.ladder.iter().filter(|p| p.side == Side::Server).all(written) {
            made_up += 1;
            // Of TCP: datagrams of a plain host may look so as well (RFC 6864 §4.1).
            public += usize::from(f.tcp.is_some() && !local(f.server.ip) && f.totals.server.packets >= 3);
        }
    }
    let most = made_up * 10 >= heard * 9;
    if apps { most } else { most && public >= 1 }
}

/// Link types without any header of their own.
const BARE: [LinkType; 5] = [LinkType::RAW, LinkType::RAW_BSD, LinkType::RAW_OPENBSD, LinkType::IPV4, LinkType::IPV6];

/// Addresses that may well be no router away.
fn local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_multicast(),
    }
}

/// What is counted of all flows of a source.
#[derive(Default)]
pub struct Sums {
    /// The capture names apps or processes.
    owned: bool,
    counts: Counts,
    /// Client's share of the round trip in hundredths of a percent, and how many flows had it: a live capture has no end of flows.
    split: BTreeMap<u16, u64>,
    /// Networks of servers by the TTL of their SYN+ACK, no more of each than are asked for.
    server_ttls: BTreeMap<u8, HashSet<(bool, u32)>>,
}

/// Counts over TCP flows.
#[derive(Clone, Copy, Default, Debug)]
struct Counts {
    flows: u64,
    talked: u64,
    one_sided: u64,
    giant: u64,
    lost: u64,
    unique: u64,
    copies: u64,
    packets: u64,
    checksums: u64,
    bad_checksums: u64,
    /// Flows in which the usual TTL of that side is an initial one, and flows counted.
    initial: PerSide<u64>,
    ttl_flows: PerSide<u64>,
}

impl Counts {
    fn join(&mut self, other: &Self) {
        let numbers = [
            (&mut self.flows, other.flows),
            (&mut self.talked, other.talked),
            (&mut self.one_sided, other.one_sided),
            (&mut self.giant, other.giant),
            (&mut self.lost, other.lost),
            (&mut self.unique, other.unique),
            (&mut self.copies, other.copies),
            (&mut self.packets, other.packets),
            (&mut self.checksums, other.checksums),
            (&mut self.bad_checksums, other.bad_checksums),
            (&mut self.initial.client, other.initial.client),
            (&mut self.initial.server, other.initial.server),
            (&mut self.ttl_flows.client, other.ttl_flows.client),
            (&mut self.ttl_flows.server, other.ttl_flows.server),
        ];
        for (sum, n) in numbers {
            *sum += n;
        }
    }
}

/// Networks that must share one TTL for it to be no coincidence.
const ONE_TTL: usize = 5;

/// What one flow adds to [`Sums`].
#[derive(Clone, Default, Debug)]
pub struct Share {
    counts: Counts,
    split: Option<u16>,
    server: Option<(u8, (bool, u32))>,
}

pack_fields! {
    Share { counts, split, server }
    Counts { flows, talked, one_sided, giant, lost, unique, copies, packets, checksums, bad_checksums, initial, ttl_flows }
}

impl Share {
    /// That of a flow. Needs it open.
    pub fn of(f: &FlowRecord) -> Self {
        let Some(tcp) = f.tcp.as_deref() else { return Self::default() };
        let (c, s) = (&tcp.side.client, &tcp.side.server);
        let both = c.was_seen() && s.was_seen();
        // A lone SYN says nothing about the capture; more than that without the other side does.
        let talked = both || c.data_segments + s.data_segments > 0 || s.syns > 0;
        let one_sided = talked && (f.totals.client.packets == 0 || f.totals.server.packets == 0);
        let mut n = Counts { flows: 1, talked: u64::from(talked), one_sided: u64::from(one_sided), ..Counts::default() };
        for side in Side::BOTH {
            let t = &tcp.side[side];
            n.giant += u64::from(t.giant > 0);
            n.copies += u64::from(t.copies);
            n.packets += f.totals[side].packets;
            n.checksums += u64::from(t.checksums);
            n.bad_checksums += u64::from(t.bad_checksums);
            if both {
                n.lost += t.capture_lost;
                n.unique += t.unique;
            }
            if let Some(ttl) = t.ttl.mode() {
                n.ttl_flows[side] = 1;
                n.initial[side] = u64::from(INITIAL_TTLS.contains(&ttl));
            }
        }
        let mut split = None;
        if let (Some(to_server), Some(to_client)) = (tcp.rtt_server, tcp.rtt_client) {
            let sum = (to_server.nanos() + to_client.nanos()) as f64;
            if sum > 0.0 && to_server.nanos() >= 0 && to_client.nanos() >= 0 {
                split = Some((to_client.nanos() as f64 / sum * 1e4).round() as u16);
            }
        }
        Self { counts: n, split, server: s.syn.map(|syn_ack| (syn_ack.ttl, network(f.server.ip))) }
    }
}

impl Sums {
    /// Those of flows that are kept: opens them, and leaves them open.
    pub fn of(flows: &[FlowRecord]) -> Self {
        let mut sums = Self::default();
        flows.iter().for_each(|f| sums.add(&Share::of(f), f.owner.is_some()));
        sums
    }

    /// Counts a flow, and whether its app is known.
    pub fn add(&mut self, share: &Share, owned: bool) {
        self.owned |= owned;
        self.counts.join(&share.counts);
        if let Some(split) = share.split {
            *self.split.entry(split).or_default() += 1;
        }
        if let Some((ttl, network)) = share.server {
            let networks = self.server_ttls.entry(ttl).or_default();
            if networks.len() < ONE_TTL {
                networks.insert(network);
            }
        }
    }

    /// Adds what was counted elsewhere.
    pub fn join(&mut self, other: Self) {
        self.owned |= other.owned;
        self.counts.join(&other.counts);
        for (share, n) in other.split {
            *self.split.entry(share).or_default() += n;
        }
        for (ttl, networks) in other.server_ttls {
            self.server_ttls.entry(ttl).or_default().extend(networks);
        }
    }

    /// One TTL for every server: something near the capture rewrites it, or all servers stand in one place.
    fn ttl_normalised(&self) -> bool {
        self.server_ttls.len() == 1 && self.server_ttls.values().all(|nets| nets.len() >= ONE_TTL)
    }

    /// The median of the flows' shares.
    fn split(&self) -> Option<f64> {
        let half = self.split.values().sum::<u64>() / 2;
        let mut upto = 0;
        let middle = self.split.iter().find(|(_, n)| {
            upto += **n;
            upto > half
        })?;
        Some(f64::from(*middle.0) / 1e4)
    }

    fn vantage(&self, q: &Quality) -> (Vantage, String) {
        let split = self.split();
        let n = &self.counts;
        let client = ratio(n.initial.client, n.ttl_flows.client);
        let server = ratio(n.initial.server, n.ttl_flows.server);
        let by_rtt = match split {
            Some(s) if s < NEAR => Some(Vantage::Client),
            Some(s) if s > 1.0 - NEAR => Some(Vantage::Server),
            Some(_) => Some(Vantage::Mid),
            None => None,
        };
        let flows = n.ttl_flows.client.max(n.ttl_flows.server);
        if flows == 0 {
            return (Vantage::Unknown, "no TCP flow tells".to_owned());
        }
        let shown = split.map_or_else(
            || "no handshake was timed".to_owned(),
            |s| format!("{:.0} % of the round trip lies on the client's side", s * 100.0),
        );
        let basis =
            format!("{shown}; {:.0} % of clients and {:.0} % of servers show a TTL no router has lowered", client * 100.0, server * 100.0);
        let vantage = match (client > 0.9, server > 0.9 && !q.ttl_normalised, by_rtt) {
            (true, false, Some(Vantage::Mid)) if split.is_some_and(|s| s < 0.25) => Vantage::Client,
            (_, _, Some(v)) => v,
            (true, false, None) => Vantage::Client,
            (false, true, None) => Vantage::Server,
            (false, false, None) => Vantage::Mid,
            (true, true, None) => Vantage::Unknown,
        };
        (vantage, basis)
    }
}

fn network(ip: IpAddr) -> (bool, u32) {
    match ip {
        IpAddr::V4(a) => (false, u32::from(a) >> 16),
        IpAddr::V6(a) => (true, (u128::from(a) >> 96) as u32),
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn cannot_claim(source: &SourceFacts, q: &Quality) -> Vec<CannotClaim> {
    let mut list = Vec::new();
    let mut say = |claim, why: String| list.push(CannotClaim { claim, why });
    if q.one_sided_share > 0.5 {
        say("dropped packets", format!("{:.0} % of flows were captured in one direction only", q.one_sided_share * 100.0));
    }
    if q.capture_loss > LOSS {
        say("confirmed drops", format!("the capture itself missed {:.1} % of the bytes that arrived", q.capture_loss * 100.0));
    }
    if source.drops.unwrap_or(0) > 0 {
        say("confirmed drops", format!("the capture reports {} dropped packets", source.drops.unwrap_or(0)));
    }
    if source.truncated_at.is_some() || source.skipped_bytes > 0 {
        say("confirmed drops at the end", "the file is damaged or cut".to_owned());
    }
    if q.snaplen_cut > 0.05 {
        say("names and block pages", format!("{:.0} % of frames were cut by the snap length", q.snaplen_cut * 100.0));
    }
    if q.ttl_normalised {
        say("TTL differences", "every server's packets arrive with one TTL".to_owned());
    }
    if q.phone_vpn {
        say(
            "TTL, resets of others, IP identification",
            "the capture was made by a VPN app on a phone, which ends connections itself and makes up the servers' headers".to_owned(),
        );
        say("likely or confirmed interference with TCP", "what the app did cannot be told from what the network did".to_owned());
    }
    if q.vantage == Vantage::Server {
        say("what the client received", "the capture was taken at the server".to_owned());
    }
    list
}
