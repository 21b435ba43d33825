//! Services and tunnels recognised without a name, by the exact structure of what both sides say first.
//!
//! Each protocol has a judge: a pure function over a bounded record of the flow's beginning. A judge says no as soon as the record
//! contradicts it and is not asked again; it says yes only when lengths, echoes and constants fit to the last byte.

mod discord;
mod dnscrypt;
mod echoed;
mod ike;
mod imo;
mod irc;
mod l2tp;
mod line;
mod loco;
mod mmtls;
mod mtproto;
mod oicq;
mod opaque;
mod openvpn;
mod pptp;
mod reflector;
mod sip;
mod softether;
mod threema;
mod ultrasurf;
mod viber;
mod whatsapp;
mod wireguard;
mod xmpp;
mod zoom;

#[cfg(test)]
mod tests;

use crate::model::note::Shape;
use crate::model::side::Side;

/// Datagrams of a flow that are recorded.
const GRAMS_MAX: usize = 16;
/// Bytes kept of each: enough for the ids of a handshake behind AmneziaWG's padding.
const GRAM_BYTES: usize = 176;
/// Bytes kept of each direction of a stream.
const HEAD_MAX: usize = 1024;
/// Pieces of a stream whose bounds are kept.
const PIECES_MAX: usize = 24;

/// What a judge thinks of a flow so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// It is not this.
    No,
    /// It began as this, and then went on as this never does.
    Broken,
    /// Too early to say.
    Wait,
    /// It looks like this, from one side; the other side may still prove it.
    Sofar(Shape),
    /// It is this.
    Yes(Shape),
}

/// An earlier datagram.
struct Gram {
    side: Side,
    /// Length on the wire.
    len: usize,
    bytes: Box<[u8]>,
}

/// The datagram at hand and those before it.
struct Talk<'a> {
    ports: [u16; 2],
    before: &'a [Gram],
    side: Side,
    bytes: &'a [u8],
    /// Length on the wire.
    len: usize,
}

impl Talk<'_> {
    /// Captured whole.
    const fn whole(&self) -> bool {
        self.bytes.len() == self.len
    }
    /// The other side's earlier datagrams, latest first.
    fn others(&self) -> impl Iterator<Item = &Gram> {
        let side = self.side;
        self.before.iter().rev().filter(move |g| g.side != side)
    }
    fn port(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }
}

type DatagramJudge = fn(&Talk<'_>) -> Verdict;

/// Every judge of datagrams. One line a protocol.
const DATAGRAMS: &[DatagramJudge] = &[
    wireguard::handshake,
    wireguard::data,
    wireguard::amnezia,
    openvpn::datagrams,
    openvpn::masked_datagrams,
    softether::judge,
    ike::messages,
    ike::esp,
    l2tp::judge,
    dnscrypt::judge,
    discord::judge,
    echoed::discord,
    echoed::whatsapp,
    echoed::viber,
    echoed::zoom,
    reflector::ping,
    reflector::port,
    reflector::media,
    viber::call,
    zoom::judge,
    zoom::media,
    imo::judge,
    line::judge,
    oicq::judge,
    sip::datagrams,
];

/// The beginning of a flow of datagrams, and which judges are still interested.
#[derive(Default)]
pub(super) struct Datagrams {
    before: Vec<Gram>,
    out: Dismissed,
}

impl Datagrams {
    /// A shape that this datagram shows, once per shape.
    pub(super) fn feed(&mut self, ports: [u16; 2], side: Side, bytes: &[u8], len: u32) -> Option<Shape> {
        if self.out.all(DATAGRAMS.len()) || self.before.len() >= GRAMS_MAX {
            return None;
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let talk = Talk { ports, before: &self.before, side, bytes, len };
        let found = self.out.ask(DATAGRAMS, |judge| judge(&talk));
        self.before.push(Gram { side, len, bytes: bytes.get(..GRAM_BYTES).unwrap_or(bytes).into() });
        if self.before.len() >= GRAMS_MAX || self.out.all(DATAGRAMS.len()) {
            self.before = Vec::new();
            self.out.no = u32::MAX;
        }
        found
    }

    /// Nothing more will be found.
    pub(super) const fn done(&self) -> bool {
        self.out.no == u32::MAX
    }
}

/// The beginning of a TCP conversation.
#[derive(Default)]
struct Heads {
    client: Vec<u8>,
    server: Vec<u8>,
    /// Pieces in the order they came: who sent, where the piece ends in its direction, its first four bytes.
    pieces: Vec<Piece>,
    /// Bytes seen of each side.
    sent: [usize; 2],
}

struct Piece {
    side: Side,
    from: usize,
    to: usize,
    first: [u8; 4],
}

impl Heads {
    fn of(&self, side: Side) -> &[u8] {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }
    /// A piece of `side` ended here.
    fn ends(&self, side: Side, at: usize) -> bool {
        self.pieces.iter().any(|p| p.side == side && p.to == at)
    }
    fn pieces_of(&self, side: Side) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(move |p| p.side == side)
    }
}

type StreamJudge = fn(&Heads) -> Verdict;

/// Every judge of streams. One line a protocol.
const STREAMS: &[StreamJudge] = &[
    whatsapp::judge,
    reflector::stream,
    mtproto::obfuscated,
    mtproto::plain,
    mtproto::full,
    openvpn::stream,
    openvpn::masked_stream,
    threema::judge,
    viber::frames,
    loco::judge,
    mmtls::judge,
    pptp::judge,
    xmpp::judge,
    irc::judge,
    sip::stream,
    ultrasurf::judge,
    ms_channel,
];

/// Microsoft's channel header around STUN, at the beginning of a connection to a relay.
fn ms_channel(h: &Heads) -> Verdict {
    let Some((head, size)) = h.client.get(..4).zip(be16(&h.client, 2)) else {
        return if [0xff, 0x10].starts_with(h.client.get(..2).unwrap_or(&h.client)) { Verdict::Wait } else { Verdict::No };
    };
    if !head.starts_with(&[0xff, 0x10]) {
        return Verdict::No;
    }
    match part(&h.client, 0, size.saturating_add(4)) {
        Some(first) if super::stun::ms_channel(first).and_then(super::stun::read).is_some() => Verdict::Yes(Shape::MsChannel),
        None if size < HEAD_MAX => Verdict::Wait,
        _ => Verdict::No,
    }
}

/// What one datagram of a Telegram reflector carries for the other phone, behind tag, ids and length.
pub(super) fn reflected(bytes: &[u8]) -> Option<&[u8]> {
    reflector::carried(bytes, bytes.len())
}

/// The beginning of a conversation, and which judges are still interested.
#[derive(Default)]
pub(super) struct Streams {
    heads: Heads,
    out: Dismissed,
}

impl Streams {
    pub(super) fn feed(&mut self, side: Side, bytes: &[u8]) -> Option<Shape> {
        if self.done() {
            return None;
        }
        let heads = &mut self.heads;
        let [client, server] = &mut heads.sent;
        let (head, sent) = match side {
            Side::Client => (&mut heads.client, client),
            Side::Server => (&mut heads.server, server),
        };
        let room = HEAD_MAX.saturating_sub(head.len());
        head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        let from = *sent;
        *sent = sent.saturating_add(bytes.len());
        let mut first = [0; 4];
        for (to, byte) in first.iter_mut().zip(bytes) {
            *to = *byte;
        }
        heads.pieces.push(Piece { side, from, to: *sent, first });
        let found = self.out.ask(STREAMS, |judge| judge(&self.heads));
        if self.out.no == u32::MAX {
            self.stop();
            return found;
        }
        let late = self.heads.pieces.len() >= PIECES_MAX;
        if late || self.out.all(STREAMS.len()) {
            // What nobody knows may at least be known to have no structure.
            let rest = if self.out.told == 0 { opaque::judge(&self.heads) } else { Verdict::No };
            if late || rest != Verdict::Wait {
                self.stop();
            }
            if let Verdict::Yes(shape) = rest {
                return Some(shape);
            }
        }
        found
    }

    /// Nothing more will be found.
    pub(super) const fn done(&self) -> bool {
        self.out.no == u32::MAX
    }

    /// Frees what was recorded.
    pub(super) fn stop(&mut self) {
        self.heads = Heads::default();
        self.out.no = u32::MAX;
    }
}

/// Which judges have said no, a bit each; all bits once one has said yes. And which shapes were told.
#[derive(Default)]
struct Dismissed {
    no: u32,
    /// Judges that have told how it began.
    begun: u32,
    told: u128,
}

impl Dismissed {
    fn all(&self, of: usize) -> bool {
        usize::try_from(self.no.count_ones()).unwrap_or(0) >= of
    }

    /// True the first time.
    fn tell(&mut self, shape: Shape) -> bool {
        let bit = 1u128.checked_shl(shape as u32).unwrap_or(0);
        let new = self.told & bit == 0;
        self.told |= bit;
        new
    }

    fn ask<J: Copy>(&mut self, judges: &[J], ask: impl Fn(J) -> Verdict) -> Option<Shape> {
        let mut found = None;
        for (i, judge) in (0u32..).zip(judges) {
            let bit = 1u32.checked_shl(i).unwrap_or(0);
            if self.no & bit != 0 {
                continue;
            }
            match ask(*judge) {
                Verdict::No => self.no |= bit,
                Verdict::Broken => {
                    self.no |= bit;
                    if self.begun & bit != 0 && found.is_none() && self.tell(Shape::Broken) {
                        found = Some(Shape::Broken);
                    }
                }
                Verdict::Wait => {}
                Verdict::Sofar(shape) => {
                    self.begun |= bit;
                    if found.is_none() && self.tell(shape) {
                        found = Some(shape);
                    }
                }
                Verdict::Yes(shape) => {
                    self.no = u32::MAX;
                    return self.tell(shape).then_some(shape);
                }
            }
        }
        found
    }
}

/// `n` bytes at `at`.
fn part(bytes: &[u8], at: usize, n: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(n)?)
}

fn byte(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

fn be16(bytes: &[u8], at: usize) -> Option<usize> {
    part(bytes, at, 2)?.try_into().ok().map(|b| usize::from(u16::from_be_bytes(b)))
}

fn le16(bytes: &[u8], at: usize) -> Option<usize> {
    part(bytes, at, 2)?.try_into().ok().map(|b| usize::from(u16::from_le_bytes(b)))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    part(bytes, at, 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    part(bytes, at, 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    part(bytes, at, 8)?.try_into().ok().map(u64::from_le_bytes)
}

fn zeros(bytes: &[u8], at: usize, n: usize) -> bool {
    part(bytes, at, n).is_some_and(|p| p.iter().all(|b| *b == 0))
}

/// Not all the same byte: a counter or an address may be, a random identifier is not.
fn varied(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| bytes.iter().any(|b| b != first))
}

/// Whether the capture time of old protocols' clocks, 2010 to 2040, may be `seconds` since 1970.
fn clock(seconds: u32) -> bool {
    (1_262_304_000..2_208_988_800).contains(&seconds)
}
