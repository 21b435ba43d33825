//! Holds the house to its plan: rooms know `model` and themselves, the corridor knows the rooms, nobody else reads clocks or
//! writes `unsafe`.
#![allow(missing_docs)]

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Rooms that never call each other.
const ROOMS: [&str; 10] = ["capture", "packet", "flow", "stream", "inspect", "classify", "detect", "collect", "pair", "sink"];

/// What a door of the house may open to. `None`: a door in front (cli, plan, main, verify, …).
fn may_import(from: &str, to: &str) -> bool {
    if from == to || to == "model" {
        return true;
    }
    match from {
        "model" => false,
        "engine" => ROOMS.contains(&to),
        room if ROOMS.contains(&room) => false,
        // In front: the corridor, the outputs, and one another.
        _ => matches!(to, "engine" | "sink") || !ROOMS.contains(&to),
    }
}

struct Source {
    path: PathBuf,
    /// Relative to `src`, with `/`.
    name: String,
    /// Without comments and the insides of strings; line breaks kept.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut out, mut todo) = (Vec::new(), vec![root.clone()]);
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).expect("src can be read") {
            let path = entry.expect("src can be read").path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file is UTF-8");
                let name = path.strip_prefix(&root).expect("under src").to_string_lossy().replace('\\', "/");
                out.push(Source { path: Path::new("src").join(&name), name, code: bare(&text) });
            }
        }
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(out.len() > 10, "only {} files under {}", out.len(), root.display());
    out
}

impl Source {
    /// The first folder under `src`, or the file's name without `.rs`.
    fn room(&self) -> &str {
        let first = self.name.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }
    fn line(&self, at: usize) -> usize {
        1 + self.code[..at].matches('\n').count()
    }
    /// How many modules deep the file is: `room/mod.rs` 1, `room/file.rs` 2.
    fn depth(&self) -> usize {
        let parts = self.name.split('/').count();
        let own = matches!(self.name.rsplit('/').next(), Some("mod.rs" | "lib.rs" | "main.rs"));
        if own { parts - 1 } else { parts }
    }
}

/// Blanks comments, strings and character literals, so that what remains is code.
fn bare(text: &str) -> String {
    let b = text.as_bytes();
    let mut out = b.to_vec();
    let blank = |out: &mut Vec<u8>, from: usize, to: usize| {
        for c in &mut out[from..to.min(b.len())] {
            if *c != b'\n' {
                *c = b' ';
            }
        }
    };
    let mut i = 0;
    while i < b.len() {
        let rest = &b[i..];
        let word_before = i > 0 && (b[i - 1].is_ascii_alphanumeric() || b[i - 1] == b'_');
        if rest.starts_with(b"//") {
            let n = rest.iter().position(|&c| c == b'\n').unwrap_or(rest.len());
            blank(&mut out, i, i + n);
            i += n;
        } else if rest.starts_with(b"/*") {
            let (mut depth, mut j) = (1, i + 2);
            while j < b.len() && depth > 0 {
                if b[j..].starts_with(b"/*") {
                    depth += 1;
                    j += 2;
                } else if b[j..].starts_with(b"*/") {
                    depth -= 1;
                    j += 2;
                } else {
                    j += 1;
                }
            }
            blank(&mut out, i, j);
            i = j;
        } else if !word_before && raw_string(rest).is_some() {
            let n = raw_string(rest).unwrap_or(1);
            blank(&mut out, i, i + n);
            i += n;
        } else if rest[0] == b'"' {
            let mut j = i + 1;
            while j < b.len() && b[j] != b'"' {
                j += if b[j] == b'\\' { 2 } else { 1 };
            }
            blank(&mut out, i, j + 1);
            i = j + 1;
        } else if rest[0] == b'\'' {
            // A character literal, or a lifetime.
            let end = if rest.get(1) == Some(&b'\\') {
                rest.iter().skip(3).position(|&c| c == b'\'').map(|n| n + 4)
            } else {
                text[i + 1..].chars().next().map(|c| 1 + c.len_utf8()).filter(|&n| rest.get(n) == Some(&b'\'')).map(|n| n + 1)
            };
            if let Some(n) = end {
                blank(&mut out, i, i + n);
            }
            i += end.unwrap_or(1);
        } else {
            i += 1;
        }
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// Length of the raw string that begins here.
fn raw_string(b: &[u8]) -> Option<usize> {
    let mut i = usize::from(matches!(b.first(), Some(b'b' | b'c')));
    if b.get(i) != Some(&b'r') {
        return None;
    }
    i += 1;
    let hashes = b[i..].iter().take_while(|&&c| c == b'#').count();
    i += hashes;
    if b.get(i) != Some(&b'"') {
        return None;
    }
    let mut end = vec![b'"'];
    end.resize(1 + hashes, b'#');
    b[i + 1..].windows(end.len()).position(|w| w == end).map(|n| i + 1 + n + end.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `word` stands by itself.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(|c| is_word(c) || c == '$') && !after.is_some_and(is_word)
    })
}

/// First names of what follows a path: `a::b` gives a; `{a::b, c}` gives a and c.
fn heads(rest: &str) -> Vec<String> {
    let rest = rest.trim_start();
    let ident = |s: &str| s.trim_start().chars().take_while(|&c| is_word(c)).collect::<String>();
    let Some(group) = rest.strip_prefix('{') else {
        return vec![ident(rest)];
    };
    let (mut depth, mut start, mut out) = (0, 0, Vec::new());
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                out.push(ident(&group[start..i]));
                start = i + 1;
            }
            '}' if depth == 0 => {
                out.push(ident(&group[start..i]));
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    out.retain(|s| !s.is_empty());
    out
}

/// Inline modules around a place in the code.
fn inline_depth(code: &str, at: usize) -> usize {
    let mut stack = Vec::new();
    let mut last = 0;
    for (i, c) in code[..at].char_indices() {
        match c {
            '{' => {
                let intro = code[last..i].trim();
                let mut tail = intro.rsplit(|c: char| !is_word(c)).filter(|w| !w.is_empty());
                tail.next();
                stack.push(tail.next() == Some("mod"));
                last = i + 1;
            }
            '}' => {
                stack.pop();
                last = i + 1;
            }
            ';' => last = i + 1,
            _ => {}
        }
    }
    stack.into_iter().filter(|&m| m).count()
}

/// Every path from the crate's root: its place and its first names.
fn paths(source: &Source) -> Vec<(usize, Vec<String>)> {
    let code = &source.code;
    let mut out = Vec::new();
    for root in ["crate", "tamperscope"] {
        for at in words(code, root) {
            if let Some(rest) = code[at + root.len()..].trim_start().strip_prefix("::") {
                out.push((at, heads(rest)));
            }
        }
    }
    // `super::super::…` as far as the root.
    let mut next = 0;
    for at in words(code, "super") {
        if at < next {
            continue;
        }
        let (mut rest, mut ups) = (&code[at..], 0);
        while let Some(r) = rest.strip_prefix("super").and_then(|r| r.trim_start().strip_prefix("::")) {
            ups += 1;
            rest = r.trim_start();
        }
        next = code.len() - rest.len();
        if ups > 0 && ups >= source.depth() + inline_depth(code, at) {
            out.push((at, heads(rest)));
        }
    }
    out
}

fn fail_with(problems: &[String], rule: &str) {
    let mut text = String::new();
    for p in problems {
        let _ = write!(text, "\n  {p}");
    }
    assert!(problems.is_empty(), "{rule}:{text}\n");
}

#[test]
fn rooms_open_only_to_the_corridor() {
    let sources = sources();
    // Names at the root that are modules; macros and re-exports at the root are not doors.
    let doors: Vec<String> = sources.iter().map(|s| s.room().to_owned()).collect();
    let mut problems = Vec::new();
    for s in &sources {
        let from = s.room();
        if from == "lib" {
            continue;
        }
        for (at, heads) in paths(s) {
            for to in heads.iter().filter(|to| doors.contains(to)) {
                if !may_import(from, to) {
                    problems.push(format!("{}:{}: `{from}` reaches into `{to}`", s.path.display(), s.line(at)));
                }
            }
        }
    }
    fail_with(
        &problems,
        "a room may import `crate::model` and itself; the engine may import every room; model nothing; cli, plan, main and verify the engine, the sinks and model",
    );
}

#[test]
fn time_comes_from_packets() {
    let may = |s: &Source| {
        s.name.starts_with("capture/live/")
            || matches!(s.name.as_str(), "engine/progress.rs" | "engine/pulse.rs" | "sink/screen/terminal.rs")
    };
    let mut problems = Vec::new();
    for s in sources().iter().filter(|s| !may(s)) {
        for clock in ["Instant", "SystemTime", "Timestamp", "Zoned"] {
            for at in words(&s.code, clock) {
                let rest = s.code[at + clock.len()..].trim_start();
                if rest.strip_prefix("::").is_some_and(|r| r.trim_start().starts_with("now")) {
                    problems.push(format!("{}:{}: reads a clock (`{clock}`)", s.path.display(), s.line(at)));
                }
            }
        }
    }
    fail_with(
        &problems,
        "clocks are read in src/capture/live, src/engine/progress.rs, src/engine/pulse.rs and src/sink/screen/terminal.rs only",
    );
}

#[test]
fn no_connection_is_opened_and_no_name_resolved() {
    let mut problems = Vec::new();
    // The metrics of a live capture are served to whoever asks on loopback: it listens, and connects to nobody.
    let listens = |s: &Source, word: &str| s.name == "sink/metrics.rs" && word == "TcpListener";
    for s in &sources() {
        for word in ["TcpStream", "TcpListener", "UdpSocket", "UnixStream", "ToSocketAddrs", "to_socket_addrs", "getaddrinfo"] {
            for at in words(&s.code, word).filter(|_| !listens(s, word)) {
                problems.push(format!("{}:{}: `{word}`", s.path.display(), s.line(at)));
            }
        }
    }
    fail_with(&problems, "the program is passive: it opens no connection and resolves no name");
}

#[test]
fn unsafe_has_one_home() {
    let mut problems = Vec::new();
    for s in sources().iter().filter(|s| s.name != "capture/map.rs") {
        for at in words(&s.code, "unsafe") {
            problems.push(format!("{}:{}: unsafe code", s.path.display(), s.line(at)));
        }
    }
    fail_with(&problems, "`unsafe` belongs in src/capture/map.rs (mapping a file) and nowhere else");
}

#[test]
fn the_reader_of_sources_sees_what_it_should() {
    let code = bare(
        "let a = \"crate::flow\"; // crate::sink\n/* crate::x /* */ */ let c = '\"'; let l: &'a str = r#\"crate::y\"#; use crate::{model::a, flow::{b, c}, sink};",
    );
    assert!(!code.contains("sink\n") && !code.contains("crate::x") && !code.contains("crate::y"), "{code}");
    let s = Source { path: "src/packet/tcp.rs".into(), name: "packet/tcp.rs".into(), code };
    assert_eq!(paths(&s).into_iter().map(|p| p.1).collect::<Vec<_>>(), [["model", "flow", "sink"]]);
    let s = Source {
        code: "use super::super::flow::x; mod tests { use super::super::ip; fn f() { super::super::super::sink::g() } }".into(),
        ..s
    };
    let seen: Vec<_> = paths(&s).into_iter().flat_map(|p| p.1).collect();
    assert_eq!(seen, ["flow", "sink"]);
    assert!(may_import("engine", "detect") && may_import("packet", "model") && may_import("plan", "cli") && may_import("main", "engine"));
    assert!(!may_import("packet", "flow") && !may_import("model", "flow") && !may_import("sink", "engine") && !may_import("cli", "detect"));
    assert!(!may_import("engine", "cli"));
}
