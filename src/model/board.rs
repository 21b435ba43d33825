//! The live board: counters that shards, collector and capture write, and that the screen and the metrics read at any time.
//!
//! It is the one place where a fact crosses shards while they work, and so the one place for a concurrent map. Nothing here is per packet:
//! shards add up a batch before they write.

use super::finding::Grade;
use super::flow::Outcome;
use super::label::Role;
use super::oddity::Oddity;
use super::pulse::Shed;
use dashmap::DashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What is counted. No addresses and no names from the wire: their number has no bound.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Count {
    /// Frames that did not become packets.
    Oddity(Oddity),
    /// Flows that ended, by protocol.
    Flow(u8),
    /// Findings told, by rule and grade.
    Finding(&'static str, Grade),
    /// Connections of a service, by how they came out.
    Connection(Box<str>, Option<Role>, Outcome),
}

/// The board.
#[derive(Default)]
pub struct Board {
    counts: DashMap<Count, u64>,
    shed: AtomicU8,
    policy: AtomicU64,
    decoded: AtomicU64,
    evicted: AtomicU64,
    unwritten: AtomicU64,
    /// What memory lacks: percent of the flows that are not to be followed.
    lacking: AtomicU64,
    /// Flows being followed and bytes kept for them until others come, by shard.
    active: DashMap<usize, (u64, u64)>,
    /// Bytes of fragments that wait for others.
    fragments: AtomicU64,
}

impl Board {
    /// Adds to a counter.
    pub fn add(&self, what: Count, by: u64) {
        if by > 0 {
            *self.counts.entry(what).or_default() += by;
        }
    }

    /// All counters, in no order.
    pub fn counts(&self) -> Vec<(Count, u64)> {
        self.counts.iter().map(|e| (e.key().clone(), *e.value())).collect()
    }

    /// Work that is being shed.
    pub fn shed(&self) -> Shed {
        Shed::from_level(self.shed.load(Ordering::Relaxed))
    }

    /// Sets what is being shed.
    pub fn set_shed(&self, shed: Shed) {
        self.shed.store(shed as u8, Ordering::Relaxed);
    }

    /// Percent of the flows planned for that memory has room for.
    pub fn share(&self) -> u64 {
        100 - self.lacking.load(Ordering::Relaxed).min(95)
    }

    /// Sets it, 5–100.
    pub fn set_share(&self, percent: u64) {
        self.lacking.store(100 - percent.clamp(5, 100), Ordering::Relaxed);
    }

    /// A shard has worked through a batch.
    pub fn worked(&self, decoded: u64, policy: u64) {
        self.decoded.fetch_add(decoded, Ordering::Relaxed);
        self.policy.fetch_add(policy, Ordering::Relaxed);
    }

    /// A shard says how many flows it follows with how many bytes kept until others come, and how many it closed early since it last said.
    pub fn following(&self, shard: usize, flows: u64, buffered: u64, evicted: u64) {
        self.active.insert(shard, (flows, buffered));
        self.evicted.fetch_add(evicted, Ordering::Relaxed);
    }

    /// Flow records that were not written.
    pub fn unwritten(&self, by: u64) {
        self.unwritten.fetch_add(by, Ordering::Relaxed);
    }

    /// Flows being followed.
    pub fn flows_active(&self) -> u64 {
        self.active.iter().map(|e| e.value().0).sum()
    }

    /// So many bytes of fragments wait for others.
    pub fn hold_fragments(&self, bytes: u64) {
        self.fragments.store(bytes, Ordering::Relaxed);
    }

    /// Bytes kept until those come that belong before or between them.
    pub fn buffered(&self) -> u64 {
        self.active.iter().map(|e| e.value().1).sum::<u64>().saturating_add(self.fragments.load(Ordering::Relaxed))
    }

    /// Packets counted, but not analysed in full.
    pub fn policy_losses(&self) -> u64 {
        self.policy.load(Ordering::Relaxed)
    }

    /// Frames that became packets.
    pub fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Relaxed)
    }

    /// Flows closed early because a bound was reached.
    pub fn flows_evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Flow records that were not written.
    pub fn flows_unwritten(&self) -> u64 {
        self.unwritten.load(Ordering::Relaxed)
    }
}
