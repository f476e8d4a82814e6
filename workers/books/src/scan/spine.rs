//! What was read on one spine.

use crate::openlibrary::similarity;

/// How sure a word must be to count when only the plain ones are taken, from 0 to 1.
const PLAIN: f64 = 0.8;

/// The most of a spine's text that is told, in characters.
const TEXT: usize = 200;

/// The most words of a spine that are asked for. Its title and author have fewer.
const WORDS: usize = 24;

/// A spine as it was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spine {
    /// Its words, along the spine.
    pub words: Vec<Word>,
    /// Its title, where the reader could tell which words are.
    pub title: Option<String>,
    /// Its author, likewise.
    pub author: Option<String>,
    /// What it may be made of, where it is not certain that all of it is one spine.
    pub parts: Vec<Spine>,
}

/// A word on a spine.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// The word, with its punctuation.
    pub text: String,
    /// How sure its reader is, from 0 to 1; none if it does not say.
    pub confidence: Option<f64>,
}

impl Spine {
    /// All that stands on it.
    pub fn text(&self) -> String {
        let words: Vec<&str> = self.words.iter().map(|word| word.text.as_str()).collect();
        words.join(" ").chars().take(TEXT).collect()
    }

    /// Its title, or else all that stands on it.
    pub fn title_or_text(&self) -> String {
        self.title.clone().unwrap_or_else(|| self.text())
    }

    /// How sure its reader is, from 0 to 1: the mean over its letters.
    pub fn confidence(&self) -> Option<f64> {
        let letters = |word: &Word| word.text.chars().count() as f64;
        let told: Vec<(f64, f64)> =
            self.words.iter().filter_map(|word| Some((letters(word), word.confidence?))).collect();
        let all: f64 = told.iter().map(|(letters, _)| letters).sum();
        (all > 0.0).then(|| told.iter().map(|(letters, sure)| letters * sure).sum::<f64>() / all)
    }

    /// The ways to ask for it, best first, each as words to compare: all that was read; without what is doubtful; and
    /// without the word that is most doubtful, as one wrong word hides a book from a search that wants each. What has
    /// parts is asked for in one way only, and then its parts are.
    pub fn readings(&self) -> Vec<Vec<String>> {
        let sure = |word: &&Word| word.confidence.unwrap_or(1.0);
        let all: Vec<&Word> = self.words.iter().collect();
        let plain: Vec<&Word> = all.iter().copied().filter(|word| sure(word) >= PLAIN).collect();
        let mut fewer = plain.clone();
        if fewer.len() > 2 {
            let doubtful = (0..fewer.len()).min_by(|a, b| sure(&fewer[*a]).total_cmp(&sure(&fewer[*b])));
            doubtful.map(|place| fewer.remove(place));
        }
        let ways = if self.parts.is_empty() { vec![all, plain, fewer] } else { vec![plain] };
        let mut readings: Vec<Vec<String>> = Vec::new();
        for words in ways {
            let words: Vec<String> = words.iter().flat_map(|word| similarity::words(&word.text)).take(WORDS).collect();
            if !words.is_empty() && !readings.contains(&words) {
                readings.push(words);
            }
        }
        readings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spine(words: &[(&str, f64)]) -> Spine {
        let words = words.iter().map(|(text, sure)| Word { text: text.to_string(), confidence: Some(*sure) });
        Spine { words: words.collect(), ..Spine::default() }
    }

    #[test]
    fn a_spine_is_asked_for_with_all_words_and_then_with_fewer() {
        let read = spine(&[("DUNE", 0.9), ("~ii", 0.3), ("Frank", 0.96), ("Herbert.", 0.95)]);
        let joined: Vec<String> = read.readings().iter().map(|words| words.join(" ")).collect();
        assert_eq!(joined, ["dune ii frank herbert", "dune frank herbert", "frank herbert"]);
        let plain = spine(&[("Dune", 0.9), ("Herbert", 0.9)]);
        assert_eq!(plain.readings(), [["dune", "herbert"]], "two sure words can be read in one way only");
        assert!(spine(&[("—", 0.9)]).readings().is_empty());
        let joined = Spine { parts: vec![read.clone(), plain], ..read };
        assert_eq!(joined.readings(), [["dune", "frank", "herbert"]], "what has parts is asked for in one way");
    }

    #[test]
    fn how_sure_a_spine_is_is_the_mean_over_its_letters() {
        assert_eq!(spine(&[("ab", 0.5), ("abcdef", 0.9)]).confidence(), Some(0.8));
        assert_eq!(Spine::default().confidence(), None);
    }
}
