//! Integers and strings of the wire (§1).
