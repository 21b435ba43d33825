//! What the network seems to have done: pure judgements over recorded facts.
//!
//! One file per interference, one line in [`ALL`]. A detector holds no state and looks at no packet: everything it may use is in the
//! [`Scene`]. Files here without a line in [`ALL`] are what several detectors need: [`weigh`] adds evidence up, [`resets`] judges resets,
//! [`silence`] judges unanswered packets.

mod block_page;
mod delayed_drop;
mod freeze;
mod hello_silence;
mod resets;
mod residual;
mod rst_injected;
mod rst_on_syn;
mod silence;
mod sni_reset;
mod throttling;
mod throttling_loss;
mod throttling_rate;
mod weigh;

use crate::model::finding::{Card, Finding};
use crate::model::scene::Scene;

/// A judge of one kind of interference.
pub trait Detector: Sync {
    /// Its page.
    fn card(&self) -> &'static Card;
    /// Its judgement of one flow; `None` when nothing is found, or what is found has an innocent cause.
    fn judge(&self, scene: &Scene<'_>) -> Option<Finding>;
}

/// All detectors, in the order in which they judge.
pub static ALL: &[&dyn Detector] = &[
    &rst_injected::RstInjected,
    &rst_on_syn::RstOnSyn,
    &sni_reset::SniReset,
    &hello_silence::HelloSilence,
    &delayed_drop::DelayedDrop,
    &freeze::Freeze,
    &residual::Residual,
    &block_page::BlockPage,
    &throttling_rate::ThrottlingRate,
    &throttling_loss::ThrottlingLoss,
];
