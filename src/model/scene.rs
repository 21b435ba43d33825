//! What a detector sees: one flow, its label, its kin, and the capture it stands in.

use super::finding::Control;
use super::flow::{FlowId, FlowRecord, Outcome};
use super::frame::FrameNo;
use super::gist::Signs;
use super::key::Proto;
use super::label::Label;
use super::side::Side;
use super::source::{SourceFacts, Vantage};
use super::time::Span;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// All flows of a source with the indices that find related ones. Built by the collector.
#[derive(Default)]
pub struct Kin<'a> {
    /// Flows in first-frame order.
    pub flows: &'a [FlowRecord],
    /// Labels, parallel to `flows`.
    pub labels: &'a [Option<Label>],
    /// What finds related ones; its fields are read as if they were fields of this.
    pub index: Arc<Index>,
}

/// Flows with something in common, in first-frame order: in a flood most are alone.
pub type Group = SmallVec<[u32; 4]>;

/// Indices over the flows of a source.
#[derive(Clone, Default)]
pub struct Index {
    /// Flow indices by server address.
    pub by_server: HashMap<IpAddr, Group>,
    /// Flow indices by the name asked for.
    pub by_name: HashMap<String, Group>,
    /// Flow indices by client address.
    pub by_client: HashMap<IpAddr, Group>,
    /// Smallest round trip from the capture point to a server and the number of samples, over all flows whose SYN was sent once.
    pub rtt: HashMap<IpAddr, (Span, u32)>,
    /// Of each flow what tells whether it is a control, side by side: hundreds are looked at for one judgement.
    controls: Vec<Controls>,
    /// Of each flow what detectors begin with.
    signs: Vec<Signs>,
}

/// What tells whether a flow is a control for another at its server.
#[derive(Clone, Copy)]
struct Controls {
    frame: FrameNo,
    /// One more than the index of the first flow that asked for the same name; 0 if it asked for none.
    name: u32,
    port: u16,
    proto: Proto,
    outcome: Outcome,
}

impl Index {
    /// Indices over flows in first-frame order, whose outcomes are settled.
    pub fn of(flows: &[FlowRecord]) -> Self {
        let mut all = Self { controls: Vec::with_capacity(flows.len()), signs: Vec::with_capacity(flows.len()), ..Self::default() };
        for (i, f) in flows.iter().enumerate() {
            let Ok(i) = u32::try_from(i) else { break };
            all.by_server.entry(f.server.ip).or_default().push(i);
            all.by_client.entry(f.client.ip).or_default().push(i);
            let mut name = 0;
            if let Some(asked) = f.asked_name() {
                let alike = all.by_name.entry_ref(asked).or_default();
                alike.push(i);
                name = alike.first().map_or(0, |first| first + 1);
            }
            if let Some((rtt, samples)) = f.nearest {
                let best = all.rtt.entry(f.server.ip).or_insert((rtt, 0));
                *best = (best.0.min(rtt), best.1.saturating_add(samples.get()));
            }
            all.signs.push(Signs::of(f));
            all.controls.push(Controls { frame: f.id.frame, name, port: f.server.port, proto: f.proto, outcome: f.outcome });
        }
        all
    }

    /// All flows of this client address.
    pub fn of_client(&self, ip: IpAddr) -> &[u32] {
        self.by_client.get(&ip).map_or(&[], Group::as_slice)
    }

    /// All flows to this server address.
    pub fn of_server(&self, ip: IpAddr) -> &[u32] {
        self.by_server.get(&ip).map_or(&[], Group::as_slice)
    }

    /// What the flow at this place has of what detectors begin with.
    pub fn signs(&self, flow: usize) -> Signs {
        self.signs.get(flow).copied().unwrap_or_default()
    }
}

impl Deref for Kin<'_> {
    type Target = Index;
    fn deref(&self) -> &Index {
        &self.index
    }
}

impl DerefMut for Kin<'_> {
    fn deref_mut(&mut self) -> &mut Index {
        Arc::make_mut(&mut self.index)
    }
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
        self.pick(self.of_server(ip))
    }
    /// Flows that asked for this name.
    pub fn with_name(&self, name: &str) -> impl Iterator<Item = &'a FlowRecord> + '_ {
        self.pick(self.by_name.get(name).map_or(&[], Group::as_slice))
    }
    /// Flows of this client address.
    pub fn with_client(&self, ip: IpAddr) -> impl Iterator<Item = &'a FlowRecord> + '_ {
        self.pick(self.of_client(ip))
    }
    /// The last flows of this client address, as places in `flows`.
    pub fn latest_of_client(&self, ip: IpAddr) -> &[u32] {
        latest(self.of_client(ip))
    }
    fn pick<'s>(&self, at: &'s [u32]) -> impl Iterator<Item = &'a FlowRecord> + use<'s, 'a> {
        let flows = self.flows;
        latest(at).iter().filter_map(move |i| flows.get(*i as usize))
    }
}

/// The last of them: bounded, so that a scan with a million flows to one host stays linear.
fn latest(at: &[u32]) -> &[u32] {
    at.get(at.len().saturating_sub(KIN_MAX)..).unwrap_or(&[])
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
        self.at_server("same_server_other_name", |own, other| other != 0 && other != own)
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
        self.at_server("same_server_same_name", |own, other| other == own)
    }

    /// Other flows to the same server endpoint whose name is as `wanted`, given this flow's and theirs.
    fn at_server(&self, kind: &'static str, wanted: impl Fn(u32, u32) -> bool) -> Control {
        let flow = self.flow;
        let name = flow.asked_name().and_then(|name| self.kin.by_name.get(name)?.first()).map_or(0, |first| first + 1);
        let mut c = Control::new(kind);
        for i in latest(self.kin.of_server(flow.server.ip)) {
            let Some(g) = self.kin.controls.get(*i as usize) else { continue };
            let here = g.frame != flow.id.frame && g.port == flow.server.port && g.proto == flow.proto && g.outcome != Outcome::Unknown;
            if here && wanted(name, g.name) {
                c.add(FlowId { source: flow.id.source, frame: g.frame }, g.outcome == Outcome::Ok);
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
