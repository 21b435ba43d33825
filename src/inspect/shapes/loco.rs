//! LOCO, KakaoTalk's protocol: a key exchange of exact size, then frames (nDPI 3b1286a: KakaoTalk_chat.pcap).

use super::{Heads, Verdict, byte, le32};
use crate::model::note::Shape;

/// `00 01 00 00` RSA length, key type, `00 00 00`, cipher, `00 00 00`; then the 256 bytes.
const EXCHANGE: usize = 12 + 256;
const FRAME_MAX: u32 = 1 << 20;

pub(super) fn judge(h: &Heads) -> Verdict {
    const START: [u8; 4] = [0, 1, 0, 0];
    if !START.iter().zip(&h.client).all(|(a, b)| a == b) {
        return Verdict::No;
    }
    if h.client.len() < EXCHANGE {
        return Verdict::Wait;
    }
    let fixed = super::zeros(&h.client, 5, 3) && super::zeros(&h.client, 9, 3);
    let kinds = matches!((byte(&h.client, 4), byte(&h.client, 8)), (Some(1..=32), Some(2 | 3)));
    let random = super::part(&h.client, 12, 32).is_some_and(super::varied);
    if !fixed || !kinds || !random {
        return Verdict::No;
    }
    match le32(&h.client, EXCHANGE) {
        Some(len) if (16..FRAME_MAX).contains(&len) => Verdict::Yes(Shape::Loco),
        Some(_) => Verdict::No,
        None => Verdict::Wait,
    }
}
