//! Header vectors of injectors described in public work, from `injectors.toml`. "Resembles", never attribution.

use super::race::{BURST, same_packet};
use crate::model::flow::ResetSeen;
use crate::model::side::Side;
use serde::Deserialize;
use std::sync::LazyLock;

/// The vectors, as they are shipped.
pub const KNOWN_INJECTORS: &str = include_str!("injectors.toml");

/// Each vector with the words for it.
static ALL: LazyLock<Vec<(String, Injector)>> = LazyLock::new(|| {
    // The test below reads the same text: what is shipped parses.
    let all = toml::from_str::<Injectors>(KNOWN_INJECTORS).map(|f| f.injector).unwrap_or_default();
    all.into_iter().map(|i| (format!("{} ({})", i.name, i.source), i)).collect()
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Injectors {
    injector: Vec<Injector>,
}

/// One vector; what is absent may be anything. The file says what each key means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Injector {
    name: String,
    source: String,
    side: Option<Whose>,
    ack: Option<bool>,
    df: Option<bool>,
    window: Option<u16>,
    ip_len: Option<u16>,
    ip_id: Option<u16>,
    #[serde(default)]
    ip_id_set: bool,
    #[serde(default)]
    payload: String,
    #[serde(default)]
    burst: usize,
    #[serde(default)]
    windows_set: bool,
    #[serde(default)]
    steps: Vec<i64>,
    #[serde(default)]
    identical: bool,
    step: Option<i64>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Whose {
    Client,
    Server,
}

/// The injectors whose vector these resets have: name and source.
pub(super) fn resembling(side: Side, resets: &[&ResetSeen]) -> Vec<&'static str> {
    ALL.iter().filter(|(_, i)| i.fits(side, resets)).map(|(says, _)| says.as_str()).collect()
}

impl Injector {
    fn fits(&self, side: Side, resets: &[&ResetSeen]) -> bool {
        let Some(first) = resets.first() else { return false };
        self.fits_first(side, first) && self.fits_burst(resets) && self.fits_any(resets)
    }

    fn fits_first(&self, side: Side, first: &ResetSeen) -> bool {
        let r = &first.packet;
        let whose = if side == Side::Client { Whose::Client } else { Whose::Server };
        let payload = first.payload.iter().take(usize::from(first.payload_len)).map(|b| format!("{b:02x}")).collect::<String>();
        self.side.is_none_or(|s| s == whose)
            && self.ack.is_none_or(|a| a == r.flags.ack())
            && self.df.is_none_or(|d| d == r.df)
            && self.window.is_none_or(|w| w == r.window)
            && self.ip_len.is_none_or(|n| n == r.ip_len)
            && self.ip_id.is_none_or(|id| r.ip_id == Some(id))
            && (!self.ip_id_set || r.ip_id.is_some_and(|id| id != 0))
            && payload.starts_with(&self.payload)
    }

    fn fits_burst(&self, resets: &[&ResetSeen]) -> bool {
        if self.burst == 0 {
            return true;
        }
        let Some(at) = resets.first().map(|r| r.packet.ts) else { return false };
        let burst: Vec<&&ResetSeen> = resets.iter().filter(|x| x.packet.flags.ack() && x.packet.ts.since(at).abs() <= BURST).collect();
        let pairs = || burst.windows(2).filter_map(|p| if let [a, b] = p { Some((&a.packet, &b.packet)) } else { None });
        let alike = self.identical && pairs().filter(|(a, b)| same_packet(a, b)).count() >= 2;
        let apart = pairs().any(|(a, b)| self.steps.contains(&b.seq.since(a.seq)));
        let windows = !self.windows_set || burst.iter().all(|x| x.packet.window != 0);
        let pattern = !self.identical && self.steps.is_empty();
        burst.len() >= self.burst && windows && (pattern || alike || apart)
    }

    fn fits_any(&self, resets: &[&ResetSeen]) -> bool {
        let Some(step) = self.step else { return true };
        resets.windows(2).any(|p| matches!(p, [a, b] if b.packet.seq.since(a.packet.seq) == step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_vector_parses_asks_for_something_and_has_a_source() {
        let all = toml::from_str::<Injectors>(KNOWN_INJECTORS).expect("the shipped file parses").injector;
        assert!(all.len() >= 6);
        for i in &all {
            let asks = i.ip_len.is_some() || i.ip_id.is_some() || !i.payload.is_empty() || i.burst > 0 || i.step.is_some();
            assert!(asks && !i.source.is_empty() && !i.name.is_empty(), "{}", i.name);
            assert!(!i.fits(Side::Server, &[]), "{}: no reset, no likeness", i.name);
            let hex = i.payload.len().is_multiple_of(2) && i.payload.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
            assert!(hex, "{}: payload is lower-case hexadecimal", i.name);
        }
    }
}
