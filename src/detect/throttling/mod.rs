//! Slowness: flows of one target laid together, their plateau, what else limits them, and what went faster meanwhile.
//!
//! | file | job |
//! |---|---|
//! | `lane` | one direction of one flow, and which belong together |
//! | `series` | what passed over time |
//! | `plateau` | a stretch of time with one rate |
//! | `ceiling` | a rate that is reached again and again and never exceeded |
//! | `tokens` | whether drops come when a token bucket would be empty |
//! | `queue` | where packets waited or were dropped |
//! | `ends` | whether the end points set the rate |
//! | `origin` | whether the limit may stand at the server's end |
//! | `controls` | what other flows of the same client reached meanwhile |
//! | `rank` | the exact rank test |
//! | `apiece` | whether each flow has a rate of its own |
//! | `rate` | the judge of policers and shapers |
//! | `general` | the judge of what holds all of a client's traffic |
//! | `tell` | the words and figures of its finding |
//! | `loss` | the judge of random drops |
//! | `limit` | what limited each busy flow, seen by itself |

mod apiece;
mod ceiling;
mod controls;
mod ends;
mod general;
mod lane;
mod limit;
mod loss;
mod origin;
mod plateau;
mod queue;
mod rank;
mod rate;
mod series;
mod tell;
mod tokens;
#[cfg(test)]
mod trial;

pub(super) use general::ThrottlingGeneral;
pub use limit::limits;
pub(super) use loss::ThrottlingLoss;
pub(super) use rate::ThrottlingRate;

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut v: Vec<f64> = values.collect();
    v.sort_by(f64::total_cmp);
    v.get(v.len() / 2).copied()
}

/// The value around which most values crowd (Bickel and Frühwirth 2006).
fn half_sample_mode(mut v: Vec<f64>) -> Option<f64> {
    v.sort_by(f64::total_cmp);
    let mut s = v.as_slice();
    while s.len() > 3 {
        let half = s.len().div_ceil(2);
        let at = (0..=s.len() - half).min_by(|a, b| (s[a + half - 1] - s[*a]).total_cmp(&(s[b + half - 1] - s[*b])))?;
        s = &s[at..at + half];
    }
    match s {
        [a, b, c] => Some(if b - a < c - b { (a + b) / 2.0 } else { (b + c) / 2.0 }),
        [a, b] => Some((a + b) / 2.0),
        [a] => Some(*a),
        _ => None,
    }
}

/// A rate as people write it.
fn bps(rate: f64) -> String {
    match rate {
        r if r >= 1e6 => format!("{:.2} Mbit/s", r / 1e6),
        r => format!("{:.0} kbit/s", r / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_where_values_crowd() {
        let got = half_sample_mode(vec![1.0, 5.0, 5.1, 5.2, 9.0, 20.0, 5.05]).unwrap();
        assert!((5.0..5.2).contains(&got), "{got}");
        assert_eq!(half_sample_mode(vec![]), None);
    }
}
