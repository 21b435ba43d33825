//! Nothing is in the way: records are those of the file.

use super::*;
use tamperscope::sink::schema;

/// A case replayed whole: nothing is lost, and what is told is what the file tells.
fn replay(name: &str, case: &str, more: &[&str]) {
    let Some(net) = Net::new(name) else { return };
    let dir = dir(name);
    let mut child = listen(&net, &dir, more);
    let input = super::case(case);
    net.replay(&[], &input);
    std::thread::sleep(Duration::from_millis(1500));
    let live = interrupt(&mut child, &dir);
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
fn metrics_are_served_on_loopback_by_a_confined_process() {
    let Some(net) = Net::new("m") else { return };
    let dir = dir("m");
    let mut child = listen(&net, &dir, &["--metrics", "9108"]);
    net.replay(&[], &case("rst-on-path-tls"));
    let ask = || {
        let out = net
            .command("bash")
            .args(["-c", "exec 3<>/dev/tcp/127.0.0.1/9108; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"])
            .output();
        String::from_utf8(out.unwrap().stdout).unwrap()
    };
    assert!(soon(10, || ask().contains("tamperscope_findings_total{rule=\"tcp.rst.injected\",state=\"confirmed\"} 1\n")), "{}", ask());
    let page = ask();
    let packets = packets(&analyze(&case("rst-on-path-tls")));
    for line in [
        format!("tamperscope_capture_packets_total{{interface=\"b0\"}} {packets}\n"),
        "tamperscope_capture_up{interface=\"b0\"} 1\n".to_owned(),
        "tamperscope_reassembly_buffered_bytes 0\n".to_owned(),
        "tamperscope_shedding_level 0\n".to_owned(),
    ] {
        assert!(page.contains(&line), "{line}{page}");
    }
    for reason in ["kernel", "interface", "queue"] {
        assert!(page.contains(&format!("dropped_packets_total{{interface=\"b0\",reason=\"{reason}\"}} 0\n")), "{page}");
    }
    assert!(page.contains("tamperscope_processing_lag_seconds 0."), "{page}");
    assert!(!page.contains("149.154.167.99") && !page.contains("web.telegram.org"), "{page}");
    interrupt(&mut child, &dir);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn count_and_duration_end_the_capture_by_themselves() {
    let Some(net) = Net::new("c") else { return };
    let dir = dir("c");
    let mut child = listen(&net, &dir, &["-c", "100"]);
    net.replay(&["-t"], &case("clean-messengers"));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let live = records(&fs::read_to_string(dir.join("live.jsonl")).unwrap());
    assert_eq!(of(&live, "source").next().unwrap()["packets"], 100);
    assert_eq!(flows(&live), flows(&analyze(&dir.join("cap.pcapng"))));
    let mut child = listen(&net, &dir, &["-a", "duration:2"]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn directions_on_two_interfaces_are_put_in_order() {
    let Some(net) = Net::new("r8") else { return };
    let dir = dir("r8");
    assert!(net.join("c0", "d0"));
    let input = case("rst-on-path-tls");
    let cache = dir.join("split.cache");
    assert!(net.run("tcpprep", &["--auto=first", "-i", input.to_str().unwrap(), "-o", cache.to_str().unwrap()]), "tcpprep");
    let cap = dir.join("cap.pcapng");
    let mut child = listen_on(&net, &dir, &["-i", "b0", "-i", "d0", "-w", cap.to_str().unwrap()]);
    net.replay(&["-I", "c0", "-c", cache.to_str().unwrap()], &input);
    std::thread::sleep(Duration::from_millis(1500));
    let live = interrupt(&mut child, &dir);
    let (again, original) = (analyze(&cap), analyze(&input));
    let stats = of(&live, "stats").last().unwrap();
    let of_each: Vec<u64> = stats["interfaces"].as_array().unwrap().iter().map(|i| i["packets"].as_u64().unwrap()).collect();
    assert!(of_each.len() == 2 && of_each.iter().all(|n| *n > 0), "{of_each:?}");
    assert_eq!(of_each.iter().sum::<u64>(), packets(&original));
    assert_eq!((packets(&live), packets(&again)), (packets(&original), packets(&original)));
    assert_eq!(of(&again, "source").next().unwrap()["quality"]["time_steps_back"], 0);
    assert_eq!(flows(&live), flows(&again));
    assert_eq!(standing(&live), standing(&again));
    // Out of order, answers would come before questions: other roles, other histories.
    let histories = |all: &[Value]| flows(all).into_values().map(|f| f["history"].to_string()).collect::<Vec<_>>();
    assert_eq!(histories(&live), histories(&original));
    assert_eq!(claims(&live), claims(&original));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn any_interface_with_a_filter_and_a_mode_it_does_not_know() {
    let Some(net) = Net::new("r9") else { return };
    let dir = dir("r9");
    let cap = dir.join("cap.pcapng");
    // `any` knows no promiscuous mode: libpcap warns, and the capture goes on. Each packet leaves a0 and arrives at b0.
    let mut child = listen_on(&net, &dir, &["-i", "any", "--promisc", "-f", "inbound and tcp", "-w", cap.to_str().unwrap()]);
    let input = case("rst-on-path-tls");
    net.replay(&[], &input);
    std::thread::sleep(Duration::from_millis(1500));
    let live = interrupt(&mut child, &dir);
    let (again, original) = (analyze(&cap), analyze(&input));
    let notices: Vec<String> = of(&live, "stats").flat_map(|s| s["notices"].as_array().unwrap()).map(Value::to_string).collect();
    assert!(notices.iter().any(|n| n.contains("any: not in promiscuous mode")), "{notices:?}");
    assert_eq!(of(&live, "source").next().unwrap()["link_types"], serde_json::json!(["linux_sll2"]));
    let tcp = |all: &[Value]| flows(all).into_values().filter(|f| f["proto"] == "tcp").count();
    assert_eq!((flows(&live).len(), tcp(&live)), (tcp(&original), tcp(&original)), "only what the filter lets through, and once");
    assert_eq!(flows(&live), flows(&again));
    assert_eq!(standing(&live), standing(&again));
    assert_eq!(claims(&live), claims(&original));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_filter_keeps_the_rest_out_and_a_wrong_one_is_said() {
    let Some(net) = Net::new("f") else { return };
    let dir = dir("f");
    let mut child = listen(&net, &dir, &["-f", "udp port 53"]);
    let input = case("clean-messengers");
    net.replay(&["-t"], &input);
    std::thread::sleep(Duration::from_millis(500));
    let live = interrupt(&mut child, &dir);
    let asks = |all: &[Value]| flows(all).into_values().filter(|f| f["proto"] == "udp" && f["server"]["port"] == 53).count();
    let original = analyze(&input);
    assert!(asks(&original) > 0 && asks(&original) < flows(&original).len());
    assert_eq!((flows(&live).len(), asks(&live)), (asks(&original), asks(&original)));
    let out = net.command(PROGRAM).args(["live", "-i", "b0", "-f", "no such words"]).output().unwrap();
    assert_eq!(out.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&out.stderr).contains("the filter is wrong"));
    fs::remove_dir_all(dir).unwrap();
}

/// The files of a rotated capture, in order.
fn row(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "pcapng"));
    files.sort();
    files
}

#[test]
fn captured_files_rotate_by_time_and_by_size_and_the_oldest_go() {
    let Some(net) = Net::new("w") else { return };
    let dir = dir("w");
    let input = case("clean-messengers");
    let each = packets(&analyze(&input));
    let mut child = listen(&net, &dir, &["-G", "1"]);
    for _ in 0..3 {
        net.replay(&["-t"], &input);
        std::thread::sleep(Duration::from_millis(1100));
    }
    let live = interrupt(&mut child, &dir);
    let files = row(&dir);
    assert!(files.len() >= 3, "{files:?}");
    assert_eq!((packets(&live), files.iter().map(|f| packets(&analyze(f))).sum::<u64>()), (3 * each, 3 * each));
    files.iter().for_each(|f| fs::remove_file(f).unwrap());
    let mut child = listen(&net, &dir, &["-C", "1", "-W", "2"]);
    net.replay(&["-M", "80", "-l", "30"], &input);
    std::thread::sleep(Duration::from_millis(500));
    interrupt(&mut child, &dir);
    let files = row(&dir);
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files[0].to_str().unwrap().contains("cap_0") && !files[0].to_str().unwrap().contains("00001"), "{files:?}");
    // A file ends with the packet that reaches the bound.
    assert!((1_000_000..1_020_000).contains(&fs::metadata(&files[0]).unwrap().len()));
    assert!(files.iter().all(|f| packets(&analyze(f)) > 0));
    fs::remove_dir_all(dir).unwrap();
}
