//! What the packages of Bascule hold, and how they are made.
//!
//! [`man`] and [`keys`] write the manual pages, [`completions`] what shells complete with, [`schema`]
//! what editors know of `bascule.toml`; [`documents`] names the files that are written by hand.
//! [`deb`] and [`zip`] put all of it together with the [`programs`].

pub mod completions;
pub mod deb;
pub mod documents;
pub mod keys;
pub mod licences;
pub mod man;
pub mod moment;
pub mod programs;
pub mod schema;
pub mod zip;

/// The version of everything in this workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
