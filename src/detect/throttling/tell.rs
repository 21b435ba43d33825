//! Puts a measured throttle into words: evidence, innocent causes, comparisons, figures.

use super::bps;
use super::controls;
use super::origin;
use super::rate::{CARD, Measured};
use crate::detect::weigh::{self, Claim, Weigh};
use crate::model::finding::{Control, Direction, Finding, Grade};
use crate::model::frame::FrameNo;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::throttle::{RATES_MAX, Scope, Throttle};

/// Chance below which a difference against controls is a proof.
pub(super) const SIGNIFICANT: f64 = 0.001;
/// A sender that paces itself sends less than this share of its bytes clearly faster than its rate.
const BURSTS: f64 = 0.05;

pub(super) fn finding(scene: &Scene<'_>, mut m: Measured<'_>, grade: Grade) -> Finding {
    let mut w = std::mem::take(&mut m.weigh);
    facts(&m, &mut w);
    let elsewhere = origin::elsewhere(scene, &m);
    innocents(&m, elsewhere.as_ref(), &mut w);
    // A significant difference is a proof only if nothing innocent explains it, and that is more than likely.
    let grade = match &elsewhere {
        _ if w.innocent.iter().any(|i| i.stands) => Grade::Possible,
        Some(e) if !e.by_places => grade,
        _ => grade.min(Grade::Likely),
    };
    let claim = Claim {
        rule: CARD.rule,
        kind: CARD.kind,
        mechanism: m.mechanism,
        grade,
        direction: Some(Direction::from_side(m.side)),
        started: m.p.from,
        ooni_failure: None,
    };
    let c = &m.controls;
    let control = vec![
        Control::counted(
            "same_client_other_servers",
            (c.others.len() as u32).saturating_sub(c.same_server),
            c.fast.saturating_sub(c.same_server_fast),
        )
        .on(c.others.iter().map(|(id, _)| *id)),
        Control::counted("same_server_other_name", c.same_server, c.same_server_fast),
    ];
    let needs = vec!["the same transfer through another network", "another name at the same address", "the same at another hour"];
    let mut found = weigh::finding(scene, &claim, w, control, needs);
    measured(&mut found, scene, &m, if m.controls.meanwhile > 0 { Scope::Targeted } else { Scope::Unknown });
    found
}

/// Puts the figures into a finding.
pub(super) fn measured(found: &mut Finding, scene: &Scene<'_>, m: &Measured<'_>, scope: Scope) {
    // Before the dropper, datagrams that were dropped cannot be told from those that passed; on the path it may be so, and then their rate swings.
    let swings = m.p.high - m.p.low > 0.15 * m.p.rate || (m.losses.told > 0 && m.share > 0.05 && m.p.tokens.is_none());
    let passed = !(m.datagrams
        && m.side == Side::Server
        && match scene.vantage() {
            Vantage::Server => true,
            Vantage::Mid => swings,
            _ => false,
        });
    found.rate_bps = passed.then_some(m.each.unwrap_or(m.p.rate).round() as u64);
    found.throttle = passed.then(|| Box::new(figures(m, scope)));
    found.flows = m.group.iter().map(|l| l.flow.id).collect();
}

/// The measurement itself.
fn figures(m: &Measured<'_>, scope: Scope) -> Throttle {
    let p = &m.p;
    let whole = |v: f64| v.max(0.0).round() as u64;
    let rates = |v: &[(crate::model::flow::FlowId, f64)]| v.iter().map(|(id, r)| (*id, whole(*r))).take(RATES_MAX).collect::<Vec<_>>();
    let sampled = m.queue.samples > 0;
    let one = m.each.map_or(1.0, |r| r / p.rate);
    Throttle {
        scope,
        rate: whole(p.rate * one),
        low: whole((p.rate - p.error()) * one),
        high: whole((p.rate + p.error()) * one),
        burst: burst(m),
        loss: m.share.clamp(0.0, 1.0),
        rtt_base_ms: sampled.then_some(m.queue.base),
        rtt_usual_ms: sampled.then_some(m.queue.usual),
        from: p.from,
        to: p.to,
        before: p.before.map(whole),
        held: rates(&m.group.iter().map(|l| (l.flow.id, controls::mean(l))).collect::<Vec<_>>()),
        controls: rates(&m.controls.others),
        p: m.controls.chance(),
    }
}

/// Bytes let through above the rate before the first drop: what a token bucket holds. Unknown for several flows, and where the beginning was not seen.
fn burst(m: &Measured<'_>) -> Option<u64> {
    let [l] = m.group.as_slice() else { return None };
    l.flow.tcp.as_deref().filter(|t| t.established.is_some())?;
    let p = l.pace;
    let at = p.drops.iter().position(|d| *d > 0)?;
    let passed: u64 = p.before + p.passed.iter().take(at).map(|b| u64::from(*b)).sum::<u64>();
    let time = p.start.since(p.began).as_secs() + p.width.as_secs() * at as f64;
    let above = passed as f64 - m.p.rate / 8.0 * time;
    (above >= 2.0 * f64::from(p.largest)).then_some(above.round() as u64)
}

pub(super) fn facts(m: &Measured<'_>, w: &mut Weigh) {
    let p = &m.p;
    let frames: Vec<FrameNo> = m.group.iter().map(|l| l.flow.first.frame).take(8).collect();
    w.fact(
        2.0,
        if m.extreme {
            "all of it went very slowly".to_owned()
        } else {
            format!("{} of {} stretches of time went at one rate", (p.steady * p.windows as f64).round(), p.windows)
        },
        format!("{} ({} to {}) for {:.1} s", bps(p.rate), bps(p.low), bps(p.high), p.seconds()),
        "a rate that follows the path and the other traffic",
        &frames,
    );
    if let Some(rate) = m.each {
        w.fact(0.0, "each of these flows keeps that rate for itself", format!("{} flows, {} each", m.group.len(), bps(rate)), "-", &[]);
    }
    let losses = &m.losses;
    let dropped = losses.beyond + losses.before;
    if dropped > 0 {
        let place = if losses.before > losses.beyond { "before" } else { "beyond" };
        w.fact(
            1.0,
            format!("packets were dropped {place} the capture point"),
            format!("{dropped} of {} ({:.1} %), at {} moments", losses.packets + losses.before, losses.share() * 100.0, p.episodes),
            "few",
            &[],
        );
    }
    if losses.told > 0 {
        w.fact(
            1.0,
            "the receiver's acknowledgements, which grow with every hole, tell of datagrams that did not arrive",
            format!("{} holes, at {} moments", losses.told, p.episodes),
            "few, and as many as on other flows",
            &[],
        );
    }
    if m.queue.samples > 0 {
        let q = &m.queue;
        w.fact(
            0.0,
            if q.grown() { "packets waited in a queue" } else { "no queue grew" },
            format!("round trip {:.0} ms, undisturbed {:.0} ms, {} samples", q.usual, q.base, q.samples),
            "-",
            &[],
        );
    }
    if let Some(before) = p.before.filter(|b| *b > 1.5 * p.rate) {
        w.fact(1.0, "the same flow was faster before", bps(before), bps(p.rate), &[]);
    }
    let c = &m.controls;
    if c.fast > 0 {
        let times = c.best / p.rate;
        w.fact(
            2.0,
            if c.meanwhile > 0 {
                "other traffic of this client was faster meanwhile: the slowness is targeted, not general"
            } else {
                "other traffic of this client was faster, but not at the same moments"
            },
            format!("{} flows, the best {} ({times:.1} times)", c.fast, bps(c.best)),
            bps(p.rate),
            &[],
        );
    }
    if let Some(chance) = c.chance() {
        w.fact(
            0.0,
            "chance that flows drawn alike would part like this (exact Mann-Whitney test, one rate a flow)",
            format!("{chance:.4}, {} flows against {}", c.own.len(), c.others.len()),
            "above 0.001 proves nothing by itself",
            &[],
        );
    }
}

/// Why the limit is not at the server's own line or its provider: [`origin::elsewhere`].
const PROVIDER: &str = "limit at the server's provider";

fn innocents(m: &Measured<'_>, elsewhere: Option<&origin::Elsewhere>, w: &mut Weigh) {
    let (p, c) = (&m.p, &m.controls);
    if c.meanwhile > 0 {
        let why = format!(
            "{} other flows of this client reached {} times this rate while it lasted, and {:.0} % of the time the line was less than half used",
            c.meanwhile,
            c.faster,
            m.free * 100.0
        );
        w.excluded("slow or shared line", why);
    } else if c.fast > 0 {
        w.against(0.0, "slow or shared line", "other flows of this client were faster, but not at the same moments");
    } else {
        w.against(
            0.0,
            "slow or shared line",
            "no other traffic of this client was large enough to compare: this may be the line, or the subscriber's plan",
        );
    }
    let dropped = m.losses.beyond + m.losses.before;
    if !m.datagrams && dropped > 0 {
        let why = format!("so much loss alone would allow {}", bps(m.allowed));
        match () {
            () if m.queue.spaced() => w.excluded("packet loss", format!("{why}; packets came evenly spaced all the same")),
            () if !m.by_loss => w.excluded("packet loss", why),
            () if m.p.one_rate_despite_loss() => w.excluded("packet loss", format!("{why}, but loss at random does not keep one rate")),
            () => w.against(0.0, "packet loss", why),
        }
    }
    if m.losses.told > 0 && m.alone_hit() {
        let line = if p.tokens.is_some() { "; a line through the drops has one rate" } else { "" };
        w.excluded("packet loss", format!("the flows this is compared with lost {:.1} % of their packets{line}", c.dropped * 100.0));
    }
    let queued = m.queue.grown();
    const PACES: &str = "rate limit of the server";
    if m.datagrams || (m.mechanism == "shaping" && !queued && p.drops < 2.0) {
        w.against(0.0, PACES, "a server that paces its packets can look alike");
    } else if queued && m.share < 0.004 {
        w.excluded(PACES, "packets waited on the path; a server that limits itself sends no more than passes");
    } else if queued
        || m.queue.bursts >= BURSTS
        || before(m)
        || (elsewhere.is_some_and(|e| e.not_paced) && m.alone_hit() && !even_from_the_server(m))
    {
        let share = m.losses.share() * 100.0;
        w.excluded(PACES, format!("{share:.1} % of packets were dropped on the path; a server that limits itself sends less"));
    } else {
        w.against(0.0, PACES, "packets came no faster than this rate: a server that paces them, and some loss, look alike");
    }
    let elsewhere = elsewhere.map(|e| e.why.as_str());
    server_line(m, elsewhere, w);
    match elsewhere {
        Some(why) => w.excluded(PROVIDER, why),
        None if m.sold_to_nobody() => w.excluded(
            PROVIDER,
            "the address stands in a network of the service's own, which buys no bandwidth by the tariff; and a link that many share, as to its \
             neighbours, drops whatever comes, where here each drop found a bucket of this rate empty",
        ),
        None => w.against(
            0.0,
            PROVIDER,
            "a hoster holds a tenant to a rate in the same way; nothing seen here tells on which end of the path the limit stands",
        ),
    }
}

/// The flow itself was clearly faster before the limit took hold: then no pace of its own kept it.
fn before(m: &Measured<'_>) -> bool {
    m.p.drops >= 2.0 && m.p.before.is_some_and(|b| b > 1.5 * m.p.rate)
}

/// Packets came evenly spaced before they reached what drops them, and those dropped did not find a bucket empty: the server spaced them.
fn even_from_the_server(m: &Measured<'_>) -> bool {
    m.side == Side::Server && m.queue.spaced() && !m.queue.grown() && m.losses.beyond > m.losses.before && !m.bucket()
}

/// The server's own line, which lets packets wait and carries no more at first than later.
fn server_line(m: &Measured<'_>, elsewhere: Option<&str>, w: &mut Weigh) {
    const CAUSE: &str = "slow line at the server";
    let p = &m.p;
    let fastest = m.group.iter().map(|l| controls::reach(l, None)).fold(0.0, f64::max);
    if let Some(why) = elsewhere {
        w.excluded(CAUSE, why);
        return;
    }
    match () {
        () if fastest >= 3.0 * p.rate => {
            w.excluded(CAUSE, format!("it carried {} for a moment before the limit took hold", bps(fastest)));
        }
        () if p.before.is_some_and(|b| b > 1.5 * p.rate) => w.excluded(CAUSE, "the same flow was faster before"),
        () if m.mechanism == "policing" && !m.queue.grown() && m.queue.seen(&m.losses) => {
            w.excluded(CAUSE, "a line lets packets wait before it drops them; here none waited");
        }
        () if m.mechanism == "policing" && m.losses.before > m.losses.beyond && m.queue.bursts >= BURSTS => {
            let share = m.queue.bursts * 100.0;
            w.excluded(CAUSE, format!("{share:.0} % of bytes came faster than a line of this rate could carry them"));
        }
        () => w.against(0.0, CAUSE, "nothing else from this address was seen to be faster"),
    }
}
