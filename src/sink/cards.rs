//! Pages of detectors: what `explain` and `rules` print. The text lives beside the detector, on its card; here it is only laid out.

use super::text::{shown, wrap};
use crate::model::finding::Card;

/// The page of one detector.
pub fn page(card: &Card, width: usize, ascii: bool) -> String {
    let mut out = format!("{}\n{}\n\n", card.rule, "=".repeat(card.rule.len()));
    let mut paragraph = |title: &str, body: &str| {
        if !body.trim().is_empty() {
            out.push_str(&format!("{title}\n{}\n", prose(body, width, ascii)));
        }
    };
    paragraph("What it claims", card.claim);
    paragraph("Reported as", &format!("{} ({})", card.kind.name(), card.mechanisms.join(", ")));
    if !card.ladder.trim().is_empty() {
        out.push_str("What it looks like\n");
        for line in card.ladder.trim_matches('\n').lines() {
            out.push_str(&format!("  {}\n", shown(line, ascii)));
        }
        out.push('\n');
    }
    out.push_str(&bullets("What the capture must have", card.needs, width, ascii));
    out.push_str(&bullets("Innocent causes it weighs", card.innocent, width, ascii));
    if !card.confirm.trim().is_empty() {
        out.push_str(&format!("How to confirm it\n{}\n", prose(card.confirm, width, ascii)));
    }
    out.push_str(&bullets("Sources", card.sources, width, ascii));
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn prose(body: &str, width: usize, ascii: bool) -> String {
    let lines = wrap(&shown(body, ascii), width.saturating_sub(2), usize::MAX, ascii);
    lines.iter().map(|l| format!("  {l}\n")).collect()
}

fn bullets(title: &str, items: &[&str], width: usize, ascii: bool) -> String {
    if items.is_empty() {
        return String::new();
    }
    let mut out = format!("{title}\n");
    for item in items {
        for (i, line) in wrap(&shown(item, ascii), width.saturating_sub(4), usize::MAX, ascii).iter().enumerate() {
            out.push_str(if i == 0 { "  - " } else { "    " });
            out.push_str(line);
            out.push('\n');
        }
    }
    out.push('\n');
    out
}

/// One line for each detector: rule, kind, claim.
pub fn list(cards: &[&Card], width: usize, ascii: bool) -> String {
    let rule = cards.iter().map(|c| c.rule.len()).max().unwrap_or(0);
    let kind = cards.iter().map(|c| c.kind.name().len()).max().unwrap_or(0);
    let mut out = String::new();
    for c in cards {
        let claim = super::text::cut(&shown(c.claim, ascii), width.saturating_sub(rule + kind + 4).max(20), ascii);
        out.push_str(&format!("{:rule$}  {:kind$}  {claim}\n", c.rule, c.kind.name()));
    }
    out
}

/// Cards whose rule is `name`, else those that report the kind `name`.
pub fn find<'a>(cards: &[&'a Card], name: &str) -> Vec<&'a Card> {
    let by_rule: Vec<&Card> = cards.iter().copied().filter(|c| c.rule == name).collect();
    if by_rule.is_empty() { cards.iter().copied().filter(|c| c.kind.name() == name).collect() } else { by_rule }
}

/// The rule or kind whose spelling is nearest to `name`, if one is near enough to have been meant.
pub fn nearest<'a>(cards: &[&'a Card], name: &str) -> Option<&'a str> {
    let all = cards.iter().flat_map(|c| [c.rule, c.kind.name()]);
    let near = all.map(|n| (distance(n, name), n)).min()?;
    (near.0 <= name.len() / 3 + 1).then_some(near.1)
}

/// Edits (insert, delete, replace) from one word to another (Wagner–Fischer, two rows).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((&diagonal, &above), &cb) in row.iter().zip(row.iter().skip(1)).zip(&b) {
            let left = next.last().copied().unwrap_or(i);
            next.push((diagonal + usize::from(ca != cb)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::Kind;

    const CARD: Card = Card {
        rule: "tcp.rst.injected",
        kind: Kind::RstInjection,
        mechanisms: &["on_path", "late"],
        claim: "Somebody on the path reset the connection.",
        ladder: "\n  C -> S  SYN\n  ? -> C  RST\n",
        needs: &["both directions"],
        innocent: &["the server reset it itself, which a very long sentence explains until the line has to be broken somewhere"],
        confirm: "Capture at the server.",
        sources: &["RFC 5961"],
    };

    #[test]
    fn a_page_has_every_part_of_the_card() {
        let page = page(&CARD, 60, true);
        for part in [
            "tcp.rst.injected\n====",
            "rst_injection (on_path, late)",
            "    ? -> C  RST",
            "  - both directions",
            "How to confirm it",
            "  - RFC 5961\n",
        ] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
        assert!(page.lines().all(|l| l.len() <= 60), "{page}");
    }

    #[test]
    fn rules_are_found_by_name_kind_and_near_misses() {
        let cards = [&CARD];
        assert_eq!(find(&cards, "rst_injection").len(), 1);
        assert_eq!(find(&cards, "tcp.rst.injected").len(), 1);
        assert!(find(&cards, "tcp.rst").is_empty());
        assert_eq!(nearest(&cards, "tcp.rst.injectd"), Some("tcp.rst.injected"));
        assert_eq!(nearest(&cards, "rst-injection"), Some("rst_injection"));
        assert_eq!(nearest(&cards, "zzz"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert!(list(&cards, 80, false).starts_with("tcp.rst.injected  rst_injection  Somebody"));
    }
}
