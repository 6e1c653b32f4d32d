//! The order in which both ends index a list (§9.5).
