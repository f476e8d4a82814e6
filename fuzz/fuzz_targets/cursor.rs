//! The place to go on from, as clients hand it back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::Cursor;

fuzz_target!(|text: &str| {
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text, "each place has one spelling");
    }
});
