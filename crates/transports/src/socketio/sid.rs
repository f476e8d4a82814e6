//! Session ids: random ones, and public ones that follow from private ones.
//!
//! Connection state recovery gives a client two ids: `sid`, which others may see, and `pid`, which it alone knows and later
//! shows to be taken for the same session. Here the public one follows from the private one, so that a client has its old
//! `sid` again after a restart without anybody having remembered it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// The bytes of an id: 120 bits, as the reference server has, and a multiple of three, so that base64 needs no padding.
const BYTES: usize = 15;

/// What a private id is hashed with, so that its public id is no other hash of it.
const PURPOSE: &[u8] = b"tidings socket.io sid\0";

/// A new id: 20 characters of base64url, 120 bits from the system.
///
/// # Panics
/// Where the system gives no random bytes; a session id that could be guessed would be worse.
pub fn random() -> String {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The public id of the session whose private id is `pid`: always the same one, from which `pid` can't be told (the first 120
/// bits of a SHA-256).
///
/// Whoever shows a `pid` may have made it up: it proves who was given the matching `sid`, and grants nothing.
pub fn of(pid: &str) -> String {
    let hash = Sha256::new().chain_update(PURPOSE).chain_update(pid).finalize();
    URL_SAFE_NO_PAD.encode(&hash[..BYTES])
}

/// Whether `pid` looks like an id of ours: 20 to 32 characters of base64url.
pub fn is_wellformed(pid: &str) -> bool {
    (20..=32).contains(&pid.len())
        && pid.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_are_wellformed_and_differ() {
        let ids: std::collections::HashSet<String> = (0..1000).map(|_| random()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 20 && is_wellformed(id)));
    }

    #[test]
    fn a_public_id_follows_from_the_private_one_and_from_nothing_else() {
        // Worked out with another implementation of SHA-256.
        assert_eq!(of("TWl4ZWRNYXJrZXRzQXJl"), "LIPiH5rLMtAUMPfDR8W5");
        assert_ne!(of("TWl4ZWRNYXJrZXRzQXJm"), of("TWl4ZWRNYXJrZXRzQXJl"));
        assert!(is_wellformed(&of("")));
    }

    #[test]
    fn a_wellformed_id_is_short_and_of_the_alphabet() {
        for pid in ["TWl4ZWRNYXJrZXRzQXJl", "-_-_-_-_-_-_-_-_-_-_", "TWl4ZWRNYXJrZXRzQXJlTWl4ZWRNYXJr"] {
            assert!(is_wellformed(pid), "{pid}");
        }
        for pid in [
            "",
            "TWl4ZWRNYXJrZXRzQXJ",
            "TWl4ZWRNYXJrZXRzQXJlTWl4ZWRNYXJrZ",
            "TWl4ZWRNYXJrZXRzQXJ=",
            "TWl4ZWRNYXJrZXRzQX\u{e9}",
        ] {
            assert!(!is_wellformed(pid), "{pid}");
        }
    }
}
