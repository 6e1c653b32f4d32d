//! Frames of the multiplexed stream (§4).
