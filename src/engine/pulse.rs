//! The clock of a live capture: when to say how things stand. Judgement itself knows packet time only.

use crate::model::time::Span;
use std::time::{Duration, Instant};

/// Says when the next pulse is due.
pub(super) struct Clock {
    began: Instant,
    next: Instant,
    interval: Duration,
}

impl Clock {
    /// Starts now.
    pub(super) fn start(interval: Duration) -> Self {
        let now = Instant::now();
        Self { began: now, next: now + interval, interval }
    }

    /// Since the start.
    pub(super) fn uptime(&self) -> Span {
        Span::from_nanos(i64::try_from(self.began.elapsed().as_nanos()).unwrap_or(i64::MAX))
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
