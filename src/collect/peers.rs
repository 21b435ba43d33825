//! The legs of a call: a relay is told the address of the other phone, and soon the two speak without the relay.

use crate::model::flow::FlowRecord;
use crate::model::frame::FrameNo;
use crate::model::key::{Endpoint, Proto};
use crate::model::label::{Label, LabelGrade, Role};
use crate::model::note::Shape;
use crate::model::time::{Span, Time};
use std::collections::HashMap;
use std::net::IpAddr;

/// How long an announced address is expected to be used …
const AFTER: Span = Span::from_secs(60);
/// … and how long before the phones may already have tried.
const BEFORE: Span = Span::from_secs(-5);
/// Addresses remembered of one capture.
const PEERS_MAX: usize = 65_536;
/// Datagrams of each end from which an unknown protocol is a talk.
const LEG_MIN: u32 = 4;
/// Ports below are services, not phones.
const PORT_MIN: u16 = 1024;

/// What a labelled call says of other flows.
#[derive(Clone, Copy)]
struct Told {
    flow: usize,
    at: Time,
    frame: FrameNo,
    /// Its legs speak no protocol that can be read: enciphered from the first byte on.
    enciphered: bool,
}

/// A call of the same client that announced the address a flow speaks with.
#[derive(Clone, Copy)]
pub struct Leg {
    /// The call, as index into the flows.
    pub flow: usize,
    /// Frame of the announcement.
    pub frame: FrameNo,
    /// Nothing was announced: both use the same address and port of the client.
    pub same_socket: bool,
}

/// Addresses that labelled calls named as their peers' (XOR-PEER-ADDRESS, RFC 8656 §18.3).
#[derive(Default)]
pub struct Peers {
    named: HashMap<(IpAddr, Endpoint), Told>,
    /// Sockets from which a labelled call asked by STUN, or spoke with Telegram's reflectors.
    sockets: HashMap<Endpoint, Told>,
}

impl Peers {
    /// Reads the announcements of all flows whose label is confident or better.
    pub fn of(flows: &[FlowRecord], labels: &[Option<Label>]) -> Self {
        let mut peers = Self::default();
        for (i, (flow, label)) in flows.iter().zip(labels).enumerate() {
            if label.as_ref().is_none_or(|l| l.grade < LabelGrade::Confident) {
                continue;
            }
            if label.as_ref().is_some_and(|l| l.role == Some(Role::Call))
                && flow.proto == Proto::UDP
                && flow.client.port >= PORT_MIN
                && peers.sockets.len() < PEERS_MAX
            {
                let asked = flow.notes.stun().next().map(|(note, _)| (note, false));
                let reflected = flow.notes.shapes().find(|(_, s)| reflector(*s)).map(|(note, _)| (note, true));
                if let Some((note, enciphered)) = asked.or(reflected) {
                    peers.sockets.entry(flow.client).or_insert(Told { flow: i, at: note.ts, frame: note.frame, enciphered });
                }
            }
            for (note, message) in flow.notes.stun() {
                let Some(peer) = message.peer else { continue };
                let usable = peer.port >= PORT_MIN && !peer.ip.is_unspecified() && !peer.ip.is_loopback() && peer != flow.server;
                if usable && peers.named.len() < PEERS_MAX {
                    peers.named.entry((flow.client.ip, peer)).or_insert(Told {
                        flow: i,
                        at: note.ts,
                        frame: note.frame,
                        enciphered: false,
                    });
                }
            }
        }
        peers
    }

    /// The call that announced one end of `flow` to the other shortly before it began.
    pub fn leg(&self, flow: &FlowRecord) -> Option<Leg> {
        if self.named.is_empty() && self.sockets.is_empty() || flow.proto != Proto::UDP {
            return None;
        }
        let named = [(flow.client.ip, flow.server), (flow.server.ip, flow.client)].iter().find_map(|key| self.named.get(key));
        // Only what speaks as a leg does: an app may ask names from the same socket.
        let legs =
            flow.notes.stun().next().is_some() || flow.notes.shapes().any(|(_, s)| matches!(s, Shape::Rtp | Shape::Rtcp | Shape::Dtls));
        let fits = |told: &&Told| legs || told.enciphered && talk(flow);
        let socket = [flow.client, flow.server].iter().find_map(|at| self.sockets.get(at).filter(fits));
        let (told, same_socket) = named.map(|t| (t, false)).or_else(|| socket.map(|t| (t, true)))?;
        let after = flow.first.ts.since(told.at);
        (BEFORE..=AFTER).contains(&after).then_some(Leg { flow: told.flow, frame: told.frame, same_socket })
    }
}

/// What a call says to Telegram's reflectors.
const fn reflector(shape: Shape) -> bool {
    matches!(shape, Shape::TgPing | Shape::TgReflector | Shape::TgReflectorPort)
}

/// Both ends speak, several times, and nobody knows the protocol.
fn talk(flow: &FlowRecord) -> bool {
    let packets = flow.gist().packets;
    flow.app.is_none() && packets.client >= LEG_MIN && packets.server >= LEG_MIN
}
