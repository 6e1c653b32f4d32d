//! The argument list that a client sends to a server, as text both ways (§2.1, §2.2).

mod capabilities;
mod client;
mod decoder;
mod refuse;
mod server;

pub use capabilities::Capabilities;
pub(crate) use capabilities::may_recurse_incrementally;
pub use client::{encode_client_args, server_args};
pub use decoder::ArgsDecoder;
pub use refuse::refused_option;
pub use server::{
    ArgError, ServerCommand, is_secluded, join_secluded, parse_server_args, strip_module,
    unescape_options,
};

/// Which way the files go, as the client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The client sends.
    Push,
    /// The server sends (`--sender`).
    Pull,
}
