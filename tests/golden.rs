//! The golden cases: every capture under `fixtures/cases` shows what its `case.toml` says. The same code as `tamperscope verify fixtures/cases`.
#![allow(missing_docs)]

use std::path::Path;
use tamperscope::verify::{self, Options};

mod support;

#[test]
fn every_case_shows_what_it_must() {
    // Relative, so that messages read as what a person would type.
    let root = Path::new("fixtures/cases");
    let report = verify::run_cases(&[root.to_owned()], &Options::default());
    let folders = std::fs::read_dir(root).expect("fixtures/cases is there").count();
    assert_eq!(report.cases.len(), folders, "a folder under fixtures/cases without a case.toml");
    assert_eq!(report.cases.len(), support::cases::all().len());
    assert_eq!(report.exit(), 0, "\n{}", report.text(true));
}

#[test]
fn every_case_tells_where_it_came_from() {
    for case in support::cases::all() {
        let story = std::fs::read_to_string(case.join("README.md")).unwrap_or_default();
        assert!(story.len() > 100, "{}: README.md is missing or says nothing", case.display());
        let bytes: u64 =
            std::fs::read_dir(&case).expect("a case can be read").map(|e| e.and_then(|e| e.metadata()).map_or(0, |m| m.len())).sum();
        assert!(bytes < 200 * 1024, "{}: {bytes} bytes are too many", case.display());
    }
}
