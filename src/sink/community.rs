//! Community ID v1: a name for a flow that other tools compute alike (<https://github.com/corelight/community-id-spec>).

use crate::model::key::{Endpoint, Proto};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use std::net::IpAddr;

/// Community ID, seed 0, of a flow whose first packet went from `src` to `dst`.
///
/// ICMP endpoints carry type and counterpart type (or type and code) as ports, as the specification asks.
pub fn id(proto: Proto, src: Endpoint, dst: Endpoint) -> String {
    let mut out = String::with_capacity(30);
    push(&mut out, proto, src, dst);
    out
}

/// Appends the Community ID to `out`.
pub fn push(out: &mut String, proto: Proto, src: Endpoint, dst: Endpoint) {
    let one_way = is_icmp(proto) && counterpart(proto, src.port) != Some(dst.port);
    let (lo, hi) = if one_way || in_order(src, dst) { (src, dst) } else { (dst, src) };
    // seed 2, addresses 2 × 16, protocol and padding 2, ports 4
    let mut bytes = [0u8; 40];
    let mut len = 2usize;
    let mut put = |part: &[u8]| {
        if let Some(room) = bytes.get_mut(len..len + part.len()) {
            room.copy_from_slice(part);
        }
        len += part.len();
    };
    for end in [lo, hi] {
        match end.ip {
            IpAddr::V4(a) => put(&a.octets()),
            IpAddr::V6(a) => put(&a.octets()),
        }
    }
    put(&[proto.0, 0]);
    if is_icmp(proto) || matches!(proto, Proto::TCP | Proto::UDP | Proto::SCTP) {
        put(&lo.port.to_be_bytes());
        put(&hi.port.to_be_bytes());
    }
    let digest = Sha1::digest(bytes.get(..len).unwrap_or(&bytes));
    out.push_str("1:");
    STANDARD.encode_string(digest, out);
}

fn is_icmp(proto: Proto) -> bool {
    matches!(proto, Proto::ICMP | Proto::ICMP6)
}

/// The specification orders by address bytes, then port. All its flows have one address family.
fn in_order(a: Endpoint, b: Endpoint) -> bool {
    (a.ip, a.port) <= (b.ip, b.port)
}

/// The ICMP type that answers (or asks for) `kind`; types without one are one-way.
fn counterpart(proto: Proto, kind: u16) -> Option<u16> {
    let pairs: &[(u16, u16)] = if proto == Proto::ICMP {
        &[(8, 0), (13, 14), (15, 16), (10, 9), (17, 18)]
    } else {
        &[(128, 129), (133, 134), (135, 136), (130, 131), (144, 145)]
    };
    pairs.iter().find_map(|&(a, b)| match kind {
        k if k == a => Some(b),
        k if k == b => Some(a),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ip: &str, port: u16) -> Endpoint {
        Endpoint::new(ip.parse().unwrap(), port)
    }

    #[test]
    fn the_vectors_of_the_specification() {
        let tcp = (at("128.232.110.120", 34855), at("66.35.250.204", 80));
        assert_eq!(id(Proto::TCP, tcp.0, tcp.1), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        assert_eq!(id(Proto::TCP, tcp.1, tcp.0), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        assert_eq!(id(Proto::UDP, at("192.168.1.52", 54585), at("8.8.8.8", 53)), "1:d/FP5EW3wiY1vCndhwleRRKHowQ=");
        assert_eq!(id(Proto::ICMP, at("192.168.0.89", 8), at("192.168.0.1", 0)), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=");
        assert_eq!(id(Proto::ICMP, at("10.0.0.1", 11), at("10.0.0.2", 0)), "1:YHxtAirCG//0OzkcVAukqKQN9xM=");
        assert_eq!(id(Proto::SCTP, at("192.168.170.8", 7), at("192.168.170.56", 7)), "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs=");
        assert_eq!(id(Proto(46), at("10.1.12.1", 0), at("10.1.12.2", 0)), "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw=");
        let six = (at("2001:470:e5bf:dead:4957:2174:e82c:4887", 63943), at("2607:f8b0:400c:c03::1a", 25));
        assert_eq!(id(Proto::TCP, six.0, six.1), "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=");
    }
}
