//! Typed access to a TOML table that remembers where everything stands, so that every complaint names its line and key.

use super::error::LoadError;
use std::ops::{Range, RangeInclusive};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A service file's name and text.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub file: &'a str,
    pub text: &'a str,
}

impl Source<'_> {
    /// Line (from 1) of a byte offset.
    pub fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        before.iter().filter(|b| **b == b'\n').count() + 1
    }

    pub fn error(&self, at: &Range<usize>, key: impl Into<String>, message: impl Into<String>) -> LoadError {
        LoadError::Key { file: self.file.to_owned(), line: self.line(at.start), key: key.into(), message: message.into() }
    }

    pub fn syntax(&self, e: &toml::de::Error) -> LoadError {
        let line = self.line(e.span().map_or(0, |s| s.start));
        LoadError::Syntax { file: self.file.to_owned(), line, message: e.message().to_owned() }
    }
}

/// One table of a service file.
pub(super) struct Fields<'a> {
    pub src: Source<'a>,
    /// Where it is: empty for the file and a service, else `domain[2]`.
    path: String,
    table: &'a DeTable<'a>,
    span: Range<usize>,
}

impl<'a> Fields<'a> {
    /// Opens a table and refuses keys outside `known`.
    pub fn open(src: Source<'a>, path: String, table: &'a DeTable<'a>, span: Range<usize>, known: &[&str]) -> Result<Self, LoadError> {
        for key in table.keys() {
            let name = key.get_ref();
            if !known.contains(&&**name) {
                let hint = nearest(name, known).map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default();
                let message = format!("unknown key `{name}`{hint}");
                let shown = if path.is_empty() { name.to_string() } else { path.clone() };
                return Err(src.error(&key.span(), shown, message));
            }
        }
        Ok(Self { src, path, table, span })
    }

    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.iter().find(|(k, _)| k.get_ref() == key).map(|(_, v)| v)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A complaint about one key (or about the table, if the key is not there).
    pub fn fault(&self, key: &str, message: impl Into<String>) -> LoadError {
        let span = self.get(key).map_or_else(|| self.span.clone(), |v| v.span());
        self.src.error(&span, self.path_of(key), message)
    }

    /// A complaint about the whole table.
    pub fn table_fault(&self, message: impl Into<String>) -> LoadError {
        let key = if self.path.is_empty() { "service" } else { &self.path };
        self.src.error(&self.span, key, message)
    }

    fn wrong(&self, key: &str, want: &str, found: &Spanned<DeValue<'_>>) -> LoadError {
        self.src.error(&found.span(), self.path_of(key), format!("expected {want}, found {}", found.get_ref().type_str()))
    }

    pub fn string(&self, key: &str) -> Result<Option<&'a str>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(v) => v.get_ref().as_str().map(Some).ok_or_else(|| self.wrong(key, "a string", v)),
        }
    }

    pub fn required(&self, key: &str) -> Result<&'a str, LoadError> {
        self.string(key)?.ok_or_else(|| self.table_fault(format!("`{key}` is missing")))
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(v) => v.get_ref().as_bool().map(Some).ok_or_else(|| self.wrong(key, "true or false", v)),
        }
    }

    fn whole(&self, key: &str, v: &Spanned<DeValue<'_>>, within: RangeInclusive<i64>) -> Result<i64, LoadError> {
        let n = v.get_ref().as_integer().and_then(|i| i64::from_str_radix(i.as_str(), i.radix()).ok());
        let n = n.ok_or_else(|| self.wrong(key, "a whole number", v))?;
        if within.contains(&n) {
            Ok(n)
        } else {
            let message = format!("{n} is outside {}…{}", within.start(), within.end());
            Err(self.src.error(&v.span(), self.path_of(key), message))
        }
    }

    pub fn number(&self, key: &str, within: RangeInclusive<i64>) -> Result<Option<i64>, LoadError> {
        self.get(key).map(|v| self.whole(key, v, within)).transpose()
    }

    /// Strings, each passed through `read`; a lone string counts as a list of one.
    pub fn list<T>(&self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, LoadError> {
        let Some(v) = self.get(key) else { return Ok(Vec::new()) };
        let one = |v: &Spanned<DeValue<'_>>, path: &str| {
            let text = match v.get_ref() {
                DeValue::String(s) => s.to_string(),
                // A bare number where a list of ranges may stand: `port = 443`.
                DeValue::Integer(i) if i.radix() == 10 => i.as_str().to_owned(),
                DeValue::Integer(i) if i.radix() == 16 => format!("0x{}", i.as_str()),
                _ => return Err(self.wrong(path, "a string", v)),
            };
            read(&text).map_err(|m| self.src.error(&v.span(), self.path_of(path), m))
        };
        match v.get_ref().as_array() {
            None => Ok(vec![one(v, key)?]),
            Some(items) if items.is_empty() => Err(self.fault(key, "the list is empty")),
            Some(items) => items.iter().enumerate().map(|(i, v)| one(v, &format!("{key}[{}]", i + 1))).collect(),
        }
    }

    /// Two numbers, the first not above the second.
    pub fn pair(&self, key: &str, within: RangeInclusive<i64>) -> Result<Option<(i64, i64)>, LoadError> {
        let Some(v) = self.get(key) else { return Ok(None) };
        let items = v.get_ref().as_array().ok_or_else(|| self.wrong(key, "a list of two numbers", v))?;
        let mut items = items.iter();
        let (Some(a), Some(b), None) = (items.next(), items.next(), items.next()) else {
            return Err(self.fault(key, "expected exactly two numbers, from and to"));
        };
        let (a, b) = (self.whole(key, a, within.clone())?, self.whole(key, b, within)?);
        if a > b { Err(self.fault(key, format!("{a} is above {b}"))) } else { Ok(Some((a, b))) }
    }

    /// The tables of an array of tables, in order.
    pub fn tables(&self, key: &str, known: &[&str]) -> Result<Vec<Fields<'a>>, LoadError> {
        let Some(v) = self.get(key) else { return Ok(Vec::new()) };
        let items = v.get_ref().as_array().ok_or_else(|| self.wrong(key, "a list of tables", v))?;
        let mut out = Vec::new();
        for (i, item) in items.iter().enumerate() {
            // Services are told apart by line; naming each one again would only lengthen the message.
            let path = if key == "service" { String::new() } else { self.path_of(&format!("{key}[{}]", i + 1)) };
            let table = item.get_ref().as_table().ok_or_else(|| self.wrong(key, "a table", item))?;
            out.push(Fields::open(self.src, path, table, item.span(), known)?);
        }
        Ok(out)
    }
}

/// The known key most like `word`, if one is near enough to be meant.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let best = known.iter().map(|k| (distance(word, k), *k)).min()?;
    (best.0 <= 1 + word.len() / 4).then_some(best.1)
}

/// Levenshtein distance over characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, cb) in row.iter_mut().skip(1).zip(&b) {
            let next = (diagonal + usize::from(ca != *cb)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, next);
            left = next;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(nearest("suffx", &["suffix", "exact", "db"]), Some("suffix"));
        assert_eq!(nearest("colour", &["suffix", "exact", "db"]), None);
    }
}
