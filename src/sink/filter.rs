//! Wireshark display filters that bring a reader from a record to its packets. Valid for Wireshark 4.0 and later, where set members are separated by commas.

use crate::model::flow::FlowRecord;
use crate::model::frame::FrameNo;
use crate::model::key::{Endpoint, Proto};
use std::fmt::Write;
use std::net::IpAddr;

/// Most members of a frame set. Evidence is a handful of frames; a filter of kilobytes helps nobody.
const MEMBERS_MAX: usize = 128;
/// Most flows named in one filter.
const FLOWS_MAX: usize = 16;

/// Selects frames by number; `frames` ascends. Runs of three or more become ranges.
pub fn of_frames(frames: &[FrameNo]) -> Option<String> {
    let mut numbers: Vec<u64> = frames.iter().map(|f| f.0).collect();
    numbers.sort_unstable();
    numbers.dedup();
    match numbers.as_slice() {
        [] => return None,
        [one] => return Some(format!("frame.number == {one}")),
        _ => {}
    }
    let mut out = String::from("frame.number in {");
    let mut members = 0;
    for run in numbers.chunk_by(|a, b| a + 1 == *b) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        if members >= MEMBERS_MAX {
            break;
        }
        let sep = if members > 0 { ", " } else { "" };
        match run.len() {
            1 => drop(write!(out, "{sep}{first}")),
            2 => drop(write!(out, "{sep}{first}, {last}")),
            _ => drop(write!(out, "{sep}{first}..{last}")),
        }
        members += 1;
    }
    out.push('}');
    Some(out)
}

/// Selects all packets between the endpoints of these flows.
pub fn of_flows<'a>(flows: impl Iterator<Item = &'a FlowRecord>) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    for flow in flows {
        let part = of_flow(flow.proto, flow.client, flow.server);
        if !parts.contains(&part) {
            parts.push(part);
        }
        if parts.len() == FLOWS_MAX {
            break;
        }
    }
    match parts.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(many.iter().map(|p| format!("({p})")).collect::<Vec<_>>().join(" || ")),
    }
}

fn of_flow(proto: Proto, a: Endpoint, b: Endpoint) -> String {
    let ip = if matches!(a.ip, IpAddr::V4(_)) { "ip" } else { "ipv6" };
    let addresses = format!("{ip}.addr == {} && {ip}.addr == {}", a.ip, b.ip);
    let ports = match proto {
        Proto::TCP => "tcp",
        Proto::UDP => "udp",
        Proto::SCTP => "sctp",
        Proto::ICMP => return format!("{addresses} && icmp"),
        Proto::ICMP6 => return format!("{addresses} && icmpv6"),
        other if ip == "ip" => return format!("{addresses} && ip.proto == {}", other.0),
        other => return format!("{addresses} && ipv6.nxt == {}", other.0),
    };
    format!("{addresses} && {ports}.port == {} && {ports}.port == {}", a.port, b.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(numbers: &[u64]) -> Option<String> {
        let frames: Vec<_> = numbers.iter().map(|&n| FrameNo(n)).collect();
        of_frames(&frames)
    }

    #[test]
    fn frames_become_a_set_with_ranges() {
        assert_eq!(frames(&[]), None);
        assert_eq!(frames(&[7]).unwrap(), "frame.number == 7");
        assert_eq!(frames(&[9, 11, 14]).unwrap(), "frame.number in {9, 11, 14}");
        assert_eq!(frames(&[1, 2, 3, 4, 9, 10]).unwrap(), "frame.number in {1..4, 9, 10}");
    }

    #[test]
    fn flows_are_named_by_their_endpoints() {
        let at = |ip: &str, port| Endpoint::new(ip.parse().unwrap(), port);
        assert_eq!(
            of_flow(Proto::TCP, at("10.0.0.1", 4000), at("192.0.2.1", 443)),
            "ip.addr == 10.0.0.1 && ip.addr == 192.0.2.1 && tcp.port == 4000 && tcp.port == 443"
        );
        assert_eq!(of_flow(Proto::ICMP6, at("::1", 128), at("::2", 129)), "ipv6.addr == ::1 && ipv6.addr == ::2 && icmpv6");
    }
}
