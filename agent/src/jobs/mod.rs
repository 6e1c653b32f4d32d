//! Jobs: what is mirrored again and again, as `bascule.toml` says.
//!
//! [`config`] is what stands there, [`load`] reads and checks it, [`mistake`]
//! says what is wrong with it, [`mod@line`] makes a command line of
//! a job. [`run`] runs one under its [`lock`] and keeps it in the history, [`ending`] also while that cannot be
//! written, [`cut_off`] notices those that never ended, [`diff`] compares.
//! [`schedule`] says when a job is due, [`shared`] finds jobs that would delete each other's files.
//! [`init`] writes a configuration, [`check`] tries it out with what [`probe`]
//! writes. [`commands`] carries out what [`options`] ask for, [`table`] shows it.

pub mod check;
pub mod commands;
pub mod config;
pub mod cut_off;
pub mod diff;
pub mod ending;
pub mod init;
pub mod line;
pub mod load;
pub mod lock;
pub mod mistake;
pub mod options;
pub mod probe;
pub mod run;
pub mod schedule;
pub mod shared;
pub mod switched;
pub mod table;
