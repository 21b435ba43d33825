//! TCP options that matter here (RFC 9293 §3.1, RFC 7323, RFC 2018, RFC 2385).

/// What the options of one segment say.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Options {
    pub mss: Option<u16>,
    pub wscale: Option<u8>,
    pub sack_permitted: bool,
    pub sack_blocks: bool,
    /// TSval.
    pub tsval: Option<u32>,
    /// TSecr.
    pub tsecr: Option<u32>,
    pub md5: bool,
}

/// Reads options laxly: a malformed list ends the reading, what was read counts.
pub(super) fn read(raw: &[u8]) -> Options {
    // The layout of nearly every segment of an established connection: NOP NOP timestamp.
    if let [1, 1, 8, 10, a, b, c, d, e, f, g, h] = raw {
        let (tsval, tsecr) = (u32::from_be_bytes([*a, *b, *c, *d]), u32::from_be_bytes([*e, *f, *g, *h]));
        return Options { tsval: Some(tsval), tsecr: Some(tsecr), ..Options::default() };
    }
    let mut out = Options::default();
    let mut rest = raw;
    while let [kind, after @ ..] = rest {
        match kind {
            0 => break,
            1 => {
                rest = after;
                continue;
            }
            _ => {}
        }
        let Some(&len) = after.first() else { break };
        let (Some(body), Some(next)) = (rest.get(2..usize::from(len)), rest.get(usize::from(len)..)) else { break };
        match (kind, body) {
            (2, [a, b]) => out.mss = Some(u16::from_be_bytes([*a, *b])),
            (3, [shift]) => out.wscale = Some((*shift).min(14)),
            (4, []) => out.sack_permitted = true,
            (5, [_, ..]) => out.sack_blocks = true,
            (8, [a, b, c, d, rest @ ..]) => {
                out.tsval = Some(u32::from_be_bytes([*a, *b, *c, *d]));
                out.tsecr = <[u8; 4]>::try_from(rest).ok().map(u32::from_be_bytes);
            }
            (19, _) => out.md5 = true,
            _ => {}
        }
        rest = next;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_linux_syn() {
        let o = read(&[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 1, 0, 0, 0, 0, 0, 1, 3, 3, 7]);
        assert_eq!((o.mss, o.wscale, o.sack_permitted, o.tsval), (Some(1460), Some(7), true, Some(256)));
    }

    #[test]
    fn a_lying_length_ends_the_reading() {
        assert_eq!(read(&[2, 4, 5, 180, 8, 40, 0]).mss, Some(1460));
        assert_eq!(read(&[5, 0, 0, 0]), Options::default());
        assert_eq!(read(&[8]), Options::default());
    }
}
