//! WireGuard (whitepaper §5.4; wireguard-go device/noise-protocol.go): indices are chosen at random and repeated by the peer.

use super::{Talk, Verdict, le32, le64, part, zeros};
use crate::model::note::Shape;

const INITIATION: usize = 148;
const RESPONSE: usize = 92;
const COOKIE: usize = 64;
const DATA_MIN: usize = 32;
/// Some providers' clients append to both handshake messages (TunnelBear: 204 and 100 bytes).
const APPENDED_MAX: usize = 64;
/// Counters may skip what was lost or reordered, not more.
const SKIP_MAX: u64 = 2048;

/// Initiation and an answer that repeats its index. The three reserved bytes are zero, or a client number (WARP).
pub(super) fn handshake(t: &Talk<'_>) -> Verdict {
    let grown = |len: usize, of: usize| len.checked_sub(of).is_some_and(|more| more <= APPENDED_MAX);
    match t.bytes {
        [1, reserved @ ..] if grown(t.len, INITIATION) => {
            // mac2 is zero unless the server is under load.
            if t.len == INITIATION && reserved.starts_with(&[0, 0, 0]) && zeros(t.bytes, 132, 16) && !zeros(t.bytes, 4, 16) {
                return Verdict::Sofar(Shape::WireGuardInit);
            }
            Verdict::Wait
        }
        [2, ..] if grown(t.len, RESPONSE) => echo(t, 8),
        [3, 0, 0, 0, ..] if t.len == COOKIE => echo(t, 4),
        // Junk before the handshake is possible, but nobody could then tell.
        _ if t.before.is_empty() => Verdict::No,
        _ => Verdict::Wait,
    }
}

fn echo(t: &Talk<'_>, at: usize) -> Verdict {
    let Some(index) = part(t.bytes, at, 4) else { return Verdict::No };
    let reserved = part(t.bytes, 1, 3);
    let asked = t.others().any(|g| {
        g.bytes.first() == Some(&1)
            && g.len >= INITIATION
            && part(&g.bytes, 4, 4) == Some(index)
            && (part(&g.bytes, 1, 3) == Some(&[0, 0, 0]) || part(&g.bytes, 1, 3) == reserved)
    });
    if asked && index != [0; 4] { Verdict::Yes(Shape::WireGuard) } else { Verdict::Wait }
}

/// Data in the middle of a session: each direction keeps one index and counts up from where it was.
pub(super) fn data(t: &Talk<'_>) -> Verdict {
    counted(t, [4, 0, 0, 0], Shape::WireGuardData)
}

/// AmneziaWG (amneziawg-go README): WireGuard with junk before it, padding (S1, S2) before its handshake messages and other type words (H1–H4).
/// Padding is what the lengths are more than WireGuard's; behind it the answer still repeats the initiator's index.
pub(super) fn amnezia(t: &Talk<'_>) -> Verdict {
    /// Largest padding looked behind; clients make 15–150 bytes.
    const PADDING_MAX: usize = 160;
    if let Some(s2) = t.len.checked_sub(RESPONSE).filter(|s| *s <= PADDING_MAX)
        && let Some(index) = part(t.bytes, s2.saturating_add(8), 4).filter(|i| super::varied(i))
        && part(t.bytes, s2.saturating_add(4), 4).is_some_and(super::varied)
    {
        // The other side's last message before the answer: junk came earlier.
        let asked = t.others().next().filter(|g| {
            let s1 = g.len.checked_sub(INITIATION).filter(|s| *s <= PADDING_MAX);
            s1.is_some_and(|s1| part(&g.bytes, s1.saturating_add(4), 4) == Some(index) && !(s1 == 0 && g.bytes.starts_with(&[1])))
        });
        // The first answer of all.
        if asked.is_some() && !t.before.iter().any(|g| g.side == t.side) {
            return Verdict::Yes(Shape::AmneziaWg);
        }
    }
    let word: Option<[u8; 4]> = part(t.bytes, 0, 4).and_then(|w| w.try_into().ok());
    // Handshakes take part in the same flow, so data out of order are no reason to give up before the record is full.
    if let Some(word) = word
        && super::varied(&word)
        && !matches!(word, [1..=4, 0, 0, 0])
        && t.before.iter().all(|g| g.bytes.starts_with(&word))
        && counted(t, word, Shape::AmneziaWgData) == Verdict::Yes(Shape::AmneziaWgData)
    {
        return Verdict::Yes(Shape::AmneziaWgData);
    }
    Verdict::Wait
}

fn counted(t: &Talk<'_>, word: [u8; 4], shape: Shape) -> Verdict {
    let message = |bytes: &[u8], len: usize| {
        (bytes.starts_with(&word) && len >= DATA_MIN && len.is_multiple_of(16)).then_some(())?;
        Some((le32(bytes, 4)?, le64(bytes, 8)?))
    };
    let Some(now) = message(t.bytes, t.len) else { return Verdict::No };
    let (mut counted, mut other) = (1usize, 0usize);
    let (mut index, mut counter) = now;
    let mut peer: Option<(u32, u64)> = None;
    for g in t.before.iter().rev() {
        let Some((i, c)) = message(&g.bytes, g.len) else { return Verdict::No };
        let last = if g.side == t.side { Some((index, counter)) } else { peer };
        if let Some((known, next)) = last
            && (known != i || c >= next || next.saturating_sub(c) > SKIP_MAX)
        {
            return Verdict::No;
        }
        if g.side == t.side {
            counted = counted.saturating_add(1);
            (index, counter) = (i, c);
        } else {
            other = other.saturating_add(1);
            peer = Some((i, c));
        }
    }
    let two_indices = peer.is_some_and(|(i, _)| i != index) && index != 0;
    if counted >= 3 && other >= 3 && two_indices { Verdict::Yes(shape) } else { Verdict::Wait }
}
