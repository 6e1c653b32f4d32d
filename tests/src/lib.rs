//! Whole-system tests: Bascule against the real rsync.
//!
//! [`peer`] starts daemons and runs clients, [`relay`] stands between the two, [`scratch`] makes
//! trees, [`judge`] compares them without any of Bascule's own code, [`model`] says what a mirror
//! has to come to, [`mail`] makes large trees of messages, [`forgetful`] is a disk that fails,
//! [`hostile`] lies, [`job`] is a job of `bascule.toml` with its two ends,
//! [`machine`] is a machine that systemd runs, [`traffic`] is its users, [`sinks`] take notices, [`scrape`]
//! asks for metrics as Prometheus does.
#![cfg(unix)]

#[cfg(target_os = "linux")]
pub mod forgetful;
#[cfg(target_os = "linux")]
pub mod hostile;
pub mod job;
pub mod judge;
#[cfg(target_os = "linux")]
pub mod machine;
pub mod mail;
pub mod model;
pub mod peer;
pub mod relay;
pub mod scrape;
pub mod scratch;
pub mod sinks;
pub mod traffic;
