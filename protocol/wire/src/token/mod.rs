//! Tokens: literal data and block matches, plain or compressed (§13).
