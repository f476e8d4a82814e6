//! How durations and sizes are written.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};

/// Reads a whole number and its unit: `"500ms"`, `"30s"`, `"5m"`, `"12h"`, `"7d"`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    tidings::duration::parse(text)
}

/// Reads a number of bytes: `"64MiB"`, `"500kB"`, `"1024"`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let scale: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => {
            return Err(format!(
                "{text:?} is no size: write a whole number of bytes, or with KiB, MiB or GiB behind it"
            ));
        }
    };
    let number: u64 =
        number.parse().map_err(|_| format!("{text:?} is no size: write a whole number before the unit"))?;
    number.checked_mul(scale).ok_or_else(|| format!("{text:?} is too large"))
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (number, unit) = text.split_at(text.bytes().take_while(|b| b.is_ascii_digit()).count());
    (number, unit.trim())
}

/// For `#[serde(with)]`: a duration.
pub mod duration {
    use super::*;

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Duration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration like \"30s\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                parse_duration(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Read)
    }
}

/// For `#[serde(with)]`: a duration, or `false` for none.
pub mod optional_duration {
    use super::*;

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Option<Duration>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration like \"30s\", or false")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if text == "false" { Ok(None) } else { parse_duration(text).map(Some).map_err(E::custom) }
            }
            fn visit_bool<E: de::Error>(self, yes: bool) -> Result<Self::Value, E> {
                if yes { Err(E::invalid_value(de::Unexpected::Bool(yes), &self)) } else { Ok(None) }
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// For `#[serde(with)]`: a number of bytes.
pub mod size {
    use super::*;

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>, N: TryFrom<u64>>(deserializer: D) -> Result<N, D::Error> {
        read(deserializer)?.map_or_else(|| Err(de::Error::custom("expected a size, found false")), narrow)
    }

    pub(super) fn narrow<N: TryFrom<u64>, E: de::Error>(size: u64) -> Result<N, E> {
        N::try_from(size).map_err(|_| E::custom(format!("{size} is too large")))
    }

    pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Option<u64>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size like \"64MiB\" or a number of bytes")
            }
            fn visit_u64<E: de::Error>(self, size: u64) -> Result<Self::Value, E> {
                Ok(Some(size))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if text == "false" { Ok(None) } else { parse_size(text).map(Some).map_err(E::custom) }
            }
            fn visit_bool<E: de::Error>(self, yes: bool) -> Result<Self::Value, E> {
                if yes { Err(E::invalid_value(de::Unexpected::Bool(yes), &self)) } else { Ok(None) }
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// For `#[serde(with)]`: a number of bytes or of things, or `false` for no bound.
pub mod optional_size {
    use super::*;

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>, N: TryFrom<u64>>(deserializer: D) -> Result<Option<N>, D::Error> {
        size::read(deserializer)?.map(size::narrow).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_a_number_and_a_unit() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration(" 5 m "), Ok(Duration::from_secs(300)));
        assert_eq!((parse_size("64MiB"), parse_size("7")), (Ok(64 << 20), Ok(7)));
        for wrong in ["30", "s", "", "1y", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["MiB", "1x", "-1", "18446744073709551615GiB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
