//! Something is in the way: interfaces vanish, work piles up, files are wrong, nobody speaks, the process is killed.

use super::*;
use std::io::Read;

#[test]
fn whoever_is_killed_leaves_whole_lines() {
    let Some(net) = Net::new("k") else { return };
    let dir = dir("k");
    let mut child = listen(&net, &dir, &[]);
    net.replay(&["-t"], &case("clean-messengers"));
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
fn what_cannot_be_captured_is_said() {
    let out = Command::new(PROGRAM).args(["live", "-i", "no-such-if0"]).output().unwrap();
    assert_eq!(out.status.code(), Some(5));
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(said.contains("no-such-if0") && (said.contains("tamperscope interfaces") || said.contains("setcap cap_net_raw=ep")), "{said}");
}

fn notices(all: &[Value]) -> String {
    of(all, "stats").map(|s| s["notices"].to_string()).filter(|n| n != "[]").collect::<Vec<_>>().join("\n")
}

#[test]
fn an_interface_that_comes_back_as_another_kind_is_said_and_heard_again() {
    let Some(net) = Net::new("v") else { return };
    if !net.ip(&["tuntap", "add", "t0", "mode", "tun"]) {
        eprintln!("skipped: there are no tun interfaces here");
        return;
    }
    let dir = dir("v");
    let mut child = listen(&net, &dir, &[]);
    let interface = || of(&so_far(&dir), "stats").last().unwrap()["interfaces"][0].clone();
    assert!(net.ip(&["link", "set", "b0", "down"]));
    assert!(soon(10, || interface()["link"] == "down"), "{}", notices(&so_far(&dir)));
    assert!(net.ip(&["link", "set", "b0", "up"]));
    assert!(soon(10, || interface()["link"] == "up"), "{}", notices(&so_far(&dir)));
    assert!(net.ip(&["link", "del", "b0"]));
    assert!(soon(10, || interface()["link"] == "gone"), "{}", notices(&so_far(&dir)));
    // Layer 3: frames without Ethernet headers.
    assert!(net.ip(&["link", "set", "t0", "name", "b0", "up"]));
    assert!(soon(15, || interface()["link"] == "up" && interface()["link_type"] == "raw"), "{}", notices(&so_far(&dir)));
    assert!(net.ip(&["link", "del", "b0"]));
    assert!(soon(10, || interface()["link"] == "gone"), "{}", notices(&so_far(&dir)));
    assert!(net.join("a0", "b0"));
    assert!(soon(15, || interface()["link"] == "up" && interface()["link_type"] == "ethernet"), "{}", notices(&so_far(&dir)));
    let input = case("rst-on-path-tls");
    net.replay(&[], &input);
    std::thread::sleep(Duration::from_millis(1500));
    let live = interrupt(&mut child, &dir);
    assert_eq!(packets(&live), packets(&analyze(&input)));
    assert_eq!(flows(&live), flows(&analyze(&dir.join("cap.pcapng"))));
    let said = notices(&live);
    for words in ["the interface is down", "up again", "capture goes on when it is back", "the interface is back, with link type"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn wrong_service_files_leave_the_old_ones_in_force() {
    let Some(net) = Net::new("h") else { return };
    let dir = dir("h");
    let file = dir.join("own.toml");
    let write = |title: &str| {
        let service =
            format!("schema = 1\n[[service]]\nid = \"own\"\ntitle = \"{title}\"\ncategory = \"messenger\"\nupdated = \"2026-11-01\"\n");
        let domain = "[[service.domain]]\nsuffix = [\"own.example\"]\nsource = \"own capture\"\n";
        fs::write(&file, service + domain).unwrap();
    };
    write("first");
    let mut child = listen(&net, &dir, &["--services", file.to_str().unwrap()]);
    let rules = || of(&so_far(&dir), "stats").last().unwrap()["rules_sha256"].clone();
    let before = rules();
    assert!(before.is_string());
    fs::write(&file, "schema = 1\n[[service]]\nid = 7\n").unwrap();
    signal(&child, "HUP");
    assert!(soon(10, || notices(&so_far(&dir)).contains("the old ones stay in force")), "{}", notices(&so_far(&dir)));
    assert_eq!(rules(), before);
    write("second");
    signal(&child, "HUP");
    assert!(soon(10, || notices(&so_far(&dir)).contains("were read again")), "{}", notices(&so_far(&dir)));
    assert!(soon(5, || rules() != before), "other rules are in force");
    interrupt(&mut child, &dir);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn on_a_silent_link_flows_and_findings_are_told_while_it_is_silent() {
    let Some(net) = Net::new("q") else { return };
    let dir = dir("q");
    let mut child = listen(&net, &dir, &[]);
    let input = case("rst-on-path-tls");
    net.replay(&[], &input);
    let original = analyze(&input);
    let over = |all: &[Value]| flows(all).into_values().filter(|f| f["closed"] == "finished").count();
    assert!(over(&original) > 0 && of(&original, "finding").count() > 0);
    // No packet comes any more. What is over is told, and what it means.
    // The last of a TCP flow is waited for 60 s.
    assert!(soon(120, || over(&so_far(&dir)) == over(&original)), "{} of {}", over(&so_far(&dir)), over(&original));
    let told: Vec<Value> = standing(&so_far(&dir)).into_values().collect();
    assert_eq!(claims(&told), claims(&original));
    let live = interrupt(&mut child, &dir);
    let told: Vec<Value> = standing(&live).into_values().collect();
    assert_eq!(claims(&told), claims(&original), "the end takes nothing back");
    let last = |all: &[Value]| of(all, "source").next().unwrap()["last_ts_ns"].clone();
    assert_eq!(last(&live), last(&analyze(&dir.join("cap.pcapng"))), "the last packet stays the last packet");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn under_overload_work_is_shed_in_order_and_losses_are_counted_and_it_recovers() {
    let Some(net) = Net::new("o") else { return };
    let dir = dir("o");
    // Captured packets go into a pipe that is emptied more slowly than they come: the reader stands still again and again, as behind a slow
    // disk.
    let pipe = dir.join("pipe");
    assert!(quiet("mkfifo", &[pipe.to_str().unwrap()]));
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let drain = std::thread::spawn({
        let pipe = pipe.clone();
        move || {
            let mut pipe = File::open(pipe).unwrap();
            let mut sink = vec![0; 1 << 16];
            while pipe.read(&mut sink).is_ok_and(|n| n > 0) {
                if wait.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                    std::thread::sleep(Duration::from_millis(14));
                }
            }
        }
    });
    let mut child = listen_on(&net, &dir, &["-i", "b0", "-w", pipe.to_str().unwrap(), "--max-memory", "512M", "-j", "1"]);
    let input = case("clean-call");
    let each = packets(&analyze(&input));
    // A little more than the pipe takes, so that the queue takes seconds to fill: every step is seen.
    let rounds = 400_000 / each + 1;
    let (done, asking) = std::sync::mpsc::channel::<()>();
    let asker = std::thread::spawn({
        let pid = child.id().to_string();
        move || {
            while asking.recv_timeout(Duration::from_millis(100)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                quiet("kill", &["-USR1", &pid]);
            }
        }
    });
    net.replay(&["-K", "-p", "40000", "-l", &rounds.to_string()], &input);
    drop(go);
    let stats = || of(&so_far(&dir), "stats").cloned().collect::<Vec<_>>();
    let shedding = |s: &Value| s["shedding"] != "nothing";
    // Two looks that agree: what was dealt before the last one was shed is through.
    let calm = || match stats().as_slice() {
        [.., a, b] => b["losses"]["queue"] != 0 && !shedding(a) && !shedding(b) && a["losses"] == b["losses"],
        _ => false,
    };
    assert!(soon(30, calm), "{:?}", stats().last());
    drop(done);
    asker.join().unwrap();
    let before = stats().last().unwrap().clone();
    let levels = ["nothing", "long_payload", "payload", "following"];
    let level = |s: &Value| levels.iter().position(|l| s["shedding"] == *l).unwrap();
    let seen = stats();
    // Up step by step, and no packet is dropped before the last step.
    let top = seen.iter().position(|s| level(s) == 3).unwrap_or_else(|| panic!("{:?}", seen.iter().map(level).collect::<Vec<_>>()));
    let steps: Vec<usize> = seen[..=top].iter().map(level).collect();
    // On a busy machine one of the steps may pass between two looks.
    assert!(steps.is_sorted() && (steps.contains(&1) || steps.contains(&2)), "{steps:?}");
    for s in seen[..=top].iter() {
        assert!(s["losses"]["queue"] == 0 || level(s) == 3, "packets are the last to go: {}", s["losses"]);
    }
    let shed_first = seen.iter().position(|s| s["losses"]["policy"] != 0).unwrap();
    assert!(seen[..shed_first].iter().all(|s| s["losses"]["queue"] == 0), "payload is given up before packets");
    // It goes on as if nothing had been, but for the numbers.
    let after = case("rst-on-path-tls");
    net.replay(&[], &after);
    std::thread::sleep(Duration::from_millis(1500));
    let live = interrupt(&mut child, &dir);
    drain.join().unwrap();
    let end = live.last().unwrap();
    let lost = |of: &Value, why: &str| of["losses"][why].as_u64().unwrap();
    assert!(lost(end, "queue") > 0, "{}", end["losses"]);
    assert_eq!(
        (lost(end, "queue"), lost(end, "policy")),
        (lost(&before, "queue"), lost(&before, "policy")),
        "nothing is lost once it has recovered"
    );
    // Every packet is in exactly one place.
    let sent = rounds * each + packets(&analyze(&after));
    assert_eq!(packets(&live) + lost(end, "queue") + lost(end, "kernel") + lost(end, "interface"), sent, "{}", end["losses"]);
    let source = of(&live, "source").next().unwrap();
    let drops: u64 = ["kernel", "interface", "queue", "policy"].iter().map(|why| lost(end, why)).sum();
    assert_eq!(source["quality"]["drops"], drops);
    let servers = |all: &[Value]| flows(all).into_values().map(|f| f["server"].to_string()).collect::<BTreeSet<_>>();
    assert!(servers(&live).is_superset(&servers(&analyze(&after))));
    fs::remove_dir_all(dir).unwrap();
}
