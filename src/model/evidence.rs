//! What a finding is to be read with, for a slice of its capture.

use super::flow::FlowId;
use super::frame::FrameNo;
use std::collections::BTreeMap;

/// Why a flow is part of the evidence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    /// The finding is about it.
    Finding,
    /// The finding's own repetitions: same client, same server, same name.
    Repetition,
    /// It was compared with: the kind of the control.
    Control(&'static str),
    /// Its DNS answers led to one of the others.
    Lookup,
}

impl Part {
    /// In words, for a comment.
    pub fn says(self) -> String {
        match self {
            Self::Finding => "a connection of the finding".into(),
            Self::Repetition => "the same connection attempted again".into(),
            Self::Control(kind) => format!("compared with: {}", kind.replace('_', " ")),
            Self::Lookup => "the DNS that led there".into(),
        }
    }
}

/// The flows of the evidence, whole, and single frames of others.
#[derive(Default, Debug)]
pub struct Evidence {
    /// Flows, each with the first reason that applies.
    pub flows: BTreeMap<FlowId, Part>,
    /// Frames of DNS exchanges that led to these flows, where the exchange's flow holds other names as well.
    pub frames: Vec<FrameNo>,
}
