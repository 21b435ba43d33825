//! Threema's chat protocol (Threema Cryptography Whitepaper, "Chat Protocol"; nDPI 3b1286a: threema.pcap).

use super::{Heads, Verdict};
use crate::model::note::Shape;
use crate::model::side::Side;

/// Hello of the client, hello of the server.
const HELLOS: (usize, usize) = (48, 80);
/// Login and its answer are not framed.
const LOGIN_MIN: usize = 128;
/// Framed pieces that settle it, 16 bits each.
const FRAMED: usize = 3;

pub(super) fn judge(h: &Heads) -> Verdict {
    let whole = |side, hello| h.pieces_of(side).next().map(|p| p.from == 0 && p.to == hello);
    match (whole(Side::Client, HELLOS.0), whole(Side::Server, HELLOS.1)) {
        (Some(false), _) | (_, Some(false)) | (None, Some(_)) => return Verdict::No,
        (_, None) => return if h.pieces.len() > 2 { Verdict::No } else { Verdict::Wait },
        (Some(true), Some(true)) => {}
    }
    let mut framed = 0usize;
    for side in Side::BOTH {
        for (nth, piece) in h.pieces_of(side).enumerate().skip(1) {
            let len = piece.to.saturating_sub(piece.from);
            if nth == 1 {
                if side == Side::Client && len < LOGIN_MIN {
                    return Verdict::No;
                }
                continue;
            }
            let [low, high, ..] = piece.first;
            match len.checked_sub(usize::from(u16::from_le_bytes([low, high])).saturating_add(2)) {
                Some(0) => framed = framed.saturating_add(1),
                // Several frames in one piece, or one in several: neither proves nor disproves.
                Some(_) => {}
                None => return Verdict::No,
            }
        }
    }
    if framed >= FRAMED { Verdict::Yes(Shape::Threema) } else { Verdict::Wait }
}
