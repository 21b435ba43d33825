//! The pipeline over generated traffic, and what tells why it takes as long as it takes.
//!
//! ```text
//! cargo bench --bench pipeline                       whole runs over small captures of each kind
//! cargo bench --bench pipeline -- make DIR [SCALE]   writes mixed.pcap, bulk.pcap and storm.pcap (SCALE 1: 3, 0.8 and 3 million packets)
//! cargo bench --bench pipeline -- shards FILE        the reader alone, and how the load would lie on 2, 4, 8 and 16 shards
//! ```
#![allow(missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;
mod traffic;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tamperscope::capture::{self, Fill};
use tamperscope::engine::{self, Plan};
use tamperscope::model::frame::Batch;
use tamperscope::model::story::{End, Story};
use tamperscope::packet::{self, Peek};
use tamperscope::sink::Sink;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["make", dir] => make(Path::new(dir), 1.0)?,
        ["make", dir, scale] => make(Path::new(dir), scale.parse()?)?,
        ["shards", file] => shards(Path::new(file))?,
        [] => small()?,
        _ => eprintln!("usage: pipeline [make DIR [SCALE] | shards FILE]"),
    }
    Ok(())
}

fn make(dir: &Path, scale: f64) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for (kind, packets) in traffic::KINDS.into_iter().zip([3e6, 8e5, 3e6]) {
        traffic::write(kind, &dir.join(format!("{kind}.pcap")), (packets * scale) as u64)?;
    }
    Ok(())
}

/// Hears everything and says nothing.
struct Silent;

impl Sink for Silent {
    fn story(&mut self, _: &Story) -> io::Result<()> {
        Ok(())
    }
    fn finish(&mut self, _: &End) -> io::Result<()> {
        Ok(())
    }
}

fn plan(file: &Path, workers: usize) -> Plan {
    Plan { inputs: vec![file.to_owned()], workers, ..Plan::default() }
}

/// Whole runs, median of five, without any output.
fn small() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("tamperscope-bench-{}", std::process::id()));
    make(&dir, 0.05)?;
    for kind in traffic::KINDS {
        let file = dir.join(format!("{kind}.pcap"));
        for workers in [1, 2] {
            let mut times = Vec::new();
            let mut packets = 0;
            for _ in 0..5 {
                let began = Instant::now();
                packets = engine::run(&plan(&file, workers), &mut [Box::new(Silent)])?.packets;
                times.push(began.elapsed().as_secs_f64());
            }
            times.sort_by(f64::total_cmp);
            println!("{kind:<6} {workers} shard(s): {:>8.0} packets/ms, median of 5", packets as f64 / times[2] / 1e3);
        }
    }
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

/// Reads a capture as the engine's reader does, frame by frame with its flow key, and tells the CPU time that took.
fn read_alone(file: &Path, each: &mut dyn FnMut(&tamperscope::model::key::FlowKey, usize)) -> Result<Duration, Box<dyn std::error::Error>> {
    let began = cpu_time("/proc/thread-self");
    let mut source = capture::open(file)?;
    let mut batch = Batch::over(Arc::new([]));
    loop {
        let fill = source.fill(&mut batch)?;
        for frame in &batch.frames {
            let bytes = batch.bytes(frame);
            if let Ok(Peek::Flow { key, .. }) = packet::peek(&frame.head, bytes) {
                each(&key, bytes.len());
            }
        }
        if fill == Fill::End {
            return Ok(cpu_time("/proc/thread-self").saturating_sub(began));
        }
    }
}

/// Time a thread was on a processor, as the system accounts it.
fn cpu_time(task: &str) -> Duration {
    let text = std::fs::read_to_string(format!("{task}/schedstat")).unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0))
}

/// CPU time of each of the engine's threads over one run with two shards (one alone works on the reader's thread), by name, as the system accounts it.
fn by_thread(file: &Path) -> Result<BTreeMap<String, Duration>, Box<dyn std::error::Error>> {
    let done = Arc::new(AtomicBool::new(false));
    let watch = {
        let done = Arc::clone(&done);
        std::thread::spawn(move || {
            let mut times = BTreeMap::new();
            while !done.load(Ordering::Relaxed) {
                for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
                    let path = task.path();
                    if let Ok(name) = std::fs::read_to_string(path.join("comm")) {
                        times.insert(name.trim().to_owned(), cpu_time(&path.to_string_lossy()));
                    }
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            times
        })
    };
    engine::run(&plan(file, 2), &mut [Box::new(Silent)])?;
    done.store(true, Ordering::Relaxed);
    Ok(watch.join().unwrap_or_default())
}

/// Whether the reader would be the limit: its own time against that of the busiest of so many shards.
fn shards(file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    read_alone(file, &mut |_, _| {})?;
    let mut runs: Vec<Duration> = (0..5).map(|_| read_alone(file, &mut |_, _| {})).collect::<Result<_, _>>()?;
    runs.sort();
    let reader = runs[2].as_secs_f64();
    let threads = by_thread(file)?;
    let work: f64 = threads.iter().filter(|(name, _)| name.starts_with("shard ")).map(|(_, time)| time.as_secs_f64()).sum();
    println!("{}: reader alone {reader:.3} s; the shards' work {work:.3} s", file.display());
    for n in [2usize, 4, 8, 16] {
        let mut packets = vec![0u64; n];
        read_alone(file, &mut |key, _| packets[engine::shard_of(key, n)] += 1)?;
        let all: u64 = packets.iter().sum();
        let most = packets.iter().max().copied().unwrap_or(0);
        let share = most as f64 / all.max(1) as f64;
        let busiest = work * share;
        let limit = if busiest > reader { "a shard" } else { "the reader" };
        println!("{n:>3} shards: the busiest has {:>5.1} % of the packets and needs {busiest:.3} s; {limit} is the limit", share * 100.0);
    }
    Ok(())
}
