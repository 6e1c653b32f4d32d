//! Whole-system tests: Bascule against the real rsync.
