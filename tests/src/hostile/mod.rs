//! Peers that lie. They speak the protocol well, by the wire crate's own encoders, until one chosen
//! lie; what the programs under test make of it is for the tests to say.
//!
//! [`opening`] makes the connection as a client or as a daemon, [`talk`] speaks on it,
//! [`senders`] and [`receivers`] are the lies of either role, [`scene`] is what they are told to;
//! [`recording`] plays an honest conversation again.

pub mod entries;
pub mod opening;
pub mod receivers;
pub mod recording;
pub mod scene;
pub mod senders;
pub mod talk;

pub use talk::{Lie, Talk, Verdict};
