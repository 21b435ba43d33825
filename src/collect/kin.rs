//! Indices over all flows of a source, for finding controls.

use crate::model::flow::FlowRecord;
use crate::model::label::Label;
use crate::model::scene::Kin;

/// Builds the indices.
pub fn index<'a>(flows: &'a [FlowRecord], labels: &'a [Option<Label>]) -> Kin<'a> {
    let mut kin = Kin { flows, labels, ..Kin::default() };
    for (i, f) in flows.iter().enumerate() {
        let Ok(i) = u32::try_from(i) else { break };
        kin.by_server.entry(f.server.ip).or_default().push(i);
        kin.by_client.entry(f.client.ip).or_default().push(i);
        if let Some(name) = f.asked_name() {
            kin.by_name.entry(name).or_default().push(i);
        }
        let once = f.tcp.as_ref().is_some_and(|t| t.side.client.syns <= 1);
        if once && let Some(rtt) = f.rtt_to_server() {
            let samples = f.tcp.as_ref().map_or(0, |t| t.side.client.rtt.n + u32::from(t.rtt_server.is_some()));
            let best = kin.rtt.entry(f.server.ip).or_insert((rtt, 0));
            *best = (best.0.min(rtt), best.1.saturating_add(samples));
        }
    }
    kin
}
