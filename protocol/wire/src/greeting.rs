//! The lines of the opening: greeting, module, listing, refusals (§2).
