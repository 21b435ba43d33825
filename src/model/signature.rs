//! How a TCP flow was cut off, in the alphabet of Cloudflare's study of tampering (Sundara Raman et al., SIGCOMM 2023, Table 1).
//!
//! There the observer is the server and the resets claim to come from the client; here the side whose resets were seen takes the client's
//! place, so that the same words serve at the client and on the path. They describe what came, and accuse nobody: most resets are genuine.

use super::flow::{FlowRecord, Outcome, ResetSeen, Stage};

/// The nineteen signatures, in the order of the table.
pub const SIGNATURES: [&str; 19] = [
    "SYN → ∅",
    "SYN → RST",
    "SYN → RST+ACK",
    "SYN → RST; RST+ACK",
    "SYN;ACK → ∅",
    "SYN;ACK → RST",
    "SYN;ACK → RST; RST",
    "SYN;ACK → RST+ACK",
    "SYN;ACK → RST+ACK; RST+ACK",
    "PSH+ACK → ∅",
    "PSH+ACK → RST",
    "PSH+ACK → RST+ACK",
    "PSH+ACK → RST; RST+ACK",
    "PSH+ACK → RST+ACK; RST+ACK",
    "PSH+ACK → RST = RST",
    "PSH+ACK → RST ≠ RST",
    "PSH+ACK → RST; RST₀",
    "PSH+ACK; Data → RST",
    "PSH+ACK; Data → RST+ACK",
];

/// The signature of a flow that ended abnormally; `None` if it did not, or if what came is on no line of the table. Of resets from both
/// sides those of the side that began count.
pub fn of(flow: &FlowRecord) -> Option<&'static str> {
    let tcp = flow.tcp.as_deref()?;
    let first = match flow.outcome {
        Outcome::SilentSyn => return SIGNATURES.first().copied(),
        Outcome::SilentHello | Outcome::Muted => return SIGNATURES.get(9).copied(),
        _ => tcp.resets.first()?,
    };
    let own: Vec<&ResetSeen> = tcp.resets.iter().filter(|r| r.packet.side == first.packet.side).collect();
    number(flow.stage, &own).and_then(|n| SIGNATURES.get(n).copied())
}

/// Index into [`SIGNATURES`] of resets that came at a stage.
fn number(stage: Stage, resets: &[&ResetSeen]) -> Option<usize> {
    let with = resets.iter().filter(|r| r.packet.flags.ack()).count();
    let bare = resets.len() - with;
    Some(match (stage, bare, with) {
        (Stage::None, ..) | (_, 0, 0) => return None,
        (Stage::PostSyn, 1.., 0) => 1,
        (Stage::PostSyn, 0, 1..) => 2,
        (Stage::PostSyn, ..) => 3,
        (Stage::PostAck, 1, 0) => 5,
        (Stage::PostAck, 2.., 0) => 6,
        (Stage::PostAck, 0, 1) => 7,
        (Stage::PostAck, 0, 2..) => 8,
        // Not in the table.
        (Stage::PostAck, ..) => return None,
        (Stage::PostPsh, 1, 0) => 10,
        (Stage::PostPsh, 0, 1) => 11,
        (Stage::PostPsh, 0, 2..) => 13,
        (Stage::PostPsh, 2.., 0) => {
            let acks: Vec<u32> = resets.iter().map(|r| r.packet.ack_raw.0).collect();
            match (acks.contains(&0), acks.iter().all(|a| Some(a) == acks.first())) {
                (_, true) => 14,
                (true, false) => 16,
                (false, false) => 15,
            }
        }
        (Stage::PostPsh, ..) => 12,
        (Stage::Later, _, 0) => 17,
        (Stage::Later, 0, _) => 18,
        // Not in the table.
        (Stage::Later, ..) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::flow::{Brief, ResetFit};
    use crate::model::frame::FrameNo;
    use crate::model::packet::TcpFlags;
    use crate::model::seq::{Pos, Seq};
    use crate::model::side::Side;
    use crate::model::time::Time;

    fn reset(flags: u8, ack: u32) -> ResetSeen {
        let packet = Brief {
            frame: FrameNo(1),
            ts: Time::from_nanos(0),
            side: Side::Client,
            flags: TcpFlags(u16::from(flags)),
            seq: Pos::FIRST,
            ack: Pos::FIRST,
            seq_raw: Seq(1),
            ack_raw: Seq(ack),
            len: 0,
            window: 0,
            ttl: 64,
            tos: 0,
            ip_id: None,
            df: true,
            options: 0,
            ip_len: 40,
            flow_label: 0,
            marks: 0,
        };
        ResetSeen {
            packet,
            fit: ResetFit::Exact,
            sent: Pos::FIRST,
            acked: Pos::FIRST,
            peer_sent: Pos::FIRST,
            peer_last: None,
            peer_last_payload: None,
            own_last: None,
            fin_before: false,
            peer_fin_before: false,
            peer_rst_before: false,
            payload: [0; 32],
            payload_len: 0,
        }
    }

    #[test]
    fn resets_are_named_as_in_the_table() {
        const R: u8 = 0x04;
        const RA: u8 = 0x14;
        type Case<'a> = (Stage, &'a [(u8, u32)], &'a str);
        let cases: [Case<'_>; 14] = [
            (Stage::PostSyn, &[(R, 0)], "SYN → RST"),
            (Stage::PostSyn, &[(RA, 1), (RA, 1)], "SYN → RST+ACK"),
            (Stage::PostSyn, &[(RA, 1), (R, 0)], "SYN → RST; RST+ACK"),
            (Stage::PostAck, &[(R, 0)], "SYN;ACK → RST"),
            (Stage::PostAck, &[(R, 0), (R, 0)], "SYN;ACK → RST; RST"),
            (Stage::PostAck, &[(RA, 1), (RA, 1)], "SYN;ACK → RST+ACK; RST+ACK"),
            (Stage::PostPsh, &[(R, 5)], "PSH+ACK → RST"),
            (Stage::PostPsh, &[(RA, 5), (RA, 5), (RA, 5)], "PSH+ACK → RST+ACK; RST+ACK"),
            (Stage::PostPsh, &[(R, 5), (RA, 5)], "PSH+ACK → RST; RST+ACK"),
            (Stage::PostPsh, &[(R, 5), (R, 5)], "PSH+ACK → RST = RST"),
            (Stage::PostPsh, &[(R, 5), (R, 1465)], "PSH+ACK → RST ≠ RST"),
            (Stage::PostPsh, &[(R, 5), (R, 0)], "PSH+ACK → RST; RST₀"),
            (Stage::Later, &[(R, 5), (R, 5)], "PSH+ACK; Data → RST"),
            (Stage::Later, &[(RA, 5)], "PSH+ACK; Data → RST+ACK"),
        ];
        for (stage, resets, name) in cases {
            let resets: Vec<ResetSeen> = resets.iter().map(|(flags, ack)| reset(*flags, *ack)).collect();
            let seen: Vec<&ResetSeen> = resets.iter().collect();
            assert_eq!(number(stage, &seen).map(|n| SIGNATURES[n]), Some(name));
        }
        assert_eq!(number(Stage::PostAck, &[&reset(R, 0), &reset(RA, 1)]), None, "a mixture the table does not have");
    }
}
