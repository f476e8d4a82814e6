//! A bar on a terminal that says how far a file is.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stderr};
use std::time::{Duration, Instant};

/// How wide the bar is, in characters.
const WIDTH: usize = 30;

/// The least time between two pictures: what is drawn more often is not seen.
const EVERY: Duration = Duration::from_millis(100);

/// A bar on standard error, if that is a terminal.
#[derive(Debug)]
pub struct Bar {
    is_shown: bool,
    began: Instant,
    drawn: Option<Instant>,
}

impl Bar {
    /// A bar that is not drawn yet.
    pub fn new() -> Self {
        Bar { is_shown: stderr().is_terminal(), began: Instant::now(), drawn: None }
    }

    /// Draws how far it is, unless it was drawn a moment ago.
    pub fn draw(&mut self, done: u64, total: Option<u64>, message: Option<&str>) {
        let now = Instant::now();
        if !self.is_shown || self.drawn.is_some_and(|drawn| now - drawn < EVERY) {
            return;
        }
        self.drawn = Some(now);
        let line = picture(done, total, message, self.began.elapsed());
        // Whoever does not see it misses nothing.
        let _ = write!(stderr(), "\r{line}\x1b[K");
    }

    /// Takes it away.
    pub fn clear(&self) {
        if self.drawn.is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

fn picture(done: u64, total: Option<u64>, message: Option<&str>, elapsed: Duration) -> String {
    let Some(total) = total.filter(|total| *total > 0) else {
        return message.unwrap_or("working").to_owned();
    };
    let full = (u128::from(done.min(total)) * WIDTH as u128 / u128::from(total)) as usize;
    let mut line = format!("[{}{}]", "#".repeat(full), ".".repeat(WIDTH - full));
    // Writing to a String does not fail.
    let _ = write!(line, " {} of {} rows", grouped(done), grouped(total));
    let seconds = elapsed.as_secs_f64();
    if seconds >= 1.0 {
        let _ = write!(line, ", {} a second", grouped((done as f64 / seconds) as u64));
    }
    line
}

/// A number that people can read: 100,000.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_a_comma_before_each_three_digits() {
        assert_eq!([0, 999, 1_000, 100_000, 1_234_567].map(grouped), ["0", "999", "1,000", "100,000", "1,234,567"]);
    }

    #[test]
    fn the_bar_is_as_full_as_the_work_is_done() {
        let half = picture(50, Some(100), None, Duration::ZERO);
        assert_eq!(half, "[###############...............] 50 of 100 rows");
        assert_eq!(picture(0, None, Some("counting rows"), Duration::ZERO), "counting rows");
        let end = picture(9_000, Some(9_000), None, Duration::from_secs(3));
        assert_eq!(end, "[##############################] 9,000 of 9,000 rows, 3,000 a second");
    }
}
