//! Capture files, in every dialect the reader must understand.

/// A frame to be written.
#[derive(Clone, Debug)]
pub struct Rec {
    /// Nanoseconds since the epoch.
    pub ts: i64,
    pub bytes: Vec<u8>,
    /// Length on the wire; the captured length if `None`.
    pub original: Option<u32>,
}

impl Rec {
    pub fn new(ts: i64, bytes: Vec<u8>) -> Self {
        Self { ts, bytes, original: None }
    }
    /// The same frame recorded with a snap length.
    pub fn cut(mut self, snap: usize) -> Self {
        self.original.get_or_insert(self.bytes.len() as u32);
        self.bytes.truncate(snap);
        self
    }
}

/// How a classic pcap file is written.
#[derive(Clone, Copy, Debug)]
pub struct Pcap {
    pub link: u16,
    pub big_endian: bool,
    pub nanos: bool,
    /// Kuznetzov's magic and his 24-byte record headers.
    pub kuznetzov: bool,
    /// 24-byte record headers behind whatever magic there is.
    pub long_records: bool,
}

impl Pcap {
    /// Little-endian, microseconds.
    pub fn of(link: u16) -> Self {
        Self { link, big_endian: false, nanos: false, kuznetzov: false, long_records: false }
    }

    pub fn write(&self, frames: &[Rec]) -> Vec<u8> {
        let u16_ = |v: u16| if self.big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
        let u32_ = |v: u32| if self.big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
        let magic = match (self.kuznetzov, self.nanos) {
            (true, _) => 0xa1b2_cd34,
            (false, true) => 0xa1b2_3c4d,
            (false, false) => 0xa1b2_c3d4,
        };
        let mut out = Vec::new();
        out.extend(u32_(magic));
        out.extend(u16_(2));
        out.extend(u16_(4));
        out.extend([0; 8]);
        out.extend(u32_(262_144));
        out.extend(u32_(self.link.into()));
        for f in frames {
            let frac = f.ts.rem_euclid(1_000_000_000) as u32;
            out.extend(u32_(f.ts.div_euclid(1_000_000_000) as u32));
            out.extend(u32_(if self.nanos && !self.kuznetzov { frac } else { frac / 1000 }));
            out.extend(u32_(f.bytes.len() as u32));
            out.extend(u32_(f.original.unwrap_or(f.bytes.len() as u32)));
            if self.kuznetzov || self.long_records {
                // Interface index, protocol, packet type, padding.
                out.extend(u32_(2));
                out.extend(u16_(0x0800));
                out.extend([0, 0]);
            }
            out.extend(&f.bytes);
        }
        out
    }
}

/// A pcapng file under construction.
pub struct Pcapng {
    out: Vec<u8>,
    big: bool,
    /// Resolution exponent byte and offset of each interface of the section.
    faces: Vec<(u8, i64)>,
}

impl Default for Pcapng {
    fn default() -> Self {
        Self::new()
    }
}

impl Pcapng {
    /// Opens a little-endian section.
    pub fn new() -> Self {
        let mut ng = Self { out: Vec::new(), big: false, faces: Vec::new() };
        ng.section(false, None);
        ng
    }

    fn u16(&self, v: u16) -> [u8; 2] {
        if self.big { v.to_be_bytes() } else { v.to_le_bytes() }
    }
    fn u32(&self, v: u32) -> [u8; 4] {
        if self.big { v.to_be_bytes() } else { v.to_le_bytes() }
    }
    fn u64(&self, v: u64) -> [u8; 8] {
        if self.big { v.to_be_bytes() } else { v.to_le_bytes() }
    }

    fn option(&self, body: &mut Vec<u8>, code: u16, value: &[u8]) {
        body.extend(self.u16(code));
        body.extend(self.u16(value.len() as u16));
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }

    /// Any block; the body is padded to 32 bits.
    pub fn block(&mut self, kind: u32, mut body: Vec<u8>) -> &mut Self {
        body.resize(body.len().next_multiple_of(4), 0);
        let total = self.u32(12 + body.len() as u32);
        let kind = self.u32(kind);
        self.out.extend(kind);
        self.out.extend(total);
        self.out.extend(body);
        self.out.extend(total);
        self
    }

    /// Begins another section.
    pub fn section(&mut self, big_endian: bool, comment: Option<&str>) -> &mut Self {
        self.big = big_endian;
        self.faces.clear();
        let mut body = self.u32(0x1a2b_3c4d).to_vec();
        body.extend(self.u16(1));
        body.extend(self.u16(0));
        body.extend(self.u64(u64::MAX));
        if let Some(c) = comment {
            self.option(&mut body, 1, c.as_bytes());
            self.option(&mut body, 0, &[]);
        }
        self.block(0x0a0d_0d0a, body)
    }

    /// An interface. `tsresol` as in the format: a power of ten, or of two with the top bit set; 6 if `None`.
    pub fn interface(&mut self, link: u16, name: &str, tsresol: Option<u8>, tsoffset: Option<i64>) -> &mut Self {
        let mut body = self.u16(link).to_vec();
        body.extend([0, 0]);
        body.extend(self.u32(262_144));
        self.option(&mut body, 2, name.as_bytes());
        if let Some(r) = tsresol {
            self.option(&mut body, 9, &[r]);
        }
        if let Some(o) = tsoffset {
            let value = self.u64(o as u64);
            self.option(&mut body, 14, &value);
        }
        self.option(&mut body, 0, &[]);
        self.faces.push((tsresol.unwrap_or(6), tsoffset.unwrap_or(0)));
        self.block(1, body)
    }

    fn units(&self, face: usize, ts: i64) -> u64 {
        let (resol, offset) = self.faces[face];
        let ns = i128::from(ts) - i128::from(offset) * 1_000_000_000;
        let units = if resol & 0x80 != 0 { (ns << (resol & 0x7f)) / 1_000_000_000 } else { ns * 10_i128.pow(resol.into()) / 1_000_000_000 };
        units as u64
    }

    /// An enhanced packet block.
    pub fn packet(&mut self, face: usize, frame: &Rec, comment: Option<&str>) -> &mut Self {
        let units = self.units(face, frame.ts);
        let mut body = self.u32(face as u32).to_vec();
        body.extend(self.u32((units >> 32) as u32));
        body.extend(self.u32(units as u32));
        body.extend(self.u32(frame.bytes.len() as u32));
        body.extend(self.u32(frame.original.unwrap_or(frame.bytes.len() as u32)));
        body.extend(&frame.bytes);
        body.resize(body.len().next_multiple_of(4), 0);
        if let Some(c) = comment {
            self.option(&mut body, 1, c.as_bytes());
            self.option(&mut body, 0, &[]);
        }
        self.block(6, body)
    }

    /// Interface statistics: received and dropped packets.
    pub fn statistics(&mut self, face: usize, ts: i64, received: u64, dropped: u64) -> &mut Self {
        let units = self.units(face, ts);
        let mut body = self.u32(face as u32).to_vec();
        body.extend(self.u32((units >> 32) as u32));
        body.extend(self.u32(units as u32));
        let (received, dropped) = (self.u64(received), self.u64(dropped));
        self.option(&mut body, 4, &received);
        self.option(&mut body, 5, &dropped);
        self.option(&mut body, 0, &[]);
        self.block(5, body)
    }

    /// A name resolution block with one IPv4 name.
    pub fn name(&mut self, ip: [u8; 4], name: &str) -> &mut Self {
        let mut body = Vec::new();
        let mut value = ip.to_vec();
        value.extend(name.as_bytes());
        value.push(0);
        self.option(&mut body, 1, &value);
        self.option(&mut body, 0, &[]);
        self.block(4, body)
    }

    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}
