//! What a shard keeps of one flow, and what a packet does to it.

use crate::collect::Share;
use crate::flow::State;
use crate::inspect::{Appetite, Desk};
use crate::model::event::{Seen, StreamEvent};
use crate::model::flow::{Brief, Detail, FlowRecord, IcmpSeen, Moment, Totals};
use crate::model::key::Endpoint;
use crate::model::note::Notes;
use crate::model::pace::Pace;
use crate::model::pack::{Pack, Reader, Writer};
use crate::model::packet::{Body, Datagram, Packet};
use crate::model::side::{PerSide, Side};
use crate::model::time::Time;
use crate::stream::{Conversation, Dawn, LadderBook, Pacer};

/// What a shard keeps for one flow besides the table's entry.
#[derive(Default)]
pub(super) struct Talk {
    /// A live capture has it on its list of flows that changed.
    #[cfg_attr(not(feature = "live"), allow(dead_code))]
    pub(super) listed: bool,
    pub(super) tcp: Option<Box<Conversation>>,
    /// What there is of it before there is a connection.
    pub(super) dawn: Dawn,
    pub(super) ladder: LadderBook,
    pub(super) desk: Option<Desk>,
    pub(super) deaf: bool,
    pub(super) notes: Notes,
    pub(super) icmp: Vec<IcmpSeen>,
    pub(super) owner: Option<Box<str>>,
    /// The connection and the ladder of a flow at which nothing happens; both are empty meanwhile.
    pub(super) asleep: Option<Box<Asleep>>,
    /// What each side sent in datagrams. On its own: most flows of a flood of SYNs have none.
    pub(super) datagrams: Option<Box<PerSide<Datagrams>>>,
    /// The paces of a connection that was at rest.
    pub(super) paced: Option<Box<PerSide<Option<Box<Pace>>>>>,
}

/// What [`Talk::doze`] wrote.
pub(super) struct Asleep {
    bytes: Box<[u8]>,
    pacer: PerSide<Option<Box<Pacer>>>,
}

/// What is kept besides the record of a flow that is at rest.
pub(super) struct Rest(Box<[u8]>);

impl Rest {
    /// Writes what the flow adds to the capture's quality, and what [`Conversation::rest`] wrote.
    pub(super) fn new(share: &Share, connection: &[u8], w: &mut Writer) -> Self {
        w.clear();
        share.pack(w);
        w.raw(connection);
        Self(w.bytes().into())
    }

    /// What the flow adds to the capture's quality.
    pub(super) fn share(&self) -> Share {
        Pack::unpack(&mut Reader::new(&self.0))
    }
}

/// What a side sent in datagrams.
#[derive(Clone, Default)]
pub(super) struct Datagrams {
    first: Option<Time>,
    packets: u32,
    bytes: u64,
    /// Their pace, once there were enough of them.
    pub(super) pacer: Option<Box<Pacer>>,
}

impl State for Talk {
    type Rest = Rest;

    fn wake(mut record: FlowRecord, rest: Rest) -> (PerSide<Totals>, Self) {
        let mut r = Reader::new(&rest.0);
        let _ = Share::unpack(&mut r);
        let connection = r.raw();
        let ports = (record.client.port, record.server.port);
        let (app, notes, owner) = (record.app, std::mem::take(&mut record.notes), record.owner.take());
        let paced = std::mem::take(&mut record.pace);
        let Detail { totals, tcp, ladder, icmp } = record.into_detail();
        let tcp = tcp.map(|tcp| Box::new(Conversation::rouse(tcp, &mut Reader::new(connection))));
        let over = tcp.as_ref().is_some_and(|c| c.over());
        let talk = Self {
            tcp,
            ladder: LadderBook::reopen(ladder),
            desk: Some(if over { Desk::over(app) } else { Desk::tcp(ports.0, ports.1) }),
            deaf: over,
            notes,
            icmp,
            owner,
            paced: over.then(|| Box::new(paced)),
            ..Self::default()
        };
        (totals, talk)
    }
}

impl Talk {
    /// Writes the connection and the ladder, in a fifth of their bytes.
    pub(super) fn doze(&mut self, w: &mut Writer) {
        w.clear();
        let (ladder, tcp) = (std::mem::take(&mut self.ladder), self.tcp.take());
        ladder.pack_first(w);
        tcp.is_some().pack(w);
        let pacer = tcp.map(|c| c.doze(w)).unwrap_or_default();
        self.asleep = Some(Box::new(Asleep { bytes: w.bytes().into(), pacer }));
    }

    /// Reads them again, if they were written.
    pub(super) fn rouse(&mut self) {
        let Some(asleep) = self.asleep.take() else { return };
        let Asleep { bytes, pacer } = *asleep;
        (self.ladder, self.tcp) = LadderBook::unpack_beside(&mut Reader::new(&bytes), |r| {
            let is_tcp = bool::unpack(r);
            is_tcp.then(|| Box::new(Conversation::wake(r, pacer)))
        });
    }

    /// Makes a connection of what was kept of one.
    pub(super) fn rise(&mut self, client: Endpoint, server: Endpoint) {
        if self.dawn.is_empty() {
            return;
        }
        let ladder = &mut self.ladder;
        let mut conversation = self.dawn.rise(client, server, &mut |brief| ladder.add(brief));
        if self.deaf {
            conversation.stop_listening();
        }
        self.tcp = Some(conversation);
    }

    /// Takes in a packet.
    pub(super) fn take(&mut self, side: Side, packet: &Packet<'_>) {
        self.rouse();
        let seen = Seen { frame: packet.frame, ts: packet.ts, ttl: packet.ip.ttl };
        match &packet.body {
            Body::Tcp(seg) => {
                if self.tcp.is_none() && self.dawn.keeps(side, packet, seg) {
                    return;
                }
                let (client, server) = if side == Side::Client { (packet.src, packet.dst) } else { (packet.dst, packet.src) };
                self.rise(client, server);
                let conversation = self.tcp.get_or_insert_with(Box::default);
                let (desk, notes) = (&mut self.desk, &mut self.notes);
                let mut full = false;
                let brief = conversation.feed(side, packet, seg, &mut |side, seen, event| {
                    if let Some(desk) = desk
                        && !full
                    {
                        full = desk.feed(side, seen, event, notes) == Appetite::Full;
                    }
                });
                if full {
                    self.stop_inspecting();
                }
                self.ladder.add(brief);
            }
            Body::Udp(datagram) => {
                self.ladder.add(datagram_brief(side, packet, datagram.len));
                self.keep_pace(side, packet, datagram);
                if self.deaf {
                    return;
                }
                let event = StreamEvent::Datagram { bytes: datagram.payload, len: datagram.len };
                if let Some(desk) = &mut self.desk
                    && desk.feed(side, &seen, &event, &mut self.notes) == Appetite::Full
                {
                    self.stop_inspecting();
                }
            }
            Body::Icmp(_) | Body::Other(_) => self.ladder.add(datagram_brief(side, packet, 0)),
        }
    }

    fn keep_pace(&mut self, side: Side, packet: &Packet<'_>, datagram: &Datagram<'_>) {
        let datagrams = self.datagrams.get_or_insert_default();
        if let (Some(pacer), Some(first)) = (&mut datagrams[side.peer()].pacer, datagram.payload.first()) {
            pacer.reply(packet.ts, *first, datagram.len as usize);
        }
        let sent = &mut datagrams[side];
        let began = *sent.first.get_or_insert(packet.ts);
        sent.packets = sent.packets.saturating_add(1);
        sent.bytes = sent.bytes.saturating_add(u64::from(packet.ip.total_len));
        if sent.pacer.is_none() && Pacer::wanted(sent.packets, sent.bytes) {
            let before = sent.bytes.saturating_sub(u64::from(packet.ip.total_len));
            sent.pacer = Some(Pacer::new(began, before, packet.ts));
        }
        if let Some(pacer) = &mut sent.pacer {
            pacer.datagram(packet.ts, packet.ip.total_len);
        }
    }

    /// The record of a flow that goes on: everything known but what is half read.
    #[cfg(feature = "live")]
    pub(super) fn so_far(&self) -> Self {
        Self {
            listed: false,
            tcp: self.tcp.clone(),
            dawn: self.dawn.clone(),
            ladder: self.ladder.clone(),
            desk: None,
            deaf: self.deaf,
            notes: self.notes.clone(),
            icmp: self.icmp.clone(),
            owner: self.owner.clone(),
            asleep: None,
            datagrams: self.datagrams.clone(),
            paced: self.paced.clone(),
        }
    }

    /// The pace of each side that sent enough to have one. Ends its keeping.
    pub(super) fn take_pace(&mut self) -> PerSide<Option<Box<Pace>>> {
        let close = |d: Datagrams| d.pacer.map(|p| p.close());
        match (self.paced.take(), &mut self.tcp, self.datagrams.take()) {
            (Some(paced), ..) => *paced,
            (None, Some(c), _) => c.take_pace(),
            (None, None, Some(sent)) => PerSide { client: close(sent.client), server: close(sent.server) },
            (None, None, None) => PerSide::default(),
        }
    }

    /// Nobody listens any more: what is half read is written down. Tells the protocol recognised.
    pub(super) fn dismiss(&mut self) -> Option<&'static str> {
        let mut desk = self.desk.take()?;
        desk.finish(&mut self.notes);
        desk.app()
    }

    /// Nothing was noted of it.
    #[cfg(feature = "live")]
    pub(super) fn is_bare(&self) -> bool {
        self.notes.list.is_empty() && self.icmp.is_empty()
    }

    /// The protocol recognised so far.
    #[cfg(feature = "live")]
    pub(super) fn app(&self) -> Option<&'static str> {
        self.desk.as_ref().and_then(Desk::app)
    }

    /// Bytes kept until others come.
    #[cfg(feature = "live")]
    pub(super) fn buffered(&self) -> u64 {
        self.tcp.as_ref().map_or(0, |c| c.buffered())
    }

    /// Whether payload is still read.
    #[cfg(feature = "live")]
    pub(super) const fn listens(&self) -> bool {
        !self.deaf
    }

    pub(super) fn stop_inspecting(&mut self) {
        self.deaf = true;
        if let Some(c) = &mut self.tcp {
            c.stop_listening();
        }
    }
}

fn datagram_brief(side: Side, packet: &Packet<'_>, len: u32) -> Brief {
    let ip = &packet.ip;
    Brief {
        ttl: ip.ttl,
        tos: ip.tos,
        ip_id: ip.id,
        df: ip.df,
        ip_len: u16::try_from(ip.total_len).unwrap_or(u16::MAX),
        flow_label: ip.flow_label,
        ..Brief::datagram(Moment { frame: packet.frame, ts: packet.ts }, side, len)
    }
}
