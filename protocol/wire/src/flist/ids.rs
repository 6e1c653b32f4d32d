//! The lists of user and group names (§9.6).
