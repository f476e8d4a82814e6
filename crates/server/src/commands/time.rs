//! Times for people, in UTC.

use tidings::Timestamp;

/// The date: `2026-11-21`.
pub fn date(time: Timestamp) -> String {
    let (year, month, day) = civil(time.as_secs() / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The time of day: `03:15:07Z`.
pub fn clock(time: Timestamp) -> String {
    let seconds = time.as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Year, month and day of a day since 1970, in the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // Years begin in March here, so that a leap day is the last of its year, and eras of 400 years have 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (400 * era + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_767_225_599, "2025-12-31"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(date(Timestamp(seconds * 1000)), expected);
        }
        assert_eq!(clock(Timestamp(1_767_225_599_999)), "23:59:59Z");
    }
}
