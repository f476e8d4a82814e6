//! Why a file can't be imported at all: each way with a code of its own, and a sentence that says what to do.

use std::io;

use crate::isbn::Isbn;
use crate::report::Failure;

/// How many names of columns are shown, …
const NAMES: usize = 12;
/// … and how many characters of each.
const NAME: usize = 30;

/// How files begin that people take for a table, and what they are.
const MAGIC: [(&[u8], &str); 14] = [
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"%PDF-", "a PDF"),
    (b"{\\rtf", "a text document (RTF)"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"SQLite format 3\0", "a database"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\0", "a program"),
];

pub(super) fn empty_file() -> Failure {
    Failure::new("empty-file", "The file is empty. Export the list again and upload the new file.")
}

pub(super) fn unreadable(error: &io::Error) -> Failure {
    Failure::passing("unreadable-file", format!("The file could not be read: {error}."))
}

pub(super) fn header_only() -> Failure {
    Failure::new("header-only", "The file has names of columns and no row under them: there is nothing to import.")
}

pub(super) fn no_header() -> Failure {
    Failure::new(
        "no-header",
        "The first row is too long to be names of columns, or has a quote that is never closed. It has to name the columns, such as: title, author, isbn.",
    )
}

pub(super) fn too_many_rows(rows: u64, most: u64) -> Failure {
    Failure::new(
        "too-many-rows",
        format!("The file has {rows} rows, and {most} can be imported at once. Split it into several files."),
    )
}

/// The columns were found and none is of use.
pub(super) fn wrong_columns(found: &[String]) -> Failure {
    let names: Vec<String> = found.iter().take(NAMES).map(|name| format!("`{}`", shown(name))).collect();
    let more = if found.len() > NAMES { format!(" and {} more", found.len() - NAMES) } else { String::new() };
    let is_data = found.iter().any(|name| matches!(Isbn::parse(name), Ok(Some(_))));
    let hint = if is_data {
        " The first row looks like a book: put a row with the names of the columns above it."
    } else {
        ""
    };
    Failure::new(
        "wrong-columns",
        format!(
            "No column is named for a title or an ISBN. Found: {}{more}. Needed: `title` or `isbn`, and better `author` too.{hint}",
            names.join(", ")
        ),
    )
}

/// Whether `beginning`, the first bytes of a file, is that of something else than a table.
pub(super) fn no_table(beginning: &[u8]) -> Option<Failure> {
    if beginning.starts_with(b"PK") && beginning.get(2).is_some_and(|byte| *byte < 9) {
        let what = "The file is a spreadsheet (.xlsx, .ods) or a zip archive. Export the table as CSV, or unpack the archive, and upload the CSV file.";
        return Some(Failure::new("spreadsheet", what));
    }
    if beginning.starts_with(b"\xd0\xcf\x11\xe0") {
        return Some(Failure::new(
            "spreadsheet",
            "The file is an old spreadsheet (.xls). Export the table as CSV and upload that file.",
        ));
    }
    let (_, what) = MAGIC.iter().find(|(magic, _)| beginning.starts_with(magic))?;
    Some(Failure::new(
        "not-a-table",
        format!("The file is {what}. A table is needed: text with commas, semicolons or tabs (CSV)."),
    ))
}

/// Whether `text`, how the text of a file begins, is that of something else than a table.
pub(super) fn other_text(text: &[u8]) -> Option<Failure> {
    let text = text.trim_ascii_start();
    match text.first()? {
        b'<' => Some(Failure::new(
            "html",
            "The file is a web page (HTML or XML), and maybe the page that asks to log in. Download the export itself, a CSV file.",
        )),
        b'{' | b'[' => Some(Failure::new(
            "json",
            "The file is JSON. A table is needed: text with commas, semicolons or tabs (CSV).",
        )),
        _ => None,
    }
}

/// The first row has characters that no name has.
pub(super) fn binary() -> Failure {
    Failure::new("not-a-table", "The file is not text. A table is needed: text with commas, semicolons or tabs (CSV).")
}

fn shown(name: &str) -> String {
    let name = name.trim();
    match name.char_indices().nth(NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}
