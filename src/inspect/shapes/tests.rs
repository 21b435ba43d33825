//! Each shape by vectors built by hand: the conversation, and what only looks like it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::string_slice
)]

use crate::inspect::{Appetite, Desk};
use crate::model::event::{Seen, StreamEvent};
use crate::model::frame::FrameNo;
use crate::model::note::{Notes, Shape};
use crate::model::seq::Pos;
use crate::model::side::Side;
use crate::model::time::Time;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use proptest::prelude::*;

const C: Side = Side::Client;
const S: Side = Side::Server;

type Said = (Side, Vec<u8>);

/// What the desk makes of a conversation: shapes in order, and the protocol.
fn told(mut desk: Desk, said: &[Said], datagrams: bool) -> (Vec<Shape>, Option<&'static str>) {
    let (mut notes, mut at, mut appetite) = (Notes::default(), [1i64, 1], Appetite::Hungry);
    for (i, (side, bytes)) in said.iter().enumerate() {
        let seen = Seen { frame: FrameNo(i as u64 + 1), ts: Time::from_nanos(0), ttl: 64 };
        let ev = if datagrams {
            StreamEvent::Datagram { bytes, len: bytes.len() as u32 }
        } else {
            StreamEvent::Bytes { at: Pos(at[*side as usize]), bytes }
        };
        at[*side as usize] += bytes.len() as i64;
        if appetite == Appetite::Hungry {
            appetite = desk.feed(*side, &seen, &ev, &mut notes);
        }
    }
    desk.finish(&mut notes);
    (notes.shapes().map(|(_, s)| s).collect(), desk.app())
}

fn udp(port: u16, said: &[Said]) -> Vec<Shape> {
    told(Desk::udp(40_123, port), said, true).0
}

fn tcp(said: &[Said]) -> Vec<Shape> {
    told(Desk::tcp(40_123, 443), said, false).0
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

/// Bytes that look random, the same for the same seed.
fn noise(seed: u64, n: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        })
        .collect()
}

fn cat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn changed(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out[at] ^= 0x40;
    out
}

mod wireguard {
    use super::*;

    fn initiation(index: &[u8]) -> Vec<u8> {
        cat(&[&[1, 0, 0, 0], index, &noise(1, 124), &[0; 16]])
    }
    fn response(index: &[u8]) -> Vec<u8> {
        cat(&[&[2, 0, 0, 0], &noise(2, 4), index, &noise(3, 64), &[0; 16]])
    }
    fn data(index: u32, counter: u64, len: usize) -> Vec<u8> {
        cat(&[&[4, 0, 0, 0], &index.to_le_bytes(), &counter.to_le_bytes(), &noise(counter, len - 16)])
    }

    #[test]
    fn an_answer_repeats_the_index() {
        let i = initiation(b"abcd");
        assert_eq!(udp(51820, &[(C, i.clone()), (S, response(b"abcd"))]), [Shape::WireGuardInit, Shape::WireGuard]);
        // On the port that is open everywhere.
        assert_eq!(udp(53, &[(C, i.clone()), (S, response(b"abcd"))]), [Shape::WireGuardInit, Shape::WireGuard]);
        // Under load.
        let cookie = cat(&[&[3, 0, 0, 0], b"abcd", &noise(5, 56)]);
        assert_eq!(udp(51820, &[(C, i), (S, cookie)]), [Shape::WireGuardInit, Shape::WireGuard]);
        // A client number in the reserved bytes.
        let mut warp = initiation(b"abcd");
        warp[1..4].copy_from_slice(&[7, 8, 9]);
        let mut answer = response(b"abcd");
        answer[1..4].copy_from_slice(&[7, 8, 9]);
        assert_eq!(udp(2408, &[(C, warp), (S, answer)]), [Shape::WireGuard]);
    }

    #[test]
    fn near_misses() {
        let i = initiation(b"abcd");
        assert_eq!(udp(51820, &[(C, i.clone()), (C, i.clone()), (S, response(b"abce"))]), [Shape::WireGuardInit], "another index");
        assert_eq!(udp(51820, &[(C, i.clone()), (C, response(b"abcd"))]), [Shape::WireGuardInit], "from the same side");
        assert_eq!(udp(51820, &[(C, i[..147].to_vec())]), []);
        assert_eq!(udp(51820, &[(C, changed(&i, 140))]), [], "a cookie in the first initiation");
        assert_eq!(udp(51820, &[(C, changed(&i, 2))]), []);
    }

    #[test]
    fn data_in_the_middle() {
        let mut said = Vec::new();
        for n in 0..4 {
            said.push((C, data(0xaabb_ccdd, 900 + n, 96)));
            said.push((S, data(0x1122_3344, 7000 + n * 3, 1456)));
        }
        assert_eq!(udp(51820, &said), [Shape::WireGuardData]);
        let mut back = said.clone();
        back[4].1 = data(0xaabb_ccdd, 3, 96);
        assert_eq!(udp(51820, &back), [], "a counter that falls");
        let mut one = said.clone();
        one.iter_mut().for_each(|s| s.1[4..8].copy_from_slice(&[9; 4]));
        assert_eq!(udp(51820, &one), [], "the same index both ways");
        said[3].1.push(0);
        assert_eq!(udp(51820, &said), [], "not in blocks");
    }
}

mod openvpn {
    use super::*;

    fn plain() -> (Vec<u8>, Vec<u8>) {
        (cat(&[&[0x38], b"\x01sessio\x02", &[0; 5]]), cat(&[&[0x40], b"\x03SESSIO\x04", &[1, 0, 0, 0, 0], b"\x01sessio\x02", &[0; 4]]))
    }
    fn signed(hmac: usize) -> (Vec<u8>, Vec<u8>) {
        let numbered = [0, 0, 0, 1, 0x5f, 0xc1, 0xa1, 0x57];
        let (c, s) = plain();
        (cat(&[&c[..9], &noise(7, hmac), &numbered, &c[9..]]), cat(&[&s[..9], &noise(8, hmac), &numbered, &s[9..]]))
    }

    #[test]
    fn a_reset_pair() {
        for (c, s) in [plain(), signed(16), signed(20), signed(32), signed(64)] {
            let want = [Shape::OpenVpnReset, Shape::OpenVpn];
            assert_eq!(udp(1194, &[(C, c.clone()), (S, s.clone())]), want);
            let framed = |p: &[u8]| cat(&[&(p.len() as u16).to_be_bytes(), p]);
            // What follows on the stream, so that the probe has enough bytes.
            let ack = framed(&cat(&[&[0x28], &c[1..9], &noise(9, 30)]));
            let over_tcp = tcp(&[(C, framed(&c)), (S, framed(&s)), (C, ack.clone()), (S, ack)]);
            assert_eq!(over_tcp.last(), Some(&Shape::OpenVpn), "{} bytes", c.len());
            assert_eq!(udp(1194, &[(C, c.clone())]), [Shape::OpenVpnReset]);
            assert_eq!(udp(1194, &[(S, s.clone())]), [Shape::OpenVpnReset], "only the answer was captured");
            assert_eq!(udp(1194, &[(C, c.clone()), (S, changed(&s, s.len() - 8))]), [Shape::OpenVpnReset], "another session");
            assert_eq!(udp(1194, &[(C, c[..c.len() - 1].to_vec())]), []);
        }
    }

    #[test]
    fn encrypted_resets() {
        let numbered = [0, 0, 0, 1, 0x63, 0xcf, 0x4f, 0xf5];
        let c = cat(&[&[0x38], &noise(1, 8), &numbered, &noise(2, 37)]);
        let s = cat(&[&[0x40], &noise(3, 8), &numbered, &noise(4, 49)]);
        assert_eq!((c.len(), s.len()), (54, 66));
        assert_eq!(udp(1194, &[(C, c.clone()), (S, s)]), [Shape::OpenVpnReset, Shape::OpenVpn]);
        let third = cat(&[&[0x50], &noise(1, 8), &numbered, &noise(2, 336)]);
        let answer = cat(&[&[0x40], &noise(3, 8), &numbered, &noise(4, 55)]);
        assert_eq!(udp(1194, &[(C, third), (S, answer)]), [Shape::OpenVpnReset, Shape::OpenVpn]);
        assert_eq!(udp(1194, &[(C, changed(&c, 13))]), [], "a time before OpenVPN had one");
    }
}

mod ike {
    use super::*;

    /// SA_INIT of one nonce payload.
    fn second(spi: &[u8], responder: &[u8], flags: u8) -> Vec<u8> {
        cat(&[spi, responder, &[40, 0x20, 34, flags], &[0; 4], &[0, 0, 0, 64], &[0, 0, 0, 36], &noise(4, 32)])
    }

    #[test]
    fn an_exchange() {
        let (q, a) = (second(b"initiatr", &[0; 8], 8), second(b"initiatr", b"answerer", 0x20));
        assert_eq!(udp(500, &[(C, q.clone()), (S, a.clone())]), [Shape::IkeMessage, Shape::Ike]);
        let marked = |m: &[u8]| cat(&[&[0; 4], m]);
        assert_eq!(udp(4500, &[(C, marked(&q)), (S, marked(&a))]), [Shape::IkeMessage, Shape::Ike]);
        // Version 1: main mode, one SA payload; then everything encrypted.
        let first = cat(&[b"initiatr", &[0; 8], &[1, 0x10, 2, 0], &[0; 4], &[0, 0, 0, 60], &[0, 0, 0, 32], &noise(1, 28)]);
        let sealed = cat(&[b"initiatr", b"answerer", &[5, 0x10, 2, 1], &[0; 4], &[0, 0, 0, 68], &noise(2, 40)]);
        assert_eq!(udp(500, &[(C, first), (S, sealed)]), [Shape::IkeMessage, Shape::Ike]);
    }

    #[test]
    fn near_misses() {
        let q = second(b"initiatr", &[0; 8], 8);
        assert_eq!(udp(501, &[(C, q.clone())]), [], "another port");
        for at in [17, 18, 19, 24, 28, 30] {
            assert_eq!(udp(500, &[(C, changed(&q, at))]), [], "byte {at}");
        }
        assert_eq!(udp(500, &[(C, second(b"initiatr", &[0; 8], 8)), (S, second(b"someones", &[1; 8], 0x20))]), [Shape::IkeMessage]);
    }

    #[test]
    fn esp_counts_by_ones() {
        let packet = |n: u32| cat(&[&[0x04, 0x88, 0x8f, 0xe4], &n.to_be_bytes(), &noise(u64::from(n), 120)]);
        let said: Vec<Said> = (1..6).map(|n| (C, packet(n))).collect();
        assert_eq!(udp(4500, &said), [Shape::EspUdp]);
        let gaps: Vec<Said> = (1..9).map(|n| (C, packet(n * 2))).collect();
        assert_eq!(udp(4500, &gaps), []);
        assert_eq!(udp(4501, &said), []);
    }
}

#[test]
fn l2tp_and_pptp() {
    let avp = |kind: u16, value: &[u8]| cat(&[&(0x8000u16 | (value.len() as u16 + 6)).to_be_bytes(), &[0, 0], &kind.to_be_bytes(), value]);
    let body = cat(&[&avp(0, &[0, 1]), &avp(2, &[1, 0]), &avp(7, b"lac.example")]);
    let m = cat(&[&[0xc8, 2], &(12 + body.len() as u16).to_be_bytes(), &[0; 8], &body]);
    assert_eq!(udp(1701, &[(C, m.clone())]), [Shape::L2tp]);
    assert_eq!(udp(1702, &[(C, m.clone())]), []);
    assert_eq!(udp(1701, &[(C, changed(&m, 21))]), [], "a pair that ends elsewhere");

    let start = cat(&[&[0, 156, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0], &[1; 144]]);
    assert_eq!(tcp(&[(C, start.clone())]), [Shape::Pptp]);
    assert_eq!(tcp(&[(C, changed(&start, 7))]), []);
}

#[test]
fn dnscrypt_repeats_the_nonce() {
    let query = noise(5, 512);
    let answer = |nonce: &[u8]| cat(&[b"r6fnvWj8", nonce, &noise(6, 300)]);
    assert_eq!(udp(443, &[(C, query.clone()), (S, answer(&query[40..52]))]), [Shape::Dnscrypt]);
    assert_eq!(udp(443, &[(C, query.clone()), (S, answer(&query[41..53]))]), []);
    assert_eq!(udp(443, &[(S, answer(&query[40..52]))]), []);
}

#[test]
fn discord_finds_its_address() {
    let ask = cat(&[&[0, 1, 0, 0x46, 0, 2, 0x4b, 0x18], &[0; 64], &[0xf1, 0xe2]]);
    let found = |ip: &[u8]| cat(&[&[0, 2, 0, 0x46, 0, 2, 0x4b, 0x18], ip, &vec![0; 64 - ip.len()], &[0xfd, 0x45]]);
    assert_eq!(udp(50001, &[(C, ask.clone()), (S, found(b"84.59.132.100"))]), [Shape::DiscordAsk, Shape::DiscordFound]);
    // Desync tools send copies of other datagrams first.
    assert_eq!(udp(50001, &[(C, noise(1, 64)), (C, ask.clone()), (S, found(b"2001:db8::7"))]), [Shape::DiscordAsk, Shape::DiscordFound]);
    assert_eq!(udp(50001, &[(C, ask.clone()), (S, found(b"not an address"))]), [Shape::DiscordAsk]);
    assert_eq!(udp(50001, &[(C, ask.clone()), (S, changed(&found(b"84.59.132.100"), 5))]), [Shape::DiscordAsk], "another source");
    assert_eq!(udp(50001, &[(C, changed(&ask, 40))]), []);
    assert_eq!(udp(50001, &[(C, ask[..73].to_vec())]), []);
}

mod reflector {
    use super::*;

    #[test]
    fn a_ping() {
        let ping = cat(&[&noise(1, 16), &[0xff; 12], &[0xfe, 0xff, 0xff, 0xff], &noise(2, 8)]);
        assert_eq!(udp(533, &[(C, ping.clone()), (C, ping.clone())]), [Shape::TgPing]);
        assert_eq!(udp(533, &[(C, changed(&ping, 20))]), []);
        assert_eq!(udp(533, &[(C, cat(&[&ping, &[0]]))]), []);
    }

    /// A packet of newer calls: for the other phone.
    fn data(tag: &[u8], from: u8, to: u8, inner: &[u8]) -> Vec<u8> {
        let padding = inner.len().wrapping_neg() & 3;
        cat(&[tag, &[1, 2, 3, to], &[1, 2, 3, from], &(inner.len() as u32).to_be_bytes(), inner, &vec![0; padding]])
    }

    fn framed(packets: &[Vec<u8>]) -> Vec<u8> {
        packets.iter().flat_map(|p| cat(&[&(p.len() as u32).to_le_bytes(), p])).collect()
    }

    #[test]
    fn calls_over_tcp() {
        let tag = noise(6, 12);
        let hello = cat(&[&tag, &[9; 4], &[0xff; 12], &[0xfe, 0xff, 0xff, 0xff], &[0, 0, 0, 0, 0x7b, 0, 0, 0]]);
        let answer = cat(&[&tag, &[9; 4], &[0xff; 12], &[0xc7, 0x72, 0x15, 0xc0], &noise(7, 32)]);
        let begun = cat(&[&[0xee; 4], &framed(std::slice::from_ref(&hello))]);
        let said = [(C, begun.clone()), (S, framed(std::slice::from_ref(&answer))), (C, framed(&[data(&tag, 7, 8, &noise(8, 61))]))];
        assert_eq!(tcp(&said), [Shape::TgPing, Shape::TgReflectorPort]);
        assert_eq!(tcp(&[(C, changed(&begun, 30)), said[1].clone(), said[2].clone()]), [], "no hello");
        let other = cat(&[&noise(9, 12), &[9; 4], &[0xff; 12], &[0xc7, 0x72, 0x15, 0xc0], &noise(7, 32)]);
        assert_eq!(tcp(&[(C, begun.clone()), (S, framed(&[other])), said[2].clone()]), [Shape::TgPing], "another tag comes back");
        // Three hellos that nobody answers have lengths like messages of the chat.
        let asked: Vec<Said> = [begun, framed(std::slice::from_ref(&hello)), framed(&[hello])].into_iter().map(|b| (C, b)).collect();
        assert_eq!(tcp(&asked), [Shape::TgPing]);
    }

    #[test]
    fn what_newer_calls_carry_is_read() {
        let tag = noise(3, 12);
        let stun = cat(&[&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42], &noise(4, 12)]);
        let rtp = |n: u16| cat(&[&[0x80, 111], &n.to_be_bytes(), &(u32::from(n) * 960).to_be_bytes(), &[0, 0, 7, 1], &noise(5, 60)]);
        let mut said: Vec<Said> = vec![(C, data(&tag, 7, 8, &stun)), (S, data(&tag, 8, 7, &stun)), (C, data(&tag, 7, 8, &stun))];
        said.extend((0..6).map(|n| (C, data(&tag, 7, 8, &rtp(n)))));
        assert_eq!(told(Desk::udp(40_123, 598), &said, true).0, [Shape::TgReflectorPort, Shape::Rtp]);
    }

    #[test]
    fn media_under_one_tag() {
        let tag = noise(3, 16);
        let said: Vec<Said> = (0..8).map(|n| (if n % 2 == 0 { C } else { S }, cat(&[&tag, &noise(10 + n, 128)]))).collect();
        assert_eq!(udp(533, &said), [Shape::TgReflector]);
        let one_way: Vec<Said> = said.iter().map(|(_, b)| (C, b.clone())).collect();
        assert_eq!(udp(533, &one_way), []);
        let mut other = said.clone();
        other[5].1[3] ^= 1;
        assert_eq!(udp(533, &other), []);
        let constant: Vec<Said> = said.iter().map(|(s, _)| (*s, cat(&[&[7; 16], &noise(1, 128)]))).collect();
        assert_eq!(udp(533, &constant), [], "no tag");
        let frozen: Vec<Said> = said.iter().map(|(s, _)| (*s, said[0].1.clone())).collect();
        assert_eq!(udp(533, &frozen), [], "the same datagram again and again");
    }
}

mod whatsapp {
    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        cat(&[&(body.len() as u32).to_be_bytes()[1..], body])
    }
    fn hello() -> Vec<u8> {
        frame(&cat(&[&[0x12, 0x22, 0x0a, 0x20], &noise(1, 32)]))
    }
    fn answer() -> Vec<u8> {
        frame(&cat(&[&[0x1a, 0x34, 0x0a, 0x20], &noise(2, 50)]))
    }

    #[test]
    fn header_and_frames() {
        let start = cat(&[b"ED\0\x01\0\0\x04\x08\x05\x08\x02WA\x05\x02", &hello()]);
        let finish = frame(&cat(&[&[0x22], &noise(3, 90)]));
        let whole = [(C, start.clone()), (S, answer()), (C, finish.clone()), (S, frame(&noise(4, 60)))];
        assert_eq!(tcp(&whole), [Shape::WaHello, Shape::WaStream]);
        // Header and block in segments of their own, and without the block.
        let cut = [(C, start[..4].to_vec()), (C, start[4..15].to_vec()), (C, start[15..].to_vec()), (S, answer()), (C, finish.clone())];
        assert_eq!(tcp(&cut), [Shape::WaHello, Shape::WaStream]);
        assert_eq!(tcp(&[(C, start[11..].to_vec()), (S, answer()), (C, finish.clone())]), [Shape::WaHello, Shape::WaStream]);
        assert_eq!(told(Desk::tcp(1, 443), &whole, false).1, Some("noise_wa"));
        // Unanswered.
        assert_eq!(tcp(&[(C, start.clone())]), [Shape::WaHello]);
        // Before Noise: flags in the length.
        let old = cat(&[b"WA\x01\x05", &frame(&cat(&[&[0xf8, 5, 1], &noise(5, 23)])), &frame(&cat(&[&[0xf8, 2], &noise(6, 23)]))]);
        let reply = cat(&[&frame(&[0xf8, 3, 1, 0x3a, 0x91]), &[0x80, 0, 18], &noise(7, 18)]);
        assert_eq!(tcp(&[(C, old), (S, reply)]), [Shape::WaHello, Shape::WaStream]);
    }

    #[test]
    fn near_misses() {
        let start = cat(&[b"WA\x05\x02", &hello()]);
        assert_eq!(tcp(&[(C, changed(&start, 2))]), [], "no such version");
        assert_eq!(tcp(&[(C, changed(&start, 7))]), [], "no Noise hello");
        assert_eq!(tcp(&[(C, changed(&start, 9))]), [], "no key of 32 bytes");
        assert_eq!(tcp(&[(C, start.clone()), (S, noise(1, 57))]), [Shape::WaHello], "an answer of something else");
        assert_eq!(tcp(&[(C, cat(&[b"WAKEUP ", &noise(1, 60)]))]), []);
        assert_eq!(tcp(&[(C, cat(&[&start, &[0, 0, 0, 1]]))]), [], "an empty frame");
    }
}

mod mtproto {
    use super::*;

    /// What a client without a secret sends: 64 bytes, then `frames`, all of it under its own key.
    fn obfuscated(tag: u8, frames: &[u8]) -> Vec<u8> {
        let mut init = noise(11, 64);
        init[56..60].fill(tag);
        let cipher = aes::Aes256::new(&<[u8; 32]>::try_from(&init[8..40]).unwrap().into());
        let mut counter = u128::from_be_bytes(init[40..56].try_into().unwrap());
        let open = cat(&[&init, frames]);
        let mut sealed = Vec::new();
        for chunk in open.chunks(16) {
            let mut block = counter.to_be_bytes().into();
            cipher.encrypt_block(&mut block);
            sealed.extend(chunk.iter().zip(block.iter()).map(|(a, b)| a ^ b));
            counter = counter.wrapping_add(1);
        }
        sealed[..56].copy_from_slice(&init[..56]);
        sealed
    }
    fn message(len: usize) -> Vec<u8> {
        cat(&[b"keyident", &noise(3, len - 8)])
    }
    fn abridged(m: &[u8]) -> Vec<u8> {
        if m.len() / 4 < 0x7f { cat(&[&[(m.len() / 4) as u8], m]) } else { cat(&[&[0x7f], &(m.len() as u32 / 4).to_le_bytes()[..3], m]) }
    }
    fn counted(m: &[u8]) -> Vec<u8> {
        cat(&[&(m.len() as u32).to_le_bytes(), m])
    }
    /// req_pq_multi in clear.
    fn exchange() -> Vec<u8> {
        cat(&[&[0; 8], &noise(5, 8), &20u32.to_le_bytes(), &0xbe7e_8ef1u32.to_le_bytes(), &noise(6, 16)])
    }

    #[test]
    fn obfuscation_is_undone() {
        for (tag, frames) in [
            (0xef, abridged(&message(216))),
            (0xef, cat(&[&abridged(&message(216)), &abridged(&message(24 + 16 * 40))])),
            (0xee, counted(&message(280))),
            (0xdd, counted(&cat(&[&message(280), &[1, 2, 3]]))),
            (0xef, abridged(&exchange())),
        ] {
            let first = obfuscated(tag, &frames);
            assert_eq!(tcp(&[(C, first.clone()), (S, noise(1, 105))]), [Shape::TgObfs2Frames], "{tag:x}");
            // The 64 bytes alone, then the rest.
            let two = tcp(&[(C, first[..64].to_vec()), (C, first[64..].to_vec())]);
            assert_eq!(two, [Shape::TgObfs2, Shape::TgObfs2Frames]);
            assert_eq!(tcp(&[(C, changed(&first, 20))]), [], "a bit of the key");
        }
        assert_eq!(told(Desk::tcp(1, 5222), &[(C, obfuscated(0xef, &abridged(&message(216))))], false).1, Some("mtproto"));
    }

    #[test]
    fn a_tag_without_frames_is_taken_back() {
        assert_eq!(tcp(&[(C, obfuscated(0xee, &counted(&message(281))))]), [], "not in blocks");
        assert_eq!(tcp(&[(C, obfuscated(0xef, &[0; 40]))]), [], "a frame of nothing");
        assert_eq!(tcp(&[(C, obfuscated(0xaa, &abridged(&message(216))))]), []);
        assert_eq!(tcp(&[(C, noise(9, 281)), (S, noise(1, 105))]), []);
        // Told already, it is said to be broken.
        let first = obfuscated(0xee, &counted(&message(281)));
        assert_eq!(tcp(&[(C, first[..64].to_vec()), (C, first[64..].to_vec())]), [Shape::TgObfs2, Shape::Broken]);
    }

    #[test]
    fn transports_in_clear() {
        assert_eq!(tcp(&[(C, cat(&[&[0xef], &abridged(&exchange())]))]), [Shape::TgPlain]);
        assert_eq!(tcp(&[(C, cat(&[&[0xee; 4], &counted(&exchange())]))]), [Shape::TgPlain]);
        let three: Vec<u8> = (0..3).flat_map(|_| abridged(&message(88))).collect();
        assert_eq!(tcp(&[(C, cat(&[&[0xef], &three]))]), [Shape::TgPlain]);
        let mut other = cat(&[&[0xef], &three]);
        other[1 + 89 + 1] ^= 1;
        assert_eq!(tcp(&[(C, other)]), [], "another key in the second frame");
        assert_eq!(tcp(&[(C, cat(&[&[0xef], &noise(2, 80)]))]), []);
    }

    #[test]
    fn the_full_transport() {
        // Length 52, number 0, the message, and the sum that an implementation of its own made (zlib's crc32).
        let message = cat(&[&[0; 8], &[7; 8], &20u32.to_le_bytes(), &0xbe7e_8ef1u32.to_le_bytes(), &[9; 16]]);
        let frame = cat(&[&52u32.to_le_bytes(), &0u32.to_le_bytes(), &message, &0x20be_27a4u32.to_le_bytes()]);
        assert_eq!(frame.len(), 52);
        assert_eq!(tcp(&[(C, frame.clone())]), [Shape::TgPlain]);
        assert_eq!(tcp(&[(C, frame[..30].to_vec()), (C, frame[30..].to_vec())]), [Shape::TgPlain]);
        assert_eq!(tcp(&[(C, changed(&frame, 20))]), [], "another sum");
        assert_eq!(tcp(&[(C, changed(&frame, 4))]), [], "not the first frame");
    }
}

mod chats {
    use super::*;

    #[test]
    fn threema() {
        let framed = |n: usize, seed| cat(&[&(n as u16).to_le_bytes(), &noise(seed, n)]);
        let said = [
            (C, noise(1, 48)),
            (S, noise(2, 80)),
            (C, noise(3, 191)),
            (S, noise(4, 54)),
            (C, framed(442, 5)),
            (S, framed(36, 6)),
            (C, framed(311, 7)),
            (S, framed(36, 8)),
        ];
        assert_eq!(tcp(&said), [Shape::Threema]);
        let mut odd = said.clone();
        odd[5].1[0] += 1;
        assert_eq!(tcp(&odd), [Shape::Opaque], "a length beyond the piece");
        let mut first = said.clone();
        first[0].1.push(0);
        assert!(!tcp(&first).contains(&Shape::Threema));
    }

    #[test]
    fn viber() {
        let hello = cat(&[&hex("60002e0eea14fcff038059001b00"), &noise(1, 82)]);
        let answer = cat(&[&hex("2800ed03 0380 00000000 0a00"), &noise(2, 28)]);
        assert_eq!(tcp(&[(C, hello.clone())]), [Shape::ViberHello]);
        assert_eq!(tcp(&[(C, hello.clone()), (S, answer.clone())]), [Shape::ViberHello, Shape::ViberFrames]);
        assert_eq!(tcp(&[(C, hello.clone()), (S, changed(&answer, 4))]), [Shape::ViberHello]);
        assert_eq!(tcp(&[(C, hello[..95].to_vec())]), []);
        assert_eq!(tcp(&[(C, changed(&hello, 9))]), []);
        let probe = cat(&[&hex("edf601000500 ac19358c8f64e447"), &noise(3, 243)]);
        let reply = cat(&[&hex("edf60c000100 ac19358c8f64e447"), &noise(4, 62)]);
        assert_eq!(udp(7985, &[(C, probe.clone()), (C, probe.clone()), (S, reply.clone())]), [Shape::ViberCall]);
        assert_eq!(udp(7985, &[(C, probe), (S, changed(&reply, 9))]), []);
    }

    #[test]
    fn kakaotalk_wechat_ultrasurf() {
        let loco = cat(&[&hex("000100000c00000002000000"), &noise(1, 256), &hex("ca000000"), &noise(2, 202)]);
        assert_eq!(tcp(&[(C, loco[..268].to_vec()), (C, loco[268..].to_vec())]), [Shape::Loco]);
        assert_eq!(tcp(&[(C, changed(&loco, 9))]), []);
        assert_eq!(tcp(&[(C, changed(&loco, 271))]), [], "a frame too long");

        let record = |kind: u8, n: usize| cat(&[&[kind, 0xf1, 4], &(n as u16).to_be_bytes(), &noise(u64::from(kind), n)]);
        assert_eq!(tcp(&[(C, record(0x16, 0x16e)), (S, record(0x16, 80)), (C, record(0x17, 386))]), [Shape::Mmtls]);
        assert_eq!(tcp(&[(C, record(0x16, 0x16e)), (S, noise(1, 80))]), []);
        assert_eq!(tcp(&[(C, record(0x18, 0x16e)), (C, record(0x17, 40))]), []);

        let ultra = cat(&[&hex("cc1c30415ba43866"), &noise(1, 400)]);
        assert_eq!(tcp(&[(C, ultra.clone())]), [Shape::Ultrasurf]);
        assert_eq!(tcp(&[(C, changed(&ultra, 7))]), []);
    }

    #[test]
    fn qq() {
        let m = cat(&[&hex("023b0b00010017561f0c7b0000000000000000"), &noise(1, 24), &[3]]);
        assert_eq!(udp(8000, &[(C, m.clone())]), [Shape::Oicq]);
        assert_eq!(udp(8001, &[(C, m.clone())]), []);
        assert_eq!(udp(8000, &[(C, changed(&m, 3))]), [], "no such command");
        assert_eq!(udp(8000, &[(C, m[..m.len() - 1].to_vec())]), []);
    }

    #[test]
    fn xmpp() {
        let open = b"<stream:stream to='example.org' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
        assert_eq!(tcp(&[(C, b"<?xml version='1.0' ?>".to_vec()), (C, open.to_vec())]), [Shape::Xmpp]);
        assert_eq!(tcp(&[(C, open.to_vec())]), [Shape::Xmpp]);
        assert_eq!(tcp(&[(C, b"</stream:stream>".to_vec())]), [Shape::Xmpp]);
        let stanza = b"<iq type='get' id='a1'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>";
        assert_eq!(tcp(&[(C, stanza.to_vec())]), [Shape::Xmpp]);
        assert_eq!(tcp(&[(C, b"<?xml version='1.0'?><soap:Envelope xmlns:soap='http://www.w3.org/2003/05/soap-envelope'/>".to_vec())]), []);
        assert_eq!(tcp(&[(C, b"<message from='cash register 3'>the drawer is open now</message>".to_vec())]), []);
    }

    #[test]
    fn irc_in_the_middle() {
        let said = b":irc.example.org 372 someone :- Welcome\r\n:other!u@host.example PRIVMSG #room :hello there\r\nPING :irc.example.org\r\n:x!y@z JOI".to_vec();
        assert_eq!(tcp(&[(S, said.clone())]), [Shape::Irc]);
        assert_eq!(tcp(&[(C, said.clone())]), [Shape::Irc], "whoever is thought to be the server");
        assert_eq!(tcp(&[(S, said[..70].to_vec()), (S, said[70..].to_vec())]), [Shape::Irc]);
        assert_eq!(
            tcp(&[(S, b":1 2 3\r\n:irc.example.org 372 x :-\r\n:irc.example.org 372 x :-\r\n:irc.example.org 372 x :-\r\n".to_vec())]),
            []
        );
        assert_eq!(tcp(&[(S, b":irc.example.org 372 x :-\r\n:irc.example.org 372 x :-\r\n".to_vec())]), [], "two lines");
    }

    #[test]
    fn irc() {
        let join = |text: &str| vec![(C, text.as_bytes().to_vec())];
        assert_eq!(tcp(&join("NICK someone\r\nUSER someone 0 * :Some One\r\n")), [Shape::Irc]);
        assert_eq!(tcp(&join("CAP LS 302\r\nNICK someone\r\nPASS hunter2\r\n")), [Shape::Irc]);
        let mut greeted = join("NICK someone-with-a-long-name\r\n\r\n");
        greeted.push((S, b":irc.example.org 001 someone :Welcome to the network\r\n".to_vec()));
        assert_eq!(tcp(&greeted), [Shape::Irc]);
        assert_eq!(tcp(&join("USER anonymous\r\nPASS guest@example.org and more\r\n")), []);
        assert_eq!(tcp(&join("NICKEL and copper prices as of today: 7.1, 4.2\r\n")), []);
    }
}

#[test]
fn sip_by_start_line_and_via() {
    let register = b"REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\nCSeq: 1 REGISTER\r\n\r\n";
    assert_eq!(udp(5060, &[(C, register.to_vec())]), [Shape::Sip]);
    assert_eq!(udp(5060, &[(C, b"\r\n\r\n".to_vec()), (C, register.to_vec())]), [Shape::Sip]);
    assert_eq!(tcp(&[(C, register.to_vec())]), [Shape::Sip]);
    assert_eq!(udp(5060, &[(S, b"SIP/2.0 200 OK\r\nv: SIP/2.0/UDP 192.0.2.7\r\n\r\n".to_vec())]), [Shape::Sip]);
    assert_eq!(udp(5060, &[(C, b"REGISTER sip:example.org HTTP/1.1\r\nVia: x\r\n\r\n".to_vec())]), []);
    assert_eq!(udp(5060, &[(C, b"INVITE http://example.org SIP/2.0\r\nVia: x\r\n\r\n".to_vec())]), []);
    assert_eq!(udp(5060, &[(C, b"NOTIFY * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\n\r\n".to_vec())]), []);
}

mod calls {
    use super::*;

    #[test]
    fn zoom() {
        let token = noise(1, 16);
        let ask = cat(&[&[1, 0, 2], &token, &noise(2, 88)]);
        let answer = cat(&[&[2, 0, 1], &token, &noise(3, 16)]);
        assert_eq!(udp(8801, &[(C, ask.clone()), (S, answer.clone())]), [Shape::ZoomSfu]);
        assert_eq!(udp(8801, &[(C, ask.clone()), (S, changed(&answer, 10))]), []);
        assert_eq!(udp(8801, &[(C, ask.clone()), (C, answer)]), []);
    }

    #[test]
    fn imo() {
        let keep = |kind: u8, n: u8| cat(&[&[9, kind, n, 0x9a, 2, 0], &[0; 4]]);
        let said = [(S, vec![0x76]), (C, keep(2, 1)), (C, keep(2, 2)), (S, keep(3, 1)), (S, keep(3, 2)), (C, noise(1, 107))];
        assert_eq!(udp(57604, &said), [Shape::ImoCall]);
        let mut once = said.to_vec();
        once.remove(4);
        assert_eq!(udp(57604, &once), []);
        let same = [(C, keep(2, 1)), (C, keep(3, 1)), (C, keep(2, 2)), (C, keep(3, 2)), (C, noise(1, 107))];
        assert_eq!(udp(57604, &same), [], "nobody answered");
    }

    #[test]
    fn line() {
        let setup = |first: u8, counter: u8, n| cat(&[&[first, 0x64, 0, counter, 6, 2], &noise(u64::from(first), n)]);
        assert_eq!(udp(20610, &[(C, setup(0xdb, 0xb9, 866)), (C, setup(0xdb, 0xba, 866)), (S, setup(0xd8, 0x66, 236))]), [Shape::LineCall]);
        assert_eq!(udp(20610, &[(C, setup(0xdb, 0xb9, 300)), (S, setup(0xd8, 0x66, 236))]), []);
        assert_eq!(udp(20610, &[(C, setup(0xdb, 0xb9, 866)), (S, noise(1, 242))]), []);
    }

    #[test]
    fn signal_media_after_ice() {
        let binding = cat(&[&hex("000100002112a442"), &noise(1, 12)]);
        let rtp = |kind: u8, n: u16| {
            cat(&[&[0x80, kind], &n.to_be_bytes(), &(u32::from(n) * 960).to_be_bytes(), &[0, 0, 0, kind], &noise(u64::from(n), 140)])
        };
        let media = |kinds: [u8; 2]| -> Vec<Said> { (1..6).flat_map(|n| kinds.map(|k| (C, rtp(k, n)))).collect() };
        let with = |first: Vec<Said>, kinds| udp(40_456, &[first, media(kinds)].concat());
        assert_eq!(with(vec![(C, binding.clone())], [101, 102]), [Shape::Rtp, Shape::SignalRtp]);
        assert_eq!(with(vec![(C, binding.clone())], [102, 111]), [Shape::Rtp]);
        assert_eq!(with(vec![], [101, 102]), [Shape::Rtp], "without ICE");
        let dtls = cat(&[&hex("16fefd0000000000000000002d"), &noise(1, 45)]);
        assert!(!with(vec![(C, binding), (C, dtls)], [101, 102]).contains(&Shape::SignalRtp));
    }
}

#[test]
fn socks_is_told_by_the_answer() {
    let ask = cat(&[&[5, 1, 0], b""]);
    assert_eq!(tcp(&[(C, ask.clone())]), []);
    assert!(tcp(&[(C, ask), (S, vec![5, 0])]).contains(&Shape::Socks));
    // An OpenFlow echo, which begins like SOCKS4.
    assert_eq!(tcp(&[(C, hex("0402000800000100")), (S, hex("0403000800000100"))]), []);
}

/// Beginnings of every protocol here, for noise to follow.
fn beginnings() -> Vec<Vec<u8>> {
    [
        "01000000",
        "02000000",
        "0300000000000000",
        "04000000",
        "38",
        "40",
        "50",
        "000e38",
        "c802",
        "0001004600",
        "0002004600",
        "4544000100",
        "57410502",
        "ef",
        "eeeeeeee",
        "dddddddd",
        "023b0b0001",
        "0100027d",
        "0200017d",
        "09029a02",
        "09039a02",
        "db6400b90602",
        "0001000005000000",
        "16f10401",
        "009c0001",
        "cc1c30415ba43866",
        "5349502f322e3020",
        "4e49434b20",
        "3c697120",
        "72366664",
        "edf601000500",
        "edf60c00",
        "6000",
        "ff10",
        "eeeeeeee28000000",
    ]
    .iter()
    .map(|h| hex(h))
    .collect()
}

mod around {
    use super::*;

    #[test]
    fn amneziawg_answers_behind_padding() {
        let init = cat(&[&noise(1, 17), b"\x11\x22\x33\x44abcd", &noise(2, 140)]);
        let answer = cat(&[&noise(3, 40), b"\x55\x66\x77\x18efghabcd", &noise(4, 80)]);
        let junk: Vec<Said> = (0..4).map(|n| (C, noise(50 + n, 60 + 9 * n as usize))).collect();
        let with = |tail: &[Said]| [&junk[..], tail].concat();
        assert_eq!(udp(51820, &with(&[(C, init.clone()), (S, answer.clone())])), [Shape::AmneziaWg]);
        assert_eq!(udp(51820, &with(&[(C, init.clone()), (S, changed(&answer, 49))])), [], "another index");
        assert_eq!(udp(51820, &with(&[(C, init.clone()), (C, answer.clone())])), [], "from the same side");
        assert_eq!(udp(51820, &with(&[(C, init.clone()), (C, noise(9, 200)), (S, answer)])), [], "not the message before");
    }

    #[test]
    fn amneziawg_in_the_middle() {
        let data =
            |index: u32, n: u64, len: usize| cat(&[&[9, 0x77, 0x10, 0x22], &index.to_le_bytes(), &n.to_le_bytes(), &noise(n, len - 16)]);
        let talk =
            |skip: u64| -> Vec<Said> { (0..5).flat_map(|n| [(C, data(71, 500 + n * skip, 96)), (S, data(93, 7000 + n, 1232))]).collect() };
        assert_eq!(udp(4433, &talk(1)), [Shape::AmneziaWgData]);
        assert_eq!(udp(4433, &talk(5000)), [], "counters do not jump");
        assert_eq!(udp(4433, &talk(0)), [], "nor stand still");
    }

    /// What the XOR patch makes of a packet.
    fn masked(packet: &[u8], mask: &[u8]) -> Vec<u8> {
        packet.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m).collect()
    }

    #[test]
    fn openvpn_behind_a_mask() {
        let reset = cat(&[&[0x38], &noise(1, 85)]);
        let answer = cat(&[&[0x40], &noise(2, 97)]);
        let ack = cat(&[&[0x28], &noise(3, 93)]);
        let mask = |p: &[u8]| masked(p, b"secret");
        let said = [(C, mask(&reset)), (S, mask(&answer)), (C, mask(&ack))];
        assert_eq!(udp(1194, &said), [Shape::OpenVpnXor]);
        let framed = |p: &[u8]| cat(&[&(p.len() as u16).to_be_bytes(), p]);
        let stream: Vec<Said> = said.iter().map(|(s, p)| (*s, framed(p))).collect();
        assert_eq!(tcp(&stream), [Shape::OpenVpnXor]);
        assert_eq!(udp(1194, &[said[0].clone(), said[1].clone(), (C, changed(&said[2].1, 0))]), [], "another opcode");
        assert_eq!(udp(1194, &[said[0].clone(), said[1].clone(), (C, said[2].1[..93].to_vec())]), [], "another length");
        assert_eq!(udp(1194, &[(C, reset), (S, answer), (C, ack)]), [], "in clear it is held to every byte");
        // Without authentication only lengths, opcodes and the session are left.
        let (session, peer) = (noise(4, 8), noise(5, 8));
        let reset = cat(&[&[0x38], &session, &[0; 5]]);
        let answer = cat(&[&[0x40], &peer, &[1], &[0; 4], &session, &[0; 4]]);
        let ack = cat(&[&[0x28], &session, &[1], &[0; 4], &peer]);
        let bare = [(C, mask(&reset)), (S, mask(&answer)), (C, mask(&ack))];
        assert_eq!(udp(1194, &bare), [Shape::OpenVpnXor]);
        let stream: Vec<Said> = bare.iter().map(|(s, p)| (*s, framed(p))).collect();
        assert_eq!(tcp(&stream), [Shape::OpenVpnXor]);
        assert_eq!(udp(1194, &[bare[0].clone(), bare[1].clone(), (C, changed(&bare[2].1, 3))]), [], "another session");
    }

    #[test]
    fn softether_helper_and_pack() {
        assert_eq!(udp(5004, &[(C, b"A".to_vec()), (S, b"IP=203.0.113.7,PORT=40123\0".to_vec())]), [Shape::SoftEtherNat]);
        assert_eq!(udp(5004, &[(C, b"A".to_vec()), (S, b"IP=203.0.113.777,PORT=40123\0".to_vec())]), []);
        let pack = cat(&[
            &[0, 0, 0, 2, 0, 0, 0, 7],
            b"opcode",
            &[0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 9],
            b"get_token",
            &[0, 0, 0, 4],
            b"tran",
            &[0; 4],
            &[0, 0, 0, 1, 0, 0, 0, 5],
        ]);
        assert_eq!(udp(5004, &[(C, pack.clone())]), []);
        let pack = cat(&[
            &[0, 0, 0, 2, 0, 0, 0, 7],
            b"opcode",
            &[0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 9],
            b"get_token",
            &[0, 0, 0, 5],
            b"tran",
            &[0; 4],
            &[0, 0, 0, 1, 0, 0, 0, 5],
        ]);
        assert_eq!(udp(5004, &[(C, pack.clone())]), [Shape::SoftEtherPack]);
        assert_eq!(udp(5004, &[(C, cat(&[&pack, &[0]]))]), [], "a byte too many");
    }

    #[test]
    fn the_port_of_newer_telegram_calls() {
        let tag = noise(5, 12);
        let packet = |from: u8, to: u8, n: usize| {
            let padding = n.wrapping_neg() & 3;
            cat(&[&tag, &[1, 2, 3, to], &[1, 2, 3, from], &(n as u32).to_be_bytes(), &noise(n as u64, n), &vec![0; padding]])
        };
        let said = [(C, packet(7, 8, 77)), (S, packet(8, 7, 100)), (C, packet(7, 8, 41))];
        assert_eq!(udp(598, &said), [Shape::TgReflectorPort]);
        assert_eq!(udp(598, &[said[0].clone(), said[1].clone(), (C, changed(&said[2].1, 23))]), [], "a length that does not fit");
    }

    #[test]
    fn bytes_without_structure() {
        assert_eq!(tcp(&[(C, noise(11, 300)), (S, noise(12, 700))]), [Shape::Opaque]);
        assert_eq!(tcp(&[(C, noise(11, 300)), (S, noise(12, 100))]), [], "too little of one side");
        assert_eq!(tcp(&[(C, noise(11, 300)), (S, cat(&[&noise(12, 100), &[0; 60]]))]), [], "zeros");
        assert_eq!(tcp(&[(C, noise(11, 300)), (S, vec![b'a'; 200])]), [], "letters");
    }
}

proptest! {
    #[test]
    fn noise_breaks_nothing(
        said in prop::collection::vec((any::<bool>(), 0usize..35, prop::collection::vec(any::<u8>(), 0..300), 0usize..300), 1..24),
        port in prop::sample::select(vec![53u16, 443, 500, 1701, 4500, 8000, 50001]),
    ) {
        let starts = beginnings();
        let said: Vec<Said> = said
            .into_iter()
            .map(|(client, start, rest, cut)| {
                let mut bytes = cat(&[&starts[start], &rest]);
                bytes.truncate(cut.max(1));
                (if client { C } else { S }, bytes)
            })
            .collect();
        told(Desk::udp(40_123, port), &said, true);
        told(Desk::tcp(40_123, port), &said, false);
    }

    #[test]
    fn random_bytes_have_no_shape(seed in 1u64..1_000_000, sizes in prop::collection::vec(1usize..600, 2..16)) {
        let said: Vec<Said> = sizes.iter().zip(seed..).map(|(n, s)| (if s % 2 == 0 { C } else { S }, noise(s.wrapping_mul(77_777), *n))).collect();
        prop_assert_eq!(udp(40_456, &said), []);
        // Except the one that means just this.
        prop_assert!(tcp(&said).iter().all(|s| *s == Shape::Opaque));
    }
}

mod microsoft {
    use super::*;

    fn stun() -> Vec<u8> {
        cat(&[&[0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42], &noise(4, 12), &[0x80, 0x70, 0, 4, 0, 0, 0, 2]])
    }

    fn wrapped(inner: &[u8]) -> Vec<u8> {
        cat(&[&[0xff, 0x10], &(inner.len() as u16 + 8).to_be_bytes(), &noise(2, 8), inner])
    }

    #[test]
    fn a_channel_around_stun_and_media() {
        let rtp =
            |n: u16| wrapped(&cat(&[&[0x80, 104], &n.to_be_bytes(), &(u32::from(n) * 320).to_be_bytes(), &[0, 0, 7, 1], &noise(5, 60)]));
        let mut said: Vec<Said> = vec![(C, wrapped(&stun()))];
        said.extend((0..6).map(|n| (S, rtp(n))));
        assert_eq!(told(Desk::udp(40_123, 3479), &said, true), (vec![Shape::MsChannel, Shape::Rtp], Some("stun")));
        assert_eq!(udp(3479, &said[1..]), [], "never without STUN first");
        assert_eq!(udp(3479, &[(C, changed(&wrapped(&stun()), 3))]), [], "a length that is not all that follows");
        assert_eq!(udp(3479, &[(C, wrapped(&noise(6, 28)))]), []);
    }

    #[test]
    fn a_channel_over_tcp() {
        let first = wrapped(&stun());
        assert_eq!(tcp(&[(C, first[..7].to_vec()), (C, first[7..].to_vec())]), [Shape::MsChannel]);
        assert_eq!(tcp(&[(C, changed(&first, 16))]), [], "no cookie");
        assert_eq!(tcp(&[(C, changed(&first, 1))]), []);
    }
}

mod echoed {
    use super::*;

    #[test]
    fn discord_keepalives_come_back() {
        let word = |n: u32| cat(&[&[0x13, 0x37, 0xca, 0xfe], &n.to_le_bytes()]);
        assert_eq!(udp(50_001, &[(C, noise(1, 90)), (C, word(0x1a9)), (S, word(0x1a9))]), [Shape::DiscordKeepalive]);
        assert_eq!(udp(50_001, &[(C, word(1)), (S, word(2))]), [], "another counter");
        assert_eq!(udp(50_001, &[(C, word(1)), (C, word(1))]), [], "from the same side");
        assert_eq!(udp(50_001, &[(C, cat(&[&word(1), &[0]])), (S, cat(&[&word(1), &[0]]))]), []);
    }

    #[test]
    fn a_relay_of_whatsapp_is_healthy() {
        assert_eq!(udp(3478, &[(C, b"health".to_vec()), (S, b"OK".to_vec())]), [Shape::WaHealth]);
        assert_eq!(udp(3478, &[(C, b"health".to_vec()), (C, b"OK".to_vec())]), []);
        assert_eq!(udp(3478, &[(C, b"healthy".to_vec()), (S, b"OK".to_vec())]), []);
        assert_eq!(udp(3478, &[(C, b"health".to_vec()), (S, b"OK.".to_vec())]), []);
    }

    #[test]
    fn probes_of_viber_come_back() {
        let time = 1_525_770_598_835u64.to_le_bytes();
        let ask = |time: &[u8]| cat(&[&[0xed, 0xf6, 9, 0], time, &noise(2, 8)]);
        let answer = |session: u8, time: &[u8]| cat(&[&[session, 0xf6, 0x0b, 0], time, &noise(3, 4), &[1, 0, 0], &[0; 15]]);
        assert_eq!(udp(7985, &[(C, ask(&time)), (S, answer(0xed, &time))]), [Shape::ViberPing]);
        assert_eq!(udp(7985, &[(C, ask(&time)), (S, answer(0xee, &time))]), [], "another session");
        assert_eq!(udp(7985, &[(C, ask(&time)), (S, answer(0xed, &changed(&time, 1)))]), [], "another time");
        assert_eq!(udp(7985, &[(C, ask(&noise(4, 8))), (S, answer(0xed, &noise(4, 8)))]), [], "no time at all");
        let call = noise(5, 8);
        let probe = cat(&[&[0x05, 0xb8, 0x19, 0], &call, &noise(6, 20), &[0, 0]]);
        let found = cat(&[&[0x05, 0xb8, 0x1a, 0], &call, &noise(7, 8)]);
        assert_eq!(udp(7987, &[(C, probe.clone()), (S, found.clone())]), [Shape::ViberPing]);
        assert_eq!(udp(7987, &[(C, probe), (S, changed(&found, 6))]), []);
    }

    #[test]
    fn keepalives_of_zoom_come_back() {
        let say = |kind: u8, n: u8, id: u8, more: usize| {
            cat(&[&[kind, 0, 0, 0, n], &[0x0f, 0xfe, 0x98, 0xd2 ^ n], &[0, 0x27, 0x2e, id], &noise(u64::from(kind), more)])
        };
        let met = |more| [(C, say(3, 1, 9, more)), (S, say(4, 1, 9, more)), (S, say(3, 2, 9, more)), (C, say(4, 2, 9, more))];
        assert_eq!(udp(8801, &met(0)), [Shape::ZoomPing]);
        assert_eq!(udp(8801, &met(68)), [Shape::ZoomPing]);
        assert_eq!(udp(8801, &met(0)[..2]), [], "once may be anybody's");
        let said = met(0);
        assert_eq!(udp(8801, &[said[0].clone(), said[1].clone(), (S, say(3, 2, 8, 0)), (C, say(4, 2, 8, 0))]), [], "another id");
        assert_eq!(udp(8801, &[said[0].clone(), (S, say(4, 7, 9, 0)), said[2].clone(), (C, say(4, 8, 9, 0))]), [], "another number");
        assert_eq!(udp(8801, &said.map(|(_, b)| (C, b))), [], "from the same side");
    }

    #[test]
    fn media_of_zoom_in_the_middle() {
        let media = |side: u8, kind: u8, at: usize, n: u16, source: u32| {
            let head = cat(&[&[5], &n.to_be_bytes(), &noise(1, 4), &[side, kind]]);
            let rtp = cat(&[&[0x90, 112], &n.to_be_bytes(), &noise(2, 4), &source.to_be_bytes(), &noise(u64::from(n), 40)]);
            cat(&[&head, &noise(3, at - head.len()), &rtp])
        };
        let audio = |n| (C, media(0, 15, 27, n, 0x0100_0001));
        let video = |n| (S, media(4, 16, 32, n, 0x0200_0001));
        assert_eq!(udp(8801, &[audio(7), video(90), audio(8), video(91), video(92)]), [Shape::ZoomMedia]);
        assert_eq!(udp(8801, &[audio(7), audio(8)]), [], "two are not enough");
        assert_eq!(udp(8801, &[audio(7), audio(9000), audio(8)]), [], "a sequence that jumps");
        let wrong = |n| (C, media(4, 15, 27, n, 1));
        assert_eq!(udp(8801, &[wrong(1), wrong(2), wrong(3)]), [], "the server's direction from the client");
        let other = |n: u16| (C, media(0, 15, 27, n, u32::from(n)));
        assert_eq!(udp(8801, &[other(1), other(2), other(3)]), [], "three sources");
    }
}
