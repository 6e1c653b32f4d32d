//! `bascule`, the agent: mirrors folders to or from an rsync daemon.
//!
//! [`location`] and [`local`] say where things are, [`options`] what to do, [`mirror`] does it,
//! [`report`] and [`progress`] tell about it. [`verify`] compares both ends afterwards,
//! [`notices`] tell what happens to jobs.

pub mod cli;
pub mod connect;
pub mod converge;
pub mod guard;
pub mod history;
pub mod hours;
pub mod human;
pub mod itemize;
pub mod jobs;
pub mod listing;
pub mod local;
pub mod location;
pub mod mirror;
pub mod notes;
pub mod notices;
pub mod options;
pub mod progress;
pub mod remote;
pub mod report;
pub mod restore;
pub mod retry;
pub mod seal;
pub mod service;
pub mod trash;
pub mod verify;

use bascule_platform::output;
