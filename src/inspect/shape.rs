//! Protocols known by their first bytes alone, and media by their regularity.

use super::cursor::Cursor;
use crate::model::note::Shape;
use crate::model::side::Side;

/// The name and shape of a text or proxy protocol, if `bytes` begin one.
pub(super) fn text(bytes: &[u8], from: Side, ports: [u16; 2]) -> Option<Option<(&'static str, Option<Shape>)>> {
    let mut verdict = Some(None);
    let mut try_one = |start: &[u8], found: (&'static str, Option<Shape>)| {
        if bytes.starts_with(start) {
            verdict = Some(Some(found));
        } else if start.starts_with(bytes) && verdict == Some(None) {
            verdict = None;
        }
    };
    try_one(b"SSH-", ("ssh", Some(Shape::Ssh)));
    try_one(b"\x13BitTorrent protocol", ("bittorrent", Some(Shape::BitTorrent)));
    try_one(b"<?xml version=", ("xmpp", None));
    try_one(b"<stream:stream", ("xmpp", None));
    // A capture that began in the middle, and nothing more was said.
    try_one(b"</stream:stream>", ("xmpp", None));
    if from == Side::Server {
        let two_twenty = if ports.contains(&21) || contains(bytes, b"FTP") && !contains(bytes, b"SMTP") { "ftp" } else { "smtp" };
        try_one(b"220 ", (two_twenty, Some(Shape::Mail)));
        try_one(b"220-", (two_twenty, Some(Shape::Mail)));
        try_one(b"+OK", ("pop3", Some(Shape::Mail)));
        try_one(b"* OK", ("imap", Some(Shape::Mail)));
    }
    verdict
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|w| w == part)
}

/// Share of one bits per byte (0–8) and share of printable ASCII (0–1) of the first bytes of a payload.
pub(super) fn texture(first: &[u8], second: &[u8]) -> (f32, f32) {
    let (mut ones, mut printable, mut total) = (0u32, 0u32, 0u32);
    for &b in first.iter().chain(second).take(2048) {
        ones = ones.saturating_add(b.count_ones());
        printable = printable.saturating_add(u32::from(matches!(b, 0x20..=0x7e)));
        total = total.saturating_add(1);
    }
    let share = |n: u32| (f64::from(n) / f64::from(total.max(1))) as f32;
    (share(ones), share(printable))
}

/// One RTP source being followed.
#[derive(Clone, Copy, Default)]
struct Source {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    side: bool,
    packets: u8,
}

/// Looks for RTP (RFC 3550 §5.1) and RTCP (§6.1) in a flow of datagrams.
#[derive(Default)]
pub(super) struct Media {
    sources: [Source; 4],
    next: u8,
    rtcp: u8,
    rtp_found: bool,
    rtcp_found: bool,
    /// Payload types proven, a bit each.
    types: u128,
    told: bool,
}

/// Payload types of ringrtc: data, Opus, RTX (signalapp/ringrtc ae5d7bd; nDPI 3b1286a: stun_signal.pcapng).
const RINGRTC: u128 = 1 << 101 | 1 << 102 | 1 << 118;

impl Media {
    /// Both have been found.
    pub(super) const fn satisfied(&self) -> bool {
        self.rtp_found && self.rtcp_found
    }

    /// Two payload types of ringrtc have been proven; true once. The caller knows of ICE and DTLS.
    pub(super) const fn ringrtc(&mut self) -> bool {
        let found = !self.told && (self.types & RINGRTC).count_ones() >= 2;
        self.told |= found;
        found
    }

    /// A shape that this datagram makes certain, once per shape.
    pub(super) fn feed(&mut self, side: Side, bytes: &[u8]) -> Option<Shape> {
        let [first, second, ..] = *bytes else { return None };
        if first & 0xc0 != 0x80 {
            return None;
        }
        if (192..=213).contains(&second) {
            return self.rtcp(bytes);
        }
        if !matches!(second & 0x7f, 0..=34 | 96..=127) {
            return None;
        }
        let mut c = Cursor::starting(bytes, 2)?;
        let (sequence, timestamp, ssrc) = (c.u16()?, c.u32()?, c.u32()?);
        c.take(usize::from(first & 0x0f).checked_mul(4)?)?;
        if first & 0x10 != 0 {
            c.u16()?;
            let words = usize::from(c.u16()?);
            c.take(words.checked_mul(4)?)?;
        }
        if c.is_empty() || ssrc == 0 && timestamp == 0 {
            return None;
        }
        let from_client = side == Side::Client;
        let fresh = Source { ssrc, sequence, timestamp, side: from_client, packets: 1 };
        let Some(known) = self.sources.iter_mut().find(|s| s.packets > 0 && s.ssrc == ssrc && s.side == from_client) else {
            if let Some(slot) = self.sources.get_mut(usize::from(self.next & 3)) {
                *slot = fresh;
            }
            self.next = self.next.wrapping_add(1);
            return None;
        };
        let step = sequence.wrapping_sub(known.sequence);
        let later = timestamp.wrapping_sub(known.timestamp);
        // Timestamps stand still within a video frame and move by less than a minute of 90 kHz clock otherwise.
        if (1..=3).contains(&step) && later < 90_000 * 60 {
            *known = Source { packets: known.packets.saturating_add(1), ..fresh };
            if known.packets >= 3 {
                self.types |= 1u128.checked_shl(u32::from(second & 0x7f)).unwrap_or(0);
                return (!std::mem::replace(&mut self.rtp_found, true)).then_some(Shape::Rtp);
            }
        } else if step != 0 {
            *known = fresh;
        }
        None
    }

    fn rtcp(&mut self, bytes: &[u8]) -> Option<Shape> {
        if self.rtcp_found {
            return None;
        }
        let mut c = Cursor::new(bytes);
        let (_first, kind) = (c.u8()?, c.u8()?);
        let words = usize::from(c.u16()?);
        // Every kind carries an SSRC; reports that are too short for their own fields are not reports.
        let least = match kind {
            200 => 6,
            201 | 203 => 1,
            _ => 1,
        };
        if !(200..=207).contains(&kind) || words < least {
            return None;
        }
        c.take(words.checked_mul(4)?)?;
        // What follows is another report, or the trailer of SRTCP (RFC 3711 §3.4: 4 bytes and a tag of up to 16).
        let exact = c.is_empty();
        let next = matches!(c.rest(), [b, 200..=207, ..] if b & 0xc0 == 0x80);
        if !exact && !next && c.left() > 24 {
            return None;
        }
        self.rtcp = self.rtcp.saturating_add(if exact || next { 2 } else { 1 });
        (self.rtcp >= 3).then(|| {
            self.rtcp_found = true;
            Shape::Rtcp
        })
    }
}
