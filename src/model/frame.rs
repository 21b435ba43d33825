//! Frames as recorded, and the batches in which they travel from the capture to the shards.

use super::time::Time;
use std::sync::Arc;

/// Frame number, 1-based per source, as Wireshark shows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct FrameNo(pub u64);

/// A libpcap link type (`LINKTYPE_*`, <https://www.tcpdump.org/linktypes.html>). Unknown values survive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback: 4-byte address family in the writer's byte order.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// PPP with or without HDLC-like framing.
    pub const PPP: Self = Self(9);
    /// Raw IP as some old BSDs and libpcaps wrote it.
    pub const RAW_BSD: Self = Self(12);
    /// Raw IP, another old value.
    pub const RAW_OPENBSD: Self = Self(14);
    /// PPP in HDLC-like framing.
    pub const PPP_HDLC: Self = Self(50);
    /// PPPoE session header and what follows, without Ethernet.
    pub const PPP_ETHER: Self = Self(51);
    /// Raw IP, version from the first nibble.
    pub const RAW: Self = Self(101);
    /// IEEE 802.11.
    pub const IEEE802_11: Self = Self(105);
    /// OpenBSD loopback: 4-byte address family, network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked capture v1.
    pub const LINUX_SLL: Self = Self(113);
    /// 802.11 with a radiotap header.
    pub const IEEE802_11_RADIOTAP: Self = Self(127);
    /// Raw IPv4.
    pub const IPV4: Self = Self(228);
    /// Raw IPv6.
    pub const IPV6: Self = Self(229);
    /// Linux netfilter log messages.
    pub const NFLOG: Self = Self(239);
    /// Darwin's wrapper that names interface and process, and the number older versions wrote it under.
    pub const PKTAP: Self = Self(258);
    /// See [`Self::PKTAP`].
    pub const PKTAP_USER2: Self = Self(149);
    /// Linux cooked capture v2.
    pub const LINUX_SLL2: Self = Self(276);
}

/// What the capture says of one frame. `Copy` and small: it travels by value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHead {
    /// 1-based number within the source.
    pub number: FrameNo,
    /// When it was recorded.
    pub ts: Time,
    /// Bytes it had on the wire.
    pub original: u32,
    /// Link type of its interface.
    pub link: LinkType,
    /// Interface index within the source (pcapng); 0 otherwise.
    pub iface: u16,
    /// Place in [`Batch::owners`] plus one of the app or process that the file names for this frame; 0 if it names none.
    pub owner: u16,
}

/// Where a frame's bytes lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the batch's shared store (the mapped file, or the chunk read).
    Store,
    /// In the batch's own buffer: an IP packet put together from fragments, always link type RAW.
    Rebuilt,
}

/// A frame inside a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameRef {
    /// Number, time, link type.
    pub head: FrameHead,
    /// Offset of the first byte in its place.
    pub at: usize,
    /// Captured bytes.
    pub len: u32,
    /// Offset of the innermost IP header inside the frame, as the reader found it while choosing the shard.
    pub ip_at: u16,
    /// Which buffer `at` points into.
    pub place: Place,
}

/// Bytes shared by the batches cut from them: a mapped file or a chunk of a stream.
pub type Store = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Frames on their way to a shard. No frame is copied when the store is a mapped file.
#[derive(Clone)]
pub struct Batch {
    /// The bytes most frames point into.
    pub store: Store,
    /// Bytes of frames that were put together here.
    pub rebuilt: Vec<u8>,
    /// The frames, in capture order.
    pub frames: Vec<FrameRef>,
    /// Apps or processes the file named so far.
    pub owners: Arc<Vec<Box<str>>>,
}

impl Batch {
    /// An empty batch over `store`.
    pub fn over(store: Store) -> Self {
        Self { store, rebuilt: Vec::new(), frames: Vec::new(), owners: Arc::default() }
    }

    /// The app or process that the file names for a frame.
    pub fn owner(&self, head: &FrameHead) -> Option<&str> {
        self.owners.get(usize::from(head.owner).checked_sub(1)?).map(|o| &**o)
    }

    /// The bytes of a frame; empty if the reference does not fit the batch.
    pub fn bytes(&self, frame: &FrameRef) -> &[u8] {
        let place = match frame.place {
            Place::Store => (*self.store).as_ref(),
            Place::Rebuilt => &self.rebuilt,
        };
        let end = frame.at.saturating_add(frame.len as usize);
        place.get(frame.at..end).unwrap_or(&[])
    }
}
