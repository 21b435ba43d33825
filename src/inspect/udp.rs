//! A UDP conversation: datagrams are sorted by their first byte, as protocols that share a port must be (RFC 9443).

use super::dtls::{self, Dtls};
use super::legs::Legs;
use super::quic::{self, Quic};
use super::shape::Media;
use super::{Appetite, Pen, Step, dns, shapes, stun};
use crate::model::event::{Seen, StreamEvent};
use crate::model::note::{Fact, Notes, Shape};
use crate::model::seq::Pos;
use crate::model::side::Side;

/// Datagrams looked at when nothing is recognised.
const UNKNOWN_MAX: u16 = 24;
/// Datagrams looked at in a flow of STUN, DTLS or media.
const CALL_MAX: u16 = 80;
/// Datagrams looked at on a DNS port.
const DNS_MAX: u16 = 48;
/// Datagrams in which a realm is still looked for once enough STUN has been noted.
const REALM_WITHIN: u16 = 64;

/// Datagrams of a QUIC flow in which media beside it are looked for.
const BESIDE_QUIC: u16 = 200;

/// All datagrams of a UDP flow.
pub(super) struct Datagrams {
    ports: [u16; 2],
    seen: u16,
    /// Only media are still counted.
    counting: bool,
    /// QUIC has nothing more to say.
    quic_over: bool,
    quic: Option<Box<Quic>>,
    dtls: Option<Box<Dtls>>,
    media: Option<Box<Media>>,
    legs: Option<Box<Legs>>,
    shapes: Option<Box<shapes::Datagrams>>,
    dns: u8,
    stun: u8,
    realm: bool,
    wrap: Wrap,
    last: Option<(Side, Seen)>,
}

/// What stands before every message of a call, once that is proven.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrap {
    None,
    /// The channel header of Microsoft's relays.
    MsChannel,
    /// The header of Telegram's reflectors.
    Reflector,
}

impl Wrap {
    /// The message behind it.
    fn inside(self, bytes: &[u8]) -> Option<&[u8]> {
        match self {
            Self::None => None,
            Self::MsChannel => stun::ms_channel(bytes),
            Self::Reflector => shapes::reflected(bytes),
        }
    }
}

impl Datagrams {
    pub(super) const fn new(ports: [u16; 2]) -> Self {
        Self {
            ports,
            seen: 0,
            counting: false,
            quic_over: false,
            quic: None,
            dtls: None,
            media: None,
            legs: None,
            shapes: None,
            dns: 0,
            stun: 0,
            realm: false,
            wrap: Wrap::None,
            last: None,
        }
    }

    pub(super) fn feed(&mut self, ev: &StreamEvent<'_>, pen: &mut Pen<'_>, app: &mut Option<&'static str>) -> Appetite {
        let StreamEvent::Datagram { bytes, len } = *ev else { return Appetite::Hungry };
        self.count_media(bytes, pen);
        if self.counting {
            return Appetite::Hungry;
        }
        let appetite = self.read(bytes, len, pen, app);
        if appetite == Appetite::Full && self.legs.is_some() {
            // The rest of a call is counted, not read.
            self.counting = true;
            (self.quic, self.dtls, self.media, self.shapes) = (None, None, None, None);
            return Appetite::Hungry;
        }
        appetite
    }

    /// Counts media once they are proven to be media, also inside a relay's channel.
    fn count_media(&mut self, bytes: &[u8], pen: &Pen<'_>) {
        let Some(legs) = &mut self.legs else { return };
        let bytes = self.wrap.inside(bytes).unwrap_or(bytes);
        match bytes.first() {
            Some(0x80..=0xbf) => legs.count(pen.side, pen.seen.ts, bytes),
            Some(0x40..=0x4f) => {
                if let Some(inner) = stun::channel_data(bytes) {
                    legs.count(pen.side, pen.seen.ts, inner);
                }
            }
            _ => {}
        }
    }

    fn read(&mut self, bytes: &[u8], len: u32, pen: &mut Pen<'_>, app: &mut Option<&'static str>) -> Appetite {
        self.seen = self.seen.saturating_add(1);
        self.last = Some((pen.side, pen.seen));
        if let Some(name) = self.name_port() {
            if let Some(read) = dns::read(bytes, false) {
                app.get_or_insert(name);
                self.note_dns(read, pen);
            } else if self.dns == 0 && self.shape(bytes, len, pen, app) {
                return Appetite::Full;
            }
            let full = self.dns >= dns::MESSAGES_MAX || self.seen >= DNS_MAX;
            return if full { Appetite::Full } else { Appetite::Hungry };
        }
        if self.quic.is_some() || self.quic_over {
            return self.beside_quic(bytes, len, pen);
        }
        if let Some(appetite) = self.wrapped(bytes, pen, app) {
            return appetite;
        }
        if quic::begins(bytes) {
            app.get_or_insert("quic");
            self.quic = Some(Box::default());
            return self.beside_quic(bytes, len, pen);
        }
        let known = self.call(bytes, pen, app, 0);
        if !known && self.stun == 0 && self.dtls.is_none() && self.shape(bytes, len, pen, app) {
            return Appetite::Full;
        }
        // DNS on a strange port: only if it was so from the beginning, and only if every bit of it fits.
        if (app.is_none() || *app == Some("dns"))
            && (self.seen <= 4 || self.dns > 0)
            && let Some(read) = dns::read(bytes, false).filter(|r| r.strict)
        {
            app.get_or_insert("dns");
            self.note_dns(read, pen);
        }
        self.appetite(*app)
    }

    /// The messages of a call behind a header of their own; `None` if this is none.
    fn wrapped(&mut self, bytes: &[u8], pen: &mut Pen<'_>, app: &mut Option<&'static str>) -> Option<Appetite> {
        if self.wrap == Wrap::None {
            // The header alone is two bytes and a length; STUN behind it settles it.
            let inner = stun::ms_channel(bytes)?;
            stun::read(inner)?;
            self.wrap = Wrap::MsChannel;
            pen.write(Pos::FIRST, Pos::FIRST, Fact::Shape(Shape::MsChannel));
        }
        let inner = self.wrap.inside(bytes)?;
        self.call(inner, pen, app, 1);
        Some(self.appetite(*app))
    }

    /// Whether more of a flow of this protocol is to be read.
    fn appetite(&self, app: Option<&'static str>) -> Appetite {
        let limit = match app {
            None => UNKNOWN_MAX,
            Some("dns") => DNS_MAX,
            // Enough was noted and the realm is known or not to be expected any more: only media and DTLS are still of interest.
            Some(_) if self.stun >= stun::NOTES_MAX && (self.media.as_ref().is_some_and(|m| m.satisfied())) => REALM_WITHIN,
            Some(_) => CALL_MAX,
        };
        if self.seen >= limit || self.dns >= dns::MESSAGES_MAX { Appetite::Full } else { Appetite::Hungry }
    }

    /// QUIC, and media that share its ports: their first byte is never one of QUIC's (RFC 9443).
    fn beside_quic(&mut self, bytes: &[u8], len: u32, pen: &mut Pen<'_>) -> Appetite {
        if let Some(128..=191) = bytes.first() {
            if let Some(Shape::Rtp) = self.media.get_or_insert_default().feed(pen.side, bytes) {
                self.legs.get_or_insert_default();
                pen.write(Pos::FIRST, Pos::FIRST, Fact::Shape(Shape::QuicRtp));
                return Appetite::Full;
            }
        } else if let Some(quic) = &mut self.quic
            && quic.feed(bytes, len, pen) != Step::More
        {
            if let Some((announced, have)) = quic.partial() {
                // Only a client sends a hello, whoever spoke last.
                Pen { side: Side::Client, seen: pen.seen, notes: pen.notes }.partial(Pos::FIRST, Pos::FIRST, announced, have);
            }
            self.quic = None;
            self.quic_over = true;
        }
        if self.quic_over && self.seen >= BESIDE_QUIC { Appetite::Full } else { Appetite::Hungry }
    }

    /// What a call is made of: STUN, DTLS, media, or any of them inside a relay's messages. True unless only shapes may still know it.
    fn call(&mut self, bytes: &[u8], pen: &mut Pen<'_>, app: &mut Option<&'static str>, depth: u8) -> bool {
        match bytes.first().copied().unwrap_or(0xff) {
            0..=3 => {
                let Some(carried) = self.stun(bytes, pen) else { return false };
                app.get_or_insert("stun");
                if let (Some(inner), 0) = (carried, depth) {
                    self.call(inner, pen, app, 1);
                }
                true
            }
            // Only a relay has channels: elsewhere these first bytes are QUIC's or anyone's.
            0x40..=0x4f if self.stun > 0 && depth == 0 => {
                let Some(inner) = stun::channel_data(bytes) else { return false };
                self.call(inner, pen, app, 1);
                true
            }
            20..=25 if dtls::begins(bytes) => {
                app.get_or_insert("dtls");
                if self.dtls.is_none() {
                    pen.write(Pos::FIRST, Pos::FIRST, Fact::Shape(Shape::Dtls));
                }
                let dtls = self.dtls.get_or_insert_default();
                dtls.feed(pen.side, bytes, |fact| {
                    pen.write(Pos::FIRST, Pos::FIRST, fact);
                });
                true
            }
            128..=191 if self.may_be_media() => {
                if let Some(shape) = self.media.get_or_insert_default().feed(pen.side, bytes) {
                    app.get_or_insert(if shape == Shape::Rtp { "rtp" } else { "rtcp" });
                    pen.write(Pos::FIRST, Pos::FIRST, Fact::Shape(shape));
                    if shape == Shape::Rtp {
                        self.legs.get_or_insert_default();
                    }
                }
                // Keys from the signalling: ICE, but no DTLS.
                if self.stun > 0 && self.dtls.is_none() && self.media.as_mut().is_some_and(|m| m.ringrtc()) {
                    pen.write(Pos::FIRST, Pos::FIRST, Fact::Shape(Shape::SignalRtp));
                }
                false
            }
            _ => false,
        }
    }

    /// Shows a datagram to the judges of shapes; true if nothing more can be learned of the flow.
    fn shape(&mut self, bytes: &[u8], len: u32, pen: &mut Pen<'_>, app: &mut Option<&'static str>) -> bool {
        let shapes = self.shapes.get_or_insert_default();
        let Some(shape) = shapes.feed(self.ports, pen.side, bytes, len) else { return false };
        pen.write(Pos::FIRST, Pos::FIRST, Fact::Shape(shape));
        if shape == Shape::TgReflectorPort {
            self.wrap = Wrap::Reflector;
        }
        *app = app.or(shape.app());
        shape.app().is_some() && shapes.done()
    }

    /// The name of the resolver protocol whose port this flow has.
    fn name_port(&self) -> Option<&'static str> {
        if self.ports.contains(&53) {
            Some("dns")
        } else if self.ports.contains(&5353) {
            Some("mdns")
        } else if self.ports.contains(&5355) {
            Some("llmnr")
        } else {
            None
        }
    }

    /// Ports of other protocols whose datagrams happen to look like media.
    fn may_be_media(&self) -> bool {
        self.wrap != Wrap::None || self.ports.iter().all(|&p| p > 1023 && p != 30_303)
    }

    fn note_dns(&mut self, read: dns::Read, pen: &mut Pen<'_>) {
        self.dns = self.dns.saturating_add(1);
        pen.write(Pos::FIRST, Pos::FIRST, Fact::Dns(Box::new(read.message)));
    }

    /// `Some` if the datagram is STUN, noted or not: what it carries, if anything.
    fn stun<'b>(&mut self, bytes: &'b [u8], pen: &mut Pen<'_>) -> Option<Option<&'b [u8]>> {
        let (message, carried) = if stun::begins(bytes) == Some(true) {
            let enough = self.stun >= stun::NOTES_MAX;
            if enough && (self.realm || self.seen > REALM_WITHIN) {
                return Some(None);
            }
            stun::carrying(bytes)?
        } else {
            (stun::read_old(bytes, self.ports.iter().any(|p| matches!(p, 3478..=3481 | 19_302..=19_309)))?, None)
        };
        let realm = message.realm.is_some();
        if self.stun < stun::NOTES_MAX || realm {
            self.stun = self.stun.saturating_add(1);
            self.realm |= realm;
            pen.write(Pos::FIRST, Pos::FIRST, Fact::Stun(Box::new(message)));
        }
        Some(carried)
    }

    pub(super) fn finish(&self, notes: &mut Notes) {
        if let (Some(quic), Some((_, seen))) = (&self.quic, self.last)
            && let Some((announced, have)) = quic.partial()
        {
            // Only a client sends a hello, whoever spoke last.
            Pen { side: Side::Client, seen, notes }.partial(Pos::FIRST, Pos::FIRST, announced, have);
        }
        if let (Some(legs), Some((_, seen))) = (&self.legs, self.last) {
            for (side, fact) in legs.close() {
                Pen { side, seen, notes }.write(Pos::FIRST, Pos::FIRST, fact);
            }
        }
    }
}
