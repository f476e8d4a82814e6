//! Topics as NATS subjects, and back.
//!
//! `library/lib1` of the hub `hub` is `tidings.hub.e.library.lib1`. A byte of a segment that is not a letter, a digit, `-` or `_` is `=XX`
//! (two upper-case hex digits), so that dots, spaces, `*`, `>` and `$` mean nothing there. Each topic has one subject, and no two the same.

use tidings::Topic;

/// The most bytes of a subject: a topic has 512, each of which may become three. Far below the 4 KiB that a server takes in one line.
pub const MAX_SUBJECT_BYTES: usize = 3 * tidings::topic::MAX_PATH_BYTES + 64;

/// The subject of a topic, below `prefix` (without its last dot).
pub fn from_topic(prefix: &str, topic: &str) -> String {
    let mut subject = String::with_capacity(prefix.len() + topic.len() + 8);
    subject.push_str(prefix);
    subject.push('.');
    for byte in topic.bytes() {
        match byte {
            b'/' => subject.push('.'),
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' => subject.push(char::from(byte)),
            _ => {
                subject.push('=');
                for digit in [byte >> 4, byte & 15] {
                    subject.push(char::from(HEX[usize::from(digit)]));
                }
            }
        }
    }
    subject
}

/// The topic of a subject below `prefix`; `None` if it is not one that [`from_topic`] makes.
pub fn to_topic(prefix: &str, subject: &str) -> Option<Topic> {
    let path = subject.strip_prefix(prefix)?.strip_prefix('.')?;
    let mut topic = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        topic.push(match byte {
            b'.' => b'/',
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' => byte,
            b'=' => {
                let byte = digit(bytes.next()?)? << 4 | digit(bytes.next()?)?;
                // One spelling for each topic: what needs no escape has none.
                if byte == b'/' || byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
                    return None;
                }
                byte
            }
            _ => return None,
        });
    }
    String::from_utf8(topic).ok()?.parse().ok()
}

fn digit(byte: u8) -> Option<u8> {
    HEX.iter().position(|hex| *hex == byte).map(|at| at as u8)
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_topic_can_be_read_off_its_subject() {
        for (topic, subject) in [
            ("library/lib1", "p.library.lib1"),
            ("a.b/c d", "p.a=2Eb.c=20d"),
            (">/$JS/=", "p.=3E.=24JS.=3D"),
            ("ü", "p.=C3=BC"),
        ] {
            assert_eq!(from_topic("p", topic), subject);
            assert_eq!(to_topic("p", subject).expect("it reads back").as_str(), topic);
        }
    }

    #[test]
    fn what_no_topic_has_as_its_subject_is_none() {
        for subject in [
            "p", "p.", "q.a", "p.a..b", "p.=2", "p.=2e", "p.=61", "p.=2F", "p.=FF", "p.a b", "p.*", "p.>", "p.=0A",
            "pa",
        ] {
            assert_eq!(to_topic("p", subject), None, "{subject}");
        }
    }

    proptest! {
        #[test]
        fn every_topic_has_one_subject_that_nats_takes(text in "\\PC{1,60}(/\\PC{1,60}){0,3}") {
            let Ok(topic) = text.parse::<Topic>() else { return Ok(()) };
            let subject = from_topic("tidings.hub.e", topic.as_str());
            prop_assert!(subject.len() <= MAX_SUBJECT_BYTES);
            prop_assert!(subject.split('.').all(|token| !token.is_empty()));
            prop_assert!(subject.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=.".contains(&b)));
            prop_assert_eq!(to_topic("tidings.hub.e", &subject), Some(topic));
        }

        #[test]
        fn a_subject_that_reads_as_a_topic_is_the_one_of_that_topic(path in "[a-cA=./0-9]{0,12}") {
            let subject = format!("p.{path}");
            if let Some(topic) = to_topic("p", &subject) {
                prop_assert_eq!(from_topic("p", topic.as_str()), subject);
            }
        }
    }
}
