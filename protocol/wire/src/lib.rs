//! The rsync wire protocol, sans-IO: bytes in, typed items out.
//!
//! Nothing here opens a file or a socket, reads a clock or logs. Every decoder keeps one contract
//! ([`decode::Decode`]): `Ok(Some(item))`, `Ok(None)` when more bytes are needed (nothing is
//! consumed then), `Err` when the peer is wrong. Every length is bounded before it is believed
//! ([`limits`]).
//!
//! In the order in which a conversation uses them:
//! [`greeting`] → [`auth`] → [`args`] → [`setup`] → [`mux`] → [`filter`] → [`flist`] →
//! [`ndx`], [`record`], [`sums`], [`token`] → [`stats`].
//!
//! Section numbers (`§9.2`) refer to the project's wire reference; "since 30" is a protocol number.

pub mod args;
pub mod auth;
pub mod decode;
pub mod error;
pub mod filter;
pub mod flist;
pub mod greeting;
pub mod limits;
pub mod message;
pub mod mux;
pub mod names;
pub mod ndx;
pub mod options;
pub mod record;
pub mod rolling;
pub mod setup;
pub mod shown;
pub mod stats;
pub mod strong;
pub mod sums;
pub mod token;
pub mod varint;
pub mod version;

pub use decode::{Cursor, Decode};
pub use error::WireError;
pub use options::Options;
pub use setup::Negotiated;
pub use shown::shown;
pub use version::Version;
