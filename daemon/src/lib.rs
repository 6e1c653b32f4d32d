//! `basculed`, the daemon: serves rsync modules.

pub mod accounts;
pub mod auth;
pub mod cli;
pub mod client;
pub mod config;
pub mod exec;
pub mod filters;
pub mod glob;
pub mod hosts;
pub mod listen;
pub mod modules;
pub mod names;
pub mod site;
pub mod zero;
