//! The clocks of a live capture: when to say how things stand, and how long a link has been silent. Judgement itself knows packet time
//! only; on a silent link no packet brings it on, so the silence is handed to it as a fact ([`SourceFacts::silence`]).

#[cfg(doc)]
use crate::model::source::SourceFacts;
use crate::model::time::Span;
use std::time::{Duration, Instant};

/// A link that was silent this long (s) is said to be: shorter pauses are part of traffic, and of the way packets take to us.
const SILENT: Span = Span::from_secs(5);

/// Measures from when it was started.
#[derive(Clone, Copy)]
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// What has passed.
    pub(super) fn passed(self) -> Span {
        Span::from_nanos(i64::try_from(self.0.elapsed().as_nanos()).unwrap_or(i64::MAX))
    }
}

/// How long no packet has come although one could have been heard.
pub(super) struct Hush {
    since: Stopwatch,
    /// The link was not up all the time: its silence says nothing, not even once it is up again, until a packet comes.
    deaf: bool,
}

impl Hush {
    /// Begins with a packet.
    pub(super) fn start() -> Self {
        Self { since: Stopwatch::start(), deaf: false }
    }

    /// A packet came.
    pub(super) fn broken(&mut self) {
        *self = Self::start();
    }

    /// Nothing can be heard now.
    pub(super) fn deafened(&mut self) {
        self.deaf = true;
    }

    /// For how long; zero while that means nothing.
    pub(super) fn lasted(&self) -> Span {
        let lasted = self.since.passed();
        if self.deaf || lasted < SILENT { Span::ZERO } else { lasted }
    }
}

/// Says when the next pulse is due.
pub(super) struct Clock {
    began: Stopwatch,
    next: Instant,
    interval: Duration,
}

impl Clock {
    /// Starts now.
    pub(super) fn start(interval: Duration) -> Self {
        Self { began: Stopwatch::start(), next: Instant::now() + interval, interval }
    }

    /// Since the start.
    pub(super) fn uptime(&self) -> Span {
        self.began.passed()
    }

    /// Whether a pulse is due; if so, the next one is an interval away.
    pub(super) fn due(&mut self) -> bool {
        let now = Instant::now();
        if now < self.next {
            return false;
        }
        self.next = now + self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(seconds: u64) -> Stopwatch {
        Stopwatch(Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap())
    }

    #[test]
    fn silence_counts_when_it_is_long_and_the_link_was_up_throughout() {
        let mut h = Hush { since: since(4), deaf: false };
        assert_eq!(h.lasted(), Span::ZERO);
        h.since = since(6);
        assert!(h.lasted() >= Span::from_secs(6));
        h.deafened();
        assert_eq!(h.lasted(), Span::ZERO);
        h.since = since(60);
        assert_eq!(h.lasted(), Span::ZERO, "up again or not");
        h.broken();
        h.since = since(7);
        assert!(h.lasted() >= Span::from_secs(7));
    }
}
