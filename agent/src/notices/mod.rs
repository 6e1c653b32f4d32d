//! Notices: what happens to the jobs, told by mail and by webhook in plain words.
//!
//! [`notice`] is what there is to tell, [`rules`] say when, [`texts`] in which words, [`digest`] and
//! [`chart`] sum up a day. [`note`] looks at what happened and puts notices into the [`queue`], which
//! is a part of the history's database: nothing is lost. [`deliver`] sends from there by [`mail`] and
//! [`webhook`]; [`tend`] does that in the service; [`unusable`] is told past the queue. [`config`] is the section `[notify]`, [`command`]
//! the command `bascule notify`.

pub mod chart;
pub mod command;
pub mod config;
pub mod deliver;
pub mod digest;
pub mod mail;
pub mod note;
pub mod notice;
pub mod queue;
pub mod rules;
pub mod tend;
pub mod texts;
pub mod unusable;
pub mod webhook;

#[cfg(test)]
mod tls_tests;
