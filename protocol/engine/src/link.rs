//! The blocking ends of a connection, as the engine's threads see them.
