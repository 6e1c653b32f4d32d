//! The rolling checksum (§6).
