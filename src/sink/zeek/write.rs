//! Rows as text: Zeek's tab-separated form and its JSON.

use super::super::json::Json;
use super::super::text;
use super::row::{COLUMNS, Value};
use std::fmt::Write as _;

/// A line of a tab-separated log.
pub(super) fn tsv(out: &mut String, row: &[Value<'_>]) {
    for (i, value) in row.iter().enumerate() {
        if i > 0 {
            out.push('\t');
        }
        match value {
            Value::Unset => out.push('-'),
            Value::Seconds(ns) => seconds(out, *ns),
            Value::Count(n) => drop(write!(out, "{n}")),
            Value::Bool(b) => out.push(if *b { 'T' } else { 'F' }),
            Value::Addr(ip) => drop(write!(out, "{ip}")),
            Value::Text(t) => escaped(out, t, false),
            Value::Set(all) => {
                for (i, t) in all.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    escaped(out, t, true);
                }
            }
        }
    }
    out.push('\n');
}

/// Nanoseconds as seconds with six decimals, cut.
fn seconds(out: &mut String, ns: i64) {
    let us = (ns / 1_000).unsigned_abs();
    let _ = write!(out, "{}{}.{:06}", if ns < 0 { "-" } else { "" }, us / 1_000_000, us % 1_000_000);
}

/// Zeek's escapes: `\xNN` for what would end the field or the line, act on a terminal, or be mistaken for no value.
fn escaped(out: &mut String, value: &str, in_set: bool) {
    let alone = value == "-" || value == "(empty)";
    for (i, c) in value.chars().enumerate() {
        if text::treacherous(c) || c == '\\' || (c == ',' && in_set) || (alone && i == 0) {
            let mut bytes = [0; 4];
            for b in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(out, "\\x{b:02x}");
            }
        } else {
            out.push(c);
        }
    }
}

/// A line of a JSON log.
pub(super) fn json_line(json: &mut Json, row: &[Value<'_>]) {
    json.open();
    for ((name, _), value) in COLUMNS.iter().zip(row) {
        match value {
            // Zeek leaves unset fields out.
            Value::Unset => {}
            Value::Seconds(ns) => json.key(name).real(*ns as f64 / 1e9),
            Value::Count(n) => json.key(name).int(*n),
            Value::Bool(b) => json.key(name).bool(*b),
            Value::Addr(ip) => json.key(name).plain(ip),
            Value::Text(t) => json.key(name).str(t),
            Value::Set(all) => json.key(name).strs(all.iter().copied()),
        }
    }
    json.close();
    json.line();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_field_or_act_is_escaped() {
        let mut out = String::new();
        escaped(&mut out, "a\tb\nc\\d,\u{202e}", false);
        assert_eq!(out, "a\\x09b\\x0ac\\x5cd,\\xe2\\x80\\xae");
        out.clear();
        escaped(&mut out, "a,b", true);
        escaped(&mut out, "-", false);
        assert_eq!(out, "a\\x2cb\\x2d");
    }
}
