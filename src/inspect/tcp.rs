//! A TCP conversation: each direction is probed by its first bytes, then read by one protocol.

use super::{Appetite, Pen, Step, dns, http, shape, shapes, socks, stun, tls};
use crate::model::event::{Seen, StreamEvent};
use crate::model::note::{Fact, Notes, Shape};
use crate::model::seq::Pos;
use crate::model::side::{PerSide, Side};

/// Bytes after which a protocol that is not recognised will not be.
const PROBE_MAX: usize = 32;
/// Text in which STARTTLS is waited for, per direction.
const TEXT_MAX: u32 = 16 * 1024;
/// Changes of protocol inside one event.
const CHANGES_MAX: u8 = 8;
/// Decoy hellos noted of one flow.
const DECOYS_MAX: u8 = 12;

/// How one direction is being read.
enum Lane {
    /// Not recognised yet. `first`: nothing has been read in this direction before.
    Probe {
        held: Vec<u8>,
        at: Pos,
        first: bool,
    },
    Tls(Box<tls::Direction>),
    Request(Box<http::Requests>),
    Response(Box<http::Responses>),
    Dns(Box<dns::Framed>),
    Stun(Box<stun::Direction>),
    Socks(Box<socks::Direction>),
    /// A line protocol in which TLS may begin; so many bytes are still read.
    Text(u32),
    /// Nothing known by its first bytes alone: both directions are looked at together.
    Watched,
    Done,
}

impl Default for Lane {
    fn default() -> Self {
        Self::Probe { held: Vec::new(), at: Pos::FIRST, first: true }
    }
}

/// What the first bytes of a direction are.
enum Kind {
    Tls,
    Request,
    Response,
    Page,
    Dns,
    Stun,
    Socks,
    Text(&'static str, Option<Shape>),
    Unknown,
}

/// Both directions of a TCP flow.
pub(super) struct Conversation {
    ports: [u16; 2],
    lanes: PerSideLanes,
    tls: tls::Shared,
    http: http::Shared,
    /// A request has been recognised.
    asked: bool,
    /// The client greeted a SOCKS server that has not answered.
    socks_waits: bool,
    shaped: bool,
    /// What was watched is over.
    dismissed: bool,
    shapes: Option<Box<shapes::Streams>>,
    decoys: u8,
    last: PerSide<Option<(Seen, Pos)>>,
}

#[derive(Default)]
struct PerSideLanes {
    client: Lane,
    server: Lane,
}

impl PerSideLanes {
    const fn of(&mut self, side: Side) -> &mut Lane {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }
}

impl Conversation {
    pub(super) fn new(ports: [u16; 2]) -> Self {
        Self {
            ports,
            lanes: PerSideLanes::default(),
            tls: tls::Shared::default(),
            http: http::Shared::default(),
            asked: false,
            socks_waits: false,
            shaped: false,
            dismissed: false,
            shapes: None,
            decoys: 0,
            last: PerSide::default(),
        }
    }

    pub(super) fn feed(&mut self, ev: &StreamEvent<'_>, pen: &mut Pen<'_>, app: &mut Option<&'static str>) -> Appetite {
        match *ev {
            StreamEvent::Bytes { at, bytes } => {
                self.last[pen.side] = Some((pen.seen, at.plus(length(bytes.len()))));
                self.bytes(at, bytes, pen, app, 0);
            }
            StreamEvent::Gap { from, to, .. } => self.gap(from, to, pen),
            StreamEvent::Aside { at, bytes } => {
                if self.decoys < DECOYS_MAX
                    && let Some(sni) = tls::decoy(bytes)
                {
                    self.decoys = self.decoys.saturating_add(1);
                    pen.write(at, at.plus(length(bytes.len())), Fact::DecoyHello { sni });
                }
            }
            StreamEvent::Fin { .. } => self.end(pen),
            StreamEvent::Datagram { .. } => {}
        }
        if self.shapes.as_ref().is_some_and(|s| s.done()) {
            self.unwatch();
        }
        let server_done = matches!(self.lanes.server, Lane::Done);
        let client_done = matches!(self.lanes.client, Lane::Done);
        // A long download keeps the answering side busy to its end; once that is given up, later requests say little more.
        if server_done && (client_done || self.asked && matches!(self.lanes.client, Lane::Request(_))) {
            return Appetite::Full;
        }
        Appetite::Hungry
    }

    fn bytes(&mut self, at: Pos, bytes: &[u8], pen: &mut Pen<'_>, app: &mut Option<&'static str>, changes: u8) {
        if bytes.is_empty() {
            return;
        }
        if let Lane::Text(_) | Lane::Watched = self.lanes.of(pen.side) {
            self.watch(at, bytes, pen, app);
        }
        let Self { tls, http, .. } = self;
        let step = match self.lanes.of(pen.side) {
            Lane::Done => return,
            Lane::Probe { .. } => {
                self.probe(at, bytes, pen, app, changes);
                return;
            }
            Lane::Tls(lane) => lane.feed(tls, at, bytes, pen),
            Lane::Request(lane) => lane.feed(http, at, bytes, pen),
            Lane::Response(lane) => lane.feed(http, at, bytes, pen),
            Lane::Dns(lane) => lane.feed(at, bytes, pen),
            Lane::Stun(lane) => lane.feed(at, bytes, pen),
            Lane::Socks(lane) => lane.feed(pen.side, bytes),
            Lane::Watched => Step::More,
            Lane::Text(left) => {
                *left = left.saturating_sub(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
                // No line protocol contains this byte; a TLS record of the handshake begins with it.
                match bytes.iter().position(|&b| b == 0x16) {
                    Some(tls_at) => Step::Reprobe(tls_at),
                    None if *left == 0 => Step::Done,
                    None => Step::More,
                }
            }
        };
        match step {
            Step::More => {}
            Step::Done => self.done(pen),
            Step::Reprobe(_) if changes >= CHANGES_MAX => *self.lanes.of(pen.side) = Lane::Done,
            Step::Reprobe(used) => {
                let at = at.plus(length(used));
                *self.lanes.of(pen.side) = Lane::Probe { held: Vec::new(), at, first: false };
                self.bytes(at, bytes.get(used..).unwrap_or(&[]), pen, app, changes.saturating_add(1));
            }
        }
    }

    /// Shows the bytes of a direction that is watched to the judges of shapes.
    fn watch(&mut self, at: Pos, bytes: &[u8], pen: &mut Pen<'_>, app: &mut Option<&'static str>) {
        let Some(shapes) = &mut self.shapes else { return };
        if let Some(shape) = shapes.feed(pen.side, bytes) {
            // Bytes without structure may still turn out to be something.
            *app = app.filter(|a| *a != "opaque" || shape.app().is_none()).or(shape.app());
            pen.write(at, at.plus(length(bytes.len())), Fact::Shape(shape));
        }
    }

    /// No judge is interested any more.
    fn unwatch(&mut self) {
        self.shapes = None;
        self.dismissed = true;
        for side in Side::BOTH {
            let lane = self.lanes.of(side);
            if matches!(lane, Lane::Watched) {
                *lane = Lane::Done;
            }
        }
    }

    /// Decides what this direction is, as soon as its bytes are enough to say.
    fn probe(&mut self, at: Pos, bytes: &[u8], pen: &mut Pen<'_>, app: &mut Option<&'static str>, changes: u8) {
        let Lane::Probe { held, at: held_at, first } = std::mem::replace(self.lanes.of(pen.side), Lane::Done) else { return };
        let mut joined = Vec::new();
        let view = if held.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(&held);
            joined.extend_from_slice(bytes.get(..PROBE_MAX * 2).unwrap_or(bytes));
            &joined
        };
        let began = if held.is_empty() { at } else { held_at };
        let kind = match self.recognise(view, pen.side, *app) {
            Some(kind) => kind,
            None if view.len() < PROBE_MAX => {
                let held = view.to_vec();
                *self.lanes.of(pen.side) = Lane::Probe { held, at: began, first };
                return;
            }
            None => Kind::Unknown,
        };
        let name = match kind {
            Kind::Tls => Some("tls"),
            Kind::Request if view.starts_with(b"PRI * HTTP/2") => Some("http2"),
            Kind::Request | Kind::Response | Kind::Page => Some("http"),
            Kind::Dns => Some("dns"),
            Kind::Stun => Some("stun"),
            Kind::Socks => Some("socks"),
            Kind::Text(name, _) => Some(name),
            Kind::Unknown => None,
        };
        if app.is_none() {
            *app = name;
        }
        let shape = match kind {
            // Other protocols begin like a SOCKS client; none is answered like one.
            Kind::Socks if pen.side == Side::Server && socks::agrees(view) => Some(Shape::Socks),
            Kind::Text(_, shape) => shape,
            _ => None,
        };
        if let Some(shape) = shape
            && !self.shaped
        {
            self.shaped = true;
            pen.write(began, at.plus(length(bytes.len())), Fact::Shape(shape));
        }
        let lane = match kind {
            Kind::Tls => Lane::Tls(Box::default()),
            Kind::Request if name == Some("http2") => Lane::Done,
            Kind::Request => {
                self.asked = true;
                Lane::Request(Box::new(http::Requests::new()))
            }
            Kind::Response => Lane::Response(Box::new(http::Responses::new())),
            Kind::Page => Lane::Response(Box::new(http::Responses::page(began))),
            Kind::Dns => Lane::Dns(Box::default()),
            Kind::Stun => Lane::Stun(Box::default()),
            Kind::Socks => {
                self.socks_waits = pen.side == Side::Client;
                Lane::Socks(Box::default())
            }
            Kind::Text("ssh" | "bittorrent", _) => Lane::Done,
            Kind::Text(name, _) => {
                if name == "xmpp" && first && !self.dismissed {
                    self.shapes.get_or_insert_default();
                }
                Lane::Text(TEXT_MAX)
            }
            Kind::Unknown => {
                let total = held.len().saturating_add(bytes.len());
                if first && pen.side == Side::Client && total >= PROBE_MAX {
                    let (popcount, printable) = shape::texture(&held, bytes);
                    pen.write(began, at.plus(length(bytes.len())), Fact::Opaque { popcount, printable });
                }
                if !first || self.dismissed {
                    Lane::Done
                } else {
                    self.shapes.get_or_insert_default();
                    Lane::Watched
                }
            }
        };
        *self.lanes.of(pen.side) = lane;
        self.bytes(began, &held, pen, app, changes.saturating_add(1));
        self.bytes(at, bytes, pen, app, changes.saturating_add(1));
    }

    /// `None`: too few bytes to say.
    fn recognise(&self, bytes: &[u8], side: Side, app: Option<&'static str>) -> Option<Kind> {
        let mut sure = true;
        let mut is = |verdict: Option<bool>| {
            sure &= verdict.is_some();
            verdict == Some(true)
        };
        if is(tls::begins(bytes)) {
            return Some(Kind::Tls);
        }
        if is(http::request_begins(bytes)) {
            return Some(Kind::Request);
        }
        if is(http::response_begins(bytes)) {
            return Some(Kind::Response);
        }
        if self.ports.contains(&53) && is(dns::begins(bytes)) {
            return Some(Kind::Dns);
        }
        if is(stun::begins(bytes)) {
            return Some(Kind::Stun);
        }
        if side == Side::Server && self.asked && is(http::page_begins(bytes)) {
            return Some(Kind::Page);
        }
        match shape::text(bytes, side, self.ports) {
            Some(Some((name, shape))) => return Some(Kind::Text(name, shape)),
            Some(None) => {}
            None => sure = false,
        }
        // The other side of a conversation whose first side spoke a line protocol.
        if let Some(app @ ("smtp" | "ftp" | "pop3" | "imap" | "xmpp")) = app
            && bytes.first().is_some_and(u8::is_ascii_graphic)
        {
            return Some(Kind::Text(app, None));
        }
        if side == Side::Client && app.is_none() && socks::begins(bytes) {
            return Some(Kind::Socks);
        }
        if side == Side::Server && app == Some("socks") && matches!(bytes, [0 | 5, ..]) && self.socks_waits {
            return Some(Kind::Socks);
        }
        sure.then_some(Kind::Unknown)
    }

    fn gap(&mut self, from: Pos, to: Pos, pen: &mut Pen<'_>) {
        let missing = to.since(from).max(0);
        self.end_of_hello(pen);
        if self.shapes.take().is_some() {
            // Lengths and echoes cannot be followed over a gap.
            self.unwatch();
        }
        let step = match self.lanes.of(pen.side) {
            Lane::Tls(lane) => {
                lane.gap(missing);
                Step::More
            }
            Lane::Request(lane) => lane.gap(missing.unsigned_abs()),
            Lane::Response(lane) => lane.gap(missing.unsigned_abs(), pen),
            lane @ Lane::Probe { .. } => {
                *lane = Lane::Probe { held: Vec::new(), at: to, first: false };
                Step::More
            }
            Lane::Text(_) => Step::More,
            Lane::Dns(_) | Lane::Stun(_) | Lane::Socks(_) | Lane::Watched | Lane::Done => Step::Done,
        };
        if step == Step::Done {
            self.done(pen);
        }
    }

    /// The direction at hand is over, or not followed any more.
    fn done(&mut self, pen: &mut Pen<'_>) {
        self.end(pen);
        *self.lanes.of(pen.side) = Lane::Done;
    }

    /// Writes down what the direction at hand has begun and will not complete.
    fn end(&mut self, pen: &mut Pen<'_>) {
        self.end_of_hello(pen);
        if let Lane::Response(lane) = self.lanes.of(pen.side) {
            lane.write(pen);
        }
    }

    fn end_of_hello(&mut self, pen: &mut Pen<'_>) {
        let to = self.last[pen.side].map_or(Pos::FIRST, |(_, to)| to);
        let server_port = self.ports[1];
        let unfinished = match self.lanes.of(pen.side) {
            Lane::Tls(lane) => lane.partial(&self.tls),
            // A tool may send the first byte of a hello alone, and then nothing follows it.
            Lane::Probe { held, at, .. } => match *held.as_slice() {
                [0x16, 3, ..] => Some((*at, 0, 0)),
                [0x16] if server_port == 443 => Some((*at, 0, 0)),
                _ => None,
            },
            _ => None,
        };
        if let Some((from, announced, have)) = unfinished {
            pen.partial(from, to, announced, have);
        }
    }

    pub(super) fn finish(&mut self, notes: &mut Notes) {
        for side in Side::BOTH {
            if let Some((seen, _)) = self.last[side] {
                self.end(&mut Pen { side, seen, notes });
            }
        }
    }
}

fn length(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
