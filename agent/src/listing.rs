//! The lines of a file listing, as rsync prints them.

use bascule_wire::flist::{Entry, Kind};

/// One entry: mode, size, date (UTC) and name.
pub fn line(entry: &Entry) -> String {
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
    let mode = entry.permissions();
    let mut rights = String::from(letter);
    for shift in [6, 3, 0] {
        let bits = mode >> shift;
        rights.push(if bits & 4 != 0 { 'r' } else { '-' });
        rights.push(if bits & 2 != 0 { 'w' } else { '-' });
        rights.push(if bits & 1 != 0 { 'x' } else { '-' });
    }
    let name = String::from_utf8_lossy(&entry.path()).into_owned();
    let target = entry.link().map(String::from_utf8_lossy);
    let target = target.map_or_else(String::new, |target| format!(" -> {target}"));
    format!("{rights} {:>14} {} {name}{target}", grouped(entry.size), date(entry.mtime))
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

/// `YYYY/MM/DD hh:mm:ss` in UTC, by the civil calendar.
fn date(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years are counted from March, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}/{month:02}/{day:02} {:02}:{:02}:{:02}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_before_and_after() {
        assert_eq!(date(0), "1970/01/01 00:00:00");
        assert_eq!(date(1_700_000_000), "2023/11/14 22:13:20");
        assert_eq!(date(-86_400), "1969/12/31 00:00:00");
        assert_eq!(date(951_782_400), "2000/02/29 00:00:00");
        assert_eq!(date(5_000_000_000), "2128/06/11 08:53:20");
    }

    #[test]
    fn groups_digits() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
