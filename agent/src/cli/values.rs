//! Values of options.

use bascule_wire::args::parse_size;
use bascule_wire::limits::MAX_BLOCK;
use bascule_wire::options::DeleteGuard;

/// What holds deletions back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    Off,
    /// More than these.
    Beyond(DeleteGuard),
}

/// Reads what `--delete-guard` says.
///
/// # Errors
/// When it is something else.
pub fn guard(text: &str) -> Result<Guard, &'static str> {
    match text {
        "off" => Ok(Guard::Off),
        limits if limits.matches(',').count() == 1 => limits.parse().map(Guard::Beyond),
        _ => Err("expected PERCENT,NAMES such as 10,100, or off"),
    }
}

/// Bytes, with a suffix such as `k` if need be.
///
/// # Errors
/// When it is no size.
pub fn bytes(text: &str) -> Result<u64, String> {
    parse_size(text, b'b').ok_or_else(|| "expected a size such as 5000, 700k or 1.5g".to_owned())
}

/// The length of a block.
///
/// # Errors
/// When it is no size, or larger than the protocol allows.
pub fn block_size(text: &str) -> Result<u32, String> {
    let size = bytes(text)?;
    u32::try_from(size)
        .ok()
        .filter(|size| *size <= MAX_BLOCK)
        .ok_or_else(|| format!("a block has at most {MAX_BLOCK} bytes"))
}

/// KiB per second, rounded up so that a small limit is not none.
///
/// # Errors
/// When it is no rate.
pub fn bandwidth(text: &str) -> Result<u64, String> {
    let rate = parse_size(text, b'k');
    rate.map(|rate| rate.div_ceil(1024))
        .ok_or_else(|| "expected a rate such as 500 (KiB per second) or 1.5m".to_owned())
}
