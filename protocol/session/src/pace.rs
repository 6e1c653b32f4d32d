//! How fast a connection may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

/// Limits work in slices of this length.
const SLICE: Duration = Duration::from_millis(100);

/// A limit in bytes per second, for what is written alone or for both directions. All clones are
/// the same limit; a change counts from the next tenth of a second on.
#[derive(Debug, Clone)]
pub struct Pace {
    bytes_per_second: Arc<AtomicU64>,
    reads: bool,
}

impl Pace {
    /// As rsync's `--bwlimit`: for what this end writes, in KiB per second, 0 for none.
    pub fn of_writing(kib_per_second: u64) -> Self {
        Self::new(kib_per_second, false)
    }

    /// For both directions, each by itself, in KiB per second, 0 for none. What the peer sends is
    /// read no faster, and so it cannot send faster.
    pub fn of_both(kib_per_second: u64) -> Self {
        Self::new(kib_per_second, true)
    }

    fn new(kib_per_second: u64, reads: bool) -> Self {
        let pace = Self { bytes_per_second: Arc::default(), reads };
        pace.set(kib_per_second);
        pace
    }

    /// Changes the limit: KiB per second, 0 for none.
    pub fn set(&self, kib_per_second: u64) {
        self.bytes_per_second.store(kib_per_second.saturating_mul(1024), Ordering::Relaxed);
    }

    /// The most bytes to move at a time.
    pub(crate) fn slice(&self) -> usize {
        match self.bytes_per_second.load(Ordering::Relaxed) {
            0 => usize::MAX,
            rate => usize::try_from(rate / 10).unwrap_or(usize::MAX).max(1),
        }
    }

    /// Waits until `bytes` that were written may have been; `spent` has passed on it already.
    pub(crate) async fn wait_after_writing(&self, bytes: usize, spent: Duration) {
        self.wait(bytes, spent).await;
    }

    /// The same for what was read.
    pub(crate) async fn wait_after_reading(&self, bytes: usize) {
        if self.reads {
            self.wait(bytes, Duration::ZERO).await;
        }
    }

    async fn wait(&self, bytes: usize, mut spent: Duration) {
        let mut owed = bytes as f64;
        while owed >= 1.0 {
            // Looked at again and again: what is owed may be much, and the limit may rise.
            let rate = self.bytes_per_second.load(Ordering::Relaxed) as f64;
            if rate == 0.0 {
                return;
            }
            let step = Duration::from_secs_f64((owed / rate).min(SLICE.as_secs_f64()));
            owed -= rate * step.as_secs_f64();
            sleep(step.saturating_sub(spent)).await;
            spent = spent.saturating_sub(step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    // The clock of these tests is the runtime's own, which only goes on while all wait.
    #[tokio::test(start_paused = true)]
    async fn a_change_counts_at_once() {
        let pace = Pace::of_both(10);
        let began = Instant::now();
        pace.wait_after_writing(10 * 1024, Duration::ZERO).await;
        pace.wait_after_reading(20 * 1024).await;
        assert_eq!(began.elapsed().as_millis() / 100, 30);
        let changed = pace.clone();
        let waiting = tokio::spawn(async move { changed.wait_after_reading(10_000 * 1024).await });
        sleep(Duration::from_secs(1)).await;
        pace.set(0);
        waiting.await.expect("no panic");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_took_long_anyway_is_not_held_up() {
        let (pace, began) = (Pace::of_writing(10), Instant::now());
        pace.wait_after_writing(10 * 1024, Duration::from_secs(2)).await;
        pace.wait_after_reading(1 << 30).await;
        assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
    }
}
