//! Durations as they are written: `"500ms"`, `"30s"`, `"5m"`, `"12h"`, `"7d"`.

use std::time::Duration;

/// Reads a whole number and its unit, `ms`, `s`, `m`, `h` or `d`. The error is a sentence.
pub fn parse(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = trimmed.split_at(digits);
    let shown: String = text.chars().take(40).collect();
    let millis: u64 = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("{shown:?} is no duration: write a whole number and ms, s, m, h or d, like \"30s\"")),
    };
    if number.is_empty() {
        return Err(format!("{shown:?} is no duration: write a whole number before the unit, like \"30s\""));
    }
    let total = number.parse::<u64>().ok().and_then(|number| number.checked_mul(millis));
    total.map(Duration::from_millis).ok_or_else(|| format!("{shown:?} is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, millis) in [("30s", 30_000), ("500ms", 500), (" 5 m ", 300_000), ("0s", 0), ("7d", 604_800_000)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["30", "s", "", "1y", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
