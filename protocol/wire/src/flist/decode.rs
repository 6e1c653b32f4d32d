//! Decodes the entries of a file list (§9.2).
