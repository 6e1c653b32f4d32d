//! The names of checksums and compressions as they travel (§5).

/// A checksum by its wire name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumName {
    /// Ours: offered by name, chosen only between two ends that both offer it.
    Blake3,
    /// XXH3, 128 bits.
    Xxh128,
    /// XXH3, 64 bits.
    Xxh3,
    /// XXH64; `xxhash` is an alias.
    Xxh64,
    /// MD5.
    Md5,
    /// MD4.
    Md4,
    /// SHA-1.
    Sha1,
    /// No checksum at all.
    None,
}

impl ChecksumName {
    /// Parses a wire or command-line name; `None` when unknown.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "blake3" => Self::Blake3,
            "xxh128" => Self::Xxh128,
            "xxh3" => Self::Xxh3,
            "xxh64" | "xxhash" => Self::Xxh64,
            "md5" => Self::Md5,
            "md4" => Self::Md4,
            "sha1" => Self::Sha1,
            "none" => Self::None,
            _ => return None,
        })
    }

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blake3 => "blake3",
            Self::Xxh128 => "xxh128",
            Self::Xxh3 => "xxh3",
            Self::Xxh64 => "xxh64",
            Self::Md5 => "md5",
            Self::Md4 => "md4",
            Self::Sha1 => "sha1",
            Self::None => "none",
        }
    }
}

impl ChecksumName {
    /// Length of the digest in bytes, as whole-file and list sums carry it (§6).
    pub fn digest_len(self) -> usize {
        match self {
            Self::Blake3 => 32,
            Self::Sha1 => 20,
            Self::Xxh128 | Self::Md5 | Self::Md4 => 16,
            Self::Xxh3 | Self::Xxh64 => 8,
            Self::None => 1,
        }
    }
}

/// A compression of token data by its wire name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompressName {
    /// Zstandard, one stream for the whole session.
    Zstd,
    /// LZ4 blocks.
    Lz4,
    /// Deflate without matched data in the history.
    Zlibx,
    /// Deflate with matched data in the history (the old `-z`).
    Zlib,
    /// No compression.
    None,
}

impl CompressName {
    /// Parses a wire or command-line name; `None` when unknown.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "zstd" => Self::Zstd,
            "lz4" => Self::Lz4,
            "zlibx" => Self::Zlibx,
            "zlib" => Self::Zlib,
            "none" => Self::None,
            _ => return None,
        })
    }

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Zlibx => "zlibx",
            Self::Zlib => "zlib",
            Self::None => "none",
        }
    }
}
