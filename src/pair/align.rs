//! One direction of one flow: which packet at the far point is which packet at the near point.
//!
//! What is compared are stream bytes and control bits, not frames: network cards cut and join segments, so a segment counts as known where the near
//! point has the same bytes in other pieces.

use super::digest::{self, Digest, What};
use crate::model::packet::TcpFlags;
use crate::model::time::Span;
use hashbrown::{HashMap, HashSet};

/// A packet with its positions counted from the first byte of the stream, the same at both points.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The packet.
    pub d: &'a Digest,
    /// Position of its first byte.
    pub pos: i64,
    /// Position it acknowledges.
    pub ack: i64,
}

impl Item<'_> {
    /// Position after its last byte.
    pub fn end(&self) -> i64 {
        self.pos + i64::from(self.d.len)
    }
    fn data(&self) -> bool {
        self.d.what == What::Tcp && self.d.len > 0 && !self.d.flags.rst()
    }
}

/// What is known of a packet at the far point that is no packet of the near point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Far {
    /// It is that packet.
    Match(usize),
    /// A further copy of one that is.
    Copy,
    /// Its bytes are known from the near point, in other pieces or from another transmission.
    Known,
    /// The near point missed it: its sender went on past it.
    Missed,
    /// The near point has other bytes in its place: this packet of it.
    Differs(usize),
    /// Nothing at the near point answers to it.
    Unsent,
}

/// What is known of a packet at the near point that is no packet of the far point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Near {
    /// It is that packet.
    Match(usize),
    /// Its bytes arrived in other pieces.
    Arrived,
    /// The receiver acknowledged it: the far point missed it.
    Missed,
    /// It did not arrive.
    Lost,
}

/// Both views of one direction.
#[derive(Clone, Debug, Default)]
pub struct Aligned {
    /// Per packet of the near point.
    pub near: Vec<Near>,
    /// Per packet of the far point.
    pub far: Vec<Far>,
}

/// What a pair of packets must have in common before anything else.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    what: u8,
    at: i64,
    len: u32,
    control: u16,
    extra: i64,
}

fn key(i: &Item<'_>) -> Key {
    match i.d.what {
        What::Tcp => {
            let control = i.d.control();
            // A lone acknowledgement is known by what it acknowledges.
            let extra = if i.d.len == 0 && control == 0 { i.ack } else { 0 };
            Key { what: 0, at: i.pos, len: i.d.len, control, extra }
        }
        What::Datagram => Key { what: 1, at: i64::from(i.d.seq), len: i.d.len, control: 0, extra: i.d.head as i64 },
        What::Error => Key { what: 2, at: i64::from(i.d.seq), len: 0, control: 0, extra: i64::from(i.d.ack) },
    }
}

/// Time of a far packet less time of a near one, and the least that difference can be.
pub type Transit = Option<Span>;

/// Matches one direction. `least` is the smallest difference of time (far less near, raw clocks) that a packet can show; `None` if nobody knows.
/// `acked` is the highest position the receiver acknowledged.
pub fn align(near: &[Item<'_>], far: &[Item<'_>], least: &dyn Fn(&Digest) -> Transit, acked: i64) -> Aligned {
    let mut by_key: HashMap<Key, Alike> = HashMap::new();
    for (i, item) in near.iter().enumerate() {
        by_key.entry(key(item)).or_default().list.push(i);
    }
    let mut taken: Vec<Option<usize>> = vec![None; near.len()];
    let mut out_far: Vec<Option<usize>> = vec![None; far.len()];
    // Packets that carry the same identification first, so that a retransmission is not taken for the original.
    for strict in [true, false] {
        for (j, f) in far.iter().enumerate() {
            if out_far.get(j).is_some_and(Option::is_some) {
                continue;
            }
            let Some(all) = by_key.get(&key(f)) else { continue };
            let mut best: Option<(i64, i64, usize)> = None;
            // Keepalives may be alike in thousands: those taken are skipped, of the others the first few are enough.
            let begin = all.from.get();
            let taken_at = |i: &usize| taken.get(*i).is_some_and(Option::is_some);
            let skip = all.list.iter().skip(begin).take_while(|i| taken_at(i)).count();
            all.from.set(begin + skip);
            for &i in all.list.iter().skip(begin + skip).take(ALIKE) {
                let Some(n) = near.get(i).filter(|_| taken.get(i).is_some_and(Option::is_none)) else { continue };
                if !n.d.like(f.d) || strict && !(n.d.ip_id.is_some() && n.d.ip_id == f.d.ip_id) {
                    continue;
                }
                let early = least(n.d).map(|l| f.d.ts.since(n.d.ts).nanos() - l.nanos());
                // The same bytes with the same identification are one packet, however few the packets by which the clocks were compared.
                let certain = strict && f.d.len > 0 && !f.d.flags.rst();
                let never = early.is_some_and(|e| e < -SLACK.nanos()) && !certain;
                if never || f.d.flags.rst() && !strict && !same_stack(n.d, f.d) {
                    continue;
                }
                let fits = i64::from(n.ack == f.ack) * 2 + i64::from(n.d.window == f.d.window);
                // Among equals the latest that can have become this one.
                let near_in_time = -early.unwrap_or(0).abs();
                if best.is_none_or(|(s, t, _)| (fits, near_in_time) > (s, t)) {
                    best = Some((fits, near_in_time, i));
                }
            }
            if let Some((_, _, i)) = best
                && let (Some(t), Some(o)) = (taken.get_mut(i), out_far.get_mut(j))
            {
                *t = Some(j);
                *o = Some(i);
            }
        }
    }
    let (ranges_near, ranges_far) = (Ranges::of(near), Ranges::of(far));
    let (near_view, far_view) = (View::of(near), View::of(far));
    let mut arrived: HashMap<Key, Vec<usize>> = HashMap::new();
    for (j, f) in far.iter().enumerate().filter(|(j, _)| out_far.get(*j).is_some_and(Option::is_some)) {
        arrived.entry(key(f)).or_default().push(j);
    }
    let far_states = far
        .iter()
        .enumerate()
        .map(|(j, f)| {
            if let Some(i) = out_far.get(j).copied().flatten() {
                return Far::Match(i);
            }
            let k = key(f);
            let copies = arrived.get(&k).into_iter().flatten().filter_map(|j| far.get(*j));
            // The network, or a mirrored port, doubles packets: the same identification, and a TTL that differs by a router at most.
            if copies.take(ALIKE).any(|o| o.d.like(f.d) && o.d.ip_id == f.d.ip_id && o.d.ttl.abs_diff(f.d.ttl) <= 1) {
                return Far::Copy;
            }
            if f.data() {
                let same: &[usize] = by_key.get(&k).map_or(&[], |a| a.list.as_slice());
                segment(f, &far_view, &near_view, same.get(..ALIKE).unwrap_or(same), &ranges_near)
            } else {
                leftover(f, &near_view)
            }
        })
        .collect();
    let sent_once = |n: &Item<'_>| near_view.over(n.pos, n.end()).take(2).count() < 2;
    let near_states = near
        .iter()
        .enumerate()
        .map(|(i, n)| match taken.get(i).copied().flatten() {
            Some(j) => Near::Match(j),
            None if n.data() && ranges_far.covers(n.pos, n.end()) && (pieces(n, &far_view) || sent_once(n)) => Near::Arrived,
            None if n.data() && n.end() <= acked && !ranges_far.covers(n.pos, n.end()) => Near::Missed,
            None => Near::Lost,
        })
        .collect();
    Aligned { near: near_states, far: far_states }
}

/// Jitter of capture times.
pub const SLACK: Span = Span::from_millis(2);

/// Whether two resets at one position can be the same packet: nothing on the way gives a packet another identification together with another TTL.
fn same_stack(n: &Digest, f: &Digest) -> bool {
    n.ip_id == f.ip_id || n.flags == f.flags && n.window == f.window
}

/// A packet without stream bytes that no near packet is.
fn leftover(f: &Item<'_>, near: &View<'_>) -> Far {
    if f.d.what != What::Tcp || f.d.flags.rst() {
        return Far::Unsent;
    }
    match f.d.control() {
        // Nobody can tell a lone acknowledgement that was joined, thinned or repeated on the way from one that was missed.
        0 => Far::Missed,
        // A FIN that the sender repeats, or that left in one piece with data.
        _ if f.d.flags.fin() && near.fins.contains(&f.end()) => Far::Known,
        _ if f.d.flags.syn() && near.syns.contains(&(f.pos, f.d.flags.ack())) => Far::Known,
        _ => Far::Unsent,
    }
}

/// A segment with stream bytes that no near packet is.
fn segment(f: &Item<'_>, far: &View<'_>, near: &View<'_>, same_key: &[usize], known: &Ranges) -> Far {
    let alike = |i: &usize| near.items.get(*i).is_some_and(|n| n.d.like(f.d));
    let differs = |i: &usize| near.items.get(*i).is_some_and(|n| n.d.comparable(f.d) && !n.d.like(f.d));
    if let Some(other) = same_key.iter().find(|i| differs(i))
        && !same_key.iter().any(alike)
    {
        return Far::Differs(*other);
    }
    // However the bytes are cut, those at one place begin alike.
    let heads = |n: &Item<'_>| n.d.len.min(f.d.len) >= digest::HEAD as u32 && n.d.cap.min(f.d.cap) >= digest::HEAD as u32;
    let mut here = near.at(f.pos).filter(|(_, n)| heads(n)).take(ALIKE).peekable();
    if let Some((first, _)) = here.peek().copied()
        && here.all(|(_, n)| !n.d.begins_alike(f.d))
    {
        return Far::Differs(first);
    }
    // Whoever ends a stream sends nothing beyond its end.
    if f.d.flags.fin()
        && !near.fins.contains(&f.end())
        && let Some((beyond, _)) = near.over(f.end(), f.end() + 1).next()
    {
        return Far::Differs(beyond);
    }
    if !known.covers(f.pos, f.end()) {
        return if known.end >= f.end() { Far::Missed } else { Far::Unsent };
    }
    match tiled(f, near).or_else(|| tiles_of(f, far, near)) {
        Some((false, of)) => Far::Differs(of),
        _ => Far::Known,
    }
}

/// Looks for near segments that make up exactly this one, and compares: `(same, first of them)`.
fn tiled(f: &Item<'_>, near: &View<'_>) -> Option<(bool, usize)> {
    if !f.d.whole() {
        return None;
    }
    let (mut at, mut hash, mut first) = (f.pos, 0, None);
    while at < f.end() {
        let (i, n) = near.at(at).find(|(_, n)| n.d.whole() && n.end() <= f.end())?;
        hash = digest::join(hash, n.d.hash, n.d.len);
        first.get_or_insert(i);
        at = n.end();
    }
    Some((hash == f.d.hash, first?))
}

/// Looks for a near segment around this one that far segments make up exactly, and compares: `(same, that segment)`.
fn tiles_of(f: &Item<'_>, far: &View<'_>, near: &View<'_>) -> Option<(bool, usize)> {
    let around = near.over(f.pos, f.end()).filter(|(_, n)| n.pos <= f.pos && f.end() <= n.end());
    for (i, n) in around.take(ALIKE) {
        // Through this very segment: another copy of its bytes may be right.
        let (mut at, mut hash, mut through) = (n.pos, 0, false);
        while at < n.end() {
            let own = (at == f.pos).then_some(f);
            let Some(piece) = own.or_else(|| far.at(at).map(|(_, o)| o).find(|o| o.d.whole() && o.end() <= n.end())) else { break };
            through |= piece.pos == f.pos;
            hash = digest::join(hash, piece.d.hash, piece.d.len);
            at = piece.end();
        }
        if at == n.end() && through && n.d.whole() && f.d.whole() {
            return Some((hash == n.d.hash, i));
        }
    }
    None
}

/// Whether far segments of other sizes make this one up: then it arrived.
fn pieces(n: &Item<'_>, far: &View<'_>) -> bool {
    far.over(n.pos, n.end()).any(|(_, f)| {
        f.d.len > n.d.len && f.pos <= n.pos && n.end() <= f.end() || f.pos == n.pos && f.d.len < n.d.len && f.d.ip_id == n.d.ip_id
    })
}

/// Near packets with one key, and from where on they may be free.
#[derive(Default)]
struct Alike {
    list: Vec<usize>,
    from: std::cell::Cell<usize>,
}

/// Most packets with the same key that are looked at for one packet.
const ALIKE: usize = 64;
/// Longest segment a host hands to its network card.
const SEGMENT_MAX: i64 = 1 << 18;

/// One point's view of a direction, with its segments by position.
struct View<'a> {
    items: &'a [Item<'a>],
    by_pos: Vec<(i64, usize)>,
    fins: HashSet<i64>,
    syns: HashSet<(i64, bool)>,
}

impl<'a> View<'a> {
    fn of(items: &'a [Item<'a>]) -> Self {
        let mut by_pos: Vec<(i64, usize)> = items.iter().enumerate().filter(|(_, i)| i.data()).map(|(n, i)| (i.pos, n)).collect();
        by_pos.sort_unstable();
        let fins = items.iter().filter(|i| i.d.flags.fin()).map(Item::end).collect();
        let syns = items.iter().filter(|i| i.d.flags.syn()).map(|i| (i.pos, i.d.flags.ack())).collect();
        Self { items, by_pos, fins, syns }
    }
    /// Segments that begin in a stretch.
    fn begin_in(&self, from: i64, to: i64) -> impl Iterator<Item = (usize, &'a Item<'a>)> + '_ {
        let at = self.by_pos.partition_point(|p| p.0 < from);
        let all = self.by_pos.iter().skip(at).take_while(move |p| p.0 < to);
        all.filter_map(|(_, i)| Some((*i, self.items.get(*i)?)))
    }
    fn at(&self, pos: i64) -> impl Iterator<Item = (usize, &'a Item<'a>)> + '_ {
        self.begin_in(pos, pos + 1)
    }
    /// Segments with bytes in a stretch.
    fn over(&self, from: i64, to: i64) -> impl Iterator<Item = (usize, &'a Item<'a>)> + '_ {
        self.begin_in(from.saturating_sub(SEGMENT_MAX), to).filter(move |(_, i)| i.end() > from)
    }
}

/// Which bytes of a stream were seen.
#[derive(Default)]
struct Ranges {
    all: Vec<(i64, i64)>,
    /// Highest position the sender is known to have come to, by any of its packets.
    end: i64,
}

impl Ranges {
    fn of(items: &[Item<'_>]) -> Self {
        let mut all: Vec<(i64, i64)> = items.iter().filter(|i| i.data()).map(|i| (i.pos, i.end())).collect();
        all.sort_unstable();
        let mut out: Vec<(i64, i64)> = Vec::new();
        for (from, to) in all {
            match out.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => out.push((from, to)),
            }
        }
        let end = items.iter().filter(|i| i.d.what == What::Tcp && !i.d.flags.rst()).map(Item::end).max().unwrap_or(i64::MIN);
        Self { all: out, end }
    }
    fn covers(&self, from: i64, to: i64) -> bool {
        let at = self.all.partition_point(|r| r.0 <= from);
        at.checked_sub(1).and_then(|i| self.all.get(i)).is_some_and(|r| to <= r.1)
    }
}

/// The items of one direction, positions counted from `zero` (`acked` from the other side's).
pub fn items<'a>(packets: impl Iterator<Item = &'a Digest>, zero: u32, ack_zero: u32) -> Vec<Item<'a>> {
    let (mut last, mut last_ack) = (0_i64, 0_i64);
    packets
        .map(|d| {
            if d.what != What::Tcp {
                return Item { d, pos: 0, ack: 0 };
            }
            let pos = unwrap(d.seq, zero, last);
            let ack = if d.flags.ack() { unwrap(d.ack, ack_zero, last_ack) } else { 0 };
            // A number far off (a forged reset, garbage) is not where the stream is.
            if (pos - last).abs() < 1 << 24 || last == 0 {
                last = last.max(pos);
            }
            if d.flags.ack() && !d.flags.has(TcpFlags::RST) && ((ack - last_ack).abs() < 1 << 24 || last_ack == 0) {
                last_ack = last_ack.max(ack);
            }
            Item { d, pos, ack }
        })
        .collect()
}

fn unwrap(seq: u32, zero: u32, near: i64) -> i64 {
    let here = zero.wrapping_add(near as u32);
    near + i64::from(seq.wrapping_sub(here) as i32)
}
