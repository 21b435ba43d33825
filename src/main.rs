//! temporary
use std::sync::{Arc, atomic::AtomicBool};
fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--") && a != "analyze").collect();
    let plan = tamperscope::engine::Plan { inputs: args.iter().map(Into::into).collect(), workers: std::env::var("J").ok().and_then(|j| j.parse().ok()).unwrap_or(1), max_flows: 2_000_000, max_memory: 4 << 30, packet_limit: None, services: vec![], max_drop: 0.01, fail_on: None, stop: Arc::new(AtomicBool::new(false)), progress: false };
    let mut sinks: Vec<Box<dyn tamperscope::sink::Sink>> = vec![Box::new(tamperscope::sink::jsonl::Jsonl::new(std::io::stdout()))];
    match tamperscope::engine::run(&plan, &mut sinks) { Ok(e) => { for f in &e.failed_sources { eprintln!("{}: {}", f.0, f.1); } std::process::exit(e.exit) }, Err(e) => { eprintln!("{e}"); std::process::exit(2) } }
}
