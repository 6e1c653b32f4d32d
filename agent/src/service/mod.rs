//! `bascule service`: the agent as a service of systemd or of Windows, which runs the jobs when they
//! are due.
//!
//! [`options`] is its command line, [`scheduler`] has a task for each job, `tending`; [`metrics`] tells others
//! about it, [`commands`] installs and steers it.

pub mod commands;
mod last_runs;
pub mod metrics;
pub mod options;
pub mod scheduler;
mod tending;
