//! Captures replayed over a veth pair, in network namespaces of their own, while `live` listens: what it tells must be what `analyze` tells
//! of the same packets.
//!
//! Needs Linux, root, `ip` and `tcpreplay`. Where one is missing the tests say so and pass; with `TAMPERSCOPE_LIVE_TEST=required` they fail.
#![cfg(all(feature = "live", target_os = "linux"))]
#![allow(missing_docs)]

#[path = "../src/sink/check.rs"]
mod check;
mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::cases;
use tamperscope::sink::schema;

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
        quiet("ip", &["-n", &self.0, "link", "add", "a0", "mtu", "9000", "type", "veth", "peer", "name", "b0", "mtu", "9000"])
            && ["a0", "b0", "lo"].iter().all(|i| quiet("ip", &["-n", &self.0, "link", "set", i, "arp", "off", "up"]))
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

/// Starts `live`, and waits until it listens.
#[allow(clippy::zombie_processes)] // The caller waits; without a beginning the test has failed.
fn listen(net: &Net, dir: &Path, more: &[&str]) -> Child {
    let out = dir.join("live.jsonl");
    let child = net
        .command(PROGRAM)
        .args(["live", "-i", "b0", "--json", "--interval", "1", "-q", "-w"])
        .arg(dir.join("cap.pcapng"))
        .args(more)
        .stdout(File::create(&out).unwrap())
        .spawn()
        .unwrap();
    for _ in 0..300 {
        std::thread::sleep(Duration::from_millis(100));
        if fs::read_to_string(&out).is_ok_and(|t| t.contains("\"type\":\"stats\"")) {
            return child;
        }
    }
    panic!("live does not begin");
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

fn replay(name: &str, case: &str, more: &[&str]) {
    let Some(net) = Net::new(name) else { return };
    let dir = dir(name);
    let mut child = listen(&net, &dir, more);
    let input = cases::input(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cases").join(case));
    assert!(net.run("tcpreplay", &["-q", "-i", "a0", input.to_str().unwrap()]), "tcpreplay {case}");
    std::thread::sleep(Duration::from_millis(1500));
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130), "{case}");
    let live = records(&fs::read_to_string(dir.join("live.jsonl")).unwrap());
    let again = analyze(&dir.join("cap.pcapng"));
    let original = analyze(&input);
    for record in &live {
        let mut errors = Vec::new();
        check::errors(record, &schema::record(record["type"].as_str().unwrap()), "", &mut errors);
        assert!(errors.is_empty(), "{case}: {errors:#?}");
    }
    let end = live.last().unwrap();
    assert_eq!((end["type"].as_str(), end["interrupted"].as_bool()), (Some("end"), Some(true)));
    for loss in ["kernel", "interface", "queue", "policy"] {
        assert_eq!(end["losses"][loss], 0, "{case}: {loss}");
    }
    let packets = |all: &[Value]| of(all, "source").map(|s| s["packets"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(packets(&live), packets(&original), "{case}");
    assert_eq!(flows(&live), flows(&again), "{case}");
    assert_eq!(standing(&live), standing(&again), "{case}");
    let services = |all: &[Value]| of(all, "service").cloned().collect::<Vec<_>>();
    assert_eq!(services(&live), services(&again), "{case}");
    let told: Vec<Value> = standing(&live).into_values().collect();
    assert_eq!(claims(&told), claims(&original), "{case}");
    assert_eq!(flows(&live).len(), flows(&original).len(), "{case}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn resets_are_told_live_as_from_a_file() {
    replay("r1", "rst-on-path-tls", &[]);
}

#[test]
fn several_capture_threads_share_an_interface() {
    replay("r2", "rst-triple-server-side", &["--capture-threads", "2", "-j", "3"]);
}

#[test]
fn silence_is_told_live_as_from_a_file() {
    replay("r3", "sni-hello-dropped", &["--sandbox", "off"]);
}

#[test]
fn forged_answers_are_told_live_as_from_a_file() {
    replay("r4", "dns-race", &["--immediate-mode"]);
}

#[test]
fn dropped_quic_is_told_live_as_from_a_file() {
    replay("r5", "quic-initial-dropped", &["-s", "2000"]);
}

#[test]
fn what_a_control_adds_later_is_told_too() {
    replay("r7", "sni-reset", &[]);
}

#[test]
fn undisturbed_traffic_gives_no_finding() {
    replay("r6", "clean-messengers", &["ip or ip6"]);
}

#[test]
fn whoever_is_killed_leaves_whole_lines() {
    let Some(net) = Net::new("k") else { return };
    let dir = dir("k");
    let mut child = listen(&net, &dir, &[]);
    let input = cases::input(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cases/clean-messengers"));
    assert!(net.run("tcpreplay", &["-q", "-t", "-i", "a0", input.to_str().unwrap()]));
    signal(&child, "USR1");
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "KILL");
    child.wait().unwrap();
    let text = fs::read_to_string(dir.join("live.jsonl")).unwrap();
    assert!(text.ends_with('\n'));
    assert!(of(&records(&text), "stats").count() >= 2 && of(&records(&text), "end").count() == 0);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn count_and_duration_end_the_capture_by_themselves() {
    let Some(net) = Net::new("c") else { return };
    let dir = dir("c");
    let mut child = listen(&net, &dir, &["-c", "100"]);
    let input = cases::input(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cases/clean-messengers"));
    assert!(net.run("tcpreplay", &["-q", "-t", "-i", "a0", input.to_str().unwrap()]));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let live = records(&fs::read_to_string(dir.join("live.jsonl")).unwrap());
    assert_eq!(of(&live, "source").next().unwrap()["packets"], 100);
    assert_eq!(flows(&live), flows(&analyze(&dir.join("cap.pcapng"))));
    let mut child = listen(&net, &dir, &["-a", "duration:2"]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn what_cannot_be_captured_is_said() {
    let out = Command::new(PROGRAM).args(["live", "-i", "no-such-if0"]).output().unwrap();
    assert_eq!(out.status.code(), Some(5));
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(said.contains("no-such-if0") && (said.contains("tamperscope interfaces") || said.contains("setcap cap_net_raw=ep")), "{said}");
}
