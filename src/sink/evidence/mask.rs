//! Clients' addresses replaced before a packet reaches the disk: each by one of its own, the same throughout a run, with checksums put right
//! (RFC 1624), so that what was broken stays broken and nothing else is.
//!
//! Everything outside the innermost IP packet (hardware addresses, tunnels) is left out. Addresses that an application wrote into its own
//! payload stay: they are what it said.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The pseudonyms given so far: 10.0.0.1, 10.0.0.2, …, and fd00::1, fd00::2, ….
#[derive(Default)]
pub(super) struct Pseudonyms {
    given: HashMap<IpAddr, IpAddr>,
}

impl Pseudonyms {
    pub(super) fn of(&mut self, real: IpAddr) -> IpAddr {
        let n = u32::try_from(self.given.len() + 1).unwrap_or(u32::MAX);
        *self.given.entry(real).or_insert_with(|| match real {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from((10 << 24) | (n & 0x00ff_ffff))),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, (n >> 16) as u16, n as u16)),
        })
    }
}

/// Replaces `real` by `mask` in an IP packet, as source, as destination, and in what an ICMP error quotes.
pub(super) fn mask(ip: &mut [u8], real: IpAddr, mask: IpAddr) {
    match (ip.first().map(|b| b >> 4), real, mask) {
        (Some(4), IpAddr::V4(r), IpAddr::V4(m)) => v4(ip, r.octets(), m.octets(), true),
        (Some(6), IpAddr::V6(r), IpAddr::V6(m)) => v6(ip, r.octets(), m.octets()),
        _ => {}
    }
}

fn v4(ip: &mut [u8], real: [u8; 4], new: [u8; 4], outer: bool) {
    let header = usize::from(ip.first().map_or(0, |b| b & 15)) * 4;
    let (proto, later) = (ip.get(9).copied().unwrap_or(0), ip.get(6..8).is_some_and(|f| (u16::from_be_bytes([f[0], f[1]]) & 0x1fff) != 0));
    for at in [12, 16] {
        if ip.get(at..at + 4) != Some(&real[..]) {
            continue;
        }
        if let Some(field) = ip.get_mut(at..at + 4) {
            field.copy_from_slice(&new);
        }
        adjust(ip, 10, &real, &new, false);
        if !later && outer {
            transport(ip, header, proto, &real, &new);
        }
    }
    // An ICMP error quotes a packet; that packet's own checksum keeps the sum over it as it was.
    if outer
        && proto == 1
        && !later
        && matches!(ip.get(header), Some(3 | 4 | 5 | 11 | 12))
        && let Some(quoted) = ip.get_mut(header + 8..)
    {
        v4(quoted, real, new, false);
    }
}

fn v6(ip: &mut [u8], real: [u8; 16], new: [u8; 16]) {
    const HEADER: usize = 40;
    let next = ip.get(6).copied().unwrap_or(0);
    for at in [8, 24] {
        if ip.get(at..at + 16) == Some(&real[..]) {
            if let Some(field) = ip.get_mut(at..at + 16) {
                field.copy_from_slice(&new);
            }
            transport(ip, HEADER, next, &real, &new);
        }
    }
    if next == 58 && matches!(ip.get(HEADER), Some(1..=4)) {
        for at in [HEADER + 8 + 8, HEADER + 8 + 24] {
            if ip.get(at..at + 16) == Some(&real[..]) {
                if let Some(field) = ip.get_mut(at..at + 16) {
                    field.copy_from_slice(&new);
                }
                // Here nothing in the quoted header makes up for it.
                adjust(ip, HEADER + 2, &real, &new, false);
            }
        }
    }
}

/// The transport checksum covers the addresses.
fn transport(ip: &mut [u8], header: usize, proto: u8, real: &[u8], new: &[u8]) {
    match proto {
        6 => adjust(ip, header + 16, real, new, false),
        17 => adjust(ip, header + 6, real, new, true),
        58 => adjust(ip, header + 2, real, new, false),
        _ => {}
    }
}

/// HC' = ~(~HC + ~m + m') (RFC 1624, eqn. 3), word by word. With `optional`, zero means that there is no checksum.
fn adjust(bytes: &mut [u8], at: usize, real: &[u8], new: &[u8], optional: bool) {
    let Some(&[a, b]) = bytes.get(at..at + 2).and_then(|s| <&[u8; 2]>::try_from(s).ok()) else { return };
    let old = u16::from_be_bytes([a, b]);
    if optional && old == 0 {
        return;
    }
    let words = |bytes: &[u8], not: bool| -> u32 {
        bytes.chunks_exact(2).map(|w| u16::from_be_bytes([w[0], w[1]])).map(|w| u32::from(if not { !w } else { w })).sum()
    };
    let mut sum = u32::from(!old) + words(real, true) + words(new, false);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let mut fixed = !(sum as u16);
    if optional && fixed == 0 {
        fixed = 0xffff;
    }
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&fixed.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ones' complement sum; 0xffff over data with its checksum in place.
    fn sum(parts: &[&[u8]]) -> u16 {
        let mut all: Vec<u8> = parts.concat();
        if all.len() % 2 == 1 {
            all.push(0);
        }
        let mut s: u32 = all.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
        while s > 0xffff {
            s = (s & 0xffff) + (s >> 16);
        }
        s as u16
    }

    fn udp4(payload: &[u8], src: [u8; 4], dst: [u8; 4]) -> Vec<u8> {
        let len = (8 + payload.len()) as u16;
        let mut udp = [&[0x30, 0x39, 0, 53][..], &len.to_be_bytes(), &[0, 0], payload].concat();
        let c = !sum(&[&src, &dst, &[0, 17], &len.to_be_bytes(), &udp]);
        udp[6..8].copy_from_slice(&c.to_be_bytes());
        let mut ip = vec![0x45, 0, 0, 28 + payload.len() as u8, 0, 1, 0, 0, 64, 17, 0, 0];
        ip.extend(src);
        ip.extend(dst);
        let c = !sum(&[&ip]);
        ip[10..12].copy_from_slice(&c.to_be_bytes());
        [ip, udp].concat()
    }

    fn holds(p: &[u8]) -> bool {
        let len = &p[24..26];
        sum(&[&p[..20]]) == 0xffff && sum(&[&p[12..20], &[0, 17], len, &p[20..]]) == 0xffff
    }

    #[test]
    fn addresses_go_and_checksums_hold() {
        let (real, other) = ([192, 0, 2, 77], [198, 51, 100, 1]);
        for (src, dst) in [(real, other), (other, real)] {
            let mut p = udp4(b"hello", src, dst);
            assert!(holds(&p));
            mask(&mut p, real.into(), IpAddr::from([10, 0, 0, 1]));
            assert!(holds(&p));
            assert!(!p.windows(4).any(|w| w == real));
        }
    }

    #[test]
    fn what_was_broken_stays_broken_and_no_checksum_stays_none() {
        let real = [192, 0, 2, 77];
        let mut p = udp4(b"hello", real, [198, 51, 100, 1]);
        p[27] ^= 1;
        mask(&mut p, real.into(), IpAddr::from([10, 0, 0, 1]));
        assert!(!holds(&p));
        let mut p = udp4(b"hello", real, [198, 51, 100, 1]);
        p[26..28].copy_from_slice(&[0, 0]);
        mask(&mut p, real.into(), IpAddr::from([10, 0, 0, 1]));
        assert_eq!(p[26..28], [0, 0]);
    }

    #[test]
    fn an_icmp_error_says_nothing_of_the_client_either() {
        let (client, server, router) = ([192, 0, 2, 77], [198, 51, 100, 1], [203, 0, 113, 9]);
        let quoted = udp4(b"", client, server);
        let mut icmp = [&[3, 13, 0, 0, 0, 0, 0, 0][..], &quoted].concat();
        let c = !sum(&[&icmp]);
        icmp[2..4].copy_from_slice(&c.to_be_bytes());
        let mut ip = vec![0x45, 0, 0, 20 + icmp.len() as u8, 0, 1, 0, 0, 64, 1, 0, 0];
        ip.extend(router);
        ip.extend(client);
        let c = !sum(&[&ip]);
        ip[10..12].copy_from_slice(&c.to_be_bytes());
        let mut p = [ip, icmp].concat();
        mask(&mut p, client.into(), IpAddr::from([10, 0, 0, 1]));
        assert!(!p.windows(4).any(|w| w == client));
        assert_eq!((sum(&[&p[..20]]), sum(&[&p[20..]]), sum(&[&p[28..48]])), (0xffff, 0xffff, 0xffff));
    }

    #[test]
    fn short_and_strange_packets_are_left_alone() {
        let real = IpAddr::from([192, 0, 2, 77]);
        for n in 0..40 {
            let mut p = udp4(b"hello", [192, 0, 2, 77], [1, 2, 3, 4]);
            p.truncate(n);
            mask(&mut p, real, IpAddr::from([10, 0, 0, 1]));
            let mut p: Vec<u8> = (0..n as u8).map(|b| b.wrapping_mul(37) | 0x40).collect();
            mask(&mut p, real, IpAddr::from([10, 0, 0, 1]));
        }
    }

    #[test]
    fn a_client_keeps_its_pseudonym() {
        let mut p = Pseudonyms::default();
        let (a, b) = (IpAddr::from([1, 1, 1, 1]), IpAddr::from([2, 2, 2, 2]));
        let first = p.of(a);
        assert_ne!(first, p.of(b));
        assert_eq!(first, p.of(a));
    }
}
