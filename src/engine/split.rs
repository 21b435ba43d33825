//! The same work over many flows, on several threads, with the results in the order of the flows.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Items handled at a time: enough that handing them out costs nothing, few enough that all threads end together.
const STEP: usize = 2_048;

/// Does `work` over `0..n` in pieces on up to `threads` threads; the results come in the order of the pieces, whoever did them.
pub(super) fn over<T: Send>(threads: usize, n: usize, work: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
    let pieces = n.div_ceil(STEP);
    let piece = |k: usize| work(k * STEP..n.min((k + 1) * STEP));
    if threads < 2 || pieces < 2 {
        return (0..pieces).map(piece).collect();
    }
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let k = next.fetch_add(1, Ordering::Relaxed);
            if k >= pieces {
                return done;
            }
            done.push((k, piece(k)));
        }
    };
    together(threads.min(pieces), &take)
}

/// The same where the work changes the items.
pub(super) fn over_mut<I: Send, T: Send>(threads: usize, items: &mut [I], work: impl Fn(&mut [I]) -> T + Sync) -> Vec<T> {
    let pieces = items.len().div_ceil(STEP);
    if threads < 2 || pieces < 2 {
        return items.chunks_mut(STEP).map(work).collect();
    }
    let left = Mutex::new(items.chunks_mut(STEP).enumerate());
    let take = || {
        let mut done = Vec::new();
        loop {
            let Some((k, piece)) = left.lock().unwrap_or_else(PoisonError::into_inner).next() else { return done };
            done.push((k, work(piece)));
        }
    };
    together(threads.min(pieces), &take)
}

/// Lets so many threads take pieces until there are none, this one among them, and puts what they made into order.
fn together<T: Send>(threads: usize, take: &(impl Fn() -> Vec<(usize, T)> + Sync)) -> Vec<T> {
    let mut all: Vec<(usize, T)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(take)).collect();
        let mut all = take();
        for other in others {
            match other.join() {
                Ok(done) => all.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_unstable_by_key(|(k, _)| *k);
    all.into_iter().map(|(_, t)| t).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_for_any_number_of_threads() {
        for n in [0, 1, STEP, STEP + 1, 10 * STEP + 7] {
            for threads in 1..5 {
                let got: Vec<usize> = over(threads, n, |range| range.collect::<Vec<_>>()).concat();
                assert_eq!(got, (0..n).collect::<Vec<_>>());
                let mut items = got.clone();
                let changed = over_mut(threads, &mut items, |piece| {
                    piece.iter_mut().for_each(|i| *i += 1);
                    piece.to_vec()
                });
                assert_eq!(changed.concat(), items);
                assert_eq!(items, (1..=n).collect::<Vec<_>>());
            }
        }
    }
}
