//! A stretch of time with one rate: found in what several lanes carried together.

use super::ceiling::Ceiling;
use super::lane::Lane;
use super::queue::{Losses, Queue};
use super::series::{Series, Window};
use super::tokens::Tokens;
use super::{half_sample_mode, median};
use crate::model::time::{Span, Time};

/// Windows this near to the middle one belong to the plateau.
const NEAR: f64 = 0.15;
/// Fewer windows than usual must all lie this near to each other.
const VERY_NEAR: f64 = 0.07;
/// Share of a plateau's windows that must be near.
pub(super) const STEADY: f64 = 0.7;

/// A stretch of time with one rate.
#[derive(Clone, Debug)]
pub(super) struct Plateau {
    /// IP-level bit/s.
    pub rate: f64,
    /// Lowest and highest of its windows that count, without the outermost tenth.
    pub low: f64,
    pub high: f64,
    pub from: Time,
    pub to: Time,
    /// Windows in it, and the share near the rate.
    pub windows: usize,
    pub steady: f64,
    /// Moments with drops.
    pub episodes: usize,
    /// Packets dropped.
    pub drops: f64,
    /// Packets dropped before it.
    pub drops_before: f64,
    /// Bytes that passed.
    pub bytes: f64,
    /// Rate of the windows before it, if it began later.
    pub before: Option<f64>,
    /// Windows run from drop to drop.
    pub at_drops: bool,
    /// Standard deviation of the windows that count, and their number.
    pub deviation: f64,
    pub near: usize,
    /// A token bucket of this rate explains the drops: the chance that one found fewer tokens than a packet that passed.
    pub tokens: Option<f64>,
    /// It is what remained after the rate had fallen for good.
    pub fell: bool,
    /// The rate is one that is reached again and again and never exceeded.
    pub ceiling: bool,
}

impl Plateau {
    /// Share of packets dropped during the plateau.
    pub fn loss_within(&self, lanes: &[Lane<'_>]) -> f64 {
        let size = lanes.iter().map(|l| f64::from(l.pace.largest)).fold(1.0, f64::max);
        self.drops / (self.drops + self.bytes / size).max(1.0)
    }

    /// The same, with what was dropped when the rate fell to it, if hardly anything was afterwards.
    pub fn loss(&self, lanes: &[Lane<'_>]) -> f64 {
        let size = lanes.iter().map(|l| f64::from(l.pace.largest)).fold(1.0, f64::max);
        let drops = self.drops + if self.fell && (1..4).contains(&self.episodes) { self.drops_before } else { 0.0 };
        drops / (drops + self.bytes / size).max(1.0)
    }

    /// The same flow was clearly faster before, and it is drops that came in between.
    pub fn slowed(&self, lanes: &[Lane<'_>]) -> bool {
        if self.streams(lanes) {
            return false;
        }
        let same = matches!(lanes, [l] if l.pace.start < self.from.minus(Span::from_millis(500)));
        let since = if self.fell { self.drops_before } else { 0.0 };
        // A sender that was made careful loses little more; one that only recovers from a burst of its own loses nothing.
        let careful = self.episodes >= 1 && self.windows >= 5 && self.drops + since >= 10.0;
        let dropped = (self.drops >= 2.0 && (self.episodes >= 2 || self.seconds() < 4.0)) || careful;
        same && self.before.is_some_and(|b| b > 1.5 * self.rate) && dropped
    }

    /// The rate that `lanes` together reach again and again and never exceed.
    pub fn under_ceiling(lanes: &[Lane<'_>]) -> Option<Self> {
        let all = Series::arrived(lanes)?;
        // Or that they keep below since they fell.
        let tail = all.falls().map(|(at, before)| (all.tail(at), before));
        let size = lanes.iter().map(|l| f64::from(l.pace.largest)).fold(1.0, f64::max);
        if let Some(p) = Self::below(&all, size) {
            return Some(p);
        }
        let (tail, before) = tail?;
        Some(Self { before: Some(before), fell: true, ..Self::below(&tail, size)? })
    }

    fn below(s: &Series, size: f64) -> Option<Self> {
        let c = Ceiling::of(s, size)?;
        let steady = c.near.len() as f64 / c.windows as f64;
        let p = Self::build(s, &c.near, c.near.first()?.from, c.near.last()?.to, c.windows, steady, false);
        Some(Self { ceiling: true, ..p })
    }

    /// After a quick start it comes in pieces at a rate of its own: hardly anything is lost any more, and yet it comes in bursts. Who was
    /// made careful by drops either sends evenly or asks for more until something is dropped.
    pub fn streams(&self, lanes: &[Lane<'_>]) -> bool {
        let bytes = |l: &Lane<'_>| l.pace.follow.total() as f64;
        let total: f64 = lanes.iter().map(bytes).sum::<f64>().max(1.0);
        let bursts = lanes.iter().map(|l| l.pace.follow.share(2.2 * self.rate, f64::INFINITY) * bytes(l)).sum::<f64>() / total;
        let since = (self.bytes / total).clamp(0.01, 1.0);
        let later = (bursts - (1.0 - since)) / since;
        self.episodes * 2 < self.windows && later > 0.5
    }

    /// No one rate, but all of what `lanes` did, for what is slow beyond all measure.
    pub fn whole(lanes: &[Lane<'_>]) -> Option<Self> {
        Some(Self::all(&Series::arrived(lanes)?))
    }

    /// The same of what they did after they had fallen to a tenth, for good.
    pub fn fallen(lanes: &[Lane<'_>]) -> Option<Self> {
        let s = Series::arrived(lanes)?;
        let (at, before) = s.falls()?;
        let p = Self::all(&s.tail(at));
        (before >= 10.0 * p.rate).then_some(Self { before: Some(before), ..p })
    }

    fn all(s: &Series) -> Self {
        let active: Vec<usize> = (0..s.active.len()).filter(|i| s.active[*i]).collect();
        let time = active.len() as f64 * s.width;
        let rate = s.bytes.iter().sum::<f64>() * 8.0 / time.max(0.001);
        let one = Window { from: 0, to: s.bytes.len(), rate };
        Self::build(s, &[one], 0, s.bytes.len(), 1, 0.0, false)
    }

    /// Its windows are within a few percent of each other.
    pub fn tight(&self) -> bool {
        let steady = if self.windows >= 24 && self.episodes >= 16 { 0.75 } else { 0.8 };
        let few = self.windows >= 6 && self.steady >= 1.0 && self.high - self.low <= VERY_NEAR * self.rate;
        few || (self.windows >= 8 && self.steady >= steady && self.high - self.low <= 0.15 * self.rate)
    }

    /// Loss that comes at random would let the rate swing; here stretch after stretch has the same.
    pub fn one_rate_despite_loss(&self) -> bool {
        self.tokens.is_some()
            || self.tight()
            || (self.at_drops && self.windows >= 8 && self.steady >= 0.65 && self.deviation <= 0.07 * self.rate)
    }

    /// Half the 95 % interval of the rate, from the spread of its windows; never less than a hundredth, which headers and clocks may cost.
    pub fn error(&self) -> f64 {
        let n = self.near.max(2) as f64;
        // Student's factor for few windows, near enough.
        let t = 1.96 + 2.4 / (n - 1.0) + 8.4 / (n - 1.0).powi(3);
        (t * self.deviation / n.sqrt()).max(0.01 * self.rate)
    }

    pub fn seconds(&self) -> f64 {
        self.to.since(self.from).as_secs()
    }

    /// Looks for it in what `lanes` carried together.
    pub fn of(lanes: &[Lane<'_>]) -> Option<Self> {
        let (sent, s) = (Series::passed(lanes)?, Series::arrived(lanes)?);
        let fall = s.falls();
        if let Some((at, before)) = fall
            && let Some(mut p) = Self::within(&sent.tail(at), &s.tail(at), lanes)
            && (p.drops >= 2.0 || p.windows >= 6)
        {
            p.before = Some(before);
            p.fell = true;
            p.drops_before += sent.drops.iter().take(at).sum::<f64>();
            if p.windows >= 3 && p.seconds() >= super::rate::SECONDS {
                return Some(p);
            }
            // Too short to tell; all of it tells only if every drop does.
            return Some(Self::within(&sent, &s, lanes).filter(|q| q.tokens.is_some()).unwrap_or(p));
        }
        let mut p = Self::within(&sent, &s, lanes)?;
        if let Some((at, before)) = fall
            && before > 2.0 * p.rate
            && p.episodes >= 1
            && p.windows >= 5
            && p.from >= s.time(at).minus(Span::from_millis(300))
        {
            let since = (p.from.since(sent.start).as_secs() / sent.width) as usize;
            let drops: f64 = sent.drops.iter().take(since).skip(at.saturating_sub(1)).sum();
            if drops >= 5.0 {
                (p.before, p.fell, p.drops_before) = (Some(before), true, drops);
            }
        }
        Some(p)
    }

    fn within(sent: &Series, s: &Series, lanes: &[Lane<'_>]) -> Option<Self> {
        let rtt = lanes.iter().map(Lane::rtt).fold(0.0, f64::max).min(1.0);
        let largest = f64::from(lanes.iter().map(|l| l.pace.largest).max()?);
        let mut seconds = (10.0 * rtt).max(4.0 * s.width);
        let mut windows = s.windows(seconds);
        if let Some(r) = median(windows.iter().map(|w| w.rate).filter(|r| *r > 0.0)) {
            // A packet more or less must not look like a change.
            seconds = seconds.max(16.0 * largest * 8.0 / r);
            windows = s.windows(seconds);
        }
        // A queue that is always full lets the same pass in any stretch of time.
        if let Some(r) = median(windows.iter().map(|w| w.rate).filter(|r| *r > 0.0))
            && Losses::of(lanes).share() < 0.005
            && Queue::of(lanes, r).grown()
        {
            windows = s.windows((4.0 * rtt).max(4.0 * s.width).max(16.0 * largest * 8.0 / r));
        }
        // Where drops stand is known by when packets were sent.
        let anchored = sent.between_drops(seconds);
        let concentrated = Self::concentrated(sent, &anchored);
        let longest = Self::longest(s, &windows);
        if let Some(t) = Tokens::within(sent, largest).filter(|t| t.strong() || (told(lanes) && t.likely()))
            && let (Some(a), Some(z)) = (t.windows.first(), t.windows.last())
            && !Queue::of(lanes, t.rate).grown()
        {
            let p = Self::build(sent, &t.windows, a.from, z.to, t.stretches, t.near, true);
            let others = concentrated.iter().chain(&longest).map(Self::seconds).fold(0.0, f64::max);
            if p.seconds() >= 0.5 * others {
                return Some(Self { tokens: Some(t.empty), ..p });
            }
        }
        match (concentrated, longest) {
            // What waited in a queue passed later than it was sent.
            (Some(a), Some(b)) if b.windows >= 8 && Queue::of(lanes, a.rate).grown() => Some(b),
            (Some(a), Some(b)) => Some(if a.windows >= 8 || a.seconds() >= b.seconds() { a } else { b }),
            (a, b) => a.or(b),
        }
    }

    /// Most windows between drops agree, wherever they stand.
    fn concentrated(s: &Series, windows: &[Window]) -> Option<Self> {
        if windows.len() < 4 {
            return None;
        }
        let mode = half_sample_mode(windows.iter().map(|w| w.rate).collect())?;
        let near: Vec<Window> = windows.iter().filter(|w| (w.rate - mode).abs() <= 0.1 * mode).copied().collect();
        let steady = near.len() as f64 / windows.len() as f64;
        if steady < if windows.len() >= 16 { 0.5 } else { 0.6 } {
            return None;
        }
        let (from, to) = (near.first()?.from, near.last()?.to);
        Some(Self::build(s, &near, from, to, windows.len(), steady, true))
    }

    /// The longest run of windows with one rate.
    fn longest(s: &Series, windows: &[Window]) -> Option<Self> {
        let mut best: Option<(usize, usize, f64)> = None;
        for i in 0..windows.len() {
            for j in (i + 2)..windows.len() {
                if best.is_some_and(|(a, b, _)| b - a >= j - i) {
                    continue;
                }
                let run = &windows[i..=j];
                let Some(mid) = median(run.iter().map(|w| w.rate)) else { continue };
                let near = |w: &Window| (w.rate - mid).abs() <= NEAR * mid;
                let share = run.iter().filter(|w| near(w)).count() as f64 / run.len() as f64;
                if mid > 0.0 && share >= STEADY && near(&windows[i]) && near(&windows[j]) {
                    best = Some((i, j, share));
                }
            }
        }
        let (i, j, share) = best?;
        let run = &windows[i..=j];
        let mid = median(run.iter().map(|w| w.rate))?;
        let near: Vec<Window> = run.iter().filter(|w| (w.rate - mid).abs() <= NEAR * mid).copied().collect();
        let mut p = Self::build(s, &near, windows[i].from, windows[j].to, run.len(), share, false);
        let earlier: Vec<f64> = windows[..i].iter().map(|w| w.rate).collect();
        p.before = (earlier.len() >= 2).then(|| median(earlier.iter().copied())).flatten();
        Some(p)
    }

    fn build(s: &Series, near: &[Window], from: usize, to: usize, windows: usize, steady: f64, at_drops: bool) -> Self {
        let time: f64 = near.iter().map(|w| (w.to - w.from) as f64).sum();
        let rate = near.iter().map(|w| w.rate * (w.to - w.from) as f64).sum::<f64>() / time.max(1.0);
        let mut rates: Vec<f64> = near.iter().map(|w| w.rate).collect();
        rates.sort_by(f64::total_cmp);
        let at = |q: f64| rates.get(((rates.len() - 1) as f64 * q).round() as usize).copied().unwrap_or(rate);
        let deviation = (rates.iter().map(|r| (r - rate).powi(2)).sum::<f64>() / rates.len().saturating_sub(1).max(1) as f64).sqrt();
        let drops = &s.drops[from..to.min(s.drops.len())];
        Self {
            rate,
            low: at(0.1),
            high: at(0.9),
            from: s.time(from),
            to: s.time(to),
            windows,
            steady,
            episodes: drops.iter().filter(|d| **d > 0.0).count(),
            drops: drops.iter().sum(),
            drops_before: s.drops[..from.min(s.drops.len())].iter().sum(),
            bytes: s.bytes[from..to.min(s.bytes.len())].iter().sum(),
            before: None,
            at_drops,
            deviation,
            near: near.len(),
            tokens: None,
            fell: false,
            ceiling: false,
        }
    }
}

/// Receivers of datagrams told what they missed.
fn told(lanes: &[Lane<'_>]) -> bool {
    lanes.iter().all(|l| l.pace.lost_told > 0)
}
