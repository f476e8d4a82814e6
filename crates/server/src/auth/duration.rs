//! Durations in settings: `"500ms"`, `"30s"`, `"5m"`, `"12h"`, `"7d"`.

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
