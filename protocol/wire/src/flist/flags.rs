//! The entry flags (§9.1).
