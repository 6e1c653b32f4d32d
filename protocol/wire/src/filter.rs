//! Filter rules as they travel (§7); matching is the engine's.
