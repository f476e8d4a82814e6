//! What clients ask for and publishers name: a pattern on one line and a topic on the next.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::{Topic, TopicPattern};

fuzz_target!(|text: &str| {
    let (pattern, path) = text.split_once('\n').unwrap_or((text, text));
    let escaped = Topic::escape_segment(path);
    if !path.is_empty() && escaped.len() <= 512 {
        assert!(!escaped.contains('/'));
        assert!(escaped.parse::<Topic>().is_ok(), "any text fits to be one segment");
    }
    let topic = path.parse::<Topic>();
    if let Ok(topic) = &topic {
        let itself = topic.as_str().parse::<TopicPattern>().expect("a topic is a pattern");
        assert!(itself.is_literal() && itself.matches(topic.as_str()));
    }
    let (Ok(pattern), Ok(topic)) = (pattern.parse::<TopicPattern>(), topic) else { return };
    assert_eq!(pattern.matches(topic.as_str()), slowly(pattern.as_str(), topic.as_str()));
});

/// The same question, answered from the definition.
fn slowly(pattern: &str, path: &str) -> bool {
    match (pattern.split_once('/'), path.split_once('/')) {
        _ if pattern == "**" => true,
        (Some((first, pattern)), Some((segment, path))) => (first == "*" || first == segment) && slowly(pattern, path),
        (None, None) => pattern == "*" || pattern == path,
        _ => false,
    }
}
