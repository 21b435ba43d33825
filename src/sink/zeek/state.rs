//! Zeek's `conn_state`, from how each end of a connection stands (`scripts/base/protocols/conn/main.zeek`), which its `history` tells: the letters are
//! given to the ends as Zeek's own machine takes packets (`src/packet_analysis/protocol/tcp/TCPSessionAdapter.cc`), so that what came first counts as it
//! does there. A reset after both sides have closed changes nothing, one before does.

use crate::model::flow::FlowRecord;
use crate::model::key::Proto;
use crate::model::side::{PerSide, Side};

/// A TCP endpoint's state as Zeek keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Endpoint {
    #[default]
    Inactive,
    Partial,
    SynSent,
    SynAckSent,
    Established,
    Closed,
    Reset,
}

impl Endpoint {
    const fn idle(self) -> bool {
        matches!(self, Self::Inactive | Self::Partial)
    }
}

/// Both ends, and how each stood before its last change.
#[derive(Clone, Copy, Default, Debug)]
struct Ends {
    now: PerSide<Endpoint>,
    before: PerSide<Endpoint>,
}

impl Ends {
    fn after(history: &str) -> Self {
        let mut ends = Self::default();
        for letter in history.chars() {
            let side = if letter.is_ascii_uppercase() { Side::Client } else { Side::Server };
            ends.take(side, letter.to_ascii_lowercase());
        }
        ends
    }

    fn set(&mut self, side: Side, to: Endpoint) {
        self.before[side] = self.now[side];
        self.now[side] = to;
    }

    fn take(&mut self, side: Side, letter: char) {
        use Endpoint::{Closed, Established, Inactive, Partial, Reset, SynAckSent, SynSent};
        let peer = side.peer();
        match (letter, self.now[side]) {
            ('s' | 'h', Inactive) if side == Side::Client => self.set(side, if letter == 's' { SynSent } else { SynAckSent }),
            ('s' | 'h', Inactive) => {
                if self.now[peer] == SynSent {
                    self.set(peer, Established);
                }
                self.set(side, Established);
            }
            ('s', Partial) if self.now[peer] == Inactive => self.set(side, SynSent),
            ('f', Inactive | SynSent | SynAckSent) => self.set(side, Closed),
            ('f', Established | Partial) => {
                self.set(side, Closed);
                // Its peer had closed and then reset: that was a normal end.
                if self.now[peer] == Reset && self.before[peer] == Closed {
                    self.set(peer, Closed);
                }
            }
            ('r' | 'i', Inactive | SynSent | SynAckSent | Established | Partial) => self.set(side, Reset),
            ('r' | 'i', Closed) if self.now[peer] != Closed => self.set(side, Reset),
            // Some stacks acknowledge a SYN before they answer it.
            ('a', Inactive) if side == Side::Server && self.now[peer] == SynSent => {}
            ('a' | 'd', Inactive) => self.set(side, if self.now[peer] == Established { Established } else { Partial }),
            _ => {}
        }
    }
}

/// The state of a flow that carried so many payload bytes each way.
pub(super) fn of(f: &FlowRecord, orig: u64, resp: u64) -> &'static str {
    match &f.tcp {
        Some(t) => of_tcp(&t.history, orig, resp),
        None => match (f.totals.client.packets > 0, f.totals.server.packets > 0) {
            _ if f.proto != Proto::UDP => "OTH",
            (true, true) => "SF",
            (true, false) => "S0",
            (false, true) => "SHR",
            (false, false) => "OTH",
        },
    }
}

fn of_tcp(history: &str, orig: u64, resp: u64) -> &'static str {
    use Endpoint::{Closed, Established, Inactive, Reset, SynAckSent, SynSent};
    let ends = Ends::after(history).now;
    match (ends.client, ends.server) {
        (SynSent | SynAckSent, Reset) => "REJ",
        (Reset, Reset) if orig == 0 && resp == 0 => "REJ",
        (o, Reset) if o.idle() => "RSTRH",
        (_, Reset) => "RSTR",
        (Reset, r) if r.idle() && syn_then_reset(history) => "RSTOS0",
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

    #[test]
    fn a_reset_after_both_have_closed_leaves_a_normal_end() {
        // What Zeek's own machine makes of these packets.
        for (history, state) in [
            ("S", "S0"),
            ("Sr", "REJ"),
            ("SR", "RSTOS0"),
            ("SF", "SH"),
            ("Sh", "S1"),
            ("ShADad", "S1"),
            ("ShADadFf", "SF"),
            ("ShADadFfR", "SF"),
            ("ShADadfFr", "SF"),
            // Closed and reset before the other side closes in its turn.
            ("ShADadFRf", "SF"),
            ("ShADadfrF", "SF"),
            ("ShADadFR", "RSTO"),
            ("ShADadFr", "RSTR"),
            ("ShADadfR", "RSTO"),
            ("ShADadr", "RSTR"),
            ("ShADadRr", "RSTR"),
            ("ShADadF", "S2"),
            ("ShADadf", "S3"),
            // The beginning was not captured.
            ("DadA", "OTH"),
            ("DadAFf", "SF"),
            ("Dadr", "RSTRH"),
            ("DadR", "OTH"),
            ("h", "OTH"),
            ("hf", "SHR"),
            ("hr", "RSTRH"),
            ("hADad", "S1"),
        ] {
            assert_eq!(of_tcp(history, 100, 100), state, "{history}");
        }
        assert_eq!((of_tcp("ShAR", 0, 0), of_tcp("ShARr", 0, 0)), ("RSTO", "REJ"));
    }
}
