//! What a running `live` can still do, seen from outside.

use super::*;

/// The status files of all threads.
fn threads(child: &Child) -> Vec<String> {
    let all = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    all.map(|t| fs::read_to_string(t.unwrap().path().join("status")).unwrap()).collect()
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|l| l.strip_prefix(name)).map_or("", str::trim)
}

fn notices(all: &[Value]) -> String {
    of(all, "stats").map(|s| s["notices"].to_string()).collect()
}

#[test]
fn strict_runs_with_everything_given_up_or_not_at_all() {
    let Some(net) = Net::new("s") else { return };
    let dir = dir("s");
    let out = net.command(PROGRAM).args(["live", "-i", "b0", "--json", "--sandbox", "strict", "-a", "duration:1"]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    if out.status.code() == Some(2) {
        eprintln!("this system does not offer all of it: only the refusal is tested");
        assert!(said.contains("--sandbox strict: ") && said.contains("cannot be given up here"), "{said}");
        assert!(out.stdout.is_empty(), "nothing was captured");
        return;
    }
    assert_eq!(out.status.code(), Some(0), "{said}");
    // Files that rotate are made where -w says, after everything was given up.
    let mut child = listen(&net, &dir, &["--sandbox", "strict", "-G", "1"]);
    for _ in 0..2 {
        net.replay(&["-t"], &case("rst-on-path-tls"));
        std::thread::sleep(Duration::from_millis(1100));
    }
    for one in threads(&child) {
        for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
            assert_eq!(field(&one, set), "0000000000000000", "{set}");
        }
        assert_eq!((field(&one, "NoNewPrivs:"), field(&one, "Seccomp:")), ("1", "2"));
    }
    let live = interrupt(&mut child, &dir);
    assert!(!notices(&live).contains("sandbox"), "{}", notices(&live));
    assert!(fs::read_dir(&dir).unwrap().count() >= 3, "live.jsonl and two captures");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn threads_that_read_packets_can_neither_capture_nor_connect_nor_leave_their_places() {
    let Some(net) = Net::new("b") else { return };
    let dir = dir("b");
    // The place of the captured packets may be written to and read, with all that is below it; beside it nothing may.
    let (own, elsewhere) = (dir.join("own"), super::dir("b-elsewhere"));
    fs::create_dir(&own).unwrap();
    let rules = |id: &str| {
        format!(
            "schema = 1\n[[service]]\nid = \"{id}\"\ntitle = \"{id}\"\ncategory = \"messenger\"\nupdated = \"2026-11-01\"\n\
             [[service.domain]]\nsuffix = [\"{id}.example\"]\nsource = \"own capture\"\n"
        )
    };
    let file = own.join("own.toml");
    fs::write(&file, rules("first")).unwrap();
    fs::write(elsewhere.join("other.toml"), rules("other")).unwrap();
    let mut child = listen(&net, &dir, &["--services", file.to_str().unwrap()]);
    let said = notices(&so_far(&dir));
    let all = threads(&child);
    if said.contains("seccomp") {
        eprintln!("this system has no seccomp filters: {said}");
    } else {
        for one in &all {
            let name = field(one, "Name:");
            assert_eq!((field(one, "NoNewPrivs:"), field(one, "Seccomp:")), ("1", "2"), "{name}");
            // The second filter is the one against sockets. Who has not got it captures, and reads nothing.
            match field(one, "Seccomp_filters:") {
                "1" => assert_eq!(field(one, "CapEff:"), "0000000000002000", "{name}: CAP_NET_RAW and nothing else"),
                _ => assert_eq!((field(one, "CapEff:"), field(one, "CapPrm:")), ("0000000000000000", "0000000000000000"), "{name}"),
            }
        }
        let free = all.iter().filter(|one| field(one, "Seccomp_filters:") == "1").count();
        assert!(free <= 1 && all.len() >= 3, "{free} of {} threads may open sockets", all.len());
    }
    // The name leads out of the places that were named.
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(elsewhere.join("other.toml"), &file).unwrap();
    signal(&child, "HUP");
    let answered = || notices(&so_far(&dir)).contains("again");
    assert!(soon(10, answered));
    let told = notices(&so_far(&dir));
    if said.contains("Landlock") {
        eprintln!("this system has no Landlock: {said}");
    } else {
        assert!(told.contains("the old ones stay in force") && told.contains("Permission denied"), "{told}");
    }
    interrupt(&mut child, &dir);
    for d in [dir, elsewhere] {
        fs::remove_dir_all(d).unwrap();
    }
}
