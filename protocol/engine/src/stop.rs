//! Asking a run to end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

type Callback = Box<dyn FnOnce() + Send>;

/// A request to end a run early, shared by everything that takes part in it. Once stopped, it
/// stays stopped.
#[derive(Clone, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Default)]
struct Inner {
    stopped: AtomicBool,
    callbacks: Mutex<Vec<Callback>>,
}

impl Stop {
    /// A request that nobody has made yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the request.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        let callbacks = {
            let mut waiting = self.0.callbacks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *waiting)
        };
        for callback in callbacks {
            callback();
        }
    }

    /// Whether the request was made.
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::SeqCst)
    }

    /// Calls `callback` when the request is made, or now if it was made already.
    pub fn on_stop(&self, callback: impl FnOnce() + Send + 'static) {
        {
            let mut waiting = self.0.callbacks.lock().unwrap_or_else(PoisonError::into_inner);
            if !self.is_stopped() {
                waiting.push(Box::new(callback));
                return;
            }
        }
        callback();
    }
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stop").field(&self.is_stopped()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn calls_each_callback_once() {
        let stop = Stop::new();
        let calls = Arc::new(AtomicU32::new(0));
        for _ in 0..2 {
            let calls = Arc::clone(&calls);
            stop.on_stop(move || {
                calls.fetch_add(1, Ordering::SeqCst);
            });
        }
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        stop.stop();
        stop.stop();
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        let late = Arc::clone(&calls);
        stop.on_stop(move || {
            late.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(calls.load(Ordering::SeqCst), 3);
    }
}
