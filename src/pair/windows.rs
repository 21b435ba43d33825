//! A receive window lowered on the way: whoever does that holds the sender back without dropping anything.
//!
//! Firewalls and performance boxes set windows too, but for everybody. What is told here is done to some flows while others' windows pass as they are.

use super::align::Item;
use super::claim::Claim;
use super::digest::What;
use super::view::{Lane, Strand, View};
use crate::model::finding::{Control, Direction, Kind};
use crate::model::pair::{PairFinding, PerTap, Tap};
use crate::model::side::Side;

/// Fewest packets of a direction by which its windows are judged.
const PACKETS_MIN: usize = 10;

/// Pairs of packets whose windows can be compared: the one in a SYN is of another scale, and a reset has none.
fn comparable<'v, 'a>(lane: &'v Lane<'a>) -> impl Iterator<Item = (&'v Item<'a>, &'v Item<'a>)> {
    lane.both().filter(|(n, _)| n.d.what == What::Tcp && !n.d.flags.syn() && !n.d.flags.rst() && n.d.window > 0)
}

/// All flows with a lowered window.
pub fn judge(view: &View<'_>, may: &dyn Fn(&Strand<'_>) -> bool) -> Vec<PairFinding> {
    let mut lowered: Vec<(&Strand<'_>, Side, Tap)> = Vec::new();
    // Flows whose windows passed as they were, by the point they left.
    let mut kept: PerTap<u32> = PerTap::default();
    for s in view.strands.iter().filter(|s| s.both() && s.judged() && !s.terminated && !s.shifted && may(s)) {
        for side in Side::BOTH {
            let Some(up) = s.up(side) else { continue };
            let n = comparable(&s.lane[side]).count();
            let less = comparable(&s.lane[side]).filter(|(n, f)| f.d.window < n.d.window).count();
            let more = comparable(&s.lane[side]).any(|(n, f)| f.d.window > n.d.window);
            if n >= PACKETS_MIN && less * 2 > n && !more {
                lowered.push((s, side, up));
            } else if n >= PACKETS_MIN && less == 0 && !more {
                kept[up] += 1;
            }
        }
    }
    lowered.iter().filter_map(|(s, side, up)| found(view, s, *side, *up, kept[*up])).collect()
}

fn found(view: &View<'_>, s: &Strand<'_>, side: Side, up: Tap, kept: u32) -> Option<PairFinding> {
    if kept == 0 {
        return None;
    }
    let changed: Vec<(&Item<'_>, &Item<'_>)> = comparable(&s.lane[side]).filter(|(n, f)| f.d.window < n.d.window).collect();
    let (first, far) = changed.first()?;
    let mut claim = Claim::new("pair.rewritten", Kind::PacketRewriting, "window", Direction::from_side(side), far.d.ts);
    let frames: Vec<_> = changed.iter().take(4).flat_map(|(n, f)| [(up, n.d.frame), (up.other(), f.d.frame)]).collect();
    let range = |of: &dyn Fn(&(&Item<'_>, &Item<'_>)) -> u16| {
        let (least, most) = (changed.iter().map(of).min().unwrap_or(0), changed.iter().map(of).max().unwrap_or(0));
        if least == most { least.to_string() } else { format!("{least} to {most}") }
    };
    claim.fact(
        format!("the receive window that left {} arrived lower at {}", up.name(), up.other().name()),
        format!(
            "in {} of {} packets: left as {}, came as {} (unscaled)",
            changed.len(),
            comparable(&s.lane[side]).count(),
            range(&|c| c.0.d.window),
            range(&|c| c.1.d.window)
        ),
        format!("the window its receiver offered, {} in the first", first.d.window),
        &frames,
    );
    claim.control.push(Control::counted("other_flows_same_way", kept, kept));
    claim.excluded(
        "a firewall or performance box that sets everybody's windows",
        format!("the windows of {kept} other flows arrived as they left"),
    );
    Some(claim.about(view, s))
}
