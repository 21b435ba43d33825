//! Keeps a live capture within its memory. How much a flow needs depends on what is in it, so the bound on flows that was planned from an
//! average is corrected by what the process really uses.

use crate::model::board::Board;

/// Share of the bound, in percent, above which flows are let go, and below which more are followed again.
const HIGH: u64 = 85;
const LOW: u64 = 70;

/// Corrects the share of flows for `used` of `most` bytes. Called every interval: memory that was let go comes back with some delay, so the
/// steps are small on the way up and larger on the way down.
pub(super) fn correct(board: &Board, used: u64, most: u64) {
    let percent = used.saturating_mul(100) / most.max(1);
    let share = board.share();
    if percent > HIGH {
        board.set_share(share.saturating_sub((percent - HIGH).clamp(2, 20)));
    } else if percent < LOW && share < 100 {
        board.set_share(share + 2);
    }
}

/// Bytes of this process that are in memory, as the kernel sees it (proc_pid_statm(5), with pages of 4 KiB); `None` where it does not say.
pub(super) fn used() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    text.split_whitespace().nth(1)?.parse::<u64>().ok().map(|pages| pages.saturating_mul(4096))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_let_go_while_memory_is_short_and_come_back_slowly() {
        let board = Board::default();
        correct(&board, 84, 100);
        assert_eq!(board.share(), 100);
        correct(&board, 95, 100);
        assert_eq!(board.share(), 90);
        correct(&board, 200, 100);
        assert_eq!(board.share(), 70);
        correct(&board, 75, 100);
        assert_eq!(board.share(), 70);
        correct(&board, 60, 100);
        assert_eq!(board.share(), 72);
        for _ in 0..100 {
            correct(&board, 200, 100);
        }
        assert_eq!(board.share(), 5, "something is always followed");
        assert!(used().is_none_or(|b| b > 1 << 20));
    }
}
