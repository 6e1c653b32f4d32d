//! Filter rules as they travel (§7); matching is the engine's.

/// One filter rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The pattern, as written.
    pub pattern: Vec<u8>,
}
