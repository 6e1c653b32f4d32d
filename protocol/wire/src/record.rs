//! Index records with their item flags (§12).

/// The item flags of a record (since 29).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct ItemFlags(pub u16);
