//! Whether the questions to a resolver that never reached the other point part from those that did by the names asked for. Ways that part by address and
//! port, as routers choose among equals, know no names.

use super::claim;
use super::view::{Strand, View};
use crate::model::pair::Tap;
use hashbrown::HashMap;

/// Most questions that are counted out.
const MOST: usize = 512;

/// The chance that as many of these questions as are missing, chosen at random, leave every name whole: all its questions missing, or none. 1 if they
/// do not.
pub fn split(view: &View<'_>, s: &Strand<'_>, tap: Tap) -> f64 {
    let Some(of) = s.at(tap) else { return 1.0 };
    // Per name: all its questions, and those missing.
    let mut names: HashMap<String, (usize, usize)> = HashMap::new();
    for other in &view.strands {
        let Some(f) = other.at(tap).filter(|f| f.server == of.server && f.client.ip == of.client.ip && f.proto == of.proto) else {
            continue;
        };
        let asked = f.packets.iter().find_map(|d| claim::dns_at(view, other, tap, d.frame).filter(|m| !m.response));
        let Some(asked) = asked else { continue };
        let n = names.entry(asked.qname.to_ascii_lowercase()).or_default();
        n.0 += 1;
        n.1 += usize::from(!other.both());
    }
    whole(&names.into_values().collect::<Vec<_>>())
}

/// That chance, of names with all their questions and those missing.
fn whole(names: &[(usize, usize)]) -> f64 {
    let (all, missing) = names.iter().fold((0, 0), |sum, n| (sum.0 + n.0, sum.1 + n.1));
    if all > MOST || missing == 0 || missing == all || names.iter().any(|n| n.1 != 0 && n.1 != n.0) {
        return 1.0;
    }
    // Ways to choose `missing` questions as whole names, against all ways.
    let mut ways = vec![0.0_f64; missing + 1];
    if let Some(none) = ways.first_mut() {
        *none = 1.0;
    }
    for (size, _) in names {
        for k in (*size..=missing).rev() {
            let with = ways.get(k - size).copied().unwrap_or(0.0);
            if let Some(w) = ways.get_mut(k) {
                *w += with;
            }
        }
    }
    let choose = (0..missing).fold(1.0_f64, |c, i| c * (all - i) as f64 / (i + 1) as f64);
    (ways.last().copied().unwrap_or(choose) / choose).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn ways_that_know_no_names_part_by_name_rarely() {
        // Four of eight questions missing: 10 of 70 choices leave the name asked three times whole.
        let few = [(3, 3), (1, 1), (1, 0), (1, 0), (1, 0), (1, 0)];
        assert!((whole(&few) - 10.0 / 70.0).abs() < 1e-9, "{}", whole(&few));
        let many = [(6, 6), (5, 0), (5, 0), (4, 0)];
        assert!(whole(&many) < 1e-4, "{}", whole(&many));
    }

    #[test]
    fn a_name_both_missing_and_not_parts_nothing() {
        assert_eq!([whole(&[(3, 2), (9, 0)]), whole(&[(3, 3)]), whole(&[(3, 0)]), whole(&[])], [1.0; 4]);
    }
}
