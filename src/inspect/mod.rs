//! Bytes become facts: each protocol is recognised, what was said is written down, then nothing more is eaten.
//!
//! A flow has one [`Desk`]. Every direction of a TCP flow is probed by its first bytes and then read by one protocol;
//! datagrams are sorted by their first byte (RFC 9443). Everything here comes from the wire and is hostile:
//! all state is bounded per flow, nothing is indexed unchecked, and an inspector that cannot follow simply stops.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::string_slice
)]

mod cert;
mod cursor;
mod dns;
mod dtls;
mod hello;
mod http;
mod ja4;
mod legs;
mod quic;
mod quic_keys;
mod shape;
mod shapes;
mod socks;
mod stun;
mod tcp;
mod tls;
mod udp;

#[cfg(test)]
mod tests;

use crate::model::event::{Seen, StreamEvent};
use crate::model::note::{Fact, Note, Notes};
use crate::model::seq::Pos;
use crate::model::side::Side;

/// What a flow's inspectors still want.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Appetite {
    /// More events, please.
    Hungry,
    /// Nothing more will be learned; do not feed again.
    Full,
}

/// One flow's inspectors: 32 bytes inline; what a protocol needs is boxed, made with the first payload and freed when full.
#[derive(Debug)]
pub struct Desk {
    state: State,
    ports: [u16; 2],
    app: Option<&'static str>,
}

enum State {
    TcpIdle,
    UdpIdle,
    Tcp(Box<tcp::Conversation>),
    Udp(Box<udp::Datagrams>),
    Full,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TcpIdle | Self::UdpIdle => "Idle",
            Self::Tcp(_) => "Tcp",
            Self::Udp(_) => "Udp",
            Self::Full => "Full",
        })
    }
}

impl Desk {
    /// The desk of a TCP flow between these ports (host order).
    pub const fn tcp(client_port: u16, server_port: u16) -> Self {
        Self { state: State::TcpIdle, ports: [client_port, server_port], app: None }
    }

    /// The desk of a UDP flow between these ports (host order).
    pub const fn udp(client_port: u16, server_port: u16) -> Self {
        Self { state: State::UdpIdle, ports: [client_port, server_port], app: None }
    }

    /// The desk of a flow of which nothing more will be learned, with the protocol it was found to be.
    pub const fn over(app: Option<&'static str>) -> Self {
        Self { state: State::Full, ports: [0; 2], app }
    }

    /// Reads one event that `side` caused. TCP desks take everything but `Datagram`, UDP desks only that.
    pub fn feed(&mut self, side: Side, seen: &Seen, ev: &StreamEvent<'_>, notes: &mut Notes) -> Appetite {
        let mut pen = Pen { side, seen: *seen, notes };
        let appetite = match &mut self.state {
            State::Full => Appetite::Full,
            State::Tcp(tcp) => tcp.feed(ev, &mut pen, &mut self.app),
            State::Udp(udp) => udp.feed(ev, &mut pen, &mut self.app),
            State::TcpIdle if matches!(ev, StreamEvent::Fin { .. }) => Appetite::Hungry,
            State::TcpIdle => {
                let mut tcp = Box::new(tcp::Conversation::new(self.ports));
                let appetite = tcp.feed(ev, &mut pen, &mut self.app);
                self.state = State::Tcp(tcp);
                appetite
            }
            State::UdpIdle => {
                let mut udp = Box::new(udp::Datagrams::new(self.ports));
                let appetite = udp.feed(ev, &mut pen, &mut self.app);
                self.state = State::Udp(udp);
                appetite
            }
        };
        if appetite == Appetite::Full {
            self.finish(notes);
        }
        appetite
    }

    /// The flow ended, or its stream stopped: writes down what is half done and frees everything. Harmless when repeated.
    pub fn finish(&mut self, notes: &mut Notes) {
        match std::mem::replace(&mut self.state, State::Full) {
            State::Tcp(mut tcp) => tcp.finish(notes),
            State::Udp(udp) => udp.finish(notes),
            State::TcpIdle | State::UdpIdle | State::Full => {}
        }
    }

    /// The protocol recognised first: `tls`, `quic`, `http`, `http2`, `dns`, `mdns`, `llmnr`, `stun`, `dtls`, `rtp`, `rtcp`,
    /// `ssh`, `smtp`, `ftp`, `pop3`, `imap`, `xmpp`, `bittorrent`, `socks`, and those of [`crate::model::note::Shape::app`].
    pub const fn app(&self) -> Option<&'static str> {
        self.app
    }
}

/// Writes notes for the event at hand.
struct Pen<'a> {
    side: Side,
    seen: Seen,
    notes: &'a mut Notes,
}

impl Pen<'_> {
    /// Adds a note; its index if it was kept.
    fn write(&mut self, from: Pos, to: Pos, fact: Fact) -> Option<usize> {
        let before = self.notes.list.len();
        self.notes.push(Note { frame: self.seen.frame, ts: self.seen.ts, side: self.side, from, to, fact });
        (self.notes.list.len() > before).then_some(before)
    }

    /// Notes an unfinished ClientHello, or brings the flow's only such note up to date.
    fn partial(&mut self, from: Pos, to: Pos, announced: u32, have: u32) {
        let fact = Fact::PartialClientHello { announced, have };
        let known = self.notes.list.iter_mut().find(|n| matches!(n.fact, Fact::PartialClientHello { .. }));
        match known {
            Some(note) => *note = Note { frame: self.seen.frame, ts: self.seen.ts, side: self.side, from, to, fact },
            None => {
                self.write(from, to, fact);
            }
        }
    }
}

/// What a protocol says after it has read some bytes of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// It wants the next bytes too.
    More,
    /// It is done with this direction.
    Done,
    /// Another protocol begins after this many of the bytes just given.
    Reprobe(usize),
}
