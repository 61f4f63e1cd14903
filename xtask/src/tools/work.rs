//! Working through many connectors at a time.

use std::{
    num::NonZeroUsize,
    panic::resume_unwind,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Calls `work` for every item, at most `jobs` at a time; the results stand in the items' order. Where it panics, so does
/// this, once the others have done what is left.
pub fn each<'a, T: Sync, R: Send>(
    items: &'a [T],
    jobs: NonZeroUsize,
    work: impl Fn(&'a T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(items.len()));
    thread::scope(|scope| {
        let thread = |_| {
            scope.spawn(|| {
                while let Some((index, item)) = Some(next.fetch_add(1, Ordering::Relaxed))
                    .and_then(|i| Some((i, items.get(i)?)))
                {
                    let result = work(item);
                    lock(&results).push((index, result));
                }
            })
        };
        let threads: Vec<_> = (0..jobs.get().min(items.len())).map(thread).collect();
        threads.into_iter().for_each(joined);
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// What a lock guards, also after a thread that held it panicked: nothing is guarded here that is left half-done.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a thread gave; one that panicked does so here.
pub fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::problem::caught;

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<usize> = (0..100).collect();
        for jobs in [1, 3, 200] {
            let doubled = each(&items, NonZeroUsize::new(jobs).unwrap(), |item| item * 2);
            assert_eq!(
                doubled,
                items.iter().map(|item| item * 2).collect::<Vec<_>>()
            );
        }
        assert!(each(&[] as &[usize], NonZeroUsize::MIN, |item| *item).is_empty());
    }

    #[test]
    fn a_panic_keeps_its_words() {
        let work = |item: &usize| assert!(*item != 1, "no ones");
        let jobs = NonZeroUsize::new(2).unwrap();
        let problem = caught(|| each(&[0, 1, 2], jobs, work)).unwrap_err();
        assert_eq!(problem.message, "a fault of xtask's own: no ones");
    }
}
