//! Benchmarks of Bascule against the real rsync: [`mail`] makes trees, the program compares.

pub mod mail;
