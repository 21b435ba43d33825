//! Synthetic vectors: beginnings of protocols that are known by their shape. Only structure is real; keys, ids and payloads are dice.

use super::Dice;
use super::ladder::{Conv, Sent, Udp, lookup, merge};
use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};

pub fn cat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Every case with its packets.
pub fn cases() -> Vec<(&'static str, Vec<Sent>)> {
    vec![
        ("shape-wireguard", wireguard()),
        ("shape-openvpn", openvpn()),
        ("shape-ike", ike()),
        ("shape-whatsapp", whatsapp()),
        ("shape-telegram", telegram()),
        ("shape-discord", discord()),
        ("shape-call-legs", call_legs()),
        ("shape-call-media", call_media()),
        ("shape-obfuscated", obfuscated_tunnels()),
        ("shape-keepalives", keepalives()),
        ("shape-near-misses", near_misses()),
        ("names-just-asked", just_asked()),
    ]
}

fn initiation(dice: &mut Dice) -> Vec<u8> {
    cat(&[&[1, 0, 0, 0], &dice.bytes(128), &[0; 16]])
}

fn wireguard() -> Vec<Sent> {
    let mut dice = Dice::new(201);
    let first = initiation(&mut dice);
    let response = cat(&[&[2, 0, 0, 0], &dice.bytes(4), &first[4..8], &dice.bytes(64), &[0; 16]]);
    let (asked, answered) = (first[4..8].to_vec(), response[4..8].to_vec());
    let mut data = |index: &[u8], n: u64, len| cat(&[&[4, 0, 0, 0], index, &n.to_le_bytes(), &dice.bytes(len)]);
    let mut met = Udp::new("192.168.1.23:50820", "198.51.100.20:51820");
    met.c2s(&first).s2c(&response);
    for n in 0..5 {
        met.c2s(&data(&answered, n, 80)).s2c(&data(&asked, n, 1408));
    }
    let mut middle = Udp::new("192.168.1.23:50821", "198.51.100.21:443").at_ms(100);
    for n in 0..5 {
        middle.c2s(&data(&answered, 800 + n, 80)).s2c(&data(&asked, 9000 + n, 1408));
    }
    let mut dice = Dice::new(202);
    let mut alone = Udp::new("192.168.1.23:50822", "198.51.100.22:51820").at_ms(200);
    for _ in 0..3 {
        alone.c2s(&initiation(&mut dice)).after_ms(5000);
    }
    merge([met.done(), middle.done(), alone.done()])
}

fn openvpn() -> Vec<Sent> {
    let mut dice = Dice::new(203);
    let (mine, yours) = (dice.bytes(8), dice.bytes(8));
    let numbered = [0, 0, 0, 1, 0x69, 0x0c, 0x55, 0x80];
    let plain = cat(&[&[0x38], &mine, &[0; 5]]);
    let answer = cat(&[&[0x40], &yours, &[1, 0, 0, 0, 0], &mine, &[0; 4]]);
    let signed = cat(&[&[0x38], &mine, &dice.bytes(64), &numbered, &[0; 5]]);
    let countersigned = cat(&[&[0x40], &yours, &dice.bytes(64), &numbered, &[1, 0, 0, 0, 0], &mine, &[0; 4]]);
    let ack = cat(&[&[0x28], &mine, &[1, 0, 0, 0, 0], &yours]);
    let mut udp = Udp::new("192.168.1.23:51194", "198.51.100.30:1194");
    udp.c2s(&plain).s2c(&answer).c2s(&ack);
    let mut tls_auth = Udp::new("192.168.1.23:51195", "198.51.100.31:443").at_ms(100);
    tls_auth.c2s(&signed).s2c(&countersigned);
    let framed = |p: &[u8]| cat(&[&(p.len() as u16).to_be_bytes(), p]);
    let mut tcp = Conv::new("192.168.1.23:51196", "198.51.100.32:443").at_ms(200);
    tcp.handshake();
    tcp.c2s(&framed(&plain)).s2c(&framed(&answer)).c2s(&framed(&ack));
    tcp.after_ms(300).close();
    merge([udp.done(), tls_auth.done(), tcp.done()])
}

fn ike() -> Vec<Sent> {
    let mut dice = Dice::new(204);
    let (mine, yours) = (dice.bytes(8), dice.bytes(8));
    let mut init = |responder: &[u8], flags: u8| {
        cat(&[&mine, responder, &[40, 0x20, 34, flags], &[0; 4], &[0, 0, 0, 64], &[0, 0, 0, 36], &dice.bytes(32)])
    };
    let mut met = Udp::new("192.168.1.23:500", "198.51.100.40:500");
    met.c2s(&init(&[0; 8], 8)).s2c(&init(&yours, 0x20));
    let mut dice = Dice::new(205);
    let mut sealed = |flags: u8, len: usize| {
        let size = ((len + 4) as u16).to_be_bytes();
        let whole = ((len + 32) as u32).to_be_bytes();
        cat(&[&[0; 4], &mine, &yours, &[46, 0x20, 35, flags], &[0, 0, 0, 1], &whole, &[35, 0], &size, &dice.bytes(len)])
    };
    let mut moved = Udp::new("192.168.1.23:4500", "198.51.100.40:4500").at_ms(120);
    moved.c2s(&sealed(8, 256)).s2c(&sealed(0x20, 208));
    for n in 1..6u32 {
        moved.c2s(&cat(&[&[0xc1, 0x5e, 0x00, 0x17], &n.to_be_bytes(), &Dice::new(u64::from(n)).bytes(120)]));
    }
    merge([met.done(), moved.done()])
}

fn whatsapp() -> Vec<Sent> {
    let mut dice = Dice::new(206);
    let frame = |body: &[u8]| cat(&[&(body.len() as u32).to_be_bytes()[1..], body]);
    let hello = cat(&[b"ED\0\x01\0\0\x04\x08\x05\x08\x02WA\x05\x02", &frame(&cat(&[&[0x12, 0x22, 0x0a, 0x20], &dice.bytes(32)]))]);
    let mut talk = |server: &str, port: u16, at: i64| {
        let mut conv = Conv::new(&format!("192.168.1.23:{port}"), server).at_ms(at);
        conv.handshake();
        conv.c2s_cut(&hello, &[4, 11, 64]);
        conv.s2c(&frame(&cat(&[&[0x1a, 0x34, 0x0a, 0x20], &dice.bytes(50)])));
        conv.c2s(&frame(&cat(&[&[0x22], &dice.bytes(90)]))).s2c(&frame(&dice.bytes(60)));
        conv.after_ms(300).close();
        conv.done()
    };
    merge([talk("198.51.100.50:5222", 52_220, 0), talk("198.51.100.51:443", 52_221, 150)])
}

/// 64 bytes that carry the key of what follows, then frames, all under AES-256-CTR.
fn obfuscated(dice: &mut Dice, tag: u8, frames: &[u8]) -> Vec<u8> {
    let mut init = dice.bytes(64);
    init[56..60].fill(tag);
    let key: [u8; 32] = init[8..40].try_into().expect("32 bytes");
    let mut counter = u128::from_be_bytes(init[40..56].try_into().expect("16 bytes"));
    let cipher = Aes256::new(&key.into());
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

fn telegram() -> Vec<Sent> {
    let mut dice = Dice::new(207);
    let message = dice.bytes(216);
    let talk = |server: &str, port: u16, at: i64, first: &[u8], answer: &[u8]| {
        let mut conv = Conv::new(&format!("192.168.1.23:{port}"), server).at_ms(at);
        conv.handshake();
        conv.c2s(first).s2c(answer);
        conv.after_ms(300).close();
        conv.done()
    };
    let abridged = obfuscated(&mut dice, 0xef, &cat(&[&[54], &message]));
    let padded = obfuscated(&mut dice, 0xdd, &cat(&[&221u32.to_le_bytes(), &message, &[1, 2, 3, 4, 5]]));
    let answer = dice.bytes(105);
    let tag = dice.bytes(16);
    let mut call = Udp::new("192.168.1.23:50533", "198.51.100.62:597").at_ms(300);
    let ping = cat(&[&tag, &[0xff; 12], &[0xfe, 0xff, 0xff, 0xff], &dice.bytes(8)]);
    call.c2s(&ping).s2c(&cat(&[&tag, &[0xff; 12], &[0xc7, 0x72, 0x15, 0xc0], &dice.bytes(32)]));
    for _ in 0..4 {
        call.c2s(&cat(&[&tag, &dice.bytes(128)])).s2c(&cat(&[&tag, &dice.bytes(160)]));
    }
    merge([
        talk("198.51.100.60:443", 50_060, 0, &abridged, &answer),
        talk("198.51.100.61:8888", 50_061, 150, &padded, &answer),
        call.done(),
    ])
}

fn discord() -> Vec<Sent> {
    let mut dice = Dice::new(208);
    let address = |text: &[u8]| cat(&[text, &vec![0; 64 - text.len()]]);
    let mut call = Udp::new("192.168.1.23:50070", "198.51.100.70:50003");
    call.c2s(&cat(&[&[0, 1, 0, 0x46, 0, 2, 0x4b, 0x18], &address(b""), &dice.bytes(2)]));
    call.s2c(&cat(&[&[0, 2, 0, 0x46, 0, 2, 0x4b, 0x18], &address(b"203.0.113.23"), &[0xc3, 0x96]]));
    for n in 0..6u16 {
        let rtp =
            cat(&[&[0x90, 0x78], &(900 + n).to_be_bytes(), &(u32::from(n) * 960).to_be_bytes(), &[0, 2, 0x4b, 0x18, 0xbe, 0xde, 0, 0]]);
        call.after_ms(20).c2s(&cat(&[&rtp, &dice.bytes(90)]));
    }
    call.done()
}

/// Calls that are met in the middle: what is sent back, and headers before media. Each is followed by one that nearly is it.
fn keepalives() -> Vec<Sent> {
    let mut dice = Dice::new(221);
    let word = |n: u32| cat(&[&[0x13, 0x37, 0xca, 0xfe], &n.to_le_bytes()]);
    let mut discord = Udp::new("192.168.1.23:50080", "198.51.100.80:50004");
    let mut alike = Udp::new("192.168.1.23:50081", "198.51.100.81:50004").at_ms(10);
    for n in 0..3 {
        discord.c2s(&word(0x1a9 + n)).s2c(&word(0x1a9 + n)).after_ms(5000);
        alike.c2s(&word(0x1a9 + n)).s2c(&word(0x2a9 + n)).after_ms(5000);
    }
    let mut health = Udp::new("192.168.1.23:50082", "198.51.100.82:3478").at_ms(20);
    let mut well = Udp::new("192.168.1.23:50083", "198.51.100.83:3479").at_ms(30);
    for _ in 0..3 {
        health.c2s(b"health").s2c(b"OK").after_ms(1000);
        well.c2s(b"health").s2c(b"OK").after_ms(1000);
    }
    let session = dice.bytes(2);
    let mut probe = Udp::new("192.168.1.23:50084", "198.51.100.84:7985").at_ms(40);
    let mut other = Udp::new("192.168.1.23:50085", "198.51.100.85:7985").at_ms(50);
    for n in 0..3u64 {
        let time = (1_785_000_000_000 + n * 1000).to_le_bytes();
        let ask = cat(&[&session, &[9, 0], &time, &dice.bytes(8)]);
        let answer = |time: &[u8], dice: &mut Dice| cat(&[&session, &[0x0b, 0], time, &dice.bytes(4), &[0; 18]]);
        probe.c2s(&ask).s2c(&answer(&time, &mut dice)).after_ms(1000);
        other.c2s(&ask).s2c(&answer(&dice.bytes(8), &mut dice.clone())).after_ms(1000);
    }
    let mut zoom = Udp::new("192.168.1.23:50086", "198.51.100.86:8801").at_ms(60);
    let mut games = Udp::new("192.168.1.23:50087", "198.51.100.87:8801").at_ms(70);
    for n in 0..6u16 {
        let head = cat(&[&[5], &n.to_be_bytes(), &dice.bytes(4), &[0, 15], &dice.bytes(18)]);
        let rtp = |source: u32| cat(&[&[0x90, 112], &(700 + n).to_be_bytes(), &(u32::from(n) * 640).to_be_bytes(), &source.to_be_bytes()]);
        zoom.c2s(&cat(&[&head, &rtp(0x0100_4001), &dice.bytes(60)])).after_ms(20);
        games.c2s(&cat(&[&head, &rtp(0x0100_4001 + u32::from(n)), &dice.bytes(60)])).after_ms(20);
    }
    merge([discord, alike, health, well, probe, other, zoom, games].map(|mut flow| flow.done()))
}

/// Names asked for, and then silence at addresses that belong to nobody here: at once, much later, and where two names lead.
fn just_asked() -> Vec<Sent> {
    let silent = |client: &str, server: &str, at: i64| {
        let mut conv = Conv::new(client, server).at_ms(at);
        conv.syn().after_ms(1000).again().after_ms(2000).again();
        conv.done()
    };
    let ask =
        |port: u16, name: &str, answer: [u8; 4], at: i64| lookup(&format!("192.168.1.23:{port}"), "9.9.9.9:53", name, answer.into(), at);
    merge([
        ask(50_001, "web.whatsapp.com", [203, 0, 113, 60], 0),
        silent("192.168.1.23:40001", "203.0.113.60:443", 80),
        ask(50_002, "discord.com", [203, 0, 113, 61], 100),
        ask(50_003, "www.example.com", [203, 0, 113, 61], 130),
        silent("192.168.1.23:40002", "203.0.113.61:443", 200),
        ask(50_004, "chat.signal.org", [203, 0, 113, 62], 300),
        silent("192.168.1.23:40003", "203.0.113.62:443", 200_000),
        // Two names of one service.
        ask(50_005, "mmg.whatsapp.net", [203, 0, 113, 63], 400),
        ask(50_006, "static.whatsapp.net", [203, 0, 113, 63], 420),
        silent("192.168.1.23:40004", "203.0.113.63:443", 500),
    ])
}

pub fn stun(kind: u16, transaction: &[u8], attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (attribute, value) in attributes {
        body.extend(attribute.to_be_bytes());
        body.extend((value.len() as u16).to_be_bytes());
        body.extend(value);
        body.extend(vec![0; value.len().wrapping_neg() & 3]);
    }
    cat(&[&kind.to_be_bytes(), &(body.len() as u16).to_be_bytes(), &[0x21, 0x12, 0xa4, 0x42], transaction, &body])
}

/// A relay is told the other phone's address; the phones then speak directly. A third flow of the same client has nothing to do with it.
fn call_legs() -> Vec<Sent> {
    let mut dice = Dice::new(209);
    let t = dice.bytes(12);
    // 203.0.113.99:41000 under the cookie.
    let peer = vec![0, 1, 0xa0 ^ 0x21, 0x28 ^ 0x12, 203 ^ 0x21, 0x12, 113 ^ 0xa4, 99 ^ 0x42];
    let user = (0x0006, b"1790000000:0123456789abcdef01".to_vec());
    let realm = (0x0014, b"telegram.org".to_vec());
    let mut relay = Udp::new("192.168.1.23:50081", "198.51.100.80:1400");
    relay.c2s(&stun(0x0003, &t, &[(0x0019, vec![17, 0, 0, 0])]));
    relay.s2c(&stun(0x0113, &t, &[(0x0009, vec![0, 0, 4, 1]), realm.clone(), (0x0015, b"0123456789abcdef".to_vec())]));
    relay.c2s(&stun(0x0008, &t, &[(0x0012, peer), user, realm, (0x0008, vec![7; 20])]));
    relay.s2c(&stun(0x0108, &t, &[(0x0008, vec![8; 20])]));
    let media = |server: &str, port: u16, at: i64, dice: &mut Dice| {
        let mut leg = Udp::new(&format!("192.168.1.23:{port}"), server).at_ms(at);
        for n in 0..8 {
            leg.c2s(&cat(&[&[0xc9], &dice.bytes(60 + n * 7)])).s2c(&cat(&[&[0xca], &dice.bytes(70 + n * 5)]));
        }
        leg.done()
    };
    merge([relay.done(), media("203.0.113.99:41000", 50_082, 900, &mut dice), media("203.0.113.98:41000", 50_083, 950, &mut dice)])
}

/// A relay of MAX (its own range, its own port), and media through its channels: every tenth packet of the client is lost, the server's come evenly.
fn call_media() -> Vec<Sent> {
    let mut dice = Dice::new(211);
    let t = dice.bytes(12);
    let user = (0x0006, b"1790000000:123456789012".to_vec());
    let mut relay = Udp::new("192.168.1.23:50091", "155.212.199.7:19302");
    relay.c2s(&stun(0x0003, &t, &[(0x0019, vec![17, 0, 0, 0]), user])).s2c(&stun(0x0103, &t, &[(0x0016, vec![0, 1, 1, 2, 3, 4, 5, 6])]));
    let packet = |channel: bool, ssrc: u8, n: u16, dice: &mut Dice| {
        let rtp = cat(&[&[0x80, 111], &n.to_be_bytes(), &(u32::from(n) * 2880).to_be_bytes(), &[0, 0, 7, ssrc], &dice.bytes(72)]);
        if channel { cat(&[&[0x40, 0x01], &(rtp.len() as u16).to_be_bytes(), &rtp]) } else { rtp }
    };
    for n in 0..200u16 {
        relay.after_ms(20);
        if n % 10 != 9 {
            relay.c2s(&packet(true, 1, 65_500u16.wrapping_add(n), &mut dice));
        }
        relay.s2c(&packet(true, 2, 100 + n, &mut dice));
    }
    relay.done()
}

/// Tunnels that hide what they are: AmneziaWG with junk and padding, OpenVPN behind the XOR patch, SoftEther's helper, Telegram's newer reflector port.
fn obfuscated_tunnels() -> Vec<Sent> {
    let mut dice = Dice::new(212);
    let mut awg = Udp::new("192.168.1.23:50110", "198.51.100.110:41820");
    for n in 0..4 {
        awg.c2s(&dice.bytes(50 + 13 * n));
    }
    let first = cat(&[&dice.bytes(23), &dice.bytes(148)]);
    let answer = cat(&[&dice.bytes(71), &dice.bytes(8), &first[27..31], &dice.bytes(80)]);
    awg.after_ms(5).c2s(&first).after_ms(40).s2c(&answer);
    for _ in 0..6 {
        awg.c2s(&dice.bytes(96)).s2c(&dice.bytes(1232));
    }
    let mask = |packet: &[u8]| -> Vec<u8> { packet.iter().zip(b"example".iter().cycle()).map(|(b, m)| b ^ m).collect() };
    let mut xor = Udp::new("192.168.1.23:50111", "198.51.100.111:1194").at_ms(100);
    xor.c2s(&mask(&cat(&[&[0x38], &dice.bytes(85)]))).after_ms(40).s2c(&mask(&cat(&[&[0x40], &dice.bytes(97)])));
    xor.after_ms(2).c2s(&mask(&cat(&[&[0x28], &dice.bytes(93)])));
    let mut helper = Udp::new("192.168.1.23:50112", "198.51.100.112:5004").at_ms(150);
    helper.c2s(b"A").after_ms(60).s2c(b"IP=203.0.113.23,PORT=50112\0");
    let tag = dice.bytes(12);
    let mut port = Udp::new("192.168.1.23:50113", "198.51.100.113:598").at_ms(200);
    for n in 0..4u32 {
        let len = 61 + 4 * n;
        let body = |from: u8, to: u8, dice: &mut Dice| {
            cat(&[&tag, &[7, 7, 7, to], &[7, 7, 7, from], &len.to_be_bytes(), &dice.bytes(len as usize), &[0; 3]])
        };
        port.c2s(&body(1, 2, &mut dice)).after_ms(20).s2c(&body(2, 1, &mut dice));
    }
    merge([awg.done(), xor.done(), helper.done(), port.done()])
}

/// One bit or one byte away from each of the above, answered, on usual ports.
fn near_misses() -> Vec<Sent> {
    let mut dice = Dice::new(210);
    let mut parts = Vec::new();
    let mut udp = |n: u16, server_port: u16, said: &[(bool, Vec<u8>)]| {
        let mut talk =
            Udp::new(&format!("192.168.1.23:{}", 50_100 + n), &format!("198.51.100.{}:{server_port}", 100 + n)).at_ms(i64::from(n) * 50);
        for (out, bytes) in said {
            if *out {
                talk.c2s(bytes);
            } else {
                talk.s2c(bytes);
            }
        }
        parts.push(talk.done());
    };
    let mut long = initiation(&mut dice);
    long.push(0);
    udp(1, 51820, &[(true, long), (false, dice.bytes(92))]);
    let mut cookie = initiation(&mut dice);
    cookie[140] = 1;
    udp(2, 51820, &[(true, cookie.clone()), (false, cat(&[&[2, 0, 0, 0], &dice.bytes(88)]))]);
    udp(3, 1194, &[(true, cat(&[&[0x38], &dice.bytes(13)])), (false, cat(&[&[0x40], &dice.bytes(25)]))]);
    udp(4, 500, &[(true, dice.bytes(284)), (false, dice.bytes(284))]);
    udp(5, 8000, &[(true, cat(&[&[2], &dice.bytes(41), &[4]])), (false, dice.bytes(20))]);
    udp(6, 50001, &[(true, cat(&[&[0, 1, 0, 0x46], &dice.bytes(70)])), (false, dice.bytes(74))]);
    udp(7, 597, &[(true, dice.bytes(40)), (false, dice.bytes(64))]);
    udp(8, 8801, &[(true, cat(&[&[1, 0, 2], &dice.bytes(104)])), (false, cat(&[&[2, 0, 1], &dice.bytes(32)]))]);
    let mut tcp = |n: u16, server_port: u16, first: &[u8], answer: &[u8]| {
        let mut conv = Conv::new(&format!("192.168.1.23:{}", 50_200 + n), &format!("198.51.100.{}:{server_port}", 200 + n))
            .at_ms(1000 + i64::from(n) * 50);
        conv.handshake();
        conv.c2s(first).s2c(answer);
        conv.after_ms(200).close();
        parts.push(conv.done());
    };
    tcp(1, 443, &dice.bytes(281), &dice.bytes(105));
    tcp(2, 5222, &cat(&[b"WALTZ for two, with more to come: ", &dice.bytes(60)]), &dice.bytes(57));
    tcp(3, 5222, &dice.bytes(48), &dice.bytes(80));
    tcp(4, 5222, b"<?xml version='1.0'?><inventory><item id='4'/></inventory>", b"<?xml version='1.0'?><ok/>");
    tcp(5, 6667, b"NICKEL and copper prices as of today: 7.1, 4.2, 9.9\r\n", b"thank you for the prices of today, and goodbye\r\n");
    tcp(6, 443, &obfuscated(&mut dice, 0xee, &cat(&[&281u32.to_le_bytes(), &[9; 281]])), &dice.bytes(105));
    merge(parts)
}
