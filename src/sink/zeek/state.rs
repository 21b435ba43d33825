//! Zeek's `conn_state`, from how each end of a connection stands (`scripts/base/protocols/conn/main.zeek`).

use crate::model::flow::{FlowRecord, TcpRecord};
use crate::model::key::Proto;
use crate::model::side::Side;

/// A TCP endpoint's state as Zeek keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Endpoint {
    Inactive,
    Partial,
    SynSent,
    SynAckSent,
    Established,
    Closed,
    Reset,
}

impl Endpoint {
    fn of(t: &TcpRecord, side: Side) -> Self {
        let (s, peer) = (&t.side[side], &t.side[side.peer()]);
        match side {
            _ if s.resets > 0 => Self::Reset,
            _ if s.fin.is_some() => Self::Closed,
            _ if s.syn.is_some() && peer.syn.is_some() => Self::Established,
            Side::Client if s.syn.is_some() => Self::SynSent,
            Side::Server if s.syn.is_some() => Self::SynAckSent,
            _ if s.was_seen() => Self::Partial,
            _ => Self::Inactive,
        }
    }
    const fn idle(self) -> bool {
        matches!(self, Self::Inactive | Self::Partial)
    }
}

/// The state of a flow that carried so many payload bytes each way.
pub(super) fn of(f: &FlowRecord, orig: u64, resp: u64) -> &'static str {
    let Some(t) = &f.tcp else {
        let sent = (f.totals.client.packets > 0, f.totals.server.packets > 0);
        return match sent {
            _ if f.proto != Proto::UDP => "OTH",
            (true, true) => "SF",
            (true, false) => "S0",
            (false, true) => "SHR",
            (false, false) => "OTH",
        };
    };
    use Endpoint::{Closed, Established, Inactive, Reset, SynAckSent, SynSent};
    let (o, r) = (Endpoint::of(t, Side::Client), Endpoint::of(t, Side::Server));
    match (o, r) {
        (SynSent | SynAckSent, Reset) => "REJ",
        (Reset, Reset) if orig == 0 && resp == 0 => "REJ",
        (o, Reset) if o.idle() => "RSTRH",
        (_, Reset) => "RSTR",
        (Reset, r) if r.idle() && syn_then_reset(&t.history) => "RSTOS0",
        (Reset, r) if r.idle() => "OTH",
        (Reset, _) => "RSTO",
        (Closed, Closed) => "SF",
        (Closed, r) if r.idle() => "SH",
        (Closed, _) => "S2",
        (o, Closed) if o.idle() => "SHR",
        (_, Closed) => "S3",
        (SynSent, Inactive) => "S0",
        (Established, Established) => "S1",
        _ => "OTH",
    }
}

/// Zeek's `/\^?S[^HAFGIQ]*R.*/`.
fn syn_then_reset(history: &str) -> bool {
    let Some(rest) = history.strip_prefix('^').unwrap_or(history).strip_prefix('S') else { return false };
    rest.split_once('R').is_some_and(|(between, _)| !between.contains(['H', 'A', 'F', 'G', 'I', 'Q']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_before_any_answer_are_told_from_others() {
        assert!(syn_then_reset("SR") && syn_then_reset("^STR") && syn_then_reset("SrR"));
        assert!(!syn_then_reset("SAR") && !syn_then_reset("ShR".replace('h', "H").as_str()) && !syn_then_reset("R"));
    }
}
