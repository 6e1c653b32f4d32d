//! Benchmarks of Bascule against the real rsync.
