//! How evidence is added up: log-likelihood ratios in natural units, physics above them.
//!
//! A weight is ln(P(fact | interference) / P(fact | innocent)), rounded to half units. Anchors: 28 % of genuine resets of servers show
//! another TTL than their data (Weaver et al., NDSS 2009, App. C), so that fact weighs 0.8 there, and 3.5 at a client, of which fewer than
//! 1 % change theirs (Sundara Raman et al., SIGCOMM 2023, §4.3); 95 % of untampered connections count their IP identification up by one
//! (ibid.), so a stray one weighs 1.5 to 3. What can have one cause is counted once. Prior odds of interference are taken as about 1 to 100:
//! a sum of [`LIKELY`] = ln 90 makes it about even with the prior, and it then still needs that no innocent cause stands; [`POSSIBLE`] = ln 7
//! is worth telling and no more. Differences between groups of flows are not weighed but tested (Fisher, one-sided, times the number of
//! names compared): p < 0.01 for likely, p < 0.001 for confirmed. How all this was calibrated on public captures and recorded lab traffic is in `fixtures/README.md`.

use crate::model::finding::{Control, Direction, Evidence, Finding, Grade, Innocent, Kind, Target};
use crate::model::flow::FlowRecord;
use crate::model::frame::FrameNo;
use crate::model::plural::one;
use crate::model::scene::Scene;
use crate::model::time::Time;

/// Sum from which independent facts make a finding likely.
pub(super) const LIKELY: f64 = 4.5;
/// Sum from which a pattern is worth telling.
pub(super) const POSSIBLE: f64 = 2.0;

/// Evidence for and against one hypothesis.
#[derive(Default)]
pub(super) struct Weigh {
    /// Sum of log-likelihood ratios.
    pub llr: f64,
    /// Facts that no conforming stack or path produces.
    pub proofs: u32,
    /// What speaks for it.
    pub evidence: Vec<Evidence>,
    /// Innocent causes weighed.
    pub innocent: Vec<Innocent>,
}

impl Weigh {
    /// A fact with its weight.
    pub fn fact(
        &mut self,
        weight: f64,
        says: impl Into<String>,
        value: impl Into<String>,
        expected: impl Into<String>,
        frames: &[FrameNo],
    ) {
        self.llr += weight;
        self.evidence.push(Evidence {
            says: one(says.into()),
            value: one(value.into()),
            expected: one(expected.into()),
            frames: frames.to_vec(),
        });
    }

    /// A fact that settles it.
    pub fn proof(&mut self, says: impl Into<String>, value: impl Into<String>, expected: impl Into<String>, frames: &[FrameNo]) {
        self.proofs += 1;
        // Proofs come first in what people read.
        let at = (self.proofs as usize - 1).min(self.evidence.len());
        self.evidence.insert(
            at,
            Evidence { says: one(says.into()), value: one(value.into()), expected: one(expected.into()), frames: frames.to_vec() },
        );
    }

    /// An innocent cause that speaks against it with this weight (≤ 0); it stands if nothing proves otherwise.
    pub fn against(&mut self, weight: f64, cause: &'static str, why: impl Into<String>) {
        self.llr += weight;
        self.innocent.push(Innocent { cause, stands: true, why: one(why.into()) });
    }

    /// An innocent cause that was looked for and not found.
    pub fn excluded(&mut self, cause: &'static str, why: impl Into<String>) {
        self.innocent.push(Innocent { cause, stands: false, why: one(why.into()) });
    }

    /// The grade the evidence carries by itself.
    pub fn grade(&self) -> Option<Grade> {
        match self.llr {
            _ if self.proofs > 0 => Some(Grade::Confirmed),
            l if l >= LIKELY => Some(Grade::Likely),
            l if l >= POSSIBLE => Some(Grade::Possible),
            _ => None,
        }
    }
}

/// A number of things, in words.
pub(super) fn count(n: impl Into<u64>, thing: &str) -> String {
    let n = n.into();
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}

/// What settles which way packets are lost, where the capture shows only that no answer came.
const WHICH_WAY: &str = "a capture at the far end: silence does not tell which way the packets were lost";

/// What identifies a finding besides its evidence.
pub(super) struct Claim {
    pub rule: &'static str,
    pub kind: Kind,
    pub mechanism: &'static str,
    pub grade: Grade,
    pub direction: Option<Direction>,
    pub started: Time,
    pub ooni_failure: Option<&'static str>,
}

/// Writes the finding about one flow. What is likely has no innocent explanation left: a claim with one that stands is a possibility.
pub(super) fn finding(scene: &Scene<'_>, claim: &Claim, mut weigh: Weigh, control: Vec<Control>, mut needs: Vec<&'static str>) -> Finding {
    if claim.direction.is_none() && claim.kind != Kind::Throttling {
        needs.push(WHICH_WAY);
    }
    let made_up = scene.source.quality.phone_vpn && scene.flow.tcp.is_some() && claim.kind != Kind::BlockPage;
    if made_up {
        weigh.against(
            0.0,
            "the VPN app that made the capture",
            "it ends TCP connections itself: acknowledgements, resets and silence in it are the app's, whatever the network did",
        );
    }
    let stands = weigh.innocent.iter().any(|i| i.stands);
    let mut frames: Vec<FrameNo> = weigh.evidence.iter().flat_map(|e| e.frames.iter().copied()).collect();
    frames.sort_unstable();
    frames.dedup();
    Finding {
        id: "".into(),
        rule: claim.rule,
        kind: claim.kind,
        mechanism: claim.mechanism,
        grade: if made_up || (claim.grade == Grade::Likely && stands) { Grade::Possible } else { claim.grade },
        flows: vec![scene.flow.id],
        direction: claim.direction,
        target: target(scene),
        started: claim.started,
        frames,
        rate_bps: None,
        throttle: None,
        deaths: Vec::new(),
        evidence: weigh.evidence,
        innocent: weigh.innocent,
        control: control.into_iter().filter(|c| c.n > 0).collect(),
        needs,
        ooni_failure: claim.ooni_failure,
        resembles: Vec::new(),
    }
}

fn target(scene: &Scene<'_>) -> Target {
    let flow: &FlowRecord = scene.flow;
    let sni = flow.notes.client_hello().and_then(|(_, h)| h.sni.clone());
    let host = flow.notes.http_request().and_then(|(_, r)| r.host.clone());
    Target {
        service: scene.label.map(|l| l.id.clone()),
        role: scene.label.and_then(|l| l.role),
        host: if sni.is_none() { host } else { None },
        sni,
        // DNS over TCP names what it is about in its query, as TLS does in its hello.
        qname: if flow.tcp.is_some() { flow.notes.dns().find(|(_, m)| !m.response).map(|(_, m)| m.qname.clone()) } else { None },
        ip: Some(flow.server.ip),
    }
}

/// One-sided Fisher exact test: the probability that group A fails at least as often as it did, if both groups fail alike.
pub(super) fn fisher(a_fail: u32, a_ok: u32, b_fail: u32, b_ok: u32) -> f64 {
    let (a, b) = (u64::from(a_fail) + u64::from(a_ok), u64::from(b_fail) + u64::from(b_ok));
    let fails = u64::from(a_fail) + u64::from(b_fail);
    let upper = a.min(fails);
    (u64::from(a_fail)..=upper)
        .filter(|k| fails - k <= b)
        .map(|k| (choose(a, k) + choose(b, fails - k) - choose(a + b, fails)).exp())
        .sum::<f64>()
        .min(1.0)
}

/// Logarithm of the binomial coefficient.
fn choose(n: u64, k: u64) -> f64 {
    let k = k.min(n - k.min(n));
    (0..k).map(|i| ((n - i) as f64).ln() - ((i + 1) as f64).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fisher_matches_the_table_of_all_against_none() {
        for (k, p) in [(3, 0.05), (4, 0.0143), (5, 0.00397), (6, 0.00108), (7, 0.000291)] {
            let got = fisher(k, 0, 0, k);
            assert!((got - p).abs() / p < 0.01, "{k}: {got}");
        }
        assert!((fisher(0, 5, 0, 5) - 1.0).abs() < 1e-9);
    }
}
