//! Joins the wire and the engine to a connection: tokio at the edge, threads for the files.
//!
//! - [`client`] connects, logs in, sends the arguments and runs one role.
//! - [`server`] is the other end of the same conversation; [`site`] is what it answers with.
//! - [`tcp`] sets connections up and gives them up.
//! - `opening` is the part before multiplexing, `role` runs the engine, `pump` moves the bytes.

pub mod client;
pub mod error;
mod opening;
pub mod pace;
mod paths;
mod pump;
mod role;
pub mod server;
pub mod site;
pub mod tcp;
pub mod tls;
