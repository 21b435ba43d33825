//! Header vectors of injectors described in public work. "Resembles", never attribution.

use super::race::{BURST, same_packet};
use crate::model::flow::ResetSeen;
use crate::model::side::Side;

/// The injectors whose vector these resets have.
pub(super) fn resembling(side: Side, resets: &[&ResetSeen]) -> Vec<&'static str> {
    let mut out = Vec::new();
    let Some(first) = resets.first() else { return out };
    let r = &first.packet;
    let burst: Vec<&&ResetSeen> = resets.iter().filter(|x| x.packet.flags.ack() && x.packet.ts.since(r.ts).abs() <= BURST).collect();
    let steps: Vec<i64> = burst.windows(2).map(|p| p[1].packet.seq.since(p[0].packet.seq)).collect();
    let identical = burst.windows(2).filter(|p| same_packet(&p[0].packet, &p[1].packet)).count() >= 2;
    if burst.len() >= 3 && (identical || steps.iter().any(|s| *s == 1460 || *s == 2920)) && burst.iter().all(|x| x.packet.window != 0) {
        out.push("GFW type 2: three RST+ACK at once (CenTrace 2022; UPB ECH study 2025)");
    }
    if r.flags.ack() && r.ip_len == 46 && !r.df && r.window == 0 && r.ip_id.is_some_and(|id| id != 0) {
        out.push("Iran TLS 2025: RST+ACK of IP length 46 (UPB ECH study)");
    }
    if first.payload_len >= 10 && first.payload.starts_with(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 0]) {
        out.push("Henan provincial firewall: ten counting payload bytes (Wu et al., S&P 2025)");
    }
    if !r.flags.ack() && r.ip_id == Some(30_000) {
        out.push("Turkmenistan: IP identification 30000 (breakerspace 2023)");
    }
    if r.flags.ack() && r.ip_id == Some(0x00f2) && r.window == 16 && side == Side::Client {
        out.push("Airtel India: IP identification 242, window 16 (Tripwire 2020)");
    }
    if resets.windows(2).any(|p| matches!(p, [a, b] if b.packet.seq.since(a.packet.seq) == 12_503)) {
        out.push("Sandvine: second reset 12503 bytes ahead (Weaver et al. 2009)");
    }
    out
}
