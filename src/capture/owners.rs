//! Who packets of a pcapng file belong to, where the file says so: PCAPdroid's map from user ids to apps with the id in each packet's comment
//! (`pcap_dump.c` of PCAPdroid), and Darwin's process event blocks with their number in an option of each packet (`pcap-ng.h` of Apple's libpcap).

use super::bytes::Order;
use crate::model::note::wire_text;
use std::collections::HashMap;
use std::sync::Arc;

/// PCAPdroid's private enterprise number.
const PCAPDROID: u32 = 62_652;
/// Owners kept; a place has 16 bits.
const MOST: usize = 4096;
/// Bytes of a name kept.
const NAME: usize = 96;
const COMMENT: u16 = 1;
/// Number of the process event block of the packet's process, and of the process on whose behalf it acted.
const PROCESS: u16 = 0x8001;
const EFFECTIVE: u16 = 0x8003;

/// Apps and processes named so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners {
    names: Arc<Vec<Box<str>>>,
    /// Place plus one, by user id.
    by_uid: HashMap<u32, u16>,
    /// Place plus one, by number of the block within the section.
    events: Vec<u16>,
    darwin: bool,
}

impl Owners {
    /// Whether anything was named.
    pub(super) fn any(&self) -> bool {
        self.darwin || !self.by_uid.is_empty()
    }

    pub(super) fn names(&self) -> Arc<Vec<Box<str>>> {
        Arc::clone(&self.names)
    }

    pub(super) const fn processes(&self) -> bool {
        self.darwin
    }

    /// A new section: blocks are counted from 0 again.
    pub(super) fn section(&mut self) {
        self.events.clear();
    }

    /// A process event block.
    pub(super) fn process(&mut self, name: Option<&[u8]>) {
        self.darwin = true;
        let place = name.map_or(0, |n| self.place(n));
        if self.events.len() < MOST {
            self.events.push(place);
        }
    }

    /// A custom block: PCAPdroid's, if it is one, says which package a user id is.
    pub(super) fn custom(&mut self, order: Order, block: &[u8]) {
        if order.u32(block, 8) != Some(PCAPDROID) {
            return;
        }
        if let Some((uid, package)) = block.get(12..).and_then(|map| uid_map(order, map)) {
            let place = self.place(package);
            if self.by_uid.len() < MOST {
                self.by_uid.entry(uid).or_insert(place);
            }
        }
    }

    /// The owner that a packet's options name.
    pub(super) fn of<'a>(&self, order: Order, options: impl Iterator<Item = (u16, &'a [u8])>) -> u16 {
        let mut found = 0;
        for (code, value) in options {
            let event = || order.u32(value, 0).and_then(|n| self.events.get(usize::try_from(n).ok()?)).copied();
            match code {
                COMMENT if found == 0 => found = uid(value).and_then(|u| self.by_uid.get(&u)).copied().unwrap_or(0),
                PROCESS if found == 0 => found = event().unwrap_or(0),
                // On whose behalf says more than who.
                EFFECTIVE => found = event().filter(|p| *p > 0).unwrap_or(found),
                _ => {}
            }
        }
        found
    }

    /// Place plus one of a name; 0 if it is empty or there are too many.
    fn place(&mut self, name: &[u8]) -> u16 {
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        let name = wire_text(name.get(..end).unwrap_or(name), NAME);
        if name.is_empty() {
            return 0;
        }
        let known = self.names.iter().position(|n| *n == name);
        let at = match known {
            Some(at) => at,
            None if self.names.len() < MOST => {
                Arc::make_mut(&mut self.names).push(name);
                self.names.len().saturating_sub(1)
            }
            None => return 0,
        };
        u16::try_from(at.saturating_add(1)).unwrap_or(0)
    }
}

/// `u-10123`, the comment PCAPdroid gives each packet.
fn uid(comment: &[u8]) -> Option<u32> {
    // Ids below 0 stand for packets nobody owns.
    std::str::from_utf8(comment).ok()?.strip_prefix("u-")?.parse().ok()
}

/// User id and package name of a map block. Its fields: version, type, user id, lengths of package and app name, then both names. How wide version,
/// type and lengths are depends on the version; the one reading is right whose lengths fill the block but for its padding.
fn uid_map(order: Order, map: &[u8]) -> Option<(u32, &[u8])> {
    for (head, width) in [(2_usize, 1_usize), (4, 1), (2, 2), (4, 2)] {
        let at = head.saturating_add(4);
        let length = |at: usize| if width == 1 { map.get(at).map(|b| usize::from(*b)) } else { order.u16(map, at).map(usize::from) };
        let (Some(package), Some(app)) = (length(at), length(at.saturating_add(width))) else { continue };
        let plain = at.saturating_add(width.saturating_mul(2));
        for names in [plain, plain.next_multiple_of(4)] {
            let end = names.saturating_add(package).saturating_add(app);
            let name = map.get(names..names.saturating_add(package)).unwrap_or_default();
            let padded = map.get(end..).is_some_and(|rest| rest.len() < 4 && rest.iter().all(|b| *b == 0));
            let named = !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b' '));
            if padded && named {
                return Some((order.u32(map, head)?, name));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(version_and_type: &[u8], wide: bool, uid: u32, package: &str, app: &str) -> Vec<u8> {
        let mut out = vec![0; 8];
        out.extend(PCAPDROID.to_le_bytes());
        out.extend(version_and_type);
        out.extend(uid.to_le_bytes());
        for len in [package.len(), app.len()] {
            out.extend(&(len as u16).to_le_bytes()[..if wide { 2 } else { 1 }]);
        }
        out.extend(package.as_bytes());
        out.extend(app.as_bytes());
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    #[test]
    fn user_ids_become_packages_whatever_the_width_of_the_fields() {
        for head in [&[1, 1][..], &[1, 1, 0, 0], &[1, 0, 1, 0]] {
            for wide in [false, true] {
                let mut owners = Owners::default();
                owners.custom(Order::Little, &map(head, wide, 10_123, "org.telegram.messenger", "Telegram"));
                owners.custom(Order::Little, &map(head, wide, 10_124, "com.whatsapp", "WhatsApp"));
                let of = |comment: &'static [u8]| owners.of(Order::Little, [(COMMENT, comment)].into_iter());
                assert_eq!((of(b"u-10123"), of(b"u-10124"), of(b"u--1"), of(b"seen")), (1, 2, 0, 0), "{head:?} {wide}");
                assert_eq!(&*owners.names()[0], "org.telegram.messenger");
            }
        }
        let mut owners = Owners::default();
        let mut other = map(&[1, 1], false, 1, "a.b", "c");
        other[8] = 1;
        owners.custom(Order::Little, &other);
        assert!(!owners.any());
    }

    #[test]
    fn processes_are_counted_by_section_and_the_effective_one_counts() {
        let mut owners = Owners::default();
        owners.process(Some(b"nsurlsessiond"));
        owners.process(Some(b"Telegram"));
        owners.process(None);
        let event = |code, n: u32| (code, n.to_le_bytes());
        let of = |options: &[(u16, [u8; 4])]| owners.of(Order::Little, options.iter().map(|(c, v)| (*c, &v[..])));
        assert_eq!(of(&[event(PROCESS, 0)]), 1);
        assert_eq!(of(&[event(PROCESS, 0), event(EFFECTIVE, 1)]), 2);
        assert_eq!(of(&[event(PROCESS, 0), event(EFFECTIVE, 2)]), 1);
        assert_eq!(of(&[event(PROCESS, 9)]), 0);
        owners.section();
        assert_eq!(owners.of(Order::Little, [(PROCESS, &[0u8; 4][..])].into_iter()), 0);
    }
}
