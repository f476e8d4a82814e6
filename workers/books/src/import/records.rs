//! Bytes become records: a table with delimiters and quotes (RFC 4180), read as a stream.
//!
//! Written here because three things matter to an import that a general CSV reader does not tell: a record that is too
//! long is passed over without being held, a quote that is never closed does not swallow the rest of the file, and rows
//! are numbered as a spreadsheet numbers them, blank lines included.

use std::borrow::Cow;
use std::io::{self, Read};

use memchr::{memchr, memchr2, memchr3};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;
/// How many fields of a record are kept; those after it are passed over. The widest known export has 49 columns.
const FIELDS: usize = 512;

/// Reads records one after the other. Bytes are taken as they are: any encoding that has ASCII in it will do.
///
/// A record ends with LF, CRLF or CR. A field that begins with a quote goes on to the closing quote, over delimiters
/// and line ends, and two quotes in it are one. Where something else than a delimiter follows the closing quote, the
/// field is taken as it stands, quotes and all (`"A" is for Alibi` in a file that quotes nothing).
pub(super) struct Records<R> {
    input: R,
    delimiter: u8,
    limit: usize,
    buffer: Vec<u8>,
    /// Up to where the buffer holds bytes.
    filled: usize,
    /// Where the record begins.
    start: usize,
    /// How far it has been looked at.
    at: usize,
    /// The same, for the field that is being read.
    field: usize,
    fields: Vec<Field>,
    state: State,
    /// The record is too long, and what has been seen of it is gone from the buffer.
    passed_over: bool,
    /// The last record ended with CR: an LF that comes next belongs to it.
    after_cr: bool,
    /// Set once a quote turned out never to be closed: what comes was inside of it.
    recovered: bool,
    row: u64,
    at_end: bool,
}

/// Where a field stands in its record, and how to read it.
#[derive(Debug, Clone, Copy)]
struct Field {
    start: usize,
    end: usize,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it stands.
    Bare,
    /// In quotes, with none inside.
    Quoted,
    /// In quotes, with doubled ones inside.
    Doubled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    FieldStart,
    Bare,
    Quoted {
        doubled: bool,
    },
    /// Behind a quote that closes the field, or is the first of two.
    QuoteSeen {
        doubled: bool,
    },
}

/// What came next.
#[derive(Debug)]
pub(super) enum Record<'a> {
    /// A record with its fields.
    Row(Row<'a>),
    /// One that is longer than the limit.
    TooLong {
        /// Its row.
        row: u64,
    },
    /// One with a quote that nothing closes. Reading goes on with the next line.
    Unclosed {
        /// Its row.
        row: u64,
    },
}

impl Record<'_> {
    /// Its row.
    pub fn row(&self) -> u64 {
        match self {
            Record::Row(row) => row.number,
            Record::TooLong { row } | Record::Unclosed { row } => *row,
        }
    }
}

/// A record and its fields, as bytes.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// As a spreadsheet numbers it, from 1.
    pub number: u64,
    /// It stood behind a quote that nothing closes, so it may be the middle of a long text.
    pub recovered: bool,
    /// Nothing but the end of the input ended it.
    pub at_end: bool,
    bytes: &'a [u8],
    fields: &'a [Field],
}

impl<R: Read> Records<R> {
    /// Records of up to `limit` bytes, divided by `delimiter`. Holds no more than that and a chunk in memory.
    pub fn new(input: R, delimiter: u8, limit: usize) -> Records<R> {
        Records {
            input,
            delimiter,
            limit,
            buffer: Vec::new(),
            filled: 0,
            start: 0,
            at: 0,
            field: 0,
            fields: Vec::new(),
            state: State::FieldStart,
            passed_over: false,
            after_cr: false,
            recovered: false,
            row: 0,
            at_end: false,
        }
    }

    /// The next record that is not a blank line; `None` after the last.
    pub fn next(&mut self) -> io::Result<Option<Record<'_>>> {
        if !self.pass_blank_lines()? {
            return Ok(None);
        }
        self.row += 1;
        let row = self.row;
        let mut at_end = false;
        while !self.scan() {
            if !self.refill()? {
                at_end = true;
                if matches!(self.state, State::Quoted { .. }) && !self.is_too_long() {
                    self.go_back_to_next_line();
                    return Ok(Some(Record::Unclosed { row }));
                }
                self.end_field(self.at);
                break;
            }
        }
        let (start, end) = (self.start, self.at);
        let too_long = self.is_too_long();
        self.pass_line_end();
        if too_long {
            return Ok(Some(Record::TooLong { row }));
        }
        let bytes = &self.buffer[start..end];
        Ok(Some(Record::Row(Row { number: row, recovered: self.recovered, at_end, bytes, fields: &self.fields })))
    }

    /// Looks on through the buffer. True: the record ends at `at`, where its line end stands. False: more is needed.
    fn scan(&mut self) -> bool {
        while self.at < self.filled {
            let rest = &self.buffer[self.at..self.filled];
            match self.state {
                State::FieldStart if rest[0] == b'"' => {
                    self.at += 1;
                    self.state = State::Quoted { doubled: false };
                }
                State::FieldStart => self.state = State::Bare,
                State::Bare => {
                    let Some(found) = memchr3(self.delimiter, b'\n', b'\r', rest) else {
                        self.at = self.filled;
                        return false;
                    };
                    let is_delimiter = rest[found] == self.delimiter;
                    self.at += found;
                    self.end_field(self.at);
                    if !is_delimiter {
                        return true;
                    }
                    self.begin_field();
                }
                State::Quoted { doubled } => match memchr(b'"', rest) {
                    Some(found) => {
                        self.at += found + 1;
                        self.state = State::QuoteSeen { doubled };
                    }
                    None => self.at = self.filled,
                },
                State::QuoteSeen { .. } => match rest[0] {
                    b'"' => {
                        self.at += 1;
                        self.state = State::Quoted { doubled: true };
                    }
                    b'\n' | b'\r' => {
                        self.end_field(self.at);
                        return true;
                    }
                    byte if byte == self.delimiter => {
                        self.end_field(self.at);
                        self.begin_field();
                    }
                    _ => self.state = State::Bare,
                },
            }
        }
        false
    }

    fn begin_field(&mut self) {
        self.at += 1;
        self.field = self.at;
        self.state = State::FieldStart;
    }

    fn end_field(&mut self, end: usize) {
        if self.passed_over || self.fields.len() == FIELDS {
            return;
        }
        let (start, end) = (self.field - self.start, end - self.start);
        self.fields.push(match self.state {
            State::QuoteSeen { doubled } => {
                let form = if doubled { Form::Doubled } else { Form::Quoted };
                Field { start: start + 1, end: end - 1, form }
            }
            _ => Field { start, end, form: Form::Bare },
        });
    }

    fn is_too_long(&self) -> bool {
        self.passed_over || self.at - self.start > self.limit
    }

    /// Reads on, with the record kept unless it is too long. False at the end of the input.
    fn refill(&mut self) -> io::Result<bool> {
        if self.at_end {
            return Ok(false);
        }
        if self.is_too_long() {
            self.passed_over = true;
            (self.start, self.at, self.field, self.filled) = (0, 0, 0, 0);
        } else if self.start > 0 {
            self.buffer.copy_within(self.start..self.filled, 0);
            self.at -= self.start;
            self.field -= self.start;
            self.filled -= self.start;
            self.start = 0;
        }
        if self.buffer.len() < self.filled + CHUNK {
            self.buffer.resize(self.filled + CHUNK, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Ok(count) => {
                    self.filled += count;
                    self.at_end = count == 0;
                    return Ok(!self.at_end);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Passes over line ends before a record, each of them a row of its own but for the one that ended the last
    /// record. False: nothing comes any more.
    fn pass_blank_lines(&mut self) -> io::Result<bool> {
        self.fields.clear();
        self.state = State::FieldStart;
        self.passed_over = false;
        loop {
            (self.at, self.field) = (self.start, self.start);
            if self.start == self.filled && !self.refill()? {
                return Ok(false);
            }
            let byte = self.buffer[self.start];
            let ends_last = byte == b'\n' && self.after_cr;
            self.after_cr = byte == b'\r';
            match byte {
                b'\n' if ends_last => {}
                b'\n' | b'\r' => self.row += 1,
                _ => return Ok(true),
            }
            self.start += 1;
        }
    }

    /// Steps behind the line end at `at`; of CRLF behind the first half, as the other may not have been read.
    fn pass_line_end(&mut self) {
        self.after_cr = self.buffer[..self.filled].get(self.at) == Some(&b'\r');
        self.start = (self.at + 1).min(self.filled);
    }

    /// Gives up the record as it stands, and goes on behind the line on which the open field begins. The whole rest of
    /// the input is in the buffer. This happens once at most: the quotes in that rest stand in pairs, as a single one
    /// would have closed the field, and pairs leave no field open.
    fn go_back_to_next_line(&mut self) {
        let line_end = memchr2(b'\n', b'\r', &self.buffer[self.field..self.filled]);
        self.at = line_end.map_or(self.filled, |found| self.field + found);
        self.pass_line_end();
        self.recovered = true;
    }
}

impl<'a> Row<'a> {
    /// How many fields it has; those over 512 are not counted.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// The whole record as it stands in the file, without its line end.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The record as UTF-8.
    pub fn text(&self) -> Option<TextRow<'a>> {
        Some(TextRow { text: std::str::from_utf8(self.bytes).ok()?, fields: self.fields })
    }

    /// A field without its quotes.
    pub fn field(&self, index: usize) -> Option<Cow<'a, [u8]>> {
        let field = self.fields.get(index)?;
        let bytes = self.bytes.get(field.start..field.end)?;
        Some(match field.form {
            Form::Doubled => Cow::Owned(undoubled(bytes)),
            Form::Bare | Form::Quoted => Cow::Borrowed(bytes),
        })
    }
}

/// A record and its fields, as text.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextRow<'a> {
    text: &'a str,
    fields: &'a [Field],
}

impl<'a> TextRow<'a> {
    /// The whole record as it stands in the file.
    pub fn whole(&self) -> &'a str {
        self.text
    }

    /// A field without its quotes.
    pub fn field(&self, index: usize) -> Option<Cow<'a, str>> {
        let field = self.fields.get(index)?;
        let text = self.text.get(field.start..field.end)?;
        Some(match field.form {
            Form::Doubled => Cow::Owned(text.replace("\"\"", "\"")),
            Form::Bare | Form::Quoted => Cow::Borrowed(text),
        })
    }

    /// All fields.
    pub fn fields(self) -> impl Iterator<Item = Cow<'a, str>> {
        (0..self.fields.len()).filter_map(move |index| self.field(index))
    }
}

/// `bytes` with each pair of quotes made one.
fn undoubled(bytes: &[u8]) -> Vec<u8> {
    let mut single = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(found) = memchr(b'"', rest) {
        single.extend_from_slice(&rest[..=found]);
        rest = rest.get(found + 2..).unwrap_or_default();
    }
    single.extend_from_slice(rest);
    single
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a reader says, with each record as one line.
    fn read(input: &[u8], limit: usize, chunk: usize) -> Vec<String> {
        let mut records = Records::new(Slow { input, chunk }, b',', limit);
        let mut seen = Vec::new();
        while let Some(record) = records.next().unwrap() {
            seen.push(match record {
                Record::Row(row) => {
                    let fields: Vec<_> =
                        (0..row.len()).map(|i| String::from_utf8_lossy(&row.field(i).unwrap()).into_owned()).collect();
                    let recovered = if row.recovered { "?" } else { "" };
                    format!("{}{recovered} {}", row.number, fields.join("|"))
                }
                Record::TooLong { row } => format!("{row} too long"),
                Record::Unclosed { row } => format!("{row} unclosed"),
            });
        }
        seen
    }

    /// Gives at most `chunk` bytes at a time.
    struct Slow<'a> {
        input: &'a [u8],
        chunk: usize,
    }

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let chunk = self.chunk.min(buffer.len());
            self.input.read(&mut buffer[..chunk])
        }
    }

    fn rows(input: &str) -> Vec<String> {
        read(input.as_bytes(), 1000, usize::MAX)
    }

    #[test]
    fn a_record_ends_with_any_of_the_three_line_ends() {
        let expected = ["1 a|b", "2 c|d", "3 e|f"];
        assert_eq!(rows("a,b\nc,d\ne,f\n"), expected);
        assert_eq!(rows("a,b\r\nc,d\r\ne,f"), expected);
        assert_eq!(rows("a,b\rc,d\re,f\r"), expected);
        assert_eq!(rows("a,b\rc,d\ne,f\r\n"), expected, "even mixed");
    }

    #[test]
    fn a_quoted_field_holds_delimiters_line_ends_and_quotes() {
        assert_eq!(rows("\"a,\r\nb\",\"say \"\"hi\"\"\",\"\"\nc"), ["1 a,\r\nb|say \"hi\"|", "2 c"]);
        assert_eq!(rows("=\"1\",\"=\"\"2\"\"\"\n"), ["1 =\"1\"|=\"2\""]);
    }

    #[test]
    fn a_quote_that_is_part_of_the_text_stays_in_it() {
        assert_eq!(rows("5\" disk,x\n"), ["1 5\" disk|x"]);
        assert_eq!(rows("\"A\" is for Alibi,x\n"), ["1 \"A\" is for Alibi|x"]);
    }

    #[test]
    fn rows_are_numbered_as_in_a_spreadsheet() {
        assert_eq!(rows("\n\r\na\n\n\n\"b\nb\"\n\nc\n\n"), ["3 a", "6 b\nb", "8 c"]);
        assert_eq!(rows(",\n"), ["1 |"]);
        assert!(rows("").is_empty() && rows("\n\r\n\r").is_empty());
    }

    #[test]
    fn a_record_that_is_too_long_is_passed_over_and_counted() {
        let long = format!("a\n{0},{0}\nb\n\"{0}\n{0}\",\"x\"\nc\n{0}", "y".repeat(600));
        let last = format!("6 {}", "y".repeat(600));
        assert_eq!(rows(&long), ["1 a", "2 too long", "3 b", "4 too long", "5 c", &last]);
    }

    #[test]
    fn a_record_that_is_too_long_is_never_held() {
        let line = [b'x'; 1000];
        let mut records = Records::new(io::repeat(b'x').take(50_000_000).chain(&b"\nb"[..]), b',', line.len());
        assert!(matches!(records.next().unwrap(), Some(Record::TooLong { row: 1 })));
        assert!(matches!(records.next().unwrap(), Some(Record::Row(Row { number: 2, .. }))));
        assert!(records.buffer.capacity() <= 4 * CHUNK, "{}", records.buffer.capacity());
    }

    #[test]
    fn a_quote_that_nothing_closes_costs_one_row() {
        assert_eq!(rows("a,b\nc,\"d\ne,f\ng,\"\"\n"), ["1 a|b", "2 unclosed", "3? e|f", "4? g|"]);
        assert_eq!(rows("a,\"b"), ["1 unclosed"]);
        assert_eq!(rows("\"a\nb\",\"c\nd,e\n"), ["1 unclosed", "2? d|e"]);
        let long = format!("a,\"{}\nb,c\n", "x".repeat(1000));
        assert_eq!(rows(&long), ["1 too long"], "what is not held can't be read again");
    }

    #[test]
    fn a_record_has_as_many_fields_as_any_export_and_no_more() {
        let wide = ",".repeat(100_000);
        let mut records = Records::new(wide.as_bytes(), b',', 1 << 20);
        let Some(Record::Row(row)) = records.next().unwrap() else { panic!() };
        assert_eq!(row.len(), FIELDS);
    }

    /// Text with much of what matters to a reader.
    fn wild() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(b"ab,,\"\"\"\n\r\xff\0 ".to_vec()), 0..200)
    }

    proptest! {
        #[test]
        fn what_is_read_does_not_depend_on_the_size_of_reads(input in wild(), chunk in 1usize..9, limit in 1usize..60) {
            prop_assert_eq!(read(&input, limit, chunk), read(&input, limit, usize::MAX));
        }

        #[test]
        fn rows_only_rise_and_at_most_one_is_left_open(input in wild(), delimiter in prop::sample::select(b",;\t".to_vec())) {
            let mut records = Records::new(&input[..], delimiter, 50);
            let (mut last, mut open) = (0, 0);
            while let Some(record) = records.next().unwrap() {
                let row = match record {
                    Record::Row(row) => row.number,
                    Record::TooLong { row } => row,
                    Record::Unclosed { row } => {
                        open += 1;
                        row
                    }
                };
                prop_assert!(row > last && open < 2);
                last = row;
            }
        }

        #[test]
        fn it_agrees_with_the_usual_reader_on_what_the_usual_writer_writes(
            table in prop::collection::vec(prop::collection::vec("[a-c,\"\n\r ;é]{0,6}", 1..5), 0..8),
            crlf: bool,
        ) {
            let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
            let mut writer = csv::WriterBuilder::new().flexible(true).terminator(terminator).from_writer(Vec::new());
            for record in &table {
                writer.write_record(record).unwrap();
            }
            let bytes = writer.into_inner().unwrap();
            let mut records = Records::new(&bytes[..], b',', 1000);
            let mut read = Vec::new();
            while let Some(record) = records.next().unwrap() {
                let Record::Row(row) = record else { return Err(TestCaseError::fail("not a row")) };
                read.push(row.text().unwrap().fields().map(Cow::into_owned).collect::<Vec<_>>());
            }
            prop_assert_eq!(read, table);
        }
    }
}
