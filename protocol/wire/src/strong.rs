//! Strong checksums and where each puts the seed (§6).

use md5::Digest as _;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed, xxh3_128_with_seed};
use xxhash_rust::xxh64::{Xxh64, xxh64};

use crate::names::ChecksumName;
use crate::setup::{CompatFlags, Negotiated};

/// A digest of up to 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    bytes: [u8; 32],
    len: usize,
}

impl Digest {
    fn new(digest: &[u8]) -> Self {
        let mut bytes = [0; 32];
        let len = digest.len().min(bytes.len());
        bytes[..len].copy_from_slice(&digest[..len]);
        Self { bytes, len }
    }

    fn wide(value: u128) -> Self {
        // Low half first, each little-endian: the same as the whole little-endian.
        Self::new(&value.to_le_bytes())
    }

    fn narrow(value: u64) -> Self {
        Self::new(&value.to_le_bytes())
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Where the seed of a block sum goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SeedPlace {
    Before,
    After,
}

/// Makes the checksums of one run.
#[derive(Debug, Clone)]
pub struct StrongSum {
    transfer: ChecksumName,
    list: ChecksumName,
    seed: i32,
    place: SeedPlace,
}

impl StrongSum {
    /// The checksums that both ends agreed on.
    pub fn new(negotiated: &Negotiated) -> Self {
        let seed_fixed = negotiated.compat.has(CompatFlags::CHECKSUM_SEED_FIX);
        Self {
            transfer: negotiated.checksum,
            list: negotiated.list_checksum,
            seed: negotiated.seed,
            place: match negotiated.checksum {
                ChecksumName::Md4 => SeedPlace::After,
                ChecksumName::Md5 if !seed_fixed => SeedPlace::After,
                _ => SeedPlace::Before,
            },
        }
    }

    /// Length in bytes of block sums (before they are cut) and of whole-file sums.
    pub fn digest_len(&self) -> usize {
        self.transfer.digest_len()
    }

    /// The sum of one block, seeded.
    pub fn block(&self, data: &[u8]) -> Digest {
        let seed = i64::from(self.seed).cast_unsigned();
        match self.transfer {
            ChecksumName::Xxh128 => Digest::wide(xxh3_128_with_seed(data, seed)),
            ChecksumName::Xxh3 => Digest::narrow(xxh3_64_with_seed(data, seed)),
            ChecksumName::Xxh64 => Digest::narrow(xxh64(data, seed)),
            name => {
                let mut hasher = FileHasher::new(name);
                let seed = self.seed.to_le_bytes();
                let seed = if self.seed == 0 { &[][..] } else { &seed };
                match self.place {
                    SeedPlace::Before => {
                        hasher.update(seed);
                        hasher.update(data);
                    }
                    SeedPlace::After => {
                        hasher.update(data);
                        hasher.update(seed);
                    }
                }
                hasher.finish()
            }
        }
    }

    /// The sums of several blocks; the place for a digest that works on many at once.
    pub fn blocks(&self, blocks: &[&[u8]]) -> Vec<Digest> {
        blocks.iter().map(|block| self.block(block)).collect()
    }

    /// A hasher for a whole file.
    pub fn file(&self) -> FileHasher {
        FileHasher::new(self.transfer)
    }

    /// A hasher for a file of the list (`-c`).
    pub fn list(&self) -> FileHasher {
        FileHasher::new(self.list)
    }
}

/// Hashes a file piece by piece, unseeded (since 30).
#[derive(Clone)]
pub struct FileHasher(Hasher);

#[derive(Clone)]
enum Hasher {
    Blake3(Box<blake3::Hasher>),
    Xxh128(Box<Xxh3>),
    Xxh3(Box<Xxh3>),
    Xxh64(Xxh64),
    Md5(md5::Md5),
    Md4(md4::Md4),
    Sha1(sha1::Sha1),
    None,
}

impl FileHasher {
    fn new(name: ChecksumName) -> Self {
        Self(match name {
            ChecksumName::Blake3 => Hasher::Blake3(Box::default()),
            ChecksumName::Xxh128 => Hasher::Xxh128(Box::default()),
            ChecksumName::Xxh3 => Hasher::Xxh3(Box::default()),
            ChecksumName::Xxh64 => Hasher::Xxh64(Xxh64::new(0)),
            ChecksumName::Md5 => Hasher::Md5(md5::Md5::new()),
            ChecksumName::Md4 => Hasher::Md4(md4::Md4::new()),
            ChecksumName::Sha1 => Hasher::Sha1(sha1::Sha1::new()),
            ChecksumName::None => Hasher::None,
        })
    }

    /// Adds data.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.0 {
            Hasher::Blake3(hasher) => {
                hasher.update(data);
            }
            Hasher::Xxh128(hasher) | Hasher::Xxh3(hasher) => hasher.update(data),
            Hasher::Xxh64(hasher) => hasher.update(data),
            Hasher::Md5(hasher) => hasher.update(data),
            Hasher::Md4(hasher) => hasher.update(data),
            Hasher::Sha1(hasher) => hasher.update(data),
            Hasher::None => {}
        }
    }

    /// The digest of all data.
    pub fn finish(self) -> Digest {
        match self.0 {
            Hasher::Blake3(hasher) => Digest::new(hasher.finalize().as_bytes()),
            Hasher::Xxh128(hasher) => Digest::wide(hasher.digest128()),
            Hasher::Xxh3(hasher) => Digest::narrow(hasher.digest()),
            Hasher::Xxh64(hasher) => Digest::narrow(hasher.digest()),
            Hasher::Md5(hasher) => Digest::new(&hasher.finalize()),
            Hasher::Md4(hasher) => Digest::new(&hasher.finalize()),
            Hasher::Sha1(hasher) => Digest::new(&hasher.finalize()),
            Hasher::None => Digest::new(&[0]),
        }
    }
}
