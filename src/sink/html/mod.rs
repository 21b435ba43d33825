//! The report that one can hand over: a single HTML file without scripts and without anything remote, for a browser, paper and a screen reader.
//!
//! | file | job |
//! |---|---|
//! | `page` | head, summary, captures, services, rules |
//! | `finding` | one finding as a page |
//! | `pair` | two captures compared |
//! | `ladder` | its packets between client, tap and server |
//! | `timeline` | connections over time, legs of calls |
//! | `speed` | bytes over time with the inferred rate, goodput against others |
//! | `marks` | headers of resets, bytes at death |
//! | `draw` | axes, figures, tables |
//! | `mask` | letters instead of clients' addresses |
//! | `words` | plain names of kinds, grades, states, outcomes |
//! | `style.css` | how it looks: light, dark, narrow, printed |
//!
//! Markup is made by `maud`, which escapes every value. What is finished passes `Mask::seal` once, where clients' addresses become letters and
//! whatever could act on a reader becomes visible. Pieces are rendered when their source is complete, so that no story is kept.

use super::human::{Style, Told};
use super::output::{NewFile, Output};
use super::{RunInfo, Sink, text};
use crate::model::finding::{Card, Finding};
use crate::model::pair::{Pairing, PerTap};
use crate::model::story::{End, Story};
use maud::{Markup, html};
use std::cmp::Reverse;
use std::io;
use std::path::Path;

mod draw;
mod finding;
mod ladder;
mod marks;
mod mask;
mod page;
mod pair;
mod speed;
#[cfg(test)]
mod tests;
mod timeline;
mod words;

/// Most findings that get a page, the surest ones. The others are counted.
const FINDINGS_MAX: usize = 100;
/// Most captures with a section of their own.
const SOURCES_MAX: usize = 50;

/// Writes the report.
pub struct Html<W: Output> {
    out: W,
    style: Style,
    run: RunInfo,
    told: Told,
    mask: mask::Mask,
    /// Heading and page of each finding told, while it is among the surest.
    pages: Vec<Option<(String, String)>>,
    sources: Vec<String>,
    /// The report of two captures compared, in place of all that: its title and body.
    pair: Option<(String, String)>,
}

/// The sink behind `--out html=PATH`; `-` is standard output.
pub fn open(path: &Path, style: &Style) -> io::Result<Box<dyn Sink>> {
    if path == Path::new("-") {
        return Ok(Box::new(Html::new(io::stdout(), *style)));
    }
    Ok(Box::new(Html::new(NewFile::create(path)?, *style)))
}

impl<W: Output> Html<W> {
    /// Writes to `out`. Of the style only `show_circumvention` and `verbose` (show clients' addresses) matter.
    pub fn new(out: W, style: Style) -> Self {
        let mask = mask::Mask::new(style.verbose);
        Self { out, style, run: RunInfo::default(), told: Told::default(), mask, pages: Vec::new(), sources: Vec::new(), pair: None }
    }

    fn card(&self, rule: &str) -> Option<&'static Card> {
        self.run.cards.iter().copied().find(|c| c.rule == rule)
    }

    fn put(&mut self, markup: &Markup) -> io::Result<()> {
        let text = self.mask.seal(markup);
        self.out.write_all(text.as_bytes())?;
        self.out.write_all(b"\n")
    }

    /// Findings to show, surest first, as places in `told`.
    fn shown(&self) -> Vec<usize> {
        let visible = |i: &usize| self.told.findings.get(*i).is_some_and(|f| self.style.show_circumvention || !f.circumvention);
        let mut all: Vec<usize> = (0..self.told.findings.len()).filter(visible).collect();
        all.sort_by_key(|i| Reverse(self.told.findings.get(*i).map(|f| (f.finding.grade, f.finding.flows.len()))));
        all
    }
}

impl<W: Output> Sink for Html<W> {
    fn begin(&mut self, run: &RunInfo) -> io::Result<()> {
        self.run = run.clone();
        Ok(())
    }

    fn story(&mut self, story: &Story) -> io::Result<()> {
        let before = self.told.findings.len();
        self.told.add(story);
        self.pages.resize(self.told.findings.len(), None);
        let mut chosen: Vec<(usize, &Finding)> = Vec::new();
        for (rank, at) in self.shown().into_iter().enumerate() {
            let Some(place) = self.pages.get_mut(at) else { continue };
            if rank >= FINDINGS_MAX {
                *place = None;
                continue;
            }
            chosen.extend(at.checked_sub(before).and_then(|i| story.findings.get(i)).map(|f| (at, f)));
        }
        let listed = self.sources.len() < SOURCES_MAX;
        // Once to see whose addresses will be shown, and once without them.
        self.draft(story, &chosen, listed);
        self.mask.learn(story);
        for (at, f) in chosen {
            let piece = self.told_of(story, f);
            if let Some(place) = self.pages.get_mut(at) {
                *place = Some(piece);
            }
        }
        if listed {
            let pictures = page::pictures(story, &self.mask, &self.style);
            let section = page::source(story, &pictures);
            self.sources.push(self.mask.seal(&section));
        }
        Ok(())
    }

    fn pair(&mut self, pairing: &Pairing, ends: [&Story; 2]) -> io::Result<()> {
        let stories = PerTap { a: ends[0], b: ends[1] };
        // Once for each capture to see whose addresses will be shown, and once without them.
        for story in ends {
            self.mask.draft(&pair::Both { pairing, stories, mask: &self.mask, style: &self.style, run: &self.run }.body());
            self.mask.learn(story);
        }
        let both = pair::Both { pairing, stories, mask: &self.mask, style: &self.style, run: &self.run };
        self.pair = Some((both.title(), self.mask.seal(&both.body())));
        Ok(())
    }

    fn failed(&mut self, path: &str, why: &str) -> io::Result<()> {
        self.told.failed.push((path.to_owned(), why.to_owned()));
        Ok(())
    }

    fn finish(&mut self, end: &End) -> io::Result<()> {
        self.mask.close();
        if let Some((title, body)) = self.pair.take() {
            self.open(&title)?;
            self.out.write_all(body.as_bytes())?;
            return self.close();
        }
        let shown = self.shown();
        let found: Vec<_> = shown.iter().filter_map(|i| self.told.findings.get(*i)).collect();
        let told_of = found.len().min(FINDINGS_MAX);
        let titles: Vec<String> = shown.iter().map(|i| self.pages.get(*i).cloned().flatten().map_or_else(String::new, |p| p.0)).collect();
        let of_service = |row: &super::human::Row| {
            let about =
                |f: &&super::human::Found| f.finding.target.service.as_deref() == Some(&*row.id) && f.finding.target.role == row.role;
            found.iter().enumerate().take(told_of).filter(|(_, f)| about(f)).map(|(i, _)| i + 1).collect::<Vec<_>>()
        };
        let mut rules: Vec<&'static Card> = Vec::new();
        for card in found.iter().take(told_of).filter_map(|f| self.card(f.finding.rule)) {
            if !rules.iter().any(|c| c.rule == card.rule) {
                rules.push(card);
            }
        }
        rules.sort_by_key(|c| c.rule);
        let several = self.told.sources.len() != 1;
        let title = format!("What the network did: {}", page::subject(&self.told));
        let summary = page::summary(&self.told, &found[..told_of], found.len(), &titles, &self.run, end, &self.style);
        let services = (!self.told.nothing_seen()).then(|| page::services(&self.told, &self.style, &of_service));
        let captures = several.then(|| page::sources(&self.told));
        let names = page::names(&self.told);
        let of_path = |path: &str| self.told.sources.iter().zip(&names).find(|(s, _)| s.facts.path == path).map(|(_, n)| n.clone());
        let files: Vec<_> = found.iter().take(told_of).map(|f| of_path(&f.path).filter(|_| several)).collect();
        let more = found.len() - told_of;

        self.open(&title)?;
        self.put(&summary)?;
        self.out.write_all(b"<main>\n")?;
        let sources = std::mem::take(&mut self.sources);
        if !several {
            self.captures("The capture", None, &names, &sources)?;
        }
        if let Some(services) = services {
            self.put(&services)?;
        }
        if let Some(apps) = page::apps(&self.told, &self.style) {
            self.put(&apps)?;
        }
        let class = if told_of == 0 { "none" } else { "found" };
        self.out.write_all(format!("<section id=\"main\" class=\"{class}\">\n<h2>Findings</h2>\n").as_bytes())?;
        if told_of == 0 {
            // Nobody may read a failed run as a clean one.
            let says = if self.told.nothing_seen() {
                "Nothing was analysed, so nothing can be said."
            } else {
                "No interference was found that the capture could show."
            };
            self.put(&html! { p { (says) } })?;
        }
        let pages = std::mem::take(&mut self.pages);
        for (n, (at, file)) in shown.iter().zip(&files).enumerate() {
            let Some(Some((title, body))) = pages.get(*at) else { continue };
            let n = n + 1;
            self.put(&page::finding_head(n, title, file.as_deref()))?;
            self.out.write_all(body.as_bytes())?;
            self.out.write_all(b"\n</article>\n")?;
        }
        if more > 0 {
            self.put(
                &html! { p { "And " (more) " more that are no surer than these: see the records (" code { "--out jsonl=FILE" } ")." } },
            )?;
        }
        self.out.write_all(b"</section>\n")?;
        if let Some(table) = captures.filter(|_| !names.is_empty()) {
            self.captures("The captures", Some(&table), &names, &sources)?;
        }
        self.put(&page::reading())?;
        if !rules.is_empty() {
            self.put(&page::rules(&rules))?;
        }
        self.out.write_all(b"</main>\n")?;
        self.close()
    }
}

impl<W: Output> Html<W> {
    /// Everything before the first words.
    fn open(&mut self, title: &str) -> io::Result<()> {
        self.put(&page::head(title))?;
        self.out.write_all(page::style().as_bytes())?;
        self.out.write_all(b"\n<body>\n<a class=\"skip\" href=\"#main\">Skip to the findings</a>\n")
    }

    /// Everything after the last.
    fn close(&mut self) -> io::Result<()> {
        let foot = page::foot(&self.mask);
        self.put(&foot)?;
        self.out.write_all(b"</body>\n</html>\n")?;
        self.out.commit()
    }

    fn around<'a>(&'a self, story: &'a Story, f: &Finding) -> finding::Around<'a> {
        finding::Around { story, mask: &self.mask, style: &self.style, card: self.card(f.rule) }
    }

    /// Heading and page of a finding.
    fn told_of(&self, story: &Story, f: &Finding) -> (String, String) {
        let title = format!("{} – {}", words::kind(f.kind), finding::target(f, story));
        (title, self.mask.seal(&finding::body(f, &self.around(story, f))))
    }

    /// Shows the mask everything with addresses in it that will be shown of a story.
    fn draft(&self, story: &Story, chosen: &[(usize, &Finding)], listed: bool) {
        if self.mask.is_open() {
            return;
        }
        for (_, f) in chosen {
            self.mask.draft(&finding::body(f, &self.around(story, f)));
            self.mask.draft(&html! { (finding::target(f, story)) });
        }
        for s in &story.services {
            self.mask.draft(&html! { (s.because) " " (s.unless) });
        }
        if listed {
            let legs: Vec<Markup> = page::legs(story, &self.mask, &self.style).into_iter().collect();
            self.mask.draft(&page::source(story, &legs));
        }
    }

    /// The captures: a table if there are several, then each with its name.
    fn captures(&mut self, heading: &str, table: Option<&Markup>, names: &[String], sections: &[String]) -> io::Result<()> {
        self.out.write_all(b"<section>\n")?;
        self.put(&html! { h2 { (heading) } })?;
        if let Some(table) = table {
            self.put(table)?;
        }
        for (name, section) in names.iter().zip(sections) {
            self.put(&html! { h3 { bdi { (text::cut(name, 120, false)) } } })?;
            self.out.write_all(section.as_bytes())?;
            self.out.write_all(b"\n")?;
        }
        let more = names.len().saturating_sub(sections.len());
        if more > 0 {
            self.put(&html! { p.dim { "and " (more) " more." } })?;
        }
        self.out.write_all(b"</section>\n")
    }
}
