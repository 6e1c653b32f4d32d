//! The file side of the rsync protocol, on plain blocking threads.
//!
//! ```text
//! source disk → walk → sender → (wire) → generator, receiver → disk → target disk
//! ```
//!
//! - [`walk`] lists the source, one directory at a time, through the [`filter`].
//! - [`sender`] sends the list and answers each request with tokens.
//! - [`generator`] compares the list with the target, asks for what differs, deletes the rest.
//! - [`receiver`] rebuilds each file from its basis and the tokens, then puts it in place.
//! - [`digest`] reads whole files for their digests.
//! - [`tree`] says what a side must be able to do; [`disk`] does it on a real disk.
//!
//! The engine prints nothing: all that happens is an [`observe::Event`].

pub mod backup;
mod behind;
pub mod chmod;
pub mod digest;
pub mod disk;
pub mod durable;
pub mod empty;
pub mod filter;
mod folders;
pub mod generator;
pub mod ledger;
pub mod link;
pub mod observe;
pub mod outcome;
pub mod path;
pub mod queue;
pub mod receiver;
mod requested;
pub mod run;
pub mod sender;
pub mod stop;
pub mod symlinks;
pub mod tree;
pub mod walk;
