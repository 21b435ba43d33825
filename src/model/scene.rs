//! What a detector sees: one flow, its label, its kin, and the capture it stands in.

use super::finding::Control;
use super::flow::{FlowRecord, Outcome};
use super::key::Endpoint;
use super::label::Label;
use super::side::Side;
use super::source::{SourceFacts, Vantage};
use super::time::Span;
use hashbrown::HashMap;
use std::net::IpAddr;

/// All flows of a source with the indices that find related ones. Built by the collector.
#[derive(Default)]
pub struct Kin<'a> {
    /// Flows in first-frame order.
    pub flows: &'a [FlowRecord],
    /// Labels, parallel to `flows`.
    pub labels: &'a [Option<Label>],
    /// Flow indices by server address.
    pub by_server: HashMap<IpAddr, Vec<u32>>,
    /// Flow indices by the name asked for.
    pub by_name: HashMap<&'a str, Vec<u32>>,
    /// Flow indices by client address.
    pub by_client: HashMap<IpAddr, Vec<u32>>,
    /// Smallest round trip from the capture point to a server and the number of samples, over all flows whose SYN was sent once.
    pub rtt: HashMap<IpAddr, (Span, u32)>,
}

/// What a detector judges.
pub struct Scene<'a> {
    /// The flow.
    pub flow: &'a FlowRecord,
    /// Its service.
    pub label: Option<&'a Label>,
    /// Related flows.
    pub kin: &'a Kin<'a>,
    /// The capture.
    pub source: &'a SourceFacts,
}

impl<'a> Kin<'a> {
    /// Flows with this server address.
    pub fn with_server(&self, ip: IpAddr) -> impl Iterator<Item = &'a FlowRecord> + '_ {
        self.pick(self.by_server.get(&ip))
    }
    /// Flows that asked for this name.
    pub fn with_name(&self, name: &str) -> impl Iterator<Item = &'a FlowRecord> + '_ {
        self.pick(self.by_name.get(name))
    }
    /// Flows of this client address.
    pub fn with_client(&self, ip: IpAddr) -> impl Iterator<Item = &'a FlowRecord> + '_ {
        self.pick(self.by_client.get(&ip))
    }
    fn pick<'s>(&self, at: Option<&'s Vec<u32>>) -> impl Iterator<Item = &'a FlowRecord> + use<'s, 'a> {
        let flows = self.flows;
        let at: &[u32] = at.map_or(&[], Vec::as_slice);
        // Bounded, so that a scan with a million flows to one host stays linear.
        let last = at.get(at.len().saturating_sub(KIN_MAX)..).unwrap_or(&[]);
        last.iter().filter_map(move |i| flows.get(*i as usize))
    }
}

/// Most related flows looked at for one judgement.
pub const KIN_MAX: usize = 512;

impl<'a> Scene<'a> {
    /// The capture's vantage.
    pub fn vantage(&self) -> Vantage {
        self.source.quality.vantage
    }

    /// Whether this capture lost packets inside the flow's life, or is known to lose packets: nothing may be confirmed by absence then.
    pub fn lossy(&self) -> bool {
        let here = self.flow.tcp.as_ref().is_some_and(|t| {
            t.side.client.capture_lost + t.side.server.capture_lost > 0 || t.side.client.acks_unseen + t.side.server.acks_unseen > 0
        });
        here || self.source.quality.capture_loss > 0.005 || self.source.drops.unwrap_or(0) > 0
    }

    /// Smallest known round trip from the capture point to this flow's server.
    pub fn rtt_to_server(&self) -> Option<Span> {
        self.rtt_to(Side::Server).map(|(rtt, _)| rtt)
    }

    /// Smallest known round trip from the capture point to one side of this flow, and how many samples it is the smallest of.
    pub fn rtt_to(&self, side: Side) -> Option<(Span, u32)> {
        let tcp = self.flow.tcp.as_ref()?;
        let data = &tcp.side[side.peer()].rtt;
        let handshake = match side {
            Side::Server => tcp.rtt_server.filter(|_| tcp.side.client.syns <= 1),
            Side::Client => tcp.rtt_client,
        };
        let kin = if side == Side::Server { self.kin.rtt.get(&self.flow.server.ip).copied() } else { None };
        let own = [handshake, (data.n > 0).then_some(data.min)]
            .into_iter()
            .flatten()
            .min()
            .map(|rtt| (rtt, data.n + u32::from(handshake.is_some())));
        match (own, kin) {
            // The kin's samples include this flow's own.
            (Some((a, n)), Some((b, m))) => Some((a.min(b), n.max(m))),
            (own, kin) => own.or(kin),
        }
    }

    /// Flows of other names (or none) to the same server endpoint, and how many came out well.
    pub fn same_server_other_name(&self) -> Control {
        let name = self.flow.asked_name();
        let server: Endpoint = self.flow.server;
        let mut c = Control::new("same_server_other_name");
        for f in self.kin.with_server(server.ip) {
            let here = f.id != self.flow.id && f.server.port == server.port && f.proto == self.flow.proto;
            if here && f.outcome != Outcome::Unknown && f.asked_name().is_some_and(|other| Some(other) != name) {
                count(&mut c, f);
            }
        }
        c
    }

    /// How many different names were asked for at this flow's server endpoint: each of them could have stood out by chance, so that a
    /// difference between one of them and the others is one of so many tests (Bonferroni). At least 1.
    pub fn names_at_server(&self) -> u32 {
        let mut names: Vec<&str> = Vec::new();
        for f in self.kin.with_server(self.flow.server.ip).filter(|f| f.server.port == self.flow.server.port && f.proto == self.flow.proto)
        {
            if f.outcome != Outcome::Unknown
                && let Some(name) = f.asked_name()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        names.dedup();
        u32::try_from(names.len()).unwrap_or(u32::MAX).max(1)
    }

    /// Flows of the same name to the same server endpoint: repetitions.
    pub fn same_server_same_name(&self) -> Control {
        let name = self.flow.asked_name();
        let mut c = Control::new("same_server_same_name");
        for f in self.kin.with_server(self.flow.server.ip) {
            let here = f.id != self.flow.id && f.server.port == self.flow.server.port && f.proto == self.flow.proto;
            if here && f.outcome != Outcome::Unknown && f.asked_name() == name {
                count(&mut c, f);
            }
        }
        c
    }

    /// Flows of the same name to other servers.
    pub fn same_name_other_server(&self) -> Control {
        let mut c = Control::new("same_name_other_server");
        let Some(name) = self.flow.asked_name() else { return c };
        for f in self.kin.with_name(name) {
            if f.server.ip != self.flow.server.ip && f.proto == self.flow.proto {
                count(&mut c, f);
            }
        }
        c
    }
}

fn count(c: &mut Control, f: &FlowRecord) {
    if f.outcome != Outcome::Unknown {
        c.add(f.id, f.outcome == Outcome::Ok);
    }
}
