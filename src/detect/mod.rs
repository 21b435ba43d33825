//! What the network seems to have done: pure judgements over recorded facts.
//!
//! One file per interference, one line in [`ALL`]. A detector holds no state and looks at no packet: everything it may use is in the
//! [`Scene`]. Files here without a line in [`ALL`] are what several detectors need: `weigh` adds evidence up, `resets` judges resets,
//! `silence` judges unanswered packets, `forged` packets put in place of
//! the server's, `dns_talk` pairs queries with answers, `dns_habit` knows how a resolver usually answers, `quic_speaks`
//! whether a silent server would answer QUIC.

mod alert_injected;
mod allowlist;
mod block_page;
mod cert_intercepted;
mod delayed_drop;
mod dns_drop;
mod dns_habit;
mod dns_nxdomain;
mod dns_proxied;
mod dns_race;
mod dns_sinkhole;
mod dns_talk;
#[cfg(test)]
mod dns_trial;
mod dtls_silent;
mod ech;
mod encrypted_dns;
mod fin_injected;
mod first_data;
mod forged;
mod freeze;
mod handshake_forged;
mod hello_silence;
mod ip_blocked;
mod ip_blocked_icmp;
mod ip_refused;
mod page_unseen;
mod protocol_blocked;
mod quic_blocked;
mod quic_cut;
mod quic_speaks;
mod resets;
mod residual;
mod rst_injected;
mod rst_on_syn;
mod silence;
mod sni_reset;
mod stun_unheard;
#[cfg(test)]
mod tcp_trial;
mod throttling;
mod tls_policing;
mod udp_blocked;
mod udp_blocked_all;
mod udp_blocked_degraded;
mod udp_blocked_media;
mod vpn_blocked;
mod vpn_cut;
mod weigh;

pub use block_page::KNOWN_PAGES;
pub use resets::KNOWN_INJECTORS;
pub use throttling::limits;

use crate::model::finding::{Card, Finding};
use crate::model::gist::Signs;
use crate::model::scene::Scene;

/// A judge of one kind of interference.
pub trait Detector: Sync {
    /// Its page.
    fn card(&self) -> &'static Card;
    /// What a flow has at least one of, if there is anything to find: flows with none of it are not even opened.
    fn begins_with(&self) -> Signs;
    /// Its judgement of one flow; `None` when nothing is found, or what is found has an innocent cause.
    fn judge(&self, scene: &Scene<'_>) -> Option<Finding>;
}

/// All detectors, in the order in which they judge.
pub static ALL: &[&dyn Detector] = &[
    &rst_injected::RstInjected,
    &rst_on_syn::RstOnSyn,
    &fin_injected::FinInjected,
    &handshake_forged::HandshakeForged,
    &sni_reset::SniReset,
    &alert_injected::AlertInjected,
    &cert_intercepted::CertIntercepted,
    &hello_silence::HelloSilence,
    &ech::EchDropped,
    &delayed_drop::DelayedDrop,
    &freeze::Freeze,
    &first_data::FirstData,
    &tls_policing::TlsPolicing,
    &residual::Residual,
    &allowlist::ByName,
    &allowlist::ByAddress,
    &block_page::BlockPage,
    &page_unseen::PageUnseen,
    &dns_race::DnsRace,
    &dns_sinkhole::DnsSinkhole,
    &dns_nxdomain::DnsNxdomain,
    &dns_drop::DnsDrop,
    &dns_proxied::DnsProxied,
    &ip_blocked::SynSilent,
    &ip_blocked_icmp::Prohibited,
    &ip_refused::IpRefused,
    &quic_blocked::QuicBlocked,
    &udp_blocked::CallSilent,
    &stun_unheard::StunUnheard,
    &udp_blocked_media::MediaCut,
    &udp_blocked_degraded::MediaDegraded,
    &udp_blocked_all::AllUdp,
    &vpn_blocked::VpnHandshake,
    &vpn_cut::VpnCut,
    &dtls_silent::DtlsSilent,
    &encrypted_dns::EncryptedDns,
    &protocol_blocked::ProtocolBlocked,
    &throttling::ThrottlingRate,
    &throttling::ThrottlingGeneral,
    &throttling::ThrottlingLoss,
];
