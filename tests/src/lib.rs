//! Whole-system tests: Bascule against the real rsync.
//!
//! [`peer`] starts daemons and runs clients, [`scratch`] makes trees, [`judge`] compares them
//! without any of Bascule's own code.
#![cfg(unix)]

pub mod judge;
pub mod peer;
pub mod scratch;
