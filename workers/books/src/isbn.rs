//! International Standard Book Numbers (ISO 2108), as people and spreadsheets write them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A valid ISBN in its 13-digit form.
///
/// ISBN-10 and the 9-digit SBN before it are converted: each has exactly one ISBN-13.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Isbn([u8; 13]);

/// Why a text is no ISBN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum IsbnError {
    /// It has other characters, or another length, than an ISBN: an ASIN, say, or a shelf mark.
    #[error("it does not have 10 or 13 digits")]
    Shape,
    /// One digit is wrong, or two were swapped.
    #[error("its check digit is wrong")]
    Checksum,
    /// It has 13 digits and is no book's: those begin with 978, or with 979 and not 9790, which is sheet music.
    #[error("a book's 13 digits begin with 978 or 979")]
    Prefix,
    /// A spreadsheet took it for a number and rounded it (`9.78044E+12`), so that the digits are gone.
    #[error("a spreadsheet has rounded it; format that column as text before exporting")]
    Rounded,
}

impl Isbn {
    /// Reads an ISBN-10, ISBN-13 or SBN with hyphens, spaces, brackets, a label (`ISBN-13: …`), the guard that keeps
    /// Excel from rounding it (`="0439708184"`), or the `.0` of a tool that took it for a number. `Ok(None)`: the text
    /// is empty but for those.
    pub fn parse(text: &str) -> Result<Option<Isbn>, IsbnError> {
        let text = unlabelled(text);
        let (digits, count) = match digits(text) {
            Some(found) => found,
            None if is_rounded(text) => return Err(IsbnError::Rounded),
            None => return Err(IsbnError::Shape),
        };
        match count {
            0 => Ok(None),
            13 => Isbn::from_13(digits).map(Some),
            10 => Isbn::from_10(digits[..10].try_into().map_err(|_| IsbnError::Shape)?).map(Some),
            // An SBN, or an ISBN-10 whose leading zero a spreadsheet has dropped. Both want a zero in front.
            9 => {
                let mut ten = [b'0'; 10];
                ten[1..].copy_from_slice(&digits[..9]);
                Isbn::from_10(ten).map(Some)
            }
            _ => Err(IsbnError::Shape),
        }
    }

    /// The 13 digits.
    pub fn as_str(&self) -> &str {
        // Only ASCII digits were put in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    fn from_13(digits: [u8; 13]) -> Result<Isbn, IsbnError> {
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(IsbnError::Shape);
        }
        if !(digits.starts_with(b"978") || digits.starts_with(b"979") && digits[3] != b'0') {
            return Err(IsbnError::Prefix);
        }
        if check_13(&digits) != digits[12] {
            return Err(IsbnError::Checksum);
        }
        Ok(Isbn(digits))
    }

    fn from_10(digits: [u8; 10]) -> Result<Isbn, IsbnError> {
        if !digits[..9].iter().all(u8::is_ascii_digit) {
            return Err(IsbnError::Shape);
        }
        // Weights 10 to 1; `X` is the check digit 10.
        let sum: u32 = (1..=10).rev().zip(digits).map(|(weight, digit)| weight * value(digit)).sum();
        if !sum.is_multiple_of(11) {
            return Err(IsbnError::Checksum);
        }
        let mut thirteen = *b"9780000000000";
        thirteen[3..12].copy_from_slice(&digits[..9]);
        thirteen[12] = check_13(&thirteen);
        Ok(Isbn(thirteen))
    }
}

impl fmt::Display for Isbn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Isbn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Isbn({self})")
    }
}

/// The digits of `text` and how many there are; `None` if it holds anything that an ISBN does not.
fn digits(text: &str) -> Option<([u8; 13], usize)> {
    let mut found = [0; 13];
    let mut count = 0;
    let text = text.strip_suffix(".0").unwrap_or(text);
    for character in text.chars() {
        let digit = match character {
            '0'..='9' => character as u8,
            'x' | 'X' if count == 9 || count == 8 => b'X',
            '-' | '\u{ad}' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '=' | '"' | '\'' | '[' | ']' => continue,
            space if space.is_whitespace() => continue,
            _ => return None,
        };
        *found.get_mut(count)? = digit;
        count += 1;
    }
    Some((found, count))
}

/// `text` without the word ISBN in front, and what stands between it and a colon.
fn unlabelled(text: &str) -> &str {
    let text = text.trim();
    match text.get(..4) {
        Some(label) if label.eq_ignore_ascii_case("isbn") => {
            let rest = &text[4..];
            rest.split_once(':').map_or(rest, |(_, number)| number).trim()
        }
        _ => text,
    }
}

/// Whether it looks like `9.78044E+12`, or `9,78044E+12` where a comma is the decimal sign.
fn is_rounded(text: &str) -> bool {
    let text = text.trim_matches(['=', '"', ' ']);
    let Some((mantissa, exponent)) = text.split_once(['E', 'e']) else { return false };
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || b".,+".contains(&byte));
    mantissa.starts_with(|first: char| first.is_ascii_digit()) && is_number(mantissa) && is_number(exponent)
}

/// The check digit for the first twelve: weights 1 and 3 in turn.
fn check_13(digits: &[u8; 13]) -> u8 {
    let sum: u32 =
        digits[..12].iter().zip([1, 3].into_iter().cycle()).map(|(digit, weight)| weight * value(*digit)).sum();
    b'0' + ((10 - sum % 10) % 10) as u8
}

fn value(digit: u8) -> u32 {
    if digit == b'X' { 10 } else { u32::from(digit.saturating_sub(b'0')) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<String, IsbnError> {
        Isbn::parse(text).map(|isbn| isbn.map(|isbn| isbn.to_string()).unwrap_or_default())
    }

    #[test]
    fn one_book_is_one_number_however_it_is_written() {
        for text in [
            "9780439708180",
            " 978-0-439-70818-0 ",
            "978 0 439 70818 0",
            "978\u{2011}0\u{2013}439\u{2212}70818\u{a0}0",
            "0439708184",
            "0-439-70818-4",
            "439708184", // the leading zero was dropped
            "=\"9780439708180\"",
            "=\"0439708184\"",
            "\"=\"\"0439708184\"\"\"",
            "[0439708184]",
            "ISBN 0439708184",
            "ISBN-13: 978-0-439-70818-0",
            "isbn: 0439708184",
            "9780439708180.0",
            "'9780439708180",
        ] {
            assert_eq!(parsed(text).as_deref(), Ok("9780439708180"), "{text}");
        }
    }

    #[test]
    fn an_x_is_the_check_digit_ten() {
        assert_eq!(parsed("080442957X").as_deref(), Ok("9780804429573"));
        assert_eq!(parsed("0-8044-2957-x").as_deref(), Ok("9780804429573"));
        assert_eq!(parsed("X804429570"), Err(IsbnError::Shape));
        assert_eq!(parsed("978080442957X"), Err(IsbnError::Shape));
    }

    #[test]
    fn an_empty_guard_is_no_number_and_no_error() {
        for text in ["", "  ", "=\"\"", "[]", "\"=\"\"\"\"\"", "-"] {
            assert_eq!(Isbn::parse(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn each_way_to_be_wrong_has_its_reason() {
        assert_eq!(parsed("9780439708181"), Err(IsbnError::Checksum));
        assert_eq!(parsed("0439708185"), Err(IsbnError::Checksum));
        assert_eq!(parsed("4006381333931"), Err(IsbnError::Prefix), "a pencil");
        assert_eq!(parsed("9790060115615"), Err(IsbnError::Prefix), "sheet music");
        assert_eq!(parsed("9.78044E+12"), Err(IsbnError::Rounded));
        assert_eq!(parsed("9,78044E+12"), Err(IsbnError::Rounded));
        for text in
            ["B00ICN066A", "12345", "97804397081800", "a6f0c0de-0000-4000-8000-000000000000", "none", "ISBN: n/a"]
        {
            assert_eq!(parsed(text), Err(IsbnError::Shape), "{text}");
        }
    }

    #[test]
    fn numbers_of_979_are_books_but_for_music() {
        assert_eq!(parsed("9791090636071").as_deref(), Ok("9791090636071"));
    }

    proptest! {
        #[test]
        fn any_wrong_digit_is_noticed(place in 0usize..13, digit in b'0'..=b'9') {
            let mut text = *b"9780439708180";
            prop_assume!(text[place] != digit);
            text[place] = digit;
            prop_assert!(parsed(std::str::from_utf8(&text).unwrap()).is_err());
        }

        #[test]
        fn what_is_read_reads_the_same_again(text in "[0-9xX\\- ]{9,17}") {
            if let Ok(Some(isbn)) = Isbn::parse(&text) {
                prop_assert_eq!(Isbn::parse(isbn.as_str()), Ok(Some(isbn)));
            }
        }

        #[test]
        fn any_text_is_answered(text in ".*") {
            let _ = Isbn::parse(&text);
        }
    }
}
