//! Challenge and response of the daemon's authentication (§2.6).
