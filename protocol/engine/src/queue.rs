//! A channel between two threads that is bounded by the weight of what waits in it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Makes a channel in which items of a total weight of about `limit` may wait. An item heavier
/// than the limit passes alone.
pub fn weighted<T>(limit: usize) -> (Feed<T>, Drain<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            items: VecDeque::new(),
            weight: 0,
            limit,
            fed: true,
            drained: true,
            full: false,
        }),
        changed: Condvar::new(),
    });
    (Feed(Arc::clone(&shared)), Drain(shared))
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    items: VecDeque<(usize, T)>,
    weight: usize,
    limit: usize,
    fed: bool,
    drained: bool,
    /// An item waits for room.
    full: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that puts items in.
pub struct Feed<T>(Arc<Shared<T>>);

impl<T> Feed<T> {
    /// Waits for room and puts `item` in; `false` when the other end is gone.
    pub fn push(&self, weight: usize, item: T) -> bool {
        let mut state = self.0.lock();
        while state.drained && state.weight > 0 && state.weight + weight > state.limit {
            state.full = true;
            self.0.changed.notify_all();
            state = self.0.wait(state);
        }
        state.full = false;
        if !state.drained {
            return false;
        }
        state.weight += weight;
        state.items.push_back((weight, item));
        drop(state);
        self.0.changed.notify_all();
        true
    }
}

impl<T> Drop for Feed<T> {
    fn drop(&mut self) {
        self.0.lock().fed = false;
        self.0.changed.notify_all();
    }
}

/// The end that takes items out.
pub struct Drain<T>(Arc<Shared<T>>);

impl<T> Drain<T> {
    /// Waits until items of that weight wait, or the other end is gone or has no room for more.
    pub fn wait_for(&self, weight: usize) {
        let mut state = self.0.lock();
        while state.fed && !state.full && state.weight < weight {
            state = self.0.wait(state);
        }
    }

    /// Waits for the next item; `None` when the other end is gone and nothing waits any more.
    pub fn pop(&self) -> Option<T> {
        let mut state = self.0.lock();
        loop {
            if let Some((weight, item)) = state.items.pop_front() {
                state.weight -= weight;
                drop(state);
                self.0.changed.notify_all();
                return Some(item);
            }
            if !state.fed {
                return None;
            }
            state = self.0.wait(state);
        }
    }

    /// The next item if one waits.
    pub fn try_pop(&self) -> Option<T> {
        let mut state = self.0.lock();
        let (weight, item) = state.items.pop_front()?;
        state.weight -= weight;
        drop(state);
        self.0.changed.notify_all();
        Some(item)
    }
}

impl<T> Drop for Drain<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.drained = false;
        state.items.clear();
        drop(state);
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn passes_everything_in_order_through_a_narrow_queue() {
        let (feed, drain) = weighted(10);
        let producer = thread::spawn(move || {
            for number in 0..1000_usize {
                assert!(feed.push(number % 17, number));
            }
        });
        let mut expected = 0;
        while let Some(number) = drain.pop() {
            assert_eq!(number, expected);
            expected += 1;
        }
        assert_eq!(expected, 1000);
        producer.join().expect("the producer ends");
    }

    #[test]
    fn waits_for_a_head_start_without_blocking_for_ever() {
        let (feed, drain) = weighted(10);
        let producer = thread::spawn(move || {
            for number in [3, 9, 1] {
                assert!(feed.push(number, number));
            }
        });
        // 3 waits and 9 finds no room beside it.
        drain.wait_for(8);
        assert_eq!([drain.pop(), drain.pop(), drain.pop()], [Some(3), Some(9), Some(1)]);
        drain.wait_for(8);
        assert_eq!(drain.pop(), None);
        producer.join().expect("the producer ends");
    }

    #[test]
    fn tells_the_producer_that_nobody_takes() {
        let (feed, drain) = weighted(1);
        assert!(feed.push(1, 1));
        drop(drain);
        assert!(!feed.push(1, 2));
    }
}
