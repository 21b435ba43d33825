//! Where the fixtures lie.

use std::path::{Path, PathBuf};

/// `fixtures/cases`.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cases")
}

/// Every case's directory, in name order.
pub fn all() -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = std::fs::read_dir(root())
        .expect("fixtures/cases is there")
        .map(|e| e.expect("fixtures/cases can be read").path())
        .filter(|p| p.join("case.toml").is_file())
        .collect();
    out.sort();
    assert!(out.len() >= 18, "only {} cases under {}", out.len(), root().display());
    out
}

/// The capture of a case: what `input` in its `case.toml` says, the first if there are several.
pub fn input(case: &Path) -> PathBuf {
    let text = std::fs::read_to_string(case.join("case.toml")).expect("case.toml can be read");
    let table: toml::Table = text.parse().unwrap_or_else(|e| panic!("{}: {e}", case.join("case.toml").display()));
    let input = table.get("input").map(|v| v.get(0).unwrap_or(v)).and_then(|v| v.as_str()).unwrap_or("in.pcap");
    case.join(input)
}
