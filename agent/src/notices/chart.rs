//! A small chart in plain text.

use crate::human::duration;

/// Bars are so many characters wide at most.
const WIDTH: f64 = 40.0;
/// So many bars are shown at most; of more, the longest of each group.
const BARS: usize = 24;

/// A bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What stands before it.
    pub label: String,
    /// How long it is, in seconds; `None` for a run that did not go through.
    pub seconds: Option<f64>,
}

/// Draws durations as bars, one a line, the longest as wide as the chart.
pub fn durations(bars: &[Bar]) -> String {
    let group = bars.len().div_ceil(BARS).max(1);
    let chosen: Vec<&Bar> = bars
        .chunks(group)
        .filter_map(|group| {
            let length = |bar: &&Bar| bar.seconds.unwrap_or(-1.0);
            group.iter().max_by(|left, right| length(left).total_cmp(&length(right)))
        })
        .collect();
    let longest = chosen.iter().filter_map(|bar| bar.seconds).fold(0.0, f64::max);
    let mut text = String::new();
    for Bar { label, seconds } in chosen {
        match seconds {
            None => text.push_str(&format!("{label} x did not go through\n")),
            Some(seconds) => {
                let width = if longest > 0.0 { seconds / longest * WIDTH } else { 0.0 };
                let bar = "#".repeat((width.round() as usize).max(1));
                text.push_str(&format!("{label} {bar} {}\n", duration(*seconds)));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, seconds: Option<f64>) -> Bar {
        Bar { label: label.to_owned(), seconds }
    }

    #[test]
    fn the_longest_is_as_wide_as_the_chart() {
        let drawn = durations(&[
            bar("07:00", Some(600.0)),
            bar("08:00", Some(300.0)),
            bar("09:00", None),
            bar("10:00", Some(0.1)),
        ]);
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines[0], format!("07:00 {} 10 min 00 s", "#".repeat(40)));
        assert_eq!(lines[1], format!("08:00 {} 5 min 00 s", "#".repeat(20)));
        assert_eq!(lines[2], "09:00 x did not go through");
        assert_eq!(lines[3], "10:00 # 0 s");
        assert_eq!(durations(&[]), "");
    }

    #[test]
    fn of_many_runs_the_longest_are_shown() {
        let many: Vec<Bar> =
            (0..96).map(|number| bar(&number.to_string(), Some(f64::from(number % 4)))).collect();
        let drawn = durations(&many);
        assert_eq!(drawn.lines().count(), BARS);
        assert!(drawn.lines().all(|line| line.ends_with(" 3 s")), "{drawn}");
    }
}
