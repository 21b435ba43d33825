//! `live --metrics`: counters for Prometheus (text format 0.0.4, or OpenMetrics when asked for).
//!
//! The one socket of this program: a listener, on loopback unless the user names another address. It answers `GET /metrics`, one request
//! at a time, and reads nothing else. No address and no name from the wire is a label: their number has no bound, and they are private.

use super::Sink;
use crate::model::board::{Board, Count};
use crate::model::finding::Grade;
use crate::model::pulse::{Pulse, Stats};
use crate::model::story::End;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes of a request that are read.
const REQUEST_MAX: usize = 4096;
/// How long a client may take for its request, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the counters are taken from.
#[derive(Clone)]
struct Shared {
    board: Arc<Board>,
    stats: Arc<Mutex<Stats>>,
}

/// An address that is listened on.
pub struct Listener(TcpListener);

/// What the user typed: a port (loopback), or address and port.
///
/// # Errors
/// When it is neither.
pub fn address(typed: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = typed.trim_start_matches(':').parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    let typed = typed.replace("localhost:", "127.0.0.1:");
    typed.parse().map_err(|_| format!("--metrics {typed}: is not a port, or address:port"))
}

impl Listener {
    /// Listens.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).map(Self)
    }

    /// The address in use.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers from a thread of its own, as long as the process lives.
    pub fn serve(self, board: Arc<Board>) -> Metrics {
        let shared = Shared { board, stats: Arc::default() };
        let seen = shared.clone();
        std::thread::spawn(move || {
            for mut client in self.0.incoming().flatten() {
                // A client that goes away or dawdles is its own affair.
                let _ = client.set_read_timeout(Some(PATIENCE)).and_then(|()| client.set_write_timeout(Some(PATIENCE)));
                let _ = answer(&mut client, &seen);
            }
        });
        Metrics { shared }
    }
}

/// Brings the counters up to date.
pub struct Metrics {
    shared: Shared,
}

impl Sink for Metrics {
    fn pulse(&mut self, pulse: &Pulse<'_>) -> io::Result<()> {
        self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner).clone_from(pulse.stats);
        Ok(())
    }
    fn finish(&mut self, _: &End) -> io::Result<()> {
        Ok(())
    }
}

fn answer(client: &mut (impl Read + Write), shared: &Shared) -> io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0u8; 1024];
    while request.len() < REQUEST_MAX && !request.windows(4).any(|w| w == b"\r\n\r\n") {
        match client.read(&mut piece)? {
            0 => break,
            n => request.extend_from_slice(piece.get(..n).unwrap_or_default()),
        }
    }
    let request = String::from_utf8_lossy(&request);
    let mut words = request.split_whitespace();
    let (verb, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let open = request.to_ascii_lowercase().contains("application/openmetrics-text");
    let (status, kind, body) = match (verb, path) {
        ("GET" | "HEAD", "/metrics" | "/") => {
            let stats = shared.stats.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let kind = if open { "application/openmetrics-text; version=1.0.0; charset=utf-8" } else { "text/plain; version=0.0.4" };
            ("200 OK", kind, page(&shared.board, &stats, open))
        }
        ("GET" | "HEAD", _) => ("404 Not Found", "text/plain", "only /metrics is here\n".to_owned()),
        _ => ("405 Method Not Allowed", "text/plain", "only GET\n".to_owned()),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    client.write_all(head.as_bytes())?;
    if verb != "HEAD" {
        client.write_all(body.as_bytes())?;
    }
    client.flush()
}

/// A page being written.
struct Page {
    text: String,
    open: bool,
}

impl Page {
    /// One metric with all of its samples: labels and value.
    fn metric(&mut self, name: &str, kind: &str, help: &str, samples: impl IntoIterator<Item = (String, f64)>) {
        // OpenMetrics names the family of a counter without its suffix.
        let family = if self.open { name.strip_suffix("_total").unwrap_or(name) } else { name };
        let _ = writeln!(self.text, "# HELP tamperscope_{family} {help}");
        let _ = writeln!(self.text, "# TYPE tamperscope_{family} {kind}");
        let mut lines: Vec<String> = samples.into_iter().map(|(labels, value)| format!("tamperscope_{name}{labels} {value}")).collect();
        lines.sort();
        for line in lines {
            self.text.push_str(&line);
            self.text.push('\n');
        }
    }
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let quoted = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let list: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}=\"{}\"", quoted(v))).collect();
    format!("{{{}}}", list.join(","))
}

fn page(board: &Board, s: &Stats, open: bool) -> String {
    let mut p = Page { text: String::new(), open };
    let counts = board.counts();
    let pick = |of: &dyn Fn(&Count) -> Option<String>| -> Vec<(String, f64)> {
        counts.iter().filter_map(|(what, n)| Some((of(what)?, *n as f64))).collect()
    };
    let each = |get: fn(&crate::model::pulse::InterfaceStats) -> u64| -> Vec<(String, f64)> {
        s.interfaces.iter().map(|i| (labels(&[("interface", &i.name)]), get(i) as f64)).collect()
    };
    let version = labels(&[("version", env!("CARGO_PKG_VERSION"))]);
    p.metric("build_info", "gauge", "The program.", [(version, 1.0)]);
    p.metric("capture_packets_total", "counter", "Frames captured.", each(|i| i.packets));
    p.metric("capture_bytes_total", "counter", "Bytes captured.", each(|i| i.bytes));
    p.metric("capture_up", "gauge", "Whether the interface can be heard.", each(|i| u64::from(i.link == crate::model::pulse::Link::Up)));
    let mut dropped: Vec<(String, f64)> = Vec::new();
    for i in &s.interfaces {
        for (reason, n) in i.losses.named().into_iter().filter(|(reason, _)| *reason != "policy") {
            dropped.push((labels(&[("interface", &i.name), ("reason", reason)]), n as f64));
        }
    }
    // Work is shed without regard to where a packet came from.
    dropped.push((labels(&[("interface", ""), ("reason", "policy")]), s.losses.policy as f64));
    p.metric("capture_dropped_packets_total", "counter", "Packets that were not analysed in full.", dropped);
    let odd = pick(&|c| match c {
        Count::Oddity(o) => Some(labels(&[("layer", o.name())])),
        _ => None,
    });
    p.metric("decode_errors_total", "counter", "Frames that did not become packets.", odd);
    p.metric("flows_active", "gauge", "Flows being followed.", [(String::new(), board.flows_active() as f64)]);
    let flows = pick(&|c| match c {
        Count::Flow(n) => Some(labels(&[("proto", &crate::model::key::Proto(*n).name())])),
        _ => None,
    });
    p.metric("flows_total", "counter", "Flows that ended.", flows);
    let evicted = [(labels(&[("reason", "memory")]), board.flows_evicted() as f64)];
    p.metric("flow_evictions_total", "counter", "Flows closed early to make room.", evicted);
    p.metric(
        "flows_unwritten_total",
        "counter",
        "Records of lone first packets dropped under overload.",
        [(String::new(), board.flows_unwritten() as f64)],
    );
    let buffered = [(String::new(), board.buffered() as f64)];
    p.metric("reassembly_buffered_bytes", "gauge", "Bytes of segments and fragments kept until others come.", buffered);
    let findings = pick(&|c| match c {
        Count::Finding(rule, grade) => Some(labels(&[("rule", rule), ("state", Grade::name(*grade))])),
        _ => None,
    });
    p.metric("findings_total", "counter", "Findings told.", findings);
    let connections = pick(&|c| match c {
        Count::Connection(service, role, outcome) => {
            let role = role.map_or("", |r| r.name());
            Some(labels(&[("service", service), ("role", role), ("outcome", super::names::outcome(*outcome))]))
        }
        _ => None,
    });
    p.metric("service_connections_total", "counter", "Connections of services that ended.", connections);
    let shed = f64::from(board.shed() as u8);
    p.metric("shedding_level", "gauge", "Work given up under overload: 0 none to 3.", [(String::new(), shed)]);
    p.metric("processing_lag_seconds", "gauge", "How far analysis is behind capture.", [(String::new(), s.lag.as_secs())]);
    p.metric("uptime_seconds", "gauge", "Since the capture began.", [(String::new(), s.uptime.as_secs())]);
    if open {
        p.text.push_str("# EOF\n");
    }
    p.text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::flow::Outcome;
    use crate::model::oddity::Oddity;
    use crate::model::pulse::{InterfaceStats, Losses};
    use crate::model::time::Span;

    fn shared() -> Shared {
        let board = Board::default();
        board.add(Count::Oddity(Oddity::NotIp), 3);
        board.add(Count::Flow(6), 5);
        board.add(Count::Finding("tcp.rst.injected", Grade::Confirmed), 1);
        board.add(Count::Connection("telegram".into(), None, Outcome::Reset), 2);
        board.following(0, 2, 1_000, 0);
        board.following(1, 3, 500, 0);
        board.hold_fragments(40);
        let losses = Losses { kernel: 1, interface: 2, queue: 3, policy: 0 };
        let interfaces = vec![InterfaceStats { name: "eth\"0".into(), packets: 10, losses, ..InterfaceStats::default() }];
        let stats = Stats { interfaces, losses: Losses { policy: 4, ..losses }, lag: Span::from_nanos(250_000_000), ..Stats::default() };
        Shared { board: Arc::new(board), stats: Arc::new(Mutex::new(stats)) }
    }

    /// A client that says `ask` and keeps what it hears.
    struct Client(io::Cursor<Vec<u8>>, Vec<u8>);
    impl Read for Client {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0.read(buf)
        }
    }
    impl Write for Client {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.1.write(buf)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn ask(request: &str) -> String {
        let mut c = Client(io::Cursor::new(request.as_bytes().to_vec()), Vec::new());
        answer(&mut c, &shared()).unwrap();
        String::from_utf8(c.1).unwrap()
    }

    #[test]
    fn the_page_has_all_four_losses_and_escapes_labels() {
        let page = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"));
        for line in [
            r#"tamperscope_capture_dropped_packets_total{interface="eth\"0",reason="kernel"} 1"#,
            r#"tamperscope_capture_dropped_packets_total{interface="eth\"0",reason="interface"} 2"#,
            r#"tamperscope_capture_dropped_packets_total{interface="eth\"0",reason="queue"} 3"#,
            r#"tamperscope_capture_dropped_packets_total{interface="",reason="policy"} 4"#,
            r#"tamperscope_decode_errors_total{layer="not-ip"} 3"#,
            r#"tamperscope_flows_total{proto="tcp"} 5"#,
            r#"tamperscope_findings_total{rule="tcp.rst.injected",state="confirmed"} 1"#,
            r#"tamperscope_service_connections_total{service="telegram",role="",outcome="reset"} 2"#,
            "tamperscope_flows_active 5",
            "tamperscope_reassembly_buffered_bytes 1540",
            "tamperscope_processing_lag_seconds 0.25",
            "# TYPE tamperscope_flows_total counter",
        ] {
            assert!(page.contains(&format!("{line}\n")), "{line}\n{page}");
        }
        assert!(!page.contains("# EOF"));
    }

    #[test]
    fn every_metric_is_there_from_the_start_with_a_type_and_without_private_labels() {
        let page = ask("GET /metrics HTTP/1.1\r\n\r\n");
        let types: Vec<(&str, &str)> = page.lines().filter_map(|l| l.strip_prefix("# TYPE tamperscope_")?.split_once(' ')).collect();
        assert_eq!(
            types,
            [
                ("build_info", "gauge"),
                ("capture_packets_total", "counter"),
                ("capture_bytes_total", "counter"),
                ("capture_up", "gauge"),
                ("capture_dropped_packets_total", "counter"),
                ("decode_errors_total", "counter"),
                ("flows_active", "gauge"),
                ("flows_total", "counter"),
                ("flow_evictions_total", "counter"),
                ("flows_unwritten_total", "counter"),
                ("reassembly_buffered_bytes", "gauge"),
                ("findings_total", "counter"),
                ("service_connections_total", "counter"),
                ("shedding_level", "gauge"),
                ("processing_lag_seconds", "gauge"),
                ("uptime_seconds", "gauge"),
            ]
        );
        let body = page.split("\r\n\r\n").nth(1).unwrap();
        for sample in body.lines().filter(|l| !l.starts_with('#')) {
            let (name, value) = sample.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{sample}");
            let Some((_, labels)) = name.split_once('{') else { continue };
            // What may be told apart: nothing of it comes from the wire.
            for label in labels.trim_end_matches('}').split("\",").map(|l| l.split('=').next().unwrap()) {
                let known = ["version", "interface", "reason", "layer", "proto", "rule", "state", "service", "role", "outcome"];
                assert!(known.contains(&label), "{sample}");
            }
        }
    }

    #[test]
    fn openmetrics_is_spoken_when_asked_for() {
        let page = ask("GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n");
        assert!(page.contains("Content-Type: application/openmetrics-text"));
        assert!(page.contains("# TYPE tamperscope_flows counter\n") && page.ends_with("# EOF\n"));
    }

    #[test]
    fn other_requests_are_turned_away() {
        assert!(ask("GET /etc/passwd HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
        assert!(ask("POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
        assert!(ask("").starts_with("HTTP/1.1 405"));
        assert!(ask(&"x".repeat(100_000)).starts_with("HTTP/1.1 405"));
    }

    #[test]
    fn a_port_alone_is_loopback() {
        assert_eq!(address("9108").unwrap().to_string(), "127.0.0.1:9108");
        assert_eq!(address("localhost:9108").unwrap().to_string(), "127.0.0.1:9108");
        assert_eq!(address("[::1]:9108").unwrap().to_string(), "[::1]:9108");
        assert!(address("example.org:80").is_err());
    }
}
