//! Names of authors, one or several in a cell.

/// `Rowling, J.K.` as one says it: `J.K. Rowling`.
pub(super) fn given_name_first(name: &str) -> String {
    match name.split_once(',') {
        Some((family, given)) if !given.trim().is_empty() => format!("{} {}", given.trim(), family.trim()),
        Some((family, _)) => family.trim().to_owned(),
        None => name.trim().to_owned(),
    }
}

/// Names with commas between them.
pub(super) fn between_commas(names: &str) -> Vec<String> {
    names.split(',').map(str::to_owned).collect()
}

/// Names with `|` between them, of those who wrote: `roles` says for each what they did, and nothing for most.
pub(super) fn authors_by_role(names: &str, roles: &str) -> Vec<String> {
    let roles = roles.split('|').map(str::trim).chain(std::iter::repeat(""));
    let is_author = |role: &str| role.is_empty() || role.to_lowercase().contains("author");
    names.split('|').zip(roles).filter(|(_, role)| is_author(role)).map(|(name, _)| given_name_first(name)).collect()
}

/// What people write into a column for authors.
///
/// `;`, `|`, ` & ` and ` and ` stand between authors. A comma does so too, unless there is one comma only and one of
/// its sides looks like no whole name: `Rowling, J.K.` and `García Márquez, Gabriel` are one author each,
/// `Terry Pratchett, Neil Gaiman` are two.
pub(super) fn any(names: &str) -> Vec<String> {
    names
        .split([';', '|', '&'])
        .flat_map(|names| names.split(" and "))
        .flat_map(
            |names| if is_family_name_first(names) { vec![given_name_first(names)] } else { between_commas(names) },
        )
        .collect()
}

fn is_family_name_first(name: &str) -> bool {
    match name.split_once(',') {
        Some((_, given)) if given.contains(',') => false,
        Some((family, given)) => {
            let is_word = |text: &str| text.split_whitespace().count() == 1;
            is_word(family) || is_word(given) || given.split_whitespace().next_back().is_some_and(is_initial)
        }
        None => false,
    }
}

/// `K`, `K.` and `J.K.`: no family name.
fn is_initial(word: &str) -> bool {
    word.ends_with('.') || word.chars().count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(names: &str) -> Vec<String> {
        any(names).into_iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
    }

    #[test]
    fn a_family_name_in_front_goes_behind() {
        assert_eq!(read("Rowling, J.K."), ["J.K. Rowling"]);
        assert_eq!(read("Rowling, Joanne Kathleen"), ["Joanne Kathleen Rowling"]);
        assert_eq!(read("García Márquez, Gabriel"), ["Gabriel García Márquez"]);
        assert_eq!(read("Le Guin, Ursula K."), ["Ursula K. Le Guin"]);
        assert_eq!(read("Plato,"), ["Plato"]);
        assert_eq!(given_name_first("Erickson, Steven"), "Steven Erickson");
        assert_eq!(given_name_first("Homer"), "Homer");
    }

    #[test]
    fn authors_are_told_apart_by_what_people_put_between_them() {
        let two = ["Terry Pratchett", "Neil Gaiman"];
        for names in [
            "Terry Pratchett, Neil Gaiman",
            "Terry Pratchett; Neil Gaiman",
            "Terry Pratchett & Neil Gaiman",
            "Terry Pratchett and Neil Gaiman",
            "Terry Pratchett|Neil Gaiman",
            "Pratchett, Terry; Gaiman, Neil",
            "Pratchett, Terry and Gaiman, Neil",
        ] {
            assert_eq!(read(names), two, "{names}");
        }
        assert_eq!(read("A. One, B. Two, C. Three"), ["A. One", "B. Two", "C. Three"]);
        assert_eq!(read("Alexandre Sandberg"), ["Alexandre Sandberg"], "an `and` in a name is no word");
    }

    #[test]
    fn who_translated_or_drew_is_no_author() {
        let names = "Gaiman, Neil|Núñez, Lena|Mirror, Kofi|Fennimore, Ada";
        assert_eq!(authors_by_role(names, "Author|Translator|"), ["Neil Gaiman", "Kofi Mirror", "Ada Fennimore"]);
    }

    #[test]
    fn nothing_is_nobody() {
        assert!(read("").is_empty() && read(" , ; ").is_empty());
    }
}
