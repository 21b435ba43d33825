//! Captures to measure with: made by the builder that makes the fixtures, the same bytes on every machine.

use super::support::ladder::{Conv, EPOCH, Sent, Udp, lookup};
use super::support::say::{self, Hello};
use super::support::wrap::Link;
use super::support::{Dice, wire};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::Path;

/// The kinds of traffic.
pub const KINDS: [&str; 3] = ["mixed", "bulk", "storm"];

/// Writes one capture of about `packets` packets.
pub fn write(kind: &str, path: &Path, packets: u64) -> io::Result<()> {
    let mut dice = Dice::new(7);
    match kind {
        "mixed" => weave(path, packets, 900, |n, at| mixed(&mut dice, n, at)),
        "storm" => weave(path, packets, 200, |n, at| storm(&mut dice, n, at)),
        _ => weave(path, packets, 600_000, |n, at| bulk(n, at, packets / 8)),
    }
}

/// When a packet is sent, its place among packets of one time, whether the client sent it, and its bytes.
type Waiting = (i64, u64, bool, Vec<u8>);

/// Lays conversations into each other by time; a new one begins every `every` microseconds.
fn weave(path: &Path, packets: u64, every: i64, mut make: impl FnMut(u32, i64) -> Vec<Sent>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    out.write_all(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0])?;
    let mut waiting: BinaryHeap<Reverse<Waiting>> = BinaryHeap::new();
    let (mut made, mut written, mut start) = (0u64, 0u64, 0i64);
    let mut number = 0u32;
    loop {
        let more = made < packets;
        if more {
            for sent in make(number, start / 1_000_000) {
                made += 1;
                waiting.push(Reverse((sent.ts + start % 1_000_000, made, sent.out, sent.packet)));
            }
            number += 1;
            start += every * 1_000;
        }
        while waiting.peek().is_some_and(|Reverse((ts, ..))| !more || *ts < EPOCH + start) {
            let Some(Reverse((ts, _, out_, packet))) = waiting.pop() else { break };
            let frame = Sent { ts, packet, out: out_ }.on(Link::Ethernet).bytes;
            for n in [ts / 1_000_000_000, ts % 1_000_000_000 / 1_000, frame.len() as i64, frame.len() as i64] {
                out.write_all(&(n as u32).to_le_bytes())?;
            }
            out.write_all(&frame)?;
            written += 1;
        }
        if !more {
            eprintln!("{}: {written} packets in {number} conversations", path.display());
            return out.flush();
        }
    }
}

fn client(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + n / 16 + 1)
}

fn server(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x1700_0000 + n.wrapping_mul(0x9e37_79b1) % 0x3000_0000)
}

const NAMES: [&str; 8] = [
    "web.telegram.org",
    "www.example.com",
    "mmg.whatsapp.net",
    "cdn.example.net",
    "signal.org",
    "api.example.org",
    "www.example.net",
    "discord.com",
];

/// Web, messengers, lookups, calls; most short, some long, a few lossy.
fn mixed(dice: &mut Dice, n: u32, at: i64) -> Vec<Sent> {
    let name = NAMES[dice.below(NAMES.len())];
    let from = |port: u32| format!("{}:{}", client(n), 20_000 + (port % 40_000));
    match dice.below(10) {
        0..=2 => lookup(&from(n), "10.255.255.53:53", name, server(n).into(), at),
        3 => {
            let mut call = Udp::new(&from(n), &format!("{}:{}", server(n), 3478)).at_ms(at);
            for k in 0..40 + dice.below(200) {
                call.c2s(&dice.bytes(160)).s2c(&dice.bytes(160));
                call.after_ms(if k % 2 == 0 { 20 } else { 19 });
            }
            call.done()
        }
        4 => {
            let mut conv = Conv::new(&from(n), &format!("{}:80", server(n))).at_ms(at);
            conv.handshake().c2s(&say::http_get(name, "/"));
            conv.s2c(&say::http_response("200 OK", "", &"x".repeat(200 + dice.below(9_000)))).ack();
            conv.close();
            conv.done()
        }
        _ => {
            let mut conv = Conv::new(&from(n), &format!("{}:443", server(n))).at_ms(at);
            conv.handshake().c2s(&Hello::to(name).record()).s2c(&say::server_flight(u64::from(n), 2_300)).ack();
            conv.c2s(&say::client_finished(4)).c2s(&say::application_data(5, 420));
            for k in 0..dice.below(12) {
                conv.s2c(&say::application_data(k as u64, 500 + dice.below(12_000))).ack();
                if dice.below(40) == 0 {
                    conv.again();
                }
            }
            if dice.below(4) > 0 {
                conv.after_ms(300).close();
            }
            conv.done()
        }
    }
}

/// Handshakes: refused, unanswered, and complete with a hello.
fn storm(dice: &mut Dice, n: u32, at: i64) -> Vec<Sent> {
    let port = [443, 80, 5222, 8443][dice.below(4)];
    let mut conv = Conv::new(&format!("{}:{}", client(n), 20_000 + n % 40_000), &format!("{}:{port}", server(n))).at_ms(at);
    conv.syn();
    match dice.below(3) {
        0 => {
            conv.after_ms(1_000).again();
        }
        1 => {
            conv.rst_from_server(|mut p| {
                p.seq = 0;
                p.flags(wire::RST | wire::ACK).window(0)
            });
        }
        _ => {
            conv.syn_ack().ack().c2s(&Hello::to(NAMES[dice.below(NAMES.len())]).record());
            conv.s2c(&say::server_flight(u64::from(n), 100)).ack().close();
        }
    }
    conv.done()
}

/// Long downloads.
fn bulk(n: u32, at: i64, packets: u64) -> Vec<Sent> {
    let mut conv = Conv::new(&format!("{}:{}", client(n), 30_000 + n), &format!("{}:443", server(n))).at_ms(at).rtt_ms(5);
    conv.handshake().c2s(&Hello::to("www.example.com").record()).s2c(&say::server_flight(1, 2_300)).ack();
    let record = say::application_data(3, 16_000);
    for _ in 0..packets / 13 {
        conv.s2c(&record).ack();
    }
    conv.close();
    conv.done()
}
