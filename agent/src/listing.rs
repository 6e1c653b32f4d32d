//! The lines of a file listing, as rsync prints them.

use bascule_wire::flist::{Entry, Kind};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::itemize::shown;

/// Makes lines with times of one zone.
pub struct Lines(TimeZone);

impl Lines {
    /// Times of the system's zone.
    pub fn new() -> Self {
        Self(TimeZone::system())
    }

    /// One entry: mode, size, date and name.
    pub fn line(&self, entry: &Entry) -> String {
        let kind = entry.kind();
        let letter = match kind {
            Kind::File => '-',
            Kind::Directory => 'd',
            Kind::Symlink => 'l',
            Kind::BlockDevice => 'b',
            Kind::CharDevice => 'c',
            Kind::Fifo => 'p',
            Kind::Socket => 's',
        };
        let target =
            entry.link().map_or_else(String::new, |target| format!(" -> {}", shown(target)));
        format!(
            "{letter}{} {:>14} {} {}{target}",
            rights(entry.permissions()),
            grouped(entry.size),
            self.date(entry.mtime),
            shown(&entry.path()),
        )
    }

    fn date(&self, seconds: i64) -> String {
        match Timestamp::from_second(seconds) {
            Ok(time) => time.to_zoned(self.0.clone()).strftime("%Y/%m/%d %H:%M:%S").to_string(),
            // Beyond the year 9999.
            Err(_) => format!("{seconds:>19}"),
        }
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self::new()
    }
}

/// `rwxr-x---`, with set-id and sticky bits in rsync's letters.
fn rights(mode: u32) -> String {
    let mut text = String::with_capacity(9);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
        });
    }
    text
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_before_and_after() {
        let lines = Lines(TimeZone::UTC);
        assert_eq!(lines.date(0), "1970/01/01 00:00:00");
        assert_eq!(lines.date(1_700_000_000), "2023/11/14 22:13:20");
        assert_eq!(lines.date(-86_400), "1969/12/31 00:00:00");
        assert_eq!(lines.date(951_782_400), "2000/02/29 00:00:00");
        assert_eq!(lines.date(5_000_000_000), "2128/06/11 08:53:20");
        assert_eq!(lines.date(i64::MAX), "9223372036854775807");
    }

    #[test]
    fn groups_digits() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn shows_rights() {
        assert_eq!(rights(0o644), "rw-r--r--");
        assert_eq!(rights(0o7755), "rwsr-sr-t");
        assert_eq!(rights(0o7000), "--S--S--T");
    }
}
