//! The walker: lists the source one directory at a time.
