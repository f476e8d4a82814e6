//! Which words stand on one spine, and which are noise.

use super::place::{Place, Turn};
use super::spine::{Spine, Word};
use super::tesseract::Found;

/// How sure a word must be to be taken at all, from 0 to 1. Marks and edges that are taken for letters stay below.
const WORD: f64 = 0.3;

/// How sure a spine must be.
const SPINE: f64 = 0.5;

/// How many letters a spine must have, in one word at least three of them.
const LETTERS: usize = 4;

/// The most words of one reading; a full shelf has some hundreds. What has more is no shelf.
const WORDS: usize = 2000;

/// How far apart two lines may stand along a spine to belong together, in heights of their letters: a title stands at
/// one end and the author at the other.
const APART_ALONG: u32 = 25;

/// The same for words across, where the next spine stands just beside.
const APART_ACROSS: u32 = 2;

/// How often what was taken for one spine is cut in two. Three times is the most shelves that a photo shows sharply,
/// and a bound for the questions about one spine.
const CUTS: u32 = 3;

/// A spine and its place in the upright photo.
#[derive(Clone, Debug)]
pub struct Placed {
    /// What was read.
    pub spine: Spine,
    /// Where.
    pub place: Place,
}

/// The spines of one reading: its lines, those on one level joined.
pub fn spines(mut words: Vec<Found>, turn: Turn, size: (u32, u32)) -> Vec<Placed> {
    words.retain(is_word);
    words.truncate(WORDS);
    let mut words = once_each(words);
    let (mut turn, apart) = match turn {
        Turn::None => (turn, APART_ACROSS),
        _ => (turn, APART_ALONG),
    };
    if is_upside_down(&words) {
        turn = turn.over();
        let (width, height) = turn.size(size);
        for Place { left, top, width: w, height: h } in words.iter_mut().map(|word| &mut word.place) {
            (*left, *top) = (width.saturating_sub(*left + *w), height.saturating_sub(*top + *h));
        }
    }
    let lines = lines(&words);
    let shelves = shelves(&lines);
    let mut bands: Vec<Band> = Vec::new();
    for line in lines {
        let place = line.place;
        match bands.iter_mut().find(|band| continues(band.place(), place, apart)) {
            Some(band) => band.0.push(line),
            None => bands.push(Band(vec![line])),
        }
    }
    bands.sort_by_key(|band| band.place().top);
    stacks(bands).iter().filter_map(|stack| stack_of(stack, &shelves, turn, size)).collect()
}

/// Words that were read as one line.
struct Line<'a> {
    words: Vec<&'a Found>,
    place: Place,
}

/// Lines on one level, in the order in which they are read.
struct Band<'a>(Vec<Line<'a>>);

impl Band<'_> {
    fn place(&self) -> Place {
        Place::around(self.0.iter().map(|line| line.place))
    }
}

/// The lines, from the left.
fn lines(words: &[Found]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.words[0].line == word.line => line.words.push(word),
            _ => lines.push(Line { words: vec![word], place: word.place }),
        }
    }
    for line in &mut lines {
        line.place = Place::around(line.words.iter().map(|word| word.place));
    }
    lines.sort_by_key(|line| line.place.left);
    lines
}

/// Where no line of the whole photo has any text, from left to right: between two shelves, most likely.
fn shelves(lines: &[Line]) -> Vec<u32> {
    let mut shelves = Vec::new();
    let mut end = None;
    for place in lines.iter().map(|line| line.place) {
        if let Some(end) = end.filter(|end| *end < place.left) {
            shelves.push(end + (place.left - end) / 2);
        }
        end = end.max(Some(place.right()));
    }
    shelves
}

/// Bands that stand so close that they may be the lines of one spine.
fn stacks(bands: Vec<Band>) -> Vec<Vec<Band>> {
    let mut stacks: Vec<Vec<Band>> = Vec::new();
    for band in bands {
        let place = band.place();
        let above = stacks.iter_mut().rev().find(|stack| {
            stack.last().is_some_and(|last| {
                let last = last.place();
                let gap = place.top.saturating_sub(last.bottom());
                last.shared_width(place) > 0 && gap * 2 <= last.height.min(place.height)
            })
        });
        match above {
            Some(stack) => stack.push(band),
            None => stacks.push(vec![band]),
        }
    }
    stacks
}

/// The spine of a stack; its parts are its bands.
fn stack_of(stack: &[Band], shelves: &[u32], turn: Turn, size: (u32, u32)) -> Option<Placed> {
    let place = turn.back(Place::around(stack.iter().map(Band::place)), size);
    let spine = match stack {
        [band] => spine_of(&band.0, shelves, CUTS),
        bands => {
            let lines = bands.iter().flat_map(|band| &band.0);
            let parts = bands.iter().filter_map(|band| spine_of(&band.0, shelves, CUTS)).collect();
            whole(lines, parts)
        }
    };
    spine.map(|spine| Placed { spine, place })
}

/// The spine of some lines on one level; its parts are those before and behind the place where it is most likely two,
/// and theirs, `cuts` deep.
fn spine_of(lines: &[Line], shelves: &[u32], cuts: u32) -> Option<Spine> {
    let gaps = lines.windows(2).map(|pair| (pair[0].place.right(), pair[1].place.left));
    let likely = |(place, (end, begin)): &(usize, (u32, u32))| {
        let between = shelves.iter().any(|shelf| (*end..*begin).contains(shelf));
        (between, begin.saturating_sub(*end), usize::MAX - place)
    };
    let parts = match gaps.enumerate().max_by_key(likely) {
        Some((place, _)) if cuts > 0 => {
            let (before, behind) = lines.split_at(place + 1);
            [before, behind].into_iter().filter_map(|part| spine_of(part, shelves, cuts - 1)).collect()
        }
        _ => Vec::new(),
    };
    whole(lines.iter(), parts)
}

/// The spine that has all these lines, if it may be one.
fn whole<'a>(lines: impl Iterator<Item = &'a Line<'a>>, parts: Vec<Spine>) -> Option<Spine> {
    let words = lines.flat_map(|line| &line.words);
    let words = words.map(|word| Word { text: word.text.clone(), confidence: Some(word.confidence) });
    let spine = Spine { words: words.collect(), parts, ..Spine::default() };
    let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).count();
    let all: usize = spine.words.iter().map(|word| letters(&word.text)).sum();
    let has_word = spine.words.iter().any(|word| letters(&word.text) >= 3);
    (all >= LETTERS && has_word && spine.confidence().is_some_and(|sure| sure >= SPINE)).then_some(spine)
}

/// Whether it is sure enough, and stands as the image does: a reader that turns the image itself may have read what
/// stands upright in it.
fn is_word(word: &Found) -> bool {
    let letters = word.text.chars().filter(|c| c.is_alphanumeric()).count();
    word.confidence >= WORD && letters > 0 && (letters < 3 || word.place.width > word.place.height)
}

/// Without those that another, surer word covers: one word is read twice now and then.
fn once_each(words: Vec<Found>) -> Vec<Found> {
    let is_covered = |index: usize, word: &Found| {
        let others = words.iter().enumerate().filter(|(other, _)| *other != index);
        others.into_iter().any(|(other, found)| {
            // Of two that are as sure, the first.
            let is_surer = (found.confidence, index) > (word.confidence, other);
            is_surer && found.place.is_same(word.place)
        })
    };
    let covered: Vec<bool> = words.iter().enumerate().map(|(index, word)| is_covered(index, word)).collect();
    words.into_iter().zip(covered).filter(|(_, covered)| !covered).map(|(word, _)| word).collect()
}

/// Whether the words of most lines go from right to left: the reader has turned the image over.
fn is_upside_down(words: &[Found]) -> bool {
    let pairs = words.windows(2).filter(|pair| pair[0].line == pair[1].line);
    let (right, left): (Vec<_>, Vec<_>) = pairs.partition(|pair| pair[0].place.left < pair[1].place.left);
    left.len() > right.len()
}

/// Whether a line at `next` goes on where the band ends: on its level, and not too far along.
fn continues(band: Place, next: Place, apart: u32) -> bool {
    let height = band.height.min(next.height);
    let gap = next.left.saturating_sub(band.right());
    band.shared_height(next) * 2 >= height && gap <= apart * band.height.max(next.height)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(left: u32, top: u32, width: u32, height: u32) -> Place {
        Place { left, top, width, height }
    }

    fn found(text: &str, confidence: f64, line: u32, place: Place) -> Found {
        Found { text: text.into(), confidence, line: [1, line, 1, 1], place }
    }

    fn texts(spines: &[Placed]) -> Vec<String> {
        spines.iter().map(|placed| placed.spine.text()).collect()
    }

    #[test]
    fn title_and_author_at_both_ends_of_one_spine_are_one_and_the_next_spine_is_another() {
        let words = vec![
            found("Frank", 0.96, 1, place(600, 12, 80, 26)),
            found("Herbert", 0.95, 1, place(690, 12, 90, 26)),
            found("DUNE", 0.95, 2, place(30, 10, 120, 34)),
            found("Emma", 0.95, 3, place(30, 110, 120, 34)),
        ];
        let mut read = texts(&spines(words.clone(), Turn::Left, (900, 900)));
        read.sort();
        assert_eq!(read, ["DUNE Frank Herbert", "Emma"]);
        // Across, what stands so far apart is on two spines.
        assert_eq!(spines(words, Turn::None, (900, 900)).len(), 3);
    }

    #[test]
    fn a_word_that_was_read_twice_is_taken_once_as_the_surer_reading_has_it() {
        let words = vec![
            found("PUNE", 0.6, 1, place(32, 8, 118, 36)),
            found("DUNE", 0.95, 2, place(30, 10, 120, 34)),
            found("DUNE", 0.95, 3, place(31, 10, 119, 34)),
        ];
        assert_eq!(texts(&spines(words, Turn::Left, (900, 900))), ["DUNE"]);
    }

    #[test]
    fn two_books_above_each_other_on_two_shelves_are_the_parts_of_what_was_taken_for_one() {
        let words = vec![
            found("Emma", 0.95, 1, place(30, 10, 120, 30)),
            found("Austen", 0.95, 2, place(300, 10, 120, 30)),
            found("Ulysses", 0.95, 3, place(500, 10, 120, 30)),
            found("Joyce", 0.95, 4, place(900, 10, 120, 30)),
            // Another spine on the first shelf, and one on the second: no text from 470 to 490.
            found("Middlemarch", 0.95, 5, place(130, 110, 340, 30)),
            found("Buddenbrooks", 0.95, 6, place(490, 110, 430, 30)),
        ];
        let read = spines(words, Turn::Left, (1100, 1100));
        let parts: Vec<String> = read[0].spine.parts.iter().map(Spine::text).collect();
        assert_eq!(read[0].spine.text(), "Emma Austen Ulysses Joyce");
        assert_eq!(parts, ["Emma Austen", "Ulysses Joyce"], "not where the gap is widest");
    }

    #[test]
    fn a_title_in_two_lines_is_one_spine_of_two_parts_and_a_neighbour_is_another() {
        let words = vec![
            found("The", 0.95, 1, place(30, 10, 50, 30)),
            found("Great", 0.95, 1, place(90, 10, 90, 30)),
            found("Gatsby", 0.95, 2, place(30, 50, 100, 30)),
            found("Dracula", 0.95, 3, place(30, 120, 100, 30)),
        ];
        let read = spines(words, Turn::Left, (900, 900));
        assert_eq!(texts(&read), ["The Great Gatsby", "Dracula"]);
        assert_eq!(read[0].spine.parts.iter().map(Spine::text).collect::<Vec<_>>(), ["The Great", "Gatsby"]);
    }

    #[test]
    fn a_reading_upside_down_is_put_right() {
        // "Frank Herbert" at the right end is read first, from right to left, when the image was turned over.
        let words = vec![
            found("DUNE", 0.95, 1, place(750, 56, 120, 34)),
            found("Frank", 0.96, 2, place(220, 62, 80, 26)),
            found("Herbert", 0.95, 2, place(120, 62, 90, 26)),
        ];
        let read = spines(words, Turn::Right, (100, 900));
        assert_eq!(texts(&read), ["DUNE Frank Herbert"]);
        assert_eq!(read[0].place, Turn::Left.back(place(30, 10, 750, 34), (100, 900)));
    }

    #[test]
    fn what_no_spine_says_is_dropped() {
        let words = vec![
            found("|", 0.9, 1, place(0, 0, 5, 30)),
            found("Il", 0.9, 2, place(0, 100, 20, 30)),
            found("a b", 0.9, 3, place(0, 200, 40, 30)),
            found("Neuromancer", 0.2, 4, place(0, 300, 200, 30)),
            found("WWWM", 0.45, 5, place(0, 400, 100, 30)),
            found("1984", 0.9, 6, place(0, 500, 100, 30)),
            found("Upright", 0.9, 7, place(0, 600, 30, 200)),
        ];
        assert_eq!(texts(&spines(words.clone(), Turn::Left, (900, 900))), [""; 0]);
    }
}
