//! `basculed`, the daemon: serves rsync modules.
//!
//! [`cli`] → [`daemon`] → [`config`] → [`listen`] → [`connection`] → the session, which asks
//! [`site`] for modules; [`modules`] answers with the help of [`hosts`], [`auth`], [`filters`]
//! and [`exec`].

pub mod accounts;
pub mod arrival;
pub mod attempts;
pub mod auth;
pub mod claims;
pub mod cli;
pub mod client;
pub mod config;
pub mod connection;
pub mod crowd;
pub mod daemon;
pub mod deltacopy;
pub mod door;
pub mod exec;
pub mod filters;
pub mod glob;
pub mod hosts;
pub mod inherited;
pub mod init;
pub mod listen;
pub mod metrics;
pub mod modules;
pub mod names;
pub mod pairing;
pub mod pid_file;
pub mod running;
pub mod service;
pub mod site;
pub mod tls;
pub mod writers;
pub mod zero;
