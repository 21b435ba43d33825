#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use super::*;
use crate::model::frame::{FrameHead, FrameNo, LinkType};
use crate::model::time::Time;
use proptest::prelude::*;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// What a source gave, copied out of its batches.
type Frames = Vec<(FrameHead, Vec<u8>)>;

fn drain(mut source: Box<dyn Source>) -> (Frames, SourceFacts) {
    let mut batch = Batch::over(Arc::new(Vec::new()));
    let mut frames = Vec::new();
    for _ in 0..1_000_000 {
        let fill = source.fill(&mut batch).unwrap();
        for f in &batch.frames {
            assert_eq!(batch.bytes(f).len(), f.len as usize);
            frames.push((f.head, batch.bytes(f).to_vec()));
        }
        if fill == Fill::End {
            assert_eq!(source.fill(&mut batch).unwrap(), Fill::End);
            assert!(batch.frames.is_empty());
            return (frames, source.facts());
        }
    }
    panic!("the source does not end");
}

/// A stream that gives its bytes in pieces of the lengths given, over and over.
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    lens: Vec<usize>,
    turn: usize,
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = self.lens[self.turn % self.lens.len()].max(1);
        self.turn += 1;
        let n = want.min(buf.len()).min(self.bytes.len() - self.at);
        buf[..n].copy_from_slice(&self.bytes[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

fn in_pieces(bytes: &[u8], lens: &[usize]) -> Result<Box<dyn Source>, CaptureError> {
    from_stream("test", Box::new(Pieces { bytes: bytes.to_vec(), at: 0, lens: lens.to_vec(), turn: 0 }))
}

fn read_all(bytes: &[u8]) -> (Frames, SourceFacts) {
    drain(in_pieces(bytes, &[usize::MAX]).unwrap())
}

/// Reads the same bytes as a mapped file.
fn read_file(name: &str, bytes: &[u8]) -> (Frames, SourceFacts) {
    let dir = scratch(name);
    let path = dir.join("in.pcap");
    std::fs::write(&path, bytes).unwrap();
    let got = drain(open(&path).unwrap());
    std::fs::remove_dir_all(dir).unwrap();
    got
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("tamperscope-capture-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Writes numbers in a byte order.
#[derive(Clone, Copy)]
struct Pen(bool);

impl Pen {
    const LITTLE: Self = Self(false);
    const BIG: Self = Self(true);
    fn u16(self, n: u16) -> [u8; 2] {
        if self.0 { n.to_be_bytes() } else { n.to_le_bytes() }
    }
    fn u32(self, n: u32) -> [u8; 4] {
        if self.0 { n.to_be_bytes() } else { n.to_le_bytes() }
    }
    fn u64(self, n: u64) -> [u8; 8] {
        if self.0 { n.to_be_bytes() } else { n.to_le_bytes() }
    }
    fn words(self, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|w| self.u32(*w)).collect()
    }

    fn pcap(self, magic: u32, link: u32) -> Vec<u8> {
        let mut out = self.u32(magic).to_vec();
        out.extend(self.u16(2));
        out.extend(self.u16(4));
        out.extend(self.words(&[0, 0, 65_535, link]));
        out
    }
    fn record(self, sec: u32, frac: u32, bytes: &[u8], original: u32) -> Vec<u8> {
        let mut out = self.words(&[sec, frac, bytes.len() as u32, original]);
        out.extend(bytes);
        out
    }
    fn long_record(self, sec: u32, bytes: &[u8]) -> Vec<u8> {
        let mut out = self.words(&[sec, 5, bytes.len() as u32, bytes.len() as u32, 3, 0x0008_0000]);
        out.extend(bytes);
        out
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let len = body.len() as u32 + 12;
        let mut out = self.words(&[kind, len]);
        out.extend(body);
        out.extend(self.u32(len));
        out
    }
    fn section(self) -> Vec<u8> {
        let mut body = self.u32(0x1a2b_3c4d).to_vec();
        body.extend(self.u16(1));
        body.extend(self.u16(0));
        body.extend(self.u64(u64::MAX));
        self.block(0x0a0d_0d0a, &body)
    }
    fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut out = self.u16(code).to_vec();
        out.extend(self.u16(value.len() as u16));
        out.extend(value);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }
    fn interface(self, link: u16, snaplen: u32, options: &[u8]) -> Vec<u8> {
        let mut body = self.u16(link).to_vec();
        body.extend([0, 0]);
        body.extend(self.u32(snaplen));
        body.extend(options);
        self.block(1, &body)
    }
    fn enhanced(self, iface: u32, ticks: u64, bytes: &[u8], original: u32) -> Vec<u8> {
        let mut body = self.words(&[iface, (ticks >> 32) as u32, ticks as u32, bytes.len() as u32, original]);
        body.extend(bytes);
        self.block(6, &body)
    }
}

const T: u32 = 1_700_000_000;

fn join(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

/// A pcap with `n` packets of different lengths.
fn sample_pcap(n: u32) -> Vec<u8> {
    let p = Pen::LITTLE;
    let mut out = p.pcap(0xa1b2_c3d4, 1);
    for i in 0..n {
        let bytes: Vec<u8> = (0..(i * 37 % 300 + 20)).map(|b| (b * 31 + i) as u8 | 0x80).collect();
        out.extend(p.record(T + i, i * 1000, &bytes, bytes.len() as u32));
    }
    out
}

fn sample_pcapng(n: u32) -> Vec<u8> {
    let p = Pen::LITTLE;
    let mut out = join(&[p.section(), p.interface(1, 0, &[])]);
    for i in 0..n {
        let bytes: Vec<u8> = (0..(i * 37 % 300 + 20)).map(|b| (b * 31 + i) as u8 | 0x80).collect();
        out.extend(p.enhanced(0, u64::from(T) * 1_000_000 + u64::from(i), &bytes, bytes.len() as u32));
    }
    out
}

#[test]
fn pcap_is_read_in_both_byte_orders_and_resolutions() {
    for p in [Pen::LITTLE, Pen::BIG] {
        for (magic, ns, format) in [(0xa1b2_c3d4, 7000, "pcap"), (0xa1b2_3c4d, 7, "pcap-ns")] {
            let file = join(&[p.pcap(magic, 113), p.record(T, 7, b"abc", 3), p.record(T + 1, 7, b"defg", 90)]);
            let (frames, facts) = read_all(&file);
            assert_eq!(frames.len(), 2);
            assert_eq!(frames[0].0.ts, Time::from_nanos(i64::from(T) * 1_000_000_000 + ns));
            assert_eq!(frames[0].0.link, LinkType::LINUX_SLL);
            assert_eq!((frames[1].0.number, frames[1].0.original), (FrameNo(2), 90));
            assert_eq!(frames[1].1, b"defg");
            assert_eq!(facts.format, format);
            assert_eq!((facts.packets, facts.bytes, facts.cut_frames), (2, 7, 1));
            assert_eq!(facts.link_types, [LinkType::LINUX_SLL]);
            assert!(facts.damage.is_empty());
            assert_eq!(read_file("orders", &file).0, frames);
        }
    }
}

#[test]
fn fcs_bits_of_the_link_type_field_are_masked() {
    let file = join(&[Pen::BIG.pcap(0xa1b2_c3d4, 0x2400_0001), Pen::BIG.record(T, 0, b"x", 1)]);
    assert_eq!(read_all(&file).0[0].0.link, LinkType::ETHERNET);
}

#[test]
fn long_record_headers_are_known_by_magic_and_behind_the_ordinary_one() {
    for (magic, records) in [(0xa1b2_cd34_u32, 5), (0xa1b2_c3d4, 5), (0xa1b2_c3d4, 2), (0xa1b2_c3d4, 1)] {
        let p = Pen::LITTLE;
        let mut file = p.pcap(magic, 1);
        for i in 0..records {
            file.extend(p.long_record(T + i, &[0x80 | i as u8; 60]));
        }
        let (frames, facts) = read_all(&file);
        assert_eq!(frames.len(), records as usize);
        assert!(frames.iter().enumerate().all(|(i, f)| f.1 == [0x80 | i as u8; 60]));
        assert!(facts.damage.is_empty());
    }
}

#[test]
fn a_capture_without_packets_is_a_capture() {
    let (frames, facts) = read_all(&Pen::LITTLE.pcap(0xa1b2_c3d4, 1));
    assert!(frames.is_empty() && facts.damage.is_empty() && facts.truncated_at.is_none());
    let (frames, facts) = read_file("none", &Pen::BIG.section());
    assert!(frames.is_empty() && facts.damage.is_empty());
}

#[test]
fn a_cut_last_record_is_named() {
    let whole = sample_pcap(10);
    let (frames, facts) = read_all(&whole[..whole.len() - 5]);
    assert_eq!(frames.len(), 9);
    assert_eq!(facts.truncated_at, Some(FrameNo(10)));
    assert_eq!((facts.skipped_bytes, facts.damage.len()), (0, 1));
    let whole = sample_pcapng(10);
    let (frames, facts) = read_all(&whole[..whole.len() - 5]);
    assert_eq!(frames.len(), 9);
    assert_eq!(facts.truncated_at, Some(FrameNo(10)));
}

#[test]
fn a_bad_record_is_skipped_and_reading_goes_on() {
    let mut file = sample_pcap(30);
    let at = 24 + (0..10).map(|i| 16 + i * 37 % 300 + 20).sum::<usize>();
    let want = read_all(&file).0;
    file[at + 8..at + 12].copy_from_slice(&[0xff; 4]);
    let (frames, facts) = read_all(&file);
    assert_eq!(frames.len(), 29);
    assert!(frames.iter().zip(want.iter().take(10).chain(want.iter().skip(11))).all(|(a, b)| a.1 == b.1));
    assert_eq!(facts.skipped_bytes, 16 + 10 * 37 % 300 + 20);
    assert_eq!(facts.damage.len(), 1);
    assert_eq!(read_file("resync", &file).0, frames);
}

#[test]
fn a_length_that_reaches_past_the_end_does_not_cost_what_follows() {
    let mut file = sample_pcap(30);
    let at = 24 + (0..10).map(|i| 16 + i * 37 % 300 + 20).sum::<usize>();
    file[at + 8..at + 12].copy_from_slice(&200_000_u32.to_le_bytes());
    let (frames, facts) = read_all(&file);
    assert_eq!((frames.len(), facts.truncated_at), (29, None));
}

#[test]
fn a_bad_block_is_skipped_and_reading_goes_on() {
    let p = Pen::LITTLE;
    let mut bad = p.enhanced(0, 9, b"lost", 4);
    bad[4] = 0x13;
    let file = join(&[sample_pcapng(3), bad.clone(), p.enhanced(0, 10, b"kept", 4)]);
    let (frames, facts) = read_all(&file);
    assert_eq!(frames.len(), 4);
    assert_eq!(frames[3].1, b"kept");
    assert_eq!(facts.skipped_bytes, bad.len() as u64);
}

#[test]
fn a_tail_of_zeros_is_damage_and_not_packets() {
    let file = join(&[sample_pcap(3), vec![0; 4096]]);
    let (frames, facts) = read_all(&file);
    assert_eq!((frames.len(), facts.skipped_bytes), (3, 4096));
}

#[test]
fn pcapng_sections_have_their_own_order_and_interfaces() {
    let (l, b) = (Pen::LITTLE, Pen::BIG);
    let nano = l.option(9, &[9]);
    let binary = join(&[b.option(9, &[0x80 | 10]), b.option(14, &100_u64.to_be_bytes())]);
    let file = join(&[
        l.section(),
        l.interface(1, 0, &nano),
        l.interface(101, 0, &[]),
        l.enhanced(0, 1_500, b"a", 1),
        l.enhanced(1, 1_500, b"b", 1),
        l.enhanced(2, 1_500, b"nobody's", 8),
        l.block(0x0bad_cafe, b"unknown"),
        l.block(10, b"secrets"),
        b.section(),
        b.interface(113, 0, &binary),
        b.enhanced(0, 1_536, b"c", 9),
    ]);
    let (frames, facts) = read_all(&file);
    let seen: Vec<_> = frames.iter().map(|(h, b)| (h.ts.nanos(), h.link.0, h.iface, b.as_slice())).collect();
    assert_eq!(seen, [(1_500, 1, 0, &b"a"[..]), (1_500_000, 101, 1, b"b"), (101_500_000_000, 113, 2, b"c")]);
    assert_eq!(facts.link_types, [LinkType::ETHERNET, LinkType::RAW, LinkType::LINUX_SLL]);
    assert_eq!((facts.cut_frames, facts.skipped_bytes), (1, 40));
    assert_eq!(facts.damage.len(), 1);
    assert_eq!(facts.drops, None);
}

#[test]
fn old_packet_blocks_and_simple_ones_are_read() {
    let p = Pen::LITTLE;
    let mut old = p.u16(0).to_vec();
    old.extend(p.u16(3));
    old.extend(p.words(&[0, 77, 3, 3]));
    old.extend(b"old");
    let mut simple = p.u32(6).to_vec();
    simple.extend(b"simp");
    let file = join(&[p.section(), p.interface(1, 4, &[]), p.block(2, &old), p.block(3, &simple)]);
    let (frames, facts) = read_all(&file);
    assert_eq!(frames[0].1, b"old");
    assert_eq!((frames[1].1.as_slice(), frames[1].0.original, frames[1].0.ts), (&b"simp"[..], 6, frames[0].0.ts));
    assert_eq!(facts.drops, Some(3));
}

#[test]
fn the_last_statistics_of_each_interface_count() {
    let p = Pen::LITTLE;
    let stats = |iface: u32, ifdrop: u64, osdrop: u64| {
        let mut body = p.words(&[iface, 0, 0]);
        body.extend(p.option(4, &p.u64(1000)));
        body.extend(p.option(5, &p.u64(ifdrop)));
        body.extend(p.option(7, &p.u64(osdrop)));
        p.block(5, &body)
    };
    let ifaces = join(&[p.section(), p.interface(1, 0, &[]), p.interface(1, 0, &[])]);
    let file = join(&[ifaces, stats(0, 1, 1), stats(1, 5, 0), stats(0, 10, 20)]);
    assert_eq!(read_all(&file).1.drops, Some(35));
}

#[test]
fn absurd_times_saturate() {
    let p = Pen::LITTLE;
    for resolution in 0..=255_u8 {
        let options = join(&[p.option(9, &[resolution]), p.option(14, &p.u64(i64::MAX as u64))]);
        let file = join(&[p.section(), p.interface(1, 0, &options), p.enhanced(0, u64::MAX, b"x", 1)]);
        assert_eq!(read_all(&file).0[0].0.ts, Time::from_nanos(i64::MAX));
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    e.write_all(bytes).unwrap();
    e.finish().unwrap()
}

#[test]
fn compressed_captures_read_like_plain_ones() {
    for file in [sample_pcap(3000), sample_pcapng(3000)] {
        let (want, plain) = read_all(&file);
        let (half, rest) = file.split_at(file.len() / 2);
        let members = join(&[gzip(half), gzip(rest)]);
        let zst = zstd::encode_all(&file[..], 1).unwrap();
        for (packed, name) in [(members, "gzip"), (zst, "zstd")] {
            let (frames, facts) = read_all(&packed);
            assert_eq!(frames, want);
            assert_eq!(facts.format, format!("{}+{name}", plain.format));
            assert!(facts.damage.is_empty());
            assert_eq!(read_file(name, &packed).0, want);
            // A stream that breaks off still gives what was before.
            let (frames, facts) = read_all(&packed[..packed.len() / 2]);
            assert!(!frames.is_empty() && frames.len() < want.len());
            assert_eq!(frames[..], want[..frames.len()]);
            assert!(facts.damage.iter().any(|d| d.contains(name)));
        }
    }
}

#[test]
fn a_decompression_bomb_is_given_up() {
    let mut e = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    e.write_all(&sample_pcap(3)).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..200 {
        e.write_all(&zeros).unwrap();
    }
    let bomb = e.finish().unwrap();
    let (frames, facts) = read_all(&bomb);
    assert_eq!(frames.len(), 3);
    assert!(facts.damage.iter().any(|d| d.contains("beyond all measure")), "{:?}", facts.damage);
}

#[test]
fn other_files_are_named_for_what_they_are() {
    for (bytes, want) in [
        (&b""[..], "an empty file"),
        (b"\x7fELF\x02", "an ELF program"),
        (b"PK\x03\x04....", "a zip archive"),
        (b"\n<!DOCTYPE html><p>", "an HTML page"),
        (b"hello, this is no capture at all", "a text file"),
        (b"\xd4\xc3\xb2\xa1\x02\0", "a capture that ends inside"),
        (b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d", "a capture that ends inside"),
    ] {
        let Err(e) = in_pieces(bytes, &[1]) else { panic!("{want} was opened") };
        assert!(e.to_string().contains(want), "{e}");
    }
    assert!(matches!(open(Path::new("/nonexistent/x")), Err(CaptureError::Missing { .. })));
    assert!(matches!(open(&std::env::temp_dir()), Err(CaptureError::Directory { .. })));
}

#[test]
fn another_version_is_refused_unless_its_records_make_sense() {
    let mut file = sample_pcap(3);
    file[4] = 9;
    assert_eq!(read_all(&file).0.len(), 3);
    file.truncate(24);
    file.extend([0xff; 64]);
    assert!(matches!(in_pieces(&file, &[7]), Err(CaptureError::UnsupportedVersion { major: 9, .. })));
}

#[test]
fn progress_reaches_the_end() {
    let file = sample_pcap(2000);
    let dir = scratch("progress");
    for (name, bytes) in [("plain", file.clone()), ("gz", gzip(&file))] {
        let path = dir.join(name);
        std::fs::write(&path, &bytes).unwrap();
        let mut source = open(&path).unwrap();
        let mut batch = Batch::over(Arc::new(Vec::new()));
        while source.fill(&mut batch).unwrap() == Fill::More {}
        assert_eq!(source.progress(), (bytes.len() as u64, Some(bytes.len() as u64)));
    }
    std::fs::remove_dir_all(dir).unwrap();
}

fn samples() -> [Vec<u8>; 3] {
    let p = Pen::LITTLE;
    let mut long = p.pcap(0xa1b2_c3d4, 1);
    for i in 0..40 {
        long.extend(p.long_record(T + i, &vec![0x91; (i * 13 % 80) as usize + 1]));
    }
    [sample_pcap(60), sample_pcapng(60), long]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn chunking_changes_nothing(which in 0_usize..3, lens in prop::collection::vec(1_usize..4000, 1..6), edits in edits()) {
        let mut file = samples()[which].clone();
        mutate(&mut file, &edits);
        match (in_pieces(&file, &[usize::MAX]), in_pieces(&file, &lens)) {
            (Ok(a), Ok(b)) => {
                let ((frames, facts), (frames_b, facts_b)) = (drain(a), drain(b));
                prop_assert_eq!(frames, frames_b);
                prop_assert_eq!((facts.skipped_bytes, facts.truncated_at, facts.damage),
                    (facts_b.skipped_bytes, facts_b.truncated_at, facts_b.damage));
            }
            (Err(a), Err(b)) => prop_assert_eq!(a.to_string(), b.to_string()),
            _ => prop_assert!(false, "only one of them opened"),
        }
    }

    #[test]
    fn damaged_captures_end(which in 0_usize..3, edits in edits(), cut in 0_usize..20_000) {
        let mut file = samples()[which].clone();
        mutate(&mut file, &edits);
        file.truncate(cut);
        if let Ok(source) = in_pieces(&file, &[977]) {
            let (frames, facts) = drain(source);
            prop_assert_eq!(frames.len() as u64, facts.packets);
            prop_assert!(facts.skipped_bytes <= file.len() as u64);
        }
    }

    #[test]
    fn noise_behind_a_good_header_ends(bytes in prop::collection::vec(any::<u8>(), 0..3000), ng: bool, sparse: bool) {
        let mut file = if ng { sample_pcapng(2) } else { sample_pcap(2) };
        file.extend(bytes.iter().map(|b| if sparse && *b > 30 { 0 } else { *b }));
        let (frames, _) = drain(in_pieces(&file, &[64]).unwrap());
        prop_assert!(frames.len() >= 2);
    }
}

/// Places (as a share of the file) and bytes to put there.
fn edits() -> impl Strategy<Value = Vec<(u16, u8)>> {
    prop::collection::vec((any::<u16>(), any::<u8>()), 0..8)
}

fn mutate(file: &mut [u8], edits: &[(u16, u8)]) {
    for (place, byte) in edits {
        let at = usize::from(*place) * file.len() / 65_536;
        if at >= 4 {
            file[at] = *byte;
        }
    }
}
