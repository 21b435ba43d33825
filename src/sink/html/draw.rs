//! What every picture needs: axes, numbers, and the figure around it with its numbers as a table.
//!
//! Pictures are 400 units wide: on a telephone a unit is about a pixel, so that their text stays readable; wide screens and paper enlarge them.

use maud::{Markup, html};

/// Width of every picture, in its own units.
pub const WIDTH: f64 = 400.0;

/// A line of numbers laid on a line of the picture.
#[derive(Clone, Copy)]
pub struct Scale {
    from: f64,
    to: f64,
    at: f64,
    end: f64,
}

impl Scale {
    /// Lays `from..to` on `at..end`. A span of nothing is widened, so that its one value lies in the middle.
    pub fn new(from: f64, to: f64, at: f64, end: f64) -> Self {
        let (from, to) = if to > from { (from, to) } else { (from - 0.5, from + 0.5) };
        Self { from, to, at, end }
    }
    /// Where a value lies.
    pub fn of(&self, value: f64) -> f64 {
        self.at + (value - self.from) / (self.to - self.from) * (self.end - self.at)
    }
    /// Round values, about `n` of them.
    pub fn ticks(&self, n: usize) -> Vec<f64> {
        let rough = (self.to - self.from) / n.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough * 0.999).unwrap_or(rough);
        let first = (self.from / step).ceil();
        let count = ((self.to / step).floor() - first).max(0.0) as usize;
        (0..=count.min(40)).map(|i| (first + i as f64) * step).collect()
    }
}

/// A coordinate.
pub fn px(v: f64) -> String {
    let text = format!("{v:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// A number on an axis, without needless decimals.
pub fn short(v: f64) -> String {
    let text = format!("{v:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Axis along the bottom, with its unit behind the last number.
pub fn bottom(x: &Scale, y: f64, top: f64, unit: &str) -> Markup {
    let ticks = x.ticks(6);
    html! {
        path.ax d=(format!("M{} {} H{}", px(x.at), px(y), px(x.end))) {}
        @for t in &ticks {
            path.grid-l d=(format!("M{} {} V{}", px(x.of(*t)), px(top), px(y))) {}
            text.t x=(px(x.of(*t))) y=(px(y + 12.0)) text-anchor="middle" { (short(*t)) }
        }
        text.t x=(px(x.end)) y=(px(y + 24.0)) text-anchor="end" { (unit) }
    }
}

/// Axis along the left side; `say` writes its numbers.
pub fn left(y: &Scale, x: f64, right: f64, n: usize, say: impl Fn(f64) -> String) -> Markup {
    html! {
        @for t in y.ticks(n) {
            path.grid-l d=(format!("M{} {} H{}", px(x), px(y.of(t)), px(right))) {}
            text.t x=(px(x - 4.0)) y=(px(y.of(t) + 3.5)) text-anchor="end" { (say(t)) }
        }
        path.ax d=(format!("M{} {} V{}", px(x), px(y.at), px(y.end))) {}
    }
}

/// A picture with its caption and the same numbers as a table.
pub fn figure(title: &str, says: &str, height: f64, inside: &Markup, table: &Markup) -> Markup {
    html! {
        figure {
            figcaption { b { (title) } span.dim { (says) } }
            svg.chart viewBox=(format!("0 0 {} {}", px(WIDTH), px(height))) role="img" aria-label=(title) {
                title { (title) }
                desc { (says) " The numbers follow as a table." }
                (inside)
            }
            details { summary { "Numbers as a table" span.sr { ": " (title) } } div.scroll tabindex="0" role="region" aria-label=(title) { (table) } }
        }
    }
}

/// A table: caption, heads, rows. Heads that begin with `#` are numbers, aligned to the right; the first cell of a row heads it.
pub fn table(caption: &str, heads: &[&str], rows: &[Vec<String>]) -> Markup {
    let number: Vec<bool> = heads.iter().map(|h| h.starts_with('#')).collect();
    let class = |i: usize| number.get(i).copied().unwrap_or(false).then_some("n");
    html! {
        table {
            caption { (caption) }
            thead { tr { @for (i, h) in heads.iter().enumerate() { th scope="col" class=[class(i)] { (h.trim_start_matches('#')) } } } }
            tbody {
                @for row in rows {
                    tr {
                        @for (i, cell) in row.iter().enumerate() {
                            @if i == 0 { th scope="row" class=[class(i)] { bdi { (cell) } } } @else { td class=[class(i)] { bdi { (cell) } } }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(Scale::new(0.0, 10.0, 0.0, 1.0).ticks(5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(Scale::new(0.13, 0.47, 0.0, 1.0).ticks(4).iter().map(|t| short(*t)).collect::<Vec<_>>(), ["0.2", "0.3", "0.4"]);
        assert_eq!(Scale::new(5.0, 5.0, 0.0, 10.0).of(5.0), 5.0);
        assert!(Scale::new(0.0, 1e12, 0.0, 1.0).ticks(5).len() < 12);
    }
}
