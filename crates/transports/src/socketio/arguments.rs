//! The arguments of an event.

use serde_json::value::RawValue;
use tidings::{Args, Cursor};

/// The arguments of an event: its data as its shape says, and its place.
pub struct Arguments<'a> {
    data: Vec<&'a str>,
    cursor: Option<String>,
}

/// The arguments that `data`, one JSON value, makes. Data that is to be spread and is no array is one argument. An event without data
/// has no argument; but where its place follows, which is not to be taken for the data, `null` stands before that.
pub fn arguments<'a>(args: Args, data: &'a [u8], cursor: Option<Cursor>) -> Arguments<'a> {
    // Data was checked to be JSON, which is UTF-8, when it was published.
    let data = std::str::from_utf8(data).unwrap_or("null");
    let data = match args {
        Args::Zero => Vec::new(),
        Args::One | Args::Spread if data == "null" && cursor.is_none() => Vec::new(),
        Args::One => vec![data],
        Args::Spread => serde_json::from_str::<Vec<&'a RawValue>>(data)
            .map_or_else(|_| vec![data], |items| items.into_iter().map(RawValue::get).collect()),
    };
    Arguments { data, cursor: cursor.map(|cursor| format!("\"{cursor}\"")) }
}

impl Arguments<'_> {
    /// Each as JSON, the place last.
    pub fn each(&self) -> Vec<&str> {
        self.data.iter().copied().chain(self.cursor.as_deref()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings::{Epoch, Offset};

    #[test]
    fn data_is_none_one_or_many_arguments_and_the_place_comes_last() {
        let cursor = Some(Cursor { epoch: Epoch(1), offset: Offset(2) });
        let each = |args, data: &str, cursor| arguments(args, data.as_bytes(), cursor).each().join(" ");
        assert_eq!(each(Args::Zero, "[1,2]", None), "");
        assert_eq!(each(Args::One, "[1,2]", None), "[1,2]");
        assert_eq!(each(Args::Spread, "[1, {\"a\":2}]", None), "1 {\"a\":2}");
        assert_eq!(each(Args::Spread, "\"no array\"", None), "\"no array\"");
        assert_eq!((each(Args::One, "null", None), each(Args::Spread, "null", None)), (String::new(), String::new()));
        assert_eq!(each(Args::One, "null", cursor), "null \"00000001-2\"");
        assert_eq!(each(Args::Zero, "1", cursor), "\"00000001-2\"");
        assert_eq!(each(Args::One, "1", cursor), "1 \"00000001-2\"");
    }
}
