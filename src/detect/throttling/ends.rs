//! Whether the end points themselves set the rate: the receiver's window, or a sender with nothing to send.

use super::lane::Lane;
use super::plateau::Plateau;
use super::queue::{Losses, Queue};
use crate::detect::weigh::Weigh;
use crate::model::throttle::Limiter;
use crate::model::time::Span;

/// What the ends did while `lanes` went, as shares of that time.
pub(super) struct Ends {
    /// The receiver's window held the sender back.
    pub held: f64,
    /// The window was shut or all but shut.
    pub shut: f64,
    /// Announcements of a shut window.
    pub zero: u32,
    /// Mean announced window in bytes, if its scale is known.
    pub room: Option<u64>,
    /// Everything sent was acknowledged and nothing new came.
    pub idle: f64,
    /// The capture point lies next to the sender, so that `idle` is the sender's; elsewhere it may wait for a timer.
    pub sender_seen: bool,
}

impl Ends {
    pub fn of(lanes: &[Lane<'_>]) -> Self {
        let active: f64 = lanes.iter().map(|l| l.pace.last.since(l.pace.start).as_secs()).sum::<f64>().max(0.001);
        let part = |f: fn(&Lane<'_>) -> Span| lanes.iter().map(|l| f(l).as_secs()).sum::<f64>() / active;
        Self {
            held: part(|l| l.pace.window_held),
            shut: part(|l| l.pace.window_shut),
            zero: lanes.iter().filter_map(|l| l.flow.tcp.as_deref().map(|t| t.side[l.side.peer()].zero_windows)).sum(),
            room: lanes.iter().filter_map(|l| l.pace.window_mean()).min(),
            idle: part(|l| l.pace.idle),
            sender_seen: lanes.iter().any(|l| l.handshake().0.unwrap_or(Span::ZERO).as_secs() > 0.8 * l.rtt()),
        }
    }

    /// Which end set the rate of this plateau, if one did.
    pub fn limit(&self, lanes: &[Lane<'_>], p: &Plateau, queue: &Queue) -> Option<Limiter> {
        let losses = Losses::of(lanes).share();
        if recovers(lanes, p) {
            return Some(Limiter::Loss);
        }
        if p.slowed(lanes) {
            // A flow that slowed down is compared with itself: its ends did not change, unless it lost little and rested most of the time.
            return (self.sender_seen && self.idle > 0.45 && p.loss(lanes) < 0.06).then_some(Limiter::Application);
        }
        let waits = if queue.grown() { (queue.usual - queue.base) / 1e3 } else { 0.0 };
        let rtt = lanes.iter().map(Lane::rtt).fold(0.0, f64::max) + waits;
        let narrow = rtt > 0.0 && self.room.is_some_and(|r| r as f64 * 8.0 / rtt < 1.3 * p.rate);
        match () {
            () if self.held > 0.2 || self.shut > 0.1 || self.zero > 0 || narrow => Some(Limiter::ReceiveWindow),
            () if self.sender_seen && self.idle > 0.3 && losses < 0.1 => Some(Limiter::Application),
            // Far from the sender every pause between two packets looks like rest. What comes evenly spaced after a wait rested in a queue.
            () if self.idle > 0.5 && losses < 0.03 && !(queue.grown() && queue.spaced()) => Some(Limiter::Application),
            () => None,
        }
    }

    /// Writes down that neither end set the rate.
    pub fn excluded(&self, w: &mut Weigh) {
        let why = match self.room {
            Some(r) => format!("{r} bytes on average, never shut"),
            None => "the window was never shut".to_owned(),
        };
        w.excluded("receiver's window", why);
        if self.sender_seen {
            w.excluded("sender with nothing to send", format!("it rested {:.0} % of the time", self.idle * 100.0));
        }
    }
}

/// One packet a round trip, and nothing new dropped: without selective acknowledgements a sender repairs one burst of loss that way (RFC 6582).
fn recovers(lanes: &[Lane<'_>], p: &Plateau) -> bool {
    let [l] = lanes else { return false };
    let packets_a_trip = p.rate * l.rtt() / (8.0 * f64::from(l.pace.largest.max(1)));
    p.episodes <= 2 && p.drops + p.drops_before >= 3.0 && (0.8..=1.15).contains(&packets_a_trip)
}
