//! How long a question takes from the point near the client to the other point and back, by exchanges that both captures have. Each point measures with
//! its own clock, and what the server took is known from the other point, so that neither clock need be right.

use super::view::{Lane, Strand};
use crate::model::pair::Tap;
use crate::model::side::Side;
use crate::model::time::Span;

/// Least spread that is believed: jitter of capture times.
const SPREAD_MIN: Span = Span::from_millis(1);

/// Round trips between the points of one server's exchanges.
#[derive(Clone, Copy, Default, Debug)]
pub struct Trips {
    /// How many.
    pub n: u32,
    /// The fastest.
    pub least: Span,
    /// The slowest.
    pub most: Span,
}

impl Trips {
    /// The round trip of a flow's first question and first answer, with the point the question left first.
    pub fn of(s: &Strand<'_>) -> Option<(Tap, Span)> {
        let near = s.near.filter(|_| s.both() && !s.terminated)?;
        // At the near point, and at the other.
        let (asked, arrived) = first(&s.lane[Side::Client])?;
        let (answered, came) = first(&s.lane[Side::Server])?;
        let (all, server) = (came.since(asked), answered.since(arrived));
        (server >= Span::ZERO && all >= server).then(|| (near, Span::from_nanos(all.nanos() - server.nanos())))
    }

    /// Counts one more.
    pub fn add(&mut self, trip: Span) {
        self.least = if self.n == 0 { trip } else { self.least.min(trip) };
        self.most = self.most.max(trip);
        self.n += 1;
    }

    /// Fastest to slowest.
    pub fn range(&self) -> String {
        format!("{} to {}", self.least, self.most)
    }

    /// The chance that an answer which took this long made the trip after all.
    ///
    /// A trip is a fixed time and a wait. If waits are exponential with mean θ, the least of `n` is exponential with mean θ/n, and the spread of all is
    /// the sum of independent waits with means θ/1 … θ/(n−1); that the least wait exceeds `r` spreads then has the chance Π j/(j + n·r), whatever θ is.
    pub fn chance(&self, took: Span) -> f64 {
        if self.n < 2 || took >= self.least {
            return 1.0;
        }
        let spread = Span::from_nanos(self.most.nanos() - self.least.nanos()).max(SPREAD_MIN);
        let r = (self.least.nanos() - took.nanos()) as f64 / spread.nanos() as f64;
        let n = f64::from(self.n);
        (1..self.n.min(1_000)).map(|j| f64::from(j) / (f64::from(j) + n * r)).product()
    }
}

/// Times of a direction's first packet at its sender's point and at the other, if it is the first at both.
fn first(lane: &Lane<'_>) -> Option<(crate::model::time::Time, crate::model::time::Time)> {
    let (near, far) = lane.both().next()?;
    let begins = |items: &[super::align::Item<'_>], frame| items.first().is_some_and(|i| i.d.frame == frame);
    (begins(&lane.near, near.d.frame) && begins(&lane.far, far.d.frame)).then_some((near.d.ts, far.d.ts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trips(ms: &[i64]) -> Trips {
        let mut t = Trips::default();
        ms.iter().for_each(|ms| t.add(Span::from_millis(*ms)));
        t
    }

    #[test]
    fn few_trips_that_agree_exclude_what_takes_half_their_time_and_no_more() {
        let t = trips(&[91, 94, 98, 94]);
        assert!(t.chance(Span::from_millis(47)) < 1e-3, "{}", t.chance(Span::from_millis(47)));
        assert!(t.chance(Span::from_millis(85)) > 0.02);
        assert!((t.chance(Span::from_millis(91)) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn two_trips_or_waits_of_every_length_exclude_little() {
        assert!(trips(&[91, 94]).chance(Span::from_millis(47)) > 1e-3);
        assert!(trips(&[60, 180, 340, 95]).chance(Span::from_millis(47)) > 0.5);
    }
}
