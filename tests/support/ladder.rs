//! Conversations that read as a ladder, seen from the client's end of the path.
//!
//! ```text
//! let mut conv = Conv::new("192.168.1.23:40000", "149.154.167.99:443");
//! conv.syn().syn_ack().ack();
//! conv.c2s(&hello);
//! conv.after_ms(12).forged_from_server(|p| p.ttl(57));
//! ```

use super::pcap::Rec;
use super::wire::{ACK, FIN, Ip, PSH, RST, SYN, Segment, option};
use super::wrap::Link;
use std::net::{IpAddr, SocketAddr};

const MS: i64 = 1_000_000;
/// 2026-03-01T10:00:00Z: when built captures begin.
pub const EPOCH: i64 = 1_772_359_200 * 1_000_000_000;

/// An IP packet on its way.
#[derive(Clone, Debug)]
pub struct Sent {
    pub ts: i64,
    pub packet: Vec<u8>,
    /// The client sent it.
    pub out: bool,
}

impl Sent {
    /// The frame on a link.
    pub fn on(&self, link: Link) -> Rec {
        Rec::new(self.ts, link.wrap(&self.packet, self.out))
    }
}

#[derive(Clone, Debug)]
struct End {
    at: SocketAddr,
    ttl: u8,
    next_id: u16,
    /// Next sequence number to send.
    seq: u32,
    fresh: bool,
}

/// A TCP conversation under construction. The clock moves by itself: a packet that answers the other side comes a round
/// trip later when the server sends it, at once when the client does.
#[derive(Clone, Debug)]
pub struct Conv {
    pub now: i64,
    pub rtt: i64,
    pub mss: usize,
    pub timestamps: bool,
    client: End,
    server: End,
    last_out: Option<bool>,
    sent: Vec<Sent>,
}

impl Conv {
    pub fn new(client: &str, server: &str) -> Self {
        let client: SocketAddr = client.parse().expect("client address");
        let server: SocketAddr = server.parse().expect("server address");
        let mix = u32::from(client.port()).wrapping_mul(0x9e37_79b1) ^ u32::from(server.port()) << 7;
        Self {
            now: EPOCH,
            rtt: 40 * MS,
            mss: 1400,
            timestamps: true,
            client: End { at: client, ttl: 64, next_id: mix as u16, seq: mix, fresh: true },
            server: End { at: server, ttl: 52, next_id: (mix >> 9) as u16, seq: mix.rotate_left(16) ^ 0x1357_9bdf, fresh: true },
            last_out: None,
            sent: Vec::new(),
        }
    }

    /// Begins `ms` after the epoch of built captures.
    pub fn at_ms(mut self, ms: i64) -> Self {
        self.now = EPOCH + ms * MS;
        self
    }
    pub fn rtt_ms(mut self, ms: i64) -> Self {
        self.rtt = ms * MS;
        self
    }
    pub fn ttls(mut self, client: u8, server: u8) -> Self {
        self.client.ttl = client;
        self.server.ttl = server;
        self
    }
    /// Segments without the timestamp option.
    pub fn no_timestamps(mut self) -> Self {
        self.timestamps = false;
        self
    }

    /// Lets time pass.
    pub fn after_ms(&mut self, ms: i64) -> &mut Self {
        self.now += ms * MS;
        self.last_out = None;
        self
    }

    /// The segment that `out` (client) or the server would send next, without data.
    pub fn next(&self, out: bool, flags: u8) -> Segment {
        let (me, peer) = if out { (&self.client, &self.server) } else { (&self.server, &self.client) };
        let ms = ((self.now - EPOCH) / MS) as u32;
        let mut options = Vec::new();
        if flags & SYN != 0 {
            options.extend(option::mss(self.mss as u16 + 12));
            options.extend(option::sack_permitted());
            if self.timestamps {
                options.extend(option::timestamps(ms.wrapping_add(me.seq), if flags & ACK != 0 { ms } else { 0 }));
            }
            options.extend(option::window_scale(7));
        } else if self.timestamps && flags & RST == 0 {
            options.extend([1, 1]);
            options.extend(option::timestamps(ms.wrapping_add(me.seq), ms));
        }
        let mut ip = Ip::new(me.at.ip(), peer.at.ip());
        ip.ttl = me.ttl;
        ip.id = if flags & (SYN | ACK) == SYN | ACK { 0 } else { me.next_id };
        ip.flow_label = if ip.src.is_ipv6() { me.seq & 0xf_ffff } else { 0 };
        Segment {
            ip,
            sport: me.at.port(),
            dport: peer.at.port(),
            seq: me.seq,
            ack: if flags & ACK != 0 { peer.seq } else { 0 },
            flags,
            window: if flags & SYN != 0 { 64_240 } else { 502 },
            options,
            payload: Vec::new(),
            bad_checksum: false,
        }
    }

    fn turn(&mut self, out: bool) {
        self.now += match (self.last_out, out) {
            (Some(true), false) => self.rtt,
            (Some(false), true) => MS / 10,
            (None, _) => 0,
            _ => MS / 50,
        };
        self.last_out = Some(out);
    }

    fn put(&mut self, out: bool, segment: &Segment) {
        self.sent.push(Sent { ts: self.now, packet: segment.bytes(), out });
    }

    /// A packet the stack of one side sends; its sequence space is consumed.
    fn send(&mut self, out: bool, flags: u8, payload: &[u8]) -> &mut Self {
        self.turn(out);
        let segment = self.next(out, flags).payload(payload);
        self.put(out, &segment);
        let me = if out { &mut self.client } else { &mut self.server };
        me.next_id = me.next_id.wrapping_add(1);
        me.seq = me.seq.wrapping_add(payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0));
        self
    }

    fn stream(&mut self, out: bool, bytes: &[u8]) -> &mut Self {
        let n = bytes.len().div_ceil(self.mss);
        for (i, piece) in bytes.chunks(self.mss).enumerate() {
            self.send(out, if i + 1 == n { ACK | PSH } else { ACK }, piece);
        }
        self
    }

    pub fn syn(&mut self) -> &mut Self {
        self.send(true, SYN, &[])
    }
    pub fn syn_ack(&mut self) -> &mut Self {
        self.send(false, SYN | ACK, &[])
    }
    pub fn ack(&mut self) -> &mut Self {
        self.send(true, ACK, &[])
    }
    pub fn ack_from_server(&mut self) -> &mut Self {
        self.send(false, ACK, &[])
    }
    /// The three packets that open a connection.
    pub fn handshake(&mut self) -> &mut Self {
        self.syn().syn_ack().ack()
    }
    /// Client data, in full segments.
    pub fn c2s(&mut self, bytes: &[u8]) -> &mut Self {
        self.stream(true, bytes)
    }
    /// Server data, in full segments.
    pub fn s2c(&mut self, bytes: &[u8]) -> &mut Self {
        self.stream(false, bytes)
    }
    /// Client data cut at these sizes, the rest in full segments.
    pub fn c2s_cut(&mut self, bytes: &[u8], sizes: &[usize]) -> &mut Self {
        let mut rest = bytes;
        for &n in sizes {
            let (piece, tail) = rest.split_at(n.min(rest.len()));
            self.send(true, ACK | PSH, piece);
            rest = tail;
        }
        self.stream(true, rest)
    }
    pub fn fin(&mut self) -> &mut Self {
        self.send(true, ACK | FIN, &[])
    }
    pub fn fin_from_server(&mut self) -> &mut Self {
        self.send(false, ACK | FIN, &[])
    }
    /// Both sides close in order.
    pub fn close(&mut self) -> &mut Self {
        self.fin().fin_from_server().ack()
    }

    /// The server resets, in its own time and with its own headers unless `change` says otherwise.
    pub fn rst_from_server(&mut self, change: impl FnOnce(Segment) -> Segment) -> &mut Self {
        self.turn(false);
        let segment = change(self.next(false, RST | ACK));
        self.put(false, &segment);
        self
    }
    /// The client resets.
    pub fn rst_from_client(&mut self, change: impl FnOnce(Segment) -> Segment) -> &mut Self {
        self.turn(true);
        let segment = change(self.next(true, RST | ACK));
        self.put(true, &segment);
        self
    }
    /// A packet in the server's name that the server did not send: now, whatever the round trip; no state moves.
    pub fn forged_from_server(&mut self, change: impl FnOnce(Segment) -> Segment) -> &mut Self {
        let segment = change(self.next(false, RST | ACK));
        self.put(false, &segment);
        self
    }
    /// A packet in the client's name outside its stream: a decoy of a desync tool, or a forgery seen near the server.
    pub fn forged_from_client(&mut self, change: impl FnOnce(Segment) -> Segment) -> &mut Self {
        let segment = change(self.next(true, ACK | PSH));
        self.put(true, &segment);
        self
    }
    /// The last client packet once more (a retransmission).
    pub fn again(&mut self) -> &mut Self {
        let last = self.sent.iter().rev().find(|s| s.out).cloned().expect("something was sent");
        self.sent.push(Sent { ts: self.now, ..last });
        self
    }

    pub fn done(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }
}

/// A UDP conversation.
#[derive(Clone, Debug)]
pub struct Udp {
    pub now: i64,
    pub rtt: i64,
    client: SocketAddr,
    server: SocketAddr,
    last_out: Option<bool>,
    ids: u16,
    /// TTLs of client and server.
    ttls: (u8, u8),
    /// Identification of the server's next packet, if it is to be its own.
    server_id: Option<u16>,
    sent: Vec<Sent>,
}

impl Udp {
    pub fn new(client: &str, server: &str) -> Self {
        let client: SocketAddr = client.parse().expect("client address");
        Self {
            now: EPOCH,
            rtt: 40 * MS,
            client,
            server: server.parse().expect("server address"),
            last_out: None,
            ids: client.port(),
            ttls: (64, 52),
            server_id: None,
            sent: Vec::new(),
        }
    }
    pub fn rtt_ms(mut self, ms: i64) -> Self {
        self.rtt = ms * MS;
        self
    }
    pub fn ttls(mut self, client: u8, server: u8) -> Self {
        self.ttls = (client, server);
        self
    }
    /// The server's next packet carries this identification.
    pub fn server_id(mut self, id: u16) -> Self {
        self.server_id = Some(id);
        self
    }
    pub fn at_ms(mut self, ms: i64) -> Self {
        self.now = EPOCH + ms * MS;
        self
    }
    pub fn after_ms(&mut self, ms: i64) -> &mut Self {
        self.now += ms * MS;
        self.last_out = None;
        self
    }
    fn send(&mut self, out: bool, payload: &[u8]) -> &mut Self {
        self.now += match (self.last_out, out) {
            (Some(true), false) => self.rtt,
            (None, _) => 0,
            _ => MS / 10,
        };
        self.last_out = Some(out);
        self.ids = self.ids.wrapping_add(1);
        let (from, to, ttl) = if out { (self.client, self.server, self.ttls.0) } else { (self.server, self.client, self.ttls.1) };
        let mut ip = Ip::new(from.ip(), to.ip());
        ip.ttl = ttl;
        ip.id = self.server_id.filter(|_| !out).unwrap_or(self.ids);
        self.sent.push(Sent { ts: self.now, packet: ip.udp(from.port(), to.port(), payload), out });
        self
    }
    pub fn c2s(&mut self, payload: &[u8]) -> &mut Self {
        self.send(true, payload)
    }
    pub fn s2c(&mut self, payload: &[u8]) -> &mut Self {
        self.send(false, payload)
    }
    pub fn done(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }
}

/// Several conversations in one line, by time.
pub fn merge(parts: impl IntoIterator<Item = Vec<Sent>>) -> Vec<Sent> {
    let mut all: Vec<Sent> = parts.into_iter().flatten().collect();
    all.sort_by_key(|s| s.ts);
    all
}

/// A DNS answer's addresses must be of the asked family; this is the one-liner most captures need.
pub fn lookup(client: &str, resolver: &str, name: &str, answer: IpAddr, at_ms: i64) -> Vec<Sent> {
    let id = at_ms as u16 ^ 0x5a17;
    let kind = if answer.is_ipv4() { 1 } else { 28 };
    let mut udp = Udp::new(client, resolver).at_ms(at_ms);
    udp.c2s(&super::say::dns_query(id, name, kind)).s2c(&super::say::dns_answer(id, name, kind, &[answer], 0, 120));
    udp.done()
}
