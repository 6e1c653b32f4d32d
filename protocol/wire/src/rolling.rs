//! The rolling checksum (§6): bytes are signed, the offset constant is 0.

/// The checksum of a block.
pub fn checksum(data: &[u8]) -> u32 {
    let (s1, s2) = sums(data);
    combine(s1, s2)
}

/// A checksum that slides over data one byte at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rolling {
    s1: u32,
    s2: u32,
    len: u32,
}

impl Rolling {
    /// The window over all of `data`, which is at most a block long.
    pub fn new(data: &[u8]) -> Self {
        let (s1, s2) = sums(data);
        Self { s1, s2, len: u32::try_from(data.len()).unwrap_or(u32::MAX) }
    }

    /// The checksum of the window.
    pub fn value(self) -> u32 {
        combine(self.s1, self.s2)
    }

    /// Slides by one byte: `old` leaves at the front, `new` enters at the end.
    pub fn roll(&mut self, old: u8, new: u8) {
        let old = signed(old);
        self.s1 = self.s1.wrapping_sub(old).wrapping_add(signed(new));
        self.s2 = self.s2.wrapping_sub(self.len.wrapping_mul(old)).wrapping_add(self.s1);
    }

    /// Shortens the window at the front by the byte `old`.
    pub fn shorten(&mut self, old: u8) {
        let old = signed(old);
        self.s1 = self.s1.wrapping_sub(old);
        self.s2 = self.s2.wrapping_sub(self.len.wrapping_mul(old));
        self.len = self.len.wrapping_sub(1);
    }
}

fn combine(s1: u32, s2: u32) -> u32 {
    s1 & 0xffff | s2 << 16
}

fn signed(byte: u8) -> u32 {
    i32::from(byte.cast_signed()).cast_unsigned()
}

/// How many bytes are summed side by side: what the compiler turns into vector code.
const LANES: usize = 32;

/// `s1 = Σ b[i]`, `s2 = Σ (n - i)·b[i]`, both modulo 2^32.
fn sums(data: &[u8]) -> (u32, u32) {
    let mut chunks = data.chunks_exact(LANES);
    let (mut s1, mut s2) = (0_u32, 0_u32);
    for chunk in &mut chunks {
        let (mut plain, mut weighted) = (0_i32, 0_i32);
        for (weight, byte) in (1..=32_i32).rev().zip(chunk) {
            let value = i32::from(byte.cast_signed());
            plain += value;
            weighted += weight * value;
        }
        s2 = s2.wrapping_add(s1.wrapping_mul(32)).wrapping_add(weighted.cast_unsigned());
        s1 = s1.wrapping_add(plain.cast_unsigned());
    }
    for byte in chunks.remainder() {
        s1 = s1.wrapping_add(signed(*byte));
        s2 = s2.wrapping_add(s1);
    }
    (s1, s2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition of §6, term by term.
    fn plain(data: &[u8]) -> u32 {
        let (mut s1, mut s2) = (0_i64, 0_i64);
        for (index, byte) in data.iter().enumerate() {
            let value = i64::from(byte.cast_signed());
            s1 += value;
            s2 += (data.len() - index) as i64 * value;
        }
        (s1 & 0xffff) as u32 | ((s2 & 0xffff) as u32) << 16
    }

    #[test]
    fn of_nothing_is_zero() {
        assert_eq!(checksum(b""), 0);
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(data in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(checksum(&data), plain(&data));
        }

        #[test]
        fn rolls_like_a_fresh_sum(
            data in proptest::collection::vec(any::<u8>(), 2..400),
            window in 1_usize..300,
        ) {
            let window = window.min(data.len());
            let mut rolling = Rolling::new(&data[..window]);
            for start in 1..=data.len() - window {
                rolling.roll(data[start - 1], data[start + window - 1]);
                prop_assert_eq!(rolling.value(), checksum(&data[start..start + window]));
            }
            let mut start = data.len() - window;
            while start + 1 < data.len() {
                rolling.shorten(data[start]);
                start += 1;
                prop_assert_eq!(rolling.value(), checksum(&data[start..]));
            }
        }
    }
}
