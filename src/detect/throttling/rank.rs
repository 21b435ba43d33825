//! The exact rank test of Mann and Whitney (1947), one value a flow.

/// More values on a side than this are thinned evenly: the test stays exact for those kept.
const MOST: usize = 32;

/// Chance that the ranks of `own` would sum to as little as they do, were all values drawn alike. Ties share their mean rank. `None` without values
/// on either side.
pub(super) fn chance_slower(own: &[f64], others: &[f64]) -> Option<f64> {
    if own.is_empty() || others.is_empty() {
        return None;
    }
    let thin = |v: &[f64]| -> Vec<f64> { v.iter().step_by(v.len().div_ceil(MOST)).copied().collect() };
    let (own, others) = (thin(own), thin(others));
    let mut all: Vec<(f64, bool)> = own.iter().map(|v| (*v, true)).chain(others.iter().map(|v| (*v, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Twice the mean rank is a whole number.
    let mut ranks = vec![0usize; all.len()];
    let mut from = 0;
    for run in all.chunk_by(|a, b| a.0 == b.0) {
        let to = from + run.len();
        ranks[from..to].fill(from + to + 1);
        from = to;
    }
    let seen: usize = ranks.iter().zip(&all).filter(|(_, v)| v.1).map(|(r, _)| r).sum();
    let most: usize = ranks.iter().rev().take(own.len()).sum();
    // ways[k][s]: how many choices of k values have ranks that sum to s.
    let mut ways = vec![vec![0.0f64; most + 1]; own.len() + 1];
    ways[0][0] = 1.0;
    for (i, rank) in ranks.iter().enumerate() {
        for k in (1..=own.len().min(i + 1)).rev() {
            let (below, here) = ways.split_at_mut(k);
            for (to, n) in here[0][*rank..].iter_mut().zip(&below[k - 1]) {
                *to += n;
            }
        }
    }
    let sums = ways.last()?;
    let total: f64 = sums.iter().sum();
    Some((sums.iter().take(seen + 1).sum::<f64>() / total).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_separation_of_five_and_five_is_rare() {
        let p = chance_slower(&[1.0, 1.1, 1.2, 1.3, 1.4], &[9.0, 8.0, 7.0, 6.0, 5.0]).unwrap();
        assert!((p - 1.0 / 252.0).abs() < 1e-9, "{p}");
    }

    #[test]
    fn it_agrees_with_the_tables() {
        // U = 2 with 4 and 5 values: 4 of the 126 orders are as extreme.
        let p = chance_slower(&[1.0, 2.0, 3.0, 6.0], &[4.0, 5.0, 7.0, 8.0, 9.0]).unwrap();
        assert!((p - 4.0 / 126.0).abs() < 1e-9, "{p}");
        assert_eq!(chance_slower(&[], &[1.0]), None);
    }

    #[test]
    fn equal_values_prove_nothing() {
        let p = chance_slower(&[3.0; 6], &[3.0; 9]).unwrap();
        assert!((p - 1.0).abs() < 1e-9, "{p}");
        assert!(chance_slower(&[2.0; 100], &[9.0; 100]).unwrap() < 1e-12);
    }
}
