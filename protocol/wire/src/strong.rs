//! Strong checksums and where each puts the seed (§6).
