//! Built without live capture: a shard never looks up from its files.

use super::talk::Talk;
use crate::flow::{Entry, Table};
use crate::model::flow::FlowRecord;
use crate::model::frame::FrameRef;
use crate::model::oddity::Oddity;
use crate::model::packet::Packet;
use std::marker::PhantomData;

/// Never made.
pub(super) struct Glancer<'a> {
    never: std::convert::Infallible,
    _of: PhantomData<&'a ()>,
}

impl Glancer<'_> {
    pub(super) fn may_follow(&mut self, _: usize, _: &mut Entry<Talk>, _: &Packet<'_>) -> bool {
        match self.never {}
    }
    pub(super) fn batch_done(&mut self, _: u64) {
        match self.never {}
    }
    pub(super) fn keep(&self, _: &Entry<Talk>, _: &FrameRef, _: &[u8]) {
        match self.never {}
    }
    pub(super) fn flows(&self) -> usize {
        match self.never {}
    }
    pub(super) fn open(&mut self, _: &mut Table<Talk>, _: u32, _: u64) -> Vec<FlowRecord> {
        match self.never {}
    }
    pub(super) fn oddity(&mut self, _: Oddity) {
        match self.never {}
    }
}
