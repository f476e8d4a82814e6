//! Whatever the bytes are, an import ends with an answer: no panic, no row lost without a word, no book that is too
//! large to be an item.

use std::io::Cursor;

use proptest::prelude::*;
use serde_json::Value;
use tidings_books::import::{self, Options};
use tidings_books::isbn::Isbn;
use tidings_books::report::{Collected, Unfinished};

const FILES: [&[u8]; 4] = [
    include_bytes!("fixtures/import/goodreads.csv"),
    include_bytes!("fixtures/import/storygraph.csv"),
    include_bytes!("fixtures/import/librarything.tsv"),
    include_bytes!("fixtures/import/plain.csv"),
];

/// Imports `bytes` and checks what holds of every import.
fn check(bytes: &[u8]) {
    // Small, so that bounds are met.
    let options = Options { row_bytes: 2_000, rows: 200, batch: 3, notes: 4 };
    let report = Collected::default();
    let answer = import::run(Cursor::new(bytes), &options, &report);
    let items = report.items();
    match answer {
        Ok(summary) => {
            assert_eq!(summary.imported, items.len() as u64);
            assert_eq!(summary.rows, summary.imported + summary.failed);
            assert!(summary.warned <= summary.imported);
            assert!(summary.errors.len() as u64 == summary.failed.min(4) && summary.warnings.len() <= 4);
            let rows: Vec<u64> = summary.errors.iter().map(|note| note.row).collect();
            assert!(rows.is_sorted_by(|a, b| a < b));
            assert!(summary.to_result().to_string().len() <= 64 * 1024);
        }
        Err(Unfinished::Failed(failure)) => {
            assert!(items.is_empty());
            assert!(
                !failure.retryable && failure.message.ends_with('.') && failure.message.len() < 2_000,
                "{failure:?}"
            );
        }
        Err(other) => panic!("{other}"),
    }
    items.iter().for_each(check_book);
    let progress = report.progress();
    assert!(progress.iter().is_sorted_by_key(|at| at.done));
    assert!(progress.iter().all(|at| at.total.is_none_or(|total| at.done <= total)));
}

fn check_book(book: &Value) {
    assert!(book.to_string().len() <= 16 * 1024);
    assert!(book["title"].is_string() || book["isbn"].is_string());
    if let Some(isbn) = book["isbn"].as_str() {
        assert_eq!(Isbn::parse(isbn).unwrap().unwrap().as_str(), isbn);
    }
}

/// One change of a file.
#[derive(Debug, Clone)]
enum Change {
    Cut(usize),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize, usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |place: usize| place % (bytes.len() + 1);
        match self {
            Change::Cut(end) => bytes.truncate(place(*end)),
            Change::Insert(at, more) => {
                let at = place(*at);
                bytes.splice(at..at, more.iter().copied());
            }
            Change::Remove(from, count) => {
                let from = place(*from);
                bytes.drain(from..(from + count).min(bytes.len()));
            }
            Change::Repeat(from, count, times) => {
                let from = place(*from);
                let part = bytes[from..(from + count).min(bytes.len())].repeat(*times);
                bytes.splice(from..from, part);
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0usize..5_000;
    let sign = prop::sample::select(vec![
        &b"\""[..],
        b"\"\"",
        b",",
        b";",
        b"\t",
        b"\n",
        b"\r",
        b"\r\n",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"=\"",
        b"\xed\xa0\x80",
        "\u{fffd}".as_bytes(),
        "😀".as_bytes(),
        b"9780439708181",
        b"(A, #1)",
    ]);
    prop_oneof![
        at.clone().prop_map(Change::Cut),
        (at.clone(), sign).prop_map(|(at, sign)| Change::Insert(at, sign.to_vec())),
        (at.clone(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (at.clone(), 1usize..200).prop_map(|(from, count)| Change::Remove(from, count)),
        (at, 1usize..60, 1usize..60).prop_map(|(from, count, times)| Change::Repeat(from, count, times)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        check(&bytes);
    }

    #[test]
    fn any_bytes_under_a_header_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..600), mark: bool) {
        let header: &[u8] = if mark { b"\xef\xbb\xbfisbn,title,author\n" } else { b"isbn,title,author,tags\n" };
        check(&[header, &bytes].concat());
    }

    #[test]
    fn any_utf16_is_answered(units in prop::collection::vec(any::<u16>(), 0..300)) {
        let header = "\u{feff}isbn,title,author\n".encode_utf16();
        check(&header.chain(units).flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
    }

    #[test]
    fn any_table_is_answered(rows in prop::collection::vec("[0-9X,;\"\n\t #()=a-zé-]{0,60}", 0..20)) {
        check(format!("title,author,isbn,year,date read,rating,pages,language,shelf\n{}", rows.join("\n")).as_bytes());
    }

    #[test]
    fn any_damage_to_an_export_is_answered(file in 0..FILES.len(), changes in prop::collection::vec(change(), 1..8)) {
        let mut bytes = FILES[file].to_vec();
        changes.iter().for_each(|change| change.apply(&mut bytes));
        check(&bytes);
    }
}
