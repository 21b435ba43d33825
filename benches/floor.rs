//! The least any flow analysis must do: map a pcap file, walk its records, read Ethernet, IP and ports, count packets per flow in a hash map.
//!
//! `cargo bench --bench floor -- FILE`, or the built program with the file's name. It stands beside `tamperscope` in every table of speed.
#![allow(missing_docs)]

use hashbrown::HashMap;
use std::fs::File;

type Key = (u128, u128, u32, u8);

fn main() -> std::io::Result<()> {
    let Some(path) = std::env::args().skip(1).find(|a| !a.starts_with("--")) else {
        eprintln!("usage: floor FILE");
        return Ok(());
    };
    let file = File::open(path)?;
    // SAFETY: a private, read-only mapping of a file that nobody writes to during a benchmark; every access is checked.
    #[allow(unsafe_code)]
    let bytes = unsafe { memmap2::Mmap::map(&file)? };
    let _ = bytes.advise(memmap2::Advice::Sequential);
    let mut flows: HashMap<Key, (u64, u64), foldhash::fast::FixedState> = HashMap::default();
    let (mut at, mut packets, mut other) = (24, 0u64, 0u64);
    while let Some(len) = bytes.get(at + 8..at + 12) {
        let len = u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize;
        let Some(frame) = bytes.get(at + 16..at + 16 + len) else { break };
        packets += 1;
        match key(frame) {
            Some(key) => {
                let flow = flows.entry(key).or_default();
                *flow = (flow.0 + 1, flow.1 + len as u64);
            }
            None => other += 1,
        }
        at += 16 + len;
    }
    println!("{packets} packets, {} flows, {other} packets of no flow", flows.len());
    // As a program that only counts would end: without giving back the map piece by piece.
    std::process::exit(0);
}

fn key(frame: &[u8]) -> Option<Key> {
    let half = |at: usize| frame.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    let (mut at, mut kind) = (14, half(12)?);
    while matches!(kind, 0x8100 | 0x88a8) {
        kind = half(at + 2)?;
        at += 4;
    }
    let ip = frame.get(at..)?;
    let (src, dst, proto, header) = match kind {
        0x0800 => {
            let h: &[u8; 20] = ip.first_chunk()?;
            let address = |at: usize| u128::from(u32::from_be_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]));
            (address(12), address(16), h[9], usize::from(h[0] & 15) * 4)
        }
        0x86dd => {
            let h: &[u8; 40] = ip.first_chunk()?;
            let address = |at: usize| h[at..at + 16].iter().fold(0u128, |n, b| n << 8 | u128::from(*b));
            (address(8), address(24), h[6], 40)
        }
        _ => return None,
    };
    let ports = if matches!(proto, 6 | 17) { (half(at + header)?, half(at + header + 2)?) } else { (0, 0) };
    let both = |a: u16, b: u16| u32::from(a) << 16 | u32::from(b);
    Some(if (src, ports.0) <= (dst, ports.1) {
        (src, dst, both(ports.0, ports.1), proto)
    } else {
        (dst, src, both(ports.1, ports.0), proto)
    })
}
