//! A side of the transfer on a real disk, everything beneath one root descriptor.

#[cfg(unix)]
mod attributes;
#[cfg(unix)]
mod names;
#[cfg(unix)]
mod root;
mod snapshots;
#[cfg(unix)]
mod stage;
#[cfg(unix)]
mod sync;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

pub use snapshots::Snapshots;
#[cfg(unix)]
pub use unix::Disk;
#[cfg(windows)]
pub use windows::Disk;
