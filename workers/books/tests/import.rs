//! Lists of books are imported, and what can't be is told with its row or with what to do.

use std::fs;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::PathBuf;

use serde_json::{Value, json};
use tidings_books::import::{self, Encoding, Options, Source, Summary};
use tidings_books::report::{Collected, Failure, Unfinished};

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn run(bytes: &[u8]) -> (Result<Summary, Unfinished>, Collected) {
    run_with(bytes, &Options::default(), Collected::default())
}

fn run_with(bytes: &[u8], options: &Options, report: Collected) -> (Result<Summary, Unfinished>, Collected) {
    (import::run(Cursor::new(bytes), options, &report), report)
}

/// The books of `bytes`, which are imported without a failure.
fn imported(bytes: &[u8]) -> (Summary, Vec<Value>) {
    let (summary, report) = run(bytes);
    (summary.expect("an import"), report.items())
}

fn refused(bytes: &[u8]) -> Failure {
    match run(bytes).0 {
        Err(Unfinished::Failed(failure)) => failure,
        other => panic!("not refused: {other:?}"),
    }
}

/// `[row, code]` of each note.
fn codes(notes: &[import::RowNote]) -> Vec<(u64, &str)> {
    notes.iter().map(|note| (note.row, note.code)).collect()
}

/// What the import of a fixture says is what stands in the file beside it.
fn is_golden(name: &str) {
    let (summary, books) = imported(&fixture(name));
    let found = json!({"result": summary.to_result(), "books": books});
    let golden = fixture(&format!("{name}.json"));
    let expected: Value = serde_json::from_slice(&golden).expect("JSON");
    assert_eq!(found, expected, "found:\n{found:#}");
}

#[test]
fn a_goodreads_export_is_imported() {
    is_golden("goodreads.csv");
}

#[test]
fn a_storygraph_export_is_imported() {
    is_golden("storygraph.csv");
}

#[test]
fn a_librarything_export_is_imported() {
    is_golden("librarything.tsv");
}

#[test]
fn a_plain_list_is_imported_whatever_its_columns_are_called() {
    is_golden("plain.csv");
}

#[test]
fn reviews_and_private_notes_stay_in_the_file() {
    let (_, books) = imported(&fixture("goodreads.csv"));
    let text = json!(books).to_string();
    assert!(!text.contains("Loved it") && !text.contains("lend"), "{text}");
}

#[test]
fn a_file_gives_the_same_books_in_each_encoding() {
    let text = String::from_utf8(fixture("librarything.tsv")).unwrap();
    let (utf8, books) = imported(text.as_bytes());
    assert_eq!(utf8.encoding, Encoding::Utf8);
    let latin1: Vec<u8> = text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect();
    let utf16 = |to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect::<Vec<u8>>();
    for (encoding, bytes) in [
        (Encoding::Utf8, [b"\xef\xbb\xbf", text.as_bytes()].concat()),
        (Encoding::Windows1252, latin1),
        (Encoding::Utf16Le, [b"\xff\xfe".to_vec(), utf16(u16::to_le_bytes)].concat()),
        (Encoding::Utf16Be, [b"\xfe\xff".to_vec(), utf16(u16::to_be_bytes)].concat()),
        (Encoding::Utf16Le, utf16(u16::to_le_bytes)),
    ] {
        let (summary, found) = imported(&bytes);
        assert_eq!(summary, Summary { encoding, ..utf8.clone() });
        assert_eq!(found, books);
    }
}

#[test]
fn the_bytes_that_only_windows_has_are_read() {
    let (summary, books) = imported(b"title,author\nL\x92\x80uro \x96 1,Jos\xe9\n");
    assert_eq!(summary.encoding, Encoding::Windows1252);
    assert_eq!(books, [json!({"title": "L’€uro – 1", "authors": ["José"]})]);
}

#[test]
fn a_few_broken_rows_of_a_utf8_file_cost_those_rows_only() {
    let (summary, books) = imported(b"title\nCaf\xc3\xa9\nCaf\xe9\nNa\xc3\xafve\nplain\n");
    assert_eq!((summary.encoding, summary.imported), (Encoding::Utf8, 3));
    assert_eq!(codes(&summary.errors), [(3, "not-utf8")]);
    assert_eq!(books[0]["title"], "Café");
}

#[test]
fn a_file_that_says_it_is_utf8_is_not_taken_for_another() {
    let (summary, _) = imported(b"\xef\xbb\xbftitle\nCaf\xe9\n");
    assert_eq!((summary.encoding, codes(&summary.errors)), (Encoding::Utf8, vec![(2, "not-utf8")]));
}

#[test]
fn the_delimiter_is_the_one_that_makes_columns_of_the_header() {
    for (delimiter, text) in [
        (',', "title,author\nDune,Frank Herbert\n"),
        (';', "title;author\nDune;Frank Herbert\n"),
        ('\t', "title\tauthor\nDune\tFrank Herbert\n"),
        (';', "sep=;\r\ntitle;author\r\nDune;Frank Herbert\r\n"),
        ('|', "sep=|\ntitle|author\nDune|Frank Herbert\n"),
        (';', "title;author;x, y, z, and more\nDune;Frank Herbert;\n"),
    ] {
        let (summary, books) = imported(text.as_bytes());
        assert_eq!(summary.delimiter, delimiter, "{text}");
        assert_eq!(books, [json!({"title": "Dune", "authors": ["Frank Herbert"]})]);
    }
}

#[test]
fn in_a_list_of_one_column_a_comma_is_part_of_a_title() {
    let (_, books) = imported(b"Title\nEats, Shoots & Leaves\nDune\n");
    assert_eq!(books, [json!({"title": "Eats, Shoots & Leaves"}), json!({"title": "Dune"})]);
}

#[test]
fn a_name_that_stands_twice_is_said_once() {
    let (_, books) = imported(b"title;author;shelf;tags\nA;\"B. B;C. C; B.  B\";x;\"x,y,x\"\n");
    assert_eq!(books, [json!({"title": "A", "authors": ["B. B", "C. C"], "shelves": ["x", "y"]})]);
}

#[test]
fn a_wrong_isbn_costs_the_row_only_where_nothing_else_names_the_book() {
    let (summary, books) =
        imported(b"isbn,title\n9780439708181,Harry Potter\n9780439708181,\nB00ICN066A,\n080442957X,\n");
    assert_eq!(codes(&summary.warnings), [(2, "isbn-checksum")]);
    assert_eq!(codes(&summary.errors), [(3, "isbn-checksum"), (4, "not-an-isbn")]);
    assert_eq!(books, [json!({"title": "Harry Potter"}), json!({"isbn": "9780804429573"})]);
    assert_eq!(summary.errors[0].message, "`9780439708181` is no ISBN: its check digit is wrong.");
}

#[test]
fn the_other_number_of_a_row_stands_in_for_a_wrong_one() {
    let (summary, books) = imported(b"isbn13,isbn\n9780439708181,0439708184\n");
    assert_eq!(codes(&summary.warnings), [(2, "isbn-checksum")]);
    assert_eq!(books, [json!({"isbn": "9780439708180"})]);
}

#[test]
fn rows_are_numbered_as_a_spreadsheet_shows_them() {
    let (summary, _) = imported(b"title,author\n\n,x\n\"a\nb\",x\n,y\n,,\n,z");
    assert_eq!(codes(&summary.errors), [(3, "no-title-or-isbn"), (5, "no-title-or-isbn"), (7, "no-title-or-isbn")]);
    assert_eq!((summary.rows, summary.imported, summary.failed), (4, 1, 3));
}

#[test]
fn a_row_with_too_many_fields_is_not_guessed_at() {
    let (summary, books) = imported(b"title,author\nA, B and C,Somebody\nD,Somebody,,\nE\n");
    assert_eq!(codes(&summary.errors), [(2, "too-many-fields")]);
    assert_eq!(codes(&summary.warnings), [(4, "too-few-fields")]);
    assert_eq!(books, [json!({"title": "D", "authors": ["Somebody"]}), json!({"title": "E"})]);
}

#[test]
fn a_quote_that_is_never_closed_costs_its_row_and_not_the_rest() {
    let (summary, books) = imported(b"title,author\nA,a\n\"B,b\nC,c\nsome words\nD,d\n");
    assert_eq!(codes(&summary.errors), [(3, "open-quote"), (5, "behind-open-quote")]);
    assert_eq!(books.iter().map(|book| &book["title"]).collect::<Vec<_>>(), ["A", "C", "D"]);
}

#[test]
fn a_nul_byte_costs_its_row() {
    let (summary, _) = imported(b"title\na\nb\0c\nd\n");
    assert_eq!((summary.imported, codes(&summary.errors)), (2, vec![(3, "nul-byte")]));
}

#[test]
fn a_lost_character_is_told() {
    let (summary, _) = imported("title\nCaf\u{fffd}\n".as_bytes());
    assert_eq!((summary.imported, codes(&summary.warnings)), (1, vec![(2, "damaged-text")]));
}

#[test]
fn a_row_of_10_mb_costs_itself_only() {
    let mut text = b"title,author\nA,a\n\"B".to_vec();
    text.extend_from_slice(&b"long, and\n".repeat(1_000_000));
    text.extend_from_slice(b"\",b\nC,c\n");
    let (summary, books) = imported(&text);
    assert_eq!(codes(&summary.errors), [(3, "row-too-long")]);
    assert_eq!(books.len(), 2);
    assert_eq!(books[1]["title"], "C");
}

#[test]
fn long_texts_are_cut_so_that_a_book_fits_into_an_item() {
    let names: Vec<String> = (0..50).map(|n| format!("{n:02}{}", "😀".repeat(300))).collect();
    let header =
        "title,authors,publisher,series,volume,binding,tags,shelf,isbn,date added,date read,language,year,pages\n";
    let long = "😀".repeat(2_000);
    let row = format!(
        "{long},{0},{long},{long},{long},{long},\"{1}\",{long},9780439708180,2024-01-01,2024-01-01,en,2024,999",
        names.join(";"),
        names.join(",")
    );
    let (summary, books) = imported(format!("{header}{row}\n").as_bytes());
    assert_eq!(codes(&summary.warnings), [(2, "shortened")]);
    assert!(books[0].to_string().len() <= 16 * 1024, "{}", books[0].to_string().len());
    assert_eq!(books[0]["title"].as_str().unwrap().chars().count(), 500);
}

#[test]
fn notes_are_kept_up_to_a_bound_and_counted_beyond() {
    let mut text = "isbn,title\n".to_owned();
    text.push_str(&"9780439708181,\n".repeat(1_500));
    text.push_str(&"9780439708181,A\n".repeat(1_200));
    let (summary, _) = imported(text.as_bytes());
    assert_eq!((summary.errors.len(), summary.failed), (1_000, 1_500));
    assert_eq!((summary.warnings.len(), summary.warned, summary.imported), (1_000, 1_200, 1_200));
    assert!(summary.to_result().to_string().len() < 64 * 1024);
}

#[test]
fn each_file_that_is_no_list_is_refused_with_its_own_code_and_what_to_do() {
    let utf16_html: Vec<u8> = "\u{feff}<html>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, code, says) in [
        (&b""[..], "empty-file", "Export the list again"),
        (b"\xef\xbb\xbf", "empty-file", "Export the list again"),
        (b"\xff\xfe", "empty-file", "Export the list again"),
        (b" \r\n\n", "empty-file", "Export the list again"),
        (b"title,author\n", "header-only", "no row under them"),
        (b"sep=;\ntitle;author", "header-only", "no row under them"),
        (b"PK\x03\x04\x14\0\x06\0", "spreadsheet", "Export the table as CSV"),
        (b"PK\x05\x06\0\0", "spreadsheet", "Export the table as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "spreadsheet", "Export the table as CSV"),
        (b"\x1f\x8b\x08\0", "not-a-table", "a gzip archive"),
        (b"%PDF-1.7\n", "not-a-table", "a PDF"),
        (b"\x89PNG\r\n\x1a\n", "not-a-table", "a picture"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "not-a-table", "a picture"),
        (b"title,\x01\x02\x03\nx,y\n", "not-a-table", "not text"),
        (b"ti\0tle,author\nx,y\n", "not-a-table", "not text"),
        (b"<!DOCTYPE html><title>Log in</title>", "html", "log in"),
        (b"<?xml version=\"1.0\"?>", "html", "log in"),
        (&utf16_html, "html", "log in"),
        (b"{\"title\": \"Dune\"}", "json", "JSON"),
        (b"\xef\xbb\xbf [\"title\",\"author\"]", "json", "JSON"),
        (
            b"name of book,writer of book\nDune,Frank Herbert\n",
            "wrong-columns",
            "Found: `name of book`, `writer of book`. Needed: `title` or `isbn`",
        ),
        (b"9780439708180,Harry Potter\n", "wrong-columns", "put a row with the names of the columns above it"),
        (b"\"title,author\nDune,Frank Herbert\n", "no-header", "never closed"),
    ] {
        let failure = refused(bytes);
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(failure.code, code, "{shown}: {failure:?}");
        assert!(failure.message.contains(says), "{shown}: {failure:?}");
        assert!(!failure.retryable);
    }
}

#[test]
fn a_file_that_is_one_endless_line_is_refused() {
    assert_eq!(refused(&b"title,".repeat(100_000)).code, "no-header");
    assert_eq!(refused(&b"x".repeat(10_000_000)).code, "no-header");
    assert_eq!(refused(&b"\n".repeat(1_000_000)).code, "no-header");
}

#[test]
fn too_many_columns_are_not_all_listed() {
    let failure = refused(
        format!("{}\n1\n", vec!["a column with a very long name that goes on and on"; 400].join(",")).as_bytes(),
    );
    assert_eq!(failure.code, "wrong-columns");
    assert!(failure.message.len() < 800 && failure.message.contains("and 388 more"), "{failure}");
}

#[test]
fn too_many_rows_are_refused_before_the_first_is_handed_over() {
    let options = Options { rows: 2, ..Options::default() };
    let (answer, report) = run_with(b"title\na\nb\nc\n", &options, Collected::default());
    let Err(Unfinished::Failed(failure)) = answer else { panic!("{answer:?}") };
    assert_eq!(failure.code, "too-many-rows");
    assert!(failure.message.contains("3 rows, and 2"), "{failure}");
    assert!(report.items().is_empty());
}

#[test]
fn the_bar_moves_from_zero_to_a_total_that_is_true_from_the_start() {
    let mut text = "title,author\n".to_owned();
    for number in 0..1_000 {
        text.push_str(&format!("\"Book\n{number}\",x\n\n"));
    }
    let (_, report) = run(text.as_bytes());
    let mut progress = report.progress();
    let counting = progress.remove(0);
    assert_eq!((counting.done, counting.total, counting.message.as_deref()), (0, None, Some("counting rows")));
    assert!(progress.iter().all(|at| at.total == Some(1_000)));
    let done: Vec<u64> = progress.iter().map(|at| at.done).collect();
    assert_eq!(done, [0, 256, 512, 768, 1_000]);
    assert_eq!(progress[1].item, Some(json!({"title": "Book 255"})));
}

#[test]
fn books_are_handed_over_in_order_and_in_batches() {
    let text: String = std::iter::once("title\n".to_owned()).chain((0..1_201).map(|n| format!("{n}\n"))).collect();
    let (summary, books) = imported(text.as_bytes());
    assert_eq!(summary.imported, 1_201);
    assert!(books.iter().enumerate().all(|(n, book)| book["title"].as_str() == Some(&n.to_string())));
}

#[test]
fn a_cancel_stops_the_work_within_256_rows() {
    let text: String = std::iter::once("title\n".to_owned()).chain((0..10_000).map(|n| format!("{n}\n"))).collect();
    let (answer, report) =
        run_with(text.as_bytes(), &Options { batch: 10, ..Options::default() }, Collected::canceled_at(1_000));
    assert_eq!(answer, Err(Unfinished::Canceled));
    assert!((1_000..1_300).contains(&report.items().len()), "{}", report.items().len());
}

#[test]
fn a_cancel_stops_the_work_in_the_midst_of_an_endless_row() {
    struct Endless<'a>(&'a Collected, u64);
    impl Read for Endless<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            if self.1 == 100 {
                self.0.cancel();
            }
            assert!(self.1 < 110, "it reads on");
            let text: &[u8] = if self.1 == 1 || self.1 == 3 { b"title\n\"" } else { b"x" };
            buffer.fill(b'x');
            let count = buffer.len().min(text.len());
            buffer[..count].copy_from_slice(&text[..count]);
            Ok(buffer.len())
        }
    }
    impl Seek for Endless<'_> {
        fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
            Ok(0)
        }
    }
    let report = Collected::default();
    assert_eq!(import::run(Endless(&report, 0), &Options::default(), &report), Err(Unfinished::Canceled));
}

#[test]
fn work_that_is_canceled_before_it_begins_does_nothing() {
    let (answer, report) = run_with(b"title\na\n", &Options::default(), Collected::canceled_at(0));
    assert_eq!(answer, Err(Unfinished::Canceled));
    assert!(report.items().is_empty() && report.progress().is_empty());
}

#[test]
fn work_ends_when_nobody_takes_its_result() {
    let text: String = std::iter::once("title\n".to_owned()).chain((0..10_000).map(|n| format!("{n}\n"))).collect();
    let (answer, report) = run_with(text.as_bytes(), &Options::default(), Collected::stopped_at(1_000));
    assert!(matches!(answer, Err(Unfinished::Stopped(_))), "{answer:?}");
    assert_eq!(report.items().len(), 1_000);
}

#[test]
fn a_file_that_can_not_be_read_now_may_be_read_later() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is on fire"))
        }
    }
    impl Seek for Broken {
        fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
            Ok(0)
        }
    }
    let Err(Unfinished::Failed(failure)) = import::run(Broken, &Options::default(), &Collected::default()) else {
        panic!()
    };
    assert_eq!((failure.code.as_str(), failure.retryable), ("unreadable-file", true));
    assert!(failure.message.contains("the disk is on fire"));
}

#[test]
fn the_bar_never_gets_past_its_total_though_the_file_grows() {
    struct Growing(Cursor<Vec<u8>>, u32);
    impl Read for Growing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl Seek for Growing {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.1 += 1;
            // Once for the header, once to count, once to import.
            if self.1 == 3 {
                self.0.get_mut().extend_from_slice(&b"b\n".repeat(1_000));
            }
            self.0.seek(to)
        }
    }
    let report = Collected::default();
    let file = Growing(Cursor::new(b"title\na\n".to_vec()), 0);
    let summary = import::run(file, &Options::default(), &report).unwrap();
    assert_eq!(summary.imported, 1_001);
    assert!(report.progress().iter().all(|at| at.total.is_none_or(|total| at.done <= total)));
}

#[test]
fn a_large_export_is_imported_whole() {
    let mut text = Vec::new();
    import::sample::write_goodreads(5_000, &mut text).unwrap();
    let (summary, books) = imported(&text);
    assert_eq!((summary.format, summary.rows, summary.imported, summary.warned), (Source::Goodreads, 5_000, 5_000, 0));
    assert!(books.iter().all(|book| book["isbn"].is_string() && book["series"].is_string()));
}
