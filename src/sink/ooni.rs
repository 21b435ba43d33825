//! OONI's failure strings (<https://github.com/ooni/spec/blob/master/data-formats/df-007-errors.md>) for what became of a flow, so that passive
//! records can be laid beside active measurements. A capture cannot know whether a certificate is trusted: those strings never occur.

use crate::model::flow::{FlowRecord, IcmpSeen, Outcome};
use crate::model::side::Side;

/// The failure of a flow; `None` if it did not fail, or nobody can tell.
pub fn failure(f: &FlowRecord) -> Option<&'static str> {
    if f.app == Some("dns")
        && let Some(failed) = lookup(f)
    {
        return Some(failed);
    }
    match f.outcome {
        Outcome::Ok | Outcome::Unknown => None,
        Outcome::Refused => Some(refused(f)),
        Outcome::Reset => Some("connection_reset"),
        Outcome::SilentSyn | Outcome::SilentHello | Outcome::Muted | Outcome::Stalled => Some("generic_timeout_error"),
    }
}

/// By the first answer: a client takes it.
fn lookup(f: &FlowRecord) -> Option<&'static str> {
    let (_, answer) = f.notes.dns().find(|(n, m)| m.response && n.side == Side::Server)?;
    match (answer.rcode, answer.answers) {
        (0, 0) => Some("dns_no_answer"),
        (0, _) => None,
        (2, _) => Some("dns_servfail_error"),
        (3, _) => Some("dns_nxdomain_error"),
        (5, _) => Some("dns_refused_error"),
        _ => Some("dns_server_misbehaving"),
    }
}

/// Resets say so themselves; ICMP says what is out of reach (RFC 792, RFC 4443 §3.1).
fn refused(f: &FlowRecord) -> &'static str {
    let reset = f.tcp.as_ref().is_some_and(|t| t.side.server.resets > 0);
    let icmp = f.icmp.iter().find(|i| i.about == Side::Client).filter(|_| !reset);
    match icmp {
        Some(IcmpSeen { version: 4, kind: 3, code: 0 | 6 | 9 | 11, .. } | IcmpSeen { version: 6, kind: 1, code: 0, .. }) => {
            "network_unreachable"
        }
        Some(IcmpSeen { version: 4, kind: 3, code: 1 | 7 | 10 | 12 | 13, .. } | IcmpSeen { version: 6, kind: 1, code: 1 | 3, .. }) => {
            "host_unreachable"
        }
        _ => "connection_refused",
    }
}

/// All strings this program uses on flows.
pub const FAILURES: &[&str] = &[
    "connection_refused",
    "connection_reset",
    "dns_no_answer",
    "dns_nxdomain_error",
    "dns_refused_error",
    "dns_server_misbehaving",
    "dns_servfail_error",
    "generic_timeout_error",
    "host_unreachable",
    "network_unreachable",
];

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::model::flow::{Flow, Moment};

    #[test]
    fn a_refusal_by_icmp_says_what_is_out_of_reach() {
        let mut f = sample::tcp_flow(1, "example.org", Outcome::Refused);
        if let Some(t) = &mut f.tcp {
            t.side.server.resets = 0;
        }
        let at = Moment { frame: f.first.frame, ts: f.first.ts };
        let icmp = |version, kind, code| IcmpSeen { at, from: f.server.ip, about: Side::Client, version, kind, code, ttl: 60 };
        let with = |i: IcmpSeen| {
            let mut f = f.clone();
            f.icmp = vec![i];
            failure(&f)
        };
        assert_eq!(with(icmp(4, 3, 13)), Some("host_unreachable"));
        assert_eq!(with(icmp(4, 3, 0)), Some("network_unreachable"));
        assert_eq!(with(icmp(6, 1, 3)), Some("host_unreachable"));
        assert_eq!(with(icmp(4, 3, 3)), Some("connection_refused"));
        assert_eq!(failure(&f), Some("connection_refused"));
        assert_eq!(failure(&Flow { outcome: Outcome::Ok, ..(*f).clone() }.into()), None);
        assert_eq!(failure(&Flow { outcome: Outcome::Muted, ..(*f).clone() }.into()), Some("generic_timeout_error"));
    }
}
