//! Tables that were never a reader's: for tests and measurements.

use std::io::{self, Write};

/// The columns of a Goodreads export, in its order.
pub const GOODREADS_HEADER: &str = "Book Id,Title,Author,Author l-f,Additional Authors,ISBN,ISBN13,My Rating,Average Rating,\
    Publisher,Binding,Number of Pages,Year Published,Original Publication Year,Date Read,Date Added,Bookshelves,\
    Bookshelves with positions,Exclusive Shelf,My Review,Spoiler,Private Notes,Read Count,Owned Copies";

const NOUNS: [&str; 16] = [
    "River", "Winter", "Lantern", "Orchard", "Café", "Harbour", "Machine", "Silence", "Garden", "Mirror", "Compass",
    "Letter", "Island", "Señora", "Engine", "Shadow",
];
const NAMES: [&str; 12] =
    ["Ada", "Bruno", "Chiara", "Dmitri", "Édith", "Femi", "Grace", "Haruki", "Inés", "Jonas", "Kofi", "Lena"];
const SHELVES: [&str; 4] = ["read", "to-read", "currently-reading", "reference"];

/// Writes a Goodreads export of `rows` books, the same each time; each has a valid ISBN, one in eight a long review
/// with quotes, commas and line ends. A row has about 450 bytes.
pub fn write_goodreads(rows: u64, mut output: impl Write) -> io::Result<()> {
    writeln!(output, "{GOODREADS_HEADER}")?;
    let mut random = Random(1);
    for id in 0..rows {
        let (isbn10, isbn13) = isbns(id % 1_000_000_000);
        let title = format!("The {} of the {}", random.one_of(&NOUNS), random.one_of(&NOUNS));
        let series = format!("The {} Books, #{}", random.one_of(&NOUNS), 1 + random.below(9));
        let (given, family) = (random.one_of(&NAMES), random.one_of(&NOUNS));
        let other = format!("{} {}", random.one_of(&NAMES), random.one_of(&NOUNS));
        let (year, pages, rating) = (1950 + random.below(75), 90 + random.below(900), random.below(6));
        let (month, day) = (1 + random.below(12), 1 + random.below(28));
        let shelf = random.one_of(&SHELVES);
        let review = match random.below(8) {
            0 => {
                "\"\"What a book\"\", she said, and so it is.\n<br/>It went on, and on, well past midnight. ".repeat(20)
            }
            _ => "Liked it, mostly.".to_owned(),
        };
        writeln!(
            output,
            "{id},\"{title} ({series})\",{given}  {family},\"{family}, {given}\",\"{other}\",\"=\"\"{isbn10}\"\"\",\"=\"\"{isbn13}\"\"\",\
             {rating},3.{pages},{family} Press,Paperback,{pages},{year},{year},2024/{month:02}/{day:02},2023/{month:02}/{day:02},\
             \"{shelf}, favourites\",\"{shelf} (#{id}), favourites (#{id})\",{shelf},\"{review}\",,,1,0"
        )?;
    }
    Ok(())
}

/// The ISBN-10 and ISBN-13 of nine digits.
fn isbns(number: u64) -> (String, String) {
    let nine = format!("{number:09}");
    let sum: u64 = (2..=10).rev().zip(nine.bytes()).map(|(weight, digit)| weight * u64::from(digit - b'0')).sum();
    let check_10 = match (11 - sum % 11) % 11 {
        10 => "X".to_owned(),
        digit => digit.to_string(),
    };
    let twelve = format!("978{nine}");
    let sum: u64 =
        twelve.bytes().zip([1, 3].into_iter().cycle()).map(|(digit, weight)| weight * u64::from(digit - b'0')).sum();
    (format!("{nine}{check_10}"), format!("{twelve}{}", (10 - sum % 10) % 10))
}

/// A linear congruential generator (Knuth's MMIX), which needs no crate and is the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len() as u64) as usize]
    }
}
