//! Durations in settings: `"500ms"`, `"30s"`, `"5m"`, `"12h"`, `"7d"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// Reads a whole number and its unit.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let millis: u64 = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("{text:?} is not a duration; write a number and ms, s, m, h or d, like \"30s\"")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is not a duration; it has no number"))?;
    let total = number.checked_mul(millis).ok_or_else(|| format!("{text:?} is too long"))?;
    Ok(Duration::from_millis(total))
}

/// For `#[serde(deserialize_with)]`.
pub(super) fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// For `#[serde(deserialize_with)]` on a setting that may be left out.
pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    required(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(parse("30s").unwrap(), Duration::from_secs(30));
        assert_eq!(parse("500ms").unwrap(), Duration::from_millis(500));
        for wrong in ["30", "s", "", "1y", "-1s", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
