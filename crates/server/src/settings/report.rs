//! What is wrong in the settings: every mistake with its place.

use std::fmt::{self, Write as _};
use std::io::IsTerminal;
use std::sync::Arc;

/// A text that settings came from: a file, or a variable of the environment.
pub struct Source {
    /// What it is called in a message: the path of the file.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Whether lines of it may be shown. A variable of the environment may be a secret.
    pub shown: bool,
}

/// Where something stands: a range of bytes in a source.
#[derive(Clone, Debug)]
pub struct Place {
    /// The source.
    pub source: Arc<Source>,
    /// The first byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
}

/// One mistake.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// Where it is, if it is anywhere.
    pub place: Option<Place>,
    /// What is wrong, in a sentence. Never holds a secret.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Every mistake that was found. [`fmt::Display`] shows them all, without colours.
#[derive(Clone, Debug, Default)]
pub struct Report {
    mistakes: Vec<Mistake>,
}

// Without the text: it may hold secrets.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Source {
    /// A file.
    pub fn file(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Source { name: name.into(), text: text.into(), shown: true })
    }
}

impl Place {
    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.before().matches('\n').count() + 1
    }

    /// The character in its line, counted from 1.
    pub fn column(&self) -> usize {
        self.before().rsplit('\n').next().unwrap_or_default().chars().count() + 1
    }

    /// The place of character `position` of a string that stands here, where that can be told; else this.
    pub fn within(&self, text: &str, position: usize) -> Place {
        let mut place = self.clone();
        let written = self.source.text.get(self.start..self.end).unwrap_or_default();
        let inner = written.get(1..written.len().saturating_sub(1));
        if inner == Some(text)
            && let Some((at, c)) = text.char_indices().nth(position)
        {
            place.start = self.start + 1 + at;
            place.end = place.start + c.len_utf8();
        }
        place
    }

    fn before(&self) -> &str {
        let mut start = self.start.min(self.source.text.len());
        while !self.source.text.is_char_boundary(start) {
            start -= 1;
        }
        &self.source.text[..start]
    }

    fn line_text(&self) -> &str {
        let from = self.before().rfind('\n').map_or(0, |at| at + 1);
        self.source.text[from..].split('\n').next().unwrap_or_default().trim_end_matches('\r')
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source) && (self.start, self.end) == (other.start, other.end)
    }
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// The mistakes, in the order of their files and lines.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// Adds a mistake at a place.
    pub fn at(&mut self, place: &Place, message: impl Into<String>) -> &mut Mistake {
        self.push(Mistake { place: Some(place.clone()), message: message.into(), help: None })
    }

    /// Adds a mistake that has no place in a file.
    pub fn nowhere(&mut self, message: impl Into<String>) -> &mut Mistake {
        self.push(Mistake { place: None, message: message.into(), help: None })
    }

    fn push(&mut self, mistake: Mistake) -> &mut Mistake {
        self.mistakes.push(mistake);
        let last = self.mistakes.len() - 1;
        &mut self.mistakes[last]
    }

    /// Adds the mistakes of `other` that are not yet known: a file that is checked in several variants has some in each.
    pub fn extend(&mut self, other: Report) {
        for mistake in other.mistakes {
            let same = |known: &Mistake| {
                known.message == mistake.message
                    && match (&known.place, &mistake.place) {
                        (Some(a), Some(b)) => a.source.name == b.source.name && (a.start, a.end) == (b.start, b.end),
                        (None, None) => true,
                        _ => false,
                    }
            };
            if !self.mistakes.iter().any(same) {
                self.mistakes.push(mistake);
            }
        }
    }

    /// The report, sorted, as an error if there is a mistake.
    pub fn into_result<T>(mut self, value: Option<T>) -> Result<T, Report> {
        self.sort();
        match value {
            Some(value) if self.is_empty() => Ok(value),
            _ => Err(self),
        }
    }

    /// Puts the mistakes in the order of their files and lines.
    pub fn sort(&mut self) {
        self.mistakes.sort_by_key(|mistake| {
            let place = mistake.place.as_ref();
            (place.map(|place| place.source.name.clone()), place.map(|place| place.start))
        });
    }

    /// Writes it for people, with colours only on a terminal.
    pub fn print(&self, to: &mut (impl std::io::Write + IsTerminal)) -> std::io::Result<()> {
        let colours = to.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        to.write_all(self.render(colours).as_bytes())
    }

    /// The text of it.
    pub fn render(&self, colours: bool) -> String {
        let mut text = String::new();
        for mistake in &self.mistakes {
            // Writing to a String does not fail.
            let _ = mistake.write(&mut text, colours);
        }
        match self.mistakes.len() {
            0 => {}
            1 => text.push_str("1 mistake\n"),
            count => text.push_str(&format!("{count} mistakes\n")),
        }
        text
    }
}

impl Mistake {
    /// The same with what to do about it.
    pub fn help(&mut self, help: impl Into<String>) {
        self.help = Some(help.into());
    }

    fn write(&self, out: &mut String, colours: bool) -> fmt::Result {
        let [red, blue, bold, off] =
            if colours { ["\x1b[1;31m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"] } else { ["", "", "", ""] };
        writeln!(out, "{red}error{off}{bold}: {}{off}", self.message)?;
        let help = self.help.as_deref().unwrap_or_default();
        match &self.place {
            Some(place) if place.source.shown => {
                let (line, column) = (place.line(), place.column());
                let gutter = " ".repeat(line.to_string().len());
                let shown = hide_logins(&hide_secrets(place.line_text()));
                let width = place.line_text().chars().count();
                let length = place.source.text.get(place.start..place.end).unwrap_or_default();
                let length = length.split('\n').next().unwrap_or_default().trim_end().chars().count();
                let carets = "^".repeat(length.clamp(1, (width + 1).saturating_sub(column - 1).max(1)));
                let indent: String =
                    place.line_text().chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                writeln!(out, "{gutter}{blue}-->{off} {}:{line}:{column}", place.source.name)?;
                writeln!(out, "{gutter} {blue}|{off}\n{blue}{line} |{off} {shown}")?;
                writeln!(out, "{gutter} {blue}|{off} {indent}{red}{carets}{off} {help}")?;
            }
            Some(place) => writeln!(out, " {blue}-->{off} {} {help}", place.source.name)?,
            None if !help.is_empty() => writeln!(out, " {blue}={off} {help}")?,
            None => {}
        }
        out.push('\n');
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

/// The line with the values of secret settings covered, as wide as before.
fn hide_secrets(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    // From each `=`, for the word before it.
    while let Some(equals) = rest.find('=') {
        let (before, after) = rest.split_at(equals + 1);
        let word = before[..equals].trim_end().rsplit(|c: char| !(c.is_alphanumeric() || "_-".contains(c))).next();
        shown.push_str(before);
        rest = after;
        if word.is_some_and(|word| ["secret", "value", "password", "token", "credential"].contains(&word)) {
            let blank = rest.len() - rest.trim_start().len();
            let quote = rest[blank..].chars().next().filter(|c| *c == '"' || *c == '\'');
            let end = quote
                .and_then(|quote| rest[blank + 1..].find(quote).map(|end| blank + 1 + end + 1))
                .unwrap_or(rest.len());
            shown.extend(rest[..end].chars().map(|c| if c.is_whitespace() { c } else { '•' }));
            rest = &rest[end..];
        }
    }
    shown.push_str(rest);
    shown
}

/// The line with who logs in by an address covered, as wide as before.
fn hide_logins(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(begin) = rest.find("://") {
        let (before, after) = rest.split_at(begin + 3);
        shown.push_str(before);
        // It ends where the path, the text or the next address begins.
        let end = after.find(|c: char| c.is_whitespace() || "/\"',".contains(c)).unwrap_or(after.len());
        let login = after[..end].rfind('@').unwrap_or(0);
        shown.extend(after[..login].chars().map(|_| '•'));
        rest = &after[login..];
    }
    shown.push_str(rest);
    shown
}

/// The nearest of `known` to `given`, if it is near enough to be what was meant.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (distance(given, name), name))
        .filter(|(far, name)| *far <= (name.len().max(given.len()) / 3).max(1))
        .min_by_key(|(far, _)| *far)
        .map(|(_, name)| name)
}

/// How many characters are to be put in, taken out, changed or swapped with the next.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let known = ["heartbeat_every", "retry", "path"];
        assert_eq!(nearest("heartbet_every", known), Some("heartbeat_every"));
        assert_eq!(nearest("retyr", known), Some("retry"));
        assert_eq!(nearest("zzz", known), None);
    }

    #[test]
    fn the_line_of_a_secret_is_shown_without_it() {
        assert_eq!(hide_secrets("a = 1, secret = \"x=y\", b = 'c'"), "a = 1, secret = •••••, b = 'c'");
        assert_eq!(hide_secrets("value = 'abc"), "value = ••••");
        assert_eq!(
            hide_logins("url = [\"nats://me:p@ss@a:4222\", 'tls://b', \"http://c/@d\"]"),
            "url = [\"nats://•••••••@a:4222\", 'tls://b', \"http://c/@d\"]"
        );
    }

    #[test]
    fn a_mistake_is_shown_with_its_line_and_a_caret() {
        let source = Source::file("x.toml", "a = 1\n\tbé = 2\n");
        let mut report = Report::default();
        report.at(&Place { source, start: 7, end: 10 }, "unknown key `bé`").help("did you mean `b`?");
        let text = report.render(false);
        assert!(text.contains(" --> x.toml:2:2\n  |\n2 | \tbé = 2\n  | \t^^ did you mean `b`?"), "{text}");
    }
}
