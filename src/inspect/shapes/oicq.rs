//! OICQ, the older protocol of QQ (Wireshark packet-oicq.c: commands; nDPI 3b1286a: oicq.pcap), on the port of its servers.

use super::{Talk, Verdict, be16, be32};
use crate::model::note::Shape;

#[rustfmt::skip]
const COMMANDS: &[usize] = &[
    0x01, 0x02, 0x04, 0x05, 0x06, 0x09, 0x0a, 0x0b, 0x0d, 0x0e, 0x12, 0x16, 0x17, 0x18, 0x1c, 0x1d, 0x21, 0x22, 0x26, 0x27, 0x29, 0x2a, 0x30, 0x31,
    0x3c, 0x58, 0x5c, 0x5e, 0x62, 0x65, 0x67, 0x80, 0x81, 0x91, 0xba, 0xbb, 0xcd, 0xce, 0xd1, 0xd5, 0xdd, 0x0825, 0x0826, 0x0828, 0x0836,
];
/// Numbers below were never given to users.
const NUMBER_MIN: u32 = 10_000;

pub(super) fn judge(t: &Talk<'_>) -> Verdict {
    if !t.port(8000) {
        return Verdict::No;
    }
    let fits = || {
        let (version, command, number) = (be16(t.bytes, 1)?, be16(t.bytes, 3)?, be32(t.bytes, 7)?);
        let known = (0x0a00..=0x3fff).contains(&version) && COMMANDS.contains(&command) && number >= NUMBER_MIN;
        (known && t.whole() && t.len >= 20).then_some(())
    };
    if t.bytes.first() == Some(&2) && t.bytes.last() == Some(&3) && fits().is_some() {
        return Verdict::Sofar(Shape::Oicq);
    }
    Verdict::No
}
