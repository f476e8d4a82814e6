//! A template from a profile, filled in from any data and scope: one line each.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::{Facts, Template, Topic};

fuzz_target!(|text: &str| {
    let mut lines = text.splitn(3, '\n');
    let (template, data, scope) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let Ok(parsed) = template.parse::<Template>() else { return };
    assert_eq!(parsed.to_string(), template);
    assert_eq!(parsed.as_str().parse::<Template>().as_ref(), Ok(&parsed));
    let Ok(path) = parsed.resolve(Facts { data, scope }) else { return };
    assert_eq!(path.split('/').count(), template.split('/').count(), "a value stays within its segment");
    // Long values make it too long; nothing else can be wrong with it, as the literal parts were looked at.
    if path.len() <= 512 {
        assert!(path.parse::<Topic>().is_ok(), "{path:?}");
    }
});
