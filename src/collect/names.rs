//! Names that led clients to addresses: DNS answers seen before a flow began.

use crate::model::flow::FlowRecord;
use crate::model::frame::FrameNo;
use crate::model::time::{Span, Time};
use hashbrown::HashMap;
use std::net::IpAddr;

/// Answers count at least this long, whatever their TTL says: resolvers and apps keep them longer (RFC 8767 allows stale answers).
const MIN_LIFE: i64 = 60;
/// Slack after an answer's life, seconds.
const SLACK: i64 = 300;
/// Most answers remembered per client and address.
const PER_ADDRESS: usize = 32;

/// A DNS answer that gave a client an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lead<'a> {
    /// Name asked for, or an alias in the answer.
    pub name: &'a str,
    /// Frame of the answer.
    pub frame: FrameNo,
    /// No other name led this client to this address at that time.
    pub unique: bool,
    /// From the answer to the flow's first packet.
    pub ago: Span,
}

struct Answer<'a> {
    ts: Time,
    until: Time,
    frame: FrameNo,
    qname: &'a str,
    aliases: &'a [Box<str>],
}

/// All answers of a source.
#[derive(Default)]
pub struct Names<'a> {
    by_pair: HashMap<(IpAddr, IpAddr), Vec<Answer<'a>>>,
}

impl<'a> Names<'a> {
    /// Whether a flow can tell any.
    pub fn told_by(flow: &FlowRecord) -> bool {
        flow.app == Some("dns")
    }

    /// Collects the answers of all DNS flows. Multicast DNS names hosts, not services, and is left out.
    pub fn of(flows: &'a [FlowRecord]) -> Self {
        let mut names = Self::default();
        for flow in flows.iter().filter(|f| Self::told_by(f)) {
            for (note, m) in flow.notes.dns().filter(|(_, m)| m.response && !m.qname.is_empty()) {
                for (address, ttl) in &m.addresses {
                    let life = i64::from(*ttl).max(MIN_LIFE).saturating_add(SLACK);
                    let list = names.by_pair.entry((flow.client.ip, *address)).or_default();
                    if list.len() < PER_ADDRESS {
                        list.push(Answer {
                            ts: note.ts,
                            until: note.ts.plus(Span::from_secs(life)),
                            frame: note.frame,
                            qname: &m.qname,
                            aliases: &m.aliases,
                        });
                    }
                }
            }
        }
        for list in names.by_pair.values_mut() {
            list.sort_by_key(|a| (a.ts, a.frame));
        }
        names
    }

    /// Names that led the flow's client to its server, newest first. Aliases follow their question.
    pub fn leads(&self, flow: &FlowRecord) -> Vec<Lead<'a>> {
        if self.by_pair.is_empty() {
            return Vec::new();
        }
        let Some(list) = self.by_pair.get(&(flow.client.ip, flow.server.ip)) else { return Vec::new() };
        let now = flow.first.ts;
        let fresh = || list.iter().rev().filter(|a| a.ts <= now && now <= a.until);
        let Some(first) = fresh().next() else { return Vec::new() };
        let unique = fresh().all(|a| a.qname == first.qname);
        let mut out: Vec<Lead<'a>> = Vec::new();
        for a in fresh() {
            for name in std::iter::once(a.qname).chain(a.aliases.iter().map(|s| &**s)) {
                if out.len() < 16 && !out.iter().any(|l| l.name == name) {
                    out.push(Lead { name, frame: a.frame, unique, ago: now.since(a.ts) });
                }
            }
        }
        out
    }
}
