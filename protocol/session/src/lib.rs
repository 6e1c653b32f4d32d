//! Joins the wire and the engine to a connection: tokio at the edge, threads for the files.
//!
//! - [`client`] connects, logs in, sends the arguments and runs one role.
//! - [`site`] is what a daemon answers with; `server` is the conversation around it.

pub mod client;
pub mod error;
pub mod site;
