//! Which part of a file is asked for (RFC 9110 §14.2).

use std::ops::Range;

use http::{HeaderMap, header};

/// What a request wants of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: it says nothing else, or something that nobody has to obey.
    Whole,
    /// These bytes.
    Bytes(Range<u64>),
    /// Bytes that it does not have.
    Beyond,
}

/// What these headers want of a file of so many bytes.
///
/// Several ranges at once are answered with the whole, as §14.2 allows, and so is one that only counts under a condition (`If-Range`):
/// there is nothing to compare it with.
pub(super) fn wanted(headers: &HeaderMap, bytes: u64) -> Part {
    let range = headers.get(header::RANGE).filter(|_| !headers.contains_key(header::IF_RANGE));
    let Some(set) = range.and_then(|range| range.to_str().ok()?.trim().strip_prefix("bytes=")) else {
        return Part::Whole;
    };
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    match set.trim().split_once('-') {
        Some(("", last)) => match number(last) {
            Some(0) => Part::Beyond,
            Some(last) => Part::Bytes(bytes.saturating_sub(last)..bytes),
            None => Part::Whole,
        },
        Some((first, last)) => match (number(first), last.is_empty(), number(last)) {
            (Some(first), false, Some(last)) if last < first => Part::Whole,
            (Some(first), ..) if first >= bytes && (last.is_empty() || number(last).is_some()) => Part::Beyond,
            (Some(first), true, _) => Part::Bytes(first..bytes),
            (Some(first), false, Some(last)) => Part::Bytes(first..bytes.min(last.saturating_add(1))),
            _ => Part::Whole,
        },
        None => Part::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(range: &str, bytes: u64) -> Part {
        wanted(&HeaderMap::from_iter([(header::RANGE, range.parse().unwrap())]), bytes)
    }

    #[test]
    fn one_range_is_obeyed_and_anything_else_is_the_whole() {
        assert_eq!(of("bytes=0-0", 10), Part::Bytes(0..1));
        assert_eq!(of("bytes=3-", 10), Part::Bytes(3..10));
        assert_eq!(of("bytes=3-99", 10), Part::Bytes(3..10));
        assert_eq!(of("bytes=-3", 10), Part::Bytes(7..10));
        assert_eq!(of("bytes=-30", 10), Part::Bytes(0..10));
        for beyond in ["bytes=10-", "bytes=10-20", "bytes=-0"] {
            assert_eq!(of(beyond, 10), Part::Beyond, "{beyond}");
        }
        for whole in ["bytes=5-3", "bytes=0-1,3-4", "bytes=", "bytes=-", "bytes=a-b", "rows=0-1", "bytes=+1-2", "bytes"]
        {
            assert_eq!(of(whole, 10), Part::Whole, "{whole}");
        }
    }

    #[test]
    fn a_range_under_a_condition_is_the_whole() {
        let headers = [(header::RANGE, "bytes=0-1"), (header::IF_RANGE, "\"x\"")];
        let headers = headers.map(|(name, value)| (name, value.parse().unwrap()));
        assert_eq!(wanted(&HeaderMap::from_iter(headers), 10), Part::Whole);
    }

    proptest! {
        #[test]
        fn no_range_is_outside_the_file(range in "bytes=[0-9]{0,21}-[0-9]{0,21}", bytes in 1u64..1_000) {
            if let Part::Bytes(part) = of(&range, bytes) {
                prop_assert!(part.start < part.end && part.end <= bytes, "{part:?}");
            }
        }
    }
}
