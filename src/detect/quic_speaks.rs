//! What shows that a server which answers no Initial would answer it: what [`super::quic_blocked`] compares with.
//!
//! Silence alone may be a server without QUIC, or a front that hands names on to machines of which this name's is down. Neither is left when
//! the name's own record in DNS offers HTTP/3 (RFC 9460 §7.1.2) while the same address serves the same name over TCP; nor when the address
//! answers another version: who reads a version answers version 1 too, with a handshake or with a version negotiation (RFC 9000 §5.2.2).

use crate::model::finding::Control;
use crate::model::flow::{FlowRecord, Outcome};
use crate::model::frame::FrameNo;
use crate::model::key::Proto;
use crate::model::scene::Scene;
use crate::model::side::Side;

/// QUIC as it was standardised (RFC 9000): no server speaks another version and not this one.
const V1: u32 = 1;
const HTTPS: u16 = 65;

/// See the module.
pub(super) struct Speaks {
    /// The answer to this client that offers HTTP/3 under this name.
    pub offered: Option<FrameNo>,
    /// Connections of this client to the same address and port in another version than version 1.
    pub version: Control,
    /// Of these, answered ones for the same name.
    pub version_same_name: u32,
    /// Connections to the same address and port, in version 1, that were answered.
    pub own_version: u32,
    /// TCP connections of this client with the same name to the same address and port.
    pub tcp: Control,
}

impl Speaks {
    /// Looks around an unanswered flow.
    pub fn of(scene: &Scene<'_>) -> Self {
        let flow = scene.flow;
        let name = flow.asked_name();
        let mut s = Self {
            offered: None,
            version: Control::new("same_server_other_quic_version"),
            version_same_name: 0,
            own_version: 0,
            tcp: Control::new("same_server_same_name_over_tcp"),
        };
        for f in scene.kin.with_server(flow.server.ip).filter(|f| f.id != flow.id && f.server.port == flow.server.port) {
            let same_client = f.client.ip == flow.client.ip;
            if f.tcp.is_some() && same_client && name.is_some() && f.asked_name() == name && f.outcome != Outcome::Unknown {
                s.tcp.add(f.id, f.outcome == Outcome::Ok && f.totals.server.payload > 0);
            }
            if f.proto != Proto::UDP || f.app != Some("quic") {
                continue;
            }
            // What was answered before only may have ceased since.
            let answered = f.totals.server.last.is_some_and(|m| m.ts > flow.first.ts);
            match version(f) {
                Some(V1) => s.own_version += u32::from(answered),
                Some(_) if version(flow) == Some(V1) && same_client => {
                    s.version.add(f.id, answered);
                    s.version_same_name += u32::from(answered && f.asked_name() == name);
                }
                _ => {}
            }
        }
        let lookups = || scene.kin.with_client(flow.client.ip).filter(|f| f.app == Some("dns"));
        s.offered = name.and_then(|name| lookups().find_map(|f| offer(f, name)));
        s
    }

    /// The flow began in a version that is not version 1, and the address answers version 1: it need not know others.
    pub fn only_outdated(&self, flow: &FlowRecord) -> bool {
        version(flow).is_some_and(|v| v != V1) && self.own_version > 0
    }

    /// The address answers other versions, and version 1 from nobody.
    pub const fn by_version(&self) -> bool {
        self.version.ok > 0 && self.own_version == 0
    }

    /// The name is served here, and over QUIC: by its own record, and by what the address does over TCP meanwhile.
    pub const fn served_here(&self) -> bool {
        self.offered.is_some() && self.tcp.ok > 0 && self.tcp.ok == self.tcp.n
    }
}

/// The version a client began with.
fn version(f: &FlowRecord) -> Option<u32> {
    f.notes.quic().find(|(n, q)| n.side == Side::Client && q.kind == 0).map(|(_, q)| q.version)
}

/// The frame in which a resolver says that `name` is served over HTTP/3.
fn offer(f: &FlowRecord, name: &str) -> Option<FrameNo> {
    let says = |m: &crate::model::note::DnsMessage| m.response && m.qtype == HTTPS && m.h3 && &*m.qname == name;
    f.notes.dns().find(|(_, m)| says(m)).map(|(note, _)| note.frame)
}
