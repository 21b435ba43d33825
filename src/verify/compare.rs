//! Compares what a run said with what its case wants.

use super::case::{Case, Claim};
use serde_json::Value;
use std::collections::BTreeMap;

/// Most differences shown for one case.
const SHOWN_MAX: usize = 10;

/// The records of an output.
pub fn records(jsonl: &str) -> Result<Vec<Value>, String> {
    let parse = |(i, line): (usize, &str)| serde_json::from_str(line).map_err(|e| format!("line {} of the output is not JSON: {e}", i + 1));
    jsonl.lines().enumerate().map(parse).collect()
}

/// Checks every `expect` and `forbid`.
pub fn claims(case: &Case, records: &[Value], failures: &mut Vec<String>) {
    for (word, claim) in case.expect.iter().map(|c| ("expected", c)).chain(case.forbid.iter().map(|c| ("forbidden", c))) {
        let of_kind: Vec<&Value> = records.iter().filter(|r| r.get("type").and_then(Value::as_str) == Some(&claim.kind)).collect();
        let found = of_kind.iter().filter(|r| claim.filter.iter().all(|(path, want)| matches(r, path, want))).count() as u64;
        if claim.count.fits(found) {
            continue;
        }
        let filter: Vec<String> = claim.filter.iter().map(|(path, want)| format!("{path} = {want}")).collect();
        let filter = if filter.is_empty() { String::new() } else { format!(" where {}", filter.join(", ")) };
        let mut says = if word == "expected" {
            format!("expected {}{filter} count {}, found {found}", claim.kind, claim.count)
        } else {
            format!("forbidden {}{filter}: found {found}", claim.kind)
        };
        if found == 0 && !claim.filter.is_empty() {
            says.push_str(&near_misses(claim, &of_kind));
        }
        failures.push(says);
    }
}

/// What the records of the type have instead, on the paths asked for: usually enough to see what went wrong.
fn near_misses(claim: &Claim, of_kind: &[&Value]) -> String {
    if of_kind.is_empty() {
        return format!("; there is no {} at all", claim.kind);
    }
    let mut best: Vec<(usize, &Value)> =
        of_kind.iter().map(|r| (claim.filter.iter().filter(|(path, want)| !matches(r, path, want)).count(), *r)).collect();
    best.sort_by_key(|b| b.0);
    let show = |r: &Value| -> String {
        let parts: Vec<String> = claim.filter.iter().map(|(path, _)| format!("{path} = {}", values(r, path))).collect();
        format!("\n  instead: {}", parts.join(", "))
    };
    let mut lines: Vec<String> = Vec::new();
    for line in best.iter().map(|(_, r)| show(r)) {
        if !lines.contains(&line) {
            lines.push(line);
        }
        if lines.len() == 3 {
            break;
        }
    }
    lines.concat()
}

/// Whether the value at a dotted path is `want`. An array on the way or at the end matches if any of its elements does.
fn matches(value: &Value, path: &str, want: &Value) -> bool {
    let mut found = Vec::new();
    at(value, path, &mut found);
    found.iter().any(|v| equal(v, want) || v.as_array().is_some_and(|a| a.iter().any(|v| equal(v, want))))
}

/// Values at a dotted path.
fn at<'a>(value: &'a Value, path: &str, found: &mut Vec<&'a Value>) {
    if path.is_empty() {
        return found.push(value);
    }
    match value {
        Value::Object(o) => {
            let (step, rest) = path.split_once('.').unwrap_or((path, ""));
            if let Some(inner) = o.get(step) {
                at(inner, rest, found);
            }
        }
        Value::Array(a) => a.iter().for_each(|v| at(v, path, found)),
        _ => {}
    }
}

fn values(record: &Value, path: &str) -> String {
    let mut found = Vec::new();
    at(record, path, &mut found);
    let texts: Vec<String> = found.iter().take(3).map(ToString::to_string).collect();
    if texts.is_empty() { "nothing".into() } else { texts.join(" | ") }
}

/// Equality, with numbers compared by value: `1` is `1.0`.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || (x.as_f64() == y.as_f64() && (x.is_f64() || y.is_f64())),
        _ => a == b,
    }
}

/// The output without what a release changes by itself: the version and the hash of the rules in the `run` record.
pub fn masked(jsonl: &str) -> String {
    let Some((run, rest)) = jsonl.split_once('\n').filter(|(run, _)| run.starts_with("{\"type\":\"run\"")) else {
        return jsonl.to_owned();
    };
    let mut run = run.to_owned();
    for key in ["\"version\":\"", "\"rules_sha256\":\""] {
        let Some(start) = run.find(key).map(|i| i + key.len()) else { continue };
        let Some(len) = run.get(start..).and_then(|tail| tail.find('"')) else { continue };
        run.replace_range(start..start + len, "*");
    }
    format!("{run}\n{rest}")
}

/// What differs between two outputs, record by record and field by field.
pub fn difference(wanted: &str, got: &str) -> Vec<String> {
    let (Ok(want), Ok(have)) = (records(wanted), records(got)) else {
        return vec!["want.jsonl is not JSON Lines (--update rewrites it)".into()];
    };
    let (want, have) = (by_name(&want), by_name(&have));
    let mut out = Vec::new();
    for (name, w) in &want {
        match have.get(name) {
            None => out.push(format!("want.jsonl: {name} is missing")),
            Some(h) if h != w => {
                let mut fields = Vec::new();
                fields_that_differ("", w, h, &mut fields);
                out.push(format!("want.jsonl: {name} differs: {}", fields.join("; ")));
            }
            Some(_) => {}
        }
    }
    out.extend(have.keys().filter(|name| !want.contains_key(*name)).map(|name| format!("want.jsonl: {name} is new")));
    if out.is_empty() {
        out.push("want.jsonl: the same records in another order or spelling".into());
    }
    let more = out.len().saturating_sub(SHOWN_MAX);
    if more > 0 {
        out.truncate(SHOWN_MAX);
        out.push(format!("want.jsonl: and {more} more differences"));
    }
    out
}

/// Records under a name that survives small changes: type, id and role, and a number if that repeats.
fn by_name(records: &[Value]) -> BTreeMap<String, &Value> {
    let mut named = BTreeMap::new();
    for r in records {
        let text = |key: &str| r.get(key).and_then(Value::as_str).map(|v| format!(" {v}")).unwrap_or_default();
        let base = match r.get("type").and_then(Value::as_str) {
            Some("service") => format!("service{}{}{}", text("source"), text("id"), text("role")),
            Some("finding") => format!("finding{}{}{}", text("source"), text("rule"), flow_of(r)),
            Some(kind) => format!("{kind}{}", text("id")),
            None => "record without type".to_owned(),
        };
        let mut name = base.clone();
        let mut n = 2;
        while named.contains_key(&name) {
            name = format!("{base} #{n}");
            n += 1;
        }
        named.insert(name, r);
    }
    named
}

fn flow_of(finding: &Value) -> String {
    let first = finding.get("flows").and_then(|f| f.get(0)).and_then(|f| f.get("flow_id")).and_then(Value::as_str);
    first.map(|f| format!(" {f}")).unwrap_or_default()
}

/// Dotted paths of leaves that differ, at most five.
fn fields_that_differ(path: &str, want: &Value, have: &Value, out: &mut Vec<String>) {
    if want == have || out.len() >= 5 {
        return;
    }
    let (Value::Object(w), Value::Object(h)) = (want, have) else {
        out.push(format!("{path}: wanted {}, got {}", brief(want), brief(have)));
        return;
    };
    let mut keys: Vec<&String> = w.keys().chain(h.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        fields_that_differ(&path, w.get(key).unwrap_or(&Value::Null), h.get(key).unwrap_or(&Value::Null), out);
    }
}

fn brief(value: &Value) -> String {
    crate::sink::text::cut(&value.to_string(), 160, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn failures(toml: &str, records: &[Value]) -> Vec<String> {
        let mut out = Vec::new();
        claims(&Case::parse(toml).unwrap(), records, &mut out);
        out
    }

    #[test]
    fn paths_walk_objects_and_any_element_of_arrays() {
        let r = json!({"a": {"b": [{"c": 1, "d": ["x", "y"]}, {"c": 2.0}]}, "n": null});
        for (path, want) in
            [("a.b.c", json!(1)), ("a.b.c", json!(2)), ("a.b.d", json!("y")), ("a.b.d", json!(["x", "y"])), ("n", Value::Null)]
        {
            assert!(matches(&r, path, &want), "{path} {want}");
        }
        for (path, want) in [("a.b.c", json!("1")), ("a.b", json!(1)), ("a.x", Value::Null), ("n.x", Value::Null), ("a.b.d", json!("x y"))]
        {
            assert!(!matches(&r, path, &want), "{path} {want}");
        }
    }

    #[test]
    fn claims_count_and_explain_themselves() {
        let records = [
            json!({"type": "finding", "kind": "throttling", "grade": "likely", "target": {"service": "telegram"}}),
            json!({"type": "end", "exit": 0}),
        ];
        let good = "input='a'\n[[expect]]\ntype='finding'\nwhere={kind='throttling', target.service='telegram'}\ncount=1\n[[forbid]]\ntype='finding'\nwhere={kind='block_page'}\n";
        assert!(failures(good, &records).is_empty());
        let bad = "input='a'\n[[expect]]\ntype='finding'\nwhere={grade='confirmed'}\n[[forbid]]\ntype='finding'\n[[expect]]\ntype='flow'\nwhere={app='tls'}\n";
        let says = failures(bad, &records);
        assert_eq!(says[0], "expected finding where grade = \"confirmed\" count >=1, found 0\n  instead: grade = \"likely\"");
        assert_eq!(says[1], "expected flow where app = \"tls\" count >=1, found 0; there is no flow at all");
        assert_eq!(says[2], "forbidden finding: found 1");
    }

    #[test]
    fn differences_name_record_and_field() {
        let want = "{\"type\":\"flow\",\"id\":\"s0f1\",\"outcome\":\"ok\",\"names\":{\"sni\":null}}\n{\"type\":\"end\",\"exit\":0}\n";
        let got = want.replace("null", "\"x\"").replace("{\"type\":\"end\",\"exit\":0}", "{\"type\":\"flow\",\"id\":\"s0f2\"}");
        assert_eq!(
            difference(want, &got),
            [
                "want.jsonl: end is missing",
                "want.jsonl: flow s0f1 differs: names.sni: wanted null, got \"x\"",
                "want.jsonl: flow s0f2 is new"
            ]
        );
        let turned: Vec<&str> = want.lines().rev().collect();
        assert!(difference(want, &turned.join("\n"))[0].contains("another order"));
    }

    #[test]
    fn the_version_is_masked_in_the_run_record_only() {
        let run = "{\"type\":\"run\",\"version\":\"0.1.0\",\"rules_sha256\":null}\n{\"version\":\"0.1.0\"}\n";
        assert_eq!(masked(run), "{\"type\":\"run\",\"version\":\"*\",\"rules_sha256\":null}\n{\"version\":\"0.1.0\"}\n");
        assert_eq!(masked(""), "");
    }
}
