//! Results of cases, for people, JUnit readers and GitHub. Messages quote captures and file names, so each format escapes them.

use crate::sink::text::{counted, shown};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// GitHub shows ten annotations of a step; more are swallowed.
pub const ANNOTATIONS_MAX: usize = 10;
/// GitHub refuses a step summary above 1 MiB.
const SUMMARY_MAX: usize = 900 * 1024;

/// What became of a case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Everything fits.
    Passed,
    /// Everything else fits, and `want.jsonl` was rewritten.
    Updated,
    /// What does not fit.
    Failed(Vec<String>),
    /// The case itself is wrong, so nothing was tested.
    Bad(String),
}

/// One case and its verdict.
#[derive(Clone, Debug)]
pub struct CaseResult {
    /// Its directory.
    pub dir: PathBuf,
    /// What became of it.
    pub verdict: Verdict,
}

/// All cases of a run, in order.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The cases.
    pub cases: Vec<CaseResult>,
}

impl CaseResult {
    fn name(&self) -> String {
        shown(&self.dir.display().to_string(), false)
    }

    /// What is wrong, one message each.
    pub fn messages(&self) -> Vec<String> {
        match &self.verdict {
            Verdict::Passed | Verdict::Updated => Vec::new(),
            Verdict::Failed(all) => all.clone(),
            Verdict::Bad(one) => vec![one.clone()],
        }
    }
}

impl Report {
    pub(super) fn push(&mut self, dir: &Path, verdict: Verdict) {
        self.cases.push(CaseResult { dir: dir.to_owned(), verdict });
    }

    fn count(&self, which: impl Fn(&Verdict) -> bool) -> u64 {
        self.cases.iter().filter(|c| which(&c.verdict)).count() as u64
    }

    /// 0 all pass, 1 some fail, 2 a case is wrong.
    pub fn exit(&self) -> u8 {
        let bad = self.count(|v| matches!(v, Verdict::Bad(_)));
        let failed = self.count(|v| matches!(v, Verdict::Failed(_)));
        match (bad, failed) {
            (0, 0) => 0,
            (0, _) => 1,
            _ => 2,
        }
    }

    /// For people.
    pub fn text(&self, quiet: bool) -> String {
        let mut out = String::new();
        for case in &self.cases {
            let word = match &case.verdict {
                Verdict::Passed if quiet => continue,
                Verdict::Passed => "ok     ",
                Verdict::Updated => "updated",
                Verdict::Failed(_) => "FAILED ",
                Verdict::Bad(_) => "WRONG  ",
            };
            let _ = writeln!(out, "{word} {}", case.name());
            for message in case.messages() {
                for line in message.lines() {
                    let _ = writeln!(out, "        {}", shown(line, false));
                }
            }
        }
        let _ = writeln!(out, "{}", self.summary());
        out
    }

    fn summary(&self) -> String {
        let mut parts = vec![format!("{} passed", self.count(|v| matches!(v, Verdict::Passed | Verdict::Updated)))];
        for (n, word) in [
            (self.count(|v| matches!(v, Verdict::Updated)), "of them updated"),
            (self.count(|v| matches!(v, Verdict::Failed(_))), "failed"),
            (self.count(|v| matches!(v, Verdict::Bad(_))), "wrong in themselves"),
        ] {
            if n > 0 {
                parts.push(format!("{n} {word}"));
            }
        }
        format!("{}: {}", counted(self.cases.len() as u64, "case"), parts.join(", "))
    }

    /// JUnit XML.
    pub fn junit(&self) -> String {
        let failed = self.count(|v| matches!(v, Verdict::Failed(_)));
        let bad = self.count(|v| matches!(v, Verdict::Bad(_)));
        let mut out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"tamperscope verify\" tests=\"{}\" failures=\"{failed}\" errors=\"{bad}\">\n",
            self.cases.len()
        );
        for case in &self.cases {
            let _ = write!(out, "<testcase classname=\"tamperscope\" name=\"{}\"", xml(&case.name()));
            let element = match case.verdict {
                Verdict::Passed | Verdict::Updated => {
                    out.push_str("/>\n");
                    continue;
                }
                Verdict::Failed(_) => "failure",
                Verdict::Bad(_) => "error",
            };
            let messages = case.messages();
            let first = messages.first().and_then(|m| m.lines().next()).unwrap_or_default();
            let _ = writeln!(out, "><{element} message=\"{}\">{}</{element}></testcase>", xml(first), xml(&messages.join("\n")));
        }
        out.push_str("</testsuite>\n</testsuites>\n");
        out
    }

    /// Cases that do not pass, wrong ones first, then those with most failures.
    fn worst(&self) -> Vec<&CaseResult> {
        let mut all: Vec<&CaseResult> = self.cases.iter().filter(|c| !c.messages().is_empty()).collect();
        all.sort_by_key(|c| (!matches!(c.verdict, Verdict::Bad(_)), std::cmp::Reverse(c.messages().len())));
        all
    }

    /// GitHub annotations of the worst cases.
    pub fn github(&self, max: usize) -> String {
        let mut out = String::new();
        for case in self.worst().into_iter().take(max) {
            let file = github_property(&case.dir.join(super::CASE_FILE).display().to_string());
            let title = github_property(&format!("tamperscope verify {}", case.name()));
            let _ = writeln!(out, "::error file={file},title={title}::{}", github_data(&case.messages().join("\n")));
        }
        out
    }

    /// All failures as a Markdown page for the step summary.
    pub fn markdown(&self) -> String {
        let mut out = format!("### tamperscope verify\n\n{}\n\n", self.summary());
        for case in self.worst() {
            // Indented code is the one Markdown form that no content can end.
            let mut part = format!("- case\n\n      {}\n", case.name());
            for line in case.messages().iter().flat_map(|m| m.lines()) {
                let _ = writeln!(part, "      {}", shown(line, false));
            }
            part.push('\n');
            if out.len() + part.len() > SUMMARY_MAX {
                out.push_str("The rest does not fit here.\n");
                break;
            }
            out.push_str(&part);
        }
        out
    }
}

/// Text for XML: controls that XML 1.0 does not allow become readable escapes, markup becomes entities.
fn xml(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|l| shown(l, false)).collect();
    let text = lines.join("\n");
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Data of a workflow command: line ends would begin another command.
fn github_data(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|l| shown(l, false)).collect();
    lines.join("\n").replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn github_property(text: &str) -> String {
    github_data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.push(Path::new("cases/good"), Verdict::Passed);
        report.push(Path::new("cases/a,b:c"), Verdict::Failed(vec!["found <\"x\"> & \x1b[2J\n  instead: 100%".into(), "two".into()]));
        report.push(Path::new("cases/bad"), Verdict::Bad("case.toml:3: unknown field".into()));
        report
    }

    #[test]
    fn people_read_it() {
        let text = report().text(false);
        assert!(
            text.starts_with("ok      cases/good\nFAILED  cases/a,b:c\n        found <\"x\"> & \\u{1b}[2J\n          instead: 100%\n"),
            "{text}"
        );
        assert!(text.ends_with("3 cases: 1 passed, 1 failed, 1 wrong in themselves\n"), "{text}");
        assert!(!report().text(true).contains("cases/good"));
        assert_eq!(report().exit(), 2);
        let mut fine = report();
        fine.cases.truncate(2);
        assert_eq!(fine.exit(), 1);
        fine.cases.truncate(1);
        assert_eq!(fine.exit(), 0);
    }

    #[test]
    fn junit_is_escaped() {
        let xml = report().junit();
        assert!(xml.contains("tests=\"3\" failures=\"1\" errors=\"1\""), "{xml}");
        assert!(xml.contains("message=\"found &lt;&quot;x&quot;&gt; &amp; \\u{1b}[2J\""), "{xml}");
        assert!(xml.contains("<testcase classname=\"tamperscope\" name=\"cases/good\"/>"), "{xml}");
    }

    #[test]
    fn github_annotations_cannot_be_forged() {
        let text = report().github(1);
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("cases/bad"), "the wrong case is worse: {text}");
        let text = report().github(10);
        assert!(text.contains("file=cases/a%2Cb%3Ac/case.toml") && text.contains("%0A  instead: 100%25%0Atwo"), "{text}");
        assert!(report().markdown().contains("      found <\"x\"> & \\u{1b}[2J\n"));
    }
}
