//! Captures replayed over veth pairs, in network namespaces of their own, while `live` listens: what it tells must be what `analyze` tells
//! of the same packets (`same`), also when interfaces vanish, work piles up or nobody speaks any more (`hardship`); and what it gives up (`confined`).
//!
//! Needs Linux, root, `ip` and `tcpreplay`. Where one is missing the tests say so and pass; with `TAMPERSCOPE_LIVE_TEST=required` they fail.
#![cfg(all(feature = "live", target_os = "linux"))]
#![allow(missing_docs)]

#[path = "../../src/sink/check.rs"]
mod check;
mod confined;
mod hardship;
mod same;
#[path = "../support/mod.rs"]
mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::cases;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tamperscope");

fn quiet(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// A namespace with `a0` and `b0` joined to each other; gone when dropped.
struct Net(String);

impl Net {
    /// `None`, with the reason on standard error, where there can be none.
    fn new(name: &str) -> Option<Self> {
        let net = Self(format!("ts{}{name}", std::process::id()));
        let why = if !quiet("ip", &["-V"]) {
            "there is no `ip` (iproute2)"
        } else if !quiet("tcpreplay", &["--version"]) {
            "there is no tcpreplay"
        } else if !quiet("ip", &["netns", "add", &net.0]) {
            "network namespaces cannot be made here (not root?)"
        } else if !net.joined() {
            "a veth pair cannot be made here"
        } else {
            return Some(net);
        };
        assert!(std::env::var("TAMPERSCOPE_LIVE_TEST").as_deref() != Ok("required"), "{why}");
        eprintln!("skipped: {why}");
        None
    }
    fn joined(&self) -> bool {
        // Nobody else may speak here: no IPv6 neighbours, no ARP.
        self.run("sysctl", &["-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"]);
        self.ip(&["link", "set", "lo", "up"]) && self.join("a0", "b0")
    }
    fn join(&self, a: &str, b: &str) -> bool {
        self.ip(&["link", "add", a, "mtu", "9000", "type", "veth", "peer", "name", b, "mtu", "9000"])
            && [a, b].iter().all(|i| self.ip(&["link", "set", i, "arp", "off", "up"]))
    }
    fn ip(&self, args: &[&str]) -> bool {
        quiet("ip", &[&["-n", &self.0], args].concat())
    }
    /// Sends a capture out of `a0`, which `b0` receives.
    fn replay(&self, how: &[&str], capture: &Path) {
        assert!(
            self.run("tcpreplay", &[&["-q", "-i", "a0"], how, &[capture.to_str().unwrap()]].concat()),
            "tcpreplay {}",
            capture.display()
        );
    }
    fn command(&self, program: &str) -> Command {
        let mut c = Command::new("ip");
        c.args(["netns", "exec", &self.0, program]);
        c
    }
    fn run(&self, program: &str, args: &[&str]) -> bool {
        self.command(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        quiet("ip", &["netns", "del", &self.0]);
    }
}

fn dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("tamperscope-live-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn records(text: &str) -> Vec<Value> {
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

/// A `live` that does not outlive its test, however that ends.
struct Run(Child);

impl std::ops::Deref for Run {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl std::ops::DerefMut for Run {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `live` on `b0`, and waits until it listens.
fn listen(net: &Net, dir: &Path, more: &[&str]) -> Run {
    let cap = dir.join("cap.pcapng");
    listen_on(net, dir, &[&["-i", "b0", "-w", cap.to_str().unwrap()], more].concat())
}

/// Starts `live`, and waits until it listens.
fn listen_on(net: &Net, dir: &Path, args: &[&str]) -> Run {
    let child = net
        .command(PROGRAM)
        .args(["live", "--json", "--interval", "1", "-q"])
        .args(args)
        .stdout(File::create(dir.join("live.jsonl")).unwrap())
        .spawn()
        .unwrap();
    let child = Run(child);
    assert!(soon(30, || of(&so_far(dir), "stats").count() > 0), "live does not begin");
    child
}

/// Whole records told so far.
fn so_far(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("live.jsonl")).unwrap_or_default();
    records(text.rfind('\n').map_or("", |end| &text[..=end]))
}

/// Waits until something holds, at most so many seconds.
fn soon(seconds: u64, holds: impl Fn() -> bool) -> bool {
    (0..seconds * 10).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        holds()
    })
}

/// Ends `live` as Ctrl-C does, and gives what it told.
fn interrupt(child: &mut Child, dir: &Path) -> Vec<Value> {
    signal(child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    so_far(dir)
}

fn case(name: &str) -> PathBuf {
    cases::input(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cases").join(name))
}

fn packets(all: &[Value]) -> u64 {
    of(all, "source").map(|s| s["packets"].as_u64().unwrap()).sum()
}

fn signal(child: &Child, name: &str) {
    // `ip netns exec` becomes the program it starts.
    assert!(quiet("kill", &[&format!("-{name}"), &child.id().to_string()]));
}

fn analyze(path: &Path) -> Vec<Value> {
    let out = Command::new(PROGRAM).args(["analyze", "--json"]).arg(path).output().unwrap();
    records(&String::from_utf8(out.stdout).unwrap())
}

fn of<'a>(all: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    let kind = kind.to_owned();
    all.iter().filter(move |r| r["type"] == kind.as_str())
}

/// The findings that stand at the end, by id, without what they superseded.
fn standing(all: &[Value]) -> BTreeMap<String, Value> {
    let mut stand = BTreeMap::new();
    for r in all {
        match r["type"].as_str() {
            Some("finding") => {
                let mut r = r.clone();
                if let Some(old) = r["supersedes"].take().as_str() {
                    assert!(stand.remove(old).is_some(), "{old} was never told");
                }
                stand.insert(r["id"].as_str().unwrap().to_owned(), r);
            }
            Some("stats") => {
                for id in r["withdrawn"].as_array().unwrap() {
                    assert!(stand.remove(id.as_str().unwrap()).is_some(), "{id} was never told");
                }
            }
            _ => {}
        }
    }
    stand
}

fn flows(all: &[Value]) -> BTreeMap<String, Value> {
    of(all, "flow").map(|f| (f["id"].as_str().unwrap().to_owned(), f.clone())).collect()
}

/// What a finding claims, without times and sureness: on a busy machine a replay is not as even as the original.
fn claims(all: &[Value]) -> BTreeSet<String> {
    let claim = |f: &Value| format!("{} {} {} {}", f["kind"], f["mechanism"], f["target"]["service"], f["target"]["sni"]);
    of(all, "finding").map(claim).collect()
}
