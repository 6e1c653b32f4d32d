//! The closing statistics (§14) and the deletion statistics (§11).
