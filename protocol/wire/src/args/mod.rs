//! The argument list of a run, both ways (§2.7, §2.1, §2.2).
//!
//! The module `table` holds the one table of options: [`server_args`] builds a list from it,
//! [`parse_server_args`] reads one with it, and [`RefuseList`] matches a daemon's
//! `refuse options` against it. [`ArgsDecoder`] takes a list off the raw stream.

mod capabilities;
mod client;
mod decoder;
mod quote;
mod refuse;
mod server;
mod size;
mod table;

pub use capabilities::Capabilities;
pub(crate) use capabilities::may_recurse_incrementally;
pub use client::{encode_client_args, server_args};
pub use decoder::ArgsDecoder;
pub use quote::{strip_module, unescape_options};
pub use refuse::{RefuseList, refused_option};
pub use server::{ArgError, ServerCommand, is_secluded, join_secluded, parse_server_args};
pub use size::parse_size;
pub use table::{Action, OptionRow, Sides, options};

/// Which way the files go, as the client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The client sends.
    Push,
    /// The server sends (`--sender`).
    Pull,
}
