//! Where in a text of JSON the value at a pointer stands.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use serde_json::value::RawValue;

/// The range of bytes of the value at a JSON Pointer (RFC 6901), or of the nearest value around it.
pub(super) fn range_of(text: &str, pointer: &str) -> Range<usize> {
    let mut value = text.trim_ascii();
    for step in steps(pointer) {
        match below(value, &step) {
            Some(next) => value = next,
            None => break,
        }
    }
    let start = (value.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start..start + value.len()
}

/// The names that a pointer leads through.
pub(super) fn steps(pointer: &str) -> impl Iterator<Item = String> {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"))
}

/// A pointer with one more step.
pub(super) fn join(pointer: &str, step: &str) -> String {
    format!("{pointer}/{}", step.replace('~', "~0").replace('/', "~1"))
}

fn below<'a>(value: &'a str, step: &str) -> Option<&'a str> {
    let raw = match value.as_bytes().first()? {
        b'{' => serde_json::from_str::<HashMap<Cow<'a, str>, &'a RawValue>>(value).ok()?.remove(step)?,
        b'[' => serde_json::from_str::<Vec<&'a RawValue>>(value).ok()?.into_iter().nth(step.parse().ok()?)?,
        _ => return None,
    };
    Some(raw.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_where_it_stands() {
        let text = " {\"a\": [1, {\"b/c\": \"x\"}],\n \"d\": 2}";
        for (pointer, found) in [
            ("/a/1/b~1c", "\"x\""),
            ("/d", "2"),
            ("/a/0", "1"),
            ("/a/7/x", "[1, {\"b/c\": \"x\"}]"),
            ("/nope", &text[1..]),
        ] {
            assert_eq!(&text[range_of(text, pointer)], found, "{pointer}");
        }
        assert_eq!(join("/a", "b/~"), "/a/b~1~0");
        assert_eq!(steps("/a/b~1~0").collect::<Vec<_>>(), ["a", "b/~"]);
    }
}
