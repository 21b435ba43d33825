//! What a client asked of DNS before it went to an address.
//!
//! An answer says more the fresher it is, and the fewer other names led there. Most of all it says of a flow that has no name of its own, because
//! nobody answered it: that is what a blocked service looks like.

use super::book::Book;
use super::service::DomainRule;
use super::weigh::{DnsLead, Match, Matches, Told, keep};
use crate::model::flow::FlowRecord;
use crate::model::frame::FrameNo;
use crate::model::label::EvidenceClass;
use crate::model::note::Fact;
use crate::model::time::Span;
use smallvec::SmallVec;

/// An ambiguous DNS answer is worth 8 dB where a unique one is worth 20.
const AMBIGUOUS: (i16, i16) = (8, 20);
/// An answer so recent is why the flow began, and is nearly as good as a name: of 344 flows that went where one name alone had led (public captures,
/// 2026) and then showed a name, all but one, through a proxy, showed one of the same owner.
const JUST_NOW: (Span, i16) = (Span::from_secs(15), 7);
/// Clients keep an answer so long at least, and try again. What is taken off the weight of the name, dB.
const LATELY: (Span, i16) = (Span::from_secs(60), 12);
/// Most that such answers are worth, dB.
pub(super) const LATELY_MAX: i16 = 33;

/// With so many names there may be more than were told.
const MANY: usize = 16;

impl Book {
    pub(super) fn leads<'a>(&'a self, flow: &FlowRecord, dns: &[DnsLead<'a>], found: &mut Matches<'a>) {
        let Some(latest) = dns.iter().map(|l| l.ago).min() else { return };
        let mut hits: SmallVec<[(usize, DnsLead<'a>, &'a DomainRule); 4]> = SmallVec::new();
        for lead in dns {
            self.names.find(&self.services, lead.name, flow.proto, flow.server.port, |service, rule| hits.push((service, *lead, rule)));
        }
        let nameless = latest <= LATELY.0 && !hits.is_empty() && nameless(flow);
        for (service, lead, rule) in &hits {
            // Several names of one service are no doubt about it.
            let alone = lead.unique
                || dns.len() < MANY && answers(dns).iter().all(|frame| hits.iter().any(|(s, l, _)| s == service && l.frame == *frame));
            // The last question is the one that led here.
            let lately = nameless && alone && lead.ago == latest;
            let db = match alone {
                _ if lately && lead.ago <= JUST_NOW.0 => rule.dns_db.max(rule.db - JUST_NOW.1),
                _ if lately => rule.dns_db.max(rule.db - LATELY.1),
                true => rule.dns_db,
                false => rule.dns_db * AMBIGUOUS.0 / AMBIGUOUS.1,
            };
            let told = if lately { Told::JustAsked(lead.name, lead.ago, rule) } else { Told::Dns(lead.name, alone, rule) };
            let narrow = rule.precision();
            keep(found, Match { service: *service, class: EvidenceClass::Dns, db, narrow, role: rule.role, frame: lead.frame, told });
        }
    }
}

/// Frames of the answers, each once.
fn answers(dns: &[DnsLead<'_>]) -> SmallVec<[FrameNo; 8]> {
    let mut frames: SmallVec<[FrameNo; 8]> = dns.iter().map(|l| l.frame).collect();
    frames.dedup();
    frames
}

/// Nothing in the flow names anybody.
fn nameless(flow: &FlowRecord) -> bool {
    !flow.notes.list.iter().any(|n| match &n.fact {
        Fact::ClientHello(h) => h.sni.is_some(),
        Fact::DecoyHello { sni } => sni.is_some(),
        Fact::Quic(q) => q.gquic_sni.is_some(),
        Fact::HttpRequest(r) => r.host.is_some(),
        Fact::Certificate(_) => true,
        _ => false,
    })
}
