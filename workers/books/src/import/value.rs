//! What stands in a cell: dates, numbers, languages, states. What can't be read is as if it were not there.

use std::borrow::Cow;

use crate::book::Status;

/// Text on one line: each run of spaces, line ends and control characters is one space, and quotes or the guard against
/// spreadsheets (`="…"`) around the whole are gone.
pub(super) fn tidy(text: &str) -> Cow<'_, str> {
    let text = unwrapped(text.trim_matches(is_space));
    let mut last_is_space = false;
    let is_tidy = text.chars().all(|character| {
        let is_double = last_is_space && character == ' ';
        last_is_space = character == ' ';
        last_is_space && !is_double || !is_space(character)
    });
    if is_tidy {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
}

fn is_space(character: char) -> bool {
    // U+FEFF: a byte order mark that was pasted into the middle of a file.
    character.is_whitespace() || character.is_control() || character == '\u{feff}'
}

fn unwrapped(text: &str) -> &str {
    let inner = text.strip_prefix('=').unwrap_or(text).strip_prefix('"').and_then(|inner| inner.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.contains('"') => inner.trim_matches(is_space),
        _ => text,
    }
}

/// `The Final Empire (Mistborn, #1)`: title, series and place in it. Of several series (`(A, #1; B, #3)`) the first.
pub(super) fn split_series(title: &str) -> Option<(&str, &str, &str)> {
    let (name, series) = title.strip_suffix(')')?.rsplit_once(" (")?;
    let first = series.split(';').next()?;
    let (series, position) = first.rsplit_once('#')?;
    let (name, series, position) = (name.trim(), series.trim_matches([' ', ',']), position.trim());
    let is_position = position.starts_with(|first: char| first.is_ascii_digit())
        && position.chars().all(|character| character.is_ascii_digit() || ".-–".contains(character));
    (!name.is_empty() && !series.is_empty() && is_position).then_some((name, series, position))
}

/// A date with the year first, in ISO 8601: `2024-05-31`, `2024-05` or `2024`. Whether `03/04/2024` is in March or in
/// April nobody can know.
pub(super) fn date(text: &str) -> Option<String> {
    let text = text.trim_matches(|character: char| !character.is_ascii_digit());
    let date = text.split(['T', ' ', ',']).next()?;
    let mut parts = date.split(['-', '/', '.']);
    let mut next = |length: std::ops::RangeInclusive<usize>| match parts.next() {
        Some(part) if length.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit()) => {
            part.parse::<u32>().ok().map(Some)
        }
        Some(_) => None,
        None => Some(None),
    };
    let (year, month, day) = (next(4..=4)??, next(1..=2)?, next(1..=2)?);
    match (month, day) {
        (None, _) => Some(format!("{year:04}")),
        (Some(month @ 1..=12), None) => Some(format!("{year:04}-{month:02}")),
        (Some(month @ 1..=12), Some(day @ 1..=31)) => Some(format!("{year:04}-{month:02}-{day:02}")),
        _ => None,
    }
}

/// A year, alone or in a date.
pub(super) fn year(text: &str) -> Option<i32> {
    let text = text.trim();
    if let Ok(year) = text.strip_suffix(".0").unwrap_or(text).parse::<i32>() {
        return (year != 0 && (-5000..=2999).contains(&year)).then_some(year);
    }
    let runs = text.split(|character: char| !character.is_ascii_digit());
    runs.filter(|run| run.len() == 4).find_map(|run| run.parse().ok()).filter(|year| (1000..=2999).contains(year))
}

/// A number of pages: `864`, `590 p.`
pub(super) fn pages(text: &str) -> Option<u32> {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok().filter(|pages| (1..=99_999).contains(pages))
}

/// Stars, above 0 (which says none) and up to 5.
pub(super) fn rating(text: &str) -> Option<f64> {
    let text = text.trim();
    let rating: f64 = if text.contains(',') { text.replace(',', ".").parse().ok()? } else { text.parse().ok()? };
    (rating > 0.0 && rating <= 5.0).then_some(rating)
}

/// A shelf that says how far its books are read.
pub(super) fn status(shelf: &str) -> Option<Status> {
    let word: String =
        shelf.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    Some(match word.as_str() {
        "toread" | "wanttoread" | "tbr" | "unread" | "notstarted" => Status::ToRead,
        "currentlyreading" | "reading" | "inprogress" | "started" => Status::Reading,
        "paused" | "onhold" => Status::Paused,
        "read" | "finished" | "completed" | "alreadyread" | "readbutunowned" => Status::Read,
        "didnotfinish" | "dnf" | "abandoned" | "unfinished" | "gaveup" => Status::DidNotFinish,
        _ => return None,
    })
}

/// A language by its English name, its own name or its code; of several the first. A code that is not in the list is
/// kept, a name that is not is left out.
pub(super) fn language(text: &str) -> Option<String> {
    let first = text.split([',', ';', '|', '(', '/']).next()?.trim().to_lowercase();
    let known = LANGUAGES.iter().find(|names| names.contains(&first.as_str()));
    match known {
        Some([code, ..]) => Some((*code).to_owned()),
        _ => {
            let code = first.split(['-', '_']).next()?;
            let is_code = (2..=3).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase());
            let code = is_code.then_some(code)?;
            // `en-GB` and `eng_US` are `en`.
            let known = LANGUAGES.iter().find(|names| names.contains(&code));
            Some(known.and_then(|names| names.first()).unwrap_or(&code).to_string())
        }
    }
}

/// The code of ISO 639-1, then the codes of 639-2 and the names.
const LANGUAGES: [&[&str]; 40] = [
    &["ar", "ara", "arabic", "العربية"],
    &["bg", "bul", "bulgarian", "български"],
    &["bn", "ben", "bengali", "বাংলা"],
    &["ca", "cat", "catalan", "català"],
    &["cs", "cze", "ces", "czech", "čeština"],
    &["cy", "wel", "cym", "welsh", "cymraeg"],
    &["da", "dan", "danish", "dansk"],
    &["de", "ger", "deu", "german", "deutsch"],
    &["el", "gre", "ell", "greek", "ελληνικά"],
    &["en", "eng", "english"],
    &["es", "spa", "spanish", "español", "castellano"],
    &["et", "est", "estonian", "eesti"],
    &["eu", "baq", "eus", "basque", "euskara"],
    &["fa", "per", "fas", "persian", "farsi", "فارسی"],
    &["fi", "fin", "finnish", "suomi"],
    &["fr", "fre", "fra", "french", "français", "francais"],
    &["ga", "gle", "irish", "gaeilge"],
    &["gl", "glg", "galician", "galego"],
    &["grc", "ancient greek"],
    &["he", "heb", "hebrew", "עברית"],
    &["hi", "hin", "hindi", "हिन्दी"],
    &["hr", "hrv", "croatian", "hrvatski"],
    &["hu", "hun", "hungarian", "magyar"],
    &["id", "ind", "indonesian", "bahasa indonesia"],
    &["is", "ice", "isl", "icelandic", "íslenska"],
    &["it", "ita", "italian", "italiano"],
    &["ja", "jpn", "japanese", "日本語"],
    &["ko", "kor", "korean", "한국어"],
    &["la", "lat", "latin"],
    &["nl", "dut", "nld", "dutch", "nederlands", "flemish"],
    &["no", "nor", "nob", "norwegian", "norsk", "bokmål"],
    &["pl", "pol", "polish", "polski"],
    &["pt", "por", "portuguese", "português"],
    &["ro", "rum", "ron", "romanian", "română"],
    &["ru", "rus", "russian", "русский"],
    &["sv", "swe", "swedish", "svenska"],
    &["tr", "tur", "turkish", "türkçe"],
    &["uk", "ukr", "ukrainian", "українська"],
    &["vi", "vie", "vietnamese", "tiếng việt"],
    &["zh", "chi", "zho", "chinese", "中文"],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_made_one_tidy_line() {
        assert_eq!(tidy("  J.K.  Rowling\n"), "J.K. Rowling");
        assert_eq!(tidy("a\r\n\tb\u{0}c\u{feff}"), "a b c");
        assert_eq!(tidy("\u{a0}Dune "), "Dune");
        assert_eq!(tidy("=\"Dune\""), "Dune");
        assert_eq!(tidy("\"Dune\""), "Dune");
        assert_eq!(tidy("\"A\" and \"B\""), "\"A\" and \"B\"");
        assert_eq!(tidy("\""), "\"");
        assert!(matches!(tidy("a b c"), Cow::Borrowed(_)), "what is tidy is not copied");
        assert_eq!(tidy(""), "");
    }

    #[test]
    fn a_series_is_taken_off_the_title_only_where_it_has_a_number() {
        assert_eq!(split_series("The Final Empire (Mistborn, #1)"), Some(("The Final Empire", "Mistborn", "1")));
        assert_eq!(
            split_series("Gideon the Ninth (The Locked Tomb #1)"),
            Some(("Gideon the Ninth", "The Locked Tomb", "1"))
        );
        assert_eq!(split_series("X (A, #0.5; B, #3)"), Some(("X", "A", "0.5")));
        assert_eq!(split_series("X (A, #1-3)"), Some(("X", "A", "1-3")));
        for title in ["X", "X (A)", "X (#1)", "(A, #1)", "X (A, #)", "X (A, #one)", "#1 (A", ")"] {
            assert_eq!(split_series(title), None, "{title}");
        }
    }

    #[test]
    fn a_date_has_its_year_first_or_is_left_out() {
        for (text, expected) in [
            ("2023/01/13", Some("2023-01-13")),
            ("[2007-04-16]", Some("2007-04-16")),
            ("2023-1-3", Some("2023-01-03")),
            ("2023/01/13 08:00", Some("2023-01-13")),
            ("2023-01-13T08:00:00Z", Some("2023-01-13")),
            ("2023-05", Some("2023-05")),
            ("2023", Some("2023")),
            ("03/04/2024", None),
            ("2024/13/01", None),
            ("2024/00/01", None),
            ("2024/01/32", None),
            ("", None),
            ("soon", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(date(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn numbers_are_read_as_people_write_them() {
        assert_eq!(year("2003"), Some(2003));
        assert_eq!(year("-750"), Some(-750));
        assert_eq!(year("May 5, 1998"), Some(1998));
        assert_eq!(year("2003.0"), Some(2003));
        assert_eq!((year("0"), year("n/a"), year("99999")), (None, None, None));
        assert_eq!(
            (pages("864 "), pages("590 p.; 24 cm"), pages("0"), pages("many")),
            (Some(864), Some(590), None, None)
        );
        assert_eq!(
            (rating("4.5"), rating("4,25"), rating("0"), rating("6"), rating("NaN")),
            (Some(4.5), Some(4.25), None, None, None)
        );
    }

    #[test]
    fn a_status_is_known_however_it_is_written() {
        assert_eq!(status("currently-reading"), Some(Status::Reading));
        assert_eq!(status(" To read"), Some(Status::ToRead));
        assert_eq!(status("Read but unowned"), Some(Status::Read));
        assert_eq!(status("did-not-finish"), Some(Status::DidNotFinish));
        assert_eq!((status("favorites"), status("")), (None, None));
    }

    #[test]
    fn a_language_is_its_shortest_code() {
        for (text, expected) in [
            ("English", Some("en")),
            ("deutsch", Some("de")),
            ("French, English", Some("fr")),
            ("eng", Some("en")),
            ("en-GB", Some("en")),
            ("eng_US", Some("en")),
            ("日本語", Some("ja")),
            ("tlh", Some("tlh")),
            ("Klingon", None),
            ("", None),
        ] {
            assert_eq!(language(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn each_language_has_one_entry() {
        let mut seen: Vec<&str> = LANGUAGES.concat();
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }
}
