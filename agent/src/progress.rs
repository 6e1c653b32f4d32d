//! The progress line of a run: what was checked and moved, how fast, and how long it may still
//! take. It is drawn on standard error, and only when that is a terminal.

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bascule_engine::observe::Event;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::human::{duration, size};

/// How often the line is drawn.
const TICK: Duration = Duration::from_millis(250);
/// Speeds are taken over this time.
const SPAN: Duration = Duration::from_secs(20);
/// What looking at one entry costs, compared with moving bytes: a fair guess that only the
/// remaining time depends on.
const ENTRY_COST: u64 = 16 * 1024;

/// How far a run is. Bytes are those of file contents.
#[derive(Debug, Default)]
pub struct Counts {
    listed: AtomicU64,
    listed_bytes: AtomicU64,
    list_complete: AtomicBool,
    checked: AtomicU64,
    checked_bytes: AtomicU64,
    requested_bytes: AtomicU64,
    moved_bytes: AtomicU64,
    moved_files: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Snapshot {
    listed: u64,
    listed_bytes: u64,
    list_complete: bool,
    checked: u64,
    checked_bytes: u64,
    /// Bytes asked for and not yet here or there.
    pending_bytes: u64,
    moved_bytes: u64,
    moved_files: u64,
}

impl Counts {
    /// Takes note of an event.
    pub fn note(&self, event: &Event<'_>) {
        let add = |counter: &AtomicU64, amount: u64| {
            counter.fetch_add(amount, Ordering::Relaxed);
        };
        match event {
            Event::Listed { entries, bytes } => {
                add(&self.listed, *entries);
                add(&self.listed_bytes, *bytes);
            }
            Event::ListComplete => self.list_complete.store(true, Ordering::Relaxed),
            Event::Checked { entries, bytes } => {
                add(&self.checked, *entries);
                add(&self.checked_bytes, *bytes);
            }
            Event::Requested { bytes } => add(&self.requested_bytes, *bytes),
            Event::TransferProgress { bytes } => add(&self.moved_bytes, *bytes),
            Event::TransferDone { .. } => add(&self.moved_files, 1),
            _ => {}
        }
    }

    /// A new attempt lists and checks everything again; what was moved stays moved.
    fn start_over(&self) {
        let moved = self.moved_bytes.load(Ordering::Relaxed);
        self.requested_bytes.store(moved, Ordering::Relaxed);
        for counter in [&self.listed, &self.listed_bytes, &self.checked, &self.checked_bytes] {
            counter.store(0, Ordering::Relaxed);
        }
        self.list_complete.store(false, Ordering::Relaxed);
    }

    fn snapshot(&self) -> Snapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let moved_bytes = get(&self.moved_bytes);
        Snapshot {
            listed: get(&self.listed),
            listed_bytes: get(&self.listed_bytes),
            list_complete: self.list_complete.load(Ordering::Relaxed),
            checked: get(&self.checked),
            checked_bytes: get(&self.checked_bytes),
            pending_bytes: get(&self.requested_bytes).saturating_sub(moved_bytes),
            moved_bytes,
            moved_files: get(&self.moved_files),
        }
    }
}

impl Snapshot {
    /// Bytes of files that are known to be right on the target, or were brought there.
    fn settled_bytes(&self) -> u64 {
        self.checked_bytes.saturating_sub(self.pending_bytes)
    }

    fn work_done(&self) -> u64 {
        self.settled_bytes() + self.checked * ENTRY_COST
    }

    fn work_in_all(&self) -> u64 {
        self.listed_bytes + self.listed * ENTRY_COST
    }
}

/// The counts of the last seconds, from which speeds follow.
#[derive(Debug, Default)]
struct Speed(VecDeque<(Instant, Snapshot)>);

impl Speed {
    fn note(&mut self, now: Instant, counts: Snapshot) {
        self.0.push_back((now, counts));
        while self.0.len() > 2
            && self.0.front().is_some_and(|(then, _)| now.duration_since(*then) > SPAN)
        {
            self.0.pop_front();
        }
    }

    /// Bytes moved per second, and seconds left once the list is complete.
    fn rates(&self) -> (f64, Option<f64>) {
        let (Some((then, before)), Some((now, counts))) = (self.0.front(), self.0.back()) else {
            return (0.0, None);
        };
        let seconds = now.duration_since(*then).as_secs_f64();
        if seconds < 1.0 {
            return (0.0, None);
        }
        let moved = (counts.moved_bytes - before.moved_bytes) as f64 / seconds;
        let work = counts.work_done().saturating_sub(before.work_done()) as f64 / seconds;
        let left = counts.work_in_all().saturating_sub(counts.work_done()) as f64;
        (moved, (counts.list_complete && work > 0.0).then(|| left / work))
    }
}

/// The text of the line. A plus says that the list is still growing.
fn line(counts: &Snapshot, (speed, left): (f64, Option<f64>), moved: &str) -> String {
    let Snapshot { listed, listed_bytes, checked, moved_bytes, moved_files, .. } = *counts;
    let more = if counts.list_complete { "" } else { "+" };
    let speed = if speed >= 1.0 { format!(", {}/s", size(speed as u64)) } else { String::new() };
    let mut text = format!(
        "{checked}/{listed}{more} checked, {moved_files} {moved} ({}{speed}), {}{more} left",
        size(moved_bytes),
        size(listed_bytes.saturating_sub(counts.settled_bytes())),
    );
    if let Some(seconds) = left {
        text.push_str(&format!(", about {}", duration(seconds)));
    }
    text
}

/// The line on the terminal; dropping it clears the line.
#[derive(Debug)]
pub struct Progress {
    counts: Arc<Counts>,
    bar: Option<ProgressBar>,
    ended: Arc<AtomicBool>,
    ticker: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins to draw if `wanted` and standard error is a terminal.
    /// `moved` is what happens to files: they are moved, or only read.
    pub fn start(wanted: bool, moved: &'static str) -> Self {
        let counts = Arc::new(Counts::default());
        let ended = Arc::new(AtomicBool::new(false));
        if !wanted || !std::io::stderr().is_terminal() {
            return Self { counts, bar: None, ended, ticker: None };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
            bar.set_style(style);
        }
        let ticker = std::thread::Builder::new().name("progress".into()).spawn({
            let (counts, bar, ended) = (Arc::clone(&counts), bar.clone(), Arc::clone(&ended));
            move || draw(&counts, &bar, &ended, moved)
        });
        // Without the thread the run goes on without the line.
        Self { counts, bar: Some(bar), ended, ticker: ticker.ok() }
    }

    /// Takes note of an event.
    pub fn note(&self, event: &Event<'_>) {
        self.counts.note(event);
    }

    /// Counts a new attempt from the beginning.
    pub fn start_over(&self) {
        self.counts.start_over();
    }

    /// Prints something above the line.
    pub fn above<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Clears the line for good.
    pub fn finish(&self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
        if let Some(ticker) = self.ticker.take() {
            // A panic in the drawing thread has nothing to say about the run.
            let _ = ticker.join();
        }
    }
}

fn draw(counts: &Counts, bar: &ProgressBar, ended: &AtomicBool, moved: &str) {
    let mut speed = Speed::default();
    while !ended.load(Ordering::Relaxed) {
        let now = counts.snapshot();
        speed.note(Instant::now(), now);
        if now.listed > 0 {
            bar.set_message(line(&now, speed.rates(), moved));
        }
        std::thread::sleep(TICK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_promised_before_the_list_is_complete() {
        let counts = Counts::default();
        counts.note(&Event::Listed { entries: 10, bytes: 1000 });
        counts.note(&Event::Checked { entries: 4, bytes: 400 });
        counts.note(&Event::Requested { bytes: 100 });
        let mut speed = Speed::default();
        let start = Instant::now();
        speed.note(start, Snapshot::default());
        speed.note(start + Duration::from_secs(2), counts.snapshot());
        assert_eq!(speed.rates().1, None);
        assert_eq!(
            line(&counts.snapshot(), speed.rates(), "moved"),
            "4/10+ checked, 0 moved (0 B), 700 B+ left"
        );
    }

    #[test]
    fn the_rest_is_measured_by_what_is_settled() {
        let counts = Counts::default();
        counts.note(&Event::Listed { entries: 10, bytes: 1 << 20 });
        counts.note(&Event::ListComplete);
        let mut speed = Speed::default();
        let start = Instant::now();
        speed.note(start, counts.snapshot());
        counts.note(&Event::Checked { entries: 5, bytes: 1 << 19 });
        counts.note(&Event::Requested { bytes: 1 << 18 });
        counts.note(&Event::TransferProgress { bytes: 1 << 18 });
        speed.note(start + Duration::from_secs(4), counts.snapshot());
        let (moved, left) = speed.rates();
        assert_eq!(moved, f64::from(1 << 16));
        assert_eq!(left, Some(4.0));
        assert_eq!(
            line(&counts.snapshot(), (moved, left), "moved"),
            "5/10 checked, 0 moved (256.0 KiB, 64.0 KiB/s), 512.0 KiB left, about 4 s"
        );
    }
}
