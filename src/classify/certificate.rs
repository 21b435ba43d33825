//! What a rule asks of the certificate that a server shows.

use super::service::TlsRule;
use super::weigh::Told;
use crate::model::note::Certificate;

impl TlsRule {
    /// The rule is about the certificate (too).
    pub(super) fn about_certificate(&self) -> bool {
        !self.cert_cn.is_empty() || !self.cert_org.is_empty() || self.cert_like.is_some() || self.issuer_like.is_some()
    }

    /// What of the certificate meets every condition of the rule about it.
    pub(super) fn certificate_fits<'a>(&self, shown: &'a Certificate) -> Option<Told<'a>> {
        let first = shown.names.first().map(|n| &**n);
        // A made-up name is the only one.
        let made = self.cert_like.as_ref().is_none_or(|make| shown.names.len() == 1 && first.is_some_and(|n| make.fits(n)))
            && self.issuer_like.as_ref().is_none_or(|make| shown.issuer.as_deref().is_some_and(|i| make.fits(i)));
        let owner = shown.organisation.as_deref();
        if !made || !self.cert_org.is_empty() && !owner.is_some_and(|o| self.cert_org.iter().any(|org| **org == *o)) {
            return None;
        }
        let name = first.map(|n| n.strip_prefix("*.").unwrap_or(n));
        if !self.cert_cn.is_empty() && !name.is_some_and(|n| self.cert_cn.iter().any(|cn| within(n, cn))) {
            return None;
        }
        match (name, owner) {
            (_, Some(owner)) if !self.cert_org.is_empty() => Some(Told::Owner(owner)),
            (Some(name), _) => Some(Told::Certificate(name)),
            _ => None,
        }
    }
}

/// `name` is `zone` or lies below it.
fn within(name: &str, zone: &str) -> bool {
    let Some(at) = name.len().checked_sub(zone.len()) else { return false };
    let same = name.get(at..).is_some_and(|t| t.eq_ignore_ascii_case(zone));
    same && (at == 0 || name.get(..at).is_some_and(|h| h.ends_with('.')))
}
