//! The files that the recorded peers had; everything in them is computed.

use sha2::{Digest as _, Sha256};

/// What the receiving peer had under that name, for the names that were sent as differences.
pub(crate) fn old(base: &[u8]) -> Vec<u8> {
    match base {
        b"delta.bin" => {
            let new = new(base);
            let parts =
                [&new[..300], b"CHANGED!", &new[308..5000], b"0123456789", &new[5000..19_500]];
            parts.concat()
        }
        b"z.bin" => [&noise(b"z", 66_000)[..], b"tail"].concat(),
        other => panic!("{} has no known basis", other.escape_ascii()),
    }
}

/// What the sending peer had under that name, for the same names.
pub(crate) fn new(base: &[u8]) -> Vec<u8> {
    match base {
        b"delta.bin" => noise(b"delta", 20_000),
        b"z.bin" => noise(b"z", 70_000),
        other => panic!("{} has no known content", other.escape_ascii()),
    }
}

/// Bytes that do not compress, the same ones for the same seed.
pub(crate) fn noise(seed: &[u8], length: usize) -> Vec<u8> {
    let mut noise = Vec::new();
    let mut hash = Sha256::digest(seed);
    while noise.len() < length {
        noise.extend_from_slice(&hash);
        hash = Sha256::digest(hash);
    }
    noise.truncate(length);
    noise
}
