//! Two captures are rarely as good as those one records for a test. Each pair of the fixtures is spoilt as captures are in practice, and nothing may be
//! proved of a flow of which nothing was proved before.
#![allow(missing_docs)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tamperscope::engine::{self, Plan};
use tamperscope::sink::Sink;
use tamperscope::sink::jsonl::Jsonl;
use tamperscope::sink::output::Memory;

mod support;

const CASES: [&str; 9] = [
    "pair-rst-beside-genuine",
    "pair-rewritten",
    "pair-dns-race",
    "pair-dns-swallowed",
    "pair-hello-dropped",
    "pair-policed",
    "pair-clean-tap-loss",
    "pair-clean-nat-offload",
    "pair-nat-forgot",
];

/// A frame: its time in nanoseconds, its length on the wire, and what was captured of it.
type Frame = (u64, u32, Vec<u8>);

/// A capture in classic pcap, little-endian.
#[derive(Clone)]
struct Capture {
    link: u32,
    frames: Vec<Frame>,
}

impl Capture {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let unit = if word(0) == 0xa1b2_3c4d { 1 } else { 1_000 };
        let (mut at, mut frames) = (24, Vec::new());
        while at < bytes.len() {
            let (kept, len) = (word(at + 8) as usize, word(at + 12));
            frames.push((
                u64::from(word(at)) * 1_000_000_000 + u64::from(word(at + 4)) * unit,
                len,
                bytes[at + 16..at + 16 + kept].to_vec(),
            ));
            at += 16 + kept;
        }
        Self { link: word(20), frames }
    }

    fn write(&self, path: &Path) {
        let mut out: Vec<u8> = Vec::new();
        for word in [0xa1b2_3c4d, 0x0004_0002, 0, 0, 262_144, self.link] {
            out.extend(u32::to_le_bytes(word));
        }
        for (ns, len, bytes) in &self.frames {
            for word in [(ns / 1_000_000_000) as u32, (ns % 1_000_000_000) as u32, bytes.len() as u32, *len] {
                out.extend(word.to_le_bytes());
            }
            out.extend(bytes);
        }
        std::fs::write(path, out).unwrap();
    }

    /// From one share of its time to another, in percent.
    fn part(mut self, from: u64, to: u64) -> Self {
        let (first, last) = (self.frames[0].0, self.frames.last().unwrap().0);
        let at = |share: u64| first + (last - first) / 100 * share;
        self.frames.retain(|f| (at(from)..=at(to)).contains(&f.0));
        self
    }

    /// Without one frame in so many and the few that follow it: a buffer that overflowed.
    fn missing(mut self, one_in: u64, mut seed: u64) -> Self {
        let mut skip = 0;
        self.frames.retain(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if skip == 0 && (seed >> 33).is_multiple_of(one_in) {
                skip = 1 + (seed >> 60) % 4;
            }
            let kept = skip == 0;
            skip = skip.saturating_sub(1);
            kept
        });
        self
    }

    fn each(mut self, change: impl Fn(&mut Frame)) -> Self {
        self.frames.iter_mut().for_each(change);
        self
    }

    /// One frame in so many again, a little later.
    fn doubled(mut self, one_in: usize) -> Self {
        let copies: Vec<Frame> = self.frames.iter().step_by(one_in).map(|f| (f.0 + 70_000, f.1, f.2.clone())).collect();
        self.frames.extend(copies);
        self.frames.sort_by_key(|f| f.0);
        self
    }
}

/// What is proved: rule, direction, and the ends of the flow as the first capture (or else the second) has them.
fn proved(dir: &Path, a: &Capture, b: &Capture) -> BTreeSet<String> {
    let inputs: Vec<PathBuf> = ["a.pcap", "b.pcap"].map(|f| dir.join(f)).to_vec();
    a.write(&inputs[0]);
    b.write(&inputs[1]);
    let out = Memory::default();
    engine::pair(&Plan { inputs, workers: 1, ..Plan::default() }, &mut [Box::new(Jsonl::new(out.clone())) as Box<dyn Sink>]).unwrap();
    let mut all = BTreeSet::new();
    for line in String::from_utf8(out.take()).unwrap().lines().filter(|l| l.starts_with("{\"type\":\"finding\"")) {
        let f: Value = serde_json::from_str(line).unwrap();
        let forged = ["pair.injected", "pair.rewritten"].contains(&f["rule"].as_str().unwrap());
        if forged && f["grade"] == "confirmed" {
            for flow in f["flows"].as_array().unwrap() {
                all.insert(format!("{} {} {} {}", f["direction"], flow["proto"], flow["client"], flow["server"]));
            }
        }
    }
    all
}

#[test]
fn a_spoilt_capture_proves_nothing_new() {
    let dir = support::scratch("pair-changed");
    let mut again = 0;
    for case in CASES {
        let at = support::cases::root().join(case);
        let (a, b) = (Capture::read(&at.join("a.pcap")), Capture::read(&at.join("b.pcap")));
        let want = proved(&dir, &a, &b);
        let first = b.frames[0].0;
        let drifting = |c: Capture| c.each(|f| f.0 = f.0 + 3_600_250_000_000 + (f.0 - first) / 12_500);
        let changed: Vec<(&str, Capture, Capture)> = vec![
            ("B's clock is set otherwise and drifts", a.clone(), drifting(b.clone())),
            ("B's clock ticks 64 times a second", a.clone(), b.clone().each(|f| f.0 -= f.0 % 15_625_000)),
            ("A misses frames", a.clone().missing(30, 1), b.clone()),
            ("B misses frames", a.clone(), b.clone().missing(30, 2)),
            ("both miss frames", a.clone().missing(20, 3), b.clone().missing(20, 4)),
            ("both miss many frames", a.clone().missing(8, 5), b.clone().missing(8, 6)),
            ("A is a mirrored port", a.clone().doubled(1), b.clone()),
            ("B is a mirrored port that misses frames, of a drifting clock", a.clone(), drifting(b.clone().doubled(1).missing(30, 7))),
            ("a third of A is doubled", a.clone().doubled(3), b.clone()),
            ("B is cut short", a.clone(), b.clone().each(|f| f.2.truncate(70))),
            ("A ends first, B begins last", a.clone().part(0, 65), b.clone().part(35, 100)),
            ("B ends first, A begins last", a.clone().part(35, 100), b.clone().part(0, 65)),
            (
                "all of that",
                a.clone().missing(30, 8).part(0, 80),
                drifting(b.clone().missing(30, 9)).part(20, 100).each(|f| f.2.truncate(90)),
            ),
        ];
        for (how, a, b) in changed {
            let got = proved(&dir, &a, &b);
            assert!(got.is_subset(&want), "{case}, {how}: {:#?}", got.difference(&want).collect::<Vec<_>>());
            again += usize::from(!want.is_empty() && got == want);
        }
    }
    // Of the 5 pairs with forged packets most are proved all the same.
    assert!(again >= 25, "{again}");
    std::fs::remove_dir_all(&dir).unwrap();
}
