//! A list of books as anybody uploads it: it is imported or refused with a sentence, each row is a book or has a reason,
//! and no book is too large for the hub.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use tidings_books::import::{self, Options};
use tidings_books::isbn::Isbn;
use tidings_books::report::{Collected, Unfinished};

fuzz_target!(|bytes: &[u8]| {
    // Small, so that bounds are met.
    let options = Options { row_bytes: 1_000, rows: 300, batch: 3, notes: 4 };
    let report = Collected::default();
    match import::run(Cursor::new(bytes), &options, &report) {
        Ok(summary) => {
            assert_eq!(summary.rows, summary.imported + summary.failed);
            assert_eq!(summary.imported, report.items().len() as u64);
            assert_eq!(summary.errors.len() as u64, summary.failed.min(4));
            assert!(summary.errors.iter().is_sorted_by(|a, b| a.row < b.row));
            assert!(summary.to_result().to_string().len() <= 64 * 1024, "a result has its bound");
        }
        Err(Unfinished::Failed(failure)) => {
            assert!(report.items().is_empty(), "a file is refused before anything of it is handed over");
            assert!(!failure.retryable && failure.message.ends_with('.'));
        }
        Err(other) => panic!("nobody has stopped it: {other}"),
    }
    for book in report.items() {
        assert!(book.to_string().len() <= 16 * 1024, "an item has its bound");
        assert!(book["title"].is_string() || book["isbn"].is_string());
        if let Some(isbn) = book["isbn"].as_str() {
            let read = Isbn::parse(isbn).expect("what is handed over is valid").expect("and not empty");
            assert_eq!(read.as_str(), isbn);
        }
    }
    let progress = report.progress();
    assert!(progress.iter().is_sorted_by_key(|at| at.done));
    assert!(progress.iter().all(|at| at.total.is_none_or(|total| at.done <= total)));
});
