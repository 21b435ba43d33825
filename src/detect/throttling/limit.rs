//! What limited each busy direction of a flow, seen by itself. It compares with nothing and accuses nobody: a policer may be the subscriber's plan.

use super::ends::Ends;
use super::lane::{self, Lane};
use super::plateau::Plateau;
use super::queue::{self, Losses, Queue};
use super::{bps, rate};
use crate::detect::weigh::count;
use crate::model::flow::FlowRecord;
use crate::model::side::Side;
use crate::model::throttle::{Limit, Limiter};

/// Less than this, or shorter than [`SECONDS`], is over before anything but its own end limits it.
const ENOUGH: u64 = 30_000;
const SECONDS: f64 = 0.5;

/// Fills in the limit of every direction that kept a pace.
pub fn limits(flows: &mut [FlowRecord]) {
    for flow in flows {
        for side in Side::BOTH {
            let limit = Lane::of(flow, None, side).map(|l| limit(&l));
            if let Some(pace) = &mut flow.pace[side] {
                pace.limit = limit;
            }
        }
    }
}

fn limit(l: &Lane<'_>) -> Limit {
    let (p, lanes) = (l.pace, std::slice::from_ref(l));
    let seconds = p.last.since(p.start).as_secs();
    let is = |by, or: &[Limiter], why: String| Limit { by, or: or.to_vec(), why };
    if p.total() < ENOUGH || seconds < SECONDS {
        return is(
            Limiter::Application,
            &[Limiter::Sender],
            format!("{} bytes in {seconds:.1} s end before anything else could limit them", p.total()),
        );
    }
    if !lane::bulk(l) {
        return is(Limiter::Application, &[], "a stream of messages or media, not of data".into());
    }
    let plateau = Plateau::of(lanes).filter(|p| p.seconds() >= rate::SECONDS && p.windows >= 3);
    let Some(whole) = plateau.clone().or_else(|| Plateau::whole(lanes)) else {
        return is(Limiter::Application, &[], "nothing to measure".into());
    };
    if l.flow.tcp.is_none() {
        let unseen = [Limiter::Policer, Limiter::Shaper, Limiter::Sender];
        let lost = match l.pace.lost_told {
            0 => "datagrams do not show what was lost or acknowledged".to_owned(),
            n => format!("the receiver's acknowledgements tell of {}", count(n, "hole")),
        };
        return match plateau {
            Some(p) => is(Limiter::Pacing, &unseen, format!("one rate, {}; {lost}", bps(p.rate))),
            None => is(Limiter::Sender, &[Limiter::Application, Limiter::Loss], lost),
        };
    }
    let (queue, losses, ends) = (Queue::of(lanes, whole.rate), Losses::of(lanes), Ends::of(lanes));
    let dropped = format!("{:.1} % of packets dropped", losses.share() * 100.0);
    match ends.limit(lanes, &whole, &queue) {
        Some(Limiter::ReceiveWindow) => {
            let why = format!(
                "the window held the sender back {:.0} % of the time and was shut {:.0} %; {} bytes on average",
                ends.held * 100.0,
                ends.shut * 100.0,
                ends.room.unwrap_or(0)
            );
            return is(Limiter::ReceiveWindow, &[], why);
        }
        Some(Limiter::Loss) => {
            return is(Limiter::Loss, &[Limiter::Policer], format!("{dropped} before; what was lost came again one packet a round trip"));
        }
        Some(by) => {
            let or: &[Limiter] = if ends.sender_seen { &[] } else { &[Limiter::Pacing] };
            return is(by, or, format!("everything was acknowledged and nothing new came {:.0} % of the time", ends.idle * 100.0));
        }
        None => {}
    }
    let share = losses.share();
    let allowed = queue::loss_allows(lanes, whole.loss(lanes));
    let by_loss = !queue.grown() && whole.rate > 0.4 * allowed;
    if let Some(p) = &plateau
        && let Some(mechanism) = rate::mechanism(p, &queue, &losses, p.loss(lanes), p.slowed(lanes), false)
        && (!by_loss || p.one_rate_despite_loss())
    {
        let why = format!("{} of {} stretches of time at {}; {dropped}", (p.steady * p.windows as f64).round(), p.windows, bps(p.rate));
        return match mechanism {
            "policing" => is(Limiter::Policer, if queue.samples < 15 { &[Limiter::Shaper] } else { &[] }, why),
            _ => is(Limiter::Shaper, &[Limiter::Bottleneck], why),
        };
    }
    if p.lone >= 10 && share >= 0.08 && f64::from(p.lone_lost) >= 0.6 * share * f64::from(p.lone) {
        let why = format!("{dropped}; also {} of {} that were alone on the way", p.lone_lost, p.lone);
        return is(Limiter::RandomDrop, &[Limiter::Loss], why);
    }
    let waited = format!("round trip {:.0} ms, undisturbed {:.0} ms", queue.usual, queue.base);
    match () {
        () if queue.grown() => is(Limiter::Bottleneck, &[Limiter::Shaper], format!("packets waited: {waited}; {dropped}")),
        () if share > 0.001 && by_loss => is(Limiter::Loss, &[Limiter::Policer], format!("{dropped}, which alone allow {}", bps(allowed))),
        () if share <= 0.001 && queue.paced >= 0.9 => {
            is(Limiter::Pacing, &[Limiter::Sender], "evenly spaced, without loss or queue".into())
        }
        () => is(Limiter::Sender, &[Limiter::Application], format!("no queue grew, {dropped}")),
    }
}
