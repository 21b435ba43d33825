//! Discord voice: the address discovery before the media (Discord developer documentation, "IP Discovery"; nDPI 3b1286a: discord.pcap).

use super::{Talk, Verdict, part, zeros};
use crate::model::note::Shape;

const LEN: usize = 74;

pub(super) fn judge(t: &Talk<'_>) -> Verdict {
    if t.len != LEN || !t.whole() {
        // Desync tools put other datagrams first.
        return if t.before.len() > 8 { Verdict::No } else { Verdict::Wait };
    }
    match t.bytes {
        [0, 1, 0, 0x46, ssrc @ ..] if zeros(t.bytes, 8, 64) && !ssrc.starts_with(&[0; 4]) => Verdict::Sofar(Shape::DiscordAsk),
        [0, 2, 0, 0x46, ..] => {
            let ssrc = part(t.bytes, 4, 4);
            let asked = t.others().any(|g| g.len == LEN && g.bytes.starts_with(&[0, 1, 0, 0x46]) && part(&g.bytes, 4, 4) == ssrc);
            if asked && address(t.bytes) { Verdict::Yes(Shape::DiscordFound) } else { Verdict::Wait }
        }
        _ => Verdict::Wait,
    }
}

/// 64 bytes of text: an address, then zeros.
fn address(bytes: &[u8]) -> bool {
    let Some(text) = part(bytes, 8, 64) else { return false };
    let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    rest.iter().all(|b| *b == 0) && std::str::from_utf8(name).is_ok_and(|s| s.parse::<std::net::IpAddr>().is_ok())
}
