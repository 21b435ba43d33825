//! A flow's first and last packets: a bounded head, then a ring.

use crate::model::flow::{Brief, LADDER_HEAD, LADDER_TAIL, Ladder};
use crate::model::pack::{Pack, Reader, Writer, pack_fields};

pack_fields! {
    LadderBook { head, ring, at, after_head }
}

/// A ladder being written.
#[derive(Clone, Default)]
pub struct LadderBook {
    head: Vec<Brief>,
    ring: Vec<Brief>,
    at: usize,
    after_head: u64,
}

impl LadderBook {
    /// Adds a packet.
    pub fn add(&mut self, packet: Brief) {
        if self.head.len() < LADDER_HEAD {
            // Most flows are short: room for two, four, eight packets and so on.
            if self.head.len() == self.head.capacity() {
                self.head.reserve_exact(self.head.len().clamp(2, 16));
            }
            self.head.push(packet);
            return;
        }
        self.after_head = self.after_head.saturating_add(1);
        if self.ring.len() < LADDER_TAIL {
            self.ring.push(packet);
        } else if let Some(old) = self.ring.get_mut(self.at) {
            *old = packet;
            self.at = self.at.wrapping_add(1) % LADDER_TAIL;
        }
    }

    /// Writes it; what follows may refer to its packets.
    pub fn pack_first(&self, w: &mut Writer) {
        self.pack(w);
        w.refer_to(&self.head, &self.ring);
    }

    /// Reads what [`Self::pack_first`] wrote, and what `read` reads of what followed.
    pub fn unpack_beside<T>(r: &mut Reader<'_>, read: impl FnOnce(&mut Reader<'_>) -> T) -> (Self, T) {
        let mut book = Self::unpack(r);
        let t = r.beside(&mut book.head, &mut book.ring, read);
        (book, t)
    }

    /// The ladder that [`Self::close`] finished, to be gone on with.
    pub fn reopen(ladder: Ladder) -> Self {
        let after_head = ladder.between.saturating_add(ladder.tail.len() as u64);
        Self { head: ladder.head, ring: ladder.tail, at: 0, after_head }
    }

    /// The finished ladder.
    pub fn close(mut self) -> Ladder {
        if !self.ring.is_empty() {
            let at = self.at.min(self.ring.len());
            self.ring.rotate_left(at);
        }
        let between = self.after_head.saturating_sub(self.ring.len() as u64);
        self.head.shrink_to_fit();
        Ladder { head: self.head, tail: self.ring, between }
    }
}
