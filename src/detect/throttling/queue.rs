//! What round trips, spacing and drops say about where packets waited or were lost.

use super::lane::Lane;
use crate::model::pace::Pace;

/// What the round trips and the spacing say about where packets waited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    /// Undisturbed and usual round trip over the part of the path that was measured best, milliseconds.
    pub base: f64,
    pub usual: f64,
    pub samples: u64,
    /// Growth that a delayed acknowledgement or a pause of the sender cannot feign, milliseconds.
    least: f64,
    /// Share of bytes that followed the packet before much faster than the plateau, as seen behind the limit.
    pub bursts: f64,
    /// Share of bytes that followed at the plateau's rate.
    pub paced: f64,
    /// Time one full packet takes at the plateau's rate, milliseconds.
    pub slot: f64,
    /// That part lies between the capture point and the receiver, not the sender.
    pub behind: bool,
    /// Round trips measured to the receiver, and to the sender.
    sides: (u64, u64),
}

impl Queue {
    pub fn of(lanes: &[Lane<'_>], rate: f64) -> Self {
        let mut q =
            Self { base: 0.0, usual: 0.0, samples: 0, least: 0.0, bursts: 0.0, paced: 0.0, slot: 0.0, behind: false, sides: (0, 0) };
        let mut most = f64::NEG_INFINITY;
        let mut weight = 0.0;
        for l in lanes {
            let p = l.pace;
            q.slot = q.slot.max(f64::from(p.largest) * 8e3 / rate.max(1.0));
            let (receiver, sender) = l.handshake();
            // Packets acknowledged alone may wait 40 ms at the receiver; they tell only of queues where one packet takes longer.
            let alone = p.rtt.total() < 15 && q.slot > 44.0;
            let rtt = if alone { &p.rtt_alone } else { &p.rtt };
            let mut legs = vec![(
                true,
                rtt,
                receiver,
                if alone { 0.25 } else { 0.5 },
                if alone { (1.2 * q.slot).max(60.0) } else { (0.7 * q.slot).max(10.0) },
            )];
            // An echo waits for the sender to have something to send; after drops it always has.
            // And so it has where packets come evenly; but then even a paced one may wait a little.
            let even = p.follow.share(0.65 * rate, 1.5 * rate) >= 0.85;
            if p.lost_before >= 3 || even {
                legs.push((
                    false,
                    &p.echo,
                    sender,
                    0.25,
                    // Who paces adds a slot, and may hold a few packets back that it has already stamped.
                    if p.lost_before < 3 { (3.0 * q.slot).max(5.0) } else { (0.7 * q.slot).max(10.0) },
                ));
            }
            for (behind, spread, hand, at, least) in legs {
                let (n, Some(usual), Some(low)) = (spread.total(), spread.quantile(at), spread.quantile(0.02)) else { continue };
                let base = hand.map_or(low, |h| (h.nanos() as f64 / 1e3).max(256.0)).min(low.max(256.0));
                if behind {
                    q.sides.0 += n;
                } else {
                    q.sides.1 += n;
                }
                if n >= 5 && usual - base > most {
                    most = usual - base;
                    q = Self { base: base / 1e3, usual: usual / 1e3, samples: n, least, behind, ..q };
                }
            }
            let bytes = p.follow.total() as f64;
            q.bursts += p.follow.share(2.2 * rate, f64::INFINITY) * bytes;
            q.paced += p.follow.share(0.65 * rate, 1.5 * rate) * bytes;
            weight += bytes;
        }
        q.bursts /= f64::max(weight, 1.0);
        q.paced /= f64::max(weight, 1.0);
        q
    }

    /// Round trips were measured over the part of the path where packets are lost, often enough to say that none waited there.
    pub fn seen(&self, losses: &Losses) -> bool {
        let there = if losses.beyond > losses.before { self.sides.0 } else { self.sides.1 };
        there >= 15
    }

    /// Packets come one after the other at the rate, hardly ever faster: as what lets them wait lets them go.
    pub fn spaced(&self) -> bool {
        self.paced >= 0.94 && self.bursts <= 0.03
    }

    /// It grew by little more than what else might delay an echo.
    pub fn doubtful(&self) -> bool {
        !self.behind && self.usual - self.base < 3.0 * self.least
    }

    /// Packets wait somewhere: round trips grew clearly over the undisturbed one, by about a packet's time at this rate or more.
    pub fn grown(&self) -> bool {
        self.samples >= 5 && self.usual - self.base >= self.least.max(0.18 * self.base)
    }
}

/// Counts of lanes together.
pub(super) struct Losses {
    pub beyond: u64,
    pub before: u64,
    /// Of those before, known only by gaps in the sender's IP identifications.
    pub hidden: u64,
    /// Told of by the receiver, wherever they arose.
    pub told: u64,
    pub packets: u64,
}

impl Losses {
    pub fn of(lanes: &[Lane<'_>]) -> Self {
        let sum = |f: fn(&Pace) -> u64| lanes.iter().map(|l| f(l.pace)).sum();
        Self {
            beyond: sum(|p| u64::from(p.lost_beyond)),
            before: sum(|p| u64::from(p.lost_before)),
            hidden: sum(|p| u64::from(p.lost_hidden)),
            told: sum(|p| u64::from(p.lost_told)),
            packets: sum(|p| p.packets),
        }
    }
    /// Share of all packets sent that were dropped.
    pub fn share(&self) -> f64 {
        let sent = self.packets + self.before + self.told;
        if sent == 0 { 0.0 } else { (self.beyond + self.before + self.told) as f64 / sent as f64 }
    }
}

/// The rate loss alone would allow (Mathis et al. 1997), in bit/s, end to end.
pub(super) fn loss_allows(lanes: &[Lane<'_>], share: f64) -> f64 {
    let rtt = lanes.iter().map(Lane::rtt).fold(f64::INFINITY, f64::min).clamp(0.001, 2.0);
    let size = lanes.iter().map(|l| f64::from(l.pace.largest)).fold(0.0, f64::max);
    size * 8.0 * 1.22 / (rtt * share.max(1e-6).sqrt())
}
