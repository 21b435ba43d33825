//! `live --evidence DIR`: the packets of each finding as a pcapng file, with the finding as comment on the packet that shows it.
//!
//! A file holds the first 32 and last 16 packets of each of the finding's flows from before it was told, and what followed. A finding that is
//! revised goes on in its file. Files have a bound together; the oldest are deleted first, also by age in packet time. Only files that this
//! program named are touched.

mod mask;

use super::pcapng::blocks::{Blocks, Frame, Interface, Resolution, Section};
use super::{Sink, jsonl};
use crate::model::finding::Finding;
use crate::model::frame::{FrameNo, LinkType};
use crate::model::pulse::{News, Pulse};
use crate::model::shelf::{Kept, Shelf};
use crate::model::story::{End, Story};
use crate::model::time::{Span, Time};
use mask::{Pseudonyms, mask};
use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Files open at a time. A finding whose file was closed gets no more packets.
const OPEN_MAX: usize = 64;
/// Flows of a finding whose packets are kept.
const FLOWS_MAX: usize = 32;

/// What becomes of evidence.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Where the files go.
    pub dir: PathBuf,
    /// Most bytes of all files.
    pub bytes: u64,
    /// How long files are kept, in packet time.
    pub age: Span,
    /// Write clients' real addresses.
    pub real: bool,
}

/// The file of a finding.
struct Book {
    out: Blocks<File>,
    /// Link types described so far.
    links: Vec<LinkType>,
    flows: Vec<FrameNo>,
}

/// Writes evidence.
pub struct Evidence {
    policy: Policy,
    shelves: Vec<Arc<Shelf>>,
    books: HashMap<Box<str>, Book>,
    /// Names of `books`, oldest first.
    order: VecDeque<Box<str>>,
    /// Which file a revised finding goes on in.
    goes_on: HashMap<Box<str>, Box<str>>,
    clients: HashMap<FrameNo, IpAddr>,
    names: Pseudonyms,
    tell: Tell,
    /// It could not be written, and that was said.
    failing: bool,
}

/// Says what the operator should know.
pub type Tell = Box<dyn Fn(String) + Send>;

impl Evidence {
    /// Evidence from these shelves.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn create(policy: Policy, shelves: Vec<Arc<Shelf>>, tell: Tell) -> io::Result<Self> {
        fs::create_dir_all(&policy.dir)?;
        Ok(Self {
            policy,
            tell,
            failing: false,
            shelves,
            books: HashMap::new(),
            order: VecDeque::new(),
            goes_on: HashMap::new(),
            clients: HashMap::new(),
            names: Pseudonyms::default(),
        })
    }

    fn news(&mut self, n: &News, story: &Story) -> io::Result<()> {
        let f = &n.finding;
        let root = n.supersedes.as_ref().and_then(|old| self.goes_on.get(old).cloned()).unwrap_or_else(|| f.id.clone());
        self.goes_on.insert(f.id.clone(), root.clone());
        if self.goes_on.len() > 10_000 {
            self.goes_on.clear();
        }
        if !self.books.contains_key(&root) {
            if n.supersedes.is_some() && self.goes_on.contains_key(&root) && root != f.id {
                // Its file was closed to make room for others.
                return Ok(());
            }
            self.open(&root, f)?;
        }
        for id in f.flows.iter().take(FLOWS_MAX) {
            if self.books.get(&root).is_some_and(|b| b.flows.contains(&id.frame)) {
                continue;
            }
            if let Some(flow) = jsonl::find(story, *id) {
                self.clients.insert(id.frame, flow.client.ip);
            }
            let packets: Vec<Kept> = self.shelves.iter().flat_map(|s| s.flag(id.frame)).collect();
            if let Some(b) = self.books.get_mut(&root) {
                b.flows.push(id.frame);
            }
            let said = said(f);
            for p in &packets {
                // The comment stands where the finding says that it shows.
                let here = f.frames.contains(&p.head.number);
                self.write(&root, id.frame, p, here.then_some(said.as_str()))?;
            }
        }
        Ok(())
    }

    fn open(&mut self, root: &str, f: &Finding) -> io::Result<()> {
        while self.order.len() >= OPEN_MAX {
            if let Some(old) = self.order.pop_front() {
                self.books.remove(&old);
            }
        }
        // It may have been cleared away meanwhile.
        fs::create_dir_all(&self.policy.dir)?;
        let path = self.policy.dir.join(name(f));
        let mut out = Blocks::new(File::create(path)?);
        let comments = [said(f)];
        let comments: Vec<&str> = comments.iter().map(String::as_str).collect();
        out.section(&Section { comments: &comments, program: concat!("tamperscope ", env!("CARGO_PKG_VERSION")) })?;
        self.books.insert(root.into(), Book { out, links: Vec::new(), flows: Vec::new() });
        self.order.push_back(root.into());
        Ok(())
    }

    fn write(&mut self, root: &str, flow: FrameNo, p: &Kept, comment: Option<&str>) -> io::Result<()> {
        let Some(book) = self.books.get_mut(root) else { return Ok(()) };
        if book.out.written() > self.policy.bytes / 4 {
            return Ok(());
        }
        let mut link = p.head.link;
        let mut original = p.head.original;
        let mut bytes = p.bytes.clone();
        if !self.policy.real {
            let Some(client) = self.clients.get(&flow) else { return Ok(()) };
            // From the innermost IP header on: what lies around it names machines too.
            bytes = p.bytes.get(usize::from(p.ip_at)..).unwrap_or_default().into();
            original = original.saturating_sub(u32::from(p.ip_at));
            link = LinkType::RAW;
            mask(&mut bytes, *client, self.names.of(*client));
        }
        let interface = match book.links.iter().position(|l| *l == link) {
            Some(at) => at as u32,
            None => {
                book.links.push(link);
                book.out.interface(&Interface { link, resolution: Resolution::Nanos, ..Interface::default() })?
            }
        };
        let comments: &[&str] = match &comment {
            Some(c) => std::slice::from_ref(c),
            None => &[],
        };
        book.out.frame(&Frame { interface, ts: p.head.ts, original, data: &bytes, comments })
    }

    /// Packets of flagged flows that came since the last time.
    fn follow(&mut self) -> io::Result<()> {
        let new: Vec<(FrameNo, Kept)> = self.shelves.iter().flat_map(|s| s.following()).collect();
        for (flow, packet) in &new {
            let roots: Vec<Box<str>> = self.books.iter().filter(|(_, b)| b.flows.contains(flow)).map(|(r, _)| r.clone()).collect();
            for root in roots {
                if let Err(e) = self.write(&root, *flow, packet, None) {
                    // What is half written is no evidence of what follows.
                    self.books.remove(&root);
                    self.order.retain(|r| *r != root);
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// Deletes what is too old or too much; never what is being written.
    fn tidy(&self, now: Option<Time>) -> io::Result<()> {
        let mut files: Vec<(String, PathBuf, u64)> = Vec::new();
        for entry in fs::read_dir(&self.policy.dir)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_ours(&name)
                && let Ok(about) = entry.metadata()
            {
                files.push((name, entry.path(), about.len()));
            }
        }
        files.sort();
        let mut all: u64 = files.iter().map(|f| f.2).sum();
        let oldest = now.map(|n| stamp(n.minus(self.policy.age)));
        let busy = |name: &str| self.books.keys().any(|id| name.contains(&**id));
        for (name, path, bytes) in files {
            let old = oldest.as_ref().is_some_and(|o| name.as_str() < o.as_str());
            if (old || all > self.policy.bytes) && !busy(&name) && fs::remove_file(path).is_ok() {
                all -= bytes;
            }
        }
        Ok(())
    }
}

impl Sink for Evidence {
    /// A full disk must not end the capture: it is said, once until it works again, and the capture goes on without.
    fn pulse(&mut self, pulse: &Pulse<'_>) -> io::Result<()> {
        let mut done = self.follow();
        for n in pulse.news {
            done = done.and(self.news(n, pulse.story));
        }
        if !pulse.news.is_empty() || pulse.stats.seq % 32 == 1 {
            done = done.and(self.tidy(pulse.stats.at));
        }
        match done {
            Ok(()) => self.failing &= pulse.news.is_empty(),
            Err(e) if !self.failing => {
                self.failing = true;
                (self.tell)(format!("evidence cannot be written to {}: {e}", self.policy.dir.display()));
            }
            Err(_) => {}
        }
        Ok(())
    }
    fn finish(&mut self, _: &End) -> io::Result<()> {
        self.books.clear();
        Ok(())
    }
}

/// The finding in a few lines.
fn said(f: &Finding) -> String {
    let mut out = format!("{} {} ({}), rule {}, id {}", f.grade.name(), f.kind.name(), f.mechanism, f.rule, f.id);
    for e in &f.evidence {
        out.push_str(&format!("\nbecause {}: {} (expected {})", e.says, e.value, e.expected));
    }
    for i in f.innocent.iter().filter(|i| i.stands) {
        out.push_str(&format!("\nunless {}: {}", i.cause, i.why));
    }
    super::text::shown_lines(&out)
}

/// `20261122T201530Z`.
fn stamp(t: Time) -> String {
    let mut text = Vec::new();
    super::text::push_rfc3339(&mut text, t);
    let text = String::from_utf8(text).unwrap_or_default();
    let seconds = text.get(..19).unwrap_or_default();
    format!("{}Z", seconds.replace(['-', ':'], ""))
}

fn name(f: &Finding) -> String {
    format!("{}-{}-{}-{}.pcapng", stamp(f.started), f.kind.name(), f.mechanism, f.id)
}

/// Whether this program gave a file its name.
fn is_ours(name: &str) -> bool {
    let stamped = name.as_bytes().get(..16).is_some_and(|s| s[8] == b'T' && s[15] == b'Z' && s[..8].iter().all(u8::is_ascii_digit));
    stamped && name.contains("-f_") && name.ends_with(".pcapng")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::Grade;
    use crate::model::frame::FrameHead;
    use crate::model::pulse::Stats;
    use crate::sink::sample;

    /// A frame with Ethernet and an IPv4 header of the sample's client.
    fn frame(n: u64) -> (FrameHead, Vec<u8>) {
        let head =
            FrameHead { number: FrameNo(n), ts: Time::from_nanos(n as i64), original: 54, link: LinkType::ETHERNET, iface: 0, owner: 0 };
        let mut bytes = vec![0xee; 14];
        bytes.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 168, 1, 2, 149, 154, 167, 99]);
        bytes.extend([0; 20]);
        (head, bytes)
    }

    fn run(real: bool) -> (PathBuf, Vec<u8>) {
        let dir = std::env::temp_dir().join(format!("tamperscope-evidence-{real}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let shelf = Arc::new(Shelf::new(1 << 20));
        for n in 1..=12 {
            let (head, bytes) = frame(n);
            shelf.keep(FrameNo(1), head, 14, &bytes);
        }
        let policy = Policy { dir: dir.clone(), bytes: 1 << 20, age: Span::from_secs(3600), real };
        let mut e = Evidence::create(policy, vec![Arc::clone(&shelf)], Box::new(|said| panic!("{said}"))).unwrap();
        let story = sample::story();
        let news = [News { finding: story.findings[0].clone(), supersedes: None }];
        let stats = Stats::default();
        e.pulse(&Pulse { stats: &stats, story: &story, news: &news, last: false }).unwrap();
        let (head, bytes) = frame(20);
        shelf.keep(FrameNo(1), head, 14, &bytes);
        let mut revised = story.findings[0].clone();
        revised.id = "f_later".into();
        let news = [News { finding: revised, supersedes: Some("f_1".into()) }];
        e.pulse(&Pulse { stats: &stats, story: &story, news: &news, last: true }).unwrap();
        e.finish(&End::default()).unwrap();
        let files: Vec<_> = fs::read_dir(&dir).unwrap().map(|f| f.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "a revised finding goes on in its file: {files:?}");
        let bytes = fs::read(&files[0]).unwrap();
        (dir, bytes)
    }

    fn count(bytes: &[u8], what: &[u8]) -> usize {
        bytes.windows(what.len()).filter(|w| *w == what).count()
    }

    #[test]
    fn a_file_holds_what_was_before_and_what_followed_without_the_client() {
        let (dir, bytes) = run(false);
        assert_eq!(count(&bytes, &[149, 154, 167, 99]), 13);
        assert_eq!(count(&bytes, &[192, 168, 1, 2]), 0);
        assert_eq!(count(&bytes, &[10, 0, 0, 1]), 13);
        assert_eq!(count(&bytes, &[0xee; 6]), 0, "hardware addresses");
        // Frames 9 and 11 are the evidence that is there, and the section says it once.
        assert_eq!(count(&bytes, b"confirmed rst_injection (on_path)"), 3);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn real_addresses_are_written_only_when_asked_for() {
        let (dir, bytes) = run(true);
        assert_eq!(count(&bytes, &[192, 168, 1, 2]), 13);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_place_that_cannot_be_written_to_is_said_once_and_ends_nothing() {
        let dir = std::env::temp_dir().join(format!("tamperscope-evidence-gone-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let said = Arc::new(std::sync::Mutex::new(Vec::new()));
        let tell = Box::new({
            let said = Arc::clone(&said);
            move |words| said.lock().unwrap().push(words)
        });
        let policy = Policy { dir: dir.clone(), bytes: 1 << 20, age: Span::from_secs(3600), real: false };
        let mut e = Evidence::create(policy, Vec::new(), tell).unwrap();
        // A file stands where the directory was.
        fs::remove_dir(&dir).unwrap();
        fs::write(&dir, "x").unwrap();
        let story = sample::story();
        let mut pulse = |id: &str| {
            let mut finding = story.findings[0].clone();
            finding.id = id.into();
            let news = [News { finding, supersedes: None }];
            e.pulse(&Pulse { stats: &Stats::default(), story: &story, news: &news, last: false }).unwrap();
        };
        pulse("f_1");
        pulse("f_2");
        assert_eq!(said.lock().unwrap().len(), 1, "{said:?}");
        fs::remove_file(&dir).unwrap();
        pulse("f_3");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "it goes on when it can");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn old_files_and_too_much_go_and_strangers_stay() {
        let dir = std::env::temp_dir().join(format!("tamperscope-evidence-tidy-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let policy = Policy { dir: dir.clone(), bytes: 2500, age: Span::from_secs(3600), real: false };
        let e = Evidence::create(policy, Vec::new(), Box::new(|_| ())).unwrap();
        let mut f = sample::finding("f_0", "telegram", Grade::Likely, &[1]);
        let now = f.started;
        for (id, ago) in [("f_a", 7200), ("f_b", 300), ("f_c", 200), ("f_d", 100)] {
            f.id = id.into();
            f.started = now.minus(Span::from_secs(ago));
            fs::write(dir.join(name(&f)), [0; 1000]).unwrap();
        }
        fs::write(dir.join("mine.pcapng"), [0; 9000]).unwrap();
        e.tidy(Some(now)).unwrap();
        let mut left: Vec<String> = fs::read_dir(&dir).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(left[0].ends_with("f_c.pcapng") && left[1].ends_with("f_d.pcapng") && left[2] == "mine.pcapng");
        fs::remove_dir_all(dir).unwrap();
    }
}
