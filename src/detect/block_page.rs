//! A page or redirect in place of the server's answer.
//!
//! ```text
//! client                        server
//!   | GET / Host: name ----------> |
//!   | <------ 302 or 403, often with FIN   (too early, or from another stack)
//!   | <------------- 200           |   the real answer, at the same sequence number, with other bytes
//! ```

use super::Detector;
use super::forged;
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Direction, Finding, Grade, Kind};
use crate::model::flow::mark;
use crate::model::gist::Signs;
use crate::model::note::HttpResponse;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;
use aho_corasick::AhoCorasick;
use serde::Deserialize;
use std::sync::LazyLock;

/// See the module.
pub(super) struct BlockPage;

static CARD: Card = Card {
    rule: "http.block_page",
    kind: Kind::BlockPage,
    mechanisms: &["body", "redirect"],
    claim: "An HTTP answer was put in place of the server's, or is a known block page.",
    ladder: "\
client                        server
  | GET / Host: name ----------> |
  | <------ 302 or 403, often with FIN   (too early, or from another stack)
  | <------------- 200           |   the real answer, at the same sequence number, with other bytes",
    needs: &["HTTP in clear", "the beginning of the response"],
    innocent: &["captive portal", "parental or company filter", "the site itself answers 403, 451 or a redirect"],
    confirm: "Compare the response's time, TTL and IP identification with the SYN+ACK; fetch the page from another network.",
    sources: &["Censored Planet: block page collection", "Raman et al.: FilterMap, IMC 2020", "Weaver et al., NDSS 2009 (content race)"],
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pages {
    page: Vec<Page>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    name: String,
    #[serde(default)]
    body: Vec<String>,
    #[serde(default)]
    location: Vec<String>,
    #[serde(default)]
    status: Vec<u16>,
    #[allow(dead_code, reason = "kept with each entry for its readers")]
    source: String,
}

/// The text of the list of known pages.
pub const KNOWN_PAGES: &str = include_str!("block_pages.toml");

static PAGES: LazyLock<Vec<Page>> = LazyLock::new(|| {
    // The file is part of the program; a test reads it.
    toml::from_str::<Pages>(KNOWN_PAGES).map(|p| p.page).unwrap_or_default()
});

static BODIES: LazyLock<Phrases> = LazyLock::new(|| Phrases::new(|p| &p.body));
static LOCATIONS: LazyLock<Phrases> = LazyLock::new(|| Phrases::new(|p| &p.location));

/// Phrases of all pages, looked for at once.
struct Phrases {
    /// `None` only if the list cannot be used, which a test would notice.
    any: Option<AhoCorasick>,
    /// The page of each phrase.
    page: Vec<usize>,
}

impl Phrases {
    fn new(of: fn(&Page) -> &Vec<String>) -> Self {
        let all = || PAGES.iter().enumerate().flat_map(|(i, p)| of(p).iter().map(move |phrase| (i, phrase)));
        let any = AhoCorasick::builder().ascii_case_insensitive(true).build(all().map(|(_, phrase)| phrase)).ok();
        Self { any, page: all().map(|(i, _)| i).collect() }
    }

    /// The first page of this status of which `text` has a phrase.
    fn find(&self, text: &[u8], status: u16) -> Option<usize> {
        // What is no English letter has its cases as well.
        let lower = if text.is_ascii() { None } else { Some(String::from_utf8_lossy(text).to_lowercase()) };
        let text = lower.as_ref().map_or(text, |t| t.as_bytes());
        let met = self.any.as_ref()?.find_overlapping_iter(text).filter_map(|m| self.page.get(m.pattern().as_usize()).copied());
        met.filter(|p| PAGES.get(*p).is_some_and(|p| p.status.is_empty() || p.status.contains(&status))).min()
    }
}

/// Name of the known page a response matches.
fn known(r: &HttpResponse) -> Option<&'static str> {
    let body = BODIES.find(&r.body, r.status);
    let location = r.location.as_deref().and_then(|l| LOCATIONS.find(l.as_bytes(), r.status));
    let page = body.into_iter().chain(location).min()?;
    PAGES.get(page).map(|p| p.name.as_str())
}

impl Detector for BlockPage {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::HTTP
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        let tcp = flow.tcp.as_deref()?;
        let (asked, request) = flow.notes.http_request()?;
        // What was put in the answer's place need not be HTTP.
        let none = HttpResponse::default();
        let noted = flow.notes.http_responses().next().filter(|(n, _)| n.side == Side::Server);
        let response = noted.map_or(&none, |(_, r)| r);
        let page = flow.ladder.iter().find(|p| p.side == Side::Server && p.len > 0 && p.marks & (mark::COPY | mark::ASIDE) == 0)?;
        let mut w = Weigh::default();
        let signature = noted.and_then(|(n, r)| Some((n.frame, known(r)?)));
        if let Some((frame, name)) = signature {
            w.fact(4.5, format!("the answer is a known block page: {name}"), shown(response), "the page asked for", &[frame]);
        }
        forged::race(tcp, page, &mut w);
        if !scene.source.quality.phone_vpn && scene.vantage() != Vantage::Server {
            let request_at =
                flow.ladder.iter().find(|p| p.side == Side::Client && p.len > 0).map_or((asked.frame, asked.ts), |p| (p.frame, p.ts));
            forged::too_early(scene, request_at, page, "the answer", &mut w);
            forged::header(scene, tcp, page, "the answer", &mut w);
        }
        let own_host = response.location.as_deref().zip(request.host.as_deref()).is_some_and(|(to, host)| same_site(to, host));
        let redirect = (300..400).contains(&response.status) && response.location.is_some();
        if redirect && signature.is_none() {
            w.llr += if own_host { -3.0 } else { 0.5 };
        }
        let grade = w.grade()?;
        // Header differences alone, on an ordinary answer of the site's own, prove no block page.
        if w.proofs == 0 && signature.is_none() && (noted.is_none() || !suspicious(response) || own_host) {
            return None;
        }
        let grade = if w.proofs == 0 && signature.is_none() { grade.min(Grade::Possible) } else { grade };
        let who = if w.proofs == 0 {
            "it would be a block page all the same; who placed it is not said"
        } else {
            "the answer came from the path, not from the network's edge"
        };
        w.excluded("parental or company filter", who);
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: if redirect { "redirect" } else { "body" },
            grade,
            direction: Some(Direction::S2c),
            started: page.ts,
            ooni_failure: None,
        };
        let control = scene.same_server_other_name();
        Some(weigh::finding(scene, &claim, w, vec![control], vec!["the same page from another network"]))
    }
}

fn shown(r: &HttpResponse) -> String {
    match &r.location {
        Some(to) => format!("status {}, Location {to}", r.status),
        None => format!("status {}", r.status),
    }
}

/// A response that could stand in for another.
fn suspicious(r: &HttpResponse) -> bool {
    matches!(r.status, 0 | 301 | 302 | 303 | 307 | 403 | 451) || (r.status == 200 && r.content_length.is_some_and(|n| n < 4_096))
}

fn same_site(location: &str, host: &str) -> bool {
    let to = location.split("://").nth(1).unwrap_or("").split(['/', ':', '?']).next().unwrap_or("").to_ascii_lowercase();
    let base = |h: &str| h.trim_start_matches("www.").to_owned();
    to.is_empty() || base(&to) == base(host) || to.ends_with(&format!(".{}", base(host))) || host.ends_with(&format!(".{}", base(&to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_list_can_be_read_and_is_lower_case() {
        assert!(PAGES.len() > 8);
        for p in PAGES.iter() {
            assert!(!p.body.is_empty() || !p.location.is_empty(), "{}", p.name);
            assert!(p.body.iter().chain(&p.location).all(|s| *s == s.to_lowercase()), "{}", p.name);
        }
    }

    #[test]
    fn a_phrase_is_found_in_whatever_case_and_the_first_page_of_the_list_counts() {
        assert!(BODIES.any.is_some() && LOCATIONS.any.is_some());
        let answer = |status, body: &str, location: Option<&str>| {
            known(&HttpResponse { status, body: body.as_bytes().into(), location: location.map(Into::into), ..HttpResponse::default() })
        };
        for (i, p) in PAGES.iter().enumerate() {
            let status = p.status.first().copied().unwrap_or(200);
            // Turkish has letters that become others and do not come back.
            for phrase in p.body.iter().filter(|b| b.to_uppercase().to_lowercase() == **b) {
                let first = PAGES.iter().position(|q| q.body.iter().any(|b| phrase.contains(b.as_str()))).unwrap_or(i);
                assert_eq!(answer(status, &format!("<p>{}</p>", phrase.to_uppercase()), None), Some(&*PAGES[first].name), "{phrase}");
            }
        }
        assert_eq!(answer(302, "", Some("http://LawFilter.ertelecom.ru/")), answer(200, "Доступ Ограничен", None));
        assert_eq!(answer(200, "an ordinary page", Some("/login")), None);
    }

    #[test]
    fn a_redirect_to_the_same_site_is_its_own() {
        assert!(same_site("https://www.example.org/x", "example.org"));
        assert!(same_site("/login", "example.org"));
        assert!(!same_site("http://lawfilter.ertelecom.ru/", "example.org"));
    }
}
