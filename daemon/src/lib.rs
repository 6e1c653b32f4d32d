//! `basculed`, the daemon: serves rsync modules.

pub mod accounts;
pub mod auth;
pub mod config;
pub mod glob;
pub mod hosts;
