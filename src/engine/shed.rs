//! What is given up under overload, and in which order. Packets wait in one queue between capture and analysis; how full it is says how
//! far analysis has fallen behind:
//!
//! | queue | given up | what goes on |
//! |---|---|---|
//! | below 25 % | nothing | |
//! | 25 % | payload of flows after their first 64 packets | everything else |
//! | 50 % | payload of flows after their first 8 packets; interim judgements; packets kept as evidence; records of lone first packets | |
//! | 75 % | following flows after their first 64 packets (order, loss, pace) | every packet is counted in its flow |
//! | 100 % | packets: the capture threads drop chunks | the dropped are counted |
//!
//! Each step back needs the queue to fall to half of what the step took, so that the load does not make the level flap. Packets that were
//! not analysed in full are counted (`policy`), and as all losses they lower what may be concluded.

use crate::model::pulse::Shed;

/// Packets after which a flow is long.
const LONG: u64 = 64;
/// Packets whose payload is still read under heavy load: handshake and first request.
const BEGINNING: u64 = 8;
/// Fill of the queue in percent from which each level holds.
const LEVELS: [(u64, Shed); 3] = [(25, Shed::LongPayload), (50, Shed::Payload), (75, Shed::Following)];

/// What is done with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Task {
    /// Its place in the stream is kept.
    pub follow: bool,
    /// Its payload is read.
    pub read: bool,
}

/// What is done with the `nth` packet of a flow.
pub(super) const fn task(shed: Shed, nth: u64) -> Task {
    match shed {
        Shed::Nothing => Task { follow: true, read: true },
        Shed::LongPayload => Task { follow: true, read: nth <= LONG },
        Shed::Payload => Task { follow: true, read: nth <= BEGINNING },
        Shed::Following => Task { follow: nth <= LONG, read: nth <= BEGINNING },
    }
}

/// The level for a queue that is `percent` full, coming from `before`.
pub(super) fn level(before: Shed, percent: u64) -> Shed {
    let risen = LEVELS.iter().rev().find(|(from, _)| percent >= *from).map_or(Shed::Nothing, |l| l.1);
    let held = LEVELS.iter().rev().find(|(from, _)| percent * 2 >= *from).map_or(Shed::Nothing, |l| l.1);
    risen.max(before.min(held))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_shed_in_the_stated_order() {
        let order = [Shed::Nothing, Shed::LongPayload, Shed::Payload, Shed::Following];
        assert!(order.is_sorted());
        assert_eq!(
            [0, 24, 25, 49, 50, 74, 75, 100].map(|p| level(Shed::Nothing, p)),
            [
                Shed::Nothing,
                Shed::Nothing,
                Shed::LongPayload,
                Shed::LongPayload,
                Shed::Payload,
                Shed::Payload,
                Shed::Following,
                Shed::Following
            ]
        );
        // Payload of long flows goes first, then payload, then following; the beginning of a flow is always read and followed.
        for (shed, nth, follow, read) in [
            (Shed::Nothing, 1_000_000, true, true),
            (Shed::LongPayload, 64, true, true),
            (Shed::LongPayload, 65, true, false),
            (Shed::Payload, 8, true, true),
            (Shed::Payload, 9, true, false),
            (Shed::Following, 8, true, true),
            (Shed::Following, 64, true, false),
            (Shed::Following, 65, false, false),
        ] {
            assert_eq!(task(shed, nth), Task { follow, read }, "{shed:?} {nth}");
        }
    }

    #[test]
    fn levels_fall_only_when_the_queue_has_clearly_emptied() {
        assert_eq!(level(Shed::Following, 60), Shed::Following);
        assert_eq!(level(Shed::Following, 38), Shed::Following);
        assert_eq!(level(Shed::Following, 37), Shed::Payload);
        assert_eq!(level(Shed::Payload, 24), Shed::LongPayload);
        assert_eq!(level(Shed::LongPayload, 12), Shed::Nothing);
        assert_eq!(level(Shed::Following, 0), Shed::Nothing);
    }
}
