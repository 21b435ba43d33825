//! Keeps a live capture within its memory. How much a flow needs depends on what is in it, so the bound on flows that was planned from an
//! average is corrected by what the process really uses.

use crate::model::board::Board;

/// Use of the bound, in percent, from which flows are let go, and below which more are followed again.
const HIGH: u64 = 95;
const LOW: u64 = 90;

/// Corrects the share of flows for `used` of `most` bytes, of which `before` were used the last time. Called every interval.
///
/// What was let go is often not given back to the system but used again, so the process stays as large as it ever was: only while it still
/// grows, or is over the bound, is more let go.
pub(super) fn correct(board: &Board, used: u64, before: u64, most: u64) {
    let percent = used.saturating_mul(100) / most.max(1);
    let share = board.share();
    if percent >= 100 || (percent >= HIGH && used > before) {
        board.set_share(share.saturating_sub((percent.saturating_sub(HIGH) * 2).clamp(2, 20)));
    } else if percent < LOW && share < 100 {
        board.set_share(share + 1);
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
        correct(&board, 94, 0, 100);
        assert_eq!(board.share(), 100);
        correct(&board, 98, 94, 100);
        assert_eq!(board.share(), 94);
        correct(&board, 98, 98, 100);
        assert_eq!(board.share(), 94, "it does not grow: what was let go is used again");
        correct(&board, 200, 200, 100);
        assert_eq!(board.share(), 74);
        correct(&board, 92, 200, 100);
        assert_eq!(board.share(), 74);
        correct(&board, 60, 92, 100);
        assert_eq!(board.share(), 75);
        for _ in 0..100 {
            correct(&board, 200, 200, 100);
        }
        assert_eq!(board.share(), 5, "something is always followed");
        assert!(used().is_none_or(|b| b > 1 << 20));
    }
}
