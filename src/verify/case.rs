//! The case file, read strictly: a key or a field name that does not exist is a mistake with a line number, never ignored.

use crate::sink::schema;
use serde::Deserialize;
use serde_json::Value;
use std::ops::Range;
use std::path::PathBuf;
use toml::Spanned;

/// A case, checked.
#[derive(Debug)]
pub struct Case {
    pub input: Vec<PathBuf>,
    /// The inputs are two captures to be compared.
    pub pair: bool,
    pub args: Vec<String>,
    pub exit: Option<i32>,
    pub expect: Vec<Claim>,
    pub forbid: Vec<Claim>,
    /// Keep the whole output.
    pub want: bool,
}

/// Records of one type, with these values, in this number.
#[derive(Debug)]
pub struct Claim {
    pub kind: String,
    pub filter: Vec<(String, Value)>,
    pub count: Count,
}

/// How many records a claim wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    op: Op,
    n: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    Equal,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// What is wrong with a case file.
#[derive(Debug)]
pub struct Mistake {
    /// 1-based.
    pub line: usize,
    pub says: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    input: Spanned<Inputs>,
    #[serde(default)]
    command: Command,
    #[serde(default)]
    args: Vec<String>,
    exit: Option<i32>,
    #[serde(default)]
    expect: Vec<Expect>,
    #[serde(default)]
    forbid: Vec<Forbid>,
    #[serde(default)]
    want: bool,
}

/// What is run.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
enum Command {
    #[default]
    Analyze,
    Pair,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "input must be a file name or a list of them")]
enum Inputs {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    #[serde(rename = "type")]
    kind: Spanned<String>,
    #[serde(rename = "where")]
    filter: Option<Spanned<toml::Table>>,
    count: Option<Spanned<toml::Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forbid {
    #[serde(rename = "type")]
    kind: Spanned<String>,
    #[serde(rename = "where")]
    filter: Option<Spanned<toml::Table>>,
}

impl Case {
    /// Reads a case file.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let mistake = |at: Option<Range<usize>>, says: String| Mistake { line: at.map_or(1, |span| line(text, span.start)), says };
        let file: File = toml::from_str(text).map_err(|e| mistake(e.span(), e.message().to_owned()))?;
        let span = file.input.span();
        let input = match file.input.into_inner() {
            Inputs::One(path) => vec![path],
            Inputs::Many(paths) => paths,
        };
        if input.is_empty() {
            return Err(mistake(Some(span), "input names no file".into()));
        }
        let pair = file.command == Command::Pair;
        if pair && input.len() != 2 {
            return Err(mistake(Some(span), "pair compares two captures: input must name two files".into()));
        }
        let claim = |kind: Spanned<String>, filter: Option<Spanned<toml::Table>>, count: Count| {
            let at = kind.span();
            let kind = kind.into_inner();
            if !schema::TYPES.contains(&kind.as_str()) {
                return Err(mistake(Some(at), format!("no record has type {kind}; types: {}", schema::TYPES.join(", "))));
            }
            let mut flat = Vec::new();
            if let Some(filter) = filter {
                let at = filter.span();
                flatten("", filter.into_inner(), &mut flat);
                if let Some((path, _)) = flat.iter().find(|(path, _)| !schema::has_path(&kind, path)) {
                    return Err(mistake(Some(at), format!("{path} is not a field of {kind} records (tamperscope schema lists them)")));
                }
            }
            Ok(Claim { kind, filter: flat, count })
        };
        let mut expect = Vec::new();
        for e in file.expect {
            let count = match e.count {
                None => Count { op: Op::AtLeast, n: 1 },
                Some(count) => {
                    let at = count.span();
                    let parsed = Count::parse(count.get_ref());
                    parsed.ok_or_else(|| mistake(Some(at), "count must be a number or a comparison such as \">=1\"".into()))?
                }
            };
            expect.push(claim(e.kind, e.filter, count)?);
        }
        let mut forbid = Vec::new();
        for f in file.forbid {
            forbid.push(claim(f.kind, f.filter, Count { op: Op::Equal, n: 0 })?);
        }
        Ok(Self { input, pair, args: file.args, exit: file.exit, expect, forbid, want: file.want })
    }
}

/// The 1-based line of a byte offset.
fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|&b| b == b'\n').count() + 1
}

/// Tables inside a filter are dotted paths written the other way.
fn flatten(prefix: &str, table: toml::Table, into: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inner) => flatten(&path, inner, into),
            other => into.push((path, json(other))),
        }
    }
}

fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(s) => Value::String(s),
        toml::Value::Integer(i) => Value::from(i),
        toml::Value::Float(f) => Value::from(f),
        toml::Value::Boolean(b) => Value::Bool(b),
        toml::Value::Datetime(d) => Value::String(d.to_string()),
        toml::Value::Array(a) => Value::Array(a.into_iter().map(json).collect()),
        toml::Value::Table(t) => Value::Object(t.into_iter().map(|(k, v)| (k, json(v))).collect()),
    }
}

impl Count {
    fn parse(value: &toml::Value) -> Option<Self> {
        let text = match value {
            toml::Value::Integer(n) => return Some(Self { op: Op::Equal, n: u64::try_from(*n).ok()? }),
            toml::Value::String(text) => text.trim(),
            _ => return None,
        };
        // Two-character signs first, for they begin like the others.
        let signs = [
            ("==", Op::Equal),
            (">=", Op::AtLeast),
            ("<=", Op::AtMost),
            ("=", Op::Equal),
            (">", Op::More),
            ("<", Op::Less),
            ("", Op::Equal),
        ];
        let (op, n) = signs.iter().find_map(|(sign, op)| Some((*op, text.strip_prefix(sign)?)))?;
        Some(Self { op, n: n.trim().parse().ok()? })
    }

    /// Whether `found` records are right.
    pub fn fits(self, found: u64) -> bool {
        match self.op {
            Op::Equal => found == self.n,
            Op::Less => found < self.n,
            Op::AtMost => found <= self.n,
            Op::More => found > self.n,
            Op::AtLeast => found >= self.n,
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = match self.op {
            Op::Equal => "",
            Op::Less => "<",
            Op::AtMost => "<=",
            Op::More => ">",
            Op::AtLeast => ">=",
        };
        write!(f, "{sign}{}", self.n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_s_example() {
        let case = Case::parse(
            r#"
            input   = "in.pcapng"
            args    = ["--fail-on", "likely"]
            exit    = 1
            [[expect]]
            type    = "finding"
            where   = { kind = "rst_injection", "target.service" = "telegram", grade = "confirmed" }
            count   = ">=1"
            [[forbid]]
            type    = "finding"
            where   = { target.service = "whatsapp" }
            "#,
        )
        .unwrap();
        assert_eq!(case.exit, Some(1));
        assert!(case.expect[0].filter.contains(&("target.service".into(), "telegram".into())));
        assert_eq!(case.forbid[0].filter, [("target.service".to_owned(), Value::from("whatsapp"))]);
        assert_eq!(case.forbid[0].count, Count { op: Op::Equal, n: 0 });
    }

    #[test]
    fn mistakes_have_lines() {
        for (text, line, says) in [
            ("input = 'a'\nexpekt = 1\n", 2, "unknown field `expekt`"),
            ("input = 'a'\n[[expect]]\ntype = 'findng'\n", 3, "no record has type findng"),
            (
                "input = 'a'\n[[forbid]]\ntype = 'finding'\nwhere = { 'target.servce' = 'x' }\n",
                4,
                "target.servce is not a field of finding",
            ),
            ("input = 'a'\n[[expect]]\ntype = 'flow'\ncount = '~3'\n", 4, "count must be"),
            ("input = 'a'\n[[expect]]\ntype = 'flow'\nwere = 1\n", 4, "unknown field `were`"),
            ("input = 'a'\n[[forbid]]\ntype = 'flow'\ncount = 0\n", 4, "unknown field `count`"),
            ("input = 'a'\nexit = 'x'\n", 2, "invalid type"),
            ("input = []\n", 1, "input names no file"),
            ("command = 'pair'\ninput = ['a']\n", 2, "pair compares two captures"),
            ("input = 'a'\ncommand = 'peer'\n", 2, "unknown variant `peer`"),
            ("input = 3\n", 1, "input must be a file name"),
            ("exit = 1\n", 1, "missing field `input`"),
            ("input = 'a'\n[[expect\n", 2, ""),
        ] {
            let mistake = Case::parse(text).unwrap_err();
            assert!(mistake.says.contains(says) && mistake.line == line, "{text:?}: {mistake:?}");
        }
    }

    #[test]
    fn counts_compare() {
        let count = |text: &str| Count::parse(&toml::Value::from(text));
        for (text, yes, no) in [("3", 3, 2), ("==1", 1, 0), (">=1", 1, 0), ("<=2", 2, 3), (">0", 1, 0), ("<3", 2, 3), (" > 4 ", 5, 4)] {
            let count = count(text).unwrap();
            assert!(count.fits(yes) && !count.fits(no), "{text}");
        }
        assert!(count("").is_none() && count("many").is_none() && count(">-1").is_none());
        assert!(Count::parse(&toml::Value::from(-1)).is_none());
    }
}
