//! A certificate in the server's name that its owner did not get: somebody on the way ends TLS and begins it anew.
//!
//! ```text
//! client            on the path       servers of unrelated owners
//!   | ClientHello ---------> box ------->  |
//!   | <--- Certificate: issued by X        |   the same X, no public authority, for every one of them,
//!   |                                      |   or an authority made for that purpose
//! ```

use super::Detector;
use super::dns_talk::family;
use super::silence;
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::flow::{FlowId, FlowRecord};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::note::{Fact, Note};
use crate::model::scene::Scene;
use crate::model::side::Side;
use hashbrown::HashSet;

/// See the module.
pub(super) struct CertIntercepted;

static CARD: Card = Card {
    rule: "tls.intercepted",
    kind: Kind::SniFiltering,
    mechanisms: &["intercepted"],
    claim: "The certificate shown for a public name was made by somebody on the way, not issued to the name's owner.",
    ladder: "\
client            on the path       servers of unrelated owners
  | ClientHello ---------> box ------->  |
  | <--- Certificate: issued by X        |   the same X, no public authority, for every one of them,
  |                                      |   or an authority made for that purpose",
    needs: &["certificates in the clear (TLS 1.2 and before)", "an issuer made for interception, or one issuer for unrelated names"],
    innocent: &[
        "security product or company network that inspects TLS, with its user's knowledge",
        "servers of one owner with an authority of their own",
        "public authority that is not on the list here",
    ],
    confirm: "Compare the certificate with the one that the same name shows from another network, and with certificate transparency logs.",
    sources: &[
        "Raman et al.: Investigating Large Scale HTTPS Interception in Kazakhstan, IMC 2020",
        "Durumeric et al.: The Security Impact of HTTPS Interception, NDSS 2017",
    ],
};

/// Authorities that were made to intercept the public, as their certificates name them.
const MADE_FOR_IT: [&str; 1] = ["qaznet"];

/// How issuers of public authorities begin (Mozilla's list of included authorities and their intermediates, 2010 to 2026), in lower case.
const PUBLIC: [&str; 72] = [
    "accv",
    "actalis",
    "addtrust",
    "alphassl",
    "amazon",
    "apple",
    "atos",
    "baltimore",
    "buypass",
    "certigna",
    "certsign",
    "certum",
    "chunghwa",
    "cloudflare",
    "comodo",
    "cpanel",
    "cybertrust",
    "d-trust",
    "deutsche telekom",
    "dfn",
    "dhimyotis",
    "digicert",
    "domain the net",
    "dst root",
    "e-tugra",
    "emsign",
    "encryption everywhere",
    "entrust",
    "equifax",
    "essentialssl",
    "fnmt",
    "gandi",
    "gdca",
    "geant",
    "geotrust",
    "globalsign",
    "go daddy",
    "godaddy",
    "google",
    "gts ",
    "harica",
    "hellenic",
    "hongkong post",
    "identrust",
    "izenpe",
    "jprs",
    "let's encrypt",
    "microsec",
    "microsoft",
    "msit ",
    "naver",
    "network solutions",
    "nordic",
    "oiste",
    "positivessl",
    "quovadis",
    "rapidssl",
    "secom",
    "sectigo",
    "securetrust",
    "ssl.com",
    "starfield",
    "startcom",
    "swisssign",
    "symantec",
    "t-telesec",
    "terena",
    "thawte",
    "trustasia",
    "usertrust",
    "verisign",
    "zerossl",
];

/// Names of owners that must be shown certificates of one unknown issuer.
const ENOUGH: usize = 3;

impl Detector for CertIntercepted {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::CERTIFICATE
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        let (name, note, issuer) = shown(flow)?;
        let made = MADE_FOR_IT.iter().any(|m| issuer.to_lowercase().contains(m));
        if !made && public(issuer) {
            return None;
        }
        let mut owners: HashSet<&str> = HashSet::new();
        let mut networks: HashSet<u32> = HashSet::new();
        let mut flows: Vec<FlowId> = Vec::new();
        let mut frames: Vec<FrameNo> = Vec::new();
        let mut elsewhere = Control::new("same_name_other_issuer");
        let mut spared = Control::new("same_client_public_issuer");
        for f in scene.kin.with_client(flow.client.ip) {
            let Some((other, at, by)) = shown(f) else { continue };
            if by == issuer {
                owners.insert(family(other));
                networks.insert(silence::network(f.server.ip));
                flows.push(f.id);
                frames.push(at.frame);
            } else if other == name {
                elsewhere.add(f.id, public(by));
            } else {
                spared.add(f.id, public(by));
            }
        }
        let many = owners.len() >= ENOUGH && networks.len() >= 2;
        // The finding is written once, at the first flow that belongs to it.
        if flows.first() != Some(&flow.id) || !(made || many || elsewhere.ok > 0) {
            return None;
        }
        let mut w = Weigh::default();
        frames.truncate(16);
        let mut some: Vec<&str> = owners.iter().copied().collect();
        some.sort_unstable();
        some.truncate(4);
        w.fact(
            2.0,
            format!("certificates for {} unrelated names come from one issuer that is no public authority", owners.len()),
            format!("{issuer}: {}", some.join(", ")),
            "authorities that browsers trust, of each owner's choice",
            &frames,
        );
        if made {
            w.fact(4.0, "the issuer was made to intercept the public", issuer, "-", &[note.frame]);
            w.excluded("servers of one owner with an authority of their own", "no server's owner is issued certificates by it");
            w.excluded(
                "security product or company network that inspects TLS, with its user's knowledge",
                "products make issuers of their own name",
            );
        } else {
            if elsewhere.ok > 0 {
                w.fact(
                    2.0,
                    "the same name shows a public authority's certificate on another connection",
                    issuer,
                    "one issuer",
                    &[note.frame],
                );
            }
            w.against(
                0.0,
                "security product or company network that inspects TLS, with its user's knowledge",
                "antivirus programs and companies do just this",
            );
        }
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "intercepted",
            grade: if made { Grade::Likely } else { Grade::Possible },
            direction: Some(Direction::Both),
            started: note.ts,
            ooni_failure: Some("ssl_unknown_authority"),
        };
        let mut found = weigh::finding(
            scene,
            &claim,
            w,
            vec![elsewhere, spared],
            vec!["the certificates of the same names from another network", "the list of authorities that this device trusts"],
        );
        if owners.len() > 1 {
            (found.target.sni, found.target.service, found.target.role) = (None, None, None);
        }
        if networks.len() > 1 {
            found.target.ip = None;
        }
        found.flows = flows;
        Some(found)
    }
}

/// What a connection asked for by a public name, and the issuer of the certificate it was shown for that name. A certificate for another
/// name, or one that issued itself, is a server's default or a mistake: whoever intercepts shows what the client asked for.
fn shown(f: &FlowRecord) -> Option<(&str, &Note, &str)> {
    let name = f.notes.client_hello().and_then(|(_, h)| h.sni.as_deref()).filter(|n| super::dns_talk::is_public_name(n))?;
    f.notes.list.iter().filter(|n| n.side == Side::Server).find_map(|n| match &n.fact {
        Fact::Certificate(c) => {
            let issuer = c.issuer.as_deref()?;
            let meant = c.names.iter().any(|n| covers(n, name)) && c.names.first().is_none_or(|subject| &**subject != issuer);
            meant.then_some((name, n, issuer))
        }
        _ => None,
    })
}

/// Whether a name in a certificate, perhaps with a wildcard in place of its first label (RFC 6125 §6.4.3), is that of a server.
fn covers(in_certificate: &str, name: &str) -> bool {
    let behind = |n: &str| n.split_once('.').map(|(_, rest)| rest.to_ascii_lowercase());
    match in_certificate.strip_prefix("*.") {
        Some(rest) => behind(name).is_some_and(|b| b.eq_ignore_ascii_case(rest)),
        None => in_certificate.eq_ignore_ascii_case(name),
    }
}

/// An issuer of a public authority: by the beginning of its name, or one of the short names of Let's Encrypt and Google.
fn public(issuer: &str) -> bool {
    let lower = issuer.to_lowercase();
    let short = lower.len() <= 4 && lower.starts_with(['r', 'e', 'w', 'x']) && lower.chars().skip(1).all(|c| c.is_ascii_alphanumeric());
    short || PUBLIC.iter().any(|p| lower.starts_with(p)) || lower.contains("trust services")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_for_another_name_says_nothing_of_this_one() {
        assert!(covers("www.Example.org", "www.example.org") && covers("*.example.org", "www.example.org"));
        assert!(!covers("*.example.net", "x.com") && !covers("*.example.org", "a.b.example.org") && !covers("*.org", "www.example.org"));
    }

    #[test]
    fn authorities_that_browsers_trust_are_told_from_others() {
        for issuer in [
            "DigiCert TLS RSA SHA256 2020 CA1",
            "R11",
            "E5",
            "WE1",
            "WR2",
            "GTS CA 1C3",
            "Let's Encrypt Authority X3",
            "Google Trust Services",
        ] {
            assert!(public(issuer), "{issuer}");
        }
        for issuer in ["Qaznet Trust Network", "Example Holding Issuing CA 2", "FortiGate CA", "avast! Web/Mail Shield Root", "router"] {
            assert!(!public(issuer), "{issuer}");
        }
        let mut sorted = PUBLIC;
        sorted.sort_unstable();
        assert_eq!(sorted, PUBLIC);
    }
}
