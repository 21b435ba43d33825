//! Copies that a mirrored port makes: every packet, or those of one direction, twice and more. Laid beside another capture they would look lost.

use super::digest::{Digest, Tape, TapeFlow, What};
use crate::model::side::Side;
use crate::model::time::{Span, Time};
use hashbrown::HashMap;
use std::borrow::Cow;

/// Least share of copies that makes a capture a mirrored one: networks double packets too, and those are compared as they are.
const SHARE: u64 = 50;
/// Longest time between a packet and its copy.
const APART: Span = Span::from_millis(100);

/// The tape, without copies if it has many.
pub fn without(tape: &Tape) -> Cow<'_, Tape> {
    let (mut all, mut copies) = (0_u64, 0_u64);
    let once: Vec<Vec<bool>> = tape.flows.iter().map(|f| firsts(f, &mut all, &mut copies)).collect();
    if copies * SHARE < all.max(1) {
        return Cow::Borrowed(tape);
    }
    let kept = |(f, once): (&TapeFlow, Vec<bool>)| TapeFlow {
        packets: f.packets.iter().zip(once).filter(|(_, first)| *first).map(|(d, _)| *d).collect(),
        ..f.clone()
    };
    Cow::Owned(Tape { flows: tape.flows.iter().zip(once).map(kept).collect(), dropped: tape.dropped })
}

/// What two copies have in common. A packet sent again has another identification.
type Same = (Side, u32, u32, u32, u16, u16, u64, Option<u16>);

/// Which packets of a flow are no copies; counts those that carry an identification, by which copies are certain.
fn firsts(flow: &TapeFlow, all: &mut u64, copies: &mut u64) -> Vec<bool> {
    let mut seen: HashMap<Same, (Time, u8)> = HashMap::new();
    let mut is_first = |d: &Digest| {
        if d.what == What::Error {
            return true;
        }
        let key = (d.side, d.seq, d.ack, d.len, d.control(), d.window, d.hash, d.ip_id);
        let first = seen.get(&key).is_none_or(|(at, ttl)| d.ts.since(*at) > APART || ttl.abs_diff(d.ttl) > 1);
        if first {
            seen.insert(key, (d.ts, d.ttl));
        }
        if d.ip_id.is_some() && !d.flags.rst() {
            *all += 1;
            *copies += u64::from(!first);
        }
        first
    };
    flow.packets.iter().map(&mut is_first).collect()
}
