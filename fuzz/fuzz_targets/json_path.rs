//! A path into the data, as profiles write it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::JsonPath;

fuzz_target!(|text: &str| {
    let Ok(path) = text.parse::<JsonPath>() else { return };
    let again: JsonPath = path.to_string().parse().expect("a path is spelled so that it reads back");
    assert_eq!(again, path);
});
