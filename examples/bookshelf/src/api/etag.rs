//! Answers that a browser keeps, and asks about again (RFC 9110 §8.8.3, §13.1.2).

use http::{HeaderMap, header};
use sha2::{Digest, Sha256};

/// The tag of these bytes.
pub(super) fn of(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Whether whoever asks has what this tag stands for. Weak tags count as well: a proxy that compresses makes ours weak.
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_among_others_and_when_it_is_weak() {
        let asked = |value: &str| HeaderMap::from_iter([(header::IF_NONE_MATCH, value.parse().unwrap())]);
        for known in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*"] {
            assert!(is_known(&asked(known), "\"a\""), "{known}");
        }
        assert!(!is_known(&asked("\"b\""), "\"a\"") && !is_known(&HeaderMap::new(), "\"a\""));
        assert_ne!(of(b"one"), of(b"other"));
    }
}
