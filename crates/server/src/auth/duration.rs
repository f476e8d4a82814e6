//! Durations in settings: `"500ms"`, `"30s"`, `"5m"`, `"12h"`, `"7d"`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
pub use tidings::duration::parse;

/// For `#[serde(deserialize_with)]`.
pub(super) fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// For `#[serde(deserialize_with)]` on a setting that may be left out.
pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    required(deserializer).map(Some)
}

/// For `#[serde(deserialize_with)]` in what a client says: a duration as it is written, or a whole number of seconds. It may be left out.
pub fn written_or_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    struct Said;
    impl<'de> de::Visitor<'de> for Said {
        type Value = Option<Duration>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration like \"30s\", or a whole number of seconds")
        }
        fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Self::Value, E> {
            Ok(Some(Duration::from_secs(seconds)))
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            parse(text).map(Some).map_err(E::custom)
        }
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(Said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_may_be_a_number_of_seconds() {
        let read = |json: &str| written_or_seconds(&mut serde_json::Deserializer::from_str(json));
        for (json, said) in [("\"1h\"", Some(3_600)), ("60", Some(60)), ("null", None)] {
            assert_eq!(read(json).unwrap(), said.map(Duration::from_secs), "{json}");
        }
        for wrong in ["-1", "1.5", "\"60\"", "true", "[60]"] {
            let said = read(wrong).unwrap_err().to_string();
            assert!(said.contains("\"30s\""), "{wrong}: {said}");
        }
    }
}
