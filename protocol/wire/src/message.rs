//! The in-band messages of the multiplexed stream (§4).
