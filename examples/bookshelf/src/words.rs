//! Names as they are compared, and as they stand in paths.

/// The most characters of a title, or of a name.
pub const MOST_CHARS: usize = 500;

/// A text as it is compared: words in lower case without signs, and without an article before them.
pub fn key(text: &str) -> String {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    match words.split_first() {
        Some((&("the" | "a" | "an"), rest)) if !rest.is_empty() => rest.join(" "),
        _ => words.join(" "),
    }
}

/// The name of a person as it is compared: `Austen, Jane` is `Jane Austen`.
pub fn person_key(name: &str) -> String {
    match name.split_once(',') {
        Some((last, first)) if !first.contains(',') => key(&format!("{first} {last}")),
        _ => key(name),
    }
}

/// A text without control characters and without spaces around it; none if nothing is left or it is too long.
pub fn tidy(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let text = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    (!text.is_empty() && text.chars().count() <= MOST_CHARS).then_some(text)
}

/// A text as one segment of a path: nothing that leads elsewhere, 80 characters and 200 bytes at most.
pub fn segment(text: &str) -> String {
    let is_fine = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '\'' | ',' | '(' | ')' | '&' | '!');
    let mut segment = String::new();
    for c in text.chars().take(80).filter(|c| is_fine(*c)) {
        if segment.len() + c.len_utf8() > 200 {
            break;
        }
        segment.push(c);
    }
    let segment = segment.trim();
    if segment.is_empty() { "unnamed".into() } else { segment.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_whatever_their_signs_and_order() {
        assert_eq!(key("The War of the Worlds"), key("War of the worlds!"));
        assert_eq!(person_key("Austen, Jane"), person_key("Jane  Austen"));
        assert_ne!(key("Emma"), key("Emma II"));
        assert_eq!(key("The"), "the");
    }

    #[test]
    fn a_segment_leads_nowhere_else() {
        for hostile in ["../../etc/passwd", "..", ".", "a/b", "a\\b", "a\0b", "", "CON:", "\u{202e}x"] {
            let segment = segment(hostile);
            assert!(!segment.contains(['/', '\\', '\0', '.', ':']) && !segment.is_empty(), "{hostile:?}: {segment:?}");
        }
        assert!(segment(&"é".repeat(300)).len() <= 200);
    }

    #[test]
    fn a_tidy_text_has_no_line_breaks_and_an_end() {
        assert_eq!(tidy(" a\n\t b\u{7} ").as_deref(), Some("a b"));
        assert_eq!(tidy(" \n"), None);
        assert_eq!(tidy(&"x".repeat(MOST_CHARS + 1)), None);
    }
}
