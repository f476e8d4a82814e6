//! How alike two spellings of a book are: of a title as somebody typed it, or of a spine as it was read.

/// What a title must reach to be taken for the one that was asked for.
pub const SAME_TITLE: f64 = 0.75;

/// How much of a title must stand on a spine for it to be that book.
const TITLE_ON_SPINE: f64 = 0.8;

/// How much of what a spine says must be the book's title or authors. The rest is its publisher, and noise.
const SPINE_EXPLAINED: f64 = 0.6;

/// The most words that are compared; a title of 500 characters has fewer than twice as many.
const MOST_WORDS: usize = 64;

/// The words of `text` as they are compared: in lower case, without accents and apostrophes, split at all that is no
/// letter or digit.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars().filter(|c| !matches!(c, '\'' | '’' | '‘' | '`')).chain([' ']) {
        if c.is_alphanumeric() || is_accent(c) {
            c.to_lowercase().for_each(|c| push_plain(&mut word, c));
        } else if !word.is_empty() {
            words.push(std::mem::take(&mut word));
            if words.len() == MOST_WORDS {
                break;
            }
        }
    }
    words
}

/// How alike two titles are, from 0 to 1. A subtitle that only one of them has does not count against it.
pub fn titles(a: &str, b: &str) -> f64 {
    let (full_a, full_b) = (words(a), words(b));
    let (main_a, main_b) = (words(main_title(a)), words(main_title(b)));
    // Never both without: two books of a series have the same main title.
    shared(&full_a, &full_b).max(shared(&full_a, &main_b)).max(shared(&main_a, &full_b))
}

/// Whether one of `authors` is the one that was asked for: whether their last names are the same. Initials, order and
/// "Jr." differ too often to be compared.
pub fn same_author(asked: &str, authors: &[String]) -> bool {
    let asked = words(asked);
    authors.iter().any(|author| {
        let author = words(author);
        let name = author.iter().rev().find(|word| !is_suffix(word));
        name.is_some_and(|name| asked.iter().any(|word| alike(word, name)))
    })
}

/// Whether a word stands behind a name and is none.
pub fn is_suffix(word: &str) -> bool {
    matches!(word, "jr" | "sr" | "ii" | "iii")
}

/// How well a book explains what was read on a spine, from 0 to 1; none where the book is not the one on the spine.
pub fn spine(read: &[String], title: &str, authors: &[String]) -> Option<f64> {
    let on_spine = |title: &[String]| covered(title, read);
    let full = words(title);
    let main = words(main_title(title));
    let title_share = on_spine(&full).max(on_spine(&main));
    let explained: Vec<String> = full.into_iter().chain(authors.iter().flat_map(|author| words(author))).collect();
    let spine_share = covered(read, &explained);
    (title_share >= TITLE_ON_SPINE && spine_share >= SPINE_EXPLAINED).then_some((title_share + spine_share) / 2.0)
}

/// The part of a title before its subtitle, or the whole.
pub fn main_title(title: &str) -> &str {
    let end = title.find([':', ';', '(', '/']).unwrap_or(title.len());
    let main = title[..end].trim();
    if main.is_empty() { title } else { main }
}

/// Twice what both have, over all that they have (the coefficient of Dice), each word by its weight.
fn shared(a: &[String], b: &[String]) -> f64 {
    let all = weight(a) + weight(b);
    if all == 0.0 { 0.0 } else { (covered(a, b) * weight(a) + covered(b, a) * weight(b)) / all }
}

/// Which share of `words`, by weight, is found among `others`; each of `others` counts once.
fn covered(words: &[String], others: &[String]) -> f64 {
    let all = weight(words);
    if all == 0.0 {
        return 0.0;
    }
    let mut free: Vec<&String> = others.iter().collect();
    let mut found = 0.0;
    for word in words {
        if let Some(place) = free.iter().position(|other| alike(word, other)) {
            free.swap_remove(place);
            found += word_weight(word);
        }
    }
    found / all
}

fn weight(words: &[String]) -> f64 {
    words.iter().map(|word| word_weight(word)).sum()
}

/// What a word says about a title: its letters, but little where nearly each title has it.
fn word_weight(word: &str) -> f64 {
    match word {
        "a" | "an" | "and" | "by" | "de" | "der" | "die" | "das" | "el" | "in" | "la" | "le" | "of" | "the" => 0.5,
        _ => word.chars().count() as f64,
    }
}

/// Whether two words are the same but for what a misprint or a bad photo changes: nothing in short words, one letter
/// from four on, two from eight on.
fn alike(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let most = match a.len().min(b.len()) {
        0..4 => 0,
        4..8 => 1,
        _ => 2,
    };
    a.len().abs_diff(b.len()) <= most && distance(&a, &b) <= most
}

/// The edit distance of Levenshtein.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Whether it is the accent of the letter before it, as in decomposed text; `İ` too leaves one in lower case.
fn is_accent(c: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&c)
}

/// Appends a lower-case letter without its accent, for the Latin letters of European languages.
fn push_plain(word: &mut String, c: char) {
    let plain = match c {
        'à'..='å' | 'ā' | 'ă' | 'ą' => "a",
        'æ' => "ae",
        'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' => "c",
        'ď' | 'đ' | 'ð' => "d",
        'è'..='ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' => "e",
        'ĝ' | 'ğ' | 'ġ' | 'ģ' => "g",
        'ì'..='ï' | 'ĩ' | 'ī' | 'ĭ' | 'į' | 'ı' => "i",
        'ł' | 'ľ' | 'ĺ' | 'ļ' => "l",
        'ñ' | 'ń' | 'ņ' | 'ň' => "n",
        'ò'..='ö' | 'ø' | 'ō' | 'ŏ' | 'ő' => "o",
        'œ' => "oe",
        'ŕ' | 'ŗ' | 'ř' => "r",
        'ś' | 'ŝ' | 'ş' | 'š' | 'ș' => "s",
        'ß' => "ss",
        'ţ' | 'ť' | 'ț' => "t",
        'ù'..='ü' | 'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' => "u",
        'ý' | 'ÿ' => "y",
        'ź' | 'ż' | 'ž' => "z",
        accent if is_accent(accent) => return,
        other => return word.push(other),
    };
    word.push_str(plain);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn authors(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn words_are_compared_without_case_accents_and_punctuation() {
        assert_eq!(words("L’Étranger — Hitchhiker's Guide, 2nd"), ["letranger", "hitchhikers", "guide", "2nd"]);
        assert_eq!(words("Straße İstanbul e\u{301}te\u{301}"), ["strasse", "istanbul", "ete"]);
        assert_eq!(words("戦争と平和"), ["戦争と平和"]);
        assert!(words(" --- ").is_empty());
    }

    #[test]
    fn a_title_is_the_same_in_another_spelling_with_a_misprint_or_without_its_subtitle() {
        for (asked, found) in [
            ("dune", "Dune"),
            ("Frankenstein", "Frankenstein; or, The Modern Prometheus"),
            ("Frankenstein: The 1818 Text", "Frankenstein"),
            ("Harry Poter and the Sorcerers Stone", "Harry Potter and the Sorcerer's Stone"),
            ("Les Miserables", "Les Misérables"),
        ] {
            assert!(titles(asked, found) >= SAME_TITLE, "{asked} / {found}: {}", titles(asked, found));
        }
    }

    #[test]
    fn another_book_is_not_the_same_because_it_shares_a_word() {
        for (asked, found) in [
            ("Dune", "Dune Messiah"),
            ("The Odyssey", "2001: A Space Odyssey"),
            ("War and Peace", "The Art of War"),
            ("The Sun Also Rises", "The Sea Wolf"),
            ("It", "Of Mice and Men"),
            ("Harry Potter: The Goblet of Fire", "Harry Potter: The Deathly Hallows"),
            ("", "Dune"),
        ] {
            assert!(titles(asked, found) < SAME_TITLE, "{asked} / {found}: {}", titles(asked, found));
        }
    }

    #[test]
    fn an_author_is_known_by_the_last_name_however_the_rest_is_written() {
        let tolkien = authors(&["J. R. R. Tolkien"]);
        assert!(same_author("Tolkien, J.R.R.", &tolkien));
        assert!(same_author("john ronald reuel tolkien", &tolkien));
        assert!(same_author("Kurt Vonnegut", &authors(&["Kurt Vonnegut Jr."])));
        assert!(!same_author("Frank Herbert", &tolkien));
        assert!(!same_author("Frank Herbert", &[]));
    }

    #[test]
    fn a_spine_is_the_book_whose_title_and_author_stand_on_it() {
        let read = words("NEUROMANCER WILLIAM GIBS0N ACE");
        let gibson = authors(&["William Gibson"]);
        assert!(spine(&read, "Neuromancer", &gibson).is_some());
        assert_eq!(spine(&read, "William", &authors(&["Richmal Crompton"])), None);
        assert_eq!(spine(&words("lllI |ii wn"), "Neuromancer", &gibson), None);
        assert_eq!(spine(&[], "Neuromancer", &gibson), None);
        assert!(spine(&words("FRANKENSTEIN MARY SHELLEY"), "Frankenstein: or, The Modern Prometheus", &[]).is_none());
        let shelley = authors(&["Mary Shelley"]);
        assert!(
            spine(&words("FRANKENSTEIN MARY SHELLEY"), "Frankenstein: or, The Modern Prometheus", &shelley).is_some()
        );
    }

    proptest! {
        #[test]
        fn any_two_titles_are_alike_from_0_to_1(a in ".{0,80}", b in ".{0,80}") {
            let alike = titles(&a, &b);
            prop_assert!((0.0..=1.0).contains(&alike));
        }

        #[test]
        fn a_title_is_the_same_as_itself(title in "[a-zA-Z]{1,9}( [a-zA-Z0-9:é']{1,9}){0,8}") {
            prop_assert!(titles(&title, &title) > 0.999, "{}", titles(&title, &title));
        }
    }

    #[test]
    fn a_letter_more_less_or_other_is_one_step_apart() {
        let steps = |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!(steps("kitten", "sitting"), 3);
        assert_eq!(steps("", "abc"), 3);
        assert_eq!(steps("same", "same"), 0);
    }
}
