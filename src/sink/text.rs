//! How times, numbers and strings from the wire are written for people.
//!
//! Text from a capture is under the control of whoever sent it. Before it reaches a terminal, everything that could move the cursor, change colours
//! or reorder the line is written as an escape that can be read and copied.

use crate::model::time::Time;
use std::fmt::Write;

/// Appends an RFC 3339 UTC time with nine decimals, e.g. `2026-11-22T16:32:24.000000001Z`.
pub fn push_rfc3339(out: &mut Vec<u8>, time: Time) {
    let ns = time.nanos();
    let secs = ns.div_euclid(1_000_000_000);
    let (year, month, day) = civil(secs.div_euclid(86_400));
    let of_day = secs.rem_euclid(86_400);
    digits(out, year, 4);
    out.push(b'-');
    digits(out, month, 2);
    out.push(b'-');
    digits(out, day, 2);
    out.push(b'T');
    digits(out, of_day / 3600, 2);
    out.push(b':');
    digits(out, of_day / 60 % 60, 2);
    out.push(b':');
    digits(out, of_day % 60, 2);
    out.push(b'.');
    digits(out, ns.rem_euclid(1_000_000_000), 9);
    out.push(b'Z');
}

/// The time for people: date and seconds, UTC.
pub fn clock(time: Time) -> String {
    let mut out = Vec::with_capacity(32);
    push_rfc3339(&mut out, time);
    out.truncate(19);
    let text = String::from_utf8(out).unwrap_or_default();
    format!("{} UTC", text.replace('T', " "))
}

/// Year, month and day of a day number since 1970-01-01 (Howard Hinnant, `civil_from_days`). Nanoseconds in 64 bits stay within years 1677–2262.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

fn digits(out: &mut Vec<u8>, value: i64, width: usize) {
    let mut rest = value.unsigned_abs();
    let start = out.len();
    out.resize(start + width, b'0');
    for place in out.iter_mut().skip(start).rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Whether a character may act on a terminal or hide from a reader instead of being shown: controls, direction overrides, zero-width and tag characters,
/// line separators.
pub const fn treacherous(c: char) -> bool {
    matches!(c,
        '\u{00}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Text made fit to show: treacherous characters become `\u{202e}`; with `ascii`, typographic characters of our own are spelled out and every other
/// character beyond ASCII becomes an escape too.
pub fn shown(text: &str, ascii: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if treacherous(c) {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else if c.is_ascii() || !ascii {
            out.push(c);
        } else if let Some(plain) = plain(c) {
            out.push_str(plain);
        } else {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
    }
    out
}

/// The same for text of several lines: line breaks stay.
#[cfg(feature = "live")]
pub fn shown_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(|l| shown(l, false)).collect();
    lines.join("\n")
}

/// ASCII spelling of the typographic characters that our own sentences use.
const fn plain(c: char) -> Option<&'static str> {
    Some(match c {
        '–' | '—' | '−' => "-",
        '…' => "...",
        '·' => "*",
        'µ' | 'μ' => "u",
        '×' => "x",
        '±' => "+/-",
        '≤' => "<=",
        '≥' => ">=",
        '≠' => "!=",
        '≈' => "~",
        '→' => "->",
        '←' => "<-",
        '‘' | '’' => "'",
        '“' | '”' | '«' | '»' => "\"",
        '✓' => "+",
        '✗' => "X",
        '▼' => "v",
        _ => return None,
    })
}

/// Columns a character takes on a terminal: East Asian wide forms take two, combining marks none. Coarse on purpose; it only aligns a table.
const fn columns_of(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36f}'
        | '\u{483}'..='\u{489}'
        | '\u{591}'..='\u{5bd}'
        | '\u{610}'..='\u{61a}'
        | '\u{64b}'..='\u{65f}'
        | '\u{20d0}'..='\u{20ff}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{303e}'
        | '\u{3041}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// Columns a text takes on a terminal.
pub fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// Text cut to `width` columns, with a mark where it was cut.
pub fn cut(text: &str, width: usize, ascii: bool) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mark = if ascii { "..." } else { "…" };
    let room = width.saturating_sub(columns(mark));
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += columns_of(c);
        if used > room {
            break;
        }
        out.push(c);
    }
    out.truncate(out.trim_end().len());
    out.push_str(mark);
    out
}

/// Text cut to its last `width` columns, for paths: their ends tell them apart.
pub fn cut_front(text: &str, width: usize, ascii: bool) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mark = if ascii { "..." } else { "…" };
    let mut room = width.saturating_sub(columns(mark));
    let mut kept: Vec<char> = Vec::new();
    for c in text.chars().rev() {
        let Some(left) = room.checked_sub(columns_of(c)) else { break };
        room = left;
        kept.push(c);
    }
    mark.chars().chain(kept.into_iter().rev()).collect()
}

/// Text cut or padded to exactly `width` columns.
pub fn fit(text: &str, width: usize, ascii: bool) -> String {
    let mut out = cut(text, width, ascii);
    for _ in columns(&out)..width {
        out.push(' ');
    }
    out
}

/// Text broken at spaces into at most `rows` lines of `width` columns; the last is cut if there is more.
pub fn wrap(text: &str, width: usize, rows: usize, ascii: bool) -> Vec<String> {
    let width = width.max(8);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let needed = columns(&line) + usize::from(!line.is_empty()) + columns(word);
        if needed > width && !line.is_empty() {
            if lines.len() + 1 == rows {
                // The rest goes behind the last line, where cutting shows that there is more.
                line.push(' ');
                line.push_str(word);
                for word in words {
                    line.push(' ');
                    line.push_str(word);
                }
                lines.push(cut(&line, width, ascii));
                return lines;
            }
            lines.push(cut(&std::mem::take(&mut line), width, ascii));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        lines.push(cut(&line, width, ascii));
    }
    lines
}

/// A count with thousands separated: `1,234,567`.
pub fn grouped(n: u64) -> String {
    let plain = n.to_string();
    let mut out = String::with_capacity(plain.len() + plain.len() / 3);
    for (i, c) in plain.chars().enumerate() {
        if i > 0 && (plain.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A count with its noun: `1 flow`, `2 flows`.
pub fn counted(n: u64, noun: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {noun}{s}", grouped(n))
}

/// A share as per cent: `12 %`, `0.4 %`, `<0.1 %`.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        p if p >= 10.0 => format!("{p:.0} %"),
        p if p >= 0.1 => format!("{p:.1} %"),
        p if p > 0.0 => "<0.1 %".to_owned(),
        _ => "0 %".to_owned(),
    }
}

/// A rate for people: `150 kbit/s`.
pub fn rate(bps: u64) -> String {
    match bps {
        0..1_000 => format!("{bps} bit/s"),
        1_000..1_000_000 => format!("{:.0} kbit/s", bps as f64 / 1e3),
        _ => format!("{:.1} Mbit/s", bps as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rfc(ns: i64) -> String {
        let mut out = Vec::new();
        push_rfc3339(&mut out, Time::from_nanos(ns));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_agree_with_the_calendar_over_the_whole_range() {
        assert_eq!(rfc(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc(-1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(rfc(1_709_210_096_123_456_789), "2024-02-29T12:34:56.123456789Z");
        for ns in [i64::MIN + 1, -62_000_000_000_000_001, 951_827_696_000_000_000, 4_102_444_799_999_999_999, i64::MAX] {
            let wanted = jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap();
            assert_eq!(rfc(ns), format!("{wanted:.9}"), "{ns}");
        }
        assert_eq!(clock(Time::from_nanos(1_709_210_096_123_456_789)), "2024-02-29 12:34:56 UTC");
    }

    #[test]
    fn hostile_text_is_shown_not_obeyed() {
        assert_eq!(shown("a\x1b[31m\u{202e}b\u{2066}\r\n", false), "a\\u{1b}[31m\\u{202e}b\\u{2066}\\u{d}\\u{a}");
        assert_eq!(shown("пример µs", false), "пример µs");
        assert_eq!(shown("п µs ≥ 1", true), "\\u{43f} us >= 1");
        assert_eq!(shown("\u{9b}31m\u{200b}", false), "\\u{9b}31m\\u{200b}");
    }

    #[test]
    fn cutting_and_wrapping_keep_the_width() {
        assert_eq!(cut("abcdef", 4, false), "abc…");
        assert_eq!(cut("abcdef", 5, true), "ab...");
        assert_eq!(cut_front("dir/a.pcap", 8, false), "…/a.pcap");
        assert_eq!(fit("腾讯", 6, false), "腾讯  ");
        assert_eq!(wrap("one two three four", 9, 9, false), ["one two", "three", "four"]);
        assert_eq!(wrap("one two three four", 9, 2, false), ["one two", "three fo…"]);
        assert!(wrap(&"x".repeat(300), 20, 3, false).iter().all(|l| columns(l) <= 20));
        assert_eq!(wrap("", 20, 3, false), Vec::<String>::new());
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(counted(1, "flow"), "1 flow");
        assert_eq!(percent(0.004), "0.4 %");
        assert_eq!(percent(0.00001), "<0.1 %");
        assert_eq!(rate(150_000), "150 kbit/s");
    }
}
